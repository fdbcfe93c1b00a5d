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
  hardening)
    "$source_dir/tools/check_hardening.sh" "$prefix/bin/reelm"
    ;;
  deb)  # what the packages hold and ask for; that they install on a bare system: tools/try_deb.sh
    rm -rf "$work/deb" && mkdir "$work/deb"
    (cd "$build_dir" && cpack -G DEB -B "$work/deb" >"$work/cpack.log" 2>&1) || { cat "$work/cpack.log"; fail "cpack failed"; }
    runtime=$(echo "$work"/deb/reelm_*.deb) devel=$(echo "$work"/deb/libreelm-dev_*.deb)
    depends=$(dpkg-deb -f "$runtime" Depends)
    for library in libc6 libavcodec59 libseccomp2 libdnnl; do
      [[ "$depends" == *"$library"* ]] || fail "reelm does not depend on $library: $depends"
    done
    [[ "$(dpkg-deb -f "$devel" Depends)" == *libavformat-dev* ]] || fail "libreelm-dev does not depend on libavformat-dev"
    grep -q usr/include/reelm/pipeline/engine.h <<<"$(dpkg-deb -c "$devel")" || fail "libreelm-dev has no headers"
    ! grep -E 'include/|\.a$' <<<"$(dpkg-deb -c "$runtime")" || fail "reelm has development files"
    dpkg-deb -x "$runtime" "$work/deb/tree"
    expect_answer "$work/deb/tree/usr/bin/reelm" ask "$work/deb/tree/usr/$model/sample.mp4" "$(sample question)"
    ;;
  shared)  # the same objects as one shared library: its name, what it exports, a program that uses it
    shared=$(dirname "$build_dir")/shared  # as deep as the other, so that ccache knows its objects
    rm -rf "$shared" "$work/shared-prefix"
    cmake -G Ninja -S "$source_dir" -B "$shared" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON \
      -DREELM_BUILD_TESTS=OFF -DREELM_BUILD_BENCH=OFF -DCMAKE_CXX_COMPILER="$compiler" >"$work/shared.log"
    cmake --build "$shared" >>"$work/shared.log" || { tail "$work/shared.log"; fail "the shared library does not build"; }
    cmake --install "$shared" --prefix "$work/shared-prefix" >>"$work/shared.log"
    library=$(find "$work/shared-prefix" -name 'libreelm.so')
    version=$("$work/shared-prefix/bin/reelm" --version)
    version=${version#reelm }
    readelf -d "$library" | grep -qF "[libreelm.so.${version%.*}]" || fail "the soname is not libreelm.so.${version%.*}"
    strangers=$(nm -DC --defined-only "$library" | grep -vE ' [A-Za-z] (.* for )?reelm::| A REELM_' || true)
    [[ -z "$strangers" ]] || fail "the library exports other names than reelm's: $(head -n 3 <<<"$strangers")"
    cmake -S "$source_dir/examples/ask" -B "$work/shared-consumer" -DCMAKE_PREFIX_PATH="$work/shared-prefix" \
      -DCMAKE_CXX_COMPILER="$compiler" >>"$work/shared.log"
    cmake --build "$work/shared-consumer" >>"$work/shared.log"
    expect_answer "$work/shared-consumer/ask" "$work/shared-prefix/$model" "$work/shared-prefix/$model/sample.mp4" \
      "$(sample question)"
    ;;
  *) fail "unknown step '$step'" ;;
esac
