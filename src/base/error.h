/* SPDX-License-Identifier: MIT */
/*
 * error.h - how functions fail.
 *
 * A function that can fail returns int: BK_OK (0), a negative enum bk_err when it failed, a
 * positive code for a normal other answer. The detail is written once, where the system call
 * failed, into the caller's struct bk_error (NULL is allowed everywhere); upper layers pass it on
 * and log it once.
 */
#ifndef BK_BASE_ERROR_H
#define BK_BASE_ERROR_H

#include <stdint.h>

#define BK_MUST_USE __attribute__((warn_unused_result))

enum bk_err {
    BK_OK = 0,
    BK_NOTFOUND = 1, /* the key is not there, or its time has run out */
    BK_CHANGED = 2,  /* what was looked up has been replaced meanwhile: look again */
    BK_READING = 3,  /* it is on its way from the disk: ask again when told */
    BK_EINVAL = -1,  /* an argument or an option is out of its range */
    BK_ENOMEM = -2,
    BK_EIO = -3,     /* a system call failed; bk_error.sys_errno says how */
    BK_ENOSPC = -4,  /* the file system, or the address space of 8 TiB, is full */
    BK_CORRUPT = -5, /* bytes on disk do not check; bk_error names file and offset */
    BK_ELOCKED = -6, /* another process has the directory open */
    BK_EAGAIN =
        -7, /* no room in the log right now: nothing was changed, try again after the notify call */
    BK_ETOOBIG = -8,    /* over a documented limit; nothing was changed */
    BK_EVERSION = -9,   /* written by a newer major version of the format */
    BK_EREADONLY = -10, /* the store was opened for reading only */
    BK_ECANCELED = -11  /* the caller no longer wants it */
};

/* Detail of a failure. Storage is the caller's; every field is a value, nothing to free. */
struct bk_error {
    int code;        /* enum bk_err */
    int sys_errno;   /* 0 when no system call was involved */
    uint64_t offset; /* byte offset in path, where that means something */
    char path[256];  /* "" when no file was involved; cut if longer */
    char text[160];  /* one sentence without a full stop, for the log */
};

/* Fills *err (NULL: does nothing) and returns code, so that a failing function can end in one line.
 */
int bk_error_set(struct bk_error *err, int code, int sys_errno, const char *path, uint64_t offset,
                 const char *fmt, ...) __attribute__((format(printf, 6, 7)));

/* "No space left on device" and so on, in buf. */
void bk_error_format(const struct bk_error *err, char *buf, unsigned long buf_len);

/* Drops a result on purpose; why is for the reader. */
static inline void bk_ignore(int rc, const char *why)
{
    (void)rc;
    (void)why;
}

#endif
