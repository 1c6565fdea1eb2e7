/* SPDX-License-Identifier: MIT */
#include "engine/keylock.h"

void bki_keylocks_init(struct bki_keylocks *l)
{
    for (uint32_t i = 0; i < BKI_KEYLOCKS; i++) {
        bk_mutex_init(&l->stripe[i].mu, "key lock", BK_RANK_KEY);
        atomic_init(&l->stripe[i].version, 0);
        l->stripe[i].watches = 0;
        l->watches[i] = NULL;
    }
}

void bki_keylocks_fini(struct bki_keylocks *l)
{
    for (uint32_t i = 0; i < BKI_KEYLOCKS; i++) {
        bk_mutex_fini(&l->stripe[i].mu);
    }
}

/* BK_TEST_NO_KEY_LOCKS builds the server that the linearizability checker must reject. */
void bki_keylock_lock(struct bki_keylocks *l, uint32_t stripe) BK_NO_TSA
{
#ifndef BK_TEST_NO_KEY_LOCKS
    bk_mutex_lock(&l->stripe[stripe].mu);
#else
    (void)l;
    (void)stripe;
#endif
}

void bki_keylock_unlock(struct bki_keylocks *l, uint32_t stripe) BK_NO_TSA
{
#ifndef BK_TEST_NO_KEY_LOCKS
    bk_mutex_unlock(&l->stripe[stripe].mu);
#else
    (void)l;
    (void)stripe;
#endif
}
