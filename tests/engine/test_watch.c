/* SPDX-License-Identifier: MIT */
/* test_watch.c - watches of keys, and what a batch makes of whole databases before its commit. */
#include "merge_rig.h"

#include "lib/tmpdir.h"

#include <pthread.h>

#define WATCHERS 4
#define ROUNDS 500

static struct bk_watch *watch(struct rig *r, uint32_t num, const char *key)
{
    struct bk_key k;
    bk_key_init(r->db, &k, key, strlen(key));
    return bk_watch_new(r->db, num, &k);
}

/* Looks under the key's lock, and frees the watch. */
static bool fired(struct rig *r, struct bk_watch *w)
{
    bk_batch_begin(r->batch);
    bk_batch_lock_key(r->batch, bk_watch_key(w));
    bk_batch_lock(r->batch);
    bool yes = bk_watch_fired(w);
    bk_batch_cancel(r->batch);
    bk_watch_free(r->db, &w);
    assert_null(w);
    return yes;
}

static void commit(struct rig *r)
{
    assert_int_equal(rig_commit(r), BK_OK);
    RIG_TRUE(r, rig_settle(r));
}

static void test_watch__put_and_delete__fire_it(void **state)
{
    (void)state;
    struct rig r;
    setup_rig(&r, 1, BK_SYNC_NO);
    struct bk_watch *w = watch(&r, 0, "a");
    assert_int_equal(rig_put(&r, "a", "1"), BK_OK);
    assert_true(fired(&r, w));
    w = watch(&r, 0, "a");
    struct bk_watch *twice = watch(&r, 0, "a");
    assert_int_equal(rig_delete(&r, "a"), BK_OK);
    assert_true(fired(&r, w));
    assert_true(fired(&r, twice));
    rig_fini(&r);
}

static void test_watch__writes_of_other_keys_and_databases__do_not(void **state)
{
    (void)state;
    struct rig r;
    setup_rig(&r, 2, BK_SYNC_NO);
    struct bk_watch *w = watch(&r, 0, "a");
    put_n(&r, "b", 3000, "x"); /* some of them on the same lock */
    rig_begin(&r);
    rig_batch_put(&r, 1, bk_span_str("a"), bk_span_str("1"), 0, 0);
    commit(&r);
    assert_int_equal(bk_watch_database(w), 0);
    assert_false(fired(&r, w));
    rig_fini(&r);
}

static void test_watch__merge_and_expiry__do_not(void **state)
{
    (void)state;
    struct rig r;
    setup_rig(&r, 3, BK_SYNC_NO);
    int64_t soon = bk_clock_wall_ms(&r.clock.clock) + 100;
    rig_begin(&r);
    rig_batch_put(&r, 0, bk_span_str("short"), bk_span_str("1"), 0, soon);
    rig_batch_put(&r, 0, bk_span_str("a"), bk_span_str("1"), 0, 0);
    commit(&r);
    struct bk_watch *a = watch(&r, 0, "a");
    struct bk_watch *expires = watch(&r, 0, "short");
    for (int i = 0; i < 20; i++) {
        put_n(&r, "b", 100, "overwritten");
    }
    simclock_advance_ms(&r.clock, 5000);
    merge_all(&r);
    assert_true(merges(&r) > 0);
    while (bk_expire_step(r.db, 1000, NULL) > 0) {
    }
    assert_false(has(&r, "short"));
    assert_false(fired(&r, a));
    assert_false(fired(&r, expires));
    rig_fini(&r);
}

static void test_watch__flush__fires_for_what_is_there(void **state)
{
    (void)state;
    struct rig r;
    setup_rig(&r, 4, BK_SYNC_NO);
    assert_int_equal(rig_put(&r, "a", "1"), BK_OK);
    struct bk_watch *there = watch(&r, 0, "a");
    struct bk_watch *absent = watch(&r, 0, "b");
    struct bk_watch *other = watch(&r, 1, "a");
    rig_begin(&r);
    rig_batch_flush(&r, 0);
    commit(&r);
    assert_true(fired(&r, there));
    assert_false(fired(&r, absent));
    assert_false(fired(&r, other));
    rig_fini(&r);
}

static void test_watch__swap__fires_for_what_is_there_before_or_after(void **state)
{
    (void)state;
    struct rig r;
    setup_rig(&r, 5, BK_SYNC_NO);
    assert_int_equal(rig_put(&r, "a", "1"), BK_OK);
    struct bk_watch *goes = watch(&r, 0, "a");
    struct bk_watch *comes = watch(&r, 1, "a");
    struct bk_watch *absent = watch(&r, 1, "b");
    struct bk_watch *other = watch(&r, 2, "a");
    rig_begin(&r);
    rig_batch_swap(&r, 0, 1);
    commit(&r);
    assert_true(fired(&r, goes));
    assert_true(fired(&r, comes));
    assert_false(fired(&r, absent));
    assert_false(fired(&r, other));
    rig_fini(&r);
}

/* ---- Threads: what is read under a watch and written only if it has not fired adds up ---- */

struct adder {
    struct bk_db *db;
    pthread_t thread;
};

static uint64_t read_number(struct bk_db *db, struct bk_buf *buf)
{
    int rc = bk_get(db, 0, bk_span_str("sum"), buf, NULL);
    uint64_t n = 0;
    if (rc == BK_OK) {
        memcpy(&n, buf->data, sizeof(n));
    }
    return n;
}

/* One try to add 1. */
static bool add_one(struct adder *a, struct bk_batch *b, struct bk_buf *buf)
{
    struct bk_key key;
    uint64_t pos = 0;
    bk_key_init(a->db, &key, "sum", 3);
    struct bk_watch *w = bk_watch_new(a->db, 0, &key);
    uint64_t n = read_number(a->db, buf) + 1;
    bk_batch_begin(b);
    bk_batch_lock_key(b, &key);
    bk_batch_lock(b);
    bool done = false;
    if (!bk_watch_fired(w)) {
        bk_batch_put(b, 0, &key, &(struct bk_value){bk_span_of(&n, sizeof(n)), NULL}, 0, 0);
        done = bk_batch_commit(b, &pos, NULL) == BK_OK;
        bk_flush(a->db, pos);
    } else {
        bk_batch_cancel(b);
    }
    bk_watch_free(a->db, &w);
    return done;
}

static void *adder_main(void *arg)
{
    struct adder *a = arg;
    struct bk_batch *b = bk_batch_new(a->db);
    struct bk_buf buf = {0};
    for (unsigned i = 0; i < ROUNDS;) {
        i += add_one(a, b, &buf) ? 1 : 0;
    }
    bk_buf_fini(&buf);
    bk_batch_free(&b);
    return NULL;
}

static void test_watch__threads_that_add_under_it__lose_nothing(void **state)
{
    (void)state;
    struct tmpdir dir;
    struct bk_options opt;
    struct bk_error err = {0};
    struct adder a[WATCHERS];
    struct bk_buf buf = {0};
    struct bk_db *db = NULL;
    tmpdir_make(&dir, "watch");
    bk_options_init(&opt);
    opt.dir = dir.path;
    opt.sync = BK_SYNC_NO;
    BK_SUCCEEDS(bk_open(&db, &opt, &err), err);
    for (unsigned i = 0; i < WATCHERS; i++) {
        a[i] = (struct adder){.db = db};
        assert_int_equal(pthread_create(&a[i].thread, NULL, adder_main, &a[i]), 0);
    }
    for (unsigned i = 0; i < WATCHERS; i++) {
        assert_int_equal(pthread_join(a[i].thread, NULL), 0);
    }
    assert_int_equal(read_number(db, &buf), WATCHERS * ROUNDS);
    bk_buf_fini(&buf);
    BK_SUCCEEDS(bk_close(&db, &err), err);
    tmpdir_remove(&dir);
}

/* ---- Whole databases inside a batch ---- */

static void count_put(void *arg, const struct bk_scan_entry *entry)
{
    unsigned *n = arg;
    assert_true(entry->key.len > 0);
    ++*n;
}

static void batch_put(struct rig *r, uint32_t num, const char *name)
{
    struct bk_key k;
    bk_key_init(r->db, &k, name, strlen(name));
    bk_batch_put(r->batch, num, &k, &(struct bk_value){bk_span_str("v"), NULL}, 0, 0);
}

static void batch_delete(struct rig *r, uint32_t num, const char *name)
{
    struct bk_key k;
    bk_key_init(r->db, &k, name, strlen(name));
    bk_batch_delete(r->batch, num, &k);
}

static void expect_database(struct rig *r, uint32_t num, uint64_t count, int64_t number,
                            unsigned puts)
{
    unsigned n = 0;
    assert_int_equal(bk_batch_count(r->batch, num), count);
    assert_int_equal(bk_batch_number(r->batch, num), number);
    bk_batch_puts(r->batch, num, count_put, &n);
    assert_int_equal(n, puts);
}

static void test_batch__whole_databases__are_seen_as_it_leaves_them(void **state)
{
    (void)state;
    struct rig r;
    struct bk_key k;
    setup_rig(&r, 6, BK_SYNC_NO);
    put_n(&r, "k", 10, "old");
    RIG_TRUE(&r, rig_settle(&r));
    bk_key_init(r.db, &k, "k1", 2);
    bk_batch_begin(r.batch);
    bk_batch_lock_all(r.batch);
    bk_batch_lock(r.batch);
    expect_database(&r, 0, 10, 0, 0);
    batch_put(&r, 0, "k1");
    batch_put(&r, 0, "new");
    batch_delete(&r, 0, "k2");
    batch_delete(&r, 0, "never there");
    expect_database(&r, 0, 10, 0, 2);
    assert_true(bk_batch_writes(r.batch, 0, &k));
    assert_false(bk_batch_writes(r.batch, 1, &k));
    bk_batch_swap(r.batch, 0, 1);
    expect_database(&r, 0, 0, 1, 0);
    expect_database(&r, 1, 10, 0, 2);
    bk_batch_flush(r.batch, 1);
    batch_put(&r, 1, "after");
    expect_database(&r, 1, 1, -1, 1);
    bk_batch_cancel(r.batch);
    bk_batch_begin(r.batch);
    RIG_TRUE(&r, rig_same(&r));
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_watch__put_and_delete__fire_it),
        cmocka_unit_test(test_watch__writes_of_other_keys_and_databases__do_not),
        cmocka_unit_test(test_watch__merge_and_expiry__do_not),
        cmocka_unit_test(test_watch__flush__fires_for_what_is_there),
        cmocka_unit_test(test_watch__swap__fires_for_what_is_there_before_or_after),
        cmocka_unit_test(test_watch__threads_that_add_under_it__lose_nothing),
        cmocka_unit_test(test_batch__whole_databases__are_seen_as_it_leaves_them),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
