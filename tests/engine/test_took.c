/* SPDX-License-Identifier: MIT */
/* test_took.c - the store tells how long writes and syncs of its log took. */
#include "engine_test.h"
#include "engine/io.h"
#include "lib/tmpdir.h"

#include <sched.h>
#include <stdatomic.h>

#define WRITE_MS 7
#define SYNC_MS 40
#define KINDS 3

struct told {
    atomic_uint times[KINDS];
    _Atomic int64_t last_us[KINDS];
};

static void note(void *arg, enum bk_took what, int64_t us)
{
    struct told *t = arg;
    atomic_store(&t->last_us[what], us);
    atomic_fetch_add(&t->times[what], 1);
}

/* ---- By the simulated clock ---- */

struct slow {
    struct rig rig;
    struct told told;
};

/* The disk takes its time. */
static int take_time(void *arg, enum simdisk_call call)
{
    struct slow *s = arg;
    simclock_advance_ms(&s->rig.clock, call == SIMDISK_WRITE  ? WRITE_MS
                                       : call == SIMDISK_SYNC ? SYNC_MS
                                                              : 0);
    return 0;
}

static struct slow *slow_open(enum bk_sync sync)
{
    struct slow *s = calloc(1, sizeof *s);
    rig_init(&s->rig, 3, sync);
    s->rig.opt.took = note;
    s->rig.opt.took_arg = &s->told;
    RIG_TRUE(&s->rig, rig_open(&s->rig) == BK_OK);
    simdisk_ask(s->rig.disk, take_time, s);
    return s;
}

static void slow_close(struct slow **s)
{
    simdisk_ask((*s)->rig.disk, NULL, NULL);
    rig_fini(&(*s)->rig);
    free(*s);
    *s = NULL;
}

static void test_took__always__write_and_sync_are_told_each(void **state)
{
    (void)state;
    struct slow *s = slow_open(BK_SYNC_ALWAYS);
    assert_int_equal(rig_put(&s->rig, "k", "v"), BK_OK);
    RIG_TRUE(&s->rig, rig_settle(&s->rig));
    assert_true(atomic_load(&s->told.times[BK_TOOK_WRITE]) >= 1);
    assert_int_equal(atomic_load(&s->told.times[BK_TOOK_SYNC]), 1);
    assert_int_equal(atomic_load(&s->told.last_us[BK_TOOK_SYNC]), SYNC_MS * 1000);
    assert_int_equal(atomic_load(&s->told.times[BK_TOOK_WRITE_SYNCING]), 0);
    slow_close(&s);
}

/* Nobody waits for a sync that has a second's time. */
static void test_took__everysec__writes_are_told_and_syncs_are_not(void **state)
{
    (void)state;
    struct slow *s = slow_open(BK_SYNC_EVERYSEC);
    assert_int_equal(rig_put(&s->rig, "k", "v"), BK_OK);
    bk_flush(s->rig.db, bk_tail(s->rig.db));
    assert_int_equal(atomic_load(&s->told.times[BK_TOOK_WRITE]), 1);
    assert_int_equal(atomic_load(&s->told.last_us[BK_TOOK_WRITE]), WRITE_MS * 1000);
    bk_flush(s->rig.db, bk_tail(s->rig.db)); /* nothing to write */
    RIG_TRUE(&s->rig, rig_sync(&s->rig));
    assert_int_equal(atomic_load(&s->told.times[BK_TOOK_WRITE]), 1);
    assert_int_equal(atomic_load(&s->told.times[BK_TOOK_SYNC]), 0);
    slow_close(&s);
}

/* ---- Beside a sync ---- */

struct gate {
    struct told told;
    atomic_bool shut;    /* a sync that begins now waits until this is false */
    atomic_bool reached; /* one does */
};

static int gated_sync(void *arg, int fd)
{
    struct gate *g = arg;
    if (atomic_load(&g->shut)) {
        atomic_store(&g->reached, true);
        while (atomic_load(&g->shut)) {
            sched_yield();
        }
    }
    return bk_io_system.sync(bk_io_system.arg, fd);
}

static void put(struct bk_db *db, const char *key)
{
    struct bk_batch *b = bk_batch_new(db);
    struct bk_error err;
    struct bk_key k;
    uint64_t pos;
    bk_key_init(db, &k, key, strlen(key));
    bk_batch_begin(b);
    bk_batch_put(b, 0, &k, &(struct bk_value){.bytes = bk_span_str("v")}, 0, 0);
    BK_SUCCEEDS(bk_batch_commit(b, &pos, &err), err);
    bk_flush(db, pos);
    bk_batch_free(&b);
}

static void wait_for_syncs(struct bk_db *db, uint64_t n)
{
    struct bk_stats s = {0};
    while (s.syncs < n) {
        sched_yield();
        bk_stats_get(db, &s);
    }
}

static void test_took__write_beside_a_sync__is_told_as_such(void **state)
{
    (void)state;
    struct gate g = {.shut = false};
    struct bk_io io = bk_io_system;
    struct bk_options opt;
    struct bk_error err;
    struct bk_db *db;
    struct tmpdir dir;
    tmpdir_make(&dir, "took");
    bk_options_init(&opt);
    io.arg = &g; /* the system's functions need none */
    io.sync = gated_sync;
    opt.dir = dir.path;
    opt.io = &io;
    opt.took = note;
    opt.took_arg = &g.told;
    BK_SUCCEEDS(bk_open(&db, &opt, &err), err);
    put(db, "a");
    assert_int_equal(atomic_load(&g.told.times[BK_TOOK_WRITE]), 1);
    wait_for_syncs(db, 1); /* and files are made, which takes syncs too */
    atomic_store(&g.shut, true);
    put(db, "b");
    while (!atomic_load(&g.reached)) { /* the sync of everysec */
        sched_yield();
    }
    unsigned before = atomic_load(&g.told.times[BK_TOOK_WRITE]);
    put(db, "c");
    assert_int_equal(atomic_load(&g.told.times[BK_TOOK_WRITE_SYNCING]), 1);
    assert_int_equal(atomic_load(&g.told.times[BK_TOOK_WRITE]), before);
    atomic_store(&g.shut, false);
    BK_SUCCEEDS(bk_close(&db, &err), err);
    tmpdir_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_took__always__write_and_sync_are_told_each),
        cmocka_unit_test(test_took__everysec__writes_are_told_and_syncs_are_not),
        cmocka_unit_test(test_took__write_beside_a_sync__is_told_as_such),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
