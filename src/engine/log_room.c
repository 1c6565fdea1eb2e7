/* SPDX-License-Identifier: MIT */
/*
 * log_room.c - room on disk for the log, made ahead of need by the sync thread; who may use which
 * part of what is free; what becomes of writes when there is none.
 *
 * Writes leave the reserve (disk-reserve) alone: a merge needs room for its outputs before it can
 * give back that of its inputs, so a disk without any would stay full for ever. A quarter of it
 * serves what takes away only: tombstones and flushes, which are how a user makes room. It is given
 * to the active file in small pieces, and as long as the log is full nothing else is let into them.
 */
#include "engine/log_private.h"

#include <errno.h>
#include <inttypes.h>

#define RETRY_US 200000 /* after a failure to make room */
#define RESERVE_PART 8  /* the reserve is no more than this part of what the store could have */
#define AWAY_PART 4     /* this part of the reserve is for what takes away */
#define AWAY_ELSE ((uint64_t)1 << 20) /* so much when there is no reserve */
#define PIECES 8                      /* at least so many pieces is it given in */
/* A full log takes writes again when this part of the reserve is free beside it: not for every
 * block that comes and goes. */
#define BACK_PART 16

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* ---- What is free for whom ---- */

uint64_t bki_log_reserve(struct bki_log *log, uint64_t free_bytes)
{
    uint64_t whole = bki_files_allocated(log->files) + free_bytes;
    return smaller(load(&log->disk_reserve), whole / RESERVE_PART);
}

uint64_t bki_log_reserve_kept(uint64_t reserve)
{
    return reserve / AWAY_PART;
}

struct spare {
    uint64_t bytes; /* that user writes may take; UINT64_MAX: not known, or no reserve */
    uint64_t reserve, free_bytes;
};

static struct spare look_at_disk(struct bki_log *log)
{
    const struct bk_io *io = log->files->io;
    struct spare s = {UINT64_MAX, 0, 0};
    int64_t free_bytes =
        load(&log->disk_reserve) == 0 ? -1 : io->free_bytes(io->arg, log->files->dir);
    if (free_bytes >= 0) {
        /* What a merge under way has taken of the reserve it gives back: no reason to refuse. */
        uint64_t soon = (uint64_t)free_bytes + bki_files_outputs(log->files);
        s.free_bytes = (uint64_t)free_bytes;
        s.reserve = bki_log_reserve(log, s.free_bytes);
        s.bytes = soon > s.reserve ? soon - s.reserve : 0;
    }
    return s;
}

/* What the reserve leaves of the bytes from have to want. BK_ENOSPC: less than up to min. */
static int spare_up_to(const struct bki_log *log, const struct spare *s, uint64_t have,
                       uint64_t min, uint64_t *want, struct bk_error *err)
{
    if (*want <= have || *want - have <= s->bytes) {
        return BK_OK;
    }
    *want = have + s->bytes / 4096 * 4096;
    return *want >= min ? BK_OK
                        : bk_error_set(err, BK_ENOSPC, ENOSPC, log->files->dir, 0,
                                       "%" PRIu64 " bytes are free on the file system, and "
                                       "disk-reserve keeps %" PRIu64 " of them for merges",
                                       s->free_bytes, s->reserve);
}

/* The cap that the user has set for all data files. A merge may go over it: it makes room. */
static int check_cap(const struct bki_log *log, struct bk_error *err)
{
    uint64_t cap = load(&log->disk_max_bytes);
    uint64_t used = cap == 0 ? 0 : bki_files_allocated(log->files);
    return used <= cap || cap == 0
               ? BK_OK
               : bk_error_set(err, BK_ENOSPC, ENOSPC, log->files->dir, 0,
                              "data files take %" PRIu64 " bytes, over disk-max-bytes", used);
}

/* ---- What is needed ---- */

struct need {
    struct bki_file *active, *next;
    uint64_t next_bytes;             /* room that the next file is to have */
    uint64_t active_bytes;           /* and the active one */
    uint64_t next_want, active_want; /* without so much a record cannot be accepted */
    uint64_t back;                   /* a full log takes writes again when so much is spare; 0 */
    uint64_t away;                   /* wanted of the reserve, for what takes away */
    bool away_file;                  /* namely a file */
    bool pause;                      /* a failure was too recent */
};

static void look_at_active_locked(const struct bki_log *log, uint64_t max, struct need *n)
{
    uint64_t size = load(&n->active->size);
    uint64_t room = load(&n->active->allocated);
    bool low = room < size || room - size < BKI_LOG_ALLOCATE / 2;
    if (room < max && (low || room < log->active_want)) {
        n->active_bytes = smaller(max, larger(room, log->active_want) + BKI_LOG_ALLOCATE);
    }
}

static void look_at_need(struct bki_log *log, struct need *n)
{
    bk_mutex_lock(&log->mu);
    uint64_t max = load(&log->max_file_bytes); /* once: it may change while this goes on */
    if (log->active_want > max) {
        log->active_want = 0; /* files are to be smaller since: its record goes into the next one */
    }
    *n = (struct need){.active = log->active,
                       .next = log->next,
                       .next_want = log->want_bytes,
                       .active_want = log->active_want,
                       .away = log->away_want};
    n->pause = log->retry_us != 0 && now_us(log) < log->retry_us;
    n->next_bytes = larger(smaller(BKI_LOG_ALLOCATE, max), log->want_bytes);
    if (n->active != NULL) {
        look_at_active_locked(log, max, n);
    }
    if (bki_log_is_full(log)) {
        n->back = larger(log->full_need, BKI_LOG_ALLOCATE_MIN);
    }
    bool ends = n->active == NULL || (log->rotate_wanted && bki_log_is_full(log));
    n->away_file = n->next == NULL && ends && !log->away_spent;
    if (n->away_file && n->away == 0) {
        n->away = 1;
    }
    bk_mutex_unlock(&log->mu);
}

static bool next_due(const struct need *n)
{
    return n->next == NULL || load(&n->next->allocated) < n->next_bytes;
}

/* Whether the record that found the log full would be accepted now. */
static bool takes_locked(const struct bki_log *log)
{
    uint64_t max = load(&log->max_file_bytes);
    if (log->active == NULL) {
        return log->next != NULL;
    }
    uint64_t end = load(&log->active->size) + log->full_need;
    return end > max ? log->next != NULL : end <= load(&log->active->allocated);
}

/* ---- Making it ---- */

void bki_log_retry_later(struct bki_log *log, const struct bk_error *err)
{
    bk_mutex_lock(&log->mu);
    log->retry_us = now_us(log) + RETRY_US;
    log->want_bytes = 0; /* what does not fit must not keep smaller records from their room */
    log->active_want = 0;
    log->error = *err;
    log->no_space = true;
    bk_mutex_unlock(&log->mu);
    bki_log_wake(log); /* who waits for room is to be told that there is none */
}

/* A record that has come to want more in the meantime keeps its wish: the next step looks at it. */
static void made_room(struct bki_log *log, struct bki_file *fresh)
{
    bk_mutex_lock(&log->mu);
    if (fresh != NULL) {
        log->next = fresh;
    }
    if (log->next != NULL && log->want_bytes <= load(&log->next->allocated)) {
        log->want_bytes = 0;
    }
    if (log->active != NULL && log->active_want <= load(&log->active->allocated)) {
        log->active_want = 0;
    }
    log->no_space = false;
    log->retry_us = 0;
    log->away_want = 0;
    bk_mutex_unlock(&log->mu);
    if (atomic_load_explicit(&log->waiters, memory_order_acquire)) {
        bki_log_wake(log);
    }
}

/* Writes were refused, whatever their size, and now there is room again beside the reserve. */
static void end_full(struct bki_log *log)
{
    bk_mutex_lock(&log->mu);
    if (takes_locked(log)) {
        log->away_bytes = 0;
        atomic_store_explicit(&log->full, false, memory_order_relaxed);
    }
    bk_mutex_unlock(&log->mu);
}

/* Room up to want bytes; on a disk that is nearly full less, but no less than min. */
static int allocate(struct bki_log *log, struct bki_file *f, uint64_t want, uint64_t min,
                    struct bk_error *err)
{
    int rc = bki_files_allocate(log->files, f, want, err);
    while (rc == BK_ENOSPC && want > min) {
        want = larger(min, min + (want - min) / 4);
        rc = bki_files_allocate(log->files, f, want, err);
    }
    return rc;
}

static int grow_active(struct bki_log *log, const struct need *n, struct spare *s,
                       struct bk_error *err)
{
    uint64_t room = load(&n->active->allocated);
    uint64_t min = smaller(n->active_bytes, room + BKI_LOG_ALLOCATE_MIN);
    uint64_t want = n->active_bytes;
    int rc = spare_up_to(log, s, room, min, &want, err);
    if (rc == BK_OK) {
        rc = allocate(log, n->active, want, min, err);
    }
    uint64_t took = load(&n->active->allocated) - room;
    s->bytes -= s->bytes == UINT64_MAX ? 0 : smaller(took, s->bytes);
    return rc;
}

static int make_next(struct bki_log *log, const struct need *n, const struct spare *s,
                     struct bki_file **fresh, struct bk_error *err)
{
    uint64_t bytes = n->next_bytes;
    if (n->next != NULL) {
        int rc = spare_up_to(log, s, load(&n->next->allocated), bytes, &bytes, err);
        return rc == BK_OK ? bki_files_allocate(log->files, n->next, bytes, err) : rc;
    }
    int rc = spare_up_to(log, s, 0, smaller(bytes, BKI_LOG_ALLOCATE_MIN), &bytes, err);
    if (rc == BK_OK) {
        rc = bki_files_create(log->files, bytes, fresh, err);
    }
    while (rc == BK_ENOSPC && bytes > BKI_LOG_ALLOCATE_MIN) {
        bytes = larger(bytes / 4, BKI_LOG_ALLOCATE_MIN);
        rc = bki_files_create(log->files, bytes, fresh, err);
    }
    return rc;
}

/* There is room, but less than a record waits for. */
static bool falls_short(const struct need *n, const struct bki_file *fresh)
{
    const struct bki_file *next = fresh != NULL ? fresh : n->next;
    return (next != NULL && load(&next->allocated) < n->next_want) ||
           (n->active != NULL && load(&n->active->allocated) < n->active_want);
}

/* The cap, and for a full log that enough has become spare. */
static int may_make(const struct bki_log *log, const struct need *n, const struct spare *s,
                    struct bk_error *err)
{
    int rc = check_cap(log, err);
    if (rc == BK_OK && n->back > 0) {
        uint64_t back = larger(n->back, s->reserve / BACK_PART);
        rc = spare_up_to(log, s, 0, back, &back, err);
    }
    return rc;
}

/* From what writes may take. */
static int make_for_writes(struct bki_log *log, const struct need *n, const struct spare *disk,
                           struct bki_file **fresh, struct bk_error *err)
{
    struct spare s = *disk;
    int rc = may_make(log, n, &s, err);
    bool may = rc == BK_OK;
    if (rc == BK_OK && n->active_bytes > 0) {
        rc = grow_active(log, n, &s, err);
    }
    if (rc == BK_OK && next_due(n)) {
        rc = make_next(log, n, &s, fresh, err);
    }
    if (rc == BK_OK && falls_short(n, *fresh)) {
        rc = bk_error_set(err, BK_ENOSPC, ENOSPC, log->files->dir, 0,
                          "reserving room on disk failed");
    }
    if (*fresh != NULL || rc == BK_OK) {
        made_room(log, *fresh);
    }
    if (may && n->back > 0) {
        end_full(log);
    }
    return rc;
}

/* A piece of the reserve: at the end of the active file, or a file with it. */
static int take_piece(struct bki_log *log, const struct need *n, uint64_t piece,
                      struct bki_file **fresh, struct bk_error *err)
{
    uint64_t max = load(&log->max_file_bytes);
    uint64_t size = n->active == NULL ? max : load(&n->active->size);
    if (!n->away_file && size + n->away <= max) {
        return bki_files_allocate(log->files, n->active, smaller(size + piece, max), err);
    }
    return n->next != NULL
               ? bki_files_allocate(log->files, n->next, BKI_DATAFILE_FIXED + piece, err)
               : bki_files_create(log->files, BKI_DATAFILE_FIXED + piece, fresh, err);
}

/* The disk is full for writes, as err says; what takes away may still get a little. From here on
 * the log is full, so that nothing else is let into it. */
static void make_for_away(struct bki_log *log, const struct need *n, uint64_t reserve,
                          struct bk_error *err)
{
    struct bki_file *fresh = NULL;
    uint64_t most = reserve == 0 ? AWAY_ELSE : reserve / AWAY_PART;
    uint64_t piece = larger(n->away, smaller(BKI_LOG_ALLOCATE_MIN, most / PIECES));
    bk_mutex_lock(&log->mu);
    bki_log_set_full_locked(log, 0, err);
    uint64_t used = log->away_bytes;
    bk_mutex_unlock(&log->mu);
    int rc = used + piece <= most
                 ? take_piece(log, n, piece, &fresh, err)
                 : bk_error_set(err, BK_ENOSPC, ENOSPC, log->files->dir, 0,
                                "what disk-reserve has for deletes is used up until a merge has "
                                "made room");
    bk_mutex_lock(&log->mu);
    log->away_want = 0;
    log->away_bytes += rc == BK_OK ? piece : 0;
    log->away_spent = rc != BK_OK;
    log->next = fresh != NULL ? fresh : log->next;
    bk_mutex_unlock(&log->mu);
}

bool bki_log_make_room(struct bki_log *log)
{
    struct need n;
    struct bk_error err;
    struct bki_file *fresh = NULL;
    look_at_need(log, &n);
    bool due = next_due(&n) || n.active_bytes > 0 || n.back > 0;
    if (!due || (n.pause && n.away == 0)) {
        return false;
    }
    struct spare disk = look_at_disk(log);
    int rc = make_for_writes(log, &n, &disk, &fresh, &err);
    bool away = rc == BK_ENOSPC && fresh == NULL && n.away > 0;
    if (away) {
        make_for_away(log, &n, disk.reserve, &err);
    }
    if (rc != BK_OK) {
        bki_log_retry_later(log, &err);
    }
    return rc == BK_OK || away;
}

int bki_log_first_file(struct bki_log *log, struct bki_file **fresh, struct bk_error *err)
{
    struct spare s = look_at_disk(log);
    uint64_t bytes = smaller(BKI_LOG_ALLOCATE, load(&log->max_file_bytes));
    int rc = spare_up_to(log, &s, 0, smaller(bytes, BKI_LOG_ALLOCATE_MIN), &bytes, err);
    return rc == BK_OK ? bki_files_create(log->files, bytes, fresh, err) : rc;
}

/* ---- Full ---- */

bool bki_log_is_full(const struct bki_log *log)
{
    return atomic_load_explicit(&log->full, memory_order_relaxed);
}

void bki_log_set_full_locked(struct bki_log *log, uint64_t need, const struct bk_error *why)
{
    bk_mutex_assert_held(&log->mu);
    if (!bki_log_is_full(log)) {
        log->full_need =
            larger(need, smaller(BKI_LOG_ALLOCATE_MIN, load(&log->max_file_bytes) / 2));
        log->full_error = *why;
        atomic_store_explicit(&log->full, true, memory_order_relaxed);
        bki_log_signal_locked(log);
    }
}
