/* SPDX-License-Identifier: MIT */
/*
 * hint_write.c - making a hint: what an earlier one of the same file has is copied block by block,
 * the rest comes from the data. Entries are gathered by part and written in blocks, so that memory
 * does not grow with the file; then each part is read back once for its filter.
 */
#include "base/assert.h"
#include "base/checksum.h"
#include "engine/filter.h"
#include "engine/hint_private.h"
#include "engine/keydir.h"
#include "engine/scan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct part {
    struct bk_buf bytes;
    uint32_t n;
};

struct maker {
    struct bki_hint h; /* fd, info and blocks as they grow */
    const struct bki_file *f;
    uint64_t seed;
    bool whole;
    uint64_t from; /* of the data: what is before comes from the earlier hint */
    uint64_t at;   /* end of what was written */
    uint32_t blocks_cap;
    struct part *parts; /* owned */
};

static int put(struct maker *m, const uint8_t *bytes, size_t len, struct bk_error *err)
{
    struct iovec iov = {(uint8_t *)(uintptr_t)bytes, len};
    int rc = len == 0 ? BK_OK : bki_io_write_all(m->h.io, m->h.fd, &iov, 1, m->at, m->h.path, err);
    m->at += rc == BK_OK ? len : 0;
    return rc;
}

static int put_block(struct maker *m, uint32_t part, uint32_t n, const struct bk_buf *bytes,
                     struct bk_error *err)
{
    struct bki_hint_info *info = &m->h.info;
    if (info->blocks == m->blocks_cap) {
        m->blocks_cap = m->blocks_cap == 0 ? 64 : m->blocks_cap * 2;
        m->h.blocks = bk_realloc(m->h.blocks, m->blocks_cap * sizeof *m->h.blocks);
    }
    m->h.blocks[info->blocks++] = (struct bki_hint_block){m->at, part, n, (uint32_t)bytes->len,
                                                          bk_crc32c(0, bytes->data, bytes->len)};
    return put(m, bytes->data, bytes->len, err);
}

static int flush_part(struct maker *m, uint32_t i, struct bk_error *err)
{
    struct part *p = &m->parts[i];
    int rc = p->n == 0 ? BK_OK : put_block(m, i, p->n, &p->bytes, err);
    p->bytes.len = 0; /* its memory serves the next block */
    p->n = 0;
    return rc;
}

static uint32_t parts_for(uint64_t bytes)
{
    uint32_t parts = 1;
    while (parts < BKI_HINT_PARTS_MAX && bytes / parts > BKI_HINT_PART_DATA) {
        parts *= 2;
    }
    return parts;
}

/* A hint from nothing. That of a front has parts for a file that grows on. */
static void begin(struct maker *m)
{
    uint64_t covers = m->h.info.covers;
    m->from = m->f->header_bytes;
    m->at = BKI_HINT_HEADER;
    m->h.maps.len = 0;
    m->h.info = (struct bki_hint_info){.uid = m->f->uid,
                                       .covers = covers,
                                       .seed = bki_hint_seed_check(m->seed),
                                       .parts = parts_for(m->whole ? covers : covers * 4)};
}

/* The blocks of an earlier hint, as they are: in the order of parts, and within a part of the data,
 * before all that is scanned. BK_CORRUPT: they cannot be read. */
static int copy_blocks(struct maker *m, const struct bki_hint *old, struct bk_error *err)
{
    struct bk_buf bytes = {0};
    int rc = BK_OK;
    for (uint32_t i = 0; rc == BK_OK && i < old->info.blocks; i++) {
        const struct bki_hint_block *b = &old->blocks[i];
        rc = bki_hint_read_block(old, b, &bytes, NULL) == BK_OK ? BK_OK : BK_CORRUPT;
        if (rc == BK_OK) {
            rc = put_block(m, b->part, b->n, &bytes, err);
        }
    }
    bk_buf_fini(&bytes);
    return rc;
}

/* Goes on from the hint of an earlier time, if it serves. */
static int go_on(struct maker *m, const char *dir, struct bk_error *err)
{
    struct bki_hint old;
    struct bki_hint_info *info = &m->h.info;
    begin(m);
    if (bki_hint_open_front(&old, m->h.io, dir, m->f, m->seed, NULL) != BK_OK) {
        return BK_OK;
    }
    int rc = BK_OK;
    if (old.info.covers >= m->from && old.info.covers <= info->covers &&
        parts_for(info->covers) / 4 <= old.info.parts) {
        info->parts = old.info.parts;
        rc = copy_blocks(m, &old, err);
        if (rc == BK_CORRUPT) {
            begin(m);
            rc = BK_OK;
        } else {
            m->from = old.info.covers;
            info->entries = old.info.entries;
            info->max_seq = old.info.max_seq;
            info->last_seq = old.info.last_seq;
            info->damaged = old.info.damaged;
            bk_buf_append(&m->h.maps, old.maps.data, old.maps.len);
        }
    }
    bki_hint_close(&old);
    return rc;
}

static int add_item(struct maker *m, const struct bki_scan_item *it, struct bk_error *err)
{
    struct bki_hint_info *info = &m->h.info;
    info->last_seq = it->rec.seq;
    info->max_seq = it->rec.seq > info->max_seq ? it->rec.seq : info->max_seq;
    if (it->rec.kind == BKI_MAP && it->value_ok && it->value.len == it->rec.value_len) {
        uint8_t head[8] = {0};
        bk_put32(head, it->rec.value_len / 8);
        bk_buf_append(&m->h.maps, head, sizeof head);
        bk_buf_append(&m->h.maps, it->value.data, it->rec.value_len / 8 * 8);
    }
    if (it->rec.kind != BKI_PUT && it->rec.kind != BKI_DELETE && it->rec.kind != BKI_LOST) {
        return BK_OK;
    }
    struct bki_hint_entry e = {.offset = it->offset,
                               .size = it->size,
                               .kind = it->rec.kind,
                               .flags = it->rec.flags,
                               .space = it->rec.space,
                               .expire_ms = it->rec.expire_ms,
                               .key = it->key};
    uint64_t hash = bki_key_hash(m->seed, it->key.data, it->key.len);
    uint32_t part = (uint32_t)(hash >> 48) & (info->parts - 1);
    bki_hint_entry_encode(&e, &m->parts[part].bytes);
    m->parts[part].n++;
    info->entries++;
    return m->parts[part].bytes.len >= BKI_HINT_BLOCK ? flush_part(m, part, err) : BK_OK;
}

static int scan_data(struct maker *m, struct bk_error *err)
{
    struct bki_scan s;
    struct bki_scan_item it;
    bool zeros;
    int rc;
    bki_scan_init(&s, m->h.io, m->f->fd, m->f->path, m->f->seed, m->f->merged, m->from,
                  m->h.info.covers);
    s.last_seq = m->h.info.last_seq;
    while ((rc = bki_scan_next(&s, &it, err)) != BK_NOTFOUND) {
        uint64_t from = s.offset;
        if (rc == BK_OK) {
            m->h.info.damaged += it.mended || !it.value_ok ? it.size : 0;
            rc = add_item(m, &it, err);
        } else if (rc == BK_CORRUPT) {
            rc = bki_scan_resync(&s, &zeros, err);
            m->h.info.damaged += s.offset - from;
        }
        if (rc < 0) {
            break;
        }
    }
    bki_scan_fini(&s);
    rc = rc < 0 ? rc : BK_OK;
    for (uint32_t i = 0; rc == BK_OK && i < m->h.info.parts; i++) {
        rc = flush_part(m, i, err);
    }
    return rc;
}

static int by_part(const void *a, const void *b)
{
    const struct bki_hint_block *x = a;
    const struct bki_hint_block *y = b;
    if (x->part != y->part) {
        return x->part < y->part ? -1 : 1;
    }
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Sorts values that are spread evenly, as hashes are: each goes near its place by its top bits, and
 * what is left to do is between neighbours. Returns v or room, whichever has them in the end. */
static uint64_t *sort_values(uint64_t *v, uint64_t *room, size_t n)
{
    unsigned bits = n < 2 ? 0 : 63u - (unsigned)__builtin_clzll(n);
    if (bits == 0) {
        return v;
    }
    uint32_t *start = bk_alloc_zero(((size_t)1 << bits) + 1, sizeof *start);
    for (size_t i = 0; i < n; i++) {
        start[(v[i] >> (64 - bits)) + 1]++;
    }
    for (size_t i = 0; i < (size_t)1 << bits; i++) {
        start[i + 1] += start[i];
    }
    for (size_t i = 0; i < n; i++) {
        room[start[v[i] >> (64 - bits)]++] = v[i];
    }
    free(start);
    for (size_t i = 1; i < n; i++) {
        uint64_t value = room[i];
        size_t k = i;
        for (; k > 0 && room[k - 1] > value; k--) {
            room[k] = room[k - 1];
        }
        room[k] = value;
    }
    return room;
}

/* The values of a part's keys, from its blocks as they were written. */
static int read_values(struct maker *m, uint32_t part, struct bk_buf *values, struct bk_error *err)
{
    struct bki_hint_cursor c;
    struct bki_hint_entry e;
    int rc = bki_hint_part_begin(&c, &m->h, part, m->seed);
    BK_ASSERT(rc == BK_OK);
    while ((rc = bki_hint_next(&c, &e, err)) == BK_OK) {
        uint64_t value = bki_filter_value(e.hash, e.space);
        bk_buf_append(values, &value, sizeof value);
    }
    bki_hint_part_end(&c);
    return rc == BK_NOTFOUND ? BK_OK : rc;
}

static int add_filter(struct maker *m, uint32_t part, struct bk_error *err)
{
    struct bk_buf values = {0};
    struct bk_buf code = {0};
    int rc = read_values(m, part, &values, err);
    size_t n = values.len / 8;
    uint64_t *room = bk_alloc((n + 1) * sizeof *room);
    uint64_t *v = sort_values((uint64_t *)(void *)values.data, room, n);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (kept == 0 || v[i] != v[kept - 1]) {
            v[kept++] = v[i];
        }
    }
    bki_filter_encode(v, kept, &code);
    m->h.codes[part] = (struct bki_hint_code){m->at, (uint32_t)code.len, (uint32_t)kept,
                                              bk_crc32c(0, code.data, code.len)};
    rc = rc == BK_OK ? put(m, code.data, code.len, err) : rc;
    free(room);
    bk_buf_fini(&values);
    bk_buf_fini(&code);
    return rc;
}

static int add_filters(struct maker *m, struct bk_error *err)
{
    int rc = BK_OK;
    for (uint32_t i = 0; rc == BK_OK && i < m->h.info.parts; i++) {
        if (m->whole) {
            rc = add_filter(m, i, err);
        } else {
            m->h.codes[i] = (struct bki_hint_code){.n = BKI_HINT_NO_FILTER};
        }
    }
    return rc;
}

static void encode_table(const struct maker *m, struct bk_buf *out)
{
    const struct bki_hint_info *i = &m->h.info;
    for (uint32_t k = 0; k < i->blocks; k++) {
        const struct bki_hint_block *b = &m->h.blocks[k];
        uint8_t *p = bk_buf_reserve(out, BKI_HINT_BLOCK_ROW);
        bk_put64(p, b->offset);
        bk_put32(p + 8, b->part);
        bk_put32(p + 12, b->n);
        bk_put32(p + 16, b->len);
        bk_put32(p + 20, b->crc);
        out->len += BKI_HINT_BLOCK_ROW;
    }
    for (uint32_t k = 0; k < i->parts; k++) {
        const struct bki_hint_code *c = &m->h.codes[k];
        uint8_t *p = bk_buf_reserve(out, BKI_HINT_CODE_ROW);
        bk_put64(p, c->offset);
        bk_put32(p + 8, c->len);
        bk_put32(p + 12, c->n);
        bk_put32(p + 16, c->crc);
        out->len += BKI_HINT_CODE_ROW;
    }
    if (m->h.maps.len > 0) {
        bk_buf_append(out, m->h.maps.data, m->h.maps.len);
    }
}

static int write_all(struct maker *m, const char *dir, struct bk_error *err)
{
    struct bk_buf table = {0};
    uint8_t head[BKI_HINT_HEADER];
    int rc = go_on(m, dir, err);
    m->parts = bk_alloc_zero(m->h.info.parts, sizeof *m->parts);
    m->h.codes = bk_alloc_zero(m->h.info.parts, sizeof *m->h.codes);
    rc = rc == BK_OK ? scan_data(m, err) : rc;
    if (rc == BK_OK && m->h.info.blocks > 1) {
        qsort(m->h.blocks, m->h.info.blocks, sizeof *m->h.blocks, by_part);
    }
    rc = rc == BK_OK ? add_filters(m, err) : rc;
    encode_table(m, &table);
    uint64_t table_at = m->at;
    rc = rc == BK_OK ? put(m, table.data, table.len, err) : rc;
    bki_hint_header_encode(&m->h.info, table_at, table.len, bk_crc32c(0, table.data, table.len),
                           head);
    m->at = 0;
    rc = rc == BK_OK ? put(m, head, sizeof head, err) : rc;
    bk_buf_fini(&table);
    return rc;
}

static int take_place(const struct maker *m, const char *dir, const char *path,
                      struct bk_error *err)
{
    const struct bk_io *io = m->h.io;
    int rc = io->sync(io->arg, m->h.fd);
    if (rc < 0) {
        return bki_io_fail(err, rc, m->h.path, 0, "sync");
    }
    rc = io->rename(io->arg, m->h.path, path);
    if (rc < 0) {
        return bki_io_fail(err, rc, m->h.path, 0, "rename");
    }
    rc = io->sync_dir(io->arg, dir);
    return rc < 0 ? bki_io_fail(err, rc, dir, 0, "sync directory") : BK_OK;
}

int bki_hint_write(const struct bk_io *io, const char *dir, const struct bki_file *f,
                   uint64_t covers, bool whole, uint64_t hash_seed, struct bk_error *err)
{
    char path[BKI_PATH_MAX];
    char fresh[BKI_PATH_MAX + 8];
    bki_hint_path(path, dir, f->id);
    snprintf(fresh, sizeof fresh, "%s.new", path);
    struct maker m = {.h = {.io = io, .path = fresh, .info = {.covers = covers}},
                      .f = f,
                      .whole = whole,
                      .seed = hash_seed};
    int rc = io->unlink(io->arg, fresh);
    if (rc < 0 && rc != -ENOENT) {
        return bki_io_fail(err, rc, fresh, 0, "unlink");
    }
    m.h.fd = io->open(io->arg, fresh, BK_IO_CREATE);
    if (m.h.fd < 0) {
        return bki_io_fail(err, m.h.fd, fresh, 0, "create");
    }
    rc = write_all(&m, dir, err);
    rc = rc == BK_OK ? take_place(&m, dir, path, err) : rc;
    io->close(io->arg, m.h.fd);
    if (rc != BK_OK) {
        io->unlink(io->arg, fresh);
    }
    for (uint32_t i = 0; i < m.h.info.parts; i++) {
        bk_buf_fini(&m.parts[i].bytes);
    }
    free(m.parts);
    free(m.h.blocks);
    free(m.h.codes);
    bk_buf_fini(&m.h.maps);
    return rc;
}
