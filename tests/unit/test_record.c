/* SPDX-License-Identifier: MIT */
/* test_record.c - records: sizes and classes at their edges, encoding and back, what does not
 * check. */
#include "base/buf.h"
#include "base/checksum.h"
#include "engine/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define SEED 0x1234u

static void test_size__every_size__class_gives_it_back(void **state)
{
    (void)state;
    uint64_t last = 0;
    unsigned classes = 0;
    for (uint64_t raw = 1; raw <= BKI_CLASSED_MAX; raw += raw < 4096 ? 1 : 61) {
        uint64_t padded = bki_size_pad(raw);
        assert_true(padded >= raw && padded % 8 == 0);
        assert_true(padded - raw < 8 || (padded - raw) * 16 <= padded);
        uint8_t c = bki_size_class(padded);
        assert_int_equal(bki_class_size(c), padded);
        assert_int_equal(bki_size_pad(padded), padded);
        classes += padded != last;
        last = padded;
    }
    assert_int_equal(classes, 64 + 11 * 16);
    assert_int_equal(bki_size_class(BKI_CLASSED_MAX + 8), BKI_CLASS_LONG);
    assert_int_equal(bki_size_pad(BKI_CLASSED_MAX + 1), BKI_CLASSED_MAX + 8);
}

static struct bki_record sample(uint32_t key_len, uint32_t value_len, int64_t expire_ms)
{
    return (struct bki_record){.kind = BKI_PUT,
                               .flags = 0xa5,
                               .seq = BKI_SEQ_MAX - 3,
                               .space = 70000,
                               .key_len = key_len,
                               .value_len = value_len,
                               .expire_ms = expire_ms,
                               .value_crc = 0xdeadbeef};
}

static void test_record__encoded__decodes_to_the_same(void **state)
{
    (void)state;
    static const uint32_t key_lens[] = {0, 1, 254, 255, 70000};
    uint8_t *key = bk_alloc_zero(70000, 1);
    uint8_t *out = bk_alloc_zero(70100, 1);
    for (int i = 0; i < 10; i++) {
        struct bki_record r = sample(key_lens[i / 2], 100, i % 2 == 0 ? 0 : 1700000000123);
        size_t n = bki_record_encode(&r, SEED, key, out);
        assert_int_equal(n, bki_record_key_offset(&r) + r.key_len);
        struct bki_record d;
        assert_int_equal(bki_record_peek(out, n, 1 << 20, &d), BK_OK);
        assert_true(bki_record_check(&d, out, SEED));
        assert_false(bki_record_check(&d, out, SEED + 1));
        assert_int_equal(d.seq, r.seq);
        assert_int_equal(d.space, r.space);
        assert_int_equal(d.key_len, r.key_len);
        assert_int_equal(d.value_len, r.value_len);
        assert_int_equal(d.expire_ms, r.expire_ms);
        assert_int_equal(d.flags, r.flags);
        assert_int_equal(d.value_crc, r.value_crc);
        assert_int_equal(bki_record_peek(out, n, bki_record_size(&d) - 1, &d), BK_CORRUPT);
    }
    free(key);
    free(out);
}

static void test_record__any_bit_flipped__does_not_check(void **state)
{
    (void)state;
    uint8_t out[64];
    struct bki_record r = sample(5, 9, 1700000000123);
    size_t n = bki_record_encode(&r, SEED, (const uint8_t *)"abcde", out);
    for (size_t bit = 0; bit < n * 8; bit++) {
        struct bki_record d;
        out[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_true(bki_record_peek(out, n, sizeof out, &d) != BK_OK ||
                    !bki_record_check(&d, out, SEED));
        out[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

/* What a merge writes in place of a damaged value that was to expire must be a record: else its key
 * goes on pointing into the file that the merge has removed. */
static void test_record__mark_of_a_lost_value__may_expire(void **state)
{
    (void)state;
    struct bki_record r = sample(3, 0, 1700000000000);
    struct bki_record back;
    uint8_t bytes[64];
    r.kind = BKI_LOST;
    size_t n = bki_record_encode(&r, SEED, (const uint8_t *)"key", bytes);
    assert_int_equal(bki_record_peek(bytes, n, 4096, &back), BK_OK);
    assert_true(bki_record_check(&back, bytes, SEED));
    assert_int_equal(back.expire_ms, 1700000000000);
}

static void test_record__zeros__are_invalid(void **state)
{
    (void)state;
    uint8_t zeros[64] = {0};
    struct bki_record d;
    assert_int_equal(bki_record_peek(zeros, sizeof zeros, sizeof zeros, &d), BK_CORRUPT);
}

/* Trap 23: lengths whose sum is at an edge of 32 bits or beyond it. A sum that had wrapped would be
 * a small record, and room enough. */
static void test_trap23__sums_at_the_edge__do_not_wrap(void **state)
{
    (void)state;
    static const uint64_t sums[] = {INT32_MAX,
                                    (uint64_t)INT32_MAX + 1,
                                    UINT32_MAX - 8,
                                    UINT32_MAX,
                                    (uint64_t)UINT32_MAX + 1,
                                    (uint64_t)UINT32_MAX + 50,
                                    (uint64_t)UINT32_MAX * 2};
    static const uint32_t keys[] = {0, 1, 1u << 29, UINT32_MAX - 1, UINT32_MAX};
    for (size_t i = 0; i < sizeof sums / sizeof sums[0] * 10; i++) {
        uint8_t bytes[BKI_HEADER_BYTES + BKI_EXPIRY_BYTES];
        uint32_t key_len = keys[i / 2 % 5];
        uint64_t value_len = sums[i / 10] < key_len ? 0 : sums[i / 10] - key_len;
        value_len = value_len > UINT32_MAX ? UINT32_MAX : value_len;
        struct bki_record d;
        struct bki_record r = sample(0, (uint32_t)value_len, i % 2 == 0 ? 0 : 1700000000123);
        size_t n = bki_record_encode(&r, SEED, NULL, bytes);
        bk_put32(bytes + 20, key_len); /* of a key that is not there: only sizes are looked at */
        uint64_t table = value_len > BKI_CRC_BLOCK ? (value_len + 65535) / 65536 * 4 : 0;
        uint64_t raw = n + key_len + table + value_len;
        assert_int_equal(bki_record_peek(bytes, n, UINT64_MAX, &d), BK_OK);
        assert_int_equal(bki_record_value_offset(&d), raw - value_len);
        assert_in_range(bki_record_size(&d), raw, raw + 7 + raw / 16);
        assert_int_equal(bki_record_peek(bytes, n, bki_record_size(&d), &r), BK_OK);
        assert_int_equal(bki_record_peek(bytes, n, bki_record_size(&d) - 1, &r), BK_CORRUPT);
    }
}

static void test_value__blocks__any_damaged_block_is_found(void **state)
{
    (void)state;
    static const uint32_t lens[] = {0, 1, BKI_CRC_BLOCK, BKI_CRC_BLOCK + 1, 3 * BKI_CRC_BLOCK};
    uint8_t *value = bk_alloc_zero(3 * BKI_CRC_BLOCK, 1);
    uint8_t table[12];
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        struct bki_record r = sample(1, lens[i], 0);
        r.value_crc = bki_value_crc(value, lens[i], table);
        assert_true(bki_value_check(&r, value, table));
        for (uint32_t at = 0; at < lens[i]; at += BKI_CRC_BLOCK / 2) {
            value[at] ^= 0x10;
            assert_false(bki_value_check(&r, value, table));
            value[at] ^= 0x10;
        }
    }
    free(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_size__every_size__class_gives_it_back),
        cmocka_unit_test(test_record__encoded__decodes_to_the_same),
        cmocka_unit_test(test_record__any_bit_flipped__does_not_check),
        cmocka_unit_test(test_record__mark_of_a_lost_value__may_expire),
        cmocka_unit_test(test_record__zeros__are_invalid),
        cmocka_unit_test(test_trap23__sums_at_the_edge__do_not_wrap),
        cmocka_unit_test(test_value__blocks__any_damaged_block_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
