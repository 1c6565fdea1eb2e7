/* SPDX-License-Identifier: MIT */
/* check.c - every fact that the engine keeps, held against the bytes on disk. For tests and DEBUG.
 */
#include "engine/db_private.h"
#include "engine/scan.h"

#include <inttypes.h>
#include <stdlib.h>

/* Live bytes and keys by file slot, as the keydirs have them. */
struct tally {
    struct bk_db *db;
    uint64_t *live; /* owned; by slot */
};

static int tally_keydir(struct tally *t, struct bki_keydir *kd, struct bk_error *err)
{
    struct bk_buf packed = {0};
    uint64_t cursor = 0;
    struct bki_entry e;
    int rc = bki_keydir_check(kd, err) ? BK_OK : BK_CORRUPT;
    while (rc == BK_OK) {
        packed.len = 0;
        bki_keydir_scan(kd, &cursor, &packed);
        for (size_t at = 0; bki_entry_next(&packed, &at, &e, NULL);) {
            uint64_t offset;
            const struct bki_file *f = bki_files_at(&t->db->files, e.loc, &offset);
            t->live[f->slot] += e.size;
            if (offset + e.size > atomic_load(&f->size)) {
                rc = bk_error_set(err, BK_CORRUPT, 0, f->path, offset,
                                  "a key's record lies behind the file's end");
            }
        }
        if (cursor == 0) {
            break;
        }
    }
    bk_buf_fini(&packed);
    return rc;
}

/* The record that the scan found is the one that its key's entry names, or it is not live. */
static uint64_t live_size(struct bk_db *db, struct bki_file *f, const struct bki_scan_item *it)
{
    if (it->rec.kind != BKI_PUT && it->rec.kind != BKI_LOST) {
        return 0;
    }
    bk_mutex_lock(&db->log.mu);
    int64_t num = bki_spacemap_number(&db->log.map, it->rec.space);
    bk_mutex_unlock(&db->log.mu);
    struct bki_keydir *kd = num < 0 ? NULL : bki_db_keydir(db, (uint32_t)num, false);
    struct bki_entry e;
    struct bk_key key;
    uint64_t del_pos;
    uint64_t offset;
    if (kd == NULL) {
        return 0;
    }
    bk_key_init(db, &key, it->key.data, it->key.len);
    if (!bki_keydir_find(kd, &key, &e, &del_pos)) {
        return 0;
    }
    bool here = bki_files_at(&db->files, e.loc, &offset) == f && offset == it->offset;
    bool same = e.size == it->size && e.expire_ms == it->rec.expire_ms &&
                e.type == (it->rec.flags & BK_TYPE_MASK);
    return here && same ? it->size : 0;
}

static int check_file(struct tally *t, struct bki_file *f, struct bk_error *err)
{
    struct bk_db *db = t->db;
    struct bki_scan s;
    struct bki_scan_item it;
    uint64_t size = atomic_load(&f->size);
    uint64_t live = 0;
    bool zeros;
    int rc;
    bki_scan_init(&s, db->io, f->fd, f->path, f->seed, f->merged, f->header_bytes, size);
    while ((rc = bki_scan_next(&s, &it, err)) != BK_NOTFOUND) {
        if (rc == BK_OK) {
            live += live_size(db, f, &it);
        } else if (rc == BK_CORRUPT) {
            rc =
                bki_scan_resync(&s, &zeros, err); /* damage was counted as dead when it was found */
        }
        if (rc < 0) {
            break;
        }
    }
    bki_scan_fini(&s);
    if (rc < 0) {
        return rc;
    }
    uint64_t dead = atomic_load(&f->dead_bytes);
    uint64_t guard = atomic_load(&f->guard_bytes);
    if (live != t->live[f->slot]) {
        return bk_error_set(err, BK_CORRUPT, 0, f->path, 0,
                            "%" PRIu64 " live bytes on disk, %" PRIu64 " by the keydir", live,
                            t->live[f->slot]);
    }
    if (size - f->header_bytes != live + dead + guard) {
        return bk_error_set(err, BK_CORRUPT, 0, f->path, 0,
                            "%" PRIu64 " bytes are not %" PRIu64 " live + %" PRIu64
                            " dead + %" PRIu64 " guards",
                            size - f->header_bytes, live, dead, guard);
    }
    return BK_OK;
}

int bk_check(struct bk_db *db, struct bk_error *err)
{
    uint32_t slots = atomic_load(&db->files.slots_n);
    struct tally t = {db, bk_alloc_zero(slots, sizeof *t.live)};
    int rc = BK_OK;
    bki_log_flush(&db->log, bk_tail(db));
    for (uint32_t i = 0; rc == BK_OK && i <= BK_DATABASES_MAX; i++) {
        struct bki_keydir *kd = bki_db_keydir(db, i, false);
        rc = kd == NULL ? BK_OK : tally_keydir(&t, kd, err);
    }
    for (uint32_t i = 0; rc == BK_OK && i < slots; i++) {
        struct bki_file *f = bki_files_slot(&db->files, i);
        bool gone = f == NULL || atomic_load(&f->state) >= BKI_FILE_DROPPED;
        rc = gone ? BK_OK : check_file(&t, f, err);
    }
    free(t.live);
    return rc;
}
