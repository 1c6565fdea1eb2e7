/* SPDX-License-Identifier: MIT */
/* The longest common subsequence, beside a table of all lengths. */
#include "command/lcs.h"
#include "lib/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SEED 4711
#define LEN_MAX 40

static void make_text(struct rng *r, uint8_t *text, struct bk_span *s)
{
    size_t len = (size_t)rng_below(r, LEN_MAX + 1);
    unsigned letters = 1 + (unsigned)rng_below(r, 5);
    for (size_t i = 0; i < len; i++) {
        text[i] = (uint8_t)('a' + rng_below(r, letters));
    }
    *s = bk_span_of(text, len);
}

static unsigned length_by_table(struct bk_span a, struct bk_span b)
{
    unsigned table[LEN_MAX + 1][LEN_MAX + 1];
    memset(table, 0, sizeof(table));
    for (size_t i = 1; i <= a.len; i++) {
        for (size_t j = 1; j <= b.len; j++) {
            unsigned up = table[i - 1][j];
            unsigned left = table[i][j - 1];
            table[i][j] = a.data[i - 1] == b.data[j - 1] ? table[i - 1][j - 1] + 1
                          : up > left                    ? up
                                                         : left;
        }
    }
    return table[a.len][b.len];
}

static bool is_subsequence(const uint8_t *text, size_t len, struct bk_span of)
{
    size_t at = 0;
    for (size_t i = 0; i < of.len && at < len; i++) {
        at += of.data[i] == text[at] ? 1 : 0;
    }
    return at == len;
}

static void test_lcs__random_strings__give_a_longest_common_subsequence(void **state)
{
    struct rng r = {SEED};
    (void)state;
    for (int i = 0; i < 3000; i++) {
        uint8_t texts[2][LEN_MAX];
        uint8_t common[LEN_MAX];
        struct bk_span a;
        struct bk_span b;
        struct lcs l;
        make_text(&r, texts[0], &a);
        make_text(&r, texts[1], &b);
        assert_true(lcs_init(&l, a, b, true));
        assert_int_equal(l.len, length_by_table(a, b));
        lcs_text(&l, common);
        assert_true(is_subsequence(common, l.len, a));
        assert_true(is_subsequence(common, l.len, b));
        lcs_fini(&l);
        assert_true(lcs_init(&l, a, b, false));
        assert_int_equal(l.len, length_by_table(a, b));
        lcs_fini(&l);
    }
}

/* What the ranges must join to, filled from its end. */
struct joined {
    const struct lcs *l;
    uint8_t text[LEN_MAX];
    size_t left;
    struct lcs_range before;
    bool any;
};

static void join(void *arg, const struct lcs_range *range)
{
    struct joined *j = arg;
    size_t len = range->a_last - range->a_first + 1;
    assert_int_equal(len, range->b_last - range->b_first + 1);
    assert_memory_equal(j->l->a.data + range->a_first, j->l->b.data + range->b_first, len);
    assert_true(len <= j->left);
    if (j->any) {
        assert_true(range->a_last < j->before.a_first && range->b_last < j->before.b_first);
    }
    j->left -= len;
    memcpy(j->text + j->left, j->l->a.data + range->a_first, len);
    j->before = *range;
    j->any = true;
}

static void test_lcs__ranges__join_to_the_subsequence(void **state)
{
    struct rng r = {SEED + 1};
    (void)state;
    for (int i = 0; i < 3000; i++) {
        uint8_t texts[2][LEN_MAX];
        uint8_t common[LEN_MAX];
        struct bk_span a;
        struct bk_span b;
        struct lcs l;
        make_text(&r, texts[0], &a);
        make_text(&r, texts[1], &b);
        assert_true(lcs_init(&l, a, b, true));
        struct joined j = {.l = &l, .left = l.len};
        lcs_ranges(&l, join, &j);
        lcs_text(&l, common);
        assert_int_equal(j.left, 0);
        assert_memory_equal(j.text, common, l.len);
        lcs_fini(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lcs__random_strings__give_a_longest_common_subsequence),
        cmocka_unit_test(test_lcs__ranges__join_to_the_subsequence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
