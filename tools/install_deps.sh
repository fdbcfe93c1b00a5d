#!/usr/bin/env bash
# Installs the Debian packages that are missing, and touches nothing that is there.
#   tools/install_deps.sh [build] [test] [clang]    default: build
#   tools/install_deps.sh --list build      prints the packages and stops
# Nothing missing: needs no root, no network, and takes a moment.
set -euo pipefail

build_packages=(
  make cmake ninja-build ccache g++ pkg-config
  libfmt-dev nlohmann-json3-dev libcli11-dev libeigen3-dev          # formatting, JSON, arguments, oracle
  libavformat-dev libavcodec-dev libavutil-dev libswscale-dev       # video
  libjpeg62-turbo-dev libpng-dev libwebp-dev zlib1g-dev             # stills
  libopencv-core-dev libopencv-imgproc-dev                          # drawing
  libdnnl-dev libicu-dev libsentencepiece-dev libxxhash-dev         # matrix products, tokenizers, checksums
  libseccomp-dev                                                    # the decoder's sandbox
)
test_packages=(
  libgtest-dev libgmock-dev libbenchmark-dev
  ffmpeg             # makes the clips that tests decode
  libsimde-dev       # AVX-512 on machines without it
  g++-aarch64-linux-gnu  # the portable kernels compile for AArch64
  dpkg-dev binutils      # the Debian package, what is in a program
  clang-format git python3
)
clang_packages=(  # the presets clang and fuzz
  clang-14 libomp-14-dev
  libclang-rt-14-dev  # sanitizers and libFuzzer
)

list_only=false
if [[ "${1:-}" == --list ]]; then
  list_only=true
  shift
fi
packages=()
for group in "${@:-build}"; do
  case "$group" in
    build) packages+=("${build_packages[@]}") ;;
    test) packages+=("${test_packages[@]}") ;;
    clang) packages+=("${clang_packages[@]}") ;;
    *) echo "install_deps.sh: unknown group '$group' (build, test, clang)" >&2; exit 2 ;;
  esac
done
if $list_only; then
  printf '%s\n' "${packages[@]}"
  exit 0
fi

if ! command -v dpkg-query >/dev/null; then
  echo "install_deps.sh: not a Debian system; these packages (or their like) must be there:" >&2
  printf '  %s\n' "${packages[@]}" >&2
  exit 0  # they may well be: the configure step tells
fi

installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null) || true
missing=()
for package in "${packages[@]}"; do
  grep -qxF "$package installed" <<<"$installed" || missing+=("$package")
done
if [[ ${#missing[@]} -eq 0 ]]; then
  exit 0
fi

as_root=()
if [[ $(id -u) -ne 0 ]]; then
  if ! command -v sudo >/dev/null; then
    echo "install_deps.sh: packages are missing, and without root or sudo they cannot be installed. As root:" >&2
    echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "Installing ${#missing[@]} Debian packages: ${missing[*]}"
# The lists may be old or absent.
"${as_root[@]}" apt-get update -q -o Acquire::Retries=3 ||
  echo "install_deps.sh: apt-get update failed; going on with the lists that are there" >&2
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
  -o Acquire::Retries=3 "${missing[@]}"
