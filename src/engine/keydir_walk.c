/* SPDX-License-Identifier: MIT */
/* keydir_walk.c - scans, samples, counts and checks of a whole keydir, one bucket under a lock at a
 * time. */
#include "engine/keydir_private.h"

#include <stdlib.h>

void bki_keydir_scan(struct bki_keydir *kd, uint64_t *cursor, struct bk_buf *out)
{
    uint64_t at = *cursor;
    if (at >> 32 >= BKI_KD_STRIPES) {
        *cursor = 0; /* no cursor of ours: nothing is left */
        return;
    }
    struct stripe *s = &kd->stripe[at >> 32];
    uint64_t place = at & UINT32_MAX;
    bk_mutex_lock(&s->mu);
    const struct bki_bucket *bucket = bucket_at_place(&s->t, &place);
    if (bucket != NULL) {
        bki_entries_copy(bucket->words, bki_bucket_used(bucket), out);
    }
    bk_mutex_unlock(&s->mu);
    at = (at & ~(uint64_t)UINT32_MAX) + place;
    *cursor = at >> 32 >= BKI_KD_STRIPES ? 0 : at;
}

bool bki_entry_next(const struct bk_buf *packed, size_t *at, struct bki_entry *e,
                    struct bk_span *key)
{
    if (*at >= packed->len) {
        return false;
    }
    /* Buffers come from the allocator, so the words in them are aligned. */
    const uint64_t *p = (const uint64_t *)(const void *)(packed->data + *at);
    bki_entry_read(p, e, key);
    *at += (size_t)bki_entry_units_at(p) * 8;
    return true;
}

void bki_keydir_sample(struct bki_keydir *kd, uint64_t random, struct bk_buf *out)
{
    uint64_t total = bki_keydir_count(kd);
    if (total == 0) {
        return;
    }
    uint64_t nth = random % total;
    unsigned i = 0;
    for (; i < BKI_KD_STRIPES - 1 && nth >= load_counter(&kd->stripe[i].keys); i++) {
        nth -= load_counter(&kd->stripe[i].keys);
    }
    for (unsigned tried = 0; tried < BKI_KD_STRIPES; tried++, i = (i + 1) % BKI_KD_STRIPES) {
        struct stripe *s = &kd->stripe[i];
        bk_mutex_lock(&s->mu);
        uint32_t n = bucket_count(&s->t);
        uint32_t start = n == 0 ? 0 : (uint32_t)((random >> 32) % n);
        struct bki_bucket *found = NULL;
        for (uint32_t k = 0; k < n && found == NULL; k++) {
            found = bucket_at(&s->t, (start + k) % n);
        }
        if (found != NULL) {
            bki_entries_copy(found->words, bki_bucket_used(found), out);
        }
        bk_mutex_unlock(&s->mu);
        if (found != NULL) {
            return;
        }
    }
}

bool bki_keydir_drain(struct bki_keydir *kd, struct bk_buf *out)
{
    for (unsigned i = 0; i < BKI_KD_STRIPES; i++) {
        struct stripe *s = &kd->stripe[i];
        uint32_t n = bucket_count(&s->t);
        if (n == 0) {
            continue;
        }
        uint32_t from = (s->t.segments_n - 1) * SEGMENT;
        for (uint32_t b = from; b < n; b++) {
            struct bki_slot *slot = slot_at(&s->t, b);
            const struct bki_bucket *bucket = bki_slot_get(slot);
            if (bucket != NULL) {
                bki_entries_copy(bucket->words, bki_bucket_used(bucket), out);
                bki_slot_set(slot, NULL, &s->retired);
            }
        }
        if (from == 0) {
            bki_table_free(&s->t, &s->retired);
            return true;
        }
        /* The table is no hash table any more, only what is left of one: as many buckets as whole
         * segments. */
        bki_table_drop_segment(&s->t, &s->retired);
        s->t.level = 31u - (unsigned)__builtin_clz(from);
        s->t.split = from - ((uint32_t)1 << s->t.level);
        return true;
    }
    return false;
}

/* ---- Sight ---- */

uint64_t bki_keydir_count(struct bki_keydir *kd)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < BKI_KD_STRIPES; i++) {
        n += load_counter(&kd->stripe[i].keys);
    }
    return n;
}

uint64_t bki_keydir_expiring(struct bki_keydir *kd)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < BKI_KD_STRIPES; i++) {
        n += load_counter(&kd->stripe[i].expiring);
    }
    return n;
}

void bki_keydir_stats(struct bki_keydir *kd, struct bki_keydir_stats *out)
{
    *out = (struct bki_keydir_stats){
        .keys = bki_keydir_count(kd), .expiring = bki_keydir_expiring(kd), .bytes = sizeof *kd};
    for (unsigned i = 0; i < BKI_KD_STRIPES; i++) {
        struct stripe *s = &kd->stripe[i];
        bk_mutex_lock(&s->mu);
        out->wheel_bytes += s->t.wheel != NULL ? bki_wheel_bytes(s->t.wheel) : 0;
        out->bytes += s->t.bytes + bki_retired_bytes(&s->retired);
        out->moved_max = s->moved_max > out->moved_max ? s->moved_max : out->moved_max;
        bk_mutex_unlock(&s->mu);
    }
    out->bytes += out->wheel_bytes;
}

/* K1 and K2 for one bucket; counts what it holds. */
static bool check_bucket(const struct stripe *s, uint32_t index, uint64_t *keys, uint64_t *expiring)
{
    struct bki_bucket *b = bucket_at(&s->t, index);
    if (b == NULL) {
        return true;
    }
    uint64_t *p = b->words;
    uint64_t *end = p + bki_bucket_used(b);
    while (p < end) {
        struct bki_entry e;
        struct bk_span key;
        unsigned depth;
        bki_entry_read(p, &e, &key);
        if (bucket_of(&s->t, (uint32_t)bki_key_hash(s->seed, key.data, key.len), &depth) != index ||
            bki_bucket_find(b, key) != p) {
            return false;
        }
        (*keys)++;
        *expiring += e.expire_ms != 0;
        p += bki_entry_units_at(p);
    }
    return p == end && bki_bucket_used(b) <= b->cap;
}

/* K5 */
static bool check_view(const struct stripe *s)
{
    return atomic_load(&s->version) % 2 == 0 && atomic_load(&s->buckets) == bucket_count(&s->t) &&
           atomic_load(&s->segments) == s->t.segments;
}

bool bki_keydir_check(struct bki_keydir *kd, struct bk_error *err)
{
    for (unsigned i = 0; i < BKI_KD_STRIPES; i++) {
        struct stripe *s = &kd->stripe[i];
        bk_mutex_lock(&s->mu);
        uint64_t keys = 0;
        uint64_t expiring = 0;
        uint64_t bytes = (uint64_t)s->t.segments_n * sizeof(struct segment);
        bool ok = true;
        for (uint32_t b = 0; ok && b < bucket_count(&s->t); b++) {
            ok = check_bucket(s, b, &keys, &expiring);
            bytes += bki_bucket_bytes(bucket_at(&s->t, b));
        }
        ok = ok && keys == load_counter(&s->keys) && expiring == load_counter(&s->expiring) &&
             bytes == s->t.bytes && check_view(s) && bki_stripe_check_wheel(s);
        bk_mutex_unlock(&s->mu);
        if (!ok) {
            bk_ignore(bk_error_set(err, BK_CORRUPT, 0, NULL, i,
                                   "keydir stripe %u breaks one of K1 to K5", i),
                      "the caller gets false");
            return false;
        }
    }
    return true;
}
