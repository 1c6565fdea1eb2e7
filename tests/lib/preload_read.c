/* SPDX-License-Identifier: MIT */
/*
 * preload_read.c - a slow disk, put in front of a program by LD_PRELOAD.
 *
 * Nothing of a data file is ever in the page cache: preadv2 with RWF_NOWAIT answers EAGAIN. As long
 * as there is a FIFO called $READS_HOLD, reads by the server's threads for reads stand still: each
 * waits for the end of the FIFO, which comes when the test, its one writer, closes it. Who stands
 * has made a file $READS_HOLD.stands. The same goes for $SYNCS_HOLD and syncs by the server's
 * thread for them, and for $LINKS_HOLD and links by anybody.
 *
 * $READS_BAD: the path of a file, a colon and an offset. Reads of any of the 4 KiB from there on
 * answer EIO.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define PATH_SIZE 512

ssize_t preadv2(int fd, const struct iovec *iov, int n, off_t at, int flags);
ssize_t pread(int fd, void *buf, size_t len, off_t at);
ssize_t pread64(int fd, void *buf, size_t len, off_t at);
int fdatasync(int fd);
int link(const char *from, const char *to);

/* dlsym has no type of its own for functions. */
static void find(const char *name, void *function)
{
    void *p = dlsym(RTLD_NEXT, name);
    memcpy(function, &p, sizeof p);
}

static bool is_data(int fd)
{
    char link[64];
    char path[PATH_SIZE] = {0};
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    return len > 5 && strcmp(path + len - 5, ".data") == 0;
}

static bool by_thread(const char *which)
{
    char name[16];
    return pthread_getname_np(pthread_self(), name, sizeof name) == 0 && strcmp(name, which) == 0;
}

static void leave_mark(const char *hold)
{
    char mark[PATH_SIZE];
    snprintf(mark, sizeof mark, "%s.stands", hold);
    int fd = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0) {
        close(fd);
    }
}

static void stand_still(const char *hold)
{
    int saved = errno;
    /* Not blocking: a FIFO that has lost its writer meanwhile has ended. */
    int fd = hold == NULL ? -1 : open(hold, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0) {
        char byte;
        leave_mark(hold);
        if (fcntl(fd, F_SETFL, 0) == 0) {
            while (read(fd, &byte, 1) < 0 && errno == EINTR) {
            }
        }
        close(fd);
    }
    errno = saved;
}

ssize_t preadv2(int fd, const struct iovec *iov, int n, off_t at, int flags)
{
    ssize_t (*real)(int, const struct iovec *, int, off_t, int);
    if ((flags & RWF_NOWAIT) != 0 && is_data(fd)) {
        errno = EAGAIN;
        return -1;
    }
    find("preadv2", &real);
    return real(fd, iov, n, at, flags);
}

static bool is_bad(int fd, size_t len, off_t at)
{
    char link[64];
    char path[PATH_SIZE] = {0};
    const char *bad = getenv("READS_BAD");
    const char *colon = bad == NULL ? NULL : strrchr(bad, ':');
    if (colon == NULL) {
        return false;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    off_t from = strtoll(colon + 1, NULL, 10);
    return n == colon - bad && strncmp(path, bad, (size_t)n) == 0 && at < from + 4096 &&
           at + (off_t)len > from;
}

static ssize_t slow_read(const char *name, int fd, void *buf, size_t len, off_t at)
{
    ssize_t (*real)(int, void *, size_t, off_t);
    if (by_thread("bk-read") && is_data(fd)) {
        stand_still(getenv("READS_HOLD"));
    }
    if (is_bad(fd, len, at)) {
        errno = EIO;
        return -1;
    }
    find(name, &real);
    return real(fd, buf, len, at);
}

ssize_t pread(int fd, void *buf, size_t len, off_t at)
{
    return slow_read("pread", fd, buf, len, at);
}

ssize_t pread64(int fd, void *buf, size_t len, off_t at)
{
    return slow_read("pread64", fd, buf, len, at);
}

int fdatasync(int fd)
{
    int (*real)(int);
    if (by_thread("bk-sync")) {
        stand_still(getenv("SYNCS_HOLD"));
    }
    find("fdatasync", &real);
    return real(fd);
}

int link(const char *from, const char *to)
{
    int (*real)(const char *, const char *);
    stand_still(getenv("LINKS_HOLD"));
    find("link", &real);
    return real(from, to);
}
