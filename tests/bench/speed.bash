# SPDX-License-Identifier: MIT
# speed.bash - throughput and processor time of SET and GET: by pipeline depth, size, durability, cache, loops, clients.

SPEED_COLUMNS=("bitkv rps" "Redis rps" ratio "p50 ms, bitkv / Redis" "p99 ms, bitkv / Redis" "bitkv CPU us/op" \
    "Redis CPU us/op" ratio)

# row TEXT TEST SIZE PIPELINE: m is left as pairs leaves it.
row() {
    local n=$REQUESTS
    [ "$4" -gt 1 ] || n=$((REQUESTS / 3))
    pairs "$ROUNDS" bitkv redis "$2" "$3" "$4" "$n"
    cells "$1" "${m[bitkv1]}" "${m[redis1]}" "$(printf %.2f "${m[r1]}")" "${m[bitkv2]} / ${m[redis2]}" \
        "${m[bitkv3]} / ${m[redis3]}" "${m[bitkv4]}" "${m[redis4]}" "$(printf %.2f "${m[r4]}")"
}

# cpu_target TEXT ASKED
cpu_target() {
    target "$1" "$ROUNDS" "${m[r4]}" "<=" "$2"
}

# filled_both CACHE SIZE
filled_both() {
    local name
    start_both "--cache-size $1" "--appendfsync everysec"
    for name in bitkv redis; do
        fill $name "$2"
        warm $name
    done
}

group_everysec64() {
    local depth
    filled_both 2gb 64
    table "\`everysec\`, values of 64 bytes" "${SPEED_COLUMNS[@]}"
    for test in SET GET; do
        for depth in 1 4 16 64; do
            row "$test, pipeline $depth" ${test,,} 64 $depth
            point depth $test $depth "${m[bitkv1]}" "${m[redis1]}" "${m[bitkv4]}" "${m[redis4]}"
            case $test$depth in
            SET1 | GET1) cpu_target "CPU per $test, no pipeline, over Redis" 0.95 ;;
            SET16) cpu_target "CPU per SET, pipeline 16, 64 B, over Redis" 0.55 ;;
            GET16) cpu_target "CPU per GET, pipeline 16, 64 B, values in our own cache, over Redis" 0.8 ;;
            esac
        done
    done
}

group_everysec1k() {
    filled_both 4gb 1024
    table "\`everysec\`, values of 1 KiB" "${SPEED_COLUMNS[@]}"
    row "SET, pipeline 16" set 1024 16
    cpu_target "CPU per SET, pipeline 16, 1 KiB, over Redis" 0.4
    row "GET, pipeline 16" get 1024 16
    cpu_target "CPU per GET, pipeline 16, 1 KiB, values in our own cache, over Redis" 0.9
}

group_always() {
    start_both "--appendfsync always" "--appendfsync always"
    table "\`always\`, values of 64 bytes" "${SPEED_COLUMNS[@]}"
    row "SET" set 64 1
    target "SET rps with \`always\`, no pipeline, over Redis" "$ROUNDS" "${m[r1]}" ">=" 1.5
    row "SET, pipeline 16" set 64 16
    target "SET rps with \`always\`, pipeline 16, over Redis" "$ROUNDS" "${m[r1]}" ">=" 2
}

# Values come from the page cache.
group_nocache() {
    local size
    table "\`cache-size 0\`, values in the page cache" "${SPEED_COLUMNS[@]}"
    for size in 64 1024; do
        filled_both 0 $size
        row "GET of $size bytes, pipeline 16" get $size 16
        cpu_target "CPU per GET, pipeline 16, $size B, \`cache-size 0\`, over Redis" 1.3
    done
}

# Two loops beside one, both of bitkv.
group_loops() {
    local name threads=1
    stop_all
    for name in one two; do
        rm -rf "${work:?}/$name"
        start $name --io-threads $threads --cache-size 2gb
        fill $name 64
        warm $name
        threads=2
    done
    table "\`io-threads\`, 64 B, pipeline 16" "rps, 1 loop" "rps, 2 loops" "ratio" "CPU us/op, 1 loop" "CPU us/op, 2 loops" ratio
    for test in SET GET; do
        pairs "$ROUNDS" two one ${test,,} 64 16 "$REQUESTS"
        cells $test "${m[one1]}" "${m[two1]}" "$(printf %.2f "${m[r1]}")" "${m[one4]}" "${m[two4]}" "$(printf %.2f "${m[r4]}")"
        target "2 loops over 1, CPU per $test on two cores" "$ROUNDS" "${m[r4]}" "<=" 1.15
        if [ "$(nproc)" -ge 4 ]; then
            target "2 loops over 1, throughput of $test" "$ROUNDS" "${m[r1]}" ">=" 1.7
        else
            target "2 loops over 1, throughput of $test where 4 cores or more are free" 0 - ">=" 1.7
        fi
    done
}

# Half of the lesser full rate, sent without waiting: the same for both.
group_latency() {
    local name i what rate other
    filled_both 2gb 64
    rate=$(half_rate bitkv size=64)
    other=$(half_rate redis size=64)
    [ "$other" -ge "$rate" ] || rate=$other
    rm -f "$work"/late.*
    for ((i = 0; i < ROUNDS; i++)); do
        for name in bitkv redis; do
            load $name rate="$rate" size=64 connections=50 seconds="$SECONDS_LATENCY" >"$work/load"
            for what in GET SET; do
                echo "$(for f in p50 p90 p95 p99 p995 p999 max; do field $what $f "$work/load"; done | xargs)" >>"$work/late.$name.$what"
            done
        done
    done
    table "us, half GETs and half SETs of 64 B, $rate a second, from when each was due" p50 p90 p95 p99 p99.5 p99.9 longest
    for what in GET SET; do
        for name in bitkv redis; do
            mapfile -t late < <(for i in 1 2 3 4 5 6 7; do median $i "$work/late.$name.$what"; done)
            cells "$what, $name" "${late[@]}"
            point latency "$name$what" "${late[@]}"
        done
    done
}

# From 10 bytes to 100 MB; as many requests as make some hundred megabytes.
group_sizes() {
    local size n clients i
    start_both "--cache-size 64mb" "--appendfsync everysec --client-output-buffer-limit normal 0 0 0"
    table "values of, bytes" "SET rps, bitkv" Redis ratio "GET rps, bitkv" Redis ratio "CPU us/SET, bitkv / Redis" "CPU us/GET, bitkv / Redis"
    for size in 10 100 1000 10000 100000 1000000 10000000 100000000; do
        n=$((SIZES_BYTES / size))
        [ $n -le $((REQUESTS / 10)) ] || n=$((REQUESTS / 10))
        [ $n -ge 4 ] || n=4
        clients=$((n < 50 ? 2 : 50))
        local -a out=("$size") cpu=()
        for test in set get; do
            KEYS=$((n < 1000 ? 4 : 1000)) pairs "$SWEEP_ROUNDS" bitkv redis $test $size 1 $n $clients
            out+=("${m[bitkv1]}" "${m[redis1]}" "$(printf %.2f "${m[r1]}")")
            cpu+=("$(printf '%.0f / %.0f' "${m[bitkv4]}" "${m[redis4]}")")
        done
        cells "${out[@]}" "${cpu[@]}"
        for i in bitkv redis; do ask $i flushall >/dev/null; done
    done
}

group_connections() {
    local n most
    ulimit -n 20000 2>/dev/null || ulimit -n "$(ulimit -Hn)"
    most=$(($(ulimit -n) - 100))
    start_both "--maxclients 15000" "--appendfsync everysec --maxclients 15000"
    fill bitkv 64
    fill redis 64
    table "GET of 64 B, connections" "${SPEED_COLUMNS[@]}"
    for n in 1 10 100 1000 10000; do
        [ $n -le $most ] || { say "$n connections: the limit of open files is too low"; continue; }
        pairs "$SWEEP_ROUNDS" bitkv redis get 64 1 $((n == 1 ? REQUESTS / 20 : REQUESTS / 5)) $n
        cells $n "${m[bitkv1]}" "${m[redis1]}" "$(printf %.2f "${m[r1]}")" "${m[bitkv2]} / ${m[redis2]}" \
            "${m[bitkv3]} / ${m[redis3]}" "${m[bitkv4]}" "${m[redis4]}" "$(printf %.2f "${m[r4]}")"
    done
}

# The engine without a server: one thread, keys of 16 bytes, values of 64.
group_engine() {
    local i name asked
    rm -f "$work"/engine.*
    for ((i = 0; i < ROUNDS; i++)); do
        TMPDIR=$work "$B/release/tests/bench/bench_engine" "$KEYS" calls >"$work/engine" || exit 1
        for name in put "get hot" "get absent"; do
            sed -nE "s/^\| $name \| ([0-9.]+) .*/\1/p" "$work/engine" >>"$work/engine.${name// /_}"
        done
    done
    while IFS=: read -r name asked; do
        target "engine alone, one thread, 16 B / 64 B: $name, us" "$ROUNDS" \
            "$(awk '{ print $1 / 1000 }' <(median 1 "$work/engine.${name// /_}"))" "<=" "$asked"
    done <<<"put:0.7
get hot:0.4
get absent:0.1"
    TMPDIR=$work "$B/release/tests/bench/bench_engine" "$KEYS" stages threads >>"$work/engine" || exit 1
    sed -n '/^|/p; /^$/p' "$work/engine" | tee -a "$report" >&2
}
