# A real systemd as PID 1 of namespaces of its own, to be sourced: its root is this machine's with a layer on top that is
# thrown away, its network a pair of interfaces. The script SOURCE BUILD that sources it has a function `prepare`, run before
# systemd starts in the root folder to be, and `fail WHAT`; then it calls `bed "$@"`, which returns in the running system
# only: what follows is a service there, writes the report and ends by `bed_good`. `wanted_units`: what the system starts
# besides. Exit code of the script: 0 good, 1 not, 77 this machine cannot do it (no overlay file system, no place for
# systemd's cgroups).
source_dir=${1-} build_dir=${2-}
self=$(readlink -f "$0")
wanted_units=""

bed_good() { [ ! -d /out ] || touch /out/good; echo "all good"; }

bed_outside() {
    [ -x /lib/systemd/systemd ] || { echo "systemd is not installed"; exit 77; }
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    mkdir "$scratch/out"
    LBCLUSTER_BED=boot timeout -k 5 90 unshare -n -m -p -i -u --fork --kill-child "$self" "$source_dir" "$build_dir" "$scratch" \
        >"$scratch/boot" 2>&1 || true
    if grep -q '^cannot:' "$scratch/boot"; then cat "$scratch/boot"; exit 77; fi
    cat "$scratch/out/report" 2>/dev/null || { cat "$scratch/boot"; echo "systemd never came so far"; exit 1; }
    [ -e "$scratch/out/good" ] || exit 1
}

bed_root() {
    cannot() { echo "cannot: $*"; exit 1; }
    mount --make-rprivate /
    mkdir "$scratch/layer" "$scratch/root"
    mount -t tmpfs tmpfs "$scratch/layer"
    mkdir "$scratch/layer/upper" "$scratch/layer/work"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$scratch/layer/upper,workdir=$scratch/layer/work" "$scratch/root" ||
        cannot "no overlay file system"
    cd "$scratch/root"
    mkdir out bed
    mount --bind "$scratch/out" out
    install -m 755 "$self" bed/script
    install -m 644 "$(dirname "$self")/systemd_bed.sh" bed/
    rm -f usr/sbin/policy-rc.d   # containers have it: nothing would be started
}

bed_units() {
    cat >etc/systemd/system/inside.service <<UNIT
[Unit]
After=$wanted_units
[Service]
Type=oneshot
Environment=LBCLUSTER_BED=inside
ExecStart=/bed/script
StandardOutput=file:/out/report
StandardError=inherit
ExecStopPost=/bin/kill -s 37 1
UNIT
    # Signal 37 (SIGRTMIN+3) halts; as PID 1 of a container systemd ends.
    cat >etc/systemd/system/bed.target <<UNIT
[Unit]
Requires=basic.target
After=basic.target
Wants=$wanted_units inside.service
UNIT
    for unit in systemd-udevd systemd-udev-trigger systemd-networkd systemd-resolved systemd-logind systemd-tmpfiles-setup \
        systemd-timesyncd systemd-binfmt; do
        ln -sf /dev/null "etc/systemd/system/$unit.service"
    done
}

bed_boot() {
    ip link add eth0 type veth peer name other0
    ip addr add 10.9.0.11/24 dev eth0
    ip addr add fd09::11/64 dev eth0 nodad
    ip link set eth0 up
    ip link set other0 up
    mount -t proc proc proc
    mount -t sysfs sysfs sys
    mount -t tmpfs tmpfs sys/fs/cgroup
    mkdir sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd,xattr cgroup sys/fs/cgroup/systemd || cannot "no place for systemd's cgroups"
    mount -t tmpfs tmpfs run
    mount -t tmpfs tmpfs tmp
    mount --rbind /dev dev
    mkdir -p old
    pivot_root . old
    umount -l /old
    export container=lxc
    unset LBCLUSTER_BED
    exec /lib/systemd/systemd --system --unit=bed.target --log-target=console --show-status=false
}

bed() {
    case ${LBCLUSTER_BED:-outside} in
    outside)
        bed_outside
        exit 0
        ;;
    boot)
        scratch=$3
        bed_root
        prepare
        bed_units
        bed_boot
        ;;
    inside) ;;
    esac
}

shown() { systemctl show -p "$2" --value "$1"; }
until_seconds=10
# until_true WHAT COMMAND...: within until_seconds; `fail WHAT` is the script's own.
until_true() {
    local what=$1 end=$((SECONDS + until_seconds))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -le $end ] || fail "$what"
        sleep 0.1
    done
    echo "ok: $what"
}
holds() { ip -br addr show dev eth0 | grep -qF " $1 "; }
# another PID UNIT: it runs, as another process.
another() { local pid; pid=$(shown "${2:-heartbeatd}" MainPID); [ "$pid" != 0 ] && [ "$pid" != "$1" ] && systemctl -q is-active "${2:-heartbeatd}"; }
