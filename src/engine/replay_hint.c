/* SPDX-License-Identifier: MIT */
/*
 * replay_hint.c - a data file's records applied from its hint, its parts in parallel.
 *
 * Within a file the map of databases may change between records. Spaces are never used twice, so
 * what counts is the map behind the file's last change: a record of a space that it does not have
 * is dead. Keys of different parts do not meet, so threads need no order among each other; files
 * are applied one after the other.
 */
#include "base/assert.h"
#include "base/log.h"
#include "engine/hint.h"
#include "engine/recover.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define THREADS_MAX 8u

struct load {
    struct recover *r;
    struct bki_file *f;
    struct bki_hint hint;
    atomic_uint next; /* part */
    _Atomic uint64_t bytes, records;
    atomic_int rc;
};

static void apply_entry(struct load *l, const struct bki_hint_entry *h)
{
    struct recover *r = l->r;
    struct bk_db *db = r->db;
    struct bki_file *f = l->f;
    int64_t num = bki_spacemap_number(&db->log.map, h->space);
    if (num < 0) {
        atomic_fetch_add_explicit(&f->dead_bytes, h->size, memory_order_relaxed);
        return;
    }
    struct bk_key key = {h->key, h->hash};
    struct bki_keydir *kd = bki_db_keydir(db, (uint32_t)num, true);
    struct bki_entry old;
    bool had;
    if (h->kind == BKI_DELETE || (h->expire_ms != 0 && h->expire_ms <= r->now_ms)) {
        had = bki_keydir_remove(kd, &key, 0, &old);
        atomic_fetch_add_explicit(&f->guard_bytes, h->size, memory_order_relaxed);
    } else {
        struct bki_entry e = {.loc = bki_loc_make(f->pages[h->offset >> BKI_PAGE_SHIFT], h->offset),
                              .size = h->size,
                              .expire_ms = h->expire_ms,
                              .type = h->flags & BK_TYPE_MASK};
        had = bki_keydir_put(kd, &key, &e, &old);
    }
    if (had) {
        bki_db_dead(db, old.loc, old.size);
    }
}

static int load_part(struct load *l, uint32_t part)
{
    struct bki_hint_cursor c;
    struct bki_hint_entry e;
    uint64_t bytes = 0;
    uint64_t records = 0;
    int rc = bki_hint_part_begin(&c, &l->hint, part, l->r->db->hash_seed);
    while (rc == BK_OK && (rc = bki_hint_next(&c, &e, NULL)) == BK_OK) {
        apply_entry(l, &e);
        bytes += e.size;
        records++;
    }
    bki_hint_part_end(&c);
    atomic_fetch_add(&l->bytes, bytes);
    atomic_fetch_add(&l->records, records);
    return rc == BK_NOTFOUND ? BK_OK : rc;
}

static void *load_main(void *arg)
{
    struct load *l = arg;
    uint32_t parts = bki_hint_parts(&l->hint);
    uint32_t part;
    while ((part = atomic_fetch_add(&l->next, 1)) < parts && atomic_load(&l->rc) == BK_OK) {
        int rc = load_part(l, part);
        if (rc != BK_OK) {
            atomic_store(&l->rc, rc);
        }
    }
    return NULL;
}

static void load_parts(struct load *l)
{
    pthread_t thread[THREADS_MAX];
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t want = l->r->alone || cores < 1 ? 1 : (uint32_t)cores;
    uint32_t parts = bki_hint_parts(&l->hint);
    want = want > THREADS_MAX ? THREADS_MAX : want;
    want = want > parts ? parts : want;
    uint32_t n = 0;
    /* This thread is one of them; without the others it only takes longer. */
    while (n + 1 < want && pthread_create(&thread[n], NULL, load_main, l) == 0) {
        n++;
    }
    load_main(l);
    for (uint32_t i = 0; i < n; i++) {
        int joined = pthread_join(thread[i], NULL);
        BK_ASSERT(joined == 0);
    }
}

/* Blocks are checked one by one while they are applied: reading them all once before is what makes
 * a hint all or nothing. */
static int check_parts(struct load *l)
{
    int rc = BK_OK;
    for (uint32_t part = 0; rc == BK_OK && part < bki_hint_parts(&l->hint); part++) {
        struct bki_hint_cursor c;
        rc = bki_hint_part_begin(&c, &l->hint, part, l->r->db->hash_seed);
        BK_ASSERT(rc == BK_OK);
        rc = bki_hint_check(&c, NULL);
        bki_hint_part_end(&c);
    }
    return rc;
}

static void apply_maps(struct load *l)
{
    struct bk_span pairs;
    for (size_t at = 0; bki_hint_map(&l->hint, &at, &pairs);) {
        struct bki_record of = {.kind = BKI_MAP, .value_len = (uint32_t)pairs.len};
        atomic_fetch_add(&l->f->map_bytes, l->f->merged ? bki_record_size(&of) : 0);
        if (bki_recover_map(l->r, pairs.data, (uint32_t)(pairs.len / 8)) != BK_OK) {
            bki_recover_damage(l->r, l->hint.path, 0, pairs.len, "map of databases");
        }
    }
}

static void account(struct load *l)
{
    struct recover *r = l->r;
    const struct bki_hint_info *i = &l->hint.info;
    uint64_t own = i->covers - l->f->header_bytes - atomic_load(&l->bytes);
    atomic_fetch_add(&l->f->dead_bytes, own);
    atomic_fetch_add(&r->db->recovered_records, atomic_load(&l->records));
    r->max_seq = i->max_seq > r->max_seq ? i->max_seq : r->max_seq;
    if (i->damaged > 0) {
        bki_recover_damage(r, l->f->path, 0, i->damaged, "as its hint file says");
    }
}

int bki_replay_hint(struct recover *r, const struct recover_file *rf, uint64_t *covered,
                    uint64_t *last_seq, struct bk_error *err)
{
    struct bk_db *db = r->db;
    struct load l = {.r = r, .f = rf->file};
    int rc = bki_hint_open(&l.hint, db->io, db->files.dir, rf->file, db->hash_seed, err);
    if (rc == BK_OK && l.hint.info.covers < rf->file->header_bytes) {
        rc = BK_CORRUPT;
        bki_hint_close(&l.hint);
    }
    if (rc != BK_OK) {
        return rc;
    }
    rc = check_parts(&l);
    if (rc == BK_OK) {
        for (uint64_t at = 0; at < l.hint.info.covers; at += (uint64_t)1 << BKI_PAGE_SHIFT) {
            uint64_t loc = bki_file_locate(&db->files, rf->file, at);
            BK_ASSERT(loc != 0);
        }
        apply_maps(&l);
        load_parts(&l);
        rc = atomic_load(&l.rc);
        if (rc != BK_OK) {
            /* It checked a moment ago: the disk does not read the same twice. */
            rc = bk_error_set(err, BK_EIO, 0, l.hint.path, 0, "the hint file cannot be read");
        }
    }
    if (rc == BK_OK) {
        account(&l);
        *covered = l.hint.info.covers;
        *last_seq = l.hint.info.last_seq;
        atomic_store(&rf->file->hint_covers, *covered);
        atomic_store(&rf->file->hinted, rf->sealed);
        atomic_store(&rf->file->records, l.hint.info.entries);
    }
    bki_hint_close(&l.hint);
    return rc;
}
