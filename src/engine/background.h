/* SPDX-License-Identifier: MIT */
/*
 * background.h - the thread that makes hint files and merges: work that nobody waits for.
 */
#ifndef BK_ENGINE_BACKGROUND_H
#define BK_ENGINE_BACKGROUND_H

#include "base/error.h"
#include "base/mutex.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct bk_db;

struct bki_background {
    struct bk_mutex mu;  /* rank control */
    struct bk_cond work; /* with mu */
    bool due BK_GUARDED(mu);
    bool stop BK_GUARDED(mu);
    bool started;
    pthread_t thread;
};

void bki_background_init(struct bk_db *db);
void bki_background_fini(struct bk_db *db);
BK_MUST_USE int bki_background_start(struct bk_db *db, struct bk_error *err);
/* Ends the thread after its present step. */
void bki_background_stop(struct bk_db *db);
void bki_background_wake(struct bk_db *db);

/* One piece of work. False: none at the moment; *due_us (monotonic): when to ask again, -1: when
 * woken. */
bool bki_background_step(struct bk_db *db, int64_t *due_us);

#endif
