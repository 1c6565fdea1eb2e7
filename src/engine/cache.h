/* SPDX-License-Identifier: MIT */
/*
 * cache.h - values of hot keys in memory, bounded in bytes, by location.
 *
 * Sharded CLOCK (second chance). A location names one record as long as its file is there, so an
 * entry is never wrong, only unused once its key has moved on; before a file's address pages are
 * lent again, what lies in them is forgotten. Look-ups take no lock, and write nothing that others
 * read but an entry's mark of use, once in a round of the clock's hand.
 */
#ifndef BK_ENGINE_CACHE_H
#define BK_ENGINE_CACHE_H

#include "base/buf.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct bki_cache;
struct bki_reclaim;

/* reclaim: borrowed; NULL: one thread at a time uses the cache. */
struct bki_cache *bki_cache_new(uint64_t bytes, struct bki_reclaim *reclaim);
void bki_cache_free(struct bki_cache **c);
void bki_cache_resize(struct bki_cache *c, uint64_t bytes); /* 0: empties and holds nothing */

/* Now and then: frees what was taken out and could not be freed then. */
void bki_cache_tidy(struct bki_cache *c);

/* Brings what bki_cache_get and _forget of n locations will touch into the processor's cache; a
 * location that is not there does no harm. n: up to BK_PREFETCH_MAX. */
void bki_cache_prefetch(struct bki_cache *c, const uint64_t *locs, size_t n);
/* Appends the value to *out and sets *flags. */
bool bki_cache_get(struct bki_cache *c, uint64_t loc, struct bk_buf *out, uint8_t *flags);
/* Copies the value in; one that is larger than a 256th of the cache is left out. */
void bki_cache_put(struct bki_cache *c, uint64_t loc, struct bk_span value, uint8_t flags);
/* Bytes that its entry takes, 0: there is none. No use of it. */
uint64_t bki_cache_bytes(struct bki_cache *c, uint64_t loc);
void bki_cache_forget(struct bki_cache *c, uint64_t loc);

/* Forgets what lies at places that are to be lent again, a few entries a step. Begins with all
 * zero. True: the whole cache has been seen. */
struct bki_cache_purge {
    uint32_t shard, at, table_n;
};
bool bki_cache_purge(struct bki_cache *c, struct bki_cache_purge *p,
                     bool (*gone)(void *arg, uint64_t loc), void *arg);

struct bki_cache_stats {
    uint64_t hits, misses;
    uint64_t used; /* bytes; with what waits to be freed, some 64 KiB of a shard at most */
};
void bki_cache_stats(struct bki_cache *c, struct bki_cache_stats *out);

#endif
