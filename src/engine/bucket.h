/* SPDX-License-Identifier: MIT */
/*
 * bucket.h - packed keydir entries in one block of memory.
 *
 * An entry is a word {location 40 bits; size class 8; key length 8, 255 = length follows; type 3;
 * expiry follows 1; age 4 (ages.h)}, then, where needed, expiry (8), record size (8), key length
 * (8), then the key, padded to 8. The word is 8-byte aligned, so that a change of it alone is one
 * store. The expiry's top bit is off_tick of struct bki_entry.
 */
#ifndef BK_ENGINE_BUCKET_H
#define BK_ENGINE_BUCKET_H

#include "base/span.h"
#include "engine/keydir.h"

#include <stdbool.h>
#include <stdint.h>

struct bki_bucket {
    uint32_t used; /* of entries, in units of 8 bytes */
    uint32_t cap;
    uint64_t words[];
};

/* Units of 8 bytes that an entry takes. */
uint64_t bki_entry_units(const struct bki_entry *e, size_t key_len);
/* Units of the entry at p. */
uint64_t bki_entry_units_at(const uint64_t *p);
/* The same, when no more than left units may belong to it: 0 when it is not whole, or none. */
uint64_t bki_entry_units_within(const uint64_t *p, uint64_t left);
void bki_entry_write(uint64_t *p, const struct bki_entry *e, struct bk_span key);
void bki_entry_read(const uint64_t *p, struct bki_entry *e, struct bk_span *key);
/* Sets off_tick of the entry at p, which has an expiry. */
void bki_entry_set_off_tick(uint64_t *p, bool off_tick);
uint8_t bki_entry_age(const uint64_t *p);
void bki_entry_set_age(uint64_t *p, uint8_t age);

/* The entry of key, or NULL. b may be NULL. */
uint64_t *bki_bucket_find(struct bki_bucket *b, struct bk_span key);
/* Appends an entry; may move the block (*b NULL: makes one). */
void bki_bucket_add(struct bki_bucket **b, const struct bki_entry *e, struct bk_span key);
/* Sees to it that so many units can be added without moving the block (*b NULL: makes one). */
void bki_bucket_reserve(struct bki_bucket **b, uint64_t units);
/* Takes an entry out; frees or shrinks the block. p points into it. */
void bki_bucket_cut(struct bki_bucket **b, uint64_t *p);
/* An empty one with room for so many units. */
struct bki_bucket *bki_bucket_new(uint64_t units);
/* Forgets all from end on, and gives back room: frees the block when nothing is left. */
void bki_bucket_trim(struct bki_bucket **b, const uint64_t *end);
/* Appends raw entries that were in another bucket. */
void bki_bucket_append(struct bki_bucket **b, const uint64_t *words, uint64_t units);
uint64_t bki_bucket_bytes(const struct bki_bucket *b);

#endif
