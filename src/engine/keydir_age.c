/* SPDX-License-Identifier: MIT */
/*
 * keydir_age.c - how long keys have not been used, and samples of keys with an expiry: what
 * somebody needs to choose keys that shall go.
 *
 * Where many keys have an expiry, buckets are drawn until one holds such keys. Where few have, one
 * is drawn from the wheel, which holds no others but stale entries; of those a number is dropped
 * when nothing else was drawn. So all take a bounded number of looks.
 */
#include "engine/keydir_private.h"

#define BUCKETS_AT_ONCE 16u /* under one hold of a stripe's mutex */
#define EXPIRING_MANY 16u   /* every so many keys one with an expiry: buckets are drawn */
#define BUCKET_LOOKS 32u
#define WHEEL_LOOKS 4u
#define STRIPE_LOOKS 8u

bool bki_keydir_used(struct bki_keydir *kd)
{
    return (atomic_load_explicit(&kd->age, memory_order_relaxed) & AGE_USED) != 0;
}

void bki_keydir_set_age(struct bki_keydir *kd, uint8_t age)
{
    atomic_store_explicit(&kd->age, age, memory_order_relaxed);
}

static void rewrite_bucket(struct bki_bucket *b, const uint8_t *to)
{
    for (uint64_t *p = b->words, *end = p + bki_bucket_used(b); p < end;
         p += bki_entry_units_at(p)) {
        uint8_t age = bki_entry_age(p);
        if (to[age] != age) {
            bki_entry_set_age(p, to[age]);
        }
    }
}

void bki_keydir_rewrite_ages(struct bki_keydir *kd, uint64_t *cursor, const uint8_t *to,
                             size_t *max)
{
    uint64_t stripe = *cursor >> 32;
    uint64_t place = *cursor & UINT32_MAX;
    while (*max > 0 && stripe < BKI_KD_STRIPES) {
        struct stripe *s = &kd->stripe[stripe];
        bk_mutex_lock(&s->mu);
        for (unsigned i = 0; i<BUCKETS_AT_ONCE && * max> 0 && place >> 32 == 0; i++) {
            struct bki_bucket *b = bucket_at_place(&s->t, &place);
            if (b != NULL) {
                rewrite_bucket(b, to);
            }
            --*max;
        }
        bk_mutex_unlock(&s->mu);
        stripe += place >> 32;
        place &= UINT32_MAX;
    }
    *cursor = stripe < BKI_KD_STRIPES ? stripe << 32 | place : 0;
}

/* ---- Samples of keys with an expiry ---- */

/* splitmix64: several draws from one. */
static uint64_t draw(uint64_t *random)
{
    uint64_t z = *random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* A stripe drawn by the number of keys with an expiry; NULL: there is none. */
static struct stripe *draw_stripe(struct bki_keydir *kd, uint64_t *random)
{
    uint64_t total = bki_keydir_expiring(kd);
    uint64_t nth = total == 0 ? 0 : draw(random) % total;
    for (unsigned i = 0; i < BKI_KD_STRIPES && total > 0; i++) {
        uint64_t n = load_counter(&kd->stripe[i].expiring);
        if (nth < n) {
            return &kd->stripe[i];
        }
        nth -= n;
    }
    return NULL;
}

static void sample_buckets_locked(struct stripe *s, uint64_t *random, struct bk_buf *out)
{
    uint32_t buckets = bucket_count(&s->t);
    size_t before = out->len;
    for (unsigned i = 0; i < BUCKET_LOOKS && buckets > 0 && out->len == before; i++) {
        const struct bki_bucket *b = bucket_at(&s->t, (uint32_t)(draw(random) % buckets));
        for (uint64_t at = 0; b != NULL && at < bki_bucket_used(b);
             at += bki_entry_units_at(b->words + at)) {
            struct bki_entry e;
            bki_entry_read(b->words + at, &e, NULL);
            if (e.expire_ms != 0) {
                bki_entries_copy(b->words + at, bki_entry_units_at(b->words + at), out);
            }
        }
    }
}

static void append_key(void *arg, uint64_t *p, uint64_t hash)
{
    (void)hash;
    bki_entries_copy(p, bki_entry_units_at(p), arg);
}

static bool sample_wheel_locked(struct stripe *s, uint64_t *random, bool first, struct bk_buf *out)
{
    size_t before = out->len;
    struct bki_wheel_entry e;
    for (unsigned i = 0; i < WHEEL_LOOKS && s->t.wheel != NULL; i++) {
        if (first ? bki_wheel_pick_first(s->t.wheel, draw(random), &e)
                  : bki_wheel_pick(s->t.wheel, draw(random), &e)) {
            bki_stripe_entries_of(s, e, append_key, out);
        }
    }
    return out->len > before;
}

static bool sample_locked(struct stripe *s, uint64_t *random, bool soonest, struct bk_buf *out)
{
    size_t before = out->len;
    if (soonest && s->t.wheel != NULL) {
        bki_stripe_soonest(s, out); /* those that were filed last, in a slot that may be wide */
        (void)sample_wheel_locked(s, random, true, out);
    } else if (load_counter(&s->expiring) * EXPIRING_MANY > load_counter(&s->keys)) {
        sample_buckets_locked(s, random, out);
    }
    if (out->len == before && !sample_wheel_locked(s, random, false, out) && s->t.wheel != NULL) {
        bki_stripe_next_expiring(s, out); /* nearly all entries stand for keys that have gone */
    }
    return out->len > before;
}

void bki_keydir_sample_expiring(struct bki_keydir *kd, uint64_t random, bool soonest,
                                struct bk_buf *out)
{
    bool found = false;
    for (unsigned i = 0; i < STRIPE_LOOKS && !found; i++) {
        struct stripe *s = draw_stripe(kd, &random);
        if (s == NULL) {
            return;
        }
        bk_mutex_lock(&s->mu);
        found = sample_locked(s, &random, soonest, out);
        bk_mutex_unlock(&s->mu);
    }
}
