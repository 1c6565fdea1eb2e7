/* SPDX-License-Identifier: MIT */
/*
 * What clients hear that listen: the same scripts against redis-server, keys that run out of time
 * while several loops look at them, and MONITOR.
 */
#include "base/buf.h"
#include "server/one_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define START(...) start((const char *const[]){"--io-threads", "4", __VA_ARGS__, NULL})

/* ---- Beside Redis ---- */

static const char *const pubsub_script[] = {"PUBLISH x hello",
                                            "SPUBLISH x hello",
                                            "PUBLISH x",
                                            "PUBSUB NUMPAT",
                                            "PUBSUB NUMSUB",
                                            "PUBSUB NUMSUB a b",
                                            "PUBSUB CHANNELS",
                                            "PUBSUB SHARDCHANNELS",
                                            "PUBSUB SHARDNUMSUB a",
                                            "PUBSUB HELP",
                                            "PUBSUB FOO",
                                            "PUBSUB",
                                            "PUBSUB CHANNELS a b",
                                            "PUBSUB NUMPAT a",
                                            "SUBSCRIBE a",
                                            "PING",
                                            "PING hi",
                                            "GET k",
                                            "CLIENT LIST",
                                            "SUBSCRIBE",
                                            "PSUBSCRIBE a* b",
                                            "SSUBSCRIBE a",
                                            "UNSUBSCRIBE a nosuch",
                                            "PUNSUBSCRIBE b",
                                            "PUNSUBSCRIBE",
                                            "PUNSUBSCRIBE",
                                            "SUNSUBSCRIBE",
                                            "SUNSUBSCRIBE",
                                            "UNSUBSCRIBE",
                                            "GET k",
                                            "SUBSCRIBE a",
                                            "RESET",
                                            "GET k",
                                            "MULTI",
                                            "PUBLISH x one",
                                            "SET k v",
                                            "PUBLISH x two",
                                            "EXEC",
                                            "MULTI",
                                            "PUBLISH x one",
                                            "NOSUCH",
                                            "EXEC",
                                            "MULTI",
                                            "MONITOR",
                                            "MONITOR",
                                            "SSUBSCRIBE a",
                                            "SSUBSCRIBE b c",
                                            "EXEC",
                                            "GET k",
                                            NULL};

static const char *const events_script[] = {"SET k v",
                                            "SET k v EX 100",
                                            "SET k v KEEPTTL",
                                            "SET k v NX",
                                            "SET k2 v NX GET",
                                            "SET k2 v GET",
                                            "SET k3 v XX",
                                            "SETNX k3 v",
                                            "SETNX k3 v",
                                            "SETEX k4 100 v",
                                            "PSETEX k4 100000 v",
                                            "MSET a 1 b 2 a 3",
                                            "MSETNX a 1 zz 2",
                                            "MSETNX yy 1 zz 2",
                                            "GETSET g 1",
                                            "GETSET g 2",
                                            "APPEND k x",
                                            "APPEND ap x",
                                            "SETRANGE sr 3 x",
                                            "INCR i",
                                            "DECRBY i 3",
                                            "INCRBYFLOAT f 1.5",
                                            "GETDEL f",
                                            "GETDEL f",
                                            "GETEX k EX 10",
                                            "GETEX k PERSIST",
                                            "GETEX k PERSIST",
                                            "GETEX k EXAT 1",
                                            "GETEX k",
                                            "GET nosuch",
                                            "MGET a nosuch b",
                                            "EXISTS a nosuch",
                                            "TOUCH a nosuch",
                                            "TYPE nosuch",
                                            "TTL nosuch",
                                            "STRLEN nosuch",
                                            "GETRANGE nosuch 0 1",
                                            "EXPIRE a 100",
                                            "EXPIRE a 100 NX",
                                            "EXPIRE nosuch 1",
                                            "PEXPIRE a 100000",
                                            "PERSIST a",
                                            "PERSIST a",
                                            "EXPIRE a -1",
                                            "DEL b yy nosuch zz",
                                            "UNLINK k2 k2",
                                            "SET r1 v",
                                            "SET r2 v",
                                            "RENAME r1 r2",
                                            "RENAME r2 r2",
                                            "RENAMENX r2 r3",
                                            "SET r4 v",
                                            "RENAMENX r3 r4",
                                            "SELECT 5",
                                            "SET in5 x",
                                            "SET sx v EXAT 1",
                                            "GET sx",
                                            "SET str abc",
                                            "INCR str",
                                            "FLUSHDB",
                                            "SELECT 0",
                                            "SETBIT b1 3 1",
                                            "SETBIT b1 3 1",
                                            "BITOP OR d b1 nosuch",
                                            "BITOP AND d nosuch nosuch2",
                                            "BITFIELD bf SET u8 0 5",
                                            "BITFIELD bf INCRBY u8 0 0",
                                            "BITFIELD bf2 OVERFLOW FAIL INCRBY u2 0 9",
                                            "PFADD h a b c",
                                            "PFADD h a",
                                            "PFADD h2",
                                            "PFMERGE h3 h h2",
                                            "PFCOUNT h h2 nosuch",
                                            "SET c1 v",
                                            "COPY c1 c2",
                                            "COPY c1 c2",
                                            "COPY c1 c2 REPLACE",
                                            "COPY c1 c1 DB 3",
                                            "COPY nosuch c3",
                                            "MOVE c2 5",
                                            "MOVE nosuch 5",
                                            "MOVE c1 3",
                                            "SORT nosuch STORE so",
                                            "SET so x",
                                            "SORT nosuch STORE so",
                                            "OBJECT ENCODING nosuch",
                                            "DUMP nosuch",
                                            "MULTI",
                                            "SET m 1",
                                            "SELECT 3",
                                            "PUBLISH ch x",
                                            "INCR m",
                                            "GET nosuch",
                                            "SELECT 0",
                                            "EXEC",
                                            "MULTI",
                                            "SET m 2",
                                            "DISCARD",
                                            "WATCH m",
                                            "MULTI",
                                            "SET m 3",
                                            "EXEC",
                                            NULL};

static void run_line(struct respc *c, const char *line, struct bk_buf *out)
{
    struct bk_span argv[16];
    size_t argc = 0;
    char words[128];
    char *rest = words;
    snprintf(words, sizeof words, "%s", line);
    for (char *w = strtok_r(words, " ", &rest); w != NULL; w = strtok_r(NULL, " ", &rest)) {
        assert_true(argc < sizeof argv / sizeof argv[0]);
        argv[argc++] = bk_span_str(w);
    }
    struct reply *r = respc_command_argv(c, argc, argv);
    assert_non_null(r);
    reply_format(r, out);
    out->data[out->len - 1] = '\n';
    reply_free(&r);
}

/* What the client is answered, then what one who listens to everything has heard. */
static void play(struct server *s, const char *const *script, struct bk_buf *out)
{
    struct respc *c = expect_connection(s);
    struct respc *hears = expect_connection(s);
    bool more = true;
    expect_reply(c, "+OK", "CONFIG", "SET", "notify-keyspace-events", "AKEmn", NULL);
    expect_reply(hears, "*3 [$\"psubscribe\" $\"*\" :1]", "PSUBSCRIBE", "*", NULL);
    for (size_t i = 0; script[i] != NULL; i++) {
        run_line(c, script[i], out);
    }
    run_line(c, "PUBLISH the end", out);
    while (more) {
        struct reply *r = respc_read(hears);
        assert_non_null(r);
        reply_format(r, out);
        out->data[out->len - 1] = '\n';
        more = strcmp(r->elem[2]->text, "the") != 0;
        reply_free(&r);
    }
    bk_buf_append(out, "", 1);
    respc_close(&c);
    respc_close(&hears);
}

static void compare(const char *const *script)
{
    static const char *const options[] = {"--io-threads", "4", "--appendfsync", "no", NULL};
    expect_as_redis(options, script, play);
}

static void test_events__replies_and_messages__are_redis_s(void **state)
{
    (void)state;
    compare(pubsub_script);
}

static void test_events__of_each_command__are_redis_s_in_its_order(void **state)
{
    (void)state;
    compare(events_script);
}

/* ---- Keys that run out of time ---- */

#define EXPIRING 2000

/* Several clients on several loops look at them while the expiry step takes them out. */
static void test_events__expired_keys__are_told_of_once_each(void **state)
{
    (void)state;
    START("--appendfsync", "no", "--notify-keyspace-events", "Ex");
    unsigned heard[EXPIRING] = {0};
    struct respc *hears = expect_connection(&server);
    struct respc *looks[3];
    struct bk_buf b = {0};
    char key[16];
    expect_reply(hears, "*3 [$\"subscribe\" $\"__keyevent@0__:expired\" :1]", "SUBSCRIBE",
                 "__keyevent@0__:expired", NULL);
    for (int i = 0; i < 3; i++) {
        looks[i] = expect_connection(&server);
    }
    for (int i = 0; i < EXPIRING; i++) {
        char ms[8];
        snprintf(key, sizeof key, "k%d", i);
        snprintf(ms, sizeof ms, "%d", 1 + i % 300);
        respc_format(&b, "SET", key, "v", "PX", ms, NULL);
    }
    assert_true(respc_exchange(looks[0], b.data, b.len, EXPIRING));
    b.len = 0;
    for (int i = 0; i < EXPIRING; i++) {
        snprintf(key, sizeof key, "k%d", i);
        respc_format(&b, i % 2 == 0 ? "GET" : "DEL", key, NULL);
    }
    for (int i = 0; i < 3; i++) {
        assert_true(respc_send(looks[i], b.data, b.len)); /* DEL of a live one: never told of */
    }
    long removed = 0;
    for (int i = 0; i < 3; i++) {
        for (int n = 0; n < EXPIRING; n++) {
            struct reply *r = respc_read(looks[i]);
            assert_non_null(r);
            removed += r->type == ':' ? (long)r->integer : 0;
            reply_free(&r);
        }
    }
    long told = 0;
    for (bool pong = false; !pong;) {
        if (told == EXPIRING - removed) { /* and nothing else */
            assert_true(respc_send(hears, "PING\r\n", 6));
        }
        struct reply *r = respc_read(hears);
        assert_non_null(r);
        pong = r->elems == 2;
        if (!pong) {
            told++;
            heard[strtol(r->elem[2]->text + 1, NULL, 10)]++;
        }
        reply_free(&r);
    }
    for (int i = 0; i < EXPIRING; i++) {
        if (heard[i] > 1) {
            fail_msg("k%d: told of %u times", i, heard[i]);
        }
    }
    assert_int_equal(told, EXPIRING - removed);
    for (int i = 0; i < 3; i++) {
        respc_close(&looks[i]);
    }
    bk_buf_fini(&b);
    respc_close(&hears);
    expect_clean_stop(&server);
}

/* ---- MONITOR ---- */

static void expect_shown(struct respc *c, int db, const char *want)
{
    struct reply *r = respc_read(c);
    assert_non_null(r);
    assert_int_equal(r->type, '+');
    const char *at = strchr(r->text, '[');
    assert_non_null(at);
    assert_int_equal(strtol(at + 1, NULL, 10), db);
    at = strchr(r->text, '"');
    assert_non_null(at);
    assert_string_equal(at, want);
    reply_free(&r);
}

static void test_monitor__shows_what_others_run_and_no_password(void **state)
{
    (void)state;
    START("--appendfsync", "no");
    struct respc *watches = expect_connection(&server);
    struct respc *c = expect_connection(&server);
    struct bk_buf out = {0};
    expect_reply(watches, "+OK", "MONITOR", NULL);
    expect_reply(c, "+OK", "SET", "k", "a b\n\"\\\x01", NULL);
    expect_shown(watches, 0, "\"SET\" \"k\" \"a b\\n\\\"\\\\\\x01\"");
    run_line(c, "AUTH default secret", &out);
    expect_shown(watches, 0, "\"AUTH\" \"(redacted)\" \"(redacted)\"");
    run_line(c, "HELLO 2 AUTH default secret", &out);
    expect_shown(watches, 0, "\"HELLO\" \"2\" \"AUTH\" \"(redacted)\" \"(redacted)\"");
    run_line(c, "HELLO 9 AUTH default secret", &out); /* wrong before it gets there */
    expect_shown(watches, 0, "\"HELLO\" \"9\" \"AUTH\" \"(redacted)\" \"(redacted)\"");
    run_line(c, "AUTH a b c", &out);
    expect_shown(watches, 0, "\"AUTH\" \"(redacted)\" \"(redacted)\" \"(redacted)\"");
    run_line(c, "MULTI", &out);
    run_line(c, "MIGRATE 127.0.0.1 1 k 0 1 AUTH secret", &out); /* an error, shown all the same */
    run_line(c, "INCR n", &out);
    run_line(c, "EXEC", &out);
    expect_shown(watches, 0, "\"MULTI\"");
    expect_shown(watches, 0,
                 "\"MIGRATE\" \"127.0.0.1\" \"1\" \"k\" \"0\" \"1\" \"AUTH\" \"(redacted)\"");
    expect_shown(watches, 0, "\"INCR\" \"n\"");
    expect_shown(watches, 0, "\"EXEC\"");
    run_line(c, "CONFIG GET port", &out); /* an administrator's: not shown */
    run_line(c, "NOSUCH", &out);          /* nor what did not run */
    run_line(c, "MULTI", &out);
    run_line(c, "INCR n", &out);
    run_line(c, "SELECT 3", &out);
    run_line(c, "INCR n", &out);
    run_line(c, "EXEC", &out);
    expect_shown(watches, 0, "\"MULTI\"");
    expect_shown(watches, 0, "\"INCR\" \"n\"");
    expect_shown(watches, 3, "\"SELECT\" \"3\"");
    expect_shown(watches, 3, "\"INCR\" \"n\"");
    expect_shown(watches, 3, "\"EXEC\"");
    expect_reply(watches, "-ERR Replica can't interact with the keyspace", "GET", "k", NULL);
    expect_reply(watches, "+RESET", "RESET", NULL);
    run_line(c, "PING", &out);
    expect_reply(watches, "$null", "GET", "nosuch", NULL);
    bk_buf_fini(&out);
    respc_close(&watches);
    respc_close(&c);
    expect_clean_stop(&server);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_none, teardown_server)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_events__replies_and_messages__are_redis_s),
        TEST(test_events__of_each_command__are_redis_s_in_its_order),
        TEST(test_events__expired_keys__are_told_of_once_each),
        TEST(test_monitor__shows_what_others_run_and_no_password),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
