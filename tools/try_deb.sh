#!/usr/bin/env bash
# The Debian packages on a bare Debian 12: tools/try_deb.sh BUILD_DIR SCRATCH_DIR    (as root; needs debootstrap, cpack)
# Makes a minimal system in SCRATCH_DIR/root, installs reelm there by apt with nothing else of ours, and asks the embedded
# model about its sample clip; then libreelm-dev, and builds examples/ask with it.
set -euo pipefail
build_dir=$(realpath "$1")
mkdir -p "$2"
scratch=$(realpath "$2")
source_dir=$(realpath "$(dirname "$0")/..")
root=$scratch/root
in_root() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"; }

package() { basename "$scratch/packages/$1"_*.deb | sed 's|^|/|'; }  # its path in the root

if [[ ! -x $root/usr/bin/apt-get ]]; then
  mirror=$(grep -rhoE '(https?|file)://[^ ]*debian/?' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | head -n 1 || true)
  debootstrap --variant=minbase bookworm "$root" "${mirror:-http://deb.debian.org/debian}"
fi
rm -rf "$scratch/packages" "$root"/*.deb "$root/example"
(cd "$build_dir" && cpack -G DEB -B "$scratch/packages" >/dev/null)
cp "$scratch"/packages/*.deb "$root/"
mount --bind /proc "$root/proc"
trap 'umount "$root/proc"' EXIT
in_root apt-get update -q
in_root apt-get install -q -y --no-install-recommends "$(package reelm)"
clip=/usr/share/reelm/models/demo/sample.mp4
in_root reelm ask --sandbox on "$clip" "Which direction does the yellow square move?"
in_root apt-get install -q -y --no-install-recommends "$(package libreelm-dev)" g++ make
cp -r "$source_dir/examples/ask" "$root/example"
in_root make -s -C /example
in_root /example/ask /usr/share/reelm/models/demo "$clip" "Which direction does the yellow square move?"
