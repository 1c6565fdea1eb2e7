/* SPDX-License-Identifier: MIT */
/*
 * test_slow_failed_syncs.c - a sync or a write fails, and the process is killed at a call of the
 * disk behind it, before the store has got well: pages that the kernel has given up are clean for
 * the next process, and read well. What it takes over must be on the disk when it says so: the
 * power goes in its recovery or soon behind it.
 *
 * FAILED_TIMES=n: n times as many failures and calls.
 */
#include "engine_test.h"

#include "lib/cuts.h"

#include <errno.h>
#include <malloc.h>

static const struct cuts_fate kills[] = {
    {SIMDISK_ENDS, SIMDISK_KILL, SIMDISK_ANY, 1, 1, "kill"},
};
static const struct cuts_fate ends[] = {
    {SIMDISK_ENDS, SIMDISK_POWER, SIMDISK_ANY, 1, 1, "power cut"},
    {SIMDISK_ENDS, SIMDISK_KILL, SIMDISK_ANY, 1, 3, "kill"},
};

struct scene {
    const char *name;
    void (*prepare)(struct rig *r); /* NULL: nothing */
    void (*play)(struct rig *r);
    unsigned fails;  /* enum simdisk_call: which calls */
    unsigned nth;    /* failures: of the first call, and of every so many behind it */
    unsigned stride; /* a kill at every so many calls */
    unsigned second; /* another end at one of so many calls of each recovery */
};

static struct cuts *world;
#define MUST(call) CUTS_TRUE(world, call)

/* A store that cannot be opened, or refuses a write, because of the failure, may do so. */
static bool alive(struct rig *r)
{
    return r->db != NULL && !simdisk_dead(r->disk);
}

static void put_some(struct rig *r, const char *name, unsigned n, size_t len)
{
    char value[3000];
    memset(value, 'v', sizeof(value));
    value[len] = '\0';
    for (unsigned i = 0; i < n && alive(r); i++) {
        char key[32];
        snprintf(key, sizeof(key), "%s%u", name, i);
        snprintf(value, 16, "%08llu", (unsigned long long)r->model.entries_n);
        value[8] = 'v';
        int rc = rig_put(r, key, value);
        MUST(rc == BK_OK || rc == BK_EIO || rc == BK_ENOSPC || simdisk_dead(r->disk));
    }
}

static void step_some(struct rig *r, unsigned n, int64_t ms)
{
    for (unsigned i = 0; i < n && alive(r); i++) {
        rig_step(r);
        simclock_advance_ms(&r->clock, ms);
    }
}

static void small_files(struct rig *r)
{
    r->opt.max_file_bytes = 4096;
}

static void play_writes(struct rig *r)
{
    bk_ignore(rig_open(r), "its sync may be the one that fails");
    for (unsigned i = 0; i < 4; i++) {
        put_some(r, i % 2 == 0 ? "a" : "b", 3, 500);
        step_some(r, 3, 150);
    }
    step_some(r, 12, 150);
    put_some(r, "c", 2, 100);
    step_some(r, 6, 150);
}

/* Overwritten and deleted keys, and behind them writes that nothing has synced. */
static void prepare_merge(struct rig *r)
{
    rig_merging(r);
    r->opt.merge.dead_ratio = 20;
    r->opt.merge.max_files = 8;
    small_files(r);
    MUST(rig_open(r) == BK_OK);
    put_some(r, "a", 20, 100);
    put_some(r, "a", 14, 300);
    MUST(rig_sync(r));
    put_some(r, "a", 9, 200);
    MUST(rig_delete(r, "a12") == BK_OK);
}

static void play_merge(struct rig *r)
{
    for (unsigned i = 0; i < 12; i++) {
        step_some(r, 12, 5);
        put_some(r, "b", 1, 60);
    }
    step_some(r, 10, 200);
}

/* ---- After the kill ---- */

/* Every second time the next process meets a failed sync of its own, gives up, and is started once
 * more. */
static int open_after(struct cuts *c)
{
    struct rig *r = c->r;
    simdisk_fail(r->disk, 0, 0, 0, 0);
    if (c->depth == 1 && c->at[0] % 2 == 0) {
        simdisk_fail(r->disk, SIMDISK_SYNC, 1 + c->at[0] / 2 % 6, 1, EIO);
        int rc = rig_open(r);
        simdisk_fail(r->disk, 0, 0, 0, 0);
        if (rc == BK_OK) {
            return rc;
        }
        CUTS_TRUE(c, rc == BK_EIO && simdisk_handles(r->disk) == 0);
    }
    cuts_watch(c);
    int rc = rig_open(r);
    cuts_rest(c);
    return rc;
}

static void come_back(struct cuts *c)
{
    struct rig *r = c->r;
    cuts_end_life(c);
    c->fates = ends;
    c->fates_n = sizeof(ends) / sizeof(ends[0]);
    int rc = open_after(c);
    if (c->depth == CUTS_DEPTH) {
        CUTS_TRUE(c, simdisk_dead(r->disk) || (rc == BK_OK && rig_recovered(r)));
        cuts_end_life(c);
        rc = rig_open(r);
    }
    CUTS_TRUE(c, rc == BK_OK);
    CUTS_TRUE(c, rig_recovered(r));
    CUTS_TRUE(c, rig_check(r));
    if (c->at[0] % 3 != 0) {
        CUTS_TRUE(c, rig_put(r, "after", "the failure") == BK_OK);
        CUTS_TRUE(c, rig_sync(r));
        CUTS_TRUE(c, rig_same(r));
    }
    rig_crash(r, SIMDISK_POWER);
    CUTS_TRUE(c, rig_reopen(r));
    cuts_done(c);
}

/* ---- Running them ---- */

static unsigned times(void)
{
    const char *s = getenv("FAILED_TIMES");
    return s != NULL && s[0] != '\0' ? (unsigned)strtoul(s, NULL, 10) : 1;
}

/* The nth call that can fail does. False: there are fewer. */
static bool run_one(const struct scene *s, enum bk_sync sync, unsigned n,
                    struct cuts_counts *counts)
{
    struct rig r;
    unsigned stride = s->stride / times();
    struct cuts c = {.r = &r,
                     .name = s->name,
                     .fates = kills,
                     .fates_n = 1,
                     .stride = (stride > 0 ? stride : 1) * CUTS_STRIDE,
                     .second = s->second * CUTS_STRIDE,
                     .counts = counts};
    world = &c;
    rig_init(&r, 900 + n * 10 + sync, sync);
    r.undone_gone = true;
    if (s->prepare != NULL) {
        s->prepare(&r);
    }
    simdisk_fail(r.disk, s->fails, n, 1, EIO);
    cuts_watch(&c);
    s->play(&r);
    if (cuts_rest(&c)) {
        come_back(&c);
    }
    bool failed = simdisk_failed(r.disk) > 0;
    rig_fini(&r);
    return failed;
}

static void run(const struct scene *s)
{
    struct cuts_counts *counts = cuts_counts_new();
    unsigned every = s->nth / times() > 0 ? s->nth / times() : 1;
    unsigned failures = 0;
    for (unsigned sync = BK_SYNC_ALWAYS; sync <= BK_SYNC_NO; sync++) {
        for (unsigned n = 1; run_one(s, (enum bk_sync)sync, n, counts); n += every) {
            failures++;
        }
    }
    print_message("%-8s failures %4u  calls %6llu  kills %6llu  second ends %6llu\n", s->name,
                  failures, (unsigned long long)counts->calls, (unsigned long long)counts->points,
                  (unsigned long long)counts->second);
    assert_int_equal(counts->broken, 0);
    assert_true(failures > 2 && counts->points > 0);
}

static void test_trap19__killed_after_a_failed_sync__the_next_start_vouches_for_no_lost_page(
    void **state)
{
    (void)state;
    run(&(struct scene){"sync", small_files, play_writes, SIMDISK_SYNC, 1, 4, 61});
}

static void test_trap19__killed_after_a_failed_sync_of_a_merge__no_input_goes_for_a_lost_edit(
    void **state)
{
    (void)state;
    run(&(struct scene){"merge", prepare_merge, play_merge, SIMDISK_SYNC, 2, 5, 101});
}

/* Who was told that a write was undone does not find it again. */
static void test_trap16__killed_after_a_failed_write__what_was_undone_stays_undone(void **state)
{
    (void)state;
    run(&(struct scene){"write", small_files, play_writes, SIMDISK_WRITE, 2, 4, 61});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            test_trap19__killed_after_a_failed_sync__the_next_start_vouches_for_no_lost_page),
        cmocka_unit_test(
            test_trap19__killed_after_a_failed_sync_of_a_merge__no_input_goes_for_a_lost_edit),
        cmocka_unit_test(test_trap16__killed_after_a_failed_write__what_was_undone_stays_undone),
    };
    quiet_log();
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
