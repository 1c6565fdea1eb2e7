/* SPDX-License-Identifier: MIT */
/*
 * bucket.h - packed keydir entries in one block of memory, which others may read without a lock.
 *
 * An entry is a word {location 40 bits; size class 8; key length 8, 255 = length follows; type 3;
 * expiry follows 1; age 4 (ages.h)}, then, where needed, expiry (8), record size (8), key length
 * (8), then the key, padded to 8. The word is 8-byte aligned, so that a change of it alone is one
 * store. The expiry's top bit is off_tick of struct bki_entry.
 *
 * A block that lies in a slot may be read by anybody who holds a pin of its reclaim.h. So whatever
 * changes the place or the shape of an entry makes a new block, stores it in the slot and retires
 * the old one; entries are appended behind `used`, which never falls; and only an entry's word,
 * expiry and size change where they lie, each in one store. A reader sees whole entries and keys
 * always, but may see the new word of an entry and its old expiry: keydir.c keeps versions for
 * that. Changes are under the lock of the slot's writers.
 */
#ifndef BK_ENGINE_BUCKET_H
#define BK_ENGINE_BUCKET_H

#include "base/span.h"
#include "engine/keydir.h"
#include "engine/reclaim.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct bki_bucket {
    _Atomic uint32_t used; /* of entries, in units of 8 bytes */
    uint32_t cap;          /* for writers */
    uint64_t words[];
};

/* Where a bucket is found; it owns the block. */
struct bki_slot {
    _Atomic(struct bki_bucket *) bucket; /* NULL: no entries */
};

static inline struct bki_bucket *bki_slot_get(const struct bki_slot *s)
{
    return atomic_load(&s->bucket);
}

/* For readers without a lock: look at it once. */
static inline uint32_t bki_bucket_used(const struct bki_bucket *b)
{
    return atomic_load_explicit(&b->used, memory_order_acquire);
}

/* Units of 8 bytes that an entry takes. */
uint64_t bki_entry_units(const struct bki_entry *e, size_t key_len);
/* Units of the entry at p. */
uint64_t bki_entry_units_at(const uint64_t *p);
/* The same, when no more than left units may belong to it: 0 when it is not whole, or none. */
uint64_t bki_entry_units_within(const uint64_t *p, uint64_t left);
/* Into memory that nobody else reads. */
void bki_entry_write(uint64_t *p, const struct bki_entry *e, struct bk_span key);
/* Changes the entry at p in its place; it keeps its shape: which of expiry and size are there. */
void bki_entry_change(uint64_t *p, const struct bki_entry *e);
bool bki_entry_same_shape(const uint64_t *p, const struct bki_entry *e);
/* A change of it is one store: nothing but its word can change. */
bool bki_entry_is_short(const uint64_t *p);
void bki_entry_read(const uint64_t *p, struct bki_entry *e, struct bk_span *key);
/* Sets off_tick of the entry at p, which has an expiry. */
void bki_entry_set_off_tick(uint64_t *p, bool off_tick);
uint8_t bki_entry_age(const uint64_t *p);
void bki_entry_set_age(uint64_t *p, uint8_t age);
/* The same without the writers' lock: does nothing when somebody changes the entry just then. */
void bki_entry_use(uint64_t *p, uint8_t age);
/* Appends raw entries, n units, that others may change meanwhile. */
void bki_entries_copy(const uint64_t *p, uint64_t n, struct bk_buf *out);

/* The entry of key, or NULL. b may be NULL. */
uint64_t *bki_bucket_find(struct bki_bucket *b, struct bk_span key);

/* Writers. What a slot has no use for any more goes to old; NULL: nobody else sees the slot. */

/* Appends an entry; makes a block when there is none, or a larger one. */
void bki_bucket_add(struct bki_slot *s, const struct bki_entry *e, struct bk_span key,
                    struct bki_retired *old);
/* Appends raw entries that were in another bucket. */
void bki_bucket_append(struct bki_slot *s, const uint64_t *words, uint64_t units,
                       struct bki_retired *old);
/* Sees to it that so many units can be added without a new block. */
void bki_bucket_reserve(struct bki_slot *s, uint64_t units, struct bki_retired *old);
/* Gives back room that is not used. */
void bki_bucket_fit(struct bki_slot *s, struct bki_retired *old);
/* Takes the entry at p out. */
void bki_bucket_cut(struct bki_slot *s, const uint64_t *p, struct bki_retired *old);
/* Puts an entry in the place of the one at p, whatever their shapes, in one step for readers. */
void bki_bucket_replace(struct bki_slot *s, const uint64_t *p, const struct bki_entry *e,
                        struct bk_span key, struct bki_retired *old);
/* Puts another block into the slot, or NULL; next's owner is the slot then. */
void bki_slot_set(struct bki_slot *s, struct bki_bucket *next, struct bki_retired *old);
uint64_t bki_bucket_bytes(const struct bki_bucket *b);

#endif
