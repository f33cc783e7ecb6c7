#!/usr/bin/env bash
# tutorial.sh SOURCE BUILD: docs/tutorial.md, executed as it stands (OP-7, OP-9): two minimal Debian 12 roots of mmdebstrap
# as two machines in namespaces, the packages of BUILD installed there by apt, paired, one killed, upgraded, removed, purged.
# There is no systemd in them: daemons are started directly, by a loop that starts again what ends.
#
# What of the tutorial is run, in order: each ```sh block, where its first line says (`# on lb1`, `# on lb1 and lb2`, `# on the
# client`, `..., meanwhile`: in the background from here on); `<!-- answers: PROMPT=ANSWER|... -->`: what a person types
# in the next block; `<!-- test: NAME -->`: the function NAME below, a manual action or what must be true now.
#
# The root is kept in BUILD/package-root. Exit code: 0 good, 1 not, 77 this machine cannot do it.
set -euo pipefail
source_dir=$(realpath "$1") build_dir=$(realpath "$2")
packages=$build_dir/test-packages   # two_versions.sh
self=$(readlink -f "$0")
vip=192.168.110.150

if [ "${LBCLUSTER_TUTORIAL:-}" = "" ]; then   # outside: the root, then namespaces
    for program in nft socat; do
        command -v $program >/dev/null || { echo "$program is not installed"; exit 77; }
    done
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    source "$(dirname "$self")/debian_root.sh"
    root=$build_dir/package-root
    debian_root "$root" "$packages" curl,iproute2,iputils-ping,procps
    unshare -n true || exit 77
    LBCLUSTER_TUTORIAL=inside timeout -k 5 200 unshare -n -m -p --fork --kill-child --mount-proc \
        "$self" "$source_dir" "$build_dir" "$scratch" "$root/root"
    exit
fi

scratch=$3
if [ "$LBCLUSTER_TUTORIAL" = machine ]; then   # the first process of a machine: its root, then nothing but to wait
    name=$5
    cd "$scratch/$name/root"
    hostname "$name"
    mount -t proc proc proc
    mount -t sysfs sysfs sys
    mount -t tmpfs tmpfs run
    mount -t tmpfs tmpfs tmp
    mount -t tmpfs tmpfs dev
    mkdir -p dev/pts dev/shm old
    mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
    ln -s pts/ptmx dev/ptmx
    ln -s /proc/self/fd dev/fd
    for node in "null 3" "zero 5" "full 7" "random 8" "urandom 9"; do mknod -m 666 "dev/${node% *}" c 1 "${node#* }"; done
    mknod -m 666 dev/tty c 5 0
    pivot_root . old
    umount -l /old
    echo "127.0.0.1 localhost $name" >/etc/hosts
    mkdir /run/sshd
    ip link set lo up
    touch /run/booted
    trap : TERM
    while :; do   # bash collects what others leave behind
        sleep 1000 &
        wait
    done
fi

# ---- the network, and the machines ----
mount --make-rprivate /
mkdir "$scratch/layers"
mount -t tmpfs tmpfs "$scratch/layers"
ip link set lo up
ip link add lan address 02:00:00:00:00:01 type bridge   # otherwise its address is one of a port, and goes with it
for address in 192.168.110.1/24 192.168.110.50/24 192.168.110.51/24; do ip addr add $address dev lan; done
ip link set lan up
declare -A machine_pid address_of=([lb1]=192.168.110.40 [lb2]=192.168.110.41)

fail() {
    echo "FAILED: $*"
    for name in lb1 lb2; do
        echo "---- $name"
        on $name "set +e; lbcluster status; tail -n 15 /var/log/*d.log /run/lbcluster/haproxy*.log; ip -br addr show dev eth0; ps ax" 2>&1 || true
    done
    exit 1
}
trap 'fail "line $LINENO: $BASH_COMMAND"' ERR
set -E
# until_true SECONDS COMMAND...
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.05
    done
}
on() {
    nsenter -t "${machine_pid[$1]}" -m -n -p -u -r -w env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb \
        LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive bash -c "set -euo pipefail; $2"
}

boot() {
    local name=$1 layer=$scratch/layers/$1 outer
    mkdir -p "$layer/upper" "$layer/work" "$scratch/$name/root"
    mountpoint -q "$scratch/$name/root" || mount -t overlay overlay \
        -o "lowerdir=$root,upperdir=$layer/upper,workdir=$layer/work" "$scratch/$name/root" || exit 77
    LBCLUSTER_TUTORIAL=machine unshare -n -m -p -u --fork --kill-child "$self" - - "$scratch" - "$name" &
    outer=$!
    until_true 5 pgrep -P "$outer"
    machine_pid[$name]=$(pgrep -P "$outer")
    until_true 5 on "$name" "test -e /run/booted"
    ip link add "$name" type veth peer name eth0 netns "${machine_pid[$name]}"
    ip link set "$name" master lan up
    on "$name" "ip addr add ${address_of[$name]}/24 dev eth0; ip link set eth0 up; ip route add default via 192.168.110.1
        [ -e /etc/ssh/made ] || { rm -f /etc/ssh/ssh_host_*; ssh-keygen -A >/dev/null; touch /etc/ssh/made; }
        /usr/sbin/sshd"
}
# What systemd does with the units.
start_daemons() {
    on "$1" 'for daemon in heartbeatd healthd forwarderd replicatord; do
        setsid bash -c "while [ ! -e /run/stopping ]; do $daemon >>/var/log/$daemon.log 2>&1 || true; done" >/dev/null 2>&1 </dev/null &
    done'
    until_true 10 on "$1" "lbcluster status"
}
restart_daemons() {
    on "$1" 'for daemon in forwarderd:TERM healthd:TERM heartbeatd:USR2 replicatord:TERM; do
        kill -s "${daemon#*:}" "$(pgrep -o -x "${daemon%:*}")"
    done'
}
# The first one; all is read, as a status whose reader is gone fails.
activity() { on "$1" "lbcluster status --json" | sed -n '0,/"activity"/s/.*"activity": *"\([^"]*\)".*/\1/p'; }
is() { [ "$(activity "$1")" = "$2" ]; }
holds() { on "$1" "ip -br addr show dev eth0 | grep -F ' $vip/32'"; }
holds_not() { ! holds "$1"; }
site() { curl -s -m 2 "http://$vip/" | grep -x 'rs[12]'; }
status_says() { on "$1" "lbcluster status --json" | tr -d ' \n' | grep -qF "$2"; }

# ---- what happens between the blocks of the tutorial ----
daemons_are_started() {
    for name in lb1 lb2; do
        # The package reloads sshd where an init system runs it.
        on $name "sshd -T -C user=loadbalancer,host=lb,addr=192.168.110.40 | grep -x 'permittty no'" >/dev/null
        on $name 'kill -HUP "$(cat /run/sshd.pid)"'
        start_daemons $name
        until_true 10 is $name active
    done
}
lb1_holds_the_address() { until_true 5 holds lb1; }
the_site_answers() { until_true 10 site; }
# A person would not be so quick.
ready_to_serve() {
    until_true 10 on "$1" "ss -Hltn 'sport = 80' | grep ."
    until_true 10 status_says "$1" '"color":"green"'
}
they_are_a_pair() {
    until_true 20 is lb1 active
    until_true 20 is lb2 passive
    until_true 20 status_says lb1 '"state":"in-sync"'
    ready_to_serve lb2
    on lb1 "cat /etc/lbcluster/cluster.yaml" >"$scratch/one"
    on lb2 "cat /etc/lbcluster/cluster.yaml" | cmp - "$scratch/one"
    on lb2 "grep -q 'role: secondary' /etc/lbcluster/node.yaml"
}
# missed FROM: answers that the client's window misses since line FROM.
answers() { wc -l <"$scratch/meanwhile"; }
missed() { tail -n "+$(($1 + 1))" "$scratch/meanwhile" | grep -vcE '^rs[12]$' || true; }
more_answers_than() { [ "$(answers)" -gt "$1" ]; }
first_line=0
lb2_serves() {
    until_true 10 is lb2 active
    holds lb2 >/dev/null
    holds_not lb1
    until_true 10 more_answers_than $(($(answers) + 3))
}
lb1_serves_and_nothing_was_missed() {
    until_true 10 is lb1 active
    until_true 10 more_answers_than $(($(answers) + 3))
    [ "$(missed 0)" = 0 ]
}
lb1_loses_its_power() {
    until_true 20 status_says lb1 '"state":"in-sync"'
    first_line=$(answers)
    ip link del lb1
    kill -9 "${machine_pid[lb1]}"
    lost_at=$(date +%s%3N)
}
lb2_serves_after_a_short_gap() {
    until_true 15 is lb2 active
    until_true 15 site
    echo "    the site answered again $(($(date +%s%3N) - lost_at)) ms after the power was lost"
    until_true 10 more_answers_than $((first_line + 8))
    # Two seconds is how long the client's window waits for an answer.
    [ "$(missed "$first_line")" -le 3 ]
}
lb1_is_back_and_passive() {
    boot lb1
    start_daemons lb1
    until_true 20 is lb1 passive
    is lb2 active
    until_true 20 status_says lb2 '"state":"in-sync"'
    ready_to_serve lb1
}
lb1_serves_again() {
    until_true 10 is lb1 active
    until_true 10 holds lb1
}
files_of() { on "$1" "cd / && cat etc/lbcluster/*.yaml var/lib/lbcluster/keys/* var/lib/lbcluster/peer.yaml var/lib/lbcluster-peer/.ssh/authorized_keys && ls var/lib/lbcluster/revisions | head -n 3" | sha256sum; }
adoptions() { on lb1 "lbcluster events" | grep -c 'still here after a restart' || true; }
proxy_of() { on "$1" "pgrep -o -x haproxy"; }
new_packages_are_copied() {
    for name in lb1 lb2; do
        files_of $name >"$scratch/files-$name"
        on $name "rm -f /root/lbcluster_*.deb"
        nsenter -t "${machine_pid[$name]}" -m -r -w tar -C /root -xf - < <(tar -C "$packages/new" -cf - .)
    done
    first_line=$(answers)
    on lb1 "ip monitor address" >"$scratch/monitor" &
    proxy_of lb1 >"$scratch/proxy"
    on lb1 "pgrep -x heartbeatd" >"$scratch/heartbeatd"
    adoptions >"$scratch/adoptions"
}
# upgraded NODE: every daemon is a process of the new package; a deleted program is the old one's.
new_processes() {
    on "$1" 'for daemon in heartbeatd healthd forwarderd replicatord; do
        readlink "/proc/$(pgrep -o -x $daemon)/exe" | grep -qx "/usr/sbin/$daemon"
    done'
}
upgraded() {
    # apt has restarted nothing here; systemd would have.
    restart_daemons "$1"
    until_true 20 new_processes "$1"
    [ "$(on "$1" "dpkg-query -W -f '\${Version}' lbcluster")" = "$(dpkg-deb -f "$packages"/new/lbcluster_*.deb Version)" ]
    files_of "$1" | cmp - "$scratch/files-$1"
    until_true 20 status_says "$1" '"state":"in-sync"'
}
lb2_runs_the_new_version() {
    upgraded lb2
    until_true 10 is lb2 passive
    ready_to_serve lb2
}
lb1_runs_the_new_version_and_the_address_never_left() {
    upgraded lb1
    until_true 10 is lb1 active
    [ "$(adoptions)" -gt "$(cat "$scratch/adoptions")" ]
    until_true 10 more_answers_than $(($(answers) + 3))
    # The kernel was asked for longer leases, and never to take the address away.
    grep -qF "$vip" "$scratch/monitor"
    ! grep -F Deleted "$scratch/monitor"
    [ "$(missed "$first_line")" = 0 ]
    [ "$(proxy_of lb1)" = "$(cat "$scratch/proxy")" ]
    [ "$(on lb1 "pgrep -x heartbeatd")" != "$(cat "$scratch/heartbeatd")" ]
}
# What forwarderd puts into the kernel, and HAProxy.
forwards() { on "$1" "grep -qx 1 /proc/sys/net/ipv4/ip_forward; pgrep -x haproxy" && rules_of "$1" | grep 'inet lbcluster'; }
rules_of() { nsenter -t "${machine_pid[$1]}" -n nft list ruleset; }
lb2_is_single_and_empty() {
    until_true 10 is lb2 active
    holds_not lb2
    # Something to take away.
    on lb2 "echo 'forwarding: {auto_nat: [eth0]}
virtual_services: [{label: x, address: 192.168.110.151, ports: 80, method: proxy, real_servers: [{label: rs1, address: 192.168.110.50}]}]' >/tmp/more
        lbcluster config apply /tmp/more"
    until_true 20 forwards lb2
    # From here on nothing starts them again.
    on lb2 "touch /run/stopping"
}
nothing_runs() { on "$1" 'for name in heartbeatd healthd forwarderd replicatord haproxy; do ! pgrep -x $name || exit 1; done'; }
lb2_keeps_its_files() {
    nothing_runs lb2
    on lb2 "test -s /etc/lbcluster/node.yaml; test -d /var/lib/lbcluster/revisions; test -s /var/lib/lbcluster/keys/replica
        ! test -e /usr/sbin/heartbeatd"
    [ "$(site)" != "" ]
    [ "$(rules_of lb2)" = "" ]
    on lb2 "grep -qx 0 /proc/sys/net/ipv4/ip_forward"
}
lb2_has_nothing_left() {
    on lb2 '! ls -d /etc/lbcluster /var/lib/lbcluster* /run/lbcluster* /etc/ssh/sshd_config.d/lbcluster.conf 2>/dev/null
        ! getent passwd loadbalancer; ! getent group lbcluster; ! dpkg-query -W lbcluster 2>/dev/null'
}

# ---- the tutorial ----
# In a terminal of its own, with somebody who waits for each prompt before he answers.
type_answers() {
    local name=$1 block=$2 answers=$3 pair
    rm -f "$scratch/keys"
    mkfifo "$scratch/keys"
    exec 7<>"$scratch/keys"
    : >"$scratch/screen"
    printf '%s\n' "$block" | on "$name" "cat >/tmp/block"
    on "$name" "script -qefc 'bash -e /tmp/block' /dev/null" <&7 >"$scratch/screen" 2>&1 &
    local typing=$! seen=0
    while [ -n "$answers" ]; do
        pair=${answers%%|*}
        answers=${answers#"$pair"}
        answers=${answers#|}
        prompted() { tail -c "+$((seen + 1))" "$scratch/screen" | grep -qF "${pair%%=*}"; }
        until_true 20 prompted || { cat "$scratch/screen"; fail "no '${pair%%=*}'"; }
        seen=$(stat -c %s "$scratch/screen")
        printf '%s\n' "${pair#*=}" >&7
    done
    wait $typing || { cat "$scratch/screen"; fail "$block"; }
    exec 7>&-
    cat "$scratch/screen"
}
run_block() {
    local where=$1 block=$2 answers=$3 name
    case $where in
    "on lb1" | "on lb2" | "on lb1 and lb2")
        for name in lb1 lb2; do
            [[ $where == *$name* ]] || continue
            if [ -n "$answers" ]; then type_answers $name "$block" "$answers"; else on $name "$block"; fi
        done
        ;;
    "on the client") bash -euo pipefail -c "$block" ;;
    "on the client, meanwhile") bash -c "$block" >"$scratch/meanwhile" 2>&1 & ;;
    *) fail "the tutorial has a block without a place: $where" ;;
    esac
}

root=$4
for number in 50 51; do
    printf '#!/bin/sh\nwhile read -r line && [ "$line" != "%s" ]; do :; done\nprintf "HTTP/1.0 200 OK\\r\\nContent-Length: 4\\r\\n\\r\\nrs%s\\n"\n' \
        $'\r' $((number - 49)) >"$scratch/rs$number"
    chmod 755 "$scratch/rs$number"
    socat "TCP-LISTEN:80,bind=192.168.110.$number,fork,reuseaddr" "EXEC:$scratch/rs$number" 2>/dev/null &
done
for name in lb1 lb2; do
    boot $name
    tar -C "$packages/old" -cf - . | nsenter -t "${machine_pid[$name]}" -m -r -w tar -C /root -xf -
done
block='' answers='' where='' inside=no blocks=0
while IFS= read -r line <&3; do
    if [ "$inside" = yes ]; then
        if [ "$line" = '```' ]; then
            inside=no
            echo "== $where: ${block%%$'\n'*}"
            run_block "$where" "$block" "$answers" 2>&1 | tee "$scratch/said" | sed 's/^/    /'
            answers=''
            blocks=$((blocks + 1))
        elif [ -z "$where" ]; then where=${line#\# }
        else block+=$line$'\n'
        fi
    elif [ "$line" = '```sh' ]; then inside=yes block='' where=''
    elif [[ $line =~ ^'<!-- answers: '(.*)' -->'$ ]]; then answers=${BASH_REMATCH[1]}
    elif [[ $line =~ ^'<!-- test: '([a-z0-9_]+)' -->'$ ]]; then
        declare -F "${BASH_REMATCH[1]}" >/dev/null || fail "the tutorial wants ${BASH_REMATCH[1]}"
        echo "-- ${BASH_REMATCH[1]}"
        "${BASH_REMATCH[1]}"
    fi
done 3<"$source_dir/docs/tutorial.md"
[ $blocks -ge 15 ] || fail "only $blocks blocks in the tutorial"
echo "all good: $blocks blocks of the tutorial"
