/* SPDX-License-Identifier: MIT */
/* test_keyspace_evict.c - which keys each rule takes, and that they are gone for good. */
#include "engine/bitkv.h"
#include "keyspace/keyspace.h"
#include "lib/simclock.h"
#include "lib/tmpdir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct tmpdir dir;
    struct simclock clock;
    struct bk_options o;
    struct bk_db *db;
    struct keyspace *ks;
    struct ks_txn *t;
    unsigned told;
};

static void open_store(struct fixture *f)
{
    assert_int_equal(bk_open(&f->db, &f->o, NULL), BK_OK);
    f->ks = ks_new(f->db, f->o.databases);
    ks_seed(f->ks, 1); /* what is drawn, and below where keys lie, is the same in each run */
    f->t = ks_txn_new(f->ks);
}

static void close_store(struct fixture *f)
{
    ks_txn_free(&f->t);
    ks_free(&f->ks);
    assert_int_equal(bk_close(&f->db, NULL), BK_OK);
}

static int setup(void **state)
{
    struct fixture *f = bk_alloc_zero(1, sizeof(*f));
    tmpdir_make(&f->dir, "evict");
    simclock_init(&f->clock);
    bk_options_init(&f->o);
    f->o.dir = f->dir.path;
    f->o.stepped = true;
    f->o.hash_seed = 1;
    f->o.clock = &f->clock.clock;
    open_store(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    close_store(f);
    tmpdir_remove(&f->dir);
    free(f);
    return 0;
}

static void put(struct fixture *f, uint32_t db, unsigned i, int64_t expire_ms)
{
    char key[32];
    struct ks_write w = {KS_STRING, bk_span_str("value"), NULL, expire_ms, KS_AS_SET};
    uint64_t pos = 0;
    int rc;
    do {
        (void)snprintf(key, sizeof key, "key:%u", i);
        ks_txn_begin(f->t, db, bk_clock_wall_ms(&f->clock.clock));
        ks_put(f->t, ks_txn_key(f->t, bk_span_str(key), KS_NEED_NOTHING), &w);
        rc = ks_txn_commit(f->t, &pos, NULL);
        bk_flush(f->db, bk_tail(f->db));
    } while (rc == BK_EAGAIN);
    assert_int_equal(rc, BK_OK);
}

/* Looks a key up; its idle time in *idle_ms, when that is not NULL. */
static bool there(struct fixture *f, uint32_t db, unsigned i, bool touch, uint64_t *idle_ms)
{
    char key[32];
    struct ks_value v;
    (void)snprintf(key, sizeof key, "key:%u", i);
    ks_txn_begin(f->t, db, bk_clock_wall_ms(&f->clock.clock));
    ks_txn_no_touch(f->t, !touch);
    (void)ks_txn_key(f->t, bk_span_str(key), KS_NEED_META);
    assert_int_equal(ks_txn_fetch(f->t, NULL), BK_OK);
    ks_get(f->t, 0, &v);
    if (idle_ms != NULL) {
        *idle_ms = ks_idle_ms(f->t, 0);
    }
    ks_txn_end(f->t, NULL);
    return v.exists;
}

static void pass_seconds(struct fixture *f, unsigned seconds)
{
    for (unsigned i = 0; i < seconds * 10; i++) {
        simclock_advance_ms(&f->clock, 100);
        while (bk_age_step(f->db, 1000)) {
        }
    }
}

static void count_told(void *arg, uint32_t db, struct bk_span key, uint64_t pos)
{
    struct fixture *f = arg;
    assert_true(pos != 0);
    assert_true(db < f->o.databases && key.len > 4);
    f->told++;
}

static unsigned evict(struct fixture *f, enum ks_evict_rule rule, unsigned wanted)
{
    unsigned gone = 0;
    while (gone < wanted) {
        struct ks_evict e = {.rule = rule, .samples = 5, .max = 8, .evicted = count_told, .arg = f};
        struct ks_evicted out = {0};
        if (ks_evict(f->ks, &e, &out, NULL) != BK_OK) {
            break;
        }
        assert_true(out.memory >= out.keys * 16);
        gone += (unsigned)out.keys;
        bk_flush(f->db, bk_tail(f->db));
    }
    return gone;
}

static unsigned count_there(struct fixture *f, unsigned from, unsigned to, unsigned step)
{
    unsigned n = 0;
    for (unsigned i = from; i < to; i += step) {
        n += there(f, 0, i, false, NULL);
    }
    return n;
}

static void test_evict__lru__keeps_what_is_used(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 4000; i++) {
        put(f, 0, i, 0);
    }
    pass_seconds(f, 30);
    for (unsigned i = 0; i < 1000; i++) {
        assert_true(there(f, 0, i, true, NULL)); /* used */
        assert_true(there(f, 0, 1000 + i, false, NULL));
    }
    pass_seconds(f, 5);
    unsigned gone = evict(f, KS_EVICT_ALL_LRU, 1600);
    assert_int_equal(f->told, gone);
    assert_true(count_there(f, 0, 1000, 1) >= 990);
    assert_true(count_there(f, 1000, 4000, 1) <= 3000 - 1590);
}

/* Among how many keys each one that goes is chosen, up to a batch's size: 1024 in all. */
static void test_evict__many_samples__each_key_is_chosen_among_as_many_but_128(void **state)
{
    static const unsigned samples[] = {1, 16, 17, 100, 128, 129, 1000000};
    static const unsigned gone[] = {64, 64, 60, 10, 8, 8, 8};
    struct fixture *f = *state;
    for (unsigned i = 0; i < 4000; i++) {
        put(f, 0, i, 0);
    }
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        struct ks_evict e = {.rule = KS_EVICT_ALL_LRU, .samples = samples[i], .max = 64};
        struct ks_evicted out = {0};
        assert_int_equal(ks_evict(f->ks, &e, &out, NULL), BK_OK);
        assert_int_equal(out.keys, gone[i]);
        bk_flush(f->db, bk_tail(f->db));
    }
}

static void test_evict__lru_with_expiry__takes_no_other_keys(void **state)
{
    struct fixture *f = *state;
    int64_t later = bk_clock_wall_ms(&f->clock.clock) + 1000000;
    for (unsigned i = 0; i < 3000; i++) {
        put(f, 0, i, i % 100 == 0 ? later : 0);
    }
    assert_int_equal(evict(f, KS_EVICT_VOLATILE_LRU, 1000), 30);
    assert_int_equal(count_there(f, 0, 3000, 100), 0);
    assert_int_equal(count_there(f, 1, 3000, 1), 3000 - 30);
    struct ks_evict e = {.rule = KS_EVICT_VOLATILE_RANDOM, .samples = 5, .max = 8};
    struct ks_evicted out;
    assert_int_equal(ks_evict(f->ks, &e, &out, NULL), BK_NOTFOUND);
}

/* A quarter of the keys with an expiry goes. By chance 375 of the quarter that runs out first would
 * stay. */
static void evict_by_ttl(struct fixture *f, unsigned apart_ms, unsigned may_stay)
{
    int64_t now = bk_clock_wall_ms(&f->clock.clock);
    for (unsigned i = 0; i < 4000; i++) {
        put(f, 0, i, i % 2 == 0 ? now + 60000 + (int64_t)i * apart_ms : 0);
    }
    assert_true(evict(f, KS_EVICT_VOLATILE_TTL, 500) >= 500);
    assert_int_equal(count_there(f, 1, 4000, 2), 2000);
    unsigned stay = count_there(f, 0, 1000, 2);
    print_message("%u ms apart: %u of the first 500 left\n", apart_ms, stay);
    assert_true(stay <= may_stay);
    assert_true(count_there(f, 2000, 4000, 2) >= 950); /* of 1000 */
}

static void test_evict__ttl_of_minutes__takes_what_runs_out_next(void **state)
{
    evict_by_ttl(*state, 50, 100);
}

static void test_evict__ttl_of_hours__takes_what_runs_out_soon(void **state)
{
    evict_by_ttl(*state, 5000, 250);
}

/* One comes and one goes for a long time, then they go until none is left: entries of the wheel
 * that stand for keys that went are swept meanwhile. */
static void turn_over(struct fixture *f, enum ks_evict_rule rule)
{
    enum { KEYS = 3000, TURNS = 30000, ELSE = 20 * KEYS };
    int64_t later = bk_clock_wall_ms(&f->clock.clock) + 100000000;
    for (unsigned i = 0; i < ELSE && rule != KS_EVICT_VOLATILE_TTL; i++) {
        put(f, 0, TURNS + i, 0); /* few have an expiry: they are drawn from the wheel */
    }
    for (unsigned i = 0; i < TURNS; i++) {
        put(f, 0, i, later);
        while (bk_count_expiring(f->db, 0) > KEYS) {
            assert_true(evict(f, rule, 1) > 0);
        }
    }
    while (bk_count_expiring(f->db, 0) > 0) {
        assert_true(evict(f, rule, 1) > 0);
    }
}

static void test_evict__ttl_long_used__finds_keys_to_the_last(void **state)
{
    turn_over(*state, KS_EVICT_VOLATILE_TTL);
}

static void test_evict__random_long_used__finds_keys_to_the_last(void **state)
{
    turn_over(*state, KS_EVICT_VOLATILE_RANDOM);
}

static void test_evict__random__takes_from_all_databases_and_places(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 3000; i++) {
        put(f, 0, i, 0);
        put(f, 3, i, 0);
    }
    unsigned gone = evict(f, KS_EVICT_ALL_RANDOM, 3000);
    uint64_t left = ks_count(f->ks, 0);
    assert_int_equal(left + ks_count(f->ks, 3), 6000 - gone);
    assert_in_range(left, 1350, 1650);
    assert_in_range(count_there(f, 0, 1500, 1), left / 2 - 75, left / 2 + 75);
}

static void test_evict__then_the_store_is_opened_anew__keys_stay_away(void **state)
{
    struct fixture *f = *state;
    bool gone[1000];
    for (unsigned i = 0; i < 1000; i++) {
        put(f, 0, i, 0);
    }
    assert_true(evict(f, KS_EVICT_ALL_RANDOM, 400) >= 400);
    for (unsigned i = 0; i < 1000; i++) {
        gone[i] = !there(f, 0, i, false, NULL);
    }
    close_store(f);
    open_store(f);
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(there(f, 0, i, false, NULL), !gone[i]);
    }
}

static void test_evict__idle_time__tells_when_a_key_was_used_over_a_restart_too(void **state)
{
    struct fixture *f = *state;
    uint64_t idle;
    put(f, 0, 1, 0);
    put(f, 0, 2, 0);
    pass_seconds(f, 20);
    assert_true(there(f, 0, 1, false, &idle));
    assert_in_range(idle, 19000, 20000);
    assert_true(there(f, 0, 1, true, &idle)); /* as it was found */
    assert_in_range(idle, 19000, 20000);
    assert_true(there(f, 0, 1, false, &idle));
    assert_int_equal(idle, 0);
    pass_seconds(f, 2);
    close_store(f);
    open_store(f);
    assert_true(there(f, 0, 1, false, &idle));
    assert_in_range(idle, 1000, 4000);
    assert_true(there(f, 0, 2, false, &idle));
    assert_in_range(idle, 16000, 64000);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_evict__lru__keeps_what_is_used),
        CASE(test_evict__many_samples__each_key_is_chosen_among_as_many_but_128),
        CASE(test_evict__lru_with_expiry__takes_no_other_keys),
        CASE(test_evict__ttl_of_minutes__takes_what_runs_out_next),
        CASE(test_evict__ttl_of_hours__takes_what_runs_out_soon),
        CASE(test_evict__ttl_long_used__finds_keys_to_the_last),
        CASE(test_evict__random_long_used__finds_keys_to_the_last),
        CASE(test_evict__random__takes_from_all_databases_and_places),
        CASE(test_evict__then_the_store_is_opened_anew__keys_stay_away),
        CASE(test_evict__idle_time__tells_when_a_key_was_used_over_a_restart_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
