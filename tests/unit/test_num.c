/* SPDX-License-Identifier: MIT */
/* Numbers in text: canonical form only, to both ends of the range. */
#include "base/num.h"

#include "lib/rng.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_num__canonical_integers__are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t value;
    } rows[] = {
        {"0", 0},
        {"7", 7},
        {"-1", -1},
        {"10", 10},
        {"-120", -120},
        {"9223372036854775807", INT64_MAX},
        {"-9223372036854775808", INT64_MIN},
        {"9223372036854775806", INT64_MAX - 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t v = 42;
        assert_true(bk_parse_i64(bk_span_str(rows[i].text), &v));
        assert_true(v == rows[i].value);
    }
    uint64_t u;
    assert_true(bk_parse_u64(bk_span_str("18446744073709551615"), &u));
    assert_true(u == UINT64_MAX);
}

static void test_num__anything_else__is_refused_and_leaves_the_result(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "-",
        "+1",
        "01",
        "-0",
        "00",
        "-01",
        " 1",
        "1 ",
        "1x",
        "x",
        "0x10",
        "1.0",
        "1e3",
        "--1",
        "1-",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "99999999999999999999",
        "184467440737095516150",
        "1\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        int64_t v = 42;
        assert_false(bk_parse_i64(bk_span_str(texts[i]), &v));
        assert_int_equal(v, 42);
    }
    int64_t v = 42;
    uint64_t u = 42;
    assert_false(bk_parse_i64(bk_span_of("1\0", 2), &v));
    assert_false(bk_parse_u64(bk_span_str("18446744073709551616"), &u));
    assert_false(bk_parse_u64(bk_span_str("-1"), &u));
    assert_int_equal(u, 42);
}

/* A number of random length, so that every number of digits is drawn. */
static int64_t draw(struct rng *r)
{
    return (int64_t)(rng_next(r) >> rng_below(r, 64)) * (rng_percent(r, 50) ? 1 : -1);
}

static void test_num__what_is_written__is_read_back(void **state)
{
    (void)state;
    struct rng r = {rng_seed_from_env("TEST_SEED")};
    print_message("TEST_SEED=%" PRIu64 "\n", r.state);
    for (int i = 0; i < 100000; i++) {
        int64_t v = i == 0 ? INT64_MIN : i == 1 ? INT64_MAX : draw(&r);
        char text[24];
        char want[24];
        int64_t back = 0;
        unsigned n = bk_format_i64(text, v);
        assert_int_equal(n, snprintf(want, sizeof want, "%" PRId64, v));
        assert_memory_equal(text, want, n);
        assert_true(bk_parse_i64(bk_span_of(text, n), &back));
        assert_true(back == v);
    }
}

static void test_num__unsigned_limit__is_written(void **state)
{
    (void)state;
    char text[24];
    assert_int_equal(bk_format_u64(text, UINT64_MAX), 20);
    assert_memory_equal(text, "18446744073709551615", 20);
    assert_int_equal(bk_format_u64(text, 0), 1);
    assert_memory_equal(text, "0", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_num__canonical_integers__are_read),
        cmocka_unit_test(test_num__anything_else__is_refused_and_leaves_the_result),
        cmocka_unit_test(test_num__what_is_written__is_read_back),
        cmocka_unit_test(test_num__unsigned_limit__is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
