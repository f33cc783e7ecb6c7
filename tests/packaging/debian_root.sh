# A minimal Debian 12 with what our package needs, to be sourced.

# debian_root FOLDER PACKAGES MORE: made by mmdebstrap in FOLDER/root, and kept until something else is wanted: what the
# package in PACKAGES/new depends on and recommends, and MORE (names with commas). Ends the script with 77 where the tools
# or Debian's archive are missing, with 1 where it fails otherwise.
debian_root() {
    local folder=$1 packages=$2 wanted
    command -v mmdebstrap >/dev/null || { echo "mmdebstrap is not installed"; exit 77; }
    wanted=$(dpkg-deb -f "$packages"/new/lbcluster_*.deb Depends Recommends |
        sed 's/^[A-Z][a-z]*://; s/([^)]*)//g' | tr -d ' ' | tr ',\n' '\n\n' | sed '/^$/d' | sort -u | paste -sd,)
    wanted+=,$3
    [ "$(cat "$folder/made-of" 2>/dev/null)" != "$wanted" ] || return 0
    rm -rf "$folder"
    mkdir -p "$folder"
    make_root() { timeout 350 mmdebstrap --quiet --mode=root --variant=minbase --include="$wanted" bookworm "$folder/root" >"$folder/log" 2>&1; }
    # An archive that is away for a moment, or altogether, is not what is tested.
    if ! make_root && { rm -rf "$folder/root"; ! make_root; }; then
        cat "$folder/log"
        ! grep -qE 'Failed to fetch|Could not (resolve|connect)|Temporary failure resolving|Unable to connect' "$folder/log" || exit 77
        exit 1
    fi
    echo "$wanted" >"$folder/made-of"
}
