/* SPDX-License-Identifier: MIT */
/*
 * test_slow_fault_points.c - each call of the disk goes wrong in turn, in each way that it can:
 * nothing acknowledged is lost, what is refused is said, and the store comes back by itself.
 */
#include "engine_test.h"

#include "lib/cuts.h"

#include <errno.h>
#include <malloc.h>

#define CHANGES                                                                          \
    (SIMDISK_OPEN | SIMDISK_WRITE | SIMDISK_SYNC | SIMDISK_ALLOCATE | SIMDISK_TRUNCATE | \
     SIMDISK_MKDIR | SIMDISK_RENAME | SIMDISK_UNLINK | SIMDISK_SYNC_DIR)
#define ROOM (SIMDISK_OPEN | SIMDISK_WRITE | SIMDISK_ALLOCATE | SIMDISK_RENAME | SIMDISK_SYNC)
#define EVERY_KIND (SIMDISK_ANY & ~(unsigned)(SIMDISK_CLOSE | SIMDISK_UNLOCK))

static const struct cuts_fate faults[] = {
    {-EIO, SIMDISK_POWER, EVERY_KIND, 1, 1, "EIO"},
    {-EIO, SIMDISK_KILL, CHANGES, 9, 1, "EIO nine times"},
    {-ENOSPC, SIMDISK_POWER, ROOM, 1, 1, "ENOSPC"},
    {-ENOSPC, SIMDISK_KILL, ROOM, 40, 1, "ENOSPC 40 times"},
    {-EINTR, SIMDISK_POWER, SIMDISK_READ | SIMDISK_WRITE, 1, 1, "EINTR"},
    {SIMDISK_SHORT, SIMDISK_KILL, SIMDISK_READ | SIMDISK_WRITE, 1, 1, "a short count"},
};

static struct cuts *world;
#define MUST(call) CUTS_TRUE(world, call)

static bool passes_unseen(const struct cuts *c)
{
    return c->depth > 0 && (c->fate[0]->told == -EINTR || c->fate[0]->told == SIMDISK_SHORT);
}

static void open_it(struct rig *r)
{
    int rc = rig_open(r);
    MUST(rc == BK_OK || (world->depth > 0 && !passes_unseen(world)));
    if (rc != BK_OK) {
        MUST(simdisk_handles(r->disk) == 0);
        world->left = 0; /* the fault is over when it is tried again */
        MUST(rig_open(r) == BK_OK);
    }
}

static void put_one(struct rig *r, unsigned i)
{
    char key[16];
    char value[700];
    memset(value, 'v', sizeof(value));
    value[i % 3 * 300 + 20] = '\0';
    snprintf(value, 12, "%08u", i);
    value[8] = 'v';
    snprintf(key, sizeof(key), "k%u", i % 9);
    rig_begin(r);
    rig_batch_put(r, 0, bk_span_str(key), bk_span_str(value), 0, 0);
    if (i % 5 == 1) {
        rig_batch_put(r, 1, bk_span_str(key), bk_span_str("too"), 3, 0);
        rig_batch_delete(r, 0, bk_span_str("k3"));
    }
    if (i % 11 == 7) {
        rig_batch_swap(r, 1, 2);
    }
    int rc = rig_commit(r);
    MUST(rc == BK_OK || (world->depth > 0 && (rc == BK_ENOSPC || rc == BK_EIO)));
}

/* Writes, rotations, hints and merges; no reads of the test's own, which may fail as they like. */
static void play(struct rig *r)
{
    open_it(r);
    for (unsigned i = 0; i < 26; i++) {
        put_one(r, i);
        for (unsigned k = 0; k < 3; k++) {
            rig_step(r);
            simclock_advance_ms(&r->clock, 20);
        }
    }
}

static void come_back(struct cuts *c)
{
    struct rig *r = c->r;
    c->left = 0;
    for (unsigned i = 0; i < 30; i++) { /* it gets well by itself */
        simclock_advance_ms(&r->clock, 200);
        rig_step(r);
    }
    CUTS_TRUE(c, rig_sync(r));
    CUTS_TRUE(c, bk_write_state(r->db, NULL) == BK_OK);
    CUTS_TRUE(c, !passes_unseen(c) || (r->undone == 0 && r->refused == 0));
    CUTS_TRUE(c, rig_same(r));
    CUTS_TRUE(c, rig_check(r));
    CUTS_TRUE(c, rig_put(r, "works", "again") == BK_OK);
    CUTS_TRUE(c, rig_settle(r)); /* written, then synced: */
    CUTS_TRUE(c, rig_sync(r));
    CUTS_TRUE(c, r->opt.sync == BK_SYNC_NO || r->durable_n == r->model.entries_n);
    cuts_end_life(c);
    CUTS_TRUE(c, rig_reopen(r));
    CUTS_TRUE(c, rig_close(r) == BK_OK);
    CUTS_TRUE(c, simdisk_handles(r->disk) == 0);
    cuts_done(c);
}

static void run(const char *name, enum bk_sync sync, bool evict)
{
    struct rig r;
    struct cuts c = {.r = &r,
                     .name = name,
                     .fates = faults,
                     .fates_n = sizeof(faults) / sizeof(faults[0]),
                     .stride = CUTS_STRIDE,
                     .counts = cuts_counts_new()};
    world = &c;
    rig_init(&r, 500 + sync, sync);
    rig_merging(&r);
    r.opt.max_file_bytes = 4096;
    r.opt.on_corruption = BK_CORRUPT_SERVE;
    simdisk_evict_lost(r.disk, evict);
    cuts_watch(&c);
    play(&r);
    if (cuts_rest(&c)) {
        come_back(&c);
    }
    rig_fini(&r);
    print_message("%-12s calls %6llu  faults %6llu\n", name, (unsigned long long)c.counts->calls,
                  (unsigned long long)c.counts->points);
    assert_int_equal(c.counts->broken, 0);
    assert_true(c.counts->points > 10);
}

static void test_faults__each_call_in_each_way__always(void **state)
{
    (void)state;
    run("always", BK_SYNC_ALWAYS, false);
}

static void test_faults__each_call_in_each_way__pages_lost_at_once(void **state)
{
    (void)state;
    run("evicted", BK_SYNC_ALWAYS, true);
}

static void test_faults__each_call_in_each_way__everysec(void **state)
{
    (void)state;
    run("everysec", BK_SYNC_EVERYSEC, false);
}

static void test_faults__each_call_in_each_way__no(void **state)
{
    (void)state;
    run("no", BK_SYNC_NO, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults__each_call_in_each_way__always),
        cmocka_unit_test(test_faults__each_call_in_each_way__pages_lost_at_once),
        cmocka_unit_test(test_faults__each_call_in_each_way__everysec),
        cmocka_unit_test(test_faults__each_call_in_each_way__no),
    };
    quiet_log();
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
