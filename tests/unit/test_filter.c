/* SPDX-License-Identifier: MIT */
/* test_filter.c - the key filter: never wrongly no, rarely wrongly yes, small, and safe to read. */
#include "engine/filter.h"
#include "lib/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void draw(struct rng *rng, uint64_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = rng_next(rng);
    }
    qsort(out, n, sizeof(*out), by_value);
}

static void test_filter__values_of_the_set__are_found(void **state)
{
    (void)state;
    struct rng rng = {.state = 1};
    for (size_t n = 0; n < 3000; n = n * 2 + 1) {
        uint64_t *values = bk_alloc((n + 1) * sizeof(*values));
        bool *maybe = bk_alloc((n + 1) * sizeof(*maybe));
        struct bk_buf code = {0};
        draw(&rng, values, n);
        bki_filter_encode(values, n, &code);
        assert_int_equal(bki_filter_ask(code.data, code.len, n, values, n, maybe), BK_OK);
        for (size_t i = 0; i < n; i++) {
            assert_true(maybe[i]);
        }
        bk_buf_fini(&code);
        free(maybe);
        free(values);
    }
}

static void test_filter__other_values__one_in_65536_is_taken_for_one_of_them(void **state)
{
    (void)state;
    enum { N = 50000, ASKED = 2000000 };
    struct rng rng = {.state = 2};
    uint64_t *values = bk_alloc(N * sizeof(*values));
    uint64_t *asked = bk_alloc(ASKED * sizeof(*asked));
    bool *maybe = bk_alloc(ASKED * sizeof(*maybe));
    struct bk_buf code = {0};
    draw(&rng, values, N);
    draw(&rng, asked, ASKED);
    bki_filter_encode(values, N, &code);
    assert_true(code.len * 8 < (size_t)N * 18);
    assert_int_equal(bki_filter_ask(code.data, code.len, N, asked, ASKED, maybe), BK_OK);
    unsigned wrong = 0;
    for (size_t i = 0; i < ASKED; i++) {
        wrong += maybe[i];
    }
    assert_in_range(wrong, 10, ASKED / 50000 + 10); /* 30.5 on average */
    bk_buf_fini(&code);
    free(maybe);
    free(asked);
    free(values);
}

static void test_filter__code_cut_or_changed__no_crash(void **state)
{
    (void)state;
    struct rng rng = {.state = 3};
    uint64_t values[200];
    uint64_t asked[300];
    bool maybe[300];
    struct bk_buf code = {0};
    draw(&rng, values, 200);
    draw(&rng, asked, 300);
    bki_filter_encode(values, 200, &code);
    for (size_t len = 0; len < code.len / 2; len++) {
        assert_int_equal(bki_filter_ask(code.data, len, 200, values, 200, maybe), BK_CORRUPT);
    }
    for (size_t i = 0; i < 2000; i++) {
        code.data[rng_below(&rng, code.len)] ^= (uint8_t)(1u << rng_below(&rng, 8));
        int rc = bki_filter_ask(code.data, code.len, 200, asked, 300, maybe);
        assert_true(rc == BK_OK || rc == BK_CORRUPT);
    }
    bk_buf_fini(&code);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filter__values_of_the_set__are_found),
        cmocka_unit_test(test_filter__other_values__one_in_65536_is_taken_for_one_of_them),
        cmocka_unit_test(test_filter__code_cut_or_changed__no_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
