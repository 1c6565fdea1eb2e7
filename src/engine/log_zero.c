/* SPDX-License-Identifier: MIT */
/*
 * log_zero.c - zeros over the room ahead of the log, so that syncing a few records is cheap.
 *
 * Reserved room that nothing was ever written to is noted as such in the file system's own tables:
 * the first write to a block of it changes them, and a sync then waits for the file system's
 * journal as well. Over zeros that were written before, it waits for the data alone. So with
 * always, when the log's end comes to such room, the sync of that moment takes a piece of zeros
 * along, and those behind it find plain blocks. It pays only where a piece serves many syncs, and
 * only on file systems that write in place: others would take room for the records once more.
 *
 * For whoever reads the file nothing changes: reserved room reads as zeros anyway.
 */
#include "engine/log_private.h"

#define PIECE ((uint64_t)1 << 20)
#define SYNCS 64u /* at least so many does a piece serve */
#define BLOCK 4096u

static const uint8_t zeros[PIECE];

struct piece {
    struct bki_file *file;
    uint64_t from, to;
};

/* What has been appended and not yet written lies before from: it is written after the zeros. */
static bool piece_due(struct bki_log *log, struct piece *p)
{
    bk_mutex_lock(&log->mu);
    bool due = log->in_place && sync_always(log) && log->active != NULL &&
               atomic_load_explicit(&log->state, memory_order_relaxed) == BKI_LOG_OK &&
               load(&log->tail_pos) > load(&log->written_pos) &&
               log->sync_bytes_usual * SYNCS <= PIECE;
    if (due) {
        p->file = log->active;
        uint64_t end = load(&p->file->size);
        uint64_t room = load(&p->file->allocated);
        p->from = (end + BLOCK - 1) / BLOCK * BLOCK;
        p->to = p->from + PIECE < room ? p->from + PIECE : room;
        due = end > p->file->plain && p->from < room;
    }
    bk_mutex_unlock(&log->mu);
    return due;
}

bool bki_log_zero_ahead(struct bki_log *log)
{
    struct piece p;
    struct bk_error err;
    bk_mutex_assert_held(&log->write_mu);
    if (!piece_due(log, &p)) {
        return true;
    }
    union {
        const uint8_t *in;
        void *out;
    } bytes = {.in = zeros}; /* as in log_write.c */
    struct iovec iov = {bytes.out, (size_t)(p.to - p.from)};
    int rc = bki_io_write_all(log->files->io, p.file->fd, &iov, 1, p.from, p.file->path, &err);
    if (rc != BK_OK && rc != BK_ENOSPC) {
        bki_log_fail(log, &err);
        return false;
    }
    /* A limit in the way of zeros need not be in the way of records. */
    p.file->plain = rc == BK_OK ? p.to : UINT64_MAX;
    return true;
}
