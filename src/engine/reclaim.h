/* SPDX-License-Identifier: MIT */
/*
 * reclaim.h - when is memory freed that somebody who looks without a lock may still read?
 *
 * A look-up pins (pin.h) for as long as it reads, or for a visit of some: memory work only. Who
 * takes a block out of a shared structure, under the lock that its writers share, makes it
 * impossible to find and then retires it. It is freed by a later writer, or by the step that tidies
 * up now and then, once a grace has passed that began after it was retired: whoever could have
 * found it has gone by then (read-copy-update, McKenney and Slingwine 1998). Nobody ever waits for
 * that.
 *
 * What look-ups follow, they read in sequential order (seq_cst) behind their pin; here a fence lies
 * between what made a block impossible to find and the look at the graces.
 */
#ifndef BK_ENGINE_RECLAIM_H
#define BK_ENGINE_RECLAIM_H

#include "base/mutex.h"
#include "engine/pin.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct bki_retired_block {
    void *block; /* owned */
    size_t bytes;
};

struct bki_retired_blocks {
    struct bki_retired_block *v; /* owned array */
    uint32_t n, cap;
    size_t bytes;
};

/* One for all structures whose look-ups share it. */
struct bki_reclaim {
    struct bki_pins pins; /* of look-ups */
    struct bk_mutex mu;   /* rank reclaim; who retires and finds it taken leaves it to its holder */
    struct bki_grace grace BK_GUARDED(mu);
    struct bki_retired_blocks orphans BK_GUARDED(mu); /* of structures that are gone */
    uint64_t orphans_until BK_GUARDED(mu);            /* as old_until */
    /* Graces that have begun, and that are over; written under mu. begun is ended, or one more. */
    _Atomic uint64_t begun, ended;
};

/* Around a look-up; the token goes from one to the other. NULL: one thread at a time, no pin. */
static inline unsigned bki_look_begin(struct bki_reclaim *r)
{
    return r != NULL ? bki_pin(&r->pins) : 0;
}

static inline void bki_look_end(struct bki_reclaim *r, unsigned token)
{
    if (r != NULL) {
        bki_unpin(&r->pins, token);
    }
}

void bki_reclaim_init(struct bki_reclaim *r);
void bki_reclaim_fini(struct bki_reclaim *r);
/* Now and then: frees what structures have left that are gone. */
void bki_reclaim_tidy(struct bki_reclaim *r);

/* Blocks of one structure that wait to be freed; under the lock of its writers. reclaim NULL: there
 * are no look-ups without that lock, and what is retired is freed at once. */
struct bki_retired {
    struct bki_reclaim *reclaim; /* borrowed */
    struct bki_retired_blocks young, old;
    uint64_t old_until;  /* old is free when so many graces are over */
    size_t tried_bytes;  /* of young when it was last tried to free some */
    atomic_bool waiting; /* there are some; read by anyone */
};

/* Takes block, which nobody can find any more; bytes: about what it takes. Up to 32 blocks, or 64
 * KiB, lie in wait where nobody looks up just then; more where visits follow each other. NULL is
 * accepted, for either. */
void bki_retire(struct bki_retired *r, void *block, size_t bytes);
/* Now and then, or when much was retired: frees what can be, up to so many blocks. */
void bki_retired_tidy(struct bki_retired *r, uint32_t blocks_max);
/* What cannot be freed yet is left to reclaim. */
void bki_retired_fini(struct bki_retired *r);

static inline size_t bki_retired_bytes(const struct bki_retired *r)
{
    return r->young.bytes + r->old.bytes;
}

#endif
