#!/bin/bash
# SPDX-License-Identifier: MIT
# tsa.sh - clang's lock annotations: the wrong file is refused, our own files pass.
. "$(dirname "$0")/report.bash"

out=$(clang -std=c11 -D_GNU_SOURCE -Isrc -fsyntax-only -Wthread-safety tests/lint/tsa_must_fail.c 2>&1)
for mistake in "is still held at the end of function" "releasing mutex 'm' that was not held" \
    "acquiring mutex 'm' that is already held" "calling function 'needs_lock' requires holding mutex 'm'"; do
    if echo "$out" | grep -qF "$mistake"; then
        ok
    else
        bad "clang sees: $mistake" "$out"
    fi
done
for file in src/*/*.c; do
    layer=$(basename "$(dirname "$file")")
    expect_nothing "$file keeps its lock annotations" "$(clang -std=c11 -D_GNU_SOURCE -Isrc \
        -I"$B/include/$layer" -fsyntax-only -Wthread-safety "$file" 2>&1 | grep -A3 'thread-safety')"
done
finish
