/* SPDX-License-Identifier: MIT */
/* CLIENT PAUSE WRITE: no key leaves until it is over, whoever would take it away. What waits, and
 * for how long, is in tcl-tests/test_pause.tcl. */
#include "base/error.h"
#include "server/one_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEYS 500u
#define PAUSE_MS "100000000"
#define BIG ((size_t)4 << 20)

/* One loop: what it has done for a client has been done for all. */
#define START(...) start((const char *const[]){"--io-threads", "1", __VA_ARGS__, NULL})

static void pause_writes(struct respc *c)
{
    expect_reply(c, "+OK", "CLIENT", "PAUSE", PAUSE_MS, "WRITE", NULL);
}

static void set_keys(struct respc *c)
{
    for (unsigned i = 0; i < KEYS; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%u", i);
        expect_reply(c, "+OK", "SET", key, "v", NULL);
    }
}

/* What the server counts for maxmemory grows, which it finds when it next looks. */
static void hold_memory(struct respc *idle, struct respc *c)
{
    static const char head[] = "*2\r\n$4\r\nECHO\r\n$8388608\r\n";
    unsigned long before = expect_info(c, "everything", "mem_counted_for_maxmemory:");
    char *half = bk_alloc_zero(BIG, 1);
    assert_true(respc_send(idle, head, sizeof head - 1));
    assert_true(respc_send(idle, half, BIG));
    free(half);
    while (expect_info(c, "everything", "mem_counted_for_maxmemory:") <= before) {
    }
}

static void test_pause__over_maxmemory__nothing_is_evicted_until_the_end(void **state)
{
    (void)state;
    START("--cache-size", "0");
    struct respc *c = expect_connection(&server);
    struct respc *writer = expect_connection(&server);
    struct respc *idle = expect_connection(&server);
    set_keys(c);
    pause_writes(c);
    expect_reply(c, "+OK", "CONFIG", "SET", "maxmemory", "1", "maxmemory-policy", "allkeys-random",
                 NULL);
    assert_true(respc_send(writer, "SET k v\r\n", 9));
    while (expect_info(c, "clients", "blocked_clients:") == 0) {
    }
    hold_memory(idle, c);
    assert_int_equal(expect_info(c, "stats", "evicted_keys:"), 0);
    expect_reply(c, ":500", "DBSIZE", NULL);
    expect_reply(c, "+OK", "CLIENT", "UNPAUSE", NULL);
    while (expect_info(c, "stats", "evicted_keys:") == 0) {
    }
    respc_close(&idle);
    respc_close(&writer);
    respc_close(&c);
    expect_clean_stop(&server);
}

static void test_pause__expired_key_is_read__leaves_after_the_end(void **state)
{
    (void)state;
    START("--notify-keyspace-events", "Ex");
    struct respc *c = expect_connection(&server);
    struct respc *listener = expect_connection(&server);
    struct bk_buf b = {0};
    bool there = true;
    expect_reply(listener, "*3 [$\"subscribe\" $\"__keyevent@0__:expired\" :1]", "SUBSCRIBE",
                 "__keyevent@0__:expired", NULL);
    /* In one tick: in between nobody finds it expired. */
    respc_format(&b, "SET", "k", "v", "PX", "1", NULL);
    respc_format(&b, "CLIENT", "PAUSE", PAUSE_MS, "WRITE", NULL);
    assert_true(respc_send(c, b.data, b.len));
    expect_next(c, "+OK");
    expect_next(c, "+OK");
    while (there) {
        struct reply *r = respc_command(c, "GET", "k", NULL);
        assert_non_null(r);
        there = !r->null;
        reply_free(&r);
    }
    expect_reply(listener, "*2 [$\"pong\" $\"\"]", "PING", NULL);
    assert_int_equal(expect_info(c, "stats", "expired_keys:"), 0);
    expect_reply(c, "+OK", "CLIENT", "UNPAUSE", NULL);
    expect_next(listener, "*3 [$\"message\" $\"__keyevent@0__:expired\" $\"k\"]");
    bk_buf_fini(&b);
    respc_close(&listener);
    respc_close(&c);
    expect_clean_stop(&server);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_none, teardown_server)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_pause__over_maxmemory__nothing_is_evicted_until_the_end),
        TEST(test_pause__expired_key_is_read__leaves_after_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
