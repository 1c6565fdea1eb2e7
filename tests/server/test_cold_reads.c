/* SPDX-License-Identifier: MIT */
/*
 * test_cold_reads.c - values that are on the disk alone, on a server whose reads of data files are
 * never answered at once, and can be held for as long as a test likes (tests/lib/preload_read.c).
 * One loop, no value cache: a loop that waited for the disk would answer nobody.
 */
#include "lib/rng.h"
#include "server/cold_server.h"

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

/* ---- Trap 40 ---- */

/* By one client, in one pipeline: each sees what came before it, and nothing of what comes after.
 */
static void test_trap40__get_set_get_of_one_cold_key__old_value_ok_new_value(void **state)
{
    struct fixture *f = *state;
    put(f, "k", "old");
    hold(f);
    stands(f, "GET k\r\nSET k new\r\nGET k\r\n");
    let_go(f);
    expect_next(f->a, "$\"old\"");
    expect_next(f->a, "+OK");
    expect_next(f->a, "$\"new\"");
    expect_reply(f->b, "$\"new\"", "GET", "k", NULL);
}

/* Until the key is gone for who looks now; each look is a round trip. */
static void until_expired(struct fixture *f, const char *key)
{
    struct reply *r = NULL;
    bool there = true;
    while (there) {
        r = respc_command(f->b, "PTTL", key, NULL);
        assert_true(r != NULL && r->type == ':');
        there = r->integer >= 0;
        reply_free(&r);
    }
}

/* Until only the one that lasts is left in memory. */
static void until_removed(struct fixture *f)
{
    int64_t keys = 0;
    while (keys != 1) {
        struct reply *r = respc_command(f->b, "DBSIZE", NULL);
        assert_true(r != NULL && r->type == ':');
        keys = r->integer;
        reply_free(&r);
    }
}

/* Until the server's clock has passed the time; nobody looks at any key. */
static void until_time(struct fixture *f, int64_t ms)
{
    int64_t now = 0;
    while (now <= ms) {
        struct reply *r = respc_command(f->b, "TIME", NULL);
        assert_true(r != NULL && r->elems == 2);
        now = strtoll(r->elem[0]->text, NULL, 10) * 1000;
        now += strtoll(r->elem[1]->text, NULL, 10) / 1000;
        reply_free(&r);
    }
}

/* The time of the key runs out while its value is on the way; then it may be removed, too. */
static void test_trap40__key_expires_while_it_is_read__is_absent(void **state)
{
    struct fixture *f = *state;
    put(f, "lasts", "here");
    for (int removed = 0; removed < 2; removed++) {
        expect_reply(f->b, "+OK", "SET", "k", "value", "PX", "2000", NULL);
        struct reply *r = respc_command(f->b, "PEXPIRETIME", "k", NULL);
        assert_true(r != NULL && r->integer > 0);
        hold(f);
        stands(f, "GET k\r\nEXISTS k\r\nGET lasts\r\n");
        until_time(f, r->integer);
        if (removed) {
            until_removed(f);
        }
        let_go(f);
        expect_next(f->a, "$null");
        expect_next(f->a, ":0");
        expect_next(f->a, "$\"here\"");
        reply_free(&r);
    }
}

static void test_trap40__replaced_and_expired_while_it_is_read__is_absent(void **state)
{
    struct fixture *f = *state;
    put(f, "k", "value");
    hold(f);
    stands(f, "APPEND k more\r\nGET k\r\n");
    expect_reply(f->b, "+OK", "SET", "k", "short", "PX", "1", NULL);
    until_expired(f, "k");
    let_go(f);
    expect_next(f->a, ":4");
    expect_next(f->a, "$\"more\"");
}

/* ---- Transactions and pauses ---- */

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
    const struct CMUnitTest tests[] = {
        TEST(test_cold_reads__disk_hangs__other_clients_are_answered),
        TEST(test_cold_reads__all_keys_of_a_command__are_read_together),
        TEST(test_cold_reads__pipelined_reads__are_read_together),
        TEST(test_cold_reads__key_written_meanwhile__the_command_sees_it),
        TEST(test_cold_reads__changed_under_a_change__nothing_is_lost),
        TEST(test_cold_reads__key_gone_meanwhile__answers_as_if_asked_now),
        TEST(test_trap40__get_set_get_of_one_cold_key__old_value_ok_new_value),
        TEST(test_trap40__key_expires_while_it_is_read__is_absent),
        TEST(test_trap40__replaced_and_expired_while_it_is_read__is_absent),
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
