# SPDX-License-Identifier: MIT
# memory.bash - what a key costs in memory, with and without an expiry, and what loading takes.

# settle NAME...: until their memory has stood still for two seconds, or 20 have passed. What the fill itself took (buffers,
# hints being made) goes back to the system within some ten seconds.
settle() {
    local name i falls
    local -A was
    for ((i = 0; i < 10; i++)); do
        falls=0
        for name in "$@"; do was[$name]=$(rss_kb "$name"); done
        nap 2
        for name in "$@"; do
            [ $((was[$name] - $(rss_kb "$name"))) -le $((was[$name] / 200)) ] || falls=1
        done
        [ $falls = 1 ] || return 0
    done
}

# grown NAME BEFORE: bytes of resident set a key since it was BEFORE KiB.
grown() {
    awk -v a="$2" -v b="$(rss_kb "$1")" -v n="$KEYS" 'BEGIN { printf "%.1f", (b - a) * 1024 / n }'
}

# memory_row TEXT [OPTION OF load...]: ROUNDS pairs of servers that begin empty; the medians are left in $ours and $theirs.
memory_row() {
    local text=$1 i name
    local -A before
    shift
    rm -f "$work"/grown.*
    for ((i = 0; i < ROUNDS; i++)); do
        start_both "--cache-size 0" "--appendfsync everysec"
        for name in bitkv redis; do
            before[$name]=$(rss_kb $name)
            fill $name 8 "$@"
        done
        settle bitkv redis
        for name in bitkv redis; do
            echo "$(grown $name "${before[$name]}")" >>"$work/grown.$name"
        done
    done
    ours=$(median 1 "$work/grown.bitkv")
    theirs=$(median 1 "$work/grown.redis")
    cells "$text" "$ours" "$theirs" "$(ratio "$ours" "$theirs")"
}

group_memory() {
    local KEYS=$KEYS_MEMORY
    table "memory a key, bytes; $KEYS keys of 16 bytes, values of 8, \`cache-size 0\`" bitkv Redis ratio
    memory_row "no expiry"
    target "memory per key, over Redis, $KEYS keys" "$ROUNDS" "$(ratio "$ours" "$theirs")" "<=" 0.3
    target "memory per key, bytes, $KEYS keys" "$ROUNDS" "$ours" "<=" 35
    memory_row "each with an expiry" expire_at=$(($(date +%s) + 864000))
    target "memory per key with an expiry, bytes, $KEYS keys" "$ROUNDS" "$ours" "<=" 56
}

# Each key overwritten once, a tenth deleted, then the process is killed: what the start takes while it reads that.
group_loading() {
    local before steady peak
    start_bitkv --cache-size 0
    before=$(rss_kb bitkv)
    fill bitkv 8
    fill bitkv 8
    awk -v n="$KEYS" 'BEGIN { for (i = 0; i < n; i += 10) printf "*2\r\n$3\r\nDEL\r\n$16\r\nkey:%012d\r\n", i }' | send bitkv
    stop bitkv KILL
    start bitkv --cache-size 0
    peak=$(awk '/^VmHWM/ { print $2 }' "/proc/${pid[bitkv]}/status")
    steady=$(rss_kb bitkv)
    say "empty $before KiB, with $(ask bitkv dbsize) keys $steady KiB, at most $peak KiB while they were loaded"
    table "$KEYS keys, each overwritten once, a tenth deleted, killed" "at most" afterwards ratio
    cells "memory while loading over memory afterwards, KiB" "$peak" "$steady" "$(ratio "$peak" "$steady")"
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
