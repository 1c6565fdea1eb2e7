/* SPDX-License-Identifier: MIT */
/*
 * world_records.h - what the data files of a world hold, record by record, and which keys are
 * touched when whole files go.
 *
 * All of it is read here anew, after FORMAT.md, so that the store's own reader does not judge
 * itself. The files are whole: nothing is checked.
 */
#ifndef BK_TESTS_WORLD_RECORDS_H
#define BK_TESTS_WORLD_RECORDS_H

#include "base/buf.h"
#include "base/checksum.h"
#include "engine_test.h"

/* ---- What lies at an offset of a data file ---- */

enum region { IN_FILE_HEADER, IN_HEADER, IN_KEY, IN_VALUE, IN_PADDING, IN_NOTHING };

struct spot {
    enum region region;
    uint64_t offset, size; /* of the record */
    unsigned kind;         /* as FORMAT.md numbers them */
    bool last;             /* no record follows in this file */
    struct bk_span key;    /* borrowed from the file's bytes */
    uint64_t value_at;     /* from offset; of the table, where there is one */
};

static inline uint64_t padded(uint64_t raw)
{
    uint64_t step = 8;
    if (raw > 512 && raw <= 1 << 20) {
        uint64_t doubling = 512;
        while (doubling * 2 < raw) {
            doubling *= 2;
        }
        step = doubling / 16;
    }
    return (raw + step - 1) / step * step;
}

/* The record at offset; false: none. */
static inline bool spot_record(const struct bk_buf *file, uint64_t offset, struct spot *s)
{
    const uint8_t *p = file->data + offset;
    if (file->len - offset < 28 || (p[8] & 0x3f) == 0) {
        return false;
    }
    uint64_t key_at = (p[8] & 0x80) != 0 ? 36 : 28;
    uint64_t key_len = bk_get32(p + 20);
    uint64_t value_len = bk_get32(p + 24);
    uint64_t table = value_len > 65536 ? (value_len + 65535) / 65536 * 4 : 0;
    *s = (struct spot){.offset = offset,
                       .kind = p[8] & 0x3fu,
                       .key = bk_span_of(p + key_at, key_len),
                       .value_at = key_at + key_len};
    uint64_t raw = key_at + key_len + table + value_len;
    s->size = padded(raw);
    return true;
}

static inline enum region region_in(const struct bk_buf *file, const struct spot *s, uint64_t at)
{
    uint64_t in = at - s->offset;
    uint64_t value_len = bk_get32(file->data + s->offset + 24);
    uint64_t table = value_len > 65536 ? (value_len + 65535) / 65536 * 4 : 0;
    if (in < s->value_at - s->key.len) {
        return IN_HEADER;
    }
    if (in < s->value_at) {
        return IN_KEY;
    }
    return in < s->value_at + table + value_len ? IN_VALUE : IN_PADDING;
}

static inline void spot_find(const struct bk_buf *file, uint64_t at, struct spot *out)
{
    struct spot next;
    uint64_t offset = bk_get32(file->data + 12);
    *out = (struct spot){.region = at < offset ? IN_FILE_HEADER : IN_NOTHING, .size = offset};
    if (at < offset) {
        return;
    }
    while (spot_record(file, offset, &next) && offset + next.size <= at) {
        offset += next.size;
    }
    if (spot_record(file, offset, &next)) {
        *out = next;
        out->region = region_in(file, out, at);
        out->last = !spot_record(file, offset + out->size, &next);
    }
}

/* ---- Every record of some files ---- */

enum { RECORD_PUT = 1, RECORD_DELETE = 2, RECORD_MAP = 3, RECORD_BATCH = 4, RECORD_LOST = 6 };

struct record_value {
    struct bk_span value;
    int64_t expire_ms;
    uint8_t flags;
};

struct record {
    size_t file;    /* the caller's number of it */
    unsigned kind;  /* as FORMAT.md numbers them */
    uint32_t space; /* 0: none */
    uint64_t seq;
    uint64_t offset, end; /* end: of the batch that it is a member of, else its own */
    bool opens;           /* the first one of its file */
    struct bk_span key;   /* borrowed from the file's bytes */
    struct record_value had;
};

struct records {
    struct record *at; /* owned */
    size_t n, cap;
};

static inline uint64_t get48(const uint8_t *p)
{
    return bk_get32(p) | (uint64_t)p[4] << 32 | (uint64_t)p[5] << 40;
}

/* The bytes must outlast r. */
static inline void records_add(struct records *r, size_t file, const struct bk_buf *bytes)
{
    struct spot s;
    uint64_t first = bytes->len < 64 ? bytes->len : bk_get32(bytes->data + 12);
    uint64_t batch_end = 0;
    for (uint64_t at = first; at < bytes->len && spot_record(bytes, at, &s); at += s.size) {
        const uint8_t *p = bytes->data + at;
        uint64_t len = bk_get32(p + 24);
        uint64_t value_at = s.value_at + (len > 65536 ? (len + 65535) / 65536 * 4 : 0);
        if (s.kind == RECORD_BATCH) {
            batch_end = at + s.size + bk_get64(p + value_at + 8);
        }
        if (r->n == r->cap) {
            r->cap = r->cap * 2 + 256;
            r->at = realloc(r->at, r->cap * sizeof(*r->at));
            assert_non_null(r->at);
        }
        r->at[r->n++] =
            (struct record){.file = file,
                            .kind = s.kind,
                            .space = bk_get32(p + 16),
                            .seq = get48(p + 10),
                            .offset = at,
                            .end = at < batch_end ? batch_end : at + s.size,
                            .opens = at == first,
                            .key = s.key,
                            .had = {bk_span_of(p + value_at, len),
                                    (p[8] & 0x80) != 0 ? (int64_t)bk_get64(p + 28) : 0, p[9]}};
    }
}

static inline void records_fini(struct records *r)
{
    free(r->at);
    *r = (struct records){0};
}

/* A put of the key, of this value; had NULL: of any. */
static inline bool records_have(const struct records *r, struct bk_span key,
                                const struct record_value *had)
{
    bool found = false;
    for (size_t i = 0; i < r->n && !found; i++) {
        const struct record *rec = &r->at[i];
        found =
            rec->kind == RECORD_PUT && bk_span_eq(rec->key, key) &&
            (had == NULL || (bk_span_eq(rec->had.value, had->value) &&
                             rec->had.flags == had->flags && rec->had.expire_ms == had->expire_ms));
    }
    return found;
}

/* ---- Files that go ---- */

#define HARM_MAX 4096u

struct harm {
    const struct records *all;     /* borrowed */
    struct bk_span keys[HARM_MAX]; /* whose newest record went, in any database; borrowed */
    size_t keys_n;
    bool loses; /* no hint names them: they may be gone, or older */
    bool maps;  /* with loses: a flush or a swap may be undone, which touches every key */
};

static inline bool harm_touches(const struct harm *h, struct bk_span key)
{
    bool found = false;
    for (size_t i = 0; i < h->keys_n && !found; i++) {
        found = bk_span_eq(h->keys[i], key);
    }
    return found;
}

/* Merges keep sequence numbers, so the highest is the newest wherever it lies. A file that does not
 * count has no say. */
static inline bool is_newest(const struct records *r, const struct record *rec, const bool *counts)
{
    bool newest = true;
    for (size_t i = 0; i < r->n && newest; i++) {
        const struct record *other = &r->at[i];
        newest = !(counts[other->file] && other->space == rec->space && other->seq > rec->seq &&
                   bk_span_eq(other->key, rec->key));
    }
    return newest;
}

/* All of a file from the offset on goes, with the batch that is cut there. */
static inline void harm_add(struct harm *h, size_t file, uint64_t from, const bool *counts)
{
    for (size_t i = 0; i < h->all->n; i++) {
        const struct record *rec = &h->all->at[i];
        if (rec->file != file || rec->end <= from) {
            continue;
        }
        h->maps |= rec->kind == RECORD_MAP && !rec->opens;
        bool keyed =
            rec->kind == RECORD_PUT || rec->kind == RECORD_DELETE || rec->kind == RECORD_LOST;
        if (keyed && is_newest(h->all, rec, counts)) {
            assert_true(h->keys_n < HARM_MAX);
            h->keys[h->keys_n++] = rec->key;
        }
    }
}

#endif
