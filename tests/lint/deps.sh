#!/bin/bash
# SPDX-License-Identifier: MIT
# deps.sh - deps/install.sh calls no package manager when nothing is missing, and says what is missing and why;
# deps/redis_source.sh asks the system's own mirrors.
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

# A system whose sources are in both of apt's forms; the apt-get of above fetches nothing.
mkdir -p "$dir/etc/sources.list.d"
printf '# deb not this\ndeb [signed-by=/k.gpg] http://one/debian main contrib\ndeb-src http://none/debian main\n' \
    >"$dir/etc/sources.list"
printf 'Types: deb deb-src\nURIs: http://two/a http://two/b\nSuites: x\n y\nComponents: main\nSigned-By: /k.gpg\n /l.gpg\n\n%s\n' \
    'Types: deb
Enabled: no
URIs: http://off/a
Suites: x
Components: main

Types: deb
URIs: http://three/a
Suites: z
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----' >"$dir/etc/sources.list.d/debian.sources"
APT_ETC=$dir/etc PATH=$dir/bin:$PATH deps/redis_source.sh "$dir/rs" >"$dir/out" 2>&1
if [ $? -eq 2 ] && grep -q 'cannot be had: no such version' "$dir/out"; then
    ok
else
    bad "redis_source.sh says why it cannot have the source" "$(cat "$dir/out")"
fi
expect_nothing "redis_source.sh asks for sources where the system takes its packages from" \
    "$(diff <(sed "s#$dir#DIR#" "$dir/rs/apt/sources.list" | LC_ALL=C sort) - <<'END'
deb-src [signed-by=/k.gpg,/l.gpg] http://two/a x main
deb-src [signed-by=/k.gpg,/l.gpg] http://two/a y main
deb-src [signed-by=/k.gpg,/l.gpg] http://two/b x main
deb-src [signed-by=/k.gpg,/l.gpg] http://two/b y main
deb-src [signed-by=/k.gpg] http://one/debian main contrib
deb-src [signed-by=DIR/rs/apt/key1.asc] http://three/a z main
END
)"
expect_nothing "a key in a file of sources is kept as it is" "$(diff "$dir/rs/apt/key1.asc" - <<'END'
-----BEGIN PGP PUBLIC KEY BLOCK-----

abc
-----END PGP PUBLIC KEY BLOCK-----
END
)"
expect_nothing "no package of ours starts a service" \
    "$(awk '!/^#/ { print $1 }' deps/packages.list | grep -E '^(redis|redis-server|redis-sentinel)$')"
finish
