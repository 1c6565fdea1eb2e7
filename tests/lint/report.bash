# SPDX-License-Identifier: MIT
# report.bash - sourced by the checks: counts, and the last line that tests/run.sh reads.
# B is the build directory; the working directory is the repository.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
B=${B:-build}
LAYERS="base engine resp keyspace command net app tools"
checks_ok=0
checks_bad=0

ok() {
    checks_ok=$((checks_ok + 1))
}

# bad NAME TEXT
bad() {
    checks_bad=$((checks_bad + 1))
    printf 'not ok - %s\n%s\n' "$1" "$2"
}

# expect_nothing NAME TEXT: TEXT is what a search found; there must be none.
expect_nothing() {
    if [ -z "$2" ]; then
        ok
    else
        bad "$1" "$2"
    fi
}

# Code without comments and strings, as FILE:LINE:TEXT.
code() {
    awk '
    FNR == 1 { inside = 0 }
    {
        line = $0
        gsub(/\\\\|\\"/, "", line)
        gsub(/"[^"]*"/, "\"\"", line)
        gsub(/\/\*([^*]|\*[^\/])*\*\//, "", line)
        if (inside) { if (!sub(/.*\*\//, "", line)) next; inside = 0 }
        if (sub(/\/\*.*/, "", line)) inside = 1
        sub(/\/\/.*/, "", line)
        print FILENAME ":" FNR ":" line
    }' "$@"
}

finish() {
    echo "$checks_ok passed, $checks_bad failed"
    [ "$checks_bad" -eq 0 ]
    exit
}

# Every C file that we wrote.
c_files() {
    find src tests -name '*.[ch]' | sort
}
