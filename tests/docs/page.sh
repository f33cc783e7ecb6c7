#!/usr/bin/env bash
# Runs a page of the documentation: every command in the lab, every configuration through the program's own check.
#
#   page.sh SOURCE BUILD PAGE        PAGE is relative to SOURCE: docs/howto/drain.md
#
# A fenced block says in its first line what it is (readers see the rest of that line nowhere):
#
#   ```sh [HOST] [exit=N]       bash on a host of the lab (default lb1; `here`: on the machine of who tries it, in the repository)
#   ```console [HOST] [exit=N]  the same for the lines that begin with "$ "; the others must come out, in this order; … is anything
#   ```yaml cluster|node|lines|service|check|scenario [file=NAME] [on=HOST] [exit=N]
#                               the check of that kind of file; lines (of node.yaml), service, check: a part, completed here.
#                               NAME: kept for commands
#   ```synopsis                 lines with commands and their options: the programs know all of them (commands.sh)
#   ```keepalived               the check of keepalived itself, where it is installed
#   ```text, ```cpp             neither: output, a drawing, source
#   any of them not-run="WHY"   is not run; listed at the end
#   <!-- test HOST ... -->      run like sh, not shown: mostly waits for what a reader would see
#
# A page has a lab of its own, where /etc/lbcluster, /run/lbcluster and /var/lib/lbcluster are the node's; what commands write to
# /etc, /usr, /var and /root stays in the lab. `ssh root@HOST` goes to that host of the lab without SSH, ./dev lab to this lab.
# ./dev demo is run as it is; what ./dev builds was built before.
# scenes/PAGE.sh, with - for /, prepares the lab (functions `before` and `scene`: before and after it is up; `on HOST COMMAND...`,
# and `until_done HOST SCRIPT`).
#
# Exit code: 0 all as it should be, 1 something is not, 2 usage. Needs root.
set -euo pipefail
[ $# = 3 ] || { sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 2; }
# Ended in order before ctest ends it, so that no lab is left.
[ -n "${LBCLUSTER_DOCS_LIMITED-}" ] || LBCLUSTER_DOCS_LIMITED=1 exec timeout -k 5 170 "$0" "$@"
source_dir=$1 build=$2 page=$3
here=$(dirname "$(readlink -f "$0")")
labctl=$build/tests/lab/labctl
work=$(mktemp -d /tmp/lbcluster-docs.XXXXXX)
trap '"$labctl" --home "$work/home" down >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
mkdir -p "$work"/{blocks,nodes,bin,here}
run=0 checked=0 failed=0
left=()

fail() { printf '%s:%s: %s\n' "$page" "$line" "$1" >&2; failed=$((failed + 1)); }

# ---- what commands find ----
for program in cli/lbcluster sim/lbcluster-sim heartbeat/heartbeatd healthd/healthd forwarder/forwarderd replicator/replicatord; do
    [ ! -x "$build/$program" ] || ln -s "$build/$program" "$work/bin/"
done
cat >"$work/bin/ssh" <<"END"
#!/bin/sh
# The host of the lab that has the address, or the name.
host=${1#*@}
shift
for name in rs1 rs2 lb1 lb2 gw client; do
    [ "$host" != "$name" ] && ! ip netns exec "$name" ip -o addr show to "$host" 2>/dev/null | grep -q . || exec ip netns exec "$name" "$@"
done
echo "ssh: $host is not in this lab" >&2
exit 255
END
cat >"$work/here/dev" <<END
#!/bin/sh
[ "\$1" != demo ] || exec "$labctl" demo
[ "\$1" = lab ] || { echo "only ./dev lab and ./dev demo are run here" >&2; exit 2; }
shift
[ "\$*" != up ] || set -- up "$work/nodes"
exec "$labctl" --home "$work/home" "\$@"
END
chmod +x "$work/bin/ssh" "$work/here/dev"
for folder in sim packaging tests docs; do ln -s "$source_dir/$folder" "$work/here/"; done
mkdir "$work/here/build"
ln -s "$build" "$work/here/build/release"
ln -s ../nodes "$work/here/.lab"
ln -s ../nodes/lb1 ../nodes/lb2 "$work/here/"

# What runs before each script on a host. No semicolon may fail unseen.
cat >"$work/enter" <<END
set -e
host=\$1
up=/run/docs/\$host
mkdir -p "\$up"
for folder in etc usr var root; do
    mkdir -p "\$up/\$folder" "\$up/.\$folder"
    mount -t overlay overlay -o "lowerdir=/\$folder,upperdir=\$up/\$folder,workdir=\$up/.\$folder" "/\$folder"
done
if [ -d "$work/nodes/\$host" ]; then
    mkdir -p /etc/lbcluster /var/lib/lbcluster /run/lbcluster
    mount --bind "$work/nodes/\$host" /etc/lbcluster
    mount --bind "$work/nodes/\$host/run" /run/lbcluster
    mount --bind "$work/nodes/\$host/state" /var/lib/lbcluster
fi
if [ -d "$source_dir/packaging/examples" ]; then
    mkdir -p /usr/share/doc/lbcluster/examples
    mount --bind "$source_dir/packaging/examples" /usr/share/doc/lbcluster/examples
fi
unset LBCLUSTER_CONFIG_DIR LBCLUSTER_RUN_DIR LBCLUSTER_STATE_DIR
export HOME=/root PATH="$work/bin:\$PATH"
cd "$work/here"
shift
exec "\$@"
END

on() {
    local host=$1
    shift
    if [ "$host" = here ]; then
        (cd "$work/here" && PATH="$work/bin:$PATH" exec timeout 120 "$@")
    else
        timeout 120 "$labctl" --home "$work/home" exec "$host" -- bash "$work/enter" "$host" "$@"
    fi
}
# What the scenes use: a script that is repeated until it ends well.
until_done() {   # HOST SCRIPT
    on "$1" timeout 60 bash -c "until { $2; } >/dev/null 2>&1; do sleep 0.2; done" || { echo "not within a minute on $1: $2" >&2; return 1; }
}
lab_up() {
    [ ! -e "$work/home/standing" ] || return 0
    local scene=${page%.md}
    scene=$here/scenes/${scene//\//-}.sh
    before() { :; }
    scene() { :; }
    # shellcheck disable=SC1090
    [ ! -f "$scene" ] || . "$scene"
    before
    "$labctl" --home "$work/home" up "$work/nodes" >/dev/null || { echo "$page: no lab" >&2; exit 1; }
    scene
}

# ---- what blocks are ----
word() { sed -n "s/.* $1=\([^ \"]*\).*/\1/p" <<<" $info"; }

execute() {   # HOST FILE: the file as a bash script
    local code=0 wanted
    wanted=$(word exit)
    [ "$1" = here ] || lab_up
    on "$1" bash -euo pipefail "$2" >"$work/out" 2>&1 </dev/null || code=$?
    run=$((run + 1))
    [ "$code" = "${wanted:-0}" ] || { fail "exit code $code instead of ${wanted:-0} on $1:"; cat "$2" "$work/out" >&2; return 1; }
}

console() {   # HOST FILE
    local text at=0
    { echo "exec 2>&1"; sed -n 's/^\$ //p' "$2"; } >"$work/script"
    execute "$1" "$work/script" || return 0
    mapfile -t came < <(tr -s ' ' <"$work/out" | sed 's/^ //; s/ $//')
    while IFS= read -r text; do
        [[ $text != '$ '* && -n ${text// /} ]] || continue
        text=$(tr -s ' ' <<<"$text" | sed 's/^ //; s/ $//')
        [ "$text" != … ] || continue
        local pattern
        pattern=$(printf '%s' "$text" | sed 's/[][\\*?]/\\&/g; s/…/*/g')
        # shellcheck disable=SC2053
        while [ "$at" -lt ${#came[@]} ] && [[ ${came[$at]} != $pattern ]]; do at=$((at + 1)); done
        [ "$at" -lt ${#came[@]} ] || { fail "this does not come out (in this order): $text"; cat "$work/out" >&2; return 0; }
        at=$((at + 1))
    done <"$2"
}

# A part of a configuration, made whole.
complete() {   # KIND FILE
    case $1 in
    lines) echo "node: lb1"; cat "$2" ;;
    service) echo "virtual_services:"; sed '1s/^/  - /; 2,$s/^/    /' "$2" ;;
    check)
        printf 'virtual_services:\n  - label: web\n    address: 10.77.0.210\n    ports: 80\n'
        sed 's/^/    /' "$2"
        printf '    real_servers:\n      - {label: rs1, address: 10.77.0.21}\n'
        ;;
    scenario)
        grep -q '^title:' "$2" || printf 'title: a part\nduration: 5s\n'
        cat "$2"
        ;;
    *) cat "$2" ;;
    esac
}

configuration() {   # KIND FILE
    local kind=$1 name code=0 wanted host file
    name=$(word file) wanted=$(word exit) host=$(word on)
    file=$work/check/$kind.yaml
    mkdir -p "$work/check"
    complete "$kind" "$2" >"$file"
    if [ -n "$name" ]; then
        mkdir -p "$(dirname "$work/here/$name")"
        file=$work/here/$name
        complete "$kind" "$2" >"$file"
    fi
    checked=$((checked + 1))
    case $kind in
    scenario)
        [ -e "$work/bin/lbcluster-sim" ] || { left+=("$line: no simulator was built"); return 0; }
        [ -z "$host" ] || lab_up
        on "${host:-here}" lbcluster-sim run --quiet "$file" >"$work/out" 2>&1 || code=$?
        ;;
    node | lines)   # beside an empty cluster.yaml
        mkdir -p "$work/check/dir"
        cp "$file" "$work/check/dir/node.yaml"
        echo "{}" >"$work/check/dir/cluster.yaml"
        "$work/bin/lbcluster" --config-dir "$work/check/dir" config check >"$work/out" 2>&1 || code=$?
        ;;
    cluster | service | check)
        if [ -n "$host" ]; then
            lab_up
            on "$host" lbcluster config check "$file" >"$work/out" 2>&1 || code=$?
        else
            "$work/bin/lbcluster" --config-dir "$work/none" config check "$file" >"$work/out" 2>&1 || code=$?
        fi
        ;;
    *) fail "yaml of which kind? cluster, node, lines, service, check or scenario"; return 0 ;;
    esac
    [ "$code" = "${wanted:-0}" ] || { fail "the check gives $code instead of ${wanted:-0}:"; cat "$file" "$work/out" >&2; }
}

line=0
bad=$(awk -v out="$work/blocks" -f "$here/blocks.awk" "$source_dir/$page")
[ -z "$bad" ] || { sed "s|^|$page:|" <<<"$bad" >&2; failed=$(wc -l <<<"$bad"); }
for block in "$work"/blocks/*; do
    [ -f "$block" ] || continue
    IFS=$'\t' read -r line info <"$block"
    tail -n +2 "$block" >"$work/text"
    read -r kind host _ <<<"$info"
    [[ ${host-} != *=* && -n ${host-} ]] || host=lb1
    if [[ $info == *not-run=* ]]; then
        why=$(sed -n 's/.*not-run="\([^"]*\)".*/\1/p' <<<"$info")
        [ -n "$why" ] || fail 'not-run needs a reason: not-run="..."'
        left+=("$line: $why")
        continue
    fi
    if [ ! -e "$work/bin/lbcluster-sim" ] && grep -q lbcluster-sim "$work/text"; then
        left+=("$line: no simulator was built")
        continue
    fi
    case $kind in
    sh | hidden) execute "$host" "$work/text" || true ;;
    console) console "$host" "$work/text" ;;
    yaml) configuration "$host" "$work/text" ;;
    synopsis | cpp) ;;   # commands.sh
    keepalived)   # by keepalived's own check, where it is installed
        if command -v keepalived >/dev/null; then
            cp "$work/text" "$work/keepalived.conf"
            echo "keepalived --config-test -f $work/keepalived.conf" >"$work/script"
            execute lb1 "$work/script" || true
        else
            left+=("$line: keepalived is not installed")
        fi
        ;;
    text)
        if grep -qE '^(\$ |sudo |lbcluster |lbcluster-sim |\./dev |apt-get |ipvsadm )' "$work/text"; then
            fail "commands in a block of text: sh, console or synopsis"
        fi
        ;;
    *) fail "unknown tag '$info'" ;;
    esac
done

printf '%s: %d scripts run, %d configurations checked, %d blocks not run, %d failed\n' "$page" "$run" "$checked" "${#left[@]}" "$failed"
for why in ${left[@]+"${left[@]}"}; do printf '  not run: %s:%s\n' "$page" "$why"; done
if [ "$failed" != 0 ]; then
    for log in "$work"/nodes/*.log; do [ ! -s "$log" ] || { echo "---- ${log##*/}"; tail -n 40 "$log"; }; done
fi
[ "$failed" = 0 ]
