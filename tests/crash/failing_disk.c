/* SPDX-License-Identifier: MIT */
/*
 * failing_disk.c - the real server under load on a disk whose syncs or writes fail, once or for a
 * while (tests/lib/preload_sync.c), with appendfsync always and everysec; killed in the middle of
 * it in some rounds.
 *
 * Nothing acknowledged is lost, a refused or undone write has changed nothing, reads answer all the
 * time, and writes come back by themselves. With always that holds although what a failed sync was
 * for is gone from the page cache; a process that is killed loses nothing else.
 *
 * Environment: FAILING_ROUNDS (default 16, for each mode), FAILING_SEED, BITKV_SERVER.
 */
#include "lib/moment.h"
#include "lib/rng.h"
#include "lib/server.h"

#include <hiredis/hiredis.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define CLIENTS 6u
#define KEYS 200u
#define VALUE_MAX 3000u
#define PATIENCE_US 60000000
#define PATH_SIZE 300
#define PROBLEM_SIZE 300

struct client {
    /* Set once. */
    unsigned id;
    int port;
    pthread_t thread;
    /* The client's thread only; the test's while it does not run. */
    struct rng rng;
    unsigned serial;
    unsigned keys[KEYS];           /* serial of the last acknowledged SET; 0: none */
    unsigned pending_key, pending; /* sent, and the connection went before the answer */
    char problem[PROBLEM_SIZE];    /* what must not be */
    _Atomic unsigned long acked, refused, reads; /* anyone may read */
    atomic_bool ended;
};

struct state {
    struct server server;
    struct client clients[CLIENTS];
    struct rng rng;
    atomic_bool stop;
    char control[PATH_SIZE];
    unsigned long kills, faults;
    int64_t back_us_max;
};

static struct state T;

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static size_t value_of(unsigned client, unsigned serial, char *out)
{
    struct rng r = {(uint64_t)client << 32 | serial};
    size_t len = (size_t)rng_range(&r, 1, VALUE_MAX);
    rng_fill(&r, out, len);
    return len;
}

static bool is_value(const redisReply *r, unsigned client, unsigned serial)
{
    char value[VALUE_MAX];
    if (serial == 0) {
        return r->type == REDIS_REPLY_NIL;
    }
    size_t len = value_of(client, serial, value);
    return r->type == REDIS_REPLY_STRING && r->len == len && memcmp(r->str, value, len) == 0;
}

/* ---- A client ---- */

/* False: the connection has ended, or something was wrong. */
static bool set_one(struct client *c, redisContext *redis)
{
    char value[VALUE_MAX];
    c->pending_key = (unsigned)rng_below(&c->rng, KEYS);
    c->pending = ++c->serial;
    redisReply *r = redisCommand(redis, "SET c%u:%u %b", c->id, c->pending_key, value,
                                 value_of(c->id, c->pending, value));
    if (r == NULL) {
        return false;
    }
    bool ok = r->type == REDIS_REPLY_STATUS;
    bool refused = r->type == REDIS_REPLY_ERROR && strncmp(r->str, "MISCONF ", 8) == 0;
    if (ok) {
        c->keys[c->pending_key] = c->pending;
    }
    c->pending = 0;
    atomic_fetch_add(&c->acked, ok);
    atomic_fetch_add(&c->refused, refused);
    if (!ok && !refused) {
        snprintf(c->problem, sizeof c->problem, "SET: %.200s", r->str == NULL ? "?" : r->str);
    }
    freeReplyObject(r);
    return ok || refused;
}

static bool get_one(struct client *c, redisContext *redis)
{
    unsigned key = (unsigned)rng_below(&c->rng, KEYS);
    redisReply *r = redisCommand(redis, "GET c%u:%u", c->id, key);
    bool good = r != NULL && is_value(r, c->id, c->keys[key]);
    if (r != NULL && !good) {
        snprintf(c->problem, sizeof c->problem, "GET c%u:%u: %.200s", c->id, key,
                 r->type == REDIS_REPLY_ERROR ? r->str : "another value");
    }
    atomic_fetch_add(&c->reads, good);
    freeReplyObject(r);
    return good;
}

static void *client_main(void *arg)
{
    struct client *c = arg;
    redisContext *redis = redisConnect("127.0.0.1", c->port);
    bool good = redis != NULL && redis->err == 0;
    while (good && !atomic_load(&T.stop)) {
        good = set_one(c, redis) && get_one(c, redis);
    }
    if (redis != NULL) {
        redisFree(redis);
    }
    atomic_store(&c->ended, true);
    return NULL;
}

static void start_clients(void)
{
    atomic_store(&T.stop, false);
    for (unsigned i = 0; i < CLIENTS; i++) {
        T.clients[i].port = T.server.port;
        atomic_store(&T.clients[i].ended, false);
        assert_int_equal(pthread_create(&T.clients[i].thread, NULL, client_main, &T.clients[i]), 0);
    }
}

static void join_clients(void)
{
    atomic_store(&T.stop, true);
    for (unsigned i = 0; i < CLIENTS; i++) {
        pthread_join(T.clients[i].thread, NULL);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        if (T.clients[i].problem[0] != '\0') {
            server_show_log(&T.server);
            fail_msg("%s", T.clients[i].problem);
        }
    }
}

static unsigned long refused(void)
{
    unsigned long n = 0;
    for (unsigned i = 0; i < CLIENTS; i++) {
        n += atomic_load(&T.clients[i].refused);
    }
    return n;
}

/* Until every client has had more SETs acknowledged, or some SET was refused. */
static bool await(unsigned long acked, unsigned long refusals)
{
    unsigned long from[CLIENTS];
    unsigned long before = refused();
    int64_t start = now_us();
    bool enough = false;
    bool ended = false;
    for (unsigned i = 0; i < CLIENTS; i++) {
        from[i] = atomic_load(&T.clients[i].acked);
    }
    while (!enough && !ended && now_us() - start < PATIENCE_US) {
        enough = true;
        for (unsigned i = 0; i < CLIENTS; i++) {
            enough = enough && atomic_load(&T.clients[i].acked) >= from[i] + acked;
            ended = ended || atomic_load(&T.clients[i].ended);
        }
        enough = enough && refused() >= before + refusals;
        moment_pass(enough ? 0 : 1000);
    }
    if (ended) {
        join_clients(); /* tells why */
    }
    if (!enough) {
        server_show_log(&T.server);
    }
    return enough;
}

/* ---- The server ---- */

static void start_server(void)
{
    char data[PATH_SIZE];
    char library[PATH_SIZE * 2];
    snprintf(library, sizeof library, "%s", TEST_SERVER);
    snprintf(strrchr(library, '/'), 64, "/tests/lib/preload_sync.so");
    snprintf(data, sizeof data, "%s/data", T.server.dir.path);
    setenv("FAILING_CONTROL", T.control, 1);
    setenv("FAILING_DIR", data, 1);
    setenv("LD_PRELOAD", library, 1);
    bool started = server_start(&T.server);
    unsetenv("LD_PRELOAD");
    assert_true(started);
}

/* Every key is what was last acknowledged, or what was on its way when the connection went. */
static void check_all(void)
{
    redisContext *redis = redisConnect("127.0.0.1", T.server.port);
    assert_true(redis != NULL && redis->err == 0);
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *c = &T.clients[i];
        for (unsigned k = 0; k < KEYS; k++) {
            redisReply *r = redisCommand(redis, "GET c%u:%u", i, k);
            assert_non_null(r);
            bool sent = c->pending != 0 && k == c->pending_key;
            if (sent && is_value(r, i, c->pending)) {
                c->keys[k] = c->pending;
            } else if (!is_value(r, i, c->keys[k])) {
                server_show_log(&T.server);
                fail_msg("key c%u:%u: %s", i, k, r->type == REDIS_REPLY_ERROR ? r->str : "lost");
            }
            freeReplyObject(r);
        }
        c->pending = 0;
    }
    redisFree(redis);
}

static void kill_and_check(void)
{
    assert_int_equal(server_signal(&T.server, SIGKILL), -SIGKILL);
    join_clients();
    unlink(T.control);
    start_server();
    check_all();
    start_clients();
    T.kills++;
}

/* ---- Rounds ---- */

/* By a rename, so that nobody reads half of it. */
static void fail_now(const char *words)
{
    char path[PATH_SIZE + 8];
    snprintf(path, sizeof path, "%s.new", T.control);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(words, f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(rename(path, T.control), 0);
    T.faults++;
}

static void await_taken(void)
{
    int64_t start = now_us();
    while (access(T.control, F_OK) == 0) {
        assert_true(now_us() - start < PATIENCE_US);
        moment_pass(1000);
    }
}

static void one_round(unsigned round, bool always)
{
    static const char *const kinds[] = {"once sync data", "sync data",  "once sync",
                                        "sync",           "write data", "sync write"};
    const char *kind = kinds[round % 6];
    bool lasts = strncmp(kind, "once", 4) != 0;
    char words[64];
    snprintf(words, sizeof words, "%s%s", kind, always ? " drop" : "");
    assert_true(await(20, 0));
    fail_now(words);
    if (lasts) {
        assert_true(await(0, CLIENTS)); /* a while of refusals */
        moment_pass(rng_below(&T.rng, 400000));
    } else {
        await_taken();
    }
    if (round % 4 == 3) {
        kill_and_check();
    }
    unlink(T.control);
    int64_t start = now_us();
    assert_true(await(5, 0));
    int64_t took = now_us() - start;
    T.back_us_max = took > T.back_us_max ? took : T.back_us_max;
}

static void set_up(const char *mode, uint64_t seed)
{
    memset(&T, 0, sizeof T);
    T.rng.state = seed;
    for (unsigned i = 0; i < CLIENTS; i++) {
        T.clients[i].id = i;
        T.clients[i].rng.state = rng_next(&T.rng);
    }
    tmpdir_make(&T.server.dir, "failing");
    snprintf(T.control, sizeof T.control, "%s/control", T.server.dir.path);
    const char *options[] = {"--appendfsync", mode, "--max-file-size", "1mb", "--io-threads", "2"};
    memcpy(T.server.options, options, sizeof options);
    start_server();
    start_clients();
}

static void failing(const char *mode)
{
    const char *text = getenv("FAILING_ROUNDS");
    unsigned rounds = text == NULL ? 16 : (unsigned)strtoul(text, NULL, 10);
    uint64_t seed = rng_seed_from_env("FAILING_SEED");
    unsigned long acked = 0;
    unsigned long reads = 0;
    set_up(mode, seed);
    print_message("FAILING_SEED=%llu FAILING_ROUNDS=%u appendfsync %s\n", (unsigned long long)seed,
                  rounds, mode);
    for (unsigned round = 0; round < rounds; round++) {
        one_round(round, strcmp(mode, "always") == 0);
    }
    kill_and_check();
    join_clients();
    check_all();
    assert_int_equal(server_stop(&T.server), 0);
    for (unsigned i = 0; i < CLIENTS; i++) {
        acked += T.clients[i].acked;
        reads += T.clients[i].reads;
    }
    print_message("%lu faults, %lu kills; %lu SETs acknowledged, %lu refused or undone, %lu reads; "
                  "writes were back after %.3f s at the latest\n",
                  T.faults, T.kills, acked, refused(), reads, (double)T.back_us_max / 1e6);
    assert_true(refused() > 0);
    server_fini(&T.server);
}

static void test_trap19__syncs_fail_always__nothing_acknowledged_is_lost(void **state)
{
    (void)state;
    failing("always");
}

static void test_trap19__syncs_fail_everysec__nothing_is_lost_and_reads_go_on(void **state)
{
    (void)state;
    failing("everysec");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trap19__syncs_fail_always__nothing_acknowledged_is_lost),
        cmocka_unit_test(test_trap19__syncs_fail_everysec__nothing_is_lost_and_reads_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
