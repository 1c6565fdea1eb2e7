/* SPDX-License-Identifier: MIT */
/*
 * keyspace.c - the keyspace itself, counts and a random key.
 *
 * Not here: what commands see of named keys (txn.c) and of whole databases (whole.c).
 */
#include "engine/bitkv.h"
#include "keyspace/keyspace_private.h"

#include "base/assert.h"
#include "base/clock.h"

#include <stdlib.h>

/* How often ks_random_key draws again after an expired key. A database with one live key in two is
 * missed with a chance of 2^-100; Redis has the same bound. */
#define RANDOM_TRIES 100

BK_STATIC_ASSERT(KS_VALUE_MAX == BK_VALUE_MAX, "the engine's limit, for those who do not see it");

const char *ks_type_name(enum ks_type type)
{
    static const char *const names[] = {"string", "list", "set", "zset", "hash", "stream"};
    size_t i = (size_t)type;
    return i < sizeof(names) / sizeof(names[0]) ? names[i] : "unknown";
}

struct keyspace *ks_new(struct bk_db *db, uint32_t databases)
{
    struct keyspace *ks = bk_alloc_zero(1, sizeof(*ks));
    ks->databases = databases;
    atomic_init(&ks->random, (uint64_t)bk_clock_mono_us(&bk_clock_system));
    if (db != NULL) {
        ks_attach(ks, db);
        ks_begin(ks);
    }
    return ks;
}

void ks_attach(struct keyspace *ks, struct bk_db *db)
{
    BK_ASSERT(!ks_ready(ks));
    ks->db = db;
}

void ks_begin(struct keyspace *ks)
{
    BK_ASSERT(ks->db != NULL);
    atomic_store_explicit(&ks->ready, true, memory_order_release);
}

bool ks_ready(const struct keyspace *ks)
{
    return atomic_load_explicit(&ks->ready, memory_order_acquire);
}

void ks_seed(struct keyspace *ks, uint64_t seed)
{
    atomic_store_explicit(&ks->random, seed, memory_order_relaxed);
}

void ks_free(struct keyspace **ks)
{
    free(*ks);
    *ks = NULL;
}

uint32_t ks_databases(const struct keyspace *ks)
{
    return ks->databases;
}

uint64_t ks_count(struct keyspace *ks, uint32_t db)
{
    return bk_count(ks->db, db);
}

uint64_t ks_count_expiring(struct keyspace *ks, uint32_t db)
{
    return bk_count_expiring(ks->db, db);
}

uint64_t ks_index_bytes(struct keyspace *ks, uint32_t db, uint64_t *expiry)
{
    return bk_index_bytes(ks->db, db, expiry);
}

uint64_t ks_tail(struct keyspace *ks)
{
    return bk_tail(ks->db);
}

uint64_t ks_undoings(struct keyspace *ks)
{
    return bk_undoings(ks->db);
}

void ks_pass_locks(struct keyspace *ks)
{
    struct bk_batch *b = bk_batch_new(ks->db);
    bk_batch_begin(b);
    bk_batch_lock_all(b);
    bk_batch_lock(b);
    bk_batch_cancel(b);
    bk_batch_free(&b);
}

bool ks_undone(struct keyspace *ks, uint64_t pos)
{
    int state = bk_pos_state(ks->db, pos);
    return state != BK_OK && state != BK_EAGAIN;
}

/* splitmix64 over a shared counter: good enough to draw keys, and no lock. */
uint64_t ks_random(struct keyspace *ks)
{
    uint64_t step = 0x9e3779b97f4a7c15u;
    uint64_t z = atomic_fetch_add_explicit(&ks->random, step, memory_order_relaxed) + step;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

int ks_random_key(struct keyspace *ks, uint32_t db, int64_t now_ms, struct bk_buf *key)
{
    int rc = BK_NOTFOUND;
    for (int i = 0; i < RANDOM_TRIES; i++) {
        int64_t expire_ms = 0;
        rc = bk_random_key(ks->db, db, ks_random(ks), key, &expire_ms);
        if (rc != BK_OK || !ks_expired(expire_ms, now_ms)) {
            break;
        }
        rc = BK_NOTFOUND;
    }
    return rc;
}

int ks_write_state(struct keyspace *ks, struct bk_error *err)
{
    return ks_ready(ks) ? bk_write_state(ks->db, err) : BK_OK;
}

void ks_visit_begin(struct keyspace *ks)
{
    bk_visit_begin(ks->db);
}

void ks_visit_end(struct keyspace *ks)
{
    bk_visit_end(ks->db);
}

void ks_prefetch(struct keyspace *ks, uint32_t db, const struct bk_span *keys, size_t n)
{
    struct bk_key hashed[BK_PREFETCH_MAX];
    for (size_t first = 0, end; first < n; first = end) {
        end = n - first < BK_PREFETCH_MAX ? n : first + BK_PREFETCH_MAX;
        for (size_t i = first; i < end; i++) {
            bk_key_init(ks->db, &hashed[i - first], keys[i].data, keys[i].len);
        }
        bk_prefetch(ks->db, db, hashed, end - first);
    }
}
