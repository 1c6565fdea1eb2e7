/* SPDX-License-Identifier: MIT */
/*
 * keydir.c - stripes of linear hashing over packed buckets.
 *
 * True whenever a stripe's mutex is free:
 *   K1  an entry lies in the bucket that its hash names;
 *   K2  no two entries of a stripe have the same key;
 *   K3  keys, expiring and bytes are what a walk counts;
 *   K4  the stripe's wheel has an entry for each key with an expiry: at its tick or, if the key is
 *       marked off_tick, at one that comes no later, or in the next;
 *   K5  its version is even, and what look-ups see of the table is the table.
 * bki_keydir_check() tests K1-K5. Not here: look-ups (keydir_look.c), walks (keydir_walk.c), what a
 * location means (pages.c), whose time has run out (keydir_expiry.c).
 */
#include "engine/keydir_private.h"

#include "base/assert.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stdlib.h>

#define TIDIED_AT_ONCE 1024u /* blocks of a stripe, under its mutex */
#define WARM 32u             /* changes ahead whose buckets are fetched */

uint64_t bki_key_hash(uint64_t seed, const void *key, size_t len)
{
    return XXH3_64bits_withSeed(key, len, seed);
}

/* ---- Buckets of a table ---- */

/* Another array when the old one is full: look-ups may be in that. */
static void grow_segments(struct table *t, struct bki_retired *old)
{
    t->segments_cap = t->segments_cap == 0 ? 2 : t->segments_cap * 2;
    _Atomic(struct segment *) *fresh = bk_alloc(t->segments_cap * sizeof *fresh);
    for (uint32_t i = 0; i < t->segments_n; i++) {
        atomic_init(&fresh[i], atomic_load(&t->segments[i]));
    }
    bki_retire(old, t->segments, t->segments_n * sizeof *fresh);
    t->segments = fresh;
}

void bki_table_add_segment(struct table *t, struct bki_retired *old)
{
    if (t->segments_n == t->segments_cap) {
        grow_segments(t, old);
    }
    atomic_store(&t->segments[t->segments_n++], bk_alloc_zero(1, sizeof(struct segment)));
    t->bytes += sizeof(struct segment);
}

void bki_table_shape(struct table *t, uint32_t buckets)
{
    BK_ASSERT(buckets > 0 && t->segments_n == 0);
    t->level = 31u - (unsigned)__builtin_clz(buckets);
    t->split = buckets - ((uint32_t)1 << t->level);
    while ((uint64_t)t->segments_n * SEGMENT < buckets) {
        bki_table_add_segment(t, NULL);
    }
}

void bki_table_drop_segment(struct table *t, struct bki_retired *old)
{
    bki_retire(old, atomic_load(&t->segments[--t->segments_n]), sizeof(struct segment));
    t->bytes -= sizeof(struct segment);
}

static uint64_t entry_hash(uint64_t seed, const uint64_t *p)
{
    struct bki_entry e;
    struct bk_span key;
    bki_entry_read(p, &e, &key);
    return bki_key_hash(seed, key.data, key.len);
}

/* ---- Growing and shrinking: one bucket at a time ---- */

/* Splits the next bucket in turn; returns how many entries were looked at and moved. */
static uint32_t table_split(struct table *t, uint64_t seed, struct bki_retired *retired)
{
    unsigned bit = t->level;
    uint32_t from = t->split;
    uint32_t to = from + ((uint32_t)1 << bit);
    if (to / SEGMENT >= t->segments_n) {
        bki_table_add_segment(t, retired);
    }
    if (++t->split == (uint32_t)1 << bit) {
        t->level++;
        t->split = 0;
    }
    const struct bki_bucket *old = bucket_at(t, from);
    if (old == NULL) {
        return 0;
    }
    struct bki_slot half[2] = {{NULL}, {NULL}};
    uint64_t used = bki_bucket_used(old);
    uint32_t moved = 0;
    bki_bucket_reserve(&half[0], used, NULL);
    bki_bucket_reserve(&half[1], used, NULL);
    for (const uint64_t *p = old->words, *end = p + used; p < end; moved++) {
        uint64_t units = bki_entry_units_at(p);
        bki_bucket_append(&half[entry_hash(seed, p) >> bit & 1], p, units, NULL);
        p += units;
    }
    bki_bucket_fit(&half[0], NULL);
    bki_bucket_fit(&half[1], NULL);
    t->bytes -= bki_bucket_bytes(old);
    t->bytes += bki_bucket_bytes(bki_slot_get(&half[0])) + bki_bucket_bytes(bki_slot_get(&half[1]));
    bki_slot_set(slot_at(t, to), bki_slot_get(&half[1]), NULL);
    bki_slot_set(slot_at(t, from), bki_slot_get(&half[0]), retired);
    return moved;
}

/* Joins the bucket that was split last with its other half. */
static void table_join(struct table *t, struct bki_retired *retired)
{
    if (t->split == 0) {
        t->level--;
        t->split = (uint32_t)1 << t->level;
    }
    t->split--;
    uint32_t from = t->split + ((uint32_t)1 << t->level);
    struct bki_slot *s = slot_at(t, from);
    struct bki_slot *into = slot_at(t, t->split);
    const struct bki_bucket *b = bki_slot_get(s);
    if (b != NULL) {
        t->bytes -= bki_bucket_bytes(b) + bki_bucket_bytes(bki_slot_get(into));
        bki_bucket_append(into, b->words, bki_bucket_used(b), retired);
        t->bytes += bki_bucket_bytes(bki_slot_get(into));
        bki_slot_set(s, NULL, retired);
    }
    if (from % SEGMENT == 0) {
        bki_table_drop_segment(t, retired);
    }
}

void bki_table_free(struct table *t, struct bki_retired *old)
{
    for (uint32_t i = 0; i < bucket_count(t); i++) {
        bki_slot_set(slot_at(t, i), NULL, old);
    }
    while (t->segments_n > 0) {
        bki_table_drop_segment(t, old);
    }
    bki_retire(old, t->segments, t->segments_cap * sizeof *t->segments);
    bki_wheel_free(&t->wheel);
    *t = (struct table){0};
}

/* ---- What look-ups see ---- */

void bki_stripe_begin(struct stripe *s)
{
    unsigned v = atomic_load_explicit(&s->version, memory_order_relaxed);
    BK_ASSERT(v % 2 == 0);
    atomic_store_explicit(&s->version, v + 1, memory_order_relaxed);
    /* What follows is stored with release or stronger, so nobody sees it and an even version. */
}

void bki_stripe_end(struct stripe *s)
{
    unsigned v = atomic_load_explicit(&s->version, memory_order_relaxed);
    atomic_store_explicit(&s->buckets, bucket_count(&s->t), memory_order_release);
    atomic_store(&s->segments, s->t.segments);
    atomic_store_explicit(&s->version, v + 1, memory_order_release);
}

static void add_counter(_Atomic uint64_t *c, int64_t n)
{
    store_counter(c, load_counter(c) + (uint64_t)n);
}

static void grown_locked(struct stripe *s)
{
    if (load_counter(&s->keys) > (uint64_t)bucket_count(&s->t) * BKI_KD_FILL) {
        bki_stripe_begin(s);
        uint32_t moved = table_split(&s->t, s->seed, &s->retired);
        bki_stripe_end(s);
        s->moved_max = moved > s->moved_max ? moved : s->moved_max;
    }
}

static void shrunk_locked(struct stripe *s)
{
    uint32_t n = bucket_count(&s->t);
    if (n > 1 && load_counter(&s->keys) * 2 < (uint64_t)n * BKI_KD_FILL) {
        bki_stripe_begin(s);
        table_join(&s->t, &s->retired);
        bki_stripe_end(s);
    }
    if (load_counter(&s->keys) == 0) {
        bki_stripe_begin(s);
        bki_table_free(&s->t, &s->retired);
        bki_stripe_end(s);
        store_counter(&s->filed, 0);
    }
}

/* ---- Life ---- */

struct bki_keydir *bki_keydir_new(uint32_t space, uint64_t seed, int64_t now_ms,
                                  struct bki_reclaim *reclaim)
{
    struct bki_keydir *kd = aligned_alloc(64, sizeof *kd);
    BK_ASSERT(kd != NULL);
    memset(kd, 0, sizeof *kd);
    kd->reclaim = reclaim;
    for (unsigned i = 0; i < BKI_KD_STRIPES; i++) {
        bk_mutex_init(&kd->stripe[i].mu, "keydir stripe", BK_RANK_KEYDIR);
        kd->stripe[i].seed = seed;
        kd->stripe[i].retired.reclaim = reclaim;
        kd->stripe[i].tick = bki_wheel_tick(now_ms);
    }
    atomic_init(&kd->space, space);
    return kd;
}

void bki_keydir_free(struct bki_keydir **kd)
{
    if (*kd == NULL) {
        return;
    }
    for (unsigned i = 0; i < BKI_KD_STRIPES; i++) {
        bki_table_free(&(*kd)->stripe[i].t, &(*kd)->stripe[i].retired);
        bki_retired_fini(&(*kd)->stripe[i].retired);
        bk_mutex_fini(&(*kd)->stripe[i].mu);
    }
    free(*kd);
    *kd = NULL;
}

void bki_keydir_tidy(struct bki_keydir *kd)
{
    for (unsigned i = 0; i < BKI_KD_STRIPES; i++) {
        struct stripe *s = &kd->stripe[i];
        if (atomic_load_explicit(&s->retired.waiting, memory_order_relaxed)) {
            bk_mutex_lock(&s->mu);
            bki_retired_tidy(&s->retired, TIDIED_AT_ONCE);
            bk_mutex_unlock(&s->mu);
        }
    }
}

uint32_t bki_keydir_space(const struct bki_keydir *kd)
{
    return atomic_load_explicit(&kd->space, memory_order_relaxed);
}

/* ---- One key ---- */

/* Replaces the entry at p, in its place where the shape stays. */
static void replace_locked(struct stripe *s, struct bki_slot *slot, uint64_t *p,
                           const struct bk_key *key, struct bki_entry *e)
{
    struct bki_entry old;
    bki_entry_read(p, &old, NULL);
    add_counter(&s->expiring, (e->expire_ms != 0) - (old.expire_ms != 0));
    bki_stripe_file(s, key->hash, &old, e);
    if (!bki_entry_same_shape(p, e)) {
        s->t.bytes -= bki_bucket_bytes(bki_slot_get(slot));
        bki_bucket_replace(slot, p, e, key->bytes, &s->retired);
        s->t.bytes += bki_bucket_bytes(bki_slot_get(slot));
    } else if (bki_entry_is_short(p)) {
        bki_entry_change(p, e);
    } else {
        bki_stripe_begin(s);
        bki_entry_change(p, e);
        bki_stripe_end(s);
    }
}

static void insert_locked(struct stripe *s, const struct bk_key *key, struct bki_entry *e)
{
    if (s->t.segments_n == 0) {
        bki_stripe_begin(s);
        bki_table_add_segment(&s->t, &s->retired);
        bki_stripe_end(s);
    }
    add_counter(&s->keys, 1);
    add_counter(&s->expiring, e->expire_ms != 0);
    bki_stripe_file(s, key->hash, NULL, e);
    struct bki_slot *slot = slot_of(&s->t, key->hash);
    s->t.bytes -= bki_bucket_bytes(bki_slot_get(slot));
    bki_bucket_add(slot, e, key->bytes, &s->retired);
    s->t.bytes += bki_bucket_bytes(bki_slot_get(slot));
    grown_locked(s);
}

static void cut_locked(struct stripe *s, struct bki_slot *slot, const uint64_t *p)
{
    struct bki_entry old;
    bki_entry_read(p, &old, NULL);
    s->t.bytes -= bki_bucket_bytes(bki_slot_get(slot));
    bki_bucket_cut(slot, p, &s->retired);
    s->t.bytes += bki_bucket_bytes(bki_slot_get(slot));
    add_counter(&s->keys, -1);
    add_counter(&s->expiring, -(old.expire_ms != 0));
    shrunk_locked(s);
}

/* The entry of key and its slot, or NULL. */
static uint64_t *find_locked(struct stripe *s, const struct bk_key *key, struct bki_slot **slot)
{
    if (s->t.segments_n == 0) {
        return NULL;
    }
    *slot = slot_of(&s->t, key->hash);
    return bki_bucket_find(bki_slot_get(*slot), key->bytes);
}

bool bki_keydir_put(struct bki_keydir *kd, const struct bk_key *key, struct bki_entry *e,
                    struct bki_entry *old)
{
    struct stripe *s = stripe_of(kd, key->hash);
    struct bki_slot *slot = NULL;
    e->age = age_now(kd);
    bk_mutex_lock(&s->mu);
    uint64_t *p = find_locked(s, key, &slot);
    if (p != NULL) {
        bki_entry_read(p, old, NULL);
        replace_locked(s, slot, p, key, e);
    } else {
        insert_locked(s, key, e);
    }
    bk_mutex_unlock(&s->mu);
    return p != NULL;
}

void bki_keydir_idle(struct bki_keydir *kd, const struct bk_key *key, uint8_t age)
{
    struct stripe *s = stripe_of(kd, key->hash);
    struct bki_slot *slot = NULL;
    bk_mutex_lock(&s->mu);
    uint64_t *p = find_locked(s, key, &slot);
    if (p != NULL) {
        bki_entry_set_age(p, age);
    }
    bk_mutex_unlock(&s->mu);
}

/* Of a stripe whose mutex is held. Before a key goes: who does not find it sees the position. */
static void raise_pos(_Atomic uint64_t *at, uint64_t pos)
{
    if (pos > load_counter(at)) {
        atomic_store_explicit(at, pos, memory_order_release);
    }
}

bool bki_keydir_remove(struct bki_keydir *kd, const struct bk_key *key, uint64_t pos,
                       struct bki_entry *old)
{
    struct stripe *s = stripe_of(kd, key->hash);
    struct bki_slot *slot = NULL;
    bk_mutex_lock(&s->mu);
    uint64_t *p = find_locked(s, key, &slot);
    raise_pos(&s->del_pos, pos);
    if (p != NULL) {
        bki_entry_read(p, old, NULL);
        cut_locked(s, slot, p);
    }
    bk_mutex_unlock(&s->mu);
    return p != NULL;
}

/* ---- Many keys ---- */

uint32_t bki_keydir_expect(struct bki_keydir *kd, unsigned stripe, uint64_t more)
{
    struct stripe *s = &kd->stripe[stripe];
    bk_mutex_lock(&s->mu);
    uint64_t want = (load_counter(&s->keys) + more + BKI_KD_FILL - 1) / BKI_KD_FILL;
    want = want > BKI_KD_BUCKETS_MAX ? BKI_KD_BUCKETS_MAX : want;
    bki_stripe_begin(s);
    if (s->t.segments_n == 0 && want > 0) {
        bki_table_shape(&s->t, (uint32_t)want);
    }
    while (bucket_count(&s->t) < want) {
        table_split(&s->t, s->seed, &s->retired);
    }
    bki_stripe_end(s);
    uint32_t buckets = s->t.segments_n == 0 ? 1 : bucket_count(&s->t);
    bk_mutex_unlock(&s->mu);
    return buckets;
}

uint32_t bki_keydir_bucket(uint32_t buckets, uint64_t hash)
{
    struct table t = {.level = 31u - (unsigned)__builtin_clz(buckets)};
    unsigned depth;
    t.split = buckets - ((uint32_t)1 << t.level);
    return bucket_of(&t, (uint32_t)hash, &depth);
}

static uint64_t units_of(const struct bki_change *c)
{
    return c->now.loc == 0 ? 0 : bki_entry_units(&c->now, c->key.bytes.len);
}

/* Applies c; when it is a key more, its bucket gets room for so many units at once. */
static void change_locked(struct stripe *s, struct bki_change *c, uint64_t units)
{
    struct bki_slot *slot = NULL;
    uint64_t *p = find_locked(s, &c->key, &slot);
    c->old.loc = 0;
    if (p != NULL) {
        bki_entry_read(p, &c->old, NULL);
    }
    if (p != NULL && c->now.loc == 0) {
        cut_locked(s, slot, p);
    } else if (p != NULL) {
        replace_locked(s, slot, p, &c->key, &c->now);
    } else if (c->now.loc != 0) {
        if (slot != NULL) {
            s->t.bytes -= bki_bucket_bytes(bki_slot_get(slot));
            bki_bucket_reserve(slot, units, &s->retired);
            s->t.bytes += bki_bucket_bytes(bki_slot_get(slot));
        }
        insert_locked(s, &c->key, &c->now);
    }
}

/* What was reserved for keys that turned out to be there. */
static void trim_locked(struct stripe *s, uint64_t hash)
{
    if (s->t.segments_n > 0) {
        struct bki_slot *slot = slot_of(&s->t, hash);
        s->t.bytes -= bki_bucket_bytes(bki_slot_get(slot));
        bki_bucket_fit(slot, &s->retired);
        s->t.bytes += bki_bucket_bytes(bki_slot_get(slot));
    }
}

/* Changes of one stripe. The blocks of those to come are fetched meanwhile: the wait for memory is
 * most of what a change costs. */
static void apply_locked(struct stripe *s, struct bki_change *c, size_t n)
{
    uint32_t buckets = s->t.segments_n == 0 ? 1 : bucket_count(&s->t);
    size_t warm = 0;
    for (size_t first = 0, end; first < n; first = end) {
        uint32_t bucket = bki_keydir_bucket(buckets, c[first].key.hash);
        uint64_t units = 0;
        for (; warm < n && warm < first + WARM; warm++) {
            prefetch_bucket(&s->t, c[warm].key.hash);
        }
        for (end = first; end < n && bki_keydir_bucket(buckets, c[end].key.hash) == bucket; end++) {
            units += units_of(&c[end]);
        }
        for (size_t i = first; i < end; i++) {
            change_locked(s, &c[i], units);
            units -= units_of(&c[i]);
        }
        trim_locked(s, c[first].key.hash);
    }
}

void bki_keydir_apply(struct bki_keydir *kd, struct bki_change *c, size_t n)
{
    for (size_t first = 0, end; first < n; first = end) {
        struct stripe *s = stripe_of(kd, c[first].key.hash);
        end = first + 1;
        while (end < n && stripe_of(kd, c[end].key.hash) == s) {
            end++;
        }
        bk_mutex_lock(&s->mu);
        apply_locked(s, c + first, end - first);
        bk_mutex_unlock(&s->mu);
    }
}

void bki_keydir_fit(struct bki_keydir *kd, unsigned stripe)
{
    struct stripe *s = &kd->stripe[stripe];
    bk_mutex_lock(&s->mu);
    uint64_t keys = load_counter(&s->keys);
    bki_stripe_begin(s);
    while (bucket_count(&s->t) > 1 && (bucket_count(&s->t) - 1) * (uint64_t)BKI_KD_FILL >= keys) {
        table_join(&s->t, &s->retired);
    }
    bki_stripe_end(s);
    shrunk_locked(s);
    bk_mutex_unlock(&s->mu);
}

/* The entry of key if its location is still loc. */
static uint64_t *find_at_locked(struct stripe *s, const struct bk_key *key, uint64_t loc,
                                struct bki_slot **slot)
{
    struct bki_entry now;
    uint64_t *p = find_locked(s, key, slot);
    if (p == NULL) {
        return NULL;
    }
    bki_entry_read(p, &now, NULL);
    return now.loc == loc ? p : NULL;
}

bool bki_keydir_replace_if(struct bki_keydir *kd, const struct bk_key *key, uint64_t loc,
                           struct bki_entry *e)
{
    struct stripe *s = stripe_of(kd, key->hash);
    struct bki_slot *slot = NULL;
    bk_mutex_lock(&s->mu);
    uint64_t *p = find_at_locked(s, key, loc, &slot);
    if (p != NULL) {
        e->age = bki_entry_age(p);
        replace_locked(s, slot, p, key, e);
    }
    bk_mutex_unlock(&s->mu);
    return p != NULL;
}

bool bki_keydir_remove_if(struct bki_keydir *kd, const struct bk_key *key, uint64_t loc,
                          uint64_t pos)
{
    struct stripe *s = stripe_of(kd, key->hash);
    struct bki_slot *slot = NULL;
    bk_mutex_lock(&s->mu);
    uint64_t *p = find_at_locked(s, key, loc, &slot);
    if (p != NULL) {
        raise_pos(&s->del_pos, pos);
        cut_locked(s, slot, p);
    }
    bk_mutex_unlock(&s->mu);
    return p != NULL;
}

/* ---- Whole databases ---- */

void bki_keydir_swap(struct bki_keydir *a, struct bki_keydir *b, uint64_t pos)
{
    if (a > b) {
        struct bki_keydir *higher = a;
        a = b;
        b = higher;
    }
    for (unsigned i = 0; i < BKI_KD_STRIPES; i++) {
        struct stripe *x = &a->stripe[i];
        struct stripe *y = &b->stripe[i];
        bk_mutex_lock(&x->mu);
        bk_mutex_lock(&y->mu);
        bki_stripe_begin(x);
        bki_stripe_begin(y);
        struct table t = x->t;
        x->t = y->t;
        y->t = t;
        uint64_t keys = load_counter(&x->keys);
        uint64_t expiring = load_counter(&x->expiring);
        uint64_t filed = load_counter(&x->filed);
        store_counter(&x->keys, load_counter(&y->keys));
        store_counter(&x->expiring, load_counter(&y->expiring));
        store_counter(&x->filed, load_counter(&y->filed));
        store_counter(&y->keys, keys);
        store_counter(&y->expiring, expiring);
        store_counter(&y->filed, filed);
        /* What is said of either database from here on depends on the swap. */
        raise_pos(&x->del_pos, pos);
        raise_pos(&y->del_pos, pos);
        raise_pos(&x->swap_pos, pos);
        raise_pos(&y->swap_pos, pos);
        bki_stripe_end(x);
        bki_stripe_end(y);
        bk_mutex_unlock(&y->mu);
        bk_mutex_unlock(&x->mu);
    }
    uint32_t space = bki_keydir_space(a);
    atomic_store_explicit(&a->space, bki_keydir_space(b), memory_order_relaxed);
    atomic_store_explicit(&b->space, space, memory_order_relaxed);
}
