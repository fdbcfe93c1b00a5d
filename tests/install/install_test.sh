#!/usr/bin/env bash
# One step of using an installed reelm as a stranger would:
#   install_test.sh STEP SOURCE_DIR BUILD_DIR COMPILER
set -euo pipefail
step=$1
source_dir=$2
build_dir=$3
compiler=$4
work=$build_dir/tests/install/work
prefix=$work/prefix
model=share/reelm/models/demo

fail() { echo "install_test.sh: $*" >&2; exit 1; }
sample() { python3 -c "import json,sys; print(json.load(open(sys.argv[1]))['questions'][0][sys.argv[2]])" \
  "$source_dir/models/demo/sample.json" "$1"; }

# expect_answer PREFIX PROGRAM ARGUMENT...: the program, run from / and with nothing of ours in the environment, gives
# the answer of transformers to the first question about the sample clip.
expect_answer() {
  local expected answer
  expected=$(sample answer)
  answer=$(cd / && env -u REELM_MODEL "$@" 2>"$work/stderr") ||
    fail "$* failed: $(cat "$work/stderr")"
  [[ "$answer" == *"$expected"* ]] || fail "$* said '$answer', expected '$expected'"
  echo "$answer"
}

case "$step" in
  install)
    rm -rf "$work"
    mkdir -p "$work"
    cmake --install "$build_dir" --prefix "$prefix" >"$work/install.log"
    "$prefix/bin/reelm" --version
    ! grep -rlF "$source_dir" "$prefix" || fail "an installed file names the source tree"
    ;;
  headers)  # each compiles on its own, with the standard library alone
    headers=$(cd "$prefix/include" && find reelm -name '*.h')
    [[ -n "$headers" ]] || fail "no header was installed"
    compile_alone() {
      echo "#include <$1>" | "$compiler" -std=c++20 -Wall -Wextra -Werror -fsyntax-only -I"$prefix/include" -x c++ - || {
        echo "<$1> does not compile on its own" >&2
        exit 1
      }
    }
    export -f compile_alone
    export compiler prefix
    xargs -n 1 -P "$(nproc)" bash -c 'compile_alone "$1"' - <<<"$headers" || fail "see above"
    ! grep -rnE 'include [<"](nlohmann|fmt)/' "$prefix/include" || fail "an installed header needs another library's"
    ;;
  cmake_consumer)
    cmake -S "$source_dir/examples/ask" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$prefix" \
      -DCMAKE_CXX_COMPILER="$compiler" >"$work/cmake.log"
    cmake --build "$work/cmake" >>"$work/cmake.log" || { cat "$work/cmake.log"; fail "the example does not build"; }
    expect_answer "$work/cmake/ask" "$prefix/$model" "$prefix/$model/sample.mp4" "$(sample question)"
    ;;
  pkgconfig_consumer)
    rm -rf "$work/pkgconfig"
    cp -r "$source_dir/examples/ask" "$work/pkgconfig"
    package=$(find "$prefix" -name reelm.pc)
    PKG_CONFIG_PATH=$(dirname "$package") make -s -C "$work/pkgconfig" CXX="$compiler"
    # pkg-config gives no rpath: a shared library outside the system's folders is the user's to find.
    export LD_LIBRARY_PATH=${package%/pkgconfig/reelm.pc}
    expect_answer "$work/pkgconfig/ask" "$prefix/$model" "$prefix/$model/sample.mp4" "$(sample question)"
    ;;
  relocate)  # a prefix that was moved after the installation still finds its model
    rm -rf "$work/before" "$work/after"
    cmake --install "$build_dir" --prefix "$work/before" >/dev/null
    mv "$work/before" "$work/after"
    expect_answer "$work/after/bin/reelm" ask "$work/after/$model/sample.mp4" "$(sample question)"
    ;;
  *) fail "unknown step '$step'" ;;
esac
