#!/bin/bash
# SPDX-License-Identifier: MIT
#
# large.sh - what a small change of a large value costs: one Markdown table on stdout, progress on stderr.
#
#   SIZES  lengths of the value in bytes (default: 1 KiB, 1 MiB, 64 MiB)
#   DIR    where the data directories go (default: a temporary directory)
#   PORT   (default 17010)
#
# For each row the server is started anew, so that the value lies on disk only. "memory" is the highest resident size
# from then until what the command has appended is written, over the size before it; "disk" is what it has appended.
set -u
cd "$(dirname "$0")/../.." || exit 1

SIZES=${SIZES:-"1024 1048576 67108864"}
PORT=${PORT:-17010}
program=${B:-build}/bitkv-server
work=$(mktemp -d "${DIR:-${TMPDIR:-/tmp}}/bitkv-large.XXXXXX")
pid=

stop() {
    if [ -n "$pid" ]; then
        kill "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
        pid=
    fi
}
trap 'stop; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

ask() {
    redis-cli -p "$PORT" "$@"
}

start() {
    "$program" --port "$PORT" --bind 127.0.0.1 --dir "$work/data" >>"$work/log" 2>&1 &
    pid=$!
    until [ "$(ask ping 2>/dev/null)" = PONG ]; do
        if ! kill -0 "$pid" 2>/dev/null; then
            tail -n 20 "$work/log" >&2
            exit 1
        fi
    done
}

# field NAME: of INFO.
field() {
    ask info everything | tr -d '\r' | sed -n "s/^$1://p"
}

# memory NAME: VmRSS or VmHWM of the server, in KiB.
memory() {
    awk -v name="$1:" '$1 == name { print $2 }' "/proc/$pid/status"
}

# measure SIZE COMMAND...: "memory in KiB, bytes appended".
measure() {
    local size=$1 before tail
    shift
    rm -rf "$work/data"
    start
    ask setrange key $((size - 1)) x >/dev/null
    stop
    start
    tail=$(field tail_pos)
    echo 5 >"/proc/$pid/clear_refs"
    before=$(memory VmRSS)
    ask "$@" >/dev/null
    until [ "$(field written_pos)" = "$(field tail_pos)" ]; do :; done
    echo "$(($(memory VmHWM) - before)) $(($(field tail_pos) - tail))"
    stop
}

row() {
    local name=$1 size costs
    shift
    printf '| %s |' "$name"
    for size in $SIZES; do
        echo "$name, $size bytes" >&2
        costs=$(measure "$size" "$@")
        printf ' %s KiB | %s |' "${costs% *}" "${costs#* }"
    done
    echo
}

printf '| change |'
for size in $SIZES; do
    printf ' %s bytes: memory | disk |' "$size"
done
printf '\n|---|'
for size in $SIZES; do
    printf -- '---|---|'
done
echo
row SETRANGE setrange key 1 y
row SETBIT setbit key 0 1
row BITFIELD bitfield key set u8 0 7
row APPEND append key y
row EXPIRE expire key 1000
row RENAME rename key other
