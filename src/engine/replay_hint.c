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
#define SORT_BITS 18u
#define SORT_MASK (((uint64_t)1 << SORT_BITS) - 1)
#define AT_ONCE 256u /* changes that are applied together */
#define AHEAD 16u    /* entries whose bytes are fetched before they are asked for */

struct load {
    struct recover *r;
    struct bki_file *f;
    struct bki_hint hint;
    int (*each)(struct load *l, uint32_t part); /* what is done with parts */
    atomic_uint next;                           /* part */
    _Atomic uint64_t bytes, records;
    atomic_int rc;
    bool damaged; /* the data was when the hint was made */
};

/* Changes of keys of one database. */
struct batch {
    struct bki_keydir *kd; /* borrowed; NULL: none yet */
    size_t n;
    struct bki_change c[AT_ONCE];
};

static void apply(struct load *l, struct batch *b)
{
    if (b->n == 0) {
        return;
    }
    bki_keydir_apply(b->kd, b->c, b->n);
    for (size_t i = 0; i < b->n; i++) {
        if (b->c[i].old.loc != 0) {
            bki_db_dead(l->r->db, b->c[i].old.loc, b->c[i].old.size);
        }
    }
    b->n = 0;
}

/* NULL: no number stands for the space. */
static struct bki_keydir *keydir_of(const struct load *l, const struct bki_hint_entry *h)
{
    int64_t num = bki_spacemap_number(&l->r->db->log.map, h->space);
    return num < 0 ? NULL : bki_db_keydir(l->r->db, (uint32_t)num, true);
}

static void add_entry(struct load *l, struct batch *b, const struct bki_hint_entry *h)
{
    struct bki_file *f = l->f;
    struct bki_keydir *kd = keydir_of(l, h);
    if (kd == NULL) {
        atomic_fetch_add_explicit(&f->dead_bytes, h->size, memory_order_relaxed);
        return;
    }
    if (kd != b->kd || b->n == AT_ONCE) {
        apply(l, b);
        b->kd = kd;
    }
    struct bki_change *c = &b->c[b->n++];
    *c = (struct bki_change){.key = {.bytes = h->key, .hash = h->hash}};
    if (h->kind == BKI_DELETE || (h->expire_ms != 0 && h->expire_ms <= l->r->now_ms)) {
        atomic_fetch_add_explicit(&f->guard_bytes, h->size, memory_order_relaxed);
        return;
    }
    if (h->kind == BKI_LOST) {
        bki_recover_mark(l->r, f, h->offset, h->size, h->space, h->key);
    }
    c->now =
        (struct bki_entry){.loc = bki_loc_make(f->pages[h->offset >> BKI_PAGE_SHIFT], h->offset),
                           .size = h->size,
                           .expire_ms = h->expire_ms,
                           .type = h->flags & BK_TYPE_MASK};
}

/* The entries of a part as words {place in the part's bytes; the low SORT_BITS of the bucket that
 * the key will lie in}. Sorts them by bucket, and keeps the order of the data file within it: so
 * that a bucket's entries come one after the other, and its block of memory grows once. Returns
 * refs or room, whichever has them in the end. */
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
    struct bki_hint_entry e;
    struct batch b;
    int rc = BK_OK;
    b.kd = NULL;
    b.n = 0;
    for (size_t i = 0; rc == BK_OK && i < n; i++) {
        if (i + AHEAD < n) {
            __builtin_prefetch(c->bytes.data + (refs[i + AHEAD] >> SORT_BITS));
        }
        rc = bki_hint_next_at(c, refs[i] >> SORT_BITS, &e, NULL);
        if (rc == BK_OK) {
            add_entry(l, &b, &e);
        }
    }
    apply(l, &b);
    return rc;
}

/* Makes room for a part's n entries in the stripes that its keys lie in, which are those of its
 * number modulo the parts; n = 0: gives back what was too much. Returns the buckets of one. */
static uint32_t expect(const struct load *l, struct bki_keydir *kd, uint32_t part, uint64_t n)
{
    uint32_t parts = bki_hint_parts(&l->hint);
    uint32_t step = parts < BKI_KD_STRIPES ? parts : BKI_KD_STRIPES;
    uint32_t buckets = 1;
    for (uint32_t s = part % step; s < BKI_KD_STRIPES; s += step) {
        if (n > 0) {
            buckets = bki_keydir_expect(kd, s, n * step / BKI_KD_STRIPES);
        } else {
            bki_keydir_fit(kd, s);
        }
    }
    return buckets;
}

/* The pages that entries start in; as the log takes them, so that a start needs no more. Before
 * this the file's list of pages has its length: others read it. */
static int take_page(struct load *l, uint64_t offset, uint32_t *last)
{
    struct bk_db *db = l->r->db;
    uint32_t page = (uint32_t)(offset >> BKI_PAGE_SHIFT);
    bool ok = page == *last;
    if (!ok) {
        bk_mutex_lock(&db->log.mu);
        ok = bki_file_locate(&db->files, l->f, offset) != 0;
        bk_mutex_unlock(&db->log.mu);
        *last = page;
    }
    return ok ? BK_OK : BK_ENOSPC;
}

/* Reads the entries that c is before, for the order in which they are applied. Room is made as if
 * all were keys of *kd, the first one's database. */
static int list_entries(struct load *l, struct bki_hint_cursor *c, struct bki_keydir **kd,
                        uint64_t *refs, size_t n)
{
    struct bki_hint_entry e;
    uint64_t bytes = 0;
    uint32_t buckets = 1;
    uint32_t page = UINT32_MAX;
    int rc = BK_OK;
    for (size_t i = 0; rc == BK_OK && i < n; i++) {
        uint64_t at = c->at;
        rc = bki_hint_next(c, &e, NULL);
        rc = rc == BK_OK ? take_page(l, e.offset, &page) : rc;
        if (rc == BK_OK && i == 0) {
            *kd = keydir_of(l, &e);
            buckets = *kd == NULL ? 1 : expect(l, *kd, c->part, n);
        }
        refs[i] = at << SORT_BITS | (bki_keydir_bucket(buckets, e.hash) & SORT_MASK);
        bytes += e.size;
    }
    atomic_fetch_add(&l->bytes, bytes);
    atomic_fetch_add(&l->records, n);
    return rc;
}

static int load_part(struct load *l, uint32_t part)
{
    struct bki_hint_cursor c;
    struct bki_keydir *kd = NULL;
    int rc = bki_hint_part_begin(&c, &l->hint, part, l->r->db->hash_seed);
    if (rc == BK_OK) {
        rc = bki_hint_read_part(&c, NULL);
    }
    size_t n = rc == BK_OK ? c.left : 0;
    uint64_t *refs = bk_alloc((2 * n + 1) * sizeof *refs);
    if (rc == BK_OK) {
        rc = list_entries(l, &c, &kd, refs, n);
    }
    if (rc == BK_OK) {
        rc = apply_refs(l, &c, by_bucket(refs, refs + n, n), n);
    }
    if (kd != NULL) {
        expect(l, kd, part, 0);
    }
    free(refs);
    bki_hint_part_end(&c);
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
        l->damaged = true;
    }
}

/* Blocks are checked one by one while they are applied: reading them all once before is what makes
 * a hint all or nothing. */
static int open_checked(struct load *l, const struct recover_file *rf, struct bk_error *err)
{
    struct bk_db *db = l->r->db;
    int rc = bki_hint_open(&l->hint, db->io, db->files.dir, rf->file, db->hash_seed, err);
    if (rc != BK_OK) {
        return rc;
    }
    rc = l->hint.info.covers < rf->file->header_bytes ? BK_CORRUPT : do_parts(l, check_part);
    if (rc == BK_EIO) {
        rc = bk_error_set(err, rc, 0, l->hint.path, 0, "the hint file cannot be read");
    }
    if (rc != BK_OK) {
        bki_hint_close(&l->hint);
    }
    return rc;
}

int bki_replay_hint(struct recover *r, const struct recover_file *rf, uint64_t *covered,
                    uint64_t *last_seq, struct bk_error *err)
{
    struct bk_db *db = r->db;
    struct load l = {.r = r, .f = rf->file};
    int rc = open_checked(&l, rf, err);
    if (rc == BK_EIO && rf->file->gone == NULL) {
        return BK_CORRUPT; /* nothing was applied, and the data tells the same */
    }
    if (rc != BK_OK) {
        return rc;
    }
    bki_file_pages_expect(rf->file, l.hint.info.covers);
    apply_maps(&l);
    rc = do_parts(&l, load_part);
    if (rc == BK_ENOSPC) {
        rc = bk_error_set(err, rc, 0, l.hint.path, 0, "the address space of 8 TiB is used up");
    } else if (rc != BK_OK) {
        /* It checked a moment ago: the disk does not read the same twice. */
        rc = bk_error_set(err, BK_EIO, 0, l.hint.path, 0, "the hint file cannot be read");
    } else {
        account(&l);
        *covered = l.hint.info.covers;
        *last_seq = l.hint.info.last_seq;
        atomic_store(&rf->file->hint_covers, *covered);
        atomic_store(&rf->file->hinted, rf->sealed);
        atomic_store(&rf->file->records, l.hint.info.entries);
    }
    bki_hint_close(&l.hint);
    return rc == BK_OK && l.damaged ? bki_survey(db, rf->file, err) : rc;
}
