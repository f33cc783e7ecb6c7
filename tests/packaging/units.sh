#!/usr/bin/env bash
# units.sh SOURCE BUILD: the packaged units, started by a real systemd (systemd_bed.sh). Shows OP-7 (services): they start
# inside their sandbox, say that they are ready, are started again after a crash and adopt, reload, and stop in order.
set -euo pipefail
source "$(dirname "$(readlink -f "$0")")/systemd_bed.sh"
wanted_units="heartbeatd.service healthd.service forwarderd.service replicatord.service"

prepare() {
    install -m 755 "$build_dir/heartbeat/heartbeatd" "$build_dir/healthd/healthd" "$build_dir/forwarder/forwarderd" \
        "$build_dir/replicator/replicatord" usr/sbin/
    install -m 755 "$build_dir/cli/lbcluster" usr/bin/
    install -m 644 "$source_dir"/packaging/systemd/*.service etc/systemd/system/
    printf '#!/bin/sh\n[ "$(id -un)" = nobody ]\n' >usr/bin/who-am-i
    chmod 755 usr/bin/who-am-i
    # The accounts that the package makes.
    grep -q '^lbcluster:' etc/group || echo 'lbcluster:x:64549:' >>etc/group
    grep -q '^loadbalancer:' etc/group || echo 'loadbalancer:x:64550:' >>etc/group
    grep -q '^loadbalancer:' etc/passwd || echo 'loadbalancer:x:64550:64550::/var/lib/lbcluster-peer:/bin/false' >>etc/passwd
    rm -rf etc/lbcluster var/lib/lbcluster var/lib/lbcluster-peer
    mkdir -p etc/lbcluster var/lib/lbcluster-peer/.ssh
    printf 'node: lb1\ninterfaces: {lan: eth0}\n' >etc/lbcluster/node.yaml
    cat >etc/lbcluster/cluster.yaml <<'YAML'
floating_ips:
  - {address: 10.9.0.50, interface: lan}
  - {address: "fd09::50", interface: lan}
virtual_services:
  - label: web
    address: 10.9.0.50
    ports: [80]
    real_servers: [{label: rs1, address: 10.9.0.11}]
  - {label: ping, address: 10.9.0.50, ports: [81], check: {type: ping}, real_servers: [{label: rs1, address: 10.9.0.11}]}
  - label: program
    address: 10.9.0.50
    ports: [82]
    check: {type: external, command: /usr/bin/who-am-i}
    real_servers: [{label: rs1, address: 10.9.0.11}]
  - {label: proxied, address: 10.9.0.50, ports: [83], method: proxy, check: {type: always_up}, real_servers: [{label: rs1, address: 10.9.0.11}]}
YAML
}

fail() { echo "FAILED: $*"; lbcluster check web || true; lbcluster check program || true; systemctl status --no-pager -l heartbeatd healthd forwarderd replicatord || true; journalctl --no-pager -u healthd -u forwarderd -u replicatord | tail -9; ip -br addr; exit 1; }

bed "$@"

# ---- inside, run by systemd ----
held() { holds 10.9.0.50/32 && holds fd09::50/128; }
none_held() { ! ip -br addr show dev eth0 | grep -qE "10\.9\.0\.5[0-9]/32|fd09::50/128"; }
told() { lbcluster events | grep -q "$1"; }
adopted() { [ "$(lbcluster events | grep -c 'still here after a restart')" -ge "$1" ]; }

until_true "heartbeatd says that it is ready" systemctl -q is-active heartbeatd
until_true "it holds the floating IPs" held
pid=$(shown heartbeatd MainPID)
grep -q '^NoNewPrivs:.*1' "/proc/$pid/status" || fail "new privileges are possible"
grep -q '^Seccomp:.*2' "/proc/$pid/status" || fail "no system call filter"
grep -qE '^VmLck:\s+[1-9]' "/proc/$pid/status" || fail "its memory is not locked"
grep -q '^CapBnd:.*0000000000807000$' "/proc/$pid/status" || fail "it has other capabilities"
# Heartbeats, addresses, announcements; whatever reads files is no thread of these.
priorities() {
    local task
    for task in "/proc/$pid/task"/*; do chrt -p "${task##*/}" | sed -n 's/.*priority: \([1-9].*\)/\1/p'; done | sort | paste -sd' '
}
as_wanted() { [ "$(priorities)" = "10 10 20" ]; }
until_true "three of its threads are real-time" as_wanted
said=$(lbcluster status) || fail "lbcluster status"
[[ ! $said =~ not-realtime|memory-not-locked ]] || fail "it misses a privilege"
kill -9 "$pid"
until_true "killed, it is started again" another "$pid"
until_true "and adopts" adopted 1
held || fail "the addresses did not stay"
pid=$(shown heartbeatd MainPID)
lbcluster heartbeat restart >/dev/null
until_true "a restart by command" told "restart asked for"
until_true "after which it adopts, too" adopted 2
[ "$(shown heartbeatd MainPID)" = "$pid" ] || fail "it became another process for systemd"
until_true "and no more threads are real-time than before" as_wanted
# A restart by systemd, as an upgrade does it: another process, and the addresses are there in every moment.
ip monitor address >/run/addresses &
monitor=$!
systemctl restart heartbeatd
until_true "a restart by systemd makes another process" another "$pid"
until_true "which adopts" adopted 3
kill "$monitor"
grep -q '^Deleted' /run/addresses && fail "the restart took addresses away"
[ "$(stat -c %G /run/lbcluster/heartbeatd.sock)" = lbcluster ] || fail "heartbeatd: the group cannot ask it"
lbcluster floating-ip add 10.9.0.51 >/dev/null || fail "floating-ip add"
until_true "a change is applied" holds 10.9.0.51/32
# A link into a folder that heartbeatd does not watch: only the reload makes it look. That there is a link now is noticed,
# and by what the file says then.
mkdir /etc/elsewhere
sed 's/10\.9\.0\.51/10.9.0.53/' /etc/lbcluster/cluster.yaml >/etc/elsewhere/cluster.yaml
ln -s /etc/elsewhere/cluster.yaml /etc/lbcluster/.link
mv -T /etc/lbcluster/.link /etc/lbcluster/cluster.yaml
until_true "a link is noticed" holds 10.9.0.53/32
sed -i 's/10\.9\.0\.53/10.9.0.52/' /etc/elsewhere/cluster.yaml
sleep 1   # nothing happens
holds 10.9.0.52/32 && fail "it was read without a reload"
systemctl reload heartbeatd || fail "reload"
until_true "a reload reads the files" holds 10.9.0.52/32

# healthd, with the three kinds of probe that need different rights: nobody listens on port 80, all else is well.
lbcluster_shows() { [[ $(lbcluster check "$1") == *"$2"* ]]; }
until_true "healthd says that it is ready" systemctl -q is-active healthd
until_true "a port where nobody listens is down" lbcluster_shows web "connection refused"
until_true "it may send echo requests" lbcluster check ping
until_true "it may run a program as somebody else" lbcluster check program
pid=$(shown healthd MainPID)
grep -q '^NoNewPrivs:.*1' "/proc/$pid/status" || fail "healthd: new privileges are possible"
grep -q '^Seccomp:.*2' "/proc/$pid/status" || fail "healthd: no system call filter"
[ "$(stat -c %G /run/lbcluster/healthd.sock)" = lbcluster ] || fail "healthd: the group cannot ask it"

# forwarderd: on a kernel without IPVS it says so; with it, everything it needs is allowed.
forwards() { lbcluster status --json | grep -qE '"ipvs": *true|"id": *"no-ipvs"'; }
until_true "forwarderd says that it is ready" systemctl -q is-active forwarderd
until_true "it forwards, or says that this kernel cannot" forwards
said=$(lbcluster status --json) || fail "lbcluster status"
grep -qE '"id": *"(forward-failed|sysctls-not-set|owned-not-stored|forward-events-not-stored|services-not-served)"' <<<"$said" &&
    fail "forwarderd: it misses a right"
pid=$(shown forwarderd MainPID)
grep -q '^NoNewPrivs:.*1' "/proc/$pid/status" || fail "forwarderd: new privileges are possible"
grep -q '^Seccomp:.*2' "/proc/$pid/status" || fail "forwarderd: no system call filter"
# HAProxy inside that sandbox; without one installed the alarm says so.
proxied() { lbcluster status --json | grep -q "$1"; }
listens() { ss -Hltn 'sport = 83' | grep -q .; }
if [ -x /usr/sbin/haproxy ]; then
    until_true "HAProxy listens" listens
    until_true "as a user of its own" pgrep -u haproxy -x haproxy
    [ "$(pgrep -u root -x haproxy | wc -l)" = 1 ] || fail "more than one master"
    proxy=$(pgrep -u root -x haproxy)
    lbcluster service set proxied timeouts.client=77s >/dev/null || fail "service set"
    until_true "it loads another configuration" proxied '"proxy_reloads": *1'
else
    until_true "no HAProxy: an alarm" proxied no-haproxy
fi
kill -9 "$pid"
until_true "forwarderd, killed, is started again" another "$pid" forwarderd
if [ -x /usr/sbin/haproxy ]; then
    until_true "HAProxy went on, and is found" proxied '"proxy_found": *1'
    systemctl restart forwarderd
    until_true "and after a restart" proxied '"proxy_found": *1'
    [ "$(pgrep -u root -x haproxy)" = "$proxy" ] || fail "HAProxy was started again"
fi

# replicatord: without a peer there is nothing to do for it but to look, and to wait to be paired.
replicates() { lbcluster status --json | grep -qE '"state": *"none"'; }
until_true "replicatord says that it is ready" systemctl -q is-active replicatord
until_true "it has looked at the configuration" replicates
[ -S /run/lbcluster/pairing.sock ] || fail "replicatord waits for no pairing"
[ "$(stat -c %G /run/lbcluster/pairing.sock)" = loadbalancer ] || fail "replicatord: the peer's account cannot come in"
said=$(lbcluster status --json) || fail "lbcluster status"
grep -qE '"id": *"(replication|replica)-' <<<"$said" && fail "replicatord: it misses a right"
pid=$(shown replicatord MainPID)
grep -q '^NoNewPrivs:.*1' "/proc/$pid/status" || fail "replicatord: new privileges are possible"
grep -q '^Seccomp:.*2' "/proc/$pid/status" || fail "replicatord: no system call filter"
# What it sees of the disk: where a configuration and a peer's key are put it may write, nowhere else.
writes() { nsenter -t "$pid" -m sh -c ": >$1/written && rm $1/written" 2>/dev/null; }
for folder in /etc/lbcluster /var/lib/lbcluster /var/lib/lbcluster-peer/.ssh /run/lbcluster; do
    writes "$folder" || fail "replicatord cannot write to $folder"
done
for folder in /etc /etc/ssh /usr/bin /var/lib /root /proc/sys/net; do
    writes "$folder" && fail "replicatord can write to $folder"
done
systemctl reload replicatord || fail "reload of replicatord"
kill -9 "$pid"
until_true "replicatord, killed, is started again" another "$pid" replicatord
until_true "and looks again" replicates

systemctl stop heartbeatd
systemctl -q is-active healthd || fail "healthd went with heartbeatd"
systemctl -q is-active replicatord || fail "replicatord went with heartbeatd"
lbcluster check ping >/dev/null || fail "stopping heartbeatd took healthd's socket along"
[ -S /run/lbcluster/pairing.sock ] || fail "stopping heartbeatd took replicatord's socket along"
none_held || fail "stopped, it left addresses"
[ "$(shown heartbeatd Result)" = success ] || fail "it did not end in order"
systemctl start heartbeatd
until_true "started again" held
for unit in heartbeatd healthd forwarderd replicatord; do
    # It looks at whatever else is installed as well; only what it says of ours counts.
    said=$(systemd-analyze verify --man=no "/etc/systemd/system/$unit.service" 2>&1 | grep "/$unit.service:" || true)
    [ -z "$said" ] || fail "systemd-analyze verify: $said"
done
echo "ok: systemd finds no fault in any of the units"
bed_good
