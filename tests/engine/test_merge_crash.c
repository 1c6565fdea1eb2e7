/* SPDX-License-Identifier: MIT */
/*
 * test_merge_crash.c - the power goes while a merge's edit is written; readers that hold on to what
 * a merge takes away. Cuts at each call: test_slow_cuts.c.
 */
#include "merge_rig.h"

/* Files with live, dead and deleted records, flushed and swapped databases, and behind them writes
 * that nothing has synced: they are the proof that what they replace is dead. */
static void fill(struct rig *r)
{
    put_n(r, "a", 60, "first");
    put_n(r, "a", 45, "second");
    for (unsigned i = 0; i < 60; i++) {
        RIG_TRUE(r, rig_random_op(r));
    }
    RIG_TRUE(r, rig_sync(r));
    next_file(r);
    put_n(r, "a", 30, "third");
    for (unsigned i = 30; i < 40; i++) {
        char key[16];
        snprintf(key, sizeof(key), "a%u", i);
        assert_int_equal(rig_delete(r, key), BK_OK);
    }
}

/* The power goes while a merge's edit is being written: its outputs are whole, and what stands at
 * the end of the manifest is a piece of that edit. Nothing behind the merge is lost for it. */
static void test_merge__edit_cut_off_by_a_power_cut__costs_no_later_write(void **state)
{
    (void)state;
    unsigned with_outputs = 0;
    for (uint64_t n = 1; n <= 90; n++) {
        struct rig r;
        struct bk_stats s;
        char path[300];
        setup_rig(&r, 2, BK_SYNC_ALWAYS);
        fill(&r);
        RIG_TRUE(&r, rig_settle(&r));
        bk_stats_get(r.db, &s);
        simdisk_cut(r.disk, n);
        for (unsigned i = 0; i < 4000 && !simdisk_dead(r.disk); i++) {
            one_step(&r);
        }
        rig_crash(&r, SIMDISK_POWER);
        with_outputs += rig_data_files(&r, NULL, NULL) > s.files ? 1u : 0u;
        rig_path("MANIFEST", path, sizeof(path));
        simdisk_patch(r.disk, path, simdisk_size(r.disk, path), "torn off here", 13);
        RIG_TRUE(&r, rig_reopen(&r));
        same_after_restart(&r);
        rig_fini(&r);
    }
    assert_true(with_outputs > 0);
}

static void test_trap15__reader_during_a_merge__reads_on_and_then_lets_the_file_go(void **state)
{
    (void)state;
    struct rig r;
    struct bk_item item = {0};
    struct bk_key key;
    struct bk_stats s;
    setup_rig(&r, 3, BK_SYNC_ALWAYS);
    put_n(&r, "k", 20, "kept");
    put_n(&r, "k", 10, "kept");
    RIG_TRUE(&r, rig_settle(&r));
    next_file(&r);
    unsigned pin = bk_pin(r.db);
    bk_key_init(r.db, &key, "k15", 3);
    bk_locate(r.db, &(uint32_t){0}, &key, 1, &item);
    assert_true(merge_until(&r, BK_MERGE_RETIRE));
    for (unsigned i = 0; i < 200; i++) {
        one_step(&r); /* the inputs' names are gone, not their bytes */
    }
    assert_int_equal(state_of(&r), BK_MERGE_RETIRE);
    assert_int_equal(bk_load(r.db, &key, &item, NULL), BK_OK);
    assert_true(bk_span_eq(item.value, bk_span_str("kept")));
    bk_unpin(r.db, pin);
    merge_all(&r);
    bk_stats_get(r.db, &s);
    assert_true(simdisk_handles(r.disk) <= s.files + 2);
    bk_item_fini(&item);
    same_after_restart(&r);
    rig_fini(&r);
}

static void test_trap29__every_key_after_a_merge__is_read_from_its_new_place(void **state)
{
    (void)state;
    struct rig r;
    setup_rig(&r, 4, BK_SYNC_NO);
    r.opt.cache_bytes = 1 << 20;
    next_file(&r);
    for (unsigned round = 0; round < 5; round++) {
        fill(&r);
        RIG_TRUE(&r, rig_same(&r)); /* fills the cache */
        merge_all(&r);
        RIG_TRUE(&r, rig_same(&r));
    }
    assert_true(merges(&r) > 0);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge__edit_cut_off_by_a_power_cut__costs_no_later_write),
        cmocka_unit_test(test_trap15__reader_during_a_merge__reads_on_and_then_lets_the_file_go),
        cmocka_unit_test(test_trap29__every_key_after_a_merge__is_read_from_its_new_place),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
