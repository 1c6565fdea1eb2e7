/* SPDX-License-Identifier: MIT */
/*
 * io.h - the few file operations that the engine needs, as a table, so that a test can be the disk.
 *
 * Every function returns 0 or a count, or a negative errno value (-ENOSPC); none prints or retries.
 * Short counts and -EINTR are allowed wherever POSIX allows them: bki_io_* below loop. Paths are
 * relative to the working directory or absolute; files never go outside bk_options.dir. Functions
 * may be called from any thread.
 */
#ifndef BK_ENGINE_IO_H
#define BK_ENGINE_IO_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum bk_io_open {
    BK_IO_READ = 0,  /* read only, the file exists */
    BK_IO_WRITE = 1, /* read and write, the file exists */
    BK_IO_CREATE = 2 /* read and write, mode 0640; -EEXIST when it is there */
};

/* Holders of a lock whose pid is not to be found out: another user's, another namespace's. */
#define BK_IO_READER 0L
#define BK_IO_UNKNOWN (-1L)

struct bk_io {
    void *arg; /* borrowed; handed to every function */

    /* Handles are small numbers >= 0, close-on-exec. */
    int (*open)(void *arg, const char *path, enum bk_io_open how);
    int (*close)(void *arg, int fd);
    int64_t (*pread)(void *arg, int fd, void *buf, size_t len, uint64_t offset);
    /* As pread, of what can be had without waiting for the disk; may end early. -EAGAIN: nothing,
     * or this file system cannot tell. NULL: there is no such thing. */
    int64_t (*pread_cached)(void *arg, int fd, void *buf, size_t len, uint64_t offset);
    int64_t (*pwritev)(void *arg, int fd, const struct iovec *iov, int iov_n, uint64_t offset);
    int (*sync)(void *arg, int fd); /* fdatasync: data and size */
    /* Has len bytes from offset on written to the disk soon, and waits for the len bytes before
     * them, which an earlier call has told of: so a sync finds little to write, and what is read
     * meanwhile waits for little. Makes nothing durable; but a failure is one of a sync: it is told
     * once, and what was written may be lost. NULL: there is no such thing. */
    int (*write_behind)(void *arg, int fd, uint64_t offset, uint64_t len);
    /* Room on disk for [offset, offset + len); the size grows with it and the new bytes read as
     * zero. */
    int (*allocate)(void *arg, int fd, uint64_t offset, uint64_t len);
    int (*truncate)(void *arg, int fd, uint64_t size);
    int64_t (*size)(void *arg, int fd);
    int64_t (*free_bytes)(void *arg, const char *path); /* on the file system of a directory */
    /* 1: there, what is written over bytes of a file takes their place, and so no more room. */
    int (*in_place)(void *arg, const char *path);

    int (*mkdir)(void *arg, const char *path); /* 0750; -EEXIST when it is there */
    int (*rmdir)(void *arg, const char *path); /* -ENOTEMPTY when something lies in it */
    /* Of directories too; one that is empty may be replaced by another. */
    int (*rename)(void *arg, const char *from, const char *to);
    /* A second name for a file. -EXDEV and -EPERM: not between these places. */
    int (*link)(void *arg, const char *from, const char *to);
    int (*unlink)(void *arg, const char *path);
    int (*sync_dir)(void *arg, const char *path);
    /* Calls each() with every name in the directory but "." and "..". */
    int (*list)(void *arg, const char *path, void (*each)(void *each_arg, const char *name),
                void *each_arg);

    /* Takes the exclusive lock of path (made when missing) and writes this process's pid into it,
     * if there is room; returns a handle that unlock releases, or -EWOULDBLOCK with the pid of a
     * holder, or one of BK_IO_*, in *holder. -ENOSPC, -EDQUOT: path is not there, nor can it be
     * made.
     */
    int (*lock)(void *arg, const char *path, long *holder);
    /* The same for a reader: path is not made nor written, and others may hold it like this too. A
     * path that is not there is held by nobody, and cannot be: -ENOENT. */
    int (*lock_shared)(void *arg, const char *path, long *holder);
    int (*unlock)(void *arg, int handle);

    /* Which start of the machine this is: 16 bytes, equal as long as it has not lost its memory. */
    int (*boot_id)(void *arg, uint8_t out[16]);
};

/* The operating system's files. */
extern const struct bk_io bk_io_system;

/* Loops over short counts and -EINTR. BK_OK, or BK_EIO / BK_ENOSPC with the detail; path is for the
 * detail. */
BK_MUST_USE int bki_io_write_all(const struct bk_io *io, int fd, struct iovec *iov, int iov_n,
                                 uint64_t offset, const char *path, struct bk_error *err);
/* Reads len bytes or up to the end of the file; *got says how many. */
BK_MUST_USE int bki_io_read_all(const struct bk_io *io, int fd, void *buf, size_t len,
                                uint64_t offset, size_t *got, const char *path,
                                struct bk_error *err);
/* BK_EIO or BK_ENOSPC (-ENOSPC, -EDQUOT, -EFBIG) for a negative errno value from the table. */
int bki_io_fail(struct bk_error *err, int64_t rc, const char *path, uint64_t offset,
                const char *what);
/* BK_ELOCKED, with who has the directory open, as lock has told. */
int bki_io_locked(struct bk_error *err, const char *path, long holder);

#endif
