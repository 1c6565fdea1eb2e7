/* SPDX-License-Identifier: MIT */
/*
 * verify.c - every byte on disk and what the index says of it; unlike check.c, which stops at the
 * first fact that does not hold, this one goes on and tells all.
 *
 * One pass over the records in the order of the log: a record that the index does not name must
 * have a newer one behind it, and the newest record of a key that the index does not have must be a
 * guard. So the index, wherever it came from, is held against a whole reading without a second one.
 */
#include "engine/verify.h"

#include "base/assert.h"
#include "base/checksum.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOLES_MAX 65536u /* of which the keys that lay there are looked for */

struct hole {
    uint32_t slot;
    uint64_t from, to;
};

struct gone {
    uint64_t key; /* of the key's hash and its space */
    uint64_t order;
    uint64_t offset;
    uint32_t slot;
    bool guard;
};

/* A batch whose members are being read. */
struct frame {
    uint64_t at, end; /* end 0: none */
    uint32_t left, crc, want;
};

/* One data file. */
struct pass {
    struct bki_verify *v;
    struct bki_file *f;
    struct bki_scan s;
    struct frame frame;
    struct bki_verify_hint hint;
    uint64_t live, told, records;
    uint64_t unread_from, unread_to; /* not told yet; to 0: none so far */
    bool damaged;
};

/* ---- Saying so ---- */

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

void bki_verify_found(struct bki_verify *v, const char *path, uint64_t offset, uint64_t bytes,
                      const char *what)
{
    struct bk_finding f = {.file = name_of(path), .offset = offset, .bytes = bytes, .what = what};
    v->each(v->arg, &f);
}

void bki_verify_lost(struct bki_verify *v, const char *path, uint64_t offset, uint64_t bytes,
                     const char *what)
{
    struct bk_finding f = {
        .file = name_of(path), .offset = offset, .bytes = bytes, .what = what, .loss = true};
    v->each(v->arg, &f);
}

static void found_record(struct pass *p, const struct bki_scan_item *it, bool loss,
                         const char *what)
{
    struct bki_verify *v = p->v;
    int64_t num = bki_spacemap_number(v->final, it->rec.space);
    bool key = it->rec.kind == BKI_PUT || it->rec.kind == BKI_DELETE || it->rec.kind == BKI_LOST;
    struct bk_finding f = {.file = name_of(p->f->path),
                           .offset = it->offset,
                           .bytes = it->size,
                           .what = what,
                           .loss = loss,
                           .has_key = key,
                           .num = num < 0 ? UINT32_MAX : (uint32_t)num,
                           .key = bk_buf_span(&v->key)};
    v->each(v->arg, &f);
}

static int look_wanted(const struct bki_verify *v, struct bk_error *err)
{
    return atomic_load_explicit(&v->progress->cancel, memory_order_relaxed)
               ? bk_error_set(err, BK_ECANCELED, 0, v->db->files.dir, 0, "checking was called off")
               : BK_OK;
}

/* ---- The index ---- */

static int by_place(const void *a, const void *b)
{
    const struct hole *x = a;
    const struct hole *y = b;
    if (x->slot != y->slot) {
        return x->slot < y->slot ? -1 : 1;
    }
    return x->to <= y->from ? -1 : x->from >= y->to;
}

/* Calls each() for every entry of every database. */
static void walk_index(struct bki_verify *v,
                       void (*each)(struct bki_verify *v, uint32_t num, const struct bki_entry *e,
                                    struct bk_span key))
{
    struct bk_buf packed = {0};
    for (uint32_t num = 0; num <= BK_DATABASES_MAX; num++) {
        struct bki_keydir *kd = bki_db_keydir(v->db, num, false);
        uint64_t cursor = 0;
        while (kd != NULL) {
            struct bki_entry e;
            struct bk_span key;
            packed.len = 0;
            bki_keydir_scan(kd, &cursor, &packed);
            for (size_t at = 0; bki_entry_next(&packed, &at, &e, &key);) {
                each(v, num, &e, key);
            }
            kd = cursor == 0 ? NULL : kd;
        }
    }
    bk_buf_fini(&packed);
}

static void tally(struct bki_verify *v, uint32_t num, const struct bki_entry *e, struct bk_span key)
{
    uint64_t offset;
    const struct bki_file *f = bki_files_at(&v->db->files, e->loc, &offset);
    v->live[f->slot] += e->size;
    if (offset + e->size > atomic_load(&f->size)) {
        struct bk_finding found = {name_of(f->path),
                                   offset,
                                   e->size,
                                   "the key's record lies behind the end of the file",
                                   true,
                                   true,
                                   num,
                                   key};
        v->each(v->arg, &found);
    }
}

/* Keys whose record could not be read at all: only the index still knows them. */
static void name_lost(struct bki_verify *v, uint32_t num, const struct bki_entry *e,
                      struct bk_span key)
{
    uint64_t offset;
    const struct bki_file *f = bki_files_at(&v->db->files, e->loc, &offset);
    struct hole at = {f->slot, offset, offset + 1};
    if (bsearch(&at, v->holes.data, v->holes.len / sizeof at, sizeof at, by_place) != NULL) {
        struct bk_finding found = {name_of(f->path),
                                   offset,
                                   e->size,
                                   "the record of this key does not check",
                                   true,
                                   true,
                                   num,
                                   key};
        v->each(v->arg, &found);
    }
}

static void check_structures(struct bki_verify *v)
{
    for (uint32_t num = 0; num <= BK_DATABASES_MAX; num++) {
        struct bk_error err = {0};
        struct bki_keydir *kd = bki_db_keydir(v->db, num, false);
        if (kd != NULL && !bki_keydir_check(kd, &err)) {
            bki_verify_found(v, "", 0, 0, err.text);
        }
    }
}

/* ---- Records ---- */

static void note_gone(struct pass *p, const struct bki_scan_item *it, const struct bk_key *key,
                      bool guard)
{
    struct bki_verify *v = p->v;
    struct gone g = {.key = bki_filter_value(key->hash, it->rec.space),
                     .order = v->gone.len,
                     .offset = it->offset,
                     .slot = p->f->slot,
                     .guard = guard};
    bk_buf_append(&v->gone, &g, sizeof g);
}

/* What the index says of the record's key. True: this record is the one that counts. */
static bool hold_against_index(struct pass *p, const struct bki_scan_item *it)
{
    struct bk_db *db = p->v->db;
    int64_t num = bki_spacemap_number(p->v->final, it->rec.space);
    struct bki_keydir *kd = num < 0 ? NULL : bki_db_keydir(db, (uint32_t)num, false);
    bool expired = it->rec.expire_ms != 0 && it->rec.expire_ms <= bk_clock_wall_ms(db->clock);
    struct bki_entry e;
    struct bk_key key;
    uint64_t pos;
    uint64_t offset;
    if (num < 0) {
        return false; /* of a database that was flushed */
    }
    bk_key_init(db, &key, p->v->key.data, p->v->key.len);
    if (kd == NULL || !bki_keydir_find(kd, &key, &e, &pos)) {
        note_gone(p, it, &key, expired || it->rec.kind == BKI_DELETE);
        return false;
    }
    const struct bki_file *f = bki_files_at(&db->files, e.loc, &offset);
    bool here = f == p->f && offset == it->offset;
    if (!here && (f->rank < p->f->rank || (f == p->f && offset < it->offset))) {
        found_record(p, it, true, "the index names an older record of the key");
        return true;
    }
    if (here && (it->rec.kind == BKI_DELETE || e.size != it->size ||
                 e.expire_ms != it->rec.expire_ms || e.type != (it->rec.flags & BK_TYPE_MASK))) {
        found_record(p, it, true, "the index has another size, expiry or type than the record");
    } else if (here) {
        p->live += it->size;
    }
    return here;
}

static void check_key_record(struct pass *p, const struct bki_scan_item *it)
{
    bool counts = hold_against_index(p, it);
    if (it->mended) {
        found_record(p, it, counts,
                     counts ? "one bit of the record is wrong"
                            : "one bit of a record that no longer counts is wrong");
    } else if (!it->value_ok) {
        found_record(p, it, counts,
                     counts ? "the value does not check"
                            : "the value of a record that no longer counts does not check");
    } else if (counts && it->rec.kind == BKI_LOST) {
        found_record(p, it, true, "the value is lost: a merge found it damaged");
    }
}

static void frame_record(struct pass *p, const struct bki_scan_item *it)
{
    struct frame *fr = &p->frame;
    if (it->rec.kind == BKI_BATCH) {
        if (fr->end != 0) {
            bki_verify_lost(p->v, p->f->path, fr->at, fr->end - fr->at, "the batch is not whole");
        }
        *fr = (struct frame){0};
        if (it->value_ok) {
            *fr = (struct frame){.at = it->offset,
                                 .end = it->offset + it->size + bki_frame_length(it),
                                 .left = bk_get32(it->value.data),
                                 .want = bk_get32(it->value.data + 4)};
        }
    } else if (fr->end != 0) {
        uint8_t member[4];
        bk_put32(member, it->rec.header_crc);
        fr->crc = bk_crc32c(fr->crc, member, sizeof member);
        fr->left--;
    }
    if (fr->end != 0 && it->offset + it->size >= fr->end) {
        bool whole = it->offset + it->size == fr->end && fr->left == 0 && fr->crc == fr->want;
        if (!whole) {
            bki_verify_lost(p->v, p->f->path, fr->at, fr->end - fr->at, "the batch is not whole");
        }
        *fr = (struct frame){0};
    }
}

static int take_record(struct pass *p, const struct bki_scan_item *it, struct bk_error *err)
{
    struct bki_verify *v = p->v;
    bool zero;
    v->key.len = 0;
    bk_buf_append(&v->key, it->key.data, it->key.len);
    bki_verify_hint_record(v, &p->hint, it);
    frame_record(p, it);
    if (it->rec.kind == BKI_PUT || it->rec.kind == BKI_DELETE || it->rec.kind == BKI_LOST) {
        check_key_record(p, it);
    } else if (!it->value_ok || it->mended) {
        found_record(p, it, it->rec.kind != BKI_SYNC_MARK,
                     "a record of the log's own does not check");
    } else if (it->rec.kind == BKI_MAP &&
               (it->value.len != it->rec.value_len ||
                bki_spacemap_apply(&v->map, it->value.data, it->rec.value_len / 8) != BK_OK)) {
        found_record(p, it, true, "the map of databases names one over the limit");
    }
    p->damaged = p->damaged || !it->value_ok || it->mended;
    int rc = bki_scan_padding(&p->s, it, &zero, err);
    if (rc == BK_OK && !zero && it->value_ok) {
        found_record(p, it, false, "the padding behind the value is not zero");
    }
    return rc;
}

/* Nothing between the two places can be read. */
static void note_hole(struct pass *p, uint64_t from, uint64_t to)
{
    struct hole h = {p->f->slot, from, to};
    if (p->v->holes.len / sizeof h < HOLES_MAX && to > from) {
        bk_buf_append(&p->v->holes, &h, sizeof h);
    }
    p->frame = (struct frame){0}; /* it cannot be whole, and that is told by the hole */
    p->damaged = true;
}

static int step_over(struct pass *p, struct bk_error *err)
{
    struct bki_verify *v = p->v;
    uint64_t from = p->s.offset;
    bool zeros;
    int rc = bki_scan_resync(&p->s, &zeros, err);
    if (rc >= 0) {
        bki_verify_lost(v, p->f->path, from, p->s.offset - from, "no record checks here");
        note_hole(p, from, p->s.offset);
    }
    return rc;
}

static void tell_unread(const struct pass *p)
{
    if (p->unread_to > 0) {
        bki_verify_lost(p->v, p->f->path, p->unread_from, p->unread_to - p->unread_from,
                        "these bytes cannot be read");
    }
}

/* Sectors come in their order, but for those of a window that is read again. */
static void note_unread(void *arg, uint64_t offset, uint64_t bytes)
{
    struct pass *p = arg;
    uint64_t end = offset + bytes;
    if (p->unread_to == 0 || offset > p->unread_to) {
        tell_unread(p);
        p->unread_from = offset;
    }
    p->unread_to = end > p->unread_to ? end : p->unread_to;
    p->damaged = true;
}

static int tell_progress(struct pass *p, struct bk_error *err)
{
    atomic_fetch_add_explicit(&p->v->progress->bytes_done, p->s.offset - p->told,
                              memory_order_relaxed);
    p->told = p->s.offset;
    return look_wanted(p->v, err);
}

static int scan_records(struct pass *p, struct bk_error *err)
{
    struct bki_scan_item it;
    int rc;
    while ((rc = bki_scan_next(&p->s, &it, err)) != BK_NOTFOUND) {
        if (rc == BK_OK) {
            rc = take_record(p, &it, err);
        } else if (rc == BK_CORRUPT) {
            rc = step_over(p, err);
        }
        if (rc >= 0 && ++p->records % 1024 == 0) {
            rc = tell_progress(p, err);
        }
        if (rc < 0) {
            return rc;
        }
    }
    return tell_progress(p, err);
}

/* F1, and that the index names records of this file that are there. Where some could not be read
 * the sums say nothing. */
static void check_sums(struct pass *p)
{
    const struct bki_file *f = p->f;
    uint64_t size = atomic_load(&f->size);
    if (p->frame.end != 0) {
        bki_verify_lost(p->v, f->path, p->frame.at, size - p->frame.at, "the batch is not whole");
    }
    if (p->damaged) {
        return;
    }
    if (p->live != p->v->live[f->slot]) {
        bki_verify_lost(p->v, f->path, 0, 0, "the index names records that are not in the file");
    }
    if (size - f->header_bytes !=
        p->v->live[f->slot] + atomic_load(&f->dead_bytes) + atomic_load(&f->guard_bytes)) {
        bki_verify_found(p->v, f->path, 0, 0,
                         "the file's bytes are not the sum of live, dead and guard bytes");
    }
}

static int check_header(struct pass *p, struct bk_error *err)
{
    const struct bki_file *f = p->f;
    struct bki_datafile_header h = {0};
    int rc = bki_datafile_header_read(p->v->db->io, f->fd, f->path, &h, err);
    bool same = rc == BK_OK && h.uid == f->uid && h.id == f->id && h.rank == f->rank;
    if (rc == BK_CORRUPT || rc == BK_EIO || (rc == BK_OK && !same)) {
        bki_verify_found(p->v, f->path, 0, f->header_bytes,
                         rc == BK_OK    ? "the header is of another file"
                         : rc == BK_EIO ? "the header cannot be read"
                                        : "the header is damaged");
        p->damaged = true;
        rc = BK_OK;
    }
    bki_datafile_header_fini(&h);
    return rc;
}

static int check_file(struct bki_verify *v, struct bki_file *f, struct bk_error *err)
{
    struct pass p = {.v = v, .f = f};
    if (f->gone != NULL) { /* that has been told; now its keys, as far as the index has them */
        note_hole(&p, 0, atomic_load(&f->size));
        atomic_fetch_add_explicit(&v->progress->bytes_done, atomic_load(&f->size),
                                  memory_order_relaxed);
        return BK_OK;
    }
    int rc = check_header(&p, err);
    if (rc != BK_OK) {
        return rc;
    }
    bki_verify_hint_begin(v, &p.hint, f);
    bki_scan_init(&p.s, v->db->io, f->fd, f->path, f->seed, f->merged, f->header_bytes,
                  atomic_load(&f->size));
    p.s.unread = note_unread;
    p.s.unread_arg = &p;
    rc = scan_records(&p, err);
    tell_unread(&p);
    bki_scan_fini(&p.s);
    bki_verify_hint_end(v, &p.hint, p.damaged || rc != BK_OK);
    if (rc == BK_OK) {
        check_sums(&p);
    }
    return rc;
}

/* ---- All of it ---- */

static int by_key(const void *a, const void *b)
{
    const struct gone *x = a;
    const struct gone *y = b;
    if (x->key != y->key) {
        return x->key < y->key ? -1 : 1;
    }
    return x->order < y->order ? -1 : x->order > y->order;
}

/* The newest record of a key that the index does not have. */
static void check_gone(struct bki_verify *v)
{
    struct gone *g = (struct gone *)(void *)v->gone.data;
    size_t n = v->gone.len / sizeof *g;
    if (n > 1) {
        qsort(g, n, sizeof *g, by_key);
    }
    for (size_t i = 0; i < n; i++) {
        if ((i + 1 == n || g[i + 1].key != g[i].key) && !g[i].guard) {
            const struct bki_file *f = bki_files_slot(&v->db->files, g[i].slot);
            bki_verify_lost(v, f->path, g[i].offset, 0, "the index does not have this key");
        }
    }
}

static void check_map(struct bki_verify *v)
{
    bool same = true;
    for (uint32_t num = 0; num < v->map.n || num < v->final->n; num++) {
        same = same && bki_spacemap_get(&v->map, num) == bki_spacemap_get(v->final, num);
    }
    if (!same && v->holes.len == 0) {
        bki_verify_lost(v, "", 0, 0, "the map of databases is not the one that the records tell");
    }
}

static int check_files(struct bki_verify *v, struct bk_error *err)
{
    struct bk_db *db = v->db;
    uint32_t slots = atomic_load(&db->files.slots_n);
    struct bki_file **files = bk_alloc_zero((size_t)slots + 1, sizeof(struct bki_file *));
    uint64_t bytes = 0;
    uint32_t n = 0;
    int rc = BK_OK;
    for (uint32_t i = 0; i < slots; i++) {
        struct bki_file *f = bki_files_slot(&db->files, i);
        if (bki_file_in_use(f)) {
            files[n++] = f;
            bytes += atomic_load(&f->size);
        }
    }
    bki_files_sort(files, n);
    atomic_store_explicit(&v->progress->bytes_done, 0, memory_order_relaxed);
    atomic_store_explicit(&v->progress->bytes_total, bytes, memory_order_relaxed);
    for (uint32_t i = 0; rc == BK_OK && i < n; i++) {
        rc = check_file(v, files[i], err);
    }
    free(files);
    return rc;
}

int bk_verify(struct bk_db *db, void (*each)(void *arg, const struct bk_finding *f), void *arg,
              struct bk_progress *progress, struct bk_error *err)
{
    struct bk_progress unwatched = {0};
    struct bki_verify v = {.db = db,
                           .each = each,
                           .arg = arg,
                           .progress = progress != NULL ? progress : &unwatched,
                           .final = bki_db_map_copy(db)};
    v.live = bk_alloc_zero((size_t)atomic_load(&db->files.slots_n) + 1, sizeof *v.live);
    bki_spacemap_init(&v.map);
    bki_log_flush(&db->log, bk_tail(db));
    int rc = bki_verify_names(&v, err);
    if (rc == BK_OK) {
        check_structures(&v);
        walk_index(&v, tally);
        rc = check_files(&v, err);
    }
    if (rc == BK_OK) {
        check_gone(&v);
        check_map(&v);
        if (v.holes.len > 0) {
            qsort(v.holes.data, v.holes.len / sizeof(struct hole), sizeof(struct hole), by_place);
            walk_index(&v, name_lost);
        }
    }
    free(v.live);
    bk_buf_fini(&v.holes);
    bk_buf_fini(&v.gone);
    bk_buf_fini(&v.key);
    bki_spacemap_fini(&v.map);
    bki_spacemap_fini(v.final);
    free(v.final);
    return rc;
}
