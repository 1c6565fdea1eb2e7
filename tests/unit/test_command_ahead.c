/* SPDX-License-Identifier: MIT */
/* test_command_ahead.c - commands that are known before their turn visit the store together, as
 * long as each has one key. */
#include "command/command.h"
#include "engine/db_private.h"
#include "lib/tmpdir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NOW 1000000
#define ARGS_MAX 8

struct fixture {
    struct tmpdir dir;
    struct bk_db *db;
    struct keyspace *ks;
    struct server_ops ops;
    struct exec *exec;
    struct session s;
};

static bool no_password(void *arg)
{
    (void)arg;
    return false;
}

static bool memory_left(void *arg)
{
    (void)arg;
    return false;
}

static uint64_t bulk_max(void *arg)
{
    (void)arg;
    return 1000;
}

static void nobody_waits(void *arg)
{
    (void)arg;
}

static int setup(void **state)
{
    struct fixture *f = bk_alloc_zero(1, sizeof *f);
    struct bk_options o;
    tmpdir_make(&f->dir, "ahead");
    bk_options_init(&o);
    o.dir = f->dir.path;
    o.disk_threads = 1;
    o.cache_bytes = 1 << 20;
    assert_int_equal(bk_open(&f->db, &o, NULL), BK_OK);
    f->ks = ks_new(f->db, o.databases);
    f->ops = (struct server_ops){
        .auth_required = no_password, .memory_over = memory_left, .proto_max_bulk_len = bulk_max};
    f->exec = exec_new(f->ks, &f->ops);
    exec_wake_by(f->exec, nobody_waits, NULL);
    f->s.authenticated = true;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    exec_free(&f->exec);
    ks_free(&f->ks);
    assert_int_equal(bk_close(&f->db, NULL), BK_OK);
    tmpdir_remove(&f->dir);
    free(f);
    return 0;
}

/* By this thread, which has its slot for itself. */
static unsigned held(const struct bki_pins *p)
{
    const struct bki_pin_slot *mine = &p->slot[bki_pin_slot()];
    return atomic_load(&mine->held[0]) + atomic_load(&mine->held[1]);
}

static void assert_held(const struct fixture *f, unsigned pins)
{
    assert_int_equal(held(&f->db->files.pins), pins);
    assert_int_equal(held(&f->db->reclaim.pins), pins);
}

/* Words apart by one space. */
static struct resp_command command(char *text, struct resp_arg *argv)
{
    struct resp_command cmd = {.argv = argv};
    for (char *at = NULL, *word = strtok_r(text, " ", &at); word != NULL;
         word = strtok_r(NULL, " ", &at)) {
        assert_true(cmd.argc < ARGS_MAX);
        argv[cmd.argc++] = (struct resp_arg){bk_span_str(word), NULL};
    }
    return cmd;
}

/* Its reply must begin with want. */
static void run(struct fixture *f, struct resp_command *cmd, const char *want)
{
    struct bk_buf out = {0};
    struct resp_writer reply = {.out = &out, .proto = 2};
    struct exec_slice *slice = NULL;
    uint64_t pos = 0;
    assert_int_equal(exec_command(f->exec, &f->s, cmd, NOW, &reply, &pos, &slice), EXEC_DONE);
    assert_true(out.len >= strlen(want));
    assert_memory_equal(out.data, want, strlen(want));
    bk_buf_fini(&out);
}

static void run_text(struct fixture *f, const char *words, const char *want)
{
    char text[64];
    struct resp_arg argv[ARGS_MAX];
    snprintf(text, sizeof text, "%s", words);
    struct resp_command cmd = command(text, argv);
    run(f, &cmd, want);
}

static void look_ahead(struct fixture *f, const char *words)
{
    char text[64];
    struct resp_arg argv[ARGS_MAX];
    snprintf(text, sizeof text, "%s", words);
    struct resp_command cmd = command(text, argv);
    exec_ahead(f->exec, &f->s, &cmd, 1);
}

static void test_ahead__reads_of_one_key__visit_the_store_together(void **state)
{
    struct fixture *f = *state;
    static const char *const texts[][2] = {
        {"get a", "$3\r\n123"},      {"strlen a", ":3"}, {"getrange a 0 1", "$2\r\n12"},
        {"bitcount a", ":"},         {"ttl a", ":-1"},   {"type a", "+string"},
        {"no such command", "-ERR"}, {"get", "-ERR"},    {"get b", "$-1"},
    };
    run_text(f, "set a 123", "+OK");            /* from here on the executor has its reader */
    for (unsigned turn = 0; turn < 2; turn++) { /* the second one ends the first one's visit */
        look_ahead(f, "get a");
        assert_held(f, 1);
        for (unsigned i = 0; i < sizeof texts / sizeof texts[0]; i++) {
            run_text(f, texts[i][0], texts[i][1]);
            assert_held(f, 1);
        }
    }
    exec_ahead_over(f->exec);
    assert_held(f, 0);
    exec_ahead_over(f->exec);
    run_text(f, "set a 1", "+OK");
    assert_held(f, 0);
}

static void test_ahead__another_command__ends_the_visit_first(void **state)
{
    struct fixture *f = *state;
    static const char *const others[][2] = {
        {"set a 1", "+OK"},      {"append a 2", ":2"},  {"expire a 9", ":1"},  {"getdel a", "$2"},
        {"ping", "+PONG"},       {"mget a b", "*2"},    {"del a b", ":"},      {"lcs a b", "$0"},
        {"bitop not c a", ":"},  {"pfcount a b", ":0"}, {"watch a", "+OK"},    {"copy a b", ":0"},
        {"sort a", "*0"},        {"select 1", "+OK"},   {"migrate h", "-ERR"}, {"flushall", "+OK"},
        {"mset a 1 b 2", "+OK"}, {"exec", "-ERR"},      {"multi", "+OK"},
    };
    run_text(f, "get a", "$-1");
    for (unsigned i = 0; i < sizeof others / sizeof others[0]; i++) {
        look_ahead(f, "get a");
        assert_held(f, 1);
        run_text(f, others[i][0], others[i][1]);
        assert_held(f, 0);
    }
    look_ahead(f, "get a"); /* it will be queued */
    assert_held(f, 0);
    run_text(f, "discard", "+OK");
}

/* With nobody who reads for it a command waits for the disk itself. */
static void test_ahead__no_reader__is_no_visit(void **state)
{
    struct fixture *f = *state;
    struct exec *waits = exec_new(f->ks, &f->ops);
    struct exec *mine = f->exec;
    f->exec = waits;
    run_text(f, "set a 1", "+OK");
    look_ahead(f, "get a");
    assert_held(f, 0);
    run_text(f, "get a", "$1");
    f->exec = mine;
    exec_free(&waits);
}

/* Commands of several connections, which share no visit. */
static void test_prefetch__of_several_connections__changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct session other = {.authenticated = true};
    struct keyspace *none = ks_new(NULL, 16);
    struct exec *loading = exec_new(none, &f->ops);
    static const char *const texts[] = {"get a", "set b 1", "get", "ping", "no such", "mget a b"};
    enum { N = sizeof texts / sizeof texts[0] };
    char text[N][64];
    struct resp_arg argv[N][ARGS_MAX];
    struct resp_command cmd[N];
    struct exec_next next[N];
    atomic_store(&other.db, 3);
    for (unsigned i = 0; i < N; i++) {
        snprintf(text[i], sizeof text[i], "%s", texts[i]);
        cmd[i] = command(text[i], argv[i]);
        next[i] = (struct exec_next){i % 3 == 1 ? &other : &f->s, &cmd[i]};
    }
    exec_prefetch(loading, next, N);
    exec_prefetch(f->exec, next, N); /* there is no key yet */
    run_text(f, "set a 1", "+OK");
    exec_prefetch(f->exec, next, N);
    assert_held(f, 0);
    run_text(f, "get a", "$1");
    run_text(f, "get b", "$-1");
    exec_free(&loading);
    ks_free(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ahead__reads_of_one_key__visit_the_store_together,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_ahead__another_command__ends_the_visit_first, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_ahead__no_reader__is_no_visit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_prefetch__of_several_connections__changes_nothing,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
