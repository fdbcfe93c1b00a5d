#!/usr/bin/env bash
# Runs programs of a build on a CPU this machine lacks (AVX-512, AVX512_BF16), in the Bochs emulator.
# By hand only, slow: docs/testing-avx512.md says what for.
#   tools/bochs_test.sh [-c MODEL] [-x FEATURES] [-m MB] [-n CPUS] [-t SECONDS] COMMANDS FILE...
#     -c MODEL     CPU of `bochs --help cpu` (sapphire_rapids has BF16 and needs Bochs 3; default)
#     -x FEATURES  what to take from that CPU, as Bochs 3 spells it: "avx512bf16 avx512fp16"
#     -m MB        memory of the guest (2048)      -n CPUS  processors (1)
#     -t SECONDS   ends the emulator then (3600)
#   COMMANDS are lines of sh that run in the guest, in a directory that holds the FILEs (directories
#   too) under the names given here; programs bring the libraries ldd names.
# Shows the guest's console and exits with the status of COMMANDS.
# Environment: BOCHS (program, default bochs), BXSHARE (its BIOS files, default /usr/share/bochs),
# KERNEL (a Linux bzImage, default the newest /boot/vmlinuz-*), DISPLAY_LIBRARY (default rfb, which
# Debian's bochs has and which needs no display; nogui where it was built in).
set -euo pipefail

model=sapphire_rapids without='' memory=2048 cpus=1 seconds=3600
while getopts c:x:m:n:t: option; do
  case $option in
    c) model=$OPTARG ;;
    x) without=$OPTARG ;;
    m) memory=$OPTARG ;;
    n) cpus=$OPTARG ;;
    t) seconds=$OPTARG ;;
    *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))
if [[ $# -lt 1 ]]; then
  sed -n '2,/^set/{s/^# \{0,1\}//p}' "$0" >&2
  exit 2
fi
commands=$1
shift

bochs=${BOCHS:-bochs}
share=${BXSHARE:-/usr/share/bochs}
kernel=${KERNEL:-$(ls -v /boot/vmlinuz-* 2>/dev/null | tail -n 1)}
isolinux=/usr/lib/ISOLINUX/isolinux.bin
loader=/usr/lib/syslinux/modules/bios/ldlinux.c32
need() { # need WHAT PACKAGE COMMAND...
  "${@:3}" >/dev/null 2>&1 || {
    echo "bochs_test.sh: needs $1 (Debian package $2)" >&2
    exit 2
  }
}
need bochs bochs command -v "$bochs"
need xorriso xorriso command -v xorriso
need cpio cpio command -v cpio
need "a static busybox" busybox-static test -x /bin/busybox
need isolinux.bin isolinux test -f "$isolinux"
need ldlinux.c32 syslinux-common test -f "$loader"
need "the emulator's BIOS" bochsbios test -f "$share/BIOS-bochs-latest"
need "a kernel: KERNEL=vmlinuz" linux-image-cloud-amd64 test -r "${kernel:-/nonexistent}"

work=$(mktemp -d)
emulator='' viewer=''
trap 'kill $emulator $viewer 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
root=$work/root
mkdir -p "$root"/{bin,proc,sys,dev,tmp,run} "$work/cd"
cp /bin/busybox "$root/bin/"

put() { # put FILE DESTINATION
  mkdir -p "$(dirname "$2")"
  cp -L "$1" "$2"
}
add_libraries() { # the absolute paths that ldd prints, the loader among them
  local library
  { ldd "$1" 2>/dev/null || true; } | grep -oE '/[^ ]+' | while read -r library; do
    [[ -e $root$library ]] || put "$library" "$root$library"
  done
}
for file in "$@"; do
  find "$file" -type f -print0 | while IFS= read -r -d '' one; do
    put "$one" "$root/run/$one"
    if [[ $(head -c 4 "$one" | tr -d '\0') == $'\x7fELF' ]]; then add_libraries "$one"; fi
  done
done
printf '%s\n' "$commands" >"$root/commands"
cat >"$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp OMP_WAIT_POLICY=passive
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
cd /run
sh /commands </dev/null
echo "bochs_test status $?"
while :; do sleep 1000; done
INIT
chmod +x "$root/init"
# The kernel unpacks LZ4 in a fraction of the instructions that gzip takes.
pack=(gzip -1)
if command -v lz4 >/dev/null; then pack=(lz4 -l -q); fi
(cd "$root" && find . | cpio -o -H newc --quiet | "${pack[@]}" >"$work/cd/initrd")
cp "$kernel" "$work/cd/vmlinuz"
cp "$isolinux" "$loader" "$work/cd/"
quiet=rcupdate.rcu_cpu_stall_suppress=1
cat >"$work/cd/isolinux.cfg" <<CFG
default linux
label linux
  kernel vmlinuz
  append initrd=initrd console=ttyS0 earlyprintk=ttyS0 quiet acpi=off mitigations=off nokaslr $quiet
CFG
xorriso -as mkisofs -quiet -o "$work/cd.iso" -b isolinux.bin -c boot.cat -no-emul-boot \
  -boot-load-size 4 -boot-info-table "$work/cd" 2>"$work/log.iso" || {
  cat "$work/log.iso" >&2
  exit 1
}

# Linux dies on Bochs's AMX tiles; none of our CPUs has them, and Bochs 2 knows no such option.
if [[ $model == sapphire_rapids ]]; then without="amx amx_int8 amx_bf16 $without"; fi
exclude=
if [[ -n $without ]]; then exclude=", exclude_features=\"$without\""; fi
cat >"$work/bochsrc" <<RC
megs: $memory
romimage: file=$share/BIOS-bochs-latest, options=fastboot
vgaromimage: file=$share/VGABIOS-lgpl-latest
cpu: model=$model, count=$cpus, ips=50000000, reset_on_triple_fault=0$exclude
clock: sync=none
display_library: ${DISPLAY_LIBRARY:-rfb, options="timeout=0"}
com1: enabled=1, mode=file, dev=$work/console
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path=$work/cd.iso, status=inserted
boot: cdrom
floppy_bootsig_check: disabled=1
log: $work/log
panic: action=fatal
error: action=report
info: action=report
debug: action=ignore
RC
touch "$work/console"
tail -f "$work/console" &
viewer=$!
timeout "$seconds" "$bochs" -q -f "$work/bochsrc" </dev/null >"$work/screen" 2>&1 &
emulator=$!
# Without ACPI (with it, Linux dies in what looks like the BIOS's SMM code) the guest cannot switch itself off.
while kill -0 $emulator 2>/dev/null; do
  if grep -qaE '^bochs_test status|Kernel panic' "$work/console"; then kill $emulator; fi
  sleep 1
done
wait $emulator || true
sleep 1 # for the viewer
status=$(tr -d '\r' <"$work/console" | sed -n 's/^bochs_test status //p' | tail -n 1)
if [[ -z $status ]]; then
  echo "bochs_test.sh: the guest did not finish; the emulator's last words:" >&2
  tail -n 15 "$work/log" "$work/screen" >&2 || true
  exit 1
fi
exit "$status"
