/* SPDX-License-Identifier: MIT */
/* test_spread.c - percentiles of the benches against those of the sorted numbers. */
#include "lib/rng.h"
#include "lib/spread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define NUMBERS 20000

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void test_spread__random_numbers__percentiles_within_a_bucket(void **state)
{
    static const double parts[] = {0, 0.5, 0.9, 0.99, 0.999, 0.9999};
    static uint64_t v[NUMBERS];
    static struct spread s;
    struct rng rng = {rng_seed_from_env("SPREAD_SEED")};
    uint64_t sum = 0;

    (void)state;
    printf("SPREAD_SEED=%llu\n", (unsigned long long)rng.state);
    for (size_t i = 0; i < NUMBERS; i++) {
        v[i] = rng_next(&rng) >> (20 + rng_below(&rng, 44)); /* of any size up to 2^44 */
        sum += v[i];
        spread_add(&s, v[i]);
    }
    qsort(v, NUMBERS, sizeof(v[0]), ascending);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        uint64_t exact = v[(size_t)(NUMBERS * parts[i])];
        uint64_t told = spread_at(&s, parts[i]);
        assert_true(told <= exact);
        assert_true(exact - told <= exact / SPREAD_SUB);
    }
    assert_int_equal(spread_at(&s, 1), v[NUMBERS - 1]);
    assert_int_equal(s.longest, v[NUMBERS - 1]);
    assert_true(spread_mean(&s) == (double)sum / NUMBERS);
}

static void test_spread__largest_and_empty__no_overflow(void **state)
{
    static struct spread s;
    (void)state;
    assert_int_equal(spread_at(&s, 0.5), 0);
    assert_true(spread_mean(&s) == 0);
    spread_add(&s, UINT64_MAX);
    assert_true(spread_at(&s, 0.5) >= UINT64_MAX - UINT64_MAX / SPREAD_SUB);
    assert_int_equal(s.longest, UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spread__random_numbers__percentiles_within_a_bucket),
        cmocka_unit_test(test_spread__largest_and_empty__no_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
