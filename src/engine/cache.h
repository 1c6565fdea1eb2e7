/* SPDX-License-Identifier: MIT */
/*
 * cache.h - values of hot keys in memory, bounded in bytes, by location.
 *
 * Sharded CLOCK (second chance). A location names one record for ever, so an entry is never wrong,
 * only unused once its key has moved on. Not here: files whose address pages are used again; who
 * gives a page back forgets it first.
 */
#ifndef BK_ENGINE_CACHE_H
#define BK_ENGINE_CACHE_H

#include "base/buf.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct bki_cache;

struct bki_cache *bki_cache_new(uint64_t bytes);
void bki_cache_free(struct bki_cache **c);
void bki_cache_resize(struct bki_cache *c, uint64_t bytes); /* 0: empties and holds nothing */

/* Appends the value to *out and sets *flags. */
bool bki_cache_get(struct bki_cache *c, uint64_t loc, struct bk_buf *out, uint8_t *flags);
/* Copies the value in; one that is larger than a sixteenth of a shard is left out. */
void bki_cache_put(struct bki_cache *c, uint64_t loc, struct bk_span value, uint8_t flags);
void bki_cache_forget(struct bki_cache *c, uint64_t loc);

struct bki_cache_stats {
    uint64_t hits, misses, used;
};
void bki_cache_stats(struct bki_cache *c, struct bki_cache_stats *out);

#endif
