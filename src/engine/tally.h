/* SPDX-License-Identifier: MIT */
/* tally.h - counts of what look-ups and reads do, which many threads add to: each in a line of its
 * own, so that none waits for another's. */
#ifndef BK_ENGINE_TALLY_H
#define BK_ENGINE_TALLY_H

#include "engine/pin.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>

enum bki_count {
    BKI_CACHE_HITS,
    BKI_CACHE_MISSES,
    BKI_DISK_READS,
    BKI_DISK_READ_BYTES,
    BKI_BUFFER_READS,
    BKI_COUNTS
};

struct bki_tally {
    struct {
        alignas(64) _Atomic uint64_t n[BKI_COUNTS];
    } slot[BKI_PIN_SLOTS];
};

static inline void bki_count(struct bki_tally *t, enum bki_count what, uint64_t n)
{
    atomic_fetch_add_explicit(&t->slot[bki_pin_slot()].n[what], n, memory_order_relaxed);
}

static inline uint64_t bki_counted(const struct bki_tally *t, enum bki_count what)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < BKI_PIN_SLOTS; i++) {
        n += atomic_load_explicit(&t->slot[i].n[what], memory_order_relaxed);
    }
    return n;
}

#endif
