#!/usr/bin/env bash
# bed.sh [OPTIONS] [--] [COMMAND ARGS...]: runs COMMAND as root on a kernel that has IPVS, in network, mount and pid
# namespaces of its own. On this machine's kernel if that has IPVS; otherwise in a virtual machine (QEMU without KVM)
# with Debian's generic kernel, which sees this machine's files. What COMMAND writes there is gone afterwards.
# docs/ipvs-tests.md tells how it works.
#
#   --timeout SECONDS    COMMAND is ended after that (default 300)
#   --modules "A B..."   kernel modules to load beforehand; what iproute2, nft and ipvsadm ask for is loaded by itself
#   --share DIR          what is written to DIR stays
#   --tty                COMMAND uses this terminal; without COMMAND always, and it is a shell then
#   --vm                 the virtual machine even if this kernel has IPVS
#   --cpus N, --memory MB   of the virtual machine (default 2 and 2048)
#   --kernel             runs nothing: names the folder of the virtual machine's kernel, vmlinux and lib/modules/RELEASE, which
#                        it downloads if need be
#
# COMMAND gets the working directory, and of the environment PATH, HOME, LANG, TERM, LBCLUSTER_*, GTEST_* and the
# sanitizers' options. Without --tty its standard input is empty.
# Exit code: COMMAND's; 124 it took too long, 125 there is no such bed, or it broke, 130 interrupted.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
cache=${LBCLUSTER_BED_CACHE:-/var/cache/lbcluster-bed}
limit=300 modules="" share="" tty=no vm=no kernel_only=no cpus=2 memory=2048

die() { printf 'bed: %s\n' "$*" >&2; exit 125; }
usage() { sed -n '2,18s/^# \{0,1\}//p' "$0" >&2; exit 125; }

while [ $# -gt 0 ]; do
    case $1 in
    --timeout) limit=${2-}; shift ;;
    --modules) modules=${2-}; shift ;;
    --share) share=${2-}; shift ;;
    --cpus) cpus=${2-}; shift ;;
    --memory) memory=${2-}; shift ;;
    --tty) tty=yes ;;
    --vm) vm=yes ;;
    --kernel) kernel_only=yes vm=yes ;;
    --) shift; break ;;
    -*) usage ;;
    *) break ;;
    esac
    shift || usage
done
for number in "$limit" "$cpus" "$memory"; do [[ $number =~ ^[1-9][0-9]*$ ]] || usage; done
if [ $# = 0 ] && [ $kernel_only = no ]; then tty=yes; set -- bash; fi
if [ -n "$share" ]; then share=$(realpath -e "$share") || die "--share: no folder of that name"; fi
[ "$tty" = no ] || { [ -t 0 ] && [ -t 1 ]; } || die "this is no terminal: name a COMMAND, without --tty"
# Where the caller reads both from one place they keep their order.
streams=2
[ ! /proc/self/fd/1 -ef /proc/self/fd/2 ] || streams=1

# Of one that was killed, the folder is still there and nobody holds its lock.
while IFS= read -r left; do
    (flock -n 9 && rm -rf "$left") 9<"$left" || true
done < <(find /tmp -maxdepth 1 -name 'lbcluster-bed.*' -user "$(id -u)" -mmin +1)
scratch=$(mktemp -d /tmp/lbcluster-bed.XXXXXX)
exec 9<"$scratch"
flock 9
worker="" terminal=""
leave() {
    [ -z "$worker" ] || { kill -9 "$worker"; wait "$worker"; } 2>/dev/null || true
    [ -z "$terminal" ] || stty "$terminal"
    rm -rf "$scratch"
}
trap leave EXIT
trap 'exit 130' INT TERM HUP

# ---- what is done in the bed, the same on either kernel ----
environment=()
while IFS= read -r -d '' entry; do
    [[ $entry =~ ^(PATH|HOME|LANG|TERM|(LBCLUSTER|GTEST)_[A-Za-z0-9_]*|[A-Z]*SAN_OPTIONS)= ]] && environment+=("$entry")
done < <(env -0)
{
    echo 'mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs /run'
    echo 'ip link set lo up'
    for module in $modules; do
        printf 'modprobe -q %q || echo "bed: this kernel has no module %s" >&2\n' "$module" "$module"
    done
    printf 'cd %q || exit 125\n' "$PWD"
    printf '%q ' "$@"
    printf '\nexit $?\n'   # not exec: a signal without a handler means nothing to the first process of a namespace
} >"$scratch/command"
inside=(env -i "${environment[@]}" unshare --net --mount --pid --fork --kill-child --mount-proc bash "$scratch/command")

# Ends with this script, whatever ends it.
supervised() { exec setpriv --pdeathsig TERM timeout --foreground -k 3 "$limit" setpriv --pdeathsig KILL "$@"; }
await_worker() {   # its exit code in $code, unless its time was up
    code=0
    wait "$worker" || code=$?
    worker=""
    if { [ "$code" = 124 ] || [ "$code" = 137 ]; } && [ "$SECONDS" -ge "$limit" ]; then
        printf '\nbed: no end after %s s\n' "$limit" >&2
        exit 124
    fi
}

# ---- on this kernel ----
has_ipvs() {
    [ "$(id -u)" = 0 ] || return 1
    [ -e /proc/net/ip_vs ] || modprobe -q ip_vs 2>/dev/null || return 1
    [ -e /proc/net/ip_vs ]
}

if [ "$vm" = no ] && has_ipvs; then
    exec 3<&0
    [ "$tty" = yes ] || exec 3</dev/null
    supervised "${inside[@]}" <&3 &
    worker=$!
    await_worker
    exit "$code"
fi

# ---- in a virtual machine ----
[ "$(uname -m)" = x86_64 ] || die "this kernel has no IPVS, and there is a virtual machine for x86_64 only"
for program in qemu-system-x86_64 depmod cpio busybox; do
    [ -n "$(PATH=$PATH:/usr/sbin:/sbin command -v "$program")" ] ||
        die "this kernel has no IPVS (or you are not root) and $program is missing for a virtual machine:" \
            "apt-get install --no-install-recommends qemu-system-x86 busybox-static kmod cpio"
done
PATH=$PATH:/usr/sbin:/sbin

# The newest kernel of the cache: NAME/vmlinux and NAME/lib/modules/RELEASE.
cached() {
    find "$cache" -mindepth 2 -maxdepth 2 -path "$cache/linux-image-*/vmlinux" -printf '%h\n' 2>/dev/null |
        sort -V | tail -1
}

# The kernel without its compression, which QEMU starts directly: that saves the guest two seconds of xz. Where the
# payload lies is told by the boot protocol, Documentation/arch/x86/boot.rst.
uncompressed() {
    number() { od -An -v "-tu$2" -j "$(($1))" "-N$2" "$3" | tr -d ' '; }
    local begin length
    begin=$((($(number 0x1f1 1 "$1") + 1) * 512 + $(number 0x248 4 "$1")))
    length=$(number 0x24c 4 "$1")
    dd if="$1" bs=64k iflag=skip_bytes,count_bytes skip="$begin" count=$((length - 4)) status=none | xz -dc
}

# Debian's generic kernel, not installed: the cloud kernel has no 9p.
download() {
    local name work release
    name=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | tail -1)
    [ -n "$name" ] || die "apt knows no linux-image-amd64: apt-get update"
    echo "bed: getting $name, once" >&2
    work=$cache/new
    rm -rf "$work"
    mkdir -p "$work/deb" "$work/tree"
    (cd "$work/deb" && apt-get -q download "$name" >../log 2>&1) || die "cannot download $name: $(cat "$work/log")"
    dpkg-deb -x "$work"/deb/*.deb "$work/tree"
    release=${name#linux-image-}
    uncompressed "$work/tree/boot/vmlinuz-$release" >"$work/vmlinux" ||
        die "$name is not compressed by xz, which bed.sh counts on"
    mkdir "$work/lib"
    mv "$work/tree/lib/modules" "$work/lib/"
    # No real hardware: 400 MB become 90.
    (
        cd "$work/lib/modules/$release/kernel"
        find drivers -mindepth 1 -maxdepth 1 ! -name char ! -name net ! -name virtio -exec rm -rf {} +
        rm -rf sound drivers/net/{ethernet,wireless,usb,wwan,can,dsa,phy}
    )
    depmod -b "$work" "$release"
    rm -rf "$work/deb" "$work/tree" "$work/log"
    mv "$work" "$cache/$name"
}

mkdir -p "$cache" 2>/dev/null ||
    die "cannot make $cache for the kernel: name another folder in LBCLUSTER_BED_CACHE"
if [ -z "$(cached)" ]; then
    (flock 8; if [ -z "$(cached)" ]; then download; fi) 8>"$cache/lock"
fi
kernel=$(cached)
[ $kernel_only = no ] || { echo "$kernel"; exit 0; }
release=$(basename "$kernel"/lib/modules/*)

# What it needs to reach this machine's files, where all other modules are; and what nearly every test uses: from here a
# module takes 20 ms, asked for later 100.
preloaded=(virtio_pci virtio_console 9p 9pnet_virtio overlay veth bridge ip_vs ip_vs_rr ip_vs_wrr ip_vs_lc ip_vs_wlc
    nf_tables nft_ct nft_chain_nat nft_nat nft_masq nft_fib_inet nft_reject_inet nft_numgen nft_meta_bridge)
mkdir -p "$scratch"/initrd/{bin,modules,dev,proc,sys,lower,upper,new}
cp "$(command -v busybox)" "$scratch/initrd/bin/busybox"
install -m 755 "$here/bed_initrd.sh" "$scratch/initrd/init"
cp "$here/bed_guest.sh" "$scratch/guest"
number=100
while read -r module; do
    number=$((number + 1))
    cp "$module" "$scratch/initrd/modules/$number.ko"
done < <(for module in "${preloaded[@]}"; do
    modprobe -d "$kernel" -S "$release" --show-depends "$module"
done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++')
(cd "$scratch/initrd" && find . | cpio --quiet -o -H newc) >"$scratch/initrd.cpio"
rm -rf "$scratch/initrd"

{
    declare -p inside tty streams share
    if [ "$tty" = yes ]; then printf 'terminal_size=%q\n' "$(stty size)"; fi
} >"$scratch/job"
touch "$scratch/code"
ln -s "$(realpath "$kernel")/lib/modules" "$scratch/modules"
mkfifo "$scratch/out" "$scratch/err"

qemu=(qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max -smp "$cpus" -m "$memory"
    -nodefaults -no-user-config -display none -no-reboot -kernel "$kernel/vmlinux" -initrd "$scratch/initrd.cpio"
    # panic=-1: reboot at once, and -no-reboot makes that the end. tsc, no_timer_check: when this machine is busy with
    # other work, the kernel measures its TSC wrong by factors or finds its timer broken; the HPET is always right.
    -append "console=ttyS0 quiet panic=-1 oops=panic tsc=unstable no_timer_check mitigations=off no5lvl lsm= audit=0
 cryptomgr.notests rcupdate.rcu_expedited=1 bed_scratch=$scratch"
    -chardev "file,id=console,path=$scratch/console" -serial chardev:console
    -fsdev "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap"
    -device virtio-9p-pci,fsdev=root,mount_tag=root
    -device virtio-serial-pci
    -chardev "file,id=code,path=$scratch/code" -device virtserialport,chardev=code,nr=1)
if [ -n "$share" ]; then
    qemu+=(-fsdev "local,id=share,path=$share,security_model=none,multidevs=remap"
        -device virtio-9p-pci,fsdev=share,mount_tag=share)
fi
exec 3</dev/null
readers=()
if [ "$tty" = yes ]; then
    exec 3<&0
    terminal=$(stty -g)
    qemu+=(-chardev stdio,id=tty,signal=off -device virtconsole,chardev=tty,nr=2)
else
    qemu+=(-chardev "file,id=out,path=$scratch/out" -device virtserialport,chardev=out,nr=2
        -chardev "file,id=err,path=$scratch/err" -device virtserialport,chardev=err,nr=3)
    cat "$scratch/out" & readers+=($!)
    cat "$scratch/err" >&2 & readers+=($!)
fi
supervised "${qemu[@]}" <&3 2>"$scratch/qemu" &
worker=$!
await_worker
# Readers whose pipe QEMU never opened get their end too.
exec 4<>"$scratch/out" 5<>"$scratch/err" 4>&- 5>&-
for reader in "${readers[@]}"; do wait "$reader"; done

told=$(cat "$scratch/code")
[ -z "$told" ] || exit "$told"
{
    echo
    cat "$scratch/qemu"
    echo "bed: the virtual machine ended without a word (QEMU: $code). The kernel's last lines:"
    tail -n 60 "$scratch/console" 2>/dev/null || true
} >&2
exit 125
