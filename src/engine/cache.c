/* SPDX-License-Identifier: MIT */
/*
 * cache.c - per shard a hash table of chains and a ring of entries that the clock's hand goes
 * round.
 *
 * Chains are read without a lock, under a pin of reclaim.h: an entry that is taken out still leads
 * on to those behind it, and a table that has become too small is built anew with the same entries.
 * Who looks while that happens may find nothing, and then looks again under the mutex.
 */
#include "engine/cache.h"

#include "base/assert.h"
#include "base/mutex.h"
#include "engine/bitkv.h"
#include "engine/prefetch.h"
#include "engine/reclaim.h"
#include "engine/tally.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>

#define SHARD_BITS 6u
#define SHARDS (1u << SHARD_BITS)
#define VALUE_SHARE 4u /* of a shard: no larger value is kept */
#define TABLE_MIN 64u
#define ENTRY_LINES 3u /* of a processor's cache: what short values take */

struct entry {
    _Atomic(struct entry *) chain;
    struct entry *next, *prev; /* the ring; under mu */
    uint64_t loc;
    uint32_t len;
    uint8_t flags;
    atomic_bool used; /* since the hand last passed */
    uint8_t value[];
};

typedef _Atomic(struct entry *) chain_head;

struct table {
    uint32_t n; /* a power of two */
    chain_head chain[];
};

struct shard {
    /* What a look-up reads, in a line of its own. */
    alignas(64) _Atomic(struct table *) table; /* owned; NULL: empty. Written under mu */
    atomic_uint moves;                         /* odd while entries change their chains */
    alignas(64) struct bk_mutex mu;
    uint32_t entries BK_GUARDED(mu);
    struct entry *hand BK_GUARDED(mu); /* NULL: empty */
    uint64_t bytes BK_GUARDED(mu);
    struct bki_retired retired BK_GUARDED(mu);
};

struct bki_cache {
    struct shard shard[SHARDS];
    struct bki_tally tally;
    struct bki_reclaim *reclaim; /* borrowed; or NULL */
    _Atomic uint64_t limit;      /* of one shard */
};

static uint64_t mix(uint64_t loc)
{
    return loc * 0x9e3779b97f4a7c15u;
}

static struct shard *shard_of(struct bki_cache *c, uint64_t loc)
{
    return &c->shard[mix(loc) >> (64 - SHARD_BITS)];
}

static struct table *table_of(struct shard *s)
{
    return atomic_load(&s->table);
}

static uint32_t table_size(struct shard *s)
{
    const struct table *t = table_of(s);
    return t == NULL ? 0 : t->n;
}

static chain_head *chain_of(struct table *t, uint64_t loc)
{
    return &t->chain[(mix(loc) >> 24) & (t->n - 1)];
}

static uint64_t cost(uint32_t len)
{
    return sizeof(struct entry) + len + sizeof(chain_head);
}

struct bki_cache *bki_cache_new(uint64_t bytes, struct bki_reclaim *reclaim)
{
    struct bki_cache *c = aligned_alloc(64, sizeof *c);
    BK_ASSERT(c != NULL);
    memset(c, 0, sizeof *c);
    for (unsigned i = 0; i < SHARDS; i++) {
        bk_mutex_init(&c->shard[i].mu, "value cache", BK_RANK_CACHE);
        c->shard[i].retired.reclaim = reclaim;
    }
    c->reclaim = reclaim;
    atomic_init(&c->limit, bytes / SHARDS);
    return c;
}

static struct entry *find(struct table *t, uint64_t loc)
{
    struct entry *e = t == NULL ? NULL : atomic_load(chain_of(t, loc));
    while (e != NULL && e->loc != loc) {
        e = atomic_load(&e->chain);
    }
    return e;
}

/* Where the entry hangs. */
static chain_head *place_locked(struct shard *s, const struct entry *e)
{
    chain_head *at = chain_of(table_of(s), e->loc);
    while (atomic_load(at) != e) {
        at = &atomic_load(at)->chain;
    }
    return at;
}

static void remove_locked(struct shard *s, struct entry *e)
{
    atomic_store(place_locked(s, e), atomic_load(&e->chain));
    if (e->next == e) {
        s->hand = NULL;
    } else {
        e->prev->next = e->next;
        e->next->prev = e->prev;
        s->hand = s->hand == e ? e->next : s->hand;
    }
    s->bytes -= cost(e->len);
    s->entries--;
    bki_retire(&s->retired, e, sizeof *e + e->len);
}

static void set_table_locked(struct shard *s, struct table *t)
{
    struct table *old = table_of(s);
    atomic_store(&s->table, t);
    bki_retire(&s->retired, old, old == NULL ? 0 : sizeof *old + old->n * sizeof old->chain[0]);
}

static bool was_used(struct entry *e)
{
    return atomic_load_explicit(&e->used, memory_order_relaxed);
}

static void set_used(struct entry *e, bool used)
{
    atomic_store_explicit(&e->used, used, memory_order_relaxed);
}

/* Each entry is passed at most twice, so the loop ends. */
static void shrink_locked(struct shard *s, uint64_t limit)
{
    while (s->bytes > limit && s->hand != NULL) {
        struct entry *e = s->hand;
        if (was_used(e)) {
            set_used(e, false);
            s->hand = e->next;
        } else {
            remove_locked(s, e);
        }
    }
    if (s->hand == NULL) {
        set_table_locked(s, NULL);
    }
}

void bki_cache_resize(struct bki_cache *c, uint64_t bytes)
{
    atomic_store_explicit(&c->limit, bytes / SHARDS, memory_order_relaxed);
    for (unsigned i = 0; i < SHARDS; i++) {
        bk_mutex_lock(&c->shard[i].mu);
        shrink_locked(&c->shard[i], bytes / SHARDS);
        bki_retired_tidy(&c->shard[i].retired, UINT32_MAX);
        bk_mutex_unlock(&c->shard[i].mu);
    }
}

#define TIDIED_AT_ONCE 1024u /* entries of a shard, under its mutex */

void bki_cache_tidy(struct bki_cache *c)
{
    for (unsigned i = 0; i < SHARDS; i++) {
        struct shard *s = &c->shard[i];
        if (atomic_load_explicit(&s->retired.waiting, memory_order_relaxed)) {
            bk_mutex_lock(&s->mu);
            bki_retired_tidy(&s->retired, TIDIED_AT_ONCE);
            bk_mutex_unlock(&s->mu);
        }
    }
}

void bki_cache_free(struct bki_cache **c)
{
    if (*c == NULL) {
        return;
    }
    bki_cache_resize(*c, 0);
    for (unsigned i = 0; i < SHARDS; i++) {
        bki_retired_fini(&(*c)->shard[i].retired);
        bk_mutex_fini(&(*c)->shard[i].mu);
    }
    free(*c);
    *c = NULL;
}

static uint64_t limit_of(struct bki_cache *c)
{
    return atomic_load_explicit(&c->limit, memory_order_relaxed);
}

static void take(struct entry *e, struct bk_buf *out, uint8_t *flags)
{
    if (!was_used(e)) { /* else the line stays as clean as it was */
        set_used(e, true);
    }
    *flags = e->flags;
    bk_buf_append(out, e->value, e->len);
}

/* False: entries changed their chains meanwhile. */
static bool look(struct bki_cache *c, struct shard *s, uint64_t loc, struct bk_buf *out,
                 uint8_t *flags, bool *found)
{
    unsigned pin = bki_look_begin(c->reclaim);
    unsigned moves = atomic_load_explicit(&s->moves, memory_order_acquire);
    struct entry *e = find(table_of(s), loc);
    if (e != NULL) {
        take(e, out, flags);
    }
    *found = e != NULL;
    bki_look_end(c->reclaim, pin);
    return e != NULL || (moves % 2 == 0 && moves == atomic_load(&s->moves));
}

bool bki_cache_get(struct bki_cache *c, uint64_t loc, struct bk_buf *out, uint8_t *flags)
{
    if (limit_of(c) == 0) {
        return false;
    }
    struct shard *s = shard_of(c, loc);
    bool found;
    if (!look(c, s, loc, out, flags, &found)) {
        bk_mutex_lock(&s->mu);
        struct entry *e = find(table_of(s), loc);
        found = e != NULL;
        if (found) {
            take(e, out, flags);
        }
        bk_mutex_unlock(&s->mu);
    }
    bki_count(&c->tally, found ? BKI_CACHE_HITS : BKI_CACHE_MISSES, 1);
    return found;
}

void bki_cache_prefetch(struct bki_cache *c, const uint64_t *locs, size_t n)
{
    const struct entry *head[BK_PREFETCH_MAX];
    BK_ASSERT(n <= BK_PREFETCH_MAX);
    if (limit_of(c) == 0) {
        return;
    }
    unsigned pin = bki_look_begin(c->reclaim);
    for (size_t i = 0; i < n; i++) {
        struct table *t = table_of(shard_of(c, locs[i]));
        if (t != NULL) {
            __builtin_prefetch(chain_of(t, locs[i]));
        }
    }
    for (size_t i = 0; i < n; i++) {
        struct table *t = table_of(shard_of(c, locs[i]));
        head[i] = t == NULL ? NULL : atomic_load(chain_of(t, locs[i]));
        bki_prefetch_lines(head[i], ENTRY_LINES);
    }
    for (size_t i = 0; i < n; i++) { /* most chains have one entry, some have two */
        if (head[i] != NULL && head[i]->loc != locs[i]) {
            bki_prefetch_lines(atomic_load(&head[i]->chain), ENTRY_LINES);
        }
    }
    bki_look_end(c->reclaim, pin);
}

/* The chains stay short: the table doubles with the entries. */
static void grow_locked(struct shard *s)
{
    struct table *old = table_of(s);
    uint32_t old_n = table_size(s);
    if (s->entries < old_n) {
        return;
    }
    uint32_t n = old_n == 0 ? TABLE_MIN : old_n * 2;
    struct table *t = bk_alloc_zero(1, sizeof *t + n * sizeof t->chain[0]);
    t->n = n;
    atomic_fetch_add(&s->moves, 1);
    for (uint32_t i = 0; i < old_n; i++) {
        for (struct entry *e = atomic_load(&old->chain[i]), *next; e != NULL; e = next) {
            next = atomic_load(&e->chain);
            chain_head *at = chain_of(t, e->loc);
            atomic_store(&e->chain, atomic_load(at));
            atomic_store(at, e);
        }
    }
    set_table_locked(s, t);
    atomic_fetch_add(&s->moves, 1);
}

static void insert_locked(struct shard *s, struct entry *e)
{
    grow_locked(s);
    chain_head *at = chain_of(table_of(s), e->loc);
    atomic_init(&e->chain, atomic_load(at));
    atomic_store(at, e);
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
    e->loc = loc;
    e->len = (uint32_t)value.len;
    e->flags = flags;
    atomic_init(&e->used, false);
    if (value.len > 0) {
        memcpy(e->value, value.data, value.len);
    }
    bk_mutex_lock(&s->mu);
    if (find(table_of(s), loc) == NULL) {
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
    const struct entry *e = find(table_of(s), loc);
    uint64_t bytes = e != NULL ? cost(e->len) : 0;
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
    struct entry *e = find(table_of(s), loc);
    if (e != NULL) {
        remove_locked(s, e);
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
        struct entry *next;
        for (struct entry *e = atomic_load(&table_of(s)->chain[p->at]); e != NULL; e = next) {
            next = atomic_load(&e->chain);
            if (gone(arg, e->loc)) {
                remove_locked(s, e);
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
        out->used += s->bytes + bki_retired_bytes(&s->retired);
        bk_mutex_unlock(&s->mu);
    }
    out->hits = bki_counted(&c->tally, BKI_CACHE_HITS);
    out->misses = bki_counted(&c->tally, BKI_CACHE_MISSES);
}
