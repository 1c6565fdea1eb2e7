/* SPDX-License-Identifier: MIT */
/*
 * log_step.c - the sync thread's work: syncing, sealing, beginning anew after a failure. Room is
 * made in log_room.c.
 */
#include "engine/log_private.h"

#include "base/assert.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define SYNC_AFTER_US                                                           \
    900000 /* everysec: a sync begins this long after the oldest unsynced write \
            */

#define GATHER_US_MAX 500 /* always: a sync waits no longer than this for more writes */

/* ---- Gathering ---- */

/*
 * With always a sync costs as much processor time as some ten commands, whatever it syncs, and
 * takes as long. Syncing without a pause would take what is there each time, a few writes of many
 * connections' (their next ones are on the way), and the syncs would take the time of the loops. So
 * the next sync waits until as many writes have come as the last one took, which is at once where
 * one client writes at a time or all of them have, but no longer than a sync takes.
 */

static uint64_t user_appends(const struct bki_log *log) BK_REQUIRES(log->mu)
{
    return load(&log->appends) - load(&log->own_appends);
}

bool bki_log_gathered_locked(const struct bki_log *log)
{
    return user_appends(log) - log->gathered >= log->gather_want;
}

/* Nothing else is due, and writes wait that are fewer than those of the last sync. */
static bool gather_due_locked(const struct bki_log *log) BK_REQUIRES(log->mu)
{
    return sync_always(log) && log->rotated_n == 0 &&
           atomic_load_explicit(&log->state, memory_order_relaxed) == BKI_LOG_OK &&
           load(&log->tail_pos) > load(&log->synced_pos) && !bki_log_gathered_locked(log);
}

int64_t bki_log_gather_us_locked(const struct bki_log *log)
{
    int64_t usual = log->sync_us_usual < GATHER_US_MAX ? log->sync_us_usual : GATHER_US_MAX;
    return gather_due_locked(log) ? usual : 0;
}

void bki_log_gather(struct bki_log *log)
{
    bk_mutex_lock(&log->mu);
    int64_t wait_us = bki_log_gather_us_locked(log);
    if (wait_us > 0) {
        log->gathering = true;
        /* Whoever wakes it too early makes a sync smaller, no more. */
        bk_cond_wait(&log->work, &log->mu, wait_us);
        log->gathering = false;
    }
    bk_mutex_unlock(&log->mu);
}

/* ---- Syncing ---- */

struct sync_plan {
    uint64_t target;              /* position that will be synced */
    struct bki_file *last;        /* the file that holds target */
    uint64_t offset;              /* in it, of target */
    struct bki_file *rotated[64]; /* rotated files that lie before target whole */
    uint32_t rotated_n;
    uint64_t appends;   /* made before, more or less: others append meanwhile */
    int64_t planned_us; /* what is written later, is so after this */
    int64_t started_us;
};

static int sync_file(struct bki_log *log, struct bki_file *f, struct bk_error *err)
{
    if (f->sync_failed) {
        return BK_OK;
    }
    int rc = log->files->io->sync(log->files->io->arg, f->fd);
    if (rc < 0) {
        f->sync_failed = true;
        return bki_io_fail(err, rc, f->path, 0, "sync");
    }
    return BK_OK;
}

/* A rotation may have come between the write and now: only what target covers is synced and sealed.
 */
static void plan_files_locked(const struct bki_log *log, struct sync_plan *p)
{
    p->rotated_n = 0;
    while (p->rotated_n < log->rotated_n) {
        struct bki_file *f = log->rotated[p->rotated_n];
        if (load(&f->pos_base) + load(&f->size) > p->target) {
            break;
        }
        p->rotated[p->rotated_n++] = f;
    }
    p->last = p->rotated_n < log->rotated_n ? log->rotated[p->rotated_n] : log->active;
    p->offset = p->target - load(&p->last->pos_base);
}

static bool plan_sync(struct bki_log *log, struct sync_plan *p)
{
    int64_t write_us = now_us(log);
    bk_mutex_lock(&log->write_mu);
    uint64_t committed = load(&log->committed_pos);
    bk_mutex_lock(&log->mu);
    p->appends = user_appends(log);
    bk_mutex_unlock(&log->mu);
    bool ok = bki_log_zero_ahead(log) && bki_log_write_out(log);
    bk_mutex_lock(&log->mu);
    ok = ok && atomic_load_explicit(&log->state, memory_order_relaxed) == BKI_LOG_OK;
    p->target = load(&log->written_pos);
    p->planned_us = now_us(log);
    if (ok) {
        plan_files_locked(log, p);
        log->syncing = true;
        log->gather_want = p->appends - log->gathered;
        log->gathered = p->appends;
    }
    bk_mutex_unlock(&log->mu);
    bk_mutex_unlock(&log->write_mu);
    if (ok && sync_always(log)) { /* else loops write, and tell */
        bki_log_took(log, BK_TOOK_WRITE, write_us);
    }
    if (load(&log->committed_pos) > committed) {
        bki_log_wake(log); /* a loop may have left it to us, and the sync is still to come */
    }
    bki_log_serve(log, BK_TOOK_WRITE, -1);
    p->started_us = now_us(log);
    return ok;
}

static int run_sync(struct bki_log *log, const struct sync_plan *p, struct bk_error *err)
{
    for (uint32_t i = 0; i < p->rotated_n; i++) {
        int rc = sync_file(log, p->rotated[i], err);
        if (rc != BK_OK) {
            return rc;
        }
    }
    if (p->target > load(&log->synced_pos) && p->offset > p->last->header_bytes) {
        return sync_file(log, p->last, err);
    }
    return BK_OK;
}

static void end_sync(struct bki_log *log, const struct sync_plan *p, int rc)
{
    uint64_t took = (uint64_t)(now_us(log) - p->started_us);
    bk_mutex_lock(&log->mu);
    log->syncing = false;
    if (rc == BK_OK) {
        count(&log->syncs, 1);
        count(&log->sync_us_total, took);
        log->sync_us_usual += ((int64_t)took - log->sync_us_usual) / 8;
        uint64_t bytes = p->target - load(&log->synced_pos);
        log->sync_bytes_usual = (log->sync_bytes_usual * 7 + bytes) / 8;
        if (took > load(&log->sync_us_max)) {
            store(&log->sync_us_max, took);
        }
        if (p->target > load(&log->synced_pos)) {
            store(&log->synced_pos, p->target);
            log->mark_due = true;
            log->mark_uid = p->last->uid;
            log->mark_offset = p->offset;
        }
        log->unsynced_since_us = load(&log->written_pos) > p->target ? p->planned_us : 0;
        bki_log_commit_locked(log, p->target);
    }
    bk_cond_broadcast(&log->moved);
    bk_mutex_unlock(&log->mu);
}

/* Files that were rotated out and synced get their end into the manifest. */
static bool seal_rotated(struct bki_log *log, const struct sync_plan *p)
{
    struct bki_spacemap map = {0};
    struct bk_error err;
    bool ok = true;
    for (uint32_t i = 0; ok && i < p->rotated_n; i++) {
        bk_mutex_lock(&log->mu);
        bki_spacemap_copy(&map, &log->map);
        uint64_t seq = log->next_seq;
        bk_mutex_unlock(&log->mu);
        ok = bki_files_seal(log->files, p->rotated[i], &map, seq, &err) == BK_OK;
        if (ok) {
            bk_mutex_lock(&log->mu);
            BK_ASSERT(log->rotated[0] == p->rotated[i]);
            log->rotated_n--;
            memmove(log->rotated, log->rotated + 1, log->rotated_n * sizeof *log->rotated);
            bk_cond_broadcast(&log->moved);
            bk_mutex_unlock(&log->mu);
        } else {
            bki_log_retry_later(log, &err);
        }
    }
    bki_spacemap_fini(&map);
    return ok;
}

static bool sync_step(struct bki_log *log)
{
    struct sync_plan plan;
    struct bk_error err;
    if (!plan_sync(log, &plan)) {
        return false;
    }
    int rc = run_sync(log, &plan, &err);
    end_sync(log, &plan, rc);
    if (rc != BK_OK) {
        bki_log_fail(log, &err);
        return true;
    }
    if (sync_always(log)) {
        bki_log_took(log, BK_TOOK_SYNC, plan.started_us);
    }
    bki_log_wake(log);
    seal_rotated(log, &plan);
    return true;
}

/*
 * A file that is written to no more, as far as it counts, onto the disk. It is cut to its end there
 * too, as far as that still works: undone records should not come back even if its end cannot be
 * told to the manifest. If its sync has failed it is not synced again but written again. False:
 * what was acknowledged may not be on the disk.
 */
static bool make_safe(struct bki_log *log, struct bki_file *f, struct bk_error *err)
{
    const struct bk_io *io = log->files->io;
    uint64_t size = load(&f->size);
    uint64_t base = load(&f->pos_base);
    uint64_t synced = load(&log->synced_pos);
    uint64_t from = synced > base + f->header_bytes ? synced - base : f->header_bytes;
    if (io->truncate(io->arg, f->fd, size) == 0) {
        atomic_store_explicit(&f->allocated, size, memory_order_relaxed);
    }
    bk_ignore(sync_file(log, f, err), "what it says is in sync_failed");
    bool holds = size > f->header_bytes;
    if (!f->sync_failed || !holds ||
        bki_files_rescue(log->files, f, from, log->damage, err) == BK_OK || size <= from) {
        return true;
    }
    if (!f->rescue_failed) {
        count(&log->write_errors, 1);
        bk_log(BK_LOG_WARNING,
               "%s could not be synced: what was written to it since the last sync may not "
               "survive a power cut. No writes are taken until it is on the disk",
               f->path);
    }
    f->rescue_failed = true;
    return false;
}

/* Rotated files of a log without an active one. Until they all lie on the disk none is sealed, so
 * that neither a merge nor the next start relies on what may not be there. */
static bool seal_without_active(struct bki_log *log)
{
    struct sync_plan plan = {.rotated_n = 0};
    struct bk_error err;
    bk_mutex_lock(&log->mu);
    plan.rotated_n = log->rotated_n;
    memcpy(plan.rotated, log->rotated, log->rotated_n * sizeof *plan.rotated);
    bk_mutex_unlock(&log->mu);
    for (uint32_t i = 0; i < plan.rotated_n; i++) {
        if (!make_safe(log, plan.rotated[i], &err)) {
            bki_log_retry_later(log, &err);
            return false;
        }
    }
    bk_mutex_lock(&log->mu);
    store(&log->synced_pos, load(&log->tail_pos));
    bk_cond_broadcast(&log->moved);
    bk_mutex_unlock(&log->mu);
    return seal_rotated(log, &plan);
}

/* ---- A log without a file ---- */

static void activate_locked(struct bki_log *log)
{
    struct bki_file *f = log->next;
    store(&f->pos_base, load(&log->tail_pos) - f->header_bytes);
    atomic_store_explicit(&f->state, BKI_FILE_ACTIVE, memory_order_relaxed);
    f->created_us = now_us(log);
    log->active = f;
    log->next = NULL;
    atomic_store_explicit(&log->state, BKI_LOG_OK, memory_order_release);
}

/* After a failure: begins a new file and takes writes again. */
static bool restart_step(struct bki_log *log)
{
    bk_mutex_lock(&log->mu);
    bool pause = log->retry_us != 0;
    bk_mutex_unlock(&log->mu);
    if (pause || !seal_without_active(log)) {
        return false;
    }
    bool made = bki_log_make_room(log);
    bk_mutex_lock(&log->mu);
    bool ready = log->next != NULL;
    if (ready) {
        activate_locked(log);
    }
    bk_mutex_unlock(&log->mu);
    if (ready) {
        bki_log_wake(log);
    }
    return made || ready;
}

int bki_log_start(struct bki_log *log, struct bk_error *err)
{
    struct bki_file *f = NULL;
    struct bk_error why = {0};
    log->in_place = log->files->io->in_place(log->files->io->arg, log->files->dir) == 1;
    int rc = bki_log_first_file(log, &f, &why);
    if (rc == BK_OK) {
        bk_mutex_lock(&log->mu);
        log->next = f;
        activate_locked(log);
        bk_mutex_unlock(&log->mu);
    } else if (rc == BK_ENOSPC) {
        /* What is there can be read, and deleted from elsewhere; writes come when there is room. */
        bk_mutex_lock(&log->mu);
        log->error = why;
        atomic_store_explicit(&log->state, BKI_LOG_NO_FILE, memory_order_release);
        bk_mutex_unlock(&log->mu);
        bk_ignore(restart_step(log), "it says by itself how it went");
        rc = BK_OK;
    } else if (err != NULL) {
        *err = why;
    }
    return rc;
}

/* ---- Steps ---- */

static bool sync_due_locked(const struct bki_log *log, int64_t now)
{
    int mode = atomic_load_explicit(&log->sync, memory_order_relaxed);
    if (atomic_load_explicit(&log->state, memory_order_relaxed) != BKI_LOG_OK) {
        return false; /* nothing can be written; what was rotated out waits for the new file's step
                       */
    }
    if (log->rotated_n > 0 && (log->retry_us == 0 || now >= log->retry_us)) {
        return true;
    }
    if (mode == BK_SYNC_ALWAYS || load(&log->sync_wanted) > load(&log->synced_pos)) {
        return load(&log->tail_pos) > load(&log->synced_pos);
    }
    return mode == BK_SYNC_EVERYSEC && log->unsynced_since_us != 0 &&
           now - log->unsynced_since_us >= SYNC_AFTER_US;
}

static bool age_due_locked(const struct bki_log *log, int64_t now)
{
    uint32_t age_s = atomic_load_explicit(&log->max_file_age_s, memory_order_relaxed);
    bool old = age_s != 0 && log->active != NULL &&
               now - log->active->created_us >= (int64_t)age_s * 1000000;
    return (old || log->rotate_wanted) && log->active != NULL &&
           load(&log->active->size) > log->active->header_bytes;
}

static bool age_step(struct bki_log *log)
{
    bk_mutex_lock(&log->mu);
    bool due = age_due_locked(log, now_us(log)) && log->next != NULL &&
               log->rotated_n < sizeof log->rotated / sizeof log->rotated[0] &&
               atomic_load_explicit(&log->state, memory_order_relaxed) == BKI_LOG_OK;
    if (due) {
        bki_log_rotate_locked(log);
    }
    bk_mutex_unlock(&log->mu);
    return due;
}

/* Writers held back for a large record go on when it does not come in time. */
static bool drain_over_locked(struct bki_log *log, int64_t now)
{
    if (log->drain_until_us == 0 || now < log->drain_until_us) {
        return false;
    }
    log->drain_until_us = 0;
    return true;
}

/* What stands in the way of somebody who waits for room, or was handed to the sync thread before
 * appendfsync was changed from always: nobody else may be there to write it. */
static bool write_asked(struct bki_log *log)
{
    bk_mutex_lock(&log->write_mu);
    bool ok = bki_log_write_out(log);
    bk_mutex_unlock(&log->write_mu);
    if (ok) {
        bki_log_wake(log);
    }
    bki_log_serve(log, BK_TOOK_WRITE, -1);
    return ok;
}

bool bki_log_step(struct bki_log *log, bool all)
{
    bk_mutex_lock(&log->mu);
    bool go_on = drain_over_locked(log, now_us(log));
    bool asked = !sync_always(log) && (load(&log->written_pos) < log->asked_pos ||
                                       load(&log->committed_pos) < load(&log->written_pos));
    log->work_due = false;
    if (log->retry_us != 0 && now_us(log) >= log->retry_us) {
        log->retry_us = 0; /* the time has come: what still fails says so again */
        log->no_space = false;
        log->away_spent = false;
    }
    int state = atomic_load_explicit(&log->state, memory_order_relaxed);
    bool sync = state == BKI_LOG_OK && (all || sync_due_locked(log, now_us(log)));
    bk_mutex_unlock(&log->mu);
    if (go_on) {
        bki_log_wake(log);
    }
    if (state == BKI_LOG_FAILED) {
        return false;
    }
    if (state == BKI_LOG_NO_FILE) {
        return restart_step(log);
    }
    bool did = asked && write_asked(log);
    /* Writers who wait for the next file do not wait for a sync of the last one too. */
    did |= bki_log_make_room(log);
    if (sync) {
        did |= sync_step(log);
        did |= bki_log_make_room(log);
    }
    did |= age_step(log);
    return did;
}

void bki_log_want_sync(struct bki_log *log, uint64_t pos)
{
    bk_mutex_lock(&log->mu);
    if (pos > load(&log->sync_wanted)) {
        store(&log->sync_wanted, pos);
        bki_log_signal_locked(log);
    }
    bk_mutex_unlock(&log->mu);
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* A file that is over its age but empty is looked at again in a second. */
static int64_t age_at_locked(const struct bki_log *log, int64_t now)
{
    uint32_t age_s = atomic_load_explicit(&log->max_file_age_s, memory_order_relaxed);
    if (age_s == 0 || log->active == NULL) {
        return INT64_MAX;
    }
    int64_t at = log->active->created_us + (int64_t)age_s * 1000000;
    return at <= now ? now + 1000000 : at;
}

int64_t bki_log_due_locked(struct bki_log *log, int64_t now)
{
    if (log->work_due || sync_due_locked(log, now) ||
        atomic_load_explicit(&log->state, memory_order_relaxed) == BKI_LOG_FAILED) {
        return 0;
    }
    int64_t at = age_at_locked(log, now);
    if (log->retry_us != 0) {
        at = sooner(at, log->retry_us);
    }
    if (log->drain_until_us != 0) {
        at = sooner(at, log->drain_until_us);
    }
    int mode = atomic_load_explicit(&log->sync, memory_order_relaxed);
    if (mode == BK_SYNC_EVERYSEC && log->unsynced_since_us != 0) {
        at = sooner(at, log->unsynced_since_us + SYNC_AFTER_US);
    }
    if (at == INT64_MAX) {
        return -1;
    }
    /* What came due since the last step is due still. */
    return at - now < 1000 ? 1000 : at - now;
}

int bki_log_finish(struct bki_log *log, struct bk_error *err)
{
    if (atomic_load_explicit(&log->state, memory_order_relaxed) == BKI_LOG_NO_FILE) {
        seal_without_active(log); /* however short ago the last try was: there is no later one */
    } else {
        bki_log_step(log, true);
    }
    bk_mutex_lock(&log->mu);
    struct sync_plan plan = {.rotated_n = 0};
    /* Without an active file nothing is pending either: what could not be written was undone, and
     * said so. But what was acknowledged before may not be on the disk. */
    bool clean = atomic_load_explicit(&log->state, memory_order_relaxed) != BKI_LOG_FAILED &&
                 load(&log->synced_pos) == load(&log->tail_pos);
    if (!clean && err != NULL) {
        *err = log->error;
    }
    for (int i = 0; clean && i < 2; i++) {
        struct bki_file *f = i == 0 ? log->active : log->next;
        if (f != NULL && log->rotated_n < sizeof log->rotated / sizeof log->rotated[0]) {
            log->rotated[log->rotated_n++] = f;
        }
    }
    plan.rotated_n = log->rotated_n;
    memcpy(plan.rotated, log->rotated, log->rotated_n * sizeof *plan.rotated);
    log->active = NULL;
    log->next = NULL;
    bk_mutex_unlock(&log->mu);
    if (!clean) {
        return err == NULL || err->code == BK_OK ? BK_EIO : err->code;
    }
    return seal_rotated(log, &plan)
               ? BK_OK
               : bk_error_set(err, log->error.code, log->error.sys_errno, log->error.path,
                              log->error.offset, "%s", log->error.text);
}
