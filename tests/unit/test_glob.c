/* SPDX-License-Identifier: MIT */
/* Redis's glob patterns, and that no pattern takes exponential time. */
#include "base/glob.h"
#include "lib/rng.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct row {
    const char *pattern, *text;
    bool fits;
};

static void check(const struct row *rows, size_t n, bool nocase)
{
    for (size_t i = 0; i < n; i++) {
        bool fits = bk_glob(bk_span_str(rows[i].pattern), bk_span_str(rows[i].text), nocase);
        if (fits != rows[i].fits) {
            fail_msg("'%s' on '%s': %d", rows[i].pattern, rows[i].text, fits);
        }
    }
}
#define CHECK(rows, nocase) check(rows, sizeof(rows) / sizeof(rows)[0], nocase)

static void test_glob__stars_and_questions__take_any_bytes(void **state)
{
    static const struct row rows[] = {
        {"*", "a", true},
        {"a*", "a", true},
        {"a*", "abc", true},
        {"*c", "abc", true},
        {"*b", "abc", false},
        {"a*c", "abc", true},
        {"a*c", "ac", true},
        {"a**c", "abbc", true},
        {"*ab*ab*", "xabyabz", true},
        {"*ab*ab", "abab", true},
        {"*ab*ab", "abxb", false},
        {"?", "a", true},
        {"?", "ab", false},
        {"??", "ab", true},
        {"*?", "a", true},
        {"?*", "a", true},
        {"?*?", "a", false},
        {"a?c", "abc", true},
        {"h?llo*w", "hello w", true},
        {"abc", "abc", true},
        {"abc", "ab", false},
        {"ab", "abc", false},
        {"*aab", "aaaab", true},
    };
    (void)state;
    CHECK(rows, false);
}

/* Redis's loop never looks at a pattern when the text is empty: even "*" fails there. */
static void test_glob__empty_text__fits_only_an_empty_pattern(void **state)
{
    static const struct row rows[] = {
        {"", "", true}, {"*", "", false}, {"**", "", false}, {"?", "", false}, {"", "a", false},
    };
    (void)state;
    CHECK(rows, false);
}

static void test_glob__classes__have_ranges_negation_and_escapes(void **state)
{
    static const struct row rows[] = {
        {"[abc]", "b", true},    {"[abc]", "d", false},  {"[^abc]", "d", true},
        {"[^abc]", "a", false},  {"[a-c]x", "bx", true}, {"[c-a]", "b", true},
        {"[a-c]", "d", false},   {"[a\\]b]", "]", true}, {"[\\a-z]", "-", true},
        {"[\\a-z]", "b", false}, {"[]", "a", false},     {"[^]", "a", true},
        {"[a-]x]", "]", true},   {"[a-]x]", "x", true},  {"x[1-3]y", "x2y", true},
        {"[!a]", "b", false},    {"[!a]", "!", true},
    };
    (void)state;
    CHECK(rows, false);
}

static void test_glob__unclosed_class__ends_with_the_pattern(void **state)
{
    static const struct row rows[] = {
        {"[", "a", false},   {"[", "[", false},  {"[^", "a", true},  {"[ab", "b", true},
        {"[ab", "c", false}, {"[a-", "-", true}, {"[a-", "a", true}, {"[\\", "\\", true},
    };
    (void)state;
    CHECK(rows, false);
}

static void test_glob__backslash__takes_the_next_byte_as_it_is(void **state)
{
    static const struct row rows[] = {
        {"\\*", "*", true},   {"\\*", "a", false}, {"\\?a", "?a", true}, {"a\\", "a\\", true},
        {"\\\\", "\\", true}, {"\\a", "a", true},  {"*\\", "x\\", true}, {"\\[a]", "[a]", true},
    };
    (void)state;
    CHECK(rows, false);
}

static void test_glob__nocase__folds_letters(void **state)
{
    static const struct row rows[] = {
        {"MAX*", "maxmemory", true}, {"*Policy", "x-POLICY", true}, {"[A-C]", "b", true},
        {"[a-c]", "B", true},        {"[\\a]", "A", false},         {"a", "b", false},
    };
    (void)state;
    CHECK(rows, true);
    assert_false(bk_glob(bk_span_str("A"), bk_span_str("a"), false));
}

static void test_glob__nul_and_high_bytes__are_bytes_like_others(void **state)
{
    (void)state;
    assert_true(bk_glob(bk_span_of("a\0*", 3), bk_span_of("a\0xyz", 5), false));
    assert_false(bk_glob(bk_span_of("a\0b", 3), bk_span_of("a\0c", 3), false));
    assert_true(bk_glob(bk_span_of("?", 1), bk_span_of("\xff", 1), false));
    /* Ranges compare as signed bytes: 0xff is -1. */
    assert_true(bk_glob(bk_span_of("[a-\xff]", 5), bk_span_of("A", 1), false));
    assert_false(bk_glob(bk_span_of("[a-\xff]", 5), bk_span_of("b", 1), false));
}

static void test_glob__hostile_pattern__is_quick(void **state)
{
    char pattern[1024];
    char text[8192];
    int64_t begin_us = bk_clock_mono_us(&bk_clock_system);
    (void)state;
    for (size_t i = 0; i < sizeof(pattern); i++) {
        pattern[i] = i % 2 == 0 ? '*' : 'a';
    }
    pattern[sizeof(pattern) - 1] = 'b';
    memset(text, 'a', sizeof(text));
    assert_false(
        bk_glob(bk_span_of(pattern, sizeof(pattern)), bk_span_of(text, sizeof(text)), false));
    /* At most 8 million steps; an exponential matcher would not end in a lifetime. */
    assert_true(bk_clock_mono_us(&bk_clock_system) - begin_us < 30 * 1000000);
}

/* What a pattern of literals, ? and * means, in the plainest words. */
static bool plain(const char *p, const char *t)
{
    bool fits;
    if (*p == '\0') {
        fits = *t == '\0';
    } else if (*p == '*') {
        fits = plain(p + 1, t) || (*t != '\0' && plain(p, t + 1));
    } else {
        fits = *t != '\0' && (*p == '?' || *p == *t) && plain(p + 1, t + 1);
    }
    return fits;
}

static void test_glob__random_patterns__agree_with_the_definition(void **state)
{
    struct rng r = {rng_seed_from_env("GLOB_SEED")};
    unsigned fitting = 0;
    (void)state;
    print_message("GLOB_SEED=%llu\n", (unsigned long long)r.state);
    for (int i = 0; i < 200000; i++) {
        char pattern[8] = {0};
        char text[10] = {0};
        size_t p = (size_t)rng_below(&r, sizeof(pattern));
        size_t t = 1 + (size_t)rng_below(&r, sizeof(text) - 1);
        for (size_t k = 0; k < p; k++) {
            pattern[k] = "ab*?"[rng_below(&r, 4)];
        }
        for (size_t k = 0; k < t; k++) {
            text[k] = "ab"[rng_below(&r, 2)];
        }
        bool want = plain(pattern, text);
        fitting += want ? 1 : 0;
        if (bk_glob(bk_span_str(pattern), bk_span_str(text), false) != want) {
            fail_msg("'%s' on '%s': expected %d", pattern, text, want);
        }
    }
    assert_in_range(fitting, 1000, 199000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_glob__stars_and_questions__take_any_bytes),
        cmocka_unit_test(test_glob__empty_text__fits_only_an_empty_pattern),
        cmocka_unit_test(test_glob__classes__have_ranges_negation_and_escapes),
        cmocka_unit_test(test_glob__unclosed_class__ends_with_the_pattern),
        cmocka_unit_test(test_glob__backslash__takes_the_next_byte_as_it_is),
        cmocka_unit_test(test_glob__nocase__folds_letters),
        cmocka_unit_test(test_glob__nul_and_high_bytes__are_bytes_like_others),
        cmocka_unit_test(test_glob__hostile_pattern__is_quick),
        cmocka_unit_test(test_glob__random_patterns__agree_with_the_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
