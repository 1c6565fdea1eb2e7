#!/bin/bash
# SPDX-License-Identifier: MIT
# headers.sh - every header compiles alone, and has a guard of its own.
. "$(dirname "$0")/report.bash"

for header in $(find src tests/lib -name '*.h' | sort); do
    if out=$(gcc -std=c11 -D_GNU_SOURCE -Wall -Wextra -fsyntax-only -Isrc -Itests -Itests/lib -x c "$header" 2>&1 |
        grep -v 'pragma once'); then
        bad "$header compiles alone" "$out"
    else
        ok
    fi
    guard=$(basename "$header" | tr 'a-z.' 'A-Z_')
    grep -qE "^#ifndef BK_([A-Z]+_)*$guard$" "$header" || bad "$header has a guard" "expected BK_..._$guard"
done
expect_nothing "no two headers share a guard" \
    "$(find src tests/lib -name '*.h' -exec grep -h -m 1 '^#ifndef' {} + | sort | uniq -d)"
finish
