/* SPDX-License-Identifier: MIT */
/*
 * manifest.c - edits to bytes and back, and their way to the disk.
 *
 * An edit is {crc u32, length u32, number u64, items}; the CRC covers all behind itself and starts
 * from the store's id. An item is {type u8, 3 zero bytes, length u32, bytes}.
 */
#include "engine/manifest.h"

#include "base/assert.h"
#include "base/checksum.h"
#include "engine/bitkv.h"
#include "engine/datafile.h"
#include "engine/mend.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum item {
    ITEM_ADD = 1,
    ITEM_SEAL = 2,
    ITEM_DROP = 3,
    ITEM_BOOT = 4,
    ITEM_MAP = 5,
    ITEM_COUNTERS = 6
};

#define EDIT_HEADER BKI_MANIFEST_EDIT_HEADER
#define ITEM_HEADER 8u

void bki_manifest_state_init(struct bki_manifest_state *s)
{
    *s = (struct bki_manifest_state){.next_id = 1, .next_rank = 1, .next_seq = 1};
    bki_spacemap_init(&s->map);
}

void bki_manifest_state_fini(struct bki_manifest_state *s)
{
    free(s->files);
    bki_spacemap_fini(&s->map);
    *s = (struct bki_manifest_state){0};
}

void bki_manifest_state_copy(struct bki_manifest_state *to, const struct bki_manifest_state *from)
{
    *to = *from;
    to->files = bk_alloc(from->files_cap * sizeof *to->files);
    if (from->files_n > 0) {
        memcpy(to->files, from->files, from->files_n * sizeof *to->files);
    }
    to->map = (struct bki_spacemap){0};
    bki_spacemap_copy(&to->map, &from->map);
}

struct bki_manifest_file *bki_manifest_find(struct bki_manifest_state *s, uint64_t id)
{
    for (uint32_t i = 0; i < s->files_n; i++) {
        if (s->files[i].id == id) {
            return &s->files[i];
        }
    }
    return NULL;
}

/* ---- Items ---- */

static void add_item(struct bk_buf *edit, enum item type, const uint8_t *bytes, uint32_t len)
{
    uint8_t head[ITEM_HEADER] = {(uint8_t)type};
    bk_put32(head + 4, len);
    bk_buf_append(edit, head, sizeof head);
    bk_buf_append(edit, bytes, len);
}

void bki_edit_add(struct bk_buf *edit, uint64_t id, uint64_t uid, uint64_t rank)
{
    uint8_t b[24];
    bk_put64(b, id);
    bk_put64(b + 8, uid);
    bk_put64(b + 16, rank);
    add_item(edit, ITEM_ADD, b, sizeof b);
}

void bki_edit_seal(struct bk_buf *edit, uint64_t id, uint64_t size)
{
    uint8_t b[16];
    bk_put64(b, id);
    bk_put64(b + 8, size);
    add_item(edit, ITEM_SEAL, b, sizeof b);
}

void bki_edit_drop(struct bk_buf *edit, uint64_t id)
{
    uint8_t b[8];
    bk_put64(b, id);
    add_item(edit, ITEM_DROP, b, sizeof b);
}

void bki_edit_boot(struct bk_buf *edit, const uint8_t boot_id[16])
{
    add_item(edit, ITEM_BOOT, boot_id, 16);
}

void bki_edit_map(struct bk_buf *edit, const struct bki_spacemap *map)
{
    struct bk_buf b = {0};
    uint8_t next[8] = {0};
    bk_put32(next, map->next);
    bk_buf_append(&b, next, sizeof next);
    bki_spacemap_encode(map, &b);
    add_item(edit, ITEM_MAP, b.data, (uint32_t)b.len);
    bk_buf_fini(&b);
}

void bki_edit_counters(struct bk_buf *edit, uint64_t next_id, uint64_t next_rank, uint64_t next_seq)
{
    uint8_t b[24];
    bk_put64(b, next_id);
    bk_put64(b + 8, next_rank);
    bk_put64(b + 16, next_seq);
    add_item(edit, ITEM_COUNTERS, b, sizeof b);
}

/* ---- State ---- */

static int apply_add(struct bki_manifest_state *s, const uint8_t *b)
{
    struct bki_manifest_file f = {
        .id = bk_get64(b), .uid = bk_get64(b + 8), .rank = bk_get64(b + 16)};
    if (f.id == UINT64_MAX || f.rank == UINT64_MAX || bki_manifest_find(s, f.id) != NULL) {
        return BK_CORRUPT;
    }
    if (s->files_n == s->files_cap) {
        s->files_cap = s->files_cap == 0 ? 16 : s->files_cap * 2;
        s->files = bk_realloc(s->files, s->files_cap * sizeof *s->files);
    }
    uint32_t i = s->files_n++;
    for (; i > 0 && s->files[i - 1].rank > f.rank; i--) {
        s->files[i] = s->files[i - 1];
    }
    s->files[i] = f;
    s->next_id = f.id >= s->next_id ? f.id + 1 : s->next_id;
    s->next_rank = f.rank >= s->next_rank ? f.rank + 1 : s->next_rank;
    return BK_OK;
}

static int apply_drop(struct bki_manifest_state *s, const uint8_t *b)
{
    struct bki_manifest_file *f = bki_manifest_find(s, bk_get64(b));
    if (f == NULL) {
        return BK_CORRUPT;
    }
    size_t behind = (size_t)(s->files + s->files_n - (f + 1));
    memmove(f, f + 1, behind * sizeof *f);
    s->files_n--;
    return BK_OK;
}

static int apply_map(struct bki_manifest_state *s, const uint8_t *b, uint32_t len)
{
    struct bki_spacemap map;
    bki_spacemap_init(&map);
    int rc = bki_spacemap_apply(&map, b + 8, (len - 8) / 8);
    if (rc != BK_OK) {
        bki_spacemap_fini(&map);
        return rc;
    }
    uint32_t next = bk_get32(b);
    map.next = next > map.next ? next : map.next;
    bki_spacemap_fini(&s->map);
    s->map = map;
    return BK_OK;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static int apply_item(struct bki_manifest_state *s, uint8_t type, const uint8_t *b, uint32_t len)
{
    static const uint32_t fixed[] = {0, 24, 16, 8, 16, 0, 24};
    if (type < ITEM_ADD || type > ITEM_COUNTERS || (fixed[type] != 0 && len != fixed[type]) ||
        (type == ITEM_MAP && (len < 8 || len % 8 != 0))) {
        return BK_CORRUPT;
    }
    struct bki_manifest_file *f;
    switch ((enum item)type) {
    case ITEM_ADD:
        return apply_add(s, b);
    case ITEM_SEAL:
        f = bki_manifest_find(s, bk_get64(b));
        if (f == NULL) {
            return BK_CORRUPT;
        }
        f->sealed = true;
        f->size = bk_get64(b + 8);
        return BK_OK;
    case ITEM_DROP:
        return apply_drop(s, b);
    case ITEM_BOOT:
        memcpy(s->boot_id, b, 16);
        return BK_OK;
    case ITEM_MAP:
        return apply_map(s, b, len);
    case ITEM_COUNTERS:
        s->next_id = larger(s->next_id, bk_get64(b));
        s->next_rank = larger(s->next_rank, bk_get64(b + 8));
        s->next_seq = larger(s->next_seq, bk_get64(b + 16));
        return BK_OK;
    }
    return BK_CORRUPT;
}

static int apply_items(struct bki_manifest_state *s, const uint8_t *b, uint32_t len)
{
    while (len > 0) {
        if (len < ITEM_HEADER || bk_get32(b + 4) > len - ITEM_HEADER) {
            return BK_CORRUPT;
        }
        uint32_t n = bk_get32(b + 4);
        int rc = apply_item(s, b[0], b + ITEM_HEADER, n);
        if (rc != BK_OK) {
            return rc;
        }
        b += ITEM_HEADER + n;
        len -= ITEM_HEADER + n;
    }
    return BK_OK;
}

/* ---- Bytes ---- */

static void encode_header(const struct bki_manifest_state *s, uint8_t out[BKI_MANIFEST_HEADER])
{
    memset(out, 0, BKI_MANIFEST_HEADER);
    memcpy(out, BKI_MANIFEST_MAGIC, 8);
    bk_put16(out + 8, BKI_FORMAT_MAJOR);
    bk_put16(out + 10, BKI_FORMAT_MINOR);
    bk_put32(out + 12, BKI_MANIFEST_HEADER);
    bk_put64(out + 16, s->store);
    bk_put64(out + 24, s->hash_seed);
    bk_put32(out + 36, bk_crc32c(0, out, 36));
}

static uint32_t edit_crc(uint64_t store, const uint8_t *edit, size_t len)
{
    return bk_crc32c(bki_datafile_seed(store), edit + 4, len - 4);
}

static void append_edit(struct bk_buf *out, uint64_t store, uint64_t number,
                        const struct bk_buf *items)
{
    uint8_t head[EDIT_HEADER];
    size_t start = out->len;
    bk_put32(head, 0);
    bk_put32(head + 4, (uint32_t)items->len);
    bk_put64(head + 8, number);
    bk_buf_append(out, head, sizeof head);
    bk_buf_append(out, items->data, items->len);
    bk_put32(out->data + start, edit_crc(store, out->data + start, out->len - start));
}

static bool edit_checks(uint64_t store, const uint8_t *bytes, size_t len, uint32_t *items_len)
{
    if (len < EDIT_HEADER || bk_get32(bytes + 4) > len - EDIT_HEADER) {
        return false;
    }
    *items_len = bk_get32(bytes + 4);
    return edit_crc(store, bytes, EDIT_HEADER + *items_len) == bk_get32(bytes);
}

#define MEND_MAX 65536u

static void flip(uint8_t *bytes, size_t bit)
{
    bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
}

/* The edit at bytes as it was before one bit of it was flipped, in *out. */
static bool edit_mends(uint64_t store, const uint8_t *bytes, size_t len, struct bk_buf *out)
{
    if (len < EDIT_HEADER) {
        return false;
    }
    /* A bit of the length, which tells what is covered; 32: none of these. */
    for (unsigned b = 0; b <= 32; b++) {
        uint32_t said = bk_get32(bytes + 4) ^ (b < 32 ? (uint32_t)1 << b : 0);
        size_t bit = 32 + b;
        if (said > len - EDIT_HEADER || said > MEND_MAX) {
            continue;
        }
        out->len = 0;
        bk_buf_append(out, bytes, EDIT_HEADER + said);
        bk_put32(out->data + 4, said);
        uint32_t crc = edit_crc(store, out->data, out->len);
        uint32_t wrong = crc ^ bk_get32(bytes);
        if (b < 32 ? wrong == 0 : (wrong & (wrong - 1)) == 0) {
            return true; /* or a bit of the CRC itself */
        }
        if (b == 32 && bki_mend_find(crc, bk_get32(bytes), out->len - 4, &bit) && bit >= 32) {
            flip(out->data + 4, bit);
            return true;
        }
    }
    return false;
}

/* The same of the header. */
static bool header_mends(const uint8_t *bytes, uint8_t out[BKI_MANIFEST_HEADER])
{
    size_t bit;
    uint32_t crc = bk_crc32c(0, bytes, 36);
    uint32_t wrong = crc ^ bk_get32(bytes + 36);
    memcpy(out, bytes, BKI_MANIFEST_HEADER);
    if ((wrong & (wrong - 1)) != 0) {
        if (!bki_mend_find(crc, bk_get32(bytes + 36), 36, &bit)) {
            return false;
        }
        flip(out, bit);
    }
    return memcmp(out, BKI_MANIFEST_MAGIC, 8) == 0;
}

/* The next edit, which checks or, once in a manifest, does with a bit put right. */
static bool next_edit(struct bki_manifest_state *s, const uint8_t *bytes, size_t len, bool *mended,
                      size_t *size)
{
    struct bk_buf fixed = {0};
    uint32_t n;
    bool ok = edit_checks(s->store, bytes, len, &n);
    if (!ok && !*mended && edit_mends(s->store, bytes, len, &fixed)) {
        ok = *mended = true;
        bytes = fixed.data;
        n = bk_get32(bytes + 4);
    }
    ok = ok && bk_get64(bytes + 8) == s->edits + 1 &&
         apply_items(s, bytes + EDIT_HEADER, n) == BK_OK;
    bk_buf_fini(&fixed);
    *size = ok ? EDIT_HEADER + n : 0;
    return ok;
}

/* Whether an edit with a later number lies anywhere in the bytes: then those before it are damaged,
 * not cut off. */
static bool later_edit(const struct bki_manifest_state *s, const uint8_t *bytes, size_t len)
{
    uint32_t n;
    for (size_t at = 0; at + EDIT_HEADER <= len; at++) {
        uint64_t number = bk_get64(bytes + at + 8);
        if (number > s->edits && number - s->edits <= len &&
            edit_checks(s->store, bytes + at, len - at, &n)) {
            return true;
        }
    }
    return false;
}

int bki_manifest_decode(const uint8_t *bytes, size_t len, struct bki_manifest_state *s,
                        enum bki_manifest_end *end)
{
    uint8_t head[BKI_MANIFEST_HEADER];
    *end = BKI_MANIFEST_DAMAGED;
    if (len < BKI_MANIFEST_HEADER || !header_mends(bytes, head)) {
        return BK_CORRUPT;
    }
    bool mended =
        memcmp(head, bytes, sizeof head) != 0 || bk_crc32c(0, head, 36) != bk_get32(head + 36);
    if (bk_get16(head + 8) > BKI_FORMAT_MAJOR) {
        return BK_EVERSION;
    }
    s->store = bk_get64(head + 16);
    s->hash_seed = bk_get64(head + 24);
    size_t at = BKI_MANIFEST_HEADER;
    size_t size;
    while (next_edit(s, bytes + at, len - at, &mended, &size)) {
        s->edits++;
        at += size;
    }
    s->read = at;
    if (s->edits > 0 && !later_edit(s, bytes + at, len - at)) {
        *end = at < len ? BKI_MANIFEST_TORN : mended ? BKI_MANIFEST_MENDED : BKI_MANIFEST_WHOLE;
    }
    return BK_OK;
}

/* The items that make an empty state this one. */
static void encode_state(const struct bki_manifest_state *s, struct bk_buf *items)
{
    for (uint32_t i = 0; i < s->files_n; i++) {
        const struct bki_manifest_file *f = &s->files[i];
        bki_edit_add(items, f->id, f->uid, f->rank);
        if (f->sealed) {
            bki_edit_seal(items, f->id, f->size);
        }
    }
    bki_edit_map(items, &s->map);
    bki_edit_boot(items, s->boot_id);
    bki_edit_counters(items, s->next_id, s->next_rank, s->next_seq);
}

/* ---- The file ---- */

int bki_manifest_load(struct bki_manifest *m, const struct bk_io *io, const char *dir,
                      enum bki_manifest_end *end, struct bk_error *err)
{
    *m = (struct bki_manifest){.io = io, .fd = -1};
    m->dir = strdup(dir);
    BK_ASSERT(m->dir != NULL);
    bki_manifest_state_init(&m->state);
    *end = BKI_MANIFEST_DAMAGED;

    char path[BKI_PATH_MAX];
    snprintf(path, sizeof path, "%s/MANIFEST", dir);
    struct bk_buf bytes = {0};
    int fd = io->open(io->arg, path, BK_IO_WRITE);
    if (fd == -ENOENT) {
        return BK_NOTFOUND;
    }
    if (fd < 0) {
        return bki_io_fail(err, fd, path, 0, "open");
    }
    int rc = BK_OK;
    int64_t size = io->size(io->arg, fd);
    if (size < 0) {
        rc = bki_io_fail(err, size, path, 0, "stat");
        goto out;
    }
    /* The manifest is rewritten at 1 MiB, and one edit has a bound; what is longer is not one of
     * ours. */
    size_t want = (size_t)size < BKI_MANIFEST_REWRITE + BKI_MANIFEST_EDIT_MAX
                      ? (size_t)size
                      : BKI_MANIFEST_REWRITE + BKI_MANIFEST_EDIT_MAX;
    rc = bki_io_read_all(io, fd, bk_buf_reserve(&bytes, want), want, 0, &bytes.len, path, err);
    if (rc != BK_OK) {
        goto out;
    }
    rc = bki_manifest_decode(bytes.data, bytes.len, &m->state, end);
    if (rc == BK_EVERSION) {
        rc = bk_error_set(err, rc, 0, path, 0, "written by a newer version of the format");
        goto out;
    }
    rc = BK_OK; /* damage is told by *end: the files' headers can replace what is lost here */
    if ((uint64_t)size != bytes.len) {
        *end = BKI_MANIFEST_DAMAGED;
    }
    /* What was read may be in the page cache only, and so may the name: before anything is removed
     * because of it, it must be there for good. */
    int64_t synced = io->sync(io->arg, fd);
    synced = synced == 0 ? io->sync_dir(io->arg, dir) : synced;
    if (synced < 0) {
        rc = bki_io_fail(err, synced, path, 0, "sync");
        goto out;
    }
    if (*end == BKI_MANIFEST_WHOLE) {
        m->fd = fd;
        m->size = bytes.len;
        fd = -1;
    }
out:
    if (fd >= 0) {
        io->close(io->arg, fd);
    }
    bk_buf_fini(&bytes);
    return rc;
}

/* Writes the state, with the edit applied, to a new file that takes the old one's place. */
static int rewrite(struct bki_manifest *m, struct bk_error *err)
{
    const struct bk_io *io = m->io;
    char path[BKI_PATH_MAX];
    char fresh[BKI_PATH_MAX];
    snprintf(path, sizeof path, "%s/MANIFEST", m->dir);
    snprintf(fresh, sizeof fresh, "%s/MANIFEST.new", m->dir);
    struct bk_buf items = {0};
    struct bk_buf out = {0};
    uint8_t head[BKI_MANIFEST_HEADER];
    encode_header(&m->state, head);
    bk_buf_append(&out, head, sizeof head);
    encode_state(&m->state, &items);
    append_edit(&out, m->state.store, 1, &items);

    int rc = io->unlink(io->arg, fresh);
    int fd = -1;
    if (rc != 0 && rc != -ENOENT) {
        rc = bki_io_fail(err, rc, fresh, 0, "unlink");
        goto out;
    }
    fd = io->open(io->arg, fresh, BK_IO_CREATE);
    if (fd < 0) {
        rc = bki_io_fail(err, fd, fresh, 0, "create");
        goto out;
    }
    struct iovec iov = {out.data, out.len};
    rc = bki_io_write_all(io, fd, &iov, 1, 0, fresh, err);
    if (rc == BK_OK && (rc = io->sync(io->arg, fd)) < 0) {
        rc = bki_io_fail(err, rc, fresh, 0, "sync");
    }
    if (rc == BK_OK && (rc = io->rename(io->arg, fresh, path)) < 0) {
        rc = bki_io_fail(err, rc, path, 0, "rename");
    }
    if (rc == BK_OK && (rc = io->sync_dir(io->arg, m->dir)) < 0) {
        rc = bki_io_fail(err, rc, m->dir, 0, "sync directory");
    }
    if (rc == BK_OK) {
        if (m->fd >= 0) {
            io->close(io->arg, m->fd);
        }
        m->fd = fd;
        m->size = out.len;
        m->state.edits = 1;
        fd = -1;
    }
out:
    if (fd >= 0) {
        io->close(io->arg, fd);
    }
    bk_buf_fini(&items);
    bk_buf_fini(&out);
    return rc;
}

static int append(struct bki_manifest *m, const struct bk_buf *edit, struct bk_error *err)
{
    const struct bk_io *io = m->io;
    struct bk_buf out = {0};
    append_edit(&out, m->state.store, m->state.edits + 1, edit);
    struct iovec iov = {out.data, out.len};
    int rc = bki_io_write_all(io, m->fd, &iov, 1, m->size, "MANIFEST", err);
    if (rc == BK_OK && (rc = io->sync(io->arg, m->fd)) < 0) {
        rc = bki_io_fail(err, rc, "MANIFEST", m->size, "sync");
    }
    if (rc == BK_OK) {
        m->size += out.len;
        m->state.edits++;
    }
    bk_buf_fini(&out);
    return rc;
}

int bki_manifest_commit(struct bki_manifest *m, const struct bk_buf *edit, struct bk_error *err)
{
    BK_ASSERT(edit->len <= BKI_MANIFEST_EDIT_MAX);
    bool anew = m->fd < 0 || m->size + edit->len > BKI_MANIFEST_REWRITE;
    struct bki_manifest_state before;
    bki_manifest_state_copy(&before, &m->state);
    int rc = anew ? BK_OK : append(m, edit, err);
    if (rc == BK_OK) {
        int applied = apply_items(&m->state, edit->data, (uint32_t)edit->len);
        BK_ASSERT(applied == BK_OK);
        rc = anew ? rewrite(m, err) : BK_OK;
    }
    if (rc == BK_OK) {
        bki_manifest_state_fini(&before);
        return BK_OK;
    }
    /* Nobody knows what of a failed write or sync will survive: never append behind it. The whole
     * state is written to a new file before the next edit, and until then the old file's end is in
     * doubt, not the state. */
    bki_manifest_state_fini(&m->state);
    m->state = before;
    if (m->fd >= 0) {
        m->io->close(m->io->arg, m->fd);
        m->fd = -1;
    }
    return rc;
}

int bki_manifest_adopt(struct bki_manifest *m, const struct bk_buf *edit)
{
    return apply_items(&m->state, edit->data, (uint32_t)edit->len);
}

void bki_manifest_close(struct bki_manifest *m)
{
    if (m->fd >= 0) {
        m->io->close(m->io->arg, m->fd);
        m->fd = -1;
    }
    bki_manifest_state_fini(&m->state);
    free(m->dir);
    m->dir = NULL;
}
