/* SPDX-License-Identifier: MIT */
/*
 * test_full.c - a full disk and its reserve: who may use what is left, how refusing begins and
 * ends. What a command and a disk at the very end of their room do to each other is in
 * test_faults.c.
 */
#include "engine_test.h"

#include "engine/io.h"

#define CAPACITY ((uint64_t)4 << 20)
#define RESERVE ((uint64_t)1 << 19) /* an eighth */

static struct rig *new_rig(uint64_t max_file_bytes)
{
    struct rig *r = malloc(sizeof(*r));
    rig_init(r, 61, BK_SYNC_EVERYSEC);
    rig_merging(r);
    r->opt.max_file_bytes = max_file_bytes;
    r->opt.merge.dead_ratio = 50;
    r->opt.merge.max_files = 8;
    r->opt.merge.disk_reserve = (uint64_t)1 << 40;
    simdisk_capacity(r->disk, CAPACITY);
    return r;
}

static void free_rig(struct rig *r)
{
    rig_fini(r);
    free(r);
}

static int put(struct rig *r, unsigned i, unsigned size)
{
    static char value[3000001];
    char key[32];
    snprintf(key, sizeof(key), "key%u", i);
    memset(value, 'a' + (int)(i % 26), size);
    value[size] = '\0';
    return rig_put(r, key, value);
}

static int del(struct rig *r, unsigned i)
{
    char key[32];
    snprintf(key, sizeof(key), "key%u", i);
    return rig_delete(r, key);
}

/* Puts keys of a kilobyte until the store refuses one; returns its number. */
static unsigned fill(struct rig *r, unsigned from)
{
    unsigned i = from;
    int rc = BK_OK;
    for (; rc == BK_OK && i < from + 20000; i++) {
        rc = put(r, i, 1000);
        RIG_TRUE(r, rig_settle(r));
    }
    assert_int_equal(rc, BK_ENOSPC);
    return i - 1;
}

static void pass(struct rig *r, unsigned ms)
{
    for (unsigned at = 0; at < ms; at += 10) {
        simclock_advance_ms(&r->clock, 10);
        for (unsigned i = 0; i < 50 && rig_step(r); i++) {
        }
    }
}

static uint64_t free_bytes(struct rig *r)
{
    const struct bk_io *io = r->opt.io;
    return (uint64_t)io->free_bytes(io->arg, RIG_DIR);
}

static void assert_steady(struct rig *r)
{
    struct bk_error err = {0};
    for (unsigned i = 0; i < 300; i++) {
        pass(r, 10);
        assert_int_equal(bk_write_state(r->db, &err), BK_ENOSPC);
        assert_non_null(strstr(err.text, "disk-reserve"));
        assert_int_equal(put(r, 999999, i % 3 == 0 ? 1 : 3000), BK_ENOSPC);
    }
}

static void test_trap17__full_disk__keeps_the_reserve_and_refuses_steadily(void **state)
{
    (void)state;
    struct rig *r = new_rig(262144);
    RIG_TRUE(r, rig_open(r) == BK_OK);
    unsigned n = fill(r, 0);
    assert_true(n > 2500); /* most of what there is */
    assert_true(free_bytes(r) + 65536 >= RESERVE);
    assert_steady(r);
    rig_crash(r, SIMDISK_POWER);
    RIG_TRUE(r, rig_reopen(r)); /* and a start changes nothing about it */
    pass(r, 1000);
    assert_steady(r);
    RIG_TRUE(r, rig_check(r));
    free_rig(r);
}

/* Deletes go on; what they make dead is merged, with files that are not half dead too, and writes
 * come back. */
static void test_trap42__deletes_on_a_full_disk__make_room_for_writes_20_times(void **state)
{
    (void)state;
    struct rig *r = new_rig(262144);
    RIG_TRUE(r, rig_open(r) == BK_OK);
    unsigned n = fill(r, 0);
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = round % 4; i < n; i += 4) {
            assert_int_equal(del(r, i), BK_OK);
        }
        pass(r, 3000);
        assert_int_equal(bk_write_state(r->db, NULL), BK_OK);
        RIG_TRUE(r, rig_same(r));
        if (round % 5 == 4) {
            rig_crash(r, round % 2 == 0 ? SIMDISK_POWER : SIMDISK_KILL);
            RIG_TRUE(r, rig_reopen(r));
            pass(r, 1000);
        }
        unsigned end = fill(r, 0);
        n = end > n ? end : n;
    }
    RIG_TRUE(r, rig_check(r));
    free_rig(r);
}

/* All that there is lies in the one file that is written to. */
static void test_trap17__flush_of_a_full_disk_with_one_file__gives_all_of_it_back(void **state)
{
    (void)state;
    for (unsigned crash = 0; crash < 2; crash++) {
        struct rig *r = new_rig((uint64_t)64 << 20);
        RIG_TRUE(r, rig_open(r) == BK_OK);
        unsigned n = fill(r, 0);
        if (crash == 1) {
            rig_crash(r, SIMDISK_KILL);
            RIG_TRUE(r, rig_reopen(r));
            pass(r, 1000);
        }
        rig_begin(r);
        rig_batch_flush(r, 0);
        assert_int_equal(rig_commit(r), BK_OK);
        pass(r, 3000);
        assert_int_equal(bk_write_state(r->db, NULL), BK_OK);
        unsigned again = fill(r, 0);
        assert_true(again > n / 10 * 9);
        RIG_TRUE(r, rig_same(r));
        RIG_TRUE(r, rig_check(r));
        free_rig(r);
    }
}

/* Without a merge to make room, deletes end when their part is used up; merges still have theirs.
 */
static void test_full__deletes_without_end__leave_the_merge_its_part(void **state)
{
    (void)state;
    struct rig *r = new_rig(262144);
    RIG_TRUE(r, rig_open(r) == BK_OK);
    unsigned n = fill(r, 0);
    bk_merge(r->db, BK_MERGE_PAUSE);
    int rc = BK_OK;
    unsigned deletes = 0;
    for (; rc == BK_OK && deletes < 100000; deletes++) {
        rc = del(r, deletes % n);
    }
    assert_int_equal(rc, BK_ENOSPC);
    assert_true(deletes > 1500);
    RIG_TRUE(r, rig_settle(r));
    assert_true(free_bytes(r) >= RESERVE / 2);
    bk_merge(r->db, BK_MERGE_RESUME);
    pass(r, 8000);
    assert_int_equal(bk_write_state(r->db, NULL), BK_OK);
    RIG_TRUE(r, rig_same(r));
    free_rig(r);
}

static void test_full__large_record_alone_has_no_room__others_go_on(void **state)
{
    (void)state;
    struct rig *r = new_rig((uint64_t)1 << 20);
    RIG_TRUE(r, rig_open(r) == BK_OK);
    pass(r, 100);
    while (free_bytes(r) > RESERVE + ((uint64_t)5 << 18)) {
        assert_int_equal(put(r, 1000, 1000), BK_OK);
        bk_merge(r->db, BK_MERGE_PAUSE);
        pass(r, 10);
    }
    assert_int_equal(put(r, 1, 3000000), BK_ENOSPC);
    pass(r, 1000);
    assert_int_equal(bk_write_state(r->db, NULL), BK_OK);
    assert_int_equal(put(r, 2, 1000), BK_OK);
    free_rig(r);
}

/* There is room, if little, and a merge that passes by is no reason to refuse anything. */
static void test_full__merge_uses_the_reserve__writes_with_room_of_their_own_go_on(void **state)
{
    (void)state;
    struct rig *r = new_rig(65536);
    unsigned copying = 0;
    unsigned i = 0;
    r->opt.merge.max_files = 100;
    RIG_TRUE(r, rig_open(r) == BK_OK);
    bk_merge(r->db, BK_MERGE_PAUSE);
    for (; free_bytes(r) > RESERVE + 262144; i++) {
        assert_int_equal(put(r, i % 2 == 0 ? i : i - 1, 1000), BK_OK); /* each twice */
        pass(r, 10);
    }
    bk_merge(r->db, BK_MERGE_RESUME);
    for (unsigned steps = 0; steps < 100000 && copying < 6; steps++) {
        struct bk_merge_status s;
        if (!rig_step(r)) {
            simclock_advance_ms(&r->clock, 10);
        }
        bk_merge_status(r->db, &s);
        if (s.state == BK_MERGE_LOG && free_bytes(r) < RESERVE) {
            assert_int_equal(put(r, i++, 20000), BK_OK);
            assert_int_equal(bk_write_state(r->db, NULL), BK_OK);
            copying++;
        }
    }
    assert_int_equal(copying, 6);
    RIG_TRUE(r, rig_settle(r));
    RIG_TRUE(r, rig_same(r));
    free_rig(r);
}

/* The cap of the user's own is refused and left as a full disk is. */
static void test_full__disk_max_bytes__deletes_go_on_and_writes_come_back(void **state)
{
    (void)state;
    struct rig *r = new_rig(262144);
    simdisk_capacity(r->disk, UINT64_MAX);
    r->opt.merge.disk_max_bytes = (uint64_t)3 << 20;
    RIG_TRUE(r, rig_open(r) == BK_OK);
    unsigned n = fill(r, 0);
    pass(r, 500);
    assert_int_equal(bk_write_state(r->db, NULL), BK_ENOSPC);
    for (unsigned i = 0; i < n / 2; i++) {
        assert_int_equal(del(r, i), BK_OK);
    }
    pass(r, 3000);
    assert_int_equal(bk_write_state(r->db, NULL), BK_OK);
    assert_int_equal(put(r, 1, 1000), BK_OK);
    RIG_TRUE(r, rig_same(r));
    free_rig(r);
}

static void test_full__reserve_is_given_up__writes_come_back_in_a_moment(void **state)
{
    (void)state;
    struct rig *r = new_rig(262144);
    struct bk_tunables t;
    RIG_TRUE(r, rig_open(r) == BK_OK);
    unsigned n = fill(r, 0);
    bk_tunables_get(r->db, &t);
    t.merge.disk_reserve = 0;
    bk_tune(r->db, &t);
    pass(r, 300);
    assert_int_equal(bk_write_state(r->db, NULL), BK_OK);
    n = fill(r, n);
    assert_true(free_bytes(r) < RESERVE / 4);
    RIG_TRUE(r, rig_same(r));
    free_rig(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trap17__full_disk__keeps_the_reserve_and_refuses_steadily),
        cmocka_unit_test(test_trap42__deletes_on_a_full_disk__make_room_for_writes_20_times),
        cmocka_unit_test(test_trap17__flush_of_a_full_disk_with_one_file__gives_all_of_it_back),
        cmocka_unit_test(test_full__deletes_without_end__leave_the_merge_its_part),
        cmocka_unit_test(test_full__large_record_alone_has_no_room__others_go_on),
        cmocka_unit_test(test_full__merge_uses_the_reserve__writes_with_room_of_their_own_go_on),
        cmocka_unit_test(test_full__disk_max_bytes__deletes_go_on_and_writes_come_back),
        cmocka_unit_test(test_full__reserve_is_given_up__writes_come_back_in_a_moment),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
