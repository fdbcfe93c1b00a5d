#!/usr/bin/env bash
# Runs the fuzz targets of tests/fuzz one after the other (make fuzz):
#   tools/fuzz.sh [--seconds N | --nightly] [--timeout N] [--jobs N] [--merge] [TARGET...]
# --seconds  of CPU for each target, however long a busy machine takes to give them; default 60,
#            --nightly an hour
# --timeout  seconds by the clock that one input may take; default 25
# --jobs     of the build
# --merge    afterwards: adds to the committed corpus a few small inputs that reach all the code it does not
# Inputs that reach something new stay in build/fuzz/corpus/TARGET; what a target minds is kept in
# build/fuzz/findings/TARGET, and is the exit code. One line a target at the end: how much was done.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=60
timeout=25
jobs=$(nproc)
merge=false
targets=()
while [[ $# -gt 0 ]]; do
  case "$1" in
    --seconds) seconds=$2; shift ;;
    --nightly) seconds=3600 ;;
    --timeout) timeout=$2; shift ;;
    --jobs) jobs=$2; shift ;;
    --merge) merge=true ;;
    -*) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    *) targets+=("$1") ;;
  esac
  shift
done
if [[ ${#targets[@]} -eq 0 ]]; then
  for source in tests/fuzz/*_fuzz.cc; do targets+=("$(basename "$source" _fuzz.cc)"); done
fi
for target in "${targets[@]}"; do
  [[ -f tests/fuzz/${target}_fuzz.cc ]] || { echo "fuzz.sh: no target '$target' in tests/fuzz" >&2; exit 2; }
done

tools/install_deps.sh build test clang
build=build/fuzz
cmake --preset fuzz >/dev/null
cmake --build $build --parallel "$jobs" --target "${targets[@]/#/fuzz_}"
python3 tools/make_fuzz_seeds.py $build/seeds

export OMP_NUM_THREADS=1 UBSAN_OPTIONS=print_stacktrace=1
# A refused allocation is an answer of ours, not an end.
export ASAN_OPTIONS=allocator_may_return_null=1:detect_leaks=1

corpus() {  # corpus TARGET: its folders, the growing one first
  local target=$1 folder
  for folder in $build/corpus/"$target" tests/fuzz/corpus/"$target" $build/seeds/"$target"; do
    if [[ -d $folder ]]; then echo "$folder"; fi
  done
}

run() {  # run TARGET OPTION...
  local target=$1 folders
  mapfile -t folders < <(corpus "$target")
  local options=(-timeout="$timeout" -rss_limit_mb=4096 -malloc_limit_mb=2048 -max_len=65536 -len_control=20 "${@:2}")
  local dictionary=tests/fuzz/dictionaries/$target.dict
  if [[ -f $dictionary ]]; then options+=("-dict=$dictionary"); fi
  exec $build/tests/fuzz/fuzz_"$target" "${options[@]}" "${folders[@]}"  # in the background: its process is $!
}

cpu_seconds() {  # cpu_seconds PID: of a process that runs; nothing of one that is gone
  local stat
  stat=$(cat /proc/"$1"/stat 2>/dev/null) || return 0
  read -r -a stat <<<"${stat##*) }"  # behind the name, which may hold spaces
  echo $(((stat[11] + stat[12]) / ticks))
}

fuzz() {  # fuzz TARGET: until its CPU time is used up; what it took in `used`
  local target=$1 pid now status=0
  run "$target" -print_final_stats=1 -artifact_prefix=$build/findings/"$target"/ >"$log" 2>&1 &
  pid=$!
  used=0
  while now=$(cpu_seconds $pid) && [[ -n $now ]]; do
    used=$now
    if ((used >= seconds)); then kill -TERM $pid 2>/dev/null || true; fi
    sleep 1
  done
  wait $pid || status=$?
  [[ $status -eq 0 || $status -eq $interrupted ]]
}

ticks=$(getconf CLK_TCK)
interrupted=72  # libFuzzer's exit code after a signal that ends it
failed=()
lines=()
for target in "${targets[@]}"; do
  mkdir -p $build/corpus/"$target" $build/findings/"$target"
  log=$build/$target.log
  echo "== $target, $seconds s of CPU: $log"
  if ! fuzz "$target"; then
    failed+=("$target")
    grep -E "^==[0-9]+==|SUMMARY|runtime error|Test unit written" "$log" | tail -n 5 || true
  fi
  executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  reached=$(grep -o 'cov: [0-9]* ft: [0-9]*' "$log" | tail -n 1 || true)
  lines+=("$target: $used s of CPU, ${executions:-?} executions, ${reached:-nothing reached}, $(find $build/corpus/"$target" -type f | wc -l) inputs kept")
  if $merge; then
    mkdir -p tests/fuzz/corpus/"$target"
    $build/tests/fuzz/fuzz_"$target" -set_cover_merge=1 -use_counters=0 -max_len=4096 \
      tests/fuzz/corpus/"$target" $build/seeds/"$target" $build/corpus/"$target" >>"$log" 2>&1
  fi
done

printf '%s\n' "${lines[@]}"
if [[ ${#failed[@]} -gt 0 ]]; then
  echo "findings: ${failed[*]} (inputs in $build/findings; docs/hardening.md says what to do)" >&2
  exit 1
fi
