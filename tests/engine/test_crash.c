/* SPDX-License-Identifier: MIT */
/*
 * test_crash.c - many crashes in a row. A crash at each call of the disk: test_slow_cuts.c.
 */
#include "engine_test.h"

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
        cmocka_unit_test(test_trap31__crash_after_crash__keeps_every_acknowledged_write),
        cmocka_unit_test(test_crash__many_idle_starts__leave_no_trail),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
