#!/bin/bash
# SPDX-License-Identifier: MIT
#
# install.sh PHASE... - makes sure that the packages of these phases (deps/packages.list) are there.
#
# Only when one is missing is the package manager called, after saying what is missing and why. BITKV_NO_INSTALL=1:
# never call it, fail instead.
set -eu

list=$(dirname "$0")/packages.list

# present PACKAGE CHECK
present() {
    if command -v dpkg-query >/dev/null &&
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; then
        return 0
    fi
    case $2 in
    cmd:*) command -v "${2#cmd:}" >/dev/null ;;
    pc:*) command -v pkg-config >/dev/null && pkg-config --exists "${2#pc:}" ;;
    *) return 1 ;;
    esac
}

missing=()
for phase in "$@"; do
    while read -r package its_phase check why; do
        case $package in '' | '#'*) continue ;; esac
        if [ "$its_phase" = "$phase" ] && ! present "$package" "$check"; then
            [ ${#missing[@]} -gt 0 ] || echo "Missing packages:"
            printf '  %-20s %s\n' "$package" "$why"
            missing+=("$package")
        fi
    done <"$list"
done
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo)
fi
if [ "${BITKV_NO_INSTALL:-0}" = 1 ] || ! command -v apt-get >/dev/null ||
    ! command -v "${as_root[0]:-true}" >/dev/null; then
    echo "Please install them, as root on Debian 12: apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
fi
install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get)
echo "Installing: ${missing[*]}"
"${install[@]}" -q update
"${install[@]}" -q install -y --no-install-recommends "${missing[@]}"
