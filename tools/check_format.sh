#!/usr/bin/env bash
# Fails on C++ sources that clang-format 14 (Debian 12's) would lay out differently; --fix mends them.
set -euo pipefail
cd "$(dirname "$0")/.."

formatter=clang-format-14
command -v "$formatter" >/dev/null || formatter=clang-format
# Another version breaks lines elsewhere: it would fail on good sources, or --fix would spoil them.
if ! "$formatter" --version | grep -q 'version 14\.'; then
  echo "check_format.sh: needs clang-format 14, found: $("$formatter" --version)" >&2
  exit 2
fi
if [[ "${1:-}" == --fix ]]; then
  tools/list_files.sh '*.h' '*.cc' | xargs -0 -r "$formatter" -i
  exit
fi
bad=$(tools/list_files.sh '*.h' '*.cc' | xargs -0 -r "$formatter" --dry-run 2>&1 |
  sed -n 's/^\(.*\):[0-9]*:[0-9]*: warning: code should be clang-formatted.*/\1/p' | uniq)
if [[ -n "$bad" ]]; then
  printf 'not laid out as clang-format 14 does; `make format` mends:\n%s\n' "$bad" >&2
  exit 1
fi
