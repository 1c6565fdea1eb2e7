/* SPDX-License-Identifier: MIT */
/* Clients that end, or begin anew, while others do something with them. */
#include "server/one_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_clients__killed__is_gone_for_the_next_command(void **state)
{
    (void)state;
    start((const char *const[]){"--io-threads", "1", NULL});
    struct respc *killed = expect_connection(&server);
    struct respc *c = expect_connection(&server);
    struct bk_buf b = {0};
    struct reply *r = respc_command(killed, "CLIENT", "ID", NULL);
    assert_non_null(r);
    /* In one tick, so before any loop has looked at whom it has to close. */
    for (int i = 0; i < 2; i++) {
        bk_buf_printf(&b, "CLIENT KILL ID %lld\r\n", (long long)r->integer);
    }
    bk_buf_printf(&b, "CLIENT LIST ID %lld\r\nCLIENT UNBLOCK %lld\r\n", (long long)r->integer,
                  (long long)r->integer);
    reply_free(&r);
    assert_true(respc_send(c, b.data, b.len));
    expect_next(c, ":1");
    expect_next(c, ":0");
    expect_next(c, "$\"\"");
    expect_next(c, ":0");
    expect_closed(killed);
    bk_buf_fini(&b);
    respc_close(&killed);
    respc_close(&c);
    expect_clean_stop(&server);
}

/* Both wait for the end of a pause, and then run one behind the other. */
static void test_clients__reset_behind_a_message__gets_it_in_the_protocol_it_had(void **state)
{
    (void)state;
    start((const char *const[]){"--io-threads", "1", NULL});
    struct respc *a = expect_connection(&server);
    struct respc *b = expect_connection(&server);
    struct respc *c = expect_connection(&server);
    struct reply *r = respc_command(a, "HELLO", "3", NULL);
    assert_non_null(r);
    reply_free(&r);
    expect_reply(a, ">3 [$\"subscribe\" $\"ch\" :1]", "SUBSCRIBE", "ch", NULL);
    expect_reply(c, "+OK", "CLIENT", "PAUSE", "300", "ALL", NULL);
    assert_true(respc_send(b, "PUBLISH ch x\r\n", 14));
    assert_true(respc_send(a, "RESET\r\n", 7));
    expect_next(b, ":1");
    expect_next(a, ">3 [$\"message\" $\"ch\" $\"x\"]");
    expect_next(a, "+RESET");
    respc_close(&a);
    respc_close(&b);
    respc_close(&c);
    expect_clean_stop(&server);
}

/* Of a client that monitors, too: else it would take the line for the reply to its next command. */
static void test_clients__reset_behind_a_monitored_command__gets_the_line_first(void **state)
{
    (void)state;
    start((const char *const[]){"--io-threads", "1", NULL});
    struct respc *a = expect_connection(&server);
    struct respc *b = expect_connection(&server);
    struct respc *c = expect_connection(&server);
    expect_reply(a, "+OK", "MONITOR", NULL);
    expect_reply(c, "+OK", "CLIENT", "PAUSE", "300", "ALL", NULL);
    assert_true(respc_send(b, "SET k v\r\n", 9));
    assert_true(respc_send(a, "RESET\r\nPING\r\n", 13));
    struct reply *line = respc_read(a);
    assert_non_null(line);
    assert_non_null(strstr(line->text, "\"SET\" \"k\" \"v\""));
    reply_free(&line);
    expect_next(b, "+OK");
    expect_next(a, "+RESET");
    expect_next(a, "+PONG");
    respc_close(&a);
    respc_close(&b);
    respc_close(&c);
    expect_clean_stop(&server);
}

static void test_clients__reset_behind_reply_skip__is_not_answered(void **state)
{
    (void)state;
    start((const char *const[]){"--io-threads", "1", NULL});
    struct respc *a = expect_connection(&server);
    assert_true(respc_send(a, "CLIENT REPLY SKIP\r\nRESET\r\nECHO x\r\n", 34));
    expect_next(a, "$\"x\"");
    respc_close(&a);
    expect_clean_stop(&server);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_none, teardown_server)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_clients__killed__is_gone_for_the_next_command),
        TEST(test_clients__reset_behind_a_message__gets_it_in_the_protocol_it_had),
        TEST(test_clients__reset_behind_a_monitored_command__gets_the_line_first),
        TEST(test_clients__reset_behind_reply_skip__is_not_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
