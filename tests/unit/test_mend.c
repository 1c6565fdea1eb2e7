/* SPDX-License-Identifier: MIT */
/* test_mend.c - one flipped bit found by its checksum, and hardly anything else taken for one. */
#include "base/checksum.h"
#include "engine/mend.h"
#include "lib/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_mend__each_bit_of_some_bytes__is_found(void **state)
{
    (void)state;
    struct rng rng = {3};
    uint8_t bytes[200];
    rng_fill(&rng, bytes, sizeof(bytes));
    for (size_t len = 1; len <= sizeof(bytes); len += 37) {
        uint32_t right = bk_crc32c(77, bytes, len);
        for (size_t bit = 0; bit < len * 8; bit++) {
            size_t found = SIZE_MAX;
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_true(bki_mend_find(bk_crc32c(77, bytes, len), right, len, &found));
            assert_int_equal(found, bit);
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        size_t none;
        assert_false(bki_mend_find(right, right, len, &none));
    }
}

/* Two bits are never taken for one: the CRC tells them apart at these lengths. */
static void test_mend__two_bits__are_not_taken_for_one(void **state)
{
    (void)state;
    struct rng rng = {4};
    uint8_t bytes[100];
    rng_fill(&rng, bytes, sizeof(bytes));
    uint32_t right = bk_crc32c(0, bytes, sizeof(bytes));
    for (unsigned i = 0; i < 5000; i++) {
        size_t a = rng_below(&rng, sizeof(bytes) * 8);
        size_t b = rng_below(&rng, sizeof(bytes) * 8);
        size_t found;
        if (a == b) {
            continue;
        }
        bytes[a / 8] ^= (uint8_t)(1u << a % 8);
        bytes[b / 8] ^= (uint8_t)(1u << b % 8);
        assert_false(
            bki_mend_find(bk_crc32c(0, bytes, sizeof(bytes)), right, sizeof(bytes), &found));
        bytes[a / 8] ^= (uint8_t)(1u << a % 8);
        bytes[b / 8] ^= (uint8_t)(1u << b % 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mend__each_bit_of_some_bytes__is_found),
        cmocka_unit_test(test_mend__two_bits__are_not_taken_for_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
