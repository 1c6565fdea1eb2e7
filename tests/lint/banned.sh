#!/bin/bash
# SPDX-License-Identifier: MIT
# banned.sh - functions that we do not call, each for its reason.
. "$(dirname "$0")/report.bash"

all=$(mktemp)
trap 'rm -f "$all"' EXIT
mapfile -t files < <(c_files)
code "${files[@]}" >"$all"

# ban NAMES WHY [EXCEPT]: NAMES is an alternation; EXCEPT a pattern of paths.
ban() {
    expect_nothing "no call of $1: $2" "$(grep -E "(^|[^A-Za-z0-9_])($1) *\(" "$all" | grep -vE "^(${3:-none}):")"
}

ban 'strcpy|strcat|stpcpy|sprintf|vsprintf|gets' 'no bound'
ban 'strncpy|strncat' 'no end, or the wrong bound'
ban 'strtok|localtime|gmtime|ctime|asctime|rand|srand|getpwnam' 'state shared between threads'
ban 'atoi|atol|atoll|atof' 'errors are not seen'
ban 'sscanf' 'numbers out of range are not seen' 'tests/.*'
ban 'alloca' 'no bound on the stack'
ban 'setjmp|longjmp' 'cleaning up is left out' 'tests/.*'
ban 'pthread_mutex_[a-z]+|pthread_cond_[a-z]+|pthread_rwlock_[a-z]+|pthread_spin_[a-z]+' \
    'bk_mutex checks the order of ranks' 'src/base/mutex\.[ch]|tests/.*'
ban 'sleep|usleep|nanosleep' 'no sleep as synchronisation' \
    'src/command/.*|src/base/clock\.c|tests/lib/.*|tests/bench/.*'
ban 'mmap' 'files are read with pread: a cut file must be an error, not a signal' 'tests/.*'
ban 'system|popen' 'a shell between us and the program'
ban 'exit|_exit|abort' 'only app/ may end the process' 'src/app/.*|src/base/(assert|buf)\.c|tests/.*'
expect_nothing "volatile is no tool between threads" "$(grep -E '\bvolatile\b' "$all" | grep -v sig_atomic_t)"
finish
