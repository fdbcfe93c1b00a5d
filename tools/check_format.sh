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
mode=(--dry-run -Werror)
[[ "${1:-}" != --fix ]] || mode=(-i)
tools/list_files.sh '*.h' '*.cc' | xargs -0 -r "$formatter" "${mode[@]}"
