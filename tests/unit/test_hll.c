/* SPDX-License-Identifier: MIT */
/* HyperLogLogs: the two encodings agree, the bytes are Redis's, and no bytes are too strange. */
#include "command/hll.h"
#include "lib/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SEED 161803
#define SPARSE_MAX 3000

static void add_number(struct bk_buf *h, uint64_t n, uint64_t sparse_max)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "e%llu", (unsigned long long)n);
    assert_true(hll_add(h, bk_span_of(text, (size_t)len), sparse_max) != HLL_CORRUPT);
}

static uint64_t count_of(const struct bk_buf *h)
{
    uint64_t count = 0;
    assert_true(hll_count(bk_buf_span(h), &count));
    return count;
}

static void decodes_to(const struct bk_buf *h, const char *want)
{
    struct bk_buf text = {0};
    hll_decode(bk_buf_span(h), &text);
    assert_int_equal(text.len, strlen(want));
    assert_memory_equal(text.data, want, text.len);
    bk_buf_fini(&text);
}

static void test_hll__a_new_one__is_redis_s_empty_value(void **state)
{
    static const uint8_t want[] = "HYLL\1\0\0\0\0\0\0\0\0\0\0\0\x7f\xff";
    struct bk_buf h = {0};
    (void)state;
    hll_new(&h);
    assert_int_equal(h.len, 18);
    assert_memory_equal(h.data, want, h.len);
    assert_true(hll_valid(bk_buf_span(&h)));
    assert_int_equal(count_of(&h), 0);
    bk_buf_fini(&h);
}

/* What Redis 7.0.15 itself answers to PFDEBUG DECODE after PFADD of these. */
static void test_hll__elements__hash_as_in_redis(void **state)
{
    struct bk_buf h = {0};
    (void)state;
    hll_new(&h);
    assert_int_equal(hll_add(&h, bk_span_str("a"), SPARSE_MAX), HLL_CHANGED);
    decodes_to(&h, "Z:12711 v:2,1 Z:3672");
    assert_int_equal(hll_add(&h, bk_span_str("abcdefgh"), SPARSE_MAX), HLL_CHANGED);
    assert_int_equal(hll_add(&h, bk_span_str("abcdefghijklmno"), SPARSE_MAX), HLL_CHANGED);
    assert_int_equal(hll_add(&h, bk_span_str(""), SPARSE_MAX), HLL_CHANGED);
    decodes_to(&h, "Z:1383 v:1,1 Z:4554 v:2,1 Z:6438 v:4,1 Z:333 v:2,1 Z:3672");
    assert_int_equal(hll_add(&h, bk_span_str("a"), SPARSE_MAX), HLL_SAME);
    bk_buf_fini(&h);
}

/* Neighbours of one value, up to four of them, are one operation. */
static void test_hll__registers_raised__split_and_join_operations(void **state)
{
    struct bk_buf h = {0};
    (void)state;
    hll_new(&h);
    assert_int_equal(hll_raise(&h, 100, 3, SPARSE_MAX), HLL_CHANGED);
    decodes_to(&h, "Z:100 v:3,1 Z:16283");
    assert_int_equal(hll_raise(&h, 102, 3, SPARSE_MAX), HLL_CHANGED);
    decodes_to(&h, "Z:100 v:3,1 z:1 v:3,1 Z:16281");
    assert_int_equal(hll_raise(&h, 101, 3, SPARSE_MAX), HLL_CHANGED);
    decodes_to(&h, "Z:100 v:3,3 Z:16281");
    assert_int_equal(hll_raise(&h, 101, 4, SPARSE_MAX), HLL_CHANGED);
    decodes_to(&h, "Z:100 v:3,1 v:4,1 v:3,1 Z:16281");
    assert_int_equal(hll_raise(&h, 101, 2, SPARSE_MAX), HLL_SAME);
    assert_int_equal(hll_raise(&h, 0, 1, SPARSE_MAX), HLL_CHANGED);
    assert_int_equal(hll_raise(&h, HLL_REGISTERS - 1, 32, SPARSE_MAX), HLL_CHANGED);
    decodes_to(&h, "v:1,1 Z:99 v:3,1 v:4,1 v:3,1 Z:16280 v:32,1");
    bk_buf_fini(&h);
}

static void test_hll__a_value_or_size_too_large__makes_it_dense(void **state)
{
    struct bk_buf h = {0};
    (void)state;
    hll_new(&h);
    assert_int_equal(hll_raise(&h, 5, 33, SPARSE_MAX), HLL_CHANGED);
    assert_int_equal(hll_encoding(bk_buf_span(&h)), HLL_DENSE);
    assert_int_equal(h.len, HLL_DENSE_LEN);
    h.len = 0;
    hll_new(&h);
    assert_int_equal(hll_raise(&h, 5, 1, 20), HLL_CHANGED);
    assert_int_equal(h.len, 20); /* a short run, the value, a long run */
    assert_int_equal(hll_encoding(bk_buf_span(&h)), HLL_SPARSE);
    assert_int_equal(hll_raise(&h, 7, 1, 21), HLL_CHANGED);
    assert_int_equal(hll_encoding(bk_buf_span(&h)), HLL_DENSE);
    bk_buf_fini(&h);
}

static void test_hll__sparse_and_dense__agree_whatever_is_added(void **state)
{
    struct rng r = {SEED};
    (void)state;
    for (int round = 0; round < 60; round++) {
        uint8_t merged[2][HLL_REGISTERS] = {{0}};
        struct bk_buf sparse = {0};
        struct bk_buf dense = {0};
        unsigned n = (unsigned)rng_below(&r, 1200);
        hll_new(&sparse);
        hll_new(&dense);
        assert_true(hll_to_dense(&dense));
        for (unsigned i = 0; i < n; i++) {
            uint64_t element = rng_below(&r, 2000);
            add_number(&sparse, element, UINT64_MAX);
            add_number(&dense, element, UINT64_MAX);
        }
        assert_int_equal(hll_encoding(bk_buf_span(&sparse)), HLL_SPARSE);
        assert_int_equal(count_of(&sparse), count_of(&dense));
        assert_true(hll_merge(bk_buf_span(&sparse), merged[0]));
        assert_true(hll_merge(bk_buf_span(&dense), merged[1]));
        assert_memory_equal(merged[0], merged[1], HLL_REGISTERS);
        assert_int_equal(hll_count_registers(merged[0]), count_of(&dense));
        assert_true(hll_to_dense(&sparse));
        hll_forget(dense.data);
        hll_forget(sparse.data);
        assert_int_equal(sparse.len, dense.len);
        assert_memory_equal(sparse.data, dense.data, dense.len);
        bk_buf_fini(&sparse);
        bk_buf_fini(&dense);
    }
}

static void test_hll__many_elements__are_counted_within_three_in_a_hundred(void **state)
{
    struct bk_buf h = {0};
    uint64_t n = 0;
    (void)state;
    hll_new(&h);
    for (uint64_t goal = 10; goal <= 1000000; goal *= 10) {
        for (; n < goal; n++) {
            add_number(&h, n, SPARSE_MAX);
        }
        double error = ((double)count_of(&h) - (double)n) / (double)n;
        assert_true(error < 0.03 && error > -0.03);
    }
    bk_buf_fini(&h);
}

static void test_hll__the_cached_count__is_told_until_it_is_forgotten(void **state)
{
    struct bk_buf h = {0};
    uint64_t count = 7;
    (void)state;
    hll_new(&h);
    assert_true(hll_cached(bk_buf_span(&h), &count));
    assert_int_equal(count, 0);
    add_number(&h, 1, SPARSE_MAX);
    assert_false(hll_cached(bk_buf_span(&h), &count));
    hll_cache(h.data, 0x0102030405060708u);
    assert_true(hll_cached(bk_buf_span(&h), &count));
    assert_int_equal(count, 0x0102030405060708u);
    assert_int_equal(h.data[8], 8);
    hll_forget(h.data);
    assert_false(hll_cached(bk_buf_span(&h), &count));
    bk_buf_fini(&h);
}

static void test_hll__headers_that_are_none__are_not_valid(void **state)
{
    struct bk_buf h = {0};
    (void)state;
    hll_new(&h);
    assert_true(hll_valid(bk_span_of(h.data, HLL_HEADER)));
    assert_false(hll_valid(bk_span_of(h.data, HLL_HEADER - 1)));
    assert_false(hll_valid(bk_span_of(NULL, 0)));
    h.data[4] = HLL_DENSE;
    assert_false(hll_valid(bk_buf_span(&h)));
    h.data[4] = 2;
    assert_false(hll_valid(bk_buf_span(&h)));
    h.data[4] = HLL_SPARSE;
    h.data[3] = 'l';
    assert_false(hll_valid(bk_buf_span(&h)));
    bk_buf_fini(&h);
}

/* Registers that are not 16,384, by operations behind "HYLL" and the header. */
static void test_hll__wrong_numbers_of_registers__are_corrupt(void **state)
{
    static const struct {
        const char *ops;
        size_t len;
        bool good;
    } rows[] = {
        {"", 0, false},
        {"\x7f\xff", 2, true},
        {"\x7f\xfe", 2, false},
        {"\x7f\xfe\x80", 3, true},
        {"\x7f\xff\x3f", 3, false},
        {"\x7f\xff\x80", 3, false},
        {"\x7f\xfe\x81", 3, false},
        {"\x7f\xff\x7f\xff", 4, false},
        /* An operation cut in the middle: its second byte is read as 0. */
        {"\x40\xfe\x7f", 3, true},
        {"\x7f", 1, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t registers[HLL_REGISTERS] = {0};
        struct bk_buf h = {0};
        uint64_t count;
        hll_new(&h);
        h.len = HLL_HEADER;
        bk_buf_append(&h, rows[i].ops, rows[i].len);
        assert_int_equal(hll_count(bk_buf_span(&h), &count), rows[i].good);
        assert_int_equal(hll_merge(bk_buf_span(&h), registers), rows[i].good);
        assert_int_equal(hll_to_dense(&h), rows[i].good);
        bk_buf_fini(&h);
    }
}

static void test_hll__a_register_that_nothing_covers__is_corrupt(void **state)
{
    struct bk_buf h = {0};
    (void)state;
    hll_new(&h);
    h.len = HLL_HEADER;
    assert_int_equal(hll_raise(&h, 0, 1, SPARSE_MAX), HLL_CORRUPT);
    bk_buf_append(&h, "\x01\x7f", 2);
    assert_int_equal(hll_raise(&h, 0, 1, SPARSE_MAX), HLL_CHANGED);
    assert_int_equal(hll_raise(&h, 2, 1, SPARSE_MAX), HLL_CORRUPT); /* by half an operation */
    assert_int_equal(hll_raise(&h, 0, 33, SPARSE_MAX), HLL_CORRUPT);
    assert_int_equal(hll_raise(&h, HLL_REGISTERS - 1, 1, SPARSE_MAX), HLL_CORRUPT);
    bk_buf_fini(&h);
}

static void test_hll__registers_all_at_the_top__count_as_redis_does(void **state)
{
    struct bk_buf h = {0};
    (void)state;
    hll_new(&h);
    assert_true(hll_to_dense(&h));
    memset(h.data + HLL_HEADER, 0xff, h.len - HLL_HEADER);
    assert_int_equal(count_of(&h), (uint64_t)1 << 63);
    bk_buf_fini(&h);
}

static void test_hll__self_test__passes(void **state)
{
    struct bk_buf why = {0};
    (void)state;
    assert_true(hll_self_test(SPARSE_MAX, &why));
    assert_int_equal(why.len, 0);
    assert_false(hll_self_test(18, &why)); /* no sparse value has room for nine elements */
    bk_buf_fini(&why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hll__a_new_one__is_redis_s_empty_value),
        cmocka_unit_test(test_hll__elements__hash_as_in_redis),
        cmocka_unit_test(test_hll__registers_raised__split_and_join_operations),
        cmocka_unit_test(test_hll__a_value_or_size_too_large__makes_it_dense),
        cmocka_unit_test(test_hll__sparse_and_dense__agree_whatever_is_added),
        cmocka_unit_test(test_hll__many_elements__are_counted_within_three_in_a_hundred),
        cmocka_unit_test(test_hll__the_cached_count__is_told_until_it_is_forgotten),
        cmocka_unit_test(test_hll__headers_that_are_none__are_not_valid),
        cmocka_unit_test(test_hll__wrong_numbers_of_registers__are_corrupt),
        cmocka_unit_test(test_hll__a_register_that_nothing_covers__is_corrupt),
        cmocka_unit_test(test_hll__registers_all_at_the_top__count_as_redis_does),
        cmocka_unit_test(test_hll__self_test__passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
