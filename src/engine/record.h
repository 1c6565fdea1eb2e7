/* SPDX-License-Identifier: MIT */
/*
 * record.h - one record on disk: header, key, value, padding. FORMAT.md has every byte.
 *
 * The header's CRC covers the header, the expiry, the key and the value's CRC, and starts from the
 * file's seed, so a record pasted from another file does not check. The value's CRC starts from
 * zero: it stays true when merge moves the record, and no step has to make a fresh one.
 */
#ifndef BK_ENGINE_RECORD_H
#define BK_ENGINE_RECORD_H

#include "base/error.h"
#include "base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BKI_HEADER_BYTES 28u
#define BKI_EXPIRY_BYTES 8u
#define BKI_CRC_BLOCK 65536u /* values over this have a CRC per block of it */
#define BKI_SEQ_MAX (((uint64_t)1 << 48) - 1)
#define BKI_CLASS_LONG 255u /* size class of records over 1 MiB: the length is kept beside it */
#define BKI_CLASSED_MAX ((uint64_t)1 << 20)

enum bki_kind {
    BKI_NONE = 0, /* what zeros decode to: invalid by construction */
    BKI_PUT = 1,
    BKI_DELETE = 2, /* tombstone: no value */
    BKI_MAP =
        3, /* database numbers get other spaces: no key; value = pairs {number u32, space u32} */
    BKI_BATCH = 4, /* frame header: no key; value = {count u32, crc u32, length u64} of the members
                      behind it */
    BKI_SYNC_MARK =
        5,        /* no key; value = {file uid u64, offset u64}: all before that has been synced */
    BKI_LOST = 6, /* kept for merge: the key's value was found damaged; no value */
    BKI_KIND_COUNT = 7
    /* 7 .. 63 are kept for elements of collections and values in pieces. */
};
#define BKI_KIND_MASK 0x3fu
#define BKI_COMPRESSED \
    0x40u /* kept for compression: never set by this version, refused when read */
#define BKI_HAS_EXPIRY 0x80u

struct bki_record {
    enum bki_kind kind;
    uint8_t flags;
    uint64_t seq; /* 1 .. BKI_SEQ_MAX */
    uint32_t space;
    uint32_t key_len;
    uint32_t value_len;
    int64_t expire_ms; /* 0 = none */
    uint32_t value_crc;
    uint32_t header_crc; /* as decoded or encoded */
};

/* Bytes before the value: header, expiry, key, table of block CRCs. */
uint64_t bki_record_value_offset(const struct bki_record *r);
uint64_t bki_record_size(const struct bki_record *r); /* padding included: what it takes on disk */
static inline uint32_t bki_record_blocks(uint32_t value_len)
{
    return value_len <= BKI_CRC_BLOCK
               ? 0
               : (uint32_t)(((uint64_t)value_len + BKI_CRC_BLOCK - 1) / BKI_CRC_BLOCK);
}

/* The padded size for a raw one, and classes of padded sizes. */
uint64_t bki_size_pad(uint64_t raw);
uint8_t bki_size_class(uint64_t padded);
uint64_t bki_class_size(uint8_t size_class); /* 0 for BKI_CLASS_LONG */

/* Fills table (bki_record_blocks(len) entries of 4 bytes) when there is one; returns the value's
 * CRC. */
uint32_t bki_value_crc(const uint8_t *value, uint32_t len, uint8_t *table);
/* value must be as the header says; table NULL when there is none. */
bool bki_value_check(const struct bki_record *r, const uint8_t *value, const uint8_t *table);

/* Writes header, expiry and key to out (BKI_HEADER_BYTES + 8 + key_len bytes at most); returns
 * their length, sets r->header_crc. seed: of the file. */
size_t bki_record_encode(struct bki_record *r, uint32_t seed, const uint8_t *key, uint8_t *out);

/*
 * Reads a header without looking at the CRC: sizes are checked against room, the bytes left in the
 * file. BK_CORRUPT: not a record. BK_EVERSION: a kind or flag of a later version.
 */
BK_MUST_USE int bki_record_peek(const uint8_t *bytes, size_t avail, uint64_t room,
                                struct bki_record *out);
/* Whether header, expiry and key (bytes: all of them) carry the right CRC. */
bool bki_record_check(const struct bki_record *r, const uint8_t *bytes, uint32_t seed);
/* Where the key starts in the record's bytes. */
static inline uint32_t bki_record_key_offset(const struct bki_record *r)
{
    return BKI_HEADER_BYTES + (r->expire_ms != 0 ? BKI_EXPIRY_BYTES : 0);
}

#endif
