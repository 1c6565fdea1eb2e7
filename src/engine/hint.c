/* SPDX-License-Identifier: MIT */
/* hint.c - reading a hint file. FORMAT.md has every byte. */
#include "engine/hint.h"

#include "base/assert.h"
#include "base/checksum.h"
#include "engine/filter.h"
#include "engine/hint_private.h"
#include "engine/keydir.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bki_hint_path(char *path, const char *dir, uint64_t id)
{
    snprintf(path, BKI_PATH_MAX, "%s/%010" PRIu64 ".hint", dir, id);
}

bool bki_hint_name_id(const char *name, uint64_t *id)
{
    size_t digits = strspn(name, "0123456789");
    const char *rest = name + digits;
    if (digits < 10 || digits > 19 ||
        (strcmp(rest, ".hint") != 0 && strcmp(rest, ".hint.new") != 0)) {
        return false;
    }
    *id = strtoull(name, NULL, 10);
    return true;
}

uint64_t bki_filter_value(uint64_t hash, uint32_t space)
{
    uint64_t x = hash ^ (uint64_t)space * 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
    x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
    return x ^ x >> 32;
}

uint64_t bki_hint_seed_check(uint64_t hash_seed)
{
    return bki_key_hash(hash_seed, BKI_HINT_MAGIC, 8);
}

/* ---- Header and table ---- */

void bki_hint_header_encode(const struct bki_hint_info *i, uint64_t table_at, uint64_t table_len,
                            uint32_t table_crc, uint8_t out[BKI_HINT_HEADER])
{
    memset(out, 0, BKI_HINT_HEADER);
    memcpy(out, BKI_HINT_MAGIC, 8);
    bk_put16(out + 8, BKI_FORMAT_MAJOR);
    bk_put16(out + 10, BKI_FORMAT_MINOR);
    bk_put64(out + 12, i->uid);
    bk_put64(out + 20, i->covers);
    bk_put64(out + 28, i->seed);
    bk_put64(out + 36, i->max_seq);
    bk_put64(out + 44, i->last_seq);
    bk_put64(out + 52, i->entries);
    bk_put32(out + 60, i->parts);
    bk_put32(out + 64, i->blocks);
    bk_put64(out + 68, table_at);
    bk_put64(out + 76, table_len);
    bk_put32(out + 84, table_crc);
    bk_put32(out + 88, i->damaged > UINT32_MAX ? UINT32_MAX : (uint32_t)i->damaged);
    bk_put32(out + 92, bk_crc32c(0, out, 92));
}

static int header_decode(const uint8_t *b, struct bki_hint_info *i, uint64_t *table_at,
                         uint64_t *table_len, uint32_t *table_crc)
{
    if (memcmp(b, BKI_HINT_MAGIC, 8) != 0 || bk_get32(b + 92) != bk_crc32c(0, b, 92) ||
        bk_get16(b + 8) != BKI_FORMAT_MAJOR) {
        return BK_CORRUPT;
    }
    *i = (struct bki_hint_info){.uid = bk_get64(b + 12),
                                .covers = bk_get64(b + 20),
                                .seed = bk_get64(b + 28),
                                .max_seq = bk_get64(b + 36),
                                .last_seq = bk_get64(b + 44),
                                .entries = bk_get64(b + 52),
                                .parts = bk_get32(b + 60),
                                .blocks = bk_get32(b + 64),
                                .damaged = bk_get32(b + 88)};
    *table_at = bk_get64(b + 68);
    *table_len = bk_get64(b + 76);
    *table_crc = bk_get32(b + 84);
    bool parts =
        i->parts >= 1 && i->parts <= BKI_HINT_PARTS_MAX && (i->parts & (i->parts - 1)) == 0;
    uint64_t fixed = (uint64_t)i->blocks * BKI_HINT_BLOCK_ROW + i->parts * BKI_HINT_CODE_ROW;
    return parts && *table_len >= fixed ? BK_OK : BK_CORRUPT;
}

/* Maps: {pairs u32, 0 u32} and the pairs, one after the other. */
static bool maps_check(const struct bk_buf *maps)
{
    size_t at = 0;
    while (at < maps->len) {
        if (maps->len - at < 8 || bk_get32(maps->data + at) > (maps->len - at - 8) / 8) {
            return false;
        }
        at += 8 + (size_t)bk_get32(maps->data + at) * 8;
    }
    return true;
}

bool bki_hint_map(const struct bki_hint *h, size_t *at, struct bk_span *pairs)
{
    if (*at >= h->maps.len) {
        return false;
    }
    size_t len = (size_t)bk_get32(h->maps.data + *at) * 8;
    *pairs = bk_span_of(h->maps.data + *at + 8, len);
    *at += 8 + len;
    return true;
}

static int table_decode(struct bki_hint *h, const uint8_t *b, size_t len, uint64_t end)
{
    const struct bki_hint_info *i = &h->info;
    h->blocks = bk_alloc_zero(i->blocks, sizeof *h->blocks);
    h->codes = bk_alloc_zero(i->parts, sizeof *h->codes);
    const uint8_t *p = b;
    bool ok = true;
    for (uint32_t k = 0; k < i->blocks; k++, p += BKI_HINT_BLOCK_ROW) {
        struct bki_hint_block *x = &h->blocks[k];
        *x = (struct bki_hint_block){bk_get64(p), bk_get32(p + 8), bk_get32(p + 12),
                                     bk_get32(p + 16), bk_get32(p + 20)};
        ok = ok && x->offset <= end && x->len <= end - x->offset && x->part < i->parts &&
             (k == 0 || x->part >= h->blocks[k - 1].part);
    }
    for (uint32_t k = 0; k < i->parts; k++, p += BKI_HINT_CODE_ROW) {
        struct bki_hint_code *x = &h->codes[k];
        *x = (struct bki_hint_code){bk_get64(p), bk_get32(p + 8), bk_get32(p + 12),
                                    bk_get32(p + 16)};
        ok = ok && x->offset <= end && x->len <= end - x->offset;
    }
    bk_buf_append(&h->maps, p, len - (size_t)(p - b));
    return ok && maps_check(&h->maps) ? BK_OK : BK_CORRUPT;
}

/* Appends len bytes at offset to *out, held against crc. */
static int append_checked(const struct bki_hint *h, uint64_t offset, size_t len, uint32_t crc,
                          struct bk_buf *out, struct bk_error *err)
{
    size_t got = 0;
    uint8_t *to = bk_buf_reserve(out, len);
    int rc = bki_io_read_all(h->io, h->fd, to, len, offset, &got, h->path, err);
    out->len += got;
    if (rc == BK_OK && (got < len || bk_crc32c(0, to, len) != crc)) {
        rc = bk_error_set(err, BK_CORRUPT, 0, h->path, offset, "the hint file does not check");
    }
    return rc;
}

static int read_checked(const struct bki_hint *h, uint64_t offset, size_t len, uint32_t crc,
                        struct bk_buf *out, struct bk_error *err)
{
    out->len = 0;
    return append_checked(h, offset, len, crc, out, err);
}

int bki_hint_read_block(const struct bki_hint *h, const struct bki_hint_block *b,
                        struct bk_buf *out, struct bk_error *err)
{
    return read_checked(h, b->offset, b->len, b->crc, out, err);
}

static bool has_filters(const struct bki_hint *h)
{
    bool all = true;
    for (uint32_t i = 0; i < h->info.parts; i++) {
        all = all && h->codes[i].n != BKI_HINT_NO_FILTER;
    }
    return all;
}

/* front: it need not cover all of a sealed file. */
static int read_head(struct bki_hint *h, const struct bki_file *f, uint64_t hash_seed, bool front,
                     struct bk_error *err)
{
    struct bk_buf buf = {0};
    uint64_t at;
    uint64_t len;
    uint32_t crc;
    size_t got = 0;
    int64_t size = h->io->size(h->io->arg, h->fd);
    if (size < 0) {
        return bki_io_fail(err, size, h->path, 0, "stat");
    }
    uint8_t head[BKI_HINT_HEADER];
    int rc = bki_io_read_all(h->io, h->fd, head, sizeof head, 0, &got, h->path, err);
    if (rc != BK_OK) {
        return rc;
    }
    if (got < sizeof head || header_decode(head, &h->info, &at, &len, &crc) != BK_OK ||
        at > (uint64_t)size || len != (uint64_t)size - at) {
        return bk_error_set(err, BK_CORRUPT, 0, h->path, 0, "the hint file does not check");
    }
    bool sealed = !front && atomic_load(&f->state) != BKI_FILE_ROTATED &&
                  atomic_load(&f->state) != BKI_FILE_ACTIVE;
    uint64_t end = atomic_load(&f->size);
    if (h->info.uid != f->uid || h->info.seed != bki_hint_seed_check(hash_seed) ||
        h->info.covers > end || (sealed && h->info.covers != end)) {
        bk_ignore(bk_error_set(err, BK_CORRUPT, 0, h->path, 0,
                               "the hint file is not of the data file as it is"),
                  "the caller is told that there is none");
        return BK_NOTFOUND;
    }
    rc = read_checked(h, at, (size_t)len, crc, &buf, err);
    if (rc == BK_OK && table_decode(h, buf.data, buf.len, at) != BK_OK) {
        rc = bk_error_set(err, BK_CORRUPT, 0, h->path, at, "the hint file does not check");
    } else if (rc == BK_OK && sealed && !has_filters(h)) {
        /* It was made while the file was still written to, and nothing came behind it: no damage.
         */
        bk_ignore(bk_error_set(err, BK_CORRUPT, 0, h->path, at, "the hint file has no filters"),
                  "the caller is told that there is none");
        rc = BK_NOTFOUND;
    }
    bk_buf_fini(&buf);
    return rc;
}

static int open_hint(struct bki_hint *h, const struct bk_io *io, const char *dir,
                     const struct bki_file *f, uint64_t hash_seed, bool front, struct bk_error *err)
{
    char path[BKI_PATH_MAX];
    bki_hint_path(path, dir, f->id);
    *h = (struct bki_hint){.io = io, .fd = io->open(io->arg, path, BK_IO_READ)};
    if (h->fd < 0) {
        return h->fd == -ENOENT ? BK_NOTFOUND : bki_io_fail(err, h->fd, path, 0, "open");
    }
    h->path = strdup(path);
    BK_ASSERT(h->path != NULL);
    int rc = read_head(h, f, hash_seed, front, err);
    if (rc != BK_OK) {
        bki_hint_close(h);
    }
    return rc;
}

int bki_hint_open(struct bki_hint *h, const struct bk_io *io, const char *dir,
                  const struct bki_file *f, uint64_t hash_seed, struct bk_error *err)
{
    return open_hint(h, io, dir, f, hash_seed, false, err);
}

int bki_hint_open_front(struct bki_hint *h, const struct bk_io *io, const char *dir,
                        const struct bki_file *f, uint64_t hash_seed, struct bk_error *err)
{
    return open_hint(h, io, dir, f, hash_seed, true, err);
}

static bool read_info(const struct bk_io *io, const char *path, uint64_t hash_seed,
                      struct bki_hint_info *info)
{
    uint8_t head[BKI_HINT_HEADER];
    uint64_t at;
    uint64_t len;
    uint32_t crc;
    size_t got = 0;
    int fd = io->open(io->arg, path, BK_IO_READ);
    if (fd < 0) {
        return false;
    }
    int rc = bki_io_read_all(io, fd, head, sizeof head, 0, &got, path, NULL);
    io->close(io->arg, fd);
    return rc == BK_OK && got == sizeof head &&
           header_decode(head, info, &at, &len, &crc) == BK_OK &&
           info->seed == bki_hint_seed_check(hash_seed);
}

bool bki_hint_is_of(const struct bk_io *io, const char *path, uint64_t hash_seed)
{
    struct bki_hint_info info;
    return read_info(io, path, hash_seed, &info);
}

uint64_t bki_hint_covers(const struct bk_io *io, const char *dir, const struct bki_file *f,
                         uint64_t hash_seed)
{
    char path[BKI_PATH_MAX];
    struct bki_hint_info info;
    bki_hint_path(path, dir, f->id);
    return read_info(io, path, hash_seed, &info) && info.uid == f->uid ? info.covers : 0;
}

void bki_hint_close(struct bki_hint *h)
{
    if (h->fd >= 0) {
        h->io->close(h->io->arg, h->fd);
    }
    free(h->path);
    free(h->blocks);
    free(h->codes);
    bk_buf_fini(&h->maps);
    *h = (struct bki_hint){.fd = -1};
}

/* ---- Entries ---- */

void bki_hint_entry_encode(const struct bki_hint_entry *e, struct bk_buf *out)
{
    uint8_t *p = bk_buf_reserve(out, BKI_HINT_ENTRY + 8 + e->key.len);
    uint64_t word = e->offset >> 3 | (uint64_t)e->kind << 40 | (uint64_t)e->flags << 48;
    size_t n = BKI_HINT_ENTRY;
    if (e->expire_ms != 0) {
        word |= (uint64_t)1 << 56;
        bk_put64(p + n, (uint64_t)e->expire_ms);
        n += 8;
    }
    bk_put64(p, word);
    bk_put32(p + 8, (uint32_t)(e->size >> 3));
    bk_put32(p + 12, e->space);
    bk_put32(p + 16, (uint32_t)e->key.len);
    if (e->key.len > 0) {
        memcpy(p + n, e->key.data, e->key.len);
    }
    out->len += n + e->key.len;
}

static int entry_decode(struct bki_hint_cursor *c, struct bki_hint_entry *e)
{
    const uint8_t *p = c->bytes.data + c->at;
    size_t room = c->bytes.len - c->at;
    if (room < BKI_HINT_ENTRY + 8) {
        /* The shortest entry has no expiry and no key. */
        if (room < BKI_HINT_ENTRY || (bk_get64(p) >> 56 & 1) != 0) {
            return BK_CORRUPT;
        }
    }
    uint64_t word = bk_get64(p);
    bool expires = (word >> 56 & 1) != 0;
    size_t front = BKI_HINT_ENTRY + (expires ? 8 : 0);
    size_t key_len = bk_get32(p + 16);
    *e = (struct bki_hint_entry){
        .offset = (word & (((uint64_t)1 << 40) - 1)) << 3,
        .size = (uint64_t)bk_get32(p + 8) << 3,
        .kind = (enum bki_kind)(word >> 40 & 0xff),
        .flags = (uint8_t)(word >> 48),
        .space = bk_get32(p + 12),
        .expire_ms = expires ? (int64_t)bk_get64(p + BKI_HINT_ENTRY) : 0,
    };
    bool kind = e->kind == BKI_PUT || e->kind == BKI_DELETE || e->kind == BKI_LOST;
    uint64_t covers = c->h->info.covers;
    if (!kind || key_len > room - front || e->offset > covers || e->size > covers - e->offset ||
        e->size < BKI_HEADER_BYTES) {
        return BK_CORRUPT;
    }
    e->key = bk_span_of(p + front, key_len);
    e->hash = bki_key_hash(c->seed, e->key.data, e->key.len);
    c->at += front + key_len;
    return (e->hash >> 48 & (c->h->info.parts - 1)) == c->part ? BK_OK : BK_CORRUPT;
}

int bki_hint_part_begin(struct bki_hint_cursor *c, const struct bki_hint *h, uint32_t part,
                        uint64_t hash_seed)
{
    *c = (struct bki_hint_cursor){.h = h, .part = part, .seed = hash_seed};
    if (part >= h->info.parts) {
        return BK_EINVAL;
    }
    uint32_t low = 0;
    uint32_t high = h->info.blocks;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (h->blocks[mid].part < part) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    c->block = low;
    return BK_OK;
}

/* The part's next block, or NULL behind the last. */
static const struct bki_hint_block *next_block(struct bki_hint_cursor *c)
{
    const struct bki_hint *h = c->h;
    bool more = c->block < h->info.blocks && h->blocks[c->block].part == c->part;
    return more ? &h->blocks[c->block++] : NULL;
}

int bki_hint_next(struct bki_hint_cursor *c, struct bki_hint_entry *e, struct bk_error *err)
{
    const struct bki_hint *h = c->h;
    while (c->left == 0) {
        const struct bki_hint_block *b = next_block(c);
        if (b == NULL) {
            return BK_NOTFOUND;
        }
        int rc = bki_hint_read_block(h, b, &c->bytes, err);
        if (rc != BK_OK) {
            return rc;
        }
        c->left = b->n;
        c->at = 0;
    }
    c->left--;
    int rc = entry_decode(c, e);
    return rc == BK_OK ? rc
                       : bk_error_set(err, rc, 0, h->path, h->blocks[c->block - 1].offset + c->at,
                                      "the hint file holds no entry here");
}

int bki_hint_read_part(struct bki_hint_cursor *c, struct bk_error *err)
{
    const struct bki_hint_block *b;
    int rc = BK_OK;
    while (rc == BK_OK && (b = next_block(c)) != NULL) {
        rc = append_checked(c->h, b->offset, b->len, b->crc, &c->bytes, err);
        c->left += b->n;
    }
    return rc;
}

int bki_hint_next_at(struct bki_hint_cursor *c, size_t at, struct bki_hint_entry *e,
                     struct bk_error *err)
{
    c->at = at;
    c->left = 1;
    return bki_hint_next(c, e, err);
}

int bki_hint_check(struct bki_hint_cursor *c, struct bk_error *err)
{
    const struct bki_hint_block *b;
    int rc = BK_OK;
    while (rc == BK_OK && (b = next_block(c)) != NULL) {
        rc = bki_hint_read_block(c->h, b, &c->bytes, err);
    }
    return rc;
}

void bki_hint_part_end(struct bki_hint_cursor *c)
{
    bk_buf_fini(&c->bytes);
}

int bki_hint_filter(const struct bki_hint *h, uint32_t part, const uint64_t *values, size_t n,
                    bool *maybe, struct bk_error *err)
{
    const struct bki_hint_code *code = &h->codes[part];
    struct bk_buf buf = {0};
    if (code->n == BKI_HINT_NO_FILTER) {
        memset(maybe, true, n * sizeof *maybe);
        return BK_OK;
    }
    int rc = read_checked(h, code->offset, code->len, code->crc, &buf, err);
    if (rc == BK_OK) {
        rc = bki_filter_ask(buf.data, buf.len, code->n, values, n, maybe);
    }
    bk_buf_fini(&buf);
    return rc;
}
