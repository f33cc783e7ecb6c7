#!/usr/bin/env bash
# two_versions.sh SOURCE BUILD: what the package tests install: BUILD/test-packages/new, and old with a smaller version and
# the same files, which an upgrade replaces all the same. Exit code: 77 if the tools for packages are not installed.
set -euo pipefail
source_dir=$1 out=$2/test-packages
for program in dpkg-buildpackage dh; do command -v $program >/dev/null || { echo "$program is not installed"; exit 77; }; done
rm -rf "$out"
LBCLUSTER_DEB_FLAGS="-Zgzip -z1" "$source_dir/packaging/build-packages.sh" "$source_dir" "$2" "$out/new" >/dev/null
rm -f "$out"/new/lbcluster-sim_* "$out/new/log"
mkdir "$out/old"
dpkg-deb -R "$out"/new/lbcluster_*.deb "$out/unpacked"
sed -i 's/^Version: .*/Version: 0.0.9/' "$out/unpacked/DEBIAN/control"
dpkg-deb -Zgzip -z1 -b "$out/unpacked" "$out/old/lbcluster_0.0.9_amd64.deb" >/dev/null
rm -rf "$out/unpacked"
