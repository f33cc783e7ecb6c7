#!/usr/bin/env bash
# build-packages.sh SOURCE BUILD OUT [VERSION]: Debian packages of the programs in BUILD, into OUT. Without VERSION it is
# the project's, and between releases `~` with the number of commits: each newer one upgrades the one before, and the
# release upgrades all of them. LBCLUSTER_DEB_FLAGS: for dpkg-deb.
set -euo pipefail
source_dir=$1 build_dir=$(realpath "$2") out=$3 version=${4-}
release=$(sed -n 's/^project(lbcluster VERSION \([0-9.]*\).*/\1/p' "$source_dir/CMakeLists.txt")
git() { command git -c safe.directory='*' -C "$source_dir" "$@"; }
if [ -z "$version" ]; then
    version=$release
    [ "$(git tag --points-at HEAD "v$release" 2>/dev/null)" != "" ] ||
        version=$release~$(git rev-list --count HEAD 2>/dev/null || echo 0).g$(git rev-parse --short=10 HEAD 2>/dev/null || echo 0)
fi
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y "$source_dir/CHANGELOG.md")
export SOURCE_DATE_EPOCH LBCLUSTER_BUILD_DIR=$build_dir

mkdir -p "$out"
out=$(realpath "$out")
rm -rf "$out/stage" "$out"/*.deb
mkdir -p "$out/stage"
cp -a "$source_dir/packaging/debian" "$out/stage/debian"
cat >"$out/stage/debian/changelog" <<END
lbcluster ($version) bookworm; urgency=medium

  * See CHANGELOG.md in /usr/share/doc/lbcluster.

 -- lbcluster <lbcluster@localhost>  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
END
cd "$out/stage"
# Debug symbols would take longer than all the rest, and the release build has none.
if ! DEB_BUILD_OPTIONS="noautodbgsym parallel=$(nproc)" dpkg-buildpackage -b -us -uc -d >"$out/log" 2>&1; then
    cat "$out/log" >&2
    exit 1
fi
rm -rf "$out/stage" "$out"/*.buildinfo "$out"/*.changes
ls -1 "$out"/*.deb
