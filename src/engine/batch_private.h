/* SPDX-License-Identifier: MIT */
/* batch_private.h - a batch as its two files see it: batch.c gathers, batch_commit.c makes it so.
 */
#ifndef BK_ENGINE_BATCH_PRIVATE_H
#define BK_ENGINE_BATCH_PRIVATE_H

#include "engine/db_private.h"

struct batch_write {
    struct bk_key key;
    uint32_t num;
    bool deleted;
    bool aged; /* its age is not the one that runs, but */
    uint8_t age;
    uint8_t flags;
    int64_t expire_ms;
    struct bk_span value;
    struct bk_block *block; /* counted */
};

struct batch_map_op {
    uint32_t num1, num2;
    uint32_t space; /* FLUSH: the new space; 0 = a swap */
};

struct batch_chunk {
    struct batch_chunk *next;
    size_t used, cap;
    uint8_t data[];
};

struct bk_batch {
    struct bk_db *db;           /* borrowed */
    struct batch_write *writes; /* owned arrays */
    size_t n, cap;
    uint32_t *index; /* write number + 1 by hash; NULL while there are few */
    size_t index_n;
    struct batch_map_op *maps;
    size_t maps_n, maps_cap;
    struct bki_append *appends;
    struct bki_undo_op *undo;
    size_t scratch_cap;
    struct batch_chunk *arena;
    struct bki_spacemap *map_before;     /* owned; during a commit that changes it */
    uint64_t stripes[BKI_KEYLOCKS / 64]; /* bit per key lock */
    bool locked;
};

/* Calls fn for the key locks of the batch, in rising order. */
void bki_batch_each_stripe(struct bk_batch *b, void (*fn)(struct bki_keylocks *l, uint32_t stripe));

#endif
