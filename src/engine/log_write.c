/* SPDX-License-Identifier: MIT */
/*
 * log_write.c - from the buffer to the file, and what becomes of the buffer when that succeeds or
 * fails.
 *
 * Loops write (everysec, no) at the end of their ticks, and the sync thread before a sync; with
 * always that alone. One writer at a time.
 */
#include "engine/log_private.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

#define SYNC_OVERDUE_US \
    2000000 /* everysec: when a sync has not ended after this long, writers wait */

void bki_log_signal_locked(struct bki_log *log)
{
    if (!log->work_due || log->gathering) {
        log->work_due = true;
        log->gathering = false;
        bk_cond_signal(&log->work);
    }
}

void bki_log_wake(struct bki_log *log)
{
    atomic_store_explicit(&log->waiters, false, memory_order_release);
    if (log->wake != NULL) {
        log->wake(log->wake_arg);
    }
}

void bki_log_took(struct bki_log *log, enum bk_took what, int64_t started_us)
{
    if (log->took != NULL) {
        log->took(log->took_arg, what, now_us(log) - started_us);
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

void bki_log_commit_locked(struct bki_log *log, uint64_t pos)
{
    if (pos <= load(&log->committed_pos)) {
        return;
    }
    store(&log->committed_pos, pos);
    while (log->first != NULL && log->first->pos + log->first->len <= pos) {
        struct bki_chunk *c = log->first;
        if (c == log->last && c->block == NULL && c->file == log->active &&
            c->cap == BKI_LOG_CHUNK) {
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

void bki_log_fail(struct bki_log *log, const struct bk_error *err)
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
        } bytes = {.in = c->bytes +
                         skip}; /* iovec has no const form; writing does not change the bytes */
        struct iovec iov = {bytes.out, c->len - skip};
        bk_buf_append(iovs, &iov, sizeof iov);
        struct run *last =
            runs->len == 0 ? NULL : (struct run *)(void *)(runs->data + runs->len - sizeof *last);
        if (last != NULL && last->file == c->file) {
            last->iov_n++;
        } else {
            struct run run = {c->file, c->offset + skip, 1};
            bk_buf_append(runs, &run, sizeof run);
        }
    }
    return load(&log->tail_pos);
}

static int write_runs(struct bki_log *log, struct bk_buf *iovs, struct bk_buf *runs,
                      struct bk_error *err)
{
    struct iovec *iov = (struct iovec *)(void *)iovs->data;
    const struct run *run = (const struct run *)(void *)runs->data;
    for (size_t i = 0; i < runs->len / sizeof *run; i++) {
        int rc = bki_io_write_all(log->files->io, run[i].file->fd, iov, (int)run[i].iov_n,
                                  run[i].offset, run[i].file->path, err);
        if (rc != BK_OK) {
            return rc;
        }
        iov += run[i].iov_n;
        count(&log->writes, 1);
    }
    return BK_OK;
}

bool bki_log_write_out(struct bki_log *log)
{
    struct bk_buf iovs = {0};
    struct bk_buf runs = {0};
    struct bk_error err;
    bk_mutex_assert_held(&log->write_mu);
    bk_mutex_lock(&log->mu);
    bool ok = atomic_load_explicit(&log->state, memory_order_relaxed) == BKI_LOG_OK;
    uint64_t from = load(&log->written_pos);
    uint64_t to = ok ? collect_locked(log, &iovs, &runs) : from;
    if (ok && to == from && !sync_always(log)) {
        bki_log_commit_locked(log, to); /* written when always was still asked for */
        bk_cond_broadcast(&log->moved);
    }
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
                bki_log_commit_locked(log, to);
                bk_cond_broadcast(&log->moved);
            }
            bk_mutex_unlock(&log->mu);
        } else {
            bki_log_fail(log, &err);
        }
    }
    bk_buf_fini(&iovs);
    bk_buf_fini(&runs);
    return ok;
}

/* everysec: a disk that does not keep up slows the writers down, instead of letting the loss grow.
 * So it does while it makes the next file, or tells the end of the last one: those are syncs too.
 * Returns whether a sync of the log was under way. */
static bool wait_overdue(struct bki_log *log)
{
    if (atomic_load_explicit(&log->sync, memory_order_relaxed) != BK_SYNC_EVERYSEC) {
        return false;
    }
    bk_mutex_lock(&log->mu);
    bool syncing = log->syncing;
    bool counted = false;
    while ((log->syncing || log->stepping) && log->unsynced_since_us != 0 &&
           now_us(log) - log->unsynced_since_us > SYNC_OVERDUE_US &&
           atomic_load_explicit(&log->state, memory_order_relaxed) == BKI_LOG_OK) {
        count(&log->sync_waits, counted ? 0 : 1);
        counted = true;
        bk_cond_wait(&log->moved, &log->mu, 100000);
    }
    bk_mutex_unlock(&log->mu);
    return syncing;
}

/* ---- Who writes ----
 *
 * A loop that finds another thread writing does not wait for it: it leaves a wish and goes on with
 * its clients. Whoever has held write_mu looks for wishes once it has let go, however its own write
 * went; the loop tries the mutex once it has left its wish. So one of the two sees to it. Both have
 * a fence in between: neither letting go of a mutex nor a try that fails is one by itself.
 */

#define ROUNDS_MAX                                                                \
    3u /* of one thread; then others wait, so that nobody writes for all for ever \
        */

static void wish(struct bki_log *log, uint64_t pos)
{
    uint64_t was = load(&log->write_wanted);
    BK_ASSERT(pos <= load(&log->tail_pos));
    while (was < pos && !atomic_compare_exchange_weak(&log->write_wanted, &was, pos)) {
    }
}

static bool is_wished(struct bki_log *log)
{
    atomic_thread_fence(memory_order_seq_cst);
    return load(&log->written_pos) < load(&log->write_wanted) &&
           atomic_load_explicit(&log->state, memory_order_relaxed) == BKI_LOG_OK;
}

void bki_log_serve(struct bki_log *log, enum bk_took what, int64_t started_us)
{
    bool crowded = false;
    for (unsigned round = 1; is_wished(log) && bk_mutex_trylock(&log->write_mu); round++) {
        uint64_t written = load(&log->written_pos);
        uint64_t committed = load(&log->committed_pos);
        bk_ignore(!bki_log_write_out(log), "the log has failed, and says so to all");
        bool wrote = load(&log->written_pos) > written;
        bool moved = load(&log->committed_pos) > committed;
        bk_mutex_unlock(&log->write_mu);
        if (wrote && started_us >= 0) {
            bki_log_took(log, what, started_us);
            started_us = now_us(log);
        }
        if (moved) {
            bki_log_wake(log);
        }
        if (round == ROUNDS_MAX) {
            crowded = true;
            atomic_fetch_add(&log->write_crowds, 1);
        }
    }
    if (crowded) {
        atomic_fetch_sub(&log->write_crowds, 1);
    }
}

/* With always; else false. */
static bool hand_to_sync_thread(struct bki_log *log, uint64_t pos)
{
    if (!sync_always(log)) {
        return false;
    }
    bk_mutex_lock(&log->mu);
    log->asked_pos = pos > log->asked_pos ? pos : log->asked_pos;
    if (!log->gathering || bki_log_gathered_locked(log)) {
        bki_log_signal_locked(log);
    }
    bk_mutex_unlock(&log->mu);
    return true;
}

void bki_log_flush(struct bki_log *log, uint64_t pos)
{
    if (pos <= load(&log->committed_pos) || hand_to_sync_thread(log, pos)) {
        return;
    }
    int64_t started_us = now_us(log);
    enum bk_took what = wait_overdue(log) ? BK_TOOK_WRITE_SYNCING : BK_TOOK_WRITE;
    bk_mutex_lock(&log->write_mu);
    bool moved = load(&log->written_pos) < pos && bki_log_write_out(log);
    bk_mutex_unlock(&log->write_mu);
    if (moved) {
        bki_log_took(log, what, started_us);
        bki_log_wake(log);
    }
    bki_log_serve(log, BK_TOOK_WRITE, now_us(log));
}

void bki_log_flush_soon(struct bki_log *log, uint64_t pos)
{
    if (atomic_load(&log->write_crowds) > 0) {
        bki_log_flush(log, pos);
    } else if (pos > load(&log->committed_pos) && !hand_to_sync_thread(log, pos)) {
        int64_t started_us = now_us(log);
        enum bk_took what = wait_overdue(log) ? BK_TOOK_WRITE_SYNCING : BK_TOOK_WRITE;
        wish(log, pos);
        bki_log_serve(log, what, started_us);
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
    for (uint32_t i = 0; i < n; i++) {
        if (pos > log->undone[i][0] && pos <= log->undone[i][1]) {
            rc = BK_EIO;
        }
    }
    bk_mutex_unlock(&log->mu);
    return rc;
}

/* ---- Failing ---- */

/* The two oldest ranges become one when the list is full: nobody waits for anything between them
 * any more. */
static void note_undone_locked(struct bki_log *log, uint64_t from, uint64_t to)
{
    uint32_t n = atomic_load_explicit(&log->undone_n, memory_order_relaxed);
    if (n == BKI_UNDONE_MAX) {
        log->undone[1][0] = log->undone[0][0];
        memmove(log->undone, log->undone + 1, (n - 1) * sizeof log->undone[0]);
        n--;
    }
    log->undone[n][0] = from;
    log->undone[n][1] = to;
    atomic_store_explicit(&log->undone_n, n + 1, memory_order_release);
}

/* Where a file ends whose bytes behind the committed position are undone. */
static uint64_t end_of_committed(const struct bki_log *log, const struct bki_file *f)
{
    uint64_t base = load(&f->pos_base);
    uint64_t committed = load(&log->committed_pos);
    return committed > base + f->header_bytes ? committed - base : f->header_bytes;
}

static void end_file_locked(struct bki_log *log, struct bki_file *f)
{
    uint64_t end = end_of_committed(log, f);
    if (end < load(&f->size)) {
        store(&f->size, end);
    }
}

/* Until then reads find what was written behind the new end in the buffer. */
static bool cut_file(struct bki_log *log, struct bki_file *f)
{
    const struct bk_io *io = log->files->io;
    uint64_t end = end_of_committed(log, f);
    if (end >= load(&f->size)) {
        return true;
    }
    bool ok = io->truncate(io->arg, f->fd, end) == 0;
    if (ok) {
        store(&f->allocated, end);
    }
    return ok;
}

/* The newest bytes go first, so that a process that is killed in between leaves a prefix behind.
 * Nothing has been told to anybody yet. */
void bki_log_cut_uncommitted(struct bki_log *log)
{
    struct bki_file *files[sizeof log->rotated / sizeof log->rotated[0] + 1];
    uint32_t n = 0;
    bk_mutex_lock(&log->write_mu); /* a write under way may commit what it holds */
    bk_mutex_lock(&log->mu);
    BK_ASSERT(atomic_load_explicit(&log->state, memory_order_relaxed) == BKI_LOG_FAILED);
    for (uint32_t i = 0; i < log->rotated_n; i++) {
        files[n++] = log->rotated[i];
    }
    if (log->active != NULL) {
        files[n++] = log->active;
    }
    bk_mutex_unlock(&log->mu);
    for (bool ok = true; ok && n > 0; n--) {
        ok = cut_file(log, files[n - 1]);
    }
    bk_mutex_unlock(&log->write_mu);
}

/*
 * Walks the uncommitted records, which all begin in copied chunks: what the log wrote of its own no
 * longer counts as dead, and the sequence goes on from the first of them, since nobody will ever
 * read them.
 */
static void forget_records_locked(struct bki_log *log)
{
    uint64_t pos = load(&log->committed_pos);
    bool first = true;
    for (struct bki_chunk *c = log->first; c != NULL; c = c->next) {
        while (c->block == NULL && pos >= c->pos && pos < c->pos + c->len) {
            struct bki_record r;
            int rc = bki_record_peek(c->bytes + (pos - c->pos), (size_t)(c->pos + c->len - pos),
                                     UINT64_MAX, &r);
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
    note_undone_locked(log, load(&log->committed_pos), tail);
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
    log->unsynced_since_us = 0;
    /* What depends on the tail from now on must not lie in the range that was undone. The synced
     * position stays: what was committed before may not be on the disk until the files are sealed.
     */
    tail += 8;
    store(&log->tail_pos, tail);
    store(&log->written_pos, tail);
    store(&log->committed_pos, tail);
    atomic_store_explicit(&log->state, BKI_LOG_NO_FILE, memory_order_release);
    bk_cond_broadcast(&log->moved);
    bk_mutex_unlock(&log->mu);
    bk_mutex_unlock(&log->write_mu);
}
