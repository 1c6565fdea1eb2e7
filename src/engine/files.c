/* SPDX-License-Identifier: MIT */
/* files.c - the order of steps that make a data file, name it, seal it and drop it. */
#include "engine/files.h"

#include "base/assert.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void bki_files_init(struct bki_files *fs, const struct bk_io *io, const struct bk_clock *clock,
                    const char *dir)
{
    *fs = (struct bki_files){.io = io, .clock = clock};
    fs->dir = strdup(dir);
    BK_ASSERT(fs->dir != NULL);
    fs->manifest.fd = -1;
    bki_pages_init(&fs->pages);
    bk_mutex_init(&fs->edits, "manifest", BK_RANK_EDITS);
    bk_mutex_init(&fs->mu, "files", BK_RANK_FILES);
    fs->slot = bk_alloc_zero(BKI_FILES_MAX, sizeof *fs->slot);
}

void bki_file_free(struct bki_files *fs, struct bki_file **f)
{
    if (*f == NULL) {
        return;
    }
    if ((*f)->fd >= 0) {
        fs->io->close(fs->io->arg, (*f)->fd);
    }
    if ((*f)->old_fd >= 0) {
        fs->io->close(fs->io->arg, (*f)->old_fd);
    }
    free((*f)->pages);
    free((*f)->path);
    free(*f);
    *f = NULL;
}

void bki_files_fini(struct bki_files *fs)
{
    for (uint32_t i = 0; i < atomic_load(&fs->slots_n); i++) {
        struct bki_file *f = bki_files_slot(fs, i);
        bki_file_free(fs, &f);
    }
    bki_manifest_close(&fs->manifest);
    bki_pages_fini(&fs->pages);
    bk_mutex_fini(&fs->edits);
    bk_mutex_fini(&fs->mu);
    free(fs->slot);
    free(fs->dir);
    *fs = (struct bki_files){0};
}

int bki_random64(uint64_t *out, struct bk_error *err)
{
    ssize_t n = getrandom(out, sizeof *out, 0);
    if (n != (ssize_t)sizeof *out) {
        return bk_error_set(err, BK_EIO, errno, NULL, 0, "getrandom failed");
    }
    return BK_OK;
}

/* Gives the file a slot, a free one if there is one, and makes it visible to readers. */
int bki_file_publish(struct bki_files *fs, struct bki_file *f, struct bk_error *err)
{
    bk_mutex_lock(&fs->mu);
    uint32_t n = atomic_load_explicit(&fs->slots_n, memory_order_relaxed);
    uint32_t slot = 0;
    while (slot < n && bki_files_slot(fs, slot) != NULL) {
        slot++;
    }
    int rc = BK_OK;
    if (slot == BKI_FILES_MAX) {
        rc = bk_error_set(err, BK_ENOSPC, 0, fs->dir, 0, "more than %u data files", BKI_FILES_MAX);
    } else {
        f->slot = slot;
        atomic_store_explicit(&fs->slot[slot], f, memory_order_release);
        if (slot == n) {
            atomic_store_explicit(&fs->slots_n, n + 1, memory_order_release);
        }
    }
    bk_mutex_unlock(&fs->mu);
    return rc;
}

static void unpublish(struct bki_files *fs, struct bki_file *f)
{
    bk_mutex_lock(&fs->mu);
    atomic_store_explicit(&fs->slot[f->slot], NULL, memory_order_release);
    bk_mutex_unlock(&fs->mu);
}

struct bki_file *bki_file_new(struct bki_files *fs, uint64_t id, uint64_t uid, uint64_t rank)
{
    char path[BKI_PATH_MAX];
    bki_datafile_path(path, fs->dir, id);
    struct bki_file *f = bk_alloc_zero(1, sizeof *f);
    f->id = id;
    f->uid = uid;
    f->rank = rank;
    f->seed = bki_datafile_seed(uid);
    f->fd = -1;
    f->old_fd = -1;
    f->created_us = bk_clock_mono_us(fs->clock);
    f->created_ms = bk_clock_wall_ms(fs->clock);
    f->path = strdup(path);
    BK_ASSERT(f->path != NULL);
    return f;
}

/* The manifest knows all that a header says but where the records start: without the list of
 * replaced files that is the fixed length, and a merged file's scan finds its first record by
 * stepping. */
static void without_header(const struct bki_manifest_file *mf, struct bki_datafile_header *h)
{
    h->bytes = BKI_DATAFILE_FIXED;
    h->merged = mf->sealed;
}

static int open_existing(struct bki_files *fs, struct bki_file *f,
                         const struct bki_manifest_file *mf, struct bki_datafile_header *h,
                         int64_t *size, struct bk_error *err)
{
    f->fd = fs->io->open(fs->io->arg, f->path, BK_IO_WRITE);
    if (f->fd == -ENOENT) {
        f->fd = -1;
        f->gone = "the file is missing";
        without_header(mf, h);
        return BK_OK;
    }
    if (f->fd < 0) {
        return bki_io_fail(err, f->fd, f->path, 0, "open");
    }
    *size = fs->io->size(fs->io->arg, f->fd);
    if (*size < 0) {
        return bki_io_fail(err, *size, f->path, 0, "stat");
    }
    int rc = bki_datafile_header_read(fs->io, f->fd, f->path, h, err);
    if (rc == BK_OK && h->uid != mf->uid) {
        bki_datafile_header_fini(h);
        fs->io->close(fs->io->arg, f->fd);
        f->fd = -1;
        *size = 0;
        f->gone = "another data file is in its place";
        without_header(mf, h);
    } else if (rc == BK_CORRUPT ||
               rc == BK_EIO) { /* EIO: who may change the store stopped before */
        f->header_bad = true;
        without_header(mf, h);
        rc = BK_OK;
    }
    return rc;
}

int bki_files_open(struct bki_files *fs, const struct bki_manifest_file *mf, struct bki_file **out,
                   struct bk_error *err)
{
    struct bki_file *f = bki_file_new(fs, mf->id, mf->uid, mf->rank);
    struct bki_datafile_header h = {0};
    int64_t size = 0;
    int rc = BK_OK;
    rc = open_existing(fs, f, mf, &h, &size, err);
    if (rc != BK_OK) {
        goto out;
    }
    f->header_bytes = h.bytes;
    f->merged = h.merged;
    f->created_ms = h.created_ms != 0 ? h.created_ms : f->created_ms;
    /* A file that has become shorter ends where it did: what is cut off answers errors. */
    uint64_t end = mf->sealed ? mf->size : (uint64_t)size;
    atomic_init(&f->size, end < h.bytes ? h.bytes : end);
    atomic_init(&f->allocated, (uint64_t)size);
    atomic_init(&f->state, mf->sealed ? BKI_FILE_SEALED : BKI_FILE_ROTATED);
    rc = bki_file_publish(fs, f, err);
    if (rc == BK_OK) {
        *out = f;
        f = NULL;
    }
out:
    bki_datafile_header_fini(&h);
    bki_file_free(fs, &f);
    return rc;
}

static int by_rank(const void *a, const void *b)
{
    const struct bki_file *x = *(struct bki_file *const *)a;
    const struct bki_file *y = *(struct bki_file *const *)b;
    if (x->rank != y->rank) {
        return x->rank < y->rank ? -1 : 1;
    }
    return x->id < y->id ? -1 : x->id > y->id;
}

void bki_files_sort(struct bki_file **files, uint32_t n)
{
    if (n > 1) {
        qsort(files, n, sizeof(struct bki_file *), by_rank);
    }
}

int bki_files_allocate(struct bki_files *fs, struct bki_file *f, uint64_t bytes,
                       struct bk_error *err)
{
    uint64_t have = atomic_load_explicit(&f->allocated, memory_order_relaxed);
    if (bytes <= have) {
        return BK_OK;
    }
    int rc;
    do {
        rc = fs->io->allocate(fs->io->arg, f->fd, have, bytes - have);
    } while (rc == -EINTR);
    if (rc < 0) {
        /* Some file systems keep what they could reserve: nothing lies there, so it is given back.
         */
        fs->io->truncate(fs->io->arg, f->fd, have);
        return bki_io_fail(err, rc, f->path, have, "reserving room on disk");
    }
    atomic_store_explicit(&f->allocated, bytes, memory_order_release);
    return BK_OK;
}

static int write_header(struct bki_files *fs, struct bki_file *f, struct bk_error *err)
{
    struct bki_datafile_header h = {
        .uid = f->uid,
        .id = f->id,
        .rank = f->rank,
        .store = fs->manifest.state.store,
        .created_ms = bk_clock_wall_ms(fs->clock),
    };
    struct bk_buf bytes = {0};
    bki_datafile_header_encode(&h, &bytes);
    f->header_bytes = h.bytes;
    atomic_store_explicit(&f->size, h.bytes, memory_order_relaxed);
    struct iovec iov = {bytes.data, bytes.len};
    int rc = bki_io_write_all(fs->io, f->fd, &iov, 1, 0, f->path, err);
    bk_buf_fini(&bytes);
    return rc;
}

int bki_files_commit(struct bki_files *fs, const struct bk_buf *edit, struct bk_error *err)
{
    bk_mutex_lock(&fs->edits);
    int rc = bki_manifest_commit(&fs->manifest, edit, err);
    bk_mutex_unlock(&fs->edits);
    return rc;
}

void bki_files_copy_state(struct bki_files *fs, struct bki_manifest_state *out)
{
    bk_mutex_lock(&fs->edits);
    bki_manifest_state_copy(out, &fs->manifest.state);
    bk_mutex_unlock(&fs->edits);
}

int bki_files_create(struct bki_files *fs, uint64_t bytes, struct bki_file **out,
                     struct bk_error *err)
{
    struct bki_manifest_state *ms = &fs->manifest.state;
    uint64_t uid;
    int rc = bki_random64(&uid, err);
    if (rc != BK_OK) {
        return rc;
    }
    /* The number is spent whether or not the file comes to be: a name is never used for two files.
     */
    bk_mutex_lock(&fs->edits);
    struct bki_file *f = bki_file_new(fs, ms->next_id++, uid, ms->next_rank++);
    bk_mutex_unlock(&fs->edits);
    struct bk_buf edit = {0};
    bool named = false;
    f->fd = fs->io->open(fs->io->arg, f->path, BK_IO_CREATE);
    if (f->fd < 0) {
        rc = bki_io_fail(err, f->fd, f->path, 0, "create");
        goto out;
    }
    rc = bki_files_allocate(fs, f, bytes, err);
    if (rc != BK_OK) {
        goto out;
    }
    rc = write_header(fs, f, err);
    if (rc != BK_OK) {
        goto out;
    }
    rc = fs->io->sync(fs->io->arg, f->fd);
    if (rc < 0) {
        rc = bki_io_fail(err, rc, f->path, 0, "sync");
        goto out;
    }
    rc = fs->io->sync_dir(fs->io->arg, fs->dir);
    if (rc < 0) {
        rc = bki_io_fail(err, rc, fs->dir, 0, "sync directory");
        goto out;
    }
    bki_edit_add(&edit, f->id, f->uid, f->rank);
    named =
        true; /* from here on the edit may be on disk, whatever commit says: the file must stay */
    rc = bki_files_commit(fs, &edit, err);
    if (rc != BK_OK) {
        goto out;
    }
    rc = bki_file_publish(fs, f, err);
    if (rc == BK_OK) {
        *out = f;
        f = NULL;
    }
out:
    if (f != NULL && f->fd >= 0 && !named) {
        fs->io->unlink(fs->io->arg, f->path);
    }
    bk_buf_fini(&edit);
    bki_file_free(fs, &f);
    return rc;
}

void bki_files_forget(struct bki_files *fs, struct bki_file **f)
{
    unpublish(fs, *f);
    bki_file_free(fs, f);
}

static int drop(struct bki_files *fs, struct bki_file *f, struct bk_error *err)
{
    struct bk_buf edit = {0};
    bki_edit_drop(&edit, f->id);
    int rc = bki_files_commit(fs, &edit, err);
    bk_buf_fini(&edit);
    if (rc == BK_OK) {
        atomic_store_explicit(&f->state, BKI_FILE_DROPPED, memory_order_release);
    }
    return rc;
}

int bki_files_seal(struct bki_files *fs, struct bki_file *f, const struct bki_spacemap *map,
                   uint64_t next_seq, struct bk_error *err)
{
    uint64_t size = atomic_load_explicit(&f->size, memory_order_relaxed);
    if (size <= f->header_bytes) {
        return drop(fs, f, err);
    }
    struct bk_buf edit = {0};
    bki_edit_seal(&edit, f->id, size);
    bki_edit_map(&edit, map);
    bk_mutex_lock(&fs->edits);
    bki_edit_counters(&edit, fs->manifest.state.next_id, fs->manifest.state.next_rank, next_seq);
    int rc = bki_manifest_commit(&fs->manifest, &edit, err);
    bk_mutex_unlock(&fs->edits);
    bk_buf_fini(&edit);
    if (rc != BK_OK) {
        return rc;
    }
    atomic_store_explicit(&f->state, BKI_FILE_SEALED, memory_order_relaxed);
    if (atomic_load_explicit(&f->allocated, memory_order_relaxed) > size &&
        fs->io->truncate(fs->io->arg, f->fd, size) == 0) {
        /* A failure costs space only: the manifest says where the file ends. */
        atomic_store_explicit(&f->allocated, size, memory_order_relaxed);
    }
    return BK_OK;
}

void bki_file_pages_expect(struct bki_file *f, uint64_t end)
{
    uint32_t n = (uint32_t)((end - 1) >> BKI_PAGE_SHIFT) + 1;
    if (n > f->pages_n) {
        f->pages = bk_realloc(f->pages, n * sizeof *f->pages);
        for (uint32_t i = f->pages_n; i < n; i++) {
            f->pages[i] = BKI_NO_PAGE;
        }
        f->pages_n = n;
    }
}

uint64_t bki_file_locate(struct bki_files *fs, struct bki_file *f, uint64_t offset)
{
    uint32_t index = (uint32_t)(offset >> BKI_PAGE_SHIFT);
    bki_file_pages_expect(f, offset + 1);
    if (f->pages[index] == BKI_NO_PAGE) {
        f->pages[index] = bki_pages_take(&fs->pages, f->slot, index);
        if (f->pages[index] == BKI_NO_PAGE) {
            return 0;
        }
    }
    return bki_loc_make(f->pages[index], offset);
}

static uint64_t sum_allocated(struct bki_files *fs, bool outputs_only)
{
    uint64_t n = 0;
    bk_mutex_lock(&fs->mu);
    for (uint32_t i = 0; i < atomic_load(&fs->slots_n); i++) {
        struct bki_file *f = bki_files_slot(fs, i);
        bool counts = f != NULL && (!outputs_only || atomic_load(&f->state) == BKI_FILE_OUTPUT);
        n += counts ? atomic_load(&f->allocated) : 0;
    }
    bk_mutex_unlock(&fs->mu);
    return n;
}

uint64_t bki_files_allocated(struct bki_files *fs)
{
    return sum_allocated(fs, false);
}

uint64_t bki_files_outputs(struct bki_files *fs)
{
    return sum_allocated(fs, true);
}
