/* SPDX-License-Identifier: MIT */
/* keydir_private.h - a keydir's stripes and tables; shared by keydir.c (one key), keydir_walk.c
 * (all of them), keydir_expiry.c and keydir_image.c. */
#ifndef BK_ENGINE_KEYDIR_PRIVATE_H
#define BK_ENGINE_KEYDIR_PRIVATE_H

#include "engine/bucket.h"
#include "engine/keydir.h"
#include "engine/wheel.h"

#include <stdalign.h>

#define SEGMENT 512u    /* bucket pointers per segment of a stripe's directory */
#define BUCKET_LINES 4u /* of a processor's cache: what most buckets take */

/* What a flush or a swap takes away or exchanges whole. Guarded by the stripe's mutex. */
struct table {
    struct bki_bucket ***segments; /* owned: segments_n arrays of SEGMENT owned buckets */
    uint32_t segments_n, segments_cap;
    uint32_t level; /* 2^level buckets, and split more that were split already */
    uint32_t split;
    uint64_t bytes;          /* of buckets and segments */
    struct bki_wheel *wheel; /* owned; NULL until a key has an expiry */
};

struct stripe {
    alignas(64) struct bk_mutex mu;
    struct table t BK_GUARDED(mu);
    uint64_t del_pos BK_GUARDED(mu); /* log position of the last delete */
    uint32_t moved_max BK_GUARDED(mu);
    uint64_t tick BK_GUARDED(mu); /* of the clock, as last seen: where a new wheel begins */
    uint64_t seed;                /* set once */
    /* Written under mu, read by anyone. */
    _Atomic uint64_t keys, expiring, filed; /* filed: entries in the wheel */
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

/* The top bits pick the key lock, the next the stripe, the low ones the bucket. */
static inline struct stripe *stripe_of(struct bki_keydir *kd, uint64_t hash)
{
    return &kd->stripe[hash >> 48 & (BKI_KD_STRIPES - 1)];
}

/* The bucket of a hash; the table has one. */
static inline struct bki_bucket **bucket_find(const struct table *t, uint64_t hash)
{
    unsigned depth;
    return bucket_at(t, bucket_of(t, (uint32_t)hash, &depth));
}

/* First the place of a hash's bucket, then, when that is there, the bucket. */
static inline void prefetch_place(const struct table *t, uint64_t hash)
{
    if (t->segments_n > 0) {
        __builtin_prefetch(bucket_find(t, hash));
    }
}

static inline void prefetch_bucket(const struct table *t, uint64_t hash)
{
    const char *b = t->segments_n == 0 ? NULL : (const char *)*bucket_find(t, hash);
    for (size_t line = 0; b != NULL && line < BUCKET_LINES; line++) {
        __builtin_prefetch(b + line * 64, 1);
    }
}

static inline void store_counter(_Atomic uint64_t *c, uint64_t n)
{
    atomic_store_explicit(c, n, memory_order_relaxed);
}

/* Sees to it that the stripe's wheel comes to the key in time: old is what the key had, or NULL.
 * Sets e->off_tick. */
void bki_stripe_file(struct stripe *s, uint64_t hash, const struct bki_entry *old,
                     struct bki_entry *e);
/* K4; false: it does not hold. */
bool bki_stripe_check_wheel(const struct stripe *s);

void bki_table_add_segment(struct table *t);
/* An empty table's number of buckets. */
void bki_table_shape(struct table *t, uint32_t buckets);
/* Gives the last segment of the directory back; its buckets are empty. */
void bki_table_drop_segment(struct table *t);
void bki_table_free(struct table *t);

#endif
