#!/usr/bin/env bash
# pages.sh SOURCE BUILD: the manual pages are clean and have every command and option of --help; docs/reference is what
# the build makes.
set -euo pipefail
source=$1
build=$2
failures=0
fail() { echo "FAILED: $*"; failures=$((failures + 1)); }

# is_current FILE
is_current() {
    diff -u "$source/docs/reference/$1" "$build/reference/$1" ||
        fail "docs/reference/$1 is not what the programs are; renew it: ninja -C $build reference_renew"
}
[ ! -f "$build/reference/lbcluster-sim.md" ] || is_current commands.md
is_current configuration.md

for page in "$build"/man/*; do
    [ -s "$page" ] || fail "$page is empty"
    lint=$(mandoc -T lint -W warning "$page" 2>&1) || fail "mandoc: $lint"
    # \%: a word that is too long for its line is no fault of the page.
    warnings=$(LC_ALL=C.UTF-8 MANWIDTH=100 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null | grep -v "can't break line" || true)
    [ -z "$warnings" ] || fail "man $page: $warnings"
done

# all_of PROGRAM PAGE COMMAND...: each option and command of --help stands in the page, and so on below.
checked=0
all_of() {
    local program=$1 page=$2 help word
    shift 2
    help=$("$program" "$@" --help)
    # An option line of --help: two blanks, then -h,--help or --json.
    while read -r word; do
        checked=$((checked + 1))
        grep -qF -- "$word" <<<"$page" || fail "the page of $(basename "$program") has no $word of '$*'"
    done < <(sed -nE '/^Subcommands:/q; s/^  (-[a-zA-Z],)?(--[a-z-]+).*/\2/p' <<<"$help")
    while read -r word; do
        checked=$((checked + 1))
        grep -qE -- "^ *$* ?$word( |\$)" <<<"$page" || [ -n "$("$program" "$@" "$word" --help | grep '^Subcommands:')" ] ||
            fail "the page of $(basename "$program") has no command '$* $word'"
        [ "$*$word" = simulate ] || all_of "$program" "$page" "$@" "$word"
    done < <(sed -nE '1,/^Subcommands:/d; s/^  ([a-z][a-z-]*) .*/\1/p' <<<"$help")
}
for program in cli/lbcluster sim/lbcluster-sim heartbeat/heartbeatd healthd/healthd forwarder/forwarderd replicator/replicatord; do
    [ -x "$build/$program" ] || continue
    page=$(mandoc -T utf8 -O width=800 "$build/man/$(basename "$program")".? | col -b)
    all_of "$build/$program" "$page"
done
[ "$checked" -gt 100 ] || fail "only $checked commands and options were looked for"
[ "$failures" = 0 ] || exit 1
echo "$checked commands and options, $(ls "$build/man" | wc -l) pages"
