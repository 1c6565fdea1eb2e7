/* SPDX-License-Identifier: MIT */
/*
 * test_slow_random.c - random operations in random lives: power cuts, kills, clean stops, full and
 * failing disks, short reads and writes. Each run repeats from the seed that it prints when it
 * fails; BITKV_SEED=n runs one alone, BITKV_TRACE=1 prints every call of the disk.
 */
#include "engine_test.h"

#include <errno.h>

/* After a failed sync a store needs a moment to write elsewhere what the kernel may have dropped. A
 * process that dies in that moment leaves pages that look clean and are not: no later start can
 * know, so these lives end in peace. */
static void failed_sync(struct rig *r)
{
    simdisk_cut(r->disk, 0);
    simdisk_fail(r->disk, SIMDISK_SYNC, 1 + rng_below(&r->rng, 10), 1, EIO);
}

static void get_well(struct rig *r)
{
    for (int i = 0; i < 20 && !simdisk_dead(r->disk); i++) {
        simclock_advance_ms(&r->clock, 300);
        rig_step(r);
    }
}

/* True: a sync is going to fail. */
static bool maybe_faults(struct rig *r)
{
    uint64_t pick = rng_below(&r->rng, 10);
    if (pick == 0) {
        simdisk_noise(r->disk, 10);
    } else if (pick == 1) {
        simdisk_capacity(r->disk, simdisk_used(r->disk) + rng_below(&r->rng, 200000));
    } else if (pick == 2) {
        simdisk_fail(r->disk, SIMDISK_WRITE | SIMDISK_ALLOCATE, 1 + rng_below(&r->rng, 20),
                     1 + rng_below(&r->rng, 3), rng_percent(&r->rng, 50) ? EIO : ENOSPC);
    } else if (pick == 3) {
        failed_sync(r);
    } else if (pick == 4) {
        simdisk_fail(r->disk, SIMDISK_OPEN | SIMDISK_SYNC_DIR | SIMDISK_ALLOCATE,
                     1 + rng_below(&r->rng, 10), 1 + rng_below(&r->rng, 3), EIO);
    }
    return pick == 3;
}

static void clear_faults(struct rig *r)
{
    simdisk_noise(r->disk, 0);
    simdisk_capacity(r->disk, UINT64_MAX);
    simdisk_fail(r->disk, 0, 0, 0, 0);
}

static void one_life(struct rig *r, bool faults)
{
    unsigned ops = 20 + (unsigned)rng_below(&r->rng, 150);
    if (rng_percent(&r->rng, 60)) {
        simdisk_cut(r->disk, 1 + rng_below(&r->rng, 200));
    }
    bool ill = faults && maybe_faults(r);
    for (unsigned i = 0; i < ops && !simdisk_dead(r->disk); i++) {
        RIG_TRUE(r, rig_random_op(r));
    }
    simdisk_cut(r->disk, 0);
    clear_faults(r);
    if (ill) {
        get_well(r);
    }
    if (!simdisk_dead(r->disk) && rng_percent(&r->rng, 30)) {
        RIG_TRUE(r, rig_sync(r));
        RIG_TRUE(r, rig_same(r));
        RIG_TRUE(r, rig_check(r));
    }
    if (!simdisk_dead(r->disk) && rng_percent(&r->rng, 20)) {
        /* A write that failed a moment ago is told of by the close. */
        RIG_TRUE(r, rig_close(r) == BK_OK || faults);
    } else {
        rig_crash(r, rng_percent(&r->rng, 60) ? SIMDISK_POWER : SIMDISK_KILL);
    }
}

static void run_seed(uint64_t seed, bool faults)
{
    struct rig r;
    rig_init(&r, seed, (enum bk_sync)(seed % 3));
    if (seed % 4 != 0) {
        rig_merging(&r);
    }
    r.opt.max_file_bytes = (uint64_t)4096 << (seed / 3 % 7);
    r.opt.log_buffer_bytes = seed % 2 == 0 ? 65536 : 1 << 20;
    r.opt.cache_bytes = seed % 5 == 0 ? 100000 : 0;
    /* A lost page may be a hole in what was never acknowledged; with failing syncs it is counted as
     * damage. */
    r.opt.on_corruption = faults ? BK_CORRUPT_SERVE : BK_CORRUPT_REFUSE;
    if (getenv("BITKV_TRACE") != NULL) {
        simdisk_trace(r.disk, stderr);
    }
    for (unsigned life = 0; life < 8; life++) {
        RIG_TRUE(&r, rig_reopen(&r));
        one_life(&r, faults);
    }
    RIG_TRUE(&r, rig_reopen(&r));
    rig_fini(&r);
}

static void run_seeds(bool faults, uint64_t first, uint64_t n)
{
    const char *one = getenv("BITKV_SEED");
    if (one != NULL) {
        run_seed(strtoull(one, NULL, 10), faults);
        return;
    }
    for (uint64_t seed = first; seed < first + n * long_factor(); seed++) {
        run_seed(seed, faults);
    }
}

static void test_random__crashes_and_clean_stops__leave_a_prefix_with_all_that_was_promised(
    void **state)
{
    (void)state;
    run_seeds(false, 1, 120);
}

static void test_random__failing_disk_and_crashes__lose_nothing_that_was_promised(void **state)
{
    (void)state;
    run_seeds(true, 100001, 120);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            test_random__crashes_and_clean_stops__leave_a_prefix_with_all_that_was_promised),
        cmocka_unit_test(test_random__failing_disk_and_crashes__lose_nothing_that_was_promised),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
