# SPDX-License-Identifier: MIT
# many.bash - many keys: memory as they become more, KEYS and SCAN over all of them, starting with them.

WALK=$B/release/tests/bench/walk

group_many() {
    local KEYS=$KEYS_MANY
    start_both "--cache-size 0" "--appendfsync everysec"
    many_memory
    many_walks
    many_starts
}

many_memory() {
    local name n last=0 all=$KEYS
    local -A before bytes
    for name in bitkv redis; do
        before[$name]=$(rss_kb $name)
    done
    table "memory a key, bytes; values of 8, \`cache-size 0\`; keys" bitkv Redis ratio
    for n in $((all / 100)) $((all / 20)) $((all / 10)) $((all / 5)) $((all / 2)) $((all * 3 / 4)) "$all"; do
        KEYS=$n
        for name in bitkv redis; do
            fill $name 8 first=$last
        done
        settle bitkv redis
        for name in bitkv redis; do
            bytes[$name]=$(grown $name "${before[$name]}")
        done
        last=$n
        cells "$n" "${bytes[bitkv]}" "${bytes[redis]}" "$(ratio "${bytes[bitkv]}" "${bytes[redis]}")"
        point memory "$n" "${bytes[bitkv]}" "${bytes[redis]}"
    done
    target "memory per key, over Redis, $KEYS keys" 1 "$(ratio "${bytes[bitkv]}" "${bytes[redis]}")" "<=" 0.3
    target "memory per key, bytes, $KEYS keys" 1 "${bytes[bitkv]}" "<=" 35
}

# walk_once NAME HOW...: "ms longest_us", beside 1,000 GETs a second of other clients.
walk_once() {
    local name=$1 run
    shift
    "$LOAD" port="${port[$name]}" keys="$KEYS" rate=1000 sets=0 connections=4 seconds=600 >"$work/beside" &
    run=$!
    nap 0.2
    "$WALK" "${port[$name]}" "$@" >"$work/walk" || exit 1
    kill -TERM $run
    wait $run
    [ "$(sed -n 's/n=\([0-9]*\) .*/\1/p' "$work/walk")" -ge "$KEYS" ] || { say "$name: $* misses keys"; exit 1; }
    echo "$(sed -n 's/.*ms=//p' "$work/walk") $(field GET max "$work/beside")"
}

many_walks() {
    local how name i text
    table "$KEYS keys, beside 1,000 GETs a second" "bitkv, ms" "Redis, ms" ratio "longest wait of a GET, ms: bitkv" Redis
    for how in keys "scan 1000"; do
        rm -f "$work"/walked.*
        for ((i = 0; i < ROUNDS; i++)); do
            for name in bitkv redis; do
                # shellcheck disable=SC2086
                walk_once $name $how >>"$work/walked.$name" || exit 1
            done
        done
        local -A took=() waited=()
        for name in bitkv redis; do
            took[$name]=$(median 1 "$work/walked.$name")
            waited[$name]=$(awk -v us="$(median 2 "$work/walked.$name")" 'BEGIN { printf "%.1f", us / 1000 }')
        done
        paste -d' ' "$work/walked.bitkv" "$work/walked.redis" | awk '{ printf "%.4f\n", $1 / $3 }' >"$work/walked.r"
        text=$([ "$how" = keys ] && echo "KEYS *" || echo "SCAN, COUNT 1000, all of it")
        cells "$text" "${took[bitkv]}" "${took[redis]}" "$(printf %.2f "$(median 1 "$work/walked.r")")" \
            "${waited[bitkv]}" "${waited[redis]}"
        target "$text over $KEYS keys, time over Redis" "$ROUNDS" "$(median 1 "$work/walked.r")" "<=" 1
        target "longest wait of another client during $text, over the same with Redis" "$ROUNDS" \
            "$(ratio "${waited[bitkv]}" "${waited[redis]}")" "<=" 1
    done
}

# Redis from its RDB preamble: the same file after a clean stop and after a kill, so one start a round.
many_starts() {
    local i clean killed theirs
    wait_rewritten
    rm -f "$work"/started.*
    for ((i = 0; i < ROUNDS; i++)); do
        stop bitkv TERM
        start bitkv --cache-size 0
        echo "$started_ms" >>"$work/started.clean"
        wait_hints
        stop bitkv KILL
        start bitkv --cache-size 0
        echo "$started_ms" >>"$work/started.killed"
        stop redis KILL
        start redis
        echo "$started_ms" >>"$work/started.redis"
    done
    clean=$(median 1 "$work/started.clean")
    killed=$(median 1 "$work/started.killed")
    theirs=$(median 1 "$work/started.redis")
    table "start with $KEYS keys, ms; Redis from its RDB preamble" bitkv Redis ratio
    cells "after a clean stop" "$clean" "$theirs" "$(ratio "$clean" "$theirs")"
    cells "after kill -9" "$killed" "$theirs" "$(ratio "$killed" "$theirs")"
    target "start with $KEYS keys after a clean stop, over Redis's from its RDB preamble" "$ROUNDS" \
        "$(ratio "$clean" "$theirs")" "<=" 0.1
    target "start with $KEYS keys after kill -9, over Redis's from its RDB preamble" "$ROUNDS" \
        "$(ratio "$killed" "$theirs")" "<=" 0.3
    point start '"bitkv, clean stop"' "$clean"
    point start '"bitkv, kill -9"' "$killed"
    point start '"Redis, RDB preamble"' "$theirs"
}

# By hand: bitkv alone, with so many keys that Redis would need 12 GB for them.
group_most() {
    local KEYS=$KEYS_MOST before seconds
    start_bitkv --cache-size 0
    before=$(rss_kb bitkv)
    seconds=$(date +%s%N)
    fill bitkv 8
    seconds=$((($(date +%s%N) - seconds) / 1000000))
    settle bitkv
    table "$KEYS keys of 16 bytes, values of 8, \`cache-size 0\`" bitkv
    cells "memory a key, bytes" "$(grown bitkv "$before")"
    cells "resident set, MiB" $(($(rss_kb bitkv) / 1024))
    cells "inserts a second (64 in flight on each of 4 connections)" \
        "$(awk -v n="$KEYS" -v ms=$seconds 'BEGIN { printf "%.0f", n * 1000 / ms }')"
    load bitkv rate=0 sets=0 connections=50 depth=1 seconds=10 >"$work/load"
    cells "GETs a second, 50 connections, no pipeline" "$(field GET per_second "$work/load")"
    load bitkv rate=20000 sets=0 connections=50 seconds=10 >"$work/load"
    cells "GET at 20,000 a second: p50 / p99 / p99.9, us" \
        "$(field GET p50 "$work/load") / $(field GET p99 "$work/load") / $(field GET p999 "$work/load")"
    stop bitkv TERM
    start bitkv --cache-size 0
    cells "start after a clean stop, ms" "$started_ms"
    wait_hints
    stop bitkv KILL
    start bitkv --cache-size 0
    cells "start after kill -9, ms" "$started_ms"
    cells "the most memory at that start, MiB" "$(awk '/^VmHWM/ { printf "%d", $2 / 1024 }' "/proc/${pid[bitkv]}/status")"
}
