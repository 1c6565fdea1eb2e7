/* SPDX-License-Identifier: MIT */
/* verify_names.c - the manifest as it lies on disk, and whether the files are there that it names.
 */
#include "engine/image_private.h"
#include "engine/verify.h"

#include "base/checksum.h"

#define SECTOR 512u /* what a disk writes as a whole */
#define EDIT_HEADER BKI_MANIFEST_EDIT_HEADER

static bool same_files(const struct bki_manifest_state *a, const struct bki_manifest_state *b)
{
    bool same = a->files_n == b->files_n && a->store == b->store;
    for (uint32_t i = 0; same && i < a->files_n; i++) {
        same = a->files[i].id == b->files[i].id && a->files[i].uid == b->files[i].uid;
    }
    return same;
}

static bool all_zero(const uint8_t *p, size_t n)
{
    size_t i = 0;
    while (i < n && p[i] == 0) {
        i++;
    }
    return i == n;
}

/* An edit whose writing was cut off ends early, or lacks sectors. */
static bool is_part(const struct bk_buf *b, uint64_t at)
{
    bool part = b->len < EDIT_HEADER || bk_get32(b->data + 4) > b->len - EDIT_HEADER;
    for (size_t i = 0; !part && i < b->len;) {
        size_t n = SECTOR - (size_t)((at + i) % SECTOR);
        n = n < b->len - i ? n : b->len - i;
        part = all_zero(b->data + i, n);
        i += n;
    }
    return part;
}

/* Whether the edit that starts at offset may be what a power cut left. Not so beside an index
 * image: that was made later, and is removed before the next edit. */
static int look_at_end(const struct bki_verify *v, uint64_t offset, bool *torn,
                       struct bk_error *err)
{
    const struct bk_io *io = v->db->io;
    char path[BKI_PATH_MAX];
    struct bk_buf bytes = {0};
    *torn = false;
    bki_image_path(v->db, "KEYDIR", path);
    int fd = io->open(io->arg, path, BK_IO_READ);
    if (fd >= 0) {
        io->close(io->arg, fd);
        return BK_OK;
    }
    bki_image_path(v->db, "MANIFEST", path);
    fd = io->open(io->arg, path, BK_IO_READ);
    if (fd < 0) {
        return bki_io_fail(err, fd, path, 0, "open");
    }
    int64_t size = io->size(io->arg, fd);
    size_t n = size > (int64_t)offset ? (size_t)size - (size_t)offset : 0;
    int rc = bki_io_read_all(io, fd, bk_buf_reserve(&bytes, n), n, offset, &bytes.len, path, err);
    io->close(io->arg, fd);
    *torn = rc == BK_OK && is_part(&bytes, offset);
    bk_buf_fini(&bytes);
    return rc;
}

/* As it lies on disk, not as the opening has mended it in memory. */
static int check_manifest(struct bki_verify *v, struct bk_error *err)
{
    struct bki_files *fs = &v->db->files;
    struct bki_manifest m;
    enum bki_manifest_end end;
    bk_mutex_lock(&fs->edits);
    int rc = bki_manifest_load(&m, v->db->io, fs->dir, &end, err);
    if (rc == BK_NOTFOUND) {
        bki_verify_found(v, "MANIFEST", 0, 0, "the file is missing");
    } else if (rc == BK_OK && end == BKI_MANIFEST_MENDED) {
        bki_verify_found(v, "MANIFEST", 0, 0, "one bit is wrong");
    } else if (rc == BK_OK && end == BKI_MANIFEST_TORN) {
        rc = look_at_end(v, m.state.read, &v->manifest_torn, err);
        if (rc == BK_OK && !v->manifest_torn) {
            bki_verify_found(v, "MANIFEST", m.state.read, 0,
                             "the last edit does not check, and counts as never made");
        }
    } else if (rc == BK_OK && end == BKI_MANIFEST_DAMAGED) {
        bki_verify_found(v, "MANIFEST", m.state.read, 0, "what follows does not check");
    } else if (rc == BK_OK && !same_files(&m.state, &fs->manifest.state)) {
        bki_verify_found(v, "MANIFEST", m.state.read, 0, "edits are missing at the end");
    }
    v->manifest_whole = rc == BK_OK && (end == BKI_MANIFEST_WHOLE || end == BKI_MANIFEST_MENDED) &&
                        same_files(&m.state, &fs->manifest.state);
    bki_manifest_close(&m);
    bk_mutex_unlock(&fs->edits);
    return rc < 0 ? rc : BK_OK;
}

static struct bki_file *file_of(struct bk_db *db, uint64_t id)
{
    for (uint32_t i = 0; i < atomic_load(&db->files.slots_n); i++) {
        struct bki_file *f = bki_files_slot(&db->files, i);
        if (bki_file_in_use(f) && f->id == id) {
            return f;
        }
    }
    return NULL;
}

struct unread {
    struct bki_verify *v;
    struct bki_manifest_state *ms; /* borrowed */
};

/* Why a file cannot be told to be needless; NULL: it can. One without any header was begun and
 * never finished, as long as nothing but the manifest's last edit is missing: then no record in it
 * was ever accepted. */
static const char *why_unread(const struct bki_verify *v, int fd, const char *path)
{
    const struct bk_io *io = v->db->io;
    uint8_t fixed[BKI_DATAFILE_FIXED];
    struct bki_datafile_header h = {0};
    size_t got = 0;
    int rc = bki_io_read_all(io, fd, fixed, sizeof fixed, 0, &got, path, NULL);
    bool none = rc == BK_OK && all_zero(fixed, got);
    if (rc == BK_OK && !none) {
        rc = bki_datafile_header_read(io, fd, path, &h, NULL);
        bki_datafile_header_fini(&h);
    }
    if (none) {
        return v->manifest_torn ? NULL : "there is no header, and no manifest names the file";
    }
    return rc == BK_OK    ? NULL
           : rc == BK_EIO ? "the header cannot be read, and no manifest names the file"
                          : "the header is damaged, and no manifest names the file";
}

/* A data file that neither a manifest nor a header of its own vouches for. */
static void find_unread(void *arg, const char *name)
{
    const struct unread *u = arg;
    const struct bk_io *io = u->v->db->io;
    char path[BKI_PATH_MAX];
    uint64_t id;
    if (!bki_datafile_name_id(name, &id) || bki_manifest_find(u->ms, id) != NULL) {
        return;
    }
    bki_datafile_path(path, u->v->db->files.dir, id);
    int fd = io->open(io->arg, path, BK_IO_READ);
    const char *why =
        fd < 0 ? "the file cannot be opened, and no manifest names it" : why_unread(u->v, fd, path);
    if (why != NULL) {
        bki_verify_lost(u->v, path, 0, 0, why);
    }
    if (fd >= 0) {
        io->close(io->arg, fd);
    }
}

static void check_names(struct bki_verify *v)
{
    struct bki_manifest_state ms;
    bki_files_copy_state(&v->db->files, &ms);
    for (uint32_t i = 0; i < ms.files_n; i++) {
        const struct bki_manifest_file *mf = &ms.files[i];
        const struct bki_file *f = file_of(v->db, mf->id);
        char path[BKI_PATH_MAX];
        bki_datafile_path(path, v->db->files.dir, mf->id);
        uint64_t size = f == NULL ? 0 : atomic_load(&f->allocated);
        if (f == NULL || f->gone != NULL) {
            bki_verify_lost(v, path, 0, mf->size, f == NULL ? "the file is missing" : f->gone);
        } else if (mf->sealed && size < mf->size) {
            bki_verify_lost(v, path, size, mf->size - size, "the file is shorter than it was");
        }
    }
    if (!v->manifest_whole) {
        struct unread u = {v, &ms};
        bk_ignore(v->db->io->list(v->db->io->arg, v->db->files.dir, find_unread, &u),
                  "it was listed when the store was opened");
    }
    bki_manifest_state_fini(&ms);
    if (v->db->image_refused) {
        bki_verify_found(v, "KEYDIR", 0, 0,
                         "the index image does not check, or is of another state of the store");
    }
}

int bki_verify_names(struct bki_verify *v, struct bk_error *err)
{
    int rc = check_manifest(v, err);
    if (rc == BK_OK) {
        check_names(v);
    }
    return rc;
}
