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
#define SORT_BITS 12u
#define AT_ONCE 16u /* entries whose places in memory are fetched together */

struct load {
    struct recover *r;
    struct bki_file *f;
    struct bki_hint hint;
    int (*each)(struct load *l, uint32_t part); /* what is done with parts */
    atomic_uint next;                           /* part */
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

static void apply_entries(struct load *l, const struct bki_hint_entry *e, size_t n)
{
    uint64_t hashes[AT_ONCE];
    int64_t num = bki_spacemap_number(&l->r->db->log.map, e[0].space);
    struct bki_keydir *kd = num < 0 ? NULL : bki_db_keydir(l->r->db, (uint32_t)num, true);
    for (size_t i = 0; i < n; i++) {
        hashes[i] = e[i].hash;
    }
    if (kd != NULL) {
        bki_keydir_warm(kd, hashes, n);
    }
    for (size_t i = 0; i < n; i++) {
        apply_entry(l, &e[i]);
    }
}

/* Entries of a part as words {place in the part's bytes; the low SORT_BITS of the hash, which name
 * buckets}. Sorts by hash, and keeps the order of the data file among equals: so
 * that a bucket's entries come one after the other, and the processor has it at hand. */
static uint64_t *by_bucket(uint64_t *refs, uint64_t *room, size_t n)
{
    for (unsigned shift = 0; shift < SORT_BITS; shift += SORT_BITS / 2) {
        size_t start[1u << SORT_BITS / 2] = {0};
        size_t at = 0;
        const uint32_t mask = (1u << SORT_BITS / 2) - 1;
        for (size_t i = 0; i < n; i++) {
            start[refs[i] >> shift & mask]++;
        }
        for (size_t i = 0; i <= mask; i++) {
            size_t count = start[i];
            start[i] = at;
            at += count;
        }
        for (size_t i = 0; i < n; i++) {
            room[start[refs[i] >> shift & mask]++] = refs[i];
        }
        uint64_t *sorted = room;
        room = refs;
        refs = sorted;
    }
    return refs;
}

static int apply_refs(struct load *l, struct bki_hint_cursor *c, const uint64_t *refs, size_t n)
{
    struct bki_hint_entry e[AT_ONCE];
    size_t held = 0;
    int rc = BK_OK;
    for (size_t i = 0; rc == BK_OK && i < n; i++) {
        if (i + AT_ONCE < n) {
            __builtin_prefetch(c->bytes.data + (refs[i + AT_ONCE] >> SORT_BITS));
        }
        rc = bki_hint_next_at(c, refs[i] >> SORT_BITS, &e[held++], NULL);
        if (rc == BK_OK && (held == AT_ONCE || i + 1 == n)) {
            apply_entries(l, e, held);
            held = 0;
        }
    }
    return rc;
}

static int load_part(struct load *l, uint32_t part)
{
    struct bki_hint_cursor c;
    struct bki_hint_entry e;
    uint64_t bytes = 0;
    size_t n = 0;
    int rc = bki_hint_part_begin(&c, &l->hint, part, l->r->db->hash_seed);
    if (rc == BK_OK) {
        rc = bki_hint_read_part(&c, NULL);
    }
    size_t all = rc == BK_OK ? c.left : 0;
    uint64_t *refs = bk_alloc((2 * all + 1) * sizeof *refs);
    while (rc == BK_OK && n < all) {
        uint64_t at = c.at;
        rc = bki_hint_next(&c, &e, NULL);
        refs[n++] = at << SORT_BITS | (e.hash & ((1u << SORT_BITS) - 1));
        bytes += e.size;
    }
    if (rc == BK_OK) {
        rc = apply_refs(l, &c, by_bucket(refs, refs + all, n), n);
    }
    free(refs);
    bki_hint_part_end(&c);
    atomic_fetch_add(&l->bytes, bytes);
    atomic_fetch_add(&l->records, n);
    return rc;
}

static int check_part(struct load *l, uint32_t part)
{
    struct bki_hint_cursor c;
    int rc = bki_hint_part_begin(&c, &l->hint, part, l->r->db->hash_seed);
    BK_ASSERT(rc == BK_OK);
    rc = bki_hint_check(&c, NULL);
    bki_hint_part_end(&c);
    return rc;
}

static void *load_main(void *arg)
{
    struct load *l = arg;
    uint32_t parts = bki_hint_parts(&l->hint);
    uint32_t part;
    while ((part = atomic_fetch_add(&l->next, 1)) < parts && atomic_load(&l->rc) == BK_OK) {
        int rc = l->each(l, part);
        if (rc != BK_OK) {
            atomic_store(&l->rc, rc);
        }
    }
    return NULL;
}

/* Every part, side by side. */
static int do_parts(struct load *l, int (*each)(struct load *l, uint32_t part))
{
    pthread_t thread[THREADS_MAX];
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t want = l->r->alone || cores < 1 ? 1 : (uint32_t)cores;
    uint32_t parts = bki_hint_parts(&l->hint);
    want = want > THREADS_MAX ? THREADS_MAX : want;
    want = want > parts ? parts : want;
    uint32_t n = 0;
    l->each = each;
    atomic_store(&l->next, 0);
    /* This thread is one of them; without the others it only takes longer. */
    while (n + 1 < want && pthread_create(&thread[n], NULL, load_main, l) == 0) {
        n++;
    }
    load_main(l);
    for (uint32_t i = 0; i < n; i++) {
        int joined = pthread_join(thread[i], NULL);
        BK_ASSERT(joined == 0);
    }
    return atomic_load(&l->rc);
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
    /* Blocks are checked one by one while they are applied: reading them all once before is what
     * makes a hint all or nothing. */
    rc = do_parts(&l, check_part);
    if (rc == BK_OK) {
        for (uint64_t at = 0; at < l.hint.info.covers; at += (uint64_t)1 << BKI_PAGE_SHIFT) {
            uint64_t loc = bki_file_locate(&db->files, rf->file, at);
            BK_ASSERT(loc != 0);
        }
        apply_maps(&l);
        rc = do_parts(&l, load_part);
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
