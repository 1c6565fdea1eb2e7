/* SPDX-License-Identifier: MIT */
/* test_merge_vain.c - what would be tried in vain: one sector that cannot be read holds up its own
 * file alone, others get their hints and are merged; tombstones that have to stay are left. */
#include "bad_sector.h"
#include "merge_rig.h"

#define FILE_BYTES ((uint64_t)64 << 10)
#define KEYS 40u

static void put_many(struct rig *r, const char *prefix, unsigned n)
{
    put_large(r, prefix, n);
    RIG_TRUE(r, rig_settle(r));
}

struct listed {
    unsigned sealed, hinted;
    uint64_t active, first;
    bool first_there;
};

static void add_file(void *arg, const struct bk_file_info *info)
{
    struct listed *l = arg;
    bool sealed = info->state == BK_FILE_SEALED;
    l->sealed += sealed;
    l->hinted += sealed && info->hinted;
    l->active = info->state == BK_FILE_ACTIVE ? info->id : l->active;
    l->first_there = l->first_there || info->id == l->first;
    l->first = l->first == 0 ? info->id : l->first;
}

/* Two files that are worth a merge, one behind the other; of the first, which gains more, a record
 * that lives cannot be read. */
static void setup_unread(struct rig *r, struct listed *l)
{
    char path[300];
    setup_rig(r, 91, BK_SYNC_ALWAYS);
    r->opt.merge.policy = BK_MERGE_NEVER;
    r->opt.merge.small_file = 0;
    r->opt.max_file_bytes = FILE_BYTES;
    next_file(r);
    put_many(r, "a", KEYS);
    next_file(r);
    put_many(r, "b", KEYS);
    next_file(r);
    put_n(r, "a", KEYS - 10, "small");
    put_n(r, "b", KEYS - 16, "small");
    RIG_TRUE(r, rig_settle(r));
    merge_all(r); /* hints are made */
    bk_files(r->db, add_file, l);
    snprintf(path, sizeof(path), RIG_DIR "/%010llu.data", (unsigned long long)l->first);
    r->opt.io = bad_sector(r, path, 32768, 4096);
    r->opt.merge.policy = BK_MERGE_ALWAYS;
    next_file(r);
}

static void test_merge__live_record_cannot_be_read__other_files_are_merged(void **state)
{
    (void)state;
    struct rig r;
    struct listed l = {0};
    struct bk_merge_status s;
    setup_unread(&r, &l);
    step_ms(&r, 60000);
    bk_merge_status(r.db, &s);
    assert_true(s.aborted > 0 && s.aborted <= 2); /* in a run with the other one, or alone */
    assert_true(s.runs > 0);
    bk_files(r.db, add_file, &l);
    assert_true(l.first_there);
    /* It is tried again, and can be read then. */
    bad_sector_heal();
    uint64_t runs = s.runs;
    for (unsigned i = 0; i < 700 && s.runs == runs; i++) {
        simclock_advance_ms(&r.clock, 1000);
        step_ms(&r, 100);
        bk_merge_status(r.db, &s);
    }
    assert_true(s.runs > runs);
    RIG_TRUE(&r, rig_same(&r));
    RIG_TRUE(&r, rig_check(&r));
    rig_fini(&r);
}

static void test_merge_now__cannot_be_done__is_not_tried_without_end(void **state)
{
    (void)state;
    struct rig r;
    struct listed l = {0};
    struct bk_merge_status s;
    setup_unread(&r, &l);
    bk_merge(r.db, BK_MERGE_NOW);
    for (unsigned i = 0; i < 3000; i++) {
        rig_step(&r);
    }
    bk_merge_status(r.db, &s);
    assert_int_equal(s.aborted, 1);
    rig_fini(&r);
}

static void test_hints__file_cannot_be_read__later_ones_get_theirs(void **state)
{
    (void)state;
    struct rig r;
    struct listed l = {0};
    setup_rig(&r, 92, BK_SYNC_ALWAYS);
    r.opt.merge.policy = BK_MERGE_NEVER;
    r.opt.max_file_bytes = FILE_BYTES;
    r.opt.io = bad_sector(&r, "none", 8192, 4096);
    next_file(&r);
    bk_files(r.db, add_file, &l);
    snprintf(bad_disk.path, sizeof(bad_disk.path), RIG_DIR "/%010llu.data",
             (unsigned long long)l.active + 2); /* that file is not there yet */
    put_many(&r, "k", 400);
    step_ms(&r, 20000);
    l = (struct listed){0};
    bk_files(r.db, add_file, &l);
    assert_true(l.sealed > 4);
    assert_int_equal(l.hinted, l.sealed - 1);
    bad_sector_heal();
    step_ms(&r, 70000);
    l = (struct listed){0};
    bk_files(r.db, add_file, &l);
    assert_int_equal(l.hinted, l.sealed);
    RIG_TRUE(&r, rig_same(&r));
    RIG_TRUE(&r, rig_check(&r));
    rig_fini(&r);
}

#define LONG_KEYS 1000u

static void long_key(char out[120], unsigned i)
{
    memset(out, 'k', 100);
    snprintf(out + 100, 20, "%u", i);
}

/* A file of values that live, and of keys whose tombstones, all in the next file, have to stay.
 * gone: so many keys are in a file before both, and in one behind that has nothing but their
 * tombstones. */
static void setup_tombstones(struct rig *r, unsigned dead, unsigned gone)
{
    static char large[1 << 20];
    char key[120];
    setup_rig(r, 93, BK_SYNC_EVERYSEC);
    r->opt.merge.policy = BK_MERGE_NEVER;
    r->opt.merge.small_file = 0;
    r->opt.max_file_bytes = (uint64_t)8 << 20;
    put_n(r, "gone", gone, "v");
    next_file(r);
    memset(large, 'L', sizeof(large) - 1);
    put_n(r, "large", 3, large);
    for (unsigned i = 0; i < LONG_KEYS; i++) {
        long_key(key, i);
        assert_int_equal(rig_put(r, key, "v"), BK_OK);
    }
    next_file(r);
    for (unsigned i = 0; i < LONG_KEYS; i++) {
        long_key(key, i);
        assert_int_equal(rig_delete(r, key), BK_OK);
    }
    for (unsigned i = 0; i < dead; i++) {
        assert_int_equal(rig_put(r, "often", "some value"), BK_OK);
    }
    next_file(r);
    for (unsigned i = 0; i < gone; i++) {
        snprintf(key, sizeof(key), "gone%u", i);
        assert_int_equal(rig_delete(r, key), BK_OK);
    }
    if (gone > 0) {
        next_file(r);
    }
    assert_int_equal(rig_put(r, "often", "elsewhere"), BK_OK);
    merge_all(r); /* hints are made */
    r->opt.merge.policy = BK_MERGE_ALWAYS;
    next_file(r);
}

/* Their file gains nothing by being written again, however long the keys are. */
static void test_merge__all_tombstones_have_to_stay__their_file_is_left(void **state)
{
    (void)state;
    struct rig r;
    struct bk_merge_status s;
    setup_tombstones(&r, 0, 0);
    step_ms(&r, 20000);
    bk_merge_status(r.db, &s);
    assert_int_equal(s.runs, 0);
    assert_int_equal(s.aborted, 0);
    RIG_TRUE(&r, rig_same(&r));
    RIG_TRUE(&r, rig_check(&r));
    rig_fini(&r);
}

/* It would gain something, but there is no room for those that stay: no run is begun for them again
 * and again. */
static void test_merge__no_room_for_tombstones_that_stay__is_not_tried_in_vain(void **state)
{
    (void)state;
    struct rig r;
    struct bk_merge_status s;
    setup_tombstones(&r, 6000, 0);
    simdisk_capacity(r.disk, simdisk_used(r.disk) + LONG_KEYS * 64);
    uint64_t reads = simdisk_calls(r.disk, SIMDISK_READ);
    bk_merge(r.db, BK_MERGE_NOW);
    step_ms(&r, 20000);
    bk_merge_status(r.db, &s);
    assert_int_equal(s.runs, 0);
    assert_int_equal(s.aborted, 0);
    assert_true(simdisk_calls(r.disk, SIMDISK_READ) - reads < 100); /* one plan, or two */
    simdisk_capacity(r.disk, UINT64_MAX);
    RIG_TRUE(&r, rig_same(&r));
    RIG_TRUE(&r, rig_check(&r));
    rig_fini(&r);
}

/* Beside them lie tombstones that hide nothing: those go without any room. The second amount is
 * enough for the tombstones, but not for their hint. */
static void test_merge__no_room_for_some_tombstones__others_go(void **state)
{
    (void)state;
    static const uint64_t room[] = {LONG_KEYS * 64, LONG_KEYS * 160};
    for (size_t i = 0; i < sizeof(room) / sizeof(*room); i++) {
        struct rig r;
        struct bk_merge_status s;
        setup_tombstones(&r, 6000, 40);
        simdisk_capacity(r.disk, simdisk_used(r.disk) + room[i]);
        step_ms(&r, 20000);
        bk_merge_status(r.db, &s);
        assert_int_equal(s.runs, 2); /* the file before, then that behind */
        assert_int_equal(s.aborted, 0);
        assert_true(s.withheld > 0);
        simdisk_capacity(r.disk, UINT64_MAX);
        simclock_advance_ms(&r.clock, 60000);
        step_ms(&r, 10000);
        bk_merge_status(r.db, &s);
        assert_int_equal(s.runs, 3);
        assert_int_equal(s.withheld, 0);
        RIG_TRUE(&r, rig_same(&r));
        RIG_TRUE(&r, rig_check(&r));
        rig_fini(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge__live_record_cannot_be_read__other_files_are_merged),
        cmocka_unit_test(test_merge_now__cannot_be_done__is_not_tried_without_end),
        cmocka_unit_test(test_merge__all_tombstones_have_to_stay__their_file_is_left),
        cmocka_unit_test(test_merge__no_room_for_tombstones_that_stay__is_not_tried_in_vain),
        cmocka_unit_test(test_merge__no_room_for_some_tombstones__others_go),
        cmocka_unit_test(test_hints__file_cannot_be_read__later_ones_get_theirs),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
