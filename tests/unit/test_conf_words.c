/* SPDX-License-Identifier: MIT */
/* A line of a configuration file to words, with Redis's quotes. */
#include "app/conf_words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct row {
    const char *line;
    int argc; /* -1: unbalanced */
    const char *argv[4];
};

static void test_conf_words__lines__are_split_as_redis_splits_them(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"", 0, {0}},
        {"  \t ", 0, {0}},
        {"port 6379", 2, {"port", "6379"}},
        {"  port\t6379  ", 2, {"port", "6379"}},
        {"save \"\"", 2, {"save", ""}},
        {"a 'b c' \"d e\"", 3, {"a", "b c", "d e"}},
        {"a\"b c\"", 1, {"ab c"}},
        {"\"a\"b", -1, {0}},
        {"'a'b", -1, {0}},
        {"\"abc", -1, {0}},
        {"'abc", -1, {0}},
        {"\"a\\\"b\"", 1, {"a\"b"}},
        {"'a\\'b\\n'", 1, {"a'b\\n"}},
        {"\"\\n\\r\\t\\b\\a\\\\\\q\"", 1, {"\n\r\t\b\a\\q"}},
        {"\"\\x41\\x5A\\xzz\\x4\"", 1, {"AZxzzx4"}},
        {"\"a\\", -1, {0}},
        {"a\\nb", 1, {"a\\nb"}},
        {"a#b #c", 2, {"a#b", "#c"}},
    };
    struct conf_words w = {0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        enum conf_words_result rc = conf_words_split(&w, bk_span_str(rows[i].line));
        assert_int_equal(rc, rows[i].argc < 0 ? CONF_WORDS_UNBALANCED : CONF_WORDS_OK);
        for (int k = 0; k < rows[i].argc; k++) {
            assert_int_equal(w.argc, rows[i].argc);
            assert_true(bk_span_eq(w.argv[k], bk_span_str(rows[i].argv[k])));
        }
    }
    conf_words_fini(&w);
}

static void test_conf_words__nul_byte__ends_the_line(void **state)
{
    (void)state;
    struct conf_words w = {0};
    assert_int_equal(conf_words_split(&w, bk_span_of("a b\0c d", 7)), CONF_WORDS_OK);
    assert_int_equal(w.argc, 2);
    assert_int_equal(conf_words_split(&w, bk_span_str("\"\\x00\"")), CONF_WORDS_OK);
    assert_true(bk_span_eq(w.argv[0], bk_span_of("", 1)));
    conf_words_fini(&w);
}

static void test_conf_words__more_words_than_allowed__are_refused(void **state)
{
    (void)state;
    struct bk_buf line = {0};
    struct conf_words w = {0};
    for (unsigned i = 0; i < OPTION_WORDS_MAX; i++) {
        bk_buf_printf(&line, "%u ", i);
    }
    assert_int_equal(conf_words_split(&w, bk_buf_span(&line)), CONF_WORDS_OK);
    assert_int_equal(w.argc, OPTION_WORDS_MAX);
    bk_buf_printf(&line, "more");
    assert_int_equal(conf_words_split(&w, bk_buf_span(&line)), CONF_WORDS_TOO_MANY);
    conf_words_fini(&w);
    bk_buf_fini(&line);
}

static void test_conf_words__what_option_quote_writes__is_read_back(void **state)
{
    (void)state;
    uint8_t bytes[256];
    for (int i = 0; i < 256; i++) {
        bytes[i] = (uint8_t)i;
    }
    struct bk_buf line = {0};
    struct conf_words w = {0};
    option_quote(&line, bk_span_of(bytes, sizeof bytes));
    assert_int_equal(conf_words_split(&w, bk_buf_span(&line)), CONF_WORDS_OK);
    assert_int_equal(w.argc, 1);
    assert_true(bk_span_eq(w.argv[0], bk_span_of(bytes, sizeof bytes)));
    conf_words_fini(&w);
    bk_buf_fini(&line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conf_words__lines__are_split_as_redis_splits_them),
        cmocka_unit_test(test_conf_words__nul_byte__ends_the_line),
        cmocka_unit_test(test_conf_words__more_words_than_allowed__are_refused),
        cmocka_unit_test(test_conf_words__what_option_quote_writes__is_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
