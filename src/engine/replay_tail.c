/* SPDX-License-Identifier: MIT */
/*
 * replay_tail.c - cut off or damaged?
 *
 * Bytes reach a file in order, into room that is zeros. When the process dies in the middle of a
 * write, what is there ends somewhere, and from there on everything is zero. So a byte that is not
 * zero behind the place that does not check, or at a record's very end, tells that all of it was
 * written. So does a single wrong bit that the value's checksum finds: a cut takes whole bytes, and
 * all that come behind. What is left counts as cut off, since its write may never have been
 * answered: a value that ends in zeros and is wrong in more than one bit, or by the one bit of its
 * last byte that is not zero.
 */
#include "base/checksum.h"
#include "engine/mend.h"
#include "engine/recover.h"

#define PIECE BKI_CRC_BLOCK

/* Whether any byte of [from, to) is not zero. */
static int any_set(const struct bki_scan *s, uint64_t from, uint64_t to, bool *set,
                   struct bk_error *err)
{
    struct bk_buf buf = {0};
    int rc = BK_OK;
    *set = false;
    while (rc == BK_OK && !*set && from < to) {
        size_t want = to - from < PIECE ? (size_t)(to - from) : PIECE;
        size_t got = 0;
        buf.len = 0;
        uint8_t *p = bk_buf_reserve(&buf, want);
        rc = bki_io_read_all(s->io, s->fd, p, want, from, &got, s->path, err);
        for (size_t i = 0; rc == BK_OK && i < got; i++) {
            *set |= p[i] != 0;
        }
        from = got < want ? to : from + got;
    }
    bk_buf_fini(&buf);
    return rc;
}

/* n bytes, no more than PIECE, of a value that ends at end. *checks: they have their CRC. *whole:
 * they have not, for one bit, which no cut has taken. */
static int one_bit(const struct bki_scan *s, uint64_t from, size_t n, uint32_t crc, uint64_t end,
                   bool *checks, bool *whole, struct bk_error *err)
{
    struct bk_buf buf = {0};
    size_t bit;
    uint8_t *p = bk_buf_reserve(&buf, n);
    int rc = bki_io_read_all(s->io, s->fd, p, n, from, &buf.len, s->path, err);
    bool there = rc == BK_OK && buf.len == n;
    uint32_t is = there ? bk_crc32c(0, p, n) : 0;
    *checks = there && is == crc;
    *whole = false;
    if (there && !*checks && bki_mend_find(is, crc, n, &bit)) {
        *whole = p[bit / 8] != 0;
        rc = *whole ? BK_OK : any_set(s, from + bit / 8 + 1, end, whole, err);
    }
    bk_buf_fini(&buf);
    return rc;
}

/* The first of a large value's blocks that does not check. */
static int one_bit_of_blocks(const struct bki_scan *s, const struct bki_scan_item *it, uint64_t end,
                             bool *whole, struct bk_error *err)
{
    struct bk_buf table = {0};
    uint32_t blocks = bki_record_blocks(it->rec.value_len);
    size_t n = (size_t)blocks * 4;
    uint64_t at = end - it->rec.value_len;
    uint8_t *p = bk_buf_reserve(&table, n);
    int rc = bki_io_read_all(s->io, s->fd, p, n, at - n, &table.len, s->path, err);
    bool checks = rc == BK_OK && table.len == n && bk_crc32c(0, p, n) == it->rec.value_crc;
    for (uint32_t i = 0; rc == BK_OK && checks && i < blocks; i++) {
        size_t len = end - at < PIECE ? (size_t)(end - at) : PIECE;
        rc = one_bit(s, at, len, bk_get32(p + (size_t)i * 4), end, &checks, whole, err);
        at += len;
    }
    bk_buf_fini(&table);
    return rc;
}

/* A value that does not check. */
static int value_whole(const struct bki_scan *s, const struct bki_scan_item *it, uint64_t end,
                       bool *whole, struct bk_error *err)
{
    bool checks;
    *whole = false;
    if (end > s->end || it->rec.value_len == 0) {
        return BK_OK;
    }
    int rc = any_set(s, end - 1, end, whole, err);
    if (rc != BK_OK || *whole) {
        return rc;
    }
    return bki_record_blocks(it->rec.value_len) > 0
               ? one_bit_of_blocks(s, it, end, whole, err)
               : one_bit(s, end - it->rec.value_len, it->rec.value_len, it->rec.value_crc, end,
                         &checks, whole, err);
}

static int record_whole(const struct bki_scan *s, const struct bki_scan_item *it, bool *whole,
                        struct bk_error *err)
{
    uint64_t end = it->offset + bki_record_value_offset(&it->rec) + it->rec.value_len;
    if (it->mended) {
        *whole = it->was_set;
        return *whole ? BK_OK : any_set(s, it->bit_at + 1, end, whole, err);
    }
    *whole = it->value_ok;
    return *whole ? BK_OK : value_whole(s, it, end, whole, err);
}

/* By its last member. */
static int frame_whole(const struct bki_scan *s, const struct bki_scan_item *frame, bool *whole,
                       struct bk_error *err)
{
    struct bki_scan members;
    struct bki_scan_item it;
    uint64_t start = frame->offset + frame->size;
    uint64_t length = bki_frame_length(frame);
    bool zeros;
    int rc;
    *whole = false;
    if (length > s->end - start) {
        return BK_OK;
    }
    bki_scan_part(&members, s, start, start + length);
    members.last_seq = frame->rec.seq;
    while ((rc = bki_scan_next(&members, &it, err)) != BK_NOTFOUND) {
        if (rc == BK_OK) {
            *whole = false;
            rc = members.offset == start + length ? record_whole(s, &it, whole, err) : BK_OK;
        } else if (rc == BK_CORRUPT) {
            *whole = false;
            rc = bki_scan_resync(&members, &zeros, err);
        }
        if (rc < 0) {
            break;
        }
    }
    bki_scan_fini(&members);
    return rc < 0 ? rc : BK_OK;
}

int bki_replay_written_whole(const struct bki_scan *s, const struct bki_scan_item *it, bool *whole,
                             struct bk_error *err)
{
    int rc = it->rec.kind == BKI_BATCH && it->value_ok ? frame_whole(s, it, whole, err)
                                                       : record_whole(s, it, whole, err);
    if (rc == BK_EIO && s->unread != NULL) {
        *whole = true; /* what cannot be read is damage */
        rc = BK_OK;
    }
    return rc;
}
