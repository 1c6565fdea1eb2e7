/* SPDX-License-Identifier: MIT */
/* test_reads_threads.c - threads that read from one store without waiting, while others write and
 * merges move what they read. */
#include "reads_rig.h"

#define THREADS 3
#define KEYS 64
#define ROUNDS 1500

struct worker {
    struct place p; /* the store and its options; a reader of its own */
    struct rng rng;
    pthread_t thread;
    unsigned wrong, found;
};

/* A value tells its key, and how it goes on. */
static void value_of(struct rng *rng, unsigned k, struct bk_buf *out)
{
    size_t len = 8 + (size_t)rng_below(rng, rng_percent(rng, 3) ? 100000 : 300);
    uint64_t id = (uint64_t)k << 32 | rng_below(rng, 1u << 31);
    out->len = 0;
    bk_buf_append(out, &id, sizeof(id));
    pattern_fill(bk_buf_reserve(out, len - 8), len - 8, id);
    out->len = len;
}

static bool value_right(struct bk_span v, unsigned k)
{
    uint64_t id;
    if (v.len < sizeof(id)) {
        return false;
    }
    memcpy(&id, v.data, sizeof(id));
    uint8_t *want = malloc(v.len);
    pattern_fill(want, v.len - 8, id);
    bool right = id >> 32 == k && memcmp(want, v.data + 8, v.len - 8) == 0;
    free(want);
    return right;
}

/* The mistakes of other threads than the test's are counted, and judged by it. */
static void read_some(struct worker *w)
{
    enum { AT_ONCE = 8 };
    struct get g[AT_ONCE];
    unsigned key[AT_ONCE];
    char name[AT_ONCE][16];
    struct bk_error err = {0};
    void *owner;
    unsigned open = 0;
    for (unsigned i = 0; i < AT_ONCE; i++) {
        key[i] = (unsigned)rng_below(&w->rng, KEYS);
        snprintf(name[i], sizeof(name[i]), "key%u", key[i]);
        get_begin(&g[i], &w->p, name[i]);
        int rc = get_try(&g[i], &err);
        if (rc == BK_READING && !rng_percent(&w->rng, 10)) {
            open++;
            continue;
        }
        w->wrong += rc < 0 || (rc == BK_OK && !value_right(g[i].item.value, key[i]));
        get_end(&g[i]); /* one in ten is given up */
    }
    while (open > 0) {
        bk_reader_submit(w->p.reader);
        while (!bk_reader_next(w->p.reader, &owner)) {
            sem_wait(&w->p.woken);
        }
        struct get *done = owner;
        int rc = get_try(done, &err);
        if (rc != BK_READING) {
            w->wrong += rc < 0 || (rc == BK_OK && !value_right(done->item.value, key[done - g]));
            w->found += rc == BK_OK;
            get_end(done);
            open--;
        }
    }
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct bk_buf value = {0};
    char name[16];
    for (unsigned i = 0; i < ROUNDS; i++) {
        unsigned k = (unsigned)rng_below(&w->rng, KEYS);
        snprintf(name, sizeof(name), "key%u", k);
        unsigned what = (unsigned)rng_below(&w->rng, 100);
        if (what < 40) {
            value_of(&w->rng, k, &value);
            w->wrong += bk_put(w->p.db, 0, bk_span_str(name), bk_buf_span(&value), 0) != BK_OK;
        } else if (what < 45) {
            w->wrong += bk_delete(w->p.db, 0, bk_span_str(name)) < 0;
        } else if (what < 47) {
            bk_merge(w->p.db, BK_MERGE_NOW);
        } else {
            read_some(w);
        }
    }
    bk_buf_fini(&value);
    return NULL;
}

static void test_reads_threads__many_threads_and_merges__every_value_is_one_of_its_key(void **state)
{
    struct place *p = *state;
    struct worker w[THREADS];
    uint64_t seed = rng_seed_from_env("READS_SEED");
    print_message("READS_SEED=%llu\n", (unsigned long long)seed);
    p->opt.max_file_bytes = 65536;
    p->opt.sync = BK_SYNC_NO;
    p->opt.cache_bytes = 20000;
    reopen(p);
    for (unsigned i = 0; i < THREADS; i++) {
        w[i] = (struct worker){.p = *p, .rng = {.state = seed + i}};
        sem_init(&w[i].p.woken, 0, 0);
        w[i].p.reader = bk_reader_new(p->db, woken, &w[i].p.woken);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&w[i].thread, NULL, worker_main, &w[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(w[i].thread, NULL), 0);
        bk_reader_free(&w[i].p.reader);
        sem_destroy(&w[i].p.woken);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(w[i].wrong, 0);
        assert_true(w[i].found > 100);
    }
    assert_int_equal(stats(p).disk_reads_pending, 0);
    assert_int_equal(stats(p).damaged_records, 0);
}

int main(void)
{
    quiet_log();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_reads_threads__many_threads_and_merges__every_value_is_one_of_its_key, setup,
            teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
