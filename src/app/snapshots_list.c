/* SPDX-License-Identifier: MIT */
/* snapshots_list.c - names in snapshot-dir, and what the manifests behind them say. */
#include "app/snapshots_list.h"

#include "base/buf.h"
#include "base/log.h"
#include "engine/bitkv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STAMP_LEN 17 /* "-20260131T235959Z" */

/* ---- Names ---- */

/* "0000000012-20260131T235959Z"; *left_over: with ".tmp" behind, once or more. */
static bool name_number(const char *name, uint64_t *number, bool *left_over)
{
    size_t digits = strspn(name, "0123456789");
    const char *stamp = name + digits;
    if (digits < 10 || digits > 18 || strnlen(stamp, STAMP_LEN) < STAMP_LEN || stamp[0] != '-' ||
        strspn(stamp + 1, "0123456789TZ") != STAMP_LEN - 1) {
        return false;
    }
    const char *rest = stamp + STAMP_LEN;
    *left_over = rest[0] != '\0';
    while (strncmp(rest, ".tmp", 4) == 0) {
        rest += 4;
    }
    *number = strtoull(name, NULL, 10);
    return rest[0] == '\0' && strlen(name) < sizeof((struct snapshots_item *)0)->name;
}

static int by_number(const void *a, const void *b)
{
    const struct snapshots_item *x = a;
    const struct snapshots_item *y = b;
    return x->number != y->number ? (x->number < y->number ? -1 : 1) : strcmp(x->name, y->name);
}

/* Adds the names of one kind, in order. */
static int read_names(struct snapshots_list *l, const char *dir, bool left_overs)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    if (d == NULL) {
        return errno;
    }
    while ((e = readdir(d)) != NULL) {
        uint64_t number;
        bool left_over;
        if (!name_number(e->d_name, &number, &left_over)) {
            continue;
        }
        l->last_number = number > l->last_number ? number : l->last_number;
        if (left_over == left_overs) {
            l->items = bk_realloc(l->items, (l->n + 1) * sizeof *l->items);
            struct snapshots_item *item = &l->items[l->n++];
            *item = (struct snapshots_item){.number = number};
            memcpy(item->name, e->d_name, strlen(e->d_name) + 1);
        }
    }
    closedir(d);
    if (l->n > 1) {
        qsort(l->items, l->n, sizeof *l->items, by_number);
    }
    return 0;
}

/* ---- Making dir ---- */

static int sync_parent(const char *dir)
{
    char parent[PATH_MAX];
    snprintf(parent, sizeof parent, "%s/..", dir);
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return errno;
    }
    int rc = fsync(fd) != 0 ? errno : 0;
    close(fd);
    return rc;
}

int snapshots_list_prepare(const char *dir, struct bk_error *err)
{
    struct snapshots_list left = {0};
    if (mkdir(dir, 0750) != 0 && errno != EEXIST) {
        return bk_error_set(err, BK_EIO, errno, dir, 0, "snapshot-dir cannot be made");
    }
    int rc = sync_parent(dir);
    rc = rc == 0 ? read_names(&left, dir, true) : rc;
    if (rc != 0) {
        rc = bk_error_set(err, BK_EIO, rc, dir, 0, "snapshot-dir cannot be used");
    }
    /* The longer name first: the other one's removal takes it. */
    for (size_t i = left.n; rc == BK_OK && i-- > 0;) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", dir, left.items[i].name);
        rc = bk_snapshot_remove(NULL, path, err);
        if (rc == BK_EINVAL) {
            bk_log(BK_LOG_WARNING, "What is left of a snapshot stays: %s: %s", err->path,
                   err->text);
            rc = BK_OK;
        }
    }
    snapshots_list_fini(&left);
    return rc;
}

/* ---- Files ---- */

struct gather {
    struct snapshots_list *list;
    bool linked;
};

static void add_file(void *arg, const struct bk_file_info *info)
{
    struct gather *g = arg;
    struct snapshots_list *l = g->list;
    l->files = bk_realloc(l->files, (l->files_n + 1) * sizeof *l->files);
    l->files[l->files_n++] = (struct snapshots_file){info->uid, info->size, g->linked};
}

static int by_uid(const void *a, const void *b)
{
    uint64_t x = ((const struct snapshots_file *)a)->uid;
    uint64_t y = ((const struct snapshots_file *)b)->uid;
    return x < y ? -1 : x > y;
}

/* Links of one file are one file; copies are not. */
static void drop_repeated(struct snapshots_list *l)
{
    size_t kept = 0;
    if (l->files_n > 1) {
        qsort(l->files, l->files_n, sizeof *l->files, by_uid);
    }
    for (size_t i = 0; i < l->files_n; i++) {
        bool again = kept > 0 && l->files[kept - 1].uid == l->files[i].uid && l->files[i].linked;
        if (!again) {
            l->files[kept++] = l->files[i];
        }
    }
    l->files_n = kept;
}

static bool same_device(const char *a, const char *b)
{
    struct stat sa;
    struct stat sb;
    return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev;
}

void snapshots_list_read(struct snapshots_list *l, const char *dir, const char *data_dir)
{
    size_t kept = 0;
    struct gather g = {.list = l, .linked = same_device(dir, data_dir)};
    int rc = read_names(l, dir, false);
    if (rc != 0 && rc != ENOENT) {
        bk_log(BK_LOG_WARNING, "Snapshots cannot be listed: %s: %s", dir, strerror(rc));
    }
    for (size_t i = 0; i < l->n; i++) {
        char path[PATH_MAX];
        struct bk_error err = {0};
        snprintf(path, sizeof path, "%s/%s", dir, l->items[i].name);
        if (bk_snapshot_files(NULL, path, add_file, &g, &err) == BK_OK) {
            l->items[kept++] = l->items[i];
        } else {
            bk_log(BK_LOG_WARNING, "%s is no whole snapshot and is left alone: %s", path, err.text);
        }
    }
    l->n = kept;
    drop_repeated(l);
}

void snapshots_list_fini(struct snapshots_list *l)
{
    free(l->items);
    free(l->files);
    *l = (struct snapshots_list){0};
}
