/* SPDX-License-Identifier: MIT */
/*
 * full_disk.c - the real server on a small file system: filled until writes are refused, given room
 * in turn by a file that goes, by DEL, by FLUSHDB and by eviction, again and again, in some rounds
 * killed and started in between.
 *
 * What was acknowledged is there, what was deleted stays deleted, what was refused has changed
 * nothing; while the disk is full reads go on, and writes are refused whatever their size. How long
 * writes take to come back, once there is room, is printed; with FULL_STRICT=1 a second is too
 * long.
 *
 * Environment: FULL_ROUNDS (default 20), FULL_SEED, FULL_STRICT, BITKV_SERVER.
 */
#include "lib/moment.h"
#include "lib/rng.h"
#include "lib/server.h"
#include "lib/smallfs.h"

#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define FS_BYTES ((uint64_t)48 << 20)
#define RESERVE_BYTES (FS_BYTES / 8)
#define ROOM_BYTES ((uint64_t)1 << 20)
#define BALLAST_BYTES ((size_t)6 << 20)
#define KEYS 20000u /* in each of two databases; more than there is room for */
#define VALUE_MAX 6000u
#define FLIGHT 32u
#define PATIENCE_MS 60000 /* to come back; how long it took is printed */
#define PATH_SIZE 300

enum way { WAY_BALLAST, WAY_DEL, WAY_FLUSH, WAY_EVICT, WAYS };

struct key {
    unsigned serial; /* what its value is made from; 0: not there */
};

struct state {
    struct server server;
    struct tmpdir top; /* of the mount, the image and the server's directory */
    char mount[PATH_SIZE], data[PATH_SIZE], ballast[PATH_SIZE];
    redisContext *redis;
    struct rng rng;
    unsigned serial;
    struct key keys[2][KEYS];
    unsigned long acked, refused, read_while_full, deleted, delete_refused;
    int64_t back_us[WAYS], back_us_max; /* by way of making room: sums */
    int64_t room_us_max;                /* since there was room beside the reserve */
    unsigned back_n[WAYS];
};

static struct state T;
static const char *no_mounts; /* why not, or NULL */

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static size_t value_of(unsigned serial, char *out)
{
    struct rng r = {serial};
    size_t len = (size_t)rng_range(&r, 16, VALUE_MAX);
    rng_fill(&r, out, len);
    return len;
}

/* ---- Talking ---- */

static void connect_db(void)
{
    T.redis = redisConnect("127.0.0.1", T.server.port);
    assert_non_null(T.redis);
    assert_int_equal(T.redis->err, 0);
}

static redisReply *next_reply(void)
{
    void *reply = NULL;
    assert_int_equal(redisGetReply(T.redis, &reply), REDIS_OK);
    return reply;
}

static void select_db(unsigned db)
{
    redisReply *r = redisCommand(T.redis, "SELECT %u", db);
    assert_string_equal(r->str, "OK");
    freeReplyObject(r);
}

static bool is_misconf(const redisReply *r)
{
    return r->type == REDIS_REPLY_ERROR && strncmp(r->str, "MISCONF ", 8) == 0;
}

/* One SET. True: acknowledged. */
static bool set_one(unsigned db, unsigned k)
{
    char value[VALUE_MAX];
    unsigned serial = ++T.serial;
    redisReply *r = redisCommand(T.redis, "SET k%u %b", k, value, value_of(serial, value));
    bool ok = r->type == REDIS_REPLY_STATUS;
    assert_true(ok || is_misconf(r));
    T.keys[db][k].serial = ok ? serial : T.keys[db][k].serial;
    T.acked += ok;
    T.refused += !ok;
    freeReplyObject(r);
    return ok;
}

/* A flight of SETs; true: all of them were acknowledged. */
static bool set_flight(unsigned db)
{
    unsigned serial[FLIGHT];
    unsigned key[FLIGHT];
    char value[VALUE_MAX];
    bool all = true;
    for (unsigned i = 0; i < FLIGHT; i++) {
        serial[i] = ++T.serial;
        key[i] = (unsigned)rng_below(&T.rng, KEYS);
        size_t len = value_of(serial[i], value);
        redisAppendCommand(T.redis, "SET k%u %b", key[i], value, len);
    }
    for (unsigned i = 0; i < FLIGHT; i++) {
        redisReply *r = next_reply();
        bool ok = r->type == REDIS_REPLY_STATUS;
        assert_true(ok || is_misconf(r));
        if (ok) {
            T.keys[db][key[i]].serial = serial[i];
        }
        T.acked += ok;
        T.refused += !ok;
        all = all && ok;
        freeReplyObject(r);
    }
    return all;
}

static void check_value(const redisReply *r, unsigned db, unsigned k)
{
    char value[VALUE_MAX];
    unsigned serial = T.keys[db][k].serial;
    if (serial == 0) {
        assert_int_equal(r->type, REDIS_REPLY_NIL);
        return;
    }
    size_t len = value_of(serial, value);
    assert_int_equal(r->type, REDIS_REPLY_STRING);
    assert_int_equal(r->len, len);
    assert_memory_equal(r->str, value, len);
}

static void check_some(unsigned db, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        unsigned k = (unsigned)rng_below(&T.rng, KEYS);
        redisReply *r = redisCommand(T.redis, "GET k%u", k);
        check_value(r, db, k);
        freeReplyObject(r);
    }
    T.read_while_full += n;
}

static void check_all(void)
{
    for (unsigned db = 0; db < 2; db++) {
        long long there = 0;
        select_db(db);
        for (unsigned from = 0; from < KEYS; from += 100) {
            for (unsigned k = from; k < from + 100; k++) {
                redisAppendCommand(T.redis, "GET k%u", k);
            }
            for (unsigned k = from; k < from + 100; k++) {
                redisReply *r = next_reply();
                check_value(r, db, k);
                there += r->type == REDIS_REPLY_STRING;
                freeReplyObject(r);
            }
        }
        redisReply *size = redisCommand(T.redis, "DBSIZE");
        assert_int_equal(size->integer, there);
        freeReplyObject(size);
    }
}

/* ---- Room ---- */

static void add_ballast(void)
{
    char block[65536];
    memset(block, 'b', sizeof block);
    FILE *f = fopen(T.ballast, "w");
    assert_non_null(f);
    for (size_t n = 0; n < BALLAST_BYTES; n += sizeof block) {
        assert_int_equal(fwrite(block, 1, sizeof block, f), sizeof block);
    }
    assert_int_equal(fclose(f), 0);
}

/* What the reserve has for deletes may be used up while a merge, which is to make room, has the
 * rest: then they are refused for a moment, as other writes are, and come back by themselves. */
static long long delete_one(unsigned k)
{
    int64_t start = now_us();
    redisReply *r = redisCommand(T.redis, "DEL k%u", k);
    while (r->type != REDIS_REPLY_INTEGER) {
        if (!is_misconf(r) || now_us() - start > (int64_t)PATIENCE_MS * 1000) {
            server_show_log(&T.server);
            fail_msg("DEL on a full disk: %s", r->str);
        }
        T.delete_refused++;
        freeReplyObject(r);
        moment_pass(2000);
        r = redisCommand(T.redis, "DEL k%u", k);
    }
    long long n = r->integer;
    freeReplyObject(r);
    return n;
}

static void delete_some(unsigned db)
{
    select_db(db);
    for (unsigned k = 0; k < KEYS; k++) {
        if (T.keys[db][k].serial == 0 || !rng_percent(&T.rng, 40)) {
            continue;
        }
        assert_int_equal(delete_one(k), 1);
        T.keys[db][k].serial = 0;
        T.deleted++;
    }
}

static void flush(unsigned db)
{
    select_db(db);
    redisReply *r = redisCommand(T.redis, "FLUSHDB");
    if (r->type != REDIS_REPLY_STATUS) {
        fail_msg("FLUSHDB on a full disk: %s", r->str);
    }
    memset(T.keys[db], 0, sizeof T.keys[db]);
    freeReplyObject(r);
}

static void config_set(const char *name, const char *value)
{
    redisReply *r = redisCommand(T.redis, "CONFIG SET %s %s", name, value);
    assert_int_equal(r->type, REDIS_REPLY_STATUS);
    freeReplyObject(r);
}

static long long keys_in(unsigned db)
{
    select_db(db);
    redisReply *r = redisCommand(T.redis, "DBSIZE");
    long long n = r->integer;
    freeReplyObject(r);
    return n;
}

/* A limit that nothing fits in: every key of both databases goes, though the disk takes no writes.
 * Where deletes have used up their part of the reserve, merges give it back. */
static void evict_all(void)
{
    int64_t start = now_us();
    config_set("maxmemory-policy", "allkeys-lru");
    config_set("maxmemory", "1");
    while (keys_in(0) + keys_in(1) > 0) {
        if (now_us() - start > (int64_t)PATIENCE_MS * 1000) {
            server_show_log(&T.server);
            fail_msg("eviction does not go on, %llu bytes are free",
                     (unsigned long long)smallfs_free(T.mount));
        }
        moment_pass(2000);
    }
    config_set("maxmemory", "0");
    memset(T.keys, 0, sizeof T.keys);
}

static void make_room(enum way way, unsigned db)
{
    switch (way) {
    case WAY_BALLAST:
        assert_int_equal(unlink(T.ballast), 0);
        break;
    case WAY_DEL:
        delete_some(db);
        break;
    case WAY_FLUSH:
        flush(db);
        break;
    default:
        evict_all();
        break;
    }
}

/* Until a SET is let in; nobody restarts anything. */
static void await_writes(enum way way, unsigned db)
{
    int64_t start = now_us();
    int64_t room_us = 0;
    select_db(db);
    while (!set_one(db, 0)) {
        if (room_us == 0 && smallfs_free(T.mount) > RESERVE_BYTES + ROOM_BYTES) {
            room_us = now_us();
        }
        if (now_us() - start > (int64_t)PATIENCE_MS * 1000) {
            server_show_log(&T.server);
            fail_msg("writes do not come back, %llu bytes are free",
                     (unsigned long long)smallfs_free(T.mount));
        }
        moment_pass(2000);
    }
    int64_t took = now_us() - start;
    T.back_us[way] += took;
    T.back_n[way]++;
    T.back_us_max = took > T.back_us_max ? took : T.back_us_max;
    took = room_us == 0 ? 0 : now_us() - room_us;
    T.room_us_max = took > T.room_us_max ? took : T.room_us_max;
}

static void await_free(uint64_t bytes)
{
    int64_t start = now_us();
    while (smallfs_free(T.mount) < bytes) {
        assert_true(now_us() - start < (int64_t)PATIENCE_MS * 1000);
        moment_pass(2000);
    }
}

/* ---- Rounds ---- */

static void fill_up(unsigned db)
{
    select_db(db);
    /* A merge that was under way when the first was refused may still give something back. */
    for (unsigned refused = 0; refused < 10;) {
        refused = set_one(db, (unsigned)rng_below(&T.rng, KEYS)) ? 0 : refused + 1;
        while (refused == 0 && set_flight(db)) {
        }
        moment_pass(20000);
    }
}

static void kill_and_start(void)
{
    redisFree(T.redis);
    assert_int_equal(server_signal(&T.server, SIGKILL), -SIGKILL);
    assert_true(server_start(&T.server));
    connect_db();
}

static void one_round(unsigned round)
{
    unsigned db = round % 2;
    enum way way = (enum way)(round % WAYS);
    fill_up(db);
    check_some(db, 200);
    if (round % 5 == 3) {
        kill_and_start();
        select_db(db);
        check_some(db, 200);
    }
    make_room(way, db);
    await_writes(way, db);
    if (round % 5 == 4) {
        kill_and_start();
    }
    check_all();
    if (way == WAY_BALLAST) {
        flush(db);
        await_free(BALLAST_BYTES + RESERVE_BYTES);
        add_ballast();
    }
}

static void start_on(enum smallfs_kind kind)
{
    const char *why = no_mounts;
    char server[PATH_SIZE];
    memset(&T, 0, sizeof T);
    tmpdir_make(&T.top, "full");
    snprintf(T.mount, sizeof T.mount, "%s/fs", T.top.path);
    snprintf(server, sizeof server, "%s/server", T.top.path);
    assert_int_equal(mkdir(T.mount, 0750), 0);
    assert_int_equal(mkdir(server, 0750), 0);
    if (why != NULL || !smallfs_mount(kind, T.mount, FS_BYTES, T.top.path, &why)) {
        print_message("skipped: %s\n", why);
        tmpdir_remove(&T.top);
        skip();
    }
    snprintf(T.data, sizeof T.data, "%.200s/data", T.mount);
    snprintf(T.ballast, sizeof T.ballast, "%.200s/ballast", T.mount);
    snprintf(T.server.dir.path, sizeof T.server.dir.path, "%.100s", server);
    const char *options[] = {"--dir", T.data, "--max-file-size", "4mb", "--io-threads", "2"};
    memcpy(T.server.options, options, sizeof options);
    add_ballast();
    assert_true(server_start(&T.server));
    connect_db();
}

static void fill_and_free(enum smallfs_kind kind)
{
    const char *text = getenv("FULL_ROUNDS");
    unsigned rounds = text == NULL ? 20 : (unsigned)strtoul(text, NULL, 10);
    uint64_t seed = rng_seed_from_env("FULL_SEED");
    start_on(kind);
    T.rng.state = seed;
    print_message("FULL_SEED=%llu FULL_ROUNDS=%u\n", (unsigned long long)seed, rounds);
    for (unsigned round = 0; round < rounds; round++) {
        one_round(round);
    }
    redisFree(T.redis);
    assert_int_equal(server_stop(&T.server), 0);
    assert_true(server_start(&T.server));
    connect_db();
    check_all();
    redisFree(T.redis);
    assert_false(server_log_has(&T.server, "DAMAGE"));
    server_fini(&T.server);
    smallfs_unmount(T.mount);
    tmpdir_remove(&T.top);
    print_message(
        "%lu SETs acknowledged, %lu refused, %lu DELs (%lu refused first) and %lu reads on a "
        "full disk\n",
        T.acked, T.refused, T.deleted, T.delete_refused, T.read_while_full);
    static const char *const ways[] = {"a file went", "DEL", "FLUSHDB", "eviction"};
    for (unsigned i = 0; i < WAYS; i++) {
        print_message("writes came back after %s: %u times, %.3f s on average\n", ways[i],
                      T.back_n[i], T.back_n[i] == 0 ? 0 : (double)T.back_us[i] / 1e6 / T.back_n[i]);
    }
    print_message(
        "the longest time: %.3f s; since there was room, a merge's work taken off: %.3f s\n",
        (double)T.back_us_max / 1e6, (double)T.room_us_max / 1e6);
    if (getenv("FULL_STRICT") != NULL) {
        assert_true(T.room_us_max < 1000000);
    }
}

static void test_trap42__small_tmpfs_filled_and_freed__nothing_acknowledged_is_missing(void **state)
{
    (void)state;
    fill_and_free(SMALLFS_TMPFS);
}

static void test_trap42__small_ext4_filled_and_freed__nothing_acknowledged_is_missing(void **state)
{
    (void)state;
    fill_and_free(SMALLFS_EXT4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            test_trap42__small_tmpfs_filled_and_freed__nothing_acknowledged_is_missing),
        cmocka_unit_test(test_trap42__small_ext4_filled_and_freed__nothing_acknowledged_is_missing),
    };
    if (smallfs_enter(&no_mounts)) {
        no_mounts = NULL;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
