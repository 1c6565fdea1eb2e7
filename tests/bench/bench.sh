#!/bin/bash
# SPDX-License-Identifier: MIT
#
# bench.sh - bitkv and redis-server side by side on this machine: one Markdown table on stdout, progress on stderr.
#
#   REQUESTS  requests a run with pipeline 16 (default 1000000; without pipeline a third of it)
#   ROUNDS    paired runs of each row, bitkv first, then Redis; figures are medians (default 3)
#   KEYS      keys that GET and SET draw from, and of the memory and start rows (default 1000000)
#   BENCH     which groups of rows (default: those of speed, memory and start; besides there are loading,
#             and space, merge, expiry and snapshot, which take minutes each: merge.bash)
#   DIR       where the data directories go (default: a temporary directory)
#   PORT      first of the two ports (default 17000)
#
# Redis runs with appendonly yes, its rewrites off: at its best. CPU is the server's user and system time over the
# number of requests: the steadiest figure that a shared machine gives. Nothing here decides a test.
set -u
cd "$(dirname "$0")/../.." || exit 1

B=${B:-build}
REQUESTS=${REQUESTS:-1000000}
ROUNDS=${ROUNDS:-3}
KEYS=${KEYS:-1000000}
BENCH=${BENCH:-"everysec64 everysec1k always cold64 cold1k memory start"}
PORT=${PORT:-17000}
HZ=$(getconf CLK_TCK)
work=$(mktemp -d "${DIR:-${TMPDIR:-/tmp}}/bitkv-bench.XXXXXX")
declare -A pid=() port=([bitkv]=$PORT [redis]=$((PORT + 1)))
requests_done=0

say() {
    echo "$*" >&2
}

stop_all() {
    local name
    for name in "${!pid[@]}"; do
        kill -9 "${pid[$name]}" 2>/dev/null && wait "${pid[$name]}" 2>/dev/null
    done
    pid=()
}
trap 'stop_all; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

ask() {
    local name=$1
    shift
    redis-cli -p "${port[$name]}" "$@"
}

# answers NAME: does it answer PING, with nothing else than this shell's time taken from a server that starts?
answers() {
    local reply
    { exec 4<>"/dev/tcp/127.0.0.1/${port[$1]}"; } 2>/dev/null || return 1
    printf 'PING\r\n' >&4
    read -rt 10 reply <&4
    exec 4>&-
    [ "$reply" = $'+PONG\r' ]
}

# start NAME OPTION...: runs it in its directory; the time to the first PONG in ms is left in $started_ms.
start() {
    local name=$1 program=$B/bitkv-server before
    shift
    if [ "$name" = redis ]; then
        program=$work/redis-server
        set -- --appendonly yes --auto-aof-rewrite-percentage 0 --save "" "$@"
    fi
    mkdir -p "$work/$name"
    before=$(date +%s%N)
    "$program" --port "${port[$name]}" --bind 127.0.0.1 --dir "$work/$name" "$@" >>"$work/$name.log" 2>&1 &
    pid[$name]=$!
    until answers "$name"; do
        if ! kill -0 "${pid[$name]}" 2>/dev/null; then
            say "$name did not start:"
            tail -n 20 "$work/$name.log" >&2
            exit 1
        fi
        read -rt 0.005 <> <(:) || true
    done
    started_ms=$((($(date +%s%N) - before) / 1000000))
}

# start_both "BITKV OPTIONS" "REDIS OPTIONS": in empty directories.
start_both() {
    stop_all
    rm -rf "$work/bitkv" "$work/redis"
    # shellcheck disable=SC2086
    start bitkv $1
    # shellcheck disable=SC2086
    start redis $2
}

# send NAME: commands from stdin; QUIT behind them ends the connection when all are answered. (redis-cli --pipe may wait
# for ever when a server answers faster than it sends.)
send() {
    local reader
    exec 3<>"/dev/tcp/127.0.0.1/${port[$1]}"
    cat <&3 >/dev/null &
    reader=$!
    { cat; printf '*1\r\n$4\r\nQUIT\r\n'; } >&3
    wait "$reader"
    exec 3>&-
}

# fill NAME SIZE: every key that redis-benchmark will draw (16 bytes each), with values of SIZE bytes.
fill() {
    awk -v n="$KEYS" -v size="$2" 'BEGIN {
        value = sprintf("%" size "s", ""); gsub(/ /, "x", value)
        for (i = 0; i < n; i++)
            printf "*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$%d\r\n%s\r\n", i, size, value }' |
        send "$1"
    [ "$(ask "$1" dbsize)" = "$KEYS" ] || { say "$1 holds $(ask "$1" dbsize) keys of $KEYS"; exit 1; }
}

# warm NAME: reads every key once, so that what has a cache has it filled. redis-cli --pipe is too slow with replies.
warm() {
    local reader
    exec 3<>"/dev/tcp/127.0.0.1/${port[$1]}"
    cat <&3 >/dev/null &
    reader=$!
    awk -v n="$KEYS" 'BEGIN {
        for (i = 0; i < n; i++)
            printf "*2\r\n$3\r\nGET\r\n$16\r\nkey:%012d\r\n", i
        printf "*1\r\n$4\r\nQUIT\r\n" }' >&3
    wait "$reader"
    exec 3>&-
}

ticks() {
    awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"
}

# once NAME TEST SIZE PIPELINE REQUESTS: "rps p50 p99 cpu_us", as one line.
once() {
    local before after csv
    before=$(ticks "${pid[$1]}")
    csv=$(redis-benchmark -p "${port[$1]}" -t "$2" -d "$3" -P "$4" -n "$5" -r "$KEYS" -c 50 --csv 2>&1 | tail -n 1)
    after=$(ticks "${pid[$1]}")
    echo "$csv" | awk -F'","|"' -v cpu=$((after - before)) -v hz="$HZ" -v n="$5" \
        '{ printf "%.0f %.3f %.3f %.3f\n", $3, $6, $8, cpu * 1e6 / hz / n }'
}

# median COLUMN FILE
median() {
    cut -d' ' -f"$1" "$2" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

ratio() {
    awk -v a="$1" -v b="$2" 'BEGIN { if (b > 0) printf "%.2f", a / b; else printf "-" }'
}

# row TEXT TEST SIZE PIPELINE
row() {
    local n=$REQUESTS i name
    [ "$4" -gt 1 ] || n=$((REQUESTS / 3))
    rm -f "$work"/rounds.*
    for ((i = 0; i < ROUNDS; i++)); do
        for name in bitkv redis; do
            once $name "$2" "$3" "$4" "$n" >>"$work/rounds.$name"
        done
    done
    local -A m
    for name in bitkv redis; do
        for i in 1 2 3 4; do
            m[$name$i]=$(median $i "$work/rounds.$name")
        done
    done
    echo "| $1 | ${m[bitkv1]} | ${m[redis1]} | $(ratio "${m[bitkv1]}" "${m[redis1]}")" \
        "| ${m[bitkv2]} / ${m[redis2]} | ${m[bitkv3]} / ${m[redis3]}" \
        "| ${m[bitkv4]} | ${m[redis4]} | $(ratio "${m[bitkv4]}" "${m[redis4]}") |"
}

rss_kb() {
    awk '/^VmRSS/ { print $2 }' "/proc/${pid[$1]}/status"
}

figure() {
    say "| $1 | $2 | $3 | $(ratio "$2" "$3") |"
    echo "| $1 | $2 | $3 | $(ratio "$2" "$3") |" >>"$work/figures"
}

group_everysec64() {
    start_both "--cache-size 2gb" "--appendfsync everysec"
    fill bitkv 64
    fill redis 64
    warm bitkv
    warm redis
    row "SET 64 B" set 64 1
    row "GET 64 B" get 64 1
    row "SET 64 B, pipeline 16" set 64 16
    row "GET 64 B, pipeline 16" get 64 16
}

group_everysec1k() {
    start_both "--cache-size 4gb" "--appendfsync everysec"
    fill bitkv 1024
    fill redis 1024
    warm bitkv
    warm redis
    row "SET 1 KiB, pipeline 16" set 1024 16
    row "GET 1 KiB, pipeline 16" get 1024 16
}

group_always() {
    start_both "--appendfsync always" "--appendfsync always"
    row "SET 64 B, \`always\`" set 64 1
    row "SET 64 B, pipeline 16, \`always\`" set 64 16
}

group_cold64() {
    start_both "--cache-size 0" "--appendfsync everysec"
    fill bitkv 64
    fill redis 64
    row "GET 64 B, pipeline 16, \`cache-size 0\`" get 64 16
}

group_cold1k() {
    start_both "--cache-size 0" "--appendfsync everysec"
    fill bitkv 1024
    fill redis 1024
    row "GET 1 KiB, pipeline 16, \`cache-size 0\`" get 1024 16
}

group_memory() {
    local name before
    local -A bytes
    start_both "--cache-size 0" "--appendfsync everysec"
    for name in bitkv redis; do
        before=$(rss_kb $name)
        fill $name 8
        bytes[$name]=$(awk -v a="$before" -v b="$(rss_kb $name)" -v n="$KEYS" \
            'BEGIN { printf "%.1f", (b - a) * 1024 / n }')
    done
    figure "memory per key, bytes" "${bytes[bitkv]}" "${bytes[redis]}"
}

# stop NAME SIGNAL
stop() {
    kill "-$2" "${pid[$1]}"
    wait "${pid[$1]}" 2>/dev/null
    unset "pid[$1]"
}

# Until each sealed file has its hint: some seconds after it was filled.
wait_hints() {
    while ask bitkv bitkv files | grep -q 'state=sealed.*hint=0'; do read -rt 0.2 <> <(:) || true; done
}

group_start() {
    local -A clean killed
    local name
    start_both "" "--appendfsync everysec"
    for name in bitkv redis; do
        fill $name 8
    done
    ask redis bgrewriteaof >/dev/null
    until ask redis info persistence | grep -q 'aof_rewrite_in_progress:0' &&
        ask redis info persistence | grep -q 'aof_rewrite_scheduled:0'; do
        read -rt 0.2 <> <(:) || true
    done
    for name in bitkv redis; do
        stop $name TERM
        start $name
        clean[$name]=$started_ms
        [ $name = redis ] || wait_hints
        stop $name KILL
        start $name
        killed[$name]=$started_ms
    done
    figure "start after a clean stop, ms" "${clean[bitkv]}" "${clean[redis]}"
    figure "start after kill -9, ms" "${killed[bitkv]}" "${killed[redis]}"
}

# Each key overwritten once, a tenth deleted, then the process is killed: what the start takes while it reads that.
group_loading() {
    local before steady peak
    start_both "--cache-size 0" "--appendfsync everysec"
    stop redis KILL
    before=$(rss_kb bitkv)
    fill bitkv 8
    fill bitkv 8
    awk -v n="$KEYS" 'BEGIN { for (i = 0; i < n; i += 10) printf "*2\r\n$3\r\nDEL\r\n$16\r\nkey:%012d\r\n", i }' | send bitkv
    stop bitkv KILL
    start bitkv --cache-size 0
    peak=$(awk '/^VmHWM/ { print $2 }' "/proc/${pid[bitkv]}/status")
    steady=$(rss_kb bitkv)
    say "empty $before KiB, with $(ask bitkv dbsize) keys $steady KiB, at most $peak KiB while they were loaded"
    echo "| memory while loading over memory afterwards, KiB | $peak | $steady | $(ratio "$peak" "$steady") |" >>"$work/loading_rows"
}

. tests/bench/merge.bash

for tool in redis-benchmark redis-cli redis-check-rdb; do
    command -v $tool >/dev/null || { say "bench.sh needs $tool (Debian: redis-tools)"; exit 1; }
done
ln -s "$(command -v redis-check-rdb)" "$work/redis-server"

echo "$(date +%F), $(nproc) cores, $(sed -nE 's/^model name\s*: //p' /proc/cpuinfo | head -n 1)," \
    "$("$B/bitkv-server" --version | head -n 1); $("$work/redis-server" --version | cut -d' ' -f1-3);" \
    "medians of $ROUNDS paired runs, 50 clients, $KEYS keys, $REQUESTS requests ($((REQUESTS / 3)) without pipeline)"
echo
echo "| work | bitkv rps | Redis rps | ratio | p50 ms, bitkv / Redis | p99 ms, bitkv / Redis |" \
    "bitkv CPU us/op | Redis CPU us/op | ratio |"
echo "|---|---|---|---|---|---|---|---|---|"
for group in $BENCH; do
    say "$group ..."
    "group_$group"
done
if [ -s "$work/figures" ]; then
    echo
    echo "| $KEYS keys of 16 bytes, values of 8 | bitkv | Redis | ratio |"
    echo "|---|---|---|---|"
    cat "$work/figures"
fi
merge_tables
