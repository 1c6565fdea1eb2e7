/* SPDX-License-Identifier: MIT */
/* keyspace_private.h - what keyspace.c and txn.c share. */
#ifndef BK_KEYSPACE_PRIVATE_H
#define BK_KEYSPACE_PRIVATE_H

#include "keyspace/keyspace.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct keyspace {
    /* Set once, by ks_new. */
    uint32_t databases;
    /* Set once, before ready. */
    struct bk_db *db; /* borrowed until ks_free */
    /* Any thread, atomic. */
    atomic_bool ready;
    _Atomic uint64_t random; /* state of RANDOMKEY's generator */
};

/* Redis's rule: a key lives through the millisecond of its expiry and is gone after it. */
static inline bool ks_expired(int64_t expire_ms, int64_t now_ms)
{
    return expire_ms != 0 && now_ms > expire_ms;
}

#endif
