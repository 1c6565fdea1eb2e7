/* SPDX-License-Identifier: MIT */
/*
 * io_holder.c - which process holds a lock, as /proc tells.
 *
 * An open file description lock belongs to no process: neither F_OFD_GETLK nor /proc/locks has a
 * pid for it. But what a descriptor holds stands in its fdinfo, so all descriptors that we may see
 * are asked. This is the way of who was refused; nobody else pays for it.
 */
#include "engine/io_holder.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* About a second; a holder behind so many is not found. */
#define DESCRIPTORS_MAX (1u << 20)

struct search {
    struct statx file; /* the one that is locked */
    unsigned left;     /* descriptors that may still be looked at */
};

/* Without asking a server for news of the file, which could hang: its identity does not change. */
static bool identify(int at, const char *name, int flags, struct statx *out)
{
    return statx(at, name, flags | AT_STATX_DONT_SYNC, STATX_INO, out) == 0;
}

static bool same_file(const struct statx *a, const struct statx *b)
{
    return a->stx_ino == b->stx_ino && a->stx_dev_major == b->stx_dev_major &&
           a->stx_dev_minor == b->stx_dev_minor;
}

/* fds: the process's /proc/PID/fd. A descriptor of the file alone may be one that was refused. */
static bool has_lock(int fds, const char *name)
{
    char path[64];
    char text[1024] = "";
    snprintf(path, sizeof path, "../fdinfo/%.20s", name);
    int fd = openat(fds, path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0) {
        close(fd);
    }
    return n > 0 && strstr(text, "OFDLCK") != NULL;
}

static bool holds(struct search *s, const char *pid)
{
    char path[64];
    struct statx found;
    struct dirent *entry;
    bool yes = false;
    snprintf(path, sizeof path, "/proc/%.20s/fd", pid);
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return false; /* another user's, or it has ended */
    }
    while (!yes && s->left > 0 && (entry = readdir(dir)) != NULL) {
        s->left--;
        yes = entry->d_name[0] != '.' && identify(dirfd(dir), entry->d_name, 0, &found) &&
              same_file(&s->file, &found) && has_lock(dirfd(dir), entry->d_name);
    }
    closedir(dir);
    return yes;
}

long bki_io_holder(int fd)
{
    struct search s = {.left = DESCRIPTORS_MAX};
    struct dirent *entry;
    long holder = 0;
    DIR *proc = identify(fd, "", AT_EMPTY_PATH, &s.file) ? opendir("/proc") : NULL;
    if (proc == NULL) {
        return 0;
    }
    while (holder == 0 && (entry = readdir(proc)) != NULL) {
        long pid = strtol(entry->d_name, NULL, 10); /* 0: no process's directory */
        holder = pid > 0 && holds(&s, entry->d_name) ? pid : 0;
    }
    closedir(proc);
    return holder;
}
