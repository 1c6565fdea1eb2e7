/* SPDX-License-Identifier: MIT */
/* verify_names.c - the manifest as it lies on disk, and whether the files are there that it names.
 */
#include "engine/verify.h"

static bool same_files(const struct bki_manifest_state *a, const struct bki_manifest_state *b)
{
    bool same = a->files_n == b->files_n && a->store == b->store;
    for (uint32_t i = 0; same && i < a->files_n; i++) {
        same = a->files[i].id == b->files[i].id && a->files[i].uid == b->files[i].uid;
    }
    return same;
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
        bki_verify_found(v, "MANIFEST", m.state.read, 0,
                         "the last edit is cut off or damaged, and counts as never made");
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

/* A data file that neither a manifest nor a header of its own vouches for. */
static void find_unread(void *arg, const char *name)
{
    const struct unread *u = arg;
    const struct bk_io *io = u->v->db->io;
    struct bki_datafile_header h = {0};
    char path[BKI_PATH_MAX];
    uint64_t id;
    if (!bki_datafile_name_id(name, &id) || bki_manifest_find(u->ms, id) != NULL) {
        return;
    }
    bki_datafile_path(path, u->v->db->files.dir, id);
    int fd = io->open(io->arg, path, BK_IO_READ);
    if (fd < 0 || bki_datafile_header_read(io, fd, path, &h, NULL) != BK_OK) {
        bki_verify_lost(u->v, path, 0, 0, "the header is damaged, and no manifest names the file");
    }
    bki_datafile_header_fini(&h);
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
