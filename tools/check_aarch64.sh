#!/usr/bin/env bash
# Compiles core/, kernels/ and layers/ (with --all every source of the library) for AArch64 with a
# cross compiler (Debian: g++-aarch64-linux-gnu), warnings as errors; nothing is linked or run.
#   tools/check_aarch64.sh [--all]
# Headers of the libraries are this machine's own: those used here do not depend on the processor.
set -euo pipefail
cd "$(dirname "$0")/.."

compiler=${AARCH64_CXX:-aarch64-linux-gnu-g++}
if ! command -v "$compiler" >/dev/null; then
  echo "check_aarch64.sh: $compiler: no such program (Debian: g++-aarch64-linux-gnu)" >&2
  exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The libraries' headers alone: /usr/include as a whole has this machine's C library in it.
mkdir "$work/include"
multiarch=$(g++ -print-multiarch)
for path in fmt nlohmann eigen3 CLI oneapi unicode webp png.h pngconf.h pnglibconf.h libpng16 jpeglib.h \
            jmorecfg.h jerror.h zlib.h zconf.h sentencepiece_processor.h google xxhash.h; do
  [[ -e /usr/include/$path ]] && ln -s "/usr/include/$path" "$work/include/"
done
for path in /usr/include/dnnl* "/usr/include/$multiarch"/lib{av,sw}* "/usr/include/$multiarch/jconfig.h" \
            "/usr/include/$multiarch/zconf.h"; do
  [[ -e $path ]] && ln -sf "$path" "$work/include/"
done

folders=('core/*.cc' 'kernels/*.cc' 'layers/*.cc')
[[ ${1:-} == --all ]] && folders+=('preprocess/*.cc' 'vision/*.cc' 'llm/*.cc' 'pipeline/*.cc')
tools/list_files.sh "${folders[@]}" | tr '\0' '\n' | grep -vE '/(avx2|avx512|avx512bf16|amx)(/|\.cc$)' >"$work/sources"
compile() {
  "$@" -c -o /dev/null || { echo "check_aarch64.sh: ${*: -1} does not compile" >&2; return 1; }
}
export -f compile
xargs -P "$(nproc)" -I{} bash -c 'compile "$@"' _ \
  "$compiler" -std=c++20 -O1 -fopenmp -fPIC -Wall -Wextra -Wpedantic -Wshadow -Werror -Wno-psabi \
  -ffp-contract=off '-DREELM_VERSION="0"' -I. -isystem "$work/include" -isystem "$work/include/eigen3" {} <"$work/sources"
echo "$(wc -l <"$work/sources") sources compile for AArch64"
