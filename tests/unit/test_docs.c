/* SPDX-License-Identifier: MIT */
/* The tables behind COMMAND DOCS: every command has its text, and it agrees with the row. */
#include "command/docs.h"
#include "command/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct command_doc *doc_of(const struct command_row *row)
{
    const struct command_doc *doc = command_doc_find(bk_span_str(command_name(row)));
    if (doc == NULL) {
        fail_msg("no documentation of %s", command_name(row));
    }
    return doc;
}

static void each_row(void (*check)(const struct command_row *row))
{
    for (size_t i = 0; i < command_count(); i++) {
        const struct command_row *row = command_at(i);
        check(row);
        for (const struct command_row *s = row->subcommands; s != NULL && s->name != NULL; s++) {
            check(s);
        }
    }
}

static void check_texts(const struct command_row *row)
{
    const struct command_doc *doc = doc_of(row);
    assert_non_null(doc->summary);
    assert_non_null(doc->since);
    assert_non_null(doc->group);
    assert_true(strlen(doc->summary) > 0);
}

static void test_docs__every_row__has_summary_since_and_group(void **state)
{
    (void)state;
    assert_true(command_count() > 50);
    each_row(check_texts);
}

/* The row says which arguments the executor locks, the documentation which ones clients route by:
 * they must be the same. Several key specifications stand for one range of the row. */
static void check_keys(const struct command_row *row)
{
    const struct doc_key *key = doc_of(row)->keys;
    int first = 0;
    int last = 0;
    if (key != NULL) {
        first = key->index;
        assert_int_equal(key->step, row->key_step);
    }
    for (; key != NULL && key->flags != NULL; key++) {
        /* Where only options tell, the row says that they do. */
        if (key->unknown || key->keyword != NULL) {
            assert_true((row->flags & CMD_MOVABLEKEYS) != 0);
        } else {
            last = key->last < 0 ? key->last : key->index + key->last;
        }
    }
    if (first != row->first_key || last != row->last_key) {
        fail_msg("%s: keys from %d to %d in the row, %d to %d in its documentation",
                 command_name(row), row->first_key, row->last_key, first, last);
    }
}

static void test_docs__key_specifications__name_the_arguments_of_the_row(void **state)
{
    (void)state;
    each_row(check_keys);
}

static void check_arguments(const struct doc_arg *args, unsigned depth)
{
    assert_true(depth < 8);
    for (const struct doc_arg *a = args; a->name != NULL; a++) {
        bool nests = strcmp(a->type, "oneof") == 0 || strcmp(a->type, "block") == 0;
        assert_true(nests == (a->args != NULL));
        if (strcmp(a->type, "pure-token") == 0) {
            assert_non_null(a->token);
        }
        if (a->args != NULL) {
            check_arguments(a->args, depth + 1);
        }
    }
}

static void check_row_arguments(const struct command_row *row)
{
    const struct command_doc *doc = doc_of(row);
    if (doc->args != NULL) {
        check_arguments(doc->args, 0);
    }
}

static void test_docs__arguments__nest_where_their_type_says_so(void **state)
{
    (void)state;
    each_row(check_row_arguments);
}

static void test_docs__names__are_found_in_any_case_and_only_whole(void **state)
{
    (void)state;
    const struct command_doc *get = command_doc_find(bk_span_str("GeT"));
    assert_non_null(get);
    assert_string_equal(get->name, "get");
    assert_string_equal(command_doc_find(bk_span_str("client|setinfo"))->since, "7.2.0");
    assert_null(command_doc_find(bk_span_str("ge")));
    assert_null(command_doc_find(bk_span_str("gett")));
    assert_null(command_doc_find(bk_span_str("")));
    assert_null(command_doc_find(bk_span_of("get\0", 4)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_docs__every_row__has_summary_since_and_group),
        cmocka_unit_test(test_docs__key_specifications__name_the_arguments_of_the_row),
        cmocka_unit_test(test_docs__arguments__nest_where_their_type_says_so),
        cmocka_unit_test(test_docs__names__are_found_in_any_case_and_only_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
