#!/bin/bash
# SPDX-License-Identifier: MIT
# cover.sh DIR - lines that ran, by source file, from the --coverage build in DIR.
set -eu

find "$1/src" -name '*.gcda' | sort | while read -r data; do
    gcov -n -o "$(dirname "$data")" "$data" 2>/dev/null | awk '
        /^File/ { file = $2; gsub(/\047/, "", file) }
        /^Lines executed/ && file ~ /^src\/.*\.c$/ {
            split($2, part, /[:%]/); printf "%6.1f %% of %5d  %s\n", part[2], $4, file; file = "" }'
done
