/* SPDX-License-Identifier: MIT */
/* Who goes while a value is being read from the disk: a client, or the server. */
#include "server/cold_server.h"

static void test_cold_ends__closed_with_reads_ahead__nothing_is_left(void **state)
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

static void test_cold_ends__client_goes_while_it_waits__nothing_is_left(void **state)
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
    assert_int_equal(info(f, "disk_reads_pending"), 1); /* nobody can call a read back */
    let_go(f);
    until(f, "disk_reads_pending", 0);
    expect_reply(f->b, "$\"value\"", "GET", "k", NULL);
}

static void test_cold_ends__half_closed_client__still_gets_its_reply(void **state)
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

/* The server stops, and the next one has the value. */
static void expect_next_life(struct fixture *f)
{
    assert_int_equal(server_wait(&f->server), 0);
    respc_close(&f->a);
    respc_close(&f->b);
    start(f);
    expect_reply(f->b, "$\"value\"", "GET", "k", NULL);
}

static void test_cold_ends__server_stops__waits_for_the_read(void **state)
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
    expect_next_life(f);
}

static void test_cold_ends__paused_behind_its_read_by_a_server_that_stops__holds_up_nothing(
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
    expect_next_life(f);
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
static void test_cold_ends__crash_behind_the_end_of_a_loop__leaves_a_report(void **state)
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cold_ends__closed_with_reads_ahead__nothing_is_left),
        TEST(test_cold_ends__client_goes_while_it_waits__nothing_is_left),
        TEST(test_cold_ends__half_closed_client__still_gets_its_reply),
        TEST(test_cold_ends__server_stops__waits_for_the_read),
        TEST(test_cold_ends__paused_behind_its_read_by_a_server_that_stops__holds_up_nothing),
        TEST(test_cold_ends__crash_behind_the_end_of_a_loop__leaves_a_report),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
