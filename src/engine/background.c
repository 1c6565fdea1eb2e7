/* SPDX-License-Identifier: MIT */
#include "engine/background.h"

#include "base/assert.h"
#include "engine/db_private.h"

#include <errno.h>

#define LOOK_US 1000000 /* at the latest so long after the last look */

void bki_background_init(struct bk_db *db)
{
    struct bki_background *b = &db->background;
    bk_mutex_init(&b->mu, "background", BK_RANK_CONTROL);
    bk_cond_init(&b->work);
}

void bki_background_fini(struct bk_db *db)
{
    bk_cond_fini(&db->background.work);
    bk_mutex_fini(&db->background.mu);
}

/* Frees what look-ups stood in the way of, and no later change has come by to free. */
static void tidy(struct bk_db *db)
{
    int64_t now = bk_clock_mono_us(db->clock);
    if (now - db->tidied_us < LOOK_US) {
        return;
    }
    db->tidied_us = now;
    for (uint32_t num = 0; num <= BK_DATABASES_MAX; num++) {
        struct bki_keydir *kd = bki_db_keydir(db, num, false);
        if (kd != NULL) {
            bki_keydir_tidy(kd);
        }
    }
    bki_cache_tidy(db->cache);
    bki_reclaim_tidy(&db->reclaim);
}

bool bki_background_step(struct bk_db *db, int64_t *due_us)
{
    *due_us = -1;
    tidy(db);
    /* Hints first: a start needs them, and so does the merge. But one that fails holds up nothing.
     */
    bool failed = false;
    bool hints = bki_hints_step(db, &failed);
    return (hints && !failed) || bki_merge_step(db, due_us) || hints;
}

static void *background_main(void *arg)
{
    struct bk_db *db = arg;
    struct bki_background *b = &db->background;
    pthread_setname_np(pthread_self(), "bk-merge");
    bk_mutex_lock(&b->mu);
    while (!b->stop) {
        int64_t due;
        b->due = false;
        bk_mutex_unlock(&b->mu);
        bool did = bki_background_step(db, &due);
        int64_t now = bk_clock_mono_us(db->clock);
        int64_t wait = due < 0 || due - now > LOOK_US ? LOOK_US : due - now;
        bk_mutex_lock(&b->mu);
        if (!did && !b->due && !b->stop && wait > 0) {
            bk_cond_wait(&b->work, &b->mu, wait);
        }
    }
    bk_mutex_unlock(&b->mu);
    return NULL;
}

int bki_background_start(struct bk_db *db, struct bk_error *err)
{
    struct bki_background *b = &db->background;
    bk_mutex_lock(&b->mu);
    b->stop = false;
    bk_mutex_unlock(&b->mu);
    int rc = pthread_create(&b->thread, NULL, background_main, db);
    b->started = rc == 0;
    return rc == 0 ? BK_OK
                   : bk_error_set(err, BK_EIO, rc, NULL, 0, "cannot start the merge thread");
}

void bki_background_stop(struct bk_db *db)
{
    struct bki_background *b = &db->background;
    if (b->started) {
        bk_mutex_lock(&b->mu);
        b->stop = true;
        bk_cond_broadcast(&b->work);
        bk_mutex_unlock(&b->mu);
        int joined = pthread_join(b->thread, NULL);
        BK_ASSERT(joined == 0);
        b->started = false;
    }
}

void bki_background_wake(struct bk_db *db)
{
    struct bki_background *b = &db->background;
    bk_mutex_lock(&b->mu);
    b->due = true;
    bk_cond_signal(&b->work);
    bk_mutex_unlock(&b->mu);
}
