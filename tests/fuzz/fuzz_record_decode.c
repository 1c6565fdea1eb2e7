/* SPDX-License-Identifier: MIT */
/*
 * fuzz_record_decode.c - any bytes are no record, or one that lies within them; what is encoded is
 * decoded to the same; and any single bit of it that is changed is noticed.
 */
#include "base/assert.h"
#include "base/buf.h"
#include "base/checksum.h"
#include "engine/record.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_shape(const struct bki_record *r, uint64_t room)
{
    uint64_t value_at = bki_record_value_offset(r);
    uint64_t total = bki_record_size(r);
    BK_ASSERT(total <= room);
    BK_ASSERT(total % 8 == 0);
    BK_ASSERT(value_at + r->value_len <= total);
    BK_ASSERT(value_at >= (uint64_t)bki_record_key_offset(r) + r->key_len);
    BK_ASSERT(r->kind > BKI_NONE && r->kind < BKI_KIND_COUNT);
    BK_ASSERT(r->seq > 0 && r->seq <= BKI_SEQ_MAX);
    uint8_t class = bki_size_class(total);
    BK_ASSERT(class == BKI_CLASS_LONG ? total > BKI_CLASSED_MAX : bki_class_size(class) == total);
}

/* The bytes as they are, with as much room as they have and with more. */
static void decode_raw(const uint8_t *data, size_t size)
{
    struct bki_record r;
    if (bki_record_peek(data, size, size, &r) == BK_OK) {
        check_shape(&r, size);
        bool good = bki_record_check(&r, data,
                                     1); /* reads the key: within size, or the sanitizer says so */
        const uint8_t *value = data + bki_record_value_offset(&r);
        const uint8_t *table = value - (size_t)bki_record_blocks(r.value_len) * 4;
        good = bki_value_check(&r, value, table) && good;
        bk_ignore(good ? 1 : 0, "either answer is right for any bytes");
    }
    if (bki_record_peek(data, size, UINT64_MAX / 2, &r) == BK_OK) {
        check_shape(&r, UINT64_MAX / 2);
    }
}

static bool same(const struct bki_record *a, const struct bki_record *b)
{
    return a->kind == b->kind && a->flags == b->flags && a->seq == b->seq && a->space == b->space &&
           a->key_len == b->key_len && a->value_len == b->value_len &&
           a->expire_ms == b->expire_ms && a->value_crc == b->value_crc &&
           a->header_crc == b->header_crc;
}

/* Encodes a record made of the input, then flips one bit of its front. */
static void round_trip(const uint8_t *data, size_t size)
{
    if (size < 32) {
        return;
    }
    struct bki_record r = {
        .kind = data[0] % 2 == 0 ? BKI_PUT : BKI_DELETE,
        .flags = data[1],
        .seq = (bk_get64(data + 2) & BKI_SEQ_MAX) | 1,
        .space = bk_get32(data + 10),
    };
    uint32_t seed = bk_get32(data + 14);
    uint32_t flip = bk_get32(data + 18);
    data += 32;
    size -= 32;
    r.key_len = (uint32_t)(size / 2);
    if (r.kind == BKI_PUT) {
        r.value_len = (uint32_t)(size - size / 2);
        r.expire_ms = (int64_t)(seed % 3 == 0 ? 0 : r.seq);
    }
    struct bk_buf out = {0};
    uint8_t table[4 * 64];
    BK_ASSERT(bki_record_blocks(r.value_len) <= 64);
    r.value_crc = bki_value_crc(data + r.key_len, r.value_len, table);
    size_t n =
        bki_record_encode(&r, seed, data, bk_buf_reserve(&out, BKI_HEADER_BYTES + 8 + r.key_len));
    struct bki_record back;
    int rc = bki_record_peek(out.data, n, UINT32_MAX, &back);
    BK_ASSERT(rc == BK_OK);
    BK_ASSERT(same(&r, &back));
    BK_ASSERT(bki_record_check(&back, out.data, seed));
    BK_ASSERT(!bki_record_check(&back, out.data, seed ^ 0x10));
    BK_ASSERT(bki_value_check(&back, data + r.key_len, table));
    size_t bit = flip % (n * 8);
    out.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    rc = bki_record_peek(out.data, n, n + bki_record_size(&r), &back);
    BK_ASSERT(rc != BK_OK || (size_t)bki_record_key_offset(&back) + back.key_len > n ||
              !bki_record_check(&back, out.data, seed));
    bk_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 4096 * 64) {
        return 0;
    }
    uint8_t *copy = bk_alloc(size); /* its own block, so that a byte too far is noticed */
    if (size > 0) {
        memcpy(copy, data, size);
    }
    decode_raw(copy, size);
    round_trip(copy, size);
    free(copy);
    return 0;
}
