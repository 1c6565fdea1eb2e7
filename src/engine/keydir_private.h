/* SPDX-License-Identifier: MIT */
/* keydir_private.h - a keydir's stripes and tables; shared by keydir.c (one key) and keydir_walk.c
 * (all of them). */
#ifndef BK_ENGINE_KEYDIR_PRIVATE_H
#define BK_ENGINE_KEYDIR_PRIVATE_H

#include "engine/bucket.h"
#include "engine/keydir.h"

#include <stdalign.h>

#define SEGMENT 512u /* bucket pointers per segment of a stripe's directory */

/* What a flush or a swap takes away or exchanges whole. Guarded by the stripe's mutex. */
struct table {
    struct bki_bucket ***segments; /* owned: segments_n arrays of SEGMENT owned buckets */
    uint32_t segments_n, segments_cap;
    uint32_t level; /* 2^level buckets, and split more that were split already */
    uint32_t split;
    uint64_t bytes; /* of buckets and segments */
};

struct stripe {
    alignas(64) struct bk_mutex mu;
    struct table t BK_GUARDED(mu);
    uint64_t del_pos BK_GUARDED(mu); /* log position of the last delete */
    uint32_t moved_max BK_GUARDED(mu);
    uint64_t seed; /* set once */
    /* Written under mu, read by anyone. */
    _Atomic uint64_t keys, expiring;
};

struct bki_keydir {
    struct stripe stripe[BKI_KD_STRIPES];
    atomic_uint space; /* changed under all key locks */
};

static inline uint32_t bucket_count(const struct table *t)
{
    return t->segments_n == 0 ? 0 : ((uint32_t)1 << t->level) + t->split;
}

static inline uint32_t bucket_of(const struct table *t, uint32_t hash, unsigned *depth)
{
    uint32_t b = hash & (((uint32_t)1 << t->level) - 1);
    *depth = t->level;
    if (b < t->split) {
        b = hash & (((uint32_t)2 << t->level) - 1);
        *depth = t->level + 1;
    }
    return b;
}

static inline struct bki_bucket **bucket_at(const struct table *t, uint32_t i)
{
    return &t->segments[i / SEGMENT][i % SEGMENT];
}

static inline uint64_t load_counter(const _Atomic uint64_t *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

void bki_table_add_segment(struct table *t);
/* Gives the last segment of the directory back; its buckets are empty. */
void bki_table_drop_segment(struct table *t);
void bki_table_free(struct table *t);

#endif
