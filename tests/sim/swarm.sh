#!/usr/bin/env bash
# swarm.sh LBCLUSTER-SIM: the part of the swarm that a test run does. Each commit looks somewhere else: 300 seeds that come from its
# id, ten minutes of them with LBCLUSTER_FULL=1. LBCLUSTER_SEED=n begins there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
limit=(--runs 300)
[ "${LBCLUSTER_FULL:-}" != 1 ] || limit=(--runs 1000000 --minutes 10)
commit=$(git -C "$here" -c safe.directory='*' rev-parse HEAD 2>/dev/null || date -u +%F)
seed=${LBCLUSTER_SEED:-$(($(printf '%s' "$commit" | cksum | cut -d' ' -f1) * 1000))}
echo "swarm from seed $seed, ${limit[*]}"
exec "$1" swarm --seed "$seed" "${limit[@]}" --out "${TMPDIR:-/tmp}"
