/* SPDX-License-Identifier: MIT */
/* Arguments to values: words, numbers, expiries, and the error replies of Redis. */
#include "command/args.h"
#include "command/table.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct bk_buf out;
    struct resp_writer reply;
    struct command_ctx c;
};

static int setup(void **state)
{
    struct fixture *f = bk_alloc_zero(1, sizeof(*f));
    f->reply = (struct resp_writer){.out = &f->out, .proto = 2};
    f->c.reply = &f->reply;
    f->c.row = command_find(bk_span_str("set"));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    bk_buf_fini(&f->out);
    free(f);
    return 0;
}

static void wrote(struct fixture *f, const char *want)
{
    bk_buf_append(&f->out, "", 1);
    assert_string_equal((char *)f->out.data, want);
    f->out.len = 0;
}

static void test_args__words__match_in_any_case_up_to_a_nul(void **state)
{
    (void)state;
    assert_true(arg_is(bk_span_str("ex"), "ex"));
    assert_true(arg_is(bk_span_str("eX"), "ex"));
    assert_true(arg_is(bk_span_of("EX\0tra", 6), "ex"));
    assert_false(arg_is(bk_span_str("exx"), "ex"));
    assert_false(arg_is(bk_span_str("e"), "ex"));
    assert_false(arg_is(bk_span_str(""), "ex"));
    assert_false(arg_is(bk_span_of(NULL, 0), "ex"));
}

static void test_args__integer__is_canonical_or_an_error(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {
        "", " 1", "1 ", "+1", "01", "1.0", "x", "9223372036854775808", "-0"};
    int64_t n = 7;
    assert_true(arg_i64(&f->c, bk_span_str("-9223372036854775808"), &n));
    assert_true(n == INT64_MIN);
    wrote(f, "");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(arg_i64(&f->c, bk_span_str(bad[i]), &n));
        wrote(f, "-ERR value is not an integer or out of range\r\n");
    }
    assert_true(n == INT64_MIN);
}

static void test_args__long_double__takes_what_strtold_takes_whole(void **state)
{
    static const char *const bad[] = {"",   " 1",     "1 ",      "nan",    "abc",
                                      "1e", "1e5000", "-1e5000", "1e-5000"};
    char longest[6000];
    long double v = 0;
    (void)state;
    assert_true(arg_parse_long_double(bk_span_str("-2.5e3"), &v) && v == -2500);
    assert_true(arg_parse_long_double(bk_span_str("0x10"), &v) && v == 16);
    assert_true(arg_parse_long_double(bk_span_str("inf"), &v) && isinf(v));
    assert_true(arg_parse_long_double(bk_span_str("1e4932"), &v) && isfinite(v));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(arg_parse_long_double(bk_span_str(bad[i]), &v));
    }
    assert_false(arg_parse_long_double(bk_span_of("1\0", 2), &v));
    memset(longest, '1', sizeof(longest));
    assert_false(arg_parse_long_double(bk_span_of(longest, sizeof(longest)), &v));
}

static void test_args__expiry__is_absolute_positive_and_does_not_overflow(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {"0", "-1", "9223372036854775807", "9223372036854775"};
    int64_t ms = 0;
    assert_true(arg_expiry(&f->c, bk_span_str("10"), UNIT_SECONDS, 500, &ms) && ms == 10500);
    assert_true(arg_expiry(&f->c, bk_span_str("10"), UNIT_MS, 0, &ms) && ms == 10);
    assert_true(arg_expiry(&f->c, bk_span_str("9223372036854775"), UNIT_SECONDS, 0, &ms));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(arg_expiry(&f->c, bk_span_str(bad[i]), UNIT_SECONDS, 1000, &ms));
        wrote(f, "-ERR invalid expire time in 'set' command\r\n");
    }
    assert_false(arg_expiry(&f->c, bk_span_str("ten"), UNIT_SECONDS, 1000, &ms));
    wrote(f, "-ERR value is not an integer or out of range\r\n");
    assert_true(ms == 9223372036854775000);
}

static void test_table__names__are_found_in_any_case_and_only_whole(void **state)
{
    const struct command_row *get = command_find(bk_span_str("get"));
    (void)state;
    assert_non_null(get);
    assert_ptr_equal(command_find(bk_span_str("GeT")), get);
    assert_string_equal(command_name(get), "get");
    assert_null(command_find(bk_span_str("ge")));
    assert_null(command_find(bk_span_str("gett")));
    assert_null(command_find(bk_span_of("get\0", 4)));
    assert_null(command_find(bk_span_str("")));
    assert_null(command_find(bk_span_str("a-name-that-is-longer-than-any-command-could-be")));
}

static void test_table__every_row__is_found_under_its_own_name(void **state)
{
    size_t n = command_count();
    (void)state;
    assert_true(n >= 50);
    for (size_t i = 0; i < n; i++) {
        const struct command_row *row = command_at(i);
        assert_ptr_equal(command_find(bk_span_str(row->name)), row);
        assert_true(row->arity != 0);
        assert_true(row->run != NULL || row->subcommands != NULL);
        for (const struct command_row *sub = row->subcommands; sub != NULL && sub->name != NULL;
             sub++) {
            char full[64];
            snprintf(full, sizeof(full), "%s|%s", row->name, sub->name);
            assert_ptr_equal(command_find_sub(row, bk_span_str(sub->name)), sub);
            assert_string_equal(command_name(sub), full);
        }
    }
}

/* A row that writes data must name its keys or take all, or the locks would not cover it. */
static void test_table__writing_rows__name_what_they_lock(void **state)
{
    (void)state;
    for (size_t i = 0; i < command_count(); i++) {
        const struct command_row *row = command_at(i);
        if ((row->flags & CMD_WRITE) != 0) {
            assert_true(row->first_key > 0 || (row->flags & CMD_ALL_KEYS) != 0);
            assert_true((row->flags & CMD_NO_STORE) == 0);
        }
        if (row->first_key > 0) {
            assert_true(row->key_step > 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_args__words__match_in_any_case_up_to_a_nul),
        cmocka_unit_test_setup_teardown(test_args__integer__is_canonical_or_an_error, setup,
                                        teardown),
        cmocka_unit_test(test_args__long_double__takes_what_strtold_takes_whole),
        cmocka_unit_test_setup_teardown(
            test_args__expiry__is_absolute_positive_and_does_not_overflow, setup, teardown),
        cmocka_unit_test(test_table__names__are_found_in_any_case_and_only_whole),
        cmocka_unit_test(test_table__every_row__is_found_under_its_own_name),
        cmocka_unit_test(test_table__writing_rows__name_what_they_lock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
