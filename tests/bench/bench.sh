#!/bin/bash
# SPDX-License-Identifier: MIT
#
# bench.sh - bitkv and redis-server side by side on this machine. Writes results.md and plots/*.svg, prints the former on
# stdout; progress goes to stderr.
#
#   BENCH     standard (the default): every target and every plot, about half an hour
#             quick: the same groups with less of everything, some minutes, for trying
#             or names of groups: everysec64 everysec1k always nocache loops latency sizes connections engine (speed.bash),
#             memory loading (memory.bash), many most (many.bash), merge space zipf expiry snapshot (merge.bash),
#             cold (cold.bash)
#   RESULTS   where results.md and plots/ go (default: tests/bench for the standard set, else build/bench)
#   ROUNDS    paired runs of each row, bitkv first, then Redis; figures are medians, ratios the medians of the pairs'
#             ratios (default 5)
#   REQUESTS  requests a run with pipeline (default 1000000; without pipeline a third of it)
#   KEYS      keys that GET and SET draw from (default 1000000)
#   NOTE      a line for the head of the results: what else the machine did, for instance
#   DIR       where the data directories go (default: a temporary directory); 20 GB should be free
#   PORT      first of four ports (default 17000)
#   SWEEP_ROUNDS, KEYS_MEMORY, KEYS_MANY, KEYS_MOST, KEYS_SPACE, SPACE_TIMES, SECONDS_LATENCY, SIZES_BYTES: see below
#
# Redis runs with appendonly yes, its rewrites off: at its best. CPU is the server's user and system time over the
# number of requests: the steadiest figure that a shared machine gives. Nothing here decides a test.
set -u
cd "$(dirname "$0")/../.." || exit 1

B=${B:-build}
BENCH=${BENCH:-standard}
PORT=${PORT:-17000}
REDIS_REWRITES=0
STANDARD="everysec64 everysec1k always nocache loops latency memory many merge space cold sizes connections engine"
case $BENCH in
standard) groups=$STANDARD ;;
quick)
    groups=$STANDARD
    ROUNDS=${ROUNDS:-3} SWEEP_ROUNDS=${SWEEP_ROUNDS:-1} REQUESTS=${REQUESTS:-200000} KEYS=${KEYS:-200000}
    KEYS_MANY=${KEYS_MANY:-2000000} SECONDS_LATENCY=${SECONDS_LATENCY:-3} SPACE_TIMES=${SPACE_TIMES:-1}
    SIZES_BYTES=${SIZES_BYTES:-50000000}
    ;;
*) groups=$BENCH ;;
esac
ROUNDS=${ROUNDS:-5}
SWEEP_ROUNDS=${SWEEP_ROUNDS:-3}          # of the groups sizes and connections, which have no target
REQUESTS=${REQUESTS:-1000000}
KEYS=${KEYS:-1000000}
KEYS_MEMORY=${KEYS_MEMORY:-1000000}
KEYS_MANY=${KEYS_MANY:-10000000}
KEYS_MOST=${KEYS_MOST:-100000000}        # of the group most: some minutes, 4 GB of memory, 6 GB of disk
KEYS_SPACE=${KEYS_SPACE:-1000000}        # 1 GB of values: with much less the files are too few to tell
SECONDS_LATENCY=${SECONDS_LATENCY:-10}   # of each run of the groups latency and merge
SPACE_TIMES=${SPACE_TIMES:-3}            # SETs over keys in the groups space and zipf
SIZES_BYTES=${SIZES_BYTES:-200000000}    # sent in a run of the group sizes
if [ -z "${RESULTS:-}" ]; then
    RESULTS=$B/bench
    [ "$BENCH" != standard ] || RESULTS=tests/bench
fi

# nap SECONDS: of this shell alone.
nap() {
    read -rt "$1" <> <(:) || true
}

work=$(mktemp -d "${DIR:-${TMPDIR:-/tmp}}/bitkv-bench.XXXXXX")
report=$work/tables
group_pid=
# The group's servers end with it (common.bash), but maybe after a last file in their directory.
clean_up() {
    local i
    [ -z "$group_pid" ] || kill -KILL "$group_pid" 2>/dev/null
    for ((i = 0; i < 100; i++)); do
        rm -rf "$work" 2>/dev/null && break
        nap 0.1
    done
}
trap clean_up EXIT
trap 'exit 1' INT TERM HUP

for part in common speed memory many merge cold plots; do
    # shellcheck source=/dev/null
    . "tests/bench/$part.bash"
done

for group in $groups; do
    declare -F "group_$group" >/dev/null || { say "bench.sh: there is no group $group"; exit 1; }
done
for tool in redis-benchmark redis-cli redis-check-rdb setpriv; do
    command -v $tool >/dev/null || { say "bench.sh needs $tool (Debian: redis-tools, util-linux)"; exit 1; }
done
ln -s "$(command -v redis-check-rdb)" "$work/redis-server"

bitkv_version=$("$B/bitkv-server" --version | head -n 1)
redis_version=$("$work/redis-server" --version | cut -d' ' -f1-3)
commit=$(git describe --always --dirty 2>/dev/null || echo unknown)
machine="$(nproc) cores, $(sed -nE 's/^model name\s*: //p' /proc/cpuinfo | head -n 1),\
 $(awk '/^MemTotal/ { printf "%d", $2 / 1048576 + 0.5 }' /proc/meminfo) GiB,\
 $(findmnt -no FSTYPE -T "$work"), Linux $(uname -r | cut -d- -f1), $(. /etc/os-release; echo "$PRETTY_NAME"), gcc $(gcc -dumpfullversion)"
load_before=$(cut -d' ' -f1 /proc/loadavg)
failed=()
began=$SECONDS

run_groups() {
    local group group_began
    for group in $groups; do
        say "$group ..."
        group_began=$SECONDS
        (
            trap stop_all EXIT
            "group_$group"
        ) &
        group_pid=$!
        if ! wait $group_pid; then
            failed+=("$group")
            printf '\nThe group %s ended early.\n' "$group" >>"$report"
        fi
        group_pid=
        rm -rf "$work"/{bitkv,redis,one,two}
        say "$group: $((SECONDS - group_began)) s"
    done
}

head_lines() {
    echo "# What \`make bench\` measured"
    echo
    echo "$(date +%F): $machine; load generator on the same cores; load average before: $load_before.${NOTE:+ $NOTE}"
    echo "$bitkv_version, commit $commit; $redis_version with \`appendonly yes\`, its rewrites off unless a row says otherwise."
    echo
    echo "Medians of $ROUNDS paired runs, ratios the medians of the pairs' ratios; 50 clients, $KEYS keys, $REQUESTS requests"
    echo "($((REQUESTS / 3)) without pipeline) where nothing else is said. It took $(((SECONDS - began + 59) / 60)) minutes. To repeat it:"
    echo
    if [ "$BENCH" = standard ]; then
        echo "    make bench"
    elif [ "$BENCH" = quick ]; then
        echo "    BENCH=quick make bench"
    else
        echo "    BENCH=\"$BENCH\" KEYS=$KEYS REQUESTS=$REQUESTS ROUNDS=$ROUNDS make bench"
    fi
}

whole_report() {
    head_lines
    if [ -s "$work/targets" ]; then
        printf '\n## Targets\n\n| row | asked | measured | runs | |\n|---|---|---|---|---|\n'
        cat "$work/targets"
    fi
    if compgen -G "$RESULTS/plots/*.svg" >/dev/null; then
        printf '\n## Plots\n\n'
        for plot in "$RESULTS"/plots/*.svg; do
            echo "![$(basename "$plot" .svg)](plots/$(basename "$plot"))"
        done
    fi
    printf '\n## Tables\n'
    cat "$report"
}

# One function, so that the shell has read all of it before half an hour goes by in which the file may change.
main() {
    run_groups
    mkdir -p "$RESULTS"
    plots "$RESULTS/plots" "$(date +%F), bitkv $commit, Redis ${redis_version##*=}, $(nproc) cores"
    whole_report >"$RESULTS/results.md"
    cat "$RESULTS/results.md"
    say "written: $RESULTS/results.md, $RESULTS/plots/"
    if [ ${#failed[@]} -gt 0 ]; then
        say "ended early: ${failed[*]}"
        exit 1
    fi
    exit 0
}

main
