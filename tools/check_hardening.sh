#!/usr/bin/env bash
# A program is built as Debian hardens its own: tools/check_hardening.sh PROGRAM
set -euo pipefail
program=$1
failed=0
expect() {  # expect WHAT REGEX TEXT
  grep -qE -- "$2" <<<"$3" || {
    echo "check_hardening.sh: $program: no $1" >&2
    failed=1
  }
}
expect "position-independent program (PIE)" 'Type:.*DYN' "$(readelf -hW "$program")"
headers=$(readelf -lW "$program")
expect "RELRO" 'GNU_RELRO' "$headers"
expect "stack without execution" 'GNU_STACK.* RW ' "$headers"
expect "immediate binding (BIND_NOW)" 'BIND_NOW|FLAGS_1.*NOW' "$(readelf -dW "$program")"
symbols=$(readelf -W --dyn-syms "$program")
expect "stack protector" '__stack_chk_fail' "$symbols"
expect "checked libc calls (_FORTIFY_SOURCE)" '__(memcpy|read|pread|pread64|recv|snprintf|vsnprintf|readlink|memset|poll)_chk' "$symbols"
exit $failed
