/* SPDX-License-Identifier: MIT */
/*
 * files_merge.c - data files that a merge writes, and the way out of those that it replaces.
 *
 * The first output's header is written last: it lists what the outputs replace, and whoever has to
 * rebuild a lost manifest from headers must not believe it before all of them are whole. The other
 * outputs list nothing: without the first they are copies of what the inputs hold as well.
 */
#include "engine/files.h"

#include "base/assert.h"
#include "engine/hint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

void bki_files_hold(struct bki_files *fs)
{
    atomic_fetch_add(&fs->holds, 1);
}

void bki_files_release(struct bki_files *fs)
{
    unsigned before = atomic_fetch_sub(&fs->holds, 1);
    BK_ASSERT(before > 0);
}

int bki_files_replace(struct bki_files *fs, const struct bk_buf *edit, struct bk_error *err)
{
    bk_mutex_lock(&fs->edits);
    int rc = BK_EAGAIN;
    if (atomic_load(&fs->holds) == 0) {
        rc = bki_manifest_commit(&fs->manifest, edit, err);
    }
    bk_mutex_unlock(&fs->edits);
    return rc;
}

static int write_output_header(struct bki_files *fs, struct bki_file *f, const uint64_t *replaces,
                               uint32_t n, struct bk_error *err)
{
    struct bki_datafile_header h = {
        .uid = f->uid,
        .id = f->id,
        .rank = f->rank,
        .store = fs->manifest.state.store,
        .created_ms = bk_clock_wall_ms(fs->clock),
        .merged = true,
        .replaces_n = n,
    };
    struct bk_buf list = {0};
    struct bk_buf bytes = {0};
    if (n > 0) {
        bk_buf_append(&list, replaces, n * sizeof *replaces);
        h.replaces = (uint64_t *)(void *)list.data;
    }
    bki_datafile_header_encode(&h, &bytes);
    BK_ASSERT(bytes.len == f->header_bytes);
    struct iovec iov = {bytes.data, bytes.len};
    int rc = bki_io_write_all(fs->io, f->fd, &iov, 1, 0, f->path, err);
    bk_buf_fini(&bytes);
    bk_buf_fini(&list);
    return rc;
}

int bki_files_create_output(struct bki_files *fs, uint64_t rank, bool first, uint32_t replaces_n,
                            struct bki_file **out, struct bk_error *err)
{
    uint64_t uid;
    int rc = bki_random64(&uid, err);
    if (rc != BK_OK) {
        return rc;
    }
    bk_mutex_lock(&fs->edits);
    struct bki_file *f = bki_file_new(fs, fs->manifest.state.next_id++, uid, rank);
    bk_mutex_unlock(&fs->edits);
    f->merged = true;
    f->header_bytes = BKI_DATAFILE_FIXED + (first ? replaces_n * 8 : 0);
    atomic_init(&f->size, f->header_bytes);
    atomic_init(&f->state, BKI_FILE_OUTPUT);
    f->fd = fs->io->open(fs->io->arg, f->path, BK_IO_CREATE);
    rc = f->fd < 0 ? bki_io_fail(err, f->fd, f->path, 0, "create") : BK_OK;
    if (rc == BK_OK && !first) {
        rc = write_output_header(fs, f, NULL, 0, err);
        atomic_store(&f->allocated, f->header_bytes); /* a file is cut back to this, should no more
                                                       * be had */
    }
    if (rc == BK_OK) {
        rc = bki_file_publish(fs, f, err);
    }
    if (rc != BK_OK) {
        if (f->fd >= 0) {
            fs->io->unlink(fs->io->arg, f->path);
        }
        bki_file_free(fs, &f);
        return rc;
    }
    *out = f;
    return BK_OK;
}

int bki_files_finish_output(struct bki_files *fs, struct bki_file *f, const uint64_t *replaces,
                            uint32_t n, struct bk_error *err)
{
    int rc = write_output_header(fs, f, replaces, n, err);
    if (rc != BK_OK) {
        return rc;
    }
    rc = fs->io->sync(fs->io->arg, f->fd);
    return rc < 0 ? bki_io_fail(err, rc, f->path, 0, "sync") : BK_OK;
}

static int unlink_name(struct bki_files *fs, const char *path, struct bk_error *err)
{
    int rc = fs->io->unlink(fs->io->arg, path);
    return rc < 0 && rc != -ENOENT ? bki_io_fail(err, rc, path, 0, "unlink") : BK_OK;
}

int bki_files_unlink(struct bki_files *fs, const struct bki_file *f, struct bk_error *err)
{
    char hint[BKI_PATH_MAX];
    bki_hint_path(hint, fs->dir, f->id);
    int rc = unlink_name(fs, hint, err);
    return rc == BK_OK ? unlink_name(fs, f->path, err) : rc;
}

void bki_files_cancel_output(struct bki_files *fs, struct bki_file **f)
{
    /* A name that stays is an orphan, removed by the next start. */
    bk_ignore(bki_files_unlink(fs, *f, NULL), "an orphan does no harm");
    bki_files_forget(fs, f);
}

void bki_file_pages_give(struct bki_files *fs, struct bki_file *f)
{
    for (uint32_t i = 0; i < f->pages_n; i++) {
        if (f->pages[i] != BKI_NO_PAGE) {
            bki_pages_give(&fs->pages, f->pages[i]);
            f->pages[i] = BKI_NO_PAGE;
        }
    }
}
