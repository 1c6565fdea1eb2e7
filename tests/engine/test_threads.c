/* SPDX-License-Identifier: MIT */
/* test_threads.c - many threads on one store, on a real directory with the store's own threads. */
#include "engine_test.h"
#include "lib/moment.h"
#include "lib/tmpdir.h"

#include <pthread.h>
#include <stdatomic.h>

#define THREADS 8
#define FAR_MS ((int64_t)4000000000000) /* in the year 2096 */

struct place {
    struct tmpdir dir;
    struct bk_options opt;
    struct bk_db *db;
    atomic_bool stop;
    atomic_uint done;
    atomic_uint failures;
};

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    struct bk_error err = {0};
    tmpdir_make(&p->dir, "threads");
    bk_options_init(&p->opt);
    p->opt.dir = p->dir.path;
    p->opt.max_file_bytes = 65536; /* rotations all the time */
    p->opt.cache_bytes = 32768;
    BK_SUCCEEDS(bk_open(&p->db, &p->opt, &err), err);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    struct bk_error err = {0};
    BK_SUCCEEDS(bk_check(p->db, &err), err);
    BK_SUCCEEDS(bk_close(&p->db, &err), err);
    tmpdir_remove(&p->dir);
    free(p);
    return 0;
}

struct worker {
    struct place *p;
    unsigned id;
    unsigned rounds;
    pthread_t thread;
};

static void run_workers(struct place *p, void *(*main_fn)(void *), unsigned rounds)
{
    struct worker w[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        w[i] = (struct worker){.p = p, .id = i, .rounds = rounds};
        assert_int_equal(pthread_create(&w[i].thread, NULL, main_fn, &w[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(w[i].thread, NULL), 0);
    }
    assert_int_equal(atomic_load(&p->failures), 0);
}

static void expect(struct place *p, bool fact)
{
    if (!fact) {
        atomic_fetch_add(&p->failures, 1);
    }
}

static void reopen(struct place *p)
{
    struct bk_error err = {0};
    BK_SUCCEEDS(bk_close(&p->db, &err), err);
    BK_SUCCEEDS(bk_open(&p->db, &p->opt, &err), err);
}

/* The background may still be busy freeing what was flushed: then the counts are on their way. */
static void check_when_quiet(struct place *p)
{
    struct bk_error err = {0};
    int rc = bk_check(p->db, &err);
    for (int i = 0; i < 5000 && rc == BK_CORRUPT; i++) {
        moment_pass(1000);
        rc = bk_check(p->db, &err);
    }
    BK_SUCCEEDS(rc, err);
}

static void *one_key_main(void *arg)
{
    struct worker *w = arg;
    for (unsigned i = 0; i < w->rounds; i++) {
        char value[64];
        snprintf(value, sizeof(value), "thread %u round %u", w->id, i);
        expect(w->p, bk_put(w->p->db, 0, bk_span_str("one key"), bk_span_str(value), 0) == BK_OK);
        if (i % 16 == 7) {
            int rc = bk_delete(w->p->db, 0, bk_span_str("one key"));
            expect(w->p, rc == BK_OK || rc == BK_NOTFOUND);
        }
    }
    return NULL;
}

static void test_trap14__threads_on_one_key__restart_finds_the_value_that_memory_had(void **state)
{
    struct place *p = *state;
    for (int round = 0; round < 20; round++) {
        struct bk_buf before = {0};
        struct bk_buf after = {0};
        run_workers(p, one_key_main, 100);
        int rc1 = bk_get(p->db, 0, bk_span_str("one key"), &before, NULL);
        reopen(p);
        int rc2 = bk_get(p->db, 0, bk_span_str("one key"), &after, NULL);
        assert_int_equal(rc1, rc2);
        assert_true(bk_span_eq(bk_buf_span(&before), bk_buf_span(&after)));
        bk_buf_fini(&before);
        bk_buf_fini(&after);
    }
}

/* Values contain their key, and are long enough to cross buffers, files and cache. */
static size_t make_value(char *value, unsigned key, unsigned round)
{
    size_t len = (size_t)snprintf(value, 2048, "value of key %u in round %u ", key, round);
    size_t total = len + (key * 37 + round * 11) % 1900;
    memset(value + len, 'a' + (int)(key % 26), total - len);
    return total;
}

static bool value_belongs(const struct bk_buf *got, unsigned key)
{
    char want[64];
    int n = snprintf(want, sizeof(want), "value of key %u in round ", key);
    bool ok = got->len >= (size_t)n && memcmp(got->data, want, (size_t)n) == 0;
    size_t tail = 0;
    while (ok && tail < got->len && got->data[got->len - 1 - tail] == 'a' + (int)(key % 26)) {
        tail++;
    }
    return ok && tail + 40 >= got->len;
}

static void *mixed_main(void *arg)
{
    struct worker *w = arg;
    struct rng rng = {w->id + 100};
    struct bk_buf got = {0};
    for (unsigned i = 0; i < w->rounds; i++) {
        char value[2048];
        char name[32];
        unsigned key = (unsigned)rng_below(&rng, 50);
        snprintf(name, sizeof(name), "key%u", key);
        uint64_t pick = rng_below(&rng, 10);
        if (pick < 3) {
            size_t len = make_value(value, key, i);
            expect(w->p,
                   bk_put(w->p->db, 0, bk_span_str(name), bk_span_of(value, len), 0) == BK_OK);
        } else if (pick == 3) {
            int rc = bk_delete(w->p->db, 0, bk_span_str(name));
            expect(w->p, rc == BK_OK || rc == BK_NOTFOUND);
        } else {
            int rc = bk_get(w->p->db, 0, bk_span_str(name), &got, NULL);
            expect(w->p, rc == BK_NOTFOUND || (rc == BK_OK && value_belongs(&got, key)));
        }
    }
    bk_buf_fini(&got);
    return NULL;
}

static void test_trap39__reads_beside_writes_and_rotations__never_return_another_keys_bytes(
    void **state)
{
    struct place *p = *state;
    run_workers(p, mixed_main, 4000 * long_factor());
    struct bk_stats st;
    bk_stats_get(p->db, &st);
    assert_true(st.rotations > 10);
    reopen(p);
    run_workers(p, mixed_main, 500);
}

/* Pairs written together by a batch are read together: bk_locate of two keys never sees half a
 * batch. */
static void *pair_writer_main(void *arg)
{
    struct worker *w = arg;
    struct bk_batch *b = bk_batch_new(w->p->db);
    struct bk_key keys[2];
    bk_key_init(w->p->db, &keys[0], "left", 4);
    bk_key_init(w->p->db, &keys[1], "right", 5);
    for (unsigned i = 0; i < w->rounds; i++) {
        uint64_t pos = 0;
        uint64_t both = (uint64_t)w->id << 32 | i;
        int rc = BK_EAGAIN;
        while (rc == BK_EAGAIN) {
            bk_batch_begin(b);
            bk_batch_lock_key(b, &keys[0]);
            bk_batch_lock_key(b, &keys[1]);
            bk_batch_lock(b);
            for (int k = 0; k < 2; k++) {
                bk_batch_put(b, 0, &keys[k],
                             &(struct bk_value){bk_span_of(&both, sizeof(both)), NULL}, 0, 0);
            }
            rc = bk_batch_commit(b, &pos, NULL);
            bk_flush(w->p->db, pos);
        }
        expect(w->p, rc == BK_OK);
    }
    bk_batch_free(&b);
    return NULL;
}

static void *pair_reader_main(void *arg)
{
    struct worker *w = arg;
    struct bk_key keys[2];
    struct bk_item items[2] = {0};
    bk_key_init(w->p->db, &keys[0], "left", 4);
    bk_key_init(w->p->db, &keys[1], "right", 5);
    for (unsigned i = 0; i < w->rounds; i++) {
        bk_locate(w->p->db, (uint32_t[]){0, 0}, keys, 2, items);
        expect(w->p, (items[0].at == 0) == (items[1].at == 0));
        if (items[0].at == 0) {
            continue;
        }
        int rc0 = bk_load(w->p->db, &keys[0], &items[0], NULL);
        int rc1 = bk_load(w->p->db, &keys[1], &items[1], NULL);
        expect(w->p, rc0 == BK_OK || rc0 == BK_CHANGED);
        expect(w->p, rc1 == BK_OK || rc1 == BK_CHANGED);
        expect(w->p, rc0 != BK_OK || rc1 != BK_OK || bk_span_eq(items[0].value, items[1].value));
    }
    bk_item_fini(&items[0]);
    bk_item_fini(&items[1]);
    return NULL;
}

static void *pair_main(void *arg)
{
    struct worker *w = arg;
    return w->id % 2 == 0 ? pair_writer_main(arg) : pair_reader_main(arg);
}

static void test_threads__batches_of_two_keys__are_never_seen_in_part(void **state)
{
    struct place *p = *state;
    run_workers(p, pair_main, 5000);
    struct bk_stats st;
    bk_stats_get(p->db, &st);
    assert_true(st.batches >= 5000);
}

/* Everything at once, databases swapped and flushed too: the walk over all structures at the end
 * finds them whole. */
static void *turmoil_main(void *arg)
{
    struct worker *w = arg;
    struct rng rng = {w->id + 7};
    struct bk_batch *b = bk_batch_new(w->p->db);
    for (unsigned i = 0; i < w->rounds; i++) {
        uint64_t pos = 0;
        struct bk_key key;
        uint8_t value[300];
        char name[32];
        rng_fill(&rng, value, sizeof(value));
        snprintf(name, sizeof(name), "k%llu", (unsigned long long)rng_below(&rng, 300));
        uint64_t pick = rng_below(&rng, 200);
        bk_key_init(w->p->db, &key, name, strlen(name));
        bk_batch_begin(b);
        if (pick < 2) {
            bk_batch_lock_all(b);
            bk_batch_lock(b);
            if (pick == 0) {
                bk_batch_flush(b, (uint32_t)rng_below(&rng, 3));
            } else {
                bk_batch_swap(b, 0, 1);
            }
        }
        bk_batch_put(b, (uint32_t)rng_below(&rng, 3), &key,
                     &(struct bk_value){bk_span_of(value, sizeof(value)), NULL}, 0,
                     pick % 3 == 0 ? FAR_MS - (int64_t)pick * 1000 : 0);
        int rc = bk_batch_commit(b, &pos, NULL);
        expect(w->p, rc == BK_OK || rc == BK_EAGAIN);
        bk_expire_step(w->p->db, 10, NULL);
        bk_flush(w->p->db, bk_tail(w->p->db));
        if (i % 64 == 0) {
            expect(w->p, bk_wait(w->p->db, bk_tail(w->p->db)) == BK_OK);
        }
    }
    bk_batch_free(&b);
    return NULL;
}

static void test_threads__turmoil__leaves_everything_consistent(void **state)
{
    struct place *p = *state;
    uint64_t counts[3];
    run_workers(p, turmoil_main, 1500);
    for (uint32_t i = 0; i < 3; i++) {
        counts[i] = bk_count(p->db, i);
    }
    assert_int_equal(bk_wait(p->db, bk_tail(p->db)), BK_OK);
    check_when_quiet(p);
    reopen(p);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(bk_count(p->db, i), counts[i]);
    }
}

/* Trap 27: keys run out, are written anew to stay, and run out again, beside two threads that
 * remove what has run out. What was written to stay is there. */
static void *persist_main(void *arg)
{
    struct worker *w = arg;
    struct bk_db *db = w->p->db;
    struct bk_buf got = {0};
    char key[32];
    if (w->id < 2) {
        while (!atomic_load(&w->p->stop)) {
            bk_expire_step(db, 50, NULL);
        }
        return NULL;
    }
    for (unsigned i = 0; i < w->rounds; i++) {
        snprintf(key, sizeof(key), "thread %u key %u", w->id, i % 40);
        int64_t soon = bk_clock_wall_ms(&bk_clock_system) - (int64_t)(i % 300) + 100;
        expect(w->p, bk_put(db, 0, bk_span_str(key), bk_span_str("goes"), soon) == BK_OK);
        snprintf(key, sizeof(key), "thread %u key %u", w->id, (i + 20) % 40);
        expect(w->p, bk_put(db, 0, bk_span_str(key), bk_span_str("stays"), 0) == BK_OK);
        expect(w->p, bk_get(db, 0, bk_span_str(key), &got, NULL) == BK_OK);
        bk_expire_step(db, 20, NULL);
        expect(w->p, bk_get(db, 0, bk_span_str(key), &got, NULL) == BK_OK);
    }
    bk_buf_fini(&got);
    if (atomic_fetch_add(&w->p->done, 1) + 1 == THREADS - 2) {
        atomic_store(&w->p->stop, true);
    }
    return NULL;
}

static void test_trap27__expiry_beside_writes_that_stay__what_stays_is_there(void **state)
{
    struct place *p = *state;
    run_workers(p, persist_main, 2000 * long_factor());
    assert_int_equal(bk_wait(p->db, bk_tail(p->db)), BK_OK);
    check_when_quiet(p);
    struct bk_stats st;
    bk_stats_get(p->db, &st);
    assert_true(st.expired > 0);
}

static void test_threads__always__eight_writers_share_syncs(void **state)
{
    struct place *p = *state;
    struct bk_tunables t;
    bk_tunables_get(p->db, &t);
    t.sync = BK_SYNC_ALWAYS;
    t.max_file_bytes = 64 << 20;
    bk_tune(p->db, &t);
    run_workers(p, one_key_main, 20);
    struct bk_stats st;
    bk_stats_get(p->db, &st);
    assert_true(st.synced_pos == st.tail_pos);
    assert_true(st.syncs > 0);
}

/* Somebody whose clock is ahead takes the key for expired while a delete that saw it alive is about
 * to take it out: one of them does, and only that one may say so. */
static void *expire_main(void *arg)
{
    struct worker *w = arg;
    struct bk_key key;
    bk_key_init(w->p->db, &key, "k", 1);
    expect(w->p, !bk_expire_key(w->p->db, 0, &key, FAR_MS + 1));
    atomic_fetch_add(&w->p->done, 1);
    return NULL;
}

static void test_threads__delete_of_what_it_saw_alive__is_not_expired_by_another(void **state)
{
    struct place *p = *state;
    struct worker w = {.p = p};
    struct bk_batch *b = bk_batch_new(p->db);
    struct bk_item item = {0};
    struct bk_key key;
    uint64_t pos = 0;
    assert_int_equal(bk_put(p->db, 0, bk_span_str("k"), bk_span_str("v"), FAR_MS), BK_OK);
    assert_int_equal(bk_wait(p->db, bk_tail(p->db)), BK_OK);
    bk_key_init(p->db, &key, "k", 1);
    bk_batch_begin(b);
    bk_batch_lock_key(b, &key);
    bk_batch_lock(b);
    bk_batch_peek(b, 0, &key, &item);
    assert_int_not_equal(item.at, 0);
    assert_int_equal(pthread_create(&w.thread, NULL, expire_main, &w), 0);
    for (int i = 0; i < 100 && atomic_load(&p->done) == 0; i++) {
        moment_pass(2000); /* it waits for the lock, and is done before only if it does not */
    }
    bk_batch_delete(b, 0, &key);
    assert_int_equal(bk_batch_commit(b, &pos, NULL), BK_OK);
    assert_int_equal(pthread_join(w.thread, NULL), 0);
    assert_int_equal(atomic_load(&p->failures), 0);
    bk_item_fini(&item);
    bk_batch_free(&b);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_trap14__threads_on_one_key__restart_finds_the_value_that_memory_had),
        T(test_trap39__reads_beside_writes_and_rotations__never_return_another_keys_bytes),
        T(test_threads__batches_of_two_keys__are_never_seen_in_part),
        T(test_threads__turmoil__leaves_everything_consistent),
        T(test_trap27__expiry_beside_writes_that_stay__what_stays_is_there),
        T(test_threads__delete_of_what_it_saw_alive__is_not_expired_by_another),
        T(test_threads__always__eight_writers_share_syncs),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
