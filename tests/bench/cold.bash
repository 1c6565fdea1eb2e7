# SPDX-License-Identifier: MIT
# cold.bash - GETs of values that are on the disk alone: ten times as much data as the server and its page cache may
# have of memory (a memory control group, version 1 or 2: for root alone). Beside it fio at the same depth, and GETs of
# values in the server's own cache.

COLD_CLIENTS=64

# The group's directory in $cold_dir, its limit's file in $cold_limit; not 0: there is none to be had.
cold_group() {
    local root=/sys/fs/cgroup
    if [ -d $root/memory ]; then
        cold_dir=$root/memory/bitkv-bench.$$ cold_limit=memory.limit_in_bytes
    else
        cold_dir=$root/bitkv-bench.$$ cold_limit=memory.max
    fi
    mkdir "$cold_dir" 2>/dev/null && [ -w "$cold_dir/$cold_limit" ]
}

# cold_start LIMIT OPTION...: bitkv with what it holds, inside the group, under a limit; the page cache is empty.
cold_start() {
    local limit=$1 file
    shift
    [ -z "${pid[bitkv]:-}" ] || stop bitkv TERM
    for file in "$work"/bitkv/*.data; do
        sync "$file"
        dd if="$file" iflag=nocache count=0 status=none # the kernel lets go of its pages
    done
    start bitkv "$@"
    echo "${pid[bitkv]}" >"$cold_dir/cgroup.procs"
    echo "$limit" >"$cold_dir/$cold_limit"
}

# cold_rate SECONDS: GETs a second without pipeline, of keys drawn evenly.
cold_rate() {
    load bitkv rate=0 sets=0 connections=$COLD_CLIENTS depth=1 seconds="$1" >"$work/cold" || exit 1
    field GET per_second "$work/cold"
}

cold_fio() {
    fio --name=read --filename="$1" --readonly --rw=randread --bs=4k --direct=1 --ioengine=libaio \
        --iodepth=$COLD_CLIENTS --runtime="$2" --time_based --output-format=terse --terse-version=3 | cut -d';' -f8
}

group_cold() {
    local i threads size=1024 largest
    local limit=$((KEYS * size / 10))
    if ! command -v fio >/dev/null || ! cold_group; then
        say "cold: skipped, it needs fio and a memory control group of its own"
        rmdir "${cold_dir:-}" 2>/dev/null
        return 0
    fi
    start_bitkv --cache-size 0
    fill bitkv $size
    largest=$(find "$work/bitkv" -name '*.data' -size +16M | head -n 1)
    rm -f "$work"/cold.*
    for ((i = 0; i < ROUNDS; i++)); do
        cold_fio "${largest:-/dev/null}" "$SECONDS_LATENCY" >>"$work/cold.fio"
        cold_start $((KEYS * size * 4)) --cache-size $((KEYS * size * 2))
        warm bitkv
        cold_rate "$SECONDS_LATENCY" >>"$work/cold.hot"
        for threads in 0 4 8 16 32; do
            cold_start "$limit" --cache-size 0 --disk-threads $threads
            cold_rate "$SECONDS_LATENCY" >>"$work/cold.$threads"
        done
    done
    stop bitkv KILL
    rmdir "$cold_dir"
    table "GETs a second, $KEYS values of $size, 64 clients, memory a tenth of it" "" "over the lesser of fio and hot"
    local fio hot least
    fio=$(median 1 "$work/cold.fio") hot=$(median 1 "$work/cold.hot")
    least=$(printf '%s\n' "$fio" "$hot" | sort -n | head -n 1)
    cells "fio, 4 KiB, depth 64" "$fio" "$(ratio "$fio" "$least")"
    cells "hot, from the server's cache" "$hot" "$(ratio "$hot" "$least")"
    for threads in 0 4 8 16 32; do
        cells "cold, disk-threads $threads" "$(median 1 "$work/cold.$threads")" \
            "$(ratio "$(median 1 "$work/cold.$threads")" "$least")"
    done
    target "cold GETs over the lesser of fio and hot GETs" "$ROUNDS" "$(ratio "$(median 1 "$work/cold.8")" "$least")" \
        ">=" 0.6
}
