/* SPDX-License-Identifier: MIT */
/* dir.c - directories as a whole. */
#include "engine/dir.h"

#include "base/assert.h"
#include "engine/bitkv.h"
#include "engine/datafile.h"
#include "engine/hint.h"
#include "engine/manifest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void parent_of(const char *dir, char parent[BKI_PATH_MAX])
{
    snprintf(parent, BKI_PATH_MAX, "%s", dir);
    for (size_t n = strlen(parent); n > 1 && parent[n - 1] == '/'; n--) {
        parent[n - 1] = '\0';
    }
    char *slash = strrchr(parent, '/');
    if (slash == NULL) {
        snprintf(parent, BKI_PATH_MAX, ".");
    } else {
        slash[slash == parent] = '\0';
    }
}

int bki_dir_make(const struct bk_io *io, const char *dir, struct bk_error *err)
{
    int made = io->mkdir(io->arg, dir);
    if (made < 0 && made != -EEXIST) {
        return bki_io_fail(err, made, dir, 0, "make directory");
    }
    char parent[BKI_PATH_MAX];
    parent_of(dir, parent);
    int rc = io->sync_dir(io->arg, parent);
    /* A parent that we may not open is not one that we have changed. */
    if (rc < 0 && (made == 0 || rc == -EIO)) {
        return bki_io_fail(err, rc, parent, 0, "sync directory");
    }
    return BK_OK;
}

static int taken(const char *dir, struct bk_error *err)
{
    return bk_error_set(err, BK_EINVAL, EEXIST, dir, 0,
                        "it is there already: if a snapshot, restore or removal that was cut off "
                        "has left it, remove it");
}

int bki_dir_make_new(const struct bk_io *io, const char *dir, struct bk_error *err)
{
    io->rmdir(io->arg, dir); /* never one that holds anything; what is left, the next call tells */
    int rc = io->mkdir(io->arg, dir);
    if (rc == -EEXIST) {
        return taken(dir, err);
    }
    if (rc < 0) {
        return bki_io_fail(err, rc, dir, 0, "make directory");
    }
    rc = bki_dir_make(io, dir, err);
    if (rc != BK_OK) {
        io->rmdir(io->arg, dir);
    }
    return rc;
}

int bki_dir_rename(const struct bk_io *io, const char *from, const char *to, struct bk_error *err)
{
    char parent[BKI_PATH_MAX];
    int rc = io->rename(io->arg, from, to);
    if (rc < 0) {
        return rc == -ENOTEMPTY || rc == -EEXIST ? taken(to, err)
                                                 : bki_io_fail(err, rc, to, 0, "rename");
    }
    parent_of(to, parent);
    rc = io->sync_dir(io->arg, parent);
    if (rc < 0) {
        rc = bki_io_fail(err, rc, parent, 0, "sync directory");
        io->rename(io->arg, to, from);
    }
    return rc;
}

static void count_name(void *arg, const char *name)
{
    (void)name;
    (*(size_t *)arg)++;
}

int bki_dir_list(const struct bk_io *io, const char *dir, void (*each)(void *arg, const char *name),
                 void *arg, struct bk_error *err)
{
    int rc = io->list(io->arg, dir, each, arg);
    return rc < 0 ? bki_io_fail(err, rc, dir, 0, "list directory") : BK_OK;
}

int bki_dir_count(const struct bk_io *io, const char *dir, size_t *n, struct bk_error *err)
{
    *n = 0;
    int rc = io->list(io->arg, dir, count_name, n);
    if (rc == -ENOENT) {
        return BK_NOTFOUND;
    }
    return rc < 0 ? bki_io_fail(err, rc, dir, 0, "list directory") : BK_OK;
}

/* ---- A store, or somebody else's files ---- */

enum manifest { MANIFEST_NONE, MANIFEST_OURS, MANIFEST_OTHER };

/* In the first bytes a bit or two may have turned over; where more differ, no store wrote them. */
#define MAGIC_BITS_MAX 2

/* What a file begins with; zeros where it is shorter. */
struct front {
    uint8_t bytes[8];
    size_t len;
};

/* BK_NOTFOUND: there is no such file. */
static int read_front(const struct bk_io *io, const char *path, struct front *out,
                      struct bk_error *err)
{
    *out = (struct front){.len = 0};
    int fd = io->open(io->arg, path, BK_IO_READ);
    if (fd < 0) {
        return fd == -ENOENT ? BK_NOTFOUND : bki_io_fail(err, fd, path, 0, "open");
    }
    int rc = bki_io_read_all(io, fd, out->bytes, sizeof out->bytes, 0, &out->len, path, err);
    io->close(io->arg, fd);
    return rc;
}

static int look_at_manifest(const struct bk_io *io, const char *path, enum manifest *out,
                            struct bk_error *err)
{
    struct front f;
    int wrong = 0;
    int rc = read_front(io, path, &f, err);
    if (rc == BK_NOTFOUND) {
        *out = MANIFEST_NONE;
        return BK_OK;
    }
    for (size_t i = 0; i < sizeof f.bytes; i++) {
        wrong += __builtin_popcount(f.bytes[i] ^ (uint8_t)BKI_MANIFEST_MAGIC[i]);
    }
    if (rc == BK_OK) {
        *out = wrong <= MAGIC_BITS_MAX ? MANIFEST_OURS : MANIFEST_OTHER;
    }
    return rc;
}

struct seen {
    bool anything, data;
    bool lock, other; /* LOCK; what is neither that nor MANIFEST.new */
};

static void see_name(void *arg, const char *name)
{
    struct seen *s = arg;
    uint64_t id;
    bool lock = strcmp(name, "LOCK") == 0;
    s->anything = true;
    s->data = s->data || bki_datafile_name_id(name, &id);
    s->lock = s->lock || lock;
    s->other = s->other || (!lock && strcmp(name, "MANIFEST.new") != 0);
}

/* A directory that was to become a store, where the first opening was cut off before the manifest
 * had its name: nothing is in it that counts. A LOCK is ours if it is empty or tells a pid. */
static int look_at_lock(const struct bk_io *io, const char *dir, bool *ours, struct bk_error *err)
{
    char path[BKI_PATH_MAX];
    struct front f;
    snprintf(path, sizeof path, "%s/LOCK", dir);
    int rc = read_front(io, path, &f, err);
    if (rc < 0) {
        return rc;
    }
    *ours = true; /* also when it has just gone: what is there now, the opening tells */
    for (size_t i = 0; i < f.len; i++) {
        *ours = *ours && ((f.bytes[i] >= '0' && f.bytes[i] <= '9') || f.bytes[i] == ' ');
    }
    return BK_OK;
}

int bk_look(const struct bk_io *io, const char *dir, enum bk_contents *out, struct bk_error *err)
{
    char path[BKI_PATH_MAX];
    struct seen seen = {0};
    enum manifest m = MANIFEST_NONE;
    bool begun = false;
    io = io != NULL ? io : &bk_io_system;
    if (strlen(dir) > BKI_PATH_MAX - 64) {
        return bk_error_set(err, BK_EINVAL, 0, dir, 0, "the path is too long");
    }
    snprintf(path, sizeof path, "%s/MANIFEST", dir);
    int rc = io->list(io->arg, dir, see_name, &seen);
    if (rc < 0 && rc != -ENOENT) {
        return bki_io_fail(err, rc, dir, 0, "list directory");
    }
    bool there = rc == 0;
    rc = seen.anything && !seen.data ? look_at_manifest(io, path, &m, err) : BK_OK;
    if (rc == BK_OK && seen.lock && !seen.other) {
        rc = look_at_lock(io, dir, &begun, err);
    }
    if (rc == BK_OK) {
        *out = seen.data || m == MANIFEST_OURS ? BK_DIR_STORE
               : seen.anything && !begun       ? BK_DIR_OTHER
               : there                         ? BK_DIR_EMPTY
                                               : BK_DIR_MISSING;
    }
    return rc;
}

int bki_dir_refuse_other(const struct bk_io *io, const char *dir, struct bk_error *err)
{
    char path[BKI_PATH_MAX];
    struct seen seen = {0};
    enum manifest m = MANIFEST_NONE;
    snprintf(path, sizeof path, "%s/MANIFEST", dir);
    int rc = look_at_manifest(io, path, &m, err);
    if (rc != BK_OK || m != MANIFEST_OTHER) {
        return rc;
    }
    rc = bki_dir_list(io, dir, see_name, &seen, err);
    if (rc != BK_OK) {
        return rc;
    }
    return seen.data ? BK_OK
                     : bk_error_set(err, BK_EINVAL, 0, path, 0,
                                    "no store wrote this file, and no data file lies beside it: "
                                    "is it another program's directory?");
}

/* Of a data file, in the making (rescue.c). */
static bool is_copy(const char *name)
{
    char of[64];
    size_t len = strlen(name);
    uint64_t id;
    if (len < 4 || len >= sizeof of || strcmp(name + len - 4, ".new") != 0) {
        return false;
    }
    memcpy(of, name, len - 4);
    of[len - 4] = '\0';
    return bki_datafile_name_id(of, &id);
}

/* FORMAT.md lists them. */
static bool is_stores(const char *name)
{
    static const char *const names[] = {"LOCK",   "MANIFEST",  "MANIFEST.new", "MANIFEST.damaged",
                                        "KEYDIR", "KEYDIR.new"};
    uint64_t id;
    bool known = bki_datafile_name_id(name, &id) || bki_hint_name_id(name, &id) || is_copy(name);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        known = known || strcmp(name, names[i]) == 0;
    }
    return known;
}

static void find_other(void *arg, const char *name)
{
    char *other = arg;
    if (other[0] == '\0' && !is_stores(name)) {
        snprintf(other, 256, "%s", name);
    }
}

int bki_dir_lock(const struct bk_io *io, const char *dir, bool shared, int *lock,
                 struct bk_error *err)
{
    char path[BKI_PATH_MAX];
    long holder = 0;
    snprintf(path, sizeof path, "%s/LOCK", dir);
    *lock = (shared ? io->lock_shared : io->lock)(io->arg, path, &holder);
    if (*lock >= 0) {
        return BK_OK;
    }
    return *lock == -EWOULDBLOCK ? bki_io_locked(err, path, holder)
                                 : bki_io_fail(err, *lock, path, 0, "lock");
}

int bki_dir_own(const struct bk_io *io, const char *dir, struct bk_error *err)
{
    char other[256] = "";
    char path[BKI_PATH_MAX + 256];
    int rc = bki_dir_list(io, dir, find_other, other, err);
    if (rc != BK_OK) {
        return rc;
    }
    snprintf(path, sizeof path, "%s/%s", dir, other);
    return other[0] == '\0' ? BK_OK
                            : bk_error_set(err, BK_EINVAL, 0, path, 0,
                                           "it is no file of a store, so the directory stays");
}

struct names {
    char **names; /* owned, each too */
    size_t n;
};

static void keep_name(void *arg, const char *name)
{
    struct names *l = arg;
    l->names = bk_realloc(l->names, (l->n + 1) * sizeof *l->names);
    l->names[l->n] = strdup(name);
    BK_ASSERT(l->names[l->n] != NULL);
    l->n++;
}

static int unlink_in(const struct bk_io *io, const char *dir, const char *name,
                     struct bk_error *err)
{
    char path[BKI_PATH_MAX + 256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int rc = io->unlink(io->arg, path);
    return rc < 0 && rc != -ENOENT ? bki_io_fail(err, rc, path, 0, "unlink") : BK_OK;
}

int bki_dir_remove(const struct bk_io *io, const char *dir, struct bk_error *err)
{
    struct names l = {0};
    int rc = io->list(io->arg, dir, keep_name, &l);
    if (rc == -ENOENT) {
        return BK_OK;
    }
    rc = rc < 0 ? bki_io_fail(err, rc, dir, 0, "list directory") : BK_OK;
    if (rc == BK_OK) {
        rc = unlink_in(io, dir, "MANIFEST", err);
    }
    for (size_t i = 0; i < l.n; i++) {
        rc = rc == BK_OK ? unlink_in(io, dir, l.names[i], err) : rc;
        free(l.names[i]);
    }
    free(l.names);
    if (rc == BK_OK) {
        rc = io->rmdir(io->arg, dir);
        rc = rc < 0 && rc != -ENOENT ? bki_io_fail(err, rc, dir, 0, "remove directory") : BK_OK;
    }
    return rc;
}
