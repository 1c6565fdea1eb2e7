/* SPDX-License-Identifier: MIT */
/*
 * keydir.h - the in-memory map from a key to its newest record; one per database number.
 *
 * Linear hashing (Litwin, "Linear hashing: a new tool for file and table addressing", VLDB 1980) in
 * BKI_KD_STRIPES independent stripes, each with a mutex that changes hold, for memory work only;
 * look-ups take none and write nothing that others read but a key's age, once in a span of time. A
 * bucket is one packed block of entries, so a 16-byte key costs 24 bytes and its share of the
 * block. Growing splits one bucket, shrinking joins two: no operation ever moves more than one
 * bucket's entries.
 */
#ifndef BK_ENGINE_KEYDIR_H
#define BK_ENGINE_KEYDIR_H

#include "base/buf.h"
#include "base/mutex.h"
#include "base/span.h"
#include "engine/bitkv.h"
#include "engine/reclaim.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define BKI_KD_STRIPES 64u
#define BKI_KD_BUCKETS_MAX \
    ((uint32_t)1 << 28) /* of a stripe: the bits that name one in the wheel */
#define BKI_KD_FILL 8u  /* average entries per bucket above which a bucket is split */

struct bki_keydir;

/* What the keydir knows of a key. */
struct bki_entry {
    uint64_t loc;      /* 40 bits, not 0 */
    uint64_t size;     /* of the record on disk, padded */
    int64_t expire_ms; /* 0 = never */
    uint8_t type;      /* BK_TYPE_MASK part of the flags */
    uint8_t age;       /* when it was last used (ages.h); the keydir's own in what is put */
    bool off_tick; /* the keydir's own: the wheel has the key, but not at the tick of expire_ms */
};

/* seed: of the key hash, the same for all keydirs of a store. now_ms: wall time, for expiry.
 * reclaim: borrowed, the same for all keydirs that are ever swapped; NULL: one thread at a time
 * uses them. */
struct bki_keydir *bki_keydir_new(uint32_t space, uint64_t seed, int64_t now_ms,
                                  struct bki_reclaim *reclaim);
void bki_keydir_free(struct bki_keydir **kd);

/* Now and then: frees what was taken out and could not be freed then. */
void bki_keydir_tidy(struct bki_keydir *kd);

/* The space whose records this database reads and writes. Changed under all key locks only. */
uint32_t bki_keydir_space(const struct bki_keydir *kd);

/* *pos is what the answer depends on besides the record: that the key is there, the last swap of
 * its stripe; that it is not, the last delete in it, or swap (0 = none). */
bool bki_keydir_find(struct bki_keydir *kd, const struct bk_key *key, struct bki_entry *out,
                     uint64_t *pos);
/* The same, and the key has been used: it gets the age that runs. */
bool bki_keydir_use(struct bki_keydir *kd, const struct bk_key *key, struct bki_entry *out,
                    uint64_t *pos);
/* Brings the buckets of n keys into the processor's cache, with the waits for memory of all of them
 * at once, and tells their locations as they are now, unless locs is NULL; 0: not there. No use of
 * them. */
void bki_keydir_prefetch(struct bki_keydir *kd, const struct bk_key *keys, size_t n,
                         uint64_t *locs);

/* The bucket of one key, for a change that comes soon; within bki_look_begin and _end. */
void bki_keydir_fetch(struct bki_keydir *kd, const struct bk_key *key);

/* Stores the entry, and sets its off_tick. Returns whether there was one before, which is put into
 * *old. */
bool bki_keydir_put(struct bki_keydir *kd, const struct bk_key *key, struct bki_entry *e,
                    struct bki_entry *old);
/* Removes the entry; pos: where the delete stands in the log. */
bool bki_keydir_remove(struct bki_keydir *kd, const struct bk_key *key, uint64_t pos,
                       struct bki_entry *old);
/* Many keys at once, as a start has them. */
struct bki_change {
    struct bk_key key;
    struct bki_entry now; /* loc 0: the key is removed */
    struct bki_entry old; /* what it had, set by apply; loc 0: nothing */
};
/* Grows a stripe for so many keys more; returns its buckets. */
uint32_t bki_keydir_expect(struct bki_keydir *kd, unsigned stripe, uint64_t more);
/* Where of so many buckets a key of this hash lies. */
uint32_t bki_keydir_bucket(uint32_t buckets, uint64_t hash);
/* Applies n changes in their order. Cheap when those of one stripe follow each other, and of one
 * bucket in it: the block of a bucket then grows once. Deletes get no position in the log. */
void bki_keydir_apply(struct bki_keydir *kd, struct bki_change *c, size_t n);
/* Gives back what expect had made too large. */
void bki_keydir_fit(struct bki_keydir *kd, unsigned stripe);

/* Only if the entry's location is still loc: the compare-and-swap of merge, expiry and undo. pos
 * goes into the stripe's delete position. The key keeps its age. */
bool bki_keydir_replace_if(struct bki_keydir *kd, const struct bk_key *key, uint64_t loc,
                           struct bki_entry *e);
bool bki_keydir_remove_if(struct bki_keydir *kd, const struct bk_key *key, uint64_t loc,
                          uint64_t pos);

/* Each stripe keeps a wheel of the times at which to look for a key. Does up to *max small pieces
 * of work in it and takes what it did off *max: 0 when there may be more to do. Appends to *out the
 * packed entries whose time had run out by now_ms, to the tick (wheel.h). The caller removes them;
 * what it leaves comes up again in the next tick. A key may be given out twice. */
void bki_keydir_expire(struct bki_keydir *kd, unsigned stripe, int64_t now_ms, size_t *max,
                       struct bk_buf *out);

/* Takes the contents of two keydirs apart and together again: every stripe, its space, its counts.
 * pos goes into the delete positions of both. Under all key locks. */
void bki_keydir_swap(struct bki_keydir *a, struct bki_keydir *b, uint64_t pos);

/* Copies the packed entries of the bucket at *cursor into *out (bki_entry_next walks them) and
 * moves the cursor on; 0 = begin and end. Order: stripe, then bit-reversed hash. */
void bki_keydir_scan(struct bki_keydir *kd, uint64_t *cursor, struct bk_buf *out);
/* Walks packed entries; *at begins at 0. False at the end. */
bool bki_entry_next(const struct bk_buf *packed, size_t *at, struct bki_entry *e,
                    struct bk_span *key);
/* The packed entries of a bucket drawn with random, weighted by stripe; nothing when the keydir is
 * empty. */
void bki_keydir_sample(struct bki_keydir *kd, uint64_t random, struct bk_buf *out);

/* Packed entries of keys with an expiry, few of many; nothing when there are none. soonest: those
 * that run out next in a stripe that is drawn, about; else near enough to uniform, however few of
 * all keys they are. */
void bki_keydir_sample_expiring(struct bki_keydir *kd, uint64_t random, bool soonest,
                                struct bk_buf *out);

/* Gives what is used from now on this age; returns whether a key has been used since the last call.
 */
bool bki_keydir_used(struct bki_keydir *kd);
void bki_keydir_set_age(struct bki_keydir *kd, uint8_t age);
/* Gives a key that is there this age, as of earlier use. */
void bki_keydir_idle(struct bki_keydir *kd, const struct bk_key *key, uint8_t age);
/* Rewrites ages as `to` says, in buckets from *cursor on (as of bki_keydir_scan), up to *max of
 * them, which it counts down. *cursor is 0 again at the end. */
void bki_keydir_rewrite_ages(struct bki_keydir *kd, uint64_t *cursor, const uint8_t *to,
                             size_t *max);

/* Appends the packed entries of some buckets to *out and takes them out: how contents that nobody
 * else sees any more are freed in slices. False: nothing was left. */
bool bki_keydir_drain(struct bki_keydir *kd, struct bk_buf *out);

/* A stripe as bytes, for the index image: for each bucket in its order the units (of 8 bytes) of
 * its entries as a word, then the entries. The number of buckets tells level and split. */
struct bki_keydir_shape {
    uint32_t buckets; /* 0: an empty stripe */
    uint64_t keys, expiring;
};
void bki_keydir_shape(struct bki_keydir *kd, unsigned stripe, struct bki_keydir_shape *out);
/* Appends buckets from the given one on until *out is enough bytes long; returns how many. What is
 * written for an age is code[age]. */
uint32_t bki_keydir_dump(struct bki_keydir *kd, unsigned stripe, uint32_t bucket,
                         const uint8_t *code, size_t enough, struct bk_buf *out);
/* Makes room in a new keydir's stripe; then load takes n buckets at words in, each once. The caller
 * vouches for the entries: whole, and of this stripe and bucket. */
void bki_keydir_load_shape(struct bki_keydir *kd, unsigned stripe, uint32_t buckets);
void bki_keydir_load(struct bki_keydir *kd, unsigned stripe, uint32_t bucket, const uint64_t *words,
                     uint32_t n);

struct bki_keydir_stats {
    uint64_t keys, expiring, bytes, moved_max; /* bytes: of wheels, and of what waits to be freed */
    uint64_t wheel_bytes;
};
void bki_keydir_stats(struct bki_keydir *kd, struct bki_keydir_stats *out);
uint64_t bki_keydir_count(struct bki_keydir *kd);
uint64_t bki_keydir_expiring(struct bki_keydir *kd);

/* Walks everything; false with a fact in *err that does not hold. */
bool bki_keydir_check(struct bki_keydir *kd, struct bk_error *err);

/* XXH3 (xxhash.com), keyed with the store's seed. */
uint64_t bki_key_hash(uint64_t seed, const void *key, size_t len);

#endif
