# SPDX-License-Identifier: MIT
# merge.bash - the groups of bench.sh that take their time: what merges cost in space and in waiting, expiry, snapshots.
# They send at a fixed rate and time each request from when it was due (load.c).

# used NAME: bytes of its directory on the disk.
used() {
    du -s --block-size=1 "$work/$1" | cut -f1
}

# overwrite NAME RATE SECONDS OPTION...: SETs of 1 KiB; each second "second bytes_on_disk live_bytes" goes to
# $work/space.NAME, and the load's own lines to $work/over.NAME.
overwrite() {
    local name=$1 rate=$2 seconds=$3 run begin
    shift 3
    rm -f "$work/space.$name"
    load "$name" sets=100 size=1024 rate="$rate" seconds="$seconds" every=1 "$@" >"$work/over.$name" &
    run=$!
    begin=$(date +%s%N)
    while kill -0 $run 2>/dev/null; do
        echo "$(awk -v ns=$(($(date +%s%N) - begin)) 'BEGIN { printf "%.1f", ns / 1e9 }') $(used "$name")" \
            "$([ "$name" = redis ] || info bitkv live_bytes)" >>"$work/space.$name"
        nap 1
    done
    wait $run
}

# space_row TEXT RATE OPTION...: as many SETs as SPACE_TIMES times there are keys; the second half of the run counts, when
# merges have come to their rhythm. $seconds is left.
space_row() {
    local text=$1 rate=$2
    shift 2
    seconds=$((SPACE_TIMES * KEYS / rate + 1))
    overwrite bitkv "$rate" $seconds "$@"
    read -r mean most < <(awk '{ ratio[NR] = $2 / $3 }
        END {
            for (i = int(NR / 2) + 1; i <= NR; i++) { sum += ratio[i]; n++; if (ratio[i] > most) most = ratio[i] }
            printf "%.2f %.2f\n", sum / n, most
        }' "$work/space.bitkv")
    merged=$(ratio "$(info merge merge_bytes_written)" "$(info bitkv write_bytes)")
    cells "$text, $rate SETs/s, $seconds s" "$mean" "$most" "$merged" "$(field SET p99 "$work/over.bitkv")" \
        "$(field SET p999 "$work/over.bitkv")"
}

SPACE_COLUMNS=("bytes on disk over live, mean" most "merge bytes per user byte" "SET p99, us" "p99.9, us")

# Redis with its rewrites on takes the same load: its line of the plots.
group_space() {
    local rate name mean most merged seconds KEYS=$KEYS_SPACE REDIS_REWRITES=100
    start_bitkv
    fill bitkv 1024
    rate=$(half_rate bitkv sets=100 size=1024)
    table "overwriting values of 1 KiB, $KEYS keys, half of the full rate" "${SPACE_COLUMNS[@]}"
    space_row "uniform" "$rate"
    target "bytes on disk over live bytes, uniform overwriting of 1 KiB" 1 "$mean" "<=" 1.6
    target "bytes written by merge per byte written by users, same load" 1 "$merged" "<=" 2
    stop_all
    rm -rf "$work/redis"
    start redis --appendfsync everysec
    fill redis 1024
    wait_rewritten
    overwrite redis "$rate" "$seconds"
    mean=$(awk -v live=$((KEYS * 1040)) '{ v[NR] = $2 / live }
        END { for (i = int(NR / 2) + 1; i <= NR; i++) { sum += v[i]; n++ } printf "%.2f", sum / n }' "$work/space.redis")
    most=$(awk -v live=$((KEYS * 1040)) '$2 / live > most { most = $2 / live } END { printf "%.2f", most }' "$work/space.redis")
    cells "Redis, uniform, its rewrites on; live: keys and values" "$mean" "$most" - \
        "$(field SET p99 "$work/over.redis")" "$(field SET p999 "$work/over.redis")"
    for name in bitkv redis; do
        awk '{ print $1, $2 / 1e9 }' "$work/space.$name" >"$work/space_$name.data"
        sed -nE 's/^second=([0-9.]+) .* set_p99=([0-9]+).*/\1 \2/p' "$work/over.$name" | awk '{ print $1, $2 / 1000 }' \
            >"$work/waits_$name.data"
    done
    awk -v live=$((KEYS * 1040)) -v most="$seconds" 'BEGIN { print 0, live / 1e9; print most, live / 1e9 }' \
        >"$work/space_live.data"
}

group_zipf() {
    local rate mean most merged seconds KEYS=$KEYS_SPACE
    start_bitkv
    fill bitkv 1024
    rate=$(half_rate bitkv sets=100 size=1024 zipf=0.99)
    table "overwriting values of 1 KiB, $KEYS keys, half of the full rate" "${SPACE_COLUMNS[@]}"
    space_row "Zipf 0.99" "$rate" zipf=0.99
}

# The same load with merges held and with one after the other running.
group_merge() {
    local rate i what column command
    start_bitkv --merge-dead-ratio 25
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
    table "us, half GETs and half SETs of 1 KiB, $rate a second" "while merges run" "while none runs" ratio
    for command in GET SET; do
        for column in 1 2; do
            what=$([ $column = 1 ] && echo p99 || echo p99.9)
            paste -d' ' "$work/with.$command" "$work/without.$command" |
                awk -v c=$column '{ printf "%.4f\n", $c / $(c + 2) }' >"$work/with.r"
            i=$(median 1 "$work/with.r")
            cells "$command $what" "$(median $column "$work/with.$command")" "$(median $column "$work/without.$command")" \
                "$(printf %.2f "$i")"
            target "$what of $command while a merge runs, over the same load without" "$ROUNDS" "$i" "<=" \
                $([ $column = 1 ] && echo 1.5 || echo 3)
        done
    done
}

# Every key has the same expiry; the load goes on while they leave.
group_expiry() {
    local at before run=0 gone
    start_bitkv --cache-size 0
    before=$(rss_kb bitkv)
    at=$((($(date +%s) + 10 + KEYS / 150000)))
    fill bitkv 8 expire_at=$at
    table "expiry, $KEYS keys" bitkv
    cells "memory per key with an expiry, bytes" "$(grown bitkv "$before")"
    while [ "$(date +%s)" -lt "$at" ]; do nap 0.1; done
    load bitkv sets=0 rate=4000 connections=8 seconds=$((5 + KEYS / 150000)) >"$work/load" &
    run=$!
    until [ "$(ask bitkv dbsize)" = 0 ]; do nap 0.2; done
    gone=$(($(date +%s%3N) - at * 1000))
    wait $run
    cells "all with the same expiry are gone after, s" "$(awk -v ms=$gone 'BEGIN { printf "%.1f", ms / 1000 }')"
    cells "GET p99 / p99.9 / longest meanwhile, ms, at 4000/s" "$(awk -v a="$(field GET p99 "$work/load")" \
        -v b="$(field GET p999 "$work/load")" -v c="$(field GET max "$work/load")" \
        'BEGIN { printf "%.2f / %.2f / %.2f", a / 1000, b / 1000, c / 1000 }')"
}

# wait_saved COUNT: until INFO tells of so many snapshots made.
wait_saved() {
    until [ "$(info persistence rdb_saves)" = "$1" ]; do nap 0.1; done
}

# SETs as fast as they go; the longest tick of a loop, waits for a processor taken off, and the longest reply, in
# stretches of the same length without a snapshot and with one made in each.
group_snapshot() {
    local i what run n=0
    start_bitkv --snapshot-keep 1
    fill bitkv 1024
    rm -f "$work"/without "$work"/with "$work/took"
    for ((i = 0; i < ROUNDS; i++)); do
        for what in without with; do
            ask bitkv config resetstat >/dev/null
            load bitkv sets=100 size=1024 rate=0 seconds=10 >"$work/load" &
            run=$!
            if [ $what = with ]; then
                nap 3
                ask bitkv bgsave >/dev/null
                wait_saved $((++n))
                info bitkv snapshot_last_us >>"$work/took"
            fi
            wait $run
            echo "$(info bitkv tick_ran_us_max) $(field SET max "$work/load")" >>"$work/$what"
        done
    done
    table "SETs of 1 KiB at the full rate, $KEYS keys, $ROUNDS times 10 s" "a snapshot in each" none
    cells "longest tick, waits for a processor taken off, ms" "$(longest 1 with)" "$(longest 1 without)"
    cells "longest wait of a SET, ms" "$(longest 2 with)" "$(longest 2 without)"
    cells "the snapshot took, ms" "$(longest 1 took)" ""
    cells "its bytes" "$(info bitkv snapshot_last_bytes), copied $(info bitkv snapshot_last_copied_bytes)" ""
}

# longest COLUMN FILE: in ms, of microseconds.
longest() {
    awk -v c="$1" '$c > most { most = $c } END { printf "%.2f", most / 1000 }' "$work/$2"
}
