#!/usr/bin/env bash
# upgrade.sh SOURCE BUILD: the package under a real systemd (systemd_bed.sh; OP-7): installed it serves at once as a single
# node; an upgrade never takes an address away and changes no file; a removal stops in order and keeps the files, a purge does not.
set -euo pipefail
source "$(dirname "$(readlink -f "$0")")/systemd_bed.sh"
daemons="heartbeatd healthd forwarderd replicatord"

prepare() {
    cp "$build_dir"/test-packages/old/*.deb bed/old.deb
    cp "$build_dir"/test-packages/new/*.deb bed/new.deb
    rm -rf etc/lbcluster var/lib/lbcluster var/lib/lbcluster-peer
}

fail() {
    echo "FAILED: $*"
    tail -n 20 /run/dpkg || true
    # shellcheck disable=SC2086
    systemctl status --no-pager -l $daemons || true
    ip -br addr
    exit 1
}

bed "$@"

# ---- inside, run by systemd ----
export DEBIAN_FRONTEND=noninteractive
package() { dpkg "$@" >>/run/dpkg 2>&1 </dev/null || fail "dpkg $*"; }
all_active() { for daemon in $daemons; do systemctl -q is-active "$daemon" || return 1; done; }
processes() { for daemon in $daemons; do shown "$daemon" MainPID; done; }
files() { find /etc/lbcluster /var/lib/lbcluster/revisions -type f -exec sha256sum {} + | sort; }
adopted() { lbcluster events | grep -q 'still here after a restart'; }
serves() { curl -s -m 0.5 -o /dev/null http://10.9.0.50:83/; }

mkdir /etc/lbcluster
printf '# mine\nnode: mine\n' >/etc/lbcluster/node.yaml
package -i /bed/old.deb
until_true "installed, all daemons run" all_active
grep -q '^# mine' /etc/lbcluster/node.yaml || fail "a file that was there was overwritten"
for daemon in $daemons; do systemctl -q is-enabled "$daemon" || fail "$daemon does not start at the next boot"; done
lbcluster config check >/dev/null || fail "the configuration of the package is not valid"
mkdir -p /run/sshd
ssh-keygen -A >/dev/null
sshd -T -C user=loadbalancer,host=x,addr=10.9.0.1 | grep -x 'permittty no' >/dev/null || fail "sshd does not know the peer's account"

# Without servers its page answers.
lbcluster service add proxied address=10.9.0.50 ports=83 method=proxy fallback=page >/dev/null || fail "service add"
lbcluster floating-ip add fd09::50 >/dev/null || fail "floating-ip add"
until_true "it holds the floating IPs" holds 10.9.0.50/32
until_true "both" holds fd09::50/128
before=$(processes) kept=$(files) proxy=
if [ -x /usr/sbin/haproxy ]; then
    until_true "HAProxy serves" serves
    proxy=$(pgrep -o -x haproxy)
fi

ip monitor address >/run/addresses &
monitor=$!
package -i /bed/new.deb
until_true "upgraded, all daemons run" all_active
until_true "heartbeatd has adopted" adopted
for pid in $before; do [ ! -e "/proc/$pid" ] || fail "process $pid is of the old package"; done
[ "$(files)" = "$kept" ] || fail "the upgrade changed files"
sleep 4   # longer than a lease: what is not renewed would be gone
kill "$monitor"
holds 10.9.0.50/32 && holds fd09::50/128 || fail "the addresses are gone"
grep '^Deleted' /run/addresses && fail "the upgrade took addresses away"
grep -q '10\.9\.0\.50' /run/addresses || fail "the monitor was blind"
if [ "$proxy" != "" ]; then
    [ "$(pgrep -o -x haproxy)" = "$proxy" ] || fail "HAProxy was started again"
    until_true "HAProxy serves as before" serves
fi
echo "ok: no address was ever away"

package -r lbcluster
holds 10.9.0.50/32 && fail "the removal left addresses"
for daemon in $daemons; do pgrep -x "$daemon" && fail "the removal left $daemon"; done
no_haproxy() { ! pgrep -f haproxy-master; }
until_true "HAProxy has ended, too" no_haproxy
[ "$(files)" = "$kept" ] || fail "the removal changed files"
echo "ok: removed, the files stay"
package -i /bed/new.deb
until_true "installed again, it goes on" holds 10.9.0.50/32
package -P lbcluster
for path in /etc/lbcluster /var/lib/lbcluster /var/lib/lbcluster-peer /etc/ssh/sshd_config.d/lbcluster.conf; do
    [ ! -e $path ] || fail "the purge left $path"
done
getent passwd loadbalancer && fail "the purge left the account"
echo "ok: purged, nothing is left"
bed_good
