/* SPDX-License-Identifier: MIT */
/*
 * maxmemory: memory stays bounded by each policy, what is evicted is what the policy names and is
 * gone for good, the value cache gives way first, and clients' buffers count.
 * BITKV_TEST_CONNECTIONS=10000 for as many connections.
 */
#include "lib/expect.h"
#include "lib/rng.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define MIB (1024u * 1024u)
#define KEY_LEN 200    /* a key of this length takes some 240 bytes of memory */
#define BATCH 500u     /* commands sent at once */
#define OVER (4 * MIB) /* what arrives between two looks at memory, and pages in use in part */

static struct server server;
static struct respc *client;

static int setup(void **state)
{
    (void)state;
    server = (struct server){.redis = false};
    client = NULL;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    respc_close(&client);
    server_fini(&server);
    return 0;
}

static void start(const char *const *options)
{
    for (size_t i = 0; options[i] != NULL; i++) {
        server.options[i] = options[i];
    }
    assert_true(server_start(&server));
    client = expect_connection(&server);
}
/* A sanitizer's allocator has no figures to bound. */
#define START(...)                                                                                 \
    do {                                                                                           \
        if (!EXPECT_MEMORY) {                                                                      \
            skip();                                                                                \
        }                                                                                          \
        start(                                                                                     \
            (const char *const[]){"--io-threads", "2", "--maxmemory", "32mb", __VA_ARGS__, NULL}); \
    } while (0)

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static unsigned long info(const char *field)
{
    struct reply *r = respc_command(client, "INFO", "everything", NULL);
    char line[64];
    assert_non_null(r);
    snprintf(line, sizeof line, "\n%s:", field);
    const char *at = strstr(r->text, line);
    assert_non_null(at);
    unsigned long v = strtoul(at + strlen(line), NULL, 10);
    reply_free(&r);
    return v;
}

static unsigned long dbsize(void)
{
    struct reply *r = respc_command(client, "DBSIZE", NULL);
    assert_non_null(r);
    unsigned long n = (unsigned long)r->integer;
    reply_free(&r);
    return n;
}

static const char *key_name(unsigned i)
{
    static char key[KEY_LEN + 1];
    snprintf(key, sizeof key, "%0*u", KEY_LEN, i);
    return key;
}

/* Sends what format gives for each key and reads the replies; returns how many were no errors. */
static unsigned send_batch(unsigned from, unsigned n, const char *command, const char *value,
                           const char *ex)
{
    struct bk_buf out = {0};
    unsigned good = 0;
    for (unsigned i = from; i < from + n; i++) {
        respc_format(&out, command, key_name(i), value, value == NULL ? NULL : ex,
                     ex == NULL ? NULL : "100000", NULL);
    }
    assert_true(respc_send(client, out.data, out.len));
    for (unsigned i = 0; i < n; i++) {
        struct reply *r = respc_read(client);
        assert_non_null(r);
        good += r->type != '-' && !r->null && (r->type != ':' || r->integer != 0);
        assert_true(r->type != '-' || strncmp(r->text, "OOM ", 4) == 0);
        reply_free(&r);
    }
    bk_buf_fini(&out);
    return good;
}

static unsigned each_key(unsigned from, unsigned to, const char *command, const char *value,
                         const char *ex)
{
    unsigned good = 0;
    for (unsigned i = from; i < to; i += BATCH) {
        good += send_batch(i, to - i < BATCH ? to - i : BATCH, command, value, ex);
    }
    return good;
}

static void expect_bounded(void)
{
    unsigned long used = info("used_memory");
    if (used > 32 * MIB + OVER) {
        fail_msg("%lu bytes are used, %lu counted", used, info("mem_counted_for_maxmemory"));
    }
}

/* ---- Policies ---- */

#define KEYS 160000u
#define KEPT 2000u

/* Twice of what fits; 2,000 keys without an expiry come first. */
static void fill_past(const char *policy)
{
    bool all = strncmp(policy, "allkeys", 7) == 0;
    START("--cache-size", "0", "--maxmemory-policy", policy);
    unsigned stored = each_key(0, KEPT, "SET", "v", NULL);
    assert_int_equal(stored, KEPT);
    for (unsigned i = KEPT; i < KEYS; i += 10 * BATCH) {
        unsigned to = i + 10 * BATCH < KEYS ? i + 10 * BATCH : KEYS;
        stored += each_key(i, to, "SET", "v", all ? NULL : "EX");
        expect_bounded();
    }
    assert_int_equal(stored, KEYS);
    unsigned long evicted = info("evicted_keys");
    print_message("%s: %lu of %u evicted, %lu bytes used\n", policy, evicted, KEYS,
                  info("used_memory"));
    assert_true(evicted > KEYS / 8);
    if (!all) {
        assert_int_equal(each_key(0, KEPT, "EXISTS", NULL, NULL), KEPT);
    }
    /* The last slice may still be under way. */
    expect_reply(client, "+OK", "CONFIG", "SET", "maxmemory", "0", NULL);
    assert_int_equal(dbsize() + info("evicted_keys"), stored);
}

static void test_maxmemory__allkeys_lru__stays_bounded(void **state)
{
    (void)state;
    fill_past("allkeys-lru");
}

static void test_maxmemory__allkeys_random__stays_bounded(void **state)
{
    (void)state;
    fill_past("allkeys-random");
}

static void test_maxmemory__volatile_lru__stays_bounded(void **state)
{
    (void)state;
    fill_past("volatile-lru");
}

static void test_maxmemory__volatile_random__stays_bounded(void **state)
{
    (void)state;
    fill_past("volatile-random");
}

static void test_maxmemory__volatile_ttl__stays_bounded(void **state)
{
    (void)state;
    fill_past("volatile-ttl");
}

static void test_maxmemory__nothing_to_evict__refuses(void **state)
{
    (void)state;
    START("--cache-size", "0", "--maxmemory-policy", "volatile-lru");
    assert_true(each_key(0, KEYS, "SET", "v", NULL) < KEYS);
    assert_int_equal(info("evicted_keys"), 0);
    expect_bounded();
}

static void test_maxmemory__noeviction__refuses_until_keys_are_deleted(void **state)
{
    (void)state;
    START("--cache-size", "0");
    unsigned stored = each_key(0, KEYS, "SET", "v", NULL);
    assert_true(stored < KEYS);
    expect_bounded();
    assert_int_equal(info("evicted_keys"), 0);
    assert_int_equal(dbsize(), stored);
    expect_reply(client, "-OOM command not allowed when used memory > 'maxmemory'.", "SET",
                 key_name(0), "w", NULL);
    expect_reply(client, "$\"v\"", "GET", key_name(0), NULL);
    expect_reply(client, ":1", "DEL", key_name(0), NULL);
    assert_true(each_key(1, stored / 2, "DEL", NULL, NULL) > 0);
    int64_t end = now_ms() + RESPC_PATIENCE_MS;
    while (send_batch(0, 1, "SET", "v", NULL) == 0) {
        assert_true(now_ms() < end);
    }
}

static void test_maxmemory__unknown_policies__are_refused(void **state)
{
    (void)state;
    START("--cache-size", "0");
    expect_reply(client,
                 "-ERR CONFIG SET failed (possibly related to argument 'maxmemory-policy') - "
                 "argument(s) must be one of the following: volatile-lru, volatile-random, "
                 "volatile-ttl, allkeys-lru, allkeys-random, noeviction",
                 "CONFIG", "SET", "maxmemory-policy", "allkeys-lfu", NULL);
    expect_reply(client, "+OK", "CONFIG", "SET", "maxmemory-policy", "volatile-ttl",
                 "maxmemory-samples", "10", NULL);
}

/* A limit that no server keeps: keys go as long as there are some, beside reads on another loop. */
static void test_maxmemory__far_over__keys_go_beside_reads(void **state)
{
    (void)state;
    enum { N = 20000 };
    static const char *const options[] = {"--io-threads", "2", "--maxmemory-policy", "allkeys-lru",
                                          NULL};
    start(options);
    struct respc *reader = expect_connection(&server);
    unsigned stored = each_key(0, N, "SET", "v", NULL);
    assert_int_equal(stored, N);
    expect_reply(client, "+OK", "CONFIG", "SET", "maxmemory", "1mb", NULL);
    for (unsigned from = N; from < 2 * N; from += BATCH) {
        struct bk_buf out = {0};
        for (unsigned i = 0; i < BATCH; i++) {
            respc_format(&out, "GET", key_name(i * 17 % N), NULL);
        }
        assert_true(respc_send(reader, out.data, out.len));
        stored += send_batch(from, BATCH, "SET", "v", NULL);
        for (unsigned i = 0; i < BATCH; i++) {
            struct reply *r = respc_read(reader);
            assert_non_null(r);
            assert_int_equal(r->type, '$');
            reply_free(&r);
        }
        bk_buf_fini(&out);
    }
    expect_reply(client, "+OK", "CONFIG", "SET", "maxmemory", "0", NULL);
    unsigned long evicted = info("evicted_keys");
    print_message("%u stored, %lu evicted\n", stored, evicted);
    assert_true(evicted > N / 4);
    assert_int_equal(dbsize() + evicted, stored);
    respc_close(&reader);
}

/* ---- LRU ---- */

/* The allocator's own tables and the slack of its pages take up to 4 MiB more in one run than in
 * another, and some 12,000 keys go for them as well: with less than half as many new keys as cold
 * ones, cold ones are left in the end. */
#define HOT 4000u
#define COLD 50000u
#define NEW_AT_ONCE 2500u

/* Share of the hot keys that are there in the end, in percent. */
static unsigned hot_left(const char *policy)
{
    START("--cache-size", "0", "--maxmemory-policy", policy);
    assert_int_equal(each_key(0, HOT + COLD, "SET", "v", NULL), HOT + COLD);
    int64_t end = now_ms() + 2500; /* cold keys become old: ages are a second long */
    while (now_ms() < end) {
        (void)each_key(0, HOT, "GET", NULL, NULL);
    }
    for (unsigned i = 0; i < 8; i++) {
        unsigned from = HOT + COLD + i * NEW_AT_ONCE;
        assert_int_equal(each_key(from, from + NEW_AT_ONCE, "SET", "v", NULL), NEW_AT_ONCE);
        (void)each_key(0, HOT, "GET", NULL, NULL);
    }
    unsigned long evicted = info("evicted_keys");
    unsigned left = each_key(0, HOT, "EXISTS", NULL, NULL) * 100 / HOT;
    print_message("%s: %lu evicted, %u%% of the hot keys left\n", policy, evicted, left);
    assert_true(evicted > 0);
    respc_close(&client);
    server_fini(&server);
    server = (struct server){.redis = false};
    return left;
}

static void test_maxmemory__lru__keeps_the_hot_keys(void **state)
{
    (void)state;
    unsigned lru = hot_left("allkeys-lru");
    unsigned random = hot_left("allkeys-random");
    assert_true(lru >= 85); /* a busy machine reads the hot keys less often meanwhile */
    assert_true(lru > random);
}

/* ---- For good ---- */

static void test_maxmemory__killed__evicted_keys_stay_away(void **state)
{
    (void)state;
    unsigned n = KEYS / 2 + KEYS / 4;
    unsigned stay = 0;
    START("--cache-size", "0", "--maxmemory-policy", "allkeys-random");
    bool *there = calloc(n, sizeof *there);
    assert_non_null(there);
    assert_int_equal(each_key(0, n, "SET", "v", NULL), n);
    expect_reply(client, "+OK", "CONFIG", "SET", "maxmemory", "0", NULL);
    for (unsigned i = 0; i < n; i++) {
        there[i] = send_batch(i, 1, "EXISTS", NULL, NULL) == 1;
        stay += there[i];
    }
    assert_true(stay < n);
    respc_close(&client);
    (void)server_signal(&server, SIGKILL);
    server.options[3] = "0"; /* maxmemory */
    assert_true(server_start(&server));
    client = expect_connection(&server);
    assert_int_equal(dbsize(), stay);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(send_batch(i, 1, "EXISTS", NULL, NULL), there[i]);
    }
    free(there);
}

static void test_maxmemory__evicted__is_told_as_an_event(void **state)
{
    (void)state;
    START("--cache-size", "0", "--maxmemory-policy", "allkeys-random", "--notify-keyspace-events",
          "Ee");
    struct respc *listener = expect_connection(&server);
    expect_reply(listener, "*3 [$\"subscribe\" $\"__keyevent@0__:evicted\" :1]", "SUBSCRIBE",
                 "__keyevent@0__:evicted", NULL);
    unsigned n = 0;
    while (info("evicted_keys") == 0) {
        assert_int_equal(send_batch(n, BATCH, "SET", "v", NULL), BATCH);
        n += BATCH;
    }
    expect_reply(client, "+OK", "CONFIG", "SET", "maxmemory", "0", NULL);
    unsigned long evicted = info("evicted_keys");
    for (unsigned long i = 0; i < evicted; i++) {
        struct reply *r = respc_read(listener);
        assert_non_null(r);
        assert_int_equal(r->elems, 3);
        unsigned key = (unsigned)strtoul(r->elem[2]->text, NULL, 10);
        assert_true(key < n);
        assert_int_equal(send_batch(key, 1, "EXISTS", NULL, NULL), 0);
        reply_free(&r);
    }
    respc_close(&listener);
}

/* ---- What counts ---- */

static void test_maxmemory__value_cache__gives_way_before_keys_do(void **state)
{
    (void)state;
    static char value[4001];
    unsigned long shrunk = 0; /* seen while no key had gone */
    unsigned i = 4000;
    memset(value, 'v', sizeof value - 1);
    START("--cache-size", "8mb", "--maxmemory-policy", "allkeys-random");
    assert_int_equal(each_key(0, i, "SET", value, NULL), i);
    assert_int_equal(each_key(0, i, "GET", NULL, NULL), i);
    unsigned long full = info("cache_used");
    assert_true(full > 6 * MIB);
    for (; i < KEYS && info("evicted_keys") == 0; i += BATCH) {
        unsigned long used = info("cache_used");
        unsigned long gone = used < full ? full - used : 0;
        shrunk = info("evicted_keys") == 0 && gone > shrunk ? gone : shrunk;
        assert_int_equal(send_batch(i, BATCH, "SET", "v", NULL), BATCH);
    }
    print_message("%lu KiB of %lu went from the cache first\n", shrunk / 1024, full / 1024);
    assert_true(i < KEYS);
    assert_true(shrunk > full / 2);
    assert_true(info("cache_used") < full / 4);
}

static void test_maxmemory__clients_buffers__count(void **state)
{
    (void)state;
    const char *text = getenv("BITKV_TEST_CONNECTIONS");
    unsigned n = text != NULL ? (unsigned)strtoul(text, NULL, 10) : 800;
    unsigned long each = 24 * MIB / n;
    char limit[32];
    struct bk_buf half = {0};
    START("--cache-size", "0", "--maxclients", "20000");
    struct respc **many = calloc(n, sizeof(struct respc *));
    assert_non_null(many);
    bk_buf_printf(&half, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%lu\r\n", each + 1);
    memset(bk_buf_reserve(&half, each), 'v', each);
    half.len += each;
    snprintf(limit, sizeof limit, "%lu", info("mem_counted_for_maxmemory") + 12 * MIB);
    expect_reply(client, "+OK", "CONFIG", "SET", "maxmemory", limit, NULL);
    expect_reply(client, "+OK", "SET", "k", "v", NULL);
    for (unsigned i = 0; i < n; i++) {
        many[i] = expect_connection(&server);
        assert_true(respc_send(many[i], half.data, half.len));
    }
    int64_t end = now_ms() + RESPC_PATIENCE_MS;
    while (send_batch(0, 1, "SET", "v", NULL) == 1) {
        assert_true(now_ms() < end);
    }
    for (unsigned i = 0; i < n; i++) {
        respc_close(&many[i]);
    }
    end = now_ms() + RESPC_PATIENCE_MS;
    while (send_batch(0, 1, "SET", "v", NULL) == 0) {
        assert_true(now_ms() < end);
    }
    bk_buf_fini(&half);
    free(many);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_maxmemory__allkeys_lru__stays_bounded),
        CASE(test_maxmemory__allkeys_random__stays_bounded),
        CASE(test_maxmemory__volatile_lru__stays_bounded),
        CASE(test_maxmemory__volatile_random__stays_bounded),
        CASE(test_maxmemory__volatile_ttl__stays_bounded),
        CASE(test_maxmemory__nothing_to_evict__refuses),
        CASE(test_maxmemory__noeviction__refuses_until_keys_are_deleted),
        CASE(test_maxmemory__unknown_policies__are_refused),
        CASE(test_maxmemory__far_over__keys_go_beside_reads),
        CASE(test_maxmemory__lru__keeps_the_hot_keys),
        CASE(test_maxmemory__killed__evicted_keys_stay_away),
        CASE(test_maxmemory__evicted__is_told_as_an_event),
        CASE(test_maxmemory__value_cache__gives_way_before_keys_do),
        CASE(test_maxmemory__clients_buffers__count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
