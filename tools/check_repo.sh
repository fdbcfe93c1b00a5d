#!/usr/bin/env bash
# The repository stays small and clean: total size, big files, paths of somebody's machine, unfinished work.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0
complain() {  # complain MESSAGE LINES
  [[ -z "$2" ]] && return
  printf '%s\n%s\n' "$1" "$2" | sed '2,$s/^/  /' >&2
  failed=1
}

sizes=$(tools/list_files.sh | xargs -0 -r stat -c '%s %n')
total=$(awk '{sum += $1} END {print sum + 0}' <<<"$sizes")
[[ $total -le $((40 << 20)) ]] || complain "Tracked files are over 40 MiB:" "$total bytes"
complain "Over 2 MiB, which only the demo model's weights may be:" \
  "$(awk '$1 > 2 * 1024 * 1024 && $2 !~ /^models\/demo\/.*\.safetensors$/' <<<"$sizes")"

# The brackets keep these patterns from finding themselves. Data that merely looks like a path is in *.json.
find_lines() {  # find_lines REGEX PATTERN...
  tools/list_files.sh "${@:2}" | xargs -0 -r grep -nIE -- "$1" | head -n 20 || true
}
complain "Paths of somebody's machine:" \
  "$(find_lines '/wor[k]/|/roo[t]/|/hom[e]/[a-z]|/tm[p]/[a-z]' | grep -v '^[^:]*\.json:' || true)"
complain "Marks of unfinished or skipped work:" \
  "$(find_lines '\b(TOD[O]|FIXM[E]|XX[X])\b|not implemente[d]|unimplemente[d]|GTEST_SKI[P]' \
    '*.cc' '*.h' '*.py' '*.sh' '*.cmake' '*CMakeLists.txt')"
complain "Placeholders that were never filled:" "$(find_lines '@@[A-Z]+@@' '*.md')"
exit $failed
