/* SPDX-License-Identifier: MIT */
/*
 * log_commit.c - from the buffer to the disk: writing, syncing, sealing, and room made ahead of need.
 *
 * Loops write (everysec, no); the sync thread syncs, and writes too with always. Files are made, given room and
 * sealed by bki_log_step alone, so that no command ever waits for them.
 */
#include "engine/log.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

#define SYNC_AFTER_US 900000    /* everysec: a sync begins this long after the oldest unsynced write */
#define SYNC_OVERDUE_US 2000000 /* and when it has not ended after this long, writers wait */
#define RETRY_US 200000         /* after a failure to make room */

static uint64_t load(const _Atomic uint64_t *v)
{
    return atomic_load_explicit(v, memory_order_acquire);
}

static void store(_Atomic uint64_t *v, uint64_t n)
{
    atomic_store_explicit(v, n, memory_order_release);
}

static void count(_Atomic uint64_t *v, uint64_t n)
{
    atomic_fetch_add_explicit(v, n, memory_order_relaxed);
}

static int64_t now_us(const struct bki_log *log)
{
    return bk_clock_mono_us(log->files->clock);
}

static bool sync_always(const struct bki_log *log)
{
    return atomic_load_explicit(&log->sync, memory_order_relaxed) == BK_SYNC_ALWAYS;
}

void bki_log_signal_locked(struct bki_log *log)
{
    if (!log->work_due) {
        log->work_due = true;
        bk_cond_signal(&log->work);
    }
}

/* Without a lock held. */
static void wake(struct bki_log *log)
{
    atomic_store_explicit(&log->waiters, false, memory_order_release);
    if (log->wake != NULL) {
        log->wake(log->wake_arg);
    }
}

/* ---- The buffer's end ---- */

static void chunk_done_locked(struct bki_log *log, struct bki_chunk *c)
{
    bk_block_unref(&c->block);
    if (log->spare == NULL && c->cap == BKI_LOG_CHUNK) {
        log->spare = c;
    } else {
        free(c);
    }
}

/* Moves committed on and gives back what lies before it. */
static void commit_locked(struct bki_log *log, uint64_t pos)
{
    if (pos <= load(&log->committed_pos)) {
        return;
    }
    store(&log->committed_pos, pos);
    while (log->first != NULL && log->first->pos + log->first->len <= pos) {
        struct bki_chunk *c = log->first;
        if (c == log->last && c->block == NULL && c->file == log->active && c->cap == BKI_LOG_CHUNK) {
            /* The usual case: one chunk serves again and again. */
            c->pos += c->len;
            c->offset += c->len;
            c->len = 0;
            break;
        }
        log->first = c->next;
        if (log->first == NULL) {
            log->last = NULL;
        }
        chunk_done_locked(log, c);
    }
}

/* A write or sync failed. What is not committed will be undone under the key locks, by bki_log_discard's caller. */
static void fail(struct bki_log *log, const struct bk_error *err)
{
    bk_mutex_lock(&log->mu);
    atomic_store_explicit(&log->state, BKI_LOG_FAILED, memory_order_release);
    log->error = *err;
    count(&log->write_errors, 1);
    bki_log_signal_locked(log);
    bk_cond_broadcast(&log->moved);
    bk_mutex_unlock(&log->mu);
}

/* ---- Writing ---- */

struct run {
    struct bki_file *file;
    uint64_t offset;
    uint32_t iov_n;
};

/* What is buffered and not yet written, as runs of one file each. Returns the position after it. */
static uint64_t collect_locked(struct bki_log *log, struct bk_buf *iovs, struct bk_buf *runs)
{
    uint64_t from = load(&log->written_pos);
    for (struct bki_chunk *c = log->first; c != NULL; c = c->next) {
        if (c->len == 0 || c->pos + c->len <= from) {
            continue;
        }
        size_t skip = from > c->pos ? (size_t)(from - c->pos) : 0;
        union {
            const uint8_t *in;
            void *out;
        } bytes = {.in = c->bytes + skip}; /* iovec has no const form; writing does not change the bytes */
        struct iovec iov = {bytes.out, c->len - skip};
        bk_buf_append(iovs, &iov, sizeof iov);
        struct run *last = runs->len == 0 ? NULL : (struct run *)(void *)(runs->data + runs->len - sizeof *last);
        if (last != NULL && last->file == c->file) {
            last->iov_n++;
        } else {
            struct run run = {c->file, c->offset + skip, 1};
            bk_buf_append(runs, &run, sizeof run);
        }
    }
    return load(&log->tail_pos);
}

static int write_runs(struct bki_log *log, struct bk_buf *iovs, struct bk_buf *runs, struct bk_error *err)
{
    struct iovec *iov = (struct iovec *)(void *)iovs->data;
    const struct run *run = (const struct run *)(void *)runs->data;
    for (size_t i = 0; i < runs->len / sizeof *run; i++) {
        int rc = bki_io_write_all(log->files->io, run[i].file->fd, iov, (int)run[i].iov_n, run[i].offset,
                                  run[i].file->path, err);
        if (rc != BK_OK) {
            return rc;
        }
        iov += run[i].iov_n;
        count(&log->writes, 1);
    }
    return BK_OK;
}

/* Writes all that is buffered. With write_mu held. False: nothing can be written at the moment. */
static bool write_out(struct bki_log *log)
{
    struct bk_buf iovs = {0};
    struct bk_buf runs = {0};
    struct bk_error err;
    bk_mutex_assert_held(&log->write_mu);
    bk_mutex_lock(&log->mu);
    bool ok = atomic_load_explicit(&log->state, memory_order_relaxed) == BKI_LOG_OK;
    uint64_t from = load(&log->written_pos);
    uint64_t to = ok ? collect_locked(log, &iovs, &runs) : from;
    bk_mutex_unlock(&log->mu);

    if (to > from) {
        ok = write_runs(log, &iovs, &runs, &err) == BK_OK;
        if (ok) {
            bk_mutex_lock(&log->mu);
            store(&log->written_pos, to);
            count(&log->write_bytes, to - from);
            if (log->unsynced_since_us == 0) {
                log->unsynced_since_us = now_us(log);
                bki_log_signal_locked(log);
            }
            if (!sync_always(log)) {
                commit_locked(log, to);
                bk_cond_broadcast(&log->moved);
            }
            bk_mutex_unlock(&log->mu);
        } else {
            fail(log, &err);
        }
    }
    bk_buf_fini(&iovs);
    bk_buf_fini(&runs);
    return ok;
}

/* everysec: a disk that does not keep up slows the writers down, instead of letting the loss grow. */
static void wait_overdue(struct bki_log *log)
{
    if (atomic_load_explicit(&log->sync, memory_order_relaxed) != BK_SYNC_EVERYSEC) {
        return;
    }
    bk_mutex_lock(&log->mu);
    bool counted = false;
    while (log->syncing && log->unsynced_since_us != 0 && now_us(log) - log->unsynced_since_us > SYNC_OVERDUE_US &&
           atomic_load_explicit(&log->state, memory_order_relaxed) == BKI_LOG_OK) {
        count(&log->sync_waits, counted ? 0 : 1);
        counted = true;
        bk_cond_wait(&log->moved, &log->mu, 100000);
    }
    bk_mutex_unlock(&log->mu);
}

void bki_log_flush(struct bki_log *log, uint64_t pos)
{
    if (pos <= load(&log->committed_pos)) {
        return;
    }
    if (sync_always(log)) {
        bk_mutex_lock(&log->mu);
        bki_log_signal_locked(log);
        bk_mutex_unlock(&log->mu);
        return;
    }
    wait_overdue(log);
    bk_mutex_lock(&log->write_mu);
    bool moved = load(&log->written_pos) < pos && write_out(log);
    bk_mutex_unlock(&log->write_mu);
    if (moved) {
        wake(log);
    }
}

int bki_log_pos_state(struct bki_log *log, uint64_t pos)
{
    if (pos > load(&log->committed_pos)) {
        return BK_EAGAIN;
    }
    if (atomic_load_explicit(&log->undone_n, memory_order_acquire) == 0) {
        return BK_OK;
    }
    int rc = BK_OK;
    bk_mutex_lock(&log->mu);
    uint32_t n = atomic_load_explicit(&log->undone_n, memory_order_relaxed);
    for (uint32_t i = 0; i < n && i < BKI_UNDONE_MAX; i++) {
        if (pos > log->undone[i][0] && pos <= log->undone[i][1]) {
            rc = BK_EIO;
        }
    }
    bk_mutex_unlock(&log->mu);
    return rc;
}

/* ---- Failing ---- */

/* A file whose bytes behind the committed position are undone ends there. */
static void end_file_locked(struct bki_log *log, struct bki_file *f)
{
    uint64_t base = load(&f->pos_base);
    uint64_t committed = load(&log->committed_pos);
    uint64_t end = committed > base + f->header_bytes ? committed - base : f->header_bytes;
    if (end < load(&f->size)) {
        store(&f->size, end);
    }
}

/*
 * Walks the uncommitted records, which all begin in copied chunks: what the log wrote of its own no longer counts as
 * dead, and the sequence goes on from the first of them, since nobody will ever read them.
 */
static void forget_records_locked(struct bki_log *log)
{
    uint64_t pos = load(&log->committed_pos);
    bool first = true;
    for (struct bki_chunk *c = log->first; c != NULL; c = c->next) {
        while (c->block == NULL && pos >= c->pos && pos < c->pos + c->len) {
            struct bki_record r;
            int rc = bki_record_peek(c->bytes + (pos - c->pos), (size_t)(c->pos + c->len - pos), UINT64_MAX, &r);
            BK_ASSERT(rc == BK_OK);
            uint64_t size = bki_record_size(&r);
            if (first) {
                log->next_seq = r.seq;
                first = false;
            }
            if (r.kind == BKI_MAP || r.kind == BKI_BATCH || r.kind == BKI_SYNC_MARK) {
                atomic_fetch_sub_explicit(&c->file->dead_bytes, size, memory_order_relaxed);
            }
            pos += size;
        }
    }
}

void bki_log_discard(struct bki_log *log)
{
    bk_mutex_lock(&log->write_mu);
    bk_mutex_lock(&log->mu);
    uint64_t tail = load(&log->tail_pos);
    uint32_t n = atomic_load_explicit(&log->undone_n, memory_order_relaxed);
    log->undone[n % BKI_UNDONE_MAX][0] = load(&log->committed_pos);
    log->undone[n % BKI_UNDONE_MAX][1] = tail;
    atomic_store_explicit(&log->undone_n, n + 1, memory_order_release);
    for (uint32_t i = 0; i < log->rotated_n; i++) {
        end_file_locked(log, log->rotated[i]);
    }
    if (log->active != NULL) {
        end_file_locked(log, log->active);
        atomic_store_explicit(&log->active->state, BKI_FILE_ROTATED, memory_order_relaxed);
        BK_ASSERT(log->rotated_n < sizeof log->rotated / sizeof log->rotated[0]);
        log->rotated[log->rotated_n++] = log->active;
        log->active = NULL;
    }
    forget_records_locked(log);
    while (log->first != NULL) {
        struct bki_chunk *c = log->first;
        log->first = c->next;
        chunk_done_locked(log, c);
    }
    log->last = NULL;
    log->mark_due = false;
    store(&log->written_pos, tail);
    store(&log->synced_pos, tail);
    store(&log->committed_pos, tail);
    atomic_store_explicit(&log->state, BKI_LOG_NO_FILE, memory_order_release);
    bk_cond_broadcast(&log->moved);
    bk_mutex_unlock(&log->mu);
    bk_mutex_unlock(&log->write_mu);
    wake(log);
}

/* ---- Syncing ---- */

struct sync_plan {
    uint64_t target;            /* position that will be synced */
    struct bki_file *last;      /* the file that holds target */
    uint64_t offset;            /* in it, of target */
    struct bki_file *rotated[64]; /* rotated files that lie before target whole */
    uint32_t rotated_n;
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

/* A rotation may have come between the write and now: only what target covers is synced and sealed. */
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
    bk_mutex_lock(&log->write_mu);
    bool ok = write_out(log);
    bk_mutex_lock(&log->mu);
    ok = ok && atomic_load_explicit(&log->state, memory_order_relaxed) == BKI_LOG_OK;
    p->target = load(&log->written_pos);
    p->started_us = now_us(log);
    if (ok) {
        plan_files_locked(log, p);
        log->syncing = true;
    }
    bk_mutex_unlock(&log->mu);
    bk_mutex_unlock(&log->write_mu);
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
        if (took > load(&log->sync_us_max)) {
            store(&log->sync_us_max, took);
        }
        if (p->target > load(&log->synced_pos)) {
            store(&log->synced_pos, p->target);
            log->mark_due = true;
            log->mark_uid = p->last->uid;
            log->mark_offset = p->offset;
        }
        log->unsynced_since_us = load(&log->written_pos) > p->target ? p->started_us : 0;
        commit_locked(log, p->target);
    }
    bk_cond_broadcast(&log->moved);
    bk_mutex_unlock(&log->mu);
}

static void retry_later(struct bki_log *log, const struct bk_error *err)
{
    bk_mutex_lock(&log->mu);
    log->retry_us = now_us(log) + RETRY_US;
    log->error = *err;
    log->no_space = true;
    bk_mutex_unlock(&log->mu);
    wake(log); /* who waits for room is to be told that there is none */
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
            bk_mutex_unlock(&log->mu);
        } else {
            retry_later(log, &err);
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
        fail(log, &err);
        return true;
    }
    wake(log);
    seal_rotated(log, &plan);
    return true;
}

/* Rotated files of a log without an active one: what failed is not synced again, the rest is. */
static bool seal_without_active(struct bki_log *log)
{
    struct sync_plan plan = {.rotated_n = 0};
    struct bk_error err;
    bk_mutex_lock(&log->mu);
    plan.rotated_n = log->rotated_n;
    memcpy(plan.rotated, log->rotated, log->rotated_n * sizeof *plan.rotated);
    bk_mutex_unlock(&log->mu);
    for (uint32_t i = 0; i < plan.rotated_n; i++) {
        bk_ignore(sync_file(log, plan.rotated[i], &err), "it has failed before; its end is what was committed");
    }
    return seal_rotated(log, &plan);
}

/* ---- Room ahead of need ---- */

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

struct need {
    struct bki_file *active, *next;
    uint64_t next_bytes;   /* room that the next file is to have */
    uint64_t active_bytes; /* and the active one */
    bool pause;            /* a failure was too recent */
};

static void look_at_need(struct bki_log *log, struct need *n)
{
    bk_mutex_lock(&log->mu);
    uint64_t max = load(&log->max_file_bytes);
    n->active = log->active;
    n->next = log->next;
    n->pause = log->retry_us != 0 && now_us(log) < log->retry_us;
    n->next_bytes = larger(smaller(BKI_LOG_ALLOCATE, max), log->want_bytes);
    n->active_bytes = 0;
    if (n->active != NULL) {
        uint64_t size = load(&n->active->size);
        uint64_t room = load(&n->active->allocated);
        if (room < max && (room < size || room - size < BKI_LOG_ALLOCATE / 2)) {
            n->active_bytes = smaller(max, room + BKI_LOG_ALLOCATE);
        }
    }
    bk_mutex_unlock(&log->mu);
}

static void made_room(struct bki_log *log, struct bki_file *fresh)
{
    bk_mutex_lock(&log->mu);
    if (fresh != NULL) {
        log->next = fresh;
    }
    if (log->next != NULL && log->want_bytes <= load(&log->next->allocated)) {
        log->want_bytes = 0;
    }
    log->no_space = false;
    log->retry_us = 0;
    bk_mutex_unlock(&log->mu);
    if (atomic_load_explicit(&log->waiters, memory_order_acquire)) {
        wake(log);
    }
}

/* Makes the next file, or room in it or in the active one. */
static bool room_step(struct bki_log *log)
{
    struct need n;
    struct bk_error err;
    struct bki_file *fresh = NULL;
    look_at_need(log, &n);
    bool next_due = n.next == NULL || load(&n.next->allocated) < n.next_bytes;
    if (n.pause || (!next_due && n.active_bytes == 0)) {
        return false;
    }
    int rc = BK_OK;
    if (n.active_bytes > 0) {
        rc = bki_files_allocate(log->files, n.active, n.active_bytes, &err);
    }
    if (rc == BK_OK && next_due) {
        rc = n.next == NULL ? bki_files_create(log->files, n.next_bytes, &fresh, &err)
                            : bki_files_allocate(log->files, n.next, n.next_bytes, &err);
    }
    if (rc != BK_OK) {
        retry_later(log, &err);
        return false;
    }
    made_room(log, fresh);
    return true;
}

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
    if (!seal_without_active(log)) {
        return false;
    }
    bool made = room_step(log);
    bk_mutex_lock(&log->mu);
    bool ready = log->next != NULL;
    if (ready) {
        activate_locked(log);
    }
    bk_mutex_unlock(&log->mu);
    if (ready) {
        wake(log);
    }
    return made || ready;
}

int bki_log_start(struct bki_log *log, struct bk_error *err)
{
    struct bki_file *f = NULL;
    uint64_t bytes = smaller(BKI_LOG_ALLOCATE, load(&log->max_file_bytes));
    int rc = bki_files_create(log->files, bytes, &f, err);
    if (rc == BK_OK) {
        bk_mutex_lock(&log->mu);
        log->next = f;
        activate_locked(log);
        bk_mutex_unlock(&log->mu);
    }
    return rc;
}

/* ---- Steps ---- */

static bool sync_due_locked(const struct bki_log *log, int64_t now)
{
    int mode = atomic_load_explicit(&log->sync, memory_order_relaxed);
    if (log->rotated_n > 0 && (log->retry_us == 0 || now >= log->retry_us)) {
        return true;
    }
    if (mode == BK_SYNC_ALWAYS) {
        return load(&log->tail_pos) > load(&log->synced_pos);
    }
    return mode == BK_SYNC_EVERYSEC && log->unsynced_since_us != 0 && now - log->unsynced_since_us >= SYNC_AFTER_US;
}

static bool age_due_locked(const struct bki_log *log, int64_t now)
{
    uint32_t age_s = atomic_load_explicit(&log->max_file_age_s, memory_order_relaxed);
    return age_s != 0 && log->active != NULL && load(&log->active->size) > log->active->header_bytes &&
           now - log->active->created_us >= (int64_t)age_s * 1000000;
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

bool bki_log_step(struct bki_log *log, bool all)
{
    bk_mutex_lock(&log->mu);
    log->work_due = false;
    if (log->retry_us != 0 && now_us(log) >= log->retry_us) {
        log->retry_us = 0; /* the time has come: what still fails says so again */
        log->no_space = false;
    }
    int state = atomic_load_explicit(&log->state, memory_order_relaxed);
    bool sync = state == BKI_LOG_OK && (all || sync_due_locked(log, now_us(log)));
    bk_mutex_unlock(&log->mu);
    if (state == BKI_LOG_FAILED) {
        return false;
    }
    if (state == BKI_LOG_NO_FILE) {
        return restart_step(log);
    }
    bool did = room_step(log);
    did |= age_step(log);
    if (sync) {
        did |= sync_step(log);
    }
    return did;
}

int64_t bki_log_due_locked(struct bki_log *log, int64_t now)
{
    if (log->work_due || sync_due_locked(log, now) ||
        atomic_load_explicit(&log->state, memory_order_relaxed) == BKI_LOG_FAILED) {
        return 0;
    }
    int64_t due = -1;
    if (log->retry_us != 0) {
        due = log->retry_us - now;
    }
    int mode = atomic_load_explicit(&log->sync, memory_order_relaxed);
    if (mode == BK_SYNC_EVERYSEC && log->unsynced_since_us != 0) {
        int64_t sync_at = log->unsynced_since_us + SYNC_AFTER_US - now;
        due = due < 0 || sync_at < due ? sync_at : due;
    }
    uint32_t age_s = atomic_load_explicit(&log->max_file_age_s, memory_order_relaxed);
    if (age_s != 0 && log->active != NULL) {
        int64_t age_at = log->active->created_us + (int64_t)age_s * 1000000 - now;
        age_at = age_at < 1000 ? 1000000 : age_at; /* over age but empty: look again in a second */
        due = due < 0 || age_at < due ? age_at : due;
    }
    return due < 0 ? due : (due < 1000 ? 1000 : due);
}

int bki_log_finish(struct bki_log *log, struct bk_error *err)
{
    bki_log_step(log, true);
    bk_mutex_lock(&log->mu);
    struct sync_plan plan = {.rotated_n = 0};
    bool clean = atomic_load_explicit(&log->state, memory_order_relaxed) == BKI_LOG_OK &&
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
    return seal_rotated(log, &plan) ? BK_OK : bk_error_set(err, log->error.code, log->error.sys_errno,
                                                           log->error.path, log->error.offset, "%s",
                                                           log->error.text);
}
