/* SPDX-License-Identifier: MIT */
/*
 * io.c - the operating system behind struct bk_io, and the loops over short counts that every
 * caller needs.
 *
 * No O_APPEND: Linux would ignore pwrite's offset. No mmap: a truncated file would be a signal, not
 * an error.
 */
#include "engine/io.h"

#include "engine/io_holder.h"

#include "base/assert.h"
#include "base/nofile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int sys_open(void *arg, const char *path, enum bk_io_open how)
{
    (void)arg;
    int flags = O_CLOEXEC | (how == BK_IO_READ ? O_RDONLY : O_RDWR) |
                (how == BK_IO_CREATE ? O_CREAT | O_EXCL : 0);
    int fd = open(path, flags, 0640);
    return fd < 0 ? -errno : fd;
}

static int sys_close(void *arg, int fd)
{
    (void)arg;
    return close(fd) != 0 ? -errno : 0;
}

static int64_t sys_pread(void *arg, int fd, void *buf, size_t len, uint64_t offset)
{
    (void)arg;
    ssize_t n = pread(fd, buf, len, (off_t)offset);
    return n < 0 ? -errno : n;
}

static int64_t sys_pread_cached(void *arg, int fd, void *buf, size_t len, uint64_t offset)
{
    (void)arg;
    struct iovec iov = {.iov_base = buf, .iov_len = len};
    ssize_t n = preadv2(fd, &iov, 1, (off_t)offset, RWF_NOWAIT);
    if (n >= 0) {
        return n;
    }
    return errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL ? -EAGAIN : -errno;
}

static int64_t sys_pwritev(void *arg, int fd, const struct iovec *iov, int iov_n, uint64_t offset)
{
    (void)arg;
    ssize_t n = pwritev(fd, iov, iov_n, (off_t)offset);
    return n < 0 ? -errno : n;
}

static int sys_sync(void *arg, int fd)
{
    (void)arg;
    return fdatasync(fd) != 0 ? -errno : 0;
}

static int sys_write_behind(void *arg, int fd, uint64_t offset, uint64_t len)
{
    (void)arg;
    if (sync_file_range(fd, (off_t)offset, (off_t)len, SYNC_FILE_RANGE_WRITE) != 0) {
        /* These say that there is no such thing here, or that it is not allowed. */
        bool none = errno == ENOSYS || errno == EINVAL || errno == ESPIPE || errno == EPERM;
        return none ? 0 : -errno;
    }
    /* Whatever this one says may be what the sync would have said. */
    const unsigned wait =
        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    return offset >= len && sync_file_range(fd, (off_t)(offset - len), (off_t)len, wait) != 0
               ? -errno
               : 0;
}

static int64_t sys_free_bytes(void *arg, const char *path)
{
    (void)arg;
    struct statvfs s;
    if (statvfs(path, &s) < 0) {
        return -errno;
    }
    return (int64_t)((uint64_t)s.f_bavail * s.f_frsize);
}

/* Those that are known to; others may put what is written elsewhere first. */
static int sys_in_place(void *arg, const char *path)
{
    (void)arg;
    struct statfs s;
    return statfs(path, &s) == 0 && (s.f_type == EXT4_SUPER_MAGIC || s.f_type == XFS_SUPER_MAGIC);
}

static int sys_allocate(void *arg, int fd, uint64_t offset, uint64_t len)
{
    (void)arg;
    if (fallocate(fd, 0, (off_t)offset, (off_t)len) == 0) {
        return 0;
    }
    if (errno != EOPNOTSUPP && errno != ENOSYS) {
        return -errno;
    }
    /* A file system without fallocate: glibc writes a byte into each block. */
    return -posix_fallocate(fd, (off_t)offset, (off_t)len);
}

static int sys_truncate(void *arg, int fd, uint64_t size)
{
    (void)arg;
    return ftruncate(fd, (off_t)size) != 0 ? -errno : 0;
}

static int64_t sys_size(void *arg, int fd)
{
    (void)arg;
    struct stat st;
    return fstat(fd, &st) != 0 ? -errno : (int64_t)st.st_size;
}

static int sys_mkdir(void *arg, const char *path)
{
    (void)arg;
    return mkdir(path, 0750) != 0 ? -errno : 0;
}

static int sys_rmdir(void *arg, const char *path)
{
    (void)arg;
    return rmdir(path) != 0 ? -errno : 0;
}

static int sys_link(void *arg, const char *from, const char *to)
{
    (void)arg;
    return link(from, to) != 0 ? -errno : 0;
}

static int sys_rename(void *arg, const char *from, const char *to)
{
    (void)arg;
    return rename(from, to) != 0 ? -errno : 0;
}

static int sys_unlink(void *arg, const char *path)
{
    (void)arg;
    return unlink(path) != 0 ? -errno : 0;
}

static int sys_sync_dir(void *arg, const char *path)
{
    (void)arg;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int rc = fsync(fd) != 0 ? -errno : 0;
    int closed = close(fd) != 0 ? -errno : 0;
    return rc != 0 ? rc : closed;
}

static int sys_list(void *arg, const char *path, void (*each)(void *each_arg, const char *name),
                    void *each_arg)
{
    (void)arg;
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return -errno;
    }
    struct dirent *entry;
    errno = 0;
    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            each(each_arg, entry->d_name);
        }
        errno = 0;
    }
    int rc = -errno;
    closedir(dir);
    return rc;
}

/* Who has the lock that was not to be had. What the file says is the second best: it tells of the
 * last writer only, if there was room, and with the pid that it has in its own namespace. */
static long lock_holder(int fd)
{
    char pid[32] = "";
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    bool reader = fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_RDLCK;
    long holder = bki_io_holder(fd);
    if (holder > 0 || reader) {
        return holder > 0 ? holder : BK_IO_READER;
    }
    ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
    holder = n > 0 ? strtol(pid, NULL, 10) : 0;
    return holder > 0 ? holder : BK_IO_UNKNOWN;
}

/* Tells who holds the lock, in place: it takes no room where there was such a text before. A disk
 * without room for it is no reason not to be locked, but then an older holder's pid must not
 * stand. */
static int write_holder(int fd)
{
    char pid[24];
    int len = snprintf(pid, sizeof pid, "%-15ld\n", (long)getpid());
    ssize_t n = pwrite(fd, pid, (size_t)len, 0);
    if (n == len) {
        return 0;
    }
    int rc = n < 0 ? -errno : -ENOSPC;
    if (rc != -ENOSPC && rc != -EDQUOT) {
        return rc;
    }
    bk_ignore(ftruncate(fd, 0), "a wrong pid misleads, and does no other harm");
    return 0;
}

/* An open file description lock belongs to this open of the file: it does not survive a kill, is
 * not shared with a forked child's own open, and is not dropped when another descriptor of the same
 * file is closed. */
static int lock_fd(int fd, short type, long *holder)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &lock) == 0) {
        return 0;
    }
    int rc = errno == EACCES || errno == EAGAIN ? -EWOULDBLOCK : -errno;
    if (rc == -EWOULDBLOCK) {
        *holder = lock_holder(fd);
    }
    return rc;
}

static int sys_lock_shared(void *arg, const char *path, long *holder)
{
    (void)arg;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int rc = lock_fd(fd, F_RDLCK, holder);
    if (rc < 0) {
        close(fd);
    }
    return rc < 0 ? rc : fd;
}

static int sys_lock(void *arg, const char *path, long *holder)
{
    (void)arg;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) {
        return -errno;
    }
    int rc = lock_fd(fd, F_WRLCK, holder);
    rc = rc == 0 ? write_holder(fd) : rc;
    if (rc < 0) {
        close(fd);
    }
    return rc < 0 ? rc : fd;
}

static int sys_unlock(void *arg, int handle)
{
    return sys_close(arg, handle);
}

static int sys_boot_id(void *arg, uint8_t out[16])
{
    (void)arg;
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    char text[64];
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    int digits = 0;
    memset(out, 0, 16);
    for (ssize_t i = 0; i < n && digits < 32; i++) {
        const char *hex = "0123456789abcdef";
        const char *at = text[i] == '\0' ? NULL : strchr(hex, text[i]);
        if (at != NULL) {
            out[digits / 2] = (uint8_t)(out[digits / 2] << 4 | (at - hex));
            digits++;
        }
    }
    return digits == 32 ? 0 : -EIO;
}

const struct bk_io bk_io_system = {
    .open = sys_open,
    .close = sys_close,
    .pread = sys_pread,
    .pread_cached = sys_pread_cached,
    .pwritev = sys_pwritev,
    .sync = sys_sync,
    .write_behind = sys_write_behind,
    .allocate = sys_allocate,
    .truncate = sys_truncate,
    .size = sys_size,
    .free_bytes = sys_free_bytes,
    .in_place = sys_in_place,
    .mkdir = sys_mkdir,
    .rmdir = sys_rmdir,
    .rename = sys_rename,
    .link = sys_link,
    .unlink = sys_unlink,
    .sync_dir = sys_sync_dir,
    .list = sys_list,
    .lock = sys_lock,
    .lock_shared = sys_lock_shared,
    .unlock = sys_unlock,
    .boot_id = sys_boot_id,
};

int bki_io_fail(struct bk_error *err, int64_t rc, const char *path, uint64_t offset,
                const char *what)
{
    BK_ASSERT(rc < 0);
    if (rc == -EMFILE) {
        return bk_error_set(err, BK_EIO, EMFILE, path, offset,
                            "%s failed: the limit is %" PRIu64
                            " open files, and each data file takes one: raise it (ulimit -n)",
                            what, bk_nofile_raise(0));
    }
    int code = rc == -ENOSPC || rc == -EDQUOT || rc == -EFBIG ? BK_ENOSPC : BK_EIO;
    return bk_error_set(err, code, (int)-rc, path, offset, "%s failed", what);
}

int bki_io_locked(struct bk_error *err, const char *path, long holder)
{
    if (holder > 0) {
        return bk_error_set(err, BK_ELOCKED, 0, path, 0, "process %ld has this directory open",
                            holder);
    }
    return bk_error_set(err, BK_ELOCKED, 0, path, 0,
                        "%s has this directory open: which one cannot be seen from here",
                        holder == BK_IO_READER ? "a process that reads" : "another process");
}

/* Drops n bytes from the front of the vector; returns how many whole entries are done. */
static int advance(struct iovec *iov, int iov_n, size_t n)
{
    int done = 0;
    while (done < iov_n && n >= iov[done].iov_len) {
        n -= iov[done].iov_len;
        done++;
    }
    if (done < iov_n) {
        iov[done].iov_base = (uint8_t *)iov[done].iov_base + n;
        iov[done].iov_len -= n;
    }
    return done;
}

int bki_io_write_all(const struct bk_io *io, int fd, struct iovec *iov, int iov_n, uint64_t offset,
                     const char *path, struct bk_error *err)
{
    int done = advance(iov, iov_n, 0);
    while (done < iov_n) {
        int batch = iov_n - done < IOV_MAX ? iov_n - done : IOV_MAX;
        int64_t n = io->pwritev(io->arg, fd, iov + done, batch, offset);
        if (n == -EINTR) {
            continue;
        }
        if (n <= 0) {
            return bki_io_fail(err, n == 0 ? -EIO : n, path, offset, "write");
        }
        offset += (uint64_t)n;
        done += advance(iov + done, iov_n - done, (size_t)n);
    }
    return BK_OK;
}

int bki_io_read_all(const struct bk_io *io, int fd, void *buf, size_t len, uint64_t offset,
                    size_t *got, const char *path, struct bk_error *err)
{
    size_t have = 0;
    while (have < len) {
        int64_t n = io->pread(io->arg, fd, (uint8_t *)buf + have, len - have, offset + have);
        if (n == -EINTR) {
            continue;
        }
        if (n < 0) {
            return bki_io_fail(err, n, path, offset + have, "read");
        }
        if (n == 0) {
            break;
        }
        have += (size_t)n;
    }
    *got = have;
    return BK_OK;
}
