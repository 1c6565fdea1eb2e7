/* SPDX-License-Identifier: MIT */
/*
 * What a flush took out of a database names places in files until it is counted as dead, also on
 * its way from the undo ring to the sync thread: a merge waits for it.
 */
#include "engine/merge_rig.h"

#include "engine/db_private.h"

#include <pthread.h>
#include <sched.h>

/* The thread of the merge alone. */
static void background(struct rig *r)
{
    int64_t due;
    simclock_advance_ms(&r->clock, 5);
    bki_background_step(r->db, &due);
}

/* A merge stands in the state, then the database is flushed, and that is committed. */
static void flush_in(struct rig *r, enum bk_merge_state state)
{
    put_n(r, "a", 100, "1");
    put_n(r, "a", 70, "2");
    RIG_TRUE(r, rig_settle(r));
    assert_true(merge_until(r, state));
    rig_begin(r);
    rig_batch_flush(r, 0);
    assert_int_equal(rig_commit(r), BK_OK);
}

static bool ring_is_empty(struct bk_db *db)
{
    bk_mutex_lock(&db->undo.mu);
    bool empty = db->undo.n == 0;
    bk_mutex_unlock(&db->undo.mu);
    return empty;
}

static void *trim_main(void *arg)
{
    bki_undo_trim(arg);
    return NULL;
}

/* Another thread has taken what was flushed out of the ring, and gets no further while we hold
 * control. */
static void stop_on_the_way(struct rig *r, pthread_t *thread) BK_ACQUIRE(r->db->control)
{
    bk_flush(r->db, bk_tail(r->db));
    assert_false(ring_is_empty(r->db));
    bk_mutex_lock(&r->db->control);
    assert_int_equal(pthread_create(thread, NULL, trim_main, r->db), 0);
    while (!ring_is_empty(r->db)) {
        sched_yield();
    }
}

static void go_on(struct rig *r, pthread_t thread) BK_RELEASE(r->db->control)
{
    bk_mutex_unlock(&r->db->control);
    assert_int_equal(pthread_join(thread, NULL), 0);
    uint64_t runs = merges(r);
    merge_all(r);
    assert_true(merges(r) > runs);
    RIG_TRUE(r, rig_same(r));
    RIG_TRUE(r, rig_check(r));
}

static void test_merge_flushed__on_the_way_to_be_freed__the_inputs_stay(void **state)
{
    (void)state;
    struct rig r;
    struct bk_error err = {0};
    pthread_t thread;
    setup_rig(&r, 90, BK_SYNC_EVERYSEC);
    flush_in(&r, BK_MERGE_SWING);
    while (r.db->merge.state != BK_MERGE_RETIRE) {
        background(&r);
    }
    stop_on_the_way(&r, &thread);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(bki_merge_retire(r.db, &err), BK_EAGAIN);
    }
    go_on(&r, thread);
    rig_fini(&r);
}

/* It counts as live still, and was dead already when the merge looked: nothing is amiss. */
static void test_merge_flushed__not_counted_as_dead_yet__the_balance_waits(void **state)
{
    (void)state;
    struct rig r;
    struct bk_error err = {0};
    pthread_t thread;
    setup_rig(&r, 91, BK_SYNC_EVERYSEC);
    flush_in(&r, BK_MERGE_COPY);
    while (r.db->merge.state != BK_MERGE_LOG) {
        background(&r);
    }
    while (atomic_load(&r.db->log.synced_pos) < r.db->merge.judged_pos) {
        simclock_advance_ms(&r.clock, 1000);
        bk_flush(r.db, bk_tail(r.db));
        bki_log_step(&r.db->log, false);
    }
    stop_on_the_way(&r, &thread);
    for (unsigned i = 0; i < 10; i++) {
        simclock_advance_ms(&r.clock, 1000);
        assert_int_equal(bki_merge_log(r.db, &err), BK_EAGAIN);
    }
    go_on(&r, thread);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge_flushed__on_the_way_to_be_freed__the_inputs_stay),
        cmocka_unit_test(test_merge_flushed__not_counted_as_dead_yet__the_balance_waits),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
