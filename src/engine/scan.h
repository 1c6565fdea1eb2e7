/* SPDX-License-Identifier: MIT */
/*
 * scan.h - records of a data file one after the other, checked; for recovery, checks and merge.
 */
#ifndef BK_ENGINE_SCAN_H
#define BK_ENGINE_SCAN_H

#include "base/buf.h"
#include "base/error.h"
#include "engine/io.h"
#include "engine/record.h"

#include <stdbool.h>
#include <stdint.h>

#define BKI_SCAN_WINDOW (1u << 18)
#define BKI_SCAN_SECTOR 4096u /* read one by one where not all can be read */

struct bki_scan {
    const struct bk_io *io; /* borrowed */
    int fd;
    const char *path; /* borrowed; for errors */
    uint32_t seed;
    bool merged;          /* sequence numbers need not rise */
    uint64_t offset;      /* of the next record */
    uint64_t end;         /* no record reaches beyond */
    uint64_t last_seq;    /* of the last record in this file; 0 = none yet */
    struct bk_buf window; /* owned */
    uint64_t window_at;
    struct bk_buf mended, mended_value; /* owned; an item's bytes with a bit put right */
    /* NULL: what cannot be read ends the scan with BK_EIO. Else it counts as zeros and is told
     * here, a sector at a time, some more than once. Set after bki_scan_init. */
    void (*unread)(void *arg, uint64_t offset, uint64_t bytes);
    void *unread_arg;   /* borrowed */
    uint64_t unread_to; /* end of the last of them so far; 0 = none */
};

struct bki_scan_item {
    struct bki_record rec;
    uint64_t offset, size;
    struct bk_span key; /* borrowed until the next call */
    /* Only of values up to 64 KiB that are there as a whole, else empty; borrowed until the next
     * call. */
    struct bk_span value;
    bool value_ok; /* else value is to be used for nothing */
    /* One flipped bit was found by its checksum (mend.h): what is told here was written so, but on
     * disk it does not check. Never with value_ok for a record with a key. */
    bool mended;
    bool was_set;    /* the bit is 1 on disk, where 0 was written */
    uint64_t bit_at; /* offset of its byte in the file */
};

void bki_scan_init(struct bki_scan *s, const struct bk_io *io, int fd, const char *path,
                   uint32_t seed, bool merged, uint64_t start, uint64_t end);
void bki_scan_fini(struct bki_scan *s);
/* Another scan of the same file, from start to end. */
void bki_scan_part(struct bki_scan *part, const struct bki_scan *of, uint64_t start, uint64_t end);

/* The record at offset, header and value checked; moves behind it. BK_NOTFOUND: the end.
 * BK_CORRUPT: no record that checks starts here, not even with a bit put right; offset stays.
 * BK_EIO. */
BK_MUST_USE int bki_scan_next(struct bki_scan *s, struct bki_scan_item *out, struct bk_error *err);

/* The keys of up to max records from the offset on, as far as they lie in memory. Nothing of them
 * is checked: good for guesses only, such as what to fetch early. Borrowed until the next call. */
size_t bki_scan_ahead(const struct bki_scan *s, struct bk_span *keys, uint32_t *space, size_t max);

/* Whether the bytes between the value's end and the record's are there, and zero. What the item
 * borrowed may be gone after it. */
BK_MUST_USE int bki_scan_padding(struct bki_scan *s, const struct bki_scan_item *it, bool *zero,
                                 struct bk_error *err);

/* Moves offset on to the next place where a record's header checks. BK_NOTFOUND: there is none,
 * offset is the end; *zeros: and all bytes passed over were zero. */
BK_MUST_USE int bki_scan_resync(struct bki_scan *s, bool *zeros, struct bk_error *err);

/* Whether the frame whose header is *frame is whole: all members there, checked, and as many as it
 * says. */
BK_MUST_USE int bki_scan_frame(const struct bki_scan *s, const struct bki_scan_item *frame,
                               bool *whole, struct bk_error *err);
/* The bytes of a frame's members, as its header says. */
uint64_t bki_frame_length(const struct bki_scan_item *frame);

#endif
