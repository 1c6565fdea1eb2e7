# SPDX-License-Identifier: MIT
# common.bash - what the groups of bench.sh share: servers that start and go, loads, medians, and the report.

HZ=$(getconf CLK_TCK)
LOAD=$B/release/tests/bench/load
declare -A pid=() port=([bitkv]=$PORT [redis]=$((PORT + 1)) [one]=$((PORT + 2)) [two]=$((PORT + 3)))

say() {
    echo "$*" >&2
}

# ---- Servers ----

stop_all() {
    local name
    for name in "${!pid[@]}"; do
        kill -9 "${pid[$name]}" 2>/dev/null && wait "${pid[$name]}" 2>/dev/null
    done
    pid=()
}

ask() {
    local name=$1
    shift
    redis-cli -p "${port[$name]}" "$@"
}

# info SECTION FIELD: of bitkv's INFO.
info() {
    ask bitkv info "$1" | tr -d '\r' | sed -n "s/^$2://p"
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

# start NAME OPTION...: runs redis-server for "redis", else bitkv, in its directory; the time to the first PONG in ms is
# left in $started_ms. The server ends with this shell, however that ends.
start() {
    local name=$1 program=$B/bitkv-server before
    shift
    if [ "$name" = redis ]; then
        program=$work/redis-server
        set -- --appendonly yes --auto-aof-rewrite-percentage "$REDIS_REWRITES" --save "" "$@"
    fi
    mkdir -p "$work/$name"
    before=$(date +%s%N)
    setpriv --pdeathsig KILL "$program" --port "${port[$name]}" --bind 127.0.0.1 --dir "$work/$name" "$@" \
        >>"$work/$name.log" 2>&1 &
    pid[$name]=$!
    until answers "$name"; do
        if ! kill -0 "${pid[$name]}" 2>/dev/null; then
            say "$name did not start:"
            tail -n 20 "$work/$name.log" >&2
            exit 1
        fi
        nap 0.005
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

# start_bitkv OPTION...: alone, in an empty directory.
start_bitkv() {
    stop_all
    rm -rf "$work/bitkv"
    start bitkv "$@"
}

# stop NAME SIGNAL
stop() {
    kill "-$2" "${pid[$1]}"
    wait "${pid[$1]}" 2>/dev/null
    unset "pid[$1]"
}

# Until each sealed file has its hint: some seconds after it was filled.
wait_hints() {
    while ask bitkv bitkv files | grep -q 'state=sealed.*hint=0'; do nap 0.2; done
}

# Until Redis has written its append-only file anew.
wait_rewritten() {
    ask redis bgrewriteaof >/dev/null
    until ask redis info persistence | grep -q 'aof_rewrite_in_progress:0' &&
        ask redis info persistence | grep -q 'aof_rewrite_scheduled:0'; do
        nap 0.2
    done
}

ticks() {
    awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"
}

rss_kb() {
    awk '/^VmRSS/ { print $2 }' "/proc/${pid[$1]}/status"
}

# ---- Loads ----

# load NAME OPTION...: see load.c.
load() {
    local name=$1
    shift
    "$LOAD" port="${port[$name]}" keys="$KEYS" "$@"
}

# field LINE NAME FILE: of what load printed.
field() {
    sed -nE "s/^$1 .*\b$2=([0-9.]+).*/\1/p" "$3"
}

# fill NAME SIZE [OPTION...]: every key that redis-benchmark will draw (16 bytes each), with values of SIZE bytes.
fill() {
    local name=$1 size=$2
    shift 2
    load "$name" rate=0 ordered=1 sets=100 connections=4 depth=64 size="$size" "$@" >"$work/fill" || exit 1
    [ "$(ask "$name" dbsize)" = "$KEYS" ] || { say "$name holds $(ask "$name" dbsize) keys of $KEYS"; exit 1; }
}

# warm NAME: reads every key once, so that what has a cache has it filled.
warm() {
    load "$1" rate=0 ordered=1 sets=0 connections=4 depth=64 >"$work/fill" || exit 1
}

# half_rate NAME OPTION...: half of what the server takes from as many connections without pipeline.
half_rate() {
    load "$@" rate=0 depth=1 connections=16 seconds=5 >"$work/full"
    awk '{ sub(/.*per_second=/, ""); sub(/ .*/, ""); n += $0 } END { printf "%d", n / 2 }' \
        <(grep per_second "$work/full")
}

# once NAME TEST SIZE PIPELINE REQUESTS [CLIENTS]: "rps p50 p99 cpu_us", as one line.
once() {
    local before after csv
    before=$(ticks "${pid[$1]}")
    csv=$(redis-benchmark -p "${port[$1]}" -t "$2" -d "$3" -P "$4" -n "$5" -r "$KEYS" -c "${6:-50}" --csv 2>&1 | tail -n 1)
    after=$(ticks "${pid[$1]}")
    echo "$csv" | awk -F'","|"' -v cpu=$((after - before)) -v hz="$HZ" -v n="$5" \
        '{ printf ($3 < 100 ? "%.2f" : "%.0f") " %.3f %.3f %.3f\n", $3, $6, $8, cpu * 1e6 / hz / n }'
}

# pairs ROUNDS A B TEST SIZE PIPELINE REQUESTS [CLIENTS]: one run of each in turn; medians in m[A1] .. m[B4], columns as in
# once, and the medians of the pairs' ratios A / B in m[r1] .. m[r4].
declare -A m=()
pairs() {
    local rounds=$1 a=$2 b=$3 i name
    shift 3
    rm -f "$work"/rounds.*
    for ((i = 0; i < rounds; i++)); do
        for name in "$a" "$b"; do
            once "$name" "$@" >>"$work/rounds.$name"
        done
    done
    paste -d' ' "$work/rounds.$a" "$work/rounds.$b" |
        awk '{ for (i = 1; i <= 4; i++) printf "%.4f%s", ($(i + 4) > 0 ? $i / $(i + 4) : 0), (i < 4 ? " " : "\n") }' \
            >"$work/rounds.r"
    m=()
    for name in "$a" "$b" r; do
        for i in 1 2 3 4; do
            m[$name$i]=$(median "$i" "$work/rounds.$name")
        done
    done
}

# median COLUMN FILE
median() {
    cut -d' ' -f"$1" "$2" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

ratio() {
    awk -v a="$1" -v b="$2" 'BEGIN { if (b > 0) printf "%.2f", a / b; else printf "-" }'
}

# ---- The report ----

# table TITLE COLUMN...: begins one.
table() {
    local column line="|"
    {
        echo
        printf '|'
        for column in "$@"; do
            printf ' %s |' "$column"
            line="$line---|"
        done
        printf '\n%s\n' "$line"
    } | tee -a "$report" >&2
}

# cells CELL...: a row of the table.
cells() {
    { printf '|'; printf ' %s |' "$@"; echo; } | tee -a "$report" >&2
}

# target TEXT RUNS FIGURE "<=" or ">=" ASKED: a row of the table of targets; "-" for a figure that this machine cannot give.
target() {
    awk -v text="$1" -v runs="$2" -v is="$3" -v op="$4" -v asked="$5" 'BEGIN {
        state = is == "-" ? "not measured" : (op == "<=" ? is + 0 <= asked + 0 : is + 0 >= asked + 0) ? "reached" : "**not reached**"
        if (is + 0 == is) is = sprintf("%.2f", is)
        printf "| %s | %s %s | %s | %s | %s |\n", text, op, asked, is, runs, state }' | tee -a "$work/targets" >&2
}

# point PLOT WORD...: a line of data for a plot.
point() {
    local plot=$1
    shift
    echo "$*" >>"$work/$plot.data"
}
