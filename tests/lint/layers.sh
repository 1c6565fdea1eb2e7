#!/bin/bash
# SPDX-License-Identifier: MIT
# layers.sh - a folder includes only what the table of the layers allows, and the build refuses the rest.
. "$(dirname "$0")/report.bash"

declare -A MAY=(
    [base]='base/'
    [engine]='base/ engine/'
    [resp]='base/ resp/'
    [keyspace]='base/ keyspace/ engine/bitkv.h engine/sight.h'
    [command]='base/ resp/ keyspace/ command/'
    [net]='base/ resp/ command/ net/'
    [app]='base/ engine/ resp/ keyspace/ command/ net/ app/ tools/'
    [tools]='base/ tools/ engine/bitkv.h engine/sight.h'
)

for layer in $LAYERS; do
    pattern=$(echo "${MAY[$layer]}" | tr ' ' '|')
    expect_nothing "src/$layer includes only: ${MAY[$layer]}" \
        "$(grep -rnE '^ *# *include *"' "src/$layer" --include='*.[ch]' | grep -vE "\"($pattern)")"
done
expect_nothing "no include climbs out of its folder" "$(grep -rnE '# *include.*\.\./' src --include='*.[ch]')"
expect_nothing "src/engine knows no protocol and no event loop" \
    "$(code src/engine/*.[ch] | grep -iE ':.*\b(redis|resp|libevent|event2?)(_|\b)'; grep -n '<event' src/engine/*)"

# refuses LAYER HEADER: with the layer's include root, the header is not found.
refuses() {
    local out
    if out=$(echo "#include \"$2\"" | gcc -std=c11 -D_GNU_SOURCE -fsyntax-only -x c -I"$B/include/$1" - 2>&1); then
        bad "the build refuses $2 in src/$1" "it compiled"
    elif echo "$out" | grep -q "$2: No such file"; then
        ok
    else
        bad "the build refuses $2 in src/$1" "$out"
    fi
}

refuses base engine/bitkv.h
refuses engine resp/reader.h
refuses engine keyspace/keyspace.h
refuses resp engine/bitkv.h
refuses resp command/command.h
refuses keyspace engine/io.h
refuses keyspace resp/reader.h
refuses command engine/bitkv.h
refuses command net/net.h
refuses net keyspace/keyspace.h
refuses net engine/bitkv.h
refuses tools engine/io.h
refuses tools keyspace/keyspace.h
refuses tests_engine engine/record.h
refuses tests_engine resp/reader.h
finish
