#!/bin/bash
# SPDX-License-Identifier: MIT
# readme_program.sh - the C program of README.md compiles as the README says, without a warning, and does what it says.
. "$(dirname "$0")/report.bash"

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
awk '/^```c$/ { inside = 1; next } /^```$/ { inside = 0 } inside' README.md >"$dir/greeting.c"
command=$(sed -nE 's/^`(gcc .*greeting\.c.*)`$/\1/p' README.md |
    sed "s#greeting\.c#$dir/greeting.c#; s#build/libbitkv\.a#$B/libbitkv.a#; s#-o greeting#-o $dir/greeting#")
lines=$(wc -l <"$dir/greeting.c")

if [ "$lines" -ge 20 ] && [ "$lines" -le 40 ]; then
    ok
else
    bad "the program has about 30 lines" "$lines lines"
fi
out=$($command -Wall -Wextra -Wshadow -Werror 2>&1) || bad "it compiles: $command" "$out"
expect_nothing "it compiles without a word" "$out"
for expected in "first run" "hello again, 1 keys"; do
    out=$("$dir/greeting" "$dir/data" 2>&1)
    if [ "$out" = "$expected" ]; then
        ok
    else
        bad "it says: $expected" "$out"
    fi
done
finish
