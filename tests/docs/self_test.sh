#!/usr/bin/env bash
# Do page.sh and commands.sh notice what is wrong? self_test.sh SOURCE BUILD. Each page here has one fault; needs root.
set -euo pipefail
source_dir=$1 build=$2
here=$(dirname "$(readlink -f "$0")")
work=$(mktemp -d /tmp/lbcluster-docs-self.XXXXXX)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/docs/pictures" "$work/sim" "$work/packaging" "$work/tests"
cp "$source_dir/dev" "$work/"
missed=0
page() {   # WANTED_EXIT_CODE WHAT; the page is stdin
    local code=0
    cat >"$work/docs/page.md"
    "$here/page.sh" "$work" "$build" docs/page.md >"$work/out" 2>&1 || code=$?
    [ "$code" = "$1" ] || { echo "page.sh gives $code instead of $1: $2"; cat "$work/out"; missed=$((missed + 1)); }
}
page 0 'nothing is wrong' <<'END'
```sh client
ping -c 1 -W 5 10.77.0.1
```

```console here exit=3
$ echo one; echo two; exit 3
one
t…
```

```yaml cluster
heartbeat: {profile: lan}
```
END
page 1 'a command fails' <<<$'```sh here\nfalse\n```'
page 1 'a command that is not the last one fails' <<<$'```sh here\nfalse\ntrue\n```'
page 1 'a hidden command fails' <<<$'<!-- test here\nfalse\n-->'
page 1 'another output' <<<$'```console here\n$ echo one\ntwo\n```'
page 1 'output in another order' <<<$'```console here\n$ echo one; echo two\ntwo\none\n```'
page 1 'a key that does not exist' <<<$'```yaml cluster\nheartbeat: {profil: lan}\n```'
page 1 'a part with a wrong value' <<<$'```yaml check\ncheck: {type: conect}\n```'
page 1 'a node without a name' <<<$'```yaml node\nrole: primary\n```'
page 1 'no tag' <<<$'```\nlbcluster status\n```'
page 1 'an unknown tag' <<<$'```shell\nlbcluster status\n```'
page 1 'yaml of no kind' <<<$'```yaml\nheartbeat: {}\n```'
page 1 'an indented block' <<<$'Text:\n\n    lbcluster status\n'
page 1 'a command in a block of text' <<<$'```text\nlbcluster status\n```'
page 1 'not run, and no reason' <<<$'```sh not-run=\nfalse\n```'
page 1 'a block does not end' <<<$'```sh here\ntrue'

all() {   # WANTED_EXIT_CODE WHAT; README.md is stdin
    local code=0
    rm -f "$work"/docs/page.md
    cat >"$work/README.md"
    touch "$work/docs/README.md"
    "$here/commands.sh" "$work" "$build" >"$work/out" 2>&1 || code=$?
    [ "$code" = "$1" ] || { echo "commands.sh gives $code instead of $1: $2"; cat "$work/out"; missed=$((missed + 1)); }
}
echo 'digraph a { }' >"$work/docs/pictures/a.dot"
sum=$(sha256sum <"$work/docs/pictures/a.dot")
echo "<!-- ${sum%% *} -->" >"$work/docs/pictures/a.svg"
all 0 'nothing is wrong' <<'END'
# A page
`lbcluster config diff [REV]`, `lbcluster server drain S L --deadline 10m`, `./dev test`, `scheduler: wlc`, `sim/`, [above](#a-page)
END
all 1 'no such command' <<<'`lbcluster confg diff`'
all 1 'no such verb below a command' <<<'`lbcluster config dif`'
all 1 'no such option' <<<'`lbcluster status --wach`'
all 1 'no such option in a synopsis' <<<$'```synopsis\nlbcluster status --wach\n```'
all 1 'no such verb of dev' <<<'`./dev tset`'
all 1 'no such configuration' <<<'`scheduler: wcl`'
all 1 'no such file' <<<'[x](y.md)'
all 1 'no such heading' <<<'[x](#y)'
all 1 'no such path' <<<'`sim/nothing.hpp`'
echo >>"$work/docs/pictures/a.dot"
all 1 'a picture that is older than its text' <<<'Text.'
[ "$missed" = 0 ] && echo "everything that is wrong was noticed"
