/* SPDX-License-Identifier: MIT */
/*
 * snapshot.c - a store's sealed files, by a second name, in a directory of their own.
 *
 * A sealed file never changes, so a link to it is a copy for nothing. What a snapshot holds is a
 * prefix of the history, because
 *   - files are sealed in the order of their ranks, and a batch lies in one file;
 *   - from before the log's file is ended until the manifest's state has been copied, no merge
 * takes the place of its inputs (bki_files_hold): it might leave out a record because of a newer
 * one that lies behind the snapshot's end. The directory is built under another name: what bears
 * its last name is whole and synced.
 */
#include "engine/db_private.h"
#include "engine/dir.h"
#include "engine/hint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COPY_BYTES (1u << 20)
/* What to do about a store that cannot be copied whole. */
#define NOT_WHOLE \
    "%s: put the right one back with the store closed, or copy what is left: bitkv repair"
#define STEPS_MAX 100000u /* of a stepped store until its log is sealed */

/* From one directory to another. */
struct transfer {
    const struct bk_io *io;
    const char *from, *to;
    const atomic_bool *stop; /* NULL: nobody stops it */
    struct bk_snapshot_result *out;
    struct bk_progress *progress;
    bool counted; /* progress has the file that is copied: the manifest knows a data file's size */
};

/* ---- One file ---- */

/* BK_OK: nobody wants it to end here. */
static int go_on(const struct transfer *t, const char *path, uint64_t at, struct bk_error *err)
{
    if (t->stop != NULL && atomic_load(t->stop)) {
        return bk_error_set(err, BK_EAGAIN, 0, path, at, "the snapshot was stopped");
    }
    return atomic_load(&t->progress->cancel)
               ? bk_error_set(err, BK_ECANCELED, 0, path, at, "the copying was called off")
               : BK_OK;
}

/* The files that are there already, and so much of the next one. */
static void tell(const struct transfer *t, uint64_t copied)
{
    atomic_store_explicit(&t->progress->bytes_done, t->out->bytes + copied, memory_order_relaxed);
}

static int copy_bytes(const struct transfer *t, int from, int to, const char *path, uint64_t size,
                      struct bk_error *err)
{
    struct bk_buf buf = {0};
    uint8_t *p = bk_buf_reserve(&buf, COPY_BYTES);
    int rc = BK_OK;
    for (uint64_t at = 0; rc == BK_OK && at < size;) {
        size_t want = size - at < COPY_BYTES ? (size_t)(size - at) : COPY_BYTES;
        size_t got = 0;
        rc = bki_io_read_all(t->io, from, p, want, at, &got, path, err);
        if (rc == BK_OK && got < want) {
            rc = bk_error_set(err, BK_CORRUPT, 0, path, at, "the file is shorter than it was");
        }
        if (rc == BK_OK) {
            rc = go_on(t, path, at, err);
        }
        if (rc == BK_OK) {
            struct iovec iov = {p, got};
            rc = bki_io_write_all(t->io, to, &iov, 1, at, path, err);
        }
        at += got;
        if (t->counted) {
            tell(t, at);
        }
    }
    bk_buf_fini(&buf);
    return rc;
}

/* size UINT64_MAX: all of it. */
static int copy_file(const struct transfer *t, const char *from, const char *to, uint64_t size,
                     struct bk_error *err)
{
    const struct bk_io *io = t->io;
    int out = -1;
    int rc = BK_OK;
    int in = io->open(io->arg, from, BK_IO_READ);
    if (in < 0) {
        return in == -ENOENT ? BK_NOTFOUND : bki_io_fail(err, in, from, 0, "open");
    }
    int64_t there = io->size(io->arg, in);
    if (there < 0) {
        rc = bki_io_fail(err, there, from, 0, "stat");
        goto out;
    }
    out = io->open(io->arg, to, BK_IO_CREATE);
    if (out < 0) {
        rc = bki_io_fail(err, out, to, 0, "create");
        goto out;
    }
    rc = copy_bytes(t, in, out, to, size == UINT64_MAX ? (uint64_t)there : size, err);
    if (rc == BK_OK && (rc = io->sync(io->arg, out)) < 0) {
        rc = bki_io_fail(err, rc, to, 0, "sync");
    }
out:
    io->close(io->arg, in);
    if (out >= 0) {
        int closed = io->close(io->arg, out);
        rc = rc == BK_OK && closed < 0 ? bki_io_fail(err, closed, to, 0, "close") : rc;
    }
    return rc;
}

/* By link, or as a copy where a link does not reach. BK_NOTFOUND: from is not there. */
static int bring(const struct transfer *t, const char *from, const char *to, uint64_t size,
                 bool *copied, struct bk_error *err)
{
    int rc = t->io->link(t->io->arg, from, to);
    *copied = rc == -EXDEV || rc == -EPERM || rc == -EOPNOTSUPP || rc == -EMLINK;
    if (*copied) {
        return copy_file(t, from, to, size, err);
    }
    if (rc == -ENOENT) {
        return BK_NOTFOUND;
    }
    return rc < 0 ? bki_io_fail(err, rc, to, 0, "link") : BK_OK;
}

static int bring_data(struct transfer *t, const struct bki_manifest_file *f, struct bk_error *err)
{
    char from[BKI_PATH_MAX];
    char to[BKI_PATH_MAX];
    bool copied;
    bki_datafile_path(from, t->from, f->id);
    bki_datafile_path(to, t->to, f->id);
    t->counted = true;
    int rc = bring(t, from, to, f->size, &copied, err);
    t->counted = false;
    if (rc == BK_NOTFOUND) {
        return bk_error_set(err, BK_CORRUPT, 0, from, 0, NOT_WHOLE, "the file is missing");
    }
    if (rc != BK_OK) {
        return rc;
    }
    t->out->files++;
    t->out->bytes += f->size;
    t->out->copied_bytes += copied ? f->size : 0;
    atomic_fetch_add_explicit(&t->progress->files_done, 1, memory_order_relaxed);
    tell(t, 0);
    bki_hint_path(from, t->from, f->id);
    bki_hint_path(to, t->to, f->id);
    rc = bring(t, from, to, UINT64_MAX, &copied, err);
    return rc == BK_NOTFOUND ? BK_OK : rc; /* a start without its hint reads the file itself */
}

/* ---- A directory ---- */

/* Takes the state's contents: a manifest of its own says the same of the new directory. */
static int write_manifest(const struct transfer *t, struct bki_manifest_state *state,
                          struct bk_error *err)
{
    struct bk_buf nothing = {0};
    struct bki_manifest m = {.io = t->io, .fd = -1, .state = *state};
    *state = (struct bki_manifest_state){0};
    m.dir = strdup(t->to);
    int rc = m.dir == NULL ? bk_error_set(err, BK_ENOMEM, errno, t->to, 0, "no memory")
                           : bki_manifest_commit(&m, &nothing, err);
    bki_manifest_close(&m);
    return rc;
}

static int fill(struct transfer *t, struct bki_manifest_state *state, struct bk_error *err)
{
    int rc = BK_OK;
    for (uint32_t i = 0; rc == BK_OK && i < state->files_n; i++) {
        rc = go_on(t, t->to, 0, err);
        if (rc == BK_OK) {
            rc = bring_data(t, &state->files[i], err);
        }
    }
    /* Its commit syncs the directory, the names of the data files in it too. */
    return rc == BK_OK ? write_manifest(t, state, err) : rc;
}

static void tell_total(const struct transfer *t, const struct bki_manifest_state *state)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < state->files_n; i++) {
        bytes += state->files[i].size;
    }
    atomic_store_explicit(&t->progress->files_total, state->files_n, memory_order_relaxed);
    atomic_store_explicit(&t->progress->bytes_total, bytes, memory_order_relaxed);
}

/* Whether something may be made at dir; *tmp: the name it has until it is whole. */
static int check_target(const struct bk_io *io, const char *dir, char tmp[BKI_PATH_MAX],
                        struct bk_error *err)
{
    size_t names = 0;
    size_t len = strlen(dir);
    if (len == 0 || len > BKI_PATH_MAX - 64 || dir[len - 1] == '/') {
        return bk_error_set(err, BK_EINVAL, 0, dir, 0,
                            "the path is empty, too long, or ends with a slash");
    }
    snprintf(tmp, BKI_PATH_MAX, "%s.tmp", dir);
    int rc = bki_dir_count(io, dir, &names, err);
    if (rc == BK_OK && names > 0) {
        rc = bk_error_set(err, BK_EINVAL, EEXIST, dir, 0, "there is something in it already");
    }
    return rc < 0 ? rc : BK_OK;
}

/* The whole of it under its last name, or nothing of it. What has the other name already may be
 * anybody's, the open store or the snapshot to be restored too: it is never removed. */
static int fill_and_name(struct transfer *t, const char *dir, struct bki_manifest_state *state,
                         struct bk_error *err)
{
    int rc = bki_dir_make_new(t->io, t->to, err);
    if (rc != BK_OK) {
        return rc;
    }
    rc = fill(t, state, err);
    if (rc == BK_OK) {
        rc = bki_dir_rename(t->io, t->to, dir, err);
    }
    if (rc != BK_OK) {
        bk_ignore(bki_dir_remove(t->io, t->to, NULL), "the next try says that it is there");
    }
    return rc;
}

/* ---- bk_snapshot ---- */

static int wait_sealed(struct bk_db *db, uint64_t pos, struct bk_error *err)
{
    if (db->threaded) {
        return bki_log_wait_sealed(&db->log, pos, &db->snapshot_stop, err);
    }
    int rc = bki_log_sealed(&db->log, pos, err);
    for (uint32_t i = 0; rc == BK_EAGAIN && i < STEPS_MAX; i++) {
        bki_db_step(db);
        rc = bki_log_sealed(&db->log, pos, err);
    }
    return rc == BK_EAGAIN
               ? bk_error_set(err, rc, 0, db->files.dir, 0, "the log's file was not sealed in time")
               : rc;
}

/* Files that are not sealed come last; what lies behind the first of them is no prefix. */
static void keep_sealed(struct bki_manifest_state *s)
{
    uint32_t n = 0;
    while (n < s->files_n && s->files[n].sealed) {
        n++;
    }
    s->files_n = n;
}

/* Why a file would not be restored from a snapshot; or NULL. */
static const char *not_whole(const struct bki_file *f)
{
    bool sealed = atomic_load(&f->state) == BKI_FILE_SEALED;
    if (f->gone != NULL) {
        return f->gone;
    }
    if (f->header_bad) {
        return "the file's header is damaged";
    }
    return sealed && atomic_load(&f->allocated) < atomic_load(&f->size)
               ? "the file is shorter than it was"
               : NULL;
}

/* A snapshot of a store that lacks a file, or a part of one, would be taken for whole. */
static int nothing_gone(struct bk_db *db, struct bk_error *err)
{
    uint32_t n = atomic_load(&db->files.slots_n);
    int rc = BK_OK;
    /* Not a pin: a merge that is taken back frees its outputs without waiting for any. */
    bk_mutex_lock(&db->files.mu);
    for (uint32_t i = 0; rc == BK_OK && i < n; i++) {
        const struct bki_file *f = bki_files_slot(&db->files, i);
        const char *why = bki_file_in_use(f) ? not_whole(f) : NULL;
        if (why != NULL) {
            rc = bk_error_set(err, BK_CORRUPT, 0, f->path, 0, NOT_WHOLE, why);
        }
    }
    bk_mutex_unlock(&db->files.mu);
    return rc;
}

static int snapshot_held(struct bk_db *db, struct transfer *t, const char *dir,
                         struct bk_error *err)
{
    struct bki_manifest_state state = {0};
    int64_t started = bk_clock_mono_us(db->clock);
    int rc = nothing_gone(db, err);
    if (rc == BK_OK) {
        t->out->pos = bki_log_end_file(&db->log);
        rc = wait_sealed(db, t->out->pos, err);
    }
    if (rc != BK_OK) {
        return rc;
    }
    t->out->sealed_us = (uint64_t)(bk_clock_mono_us(db->clock) - started);
    bki_files_copy_state(&db->files, &state);
    keep_sealed(&state);
    tell_total(t, &state);
    rc = fill_and_name(t, dir, &state, err);
    bki_manifest_state_fini(&state);
    t->out->took_us = (uint64_t)(bk_clock_mono_us(db->clock) - started);
    return rc;
}

int bk_snapshot(struct bk_db *db, const char *dir, struct bk_snapshot_result *out,
                struct bk_progress *progress, struct bk_error *err)
{
    char tmp[BKI_PATH_MAX];
    struct bk_snapshot_result result = {0};
    struct bk_progress unwatched = {0};
    struct transfer t = {.io = db->io,
                         .from = db->files.dir,
                         .to = tmp,
                         .stop = &db->snapshot_stop,
                         .out = &result,
                         .progress = progress != NULL ? progress : &unwatched};
    if (db->read_only) {
        return bki_db_refuse_write(db, err);
    }
    if (atomic_exchange(&db->snapshotting, true)) {
        return bk_error_set(err, BK_EAGAIN, 0, dir, 0, "another snapshot is being made");
    }
    int rc = check_target(db->io, dir, tmp, err);
    if (rc == BK_OK) {
        bki_files_hold(&db->files);
        rc = snapshot_held(db, &t, dir, err);
        bki_files_release(&db->files);
    }
    atomic_store(&db->snapshotting, false);
    if (rc == BK_OK && out != NULL) {
        *out = result;
    }
    return rc;
}

void bk_snapshot_stop(struct bk_db *db)
{
    atomic_store(&db->snapshot_stop, true);
    bk_mutex_lock(&db->log.mu);
    bk_cond_broadcast(&db->log.moved);
    bk_mutex_unlock(&db->log.mu);
}

/* ---- Without an open store ---- */

static int read_manifest(const struct bk_io *io, const char *dir, struct bki_manifest_state *state,
                         struct bk_error *err)
{
    char path[BKI_PATH_MAX];
    struct bk_buf bytes = {0};
    enum bki_manifest_end end = BKI_MANIFEST_DAMAGED;
    size_t max = BKI_MANIFEST_REWRITE + BKI_MANIFEST_EDIT_MAX;
    snprintf(path, sizeof path, "%s/MANIFEST", dir);
    bki_manifest_state_init(state);
    int fd = io->open(io->arg, path, BK_IO_READ);
    if (fd < 0) {
        return fd == -ENOENT ? BK_NOTFOUND : bki_io_fail(err, fd, path, 0, "open");
    }
    int64_t size = io->size(io->arg, fd);
    int rc = size < 0 ? bki_io_fail(err, size, path, 0, "stat") : BK_OK;
    if (rc == BK_OK && (uint64_t)size <= max) {
        uint8_t *p = bk_buf_reserve(&bytes, (size_t)size);
        rc = bki_io_read_all(io, fd, p, (size_t)size, 0, &bytes.len, path, err);
        rc = rc == BK_OK ? bki_manifest_decode(bytes.data, bytes.len, state, &end) : rc;
    }
    if (rc == BK_EVERSION) {
        rc = bk_error_set(err, rc, 0, path, 0, "written by a newer version of the format");
    } else if (rc == BK_CORRUPT || (rc == BK_OK && end != BKI_MANIFEST_WHOLE)) {
        rc = bk_error_set(err, BK_CORRUPT, 0, path, 0, "the manifest does not check");
    }
    io->close(io->arg, fd);
    bk_buf_fini(&bytes);
    return rc;
}

static int check_header(const struct bk_io *io, int fd, const char *path, uint64_t store,
                        const struct bki_manifest_file *f, struct bk_error *err)
{
    struct bki_datafile_header h = {0};
    int rc = bki_datafile_header_read(io, fd, path, &h, err);
    if (rc == BK_OK && (h.uid != f->uid || h.id != f->id || h.store != store)) {
        rc = bk_error_set(err, BK_CORRUPT, 0, path, 0, "the header is not the manifest's");
    }
    bki_datafile_header_fini(&h);
    return rc;
}

/* A file that is still written to belongs to a store, not to a snapshot. */
static int check_file(const struct bk_io *io, const char *dir, uint64_t store,
                      const struct bki_manifest_file *f, struct bk_error *err)
{
    char path[BKI_PATH_MAX];
    bki_datafile_path(path, dir, f->id);
    if (!f->sealed) {
        return bk_error_set(err, BK_CORRUPT, 0, path, 0, "not a snapshot: the file is not sealed");
    }
    int fd = io->open(io->arg, path, BK_IO_READ);
    if (fd == -ENOENT) {
        return bk_error_set(err, BK_CORRUPT, 0, path, 0, "the file is missing");
    }
    if (fd < 0) {
        return bki_io_fail(err, fd, path, 0, "open");
    }
    int64_t size = io->size(io->arg, fd);
    int rc = size < 0 ? bki_io_fail(err, size, path, 0, "stat") : BK_OK;
    if (rc == BK_OK && (uint64_t)size < f->size) {
        rc = bk_error_set(err, BK_CORRUPT, 0, path, (uint64_t)size,
                          "the file is shorter than it was");
    }
    if (rc == BK_OK) {
        rc = check_header(io, fd, path, store, f, err);
    }
    io->close(io->arg, fd);
    return rc;
}

static int restore_shared(struct transfer *t, const char *dir, char tmp[BKI_PATH_MAX],
                          struct bk_error *err)
{
    struct bki_manifest_state state;
    int rc = read_manifest(t->io, t->from, &state, err);
    if (rc == BK_NOTFOUND) {
        rc = bk_error_set(err, BK_CORRUPT, 0, t->from, 0, "not a snapshot: there is no manifest");
    }
    tell_total(t, &state);
    for (uint32_t i = 0; rc == BK_OK && i < state.files_n; i++) {
        rc = check_file(t->io, t->from, state.store, &state.files[i], err);
    }
    if (rc == BK_OK) {
        rc = check_target(t->io, dir, tmp, err);
    }
    if (rc == BK_OK) {
        rc = fill_and_name(t, dir, &state, err);
    }
    bki_manifest_state_fini(&state);
    return rc;
}

/* As a store opened to read is locked: nothing is made in the snapshot. Without a LOCK nobody has
 * ever written to it; who begins to, meanwhile, can only take away a file, which is an error. */
int bk_restore(const struct bk_io *io, const char *snapshot, const char *dir,
               struct bk_progress *progress, struct bk_error *err)
{
    char tmp[BKI_PATH_MAX];
    int lock;
    struct bk_snapshot_result result = {0};
    struct bk_progress unwatched = {0};
    struct transfer t = {.io = io != NULL ? io : &bk_io_system,
                         .from = snapshot,
                         .to = tmp,
                         .out = &result,
                         .progress = progress != NULL ? progress : &unwatched};
    if (strlen(snapshot) > BKI_PATH_MAX - 64) {
        return bk_error_set(err, BK_EINVAL, 0, snapshot, 0, "the path is too long");
    }
    int rc = bki_dir_lock(t.io, snapshot, true, &lock, err);
    if (rc != BK_OK && lock != -ENOENT) {
        return rc;
    }
    rc = restore_shared(&t, dir, tmp, err);
    if (lock >= 0) {
        t.io->unlock(t.io->arg, lock);
    }
    return rc;
}

int bk_snapshot_files(const struct bk_io *io, const char *snapshot,
                      void (*each)(void *arg, const struct bk_file_info *info), void *arg,
                      struct bk_error *err)
{
    struct bki_manifest_state state;
    int rc = read_manifest(io != NULL ? io : &bk_io_system, snapshot, &state, err);
    for (uint32_t i = 0; rc == BK_OK && i < state.files_n; i++) {
        const struct bki_manifest_file *f = &state.files[i];
        struct bk_file_info info = {.id = f->id, .uid = f->uid, .rank = f->rank, .size = f->size};
        info.state = f->sealed ? BK_FILE_SEALED : BK_FILE_ROTATED;
        each(arg, &info);
    }
    bki_manifest_state_fini(&state);
    return rc;
}

int bk_snapshot_remove(const struct bk_io *io, const char *snapshot, struct bk_error *err)
{
    char tmp[BKI_PATH_MAX];
    int lock;
    io = io != NULL ? io : &bk_io_system;
    if (strlen(snapshot) > BKI_PATH_MAX - 64) {
        return bk_error_set(err, BK_EINVAL, 0, snapshot, 0, "the path is too long");
    }
    snprintf(tmp, sizeof tmp, "%s.tmp", snapshot);
    int rc = bki_dir_own(io, snapshot, err);
    if (rc != BK_OK) {
        return rc;
    }
    rc = bki_dir_lock(io, snapshot, false, &lock, err);
    /* No room to make it: so it was not there, and nobody holds it. */
    if (rc != BK_OK && lock != -ENOSPC && lock != -EDQUOT) {
        return rc;
    }
    rc = bki_dir_rename(io, snapshot, tmp, err);
    if (rc == BK_OK) {
        rc = bki_dir_remove(io, tmp, err);
    }
    if (lock >= 0) {
        io->unlock(io->arg, lock);
    }
    return rc;
}
