/* SPDX-License-Identifier: MIT */
/*
 * keylock.h - striped mutexes over the hash of a key, each with a version for readers that take no
 * lock.
 *
 * A command that writes holds the stripes of all its keys; it makes their versions odd before its
 * first change and even again after its last. Held for memory work only.
 */
#ifndef BK_ENGINE_KEYLOCK_H
#define BK_ENGINE_KEYLOCK_H

#include "base/mutex.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>

#define BKI_KEYLOCKS 1024u

struct bki_keylock {
    alignas(64) struct bk_mutex mu;
    atomic_uint version; /* odd while a change is under way; written by the holder of mu only */
    uint32_t watches; /* of its keys; under mu. Here and not with their list: the line is at hand */
};

struct bk_watch;

struct bki_keylocks {
    struct bki_keylock stripe[BKI_KEYLOCKS];
    struct bk_watch
        *watches[BKI_KEYLOCKS]; /* each list under its stripe's mu; owned by who watches */
};

void bki_keylocks_init(struct bki_keylocks *l);
void bki_keylocks_fini(struct bki_keylocks *l);

static inline uint32_t bki_keylock_of(uint64_t hash)
{
    return (uint32_t)(hash >> 54);
}

void bki_keylock_lock(struct bki_keylocks *l, uint32_t stripe);
void bki_keylock_unlock(struct bki_keylocks *l, uint32_t stripe);

/* By the holder: before the first and after the last change. */
static inline void bki_keylock_flip(struct bki_keylocks *l, uint32_t stripe)
{
    atomic_uint *v = &l->stripe[stripe].version;
    atomic_store_explicit(v, atomic_load_explicit(v, memory_order_relaxed) + 1,
                          memory_order_release);
}

static inline unsigned bki_keylock_version(const struct bki_keylocks *l, uint32_t stripe)
{
    return atomic_load_explicit(&l->stripe[stripe].version, memory_order_acquire);
}

#endif
