/* SPDX-License-Identifier: MIT */
/*
 * simdisk.c - the calls of the simulated disk. Lives, settings and damage: simdisk_control.c; files
 * and names: simdisk_file.c and simdisk_tree.c.
 *
 * Each call runs between sim_call_begin() and sim_call_end() (simdisk_call.c).
 */
#include "lib/simdisk_private.h"

#include "base/assert.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct sim_handle *handle_of(struct simdisk *d, int fd)
{
    bool ok = fd >= 0 && fd < SIM_HANDLES_MAX && d->handles[fd].file != NULL;
    return ok ? &d->handles[fd] : NULL;
}

static const char *handle_path(struct simdisk *d, int fd)
{
    struct sim_handle *h = handle_of(d, fd);
    return h != NULL ? h->path : NULL;
}

static char *dup_str(const char *s)
{
    size_t n = strlen(s) + 1;
    char *p = bk_alloc(n);
    memcpy(p, s, n);
    return p;
}

static int handle_new(struct simdisk *d, const char *path, struct sim_file *file, bool writable,
                      bool is_lock)
{
    int fd = 0;
    while (fd < SIM_HANDLES_MAX && d->handles[fd].file != NULL) {
        fd++;
    }
    if (fd == SIM_HANDLES_MAX) {
        return -EMFILE;
    }
    d->handles[fd] = (struct sim_handle){.file = sim_file_ref(file),
                                         .path = dup_str(path),
                                         .writable = writable,
                                         .is_lock = is_lock};
    return fd;
}

void simdisk_handle_drop(struct sim_handle *h)
{
    sim_file_unref(&h->file);
    free(h->path);
    h->path = NULL;
}

/* Only directories made on this disk are checked: "." and what lies above the test's directory are
 * there. */
static bool parent_missing(const struct simdisk *d, const char *path)
{
    char dir[SIM_PATH_LEN];
    sim_parent(path, dir, sizeof(dir));
    bool outside = strcmp(dir, ".") == 0 || strcmp(dir, "/") == 0;
    return !outside && sim_names_find(&d->tree.cached, dir) == NULL;
}

uint64_t simdisk_used_locked(const struct simdisk *d)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < d->tree.cached.n; i++) {
        const struct sim_file *f = d->tree.cached.items[i].file;
        bool first = f != NULL;
        for (size_t j = 0; j < i && first; j++) {
            first = d->tree.cached.items[j].file != f; /* a further link takes no room */
        }
        sum += first ? sim_file_charge(f) : 0;
    }
    return sum;
}

/* Bytes that file may still grow to within the capacity. */
static uint64_t size_limit(const struct simdisk *d, const struct sim_file *f)
{
    if (d->capacity == UINT64_MAX) {
        return UINT64_MAX;
    }
    uint64_t used = simdisk_used_locked(d);
    uint64_t room = d->capacity > used ? d->capacity - used : 0;
    return sim_file_charge(f) + room / SIM_PAGE * SIM_PAGE;
}

/* ---- The table: files ---- */

static int do_open(struct simdisk *d, const char *path, enum bk_io_open how)
{
    struct sim_name *name = sim_names_find(&d->tree.cached, path);
    int rc = 0;
    if (name != NULL && name->file == NULL) {
        rc = -EISDIR;
    } else if (name != NULL && how == BK_IO_CREATE) {
        rc = -EEXIST;
    } else if (name == NULL && (how != BK_IO_CREATE || parent_missing(d, path))) {
        rc = -ENOENT;
    } else if (name == NULL) {
        struct sim_file *file = sim_file_new();
        sim_tree_set(&d->tree, path, file);
        rc = handle_new(d, path, file, true, false);
        sim_file_unref(&file);
    } else {
        rc = handle_new(d, path, name->file, how != BK_IO_READ, false);
    }
    return rc;
}

static int sd_open(void *arg, const char *path, enum bk_io_open how)
{
    struct simdisk *d = arg;
    int rc = sim_call_begin(d, SIMDISK_OPEN);
    if (rc == 0) {
        rc = do_open(d, path, how);
    }
    return (int)sim_call_end(d, how == BK_IO_CREATE ? "create" : "open", path, 0, 0, rc);
}

static int sd_close(void *arg, int fd)
{
    struct simdisk *d = arg;
    int rc = sim_call_begin(d, SIMDISK_CLOSE);
    struct sim_handle *h = handle_of(d, fd);
    char path[SIM_PATH_LEN] = "";
    if (h == NULL) {
        rc = rc != 0 ? rc : -EBADF;
    } else { /* gone also when close fails, as Linux has it */
        snprintf(path, sizeof(path), "%s", h->path);
        simdisk_handle_drop(h);
    }
    return (int)sim_call_end(d, "close", path, (uint64_t)fd, 0, rc);
}

static int64_t sd_pread(void *arg, int fd, void *buf, size_t len, uint64_t offset)
{
    struct simdisk *d = arg;
    int64_t rc = sim_call_begin(d, SIMDISK_READ);
    struct sim_handle *h = handle_of(d, fd);
    if (rc == 0 && h == NULL) {
        rc = -EBADF;
    } else if (rc == 0) {
        uint64_t left = offset < h->file->size ? h->file->size - offset : 0;
        size_t n = left < len ? (size_t)left : len;
        if (n > 1 && sim_noise_due(d, SIMDISK_READ, SIMDISK_READ)) {
            n = 1 + (size_t)rng_below(&d->rng, n - 1);
        }
        if (n > 0) {
            sim_file_read(h->file, offset, buf, n);
        }
        rc = (int64_t)n;
    }
    return sim_call_end(d, "read", handle_path(d, fd), offset, len, rc);
}

/* Writes the vector's first len bytes. */
static void write_vector(struct sim_file *f, const struct iovec *iov, size_t len, uint64_t offset)
{
    for (size_t done = 0, i = 0; done < len; i++) {
        size_t n = iov[i].iov_len < len - done ? iov[i].iov_len : len - done;
        sim_file_write(f, offset + done, iov[i].iov_base, n);
        done += n;
    }
}

static int64_t do_write(struct simdisk *d, struct sim_file *f, const struct iovec *iov, size_t len,
                        uint64_t offset)
{
    uint64_t limit = size_limit(d, f);
    uint64_t room = limit > offset ? limit - offset : 0;
    size_t n = len < room ? len : (size_t)room;
    if (n == 0 && len > 0) {
        return -ENOSPC;
    }
    if (d->cutting) {
        n = (size_t)rng_below(&d->rng, n + 1);
    } else if (n > 1 && sim_noise_due(d, SIMDISK_WRITE, SIMDISK_WRITE)) {
        n = 1 + (size_t)rng_below(&d->rng, n - 1);
    }
    write_vector(f, iov, n, offset);
    if (rng_percent(&d->rng, 10)) {
        sim_file_writeback(f, &d->rng);
    }
    return (int64_t)n;
}

static int64_t sd_pwritev(void *arg, int fd, const struct iovec *iov, int iov_n, uint64_t offset)
{
    struct simdisk *d = arg;
    int64_t rc = sim_call_begin(d, SIMDISK_WRITE);
    struct sim_handle *h = handle_of(d, fd);
    size_t len = 0;
    for (int i = 0; i < iov_n; i++) {
        len += iov[i].iov_len;
    }
    if (rc == 0 && (iov_n < 0 || iov_n > 1024)) {
        rc = -EINVAL;
    } else if (rc == 0 && (h == NULL || !h->writable)) {
        rc = -EBADF;
    } else if (rc == 0) {
        rc = do_write(d, h->file, iov, len, offset);
    } else if (rc == -EIO && !d->dead && h != NULL && h->writable) {
        /* Nobody knows how far a write came that failed. */
        write_vector(h->file, iov, (size_t)rng_below(&d->rng, len + 1), offset);
    }
    return sim_call_end(d, "write", handle_path(d, fd), offset, len, rc);
}

static int sd_sync(void *arg, int fd)
{
    struct simdisk *d = arg;
    int rc = sim_call_begin(d, SIMDISK_SYNC);
    struct sim_handle *h = handle_of(d, fd);
    if (h == NULL) {
        rc = rc != 0 ? rc : -EBADF;
    } else if (rc == 0 && !d->cutting) {
        sim_file_sync(h->file);
    } else if (rc != 0 && rc != -EINTR && !d->dead && !d->cutting) {
        sim_file_sync_failed(h->file, &d->rng, d->evict);
    }
    return (int)sim_call_end(d, "sync", handle_path(d, fd), 0, 0, rc);
}

static int do_resize(struct simdisk *d, struct sim_handle *h, uint64_t size)
{
    int rc = 0;
    if (h == NULL || !h->writable) {
        rc = -EBADF;
    } else if (size > h->file->size && size > size_limit(d, h->file)) {
        rc = -ENOSPC;
    } else {
        sim_file_resize(h->file, size);
    }
    return rc;
}

static int sd_allocate(void *arg, int fd, uint64_t offset, uint64_t len)
{
    struct simdisk *d = arg;
    int rc = sim_call_begin(d, SIMDISK_ALLOCATE);
    struct sim_handle *h = handle_of(d, fd);
    if (rc == 0 && h != NULL && offset + len <= h->file->size) {
        rc = 0; /* there already */
    } else if (rc == 0) {
        rc = do_resize(d, h, offset + len);
    }
    return (int)sim_call_end(d, "allocate", handle_path(d, fd), offset, len, rc);
}

static int sd_truncate(void *arg, int fd, uint64_t size)
{
    struct simdisk *d = arg;
    int rc = sim_call_begin(d, SIMDISK_TRUNCATE);
    if (rc == 0) {
        rc = do_resize(d, handle_of(d, fd), size);
    }
    return (int)sim_call_end(d, "truncate", handle_path(d, fd), size, 0, rc);
}

static int sd_in_place(void *arg, const char *path)
{
    (void)arg;
    (void)path;
    return 1;
}

static int64_t sd_free_bytes(void *arg, const char *path)
{
    struct simdisk *d = arg;
    int64_t rc = sim_call_begin(d, SIMDISK_SIZE);
    if (rc == 0) {
        uint64_t used = simdisk_used_locked(d);
        uint64_t room = d->capacity > used ? d->capacity - used : 0;
        rc = room > INT64_MAX ? INT64_MAX : (int64_t)room;
    }
    return sim_call_end(d, "free", path, 0, 0, rc);
}

static int64_t sd_size(void *arg, int fd)
{
    struct simdisk *d = arg;
    int64_t rc = sim_call_begin(d, SIMDISK_SIZE);
    struct sim_handle *h = handle_of(d, fd);
    if (rc == 0) {
        rc = h != NULL ? (int64_t)h->file->size : -EBADF;
    }
    return sim_call_end(d, "size", handle_path(d, fd), 0, 0, rc);
}

/* ---- The table: directories ---- */

static int sd_mkdir(void *arg, const char *path)
{
    struct simdisk *d = arg;
    int rc = sim_call_begin(d, SIMDISK_MKDIR);
    if (rc == 0 && sim_names_find(&d->tree.cached, path) != NULL) {
        rc = -EEXIST;
    } else if (rc == 0 && parent_missing(d, path)) {
        rc = -ENOENT;
    } else if (rc == 0) {
        sim_tree_set(&d->tree, path, NULL);
    }
    return (int)sim_call_end(d, "mkdir", path, 0, 0, rc);
}

static int sd_rmdir(void *arg, const char *path)
{
    struct simdisk *d = arg;
    int rc = sim_call_begin(d, SIMDISK_RMDIR);
    struct sim_name *name = sim_names_find(&d->tree.cached, path);
    if (rc == 0 && (name == NULL || name->file != NULL)) {
        rc = name == NULL ? -ENOENT : -ENOTDIR;
    } else if (rc == 0 && !sim_tree_empty(&d->tree, path)) {
        rc = -ENOTEMPTY;
    } else if (rc == 0) {
        sim_tree_remove(&d->tree, path);
    }
    return (int)sim_call_end(d, "rmdir", path, 0, 0, rc);
}

static int do_link(struct simdisk *d, const char *from, const char *to)
{
    struct sim_name *name = sim_names_find(&d->tree.cached, from);
    int rc = 0;
    if (name == NULL || parent_missing(d, to)) {
        rc = -ENOENT;
    } else if (name->file == NULL) {
        rc = -EPERM;
    } else if (sim_names_find(&d->tree.cached, to) != NULL) {
        rc = -EEXIST;
    } else {
        sim_tree_set(&d->tree, to, name->file);
    }
    return rc;
}

static int sd_link(void *arg, const char *from, const char *to)
{
    struct simdisk *d = arg;
    int rc = sim_call_begin(d, SIMDISK_LINK);
    if (rc == 0) {
        rc = do_link(d, from, to);
    }
    return (int)sim_call_end(d, "link", from, 0, 0, rc);
}

static int do_rename(struct simdisk *d, const char *from, const char *to)
{
    char dir_from[SIM_PATH_LEN];
    char dir_to[SIM_PATH_LEN];
    sim_parent(from, dir_from, sizeof(dir_from));
    sim_parent(to, dir_to, sizeof(dir_to));
    struct sim_name *there = sim_names_find(&d->tree.cached, to);
    int rc = 0;
    if (strcmp(dir_from, dir_to) != 0) {
        rc = -EXDEV;
    } else if (sim_names_find(&d->tree.cached, from) == NULL) {
        rc = -ENOENT;
    } else if (there != NULL && there->file == NULL && !sim_tree_empty(&d->tree, to)) {
        rc = -ENOTEMPTY;
    } else {
        sim_tree_rename(&d->tree, from, to);
    }
    return rc;
}

static int sd_rename(void *arg, const char *from, const char *to)
{
    struct simdisk *d = arg;
    int rc = sim_call_begin(d, SIMDISK_RENAME);
    if (rc == 0) {
        rc = do_rename(d, from, to);
    }
    return (int)sim_call_end(d, "rename", from, 0, 0, rc);
}

static int sd_unlink(void *arg, const char *path)
{
    struct simdisk *d = arg;
    int rc = sim_call_begin(d, SIMDISK_UNLINK);
    if (rc == 0 && sim_names_find(&d->tree.cached, path) == NULL) {
        rc = -ENOENT;
    } else if (rc == 0) {
        sim_tree_remove(&d->tree, path);
    }
    return (int)sim_call_end(d, "unlink", path, 0, 0, rc);
}

static int sd_sync_dir(void *arg, const char *path)
{
    struct simdisk *d = arg;
    int rc = sim_call_begin(d, SIMDISK_SYNC_DIR);
    if (rc == 0 && !d->cutting) {
        sim_tree_sync_dir(&d->tree, path);
    }
    return (int)sim_call_end(d, "sync_dir", path, 0, 0, rc);
}

/* Names in dir, copied, in an order drawn from the seed (a directory has none). */
static size_t names_in(struct simdisk *d, const char *dir, char ***out)
{
    size_t n = 0;
    char **names = bk_alloc_zero(d->tree.cached.n + 1, sizeof(*names));
    for (size_t i = 0; i < d->tree.cached.n; i++) {
        const char *path = d->tree.cached.items[i].path;
        char parent[SIM_PATH_LEN];
        sim_parent(path, parent, sizeof(parent));
        if (strcmp(parent, dir) == 0) {
            const char *slash = strrchr(path, '/');
            size_t at = (size_t)rng_below(&d->rng, n + 1);
            names[n++] = names[at];
            names[at] = dup_str(slash != NULL ? slash + 1 : path);
        }
    }
    *out = names;
    return n;
}

static int sd_list(void *arg, const char *path, void (*each)(void *each_arg, const char *name),
                   void *each_arg)
{
    struct simdisk *d = arg;
    char **names = NULL;
    size_t n = 0;
    int rc = sim_call_begin(d, SIMDISK_LIST);
    if (rc == 0) {
        bool missing = strcmp(path, ".") != 0 && sim_names_find(&d->tree.cached, path) == NULL;
        rc = missing ? -ENOENT : 0;
        n = missing ? 0 : names_in(d, path, &names);
    }
    rc = (int)sim_call_end(d, "list", path, n, 0, rc);
    for (size_t i = 0; i < n; i++) {
        if (rc == 0) {
            each(each_arg, names[i]);
        }
        free(names[i]);
    }
    free(names);
    return rc;
}

/* A lock that is shared is a handle that cannot be written. */
static bool is_locked(struct simdisk *d, const char *path, bool shared, long *holder)
{
    for (int i = 0; i < SIM_HANDLES_MAX; i++) {
        const struct sim_handle *h = &d->handles[i];
        if (h->file != NULL && h->is_lock && strcmp(h->path, path) == 0 &&
            (!shared || h->writable)) {
            *holder = h->writable ? SIMDISK_HOLDER : 0;
            return true;
        }
    }
    return false;
}

static int do_lock_shared(struct simdisk *d, const char *path, long *holder)
{
    struct sim_name *name = sim_names_find(&d->tree.cached, path);
    if (is_locked(d, path, true, holder)) {
        return -EWOULDBLOCK;
    }
    return name == NULL ? -ENOENT : handle_new(d, path, name->file, false, true);
}

static int sd_lock_shared(void *arg, const char *path, long *holder)
{
    struct simdisk *d = arg;
    int rc = sim_call_begin(d, SIMDISK_LOCK);
    if (rc == 0) {
        rc = do_lock_shared(d, path, holder);
    }
    return (int)sim_call_end(d, "share", path, 0, 0, rc);
}

static int do_lock(struct simdisk *d, const char *path, long *holder)
{
    if (is_locked(d, path, false, holder)) {
        return -EWOULDBLOCK;
    }
    if (parent_missing(d, path)) {
        return -ENOENT;
    }
    struct sim_name *name = sim_names_find(&d->tree.cached, path);
    if (name == NULL) {
        struct sim_file *made = sim_file_new();
        sim_tree_set(&d->tree, path, made);
        sim_file_unref(&made);
        name = sim_names_find(&d->tree.cached, path);
    }
    return handle_new(d, path, name->file, true, true);
}

static int sd_lock(void *arg, const char *path, long *holder)
{
    struct simdisk *d = arg;
    int rc = sim_call_begin(d, SIMDISK_LOCK);
    if (rc == 0) {
        rc = do_lock(d, path, holder);
    }
    return (int)sim_call_end(d, "lock", path, 0, 0, rc);
}

static int sd_unlock(void *arg, int fd)
{
    struct simdisk *d = arg;
    int rc = sim_call_begin(d, SIMDISK_UNLOCK);
    struct sim_handle *h = handle_of(d, fd);
    if (h != NULL) {
        BK_ASSERT(h->is_lock);
        simdisk_handle_drop(h);
    } else {
        rc = rc != 0 ? rc : -EBADF;
    }
    return (int)sim_call_end(d, "unlock", NULL, (uint64_t)fd, 0, rc);
}

static int sd_boot_id(void *arg, uint8_t out[16])
{
    struct simdisk *d = arg;
    int rc = sim_call_begin(d, SIMDISK_BOOT_ID);
    if (rc == 0) {
        memcpy(out, d->boot_id, sizeof(d->boot_id));
    }
    return (int)sim_call_end(d, "boot_id", NULL, 0, 0, rc);
}

void simdisk_fill_table(struct simdisk *d)
{
    d->io = (struct bk_io){
        .arg = d,
        .open = sd_open,
        .close = sd_close,
        .pread = sd_pread,
        .pwritev = sd_pwritev,
        .sync = sd_sync,
        .allocate = sd_allocate,
        .truncate = sd_truncate,
        .size = sd_size,
        .free_bytes = sd_free_bytes,
        .in_place = sd_in_place,
        .mkdir = sd_mkdir,
        .rmdir = sd_rmdir,
        .rename = sd_rename,
        .link = sd_link,
        .unlink = sd_unlink,
        .sync_dir = sd_sync_dir,
        .list = sd_list,
        .lock = sd_lock,
        .lock_shared = sd_lock_shared,
        .unlock = sd_unlock,
        .boot_id = sd_boot_id,
    };
}
