/* SPDX-License-Identifier: MIT */
/*
 * evict.c - chooses keys that shall go, and deletes them.
 *
 * Where Redis looks at a few keys for each one that goes and remembers good candidates, a batch is
 * chosen at once here: of samples * max keys the max that suit the rule best. That is as good a
 * choice, and one batch in the log. With many samples a batch is smaller. A key that somebody has
 * written between the look and the lock stays.
 */
#include "engine/bitkv.h"
#include "keyspace/keyspace_private.h"

#include "base/assert.h"

#include <stdlib.h>

#define EVICT_MAX 64u        /* keys in a batch */
#define SAMPLES_MAX 128u     /* whatever maxmemory-samples says */
#define CANDIDATES_MAX 1024u /* for a batch */
#define EMPTY_DRAWS 8u       /* one after another, before the rule is said to choose none */

struct candidate {
    uint32_t db;
    size_t key_at, key_len; /* in keys */
    uint64_t at, memory;
    uint64_t worth; /* of staying: the least goes first */
    bool changed;   /* since it was looked at: it stays */
};

struct choice {
    struct keyspace *ks; /* borrowed, as e */
    const struct ks_evict *e;
    uint32_t db; /* being looked at */
    size_t wanted, n;
    bool one;           /* of each draw: what is drawn goes */
    uint64_t seen;      /* in this draw */
    struct bk_buf keys; /* owned */
    uint64_t pos;       /* of the commit */
    struct candidate all[];
};

static bool of_all_keys(enum ks_evict_rule rule)
{
    return rule == KS_EVICT_ALL_LRU || rule == KS_EVICT_ALL_RANDOM;
}

static uint64_t worth_of(enum ks_evict_rule rule, const struct bk_sample *s)
{
    switch (rule) {
    case KS_EVICT_ALL_LRU:
    case KS_EVICT_VOLATILE_LRU:
        return UINT64_MAX - s->idle_ms;
    case KS_EVICT_VOLATILE_TTL:
        return (uint64_t)s->expire_ms;
    default:
        return 0;
    }
}

static void consider(void *arg, const struct bk_sample *s)
{
    struct choice *c = arg;
    c->seen++;
    if (c->one && c->seen > 1) {
        if (ks_random(c->ks) % c->seen != 0) {
            return; /* each of the draw has the same chance to be the one */
        }
        c->n--;
    }
    if (c->n == c->wanted) {
        return;
    }
    c->all[c->n++] = (struct candidate){.db = c->db,
                                        .key_at = c->keys.len,
                                        .key_len = s->key.len,
                                        .at = s->at,
                                        .memory = s->memory,
                                        .worth = worth_of(c->e->rule, s)};
    bk_buf_append(&c->keys, s->key.data, s->key.len);
}

/* Keys that the rule may choose from. */
static uint64_t eligible(struct keyspace *ks, const struct ks_evict *e, uint32_t db)
{
    return of_all_keys(e->rule) ? bk_count(ks->db, db) : bk_count_expiring(ks->db, db);
}

/* Draws a database by its number of keys, of total in all. */
static uint32_t draw_database(struct keyspace *ks, const struct ks_evict *e, uint64_t total)
{
    uint64_t nth = ks_random(ks) % total;
    for (uint32_t db = 0; db < ks->databases; db++) {
        uint64_t n = eligible(ks, e, db);
        if (nth < n) {
            return db;
        }
        nth -= n;
    }
    return 0; /* keys have gone meanwhile */
}

static void gather(struct keyspace *ks, struct choice *c)
{
    enum ks_evict_rule rule = c->e->rule;
    enum bk_sample_of of = of_all_keys(rule)               ? BK_SAMPLE_ALL
                           : rule == KS_EVICT_VOLATILE_TTL ? BK_SAMPLE_SOONEST
                                                           : BK_SAMPLE_EXPIRING;
    uint64_t total = 0;
    for (uint32_t db = 0; db < ks->databases; db++) {
        total += eligible(ks, c->e, db);
    }
    for (unsigned empty = 0; total > 0 && c->n < c->wanted && empty < EMPTY_DRAWS;) {
        size_t before = c->n;
        c->seen = 0;
        c->db = draw_database(ks, c->e, total);
        bk_sample(ks->db, c->db, of, ks_random(ks), consider, c);
        empty = c->n == before ? empty + 1 : 0;
    }
}

static int by_worth(const void *x, const void *y)
{
    const struct candidate *a = x;
    const struct candidate *b = y;
    return (a->worth > b->worth) - (a->worth < b->worth);
}

static struct bk_key key_of(struct keyspace *ks, const struct choice *c, const struct candidate *k)
{
    struct bk_key key;
    bk_key_init(ks->db, &key, c->keys.data + k->key_at, k->key_len);
    key.quiet = true;
    return key;
}

/* Deletes the first n candidates that are still what they were; *out says what came of it. */
static int delete_all(struct keyspace *ks, struct choice *c, size_t n, struct ks_evicted *out,
                      struct bk_error *err)
{
    struct bk_batch *b = bk_batch_new(ks->db);
    struct bk_item item = {0};
    bk_batch_begin(b);
    for (size_t i = 0; i < n; i++) {
        struct bk_key key = key_of(ks, c, &c->all[i]);
        bk_batch_lock_key(b, &key);
    }
    bk_batch_lock(b);
    for (size_t i = 0; i < n; i++) {
        struct candidate *k = &c->all[i];
        struct bk_key key = key_of(ks, c, k);
        bk_batch_peek(b, k->db, &key, &item);
        if (item.at == k->at) {
            bk_batch_delete(b, k->db, &key);
            out->keys++;
            out->memory += k->memory;
        } else {
            k->changed = true;
        }
    }
    int rc = bk_batch_commit(b, &c->pos, err);
    bk_item_fini(&item);
    bk_batch_free(&b);
    return rc;
}

static void tell(const struct choice *c, size_t n)
{
    for (size_t i = 0; i < n && c->e->evicted != NULL; i++) {
        const struct candidate *k = &c->all[i];
        if (!k->changed) {
            struct bk_span key = bk_span_of(c->keys.data + k->key_at, k->key_len);
            c->e->evicted(c->e->arg, k->db, key, c->pos);
        }
    }
}

static size_t least(size_t x, size_t y)
{
    return x < y ? x : y;
}

int ks_evict(struct keyspace *ks, const struct ks_evict *e, struct ks_evicted *out,
             struct bk_error *err)
{
    bool one = e->rule == KS_EVICT_ALL_RANDOM || e->rule == KS_EVICT_VOLATILE_RANDOM;
    size_t samples = one ? 1 : least(e->samples, SAMPLES_MAX);
    size_t max = least(least(e->max, EVICT_MAX), CANDIDATES_MAX / samples);
    size_t wanted = max * samples;
    struct choice *c = bk_alloc(sizeof *c + wanted * sizeof c->all[0]);
    struct ks_evicted gone = {0};
    BK_ASSERT(e->rule != KS_EVICT_NONE && e->samples > 0);
    *c = (struct choice){.ks = ks, .e = e, .wanted = wanted, .one = one};
    unsigned pin = bk_pin(ks->db); /* what was seen is compared by its place */
    gather(ks, c);
    int rc = c->n == 0 ? BK_NOTFOUND : BK_OK;
    if (rc == BK_OK) {
        size_t n = c->n < max ? c->n : max;
        qsort(c->all, c->n, sizeof c->all[0], by_worth);
        rc = delete_all(ks, c, n, &gone, err);
        if (rc == BK_OK) {
            tell(c, n);
            *out = gone;
        }
    }
    bk_unpin(ks->db, pin);
    bk_buf_fini(&c->keys);
    free(c);
    return rc;
}
