/* SPDX-License-Identifier: MIT */
/* image_write.c - the image of a store that has just been closed: blocks first, the head last, the
 * name when all of it is on disk. */
#include "engine/image_private.h"

#include "base/checksum.h"

#include <stdlib.h>
#include <string.h>

struct writer {
    struct bk_db *db;
    struct bki_image im; /* owned */
    struct bk_buf block; /* owned */
    uint8_t age_codes[BKI_AGES];
    char path[BKI_PATH_MAX];
    int fd;
    uint64_t at; /* where the next block goes */
};

/* ---- What the head says ---- */

/* Damage is to be told of by every start until it is gone, so the next one reads the data again. An
 * unsealed file is one that the close could not end. */
static bool may_have_one(struct bk_db *db)
{
    const struct bki_manifest_state *ms = &db->files.manifest.state;
    bool ok = atomic_load(&db->damage.records) == 0;
    for (uint32_t i = 0; i < ms->files_n; i++) {
        ok = ok && ms->files[i].sealed;
    }
    return ok;
}

static bool take_files(struct writer *w)
{
    struct bki_files *fs = &w->db->files;
    struct bki_manifest_state *ms = &fs->manifest.state;
    uint32_t taken = 0;
    w->im.files = bk_alloc_zero((size_t)ms->files_n + 1, sizeof *w->im.files);
    w->im.files_n = ms->files_n;
    for (uint32_t i = 0; i < atomic_load(&fs->slots_n); i++) {
        const struct bki_file *f = bki_files_slot(fs, i);
        const struct bki_manifest_file *mf = f == NULL ? NULL : bki_manifest_find(ms, f->id);
        if (mf == NULL) {
            continue; /* dropped: no key is in it */
        }
        if (mf->size != atomic_load(&f->size)) {
            return false;
        }
        struct bki_image_file *to = &w->im.files[mf - ms->files];
        *to = (struct bki_image_file){.id = f->id,
                                      .uid = f->uid,
                                      .rank = f->rank,
                                      .size = mf->size,
                                      .dead = atomic_load(&f->dead_bytes),
                                      .guard = atomic_load(&f->guard_bytes),
                                      .pages_n = f->pages_n};
        to->pages = bk_alloc((size_t)f->pages_n * sizeof *to->pages);
        if (f->pages_n > 0) {
            memcpy(to->pages, f->pages, (size_t)f->pages_n * sizeof *to->pages);
        }
        taken++;
    }
    return taken == ms->files_n; /* else one is missing: it may come back */
}

static void take_databases(struct writer *w)
{
    for (uint32_t num = 0; num <= BK_DATABASES_MAX; num++) {
        struct bki_keydir *kd = bki_db_keydir(w->db, num, false);
        if (kd == NULL || bki_keydir_count(kd) == 0) {
            continue;
        }
        w->im.databases =
            bk_realloc(w->im.databases, (w->im.databases_n + 1) * sizeof *w->im.databases);
        struct bki_image_database *d = &w->im.databases[w->im.databases_n++];
        *d = (struct bki_image_database){.num = num};
        for (unsigned k = 0; k < BKI_KD_STRIPES; k++) {
            bki_keydir_shape(kd, k, &d->stripe[k].shape);
        }
    }
}

/* False: this store gets no image. */
static bool describe(struct writer *w)
{
    const struct bki_manifest_state *ms = &w->db->files.manifest.state;
    w->im.store = ms->store;
    w->im.hash_seed = ms->hash_seed;
    w->im.edits = ms->edits;
    w->im.next_seq = w->db->log.next_seq;
    bki_spacemap_copy(&w->im.map, &w->db->log.map);
    if (!may_have_one(w->db) || !take_files(w)) {
        return false;
    }
    take_databases(w);
    return bki_image_head_bytes(&w->im) <= BKI_IMAGE_HEAD_MAX;
}

/* ---- Blocks ---- */

static int write_block(struct writer *w, uint32_t buckets, struct bk_error *err)
{
    uint8_t head[BKI_IMAGE_BLOCK_HEAD];
    uint64_t bytes = w->block.len;
    struct iovec iov[2] = {{head, sizeof head}, {w->block.data, bytes}};
    bk_put64(head, bytes);
    bk_put32(head + 8, buckets);
    bk_put32(head + 12, bki_image_block_crc(&w->im, w->at, bytes, buckets, w->block.data));
    int rc = bki_io_write_all(w->db->io, w->fd, iov, 2, w->at, w->path, err);
    w->at += sizeof head + bytes;
    return rc;
}

static int write_stripe(struct writer *w, struct bki_keydir *kd, unsigned index,
                        struct bki_image_stripe *s, struct bk_error *err)
{
    int rc = BK_OK;
    s->offset = w->at;
    for (uint32_t bucket = 0; rc == BK_OK && bucket < s->shape.buckets;) {
        w->block.len = 0;
        uint32_t n = bki_keydir_dump(kd, index, bucket, w->age_codes, BKI_IMAGE_BLOCK, &w->block);
        rc = write_block(w, n, err);
        bucket += n;
    }
    s->bytes = w->at - s->offset;
    return rc;
}

static int write_all(struct writer *w, struct bk_error *err)
{
    struct bk_buf head = {0};
    int rc = BK_OK;
    w->at = bki_image_head_bytes(&w->im);
    for (uint32_t i = 0; i < w->im.databases_n; i++) {
        struct bki_image_database *d = &w->im.databases[i];
        struct bki_keydir *kd = bki_db_keydir(w->db, d->num, false);
        for (unsigned k = 0; rc == BK_OK && k < BKI_KD_STRIPES; k++) {
            rc = write_stripe(w, kd, k, &d->stripe[k], err);
        }
    }
    if (rc == BK_OK) {
        w->im.bytes = w->at;
        bki_image_encode(&w->im, &head);
        struct iovec iov = {head.data, head.len};
        rc = bki_io_write_all(w->db->io, w->fd, &iov, 1, 0, w->path, err);
    }
    bk_buf_fini(&head);
    return rc;
}

/* ---- The file ---- */

static int publish(struct writer *w, struct bk_error *err)
{
    const struct bk_io *io = w->db->io;
    char path[BKI_PATH_MAX];
    bki_image_path(w->db, "KEYDIR", path);
    int rc = io->sync(io->arg, w->fd);
    if (rc < 0) {
        return bki_io_fail(err, rc, w->path, 0, "sync");
    }
    rc = io->rename(io->arg, w->path, path);
    if (rc < 0) {
        return bki_io_fail(err, rc, path, 0, "rename");
    }
    rc = io->sync_dir(io->arg, w->db->files.dir);
    return rc < 0 ? bki_io_fail(err, rc, w->db->files.dir, 0, "sync directory") : BK_OK;
}

int bki_image_write(struct bk_db *db, struct bk_error *err)
{
    struct writer *w = bk_alloc_zero(1, sizeof *w);
    const struct bk_io *io = db->io;
    int rc = BK_NOTFOUND;
    w->db = db;
    w->fd = -1;
    bki_ages_codes(db, w->age_codes);
    bki_image_path(db, "KEYDIR.new", w->path);
    if (!describe(w)) {
        goto out;
    }
    w->fd = io->open(io->arg, w->path, BK_IO_CREATE);
    if (w->fd < 0) {
        rc = bki_io_fail(err, w->fd, w->path, 0, "create");
        goto out;
    }
    rc = write_all(w, err);
    if (rc == BK_OK) {
        rc = publish(w, err);
    }
    io->close(io->arg, w->fd);
    if (rc != BK_OK) {
        io->unlink(io->arg, w->path); /* it takes room only, and the next open looks for it */
    }
out:
    bk_buf_fini(&w->block);
    bki_image_fini(&w->im);
    free(w);
    return rc;
}
