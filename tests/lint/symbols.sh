#!/bin/bash
# SPDX-License-Identifier: MIT
# symbols.sh - libbitkv.a shows only names of its own, and needs nothing of the server; what must be in its code is there.
. "$(dirname "$0")/report.bash"

archive=$B/libbitkv.a
expect_nothing "global names of libbitkv.a begin with bk_ or bki_" \
    "$(nm -g --defined-only "$archive" 2>&1 | awk 'NF == 3 && $3 !~ /^bki?_/')"
expect_nothing "libbitkv.a needs no library of the server" \
    "$(nm -u "$archive" | awk '$2 ~ /^(event|evutil|evconn|bufferevent|mallctl|conn_|net_|resp_|ks_|redis)/')"
if [ "$(nm -g --defined-only "$archive" | grep -cE ' T bk_')" -ge 50 ]; then
    ok
else
    bad "libbitkv.a holds the functions of bitkv.h" "fewer than 50 names"
fi
# gcc takes a function that does nothing but prefetch for one without effect and drops its calls, unless it is expanded early.
for name in bki_keydir_prefetch bki_keydir_apply bki_keydir_expire bki_keydir_fetch bki_cache_prefetch; do
    if objdump -d --no-show-raw-insn "$archive" --disassemble="$name" | grep -qE '\s(prefetch(t[012]|w)?|prfm)\s'; then
        ok
    else
        bad "$name prefetches" "no such instruction is in it"
    fi
done
finish
