/* SPDX-License-Identifier: MIT */
/* scan.c - a window over the file; nothing larger than a key is held in memory beyond it. */
#include "engine/scan.h"

#include "base/assert.h"
#include "base/checksum.h"
#include "engine/mend.h"

#include <string.h>

void bki_scan_init(struct bki_scan *s, const struct bk_io *io, int fd, const char *path,
                   uint32_t seed, bool merged, uint64_t start, uint64_t end)
{
    *s = (struct bki_scan){.io = io,
                           .fd = fd,
                           .path = path,
                           .seed = seed,
                           .merged = merged,
                           .offset = start,
                           .end = end};
}

void bki_scan_part(struct bki_scan *part, const struct bki_scan *of, uint64_t start, uint64_t end)
{
    bki_scan_init(part, of->io, of->fd, of->path, of->seed, of->merged, start, end);
    part->unread = of->unread;
    part->unread_arg = of->unread_arg;
}

void bki_scan_fini(struct bki_scan *s)
{
    bk_buf_fini(&s->window);
    bk_buf_fini(&s->mended);
    bk_buf_fini(&s->mended_value);
}

/* What a window at offset shows when not all of it can be read: zeros there, which are no record.
 */
static int read_sectors(struct bki_scan *s, uint64_t offset, size_t want, struct bk_error *err)
{
    int rc = BK_OK;
    size_t n;
    size_t got;
    do {
        uint64_t at = offset + s->window.len;
        size_t left = want - s->window.len;
        n = (size_t)(BKI_SCAN_SECTOR - at % BKI_SCAN_SECTOR);
        n = left < n ? left : n;
        got = 0;
        uint8_t *to = s->window.data + s->window.len;
        rc = bki_io_read_all(s->io, s->fd, to, n, at, &got, s->path, err);
        if (rc == BK_EIO) {
            s->unread(s->unread_arg, at, n);
            s->unread_to = at + n > s->unread_to ? at + n : s->unread_to;
            memset(to, 0, n);
            got = n;
            rc = BK_OK;
        }
        s->window.len += got;
    } while (rc == BK_OK && got == n && s->window.len < want);
    return rc;
}

static int read_window(struct bki_scan *s, uint64_t offset, size_t want, struct bk_error *err)
{
    s->window.len = 0;
    s->window_at = offset;
    int rc = bki_io_read_all(s->io, s->fd, bk_buf_reserve(&s->window, want), want, offset,
                             &s->window.len, s->path, err);
    if (rc == BK_EIO && s->unread != NULL) {
        s->window.len = 0;
        rc = read_sectors(s, offset, want, err);
    }
    s->window.len = rc == BK_OK ? s->window.len : 0;
    return rc;
}

/* n bytes at offset, n no more than lies before the end. NULL with BK_OK: the file is shorter. */
static int bytes_at(struct bki_scan *s, uint64_t offset, size_t n, const uint8_t **out,
                    struct bk_error *err)
{
    *out = NULL;
    if (offset < s->window_at || offset + n > s->window_at + s->window.len) {
        uint64_t left = s->end - offset;
        size_t want = n > BKI_SCAN_WINDOW ? n : BKI_SCAN_WINDOW;
        want = left < want ? (size_t)left : want;
        int rc = read_window(s, offset, want, err);
        if (rc != BK_OK) {
            return rc;
        }
        if (s->window.len < n) {
            return BK_OK;
        }
    }
    *out = s->window.data + (offset - s->window_at);
    return BK_OK;
}

static size_t smaller(uint64_t a, uint64_t b)
{
    return (size_t)(a < b ? a : b);
}

/* The header at offset with its key, checked. BK_CORRUPT: none. *front: header, expiry and key. */
static int header_at(struct bki_scan *s, uint64_t offset, struct bki_record *r,
                     const uint8_t **front, struct bk_error *err)
{
    const uint8_t *p;
    uint64_t room = s->end - offset;
    size_t head = smaller(room, BKI_HEADER_BYTES + BKI_EXPIRY_BYTES);
    int rc = bytes_at(s, offset, head, &p, err);
    if (rc != BK_OK) {
        return rc;
    }
    if (p == NULL || bki_record_peek(p, head, room, r) != BK_OK ||
        (!s->merged && r->seq <= s->last_seq)) {
        return BK_CORRUPT;
    }
    rc = bytes_at(s, offset, (size_t)bki_record_key_offset(r) + r->key_len, &p, err);
    if (rc != BK_OK) {
        return rc;
    }
    if (p == NULL || !bki_record_check(r, p, s->seed)) {
        return BK_CORRUPT;
    }
    *front = p;
    return BK_OK;
}

/* Checks a value of blocks piece by piece. */
static int check_blocks(struct bki_scan *s, uint64_t offset, const struct bki_record *r, bool *ok,
                        struct bk_error *err)
{
    uint32_t blocks = bki_record_blocks(r->value_len);
    uint64_t table_at = offset + bki_record_value_offset(r) - (uint64_t)blocks * 4;
    struct bk_buf table = {0};
    const uint8_t *p;
    int rc = bytes_at(s, table_at, (size_t)blocks * 4, &p, err);
    *ok = rc == BK_OK && p != NULL && bk_crc32c(0, p, (size_t)blocks * 4) == r->value_crc;
    if (*ok) {
        bk_buf_append(&table, p, (size_t)blocks * 4);
    }
    uint64_t at = offset + bki_record_value_offset(r);
    for (uint32_t i = 0; rc == BK_OK && *ok && i < blocks; i++) {
        size_t n = smaller(r->value_len - (uint64_t)i * BKI_CRC_BLOCK, BKI_CRC_BLOCK);
        rc = bytes_at(s, at, n, &p, err);
        *ok =
            rc == BK_OK && p != NULL && bk_crc32c(0, p, n) == bk_get32(table.data + (size_t)i * 4);
        at += n;
    }
    bk_buf_fini(&table);
    return rc;
}

/* Header, expiry and key as they were written, in s->mended, when one bit of them is wrong. */
static void keep_mended(struct bki_scan *s, const uint8_t *head, const uint8_t *p, size_t n)
{
    size_t fixed = n < BKI_HEADER_BYTES ? n : BKI_HEADER_BYTES;
    s->mended.len = 0;
    bk_buf_append(&s->mended, head, fixed);
    bk_buf_append(&s->mended, p + fixed, n - fixed);
}

static void note_bit(struct bki_scan_item *it, const uint8_t *p, uint64_t at, size_t bit)
{
    it->mended = true;
    it->bit_at = at + bit / 8;
    it->was_set = (p[bit / 8] >> bit % 8 & 1) != 0;
}

/* Tries the header with its bit i flipped; i past the header: the bit is among those behind it. */
static int try_bit(struct bki_scan *s, const uint8_t *head, size_t avail, unsigned i,
                   struct bki_scan_item *it, struct bk_error *err)
{
    uint8_t flipped[BKI_HEADER_BYTES + BKI_EXPIRY_BYTES];
    struct bki_record r;
    uint64_t room = s->end - s->offset;
    const uint8_t *p;
    size_t bit;
    bool behind = i == BKI_HEADER_BYTES * 8;
    /* Bit 0 of the header's own CRC stands for none of those that are covered by it. */
    if (!bki_mend_header(head, avail, room, behind ? 0 : i, flipped, &r) ||
        (!s->merged && r.seq <= s->last_seq)) {
        return BK_CORRUPT;
    }
    size_t n = (size_t)bki_record_key_offset(&r) + r.key_len;
    int rc = bytes_at(s, s->offset, n, &p, err);
    if (rc != BK_OK || p == NULL) {
        return rc == BK_OK ? BK_CORRUPT : rc;
    }
    if (behind) {
        memcpy(flipped, head, BKI_HEADER_BYTES);
        r.header_crc = bk_get32(head);
    }
    uint32_t crc = bk_crc32c(s->seed, flipped + 4, BKI_HEADER_BYTES - 4);
    crc = bk_crc32c(crc, p + BKI_HEADER_BYTES, n - BKI_HEADER_BYTES);
    if (behind && !bki_mend_find(crc, r.header_crc, n - BKI_HEADER_BYTES, &bit)) {
        return BK_CORRUPT;
    }
    if (!behind && crc != r.header_crc) {
        return BK_CORRUPT;
    }
    keep_mended(s, flipped, p, n);
    bit = behind ? bit + BKI_HEADER_BYTES * 8 : i;
    note_bit(it, p, s->offset, bit);
    if (behind) {
        s->mended.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    bool decoded = bki_record_peek(s->mended.data, n, room, &it->rec) == BK_OK;
    return decoded && it->rec.key_len == r.key_len ? BK_OK : BK_CORRUPT;
}

/* What the header at the offset was before one bit of it, of the expiry or of the key was flipped.
 */
static int mend(struct bki_scan *s, struct bki_scan_item *it, struct bk_error *err)
{
    uint8_t head[BKI_HEADER_BYTES + BKI_EXPIRY_BYTES];
    const uint8_t *p;
    size_t avail = smaller(s->end - s->offset, sizeof head);
    int rc = bytes_at(s, s->offset, avail, &p, err);
    if (rc != BK_OK || p == NULL || avail < BKI_HEADER_BYTES) {
        return rc == BK_OK ? BK_CORRUPT : rc;
    }
    memcpy(head, p, avail);
    rc = BK_CORRUPT;
    for (unsigned i = 0; rc == BK_CORRUPT && i <= BKI_HEADER_BYTES * 8; i++) {
        rc = try_bit(s, head, avail, i, it, err);
    }
    it->mended = rc == BK_OK;
    return rc;
}

/* The log's own records matter by their values: these are short, and mended too. */
static void mend_value(struct bki_scan *s, struct bki_scan_item *it)
{
    size_t bit;
    bool own =
        it->rec.kind == BKI_MAP || it->rec.kind == BKI_BATCH || it->rec.kind == BKI_SYNC_MARK;
    uint32_t crc = bk_crc32c(0, it->value.data, it->value.len);
    if (!own || it->mended || it->value.len > BKI_MEND_VALUE_MAX ||
        !bki_mend_find(crc, it->rec.value_crc, it->value.len, &bit)) {
        return;
    }
    note_bit(it, it->value.data, it->offset + bki_record_value_offset(&it->rec), bit);
    s->mended_value.len = 0;
    bk_buf_append(&s->mended_value, it->value.data, it->value.len);
    s->mended_value.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    it->value = bk_buf_span(&s->mended_value);
    it->value_ok = true;
}

static int front_of(struct bki_scan *s, struct bki_scan_item *it, const uint8_t **p,
                    struct bk_error *err)
{
    if (it->mended) {
        *p = s->mended.data;
        return BK_OK;
    }
    int rc = header_at(s, s->offset, &it->rec, p, err);
    if (rc == BK_CORRUPT) {
        rc = mend(s, it, err);
        *p = s->mended.data;
    }
    return rc;
}

/* A value of up to 64 KiB. Where it is cut off, the key is still told. */
static int short_value(struct bki_scan *s, struct bki_scan_item *it, const uint8_t **p,
                       struct bk_error *err)
{
    const uint8_t *all;
    size_t front = (size_t)bki_record_value_offset(&it->rec);
    int rc = bytes_at(s, s->offset, front + it->rec.value_len, &all, err);
    if (rc != BK_OK || all == NULL) {
        return rc == BK_OK ? front_of(s, it, p, err) : rc;
    }
    *p = it->mended ? s->mended.data : all;
    it->value = bk_span_of(all + front, it->rec.value_len);
    it->value_ok = bki_value_check(&it->rec, it->value.data, NULL);
    if (!it->value_ok) {
        mend_value(s, it);
    }
    return BK_OK;
}

int bki_scan_next(struct bki_scan *s, struct bki_scan_item *it, struct bk_error *err)
{
    const uint8_t *p;
    if (s->offset >= s->end) {
        return BK_NOTFOUND;
    }
    *it = (struct bki_scan_item){.offset = s->offset}; /* nothing of the record before stays */
    int rc = front_of(s, it, &p, err);
    if (rc != BK_OK) {
        return rc;
    }
    it->size = bki_record_size(&it->rec);
    if (bki_record_blocks(it->rec.value_len) > 0) {
        rc = check_blocks(s, s->offset, &it->rec, &it->value_ok, err);
        rc = rc == BK_OK ? front_of(s, it, &p, err) : rc; /* the window has moved on */
    } else {
        rc = short_value(s, it, &p, err);
    }
    if (rc != BK_OK) {
        return rc;
    }
    bool keyed = it->rec.kind == BKI_PUT || it->rec.kind == BKI_DELETE || it->rec.kind == BKI_LOST;
    it->value_ok = it->value_ok && !(it->mended && keyed);
    it->key = bk_span_of(p + bki_record_key_offset(&it->rec), it->rec.key_len);
    s->offset += it->size;
    s->last_seq = it->rec.seq;
    return BK_OK;
}

size_t bki_scan_ahead(const struct bki_scan *s, struct bk_span *keys, uint32_t *space, size_t max)
{
    size_t n = 0;
    uint64_t end = s->window_at + s->window.len;
    for (uint64_t at = s->offset; n < max && at >= s->window_at && at < end;) {
        struct bki_record r;
        const uint8_t *p = s->window.data + (at - s->window_at);
        if (bki_record_peek(p, smaller(end - at, BKI_HEADER_BYTES + BKI_EXPIRY_BYTES), end - at,
                            &r) != BK_OK) {
            break;
        }
        *space = r.space;
        keys[n++] = bk_span_of(p + bki_record_key_offset(&r), r.key_len);
        at += bki_record_size(&r);
    }
    return n;
}

int bki_scan_padding(struct bki_scan *s, const struct bki_scan_item *it, bool *zero,
                     struct bk_error *err)
{
    const uint8_t *p = NULL;
    uint64_t at = it->offset + bki_record_value_offset(&it->rec) + it->rec.value_len;
    size_t n = (size_t)(it->offset + it->size - at);
    *zero = true;
    int rc = n == 0 ? BK_OK : bytes_at(s, at, n, &p, err);
    for (size_t i = 0; i < n; i++) {
        *zero = *zero && p != NULL && p[i] == 0;
    }
    return rc;
}

/* In an unmerged file sequence numbers rise by one a record, so what is far off is no record,
 * however it looks. That keeps the search linear: hardly anything gets as far as its checksum. */
static bool plausible(const struct bki_scan *s, uint64_t offset, const uint8_t *p, uint64_t from)
{
    struct bki_record r;
    uint64_t room = s->end - offset;
    if (bki_record_peek(p, smaller(room, BKI_HEADER_BYTES + BKI_EXPIRY_BYTES), room, &r) != BK_OK) {
        return false;
    }
    return s->merged || s->last_seq == 0 ||
           (r.seq > s->last_seq && r.seq - s->last_seq <= (offset - from) / BKI_HEADER_BYTES + 1);
}

/* How many words of zeros begin at offset, as far as the window shows: room that was reserved and
 * never written is long. Two are known. */
static uint64_t zero_words(const struct bki_scan *s, uint64_t offset)
{
    const uint8_t *p = s->window.data + (offset - s->window_at);
    uint64_t words = (s->window_at + s->window.len - offset) / 8;
    uint64_t n = 2;
    while (n < words && bk_get64(p + n * 8) == 0) {
        n++;
    }
    return n;
}

int bki_scan_resync(struct bki_scan *s, bool *zeros, struct bk_error *err)
{
    uint64_t from = s->offset;
    *zeros = true;
    for (uint64_t at = from; at + BKI_HEADER_BYTES <= s->end; at += 8) {
        const uint8_t *p;
        struct bki_record r;
        int rc =
            bytes_at(s, at, smaller(s->end - at, BKI_HEADER_BYTES + BKI_EXPIRY_BYTES), &p, err);
        if (rc != BK_OK) {
            return rc;
        }
        if (p == NULL) {
            break;
        }
        if (bk_get64(p) == 0 && bk_get64(p + 8) == 0) {
            at += zero_words(s, at) * 8 - 16;
            continue;
        }
        *zeros = *zeros && bk_get64(p) == 0;
        if (at > from && plausible(s, at, p, from)) {
            rc = header_at(s, at, &r, &p, err);
            if (rc == BK_OK) {
                s->offset = at;
                return BK_OK;
            }
            if (rc != BK_CORRUPT) {
                return rc;
            }
        }
    }
    s->offset = s->end;
    return BK_NOTFOUND;
}

uint64_t bki_frame_length(const struct bki_scan_item *frame)
{
    return bk_get64(frame->value.data + 8);
}

int bki_scan_frame(const struct bki_scan *s, const struct bki_scan_item *frame, bool *whole,
                   struct bk_error *err)
{
    *whole = false;
    if (!frame->value_ok) {
        return BK_OK;
    }
    uint32_t n = bk_get32(frame->value.data);
    uint64_t length = bki_frame_length(frame);
    uint64_t start = frame->offset + frame->size;
    if (length > s->end - start) {
        return BK_OK;
    }
    struct bki_scan members;
    bki_scan_part(&members, s, start, start + length);
    members.last_seq = frame->rec.seq;
    uint32_t crc = 0;
    uint32_t found = 0;
    struct bki_scan_item it;
    int rc;
    while ((rc = bki_scan_next(&members, &it, err)) == BK_OK && it.value_ok && !it.mended &&
           it.rec.kind != BKI_BATCH) {
        uint8_t member[4];
        bk_put32(member, it.rec.header_crc);
        crc = bk_crc32c(crc, member, sizeof member);
        found++;
    }
    *whole = rc == BK_NOTFOUND && found == n && crc == bk_get32(frame->value.data + 4);
    bki_scan_fini(&members);
    return rc == BK_NOTFOUND || rc == BK_CORRUPT ? BK_OK : rc;
}
