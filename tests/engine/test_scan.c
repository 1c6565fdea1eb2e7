/* SPDX-License-Identifier: MIT */
/* test_scan.c - trap 32: a key that is there from begin to end of a scan is returned, whatever the
 * keydir does. */
#include "engine_test.h"

#define STABLE 500u

struct seen {
    unsigned char stable[STABLE];
    uint64_t calls;
};

static void note(void *arg, const struct bk_scan_entry *e)
{
    struct seen *s = arg;
    unsigned n = 0;
    char text[32] = "";
    s->calls++;
    if (e->key.len < sizeof(text)) {
        memcpy(text, e->key.data, e->key.len);
    }
    if (sscanf(text, "stable%u", &n) == 1 && n < STABLE) {
        s->stable[n]++;
    }
}

static void write_key(struct bk_db *db, struct bk_batch *b, const char *name, bool put)
{
    struct bk_key key;
    uint64_t pos = 0;
    int rc = BK_EAGAIN;
    bk_key_init(db, &key, name, strlen(name));
    while (rc == BK_EAGAIN) {
        bk_batch_begin(b);
        if (put) {
            bk_batch_put(b, 0, &key, &(struct bk_value){bk_span_str("x"), NULL}, 2, 0);
        } else {
            bk_batch_delete(b, 0, &key);
        }
        rc = bk_batch_commit(b, &pos, NULL);
        if (rc == BK_EAGAIN) {
            bk_flush(db, bk_tail(db));
            bk_step(db);
        }
    }
    assert_int_equal(rc, BK_OK);
}

/* Puts (or deletes) the volatile keys from..to-1. */
static void churn(struct rig *r, unsigned from, unsigned to, bool put)
{
    char name[32];
    for (unsigned i = from; i < to; i++) {
        snprintf(name, sizeof(name), "volatile%u", i);
        write_key(r->db, r->batch, name, put);
    }
}

static void setup_rig(struct rig *r, uint64_t seed)
{
    char name[32];
    rig_init(r, seed, BK_SYNC_NO);
    r->opt.max_file_bytes = 16 << 20;
    RIG_TRUE(r, rig_open(r) == BK_OK);
    for (unsigned i = 0; i < STABLE; i++) {
        snprintf(name, sizeof(name), "stable%u", i);
        write_key(r->db, r->batch, name, true);
    }
}

static void expect_all_stable(const struct seen *s)
{
    for (unsigned i = 0; i < STABLE; i++) {
        assert_true(s->stable[i] >= 1);
    }
}

/* One scan while the number of keys goes from `from` to `to` volatile ones, in steps. */
static void scan_while(uint64_t seed, unsigned from, unsigned to)
{
    struct rig r;
    struct seen seen = {0};
    uint64_t cursor = 0;
    setup_rig(&r, seed);
    churn(&r, 0, from, true);
    unsigned now = from;
    unsigned step = (from > to ? from - to : to - from) / 25 + 1;
    do {
        bk_scan(r.db, 0, &cursor, 7 + (size_t)rng_below(&r.rng, 20), note, &seen);
        if (to > now) {
            unsigned next = now + step < to ? now + step : to;
            churn(&r, now, next, true);
            now = next;
        } else if (to < now) {
            unsigned next = now - to > step ? now - step : to;
            churn(&r, next, now, false);
            now = next;
        }
    } while (cursor != 0);
    expect_all_stable(&seen);
    assert_int_equal(now, to); /* the scan was as long as the change */
    assert_int_equal(bk_count(r.db, 0), STABLE + to);
    rig_fini(&r);
}

static void test_trap32__scan_while_the_keydir_doubles__misses_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        scan_while(seed, 0, 1200);
        scan_while(seed + 10, 500, 4000);
    }
}

static void test_trap32__scan_while_the_keydir_shrinks__misses_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        scan_while(seed, 4000, 0);
        scan_while(seed + 10, 3000, 300);
    }
}

/* Back and forth over the same sizes while one scan runs. */
static void test_trap32__scan_while_it_grows_and_shrinks_again_and_again__misses_nothing(
    void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct rig r;
        struct seen seen = {0};
        uint64_t cursor = 0;
        unsigned turn = 0;
        setup_rig(&r, seed);
        do {
            bk_scan(r.db, 0, &cursor, 10, note, &seen);
            churn(&r, 0, 1500, turn++ % 2 == 0);
        } while (cursor != 0);
        expect_all_stable(&seen);
        assert_true(turn > 5);
        rig_fini(&r);
    }
}

/* A cursor goes on after a restart, and after the store has more or fewer keys then. */
static void test_scan__cursor_survives_a_restart(void **state)
{
    (void)state;
    struct rig r;
    struct seen seen = {0};
    uint64_t cursor = 0;
    setup_rig(&r, 5);
    churn(&r, 0, 500, true);
    for (int i = 0; i < 20; i++) {
        bk_scan(r.db, 0, &cursor, 20, note, &seen);
    }
    assert_true(cursor != 0);
    assert_int_equal(rig_close(&r), BK_OK);
    RIG_TRUE(&r, rig_open(&r) == BK_OK);
    churn(&r, 100, 500, false);
    do {
        bk_scan(r.db, 0, &cursor, 20, note, &seen);
    } while (cursor != 0);
    expect_all_stable(&seen);
    rig_fini(&r);
}

static void test_scan__quiet_store__each_key_exactly_once_and_calls_stay_small(void **state)
{
    (void)state;
    struct rig r;
    struct seen seen = {0};
    uint64_t cursor = 0;
    unsigned calls = 0;
    setup_rig(&r, 6);
    churn(&r, 0, 3000, true);
    do {
        uint64_t before = seen.calls;
        bk_scan(r.db, 0, &cursor, 10, note, &seen);
        calls++;
        assert_true(cursor == 0 || seen.calls - before >= 10);
        assert_true(seen.calls - before <= 10 + 200);
    } while (cursor != 0);
    for (unsigned i = 0; i < STABLE; i++) {
        assert_int_equal(seen.stable[i], 1);
    }
    assert_int_equal(seen.calls, STABLE + 3000);
    assert_true(calls > 30);
    rig_fini(&r);
}

static void test_scan__any_cursor__ends(void **state)
{
    (void)state;
    struct rig r;
    setup_rig(&r, 7);
    for (unsigned i = 0; i < 200; i++) {
        struct seen seen = {0};
        uint64_t cursor = rng_next(&r.rng);
        unsigned calls = 0;
        do {
            bk_scan(r.db, 0, &cursor, 10, note, &seen);
            assert_true(++calls < 10000);
        } while (cursor != 0);
    }
    struct seen none = {0};
    uint64_t cursor = 0;
    bk_scan(r.db, 3, &cursor, 10, note, &none); /* an empty database */
    assert_int_equal(cursor, 0);
    assert_int_equal(none.calls, 0);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trap32__scan_while_the_keydir_doubles__misses_nothing),
        cmocka_unit_test(test_trap32__scan_while_the_keydir_shrinks__misses_nothing),
        cmocka_unit_test(
            test_trap32__scan_while_it_grows_and_shrinks_again_and_again__misses_nothing),
        cmocka_unit_test(test_scan__cursor_survives_a_restart),
        cmocka_unit_test(test_scan__quiet_store__each_key_exactly_once_and_calls_stay_small),
        cmocka_unit_test(test_scan__any_cursor__ends),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
