/* SPDX-License-Identifier: MIT */
/* io_readonly.c - reading calls go through to the table below, the others do not. */
#include "engine/io_readonly.h"

#include <errno.h>

static const struct bk_io *below(void *arg)
{
    return arg;
}

static int ro_open(void *arg, const char *path, enum bk_io_open how)
{
    return how == BK_IO_CREATE ? -EROFS : below(arg)->open(below(arg)->arg, path, BK_IO_READ);
}

static int ro_close(void *arg, int fd)
{
    return below(arg)->close(below(arg)->arg, fd);
}

static int64_t ro_pread(void *arg, int fd, void *buf, size_t len, uint64_t offset)
{
    return below(arg)->pread(below(arg)->arg, fd, buf, len, offset);
}

static int64_t ro_pread_cached(void *arg, int fd, void *buf, size_t len, uint64_t offset)
{
    const struct bk_io *io = below(arg);
    return io->pread_cached == NULL ? -EAGAIN : io->pread_cached(io->arg, fd, buf, len, offset);
}

static int64_t ro_pwritev(void *arg, int fd, const struct iovec *iov, int iov_n, uint64_t offset)
{
    (void)arg;
    (void)fd;
    (void)iov;
    (void)iov_n;
    (void)offset;
    return -EROFS;
}

static int ro_sync(void *arg, int fd)
{
    (void)arg;
    (void)fd;
    return 0;
}

static int ro_allocate(void *arg, int fd, uint64_t offset, uint64_t len)
{
    (void)arg;
    (void)fd;
    (void)offset;
    (void)len;
    return -EROFS;
}

static int ro_truncate(void *arg, int fd, uint64_t size)
{
    (void)arg;
    (void)fd;
    (void)size;
    return -EROFS;
}

static int64_t ro_size(void *arg, int fd)
{
    return below(arg)->size(below(arg)->arg, fd);
}

static int64_t ro_free_bytes(void *arg, const char *path)
{
    return below(arg)->free_bytes(below(arg)->arg, path);
}

static int ro_in_place(void *arg, const char *path)
{
    return below(arg)->in_place(below(arg)->arg, path);
}

static int ro_mkdir(void *arg, const char *path)
{
    (void)arg;
    (void)path;
    return -EROFS;
}

static int ro_leave(void *arg, const char *path)
{
    (void)arg;
    (void)path;
    return 0;
}

static int ro_rename(void *arg, const char *from, const char *to)
{
    (void)arg;
    (void)from;
    (void)to;
    return 0;
}

static int ro_link(void *arg, const char *from, const char *to)
{
    (void)arg;
    (void)from;
    (void)to;
    return -EROFS;
}

static int ro_list(void *arg, const char *path, void (*each)(void *each_arg, const char *name),
                   void *each_arg)
{
    return below(arg)->list(below(arg)->arg, path, each, each_arg);
}

static int ro_lock(void *arg, const char *path, long *holder)
{
    return below(arg)->lock_shared(below(arg)->arg, path, holder);
}

static int ro_unlock(void *arg, int handle)
{
    return below(arg)->unlock(below(arg)->arg, handle);
}

static int ro_boot_id(void *arg, uint8_t out[16])
{
    return below(arg)->boot_id(below(arg)->arg, out);
}

void bki_io_readonly(struct bk_io *out, const struct bk_io *under)
{
    *out = (struct bk_io){
        .arg = (void *)(uintptr_t)under,
        .open = ro_open,
        .close = ro_close,
        .pread = ro_pread,
        .pread_cached = ro_pread_cached,
        .pwritev = ro_pwritev,
        .sync = ro_sync,
        .allocate = ro_allocate,
        .truncate = ro_truncate,
        .size = ro_size,
        .free_bytes = ro_free_bytes,
        .in_place = ro_in_place,
        .mkdir = ro_mkdir,
        .rmdir = ro_leave,
        .rename = ro_rename,
        .link = ro_link,
        .unlink = ro_leave,
        .sync_dir = ro_leave,
        .list = ro_list,
        .lock = ro_lock,
        .lock_shared = ro_lock,
        .unlock = ro_unlock,
        .boot_id = ro_boot_id,
    };
}
