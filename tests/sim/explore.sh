#!/bin/sh
# `lbcluster-sim explore`: the same result whatever the number of processes, an advice, a picture, a configuration folder
# as it is, and an error for what is none.
#   explore.sh LBCLUSTER_SIM SCENARIO
set -eu
sim=$1
scenario=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }
small='--keepalive 20ms,100ms --factor 3,10 --loss 0,20 --runs 2'

# shellcheck disable=SC2086
"$sim" explore "$scenario" $small --jobs 1 --json >"$folder/one"
# shellcheck disable=SC2086
"$sim" explore "$scenario" $small --jobs 3 --json --plot "$folder/plot.svg" >"$folder/three"
cmp "$folder/one" "$folder/three" || fail "the number of processes changes the result"
# shellcheck disable=SC2086
"$sim" explore "$scenario" $small --seed 77 --json >"$folder/other"
cmp -s "$folder/one" "$folder/other" && fail "the seed changes nothing"
[ "$(grep -c '"keepalive_ms"' "$folder/one")" = 9 ] || fail "not 8 cells and an advice"
grep -q '"reason": "Take 20ms / ' "$folder/one" ||
    fail "another advice: $(grep reason "$folder/one")"
grep -q '^</svg>$' "$folder/plot.svg" || fail "no picture"
[ "$(grep -c '<circle' "$folder/plot.svg")" -ge 8 ] || fail "not a point for each cell"

mkdir "$folder/config"
cat >"$folder/config/node.yaml" <<'YAML'
node: lb1
role: primary
interfaces: {lan: eth0}
links:
  - {interface: eth0, local: 192.168.110.40, peer: 192.168.110.41}
  - {serial: /dev/ttyS0, baud: 115200}
YAML
cat >"$folder/config/cluster.yaml" <<'YAML'
heartbeat: {profile: fast, ping_nodes: [192.168.110.1]}
floating_ips:
  - {address: 192.168.110.42}
YAML
"$sim" explore "$folder/config" --keepalive 50ms --factor 10 --loss 0 --runs 1 | grep -q '^> 50ms / 500ms' ||
    fail "a configuration folder"

code=0
"$sim" explore "$folder" --runs 1 2>/dev/null || code=$?
[ "$code" = 3 ] || fail "a folder without configuration ends with $code"
code=0
"$sim" explore "$scenario" --loss 500 2>/dev/null || code=$?
[ "$code" = 2 ] || fail "a wrong option ends with $code"
