#!/usr/bin/env bash
# exposure.sh SOURCE: `systemd-analyze security` of each unit is no worse than the table below (OP-7). What a rule of the unit
# costs is shown when one is.
#
# The aim is 2.0. Above it are those that must have what systemd's measure counts most, whatever else they give up: the
# machine's network (0.5), root's name (0.4: files of operators and keys are root's, and readers believe sockets of root
# only), internet sockets (0.3), addresses that nobody knows beforehand (0.2), the real users (0.2); and besides:
#   heartbeatd  raw frames, addresses, serial devices, priorities that differ by thread, locked memory, a socket's group;
#               without the last three it would have 2.3, and without serial devices as well 2.1
#   healthd     programs of external checks as other users
#   forwarderd  the network's settings; HAProxy, which becomes another user
set -euo pipefail
command -v systemd-analyze >/dev/null || { echo "systemd is not installed"; exit 77; }
worse=0
while read -r unit limit; do
    told=$(systemd-analyze security --offline=yes --no-pager "$1/packaging/systemd/$unit.service")
    value=$(sed -n 's/.*Overall exposure level for [^:]*: \([0-9.]*\).*/\1/p' <<<"$told")
    [ -n "$value" ] || { echo "$unit: systemd-analyze does not say how exposed it is:"; echo "$told"; exit 1; }
    if awk "BEGIN { exit !($value > $limit) }"; then
        grep '^✗' <<<"$told"
        echo "$unit: $value is more than $limit"
        worse=1
    else
        echo "ok: $unit $value, at most $limit"
    fi
done <<'TABLE'
heartbeatd 2.7
healthd 2.2
forwarderd 2.4
replicatord 1.9
TABLE
exit $worse
