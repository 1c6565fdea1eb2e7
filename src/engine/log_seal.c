/* SPDX-License-Identifier: MIT */
/*
 * log_seal.c - ending the log's file before its time, and waiting until what lies before a position
 * is sealed: then it is in files that never change.
 */
#include "engine/log_private.h"

#define WAIT_US 600000000 /* a disk that takes longer to sync one file is not one to wait for */
#define LOOK_US 1000000   /* between looks at *stop */

uint64_t bki_log_end_file(struct bki_log *log)
{
    bk_mutex_lock(&log->mu);
    uint64_t pos = load(&log->tail_pos);
    if (log->active != NULL && load(&log->active->size) > log->active->header_bytes) {
        log->rotate_wanted = true;
        bki_log_signal_locked(log);
    }
    bk_mutex_unlock(&log->mu);
    return pos;
}

static uint64_t start_of(const struct bki_file *f)
{
    return load(&f->pos_base) + f->header_bytes;
}

static int sealed_locked(struct bki_log *log, uint64_t pos, struct bk_error *err)
{
    bk_mutex_assert_held(&log->mu);
    bool ok = atomic_load_explicit(&log->state, memory_order_relaxed) == BKI_LOG_OK;
    bool ended = ok && start_of(log->active) >= pos;
    if (ended && (log->rotated_n == 0 || start_of(log->rotated[0]) >= pos)) {
        return BK_OK;
    }
    /* A rotation needs its next file; without room for one it may never come. */
    if (ok && (ended || log->next != NULL || !log->no_space)) {
        return BK_EAGAIN;
    }
    if (err != NULL) {
        *err = log->error;
    }
    return log->error.code == BK_ENOSPC ? BK_ENOSPC : BK_EIO;
}

int bki_log_sealed(struct bki_log *log, uint64_t pos, struct bk_error *err)
{
    bk_mutex_lock(&log->mu);
    int rc = sealed_locked(log, pos, err);
    bk_mutex_unlock(&log->mu);
    return rc;
}

int bki_log_wait_sealed(struct bki_log *log, uint64_t pos, const atomic_bool *stop,
                        struct bk_error *err)
{
    int64_t until = now_us(log) + WAIT_US;
    bk_mutex_lock(&log->mu);
    int rc = sealed_locked(log, pos, err);
    while (rc == BK_EAGAIN && !atomic_load(stop) && now_us(log) < until) {
        bki_log_signal_locked(log);
        bk_cond_wait(&log->moved, &log->mu, LOOK_US);
        rc = sealed_locked(log, pos, err);
    }
    bk_mutex_unlock(&log->mu);
    return rc == BK_EAGAIN ? bk_error_set(err, rc, 0, log->files->dir, 0,
                                          "the log's file was not sealed in time")
                           : rc;
}
