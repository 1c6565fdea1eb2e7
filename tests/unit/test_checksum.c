/* SPDX-License-Identifier: MIT */
/* CRC32C against the vectors of RFC 3720, CRC-64 against the catalogue's, both against a bitwise
 * one; loads and stores byte by byte. */
#include "base/buf.h"
#include "base/checksum.h"

#include "lib/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_crc32c__rfc_3720_vectors__match(void **state)
{
    (void)state;
    uint8_t bytes[32] = {0};
    assert_int_equal(bk_crc32c(0, "123456789", 9), 0xe3069283u);
    assert_int_equal(bk_crc32c(0, "", 0), 0);
    assert_int_equal(bk_crc32c(0, bytes, 32), 0x8a9136aau);
    memset(bytes, 0xff, 32);
    assert_int_equal(bk_crc32c(0, bytes, 32), 0x62a8ab43u);
    for (unsigned i = 0; i < 32; i++) {
        bytes[i] = (uint8_t)i;
    }
    assert_int_equal(bk_crc32c(0, bytes, 32), 0x46dd794eu);
    for (unsigned i = 0; i < 32; i++) {
        bytes[i] = (uint8_t)(31 - i);
    }
    assert_int_equal(bk_crc32c(0, bytes, 32), 0x113fdb5cu);
}

static uint32_t crc_bitwise(uint32_t crc, const uint8_t *p, size_t n)
{
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (0x82f63b78u & (0u - (crc & 1)));
        }
    }
    return ~crc;
}

static void test_crc32c__any_length_and_cut__is_the_same(void **state)
{
    (void)state;
    enum { SIZE = 5000 };
    struct rng r = {20240229};
    uint8_t *bytes = bk_alloc(SIZE);
    rng_fill(&r, bytes, SIZE);
    for (size_t n = 0; n < SIZE; n = n < 300 ? n + 1 : n * 2 - 7) {
        size_t off = n % 9;
        n = n + off > SIZE ? SIZE - off : n;
        uint32_t whole = bk_crc32c(0, bytes + off, n);
        size_t cut = rng_below(&r, n + 1);
        assert_int_equal(whole, crc_bitwise(0, bytes + off, n));
        assert_int_equal(whole,
                         bk_crc32c(bk_crc32c(0, bytes + off, cut), bytes + off + cut, n - cut));
    }
    free(bytes);
}

static void test_crc32c__any_flipped_bit__is_seen(void **state)
{
    (void)state;
    uint8_t bytes[64];
    struct rng r = {7};
    rng_fill(&r, bytes, sizeof bytes);
    uint32_t good = bk_crc32c(99, bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes * 8; i++) {
        bytes[i / 8] ^= (uint8_t)(1u << i % 8);
        assert_true(bk_crc32c(99, bytes, sizeof bytes) != good);
        bytes[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    assert_int_equal(bk_crc32c(99, bytes, sizeof bytes), good);
}

static uint64_t crc64_bitwise(const uint8_t *p, size_t n)
{
    uint64_t crc = 0;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) {
            /* The polynomial's bits in reverse. */
            crc = (crc >> 1) ^ (0x95ac9329ac4bc9b5u & (0u - (crc & 1)));
        }
    }
    return crc;
}

static void test_crc64__any_length_and_cut__is_the_catalogues(void **state)
{
    (void)state;
    enum { SIZE = 3000 };
    struct rng r = {19640229};
    uint8_t *bytes = bk_alloc(SIZE);
    assert_true(bk_crc64(0, "123456789", 9) == 0xe9c6d914c4b8d9cau);
    assert_true(bk_crc64(0, "", 0) == 0);
    rng_fill(&r, bytes, SIZE);
    for (size_t n = 0; n < SIZE; n = n < 300 ? n + 1 : n * 2 - 7) {
        size_t cut = rng_below(&r, n + 1);
        uint64_t whole = bk_crc64(0, bytes, n);
        assert_true(whole == crc64_bitwise(bytes, n));
        assert_true(whole == bk_crc64(bk_crc64(0, bytes, cut), bytes + cut, n - cut));
    }
    free(bytes);
}

static void test_little_endian__stores_and_loads__agree_at_any_address(void **state)
{
    (void)state;
    uint8_t bytes[17];
    for (unsigned at = 0; at < 8; at++) {
        bk_put64(bytes + at, 0x8877665544332211u);
        for (unsigned i = 0; i < 8; i++) {
            assert_int_equal(bytes[at + i], 0x11 * (i + 1));
        }
        assert_true(bk_get64(bytes + at) == 0x8877665544332211u);
        assert_int_equal(bk_get32(bytes + at + 4), 0x88776655u);
        assert_int_equal(bk_get16(bytes + at + 6), 0x8877u);
        bk_put32(bytes + at, 0xfffefdfcu);
        bk_put16(bytes + at + 4, 0xfbfau);
        assert_true(bk_get64(bytes + at) == 0x8877fbfafffefdfcu);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c__rfc_3720_vectors__match),
        cmocka_unit_test(test_crc32c__any_length_and_cut__is_the_same),
        cmocka_unit_test(test_crc32c__any_flipped_bit__is_seen),
        cmocka_unit_test(test_crc64__any_length_and_cut__is_the_catalogues),
        cmocka_unit_test(test_little_endian__stores_and_loads__agree_at_any_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
