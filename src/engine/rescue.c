/* SPDX-License-Identifier: MIT */
/*
 * rescue.c - a data file whose sync has failed, written again.
 *
 * The kernel may have dropped what it could not write and may call the file clean all the same, so
 * it is never synced again. What was acknowledged is still in the page cache, as far as it has not
 * been evicted: it is read back, checked, and put into a new file that takes the old one's name.
 * Uid and offsets stay, so no location changes. Where no new file can be had it is written again in
 * its place, as below.
 *
 * A process that dies before that leaves such a file behind: pages that are clean, read well, and
 * are not on the disk. The next one, on the same boot of the machine, cannot tell, and its own sync
 * would answer well without writing them. So it writes what may be such a page once more, the same
 * bytes in the same place: that makes it dirty, and then the sync means what it says.
 */
#include "base/log.h"
#include "engine/damage.h"
#include "engine/files.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define COPY_BYTES (1u << 20)
#define COPY_PATH (BKI_PATH_MAX + 8)

static void copy_path(char path[COPY_PATH], const struct bki_file *f)
{
    snprintf(path, COPY_PATH, "%s.new", f->path);
}

/* The bytes of f from offset from on, to the same place of another file or of itself. */
static int copy_bytes(const struct bk_io *io, const struct bki_file *f, int to, const char *path,
                      uint64_t from, struct bk_error *err)
{
    struct bk_buf buf = {0};
    uint8_t *p = bk_buf_reserve(&buf, COPY_BYTES);
    uint64_t size = atomic_load(&f->size);
    int rc = BK_OK;
    for (uint64_t at = from; rc == BK_OK && at < size;) {
        size_t want = size - at < COPY_BYTES ? (size_t)(size - at) : COPY_BYTES;
        size_t got = 0;
        rc = bki_io_read_all(io, f->fd, p, want, at, &got, f->path, err);
        if (rc == BK_OK && got < want) {
            rc = bk_error_set(err, BK_CORRUPT, 0, f->path, at, "the file is shorter than it was");
        }
        if (rc == BK_OK) {
            struct iovec iov = {p, got};
            rc = bki_io_write_all(io, to, &iov, 1, at, path, err);
        }
        at += got;
    }
    bk_buf_fini(&buf);
    return rc;
}

/* Syncs the copy and gives it the file's name. */
static int take_place(struct bki_files *fs, const struct bki_file *f, int fd, const char *path,
                      struct bk_error *err)
{
    int rc = fs->io->sync(fs->io->arg, fd);
    if (rc < 0) {
        return bki_io_fail(err, rc, path, 0, "sync");
    }
    rc = fs->io->rename(fs->io->arg, path, f->path);
    if (rc < 0) {
        return bki_io_fail(err, rc, path, 0, "rename");
    }
    rc = fs->io->sync_dir(fs->io->arg, fs->dir);
    return rc < 0 ? bki_io_fail(err, rc, fs->dir, 0, "sync directory") : BK_OK;
}

int bki_files_rewrite(struct bki_files *fs, const struct bki_file *f, uint64_t from,
                      struct bk_error *err)
{
    return copy_bytes(fs->io, f, f->fd, f->path, from, err);
}

void bki_files_remove_copy(struct bki_files *fs, const struct bki_file *f)
{
    char path[COPY_PATH];
    copy_path(path, f);
    bk_ignore(fs->io->unlink(fs->io->arg, path), "most files have none; it costs space only");
}

int bki_files_renew(struct bki_files *fs, struct bki_file *f, struct bki_damage *damage,
                    uint64_t *lost, struct bk_error *err)
{
    uint64_t size = atomic_load(&f->size);
    char path[COPY_PATH];
    copy_path(path, f);
    if (f->old_fd >= 0) {
        return bk_error_set(err, BK_EIO, 0, f->path, 0, "written again once before");
    }
    int rc = fs->io->unlink(fs->io->arg, path);
    if (rc < 0 && rc != -ENOENT) {
        return bki_io_fail(err, rc, path, 0, "unlink");
    }
    int fd = fs->io->open(fs->io->arg, path, BK_IO_CREATE);
    if (fd < 0) {
        return bki_io_fail(err, fd, path, 0, "create");
    }
    rc = copy_bytes(fs->io, f, fd, path, 0, err);
    if (rc == BK_OK && damage != NULL) {
        rc = bki_damage_survey(damage, fs->io, f, fd, lost, err);
    }
    if (rc == BK_OK) {
        rc = take_place(fs, f, fd, path, err);
    }
    if (rc != BK_OK) {
        fs->io->close(fs->io->arg, fd);
        fs->io->unlink(fs->io->arg, path);
        return rc;
    }
    /* Reads that began with the old descriptor end with it: it stays open until the store is
     * closed. */
    f->old_fd = f->fd;
    f->fd = fd;
    atomic_store(&f->allocated, size);
    return BK_OK;
}

static int write_in_place(struct bki_files *fs, struct bki_file *f, uint64_t from,
                          struct bki_damage *damage, uint64_t *lost, struct bk_error *err)
{
    struct bk_error unread;
    int rc = bki_files_rewrite(fs, f, from, err);
    if (rc == BK_OK) {
        int synced = fs->io->sync(fs->io->arg, f->fd);
        rc = synced < 0 ? bki_io_fail(err, synced, f->path, 0, "sync") : BK_OK;
    }
    if (rc == BK_OK) {
        bk_ignore(bki_damage_survey(damage, fs->io, f, f->fd, lost, &unread),
                  "what was synced long ago may be unreadable: its keys' reads say so");
    }
    return rc;
}

int bki_files_rescue(struct bki_files *fs, struct bki_file *f, uint64_t from,
                     struct bki_damage *damage, struct bk_error *err)
{
    uint64_t lost = 0;
    if (bki_files_renew(fs, f, damage, &lost, err) != BK_OK) {
        lost = 0; /* a full disk has no room for a copy */
        int rc = write_in_place(fs, f, from, damage, &lost, err);
        if (rc != BK_OK) {
            return rc;
        }
    }
    f->sync_failed = false;
    bk_log(BK_LOG_WARNING,
           "%s was written again after its sync had failed; %" PRIu64
           " bytes of it could not be read back",
           f->path, lost);
    return BK_OK;
}
