/* SPDX-License-Identifier: MIT */
#include "engine/reclaim.h"

#include "base/buf.h"

#include <stdlib.h>

#define BLOCKS_AT_ONCE 32u /* one look at all pins for so many */
#define BYTES_AT_ONCE (64u << 10)
#define FREED_AT_ONCE 64u /* by one that retires: a backlog shall not hold it up */
#define ARRAY_KEPT 1024u  /* blocks that an array has room for when it is empty */

/* ---- Blocks ---- */

static void add_block(struct bki_retired_blocks *b, struct bki_retired_block block)
{
    if (b->n == b->cap) {
        b->cap = b->cap == 0 ? BLOCKS_AT_ONCE : b->cap * 2;
        b->v = bk_realloc(b->v, b->cap * sizeof *b->v);
    }
    b->v[b->n++] = block;
    b->bytes += block.bytes;
}

/* Up to max of them; returns how many. */
static uint32_t free_blocks(struct bki_retired_blocks *b, uint32_t max)
{
    uint32_t n = 0;
    for (; n < max && b->n > 0; n++) {
        struct bki_retired_block *last = &b->v[--b->n];
        b->bytes -= last->bytes;
        free(last->block);
    }
    if (b->n == 0 && b->cap > ARRAY_KEPT) {
        free(b->v);
        *b = (struct bki_retired_blocks){0};
    }
    return n;
}

/* ---- Graces ---- */

void bki_reclaim_init(struct bki_reclaim *r)
{
    *r = (struct bki_reclaim){.grace = {0}};
    bk_mutex_init(&r->mu, "reclaim", BK_RANK_RECLAIM);
}

void bki_reclaim_fini(struct bki_reclaim *r)
{
    free_blocks(&r->orphans, UINT32_MAX);
    free(r->orphans.v);
    bk_mutex_fini(&r->mu);
}

/* The grace after which what was retired before is free: the next to begin, which looks at the pins
 * later than we look at begun. */
static uint64_t next_grace(const struct bki_reclaim *r)
{
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load(&r->begun) + 1;
}

/* Begins a grace when none is under way, and sees whether it is over. begun rises before the first
 * look at a pin. */
static void advance(struct bki_reclaim *r)
{
    if (!bk_mutex_trylock(&r->mu)) {
        return;
    }
    uint64_t begun = atomic_load(&r->begun);
    if (begun == atomic_load(&r->ended)) {
        atomic_store(&r->begun, ++begun);
        bki_grace_begin(&r->pins, &r->grace);
    }
    if (bki_grace_over(&r->pins, &r->grace)) {
        atomic_store(&r->ended, begun);
    }
    bk_mutex_unlock(&r->mu);
}

void bki_reclaim_tidy(struct bki_reclaim *r)
{
    bk_mutex_lock(&r->mu);
    bool any = r->orphans.n > 0;
    bk_mutex_unlock(&r->mu);
    for (unsigned i = 0; any && i < 2; i++) { /* one that is under way, and one behind it */
        advance(r);
    }
    bk_mutex_lock(&r->mu);
    if (atomic_load(&r->ended) >= r->orphans_until) {
        free_blocks(&r->orphans, UINT32_MAX);
    }
    bk_mutex_unlock(&r->mu);
}

/* ---- Retired blocks ---- */

void bki_retired_tidy(struct bki_retired *r, uint32_t blocks_max)
{
    /* What waits already; what is young, behind a grace that another one has begun; the same. */
    for (unsigned i = 0; i < 3 && blocks_max > 0 && r->old.n + r->young.n > 0; i++) {
        if (r->old.n == 0) {
            struct bki_retired_blocks empty = r->old;
            r->old = r->young;
            r->young = empty;
            r->old_until = next_grace(r->reclaim);
        }
        if (atomic_load(&r->reclaim->ended) < r->old_until) {
            advance(r->reclaim);
        }
        if (atomic_load(&r->reclaim->ended) >= r->old_until) {
            blocks_max -= free_blocks(&r->old, blocks_max);
        }
    }
    r->tried_bytes = r->young.bytes;
    atomic_store_explicit(&r->waiting, r->old.n + r->young.n > 0, memory_order_relaxed);
}

void bki_retire(struct bki_retired *r, void *block, size_t bytes)
{
    if (block == NULL) {
        return;
    }
    if (r == NULL || r->reclaim == NULL) {
        free(block);
        return;
    }
    add_block(&r->young, (struct bki_retired_block){block, bytes});
    atomic_store_explicit(&r->waiting, true, memory_order_relaxed);
    if (r->young.n % BLOCKS_AT_ONCE == 0 || r->young.bytes >= r->tried_bytes + BYTES_AT_ONCE) {
        bki_retired_tidy(r, FREED_AT_ONCE);
    }
}

static void leave(struct bki_reclaim *r, const struct bki_retired_blocks *b)
{
    for (uint32_t i = 0; i < b->n; i++) {
        add_block(&r->orphans, b->v[i]);
    }
}

void bki_retired_fini(struct bki_retired *r)
{
    if (r->reclaim == NULL) {
        return;
    }
    bki_retired_tidy(r, UINT32_MAX);
    if (r->old.n + r->young.n > 0) {
        bk_mutex_lock(&r->reclaim->mu);
        leave(r->reclaim, &r->old);
        leave(r->reclaim, &r->young);
        r->reclaim->orphans_until = next_grace(r->reclaim);
        bk_mutex_unlock(&r->reclaim->mu);
    }
    free(r->old.v);
    free(r->young.v);
    r->old = r->young = (struct bki_retired_blocks){0};
}
