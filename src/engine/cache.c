/* SPDX-License-Identifier: MIT */
/* cache.c - per shard a hash table of chains and a ring of entries that the clock's hand goes
 * round. */
#include "engine/cache.h"

#include "base/assert.h"
#include "base/mutex.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>

#define SHARD_BITS 6u
#define SHARDS (1u << SHARD_BITS)
#define VALUE_SHARE 4u /* of a shard: no larger value is kept */
#define TABLE_MIN 64u
#define ENTRY_LINES 3u /* of a processor's cache: what short values take */

struct entry {
    struct entry *chain;
    struct entry *next, *prev; /* the ring */
    uint64_t loc;
    uint32_t len;
    uint8_t flags;
    bool used; /* since the hand last passed */
    uint8_t value[];
};

struct shard {
    alignas(64) struct bk_mutex mu;
    /* Owned. Written under mu; who only fetches a slot's line looks at them without it. */
    _Atomic(struct entry **) table;
    _Atomic uint32_t table_n;
    uint32_t entries BK_GUARDED(mu);
    struct entry *hand BK_GUARDED(mu); /* NULL: empty */
    uint64_t bytes BK_GUARDED(mu);
    uint64_t hits BK_GUARDED(mu), misses BK_GUARDED(mu);
};

struct bki_cache {
    struct shard shard[SHARDS];
    _Atomic uint64_t limit; /* of one shard */
};

static uint64_t mix(uint64_t loc)
{
    return loc * 0x9e3779b97f4a7c15u;
}

static struct shard *shard_of(struct bki_cache *c, uint64_t loc)
{
    return &c->shard[mix(loc) >> (64 - SHARD_BITS)];
}

static struct entry **table_of(struct shard *s)
{
    return atomic_load_explicit(&s->table, memory_order_relaxed);
}

static uint32_t table_size(struct shard *s)
{
    return atomic_load_explicit(&s->table_n, memory_order_relaxed);
}

static void set_table(struct shard *s, struct entry **table, uint32_t n)
{
    atomic_store_explicit(&s->table, table, memory_order_relaxed);
    atomic_store_explicit(&s->table_n, n, memory_order_relaxed);
}

static struct entry **slot_of(struct shard *s, uint64_t loc)
{
    return &table_of(s)[(mix(loc) >> 24) & (table_size(s) - 1)];
}

static uint64_t cost(uint32_t len)
{
    return sizeof(struct entry) + len + sizeof(struct entry *);
}

struct bki_cache *bki_cache_new(uint64_t bytes)
{
    struct bki_cache *c = aligned_alloc(64, sizeof *c);
    BK_ASSERT(c != NULL);
    memset(c, 0, sizeof *c);
    for (unsigned i = 0; i < SHARDS; i++) {
        bk_mutex_init(&c->shard[i].mu, "value cache", BK_RANK_CACHE);
    }
    atomic_init(&c->limit, bytes / SHARDS);
    return c;
}

static struct entry **find_locked(struct shard *s, uint64_t loc)
{
    if (table_size(s) == 0) {
        return NULL;
    }
    struct entry **at = slot_of(s, loc);
    while (*at != NULL && (*at)->loc != loc) {
        at = &(*at)->chain;
    }
    return *at == NULL ? NULL : at;
}

static void remove_locked(struct shard *s, struct entry **at)
{
    struct entry *e = *at;
    *at = e->chain;
    if (e->next == e) {
        s->hand = NULL;
    } else {
        e->prev->next = e->next;
        e->next->prev = e->prev;
        s->hand = s->hand == e ? e->next : s->hand;
    }
    s->bytes -= cost(e->len);
    s->entries--;
    free(e);
}

/* Each entry is passed at most twice, so the loop ends. */
static void shrink_locked(struct shard *s, uint64_t limit)
{
    while (s->bytes > limit && s->hand != NULL) {
        struct entry *e = s->hand;
        if (e->used) {
            e->used = false;
            s->hand = e->next;
        } else {
            remove_locked(s, find_locked(s, e->loc));
        }
    }
    if (s->hand == NULL) {
        free(table_of(s));
        set_table(s, NULL, 0);
    }
}

void bki_cache_resize(struct bki_cache *c, uint64_t bytes)
{
    atomic_store_explicit(&c->limit, bytes / SHARDS, memory_order_relaxed);
    for (unsigned i = 0; i < SHARDS; i++) {
        bk_mutex_lock(&c->shard[i].mu);
        shrink_locked(&c->shard[i], bytes / SHARDS);
        bk_mutex_unlock(&c->shard[i].mu);
    }
}

void bki_cache_free(struct bki_cache **c)
{
    if (*c == NULL) {
        return;
    }
    bki_cache_resize(*c, 0);
    for (unsigned i = 0; i < SHARDS; i++) {
        bk_mutex_fini(&(*c)->shard[i].mu);
    }
    free(*c);
    *c = NULL;
}

static uint64_t limit_of(struct bki_cache *c)
{
    return atomic_load_explicit(&c->limit, memory_order_relaxed);
}

bool bki_cache_get(struct bki_cache *c, uint64_t loc, struct bk_buf *out, uint8_t *flags)
{
    if (limit_of(c) == 0) {
        return false;
    }
    struct shard *s = shard_of(c, loc);
    bk_mutex_lock(&s->mu);
    struct entry **at = find_locked(s, loc);
    if (at != NULL) {
        if (!(*at)->used) { /* else the line stays as clean as it was */
            (*at)->used = true;
        }
        *flags = (*at)->flags;
        bk_buf_append(out, (*at)->value, (*at)->len);
        s->hits++;
    } else {
        s->misses++;
    }
    bk_mutex_unlock(&s->mu);
    return at != NULL;
}

/* The first in a location's chain; NULL: it is empty. */
static struct entry *first_locked(struct shard *s, uint64_t loc)
{
    return table_size(s) == 0 ? NULL : *slot_of(s, loc);
}

void bki_cache_prefetch(struct bki_cache *c, const uint64_t *locs, size_t n)
{
    if (limit_of(c) == 0) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        /* A table that is freed meanwhile is not read: a fetch of what is not there is no harm. */
        struct shard *s = shard_of(c, locs[i]);
        struct entry **table = table_of(s);
        uint32_t size = table_size(s);
        if (table != NULL && size > 0) {
            uintptr_t slot = (mix(locs[i]) >> 24) & (size - 1);
            __builtin_prefetch((const void *)((uintptr_t)table + slot * sizeof *table));
        }
    }
    for (size_t i = 0; i < n; i++) {
        struct shard *s = shard_of(c, locs[i]);
        bk_mutex_lock(&s->mu);
        const char *e = (const char *)first_locked(s, locs[i]);
        for (size_t line = 0; e != NULL && line < ENTRY_LINES; line++) {
            __builtin_prefetch(e + line * 64);
        }
        bk_mutex_unlock(&s->mu);
    }
}

/* The chains stay short: the table doubles with the entries. */
static void grow_locked(struct shard *s)
{
    uint32_t old_n = table_size(s);
    if (s->entries < old_n) {
        return;
    }
    uint32_t n = old_n == 0 ? TABLE_MIN : old_n * 2;
    struct entry **old = table_of(s);
    set_table(s, bk_alloc_zero(n, sizeof(struct entry *)), n);
    for (uint32_t i = 0; i < old_n; i++) {
        for (struct entry *e = old[i], *next; e != NULL; e = next) {
            next = e->chain;
            struct entry **at = slot_of(s, e->loc);
            e->chain = *at;
            *at = e;
        }
    }
    free(old);
}

static void insert_locked(struct shard *s, struct entry *e)
{
    grow_locked(s);
    struct entry **at = slot_of(s, e->loc);
    e->chain = *at;
    *at = e;
    if (s->hand == NULL) {
        e->next = e->prev = e;
        s->hand = e;
    } else {
        e->next = s->hand;
        e->prev = s->hand->prev;
        e->prev->next = e;
        s->hand->prev = e;
    }
    s->bytes += cost(e->len);
    s->entries++;
}

void bki_cache_put(struct bki_cache *c, uint64_t loc, struct bk_span value, uint8_t flags)
{
    uint64_t limit = limit_of(c);
    if (value.len > limit / VALUE_SHARE) {
        return;
    }
    struct shard *s = shard_of(c, loc);
    struct entry *e = bk_alloc(sizeof *e + value.len);
    *e = (struct entry){.loc = loc, .len = (uint32_t)value.len, .flags = flags};
    if (value.len > 0) {
        memcpy(e->value, value.data, value.len);
    }
    bk_mutex_lock(&s->mu);
    if (find_locked(s, loc) == NULL) {
        insert_locked(s, e);
        e = NULL;
        shrink_locked(s, limit);
    }
    bk_mutex_unlock(&s->mu);
    free(e);
}

uint64_t bki_cache_bytes(struct bki_cache *c, uint64_t loc)
{
    struct shard *s = shard_of(c, loc);
    bk_mutex_lock(&s->mu);
    struct entry **at = find_locked(s, loc);
    uint64_t bytes = at != NULL ? cost((*at)->len) : 0;
    bk_mutex_unlock(&s->mu);
    return bytes;
}

void bki_cache_forget(struct bki_cache *c, uint64_t loc)
{
    if (limit_of(c) == 0) {
        return;
    }
    struct shard *s = shard_of(c, loc);
    bk_mutex_lock(&s->mu);
    struct entry **at = find_locked(s, loc);
    if (at != NULL) {
        remove_locked(s, at);
    }
    bk_mutex_unlock(&s->mu);
}

#define PURGE_CHAINS 256u /* of a shard at once, so that nobody waits long for it */
#define PURGE_SHARDS 4u   /* in a step */

/* Some chains of the shard at hand. */
static void purge_some(struct bki_cache *c, struct bki_cache_purge *p,
                       bool (*gone)(void *arg, uint64_t loc), void *arg)
{
    struct shard *s = &c->shard[p->shard];
    bk_mutex_lock(&s->mu);
    if (table_size(s) != p->table_n) {
        p->table_n = table_size(s); /* entries have other places in a table of another size */
        p->at = 0;
    }
    for (uint32_t n = 0; n < PURGE_CHAINS && p->at < p->table_n; n++, p->at++) {
        struct entry **at = &table_of(s)[p->at];
        while (*at != NULL) {
            if (gone(arg, (*at)->loc)) {
                remove_locked(s, at);
            } else {
                at = &(*at)->chain;
            }
        }
    }
    bool over = p->at >= p->table_n;
    bk_mutex_unlock(&s->mu);
    if (over) {
        *p = (struct bki_cache_purge){.shard = p->shard + 1};
    }
}

bool bki_cache_purge(struct bki_cache *c, struct bki_cache_purge *p,
                     bool (*gone)(void *arg, uint64_t loc), void *arg)
{
    for (unsigned i = 0; i < PURGE_SHARDS && p->shard < SHARDS; i++) {
        purge_some(c, p, gone, arg);
    }
    return p->shard == SHARDS;
}

void bki_cache_stats(struct bki_cache *c, struct bki_cache_stats *out)
{
    *out = (struct bki_cache_stats){0};
    for (unsigned i = 0; i < SHARDS; i++) {
        struct shard *s = &c->shard[i];
        bk_mutex_lock(&s->mu);
        out->hits += s->hits;
        out->misses += s->misses;
        out->used += s->bytes;
        bk_mutex_unlock(&s->mu);
    }
}
