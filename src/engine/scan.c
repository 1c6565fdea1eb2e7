/* SPDX-License-Identifier: MIT */
/* scan.c - a window over the file; nothing larger than a key is held in memory beyond it. */
#include "engine/scan.h"

#include "base/assert.h"
#include "base/checksum.h"

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

void bki_scan_fini(struct bki_scan *s)
{
    bk_buf_fini(&s->window);
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
        s->window.len = 0;
        s->window_at = offset;
        int rc = bki_io_read_all(s->io, s->fd, bk_buf_reserve(&s->window, want), want, offset,
                                 &s->window.len, s->path, err);
        if (rc != BK_OK) {
            s->window.len = 0;
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

int bki_scan_next(struct bki_scan *s, struct bki_scan_item *out, struct bk_error *err)
{
    const uint8_t *p;
    if (s->offset >= s->end) {
        return BK_NOTFOUND;
    }
    struct bki_scan_item it = {.offset = s->offset};
    int rc = header_at(s, s->offset, &it.rec, &p, err);
    if (rc != BK_OK) {
        return rc;
    }
    it.size = bki_record_size(&it.rec);
    if (bki_record_blocks(it.rec.value_len) > 0) {
        rc = check_blocks(s, s->offset, &it.rec, &it.value_ok, err);
        if (rc == BK_OK) {
            rc = header_at(s, s->offset, &it.rec, &p, err); /* the window has moved on */
        }
        if (rc != BK_OK) {
            return rc;
        }
    } else {
        size_t front = (size_t)bki_record_value_offset(&it.rec);
        size_t n = front + it.rec.value_len;
        rc = bytes_at(s, s->offset, n, &p, err);
        if (rc == BK_OK && p == NULL) {
            rc = bytes_at(s, s->offset, front, &p,
                          err); /* the value is cut off: the key is still told */
            if (rc == BK_OK && p == NULL) {
                return BK_CORRUPT;
            }
        } else if (rc == BK_OK) {
            it.value = bk_span_of(p + front, it.rec.value_len);
            it.value_ok = bki_value_check(&it.rec, it.value.data, NULL);
        }
        if (rc != BK_OK) {
            return rc;
        }
    }
    it.key = bk_span_of(p + bki_record_key_offset(&it.rec), it.rec.key_len);
    s->offset += it.size;
    s->last_seq = it.rec.seq;
    *out = it;
    return BK_OK;
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
    bki_scan_init(&members, s->io, s->fd, s->path, s->seed, s->merged, start, start + length);
    members.last_seq = frame->rec.seq;
    uint32_t crc = 0;
    uint32_t found = 0;
    struct bki_scan_item it;
    int rc;
    while ((rc = bki_scan_next(&members, &it, err)) == BK_OK && it.value_ok &&
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
