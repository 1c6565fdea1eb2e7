#!/bin/bash
# SPDX-License-Identifier: MIT
# traps.sh - every trap in tests/README.md has a test with its number in the name, and no test names another.
. "$(dirname "$0")/report.bash"

listed=$(sed -nE 's/^\| ([0-9]{2}) \| .*/\1/p' tests/README.md | sort -u)
named=$(grep -rhoE '\btrap[0-9]{2}_|_trap[0-9]{2}_' tests tcl-tests --include='*.c' --include='*.tcl' |
    tr -dc '0-9\n' | sort -u)
for trap in $listed; do
    if echo "$named" | grep -qx "$trap"; then
        ok
    else
        bad "trap $trap has a test" "no name in tests/ or tcl-tests/ contains trap${trap}_"
    fi
done
expect_nothing "every trap named by a test stands in tests/README.md" \
    "$(comm -13 <(echo "$listed") <(echo "$named"))"
finish
