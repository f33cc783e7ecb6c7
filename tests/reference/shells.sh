#!/usr/bin/env bash
# shells.sh BUILD: completion in a real bash and a real zsh.
set -euo pipefail
build=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PATH="$build/cli:$build/sim:$PATH"
export LBCLUSTER_CONFIG_DIR=$work LBCLUSTER_STATE_DIR=$work/state LBCLUSTER_RUN_DIR=$work/run
cat >"$work/cluster.yaml" <<'YAML'
virtual_services:
  - {label: Papercut, address: 10.0.0.1, ports: [80], real_servers: [{label: App1, address: 10.0.0.2}, {label: App2, address: 10.0.0.3}]}
  - {label: Print, address: 10.0.0.9, ports: [80]}
YAML
echo 'node: lb1' >"$work/node.yaml"
mkdir "$work/here" && cd "$work/here" && touch a-file && mkdir a-folder
failures=0
# same WHAT GOT WANTED
same() {
    [ "$2" = "$3" ] || { echo "FAILED: $1: got '$2', wanted '$3'"; failures=$((failures + 1)); }
}

# in_bash WORD...: what bash is offered for the last word; as readline takes them apart.
in_bash() {
    bash --norc -c '
        source "$1"
        shift
        COMP_WORDS=("$@")
        COMP_CWORD=$(($# - 1))
        compopt() { :; }   # only while readline completes
        _lbcluster
        printf "%s\n" "${COMPREPLY[@]}"' bash "$build/completion/lbcluster" "$@" | sort | tr '\n' ' ' | sed 's/ *$//'
}
same "commands" "$(in_bash lbcluster st)" "standby status"
same "a global option behind a verb" "$(in_bash lbcluster status --js)" "--json"
same "services" "$(in_bash lbcluster service show P)" "Papercut Print"
same "servers of the service" "$(in_bash lbcluster server drain Papercut '')" "App1 App2"
same "no servers" "$(in_bash lbcluster server drain Print '')" ""
same "a new label is free" "$(in_bash lbcluster service add '')" ""
same "keys" "$(in_bash lbcluster service set Print sche)" "scheduler="
same "values" "$(in_bash lbcluster service set Print method = d)" "dr"
same "all values" "$(in_bash lbcluster service set Print method =)" "dr nat proxy snat tun"
same "a key below" "$(in_bash lbcluster service set Print check.ty)" "check.type="
same "choices of an option" "$(in_bash lbcluster arp-fix Print --os l)" "linux"
same "choices behind =" "$(in_bash lbcluster arp-fix Print --os = l)" "linux"
same "files" "$(in_bash lbcluster config apply a-f)" "a-file a-folder"
same "folders" "$(in_bash lbcluster --config-dir a-f)" "a-folder"
same "another folder" "$(in_bash lbcluster --config-dir "$work/here" service show '')" ""
same "a mistake is silent" "$(in_bash lbcluster bogus bogus '')" ""
if [ -x "$build/sim/lbcluster-sim" ]; then
    same "the simulator's own" "$(in_bash lbcluster-sim r)" "run"
    same "the simulator's by lbcluster" "$(in_bash lbcluster simulate run --tim)" "--timeline"
fi
# A broken configuration says nothing.
same "stderr" "$(echo '{' >"$work/cluster.yaml" && lbcluster complete -- service show '' 2>&1)" "words"

# zsh: the real completion system in a terminal of its own.
zsh -n "$build/completion/_lbcluster" || { echo "FAILED: zsh -n"; failures=$((failures + 1)); }
cat >"$work/cluster.yaml" <<'YAML'
virtual_services: [{label: Papercut, address: 10.0.0.1, ports: [80]}]
YAML
cat >"$work/zsh_test" <<'ZSH'
zmodload zsh/zpty
zpty z "zsh -f -i"
zpty -w z "PS1='' fpath=($1 \$fpath); autoload -U compinit; compinit -u -d $2/dump; bindkey '^I' complete-word; print REA''DY"
wait_for() {   # PATTERN: or ten seconds
    local text= part
    integer i
    for ((i = 0; i < 200; i++)); do
        while zpty -rt z part 2>/dev/null; do text+=$part; done
        [[ $text == *$~1* ]] && { print -r -- FOUND; return }
        zselect -t 5
    done
    print -r -- "not found: $1 in ${(qqqq)text}"
}
zmodload zsh/zselect
wait_for READY
zpty -w -n z $'lbcluster service show Pap\t'
wait_for 'show Pap*ercut'   # it rings between them
zpty -w -n z $'\C-a\C-klbcluster sta\t'
wait_for 'is node, its peer'   # with what each is
zpty -d z
ZSH
same "zsh" "$(timeout 60 zsh -f "$work/zsh_test" "$build/completion" "$work" | tr '\n' ' ')" "FOUND FOUND FOUND "
[ "$failures" = 0 ] || exit 1
echo "bash and zsh complete"
