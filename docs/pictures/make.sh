#!/usr/bin/env bash
# Makes the pictures of the documentation from the text beside them: docs/pictures/make.sh. Needs graphviz
# (apt-get install --no-install-recommends graphviz). Each .svg carries the SHA-256 of the .dot that it was made from; the test
# `docs` compares it, so that a changed text without its picture does not pass.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
for dot in *.dot; do
    svg=${dot%.dot}.svg
    sum=$(sha256sum <"$dot")
    { dot -Tsvg "$dot"; printf '<!-- made from %s, SHA-256 %s -->\n' "$dot" "${sum%% *}"; } >"$svg.new"
    mv "$svg.new" "$svg"
done
