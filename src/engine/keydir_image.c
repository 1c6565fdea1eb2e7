/* SPDX-License-Identifier: MIT */
/* keydir_image.c - the buckets of a stripe out to bytes, and back in as they are. */
#include "engine/keydir_private.h"

#include "base/assert.h"

#include <stdlib.h>

void bki_keydir_shape(struct bki_keydir *kd, unsigned stripe, struct bki_keydir_shape *out)
{
    struct stripe *s = &kd->stripe[stripe];
    bk_mutex_lock(&s->mu);
    *out = (struct bki_keydir_shape){
        .buckets = bucket_count(&s->t),
        .keys = load_counter(&s->keys),
        .expiring = load_counter(&s->expiring),
    };
    bk_mutex_unlock(&s->mu);
}

/* Ages mean something as long as the store is open only; codes mean the same at the next start. */
static void recode(uint64_t *p, uint64_t units, const uint8_t *code)
{
    for (uint64_t *end = p + units; p < end; p += bki_entry_units_at(p)) {
        bki_entry_set_age(p, code[bki_entry_age(p)]);
    }
}

uint32_t bki_keydir_dump(struct bki_keydir *kd, unsigned stripe, uint32_t bucket,
                         const uint8_t *code, size_t enough, struct bk_buf *out)
{
    struct stripe *s = &kd->stripe[stripe];
    uint32_t first = bucket;
    bk_mutex_lock(&s->mu);
    for (; bucket < bucket_count(&s->t) && out->len < enough; bucket++) {
        const struct bki_bucket *b = bucket_at(&s->t, bucket);
        uint64_t units = b == NULL ? 0 : bki_bucket_used(b);
        bk_buf_append(out, &units, sizeof units);
        if (b != NULL) {
            size_t at = out->len;
            bki_entries_copy(b->words, units, out);
            recode((uint64_t *)(void *)(out->data + at), units, code);
        }
    }
    bk_mutex_unlock(&s->mu);
    return bucket - first;
}

void bki_keydir_load_shape(struct bki_keydir *kd, unsigned stripe, uint32_t buckets)
{
    struct stripe *s = &kd->stripe[stripe];
    BK_ASSERT(buckets > 0 && s->t.segments_n == 0);
    bk_mutex_lock(&s->mu);
    bki_stripe_begin(s);
    bki_table_shape(&s->t, buckets);
    bki_stripe_end(s);
    bk_mutex_unlock(&s->mu);
}

/* One bucket as it was, into its empty place. */
static void load_bucket_locked(struct stripe *s, uint32_t index, const uint64_t *words,
                               uint64_t units)
{
    struct bki_slot *slot = slot_at(&s->t, index);
    uint64_t keys = 0;
    uint64_t expiring = 0;
    BK_ASSERT(bki_slot_get(slot) == NULL);
    if (units == 0) {
        return;
    }
    bki_bucket_append(slot, words, units, &s->retired);
    struct bki_bucket *b = bki_slot_get(slot);
    s->t.bytes += bki_bucket_bytes(b);
    for (uint64_t *p = b->words, *end = p + units; p < end; p += bki_entry_units_at(p)) {
        struct bki_entry e;
        struct bk_span key;
        bki_entry_read(p, &e, &key);
        keys++;
        if (e.expire_ms != 0) {
            expiring++;
            bki_stripe_file(s, bki_key_hash(s->seed, key.data, key.len), NULL, &e);
            bki_entry_set_off_tick(p, e.off_tick);
        }
    }
    atomic_store_explicit(&s->keys, load_counter(&s->keys) + keys, memory_order_relaxed);
    atomic_store_explicit(&s->expiring, load_counter(&s->expiring) + expiring,
                          memory_order_relaxed);
}

void bki_keydir_load(struct bki_keydir *kd, unsigned stripe, uint32_t bucket, const uint64_t *words,
                     uint32_t n)
{
    struct stripe *s = &kd->stripe[stripe];
    bk_mutex_lock(&s->mu);
    BK_ASSERT(bucket <= bucket_count(&s->t) && n <= bucket_count(&s->t) - bucket);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t units = *words++;
        load_bucket_locked(s, bucket + i, words, units);
        words += units;
    }
    bk_mutex_unlock(&s->mu);
}
