/* SPDX-License-Identifier: MIT */
/*
 * test_cold_reads.c - values that are on the disk alone, on a server whose reads of data files are
 * never answered at once, and can be held for as long as a test likes (tests/lib/preload_read.c).
 * One loop, no value cache: a loop that waited for the disk would answer nobody.
 */
#include "lib/expect.h"
#include "lib/rng.h"
#include "lib/server.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct server server;
    struct respc *a, *b; /* b: the one that looks on */
    struct tmpdir dir;
    char hold[160]; /* path of the FIFO */
    int hold_fd;    /* -1: reads are not held */
    const char *library;
};

static void preload(struct fixture *f)
{
    static char library[512];
    const char *program = getenv("BITKV_SERVER") != NULL ? getenv("BITKV_SERVER") : TEST_SERVER;
    snprintf(library, sizeof(library) - 64, "%s", program);
    snprintf(strrchr(library, '/'), 64, "/tests/lib/preload_read.so");
    assert_int_equal(access(library, R_OK), 0); /* else nothing would ever be held */
    f->library = library;
}

static void start(struct fixture *f)
{
    setenv("READS_HOLD", f->hold, 1);
    setenv("LD_PRELOAD", f->library, 1);
    bool started = server_start(&f->server);
    unsetenv("LD_PRELOAD");
    assert_true(started);
    f->a = expect_connection(&f->server);
    f->b = expect_connection(&f->server);
}

static int setup(void **state)
{
    static const char *const options[] = {"--io-threads",    "1",   "--cache-size",   "0",
                                          "--disk-threads",  "4",   "--merge-policy", "never",
                                          "--max-file-size", "16mb"};
    struct fixture *f = calloc(1, sizeof(*f));
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        f->server.options[i] = options[i];
    }
    f->hold_fd = -1;
    tmpdir_make(&f->dir, "cold");
    tmpdir_join(&f->dir, "hold", f->hold, sizeof(f->hold));
    preload(f);
    start(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    respc_close(&f->a);
    respc_close(&f->b);
    expect_clean_stop(&f->server);
    tmpdir_remove(&f->dir);
    free(f);
    return 0;
}

/* From here on reads do not end. */
static void hold(struct fixture *f)
{
    assert_int_equal(mkfifo(f->hold, 0600), 0);
    f->hold_fd = open(f->hold, O_RDWR | O_CLOEXEC);
    assert_true(f->hold_fd >= 0);
}

/* Those that stand, and all that come. */
static void let_go(struct fixture *f)
{
    assert_int_equal(unlink(f->hold), 0);
    close(f->hold_fd);
    f->hold_fd = -1;
}

/* A figure of INFO. */
static long info(struct fixture *f, const char *name)
{
    struct reply *r = respc_command(f->b, "INFO", "ALL", NULL);
    assert_true(r != NULL && r->text != NULL);
    const char *at = r->text;
    size_t len = strlen(name);
    while (at != NULL && (strncmp(at, name, len) != 0 || at[len] != ':')) {
        at = strchr(at, '\n');
        at = at == NULL ? NULL : at + 1;
    }
    assert_non_null(at);
    long n = strtol(at + len + 1, NULL, 10);
    reply_free(&r);
    return n;
}

/* Until the figure is n; each look is a round trip. */
static void until(struct fixture *f, const char *name, long n)
{
    long now = -1;
    for (int i = 0; i < 200000 && now != n; i++) {
        now = info(f, name);
    }
    assert_int_equal(now, n);
}

static void send_text(struct respc *c, const char *commands)
{
    assert_true(respc_send(c, commands, strlen(commands)));
}

/* A command of a, whose read then stands still. */
static void stands(struct fixture *f, const char *commands)
{
    send_text(f->a, commands);
    until(f, "disk_reads_pending", 1);
    assert_int_equal(info(f, "clients_reading"), 1);
}

static void put(struct fixture *f, const char *key, const char *value)
{
    expect_reply(f->b, "+OK", "SET", key, value, NULL);
}

/* ---- While a read hangs ---- */

static void test_cold_reads__disk_hangs__other_clients_are_answered(void **state)
{
    struct fixture *f = *state;
    put(f, "k", "value");
    hold(f);
    stands(f, "GET k\r\nSET after 1\r\nGET after\r\nGET nothing\r\n");
    expect_reply(f->b, "+PONG", "PING", NULL);
    expect_reply(f->b, ":1", "EXISTS", "k", NULL);
    expect_reply(f->b, "+string", "TYPE", "k", NULL);
    expect_reply(f->b, "$null", "GET", "nothing", NULL);
    put(f, "other", "written");
    expect_reply(f->b, ":2", "DBSIZE", NULL);
    assert_int_equal(info(f, "disk_reads"), 0);
    let_go(f);
    expect_next(f->a, "$\"value\"");
    expect_next(f->a, "+OK");
    expect_next(f->a, "$\"1\"");
    expect_next(f->a, "$null");
    assert_int_equal(info(f, "clients_reading"), 0);
    assert_int_equal(info(f, "disk_reads_pending"), 0);
}

static void test_cold_reads__all_keys_of_a_command__are_read_together(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "1");
    put(f, "b", "2");
    put(f, "c", "3");
    hold(f);
    send_text(f->a, "MGET a b nothing c a\r\n");
    until(f, "disk_reads_pending", 3);
    let_go(f);
    expect_next(f->a, "*5 [$\"1\" $\"2\" $null $\"3\" $\"1\"]");
    assert_int_equal(info(f, "disk_reads"), 3);
}

static void test_cold_reads__pipelined_reads__are_read_together(void **state)
{
    struct fixture *f = *state;
    struct bk_buf out = {0};
    for (int i = 0; i < 10; i++) {
        char key[8];
        snprintf(key, sizeof(key), "k%d", i);
        put(f, key, key);
        respc_format(&out, "GET", key, NULL);
    }
    respc_format(&out, "SET", "k9", "later", NULL);
    respc_format(&out, "MGET", "k9", "k0", NULL);
    hold(f);
    assert_true(respc_send(f->a, out.data, out.len));
    until(f, "disk_reads_pending", 10);
    put(f, "k4", "changed");
    expect_reply(f->b, ":1", "DEL", "k5", NULL);
    let_go(f);
    for (int i = 0; i < 10; i++) {
        static const char *const want[] = {"$\"k0\"",      "$\"k1\"", "$\"k2\"", "$\"k3\"",
                                           "$\"changed\"", "$null",   "$\"k6\"", "$\"k7\"",
                                           "$\"k8\"",      "$\"k9\""};
        expect_next(f->a, want[i]);
    }
    expect_next(f->a, "+OK");
    expect_next(f->a, "*2 [$\"later\" $\"k0\"]");
    assert_int_equal(info(f, "disk_reads"), 13); /* the new k4; k9 and k0 once more */
    bk_buf_fini(&out);
}

static void test_cold_reads__closed_with_reads_ahead__nothing_is_left(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "1");
    put(f, "b", "2");
    hold(f);
    send_text(f->a, "*2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$3\r\nGET\r\n$1\r\nb\r\n");
    until(f, "disk_reads_pending", 2);
    struct reply *r = respc_command(f->b, "CLIENT", "KILL", "TYPE", "normal", NULL);
    assert_int_equal(r->integer, 1);
    reply_free(&r);
    expect_closed(f->a);
    let_go(f);
    until(f, "disk_reads_pending", 0);
    expect_reply(f->b, "*2 [$\"1\" $\"2\"]", "MGET", "a", "b", NULL);
}

static void test_cold_reads__client_goes_while_it_waits__nothing_is_left(void **state)
{
    struct fixture *f = *state;
    put(f, "k", "value");
    hold(f);
    stands(f, "CLIENT SETNAME gone\r\nGET k\r\n");
    expect_next(f->a, "+OK");
    struct reply *r = respc_command(f->b, "CLIENT", "KILL", "TYPE", "normal", NULL);
    assert_int_equal(r->integer, 1); /* not b itself */
    reply_free(&r);
    expect_closed(f->a);
    until(f, "clients_reading", 0);
    assert_in_range(info(f, "disk_reads_pending"), 0, 1); /* 0: no thread had begun it */
    let_go(f);
    until(f, "disk_reads_pending", 0);
    expect_reply(f->b, "$\"value\"", "GET", "k", NULL);
}

static void test_cold_reads__half_closed_client__still_gets_its_reply(void **state)
{
    struct fixture *f = *state;
    put(f, "k", "value");
    hold(f);
    stands(f, "GET k\r\n");
    respc_finish(f->a);
    expect_reply(f->b, "+PONG", "PING", NULL);
    let_go(f);
    expect_next(f->a, "$\"value\"");
    expect_closed(f->a);
}

static void test_cold_reads__server_stops__waits_for_the_read(void **state)
{
    struct fixture *f = *state;
    put(f, "k", "value");
    hold(f);
    stands(f, "GET k\r\n");
    assert_int_equal(kill(f->server.pid, SIGTERM), 0);
    expect_closed(f->b); /* it is stopping */
    let_go(f);
    expect_next(f->a, "$\"value\"");
    expect_closed(f->a);
    assert_int_equal(server_wait(&f->server), 0);
    respc_close(&f->a);
    respc_close(&f->b);
    start(f);
    expect_reply(f->b, "$\"value\"", "GET", "k", NULL);
}

static void test_cold_reads__paused_behind_its_read_by_a_server_that_stops__holds_up_nothing(
    void **state)
{
    struct fixture *f = *state;
    put(f, "k", "value");
    expect_reply(f->b, "+OK", "CONFIG", "SET", "shutdown-timeout", "1000000", NULL);
    hold(f);
    stands(f, "APPEND k more\r\n");
    expect_reply(f->b, "+OK", "CLIENT", "PAUSE", "1000000000", "WRITE", NULL);
    assert_int_equal(kill(f->server.pid, SIGTERM), 0);
    expect_closed(f->b);
    let_go(f);
    expect_closed(f->a);
    assert_int_equal(server_wait(&f->server), 0);
    respc_close(&f->a);
    respc_close(&f->b);
    start(f);
    expect_reply(f->b, "$\"value\"", "GET", "k", NULL);
}

/* Four more connections: the last one is on the second of two loops. Who comes goes to the loop
 * that has fewer, else to the first. */
static void connect_more(struct fixture *f, struct respc *more[4])
{
    until(f, "connected_clients", 2);
    for (int i = 0; i < 4; i++) {
        more[i] = expect_connection(&f->server);
    }
}

/* The first loop's executor has gone then, and that of the second waits for its read. */
static void test_cold_reads__crash_behind_the_end_of_a_loop__leaves_a_report(void **state)
{
    struct fixture *f = *state;
    struct respc *more[4];
    struct respc *c;
    if (!EXPECT_MEMORY) {
        skip(); /* a sanitizer has its own report */
    }
    respc_close(&f->a);
    respc_close(&f->b);
    assert_int_equal(server_stop(&f->server), 0);
    f->server.options[1] = "2"; /* loops */
    start(f);
    connect_more(f, more);
    put(f, "k", "value");
    hold(f);
    send_text(more[3], "GET k\r\n");
    until(f, "disk_reads_pending", 1);
    expect_reply(f->b, "+OK", "CONFIG", "SET", "shutdown-timeout", "0", NULL);
    assert_int_equal(kill(f->server.pid, SIGTERM), 0);
    while ((c = server_connect(&f->server)) != NULL) { /* until its loops have ended */
        respc_close(&c);
    }
    assert_int_equal(server_signal(&f->server, SIGSEGV), -SIGSEGV);
    assert_true(server_log_has(&f->server, "crash report: end"));
    let_go(f);
    for (int i = 0; i < 4; i++) {
        respc_close(&more[i]);
    }
    respc_close(&f->a);
    respc_close(&f->b);
    start(f);
}

/* ---- What happens to the key meanwhile ---- */

static void test_cold_reads__key_written_meanwhile__the_command_sees_it(void **state)
{
    struct fixture *f = *state;
    put(f, "k", "old");
    hold(f);
    stands(f, "GET k\r\nAPPEND k +\r\nGET k\r\n");
    put(f, "k", "new");
    let_go(f);
    expect_next(f->a, "$\"new\"");
    expect_next(f->a, ":4");
    expect_next(f->a, "$\"new+\"");
}

static void test_cold_reads__changed_under_a_change__nothing_is_lost(void **state)
{
    struct fixture *f = *state;
    put(f, "n", "10");
    put(f, "s", "abc");
    hold(f);
    stands(f, "INCR n\r\nSETRANGE s 1 XY\r\n");
    put(f, "n", "20");
    expect_reply(f->b, "+OK", "SET", "s", "abcdef", NULL);
    let_go(f);
    expect_next(f->a, ":21");
    expect_next(f->a, ":6");
    expect_reply(f->a, "$\"aXYdef\"", "GET", "s", NULL);
    expect_reply(f->b, "$\"21\"", "GET", "n", NULL);
}

static void test_cold_reads__key_gone_meanwhile__answers_as_if_asked_now(void **state)
{
    struct fixture *f = *state;
    put(f, "k", "value");
    hold(f);
    stands(f, "GET k\r\n");
    expect_reply(f->b, "+OK", "FLUSHALL", NULL);
    let_go(f);
    expect_next(f->a, "$null");
    put(f, "k", "value");
    hold(f);
    stands(f, "GETDEL k\r\n");
    expect_reply(f->b, ":1", "DEL", "k", NULL);
    let_go(f);
    expect_next(f->a, "$null");
}

static void test_cold_reads__exec__has_all_values_before_it_begins(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "1");
    put(f, "b", "2");
    send_text(f->a, "WATCH a\r\nMULTI\r\nGET a\r\nINCR b\r\nGET b\r\nECHO on\r\n");
    expect_next(f->a, "+OK");
    expect_next(f->a, "+OK");
    for (int i = 0; i < 4; i++) {
        expect_next(f->a, "+QUEUED");
    }
    hold(f);
    send_text(f->a, "EXEC\r\n");
    until(f, "disk_reads_pending", 2); /* GET a; INCR b and GET b are one record */
    put(f, "b", "7");
    let_go(f);
    expect_next(f->a, "*4 [$\"1\" :8 $\"8\" $\"on\"]");
    expect_reply(f->b, "$\"8\"", "GET", "b", NULL);
}

static void test_cold_reads__watched_key_written_while_exec_waits__nothing_is_done(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "1");
    put(f, "b", "2");
    send_text(f->a, "WATCH a\r\nMULTI\r\nINCR b\r\n");
    expect_next(f->a, "+OK");
    expect_next(f->a, "+OK");
    expect_next(f->a, "+QUEUED");
    hold(f);
    stands(f, "EXEC\r\n");
    put(f, "a", "other");
    let_go(f);
    expect_next(f->a, "*null");
    expect_reply(f->b, "$\"2\"", "GET", "b", NULL);
}

static void test_cold_reads__paused_while_it_waits__changes_nothing_before_the_end(void **state)
{
    struct fixture *f = *state;
    put(f, "k", "a");
    hold(f);
    stands(f, "APPEND k b\r\n");
    expect_reply(f->b, "+OK", "CLIENT", "PAUSE", "1000000", "WRITE", NULL);
    let_go(f);
    until(f, "clients_reading", 0);
    expect_reply(f->b, "$\"a\"", "GET", "k", NULL);
    expect_reply(f->b, "+OK", "CLIENT", "UNPAUSE", NULL);
    expect_next(f->a, ":2");
}

static void test_cold_reads__merged_meanwhile__the_value_is_right(void **state)
{
    struct fixture *f = *state;
    put(f, "k", "value");
    put(f, "gone", "to be reclaimed");
    put(f, "gone", "again");
    hold(f);
    stands(f, "GET k\r\n");
    expect_reply(f->b, "+OK", "BITKV", "MERGE", "NOW", NULL);
    put(f, "more", "behind it");
    let_go(f);
    expect_next(f->a, "$\"value\"");
    expect_reply(f->b, "$\"value\"", "GET", "k", NULL);
}

/* ---- How often the disk is asked ---- */

static long reads_of(struct fixture *f, const char *want, const char *command)
{
    long before = info(f, "disk_reads");
    send_text(f->a, command);
    expect_next(f->a, want);
    return info(f, "disk_reads") - before;
}

static void check_bound(struct fixture *f)
{
    put(f, "a", "aaa");
    put(f, "b", "bbb");
    put(f, "n", "5");
    respc_close(&f->a);
    respc_close(&f->b);
    assert_int_equal(server_stop(&f->server), 0);
    start(f);
    assert_int_equal(reads_of(f, ":3", "DBSIZE\r\n"), 0);
    assert_int_equal(reads_of(f, ":1", "EXISTS a\r\n"), 0);
    assert_int_equal(reads_of(f, ":-1", "TTL a\r\n"), 0);
    assert_int_equal(reads_of(f, "+string", "TYPE a\r\n"), 0);
    assert_int_equal(reads_of(f, "$null", "GET nothing\r\n"), 0);
    assert_int_equal(reads_of(f, "$\"aaa\"", "GET a\r\n"), 1);
    assert_int_equal(reads_of(f, ":3", "STRLEN b\r\n"), 1);
    assert_int_equal(reads_of(f, "*2 [$\"aaa\" $\"bbb\"]", "MGET a b\r\n"), 2);
    assert_int_equal(reads_of(f, ":6", "INCR n\r\n"), 1);
    assert_int_equal(reads_of(f, ":4", "APPEND a +\r\n"), 1);
    assert_int_equal(reads_of(f, ":4", "SETRANGE b 3 -\r\n"), 1);
    assert_int_equal(reads_of(f, "+OK", "SET a new\r\n"), 0);
    assert_int_equal(reads_of(f, ":1", "DEL b\r\n"), 0);
}

static void test_cold_reads__after_a_restart__a_key_costs_one_read_at_most(void **state)
{
    struct fixture *f = *state;
    check_bound(f);
    assert_true(info(f, "disk_reads_handed") > 0);
}

static void test_cold_reads__without_threads__the_loop_reads_and_the_bound_is_the_same(void **state)
{
    struct fixture *f = *state;
    f->server.options[5] = "0";
    check_bound(f);
    assert_int_equal(info(f, "disk_reads_handed"), 0);
}

/* ---- Much at once ---- */

static void test_cold_reads__large_values__come_whole(void **state)
{
    struct fixture *f = *state;
    size_t len = (size_t)9 << 20;
    char *value = malloc(len);
    for (size_t i = 0; i < len; i++) {
        value[i] = (char)('a' + i / 4096 % 26);
    }
    struct bk_span set[] = {bk_span_str("SET"), bk_span_str("big"), bk_span_of(value, len)};
    struct reply *r = respc_command_argv(f->b, 3, set);
    assert_string_equal(r->text, "OK");
    reply_free(&r);
    r = respc_command(f->a, "GET", "big", NULL);
    assert_true(r != NULL && r->len == len);
    assert_memory_equal(r->text, value, len);
    reply_free(&r);
    expect_reply(f->a, ":9437185", "APPEND", "big", "+", NULL);
    expect_reply(f->a, "$\"p+\"", "GETRANGE", "big", "9437183", "9437184", NULL);
    free(value);
}

#define KEYS 200
#define ROUNDS 100

/* Pipelines of reads and changes of keys on the disk: each reply is what a table says. */
static void test_cold_reads__pipelines__answer_in_order(void **state)
{
    struct fixture *f = *state;
    uint64_t seed = rng_seed_from_env("COLD_SEED");
    struct rng rng = {.state = seed};
    long value[KEYS];
    char text[64];
    print_message("COLD_SEED=%llu\n", (unsigned long long)seed);
    for (int i = 0; i < KEYS; i++) {
        value[i] = 1000 + i;
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        snprintf(text, sizeof(text), "%ld", value[i]);
        put(f, key, text);
    }
    for (int round = 0; round < ROUNDS; round++) {
        struct bk_buf out = {0};
        char want[200][32];
        size_t n = 1 + (size_t)rng_below(&rng, 200);
        for (size_t i = 0; i < n; i++) {
            int k = (int)rng_below(&rng, KEYS);
            if (rng_percent(&rng, 20)) {
                snprintf(text, sizeof(text), "k%d", k);
                respc_format(&out, "INCR", text, NULL);
                snprintf(want[i], sizeof(want[i]), ":%ld", ++value[k]);
            } else if (rng_percent(&rng, 20)) {
                bk_buf_printf(&out, "SET k%d %ld\r\n", k, value[k] += 10);
                snprintf(want[i], sizeof(want[i]), "+OK");
            } else {
                snprintf(text, sizeof(text), "k%d", k);
                respc_format(&out, "GET", text, NULL);
                snprintf(want[i], sizeof(want[i]), "$\"%ld\"", value[k]);
            }
        }
        assert_true(respc_send(f->a, out.data, out.len));
        for (size_t i = 0; i < n; i++) {
            expect_next(f->a, want[i]);
        }
        bk_buf_fini(&out);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_cold_reads__disk_hangs__other_clients_are_answered),
        TEST(test_cold_reads__all_keys_of_a_command__are_read_together),
        TEST(test_cold_reads__pipelined_reads__are_read_together),
        TEST(test_cold_reads__closed_with_reads_ahead__nothing_is_left),
        TEST(test_cold_reads__client_goes_while_it_waits__nothing_is_left),
        TEST(test_cold_reads__half_closed_client__still_gets_its_reply),
        TEST(test_cold_reads__server_stops__waits_for_the_read),
        TEST(test_cold_reads__paused_behind_its_read_by_a_server_that_stops__holds_up_nothing),
        TEST(test_cold_reads__crash_behind_the_end_of_a_loop__leaves_a_report),
        TEST(test_cold_reads__key_written_meanwhile__the_command_sees_it),
        TEST(test_cold_reads__changed_under_a_change__nothing_is_lost),
        TEST(test_cold_reads__key_gone_meanwhile__answers_as_if_asked_now),
        TEST(test_cold_reads__exec__has_all_values_before_it_begins),
        TEST(test_cold_reads__watched_key_written_while_exec_waits__nothing_is_done),
        TEST(test_cold_reads__paused_while_it_waits__changes_nothing_before_the_end),
        TEST(test_cold_reads__merged_meanwhile__the_value_is_right),
        TEST(test_cold_reads__after_a_restart__a_key_costs_one_read_at_most),
        TEST(test_cold_reads__without_threads__the_loop_reads_and_the_bound_is_the_same),
        TEST(test_cold_reads__large_values__come_whole),
        TEST(test_cold_reads__pipelines__answer_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
