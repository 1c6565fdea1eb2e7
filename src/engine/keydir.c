/* SPDX-License-Identifier: MIT */
/*
 * keydir.c - stripes of linear hashing over packed buckets.
 *
 * True whenever a stripe's mutex is free:
 *   K1  an entry lies in the bucket that its hash names;
 *   K2  no two entries of a stripe have the same key;
 *   K3  keys, expiring and bytes are what a walk counts;
 *   K4  the stripe's wheel has an entry for each key with an expiry: at its tick or, if the key is
 *       marked off_tick, at one that comes no later, or in the next.
 * bki_keydir_check() tests K1-K4. Not here: walks (keydir_walk.c), what a location means (pages.c),
 * whose time has run out (keydir_expiry.c).
 */
#include "engine/keydir_private.h"

#include "base/assert.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stdlib.h>

#define WARM 32u /* changes ahead whose buckets are fetched */

uint64_t bki_key_hash(uint64_t seed, const void *key, size_t len)
{
    return XXH3_64bits_withSeed(key, len, seed);
}

/* ---- Buckets of a table ---- */

void bki_table_add_segment(struct table *t)
{
    if (t->segments_n == t->segments_cap) {
        t->segments_cap = t->segments_cap == 0 ? 2 : t->segments_cap * 2;
        t->segments = bk_realloc(t->segments, t->segments_cap * sizeof *t->segments);
    }
    t->segments[t->segments_n++] = bk_alloc_zero(SEGMENT, sizeof **t->segments);
    t->bytes += SEGMENT * sizeof **t->segments;
}

void bki_table_shape(struct table *t, uint32_t buckets)
{
    BK_ASSERT(buckets > 0 && t->segments_n == 0);
    t->level = 31u - (unsigned)__builtin_clz(buckets);
    t->split = buckets - ((uint32_t)1 << t->level);
    while ((uint64_t)t->segments_n * SEGMENT < buckets) {
        bki_table_add_segment(t);
    }
}

void bki_table_drop_segment(struct table *t)
{
    free(t->segments[--t->segments_n]);
    t->bytes -= SEGMENT * sizeof **t->segments;
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
static uint32_t table_split(struct table *t, uint64_t seed)
{
    unsigned bit = t->level;
    uint32_t from = t->split;
    uint32_t to = from + ((uint32_t)1 << bit);
    if (to / SEGMENT >= t->segments_n) {
        bki_table_add_segment(t);
    }
    if (++t->split == (uint32_t)1 << bit) {
        t->level++;
        t->split = 0;
    }
    struct bki_bucket *old = *bucket_at(t, from);
    if (old == NULL) {
        return 0;
    }
    t->bytes -= bki_bucket_bytes(old);
    struct bki_bucket *other = bki_bucket_new(old->used);
    uint64_t *keep = old->words;
    uint32_t moved = 0;
    for (uint64_t *p = old->words, *end = p + old->used; p < end; moved++) {
        uint64_t units = bki_entry_units_at(p);
        if ((entry_hash(seed, p) >> bit & 1) != 0) {
            bki_bucket_append(&other, p, units);
        } else {
            memmove(keep, p, units * 8);
            keep += units;
        }
        p += units;
    }
    bki_bucket_trim(&old, keep);
    bki_bucket_trim(&other, other->words + other->used);
    *bucket_at(t, from) = old;
    *bucket_at(t, to) = other;
    t->bytes += bki_bucket_bytes(old) + bki_bucket_bytes(other);
    return moved;
}

/* Joins the bucket that was split last with its other half. */
static void table_join(struct table *t)
{
    if (t->split == 0) {
        t->level--;
        t->split = (uint32_t)1 << t->level;
    }
    t->split--;
    uint32_t from = t->split + ((uint32_t)1 << t->level);
    struct bki_bucket **b = bucket_at(t, from);
    struct bki_bucket **into = bucket_at(t, t->split);
    if (*b != NULL) {
        t->bytes -= bki_bucket_bytes(*b) + bki_bucket_bytes(*into);
        bki_bucket_append(into, (*b)->words, (*b)->used);
        t->bytes += bki_bucket_bytes(*into);
        free(*b);
        *b = NULL;
    }
    if (from % SEGMENT == 0) {
        bki_table_drop_segment(t);
    }
}

void bki_table_free(struct table *t)
{
    for (uint32_t i = 0; i < bucket_count(t); i++) {
        free(*bucket_at(t, i));
    }
    while (t->segments_n > 0) {
        bki_table_drop_segment(t);
    }
    free(t->segments);
    bki_wheel_free(&t->wheel);
    *t = (struct table){0};
}

static void add_counter(_Atomic uint64_t *c, int64_t n)
{
    store_counter(c, load_counter(c) + (uint64_t)n);
}

static void grown_locked(struct stripe *s)
{
    if (load_counter(&s->keys) > (uint64_t)bucket_count(&s->t) * BKI_KD_FILL) {
        uint32_t moved = table_split(&s->t, s->seed);
        s->moved_max = moved > s->moved_max ? moved : s->moved_max;
    }
}

static void shrunk_locked(struct stripe *s)
{
    uint32_t n = bucket_count(&s->t);
    if (n > 1 && load_counter(&s->keys) * 2 < (uint64_t)n * BKI_KD_FILL) {
        table_join(&s->t);
    }
    if (load_counter(&s->keys) == 0) {
        bki_table_free(&s->t);
        store_counter(&s->filed, 0);
    }
}

/* ---- Life ---- */

struct bki_keydir *bki_keydir_new(uint32_t space, uint64_t seed, int64_t now_ms)
{
    struct bki_keydir *kd = aligned_alloc(64, sizeof *kd);
    BK_ASSERT(kd != NULL);
    memset(kd, 0, sizeof *kd);
    for (unsigned i = 0; i < BKI_KD_STRIPES; i++) {
        bk_mutex_init(&kd->stripe[i].mu, "keydir stripe", BK_RANK_KEYDIR);
        kd->stripe[i].seed = seed;
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
        bki_table_free(&(*kd)->stripe[i].t);
        bk_mutex_fini(&(*kd)->stripe[i].mu);
    }
    free(*kd);
    *kd = NULL;
}

uint32_t bki_keydir_space(const struct bki_keydir *kd)
{
    return atomic_load_explicit(&kd->space, memory_order_relaxed);
}

/* ---- One key ---- */

static inline bool look_up(struct bki_keydir *kd, const struct bk_key *key, struct bki_entry *out,
                           uint64_t *del_pos, bool use)
{
    struct stripe *s = stripe_of(kd, key->hash);
    bk_mutex_lock(&s->mu);
    uint64_t *p =
        s->t.segments_n == 0 ? NULL : bki_bucket_find(*bucket_find(&s->t, key->hash), key->bytes);
    if (p != NULL) {
        bki_entry_read(p, out, NULL);
        uint8_t age = use ? age_now(kd) : out->age;
        if (out->age != age) { /* else the line stays as clean as it was */
            bki_entry_set_age(p, age);
        }
    } else {
        *del_pos = s->del_pos;
    }
    bk_mutex_unlock(&s->mu);
    return p != NULL;
}

bool bki_keydir_find(struct bki_keydir *kd, const struct bk_key *key, struct bki_entry *out,
                     uint64_t *del_pos)
{
    return look_up(kd, key, out, del_pos, false);
}

bool bki_keydir_use(struct bki_keydir *kd, const struct bk_key *key, struct bki_entry *out,
                    uint64_t *del_pos)
{
    return look_up(kd, key, out, del_pos, true);
}

void bki_keydir_prefetch(struct bki_keydir *kd, const struct bk_key *keys, size_t n, uint64_t *locs)
{
    for (size_t i = 0; i < n; i++) {
        struct stripe *s = stripe_of(kd, keys[i].hash);
        bk_mutex_lock(&s->mu);
        prefetch_bucket(&s->t, keys[i].hash);
        bk_mutex_unlock(&s->mu);
    }
    for (size_t i = 0; i < n && locs != NULL; i++) {
        struct bki_entry e;
        uint64_t del_pos;
        locs[i] = bki_keydir_find(kd, &keys[i], &e, &del_pos) ? e.loc : 0;
    }
}

/* Replaces the entry at p, in place where the shape stays. */
static void replace_locked(struct stripe *s, struct bki_bucket **b, uint64_t *p,
                           const struct bk_key *key, struct bki_entry *e)
{
    struct bki_entry old;
    bki_entry_read(p, &old, NULL);
    add_counter(&s->expiring, (e->expire_ms != 0) - (old.expire_ms != 0));
    bki_stripe_file(s, key->hash, &old, e);
    if (bki_entry_units_at(p) == bki_entry_units(e, key->bytes.len) &&
        (e->expire_ms != 0) == (old.expire_ms != 0)) {
        bki_entry_write(p, e, key->bytes);
        return;
    }
    s->t.bytes -= bki_bucket_bytes(*b);
    bki_bucket_cut(b, p);
    bki_bucket_add(b, e, key->bytes);
    s->t.bytes += bki_bucket_bytes(*b);
}

static void insert_locked(struct stripe *s, const struct bk_key *key, struct bki_entry *e)
{
    if (s->t.segments_n == 0) {
        bki_table_add_segment(&s->t);
    }
    add_counter(&s->keys, 1);
    add_counter(&s->expiring, e->expire_ms != 0);
    bki_stripe_file(s, key->hash, NULL, e);
    struct bki_bucket **b = bucket_find(&s->t, key->hash);
    s->t.bytes -= bki_bucket_bytes(*b);
    bki_bucket_add(b, e, key->bytes);
    s->t.bytes += bki_bucket_bytes(*b);
    grown_locked(s);
}

static void cut_locked(struct stripe *s, struct bki_bucket **b, uint64_t *p)
{
    struct bki_entry old;
    bki_entry_read(p, &old, NULL);
    s->t.bytes -= bki_bucket_bytes(*b);
    bki_bucket_cut(b, p);
    s->t.bytes += bki_bucket_bytes(*b);
    add_counter(&s->keys, -1);
    add_counter(&s->expiring, -(old.expire_ms != 0));
    shrunk_locked(s);
}

/* The entry of key and its bucket, or NULL. */
static uint64_t *find_locked(struct stripe *s, const struct bk_key *key, struct bki_bucket ***b)
{
    if (s->t.segments_n == 0) {
        return NULL;
    }
    *b = bucket_find(&s->t, key->hash);
    return bki_bucket_find(**b, key->bytes);
}

bool bki_keydir_put(struct bki_keydir *kd, const struct bk_key *key, struct bki_entry *e,
                    struct bki_entry *old)
{
    struct stripe *s = stripe_of(kd, key->hash);
    struct bki_bucket **b = NULL;
    e->age = age_now(kd);
    bk_mutex_lock(&s->mu);
    uint64_t *p = find_locked(s, key, &b);
    if (p != NULL) {
        bki_entry_read(p, old, NULL);
        replace_locked(s, b, p, key, e);
    } else {
        insert_locked(s, key, e);
    }
    bk_mutex_unlock(&s->mu);
    return p != NULL;
}

void bki_keydir_idle(struct bki_keydir *kd, const struct bk_key *key, uint8_t age)
{
    struct stripe *s = stripe_of(kd, key->hash);
    struct bki_bucket **b = NULL;
    bk_mutex_lock(&s->mu);
    uint64_t *p = find_locked(s, key, &b);
    if (p != NULL) {
        bki_entry_set_age(p, age);
    }
    bk_mutex_unlock(&s->mu);
}

static void deleted_locked(struct stripe *s, uint64_t pos)
{
    s->del_pos = pos > s->del_pos ? pos : s->del_pos;
}

bool bki_keydir_remove(struct bki_keydir *kd, const struct bk_key *key, uint64_t pos,
                       struct bki_entry *old)
{
    struct stripe *s = stripe_of(kd, key->hash);
    struct bki_bucket **b = NULL;
    bk_mutex_lock(&s->mu);
    uint64_t *p = find_locked(s, key, &b);
    if (p != NULL) {
        bki_entry_read(p, old, NULL);
        cut_locked(s, b, p);
    }
    deleted_locked(s, pos);
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
    if (s->t.segments_n == 0 && want > 0) {
        bki_table_shape(&s->t, (uint32_t)want);
    }
    while (bucket_count(&s->t) < want) {
        table_split(&s->t, s->seed);
    }
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
    struct bki_bucket **b = NULL;
    uint64_t *p = find_locked(s, &c->key, &b);
    c->old.loc = 0;
    if (p != NULL) {
        bki_entry_read(p, &c->old, NULL);
    }
    if (p != NULL && c->now.loc == 0) {
        cut_locked(s, b, p);
    } else if (p != NULL) {
        replace_locked(s, b, p, &c->key, &c->now);
    } else if (c->now.loc != 0) {
        if (b != NULL) {
            s->t.bytes -= bki_bucket_bytes(*b);
            bki_bucket_reserve(b, units);
            s->t.bytes += bki_bucket_bytes(*b);
        }
        insert_locked(s, &c->key, &c->now);
    }
}

/* What was reserved for keys that turned out to be there. */
static void trim_locked(struct stripe *s, uint64_t hash)
{
    struct bki_bucket **b = s->t.segments_n == 0 ? NULL : bucket_find(&s->t, hash);
    if (b != NULL && *b != NULL) {
        s->t.bytes -= bki_bucket_bytes(*b);
        bki_bucket_trim(b, (*b)->words + (*b)->used);
        s->t.bytes += bki_bucket_bytes(*b);
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
    while (bucket_count(&s->t) > 1 && (bucket_count(&s->t) - 1) * (uint64_t)BKI_KD_FILL >= keys) {
        table_join(&s->t);
    }
    shrunk_locked(s);
    bk_mutex_unlock(&s->mu);
}

/* The entry of key if its location is still loc. */
static uint64_t *find_at_locked(struct stripe *s, const struct bk_key *key, uint64_t loc,
                                struct bki_bucket ***b)
{
    struct bki_entry now;
    uint64_t *p = find_locked(s, key, b);
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
    struct bki_bucket **b = NULL;
    bk_mutex_lock(&s->mu);
    uint64_t *p = find_at_locked(s, key, loc, &b);
    if (p != NULL) {
        e->age = bki_entry_age(p);
        replace_locked(s, b, p, key, e);
    }
    bk_mutex_unlock(&s->mu);
    return p != NULL;
}

bool bki_keydir_remove_if(struct bki_keydir *kd, const struct bk_key *key, uint64_t loc,
                          uint64_t pos)
{
    struct stripe *s = stripe_of(kd, key->hash);
    struct bki_bucket **b = NULL;
    bk_mutex_lock(&s->mu);
    uint64_t *p = find_at_locked(s, key, loc, &b);
    if (p != NULL) {
        cut_locked(s, b, p);
        deleted_locked(s, pos);
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
        /* What was said of either database before now depends on the swap. */
        deleted_locked(x, pos);
        deleted_locked(y, pos);
        bk_mutex_unlock(&y->mu);
        bk_mutex_unlock(&x->mu);
    }
    uint32_t space = bki_keydir_space(a);
    atomic_store_explicit(&a->space, bki_keydir_space(b), memory_order_relaxed);
    atomic_store_explicit(&b->space, space, memory_order_relaxed);
}
