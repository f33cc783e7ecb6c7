#!/usr/bin/env bash
# vm.sh SOURCE BUILD: a Debian 12 as operators have it, in a virtual machine (OP-7, L4): its own kernel with IPVS, systemd as
# the first process, the packages of BUILD installed by dpkg. units.sh has a systemd, but neither IPVS nor a kernel of its own,
# and tests/ipvs/ no systemd: here the daemons meet both, inside their units' sandboxes.
#
# The machine's files are one archive that the kernel unpacks into memory: mmdebstrap's root (kept in BUILD/vm-root), our
# package, the modules of the kernel that tests/ipvs/bed.sh fetches. Its network is a pair of interfaces to a namespace `there`,
# where the client and a server are. What the script says inside goes out by the second serial port. LBCLUSTER_VM_KEEP=FOLDER
# keeps console and report there. Exit code: 0 good, 1 not, 77 this machine cannot do it.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
daemons="heartbeatd healthd forwarderd replicatord"

if [ "${1-}" != inside ]; then
    source_dir=$(realpath "$1") build_dir=$(realpath "$2")
    source "$here/debian_root.sh"
    [ "$(id -u)" = 0 ] || { echo "needs root"; exit 77; }
    PATH=$PATH:/usr/sbin:/sbin
    for program in qemu-system-x86_64 depmod cpio; do
        command -v $program >/dev/null || { echo "$program is not installed"; exit 77; }
    done
    kernel=$("$source_dir/tests/ipvs/bed.sh" --kernel) || exit 77
    release=$(basename "$kernel"/lib/modules/*)
    debian_root "$build_dir/vm-root" "$build_dir/test-packages" \
        busybox-static,curl,dbus,iproute2,iputils-ping,ipvsadm,kmod,procps,systemd-sysv,udev,util-linux

    scratch=$(mktemp -d)
    qemu=""
    leave() {
        [ -z "$qemu" ] || { kill "$qemu"; wait "$qemu"; } 2>/dev/null || true
        ! mountpoint -q "$scratch/root" || umount -l "$scratch/root"
        ! mountpoint -q "$scratch/layer" || umount -l "$scratch/layer"
        rm -rf "$scratch"
    }
    trap leave EXIT
    trap 'exit 130' INT TERM HUP
    mkdir "$scratch"/{layer,root}
    mount -t tmpfs tmpfs "$scratch/layer"
    mkdir "$scratch"/layer/{upper,work}
    mount -t overlay -o "lowerdir=$build_dir/vm-root/root,upperdir=$scratch/layer/upper,workdir=$scratch/layer/work" \
        overlay "$scratch/root" 2>/dev/null || { echo "no overlay file system"; exit 77; }
    cd "$scratch/root"
    mkdir -p bed srv "lib/modules/$release/kernel/drivers"
    install -m 755 "$here/vm.sh" "$here/systemd_bed.sh" bed/
    cp "$build_dir"/test-packages/old/lbcluster_*.deb bed/old.deb
    cp "$build_dir"/test-packages/new/lbcluster_*.deb bed/new.deb
    cp "$kernel/lib/modules/$release"/modules.{order,builtin,builtin.modinfo} "lib/modules/$release/"
    cp -r "$kernel/lib/modules/$release/kernel"/{net,lib,crypto} "lib/modules/$release/kernel/"
    cp -r "$kernel/lib/modules/$release/kernel/drivers/net" "lib/modules/$release/kernel/drivers/"
    depmod -b . "$release"
    echo lb1 >etc/hostname
    echo "127.0.0.1 localhost lb1" >etc/hosts
    tr -d - </proc/sys/kernel/random/uuid >etc/machine-id
    echo "the real server" >srv/index.html
    cat >etc/systemd/system/lan.service <<'UNIT'
[Unit]
DefaultDependencies=no
Before=network.target
After=systemd-udevd.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bed/vm.sh inside lan
UNIT
    cat >etc/systemd/system/inside.service <<'UNIT'
[Service]
ExecStart=/bed/vm.sh inside
ExecStopPost=systemctl poweroff --force
StandardOutput=file:/dev/ttyS1
StandardError=inherit
UNIT
    mkdir -p etc/systemd/system/multi-user.target.wants
    ln -s ../lan.service ../inside.service etc/systemd/system/multi-user.target.wants/
    for unit in getty@tty1 serial-getty@ttyS0 apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer; do
        case $unit in *.timer) ;; *) unit+=.service ;; esac
        ln -sf /dev/null "etc/systemd/system/$unit"
    done
    # Nothing is started in here; in the machine systemd does.
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive unshare -m -p -u --fork --mount-proc="$PWD/proc" \
        chroot . sh -c 'hostname lb1 && dpkg -i /bed/old.deb' >"$scratch/dpkg" 2>&1 || { cat "$scratch/dpkg"; exit 1; }
    rm -rf usr/share/{man,locale,doc/[!l]*} usr/lib/python3* var/lib/apt/lists/* var/cache/apt/*
    find . -xdev | cpio --quiet -o -H newc >"$scratch/files.cpio"
    cd /
    umount "$scratch/root" "$scratch/layer"

    touch "$scratch/report"
    tail -f -n +1 "$scratch/report" --pid=$$ & teller=$!
    # The kernel's options: bed.sh.
    timeout -k 3 800 qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max -smp 2 -m 2048 \
        -nodefaults -no-user-config -display none -no-reboot -kernel "$kernel/vmlinux" -initrd "$scratch/files.cpio" \
        -serial "file:$scratch/console" -serial "file:$scratch/report" \
        -append "console=ttyS0 quiet panic=-1 oops=panic tsc=unstable no_timer_check mitigations=off no5lvl audit=0 \
cryptomgr.notests rcupdate.rcu_expedited=1 rdinit=/lib/systemd/systemd systemd.show_status=0" 2>"$scratch/qemu" &
    qemu=$!
    wait $qemu || true
    qemu=""
    kill $teller 2>/dev/null && wait $teller 2>/dev/null || true
    [ -z "${LBCLUSTER_VM_KEEP-}" ] || cp "$scratch"/{console,report} "$LBCLUSTER_VM_KEEP"
    ! tr -d '\r' <"$scratch/report" | grep -qx 'all good' || exit 0
    cat "$scratch/qemu"
    echo "The kernel's last lines:"
    tail -n 40 "$scratch/console" || true
    exit 1
fi

# ---- inside ----
if [ "${2-}" = lan ]; then
    ip link set lo up
    ip netns add there
    ip link add eth0 type veth peer name eth0 netns there
    ip addr add 10.9.0.11/24 dev eth0
    ip link set eth0 up
    ip -n there addr add 10.9.0.1/24 dev eth0
    ip -n there addr add 10.9.0.21/24 dev eth0
    ip -n there link set lo up
    ip -n there link set eth0 up
    for port in 80 8080; do ip netns exec there busybox httpd -p 10.9.0.21:$port -h /srv; done
    exit
fi

export HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
source "$here/systemd_bed.sh"
until_seconds=100   # programs take their time in here
fail() {
    echo "FAILED: $*"
    {
        tail -n 20 /run/dpkg
        systemctl --failed --no-legend
        # shellcheck disable=SC2086
        systemctl status --no-pager -l $daemons
        lbcluster status
        ipvsadm -Ln
        ip -br addr
        journalctl --no-pager -n 30 -p notice
    } 2>&1 || true
    exit 1
}
all_active() { for daemon in $daemons; do systemctl -q is-active "$daemon" || return 1; done; }
no_alarm_of_rights() {
    local told
    told=$(lbcluster status --json | tr -d ' \n')
    [[ $told == *'"alarms":['* ]] && ! grep -qE '"id":"(not-realtime|memory-not-locked|no-ipvs|forward-failed|sysctls-not-set|owned-not-stored|forward-events-not-stored|services-not-served|no-haproxy|proxy-failed|replica-[a-z-]*|replication-[a-z-]*)"' <<<"$told"
}

until_true "the machine has booted" systemctl is-system-running --wait
until_true "all daemons run" all_active
[ -z "$(systemctl --failed --no-legend)" ] || fail "units have failed"
grep -q '^ip_vs ' /proc/modules || fail "IPVS is not loaded"
until_true "a single node, as the package makes it, works" lbcluster status
until_true "and has no alarm about a right" no_alarm_of_rights

# ---- sandboxes ----
status_has() { grep -qE "^$2" "/proc/$1/status"; }
inside_of() { nsenter -t "$1" -m sh -c "$2" 2>/dev/null; }
confined() {   # confined DAEMON CAPABILITIES
    local pid
    pid=$(shown "$1" MainPID)
    status_has "$pid" 'NoNewPrivs:.*1$' || fail "$1: new privileges are possible"
    status_has "$pid" 'Seccomp:.*2$' || fail "$1: no system call filter"
    status_has "$pid" "CapBnd:.*$2\$" || fail "$1: other capabilities than $2: $(grep CapBnd "/proc/$pid/status")"
    inside_of "$pid" ': >/run/lbcluster/written && rm /run/lbcluster/written' || fail "$1 cannot write to /run/lbcluster"
    local folder
    for folder in /usr/bin /etc /root /home /lib/modules /sys/kernel; do
        ! inside_of "$pid" ": >$folder/written" || fail "$1 can write to $folder"
    done
    ! inside_of "$pid" "ls /lib/modules/*" >/dev/null || fail "$1 sees kernel modules"
    echo "ok: $1 is confined"
}
confined heartbeatd 0000000000807000   # network: addresses, raw frames; priorities, locked memory
confined healthd 00000000000020e0      # raw frames, other users, signals
confined forwarderd 00000000000034e0   # network, low ports, other users, signals
confined replicatord 000000000000000a  # files of others
# The devices that a unit's processes may open.
opens() { sh -c "echo \$\$ >/sys/fs/cgroup/system.slice/$1.service/cgroup.procs && : <$2" 2>/dev/null; }
for daemon in $daemons; do
    opens "$daemon" /dev/null || fail "$daemon cannot open /dev/null"
    ! opens "$daemon" /dev/kmsg || fail "$daemon can open the kernel's log"
done
opens heartbeatd /dev/ttyS1 || fail "heartbeatd cannot open a serial device"
! opens healthd /dev/ttyS1 || fail "healthd can open a serial device"
echo "ok: they open the devices that they need"

# ---- addresses, layers 4 and 7 ----
# A lease for a machine in which a restart takes seconds.
printf 'heartbeat: {vip_lease: 30s}\nfloating_ips: [{address: 10.9.0.50}]\n' >/run/new.yaml
lbcluster config apply /run/new.yaml >/dev/null || fail "config apply"
until_true "a floating IP is set" holds 10.9.0.50/32
lbcluster service add web address=10.9.0.50 ports=80 method=snat >/dev/null || fail "service add web"
lbcluster server add web rs1 address=10.9.0.21 >/dev/null || fail "server add web"
lbcluster service add proxied address=10.9.0.50 ports=83 method=proxy >/dev/null || fail "service add proxied"
lbcluster server add proxied rs1 address=10.9.0.21 port=8080 >/dev/null || fail "server add proxied"
programmed() { ipvsadm -Sn | grep -q -- '-r 10.9.0.21:80 -m'; }
until_true "IPVS has the service and its server" programmed
asked() { ip netns exec there curl -s -m 4 --interface 10.9.0.1 "http://10.9.0.50:$1/" | grep -qx "the real server"; }
until_true "a request through IPVS is answered" asked 80
counted() { ipvsadm -Ln --stats | awk '$2 == "10.9.0.21:80" && $3 > 0 { found = 1 } END { exit !found }'; }
until_true "and counted there" counted
[ "$(cat /proc/sys/net/ipv4/vs/conntrack)" = 1 ] || fail "the sysctls of IPVS are not set"
until_true "a request through HAProxy is answered" asked 83
# Debian starts one of its own as well.
proxy_master() { pgrep -o -f -- '-S /run/lbcluster/haproxy-master.sock,'; }
proxy=$(proxy_master)
status_has "$proxy" 'NoNewPrivs:.*1$' || fail "HAProxy: new privileges are possible"
pgrep -u haproxy -P "$proxy" -x haproxy >/dev/null || fail "HAProxy has not become another user"
until_true "no alarm about a right" no_alarm_of_rights

# ---- ends of all kinds ----
for daemon in $daemons; do
    pid=$(shown "$daemon" MainPID)
    kill -9 "$pid"
    until_true "$daemon, killed, is started again" another "$pid" "$daemon"
done
holds 10.9.0.50/32 || fail "the address did not stay"
asked 80 || fail "IPVS did not stay"
asked 83 || fail "HAProxy did not stay"
ip monitor address >/run/addresses &
monitor=$!
pid=$(shown heartbeatd MainPID)
systemctl restart heartbeatd
until_true "heartbeatd, restarted, is another process" another "$pid"
until_true "and serves" asked 80
before=$(for daemon in $daemons; do shown "$daemon" MainPID; done)
dpkg -i /bed/new.deb >/run/dpkg 2>&1 </dev/null || fail "the upgrade"
until_true "after an upgrade all daemons run" all_active
for pid in $before; do [ ! -e "/proc/$pid" ] || fail "process $pid is of the old package"; done
until_true "IPVS goes on" asked 80
[ "$(proxy_master)" = "$proxy" ] || fail "HAProxy was started again"
until_true "HAProxy goes on" asked 83
kill "$monitor"
grep '^Deleted.*10\.9\.0\.50' /run/addresses && fail "the address was away"
grep -qF 10.9.0.50 /run/addresses || fail "the monitor was blind"
echo "ok: restarted and upgraded, the address was never away"

# The watchdogs, all at once: the slowest one needs 60 s.
declare -A stopped
for daemon in $daemons; do
    stopped[$daemon]=$(shown "$daemon" MainPID)
    kill -STOP "${stopped[$daemon]}"
done
until_seconds=200
for daemon in $daemons; do
    until_true "$daemon, frozen, is ended and started again" another "${stopped[$daemon]}" "$daemon"
done
until_true "it holds the address again" holds 10.9.0.50/32
until_true "and answers" asked 80
until_true "HAProxy, too" asked 83
[ -z "$(systemctl --failed --no-legend)" ] || fail "units have failed"
bed_good
