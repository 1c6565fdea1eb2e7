/* SPDX-License-Identifier: MIT */
/*
 * tsa_must_fail.c - wrong on purpose, one mistake per function: tests/lint/tsa.sh demands clang's
 * warning for each. Without -Wthread-safety wrong annotations compile clean, so a lost flag would
 * show nowhere else.
 */
#include "base/mutex.h"

void forgets_to_unlock(struct bk_mutex *m);
void unlocks_what_it_does_not_hold(struct bk_mutex *m);
void takes_twice(struct bk_mutex *m);
void needs_lock(struct bk_mutex *m) BK_REQUIRES(m);
void calls_without_lock(struct bk_mutex *m);

void forgets_to_unlock(struct bk_mutex *m)
{
    bk_mutex_lock(m);
}

void unlocks_what_it_does_not_hold(struct bk_mutex *m)
{
    bk_mutex_unlock(m);
}

void takes_twice(struct bk_mutex *m)
{
    bk_mutex_lock(m);
    bk_mutex_lock(m);
    bk_mutex_unlock(m);
}

void calls_without_lock(struct bk_mutex *m)
{
    needs_lock(m);
}
