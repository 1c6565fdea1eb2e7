/* SPDX-License-Identifier: MIT */
/* bad_sector.h - a disk that does not read one range of one file, whenever it is asked. */
#ifndef BK_TESTS_BAD_SECTOR_H
#define BK_TESTS_BAD_SECTOR_H

#include "engine_test.h"

#include <errno.h>

static struct {
    struct bk_io io; /* the table that the store sees */
    const struct bk_io *below;
    char path[300];
    uint64_t from, to; /* equal: all is read */
    int fd;
} bad_disk;

static inline int bad_open(void *arg, const char *path, enum bk_io_open how)
{
    int fd = bad_disk.below->open(arg, path, how);
    bad_disk.fd = strcmp(path, bad_disk.path) == 0 ? fd : bad_disk.fd;
    return fd;
}

static inline int bad_close(void *arg, int fd)
{
    bad_disk.fd = fd == bad_disk.fd ? -1 : bad_disk.fd;
    return bad_disk.below->close(arg, fd);
}

static inline int64_t bad_pread(void *arg, int fd, void *buf, size_t len, uint64_t offset)
{
    bool hit = fd == bad_disk.fd && bad_disk.from < bad_disk.to && offset < bad_disk.to &&
               offset + len > bad_disk.from;
    return hit ? -EIO : bad_disk.below->pread(arg, fd, buf, len, offset);
}

static inline void bad_sector_heal(void)
{
    bad_disk.to = bad_disk.from;
}

/* A file that takes another's place lies elsewhere. */
static inline int bad_rename(void *arg, const char *from, const char *to)
{
    if (strcmp(to, bad_disk.path) == 0) {
        bad_sector_heal();
    }
    return bad_disk.below->rename(arg, from, to);
}

/* What is opened from now on through the result. */
static inline const struct bk_io *bad_sector(struct rig *r, const char *path, uint64_t from,
                                             uint64_t bytes)
{
    bad_disk.below = simdisk_io(r->disk);
    bad_disk.io = *bad_disk.below;
    bad_disk.io.open = bad_open;
    bad_disk.io.close = bad_close;
    bad_disk.io.pread = bad_pread;
    bad_disk.io.rename = bad_rename;
    bad_disk.fd = -1;
    bad_disk.from = from;
    bad_disk.to = from + bytes;
    snprintf(bad_disk.path, sizeof(bad_disk.path), "%s", path);
    return &bad_disk.io;
}

#endif
