/* SPDX-License-Identifier: MIT */
/*
 * preload_sync.c - a disk that fails, put in front of a server by LD_PRELOAD.
 *
 * $FAILING_DIR: files below it are meant. $FAILING_CONTROL: a file that says what fails as long as
 * it is there, in words:
 *   sync    fsync and fdatasync answer EIO
 *   write   pwritev answers EIO
 *   data    ... of data files only
 *   drop    what was written to a file since its last good sync reads as zeros from then on, as
 * when the kernel has let go of the pages that it could not write once    the first call that fails
 * takes the control file away
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS 4096
#define PATH_SIZE 512

/* Written and not synced. */
struct range {
    ino_t inode;
    off_t from, to; /* empty when equal */
};

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static struct range unsynced[FDS];

ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t at);

/* dlsym has no type of its own for functions. */
static void find(const char *name, void *function)
{
    void *p = dlsym(RTLD_NEXT, name);
    memcpy(function, &p, sizeof p);
}

static bool says(const char *text, const char *word)
{
    return strstr(text, word) != NULL;
}

/* The words of the control file that are meant for a call of kind on fd; false: it goes through. */
static bool fails(int fd, const char *kind, char *words, size_t size)
{
    const char *control = getenv("FAILING_CONTROL");
    const char *dir = getenv("FAILING_DIR");
    char link[64];
    char path[PATH_SIZE] = {0};
    int saved = errno;
    int in = control == NULL || dir == NULL ? -1 : open(control, O_RDONLY | O_CLOEXEC);
    if (in < 0) {
        errno = saved;
        return false;
    }
    ssize_t got = read(in, words, size - 1);
    words[got < 0 ? 0 : got] = '\0';
    close(in);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    bool data = len > 5 && strcmp(path + len - 5, ".data") == 0;
    bool mine =
        strncmp(path, dir, strlen(dir)) == 0 && says(words, kind) && (data || !says(words, "data"));
    mine = mine && (!says(words, "once") || unlink(control) == 0);
    errno = saved;
    return mine;
}

/* The file's range, emptied when the descriptor was another file's. */
static struct range *range_locked(int fd)
{
    struct stat st;
    if (fd < 0 || fd >= FDS || fstat(fd, &st) != 0) {
        return NULL;
    }
    struct range *r = &unsynced[fd];
    if (r->inode != st.st_ino) {
        *r = (struct range){.inode = st.st_ino};
    }
    return r;
}

static void forget(int fd, bool drop)
{
    static const char zeros[4096];
    int saved = errno;
    pthread_mutex_lock(&mu);
    struct range *r = range_locked(fd);
    while (drop && r != NULL && r->from < r->to) {
        size_t n = r->to - r->from < (off_t)sizeof zeros ? (size_t)(r->to - r->from) : sizeof zeros;
        ssize_t put = pwrite(fd, zeros, n, r->from);
        if (put <= 0) {
            break;
        }
        r->from += put;
    }
    if (r != NULL) {
        r->from = r->to = 0;
    }
    pthread_mutex_unlock(&mu);
    errno = saved;
}

static int sync_by(const char *name, int fd)
{
    char words[128];
    int (*real)(int) = NULL;
    if (fails(fd, "sync", words, sizeof words)) {
        forget(fd, says(words, "drop"));
        errno = EIO;
        return -1;
    }
    find(name, &real);
    int rc = real(fd);
    if (rc == 0) {
        forget(fd, false);
    }
    return rc;
}

int fsync(int fd)
{
    return sync_by("fsync", fd);
}

int fdatasync(int fd)
{
    return sync_by("fdatasync", fd);
}

ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t at)
{
    char words[128];
    ssize_t (*real)(int, const struct iovec *, int, off_t) = NULL;
    if (fails(fd, "write", words, sizeof words)) {
        errno = EIO;
        return -1;
    }
    find("pwritev", &real);
    ssize_t put = real(fd, iov, n, at);
    pthread_mutex_lock(&mu);
    struct range *r = put > 0 ? range_locked(fd) : NULL;
    if (r != NULL) {
        r->from = r->from == r->to || at < r->from ? at : r->from;
        r->to = at + put > r->to ? at + put : r->to;
    }
    pthread_mutex_unlock(&mu);
    return put;
}
