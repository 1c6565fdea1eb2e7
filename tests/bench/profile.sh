#!/bin/bash
# SPDX-License-Identifier: MIT
#
# profile.sh - where a request's processor time goes: the share of each layer, for a pipelined SET, a pipelined GET, a
# GET without pipeline and the engine alone. Markdown on stdout, progress on stderr.
#
#   REQUESTS  requests with pipeline 16 (default 1000000; without pipeline a third of it)
#   KEYS      keys, of 16 bytes (default 1000000); SIZE  bytes of a value (default 64)
#   BITKV     options for the server (default: --cache-size 2gb --io-threads 1)
#   PORT      the server's (default 17010); DIR  where its data go (default: a temporary directory)
#
# perf samples the whole process, threads in the background and the kernel included, by the processor's clock: a virtual
# machine needs no hardware counters for that. A sample belongs to the source file of the function it hit; one in the
# kernel to the system call. So the locks' own instructions are a row of their own, whatever they guard.
set -u
cd "$(dirname "$0")/../.." || exit 1

B=${B:-build}
REQUESTS=${REQUESTS:-1000000}
KEYS=${KEYS:-1000000}
SIZE=${SIZE:-64}
BITKV=${BITKV:---cache-size 2gb --io-threads 1}
PORT=${PORT:-17010}
for tool in perf redis-benchmark nm; do
    command -v $tool >/dev/null || { echo "profile.sh needs $tool (Debian: linux-perf, redis-tools, binutils)" >&2; exit 1; }
done
work=$(mktemp -d "${DIR:-${TMPDIR:-/tmp}}/bitkv-profile.XXXXXX")
server=
trap '[ -z "$server" ] || kill -9 "$server" 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

# function file, for every function that is ours; one name in two files counts for the first.
nm -A "$B"/release/src/*/*.o |
    sed -nE 's,^.*/src/([^ :]*)\.o:[0-9a-f]+ [tT] (.*)$,\2 \1,p' >"$work/functions"

# shares: `perf script` on stdin, "share layer" on stdout.
shares() {
    awk -v functions="$work/functions" '
    BEGIN {
        while ((getline line <functions) > 0) {
            split(line, word, " ")
            if (!(word[1] in file))
                file[word[1]] = word[2]
        }
        split("recvfrom receive,sendto send,sendmsg send,epoll_wait wait,epoll_pwait wait,epoll_ctl wait," \
              "pwrite64 file,pwritev file,pwritev2 file,write file,pread64 file,preadv2 file,fdatasync file,fsync file," \
              "fallocate file,unlink file,openat file,renameat file", pair, ",")
        for (i in pair) {
            split(pair[i], word, " ")
            call[word[1]] = word[2]
        }
    }
    function of_file(f) {
        if (f ~ /^resp\/(reader|args)|^net\/ahead/) return "parse"
        if (f ~ /^resp\/writer|^net\/outq/) return "reply"
        if (f ~ /^net\//) return "connections"
        if (f ~ /^command\//) return "dispatch"
        if (f ~ /^keyspace\//) return "transaction"
        if (f ~ /^base\/mutex|^engine\/keylock/) return "locks"
        if (f ~ /^base\/clock/) return "clock"
        if (f ~ /^engine\/(keydir|bucket|wheel|ages)/) return "keydir"
        if (f ~ /^engine\/(cache|read|pages)/) return "value"
        if (f ~ /^engine\/pin/) return "pins"
        if (f ~ /^engine\/(log|record|datafile|spacemap)|^base\/checksum/) return "log append and write"
        if (f ~ /^engine\/(batch|undo|watch|db|files)/) return "commit"
        if (f ~ /^engine\//) return "background: hints, merge"
        return "other"
    }
    function of_sample(    i, name) {
        if (where[1] ~ /kernel/) {
            for (i = 1; i <= n; i++) {
                name = sym[i]
                if (sub(/^(__x64_sys_|__do_sys_)/, "", name) && name in call)
                    return "kernel: " call[name]
            }
            return "kernel: other"
        }
        if (where[1] ~ /vdso/) return "clock"
        if (where[1] ~ /libjemalloc/) return "allocator"
        if (where[1] ~ /libisal/) return "checksums"
        if (where[1] ~ /libevent/) return "connections"
        if (sym[1] in file) return of_file(file[sym[1]])
        if (sym[1] ~ /pthread_mutex|lll_/) return "locks"
        if (sym[1] ~ /mem(cpy|move|set|cmp|chr)/) return "copies (libc)"
        return "other"
    }
    function flush_sample() {
        if (n > 0) {
            total++
            count[of_sample()]++
        }
        n = 0
    }
    /^[^ \t]/ { flush_sample(); next }
    NF >= 2 {
        n++
        sym[n] = $2
        sub(/\+0x[0-9a-f]+$/, "", sym[n])
        where[n] = $NF
    }
    END {
        flush_sample()
        for (layer in count)
            printf "%.1f %s\n", 100 * count[layer] / total, layer
    }'
}

# sample NAME PID COMMAND...: while the command runs; PID 0: the command itself.
sample() {
    local name=$1 pid=$2
    shift 2
    echo "$name ..." >&2
    if [ "$pid" = 0 ]; then
        perf record -q -F 1999 -e cpu-clock -g -o "$work/perf" -- "$@" >/dev/null 2>"$work/err"
    else
        perf record -q -F 1999 -e cpu-clock -g -p "$pid" -o "$work/perf" -- "$@" >/dev/null 2>"$work/err"
    fi || { cat "$work/err" >&2; exit 1; }
    perf script -i "$work/perf" -F comm,ip,sym,dso 2>/dev/null | shares >"$work/shares.$name"
}

# talk: commands from stdin; QUIT behind them ends the connection when all are answered.
talk() {
    local reader
    exec 3<>"/dev/tcp/127.0.0.1/$PORT"
    cat <&3 >/dev/null &
    reader=$!
    { cat; printf '*1\r\n$4\r\nQUIT\r\n'; } >&3
    wait "$reader"
    exec 3>&-
}

benchmark() { # NAME TEST PIPELINE REQUESTS
    sample "$1" "$server" redis-benchmark -p "$PORT" -t "$2" -d "$SIZE" -P "$3" -n "$4" -r "$KEYS" -c 50 -q
}

mkdir "$work/data"
# shellcheck disable=SC2086
"$B/release/bitkv-server" --port "$PORT" --bind 127.0.0.1 --dir "$work/data" $BITKV >"$work/log" 2>&1 &
server=$!
until redis-cli -p "$PORT" ping 2>/dev/null | grep -q PONG; do
    kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
    read -rt 0.05 <> <(:) || true
done
awk -v n="$KEYS" -v size="$SIZE" 'BEGIN {
    value = sprintf("%" size "s", ""); gsub(/ /, "x", value)
    for (i = 0; i < n; i++)
        printf "*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$%d\r\n%s\r\n", i, size, value }' | talk
awk -v n="$KEYS" 'BEGIN { for (i = 0; i < n; i++) printf "*2\r\n$3\r\nGET\r\n$16\r\nkey:%012d\r\n", i }' | talk

benchmark get16 get 16 "$REQUESTS"
benchmark get1 get 1 $((REQUESTS / 3))
benchmark set16 set 16 "$REQUESTS"
kill -9 "$server"
wait "$server" 2>/dev/null
server=
sample engine 0 "$B/release/tests/bench/bench_engine" "$KEYS" calls

echo "$(date +%F), $(nproc) cores, $(sed -nE 's/^model name\s*: //p' /proc/cpuinfo | head -n 1)," \
    "$("$B/release/bitkv-server" --version | head -n 1); $KEYS keys, values of $SIZE bytes, 50 clients, % of processor time"
echo
echo "| layer | SET, pipeline 16 | GET, pipeline 16 | GET | engine alone (bench_engine) |"
echo "|---|---|---|---|---|"
awk '{
    share = $1
    sub(/^[^ ]+ /, "")
    part[FILENAME, $0] = share
    most[$0] = share + 0 > most[$0] + 0 ? share : most[$0]
}
END {
    for (layer in most)
        if (most[layer] >= 0.5)
            printf "%s\t| %s | %s | %s | %s | %s |\n", most[layer], layer, part[ARGV[1], layer] + 0,
                part[ARGV[2], layer] + 0, part[ARGV[3], layer] + 0, part[ARGV[4], layer] + 0
}' "$work"/shares.{set16,get16,get1,engine} | sort -rn | cut -f2
