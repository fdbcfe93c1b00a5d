#!/usr/bin/env bash
# docs/dependencies.md names every package that a build installs.
set -euo pipefail
cd "$(dirname "$0")/.."
missing=0
for package in $(tools/install_deps.sh --list build); do
  grep -qF "\`$package\`" docs/dependencies.md || {
    echo "docs/dependencies.md does not name $package" >&2
    missing=1
  }
done
exit $missing
