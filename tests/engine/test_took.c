/* SPDX-License-Identifier: MIT */
/* test_took.c - the store tells how long writes and syncs of its log took; who finds another
 * writing does not wait for it. */
#include "engine_test.h"
#include "engine/io.h"
#include "lib/tmpdir.h"

#include <pthread.h>
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

static void wait_until(const atomic_bool *b)
{
    while (!atomic_load(b)) {
        sched_yield();
    }
}

static void pass(struct gate *g)
{
    if (atomic_load(&g->shut)) {
        atomic_store(&g->reached, true);
        while (atomic_load(&g->shut)) {
            sched_yield();
        }
    }
}

static int gated_sync(void *arg, int fd)
{
    pass(arg);
    return bk_io_system.sync(bk_io_system.arg, fd);
}

/* Appends, and leaves it there. */
static uint64_t append(struct bk_db *db, const char *key)
{
    struct bk_batch *b = bk_batch_new(db);
    struct bk_error err;
    struct bk_key k;
    uint64_t pos;
    bk_key_init(db, &k, key, strlen(key));
    bk_batch_begin(b);
    bk_batch_put(b, 0, &k, &(struct bk_value){.bytes = bk_span_str("v")}, 0, 0);
    BK_SUCCEEDS(bk_batch_commit(b, &pos, &err), err);
    bk_batch_free(&b);
    return pos;
}

static void put(struct bk_db *db, const char *key)
{
    bk_flush(db, append(db, key));
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
    wait_until(&g.reached); /* the sync of everysec */
    unsigned before = atomic_load(&g.told.times[BK_TOOK_WRITE]);
    put(db, "c");
    assert_int_equal(atomic_load(&g.told.times[BK_TOOK_WRITE_SYNCING]), 1);
    assert_int_equal(atomic_load(&g.told.times[BK_TOOK_WRITE]), before);
    atomic_store(&g.shut, false);
    BK_SUCCEEDS(bk_close(&db, &err), err);
    tmpdir_remove(&dir);
}

/* ---- Beside a write ---- */

/* Threads that the gates of a test are shut for; others pass. */
static _Thread_local bool gated;

static void pass_if_gated(struct gate *g)
{
    if (gated) {
        pass(g);
    }
}

struct beside {
    struct gate gate;        /* of writes */
    struct gate before_sync; /* of the sync thread's syncs */
    struct bk_io io;
    struct tmpdir dir;
    struct bk_db *db;
    atomic_uint wakes;
    atomic_bool back; /* the second flush has returned */
};

static int64_t gated_pwritev(void *arg, int fd, const struct iovec *iov, int n, uint64_t offset)
{
    struct beside *s = arg;
    pass_if_gated(&s->gate);
    return bk_io_system.pwritev(bk_io_system.arg, fd, iov, n, offset);
}

static void note_wake(void *arg)
{
    atomic_fetch_add((atomic_uint *)arg, 1);
}

static void beside_open(struct beside *s, const struct bk_io *io, enum bk_sync sync)
{
    struct bk_options opt;
    struct bk_error err;
    *s = (struct beside){.io = *io};
    s->io.arg = s; /* the system's functions need none */
    tmpdir_make(&s->dir, "flush");
    bk_options_init(&opt);
    opt.dir = s->dir.path;
    opt.io = &s->io;
    opt.sync = sync;
    opt.wake = note_wake;
    opt.wake_arg = &s->wakes;
    BK_SUCCEEDS(bk_open(&s->db, &opt, &err), err);
}

static void beside_close(struct beside *s)
{
    struct bk_error err;
    BK_SUCCEEDS(bk_close(&s->db, &err), err);
    tmpdir_remove(&s->dir);
}

static void *first_main(void *arg)
{
    struct beside *s = arg;
    gated = true;
    put(s->db, "a");
    return NULL;
}

static void *second_main(void *arg)
{
    struct beside *s = arg;
    put(s->db, "b");
    atomic_store(&s->back, true);
    return NULL;
}

/* A loop that finds another one writing goes on with its clients; that one writes for both, and
 * tells when each is committed. */
static void test_flush__another_thread_writes__is_left_to_it(void **state)
{
    (void)state;
    struct beside s;
    struct bk_io io = bk_io_system;
    pthread_t thread[2];
    io.pwritev = gated_pwritev;
    beside_open(&s, &io, BK_SYNC_NO);
    atomic_store(&s.gate.shut, true);
    assert_int_equal(pthread_create(&thread[0], NULL, first_main, &s), 0);
    wait_until(&s.gate.reached);
    uint64_t first = bk_tail(s.db);
    assert_int_equal(pthread_create(&thread[1], NULL, second_main, &s), 0);
    wait_until(&s.back); /* else the gate stays shut for ever */
    uint64_t both = bk_tail(s.db);
    unsigned wakes = atomic_load(&s.wakes);
    assert_true(both > first);
    assert_int_equal(bk_pos_state(s.db, first), BK_EAGAIN);
    atomic_store(&s.gate.shut, false);
    while (bk_pos_state(s.db, both) == BK_EAGAIN) { /* nobody flushes again */
        sched_yield();
    }
    assert_int_equal(pthread_join(thread[0], NULL), 0);
    assert_int_equal(pthread_join(thread[1], NULL), 0);
    assert_true(atomic_load(&s.wakes) >= wakes + 2); /* each write */
    beside_close(&s);
}

/* The sync thread writes before it syncs: who left a write to it hears of that before the sync. */
static int gated_thread_sync(void *arg, int fd)
{
    struct beside *s = arg;
    pass_if_gated(&s->before_sync);
    gated = true; /* so its next write waits too */
    return bk_io_system.sync(bk_io_system.arg, fd);
}

static void test_flush__left_to_the_sync_thread__told_before_the_sync(void **state)
{
    (void)state;
    struct beside s;
    struct bk_stats stats = {0};
    struct bk_io io = bk_io_system;
    io.pwritev = gated_pwritev;
    io.sync = gated_thread_sync;
    beside_open(&s, &io, BK_SYNC_EVERYSEC);
    put(s.db, "before");
    while (stats.syncs < 1) { /* the sync thread has gone through our call */
        sched_yield();
        bk_stats_get(s.db, &stats);
    }
    atomic_store(&s.before_sync.shut, true);
    put(s.db, "dirty");
    wait_until(&s.before_sync.reached); /* a second later */
    put(s.db, "dirty again");
    uint64_t pos = append(s.db, "left");
    atomic_store(&s.gate.shut, true);
    atomic_store(&s.before_sync.shut, false);
    wait_until(&s.gate.reached); /* the sync thread has begun to write that, for its next sync */
    atomic_store(&s.before_sync.shut, true);
    bk_flush(s.db, pos);
    unsigned wakes = atomic_load(&s.wakes);
    assert_int_equal(bk_pos_state(s.db, pos), BK_EAGAIN);
    atomic_store(&s.gate.shut, false);
    while (bk_pos_state(s.db, pos) == BK_EAGAIN || atomic_load(&s.wakes) == wakes) {
        sched_yield();
    }
    atomic_store(&s.before_sync.shut, false);
    beside_close(&s);
}

/* ---- Many threads ---- */

#define THREADS 6u
#define PUTS 400u

/* Lets others run where they are most in the way. */
static int64_t yielding_pwritev(void *arg, int fd, const struct iovec *iov, int n, uint64_t offset)
{
    (void)arg;
    sched_yield();
    int64_t wrote = bk_io_system.pwritev(bk_io_system.arg, fd, iov, n, offset);
    sched_yield();
    return wrote;
}

static void *putter_main(void *arg)
{
    struct beside *s = arg;
    for (unsigned i = 0; i < PUTS; i++) {
        uint64_t pos = append(s->db, i % 2 == 0 ? "x" : "y");
        bk_flush(s->db, pos);
        while (bk_pos_state(s->db, pos) == BK_EAGAIN) { /* once asked for, it comes by itself */
            sched_yield();
        }
    }
    return NULL;
}

static void test_flush__many_threads__no_wish_is_forgotten(void **state)
{
    (void)state;
    struct beside s;
    struct bk_io io = bk_io_system;
    pthread_t thread[THREADS];
    io.pwritev = yielding_pwritev;
    beside_open(&s, &io, BK_SYNC_NO);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&thread[i], NULL, putter_main, &s), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    }
    beside_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_took__always__write_and_sync_are_told_each),
        cmocka_unit_test(test_took__everysec__writes_are_told_and_syncs_are_not),
        cmocka_unit_test(test_took__write_beside_a_sync__is_told_as_such),
        cmocka_unit_test(test_flush__another_thread_writes__is_left_to_it),
        cmocka_unit_test(test_flush__left_to_the_sync_thread__told_before_the_sync),
        cmocka_unit_test(test_flush__many_threads__no_wish_is_forgotten),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
