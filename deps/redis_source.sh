#!/bin/bash
# SPDX-License-Identifier: MIT
#
# redis_source.sh DIRECTORY - makes sure that Redis's own source (for its test suite) is in DIRECTORY; prints where.
#
# The source package of Debian, from the mirrors that this system itself names, checked by apt against the archive's
# signature. The system's sources and lists stay as they are: apt gets a file and folders of its own, here. What is there
# already is used without any network. Exit status 2, with the reason on standard error: it cannot be had.
set -eu

VERSION=7.0.15
ETC=${APT_ETC:-/etc/apt}
dir=$1
tree=$dir/redis-$VERSION

unavailable() {
    echo "the source of Redis $VERSION cannot be had: $1" >&2
    exit 2
}

# source_lines FOLDER: the system's sources of binary packages, as lines for source packages. A signature that one of
# them is held against is kept; a key written into the file itself goes into FOLDER.
source_lines() {
    local file
    for file in "$ETC"/sources.list "$ETC"/sources.list.d/*.list; do
        [ ! -f "$file" ] || sed -nE 's/^[[:space:]]*deb[[:space:]]/deb-src /p' "$file"
    done
    for file in "$ETC"/sources.list.d/*.sources; do
        [ ! -f "$file" ] || awk -v folder="$1" -f "$(dirname "$0")/deb822.awk" "$file"
    done
}

if [ ! -e "$tree/.complete" ]; then
    command -v apt-get >/dev/null || unavailable "no apt-get here"
    mkdir -p "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial"
    dir=$(cd "$dir" && pwd)
    source_lines "$dir/apt" | LC_ALL=C sort -u >"$dir/apt/sources.list"
    [ -s "$dir/apt/sources.list" ] || unavailable "this system names no package source"
    own=(-o "Dir::Etc::SourceList=$dir/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o "Dir::State::Lists=$dir/apt/lists" -o "Dir::Cache=$dir/apt/cache" -o APT::Sandbox::User=
        -o Acquire::Retries=2 -o Acquire::Languages=none)
    log=$dir/apt/log
    apt-get -q "${own[@]}" update >"$log" 2>&1 || unavailable "apt-get update: $(tail -n 1 "$log")"
    full=$(apt-cache "${own[@]}" showsrc redis 2>>"$log" | sed -nE 's/^Version: //p' |
        grep -E "(^|:)$VERSION-" | sort -V | tail -n 1)
    [ -n "$full" ] || unavailable "no such version among this system's packages"
    (cd "$dir" && apt-get -q "${own[@]}" source --download-only "redis=$full") >>"$log" 2>&1 ||
        unavailable "apt-get source: $(tail -n 1 "$log")"
    tar -C "$dir" -xzf "$dir/redis_$VERSION.orig.tar.gz" || unavailable "the archive cannot be unpacked"
    [ -x "$tree/runtest" ] || unavailable "the archive holds no test suite"
    touch "$tree/.complete"
    rm -rf "$dir/apt"
fi
cd "$tree"
pwd
