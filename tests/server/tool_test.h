/* SPDX-License-Identifier: MIT */
/*
 * tool_test.h - what the tests of the offline tool share: a directory and a server of each test,
 * runs of the tool, stores filled and compared through the engine. Included once by each program.
 */
#ifndef BK_TESTS_TOOL_TEST_H
#define BK_TESTS_TOOL_TEST_H

#include "engine/bitkv.h"
#include "lib/dirlist.h"
#include "lib/expect.h"
#include "lib/rng.h"
#include "lib/toolrun.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH_SIZE 400
#define FAR_FUTURE INT64_C(4102444800000)

static struct tmpdir dir;
static struct toolrun t;
static struct server server;

static inline int setup_each(void **state)
{
    (void)state;
    server = (struct server){.redis = false};
    tmpdir_make(&dir, "tool");
    return 0;
}

static inline int teardown_each(void **state)
{
    (void)state;
    server_fini(&server);
    tmpdir_remove(&dir);
    toolrun_fini(&t);
    return 0;
}

static inline const char *in_dir(const char *name)
{
    static char paths[32][PATH_SIZE]; /* each stays for the length of a test */
    static unsigned next;
    char *path = paths[next++ % 32];
    tmpdir_join(&dir, name, path, PATH_SIZE);
    return path;
}

#define OUT(text) assert_string_equal((const char *)t.out.data, text)
#define SAYS(text) assert_non_null(strstr((const char *)t.err.data, text))
#define RUN(want, ...)                                                          \
    do {                                                                        \
        if (tool(&t, __VA_ARGS__, NULL) != (want)) {                            \
            print_error("%s:%d: status %d: %s\n", __FILE__, __LINE__, t.status, \
                        (const char *)t.err.data);                              \
            fail();                                                             \
        }                                                                       \
    } while (0)

/* The tool's status with another working directory. */
static inline int run_in(const char *place, const char *verb, const char *path, const char *other)
{
    const char *const argv[] = {
        "sh", "-c", "cd \"$0\" && exec \"$@\"", place, TEST_TOOL, verb, path, other, NULL};
    return toolrun_argv(&t, argv);
}

static inline void input(const void *data, size_t len)
{
    t.input = bk_span_of(data, len);
}

static inline void start(void)
{
    assert_true(server_start(&server));
}

/* ---- Stores ---- */

static inline void commit(struct bk_db *db, struct bk_batch *b)
{
    uint64_t pos;
    int rc;
    while ((rc = bk_batch_commit(b, &pos, NULL)) == BK_EAGAIN) {
        bk_flush(db, bk_tail(db)); /* a file is full, and the next one is being made */
        sched_yield();
    }
    assert_int_equal(rc, BK_OK);
}

/* Writes records of every kind: any bytes, long values, expiries, flags, far databases. */
static inline void fill(const char *path, uint64_t seed, unsigned records, bool flags)
{
    struct rng rng = {seed};
    struct bk_options o;
    struct bk_error err = {0};
    struct bk_db *db = NULL;
    static uint8_t bytes[150000];
    bk_options_init(&o);
    o.dir = path;
    o.sync = BK_SYNC_NO;
    o.databases = BK_DATABASES_MAX;
    o.max_file_bytes = 1 << 18;
    assert_int_equal(bk_open(&db, &o, &err), BK_OK);
    struct bk_batch *b = bk_batch_new(db);
    for (unsigned i = 0; i < records; i++) {
        uint8_t key[40];
        struct bk_key k;
        size_t len = rng_below(&rng, sizeof key);
        bool text = rng_percent(&rng, 50);
        uint64_t most = rng_percent(&rng, 5) ? sizeof bytes : 300;
        struct bk_value v = {{bytes, rng_below(&rng, most)}, NULL};
        rng_fill(&rng, key, sizeof key);
        rng_fill(&rng, bytes, v.bytes.len);
        for (size_t j = 0; text && j < len; j++) {
            key[j] = (uint8_t)('a' + key[j] % 26);
        }
        for (size_t j = 0; text && j < v.bytes.len; j++) {
            bytes[j] = (uint8_t)(bytes[j] % 9 == 0 ? '\n' : ' ' + bytes[j] % 94);
        }
        bk_key_init(db, &k, key, len);
        bk_batch_begin(b);
        bk_batch_put(b, rng_percent(&rng, 80) ? 0 : (uint32_t)rng_below(&rng, BK_DATABASES_MAX), &k,
                     &v, flags && rng_percent(&rng, 20) ? (uint8_t)rng_next(&rng) : 0,
                     rng_percent(&rng, 30) ? FAR_FUTURE + (int64_t)rng_below(&rng, 1000) : 0);
        commit(db, b);
    }
    bk_batch_free(&b);
    assert_int_equal(bk_close(&db, &err), BK_OK);
}

struct pair {
    struct bk_db *a, *b;
    uint32_t num;
    uint64_t same;
};

static inline void read_item(struct bk_db *db, uint32_t num, struct bk_span key,
                             struct bk_item *item)
{
    struct bk_key k;
    bk_key_init(db, &k, key.data, key.len);
    bk_locate(db, &num, &k, 1, item);
    assert_int_not_equal(item->at, 0);
    assert_int_equal(bk_load(db, &k, item, NULL), BK_OK);
}

static inline void same_record(void *arg, const struct bk_scan_entry *e)
{
    struct pair *p = arg;
    struct bk_item one = {0};
    struct bk_item two = {0};
    read_item(p->a, p->num, e->key, &one);
    read_item(p->b, p->num, e->key, &two);
    assert_true(bk_span_eq(one.value, two.value));
    assert_int_equal(one.flags, two.flags);
    assert_int_equal(one.expire_ms, two.expire_ms);
    bk_item_fini(&one);
    bk_item_fini(&two);
    p->same++;
}

static inline struct bk_db *open_to_read(const char *path)
{
    struct bk_options o;
    struct bk_db *db = NULL;
    bk_options_init(&o);
    o.dir = path;
    o.read_only = true;
    o.databases = BK_DATABASES_MAX;
    assert_int_equal(bk_open(&db, &o, NULL), BK_OK);
    return db;
}

/* Both hold the same records; returns how many. */
static inline uint64_t same_stores(const char *a, const char *b)
{
    struct pair p = {open_to_read(a), open_to_read(b), 0, 0};
    for (; p.num < BK_DATABASES_MAX; p.num++) {
        uint64_t cursor = 0;
        assert_int_equal(bk_count(p.a, p.num), bk_count(p.b, p.num));
        do {
            bk_scan(p.a, p.num, &cursor, 100, same_record, &p);
        } while (cursor != 0);
    }
    assert_int_equal(bk_close(&p.a, NULL), BK_OK);
    assert_int_equal(bk_close(&p.b, NULL), BK_OK);
    return p.same;
}

/* The output of the last run becomes the input of the next. */
static inline void pipe_on(struct bk_buf *held)
{
    bk_buf_fini(held);
    *held = t.out;
    t.out = (struct bk_buf){0};
    t.input = bk_buf_span(held);
}

#endif
