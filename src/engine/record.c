/* SPDX-License-Identifier: MIT */
/* record.c - encoding and checking of records; pure functions. */
#include "engine/record.h"

#include "base/assert.h"
#include "base/checksum.h"

/* Offsets in the header. */
enum {
    AT_HEADER_CRC = 0,
    AT_VALUE_CRC = 4,
    AT_KIND = 8,
    AT_FLAGS = 9,
    AT_SEQ = 10,
    AT_SPACE = 16,
    AT_KEY_LEN = 20,
    AT_VALUE_LEN = 24
};

uint64_t bki_record_value_offset(const struct bki_record *r)
{
    return (uint64_t)bki_record_key_offset(r) + r->key_len +
           (uint64_t)bki_record_blocks(r->value_len) * 4;
}

uint64_t bki_record_size(const struct bki_record *r)
{
    return bki_size_pad(bki_record_value_offset(r) + r->value_len);
}

/* A power of two. Sizes go in steps of 8 to 512, then 16 to each doubling up to 1 MiB, then in
 * steps of 8 again. */
static uint64_t size_step(uint64_t raw)
{
    if (raw <= 512 || raw > BKI_CLASSED_MAX) {
        return 8;
    }
    unsigned doubling =
        63u - (unsigned)__builtin_clzll(raw - 1); /* raw is in (2^doubling, 2^(doubling + 1)] */
    return (uint64_t)1 << (doubling - 4);
}

uint64_t bki_size_pad(uint64_t raw)
{
    uint64_t step = size_step(raw);
    return (raw + step - 1) & ~(step - 1);
}

uint8_t bki_size_class(uint64_t padded)
{
    BK_ASSERT(padded > 0 && padded % 8 == 0);
    if (padded <= 512) {
        return (uint8_t)(padded / 8);
    }
    if (padded > BKI_CLASSED_MAX) {
        return BKI_CLASS_LONG;
    }
    unsigned doubling = 63u - (unsigned)__builtin_clzll(padded - 1);
    uint64_t base = (uint64_t)1 << doubling;
    return (uint8_t)(64 + (doubling - 9) * 16 + (padded - base) / (base / 16));
}

uint64_t bki_class_size(uint8_t size_class)
{
    if (size_class <= 64) {
        return (uint64_t)size_class * 8;
    }
    if (size_class == BKI_CLASS_LONG) {
        return 0;
    }
    unsigned above = size_class - 65u;
    uint64_t base = (uint64_t)512 << (above / 16);
    return base + (above % 16 + 1) * (base / 16);
}

uint32_t bki_value_crc(const uint8_t *value, uint32_t len, uint8_t *table)
{
    uint32_t blocks = bki_record_blocks(len);
    if (blocks == 0) {
        return bk_crc32c(0, value, len);
    }
    for (uint32_t i = 0; i < blocks; i++) {
        uint32_t at = i * BKI_CRC_BLOCK;
        uint32_t n = len - at < BKI_CRC_BLOCK ? len - at : BKI_CRC_BLOCK;
        bk_put32(table + (size_t)i * 4, bk_crc32c(0, value + at, n));
    }
    return bk_crc32c(0, table, (size_t)blocks * 4);
}

bool bki_value_check(const struct bki_record *r, const uint8_t *value, const uint8_t *table)
{
    uint32_t blocks = bki_record_blocks(r->value_len);
    if (blocks == 0) {
        return bk_crc32c(0, value, r->value_len) == r->value_crc;
    }
    if (bk_crc32c(0, table, (size_t)blocks * 4) != r->value_crc) {
        return false;
    }
    for (uint32_t i = 0; i < blocks; i++) {
        uint32_t at = i * BKI_CRC_BLOCK;
        uint32_t n = r->value_len - at < BKI_CRC_BLOCK ? r->value_len - at : BKI_CRC_BLOCK;
        if (bk_crc32c(0, value + at, n) != bk_get32(table + (size_t)i * 4)) {
            return false;
        }
    }
    return true;
}

size_t bki_record_encode(struct bki_record *r, uint32_t seed, const uint8_t *key, uint8_t *out)
{
    BK_ASSERT(r->seq > 0 && r->seq <= BKI_SEQ_MAX);
    bk_put32(out + AT_VALUE_CRC, r->value_crc);
    out[AT_KIND] = (uint8_t)((unsigned)r->kind | (r->expire_ms != 0 ? BKI_HAS_EXPIRY : 0));
    out[AT_FLAGS] = r->flags;
    bk_put32(out + AT_SEQ, (uint32_t)r->seq);
    bk_put16(out + AT_SEQ + 4, (uint16_t)(r->seq >> 32));
    bk_put32(out + AT_SPACE, r->space);
    bk_put32(out + AT_KEY_LEN, r->key_len);
    bk_put32(out + AT_VALUE_LEN, r->value_len);
    size_t n = BKI_HEADER_BYTES;
    if (r->expire_ms != 0) {
        bk_put64(out + n, (uint64_t)r->expire_ms);
        n += BKI_EXPIRY_BYTES;
    }
    if (r->key_len > 0) {
        memcpy(out + n, key, r->key_len);
        n += r->key_len;
    }
    r->header_crc = bk_crc32c(seed, out + AT_VALUE_CRC, n - AT_VALUE_CRC);
    bk_put32(out + AT_HEADER_CRC, r->header_crc);
    return n;
}

/* Facts about sizes that hold for every record of a kind; what breaks them is no record. */
static bool shape_ok(const struct bki_record *r)
{
    switch (r->kind) {
    case BKI_PUT:
        return true;
    case BKI_DELETE:
        return r->value_len == 0 && r->expire_ms == 0;
    case BKI_LOST:
        return r->value_len == 0; /* the key's time goes on */
    case BKI_MAP:
        return r->key_len == 0 && r->value_len > 0 && r->value_len % 8 == 0 && r->expire_ms == 0;
    case BKI_BATCH:
    case BKI_SYNC_MARK:
        return r->key_len == 0 && r->value_len == 16 && r->expire_ms == 0;
    case BKI_NONE:
    case BKI_KIND_COUNT:
        break;
    }
    return false;
}

int bki_record_peek(const uint8_t *bytes, size_t avail, uint64_t room, struct bki_record *out)
{
    if (avail < BKI_HEADER_BYTES || room < BKI_HEADER_BYTES) {
        return BK_CORRUPT;
    }
    unsigned kind = bytes[AT_KIND] & BKI_KIND_MASK;
    bool has_expiry = (bytes[AT_KIND] & BKI_HAS_EXPIRY) != 0;
    if (kind == BKI_NONE) {
        return BK_CORRUPT;
    }
    if (kind >= BKI_KIND_COUNT || (bytes[AT_KIND] & BKI_COMPRESSED) != 0) {
        return BK_EVERSION;
    }
    struct bki_record r = {
        .kind = (enum bki_kind)kind,
        .flags = bytes[AT_FLAGS],
        .seq = bk_get32(bytes + AT_SEQ) | (uint64_t)bk_get16(bytes + AT_SEQ + 4) << 32,
        .space = bk_get32(bytes + AT_SPACE),
        .key_len = bk_get32(bytes + AT_KEY_LEN),
        .value_len = bk_get32(bytes + AT_VALUE_LEN),
        .value_crc = bk_get32(bytes + AT_VALUE_CRC),
        .header_crc = bk_get32(bytes + AT_HEADER_CRC),
    };
    if (has_expiry) {
        if (avail < BKI_HEADER_BYTES + BKI_EXPIRY_BYTES) {
            return BK_CORRUPT;
        }
        r.expire_ms = (int64_t)bk_get64(bytes + BKI_HEADER_BYTES);
        if (r.expire_ms == 0) {
            return BK_CORRUPT;
        }
    }
    if (r.seq == 0 || !shape_ok(&r) || bki_record_size(&r) > room) {
        return BK_CORRUPT;
    }
    *out = r;
    return BK_OK;
}

bool bki_record_check(const struct bki_record *r, const uint8_t *bytes, uint32_t seed)
{
    size_t n = (size_t)bki_record_key_offset(r) + r->key_len;
    return bk_crc32c(seed, bytes + AT_VALUE_CRC, n - AT_VALUE_CRC) == r->header_crc;
}
