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

/* What a transaction that holds every lock has written so far; NULL: nothing, or it does not hold
 * them. Borrowed. */
struct bk_batch *ks_txn_overlay(const struct ks_txn *t);
struct keyspace *ks_txn_keyspace(const struct ks_txn *t);

uint64_t ks_random(struct keyspace *ks); /* 64 bits that nobody can rely on */

/* watch.c: adds the locks of watched keys; w may be NULL. */
void ks_watches_lock(const struct ks_watches *w, struct bk_batch *b);

/* Redis's rule: a key lives through the millisecond of its expiry and is gone after it. */
static inline bool ks_expired(int64_t expire_ms, int64_t now_ms)
{
    return expire_ms != 0 && now_ms > expire_ms;
}

#endif
