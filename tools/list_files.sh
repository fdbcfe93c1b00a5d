#!/usr/bin/env bash
# The project's files, NUL after each: tools/list_files.sh [PATTERN...]. Tracked ones where git can tell
# (and they are there), else, in an unpacked archive, all but build/.
set -euo pipefail
cd "$(dirname "$0")/.."
if [[ . -ef "$(git rev-parse --show-toplevel 2>/dev/null)" ]]; then
  git ls-files -z -- "$@"
else
  find . -path ./build -prune -o -path ./.git -prune -o -type f -printf '%P\0' |
    while IFS= read -r -d '' file; do
      [[ $# -eq 0 ]] && printf '%s\0' "$file"
      # shellcheck disable=SC2254  # patterns are meant as patterns
      for pattern in "$@"; do case "$file" in $pattern) printf '%s\0' "$file" ;; esac; done
    done
fi | while IFS= read -r -d '' file; do if [[ -f "$file" ]]; then printf '%s\0' "$file"; fi; done
