#!/bin/bash
# SPDX-License-Identifier: MIT
# shape.sh - licence lines, lengths, and nothing left for later. A longer function says why beside a NOLINT.
. "$(dirname "$0")/report.bash"

mapfile -t files < <(c_files)
mapfile -t scripts < <(find tests tcl-tests deps .ci Makefile -type f \
    \( -name '*.sh' -o -name '*.bash' -o -name '*.tcl' -o -name run -o -name Makefile -o -name '*.list' \) | sort)

for f in "${files[@]}" "${scripts[@]}"; do
    head -n 3 "$f" | grep -q 'SPDX-License-Identifier: MIT' || echo "$f"
done >"${spdx:=$(mktemp)}"
expect_nothing "every file names its licence" "$(cat "$spdx")"
rm -f "$spdx"

expect_nothing "files have at most 600 lines (tables made by a script aside)" \
    "$(wc -l "${files[@]}" "${scripts[@]}" | awk '$1 > 600 && $2 != "total" { print $2 ": " $1 }' |
        while IFS=: read -r f n; do grep -q 'Written by .*\.tcl' "$f" || echo "$f:$n"; done)"
expect_nothing "no tab, no blank at the end of a line" \
    "$(awk ' /\t/ || / $/ { print FILENAME ":" FNR ": " $0 }' "${files[@]}")"
expect_nothing "functions have at most 70 lines" "$(awk '
    FNR == 1 { open = 0; note = -9 }
    /NOLINT.*:/ { note = FNR }
    /^\{/ { open = FNR; noted = FNR - note <= 4 }
    /^\}/ && open { if (FNR - open - 1 > 70 && !noted && note < open)
        print FILENAME ":" open ": " FNR - open - 1 " lines"; open = 0 }' "${files[@]}")"
expect_nothing "nothing is left for later" \
    "$(grep -nwE 'TODO|FIXME|XXX|HACK' "${files[@]}" "${scripts[@]}" README.md src/README.md tests/README.md |
        grep -v '^tests/lint/shape.sh:')"
expect_nothing "a NOLINT says why" "$(grep -nE 'NOLINT' "${files[@]}" | grep -vE 'NOLINT[A-Z]*(\([^)]*\))?: .+|NOLINTEND')"

# What stands at the top, beside dot-files and what git ignores.
expect_nothing "the top level holds what it should" \
    "$(comm -13 <(printf '%s\n' Makefile README.md bitkv.conf deps redis-compat.md src tcl-tests tests | sort) \
        <(git ls-files --cached --others --exclude-standard | cut -d/ -f1 | grep -v '^\.' | sort -u))"
finish
