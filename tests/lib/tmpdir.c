/* SPDX-License-Identifier: MIT */
/* tmpdir.c - see tmpdir.h. */
#include "lib/tmpdir.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void give_up(const char *what, const char *path)
{
    fprintf(stderr, "%s %s: %s\n", what, path, strerror(errno));
    exit(2);
}

void tmpdir_make(struct tmpdir *d, const char *name)
{
    const char *base = getenv("TMPDIR");
    if (base == NULL || base[0] == '\0') {
        base = "/tmp";
    }
    int n = snprintf(d->path, sizeof(d->path), "%s/bitkv-%s-XXXXXX", base, name);
    if (n < 0 || (size_t)n >= sizeof(d->path)) {
        errno = ENAMETOOLONG;
        give_up("tmpdir", base);
    }
    if (mkdtemp(d->path) == NULL) {
        give_up("mkdtemp", d->path);
    }
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void tmpdir_remove_tree(const char *path)
{
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT) {
        give_up("remove", path);
    }
}

void tmpdir_remove(struct tmpdir *d)
{
    tmpdir_remove_tree(d->path);
    d->path[0] = '\0';
}

void tmpdir_join(const struct tmpdir *d, const char *name, char *out, size_t out_len)
{
    int n = snprintf(out, out_len, "%s/%s", d->path, name);
    if (n < 0 || (size_t)n >= out_len) {
        errno = ENAMETOOLONG;
        give_up("join", name);
    }
}
