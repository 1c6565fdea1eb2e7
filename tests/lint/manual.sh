#!/bin/bash
# SPDX-License-Identifier: MIT
# manual.sh - the manual page renders without a warning and knows every verb and option of the tool.
. "$(dirname "$0")/report.bash"

page=src/tools/bitkv.1
expect_nothing "$page renders without a warning" "$(groff -mandoc -Tutf8 -ww -z "$page" 2>&1)"
text=$(groff -mandoc -Tascii -P-c -P-b -P-u "$page" 2>/dev/null)
verbs=$("$B/bitkv" --help | sed -nE 's/^  bitkv ([a-z]+) .*/\1/p')
[ "$(echo "$verbs" | wc -w)" -ge 10 ] || bad "bitkv --help lists verbs" "$verbs"
for verb in $verbs; do
    if echo "$text" | grep -qE "^ *bitkv $verb "; then ok; else bad "$page knows the verb $verb" "no synopsis"; fi
    for option in $("$B/bitkv" help "$verb" | grep -oE -- '--[a-z-]+'); do
        if echo "$text" | grep -qe "$option"; then ok; else bad "$page knows $option of $verb" "not found"; fi
    done
    grep -q "\`$verb" README.md || bad "README.md knows the verb $verb" "no \`$verb"
done
finish
