#!/usr/bin/env bash
# What can be said of all pages without running them: commands.sh SOURCE BUILD
#
#   - each command that stands in the text as `lbcluster ...` or in a block `synopsis` is one that the program knows, with all
#     its options; each `./dev VERB` is one of ./dev
#   - each configuration that stands in the text, as `scheduler: wlc`, is one that the program takes, at some place of
#     cluster.yaml or node.yaml; what has … in it is not looked at
#   - each link leads somewhere, to the heading that it names; each path of the source is there
#   - each picture was made from the text beside it (docs/pictures/make.sh)
#   - each page can be reached from README.md or docs/README.md
#
# Prints what is wrong; exit code 1 then.
set -euo pipefail
source_dir=$1 build=$2
cd "$source_dir"
wrong=0
say() { printf '%s\n' "$1"; wrong=$((wrong + 1)); }
mapfile -t pages < <(printf '%s\n' README.md; find docs -name '*.md' | sort)

declare -A help
help_of() {   # WORDS...: into $text
    local key="$*"
    [ -n "${help[$key]+x}" ] || help[$key]=$("$@" --help 2>/dev/null || true)
    text=${help[$key]}
}
# Is there such a command? Placeholders are in capitals; a|b are two.
known() {   # PLACE PROGRAM WORDS...
    local place=$1 word text option
    local -a path=("$2")
    shift 2
    help_of "${path[@]}"
    while [ $# -gt 0 ]; do
        word=${1%%[],.;:)]}
        word=${word#[}
        if [[ $text == *Subcommands:* ]] && [[ $word =~ ^[a-z] ]]; then
            local one
            for one in ${word//|/ }; do
                awk '/^Subcommands:/{s=1;next} s{print $1}' <<<"$text" | grep -qx -- "$one" ||
                    { say "$place: ${path[*]##*/} knows no '$one'"; return 0; }
            done
            path+=("${word%%|*}")
            help_of "${path[@]}"
        elif [[ $word == --* ]]; then
            option=${word%%[=|]*}
            local top=${text}
            help_of "${path[0]}"
            grep -qE -- "(^|[ ,])$option([ ,=:]|\$)" <<<"$top"$'\n'"$text" ||
                { say "$place: '${path[*]##*/}' has no $option"; return 0; }
            text=$top
        fi
        shift
    done
}
verbs=$(sed -n 's/^#   \.\/dev \([a-z]*\).*/\1/p' dev; sed -n '/^case \${1-}/,/^esac/s/^\([a-z]*\)).*/\1/p' dev)
look() {   # PLACE COMMAND LINE
    local place=$1
    local -a words
    read -ra words <<<"${2%%[|<>]*}"
    case ${words[0]-} in
    lbcluster) known "$place" "$build/cli/lbcluster" "${words[@]:1}" ;;
    lbcluster-sim) [ ! -x "$build/sim/lbcluster-sim" ] || known "$place" "$build/sim/lbcluster-sim" "${words[@]:1}" ;;
    ./dev)
        [ -n "${words[1]-}" ] || return 0
        local verb=${words[1]%%[],.;:)]}
        grep -qx -- "$verb" <<<"$verbs" || say "$place: ./dev has no '$verb'"
        ;;
    esac
}
# Some place of the files where this text is right. It is put there, and checked as a whole.
tried=$(mktemp)
trap 'rm -f "$tried"' EXIT
declare -A seen
takes() {   # TEXT
    [ -z "${seen[$1]+x}" ] || return 0
    seen[$1]=
    local place http='method: proxy, mode: http' web='label: web, address: 10.0.0.1'
    local server='real_servers: [{label: rs1, address: 10.0.0.21}]'
    for place in "virtual_services: [{$web, ports: 80, $1, $server}]" "virtual_services: [{$web, ports: 80, $http, $1, $server}]" \
        "virtual_services: [{$web, ports: 80, check: {$1}, $server}]" "$1" "heartbeat: {$1}" \
        "virtual_services: [{$web, ports: 80, check: {type: negotiate, protocol: http, $1}, $server}]" \
        "virtual_services: [{$web, ports: 80, method: nat, real_servers: [{label: rs1, address: 10.0.0.21, $1}]}]" \
        "virtual_services: [{$web, ports: 80, method: nat, $1, $server}]" \
        "virtual_services: [{$web, ports: 80, method: proxy, $1, $server}]" \
        "virtual_services: [{$web, ports: 80, protocol: udp, $1, $server}]" "virtual_services: [{$web, $1, $server}]" \
        "virtual_services: [{$web, ports: 80, $http, timeouts: {$1}, $server}]" \
        "virtual_services: [{$web, ports: 80, $http, tls: {reencrypt: true, $1}, $server}]" \
        "virtual_services: [{$web, ports: 80, check: {type: negotiate, $1}, $server}]" \
        "virtual_services: [{$web, ports: 80, check: {type: negotiate, protocol: smtp, $1}, $server}]" \
        "floating_ips: [{address: 10.0.0.1, $1}]" "forwarding: {$1}" "layer7: {$1}" \
        "layer7: {statistics: {user: u, password: p, $1}}" \
        "notifications: [{label: a, mail: {server: a, from: a@b, to: [a@b]}, $1}]"; do
        printf '%s\n' "$place" >"$tried"
        ! "$build/cli/lbcluster" --config-dir /nonexistent config check "$tried" >/dev/null 2>&1 || return 0
    done
    mkdir "$tried.node"
    printf '{}\n' >"$tried.node/cluster.yaml"
    for place in "$1" "node: lb1
$1"; do
        printf '%s\n' "$place" >"$tried.node/node.yaml"
        if "$build/cli/lbcluster" --config-dir "$tried.node" config check >/dev/null 2>&1; then rm -r "$tried.node"; return 0; fi
    done
    rm -r "$tried.node"
    [ -x "$build/sim/lbcluster-sim" ] || return 0   # it may be of a scenario
    for place in "$1" "nodes: [{$1}, {}]"; do   # of a scenario
        printf 'title: a\nduration: 1s\n%s\n' "$place" >"$tried"
        ! "$build/sim/lbcluster-sim" run --quiet "$tried" >/dev/null 2>&1 || return 0
    done
    return 1
}
# The words after a command's options in a table ("a|b") stay: only a command's own pipe ends it.
anchors() { grep -E '^#{1,6} ' "$1" | sed -E 's/^#+ +//; s/`//g' | tr 'A-Z' 'a-z' | sed -E 's/[^a-z0-9 _-]//g; s/ /-/g'; }

for page in "${pages[@]}"; do
    while IFS=$'\t' read -r number span; do
        span=${span//mine|peer/mine}
        look "$page:$number" "$span"
    done < <(awk '
        /^ *```/ { inside = !inside; synopsis = inside && /```synopsis/; next }
        synopsis { line = $0; sub(/^ +/, "", line); sub(/   .*/, "", line); print NR "\t" line; next }
        !inside { n = split($0, part, "`"); for (i = 2; i <= n; i += 2) if (part[i] ~ /^(lbcluster(-sim)? |\.\/dev )/) print NR "\t" part[i] }
    ' "$page")
    # Links: [text](target), not those to other places of the net.
    while IFS=$'\t' read -r number target; do
        case $target in http://* | https://* | mailto:*) continue ;; esac
        file=${target%%#*}
        if [ -n "$file" ]; then file=$(dirname "$page")/$file; else file=$page; fi
        [ -e "$file" ] || { say "$page:$number: a link to $target, which is not there"; continue; }
        if [[ $target == *#* && $file == *.md ]]; then
            anchors "$file" | grep -qx -- "${target#*#}" || say "$page:$number: $file has no heading for #${target#*#}"
        fi
    done < <(awk '/^ *```/ { inside = !inside; next } !inside {
        line = $0
        while (match(line, /\]\([^)]*\)/)) { print NR "\t" substr(line, RSTART + 2, RLENGTH - 3); line = substr(line, RSTART + RLENGTH) } }' "$page")
    while IFS=$'\t' read -r number text; do
        takes "$text" || say "$page:$number: '$text' is right nowhere in the configuration"
    done < <(awk '/^ *```/ { inside = !inside; next } !inside { n = split($0, part, "`")
        for (i = 2; i <= n; i += 2) if (part[i] ~ /^[a-z_]+: [^ ]/ && part[i] !~ /…|[A-Z][A-Z]| [|]$|: [a-z]+ [a-z]/) print NR "\t" part[i] }' "$page")
    # Paths of the source.
    while IFS=$'\t' read -r number path; do
        [ -e "$path" ] || [ -e "$build/$path" ] || say "$page:$number: there is no $path"
    done < <(awk '/^ *```/ { inside = !inside; next } !inside { n = split($0, part, "`")
        for (i = 2; i <= n; i += 2) if (part[i] ~ /^(bench|cli|docs|forwarder|healthd|heartbeat|include|lib|packaging|proto|replicator|sim|tests)\/[A-Za-z0-9_.\/-]+$/) print NR "\t" part[i] }' "$page")
    [ "$page" = README.md ] || [ "$page" = docs/README.md ] || grep -qF "(${page#docs/}" docs/README.md ||
        grep -qF "($page" README.md || say "$page: docs/README.md does not name it"
done

for dot in docs/pictures/*.dot; do
    svg=${dot%.dot}.svg
    sum=$(sha256sum <"$dot")
    grep -qF "${sum%% *}" "$svg" 2>/dev/null || say "$svg: not made from $dot as it is; docs/pictures/make.sh does it"
done

[ "$wrong" = 0 ] || { echo "$wrong things are wrong"; exit 1; }
echo "all commands, links and pictures of ${#pages[@]} pages are right"
