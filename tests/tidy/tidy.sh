#!/usr/bin/env bash
# The rules of the house that a compiler does not check: tidy.sh ROOT. Prints each violation; exit 1 if there is one.
set -euo pipefail
cd "$1"
violations=0
# forbid RULE LINES: a rule is kept when nothing was found.
forbid() {
    [ -n "$2" ] || return 0
    printf '%s:\n%s\n\n' "$1" "$2"
    violations=$((violations + 1))
}
matches() { grep -nE "$@" || true; }

folders=(include lib heartbeat healthd forwarder replicator bench cli sim tests proto)
mapfile -t sources < <(find "${folders[@]}" -name '*.cpp' -o -name '*.hpp' -o -name '*.proto' -o -name '*.sh' -o -name CMakeLists.txt)
mapfile -t cores < <(find "${folders[@]}" -path '*/core/*' ! -path 'tests/*' \( -name '*.cpp' -o -name '*.hpp' \))
mapfile -t unit_tests < <(find tests/unit -name '*.cpp')

# A core knows itself, base, generated messages and the standard library.
allowed='"([a-z]+/core/[a-z_]+\.hpp|lbcluster/base/(address|assert|result|time)\.hpp|lbcluster/[a-z]+\.pb\.h)"'
forbid 'a core includes what it must not' "$(matches '^ *#include "' "${cores[@]}" | grep -vE "$allowed" || true)"
outside='(sys|net|netinet|arpa|linux|boost|spdlog|openssl|netlink)/|(unistd|fcntl|poll|time|signal|stdio)\.h'
outside+='|(ctime|cstdio|thread|mutex|atomic|future|condition_variable|fstream|iostream|filesystem)>'
forbid 'a core knows a socket, clock, thread, file or log' \
    "$(matches "^ *#include <($outside)|(steady|system|high_resolution)_clock::now|clock_gettime" "${cores[@]}")"

forbid 'a unit test sleeps (wait for a condition with a deadline)' \
    "$(matches '\b(sleep_for|sleep_until|usleep|nanosleep|sleep)\(' "${unit_tests[@]}")"

# The marker is written apart so that this file keeps the rule.
forbid 'an unfinished place' "$(matches "\b(TO""DO|FIX""ME|XX""X)\b" "${sources[@]}")"
forbid 'longer than 800 lines' "$(wc -l "${sources[@]}" | awk '$1 > 800 && $2 != "total"')"
forbid 'a header without #pragma once' "$(grep -L '#pragma once' $(find "${folders[@]}" -name '*.hpp') || true)"

# Every folder of tests is built, and every test source is named by its folder's CMakeLists.txt.
unregistered=$(
    find tests -mindepth 2 -name CMakeLists.txt | while read -r list; do
        folder=$(dirname "$list")
        grep -qE "add_subdirectory\($(basename "$folder")\)" "$(dirname "$folder")/CMakeLists.txt" || echo "$folder"
    done
    find tests -name '*_test.cpp' -o -name '*_fuzz.cpp' | while read -r source; do
        list=$(dirname "$source")/CMakeLists.txt
        grep -q "$(basename "$source")" "$list" 2>/dev/null || echo "$source"
    done
)
forbid 'not registered, so never run' "$unregistered"

[ "$violations" = 0 ] || { echo "$violations rules are broken"; exit 1; }
echo "all rules kept"
