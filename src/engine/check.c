/* SPDX-License-Identifier: MIT */
/* check.c - every fact that the engine keeps, held against the bytes on disk. For tests and DEBUG.
 */
#include "engine/db_private.h"
#include "engine/scan.h"

#include <inttypes.h>
#include <stdlib.h>

/* Bytes of a file that are no record. */
struct gap {
    uint32_t slot;
    uint64_t from, to;
};

/* By file slot: live bytes as the keydirs have them, and as the scans found them. */
struct tally {
    struct bk_db *db;
    uint64_t *live;   /* owned */
    uint64_t *found;  /* owned */
    struct gap *gaps; /* owned */
    size_t gaps_n;
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
    uint64_t pos;
    uint64_t offset;
    if (kd == NULL) {
        return 0;
    }
    bk_key_init(db, &key, it->key.data, it->key.len);
    if (!bki_keydir_find(kd, &key, &e, &pos)) {
        return 0;
    }
    bool here = bki_files_at(&db->files, e.loc, &offset) == f && offset == it->offset;
    bool same = e.size == it->size && e.expire_ms == it->rec.expire_ms &&
                e.type == (it->rec.flags & BK_TYPE_MASK);
    return here && same ? it->size : 0;
}

static void add_gap(struct tally *t, const struct bki_file *f, uint64_t from, uint64_t to)
{
    struct bki_damage_at at = {
        .path = f->path, .offset = from, .bytes = to - from, .what = "no record, stepped over"};
    bki_damage_note(&t->db->damage, &at);
    t->gaps = bk_realloc(t->gaps, (t->gaps_n + 1) * sizeof *t->gaps);
    t->gaps[t->gaps_n++] = (struct gap){f->slot, from, to};
}

static int scan_file(struct tally *t, struct bki_file *f, struct bk_error *err)
{
    struct bk_db *db = t->db;
    struct bki_scan s;
    struct bki_scan_item it;
    bool zeros;
    int rc;
    bki_scan_init(&s, db->io, f->fd, f->path, f->seed, f->merged, f->header_bytes,
                  atomic_load(&f->size));
    while ((rc = bki_scan_next(&s, &it, err)) != BK_NOTFOUND) {
        uint64_t from = s.offset;
        if (rc == BK_OK) {
            t->found[f->slot] += live_size(db, f, &it);
            if (it.mended || !it.value_ok) {
                bki_damage_item(&db->damage, f->path, &it);
            }
        } else if (rc == BK_CORRUPT) {
            rc = bki_scan_resync(&s, &zeros, err);
            add_gap(t, f, from, s.offset);
        }
        if (rc < 0) {
            break;
        }
    }
    bki_scan_fini(&s);
    return rc < 0 ? rc : BK_OK;
}

static bool in_gap(const struct tally *t, const struct bki_file *f, uint64_t offset)
{
    bool in = false;
    for (size_t i = 0; !in && i < t->gaps_n; i++) {
        const struct gap *g = &t->gaps[i];
        in = g->slot == f->slot && offset >= g->from && offset < g->to;
    }
    return in;
}

/* Keys whose records lie in gaps: they answer errors, and their bytes are live. */
static void tally_gaps(struct tally *t, struct bki_keydir *kd)
{
    struct bk_buf packed = {0};
    uint64_t cursor = 0;
    struct bki_entry e;
    struct bk_span key;
    do {
        packed.len = 0;
        bki_keydir_scan(kd, &cursor, &packed);
        for (size_t at = 0; bki_entry_next(&packed, &at, &e, &key);) {
            uint64_t offset;
            const struct bki_file *f = bki_files_at(&t->db->files, e.loc, &offset);
            struct bki_damage_at lost = {.path = f->path,
                                         .offset = offset,
                                         .bytes = e.size,
                                         .what = "a key's value, its reads answer an error",
                                         .key = key,
                                         .has_key = true,
                                         .space = bki_keydir_space(kd)};
            if (in_gap(t, f, offset)) {
                t->found[f->slot] += e.size;
                bki_damage_note(&t->db->damage, &lost);
            }
        }
    } while (cursor != 0);
    bk_buf_fini(&packed);
}

static int balance(const struct tally *t, const struct bki_file *f, struct bk_error *err)
{
    uint64_t size = atomic_load(&f->size);
    uint64_t dead = atomic_load(&f->dead_bytes);
    uint64_t guard = atomic_load(&f->guard_bytes);
    uint64_t live = t->found[f->slot];
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

static int check_files(struct tally *t, uint32_t slots, struct bk_error *err)
{
    struct bk_db *db = t->db;
    int rc = BK_OK;
    for (uint32_t i = 0; rc == BK_OK && i < slots; i++) {
        struct bki_file *f = bki_files_slot(&db->files, i);
        if (bki_file_in_use(f) && f->gone != NULL) {
            t->found[f->slot] = t->live[f->slot]; /* all of it answers errors */
        } else {
            rc = bki_file_in_use(f) ? scan_file(t, f, err) : BK_OK;
        }
    }
    for (uint32_t i = 0; rc == BK_OK && t->gaps_n > 0 && i <= BK_DATABASES_MAX; i++) {
        struct bki_keydir *kd = bki_db_keydir(db, i, false);
        if (kd != NULL) {
            tally_gaps(t, kd);
        }
    }
    for (uint32_t i = 0; rc == BK_OK && i < slots; i++) {
        const struct bki_file *f = bki_files_slot(&db->files, i);
        rc = bki_file_in_use(f) ? balance(t, f, err) : BK_OK;
    }
    return rc;
}

/* Pages that neither a file has nor anybody can take are lost until a restart. */
static int check_pages(struct bk_db *db, struct bk_error *err)
{
    uint64_t owned = 0;
    bk_mutex_lock(&db->log.mu);
    for (uint32_t i = 0; i < atomic_load(&db->files.slots_n); i++) {
        const struct bki_file *f = bki_files_slot(&db->files, i);
        for (uint32_t k = 0; f != NULL && k < f->pages_n; k++) {
            owned += f->pages[k] != BKI_NO_PAGE;
        }
    }
    uint64_t used = atomic_load(&db->files.pages.used);
    bk_mutex_unlock(&db->log.mu);
    return used == owned
               ? BK_OK
               : bk_error_set(err, BK_CORRUPT, 0, db->files.dir, 0,
                              "%" PRIu64 " address pages are lent, %" PRIu64 " to data files", used,
                              owned);
}

static int check_all(struct bk_db *db, struct bk_error *err)
{
    uint32_t slots = atomic_load(&db->files.slots_n);
    struct tally t = {
        .db = db,
        .live = bk_alloc_zero(slots, sizeof *t.live),
        .found = bk_alloc_zero(slots, sizeof *t.found),
    };
    int rc = check_pages(db, err);
    bki_log_flush(&db->log, bk_tail(db));
    for (uint32_t i = 0; rc == BK_OK && i <= BK_DATABASES_MAX; i++) {
        struct bki_keydir *kd = bki_db_keydir(db, i, false);
        rc = kd == NULL ? BK_OK : tally_keydir(&t, kd, err);
    }
    rc = rc == BK_OK ? check_files(&t, slots, err) : rc;
    free(t.live);
    free(t.found);
    free(t.gaps);
    return rc;
}

/* Merges would free files under the walk. */
int bk_check(struct bk_db *db, struct bk_error *err)
{
    bool merges = db->background.started;
    bki_background_stop(db);
    int rc = check_all(db, err);
    int began = merges ? bki_background_start(db, rc == BK_OK ? err : NULL) : BK_OK;
    return rc == BK_OK ? began : rc;
}
