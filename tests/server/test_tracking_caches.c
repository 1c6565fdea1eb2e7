/* SPDX-License-Identifier: MIT */
/*
 * Caches of clients, in every mode of CLIENT TRACKING, on several loops: held against the truth
 * whenever nobody writes, after others have written, deleted, flushed and merged, and keys have run
 * out of time.
 */
#include "base/buf.h"
#include "lib/rng.h"
#include "server/one_server.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define START(...) start((const char *const[]){"--io-threads", "4", __VA_ARGS__, NULL})

#define KEYS 64
#define CACHES 6
#define WRITERS 3
#define ROUNDS 12
#define READS 100  /* of each cache in a round, when others have written */
#define WRITES 300 /* of each writer */

static atomic_int writing; /* threads that do */

/* A client that believes what it has read until it is told otherwise. */
struct cache {
    struct respc *c;     /* reads */
    struct respc *hears; /* is told; the same, unless it redirects */
    bool noloop, optin;
    bool known[KEYS];
    char *value[KEYS]; /* owned; NULL: no such key */
    struct rng rng;
    unsigned wrote;
    unsigned long forgot, hits, compared;
    pthread_t thread;
};

struct writer {
    struct respc *c;
    struct rng rng;
    unsigned n;
    char key[16], value[16];
    pthread_t thread;
};

/* On threads of its own, where cmocka's asserts cannot end a test. */
static void must(bool holds)
{
    if (!holds) {
        fprintf(stderr, "an answer is missing, or not what it must be\n");
        server_show_log(&server);
        abort();
    }
}

static void forget(struct cache *k, unsigned key)
{
    k->known[key] = false;
    free(k->value[key]);
    k->value[key] = NULL;
}

static void forget_all(struct cache *k)
{
    for (unsigned i = 0; i < KEYS; i++) {
        forget(k, i);
    }
}

static void hear(struct cache *k, const struct reply *r)
{
    const struct reply *keys = r->elem[1];
    must(strcmp(r->elem[0]->text, "invalidate") == 0);
    k->forgot++;
    if (keys->null) {
        forget_all(k);
    }
    for (size_t i = 0; i < keys->elems; i++) {
        forget(k, (unsigned)strtoul(keys->elem[i]->text + 1, NULL, 10));
    }
}

/* The next reply; what it is told in front of it is obeyed first. */
static struct reply *answer(struct cache *k, struct respc *c)
{
    struct reply *r = respc_read(c);
    must(r != NULL);
    while (r->type == '>') {
        hear(k, r);
        reply_free(&r);
        r = respc_read(c);
        must(r != NULL);
    }
    return r;
}

static void ask(struct cache *k, struct respc *c, const char *want, const char *line)
{
    struct bk_buf b = {0};
    struct bk_span argv[8];
    size_t argc = 0;
    char words[96];
    char *rest = words;
    snprintf(words, sizeof words, "%s", line);
    for (char *w = strtok_r(words, " ", &rest); w != NULL; w = strtok_r(NULL, " ", &rest)) {
        argv[argc++] = bk_span_str(w);
    }
    respc_format_argv(&b, argc, argv);
    must(respc_send(c, b.data, b.len));
    struct reply *r = answer(k, c);
    if (want != NULL) {
        must(r->text != NULL && strcmp(r->text, want) == 0);
    }
    reply_free(&r);
    bk_buf_fini(&b);
}

/* Has it been told of all that was done before now? What others are sent stands in front. */
static void catch_up(struct cache *k)
{
    ask(k, k->c, "PONG", "PING");
    if (k->hears != k->c) {
        ask(k, k->hears, "PONG", "PING");
    }
}

static void read_key(struct cache *k, unsigned key)
{
    char name[16];
    struct bk_buf b = {0};
    snprintf(name, sizeof name, "k%u", key);
    if (k->hears != k->c) {
        catch_up(k); /* it may be told late, but what it is told is not about what it reads next */
    }
    if (k->optin) {
        respc_format(&b, "CLIENT", "CACHING", "YES", NULL);
    }
    respc_format(&b, "GET", name, NULL);
    must(respc_send(k->c, b.data, b.len));
    if (k->optin) {
        struct reply *ok = answer(k, k->c);
        reply_free(&ok);
    }
    struct reply *r = answer(k, k->c);
    forget(k, key);
    k->known[key] = true;
    k->value[key] = r->null ? NULL : strdup(r->text);
    reply_free(&r);
    bk_buf_fini(&b);
}

/* Reads, and writes now and then, as long as others write; then reads some more, so that what it
 * holds in the end is old and new. */
static void *cache_main(void *arg)
{
    struct cache *k = arg;
    unsigned more = READS;
    while (more > 0) {
        unsigned key = (unsigned)rng_below(&k->rng, KEYS);
        bool writes = atomic_load(&writing) > 0;
        if (writes && rng_percent(&k->rng, 5)) {
            char line[48];
            snprintf(line, sizeof line, "SET k%u own%u", key, ++k->wrote);
            ask(k, k->c, "OK", line);
            if (k->noloop) {
                forget(k, key); /* it knows by itself */
            }
        } else if (k->known[key]) {
            k->hits++;
        } else {
            read_key(k, key);
        }
        more -= writes ? 0 : 1;
    }
    return NULL;
}

/* One command of a writer; its words lie in text. */
static size_t choose(struct writer *w, char *text, size_t size, struct bk_span *argv)
{
    static const char *const forms[] = {
        "SET K N",       "SET K N PX 5",   "SET K N PX 40",   "DEL K k1",    "APPEND K x",
        "MSET K N k2 f", "RENAME K k3",    "COPY K k4",       "GETDEL K",    "PEXPIRE K 3",
        "PERSIST K",     "SETRANGE K 2 z", "BITKV MERGE NOW", "EXPIRE K -1", "SETBIT K 7 1",
    };
    const char *form = forms[rng_below(&w->rng, sizeof forms / sizeof *forms)];
    char *rest = text;
    size_t argc = 0;
    snprintf(text, size, "%s", rng_below(&w->rng, 200) == 0 ? "FLUSHALL" : form);
    snprintf(w->key, sizeof w->key, "k%u", (unsigned)rng_below(&w->rng, KEYS));
    snprintf(w->value, sizeof w->value, "%u", ++w->n);
    for (char *one = strtok_r(text, " ", &rest); one != NULL; one = strtok_r(NULL, " ", &rest)) {
        argv[argc++] = bk_span_str(strcmp(one, "K") == 0   ? w->key
                                   : strcmp(one, "N") == 0 ? w->value
                                                           : one);
    }
    return argc;
}

static void *writer_main(void *arg)
{
    struct writer *w = arg;
    struct bk_buf b = {0};
    for (unsigned i = 0; i < WRITES; i++) {
        char text[64];
        struct bk_span argv[8];
        bool multi = rng_percent(&w->rng, 10);
        b.len = 0;
        if (multi) {
            respc_format(&b, "MULTI", NULL);
            respc_format(&b, "SET", "k5", "multi", NULL);
        }
        size_t argc = choose(w, text, sizeof text, argv);
        respc_format_argv(&b, argc, argv);
        if (multi) {
            respc_format(&b, "EXEC", NULL);
        }
        must(respc_exchange(w->c, b.data, b.len, multi ? 4 : 1));
    }
    bk_buf_fini(&b);
    atomic_fetch_sub(&writing, 1);
    return NULL;
}

/* No key will run out of time any more. */
static void wait_for_expiry(struct respc *c)
{
    bool waits = true;
    while (waits) {
        waits = false;
        for (unsigned i = 0; i < KEYS; i++) {
            char name[16];
            snprintf(name, sizeof name, "k%u", i);
            struct reply *r = respc_command(c, "PTTL", name, NULL);
            assert_non_null(r);
            waits = waits || r->integer >= 0;
            reply_free(&r);
        }
    }
}

static void hold_against_truth(struct cache *caches, struct respc *truth)
{
    wait_for_expiry(truth);
    for (unsigned n = 0; n < CACHES; n++) {
        catch_up(&caches[n]);
    }
    for (unsigned i = 0; i < KEYS; i++) {
        char name[16];
        snprintf(name, sizeof name, "k%u", i);
        struct reply *r = respc_command(truth, "GET", name, NULL);
        assert_non_null(r);
        for (unsigned n = 0; n < CACHES; n++) {
            const struct cache *k = &caches[n];
            const char *has = k->value[i];
            caches[n].compared += k->known[i];
            if (k->known[i] && (has == NULL ? !r->null : r->null || strcmp(has, r->text) != 0)) {
                fail_msg("cache %u has %s of %s, which is %s", n, has == NULL ? "nothing" : has,
                         name, r->null ? "not there" : r->text);
            }
        }
        reply_free(&r);
    }
}

static void open_cache(struct cache *k, unsigned n, uint64_t seed)
{
    static const char *const modes[CACHES] = {
        "CLIENT TRACKING on",       "CLIENT TRACKING on NOLOOP",       "CLIENT TRACKING on OPTIN",
        "CLIENT TRACKING on BCAST", "CLIENT TRACKING on BCAST NOLOOP", "CLIENT TRACKING on OPTOUT"};
    *k = (struct cache){.noloop = n == 1 || n == 4, .optin = n == 2, .rng.state = seed + n};
    k->c = k->hears = expect_connection(&server);
    ask(k, k->c, NULL, "HELLO 3");
    if (n == 0) {
        char line[64];
        k->hears = expect_connection(&server);
        struct reply *r = respc_command(k->hears, "CLIENT", "ID", NULL);
        assert_non_null(r);
        snprintf(line, sizeof line, "CLIENT TRACKING on REDIRECT %lld", (long long)r->integer);
        reply_free(&r);
        ask(k, k->hears, NULL, "HELLO 3");
        ask(k, k->c, "OK", line);
    } else {
        ask(k, k->c, "OK", modes[n]);
    }
}

static void close_caches(struct cache *caches)
{
    for (unsigned i = 0; i < CACHES; i++) {
        forget_all(&caches[i]);
        if (caches[i].hears != caches[i].c) {
            respc_close(&caches[i].hears);
        }
        respc_close(&caches[i].c);
    }
}

static void run_round(struct cache *caches, struct writer *writers)
{
    atomic_store(&writing, WRITERS);
    for (unsigned i = 0; i < CACHES; i++) {
        assert_int_equal(pthread_create(&caches[i].thread, NULL, cache_main, &caches[i]), 0);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_create(&writers[i].thread, NULL, writer_main, &writers[i]), 0);
    }
    for (unsigned i = 0; i < CACHES; i++) {
        assert_int_equal(pthread_join(caches[i].thread, NULL), 0);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_join(writers[i].thread, NULL), 0);
    }
}

static void cache_while_others_write(uint64_t seed)
{
    struct cache caches[CACHES];
    struct writer writers[WRITERS];
    struct respc *truth = expect_connection(&server);
    printf("seed %llu\n", (unsigned long long)seed);
    for (unsigned i = 0; i < CACHES; i++) {
        open_cache(&caches[i], i, seed);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.c = expect_connection(&server), .rng.state = seed + 100 + i};
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        run_round(caches, writers);
        hold_against_truth(caches, truth);
    }
    for (unsigned i = 0; i < CACHES; i++) {
        struct cache *k = &caches[i];
        print_message("cache %u: forgot %lu, hits %lu, compared %lu\n", i, k->forgot, k->hits,
                      k->compared);
        assert_true(k->forgot > 0 && k->hits > 0 && k->compared > 0);
    }
    close_caches(caches);
    for (unsigned i = 0; i < WRITERS; i++) {
        respc_close(&writers[i].c);
    }
    respc_close(&truth);
}

static void test_tracking__caches_while_others_write__hold_no_old_value(void **state)
{
    (void)state;
    START("--appendfsync", "no", "--max-file-size", "1mb");
    cache_while_others_write(rng_seed_from_env("TRACKING_SEED"));
    expect_clean_stop(&server);
}

/* The same with keys of the table making room, and with each write on the disk first. */
static void test_tracking__small_table_and_synced_writes__hold_no_old_value(void **state)
{
    (void)state;
    START("--appendfsync", "always", "--tracking-table-max-keys", "20");
    cache_while_others_write(rng_seed_from_env("TRACKING_SEED"));
    expect_clean_stop(&server);
}

/* A number in the text of INFO or of BITKV MERGE STATUS. */
static long figure(struct respc *c, const char *name, const char *word1, const char *word2,
                   const char *word3)
{
    struct reply *r = respc_command(c, word1, word2, word3, NULL);
    assert_non_null(r);
    const char *at = strstr(r->text, name);
    assert_non_null(at);
    long n = strtol(at + strlen(name), NULL, 10);
    reply_free(&r);
    return n;
}

/* Every cache reads every key. */
static void read_all(struct cache *caches)
{
    for (unsigned i = 0; i < CACHES; i++) {
        open_cache(&caches[i], i, 1);
        for (unsigned key = 0; key < KEYS; key++) {
            read_key(&caches[i], key);
        }
    }
}

static void write_all(struct respc *c, const char *value)
{
    for (unsigned key = 0; key < KEYS; key++) {
        char name[16];
        snprintf(name, sizeof name, "k%u", key);
        expect_reply(c, "+OK", "SET", name, value, NULL);
    }
}

static void test_tracking__evicted_keys__are_forgotten(void **state)
{
    (void)state;
    START("--appendfsync", "no", "--maxmemory-policy", "allkeys-random");
    struct respc *c = expect_connection(&server);
    struct cache caches[CACHES];
    write_all(c, "v");
    read_all(caches);
    expect_reply(c, "+OK", "CONFIG", "SET", "maxmemory", "1", NULL);
    long left = KEYS;
    while (left > 0) {
        struct reply *r = respc_command(c, "DBSIZE", NULL);
        assert_non_null(r);
        left = (long)r->integer;
        reply_free(&r);
    }
    for (unsigned i = 0; i < CACHES; i++) {
        catch_up(&caches[i]);
        for (unsigned key = 0; key < KEYS; key++) {
            assert_false(caches[i].known[key]);
        }
    }
    close_caches(caches);
    respc_close(&c);
    expect_clean_stop(&server);
}

static void test_tracking__merge_and_snapshot__make_nobody_forget(void **state)
{
    (void)state;
    START("--appendfsync", "no", "--max-file-size", "1mb", "--merge-policy", "always");
    struct respc *c = expect_connection(&server);
    struct cache caches[CACHES];
    char *big = malloc(100001);
    memset(big, 'x', 100000);
    big[100000] = '\0';
    write_all(c, big);
    write_all(c, big); /* what the first ones have written is dead now */
    read_all(caches);
    expect_reply(c, "+OK", "BITKV", "MERGE", "NOW", NULL);
    while (figure(c, "merge_runs:", "BITKV", "MERGE", "STATUS") == 0) {
        /* It is under way. */
    }
    expect_reply(c, "+OK", "SAVE", NULL);
    for (unsigned i = 0; i < CACHES; i++) {
        catch_up(&caches[i]);
        assert_int_equal(caches[i].forgot, 0);
    }
    free(big);
    close_caches(caches);
    respc_close(&c);
    expect_clean_stop(&server);
}

static void queue_line(struct bk_buf *out, const char *a, const char *b, const char *c)
{
    respc_format(out, a, b, b == NULL ? NULL : c, NULL);
}

/* A client that speaks RESP3, tracks and listens to the channel ch. */
static struct respc *open_listener(void)
{
    struct respc *c = expect_connection(&server);
    struct reply *hello = respc_command(c, "HELLO", "3", NULL);
    reply_free(&hello);
    expect_reply(c, "+OK", "CLIENT", "TRACKING", "ON", NULL);
    expect_reply(c, ">3 [$\"subscribe\" $\"ch\" :1]", "SUBSCRIBE", "ch", NULL);
    return c;
}

/* What it publishes comes in front of its reply, in which there is a value that it has changed. */
static void test_tracking__exec_that_publishes__is_answered_before_its_value_is_old(void **state)
{
    (void)state;
    START("--io-threads", "1");
    struct respc *c = open_listener();
    struct bk_buf out = {0};
    expect_reply(c, "+OK", "SET", "k", "old", NULL);
    queue_line(&out, "MULTI", NULL, NULL);
    queue_line(&out, "GET", "k", NULL);
    queue_line(&out, "SET", "k", "new");
    queue_line(&out, "PUBLISH", "ch", "x");
    queue_line(&out, "EXEC", NULL, NULL);
    assert_true(respc_send(c, out.data, out.len));
    expect_next(c, "+OK");
    expect_next(c, "+QUEUED");
    expect_next(c, "+QUEUED");
    expect_next(c, "+QUEUED");
    expect_next(c, "*3 [$\"old\" +OK :1]");
    expect_next(c, ">2 [$\"invalidate\" *1 [$\"k\"]]");
    expect_next(c, ">3 [$\"message\" $\"ch\" $\"x\"]");
    expect_reply(c, "$\"new\"", "GET", "k", NULL);
    bk_buf_fini(&out);
    respc_close(&c);
    expect_clean_stop(&server);
}

/* Nothing is remembered of a client before it tracks, and all of what it reads then. */
static void test_tracking__turned_on_in_an_exec__what_is_read_behind_it_is_remembered(void **state)
{
    (void)state;
    START("--io-threads", "1");
    struct respc *other = expect_connection(&server);
    struct respc *c = expect_connection(&server);
    struct reply *hello = respc_command(c, "HELLO", "3", NULL);
    reply_free(&hello);
    expect_reply(c, "+OK", "MULTI", NULL);
    expect_reply(c, "+QUEUED", "GET", "before", NULL);
    expect_reply(c, "+QUEUED", "CLIENT", "TRACKING", "ON", NULL);
    expect_reply(c, "+QUEUED", "MGET", "a", "b", NULL);
    expect_reply(c, "+QUEUED", "CLIENT", "TRACKING", "OFF", NULL);
    expect_reply(c, "+QUEUED", "GET", "behind", NULL);
    expect_reply(c, "+QUEUED", "CLIENT", "TRACKING", "ON", NULL);
    expect_reply(c, "+QUEUED", "GET", "c", NULL);
    expect_reply(c, "*7 [_null +OK *2 [_null _null] +OK _null +OK _null]", "EXEC", NULL);
    expect_reply(other, "+OK", "MSET", "before", "1", "behind", "1", "c", "1", NULL);
    expect_next(c, ">2 [$\"invalidate\" *1 [$\"c\"]]");
    expect_reply(c, "+PONG", "PING", NULL);
    respc_close(&c);
    respc_close(&other);
    expect_clean_stop(&server);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_none, teardown_server)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_tracking__caches_while_others_write__hold_no_old_value),
        TEST(test_tracking__small_table_and_synced_writes__hold_no_old_value),
        TEST(test_tracking__evicted_keys__are_forgotten),
        TEST(test_tracking__merge_and_snapshot__make_nobody_forget),
        TEST(test_tracking__exec_that_publishes__is_answered_before_its_value_is_old),
        TEST(test_tracking__turned_on_in_an_exec__what_is_read_behind_it_is_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
