#!/usr/bin/env bash
# Every test: tools/run_tests.sh [JOBS] [PRESET...]    default presets: release asan
# The release build also runs the lint and install tests. A preset that fails does not keep the next from
# running; the last line sums them up, and any failure is the exit code.
set -euo pipefail
cd "$(dirname "$0")/.."
jobs=${1:-$(nproc)}
presets=("${@:2}")
[[ ${#presets[@]} -gt 0 ]] || presets=(release asan)

tools/install_deps.sh build test

passed=0
failed=0
for preset in "${presets[@]}"; do
  echo "== $preset"
  cmake --preset "$preset"
  cmake --build "build/$preset" --parallel "$jobs"
  results=$PWD/build/$preset/results.xml
  rm -f "$results"
  status=0
  ctest --preset "$preset" --parallel "$jobs" --no-tests=error --output-junit "$results" || status=$?

  attribute() { sed -n "s/^[[:space:]]*$1=\"\([0-9]*\)\".*/\1/p" "$results" | head -n 1; }
  total=$(attribute tests)
  bad=$(attribute failures)
  idle=$(($(attribute disabled) + $(attribute skipped)))
  # A run that failed without a failed test (none found, a crash of ctest) still counts.
  if [[ $status -ne 0 && $bad -eq 0 ]]; then bad=1; fi
  passed=$((passed + total - bad - idle))
  failed=$((failed + bad))
done

echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
