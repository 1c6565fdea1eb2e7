/* SPDX-License-Identifier: MIT */
/* Bits of strings, beside the same worked out bit by bit; and numbers that a field cannot hold. */
#include "command/bits.h"
#include "lib/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SEED 20260
#define ROUNDS 4000
#define BYTES_MAX 60

/* A string at any alignment, of runs of zeros and ones with noise between. */
struct text {
    uint8_t room[BYTES_MAX + 8];
    struct bk_span s;
};

static void make_text(struct rng *r, struct text *t)
{
    uint8_t *at = t->room + rng_below(r, 8);
    size_t len = 1 + (size_t)rng_below(r, BYTES_MAX);
    for (size_t i = 0; i < len;) {
        size_t run = 1 + (size_t)rng_below(r, 20);
        unsigned kind = (unsigned)rng_below(r, 3);
        for (; run > 0 && i < len; run--, i++) {
            at[i] = (uint8_t)(kind == 0 ? 0 : kind == 1 ? 0xff : rng_next(r));
        }
    }
    t->s = bk_span_of(at, len);
}

static void make_range(struct rng *r, struct bk_span s, uint64_t *first, uint64_t *last)
{
    *first = rng_below(r, s.len * 8);
    *last = *first + rng_below(r, s.len * 8 - *first);
}

static int bit_at(struct bk_span s, uint64_t i)
{
    return i / 8 < s.len ? s.data[i / 8] >> (7 - i % 8) & 1 : 0;
}

static void test_bits__any_range__is_counted_as_bit_by_bit(void **state)
{
    struct rng r = {SEED};
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        struct text t;
        uint64_t first;
        uint64_t last;
        uint64_t want = 0;
        make_text(&r, &t);
        make_range(&r, t.s, &first, &last);
        for (uint64_t b = first; b <= last; b++) {
            want += (uint64_t)bit_at(t.s, b);
        }
        assert_int_equal(bits_count(t.s, first, last), want);
    }
}

static void test_bits__any_range__is_searched_as_bit_by_bit(void **state)
{
    struct rng r = {SEED + 1};
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        struct text t;
        uint64_t first;
        uint64_t last;
        int set = (int)rng_below(&r, 2);
        int64_t want = -1;
        make_text(&r, &t);
        make_range(&r, t.s, &first, &last);
        for (uint64_t b = first; b <= last && want == -1; b++) {
            want = bit_at(t.s, b) == set ? (int64_t)b : -1;
        }
        assert_int_equal(bits_find(t.s, first, last, set == 1), want);
    }
}

static unsigned combine(enum bits_op op, unsigned a, unsigned b)
{
    return op == BITS_AND ? a & b : op == BITS_OR ? a | b : a ^ b;
}

static void test_bits__strings_of_any_lengths__combine_byte_by_byte(void **state)
{
    struct rng r = {SEED + 2};
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        struct text t[4];
        struct bk_span src[4];
        uint8_t out[BYTES_MAX];
        enum bits_op op = (enum bits_op)rng_below(&r, 4);
        size_t n = op == BITS_NOT ? 1 : 1 + (size_t)rng_below(&r, 4);
        size_t len = 0;
        for (size_t k = 0; k < n; k++) {
            make_text(&r, &t[k]);
            src[k] = rng_percent(&r, 10) ? bk_span_of(NULL, 0) : t[k].s;
            len = src[k].len > len ? src[k].len : len;
        }
        bits_combine(op, out, len, src, n);
        for (size_t at = 0; at < len; at++) {
            unsigned want = at < src[0].len ? src[0].data[at] : 0;
            want = op == BITS_NOT ? ~want & 0xff : want;
            for (size_t k = 1; k < n; k++) {
                want = combine(op, want, at < src[k].len ? src[k].data[at] : 0);
            }
            assert_int_equal(out[at], want);
        }
    }
}

static struct bits_type any_type(struct rng *r)
{
    bool has_sign = rng_percent(r, 50);
    return (struct bits_type){has_sign, 1 + (unsigned)rng_below(r, has_sign ? 64 : 63)};
}

static void test_bits__fields__read_bit_by_bit_and_zeros_behind_the_end(void **state)
{
    struct rng r = {SEED + 3};
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        struct text t;
        struct bits_type type = any_type(&r);
        uint64_t want = 0;
        make_text(&r, &t);
        uint64_t offset = rng_below(&r, t.s.len * 8 + 100);
        for (unsigned b = 0; b < type.bits; b++) {
            want = want << 1 | (uint64_t)bit_at(t.s, offset + b);
        }
        if (type.has_sign && type.bits < 64 && (want >> (type.bits - 1) & 1) != 0) {
            want |= UINT64_MAX << type.bits;
        }
        assert_int_equal((uint64_t)bits_get(t.s, offset, &type), want);
    }
}

static void test_bits__a_field_written__reads_back_and_leaves_its_neighbours(void **state)
{
    struct rng r = {SEED + 4};
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        uint8_t before[24];
        uint8_t after[24];
        struct bits_type type = any_type(&r);
        uint64_t offset = rng_below(&r, sizeof(after) * 8 - type.bits + 1);
        int64_t value = (int64_t)rng_next(&r);
        int64_t kept = 0;
        rng_fill(&r, before, sizeof(before));
        memcpy(after, before, sizeof(after));
        bits_set(after, offset, &type, value);
        assert_true(bits_add(&type, BITS_WRAP, value, 0, &kept));
        assert_int_equal(bits_get(bk_span_of(after, sizeof(after)), offset, &type), kept);
        for (uint64_t b = 0; b < sizeof(after) * 8; b++) {
            if (b < offset || b >= offset + type.bits) {
                assert_int_equal(bit_at(bk_span_of(after, sizeof(after)), b),
                                 bit_at(bk_span_of(before, sizeof(before)), b));
            }
        }
    }
}

/* A sum that is too large or too small, in all three ways. */
struct row {
    struct bits_type type;
    int64_t value, add;
    int64_t wrapped, saturated;
};

static const struct row overflows[] = {
    {{false, 8}, 255, 1, 0, 255},
    {{false, 8}, 250, 1000, 226, 255},
    {{false, 8}, 0, -1, 255, 0},
    {{false, 8}, 10, INT64_MIN, 10, 0},
    {{false, 8}, -1, 0, 255, 255},
    {{false, 1}, 1, 1, 0, 1},
    {{false, 63}, INT64_MAX, 1, 0, INT64_MAX},
    {{false, 63}, 0, -1, INT64_MAX, 0},
    {{true, 8}, 127, 1, -128, 127},
    {{true, 8}, -128, -1, 127, -128},
    {{true, 8}, 100, 100, -56, 127},
    {{true, 8}, 200, 0, -56, 127},
    {{true, 8}, -200, 0, 56, -128},
    {{true, 1}, -1, -1, 0, -1},
    {{true, 1}, 0, 1, -1, 0},
    {{true, 64}, INT64_MAX, 1, INT64_MIN, INT64_MAX},
    {{true, 64}, INT64_MIN, -1, INT64_MAX, INT64_MIN},
    {{true, 63}, INT64_MAX / 2, 1, -(INT64_MAX / 2) - 1, INT64_MAX / 2},
    /* Redis's own arithmetic runs over here: the highest value, not the lowest. */
    {{true, 8}, INT64_MIN, 0, 0, 127},
    {{true, 63}, INT64_MIN, 0, 0, INT64_MAX / 2},
};

static void test_bits__what_a_field_cannot_hold__wraps_saturates_or_fails(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(overflows) / sizeof(overflows[0]); i++) {
        const struct row *row = &overflows[i];
        int64_t sum = 77;
        assert_false(bits_add(&row->type, BITS_FAIL, row->value, row->add, &sum));
        assert_int_equal(sum, 77);
        assert_true(bits_add(&row->type, BITS_WRAP, row->value, row->add, &sum));
        assert_int_equal(sum, row->wrapped);
        assert_true(bits_add(&row->type, BITS_SATURATE, row->value, row->add, &sum));
        assert_int_equal(sum, row->saturated);
    }
}

static void test_bits__what_a_field_can_hold__is_the_same_in_every_way(void **state)
{
    static const struct row sums[] = {
        {{false, 8}, 254, 1, 255, 255},
        {{false, 8}, 1, -1, 0, 0},
        {{false, 63}, INT64_MAX, 0, INT64_MAX, INT64_MAX},
        {{true, 8}, 126, 1, 127, 127},
        {{true, 8}, -127, -1, -128, -128},
        {{true, 64}, INT64_MIN, INT64_MAX, -1, -1},
        {{true, 64}, INT64_MIN, 0, INT64_MIN, INT64_MIN},
        {{true, 64}, -1, INT64_MIN + 1, INT64_MIN, INT64_MIN},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(sums) / sizeof(sums[0]); i++) {
        const struct row *row = &sums[i];
        for (int how = BITS_WRAP; how <= BITS_FAIL; how++) {
            int64_t sum = 77;
            assert_true(bits_add(&row->type, (enum bits_overflow)how, row->value, row->add, &sum));
            assert_int_equal(sum, row->wrapped);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits__any_range__is_counted_as_bit_by_bit),
        cmocka_unit_test(test_bits__any_range__is_searched_as_bit_by_bit),
        cmocka_unit_test(test_bits__strings_of_any_lengths__combine_byte_by_byte),
        cmocka_unit_test(test_bits__fields__read_bit_by_bit_and_zeros_behind_the_end),
        cmocka_unit_test(test_bits__a_field_written__reads_back_and_leaves_its_neighbours),
        cmocka_unit_test(test_bits__what_a_field_cannot_hold__wraps_saturates_or_fails),
        cmocka_unit_test(test_bits__what_a_field_can_hold__is_the_same_in_every_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
