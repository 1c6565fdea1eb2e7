/* SPDX-License-Identifier: MIT */
/*
 * test_rare_room.c - disks with next to no room, large writes that never come back, and stores that
 * have nothing to do and must do nothing.
 */
#include "rare.h"

#include "base/mutex.h"

/* ---- Next to no room ---- */

/* The store refuses in the end; until then time passes. */
static int put_until_refused(struct rare *s, const char *key, struct bk_span value)
{
    int rc = rare_put(s, 0, key, value);
    rare_steps(s);
    return rc;
}

static void small_writes_go_on(struct rare *s)
{
    char key[16];
    for (int i = 0; i < 20; i++) {
        snprintf(key, sizeof(key), "small%d", i);
        assert_int_equal(rare_put(s, 0, key, bk_span_str("1")), BK_OK);
        rare_settle(s);
    }
}

static void test_rare_room__refused_large_write__takes_no_room(void **state)
{
    (void)state;
    struct rare *s = rare_new(89, BK_SYNC_EVERYSEC);
    struct bk_span large = rare_filled(3 << 20);
    s->r.opt.max_file_bytes = 1 << 20;
    RIG_TRUE(&s->r, rig_open(&s->r) == BK_OK);
    rare_steps(s);
    uint64_t used = simdisk_used(s->r.disk);
    s->keeps_part = true;
    simdisk_capacity(s->r.disk, used + (1 << 20));
    for (int i = 0; i < 5; i++) {
        assert_int_equal(put_until_refused(s, "large", large), BK_ENOSPC);
        assert_int_equal(simdisk_used(s->r.disk), used);
        small_writes_go_on(s);
        simclock_advance_ms(&s->r.clock, 1000);
        rare_steps(s);
        used = simdisk_used(s->r.disk);
    }
    rare_expect(s, 0, "large", NULL);
    RIG_TRUE(&s->r, rig_check(&s->r));
    simdisk_capacity(s->r.disk, UINT64_MAX);
    simclock_advance_ms(&s->r.clock, 1000);
    rare_steps(s);
    assert_int_equal(rare_put(s, 0, "large", large), BK_OK);
    rare_span_free(&large);
    rare_free(s);
}

/* Files are made 16 MiB at a time where there is room; a disk with less is used all the same. */
static void fill_small_disk(uint64_t capacity, uint64_t least)
{
    struct rare *s = rare_new(90, BK_SYNC_EVERYSEC);
    struct bk_span value = rare_filled(1000);
    char key[16];
    uint64_t accepted = 0;
    s->r.opt.max_file_bytes = 256 << 20;
    s->keeps_part = true;
    simdisk_capacity(s->r.disk, capacity);
    RIG_TRUE(&s->r, rig_open(&s->r) == BK_OK);
    int rc = BK_OK;
    for (int i = 0; i < 20; i++) {
        simclock_advance_ms(&s->r.clock, 100);
        rare_steps(s);
    }
    for (unsigned i = 0; rc == BK_OK && i < 5000; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        rc = rare_put(s, 0, key, value);
        accepted += rc == BK_OK ? value.len : 0;
        rare_settle(s);
    }
    assert_int_equal(rc, BK_ENOSPC);
    assert_true(simdisk_used(s->r.disk) <= capacity);
    if (accepted < least) {
        print_error("%llu bytes were accepted\n", (unsigned long long)accepted);
        fail();
    }
    RIG_TRUE(&s->r, rig_check(&s->r));
    rare_span_free(&value);
    rare_free(s);
}

static void test_rare_room__disk_smaller_than_a_file__is_used(void **state)
{
    (void)state;
    fill_small_disk(1 << 20, 500000);
    fill_small_disk(300000, 60000);
}

/* ---- Large writes that do not come back ---- */

static struct rare *large_was_refused(enum bk_sync sync, uint64_t *pos)
{
    struct rare *s = rare_opened(91, sync);
    struct bk_span large = rare_filled(7 << 20);
    struct bk_span middle = rare_filled(2 << 20);
    uint64_t none = 0;
    /* Room for all of it first, so that the buffer alone is what is short. */
    struct bk_tunables t;
    bk_tunables_get(s->r.db, &t);
    t.max_file_bytes = 64 << 20;
    bk_tune(s->r.db, &t);
    rare_steps(s);
    assert_int_equal(rare_put_once(s, 0, "middle", middle, pos), BK_OK);
    assert_int_equal(rare_put_once(s, 0, "large", large, &none), BK_EAGAIN);
    rare_span_free(&large);
    rare_span_free(&middle);
    return s;
}

static void test_rare_room__large_write_never_comes_back__empty_buffer_takes_small(void **state)
{
    (void)state;
    for (int sync = BK_SYNC_ALWAYS; sync <= BK_SYNC_NO; sync++) {
        uint64_t pos = 0;
        struct rare *s = large_was_refused((enum bk_sync)sync, &pos);
        bk_flush(s->r.db, pos);
        if (sync == BK_SYNC_ALWAYS) {
            rare_steps(s);
        }
        assert_int_equal(bk_pos_state(s->r.db, pos), BK_OK);
        assert_int_equal(rare_put_once(s, 0, "small", bk_span_str("1"), &pos), BK_OK);
        rare_free(s);
    }
}

/* While the buffer is not empty small writes are held back for it, for a moment: then they are
 * woken. */
static void test_rare_room__large_write_never_comes_back__small_ones_are_woken(void **state)
{
    (void)state;
    uint64_t pos = 0;
    struct rare *s = large_was_refused(BK_SYNC_NO, &pos);
    assert_int_equal(rare_put_once(s, 0, "small", bk_span_str("1"), &pos), BK_EAGAIN);
    rare_steps(s);
    unsigned wakes = s->wakes;
    simclock_advance_ms(&s->r.clock, 60);
    rare_steps(s);
    assert_true(s->wakes > wakes);
    assert_int_equal(rare_put_once(s, 0, "small", bk_span_str("1"), &pos), BK_OK);
    rare_free(s);
}

/* A write waits for the active file to grow; then files are to be smaller than it wants. It goes
 * into the next one: nothing is full. */
static void test_rare_room__files_become_smaller_while_a_write_waits__no_write_is_refused(
    void **state)
{
    (void)state;
    struct rare *s = rare_new(93, BK_SYNC_EVERYSEC);
    struct bk_span value = rare_filled(6000);
    struct bk_tunables small;
    uint64_t pos = 0;
    s->r.opt.max_file_bytes = 16384; /* for two of them */
    RIG_TRUE(&s->r, rig_open(&s->r) == BK_OK);
    rare_steps(s);
    bk_tunables_get(s->r.db, &small);
    struct bk_tunables large = small;
    large.max_file_bytes = 65536;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rare_put_once(s, 0, "first", value, &pos), BK_OK);
    }
    bk_tune(s->r.db, &large); /* in the second file, and there is no next one yet */
    assert_int_equal(rare_put_once(s, 0, "second", value, &pos), BK_OK);
    assert_int_equal(rare_put_once(s, 0, "third", value, &pos), BK_EAGAIN);
    bk_tune(s->r.db, &small);
    rare_steps(s);
    for (int i = 0; i < 8; i++) {
        int rc = rare_put_once(s, 0, "third", value, &pos);
        if (rc == BK_EAGAIN) {
            rare_steps(s);
            rc = rare_put_once(s, 0, "third", value, &pos);
        }
        assert_int_equal(rc, BK_OK);
    }
    rare_span_free(&value);
    rare_free(s);
}

/* ---- Stores that have nothing to do ---- */

/* A write fails for good; no other file can be made, or nothing can be written at all. */
static void fail_for_good(struct rare *s, int error, bool manifest_too)
{
    uint64_t pos = 0;
    s->create_error = error;
    s->all_writes_fail = manifest_too;
    /* The next file is there already and serves once. */
    for (int i = 0; i < 10 && bk_write_state(s->r.db, NULL) == BK_OK; i++) {
        assert_int_equal(rare_put_once(s, 0, "b", bk_span_str("never"), &pos), BK_OK);
        s->write_failures = 1;
        bk_flush(s->r.db, pos);
        for (int j = 0; j < 5; j++) {
            rare_steps(s);
        }
        assert_int_equal(bk_pos_state(s->r.db, pos), BK_EIO);
    }
    assert_int_not_equal(bk_write_state(s->r.db, NULL), BK_OK);
}

static void test_rare_room__no_file_can_be_made__steps_and_wakes_are_few(void **state)
{
    (void)state;
    for (int i = 0; i < 9; i++) {
        struct rare *s = rare_opened(92, (enum bk_sync)(i % 3));
        assert_int_equal(rare_put(s, 0, "a", bk_span_str("1")), BK_OK);
        rare_settle(s);
        fail_for_good(s, i < 3 ? ENOSPC : EIO, i >= 6);
        unsigned wakes = s->wakes;
        unsigned creates = s->creates;
        uint64_t calls = simdisk_calls(s->r.disk, SIMDISK_ANY);
        unsigned steps = 0;
        for (int ms = 0; ms < 10000; ms += 10) {
            simclock_advance_ms(&s->r.clock, 10);
            steps += rare_steps(s);
        }
        /* A try every 200 ms, with a few files of each size down to the least. */
        assert_in_range(s->creates - creates, i < 6 ? 20 : 0, 500);
        assert_in_range(steps, 0, 100);
        assert_in_range(s->wakes - wakes, 0, 200);
        assert_in_range(simdisk_calls(s->r.disk, SIMDISK_ANY) - calls, 0, 500);
        s->create_error = 0;
        s->all_writes_fail = false;
        s->write_failures = 0;
        for (int j = 0; j < 3; j++) {
            simclock_advance_ms(&s->r.clock, 300);
            rare_steps(s);
        }
        assert_int_equal(rare_put(s, 0, "a", bk_span_str("2")), BK_OK);
        rare_free(s);
    }
}

/* The same with the thread that does the steps: between two tries it looks at the clock a few
 * times, and waits. */
struct watch {
    struct bk_clock clock;
    _Atomic int64_t skew_us;
    _Atomic int64_t jump_us; /* the clock goes on by that much at each look */
    atomic_uint looks;       /* at the clock */
    struct bk_mutex mu;
    struct bk_cond woken;
    unsigned wakes; /* under mu */
};

static int64_t watched_mono(void *arg)
{
    struct watch *w = arg;
    atomic_fetch_add(&w->looks, 1);
    atomic_fetch_add(&w->skew_us, w->jump_us);
    return bk_clock_mono_us(&bk_clock_system) + w->skew_us;
}

static int64_t watched_wall(void *arg)
{
    (void)arg;
    return bk_clock_wall_ms(&bk_clock_system);
}

static void watch_wake(struct rare *s)
{
    struct watch *w = s->arg;
    bk_mutex_lock(&w->mu);
    w->wakes++;
    bk_cond_broadcast(&w->woken);
    bk_mutex_unlock(&w->mu);
}

static void await_wakes(struct watch *w, unsigned more)
{
    bk_mutex_lock(&w->mu);
    unsigned until = w->wakes + more;
    while (w->wakes < until) {
        bk_cond_wait(&w->woken, &w->mu, -1);
    }
    bk_mutex_unlock(&w->mu);
}

/* Until the second file has failed too, and a third could not be made. */
static void fail_thread(struct rare *s, bool manifest_too)
{
    unsigned made = s->creates;
    int rc = BK_OK;
    s->create_error = EIO;
    s->all_writes_fail = manifest_too;
    while (rc == BK_OK || bk_write_state(s->r.db, NULL) == BK_OK ||
           (!manifest_too && s->creates == made)) {
        s->write_failures = manifest_too ? 0 : 1;
        rc = bk_put(s->r.db, 0, bk_span_str("b"), bk_span_str("never"), 0);
    }
    s->write_failures = 0;
}

static void watch_thread(enum bk_sync sync, bool manifest_too)
{
    enum { WAKES = 4 };
    struct watch w = {.clock = {watched_wall, watched_mono, &w}};
    struct rare *s = rare_new(93, sync);
    bk_mutex_init(&w.mu, "watch", BK_RANK_STATS + 1);
    bk_cond_init(&w.woken);
    s->r.opt.stepped = false;
    s->r.opt.clock = &w.clock;
    s->in_wake = watch_wake;
    s->arg = &w;
    RIG_TRUE(&s->r, rig_open(&s->r) == BK_OK);
    assert_int_equal(bk_put(s->r.db, 0, bk_span_str("a"), bk_span_str("1"), 0), BK_OK);
    fail_thread(s, manifest_too);
    w.jump_us = 300000; /* what is due in a while is overdue at the next look */
    await_wakes(&w, 2);
    w.jump_us = 0;
    await_wakes(&w, 2);
    unsigned looks = w.looks;
    int64_t since = bk_clock_mono_us(&bk_clock_system);
    await_wakes(&w, WAKES); /* 200 ms apart; half of that is far from a busy loop */
    assert_true(bk_clock_mono_us(&bk_clock_system) - since > (WAKES - 1) * 100000);
    assert_in_range(w.looks - looks, 1, 100 * WAKES);
    rig_crash(&s->r, SIMDISK_KILL);
    rare_free(s);
    bk_cond_fini(&w.woken);
    bk_mutex_fini(&w.mu);
}

static void test_rare_room__no_file_can_be_made__the_thread_waits(void **state)
{
    (void)state;
    watch_thread(BK_SYNC_ALWAYS, false);
    watch_thread(BK_SYNC_EVERYSEC, false);
    watch_thread(BK_SYNC_EVERYSEC, true);
}

/* A file that grows old is rotated once; its successor is empty and may grow as old as it likes. */
static void test_rare_room__idle_store_with_a_file_age__makes_no_files(void **state)
{
    (void)state;
    for (int i = 0; i < 6; i++) {
        struct rare *s = rare_new(94, (enum bk_sync)(i % 3));
        struct bk_stats st;
        s->r.opt.max_file_age_s = 1;
        RIG_TRUE(&s->r, rig_open(&s->r) == BK_OK);
        rare_steps(s);
        if (i >= 3) {
            rare_flush_db(s, 3); /* from here on a file begins with a map */
        }
        assert_int_equal(rare_put(s, 0, "a", bk_span_str("1")), BK_OK);
        rare_settle(s);
        unsigned creates = s->creates;
        for (int ms = 0; ms < 60000; ms += 100) {
            simclock_advance_ms(&s->r.clock, 100);
            bk_flush(s->r.db, bk_tail(s->r.db));
            rare_steps(s);
        }
        bk_stats_get(s->r.db, &st);
        assert_int_equal(st.rotations, 1);
        assert_int_equal(s->creates - creates, 1);
        assert_int_equal(st.files, 3);
        /* It is used, and grows old again. */
        assert_int_equal(rare_put(s, 0, "b", bk_span_str("1")), BK_OK);
        simclock_advance_ms(&s->r.clock, 1100);
        rare_settle(s);
        bk_stats_get(s->r.db, &st);
        assert_int_equal(st.rotations, 2);
        rare_reopen(s);
        rare_expect(s, 0, "a", "1");
        rare_expect(s, 0, "b", "1");
        RIG_TRUE(&s->r, rig_check(&s->r));
        rare_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rare_room__refused_large_write__takes_no_room),
        cmocka_unit_test(test_rare_room__disk_smaller_than_a_file__is_used),
        cmocka_unit_test(test_rare_room__large_write_never_comes_back__empty_buffer_takes_small),
        cmocka_unit_test(test_rare_room__large_write_never_comes_back__small_ones_are_woken),
        cmocka_unit_test(
            test_rare_room__files_become_smaller_while_a_write_waits__no_write_is_refused),
        cmocka_unit_test(test_rare_room__no_file_can_be_made__steps_and_wakes_are_few),
        cmocka_unit_test(test_rare_room__no_file_can_be_made__the_thread_waits),
        cmocka_unit_test(test_rare_room__idle_store_with_a_file_age__makes_no_files),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
