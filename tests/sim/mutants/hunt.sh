#!/usr/bin/env bash
# hunt.sh BUILD_DIR [NAME...]: builds mutants and lets the swarm look for their faults; fails if one survives.
# Without names: four of them, chosen by the commit; all with LBCLUSTER_FULL=1. LBCLUSTER_MUTANT_RUNS: most runs for each.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$1
shift
runs=${LBCLUSTER_MUTANT_RUNS:-4000}
some=4

mapfile -t all < <(cd "$here" && ls -- *.mutant | sed 's/\.mutant$//')
names=("$@")
if [ ${#names[@]} -eq 0 ]; then
    if [ "${LBCLUSTER_FULL:-}" = 1 ]; then
        names=("${all[@]}")
    else
        commit=$(git -C "$here" -c safe.directory='*' rev-parse HEAD 2>/dev/null || date -u +%F)
        first=$(($(printf '%s' "$commit" | cksum | cut -d' ' -f1) % ${#all[@]}))
        for ((i = 0; i < some; i++)); do
            names+=("${all[$(((first + i * 7) % ${#all[@]}))]}")
        done
        echo "commit $commit: ${names[*]}"
    fi
fi

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
targets=("${names[@]/#/mutant_}")
# ctest may run as root for the lab's sake; what it builds is its user's.
as_user=()
[ "$(id -u)" != 0 ] || [ -z "${SUDO_UID:-}" ] || as_user=(sudo -u "#$SUDO_UID")
"${as_user[@]}" cmake --build "$build" --target "${targets[@]}" >"$out/build.log" 2>&1 || { cat "$out/build.log"; exit 1; }

survived=0
for name in "${names[@]}"; do
    story=$(head -n 1 "$here/$name.mutant")
    code=0
    "$build/tests/sim/mutants/mutant_$name" swarm --runs "$runs" --as-found --out "$out" >"$out/$name.log" 2>&1 || code=$?
    found=$(sed -n 's/^seed \([0-9]*\): \(.*\)$/\1 \2/p' "$out/$name.log" | head -n 1)
    if [ "$code" = 1 ] && [ -n "$found" ]; then
        printf 'found     %-32s in run %5s  %s\n' "$name" "${found%% *}" "${found#* }"
    else
        printf 'SURVIVED  %-32s %s runs, exit code %s: %s\n' "$name" "$runs" "$code" "$story"
        survived=$((survived + 1))
    fi
done
[ "$survived" = 0 ] || { echo "$survived mutants survived: the swarm lacks a fault or an invariant"; exit 1; }
