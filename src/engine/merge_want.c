/* SPDX-License-Identifier: MIT */
/*
 * merge_want.c - which records of an input stay. Of a file that is mostly dead they are had from
 * its hint, so that only what lives is read.
 */
#include "engine/db_private.h"

#include <stdlib.h>

/* ---- One record ---- */

bool bki_merge_is_live(struct bk_db *db, const struct bki_file *f, uint32_t space,
                       const struct bk_key *key, uint64_t at)
{
    struct bki_entry e;
    uint64_t offset;
    unsigned pin = bki_pin(&db->files.pins);
    bool live = bki_merge_find(db, space, key, &e) &&
                bki_files_at(&db->files, e.loc, &offset) == f && offset == at;
    bki_unpin(&db->files.pins, pin);
    return live;
}

bool bki_merge_expired_since(struct bk_db *db, const struct bki_merge_in *in, uint32_t space,
                             const struct bk_key *key, int64_t expire_ms)
{
    const struct bki_merge *m = &db->merge;
    struct bki_entry e;
    if (expire_ms == 0 || m->lower_n == 0 || (in->planned && expire_ms <= m->now_ms)) {
        return false;
    }
    int64_t now_ms = bk_clock_wall_ms(db->clock);
    int64_t expired_ms = atomic_load(&db->expired_ms);
    if (expire_ms > (now_ms > expired_ms ? now_ms : expired_ms)) {
        return false;
    }
    return !bki_merge_find(db, space, key, &e) && bki_merge_space_used(db, space);
}

/* ---- All of an input ---- */

static int by_offset(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Without the keys' locks: a guess of what the look-ups will touch. */
static void fetch_keys(struct bk_db *db, uint32_t space, const struct bk_key *keys, size_t n)
{
    struct bki_keydir *kd = n == 0 ? NULL : bki_merge_keydir(db, space);
    if (kd != NULL) {
        bki_keydir_prefetch(kd, keys, n, NULL);
    }
}

void bki_merge_fetch_ahead(struct bk_db *db, const struct bki_scan *s)
{
    struct bk_span found[BKI_MERGE_GROUP];
    struct bk_key keys[BKI_MERGE_GROUP];
    uint32_t space = 0;
    size_t n = bki_scan_ahead(s, found, &space, BKI_MERGE_GROUP);
    for (size_t i = 0; i < n; i++) {
        bk_key_init(db, &keys[i], found[i].data, found[i].len);
    }
    fetch_keys(db, space, keys, n);
}

static void want_one(struct bk_db *db, const struct bki_hint_entry *e, size_t *cap)
{
    struct bki_merge *m = &db->merge;
    const struct bki_merge_in *in = &m->in[m->in_at];
    struct bk_key key = {.bytes = e->key, .hash = e->hash};
    bool stays = bki_merge_bit(in->keep, e->offset);
    if (e->kind != BKI_DELETE) {
        stays = stays || bki_merge_is_live(db, in->file, e->space, &key, e->offset) ||
                bki_merge_expired_since(db, in, e->space, &key, e->expire_ms);
    }
    if (!stays) {
        return;
    }
    if (m->wanted_n == *cap) {
        *cap = *cap == 0 ? 1024 : *cap * 2;
        m->wanted = bk_realloc(m->wanted, *cap * sizeof *m->wanted);
    }
    m->wanted[m->wanted_n++] = e->offset;
}

static int want_part(struct bk_db *db, const struct bki_hint *hint, uint32_t part, size_t *cap,
                     struct bk_error *err)
{
    struct bki_hint_cursor c;
    struct bki_hint_entry e[BKI_MERGE_GROUP] = {{0}};
    struct bk_key keys[BKI_MERGE_GROUP];
    int rc = bki_hint_part_begin(&c, hint, part, db->hash_seed);
    rc = rc == BK_OK ? bki_hint_read_part(&c, err) : rc;
    while (rc == BK_OK) {
        size_t n = 0;
        while (n < BKI_MERGE_GROUP && (rc = bki_hint_next(&c, &e[n], err)) == BK_OK) {
            n++;
        }
        for (size_t i = 0; i < n; i++) {
            keys[i] = (struct bk_key){.bytes = e[i].key, .hash = e[i].hash};
        }
        fetch_keys(db, e[0].space, keys, n);
        for (size_t i = 0; i < n; i++) {
            want_one(db, &e[i], cap);
        }
    }
    bki_hint_part_end(&c);
    return rc == BK_NOTFOUND ? BK_OK : rc;
}

/* From the hint, so that of a file that is mostly dead only what lives is read. What is not to be
 * had from it is had from the data. */
void bki_merge_want(struct bk_db *db)
{
    struct bki_merge *m = &db->merge;
    struct bki_file *f = m->in[m->in_at].file;
    struct bki_hint hint;
    size_t cap;
    uint64_t gone = atomic_load(&f->dead_bytes) + atomic_load(&f->guard_bytes);
    m->wanted_n = 0;
    m->wanted_at = 0;
    if (gone < atomic_load(&f->size) / 4 * 3 ||
        bki_hint_open(&hint, db->io, db->files.dir, f, db->hash_seed, NULL) != BK_OK) {
        return;
    }
    /* What was damaged when the hint was made may be live and not in it. */
    int rc = hint.info.damaged > 0 ? BK_NOTFOUND : BK_OK;
    m->wanted = bk_alloc(sizeof *m->wanted);
    cap = 1;
    for (uint32_t part = 0; rc == BK_OK && part < bki_hint_parts(&hint); part++) {
        rc = want_part(db, &hint, part, &cap, NULL);
    }
    bki_hint_close(&hint);
    if (rc == BK_CORRUPT) {
        bki_hint_failed(db, f);
    }
    if (rc != BK_OK) {
        free(m->wanted);
        m->wanted = NULL;
    } else if (m->wanted_n > 1) {
        qsort(m->wanted, m->wanted_n, sizeof *m->wanted, by_offset);
    }
}
