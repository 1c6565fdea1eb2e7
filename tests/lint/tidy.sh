#!/bin/bash
# SPDX-License-Identifier: MIT
# tidy.sh - clang-tidy over src/, one check per file; .clang-tidy says what is asked and what is left out.
. "$(dirname "$0")/report.bash"

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
export out B

# tidy FILE: an empty result file is a clean one.
tidy() {
    local layer
    layer=$(basename "$(dirname "$1")")
    clang-tidy --quiet "$1" -- -std=c11 -D_GNU_SOURCE -I"$B/include/$layer" 2>/dev/null |
        grep -E '(warning|error):' >"$out/$(echo "$1" | tr / _)"
}
export -f tidy

printf '%s\n' src/*/*.c | xargs -P "$(nproc)" -I{} bash -c 'tidy {}'
for file in src/*/*.c; do
    expect_nothing "clang-tidy: $file" "$(sort -u "$out/$(echo "$file" | tr / _)" 2>&1)"
done
finish
