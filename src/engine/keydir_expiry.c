/* SPDX-License-Identifier: MIT */
/*
 * keydir_expiry.c - which keys of a stripe have run out of time.
 *
 * The wheel is told of a key when it gets an expiry, and of none that goes: an entry that comes up
 * and finds no key with its very tick is stale. A key whose expiry moves on, as a session's does,
 * keeps the entry that it has and is marked off_tick; the entry is filed again when it comes up. So
 * a key has one entry that counts, and only keys that lose their expiry leave stale ones. When
 * these are many, each new entry pays for a look at some old ones. An old one may be stale and yet
 * say what the key's new one says, if the key got the same expiry again ("until midnight"): of
 * those the wheel drops all but one or two.
 */
#include "engine/keydir_private.h"

#include <stdlib.h>

#define STALE_MIN 64u /* entries more than keys that are always borne with */
#define SWEEP_LOOKS 4u
#define AT_ONCE 16u /* buckets looked at together */
#define SOONEST_AT_ONCE 4u
#define SOONEST_LOOKS 32u /* stale ones are gone after that */
#define NEXT_LOOKS 128u   /* the same */

static bool is_due(const struct bki_entry *e, uint64_t upto)
{
    return e->expire_ms != 0 && bki_wheel_tick(e->expire_ms) < upto;
}

/* Where the key's one entry that counts goes: to its tick or, with off_tick set, to the given one.
 */
static uint64_t tick_for(struct bki_entry *e, uint64_t at_least)
{
    uint64_t is = bki_wheel_tick(e->expire_ms);
    uint64_t tick = is < at_least ? at_least : is;
    tick = tick > BKI_WHEEL_TICK_MAX ? BKI_WHEEL_TICK_MAX : tick;
    e->off_tick = tick != is;
    return tick;
}

static void add_entry(struct stripe *s, uint64_t hash, uint64_t tick)
{
    bki_wheel_add(s->t.wheel, (struct bki_wheel_entry){
                                  .tick = tick, .hash = (uint32_t)hash & BKI_WHEEL_HASH_MASK});
}

/* Whether an entry of the wheel with the key's hash may be the one that counts. */
static bool may_be_of(const struct bki_wheel_entry *w, const struct bki_entry *e)
{
    return e->expire_ms != 0 && (e->off_tick || bki_wheel_tick(e->expire_ms) == w->tick);
}

void bki_stripe_entries_of(struct stripe *s, struct bki_wheel_entry w,
                           void (*each)(void *arg, uint64_t *p, uint64_t hash), void *arg)
{
    struct bki_bucket *b = s->t.segments_n == 0 ? NULL : bki_slot_get(slot_of(&s->t, w.hash));
    if (b == NULL) {
        return;
    }
    for (uint64_t *p = b->words, *end = p + bki_bucket_used(b); p < end;
         p += bki_entry_units_at(p)) {
        struct bki_entry e;
        struct bk_span key;
        bki_entry_read(p, &e, &key);
        if (!may_be_of(&w, &e)) {
            continue;
        }
        uint64_t hash = bki_key_hash(s->seed, key.data, key.len);
        if (((uint32_t)hash & BKI_WHEEL_HASH_MASK) == w.hash) {
            each(arg, p, hash);
        }
    }
}

struct visit {
    struct stripe *s;
    uint64_t upto;
    bool all; /* of what is there, not of what is due */
    struct bk_buf *out;
    uint64_t filed; /* for the entry at hand; UINT64_MAX: not yet */
};

/* Keys of one hash that go to one tick share an entry: with one each, two that are due and cannot
 * be removed yet, and that both entries stand for, would have twice as many after each tick. */
static void visit_key(void *arg, uint64_t *p, uint64_t hash)
{
    struct visit *v = arg;
    struct bki_entry e;
    bki_entry_read(p, &e, NULL);
    uint64_t tick = tick_for(&e, v->upto);
    if (tick != v->filed) {
        add_entry(v->s, hash, tick);
        v->filed = tick;
    }
    bki_entry_set_off_tick(p, e.off_tick);
    if (v->all || is_due(&e, v->upto)) {
        bki_entries_copy(p, bki_entry_units_at(p), v->out);
    }
}

/* Files again what an entry taken from the wheel stands for, if anything; what is due is filed for
 * the next tick and appended to *out. */
static void visit(struct visit *v, struct bki_wheel_entry w)
{
    v->filed = UINT64_MAX;
    bki_stripe_entries_of(v->s, w, visit_key, v);
}

void bki_stripe_soonest(struct stripe *s, struct bk_buf *out)
{
    struct visit v = {.s = s, .all = true, .out = out};
    size_t before = out->len;
    size_t n = 1;
    for (unsigned i = 0; i < SOONEST_LOOKS && n > 0 && out->len == before; i++) {
        struct bki_wheel_entry first[SOONEST_AT_ONCE];
        n = bki_wheel_first(s->t.wheel, first, SOONEST_AT_ONCE);
        for (size_t k = 0; k < n; k++) { /* after all of them have been taken out */
            visit(&v, first[k]);
        }
    }
    store_counter(&s->filed, bki_wheel_count(s->t.wheel));
}

void bki_stripe_next_expiring(struct stripe *s, struct bk_buf *out)
{
    struct visit v = {.s = s, .all = true, .out = out};
    size_t before = out->len;
    struct bki_wheel_entry w;
    for (unsigned i = 0; i < NEXT_LOOKS && out->len == before; i++) {
        if (!bki_wheel_sweep(s->t.wheel, &w)) {
            break;
        }
        visit(&v, w);
    }
    store_counter(&s->filed, bki_wheel_count(s->t.wheel));
}

static void sweep(struct stripe *s)
{
    struct visit v = {.s = s};
    struct bki_wheel_entry w;
    for (unsigned i = 0; i < SWEEP_LOOKS && bki_wheel_sweep(s->t.wheel, &w); i++) {
        visit(&v, w);
    }
}

void bki_stripe_file(struct stripe *s, uint64_t hash, const struct bki_entry *old,
                     struct bki_entry *e)
{
    e->off_tick = false;
    if (e->expire_ms == 0) {
        return;
    }
    if (old != NULL && old->expire_ms != 0 && e->expire_ms >= old->expire_ms) {
        e->off_tick =
            old->off_tick || bki_wheel_tick(e->expire_ms) > bki_wheel_tick(old->expire_ms);
        return;
    }
    if (s->t.wheel == NULL) {
        s->t.wheel = bki_wheel_new(s->tick);
    } else if (bki_wheel_count(s->t.wheel) > load_counter(&s->expiring) * 3 / 2 + STALE_MIN) {
        sweep(s);
    }
    add_entry(s, hash, tick_for(e, 0));
    store_counter(&s->filed, bki_wheel_count(s->t.wheel));
}

void bki_keydir_expire(struct bki_keydir *kd, unsigned stripe, int64_t now_ms, size_t *max,
                       struct bk_buf *out)
{
    struct stripe *s = &kd->stripe[stripe];
    struct visit v = {.s = s, .out = out};
    if (load_counter(&s->filed) == 0) {
        return;
    }
    bk_mutex_lock(&s->mu);
    s->tick = bki_wheel_tick(now_ms);
    v.upto = s->tick;
    for (bool rest = s->t.wheel == NULL; !rest;) {
        struct bki_wheel_entry due[AT_ONCE];
        size_t n = 0;
        while (*max > 0 && n < AT_ONCE && !rest) {
            enum bki_wheel_work work = bki_wheel_step(s->t.wheel, s->tick, &due[n]);
            n += work == BKI_WHEEL_DUE;
            rest = work == BKI_WHEEL_REST;
            *max -= !rest;
        }
        for (size_t i = 0; i < n; i++) {
            prefetch_place(&s->t, due[i].hash);
        }
        for (size_t i = 0; i < n; i++) {
            prefetch_bucket(&s->t, due[i].hash);
        }
        for (size_t i = 0; i < n; i++) {
            visit(&v, due[i]);
        }
        rest = rest || *max == 0;
    }
    store_counter(&s->filed, s->t.wheel == NULL ? 0 : bki_wheel_count(s->t.wheel));
    bk_mutex_unlock(&s->mu);
}

/* ---- K4 ---- */

static int by_hash_then_tick(const void *x, const void *y)
{
    const struct bki_wheel_entry *a = x;
    const struct bki_wheel_entry *b = y;
    if (a->hash != b->hash) {
        return a->hash < b->hash ? -1 : 1;
    }
    return (a->tick > b->tick) - (a->tick < b->tick);
}

static int by_hash(const void *x, const void *y)
{
    const struct bki_wheel_entry *a = x;
    const struct bki_wheel_entry *b = y;
    return (a->hash > b->hash) - (a->hash < b->hash);
}

static bool check_bucket(const struct stripe *s, uint32_t index, const struct bki_wheel_entry *all,
                         size_t n)
{
    const struct bki_bucket *b = bucket_at(&s->t, index);
    if (b == NULL) {
        return true;
    }
    for (const uint64_t *p = b->words, *end = p + bki_bucket_used(b); p < end;
         p += bki_entry_units_at(p)) {
        struct bki_entry e;
        struct bk_span key;
        bki_entry_read(p, &e, &key);
        if (e.expire_ms == 0) {
            continue;
        }
        struct bki_wheel_entry want = {.tick = bki_wheel_tick(e.expire_ms),
                                       .hash = (uint32_t)bki_key_hash(s->seed, key.data, key.len) &
                                               BKI_WHEEL_HASH_MASK};
        if (bsearch(&want, all, n, sizeof want, e.off_tick ? by_hash : by_hash_then_tick) == NULL) {
            return false;
        }
    }
    return true;
}

bool bki_stripe_check_wheel(const struct stripe *s)
{
    size_t n = s->t.wheel == NULL ? 0 : (size_t)bki_wheel_count(s->t.wheel);
    struct bki_wheel_entry *all = bk_alloc_zero(n + 1, sizeof *all);
    bool ok = n == load_counter(&s->filed);
    if (n > 0) {
        bki_wheel_list(s->t.wheel, all);
        qsort(all, n, sizeof *all, by_hash_then_tick);
    }
    for (uint32_t i = 0; ok && i < bucket_count(&s->t); i++) {
        ok = check_bucket(s, i, all, n);
    }
    free(all);
    return ok;
}
