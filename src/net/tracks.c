/* SPDX-License-Identifier: MIT */
/*
 * tracks.c - see tracks.h.
 *
 * True of each shard whenever its mutex is free: entries are in the bucket of their hash; each has
 * one or more who's, in rising order of address, each once; keys and items of the table are the
 * sums over the shards' entries.
 */
#include "net/tracks.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/mutex.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define SHARDS 64u /* a power of two */
#define BUCKETS_MIN 8u
#define GIVE_BACK                                                                  \
    8u /* steps for each new key: what was cleared is gone before as much has come \
        */

/* A key. Most are remembered by one client, which needs no array. */
struct entry {
    struct entry *next;
    uint64_t hash;
    size_t key_len;
    uint32_t n, cap; /* cap 0: one */
    union {
        void *one;
        void **many; /* owned */
    } who;
    uint8_t key[];
};

struct shard {
    struct bk_mutex mu;
    /* Guarded by mu. */
    struct entry **v BK_GUARDED(mu); /* owned array; a power of two long, or none */
    size_t cap BK_GUARDED(mu), n BK_GUARDED(mu);
    uint64_t items BK_GUARDED(mu);
};

/* What a shard held when it was cleared. */
struct cleared {
    struct cleared *next;
    struct entry **v; /* owned */
    size_t cap;       /* buckets that still hold something */
};

struct tracks {
    /* Set once. */
    tracks_who_fn *ref, *drop;
    uint64_t seed; /* nobody outside can choose keys that collide */
    /* Atomics. */
    _Atomic uint64_t keys, items;
    atomic_uint cleared_n;
    struct shard shards[SHARDS];
    struct bk_mutex cleared_mu;
    /* Guarded by cleared_mu. */
    struct cleared *cleared BK_GUARDED(cleared_mu); /* owned chain */
};

/* ---- One entry ---- */

static void **whos(struct entry *e)
{
    return e->cap == 0 ? &e->who.one : e->who.many;
}

/* Where who is, or would be. */
static size_t place_of(struct entry *e, const void *who)
{
    void **v = whos(e);
    size_t low = 0;
    size_t high = e->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if ((uintptr_t)v[mid] < (uintptr_t)who) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

static bool entry_has(struct entry *e, const void *who)
{
    size_t i = place_of(e, who);
    return i < e->n && whos(e)[i] == who;
}

static void entry_add(struct entry *e, void *who)
{
    size_t i = place_of(e, who);
    if (e->cap == 0) {
        void *one = e->who.one;
        e->cap = 4;
        e->who.many = bk_alloc(e->cap * sizeof(void *));
        e->who.many[0] = one;
    } else if (e->n == e->cap) {
        e->cap *= 2;
        e->who.many = bk_realloc(e->who.many, e->cap * sizeof(void *));
    }
    memmove(e->who.many + i + 1, e->who.many + i, (e->n - i) * sizeof(void *));
    e->who.many[i] = who;
    e->n++;
}

static struct entry *entry_new(uint64_t hash, struct bk_span key, void *who)
{
    struct entry *e = bk_alloc(sizeof(*e) + key.len);
    *e = (struct entry){.hash = hash, .key_len = key.len, .n = 1, .who.one = who};
    if (key.len > 0) {
        memcpy(e->key, key.data, key.len);
    }
    return e;
}

static void entry_free(struct entry *e)
{
    if (e->cap != 0) {
        free(e->who.many);
    }
    free(e);
}

/* Its who's move to the list. */
static void entry_into(struct entry *e, struct tracks_list *out)
{
    out->n = e->n;
    if (e->cap != 0) {
        out->v = e->who.many;
        e->cap = 0;
    } else {
        out->v = bk_alloc(sizeof(void *));
        out->v[0] = e->who.one;
    }
    e->n = 0;
}

/* All but keep, which has one reference and is in both. */
static void entry_split(struct entry *e, void *keep, struct tracks_list *out)
{
    entry_into(e, out);
    e->who.one = keep;
    e->n = 1;
}

/* ---- One shard ---- */

static uint64_t hash_of(const struct tracks *t, struct bk_span key)
{
    return XXH3_64bits_withSeed(key.data, key.len, t->seed);
}

/* The buckets use the low bits. */
static struct shard *shard_of(struct tracks *t, uint64_t hash)
{
    return &t->shards[(hash >> 32) & (SHARDS - 1)];
}

static struct entry **bucket_of(const struct shard *s, uint64_t hash)
{
    return &s->v[hash & (s->cap - 1)];
}

/* The link that points to the key's entry, or NULL. */
static struct entry **find_locked(const struct shard *s, uint64_t hash, struct bk_span key)
{
    struct entry **link = s->cap == 0 ? NULL : bucket_of(s, hash);
    while (
        link != NULL && *link != NULL &&
        ((*link)->hash != hash || !bk_span_eq(bk_span_of((*link)->key, (*link)->key_len), key))) {
        link = &(*link)->next;
    }
    return link != NULL && *link != NULL ? link : NULL;
}

static void resize_locked(struct shard *s, size_t cap)
{
    struct entry **was = s->v;
    size_t was_cap = s->cap;
    s->cap = cap;
    s->v = cap == 0 ? NULL : bk_alloc_zero(cap, sizeof(struct entry *));
    for (size_t i = 0; i < was_cap; i++) {
        struct entry *next;
        for (struct entry *e = was[i]; e != NULL; e = next) {
            struct entry **bucket = bucket_of(s, e->hash);
            next = e->next;
            e->next = *bucket;
            *bucket = e;
        }
    }
    free(was);
}

static void insert_locked(struct shard *s, struct entry *e)
{
    if (s->n == s->cap) {
        resize_locked(s, s->cap == 0 ? BUCKETS_MIN : s->cap * 2);
    }
    struct entry **bucket = bucket_of(s, e->hash);
    e->next = *bucket;
    *bucket = e;
    s->n++;
}

/* Takes the entry off that link points to. What has become far too large shrinks. */
static struct entry *remove_locked(struct shard *s, struct entry **link)
{
    struct entry *e = *link;
    *link = e->next;
    s->n--;
    if (s->n == 0) {
        resize_locked(s, 0);
    } else if (s->cap > BUCKETS_MIN && s->n < s->cap / 8) {
        resize_locked(s, s->cap / 2);
    }
    return e;
}

/* ---- Life ---- */

struct tracks *tracks_new(tracks_who_fn *ref, tracks_who_fn *drop)
{
    struct tracks *t = bk_alloc_zero(1, sizeof(*t));
    t->ref = ref;
    t->drop = drop;
    t->seed = (uint64_t)bk_clock_mono_us(&bk_clock_system) ^ (uint64_t)(uintptr_t)t;
    for (size_t i = 0; i < SHARDS; i++) {
        bk_mutex_init(&t->shards[i].mu, "tracks", BK_RANK_TOPICS);
    }
    bk_mutex_init(&t->cleared_mu, "cleared tracks", BK_RANK_TOPICS);
    return t;
}

void tracks_free(struct tracks **t)
{
    if (*t == NULL) {
        return;
    }
    tracks_clear(*t);
    (void)tracks_give_back(*t, SIZE_MAX);
    bk_mutex_fini(&(*t)->cleared_mu);
    for (size_t i = 0; i < SHARDS; i++) {
        bk_mutex_fini(&(*t)->shards[i].mu);
    }
    free(*t);
    *t = NULL;
}

void tracks_list_fini(struct tracks *t, struct tracks_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        t->drop(list->v[i]);
    }
    free(list->v);
    *list = (struct tracks_list){0};
}

uint64_t tracks_keys(const struct tracks *t)
{
    return atomic_load_explicit(&t->keys, memory_order_relaxed);
}

uint64_t tracks_items(const struct tracks *t)
{
    return atomic_load_explicit(&t->items, memory_order_relaxed);
}

/* ---- Keys that come and go ---- */

bool tracks_add(struct tracks *t, struct bk_span key, void *who)
{
    uint64_t hash = hash_of(t, key);
    struct shard *s = shard_of(t, hash);
    bool new_key = false;
    bool new_item = true;
    bk_mutex_lock(&s->mu);
    struct entry **link = find_locked(s, hash, key);
    if (link == NULL) {
        insert_locked(s, entry_new(hash, key, who));
        new_key = true;
    } else if (entry_has(*link, who)) {
        new_item = false;
    } else {
        entry_add(*link, who);
    }
    if (new_item) { /* under the mutex: who takes it out takes no more off than was counted */
        t->ref(who);
        s->items++;
        atomic_fetch_add_explicit(&t->items, 1, memory_order_relaxed);
        atomic_fetch_add(&t->keys, new_key ? 1 : 0); /* before the look-up: tracking.c */
    }
    bk_mutex_unlock(&s->mu);
    if (new_key) {
        (void)tracks_give_back(t, GIVE_BACK);
    }
    return new_item;
}

static void count_off_locked(struct tracks *t, struct shard *s, uint64_t keys, uint64_t items)
{
    bk_mutex_assert_held(&s->mu);
    s->items -= items;
    atomic_fetch_sub_explicit(&t->keys, keys, memory_order_relaxed);
    atomic_fetch_sub_explicit(&t->items, items, memory_order_relaxed);
}

bool tracks_take(struct tracks *t, struct bk_span key, void *keep, struct tracks_list *out)
{
    uint64_t hash = hash_of(t, key);
    struct shard *s = shard_of(t, hash);
    struct entry *gone = NULL;
    BK_ASSERT(out->n == 0);
    bk_mutex_lock(&s->mu);
    struct entry **link = find_locked(s, hash, key);
    bool kept = link != NULL && keep != NULL && entry_has(*link, keep);
    if (kept) {
        count_off_locked(t, s, 0, (*link)->n - 1);
        entry_split(*link, keep, out);
        t->ref(keep);
    } else if (link != NULL) {
        gone = remove_locked(s, link);
        count_off_locked(t, s, 1, gone->n);
    }
    bk_mutex_unlock(&s->mu);
    if (gone != NULL) {
        entry_into(gone, out);
        entry_free(gone);
    }
    return kept;
}

/* The entry in the first bucket from start on, around, that holds one. */
static struct entry *take_near_locked(struct shard *s, uint64_t start)
{
    struct entry *e = NULL;
    for (size_t i = 0; i < s->cap && e == NULL; i++) {
        struct entry **bucket = &s->v[(start + i) & (s->cap - 1)];
        if (*bucket != NULL) {
            e = remove_locked(s, bucket);
        }
    }
    return e;
}

bool tracks_take_any(struct tracks *t, uint64_t random, struct bk_buf *key, struct tracks_list *out)
{
    struct entry *e = NULL;
    BK_ASSERT(out->n == 0);
    for (size_t i = 0; i < SHARDS && e == NULL; i++) {
        struct shard *s = &t->shards[((random >> 32) + i) & (SHARDS - 1)];
        bk_mutex_lock(&s->mu);
        e = take_near_locked(s, random);
        if (e != NULL) {
            count_off_locked(t, s, 1, e->n);
        }
        bk_mutex_unlock(&s->mu);
    }
    if (e != NULL) {
        bk_buf_append(key, e->key, e->key_len);
        entry_into(e, out);
        entry_free(e);
    }
    return e != NULL;
}

/* ---- Everything at once ---- */

static void cleared_push(struct tracks *t, struct cleared *c)
{
    bk_mutex_lock(&t->cleared_mu);
    c->next = t->cleared;
    t->cleared = c;
    atomic_fetch_add_explicit(&t->cleared_n, 1, memory_order_relaxed);
    bk_mutex_unlock(&t->cleared_mu);
}

static struct cleared *cleared_pop(struct tracks *t)
{
    bk_mutex_lock(&t->cleared_mu);
    struct cleared *c = t->cleared;
    if (c != NULL) {
        t->cleared = c->next;
        atomic_fetch_sub_explicit(&t->cleared_n, 1, memory_order_relaxed);
    }
    bk_mutex_unlock(&t->cleared_mu);
    return c;
}

void tracks_clear(struct tracks *t)
{
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *s = &t->shards[i];
        struct cleared c = {0};
        bk_mutex_lock(&s->mu);
        c.v = s->v;
        c.cap = s->cap;
        count_off_locked(t, s, s->n, s->items);
        s->v = NULL;
        s->cap = s->n = 0;
        bk_mutex_unlock(&s->mu);
        if (c.v != NULL) {
            struct cleared *heap = bk_alloc(sizeof(*heap));
            *heap = c;
            cleared_push(t, heap);
        }
    }
}

static void drop_entry(struct tracks *t, struct entry *e)
{
    struct tracks_list list = {0};
    entry_into(e, &list);
    tracks_list_fini(t, &list);
    entry_free(e);
}

/* c is nobody else's. Returns the steps that are left. */
static size_t take_apart(struct tracks *t, struct cleared *c, size_t steps)
{
    while (c->cap > 0 && steps > 0) {
        struct entry **bucket = &c->v[c->cap - 1];
        struct entry *e = *bucket;
        if (e != NULL) {
            *bucket = e->next;
            drop_entry(t, e);
        } else {
            c->cap--;
        }
        steps--;
    }
    return steps;
}

bool tracks_give_back(struct tracks *t, size_t steps)
{
    while (steps > 0 && atomic_load_explicit(&t->cleared_n, memory_order_relaxed) > 0) {
        struct cleared *c = cleared_pop(t);
        if (c == NULL) {
            break;
        }
        steps = take_apart(t, c, steps);
        if (c->cap > 0) {
            cleared_push(t, c);
        } else {
            free(c->v);
            free(c);
        }
    }
    return atomic_load_explicit(&t->cleared_n, memory_order_relaxed) > 0;
}
