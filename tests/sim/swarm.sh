#!/usr/bin/env bash
# swarm.sh LBCLUSTER-SIM: the part of the swarm that every test run does: seeds that come from the commit, so that each
# commit looks somewhere else and the same commit at the same place. LBCLUSTER_SEED=n begins there instead;
# LBCLUSTER_FULL=1 looks for ten minutes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
seed=${LBCLUSTER_SEED:-}
if [ -z "$seed" ]; then
    commit=$(git -C "$here" -c safe.directory='*' rev-parse HEAD 2>/dev/null || date -u +%F)
    seed=$(($(printf '%s' "$commit" | cksum | cut -d' ' -f1) * 1000))
fi
minutes=0.65
[ "${LBCLUSTER_FULL:-}" != 1 ] || minutes=10
echo "swarm from seed $seed for $minutes minutes"
exec "$1" swarm --seed "$seed" --runs 1000000 --minutes "$minutes" --out "${TMPDIR:-/tmp}"
