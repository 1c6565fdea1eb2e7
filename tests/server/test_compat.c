/* SPDX-License-Identifier: MIT */
/*
 * redis-compat.md against the server: every command and option that the server knows has its row,
 * and every row is true of the server. Run from the top of the repository.
 */
#include "app/option.h"
#include "base/buf.h"
#include "lib/respc.h"
#include "lib/server.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PAGE "redis-compat.md"
#define ROWS_MAX 1024
#define CELL_MAX 256

struct row {
    char name[CELL_MAX]; /* of a command: as COMMAND LIST names it, "client|list" */
    char state[CELL_MAX];
};

struct table {
    struct row rows[ROWS_MAX];
    size_t n;
};

struct fixture {
    struct server server;
    struct respc *client;
    struct table commands, options;
};

/* ---- The page ---- */

/* The cell behind *at, without the spaces around it; *at moves to the bar that ends it. */
static bool next_cell(const char **at, char cell[CELL_MAX])
{
    const char *from = *at + 1;
    const char *bar = **at == '|' ? strchr(from, '|') : NULL;
    size_t len;
    if (bar == NULL) {
        return false;
    }
    while (from < bar && *from == ' ') {
        from++;
    }
    len = (size_t)(bar - from);
    while (len > 0 && from[len - 1] == ' ') {
        len--;
    }
    len = len < CELL_MAX ? len : CELL_MAX - 1;
    memcpy(cell, from, len);
    cell[len] = '\0';
    *at = bar;
    return true;
}

static bool one_of(const char *text, const char *const *words)
{
    bool found = false;
    for (size_t i = 0; words[i] != NULL && !found; i++) {
        found = strcmp(text, words[i]) == 0;
    }
    return found;
}

/* "CLIENT LIST" -> "client|list" */
static void command_form(char *name)
{
    for (char *p = name; *p != '\0'; p++) {
        *p = *p == ' ' ? '|' : (char)tolower((unsigned char)*p);
    }
}

static void take_line(struct table *t, const char *line, const char *const *states)
{
    const char *at = line;
    char third[CELL_MAX];
    struct row *row = &t->rows[t->n];
    bool whole = next_cell(&at, row->name) && next_cell(&at, row->state) && next_cell(&at, third);
    bool head = whole && (strcmp(row->state, "state") == 0 || row->state[0] == '-');
    if (line[0] != '|' || head) {
        return;
    }
    if (!whole || !one_of(row->state, states)) {
        fail_msg("%s: no row of three cells with a known state: %s", PAGE, line);
    }
    t->n++;
    assert_true(t->n < ROWS_MAX);
}

static void read_page(struct fixture *f)
{
    static const char *const command_states[] = {"works", "differs", "not there", "own", NULL};
    static const char *const option_states[] = {"works", "differs", "no effect", "own", NULL};
    FILE *page = fopen(PAGE, "r");
    char *line = NULL;
    size_t size = 0;
    struct table *into = NULL;
    if (page == NULL) {
        fail_msg("%s cannot be read: run this from the top of the repository", PAGE);
    }
    while (getline(&line, &size, page) >= 0) {
        if (strncmp(line, "## ", 3) == 0) {
            into = strcmp(line, "## Commands\n") == 0  ? &f->commands
                   : strcmp(line, "## Options\n") == 0 ? &f->options
                                                       : NULL;
        } else if (into != NULL) {
            take_line(into, line, into == &f->commands ? command_states : option_states);
        }
    }
    free(line);
    assert_int_equal(fclose(page), 0);
    for (size_t i = 0; i < f->commands.n; i++) {
        command_form(f->commands.rows[i].name);
    }
}

static const struct row *find_row(const struct table *t, const char *name)
{
    const struct row *found = NULL;
    for (size_t i = 0; i < t->n; i++) {
        if (strcmp(t->rows[i].name, name) == 0) {
            if (found != NULL) {
                fail_msg("%s has two rows of %s", PAGE, name);
            }
            found = &t->rows[i];
        }
    }
    return found;
}

/* ---- The server ---- */

static bool lists(const struct reply *names, const char *name)
{
    bool found = false;
    for (size_t i = 0; i < names->elems && !found; i++) {
        found = strcmp(names->elem[i]->text, name) == 0;
    }
    return found;
}

static void test_compat__every_command_of_the_server__has_its_row(void **state)
{
    struct fixture *f = *state;
    struct reply *names = respc_command(f->client, "COMMAND", "LIST", NULL);
    assert_non_null(names);
    assert_true(names->elems > 50);
    for (size_t i = 0; i < names->elems; i++) {
        const struct row *row = find_row(&f->commands, names->elem[i]->text);
        if (row == NULL || strcmp(row->state, "not there") == 0) {
            fail_msg("%s: the server has %s, the page says: %s", PAGE, names->elem[i]->text,
                     row == NULL ? "nothing" : row->state);
        }
    }
    reply_free(&names);
}

static void test_compat__every_row_that_is_there__is_a_command_of_the_server(void **state)
{
    struct fixture *f = *state;
    struct reply *names = respc_command(f->client, "COMMAND", "LIST", NULL);
    assert_non_null(names);
    assert_true(f->commands.n > 360); /* Redis 7.0 has 366, subcommands included */
    for (size_t i = 0; i < f->commands.n; i++) {
        const struct row *row = &f->commands.rows[i];
        bool there = strcmp(row->state, "not there") != 0;
        assert_non_null(find_row(&f->commands, row->name)); /* no second row */
        if (there != lists(names, row->name)) {
            fail_msg("%s says that %s is \"%s\"; the server's COMMAND LIST says otherwise", PAGE,
                     row->name, row->state);
        }
    }
    reply_free(&names);
}

/* Whatever COMMAND LIST says, what is not there must answer so. */
static void test_compat__what_is_not_there__answers_unknown(void **state)
{
    struct fixture *f = *state;
    size_t asked = 0;
    for (size_t i = 0; i < f->commands.n; i++) {
        const struct row *row = &f->commands.rows[i];
        const char *bar = strchr(row->name, '|');
        char head[CELL_MAX];
        struct reply *r;
        if (strcmp(row->state, "not there") != 0) {
            continue;
        }
        snprintf(head, sizeof head, "%.*s",
                 bar == NULL ? (int)strlen(row->name) : (int)(bar - row->name), row->name);
        r = respc_command(f->client, head, bar == NULL ? "x" : bar + 1, NULL);
        assert_non_null(r);
        if (r->type != '-' || (strncmp(r->text, "ERR unknown command", 19) != 0 &&
                               strncmp(r->text, "ERR unknown subcommand", 22) != 0)) {
            fail_msg("%s answers %s", row->name, r->text == NULL ? "no error" : r->text);
        }
        reply_free(&r);
        asked++;
    }
    assert_true(asked > 20); /* commands keep coming */
}

static void test_compat__every_option_of_the_server__has_its_row(void **state)
{
    struct fixture *f = *state;
    struct reply *all = respc_command(f->client, "CONFIG", "GET", "*", NULL);
    assert_non_null(all);
    assert_true(all->elems > 2 * 180);
    for (size_t i = 0; i < all->elems; i += 2) {
        if (find_row(&f->options, all->elem[i]->text) == NULL) {
            fail_msg("%s: no row of the option %s", PAGE, all->elem[i]->text);
        }
    }
    reply_free(&all);
}

static void test_compat__every_option_row__is_known_to_the_server_and_true(void **state)
{
    struct fixture *f = *state;
    assert_true(f->options.n > 180);
    for (size_t i = 0; i < f->options.n; i++) {
        const struct row *row = &f->options.rows[i];
        struct reply *r = respc_command(f->client, "CONFIG", "GET", row->name, NULL);
        enum option_id id = option_find(bk_span_str(row->name));
        assert_non_null(r);
        if (r->elems != 2 || id == OPTION_COUNT) {
            fail_msg("%s has a row of %s, which the server does not know", PAGE, row->name);
        }
        assert_string_equal(r->elem[0]->text, row->name);
        if ((strcmp(row->state, "no effect") == 0) != (option_rows[id].doc == NULL)) {
            fail_msg("%s says of %s \"%s\"; its row in the option table says otherwise", PAGE,
                     row->name, row->state);
        }
        reply_free(&r);
    }
}

/* ---- Set-up ---- */

static int setup(void **state)
{
    struct fixture *f = bk_alloc_zero(1, sizeof *f);
    *state = f;
    read_page(f);
    if (!server_start(&f->server)) {
        return -1;
    }
    f->client = server_connect(&f->server);
    return f->client == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    respc_close(&f->client);
    server_fini(&f->server);
    free(f);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compat__every_command_of_the_server__has_its_row),
        cmocka_unit_test(test_compat__every_row_that_is_there__is_a_command_of_the_server),
        cmocka_unit_test(test_compat__what_is_not_there__answers_unknown),
        cmocka_unit_test(test_compat__every_option_of_the_server__has_its_row),
        cmocka_unit_test(test_compat__every_option_row__is_known_to_the_server_and_true),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
