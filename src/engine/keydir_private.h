/* SPDX-License-Identifier: MIT */
/* keydir_private.h - a keydir's stripes and tables; shared by keydir.c (one key), keydir_walk.c
 * (all of them), keydir_look.c (without a lock), keydir_expiry.c and keydir_image.c. */
#ifndef BK_ENGINE_KEYDIR_PRIVATE_H
#define BK_ENGINE_KEYDIR_PRIVATE_H

#include "engine/bucket.h"
#include "engine/keydir.h"
#include "engine/prefetch.h"
#include "engine/wheel.h"

#include <stdalign.h>

#define SEGMENT 512u    /* slots per segment of a stripe's directory */
#define BUCKET_LINES 4u /* of a processor's cache: what most buckets take */

struct segment {
    struct bki_slot slot[SEGMENT];
};

/* What a flush or a swap takes away or exchanges whole. Guarded by the stripe's mutex. */
struct table {
    _Atomic(struct segment *) *segments; /* owned: segments_n owned segments */
    uint32_t segments_n, segments_cap;
    uint32_t level; /* 2^level buckets, and split more that were split already */
    uint32_t split;
    uint64_t bytes;          /* of buckets and segments */
    struct bki_wheel *wheel; /* owned; NULL until a key has an expiry */
};

struct stripe {
    /* What a look-up reads, without the mutex and in a line that changes of values leave alone. */
    alignas(64) atomic_uint version; /* odd while more changes than one store can show at once */
    _Atomic uint32_t buckets;        /* of t, as of the last even version; 0: none */
    _Atomic(_Atomic(struct segment *) *) segments; /* the same */
    _Atomic uint64_t del_pos;  /* log position of the last delete; written under mu */
    _Atomic uint64_t swap_pos; /* of the last swap; written under mu, within an odd version */
    uint64_t seed;             /* set once */
    alignas(64) struct bk_mutex mu;
    struct table t BK_GUARDED(mu);
    struct bki_retired retired BK_GUARDED(mu);
    uint32_t moved_max BK_GUARDED(mu);
    uint64_t tick BK_GUARDED(mu); /* of the clock, as last seen: where a new wheel begins */
    /* Written under mu, read by anyone. */
    _Atomic uint64_t keys, expiring, filed; /* filed: entries in the wheel */
};

struct bki_keydir {
    struct bki_reclaim *reclaim; /* borrowed; NULL: one thread at a time uses this keydir */
    struct stripe stripe[BKI_KD_STRIPES];
    atomic_uint space; /* changed under all key locks */
    atomic_uint age;   /* the one that runs; with AGE_USED once a key has got it */
};

#define AGE_USED 16u

/* For a key that is used: the age that runs. The flag is one store in a span's life, so that keys
 * that are used do not fight for its line. */
static inline uint8_t age_now(struct bki_keydir *kd)
{
    unsigned age = atomic_load_explicit(&kd->age, memory_order_relaxed);
    if ((age & AGE_USED) == 0) {
        atomic_fetch_or_explicit(&kd->age, AGE_USED, memory_order_relaxed);
    }
    return (uint8_t)(age & (AGE_USED - 1));
}

static inline uint32_t reverse32(uint32_t v)
{
    v = __builtin_bswap32(v);
    v = (v & 0x0f0f0f0fu) << 4 | (v >> 4 & 0x0f0f0f0fu);
    v = (v & 0x33333333u) << 2 | (v >> 2 & 0x33333333u);
    return (v & 0x55555555u) << 1 | (v >> 1 & 0x55555555u);
}

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

static inline struct bki_slot *slot_in(_Atomic(struct segment *) *segments, uint32_t i)
{
    return &atomic_load(&segments[i / SEGMENT])->slot[i % SEGMENT];
}

static inline struct bki_slot *slot_at(const struct table *t, uint32_t i)
{
    return slot_in(t->segments, i);
}

static inline struct bki_bucket *bucket_at(const struct table *t, uint32_t i)
{
    return bki_slot_get(slot_at(t, i));
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

/* The slot of a hash; the table has one. */
static inline struct bki_slot *slot_of(const struct table *t, uint64_t hash)
{
    unsigned depth;
    return slot_at(t, bucket_of(t, (uint32_t)hash, &depth));
}

/* First the place of a hash's bucket, then, when that is there, the bucket. */
BKI_PREFETCHES prefetch_place(const struct table *t, uint64_t hash)
{
    if (t->segments_n > 0) {
        __builtin_prefetch(slot_of(t, hash));
    }
}

BKI_PREFETCHES prefetch_bucket(const struct table *t, uint64_t hash)
{
    bki_prefetch_lines(t->segments_n == 0 ? NULL : bki_slot_get(slot_of(t, hash)), BUCKET_LINES);
}

/* The bucket at a place of the bit-reversed hash, or NULL; moves the place on to the next one. A
 * bucket of depth d holds one run of 2^(32 - d) places, however often it is split or joined later:
 * so a place is a cursor that stays true while the table grows and shrinks. At 2^32 the stripe
 * ends.
 */
static inline struct bki_bucket *bucket_at_place(const struct table *t, uint64_t *at)
{
    unsigned depth;
    if (t->segments_n == 0) {
        *at = (uint64_t)1 << 32;
        return NULL;
    }
    struct bki_bucket *b = bucket_at(t, bucket_of(t, reverse32((uint32_t)*at), &depth));
    uint64_t run = (uint64_t)1 << (32 - depth);
    *at = (*at & ~(run - 1)) + run;
    return b;
}

static inline void store_counter(_Atomic uint64_t *c, uint64_t n)
{
    atomic_store_explicit(c, n, memory_order_relaxed);
}

/* Sees to it that the stripe's wheel comes to the key in time: old is what the key had, or NULL.
 * Sets e->off_tick. */
void bki_stripe_file(struct stripe *s, uint64_t hash, const struct bki_entry *old,
                     struct bki_entry *e);
/* Calls each() for the keys that an entry of the wheel may be there for; it leaves the bucket as it
 * is. */
void bki_stripe_entries_of(struct stripe *s, struct bki_wheel_entry w,
                           void (*each)(void *arg, uint64_t *p, uint64_t hash), void *arg);
/* Appends some keys whose time comes next to *out, about; drops stale entries that it meets. The
 * stripe has a wheel. */
void bki_stripe_soonest(struct stripe *s, struct bk_buf *out);
/* The same with those that the wheel's sweep comes to next, whenever they run out. */
void bki_stripe_next_expiring(struct stripe *s, struct bk_buf *out);
/* K4; false: it does not hold. */
bool bki_stripe_check_wheel(const struct stripe *s);

/* Around a change that look-ups must see whole or not at all; the second one shows them the table
 * as it is then. */
void bki_stripe_begin(struct stripe *s);
void bki_stripe_end(struct stripe *s);

/* What a table has no use for any more goes to old. */
void bki_table_add_segment(struct table *t, struct bki_retired *old);
/* An empty table's number of buckets. */
void bki_table_shape(struct table *t, uint32_t buckets);
/* Gives the last segment of the directory back; its buckets are empty. */
void bki_table_drop_segment(struct table *t, struct bki_retired *old);
void bki_table_free(struct table *t, struct bki_retired *old);

#endif
