#!/usr/bin/env bash
# Configures a preset once and builds it: tools/build.sh PRESET [JOBS]
# A first configuration leaves tests and benchmarks out, so that `make demo` needs no test packages; a
# build directory that has them (cmake --preset, make test) keeps them.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1
jobs=${2:-$(nproc)}

if [[ ! -f build/$preset/build.ninja ]]; then
  cmake --preset "$preset" -DREELM_BUILD_TESTS=OFF -DREELM_BUILD_BENCH=OFF
fi
cmake --build "build/$preset" --parallel "$jobs"
