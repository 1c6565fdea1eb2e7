#!/bin/bash
# SPDX-License-Identifier: MIT
# deps.sh - deps/install.sh calls no package manager when nothing is missing, and says what is missing and why.
. "$(dirname "$0")/report.bash"

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/bin"
printf '#!/bin/sh\necho "$0 $*" >>%s/called\n' "$dir" >"$dir/bin/apt-get"
cp "$dir/bin/apt-get" "$dir/bin/sudo"
chmod +x "$dir"/bin/*

PATH=$dir/bin:$PATH deps/install.sh build test >"$dir/out" 2>&1 || bad "install.sh ends well" "$(cat "$dir/out")"
expect_nothing "with nothing missing, no package manager is called" "$(cat "$dir/called" 2>/dev/null)"
expect_nothing "with nothing missing, nothing is said" "$(cat "$dir/out")"

cp deps/install.sh "$dir"
echo 'no-such-package-here test cmd:no-such-program-here what it is for' >"$dir/packages.list"
if BITKV_NO_INSTALL=1 "$dir/install.sh" build test >"$dir/out" 2>&1; then
    bad "a missing package that may not be installed is an error" "$(cat "$dir/out")"
else
    ok
fi
if grep -q 'no-such-package-here *what it is for' "$dir/out"; then
    ok
else
    bad "install.sh says what is missing and why" "$(cat "$dir/out")"
fi
if "$dir/install.sh" build >"$dir/out" 2>&1; then
    ok
else
    bad "a package of another phase is not asked for" "$(cat "$dir/out")"
fi
expect_nothing "no package of ours starts a service" \
    "$(awk '!/^#/ { print $1 }' deps/packages.list | grep -E '^(redis|redis-server|redis-sentinel)$')"
finish
