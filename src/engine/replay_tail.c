/* SPDX-License-Identifier: MIT */
/*
 * replay_tail.c - cut off or damaged?
 *
 * Bytes reach a file in order, into room that is zeros. When the process dies in the middle of a
 * write, what is there ends somewhere, and from there on everything is zero. So a byte that is not
 * zero behind the place that does not check, or at a record's very end, tells that all of it was
 * written. A value that ends in zeros tells nothing, and counts as cut off: its write may never
 * have been answered.
 */
#include "engine/recover.h"

#define PIECE 65536u

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

static int record_whole(const struct bki_scan *s, const struct bki_scan_item *it, bool *whole,
                        struct bk_error *err)
{
    uint64_t end = it->offset + bki_record_value_offset(&it->rec) + it->rec.value_len;
    if (it->mended) {
        *whole = it->was_set;
        return *whole ? BK_OK : any_set(s, it->bit_at + 1, end, whole, err);
    }
    *whole = it->value_ok;
    return *whole ? BK_OK : any_set(s, end - 1, end, whole, err);
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
    bki_scan_init(&members, s->io, s->fd, s->path, s->seed, s->merged, start, start + length);
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
    if (it->rec.kind == BKI_BATCH && it->value_ok) {
        return frame_whole(s, it, whole, err);
    }
    return record_whole(s, it, whole, err);
}
