/* SPDX-License-Identifier: MIT */
/*
 * keydir_look.c - look-ups without a lock.
 *
 * A pin keeps all memory that a look-up may reach. A stripe's version tells whether what it saw
 * belongs together: where the table's buckets are, before it follows them, and the words of an
 * entry, after it has read them. Most changes are one store, which is seen or not, and leave the
 * version alone. Who meets an odd version, or another one than before, takes the stripe's mutex.
 */
#include "engine/keydir_private.h"

#include "base/assert.h"

struct seen {
    unsigned version;
    uint32_t buckets;
    _Atomic(struct segment *) *segments;
};

static bool unchanged(const struct stripe *s, const struct seen *v)
{
    return atomic_load_explicit(&s->version, memory_order_acquire) == v->version;
}

/* What follows is read in the order in which it stands: each load is acquire or stronger. False: it
 * does not belong together. */
static bool see_table(const struct stripe *s, struct seen *v)
{
    v->version = atomic_load(&s->version); /* all three in sequential order: reclaim.h */
    v->buckets = atomic_load(&s->buckets);
    v->segments = atomic_load(&s->segments);
    return v->version % 2 == 0 && unchanged(s, v);
}

static struct bki_bucket *see_bucket(const struct seen *v, uint64_t hash)
{
    if (v->buckets == 0) {
        return NULL;
    }
    return bki_slot_get(slot_in(v->segments, bki_keydir_bucket(v->buckets, hash)));
}

/* False: something changed meanwhile. Else *p is the key's entry or NULL, and *out what it says. */
static bool look(const struct stripe *s, const struct bk_key *key, uint64_t **p,
                 struct bki_entry *out, uint64_t *pos)
{
    struct seen v;
    if (!see_table(s, &v)) {
        return false;
    }
    *p = bki_bucket_find(see_bucket(&v, key->hash), key->bytes);
    if (*p != NULL) {
        bki_entry_read(*p, out, NULL);
    }
    *pos = atomic_load_explicit(*p != NULL ? &s->swap_pos : &s->del_pos, memory_order_acquire);
    return unchanged(s, &v);
}

static void mark_used(struct bki_keydir *kd, uint64_t *p, const struct bki_entry *e)
{
    uint8_t age = age_now(kd);
    if (e->age != age) { /* else the line stays as clean as it was */
        bki_entry_use(p, age);
    }
}

static inline bool look_up(struct bki_keydir *kd, const struct bk_key *key, struct bki_entry *out,
                           uint64_t *pos, bool use)
{
    struct stripe *s = stripe_of(kd, key->hash);
    uint64_t *p = NULL;
    unsigned pin = bki_look_begin(kd->reclaim);
    bool seen = look(s, key, &p, out, pos);
    if (seen && p != NULL && use) {
        mark_used(kd, p, out);
    }
    bki_look_end(kd->reclaim, pin); /* before the wait below: what is to be freed waits for pins */
    if (!seen) {
        bk_mutex_lock(&s->mu);
        seen = look(s, key, &p, out, pos);
        BK_ASSERT(seen);
        if (p != NULL && use) {
            mark_used(kd, p, out);
        }
        bk_mutex_unlock(&s->mu);
    }
    return p != NULL;
}

bool bki_keydir_find(struct bki_keydir *kd, const struct bk_key *key, struct bki_entry *out,
                     uint64_t *pos)
{
    return look_up(kd, key, out, pos, false);
}

bool bki_keydir_use(struct bki_keydir *kd, const struct bk_key *key, struct bki_entry *out,
                    uint64_t *pos)
{
    return look_up(kd, key, out, pos, true);
}

/* Under a pin. */
BKI_PREFETCHES fetch_bucket(struct bki_keydir *kd, uint64_t hash)
{
    struct seen v;
    if (see_table(stripe_of(kd, hash), &v)) {
        bki_prefetch_lines(see_bucket(&v, hash), BUCKET_LINES);
    }
}

void bki_keydir_fetch(struct bki_keydir *kd, const struct bk_key *key)
{
    fetch_bucket(kd, key->hash);
}

void bki_keydir_prefetch(struct bki_keydir *kd, const struct bk_key *keys, size_t n, uint64_t *locs)
{
    unsigned pin = bki_look_begin(kd->reclaim);
    for (size_t i = 0; i < n; i++) {
        fetch_bucket(kd, keys[i].hash);
    }
    for (size_t i = 0; i < n && locs != NULL; i++) {
        struct bki_entry e = {0};
        uint64_t *p;
        uint64_t pos;
        bool seen = look(stripe_of(kd, keys[i].hash), &keys[i], &p, &e, &pos);
        locs[i] = seen && p != NULL ? e.loc : 0;
    }
    bki_look_end(kd->reclaim, pin);
}
