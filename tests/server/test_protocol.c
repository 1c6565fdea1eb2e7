/* SPDX-License-Identifier: MIT */
/* The wire: both protocols, pipelines, commands in pieces, large arguments; everything on one
 * server. */
#include "base/clock.h"
#include "lib/expect.h"
#include "lib/rng.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MIB (1024u * 1024u)

static struct server server = {.options = {"--enable-debug-command", "yes"}};

static int setup_server(void **state)
{
    (void)state;
    return server_start(&server) ? 0 : -1;
}

static int teardown_server(void **state)
{
    (void)state;
    int status = server_stop(&server);
    server_fini(&server);
    return status == 0 ? 0 : -1;
}

static int connect_client(void **state)
{
    struct respc *c = server_connect(&server);
    *state = c;
    return c != NULL ? 0 : -1;
}

static int close_client(void **state)
{
    struct respc *c = *state;
    respc_close(&c);
    return 0;
}

static void test_protocol__resp2__sends_its_types(void **state)
{
    struct respc *c = *state;
    expect_reply(c, "+PONG", "PING", NULL);
    expect_reply(c, "$\"hello\"", "PING", "hello", NULL);
    expect_reply(c, "+OK", "SET", "p:k", "v", NULL);
    expect_reply(c, "$\"v\"", "GET", "p:k", NULL);
    expect_reply(c, "$null", "GET", "p:none", NULL);
    expect_reply(c, "*2 [$\"v\" $null]", "MGET", "p:k", "p:none", NULL);
    expect_reply(c, ":1", "DEL", "p:k", NULL);
    expect_reply(c, "-ERR wrong number of arguments for 'get' command", "GET", NULL);
}

/* HELLO's fields, whose order is Redis's. */
static void check_hello(const struct reply *r, char type, size_t elems, int64_t proto)
{
    static const char *const names[] = {"server", "version", "proto",  "id",
                                        "mode",   "role",    "modules"};
    assert_non_null(r);
    assert_int_equal(r->type, type);
    assert_int_equal(r->elems, elems);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_string_equal(r->elem[i * 2]->text, names[i]);
    }
    assert_string_equal(reply_get(r, "server")->text, "redis");
    assert_int_equal(reply_get(r, "proto")->integer, proto);
    assert_true(reply_get(r, "id")->integer > 0);
}

static void test_protocol__hello__switches_between_the_protocols(void **state)
{
    struct respc *c = *state;
    struct reply *r = respc_command(c, "HELLO", NULL);
    check_hello(r, '*', 14, 2);
    reply_free(&r);
    r = respc_command(c, "HELLO", "3", NULL);
    check_hello(r, '%', 14, 3);
    reply_free(&r);
    expect_reply(c, "_null", "GET", "p:none", NULL);
    expect_reply(c, "*1 [_null]", "MGET", "p:none", NULL);
    r = respc_command(c, "CONFIG", "GET", "port", NULL);
    assert_non_null(r);
    assert_int_equal(r->type, '%');
    reply_free(&r);
    r = respc_command(c, "HELLO", "2", "SETNAME", "me", NULL);
    check_hello(r, '*', 14, 2);
    reply_free(&r);
    expect_reply(c, "$\"me\"", "CLIENT", "GETNAME", NULL);
    expect_reply(c, "$null", "GET", "p:none", NULL);
}

static void test_protocol__hello_refused__changes_nothing(void **state)
{
    struct respc *c = *state;
    expect_reply(c, "-NOPROTO unsupported protocol version", "HELLO", "4", NULL);
    expect_reply(c, "-ERR Protocol version is not an integer or out of range", "HELLO", "x", NULL);
    expect_reply(c, "-ERR Syntax error in HELLO option 'bogus'", "HELLO", "3", "bogus", NULL);
    expect_reply(c, "$null", "GET", "p:none", NULL);
}

static void test_protocol__inline_commands__are_answered(void **state)
{
    struct respc *c = *state;
    static const char lines[] =
        "PING\r\n\r\n   \nset p:i \"a b\\x00\"\nGET p:i\r\necho 'it\\'s'\r\n"
        "*1\r\n$4\r\nPING\r\nPING last\r\n";
    assert_true(respc_send(c, lines, sizeof lines - 1));
    expect_next(c, "+PONG");
    expect_next(c, "+OK");
    expect_next(c, "$\"a b\\x00\"");
    expect_next(c, "$\"it's\"");
    expect_next(c, "+PONG");
    expect_next(c, "$\"last\"");
}

static void test_protocol__quit__answers_and_closes(void **state)
{
    struct respc *c = *state;
    static const char lines[] = "PING\r\nQUIT\r\nPING\r\n";
    assert_true(respc_send(c, lines, sizeof lines - 1));
    expect_next(c, "+PONG");
    expect_next(c, "+OK");
    expect_closed(c);
}

/* The second command of a pipeline comes long after its tick began. */
static void test_protocol__behind_a_slow_command__expiry_follows_the_clock(void **state)
{
    struct respc *c = *state;
    static const char lines[] = "DEBUG SLEEP 0.3\r\nGET e\r\nPTTL e\r\nSET n 1 PX 60000\r\n"
                                "PEXPIRETIME n\r\n";
    expect_reply(c, "+OK", "SET", "e", "1", "PX", "200", NULL);
    int64_t before = bk_clock_wall_ms(&bk_clock_system);
    assert_true(respc_send(c, lines, sizeof lines - 1));
    expect_next(c, "+OK");
    expect_next(c, "$null");
    expect_next(c, ":-2");
    expect_next(c, "+OK");
    struct reply *r = respc_read(c);
    assert_non_null(r);
    assert_true(r->integer >= before + 300 + 60000);
    reply_free(&r);
}

static void test_protocol__half_closed_by_the_client__is_still_answered(void **state)
{
    struct respc *c = *state;
    assert_true(respc_send(c, "PING a\r\nPING b\r\n", 16));
    respc_finish(c);
    expect_next(c, "$\"a\"");
    expect_next(c, "$\"b\"");
    expect_closed(c);
}

static void run_pipeline(struct respc *c, unsigned n)
{
    struct bk_buf out = {0};
    char key[32];
    char value[32];
    char want[64];
    for (unsigned i = 0; i < n; i++) {
        snprintf(key, sizeof key, "p:l:%u", i % 500);
        snprintf(value, sizeof value, "%u-%u", n, i);
        respc_format(&out, "SET", key, value, NULL);
        respc_format(&out, "GET", key, NULL);
    }
    assert_true(respc_send(c, out.data, out.len));
    bk_buf_fini(&out);
    for (unsigned i = 0; i < n; i++) {
        snprintf(want, sizeof want, "$\"%u-%u\"", n, i);
        expect_next(c, "+OK");
        expect_next(c, want);
    }
}

static void test_protocol__pipelines_of_any_length__answer_in_order(void **state)
{
    static const unsigned lengths[] = {1, 2, 7, 8, 9, 100, 511, 512, 513, 1024, 1025, 5000};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        run_pipeline(*state, lengths[i]);
    }
}

static void test_protocol__endless_pipeline__never_stalls(void **state)
{
    struct respc *c = *state;
    enum { N = EXPECT_MEMORY ? 200000 : 40000 }; /* sanitizers are slow */
    struct bk_buf out = {0};
    for (int i = 0; i < N; i++) {
        bk_buf_append(&out, "*2\r\n$4\r\nINCR\r\n$3\r\np:c\r\n", 23);
    }
    expect_reply(c, ":0", "DEL", "p:c", NULL);
    assert_true(respc_exchange(c, out.data, out.len, N));
    bk_buf_fini(&out);
    expect_reply(c, EXPECT_MEMORY ? "$\"200000\"" : "$\"40000\"", "GET", "p:c", NULL);
}

/* A client that reads nothing before it has sent everything: the server keeps reading, and the
 * replies wait. */
static void test_protocol__all_sent_before_any_is_read__no_deadlock(void **state)
{
    struct respc *c = *state;
    enum { N = EXPECT_MEMORY ? 150000 : 40000 };
    char value[201];
    struct bk_buf out = {0};
    memset(value, 'r', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    expect_reply(c, "+OK", "SET", "p:r", value, NULL);
    for (int i = 0; i < N; i++) {
        bk_buf_append(&out, "*2\r\n$3\r\nGET\r\n$3\r\np:r\r\n", 22);
    }
    assert_true(respc_send(c, out.data, out.len));
    assert_true(respc_exchange(c, NULL, 0, N));
    bk_buf_fini(&out);
    expect_reply(c, "+PONG", "PING", NULL);
}

/* The other connection's answer comes after the server has had the first piece. */
static void send_in_two(struct respc *c, struct respc *other, const char *bytes, size_t n,
                        size_t cut)
{
    assert_true(respc_send(c, bytes, cut));
    expect_reply(other, "+PONG", "PING", NULL);
    assert_true(respc_send(c, bytes + cut, n - cut));
}

static void test_protocol__command_cut_at_any_byte__is_the_same(void **state)
{
    struct respc *c = *state;
    struct respc *other = expect_connection(&server);
    static const char bytes[] = "*3\r\n$3\r\nSET\r\n$3\r\np:h\r\n$12\r\nab\r\n$3\r\nx\0yz\r\n"
                                "*2\r\n$3\r\nGET\r\n$3\r\np:h\r\nECHO \"q \\x41\"\r\n";
    for (size_t cut = 1; cut < sizeof bytes - 1; cut++) {
        send_in_two(c, other, bytes, sizeof bytes - 1, cut);
        expect_next(c, "+OK");
        expect_next(c, "$\"ab\\x0d\\x0a$3\\x0d\\x0ax\\x00yz\"");
        expect_next(c, "$\"q A\"");
    }
    respc_close(&other);
}

static void test_protocol__half_a_command_then_gone__leaves_no_trace(void **state)
{
    struct respc *c = *state;
    static const char bytes[] = "*3\r\n$3\r\nSET\r\n$7\r\np:trace\r\n$100000\r\nabcdefgh";
    for (size_t cut = 1; cut < sizeof bytes; cut += 3) {
        struct respc *half = expect_connection(&server);
        assert_true(respc_send(half, bytes, cut));
        respc_close(&half);
    }
    expect_reply(c, "$null", "GET", "p:trace", NULL);
}

/* Random bytes that repeat every 4,099, so that a piece in the wrong place is seen. */
static uint8_t *make_bytes(size_t n)
{
    enum { PERIOD = 4099 };
    uint8_t *bytes = bk_alloc(n + PERIOD);
    struct rng r = {n};
    rng_fill(&r, bytes, PERIOD);
    for (size_t at = PERIOD; at < n; at += PERIOD) {
        memcpy(bytes + at, bytes, PERIOD);
    }
    return bytes;
}

/* SET and GET of n bytes, in pieces as the socket takes them. */
static void round_trip(struct respc *c, size_t n)
{
    uint8_t *bytes = make_bytes(n);
    struct bk_span set[] = {bk_span_str("SET"), bk_span_str("p:big"), bk_span_of(bytes, n)};
    struct reply *reply = respc_command_argv(c, 3, set);
    assert_non_null(reply);
    assert_string_equal(reply->text, "OK");
    reply_free(&reply);
    reply = respc_command(c, "STRLEN", "p:big", NULL);
    assert_non_null(reply);
    assert_int_equal(reply->integer, n);
    reply_free(&reply);
    reply = respc_command(c, "GET", "p:big", NULL);
    assert_non_null(reply);
    assert_int_equal(reply->len, n);
    assert_memory_equal(reply->text, bytes, n);
    reply_free(&reply);
    expect_reply(c, ":1", "DEL", "p:big", NULL);
    free(bytes);
}

/* BITKV_TEST_BIG=1: 512 MB too, which wants 2 GiB of memory. */
static void test_protocol__arguments_of_any_size__come_back(void **state)
{
    static const size_t sizes[] = {1,     4095,     16383,   16384,    65535,   65536,
                                   65537, 1u << 17, MIB - 1, MIB + 13, 5 * MIB, 64 * MIB};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        round_trip(*state, sizes[i]);
    }
    if (getenv("BITKV_TEST_BIG") != NULL) {
        round_trip(*state, 512u * MIB);
    }
}

static void test_protocol__argument_over_the_limit__is_refused(void **state)
{
    struct respc *c = *state;
    static const char bytes[] = "*2\r\n$4\r\nECHO\r\n$536870913\r\n";
    assert_true(respc_send(c, bytes, sizeof bytes - 1));
    expect_next(c, "-ERR Protocol error: invalid bulk length");
    expect_closed(c);
}

static void test_protocol__big_arguments_in_a_pipeline__keep_their_order(void **state)
{
    struct respc *c = *state;
    struct bk_buf out = {0};
    char key[16];
    char want[32];
    for (int i = 0; i < 40; i++) {
        snprintf(key, sizeof key, "p:b%d", i);
        bk_buf_printf(&out, "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%d\r\n", strlen(key), key,
                      65000 + i * 40);
        memset(bk_buf_reserve(&out, 70000), 'a' + i % 26, 70000);
        out.len += 65000 + (size_t)i * 40;
        bk_buf_printf(&out, "\r\nSTRLEN %s\r\nGETRANGE %s 64999 64999\r\n", key, key);
    }
    assert_true(respc_exchange(c, out.data, out.len, 0));
    for (int i = 0; i < 40; i++) {
        expect_next(c, "+OK");
        snprintf(want, sizeof want, ":%d", 65000 + i * 40);
        expect_next(c, want);
        snprintf(want, sizeof want, "$\"%c\"", 'a' + i % 26);
        expect_next(c, want);
    }
    bk_buf_fini(&out);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, connect_client, close_client)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_protocol__resp2__sends_its_types),
        CASE(test_protocol__hello__switches_between_the_protocols),
        CASE(test_protocol__hello_refused__changes_nothing),
        CASE(test_protocol__inline_commands__are_answered),
        CASE(test_protocol__quit__answers_and_closes),
        CASE(test_protocol__behind_a_slow_command__expiry_follows_the_clock),
        CASE(test_protocol__half_closed_by_the_client__is_still_answered),
        CASE(test_protocol__pipelines_of_any_length__answer_in_order),
        CASE(test_protocol__endless_pipeline__never_stalls),
        CASE(test_protocol__all_sent_before_any_is_read__no_deadlock),
        CASE(test_protocol__command_cut_at_any_byte__is_the_same),
        CASE(test_protocol__half_a_command_then_gone__leaves_no_trace),
        CASE(test_protocol__arguments_of_any_size__come_back),
        CASE(test_protocol__argument_over_the_limit__is_refused),
        CASE(test_protocol__big_arguments_in_a_pipeline__keep_their_order),
    };
    return cmocka_run_group_tests(tests, setup_server, teardown_server);
}
