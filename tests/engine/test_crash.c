/* SPDX-License-Identifier: MIT */
/*
 * test_crash.c - a scenario is cut short at every single I/O call, by a power cut and by a kill, in
 * each sync mode; sometimes the start after it is cut short too. Afterwards the store holds a
 * prefix of the history with everything that had to be there, counts nothing as damage
 * (on_corruption is refuse), and goes on working.
 */
#include "engine_test.h"

#define SCENARIO_OPS 50u

/* Opens and works; ends early when the disk dies. */
static void play(struct rig *r, unsigned ops)
{
    int rc = rig_open(r);
    if (rc != BK_OK) {
        RIG_TRUE(r, simdisk_dead(r->disk));
        return;
    }
    for (unsigned i = 0; i < ops && !simdisk_dead(r->disk); i++) {
        RIG_TRUE(r, rig_random_op(r));
    }
    if (!simdisk_dead(r->disk)) {
        RIG_TRUE(r, rig_sync(r));
    }
}

/* Starts again after a crash, perhaps with further crashes while it recovers. */
static void come_back(struct rig *r, unsigned more_crashes)
{
    for (unsigned i = 0; i < more_crashes; i++) {
        simdisk_cut(r->disk, 1 + rng_below(&r->rng, 30));
        int rc = rig_open(r);
        simdisk_cut(r->disk, 0);
        RIG_TRUE(r, rc == BK_OK || simdisk_dead(r->disk));
        if (!simdisk_dead(r->disk)) {
            RIG_TRUE(r, rig_recovered(r));
        }
        rig_crash(r, rng_percent(&r->rng, 70) ? SIMDISK_POWER : SIMDISK_KILL);
    }
    RIG_TRUE(r, rig_reopen(r));
}

static void go_on(struct rig *r)
{
    for (unsigned i = 0; i < 20; i++) {
        RIG_TRUE(r, rig_random_op(r));
    }
    RIG_TRUE(r, rig_sync(r));
    RIG_TRUE(r, rig_same(r));
    RIG_TRUE(r, rig_check(r));
    RIG_TRUE(r, rig_close(r) == BK_OK);
    assert_int_equal(simdisk_handles(r->disk), 0);
    RIG_TRUE(r, rig_open(r) == BK_OK);
    RIG_TRUE(r, rig_same(r));
    RIG_TRUE(r, rig_check(r));
}

static uint64_t calls_of(uint64_t seed, enum bk_sync sync)
{
    struct rig r;
    rig_init(&r, seed, sync);
    rig_merging(&r);
    play(&r, SCENARIO_OPS);
    uint64_t calls = simdisk_calls(r.disk, SIMDISK_ANY);
    rig_fini(&r);
    return calls;
}

static void crash_everywhere(enum bk_sync sync, enum simdisk_kind kind, unsigned scenarios)
{
    for (uint64_t seed = 1; seed <= scenarios * (uint64_t)long_factor(); seed++) {
        uint64_t calls = calls_of(seed, sync);
        assert_true(calls > 20);
        for (uint64_t n = 1; n <= calls; n++) {
            struct rig r;
            rig_init(&r, seed, sync);
            rig_merging(&r);
            simdisk_cut(r.disk, n);
            play(&r, SCENARIO_OPS);
            if (getenv("BITKV_TRACE") != NULL) {
                print_message("seed %llu, cut at call %llu\n", (unsigned long long)seed,
                              (unsigned long long)n);
            }
            rig_crash(&r, kind);
            come_back(&r, (unsigned)(n % 3));
            go_on(&r);
            rig_fini(&r);
        }
    }
}

static void test_crash__power_cut_at_every_call__always(void **state)
{
    (void)state;
    crash_everywhere(BK_SYNC_ALWAYS, SIMDISK_POWER, 3);
}

static void test_crash__power_cut_at_every_call__everysec(void **state)
{
    (void)state;
    crash_everywhere(BK_SYNC_EVERYSEC, SIMDISK_POWER, 3);
}

static void test_crash__power_cut_at_every_call__no(void **state)
{
    (void)state;
    crash_everywhere(BK_SYNC_NO, SIMDISK_POWER, 3);
}

static void test_crash__kill_at_every_call__always(void **state)
{
    (void)state;
    crash_everywhere(BK_SYNC_ALWAYS, SIMDISK_KILL, 2);
}

static void test_crash__kill_at_every_call__everysec(void **state)
{
    (void)state;
    crash_everywhere(BK_SYNC_EVERYSEC, SIMDISK_KILL, 2);
}

static void test_crash__kill_at_every_call__no(void **state)
{
    (void)state;
    crash_everywhere(BK_SYNC_NO, SIMDISK_KILL, 2);
}

/* One write each in a row of lives, each ended by a power cut: what always acknowledged is there,
 * through all of them (trap 31: nothing that an earlier crash left behind is destroyed by the next
 * start). */
static void test_trap31__crash_after_crash__keeps_every_acknowledged_write(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct rig r;
        rig_init(&r, seed, BK_SYNC_ALWAYS);
        for (unsigned life = 0; life < 12; life++) {
            RIG_TRUE(&r, rig_reopen(&r));
            char key[16];
            snprintf(key, sizeof(key), "life%u", life);
            assert_int_equal(rig_put(&r, key, "was here"), BK_OK);
            RIG_TRUE(&r, rig_settle(&r));
            assert_int_equal(r.durable_n, r.model.entries_n);
            assert_int_equal(rig_put(&r, "unanswered", key), BK_OK);
            rig_crash(&r, life % 4 == 3 ? SIMDISK_KILL : SIMDISK_POWER);
        }
        RIG_TRUE(&r, rig_reopen(&r));
        assert_in_range(bk_count(r.db, 0), 12, 13);
        rig_fini(&r);
    }
}

/* No life in between writes anything: files and manifest must not grow with the number of starts.
 */
static void test_crash__many_idle_starts__leave_no_trail(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 5, BK_SYNC_EVERYSEC);
    RIG_TRUE(&r, rig_reopen(&r));
    assert_int_equal(rig_put(&r, "k", "v"), BK_OK);
    RIG_TRUE(&r, rig_sync(&r));
    size_t files = 0;
    for (unsigned life = 0; life < 40; life++) {
        rig_crash(&r, life % 2 == 0 ? SIMDISK_POWER : SIMDISK_KILL);
        RIG_TRUE(&r, rig_reopen(&r));
        RIG_TRUE(&r, rig_settle(&r));
        files = life == 3 ? rig_data_files(&r, NULL, NULL) : files;
    }
    assert_true(rig_data_files(&r, NULL, NULL) <= files + 1);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crash__power_cut_at_every_call__always),
        cmocka_unit_test(test_crash__power_cut_at_every_call__everysec),
        cmocka_unit_test(test_crash__power_cut_at_every_call__no),
        cmocka_unit_test(test_crash__kill_at_every_call__always),
        cmocka_unit_test(test_crash__kill_at_every_call__everysec),
        cmocka_unit_test(test_crash__kill_at_every_call__no),
        cmocka_unit_test(test_trap31__crash_after_crash__keeps_every_acknowledged_write),
        cmocka_unit_test(test_crash__many_idle_starts__leave_no_trail),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
