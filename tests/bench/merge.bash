# SPDX-License-Identifier: MIT
# merge.bash - the rows of bench.sh that take their time: what merges cost in space and in waiting, and expiry. They use
# load.c, which sends at a fixed rate and times each request from when it was due.
#
#   SECONDS_SPACE    of overwriting, per distribution (default 120)
#   SECONDS_LATENCY  of each run of the latency rows (default 20)

SECONDS_SPACE=${SECONDS_SPACE:-120}
SECONDS_LATENCY=${SECONDS_LATENCY:-20}
LOAD=$B/release/tests/bench/load

# load NAME OPTION...
load() {
    local name=$1
    shift
    "$LOAD" port="${port[$name]}" keys="$KEYS" "$@"
}

# field LINE NAME FILE: of what load printed.
field() {
    sed -nE "s/^$1 .*\b$2=([0-9.]+).*/\1/p" "$3"
}

# half_rate NAME OPTION...: half of what the server takes from as many connections without pipeline.
half_rate() {
    load "$@" rate=0 depth=1 connections=16 seconds=5 >"$work/full"
    awk '{ sub(/.*per_second=/, ""); sub(/ .*/, ""); n += $0 } END { printf "%d", n / 2 }' \
        <(grep per_second "$work/full")
}

info() {
    ask bitkv info "$1" | tr -d '\r' | sed -n "s/^$2://p"
}

# What lies on the disk over what is live, each second while the load runs.
watch_space() {
    while kill -0 "$1" 2>/dev/null; do
        echo "$(du -s --block-size=1 "$work/bitkv" | cut -f1) $(info bitkv live_bytes)" >>"$2"
        read -rt 1 <> <(:) || true
    done
}

# space_row NAME OPTION...: the second half of the run counts, when merges have come to their rhythm.
space_row() {
    local name=$1 run rate
    shift
    start_both "" "--appendfsync everysec"
    stop redis KILL
    fill bitkv 1024
    rate=$(half_rate bitkv sets=100 size=1024 "$@")
    rm -f "$work/space"
    load bitkv sets=100 size=1024 rate="$rate" seconds="$SECONDS_SPACE" "$@" >"$work/load" &
    run=$!
    watch_space $run "$work/space"
    wait $run
    awk -v name="$name" -v rate="$rate" -v written="$(info merge merge_bytes_written)" \
        -v user="$(info bitkv write_bytes)" '
        { ratio[NR] = $1 / $2 }
        END {
            for (i = int(NR / 2) + 1; i <= NR; i++) { sum += ratio[i]; n++; if (ratio[i] > most) most = ratio[i] }
            printf "| %s, %d SETs/s | %.2f | %.2f | %.2f |\n", name, rate, sum / n, most, written / user
        }' "$work/space" >>"$work/space_rows"
    tail -n 1 "$work/space_rows" >&2
}

group_space() {
    space_row "overwriting 1 KiB, uniform"
    space_row "overwriting 1 KiB, Zipf 0.99" zipf=0.99
}

# The same load with merges held and with one after the other running.
group_merge() {
    local rate i what column
    start_both "--merge-dead-ratio 25" "--appendfsync everysec"
    stop redis KILL
    fill bitkv 1024
    rate=$(half_rate bitkv sets=50 size=1024)
    rm -f "$work"/without.* "$work"/with.*
    for ((i = 0; i < ROUNDS; i++)); do
        for what in without with; do
            if [ $what = without ]; then
                ask bitkv bitkv merge pause >/dev/null
            else
                ask bitkv bitkv merge resume >/dev/null
                ask bitkv bitkv merge now >/dev/null
            fi
            load bitkv sets=50 size=1024 rate="$rate" seconds="$SECONDS_LATENCY" >"$work/load"
            for command in GET SET; do
                echo "$(field $command p99 "$work/load") $(field $command p999 "$work/load")" >>"$work/$what.$command"
            done
        done
    done
    for command in GET SET; do
        for column in 1 2; do
            what=$(median $column "$work/without.$command")
            i=$(median $column "$work/with.$command")
            echo "| $command $([ $column = 1 ] && echo p99 || echo p99.9), us, at $rate/s | $i | $what | $(ratio "$i" "$what") |" |
                tee -a "$work/merge_rows" >&2
        done
    done
}

# Every key has the same expiry; the load goes on while they leave.
group_expiry() {
    local at before run=0 gone
    start_both "--cache-size 0" "--appendfsync everysec"
    stop redis KILL
    before=$(rss_kb bitkv)
    at=$((($(date +%s) + 10 + KEYS / 150000)))
    awk -v n="$KEYS" -v at="$at" 'BEGIN {
        for (i = 0; i < n; i++)
            printf "*5\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$8\r\nxxxxxxxx\r\n$4\r\nEXAT\r\n$10\r\n%s\r\n", i, at }' |
        send bitkv
    [ "$(ask bitkv dbsize)" = "$KEYS" ] || { say "the fill took too long"; return; }
    awk -v a="$before" -v b="$(rss_kb bitkv)" -v n="$KEYS" \
        'BEGIN { printf "| memory per key with an expiry, bytes | %.1f |\n", (b - a) * 1024 / n }' >>"$work/expiry_rows"
    while [ "$(date +%s)" -lt "$at" ]; do read -rt 0.1 <> <(:) || true; done
    load bitkv sets=0 rate=4000 connections=8 seconds=$((5 + KEYS / 150000)) >"$work/load" &
    run=$!
    until [ "$(ask bitkv dbsize)" = 0 ]; do read -rt 0.2 <> <(:) || true; done
    gone=$(($(date +%s%3N) - at * 1000))
    wait $run
    {
        echo "| $KEYS keys with the same expiry are gone after, s | $(awk -v ms=$gone 'BEGIN { printf "%.1f", ms / 1000 }') |"
        echo "| GET p99 / p99.9 / longest meanwhile, ms, at 4000/s | $(awk -v a="$(field GET p99 "$work/load")" \
            -v b="$(field GET p999 "$work/load")" -v c="$(field GET max "$work/load")" \
            'BEGIN { printf "%.2f / %.2f / %.2f", a / 1000, b / 1000, c / 1000 }') |"
    } >>"$work/expiry_rows"
    cat "$work/expiry_rows" >&2
}

# wait_saved COUNT: until INFO tells of so many snapshots made.
wait_saved() {
    until [ "$(info persistence rdb_saves)" = "$1" ]; do read -rt 0.1 <> <(:) || true; done
}

# SETs as fast as they go; the longest tick of a loop, waits for a processor taken off, and the longest reply, in
# stretches of the same length without a snapshot and with one made in each.
group_snapshot() {
    local i what n=0
    start_both "--snapshot-keep 1" "--appendfsync everysec"
    stop redis KILL
    fill bitkv 1024
    rm -f "$work"/without "$work"/with "$work/took"
    for ((i = 0; i < ROUNDS; i++)); do
        for what in without with; do
            ask bitkv config resetstat >/dev/null
            load bitkv sets=100 size=1024 rate=0 seconds=10 >"$work/load" &
            run=$!
            if [ $what = with ]; then
                read -rt 3 <> <(:) || true
                ask bitkv bgsave >/dev/null
                wait_saved $((++n))
                info bitkv snapshot_last_us >>"$work/took"
            fi
            wait $run
            echo "$(info bitkv tick_ran_us_max) $(field SET max "$work/load")" >>"$work/$what"
        done
    done
    {
        echo "| longest tick, waits for a processor taken off, ms | $(longest 1 with) | $(longest 1 without) |"
        echo "| longest wait of a SET, ms | $(longest 2 with) | $(longest 2 without) |"
        echo "| the snapshot took, ms | $(longest 1 took) | |"
        echo "| its bytes | $(info bitkv snapshot_last_bytes), copied $(info bitkv snapshot_last_copied_bytes) | |"
    } >>"$work/snapshot_rows"
    cat "$work/snapshot_rows" >&2
}

# longest COLUMN FILE: in ms, of microseconds.
longest() {
    awk -v c="$1" '$c > most { most = $c } END { printf "%.2f", most / 1000 }' "$work/$2"
}

# rows FILE TITLE COLUMNS...: a table of its own, if there are any.
rows() {
    local file=$work/$1 title=$2 column line="|---|"
    shift 2
    [ -s "$file" ] || return 0
    echo
    printf '| %s |' "$title"
    for column in "$@"; do
        printf ' %s |' "$column"
        line="$line---|"
    done
    printf '\n%s\n' "$line"
    cat "$file"
}

merge_tables() {
    rows space_rows "default settings, half of the full rate, $SECONDS_SPACE s" \
        "bytes on disk over live, mean" "most" "merge bytes per user byte"
    rows merge_rows "GETs and SETs of 1 KiB, half of the full rate" "while merges run" "while none runs" ratio
    rows expiry_rows "expiry" bitkv
    rows snapshot_rows "SETs of 1 KiB at the full rate, $KEYS keys, $ROUNDS times 10 s" "a snapshot in each" "none"
    rows loading_rows "$KEYS keys, each overwritten once, a tenth deleted, killed" "at most" afterwards ratio
}
