#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run.sh PART... - builds and runs parts of the tests ("all": what CI runs) and ends with "N passed, N failed".
#
# What is skipped is named and counted in its part's line. With CI=1 it has failed, unless SKIPS_ALLOWED has it.
#
# A part's budget in seconds stands in tests/README.md and is printed beside the time that it took, its build
# included. No time decides a test; a program that hangs is ended after TEST_TIMEOUT seconds and has failed.
set -u
cd "$(dirname "$0")/.." || exit 1

B=${B:-build}
MAKE=${MAKE:-make}
FUZZ_SECONDS=${FUZZ_SECONDS:-30}
TEST_TIMEOUT=${TEST_TIMEOUT:-600}
JOBS=${JOBS:-$(nproc)}
PARTS_ALL=(lint unit engine server clients crash tcl redis-suite asan tsan fuzz)
LOGS=$B/logs

export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}
# Its deadlock detector counts to 64 locks a thread, and FLUSHALL holds every key lock: our own ranks are checked
# instead, in each debug build.
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1:detect_deadlocks=0}
# A store's table of pages is 4 MiB of zeros, and tests open thousands: from the system they are free, from the heap
# they are written.
export MALLOC_MMAP_THRESHOLD_=${MALLOC_MMAP_THRESHOLD_:-1048576}
passed=0
failed=0
skipped=0
over=0

# What may be skipped in CI, and why: patterns of VARIANT/KIND/PROGRAM/TEST, or of PART/WORDS for a script.
SKIPS_ALLOWED=(
    '@(asan|tsan)/server/test_process/test_process__crash__leaves_a_report' # the sanitizer has its own report
    '@(asan|tsan)/server/test_cold_ends/test_cold_ends__crash_*' # the same
    '@(asan|tsan)/server/test_maxmemory/*' # a sanitizer's allocator has no figures to bound
    'tcl/prometheus-redis-exporter *' # its package starts a service, so it is not installed for the tests
)

# Clang 14's thread sanitizer does not find room in memory when addresses are too random.
FIXED=()
if setarch -R true 2>/dev/null; then
    FIXED=(setarch -R)
fi

# count PASSED FAILED
count() {
    passed=$((passed + $1))
    failed=$((failed + $2))
}

# fail NAME LOG: one failure with the end of its log.
fail() {
    count 0 "${3:-1}"
    echo "FAILED $1 (whole output: $2)"
    tail -n 60 "$2" | sed 's/^/    /'
}

# build TARGET: 0 when it was made, else a failure is counted.
build() {
    local log=$LOGS/$1.build
    "$MAKE" --no-print-directory -j"$JOBS" "$1" >"$log" 2>&1 && return 0
    fail "make $1" "$log"
    return 1
}

# skipped_tests LOG: cmocka names each where it stands and in a list at the end.
skipped_tests() {
    sed -nE 's/^\[ *SKIPPED *\] ([A-Za-z0-9_]+)$/\1/p' "$1" | sort -u
}

skip_allowed() {
    local pattern
    for pattern in "${SKIPS_ALLOWED[@]}"; do
        # shellcheck disable=SC2053 # it is a pattern
        [[ $1 == $pattern ]] && return 0
    done
    return 1
}

# count_skip NAME: not 0 when it counts as a failure.
count_skip() {
    skipped=$((skipped + 1))
    if in_ci && ! skip_allowed "$1"; then
        echo "  $1: skipped, which CI does not allow"
        return 1
    fi
    echo "  $1: skipped"
}

# sum LABEL LOG: adds up cmocka's "[  LABEL  ] N test(s)" lines; a program may run several groups.
sum() {
    sed -nE "s/^\[ *$1 *\] ([0-9]+) test\(s\).*/\1/p" "$2" | awk '{ n += $1 } END { print n + 0 }'
}

# run_program NAME COMMAND...: leaves its output, exit status and seconds in the logs.
run_program() {
    local log rc=0 start=$SECONDS
    log=$LOGS/$(echo "$1" | tr / _)
    shift
    rm -f "$log.rc"
    timeout -k 10 "$TEST_TIMEOUT" "$@" >"$log" 2>&1 </dev/null || rc=$?
    echo "$rc $((SECONDS - start))" >"$log.rc"
}

# count_program NAME: a cmocka program that has run. No case at all, or a bad end with every case passed, is a failure.
count_program() {
    local log ok bad rc took left name
    log=$LOGS/$(echo "$1" | tr / _)
    read -r rc took 2>/dev/null <"$log.rc" || rc=1 took=0
    ok=$(sum PASSED "$log")
    bad=$(sum FAILED "$log")
    mapfile -t left < <(skipped_tests "$log")
    if [ "$rc" -ne 0 ] || [ $((ok + bad + ${#left[@]})) -eq 0 ]; then
        [ "$bad" -gt 0 ] || bad=1
        echo "exit status $rc" >>"$log"
    fi
    for name in "${left[@]}"; do
        count_skip "$1/$name" || bad=$((bad + 1))
    done
    [ "$took" -lt 20 ] || echo "  $1: $took s"
    count "$ok" 0
    [ "$bad" -eq 0 ] || fail "$1" "$log" "$bad"
}

# wait_for_room N: until fewer than N background jobs run.
wait_for_room() {
    while [ "$(jobs -rp | wc -l)" -ge "$1" ]; do
        wait -n
    done
}

# test_names VARIANT KIND: a store that is stepped from the test's own thread has nothing to show the thread sanitizer.
test_names() {
    local pattern=.
    if [ "$1-$2" = tsan-engine ]; then
        pattern='pthread_|bk_options_init\(|stepped = false'
    fi
    find "tests/$2" -name '*.c' -exec grep -lE "$pattern" {} + 2>/dev/null | sed 's/.*\///; s/\.c$//' |
        if [ "$2" = crash ]; then cat; else grep '^test_'; fi
}

# programs VARIANT KIND [WRAPPER...]: the plain ones first, then those with slow_ in the name. What needs no server runs
# side by side.
programs() {
    local variant=$1 kind=$2 at_once=1 names=() name
    shift 2
    build "build-$variant-$kind" || return
    case $kind in unit | engine) at_once=$JOBS ;; esac
    # A test gone wild does not take the machine's memory; the sanitizers need their address space.
    if [ "$variant" = debug ] && [ $# -eq 0 ]; then
        set -- prlimit --as=8589934592
    fi
    mapfile -t names < <(test_names "$variant" "$kind" |
        sed 's/.*slow_/1 &/;t;s/^/0 /' | sort | cut -d' ' -f2)
    for name in "${names[@]}"; do
        wait_for_room "$at_once"
        run_program "$variant/$kind/$name" "$@" "$B/$variant/tests/$kind/$name" &
    done
    wait
    for name in "${names[@]}"; do
        count_program "$variant/$kind/$name"
    done
}

# A script that says "N passed, N failed" in its last line.
script() {
    local name=$1 log last
    shift
    log=$LOGS/$(echo "$name" | tr / _)
    timeout -k 10 "$TEST_TIMEOUT" "$@" >"$log" 2>&1 </dev/null
    last=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$log" | tail -n 1)
    if [ -z "$last" ]; then
        fail "$name" "$log"
        return
    fi
    count "$(echo "$last" | sed -E 's/ passed.*//')" 0
    local bad what
    bad=$(echo "$last" | sed -E 's/.* passed, ([0-9]+) failed.*/\1/')
    while read -r what; do
        count_skip "$name/$what" || bad=$((bad + 1))
    done < <(sed -n 's/^skipped: //p' "$log")
    [ "$bad" -eq 0 ] || fail "$name" "$log" "$bad"
}

# fuzz_target PROGRAM: from the inputs kept in tests/fuzz/corpus/NAME; what it finds stays in the logs.
fuzz_target() {
    local name log kept
    name=$(basename "$1")
    log=$LOGS/$name
    kept=$(ls -d "tests/fuzz/corpus/$name" 2>/dev/null)
    mkdir -p "$B/corpus/$name"
    "$1" -max_total_time="$FUZZ_SECONDS" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$LOGS/$name-" "$B/corpus/$name" ${kept:+"$kept"} >"$log" 2>&1
    echo $? >"$log.rc"
}

part_unit() { programs debug unit; }
part_engine() { programs debug engine; }
part_server() { programs debug server; }

in_ci() { [ -n "${CI:-}" ] && [ "$CI" != 0 ]; }

# The Node libraries, as their lock file has them. No script of theirs runs.
node_libraries() {
    local dir=$B/clients
    cmp -s tests/clients/package-lock.json "$dir/installed" && return
    mkdir -p "$dir" && cp tests/clients/package*.json "$dir" &&
        (cd "$dir" && npm ci --ignore-scripts --no-audit --no-fund) >"$LOGS/npm" 2>&1 &&
        cp tests/clients/package-lock.json "$dir/installed" && return
    fail "npm ci" "$LOGS/npm"
}

# Real client libraries. CI must have all of them; elsewhere those that are there run.
part_clients() {
    build build-debug-clients || return
    if in_ci || [ "${CLIENTS_ALL:-0}" != 0 ]; then
        export CLIENTS_ALL=1
        node_libraries
    fi
    B=$B script clients tclsh tests/clients/run.tcl
    grep -E '^[a-z_]+:? +([0-9]+ passed|skipped)' "$LOGS/clients" | sed 's/^/  /'
}
part_crash() { programs debug crash; }
part_tcl() {
    build build-debug && BITKV_SERVER=$(realpath "$B/debug/bitkv-server") script tcl tclsh tcl-tests/run.tcl
}
# Redis's own suite. Its source comes over the network once; without one a user's run goes on, CI's has failed.
part_redis-suite() {
    local tree why
    build build-debug || return
    if ! tree=$(deps/redis_source.sh "$B/redis-suite" 2>"$LOGS/redis-source"); then
        why=$(tail -n 1 "$LOGS/redis-source")
        if in_ci; then
            fail redis-suite "$LOGS/redis-source"
        else
            count_skip "redis-suite/$why"
        fi
        return
    fi
    REDIS_SUITE_SERVER=${REDIS_SUITE_SERVER:-$(realpath "$B/debug/bitkv-server")} \
        script redis-suite tclsh tcl-tests/redis-suite/run.tcl "$tree"
    sed -n '/^unit /,/^total /s/^/  /p' "$LOGS/redis-suite"
}
part_lint() {
    local check
    build all
    for check in tests/lint/*.sh; do
        script "lint/$(basename "$check" .sh)" env B="$B" "$check"
    done
}
part_asan() {
    for kind in unit engine server; do
        programs asan $kind
    done
}
part_ubsan() {
    for kind in unit engine server; do
        programs ubsan $kind
    done
}
part_tsan() {
    for kind in engine server; do
        programs tsan $kind "${FIXED[@]}"
    done
}
part_valgrind() {
    programs debug unit valgrind -q --suppressions=tests/lib/valgrind.supp --error-exitcode=99 --leak-check=full
}
part_fuzz() {
    local target name
    build build-fuzz-fuzz || return
    for target in tests/fuzz/fuzz_*.c; do
        [ -e "$target" ] || return
        wait_for_room "$JOBS"
        fuzz_target "$B/fuzz/${target%.c}" &
    done
    wait
    for target in tests/fuzz/fuzz_*.c; do
        name=$(basename "$target" .c)
        if [ "$(cat "$LOGS/$name.rc")" = 0 ]; then
            count 1 0
        else
            fail "fuzz/$name" "$LOGS/$name"
        fi
    done
}
part_cover() {
    for kind in unit engine server; do
        programs cover $kind
    done
    tests/lib/cover.sh "$B/cover"
}

run_part() {
    local part=$1 before_ok=$passed before_bad=$failed before_not=$skipped start=$SECONDS budget took
    budget=$(sed -nE "s/^\| *$part *\| *([0-9]+) *\|.*/\1/p" tests/README.md)
    "part_$part"
    took=$((SECONDS - start))
    printf '%-11s %5d passed %3d failed %3d skipped %5d s of %s s%s\n' "$part" $((passed - before_ok)) \
        $((failed - before_bad)) $((skipped - before_not)) "$took" "${budget:--}" \
        "$([ -n "$budget" ] && [ "$took" -gt "$budget" ] && echo ', over its budget')"
    [ -z "$budget" ] || [ "$took" -le "$budget" ] || over=$((over + 1))
}

# What runs in the background does not hear of an interrupt by itself.
trap 'kill $(jobs -p) 2>/dev/null; exit 130' INT TERM

parts=("$@")
if [ "${1:-all}" = all ]; then
    parts=("${PARTS_ALL[@]}")
fi
mkdir -p "$LOGS"
for part in "${parts[@]}"; do
    if ! declare -F "part_$part" >/dev/null; then
        echo "run.sh: no part $part" >&2
        exit 2
    fi
    run_part "$part"
done
[ "$over" -eq 0 ] || echo "$over parts took longer than their budget"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
