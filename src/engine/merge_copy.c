/* SPDX-License-Identifier: MIT */
/*
 * merge_copy.c - from the inputs to the outputs: live records as they are, guards that stay as
 * tombstones, markers for live records that are damaged.
 *
 * A record is live when its key's entry names its place: nothing else counts. The value's CRC is
 * carried on, never made anew; header and key get the output's seed.
 */
#include "base/assert.h"
#include "base/checksum.h"
#include "base/log.h"
#include "engine/db_private.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define STEP_BYTES (256u << 10) /* of an input, a step */
#define STEP_KEYS 4096u         /* of the index, a step */
#define HOLE_BYTES 4096u        /* what a place that does not check counts for, at least */
#define WRITE_BYTES (1u << 20)
#define ALLOCATE_BYTES ((uint64_t)16 << 20)

/* ---- The outputs ---- */

static struct bki_file *output(const struct bki_merge *m)
{
    return m->out_n == 0 ? NULL : m->out[m->out_n - 1];
}

/* Each whole piece between at and end goes to the disk while the next one is copied. All of an
 * output at once, by the sync at its end, fills the disk's queue: GETs that need the disk waited
 * for up to 180 ms. */
static int write_behind(struct bk_db *db, const struct bki_file *f, uint64_t at, uint64_t end,
                        struct bk_error *err)
{
    const struct bk_io *io = db->io;
    int rc = 0;
    if (io->write_behind == NULL) {
        return BK_OK;
    }
    for (uint64_t i = at / WRITE_BYTES; rc == 0 && i < end / WRITE_BYTES; i++) {
        rc = io->write_behind(io->arg, f->fd, i * WRITE_BYTES, WRITE_BYTES);
    }
    return rc < 0 ? bki_io_fail(err, rc, f->path, at, "sync") : BK_OK;
}

static int write_pending(struct bk_db *db, struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    struct bki_file *f = output(m);
    if (m->pending.len == 0) {
        return BK_OK;
    }
    uint64_t at = atomic_load(&f->size);
    uint64_t end = at + m->pending.len;
    int rc = BK_OK;
    if (end > atomic_load(&f->allocated)) {
        /* Room first: a disk that is full says so before anything is half written. */
        uint64_t want = (end + ALLOCATE_BYTES - 1) / ALLOCATE_BYTES * ALLOCATE_BYTES;
        rc = bki_files_allocate(&db->files, f, want, err);
        rc = rc == BK_ENOSPC ? bki_files_allocate(&db->files, f, end, err) : rc;
    }
    if (rc == BK_OK) {
        struct iovec iov = {m->pending.data, m->pending.len};
        rc = bki_io_write_all(db->io, f->fd, &iov, 1, at, f->path, err);
        rc = rc == BK_OK ? write_behind(db, f, at, end, err) : rc;
    }
    if (rc == BK_OK) {
        atomic_store(&f->size, end);
        m->status.bytes_written += m->pending.len;
        m->pending.len = 0;
    }
    return rc;
}

static int next_output(struct bk_db *db, struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    uint64_t rank = m->in[m->in_n - 1].file->rank;
    struct bki_file *f = NULL;
    int rc = m->out_n > 0 ? write_pending(db, err) : BK_OK;
    if (rc == BK_OK) {
        rc = bki_files_create_output(&db->files, rank, m->out_n == 0, m->in_n, &f, err);
    }
    if (rc == BK_OK) {
        if (m->out_n == m->out_cap) {
            m->out_cap = m->out_cap == 0 ? 8 : m->out_cap * 2;
            m->out = bk_realloc(m->out, m->out_cap * sizeof(struct bki_file *));
        }
        m->out[m->out_n++] = f;
    }
    return rc;
}

/* Header and key of a record, in the output's seed. The value's bytes come next. */
static void put_front(struct bki_merge *m, struct bki_record *r, struct bk_span key)
{
    size_t most = BKI_HEADER_BYTES + BKI_EXPIRY_BYTES + key.len;
    uint8_t *p = bk_buf_reserve(&m->pending, most);
    m->pending.len += bki_record_encode(r, output(m)->seed, key.data, p);
}

static void pad_to(struct bki_merge *m, size_t end)
{
    size_t n = end - m->pending.len;
    memset(bk_buf_reserve(&m->pending, n), 0, n);
    m->pending.len = end;
}

/* Each output tells the map of databases before its records: it must not depend on another file,
 * which a later merge may put behind it. */
static void put_map(struct bki_merge *m)
{
    struct bk_buf pairs = {0};
    bki_spacemap_encode(&m->map, &pairs);
    struct bki_record r = {.kind = BKI_MAP,
                           .seq = 1,
                           .value_len = (uint32_t)pairs.len,
                           .value_crc = bk_crc32c(0, pairs.data, pairs.len)};
    size_t start = m->pending.len;
    uint64_t size = bki_record_size(&r);
    put_front(m, &r, bk_span_of(NULL, 0));
    bk_buf_append(&m->pending, pairs.data, pairs.len);
    pad_to(m, start + (size_t)size);
    atomic_fetch_add(&output(m)->dead_bytes, size);
    atomic_fetch_add(&output(m)->map_bytes, size);
    bk_buf_fini(&pairs);
}

/* An output with room for a record of size bytes. */
static int room(struct bk_db *db, uint64_t size, struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    const struct bki_file *f = output(m);
    uint64_t max = atomic_load(&db->log.max_file_bytes);
    if (f != NULL && (atomic_load(&f->size) + m->pending.len + size <= max ||
                      atomic_load(&f->size) + m->pending.len == f->header_bytes)) {
        return BK_OK;
    }
    int rc = next_output(db, err);
    if (rc == BK_OK && m->map.n > 0) {
        put_map(m);
    }
    return rc;
}

/* A record without a value: a tombstone or a marker. */
static int put_short(struct bk_db *db, enum bki_kind kind, const struct bki_record *of,
                     struct bk_span key, struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    struct bki_record r = {
        .kind = kind,
        .flags = kind == BKI_LOST ? of->flags : 0,
        .seq = of->seq,
        .space = of->space,
        .key_len = of->key_len,
        .expire_ms = kind == BKI_LOST ? of->expire_ms : 0,
        .value_crc = bk_crc32c(0, NULL, 0),
    };
    uint64_t size = bki_record_size(&r);
    int rc = room(db, size, err);
    if (rc == BK_OK) {
        size_t start = m->pending.len;
        put_front(m, &r, key);
        pad_to(m, start + (size_t)size);
        if (kind == BKI_DELETE) {
            atomic_fetch_add(&output(m)->guard_bytes, size);
            m->guards_kept += size;
        }
    }
    return rc;
}

/* The table and the value of a large record, piece by piece from the input. The scan has checked
 * them. */
static int put_long(struct bk_db *db, const struct bki_scan_item *it, uint64_t from,
                    struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    const struct bki_file *f = m->in[m->in_at].file;
    uint64_t end = it->offset + bki_record_value_offset(&it->rec) + it->rec.value_len;
    int rc = BK_OK;
    while (rc == BK_OK && from < end) {
        size_t want = end - from < WRITE_BYTES ? (size_t)(end - from) : WRITE_BYTES;
        size_t got = 0;
        uint8_t *p = bk_buf_reserve(&m->pending, want);
        rc = bki_io_read_all(db->io, f->fd, p, want, from, &got, f->path, err);
        if (rc == BK_OK && got < want) {
            rc = bk_error_set(err, BK_EIO, 0, f->path, from, "the file is shorter than it was");
        }
        if (rc != BK_OK) {
            bki_merge_set_aside(db, &m->in[m->in_at], BKI_MERGE_UNREAD_US);
        }
        m->pending.len += got;
        from += got;
        if (rc == BK_OK && m->pending.len >= WRITE_BYTES) {
            rc = write_pending(db, err);
        }
    }
    return rc;
}

static int put_record(struct bk_db *db, const struct bki_scan_item *it, struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    struct bki_record r = it->rec;
    int rc = room(db, it->size, err);
    if (rc != BK_OK) {
        return rc;
    }
    uint64_t start = atomic_load(&output(m)->size) + m->pending.len;
    put_front(m, &r, it->key);
    if (bki_record_blocks(r.value_len) > 0) {
        uint64_t front = bki_record_key_offset(&r) + r.key_len;
        rc = put_long(db, it, it->offset + front, err);
    } else {
        bk_buf_append(&m->pending, it->value.data, it->value.len);
    }
    if (rc == BK_OK) {
        uint64_t end = start + it->size - atomic_load(&output(m)->size);
        pad_to(m, (size_t)end);
    }
    return rc;
}

/* ---- The inputs ---- */

static void marked(struct bk_db *db, uint64_t offset, uint64_t size, uint32_t space,
                   struct bk_span key)
{
    struct bki_damage_at at = {.path = db->merge.in[db->merge.in_at].file->path,
                               .offset = offset,
                               .bytes = size,
                               .what = "a key's value, its reads answer an error",
                               .key = key,
                               .has_key = true,
                               .space = space};
    db->merge.status.markers++;
    bki_damage_note(&db->damage, &at);
}

static int take(struct bk_db *db, const struct bki_scan_item *it, struct bk_error *err)
{
    struct bki_merge_in *in = &db->merge.in[db->merge.in_at];
    bool value = it->rec.kind == BKI_PUT || it->rec.kind == BKI_LOST;
    if (!value && it->rec.kind != BKI_DELETE) {
        return BK_OK; /* the log's own: marks, frames; maps, which each output has whole */
    }
    struct bk_key key;
    bk_key_init(db, &key, it->key.data, it->key.len);
    if (value && bki_merge_is_live(db, in->file, it->rec.space, &key, it->offset)) {
        in->copied += it->size;
        if (it->value_ok) {
            return put_record(db, it, err);
        }
        marked(db, it->offset, it->size, it->rec.space, it->key);
        return put_short(db, BKI_LOST, &it->rec, it->key, err);
    }
    bool stays = bki_merge_bit(in->keep, it->offset) ||
                 (value && bki_merge_expired_since(db, in, it->rec.space, &key, it->rec.expire_ms));
    return stays ? put_short(db, BKI_DELETE, &it->rec, it->key, err) : BK_OK;
}

/* ---- Bytes that are no record any more ---- */

/* [from, to). Whose keys lay there is looked for once for the whole input. */
static void note_hole(struct bk_db *db, uint64_t from, uint64_t to)
{
    struct bki_merge *m = &db->merge;
    struct bki_merge_in *in = &m->in[m->in_at];
    if (in->hole == NULL) {
        in->hole = bk_alloc_zero((size_t)(atomic_load(&in->file->size) / 64 + 1), 1);
    }
    for (uint64_t at = from; at < to; at += 8) {
        in->hole[at / 64] |= (uint8_t)(1u << (at / 8 % 8));
    }
    m->status.bytes_read += to - from > HOLE_BYTES ? to - from : HOLE_BYTES;
}

/* A key whose entry names a hole gets a marker. One that a shrinking index shows twice gets one. */
static int mark_entry(struct bk_db *db, uint32_t space, const struct bki_entry *e,
                      struct bk_span key, struct bk_error *err)
{
    struct bki_merge_in *in = &db->merge.in[db->merge.in_at];
    uint64_t offset;
    struct bki_record r = {.flags = e->type,
                           .seq = 1,
                           .space = space,
                           .key_len = (uint32_t)key.len,
                           .expire_ms = e->expire_ms};
    if (bki_files_at(&db->files, e->loc, &offset) != in->file || !bki_merge_bit(in->hole, offset)) {
        return BK_OK;
    }
    in->hole[offset / 64] &= (uint8_t) ~(1u << (offset / 8 % 8));
    in->copied += e->size;
    marked(db, offset, e->size, space, key);
    return put_short(db, BKI_LOST, &r, key, err);
}

/* A piece of the index, of the space at hand; returns how many keys were looked at. */
static unsigned mark_some(struct bk_db *db, struct bk_buf *packed, int *rc, struct bk_error *err)
{
    struct bki_merge_walk *w = &db->merge.walk;
    struct bki_entry e;
    struct bk_span key;
    unsigned n = 1;
    packed->len = 0;
    /* A flush or a swap takes all key locks: with one of them held, this is where the space's
     * contents are, wherever they were a moment ago. */
    bki_keylock_lock(db->locks, 0);
    struct bki_keydir *kd = bki_merge_keydir(db, w->space[w->at]);
    if (kd != NULL) {
        bki_keydir_scan(kd, &w->cursor, packed);
    } else {
        w->cursor = 0; /* flushed meanwhile */
    }
    bki_keylock_unlock(db->locks, 0);
    for (size_t at = 0; *rc == BK_OK && bki_entry_next(packed, &at, &e, &key); n++) {
        *rc = mark_entry(db, w->space[w->at], &e, key, err);
    }
    w->at += w->cursor == 0 ? 1 : 0;
    return n;
}

/* Contents keep their space when databases are swapped, so none are missed or met twice. */
static void walk_begin(struct bk_db *db)
{
    struct bki_merge_walk *w = &db->merge.walk;
    *w = (struct bki_merge_walk){.space = bk_alloc((BK_DATABASES_MAX + 1) * sizeof *w->space)};
    bki_keylock_lock(db->locks, 0);
    for (uint32_t i = 0; i <= BK_DATABASES_MAX; i++) {
        const struct bki_keydir *kd = bki_db_keydir(db, i, false);
        if (kd != NULL) {
            w->space[w->n++] = bki_keydir_space(kd);
        }
    }
    bki_keylock_unlock(db->locks, 0);
}

/* A step of the walk over all databases for the keys that lay in the input's holes. BK_EAGAIN:
 * there is more. */
static int mark_holes(struct bk_db *db, struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    struct bk_buf packed = {0};
    unsigned n = 0;
    int rc = BK_OK;
    if (m->walk.space == NULL) {
        walk_begin(db);
    }
    while (rc == BK_OK && m->walk.at < m->walk.n && n < STEP_KEYS) {
        n += mark_some(db, &packed, &rc, err);
        if (rc == BK_OK && m->pending.len >= WRITE_BYTES) {
            rc = write_pending(db, err);
        }
    }
    bk_buf_fini(&packed);
    return rc == BK_OK && m->walk.at < m->walk.n ? BK_EAGAIN : rc;
}

static int step_over(struct bk_db *db, struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    uint64_t from = m->scan.offset;
    bool zeros;
    int rc = bki_scan_resync(&m->scan, &zeros, err);
    if (rc < 0 && rc != BK_CORRUPT) {
        return rc;
    }
    note_hole(db, from, m->scan.offset);
    return BK_OK;
}

/* ---- Guards that lay in holes ---- */

static uint64_t guards_in_holes(const struct bki_merge_in *in)
{
    uint64_t n = 0;
    uint64_t bytes = atomic_load(&in->file->size) / 64 + 1;
    for (uint64_t i = 0; in->keep != NULL && i < bytes; i++) {
        n += (uint64_t)__builtin_popcount(in->keep[i] & in->hole[i]);
    }
    return n;
}

static int put_guards(struct bk_db *db, const struct bki_hint *hint, uint32_t part, uint64_t *found,
                      struct bk_error *err)
{
    const struct bki_merge_in *in = &db->merge.in[db->merge.in_at];
    struct bki_hint_cursor c;
    struct bki_hint_entry e;
    int rc = bki_hint_part_begin(&c, hint, part, db->hash_seed);
    while (rc == BK_OK && (rc = bki_hint_next(&c, &e, err)) == BK_OK) {
        struct bk_key key = {.bytes = e.key, .hash = e.hash, .quiet = true};
        bool hole = bki_merge_bit(in->hole, e.offset);
        bool planned = hole && bki_merge_bit(in->keep, e.offset);
        if (planned || (hole && e.kind != BKI_DELETE &&
                        bki_merge_expired_since(db, in, e.space, &key, e.expire_ms))) {
            struct bki_record r = {.seq = 1, .space = e.space, .key_len = (uint32_t)e.key.len};
            rc = put_short(db, BKI_DELETE, &r, e.key, err);
            *found += planned ? 1 : 0;
        }
    }
    bki_hint_part_end(&c);
    return rc == BK_NOTFOUND ? BK_OK : rc;
}

/* What was deleted by a record that is not there any more would come back with its older copy. The
 * hint, from which the plan knows of it, has its key too; if it has not, the input stays as it is.
 */
static int save_guards(struct bk_db *db, struct bk_error *err)
{
    struct bki_merge_in *in = &db->merge.in[db->merge.in_at];
    struct bki_hint hint;
    uint64_t found = 0;
    if (in->hole == NULL || db->merge.lower_n == 0) {
        return BK_OK;
    }
    int rc = bki_hint_open(&hint, db->io, db->files.dir, in->file, db->hash_seed, err);
    if (rc == BK_OK) {
        for (uint32_t part = 0; rc == BK_OK && part < bki_hint_parts(&hint); part++) {
            rc = put_guards(db, &hint, part, &found, err);
        }
        bki_hint_close(&hint);
    }
    if (rc == BK_NOTFOUND || rc == BK_CORRUPT || (rc == BK_OK && found < guards_in_holes(in))) {
        in->file->suspect = true;
        rc = bk_error_set(err, BK_CORRUPT, 0, in->file->path, 0,
                          "deletions in a damaged place, whose keys are not known");
    } else if (rc == BK_EIO) { /* it is the only one that may know them: it is not made again */
        bki_merge_set_aside(db, in, BKI_MERGE_UNREAD_US);
    }
    return rc;
}

/* ---- The inputs ---- */

static void scan_begin(struct bk_db *db, const struct bki_file *f)
{
    struct bki_merge *m = &db->merge;
    bki_scan_init(&m->scan, db->io, f->fd, f->path, f->seed, f->merged, f->header_bytes,
                  atomic_load(&f->size));
    m->scanning = true;
}

static void scan_end(struct bki_merge *m)
{
    bki_scan_fini(&m->scan);
    m->scanning = false;
    free(m->wanted);
    m->wanted = NULL;
    free(m->walk.space);
    m->walk = (struct bki_merge_walk){0};
    m->status.bytes_done += atomic_load(&m->in[m->in_at].file->size);
    m->in_at++;
}

/* The next record that may stay. BK_NOTFOUND: the input's end. */
static int copy_one(struct bk_db *db, struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    struct bki_scan_item it;
    if (m->wanted != NULL) {
        if (m->wanted_at == m->wanted_n) {
            return BK_NOTFOUND;
        }
        m->scan.offset = m->wanted[m->wanted_at++];
    }
    uint64_t from = m->scan.offset;
    int rc = bki_scan_next(&m->scan, &it, err);
    if (rc == BK_OK) {
        m->status.bytes_read += it.size;
        return take(db, &it, err);
    }
    if (rc == BK_CORRUPT && m->wanted != NULL) {
        note_hole(db, from, from + 8);
        rc = BK_OK;
    } else if (rc == BK_CORRUPT) {
        rc = step_over(db, err);
    }
    if (rc == BK_EIO) {
        bki_merge_set_aside(db, &m->in[m->in_at], BKI_MERGE_UNREAD_US);
    }
    return rc;
}

/* A piece of one input. BK_NOTFOUND: its end. */
static int copy_some(struct bk_db *db, struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    uint64_t until = m->status.bytes_read + STEP_BYTES;
    int rc = BK_OK;
    for (unsigned i = 0; rc == BK_OK && m->status.bytes_read < until; i++) {
        if (i % BKI_MERGE_GROUP == 0 && m->wanted == NULL) {
            bki_merge_fetch_ahead(db, &m->scan);
        }
        rc = copy_one(db, err);
        if (rc == BK_OK && m->pending.len >= WRITE_BYTES) {
            rc = write_pending(db, err);
        }
    }
    return rc;
}

/* All that the input still has is copied. */
static int input_end(struct bk_db *db, struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    int rc = m->in[m->in_at].hole == NULL ? BK_OK : mark_holes(db, err);
    if (rc == BK_EAGAIN) {
        return rc;
    }
    rc = rc == BK_OK ? save_guards(db, err) : rc;
    scan_end(m);
    return rc;
}

int bki_merge_copy(struct bk_db *db, struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    while (m->in_at < m->in_n && !m->scanning) {
        const struct bki_file *f = m->in[m->in_at].file;
        scan_begin(db, f);
        if (m->in[m->in_at].read) {
            bki_merge_want(db);
        } else {
            scan_end(m);
        }
    }
    if (m->in_at == m->in_n) {
        /* With no output to tell the map, and perhaps no later file that does, the log has to. */
        if (m->out_n == 0 && !bki_log_tell_map(&db->log)) {
            return bk_error_set(err, BK_ENOSPC, 0, NULL, 0, "the log takes no records");
        }
        return m->out_n > 0 ? write_pending(db, err) : BK_OK;
    }
    int rc = m->walk.space == NULL ? copy_some(db, err) : BK_NOTFOUND;
    if (rc == BK_NOTFOUND) {
        rc = input_end(db, err);
    }
    return rc == BK_OK ? BK_EAGAIN : rc;
}
