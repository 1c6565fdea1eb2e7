/* SPDX-License-Identifier: MIT */
/* recover_listing.c - see recover_listing.h. */
#include "engine/recover_listing.h"

#include "base/checksum.h"
#include "engine/dir.h"

#include <stdlib.h>

static void each_data(void *arg, const char *name)
{
    struct bki_listing *l = arg;
    uint64_t id;
    if (!bki_datafile_name_id(name, &id)) {
        return;
    }
    if (l->n == l->cap) {
        l->cap = l->cap == 0 ? 64 : l->cap * 2;
        l->at = bk_realloc(l->at, l->cap * sizeof *l->at);
    }
    l->at[l->n++] = (struct bki_found){.id = id};
}

static int read_fixed(struct bk_db *db, int fd, const char *path, struct bki_found *f,
                      struct bk_error *err)
{
    uint8_t head[BKI_DATAFILE_FIXED] = {0};
    size_t got = 0;
    int rc = bki_io_read_all(db->io, fd, head, sizeof head, 0, &got, path, err);
    f->zeros = rc == BK_OK;
    for (size_t i = 0; i < got; i++) {
        f->zeros = f->zeros && head[i] == 0;
    }
    f->said_id = bk_get64(head + 24);
    f->said_store = bk_get64(head + 40);
    return rc;
}

static int look_at(struct bk_db *db, struct bki_found *f, struct bk_error *err)
{
    char path[BKI_PATH_MAX];
    bki_datafile_path(path, db->files.dir, f->id);
    int fd = db->io->open(db->io->arg, path, BK_IO_READ);
    if (fd < 0) {
        return bki_io_fail(err, fd, path, 0, "open");
    }
    int rc = read_fixed(db, fd, path, f, err);
    if (rc == BK_OK) {
        rc = bki_datafile_header_read(db->io, fd, path, &f->h, err);
        f->header = rc == BK_OK;
        f->newer = rc == BK_EVERSION;
    }
    db->io->close(db->io->arg, fd);
    /* A store that is only read is opened without what cannot be read: see scan_of in replay.c. */
    bool passed = rc == BK_CORRUPT || rc == BK_EVERSION || (rc == BK_EIO && db->read_only);
    return passed ? BK_OK : rc;
}

int bki_listing_read(struct bk_db *db, struct bki_listing *l, struct bk_error *err)
{
    int rc = bki_dir_list(db->io, db->files.dir, each_data, l, err);
    for (size_t i = 0; rc == BK_OK && i < l->n; i++) {
        rc = look_at(db, &l->at[i], err);
    }
    return rc;
}

void bki_listing_fini(struct bki_listing *l)
{
    for (size_t i = 0; i < l->n; i++) {
        if (l->at[i].header) {
            bki_datafile_header_fini(&l->at[i].h);
        }
    }
    free(l->at);
}

bool bki_listing_has(const struct bki_listing *l, uint64_t id)
{
    size_t i = 0;
    while (i < l->n && l->at[i].id != id) {
        i++;
    }
    return i < l->n;
}

enum bki_owner bki_found_owner(const struct bki_found *f, uint64_t store)
{
    if (f->zeros) {
        return BKI_OWNER_NONE;
    }
    return f->said_store == store && f->said_id == f->id ? BKI_OWNER_STORE : BKI_OWNER_OTHER;
}

bool bki_found_is_ours(const struct bki_found *f, uint64_t store)
{
    return f->header && f->h.store == store && f->h.id == f->id;
}
