/* SPDX-License-Identifier: MIT */
/*
 * crash_rounds.c - load from several connections, kill -9 at a random moment, start again, compare.
 *
 * Each client has keys of its own and sends up to 16 commands at once. A connection's commands run
 * in order and stand in the log in order, so after the crash its keys must look as they did after
 * its last acknowledged command, or after that one and some first part of those in flight: nothing
 * acknowledged is lost in any mode when only the process dies, and an MSET is there whole or not at
 * all.
 *
 * Environment: CRASH_ROUNDS (default 40), CRASH_SEED, BITKV_SERVER.
 */
#include "lib/moment.h"
#include "lib/rng.h"
#include "lib/server.h"

#include <hiredis/hiredis.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CLIENTS 6u
#define KEYS 24u
#define COUNTERS 6u /* the last ones: numbers, for INCR */
#define FLIGHT_MAX 16u
#define OP_KEYS_MAX 5u
#define VALUE_MAX (200u * 1024)
#define ROUNDS_PER_DIR 12u /* nothing removes old files here: then a new directory */
#define TTL_STEP_S 10000u  /* times to live are so far apart that a look says which one it is */
#define TTL_SLACK_S 3600

struct value {
    bool there;
    size_t len;
    uint64_t hash;
    long long number; /* of a counter */
    unsigned ttl_s;   /* 0: none */
};

enum op_kind { OP_SET, OP_MSET, OP_DEL, OP_INCR, OP_EXPIRE };

struct op {
    enum op_kind kind;
    unsigned n;
    unsigned key[OP_KEYS_MAX];
    unsigned serial[OP_KEYS_MAX]; /* what the value is made from */
    struct value val[OP_KEYS_MAX];
};

struct client {
    unsigned id;
    struct rng rng;
    unsigned serial;
    struct value keys[KEYS];      /* after the last acknowledged command */
    struct op flight[FLIGHT_MAX]; /* sent and not acknowledged */
    unsigned flight_n;
    int port;
    unsigned long acked;
    char problem[200]; /* a reply that is wrong; "" if none */
    char *scratch;     /* owned; VALUE_MAX bytes for each key of an operation */
    pthread_t thread;
};

static struct {
    struct server server;
    struct client clients[CLIENTS];
    struct rng rng;
    unsigned long acked, survivors, flown;
    unsigned kills, clean, early, damaged;
} T;

/* ---- values ---- */

static uint64_t hash_of(const char *data, size_t len)
{
    uint64_t h = 14695981039346656037u;

    for (size_t i = 0; i < len; i++) {
        h = (h ^ (unsigned char)data[i]) * 1099511628211u;
    }
    return h;
}

/* The value's bytes follow from client and serial number alone. */
static size_t fill_value(const struct client *c, unsigned serial, size_t len, char *out)
{
    struct rng r = {((uint64_t)c->id << 32) + serial};
    size_t at = (size_t)snprintf(out, 64, "client %u value %u:", c->id, serial);

    while (at + 8 <= len) {
        uint64_t x = rng_next(&r);
        memcpy(out + at, &x, 8);
        at += 8;
    }
    return at;
}

static size_t draw_len(struct rng *r)
{
    unsigned what = (unsigned)rng_below(r, 100);

    return what < 80   ? rng_below(r, 200)
           : what < 96 ? rng_below(r, 6000)
           : what < 98 ? 60000 + rng_below(r, 10000)
                       : 66000 + rng_below(r, VALUE_MAX - 66000);
}

static void set_number(struct value *v, long long number)
{
    char text[32];

    v->there = true;
    v->number = number;
    v->len = (size_t)snprintf(text, sizeof(text), "%lld", number);
    v->hash = hash_of(text, v->len);
}

static void apply(const struct op *op, struct value *keys)
{
    for (unsigned i = 0; i < op->n; i++) {
        struct value *v = &keys[op->key[i]];
        if (op->kind == OP_SET || op->kind == OP_MSET) {
            *v = op->val[i];
        } else if (op->kind == OP_DEL) {
            *v = (struct value){.there = false};
        } else if (op->kind == OP_INCR) {
            set_number(v, v->there ? v->number + 1 : 1);
        } else if (v->there) {
            v->ttl_s = op->val[i].ttl_s;
        }
    }
}

/* ---- load ---- */

static void draw_op(struct client *c, struct op *op)
{
    unsigned what = (unsigned)rng_below(&c->rng, 100);

    memset(op, 0, sizeof(*op));
    op->kind = what < 40   ? OP_SET
               : what < 60 ? OP_MSET
               : what < 72 ? OP_DEL
               : what < 88 ? OP_INCR
                           : OP_EXPIRE;
    op->n = op->kind == OP_MSET ? (unsigned)rng_range(&c->rng, 2, OP_KEYS_MAX) : 1;
    if (op->kind == OP_DEL && rng_percent(&c->rng, 30)) {
        op->n = 3;
    }
    for (unsigned i = 0; i < op->n; i++) {
        bool counter = op->kind == OP_INCR;
        op->key[i] = (unsigned)(counter ? KEYS - COUNTERS + rng_below(&c->rng, COUNTERS)
                                        : rng_below(&c->rng, KEYS));
        op->serial[i] = ++c->serial;
        if (op->kind == OP_EXPIRE) {
            op->val[i].ttl_s = (1 + (unsigned)rng_below(&c->rng, 10000)) * TTL_STEP_S;
        } else if (op->key[i] >= KEYS - COUNTERS) {
            set_number(&op->val[i], (long long)op->serial[i] * 1000000);
        } else {
            op->val[i].there = true;
            op->val[i].len = draw_len(&c->rng);
        }
    }
}

static const char *const op_names[] = {"SET", "MSET", "DEL", "INCR", "EXPIRE"};

/* Makes the bytes of the values, notes their hash, and queues the command. */
static void queue_op(struct client *c, redisContext *redis, struct op *op)
{
    const char *argv[1 + 2 * OP_KEYS_MAX] = {op_names[op->kind]};
    size_t len[1 + 2 * OP_KEYS_MAX] = {strlen(op_names[op->kind])};
    char keys[OP_KEYS_MAX][32];
    char ttl[32];
    int argc = 1;

    for (unsigned i = 0; i < op->n; i++) {
        char *data = c->scratch + (size_t)i * VALUE_MAX;
        struct value *v = &op->val[i];
        argv[argc] = keys[i];
        len[argc++] = (size_t)snprintf(keys[i], sizeof(keys[i]), "c%u:%u", c->id, op->key[i]);
        if (op->kind == OP_EXPIRE) {
            argv[argc] = ttl;
            len[argc++] = (size_t)snprintf(ttl, sizeof(ttl), "%u", v->ttl_s);
        } else if (op->kind == OP_SET || op->kind == OP_MSET) {
            if (op->key[i] >= KEYS - COUNTERS) {
                v->len = (size_t)snprintf(data, 32, "%lld", v->number);
            } else {
                v->len = fill_value(c, op->serial[i], v->len, data);
            }
            v->hash = hash_of(data, v->len);
            argv[argc] = data;
            len[argc++] = v->len;
        }
    }
    redisAppendCommandArgv(redis, argc, argv, len);
}

/* Is this what the command answers when the keys are as in c->keys? "": yes. */
static void check_reply(struct client *c, const struct op *op, const redisReply *reply)
{
    long long wanted = 0;
    bool good;

    if (op->kind == OP_SET || op->kind == OP_MSET) {
        good = reply->type == REDIS_REPLY_STATUS && strcmp(reply->str, "OK") == 0;
    } else {
        struct value after[KEYS];
        memcpy(after, c->keys, sizeof(after));
        for (unsigned i = 0; op->kind == OP_DEL && i < op->n; i++) {
            wanted += after[op->key[i]].there;
            after[op->key[i]].there = false;
        }
        if (op->kind == OP_INCR) {
            wanted = c->keys[op->key[0]].there ? c->keys[op->key[0]].number + 1 : 1;
        } else if (op->kind == OP_EXPIRE) {
            wanted = c->keys[op->key[0]].there;
        }
        good = reply->type == REDIS_REPLY_INTEGER && reply->integer == wanted;
    }
    if (!good) {
        snprintf(c->problem, sizeof(c->problem), "%s c%u:%u answered %lld %.100s, not %lld",
                 op_names[op->kind], c->id, op->key[0], reply->integer,
                 reply->str == NULL ? "" : reply->str, wanted);
    }
}

/* Sends a handful of commands and reads their replies; false: the connection has ended. */
static bool one_flight(struct client *c, redisContext *redis)
{
    unsigned n = (unsigned)rng_range(&c->rng, 1, FLIGHT_MAX);
    bool up = true;

    for (unsigned i = 0; i < n; i++) {
        draw_op(c, &c->flight[i]);
        queue_op(c, redis, &c->flight[i]);
    }
    c->flight_n = n;
    for (unsigned i = 0; i < n && up && c->problem[0] == '\0'; i++) {
        redisReply *reply = NULL;
        up = redisGetReply(redis, (void **)&reply) == REDIS_OK && reply != NULL;
        if (up) {
            check_reply(c, &c->flight[0], reply);
            apply(&c->flight[0], c->keys);
            memmove(&c->flight[0], &c->flight[1], (FLIGHT_MAX - 1) * sizeof(c->flight[0]));
            c->flight_n--;
            c->acked++;
        }
        freeReplyObject(reply);
    }
    return up && c->problem[0] == '\0';
}

static void *client_main(void *arg)
{
    struct client *c = arg;
    redisContext *redis = redisConnect("127.0.0.1", c->port);

    c->flight_n = 0;
    if (redis == NULL || redis->err != 0) {
        snprintf(c->problem, sizeof(c->problem), "cannot connect");
    } else {
        while (one_flight(c, redis)) {
        }
    }
    redisFree(redis);
    return NULL;
}

/* ---- what is there after the start ---- */

static redisReply *ask(redisContext *redis, const char *fmt, ...)
{
    va_list args;
    redisReply *reply;

    va_start(args, fmt);
    reply = redisvCommand(redis, fmt, args);
    va_end(args);
    if (reply == NULL || reply->type == REDIS_REPLY_ERROR) {
        fail_msg("%s: %s", fmt, reply == NULL ? redis->errstr : reply->str);
    }
    return reply;
}

static void look(redisContext *redis, const struct client *c, unsigned key, struct value *v)
{
    redisReply *got = ask(redis, "GET c%u:%u", c->id, key);
    redisReply *ttl = ask(redis, "PTTL c%u:%u", c->id, key);

    *v = (struct value){.there = got->type == REDIS_REPLY_STRING};
    if (v->there) {
        v->len = (size_t)got->len;
        v->hash = hash_of(got->str, v->len);
        v->number = strtoll(got->str, NULL, 10);
        v->ttl_s = ttl->integer < 0 ? 0 : (unsigned)(ttl->integer / 1000) + 1;
    }
    freeReplyObject(got);
    freeReplyObject(ttl);
}

static bool same_value(const struct value *seen, const struct value *wanted)
{
    if (seen->there != wanted->there || !seen->there) {
        return seen->there == wanted->there;
    }
    return seen->len == wanted->len && seen->hash == wanted->hash &&
           (seen->ttl_s == 0) == (wanted->ttl_s == 0) && seen->ttl_s <= wanted->ttl_s + 1 &&
           (seen->ttl_s == 0 || seen->ttl_s + TTL_SLACK_S > wanted->ttl_s);
}

static bool same_keys(const struct value *seen, const struct value *wanted)
{
    bool same = true;

    for (unsigned k = 0; k < KEYS && same; k++) {
        same = same_value(&seen[k], &wanted[k]);
    }
    return same;
}

static void print_value(const char *what, const struct value *v)
{
    if (v->there) {
        printf(" %s %zu bytes %016llx ttl %u", what, v->len, (unsigned long long)v->hash, v->ttl_s);
    } else {
        printf(" %s nothing", what);
    }
}

static void print_loss(const struct client *c, const struct value *seen)
{
    printf("client %u: neither its acknowledged state nor a part of its %u commands in flight\n",
           c->id, c->flight_n);
    for (unsigned k = 0; k < KEYS; k++) {
        if (!same_value(&seen[k], &c->keys[k])) {
            printf("  c%u:%u", c->id, k);
            print_value("acknowledged", &c->keys[k]);
            print_value("; found", &seen[k]);
            printf("\n");
        }
    }
    for (unsigned i = 0; i < c->flight_n; i++) {
        printf("  in flight: %s", op_names[c->flight[i].kind]);
        for (unsigned k = 0; k < c->flight[i].n; k++) {
            printf(" c%u:%u", c->id, c->flight[i].key[k]);
            print_value("", &c->flight[i].val[k]);
        }
        printf("\n");
    }
}

/* Finds how many of the commands in flight have survived, and takes that state over. */
static bool settle(redisContext *redis, struct client *c)
{
    struct value seen[KEYS];
    struct value state[KEYS];
    unsigned survived = 0;
    bool found;

    for (unsigned k = 0; k < KEYS; k++) {
        look(redis, c, k, &seen[k]);
    }
    memcpy(state, c->keys, sizeof(state));
    found = same_keys(seen, state);
    while (!found && survived < c->flight_n) {
        apply(&c->flight[survived++], state);
        found = same_keys(seen, state);
    }
    if (!found) {
        print_loss(c, seen);
        return false;
    }
    T.survivors += survived;
    T.flown += c->flight_n;
    memcpy(c->keys, state, sizeof(state));
    c->flight_n = 0;
    return true;
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All keys of a full SCAN, each counted once. */
static size_t scan_count(redisContext *redis)
{
    char **names = calloc((size_t)4 * CLIENTS * KEYS + 1, sizeof(*names));
    char cursor[32] = "0";
    size_t n = 0;
    size_t unique = 0;

    assert_non_null(names);
    do {
        redisReply *reply = ask(redis, "SCAN %s COUNT 7", cursor);
        snprintf(cursor, sizeof(cursor), "%s", reply->element[0]->str);
        for (size_t i = 0; i < reply->element[1]->elements && n < (size_t)4 * CLIENTS * KEYS; i++) {
            names[n++] = strdup(reply->element[1]->element[i]->str);
        }
        freeReplyObject(reply);
    } while (strcmp(cursor, "0") != 0);
    qsort(names, n, sizeof(*names), compare_text);
    for (size_t i = 0; i < n; i++) {
        unique += i == 0 || strcmp(names[i], names[i - 1]) != 0;
    }
    for (size_t i = 0; i < n; i++) {
        free(names[i]);
    }
    free(names);
    return unique;
}

static bool settle_all(unsigned round)
{
    redisContext *redis = redisConnect("127.0.0.1", T.server.port);
    size_t there = 0;
    bool good = redis != NULL && redis->err == 0;

    for (unsigned i = 0; i < CLIENTS && good; i++) {
        good = settle(redis, &T.clients[i]);
        for (unsigned k = 0; k < KEYS; k++) {
            there += T.clients[i].keys[k].there;
        }
    }
    if (good) {
        size_t scanned = scan_count(redis);
        redisReply *size = ask(redis, "DBSIZE");
        good = scanned == there && size->integer == (long long)there;
        if (!good) {
            printf("%zu keys wanted, DBSIZE %lld, SCAN %zu\n", there, size->integer, scanned);
        }
        freeReplyObject(size);
    }
    redisFree(redis);
    if (!good) {
        printf("round %u, directory kept: %s\n", round, T.server.dir.path);
        server_show_log(&T.server);
    }
    return good;
}

/* ---- rounds ---- */

/* Every byte that was written before the process died is still there. Only a write that SIGKILL has
 * cut short, rare and never acknowledged, may leave a piece that a start calls damage. */
static void count_damage(void)
{
    if (T.server.dir.path[0] != '\0' && server_log_has(&T.server, "DAMAGE")) {
        T.damaged++;
        server_show_log(&T.server);
    }
}

static void new_directory(void)
{
    count_damage();
    server_fini(&T.server);
    memset(&T.server, 0, sizeof(T.server));
    for (unsigned i = 0; i < CLIENTS; i++) {
        memset(T.clients[i].keys, 0, sizeof(T.clients[i].keys));
        T.clients[i].flight_n = 0;
    }
}

static const char *choose_options(unsigned round)
{
    static const char *const modes[] = {"always", "everysec", "no"};
    static const char *const sizes[] = {"64kb", "100kb", "256kb", "1mb"};
    static const char *const caches[] = {"0", "64kb", "8mb"};
    const char *options[] = {"--io-threads",       "3",
                             "--appendfsync",      modes[round % 3],
                             "--max-file-size",    sizes[rng_below(&T.rng, 4)],
                             "--cache-size",       caches[rng_below(&T.rng, 3)],
                             "--merge-dead-ratio", "5"};
    memcpy(T.server.options, options, sizeof(options));
    return modes[round % 3];
}

static void load_then_end(bool cleanly)
{
    uint64_t moment_us =
        rng_percent(&T.rng, 30) ? rng_below(&T.rng, 20000) : rng_below(&T.rng, 500000);

    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *c = &T.clients[i];
        c->port = T.server.port;
        assert_int_equal(pthread_create(&c->thread, NULL, client_main, c), 0);
    }
    moment_pass(moment_us);
    if (cleanly) {
        assert_int_equal(server_stop(&T.server), 0);
    } else {
        assert_int_equal(server_signal(&T.server, SIGKILL), -SIGKILL);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        pthread_join(T.clients[i].thread, NULL);
        T.acked += T.clients[i].acked;
        T.clients[i].acked = 0;
    }
}

/* A crash while the store is being read must leave it as it was. */
static void start_and_kill_early(void)
{
    T.server.no_wait = true;
    assert_true(server_start(&T.server));
    moment_pass(rng_below(&T.rng, 30000));
    assert_int_equal(server_signal(&T.server, SIGKILL), -SIGKILL);
    T.server.no_wait = false;
    T.early++;
}

/* A kill may come before a client has its connection: that is no wrong reply. */
static bool no_wrong_reply(void)
{
    bool good = true;

    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *c = &T.clients[i];
        if (c->problem[0] != '\0' && strcmp(c->problem, "cannot connect") != 0) {
            printf("%s\n", c->problem);
            good = false;
        }
        c->problem[0] = '\0';
    }
    return good;
}

static void one_round(unsigned round)
{
    bool cleanly = rng_percent(&T.rng, 10);
    const char *mode;

    if (round % ROUNDS_PER_DIR == 0) {
        new_directory();
    }
    mode = choose_options(round);
    if (rng_percent(&T.rng, 15)) {
        start_and_kill_early();
    }
    assert_true(server_start(&T.server));
    assert_true(settle_all(round));
    load_then_end(cleanly);
    T.clean += cleanly;
    T.kills += !cleanly;
    assert_true(no_wrong_reply());
    assert_true(server_start(&T.server));
    if (!settle_all(round)) {
        fail_msg("round %u with appendfsync %s", round, mode);
    }
    assert_int_equal(server_signal(&T.server, SIGKILL), -SIGKILL);
}

static void test_crash__kill_at_random_moments__nothing_acknowledged_is_lost(void **state)
{
    const char *text = getenv("CRASH_ROUNDS");
    unsigned rounds = text == NULL ? 40 : (unsigned)strtoul(text, NULL, 10);
    uint64_t seed = rng_seed_from_env("CRASH_SEED");

    (void)state;
    T.rng.state = seed;
    print_message("CRASH_SEED=%llu CRASH_ROUNDS=%u\n", (unsigned long long)seed, rounds);
    for (unsigned i = 0; i < CLIENTS; i++) {
        T.clients[i].id = i;
        T.clients[i].rng.state = rng_next(&T.rng);
        T.clients[i].scratch = malloc((size_t)VALUE_MAX * OP_KEYS_MAX);
        assert_non_null(T.clients[i].scratch);
    }
    for (unsigned round = 0; round < rounds; round++) {
        one_round(round);
    }
    count_damage();
    server_fini(&T.server);
    for (unsigned i = 0; i < CLIENTS; i++) {
        free(T.clients[i].scratch);
    }
    print_message(
        "%u kills, %u clean stops, %u kills while starting; %lu commands acknowledged; %lu of "
        "%lu in flight survived\n",
        T.kills, T.clean, T.early, T.acked, T.survivors, T.flown);
    print_message("%u directories with damage\n", T.damaged);
    assert_true(T.damaged <= 1 + T.kills / 100);
    assert_true(T.acked > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crash__kill_at_random_moments__nothing_acknowledged_is_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
