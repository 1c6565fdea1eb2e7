/* SPDX-License-Identifier: MIT */
/* With appendfsync always a sync waits a moment for as many writes as the last one took. */
#include "engine/engine_test.h"

#include "engine/db_private.h"

static struct simclock *the_clock;
static int64_t sync_us;
static int (*fast_sync)(void *arg, int fd);

static int slow_sync(void *arg, int fd)
{
    atomic_fetch_add(&the_clock->mono_us, sync_us);
    return fast_sync(arg, fd);
}

/* A store whose syncs take us. */
static void setup_rig(struct rig *r, struct bk_io *io, enum bk_sync mode, int64_t us)
{
    rig_init(r, 3, mode);
    *io = *r->opt.io;
    fast_sync = io->sync;
    io->sync = slow_sync;
    the_clock = &r->clock;
    sync_us = us;
    r->opt.io = io;
    RIG_TRUE(r, rig_open(r) == BK_OK);
}

static int64_t gather_us(struct rig *r)
{
    struct bki_log *log = &r->db->log;
    bk_mutex_lock(&log->mu);
    int64_t us = bki_log_gather_us_locked(log);
    bk_mutex_unlock(&log->mu);
    return us;
}

static void put(struct rig *r, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%u", i);
        assert_int_equal(rig_put(r, key, "v"), BK_OK);
    }
}

static void sync_of(struct rig *r, unsigned n)
{
    put(r, n);
    RIG_TRUE(r, rig_settle(r));
}

static void test_log_gather__fewer_writes_than_the_last_sync_took__waits_for_them(void **state)
{
    struct rig r;
    struct bk_io io;
    (void)state;
    setup_rig(&r, &io, BK_SYNC_ALWAYS, 160);
    sync_of(&r, 5);
    assert_int_equal(gather_us(&r), 0); /* nothing waits */
    put(&r, 1);
    assert_in_range(gather_us(&r), 1, 160);
    put(&r, 3);
    assert_in_range(gather_us(&r), 1, 160);
    put(&r, 1);
    assert_int_equal(gather_us(&r), 0);
    RIG_TRUE(&r, rig_settle(&r));
    /* They do not come: the next one waits for as many as did. */
    sync_of(&r, 2);
    put(&r, 1);
    assert_in_range(gather_us(&r), 1, 160);
    put(&r, 1);
    assert_int_equal(gather_us(&r), 0);
    rig_fini(&r);
}

static void test_log_gather__one_write_at_a_time__waits_for_nothing(void **state)
{
    struct rig r;
    struct bk_io io;
    (void)state;
    setup_rig(&r, &io, BK_SYNC_ALWAYS, 160);
    for (unsigned i = 0; i < 20; i++) {
        put(&r, 1);
        if (i > 0) {
            assert_int_equal(gather_us(&r), 0);
        }
        RIG_TRUE(&r, rig_settle(&r));
    }
    rig_fini(&r);
}

static void test_log_gather__a_slow_disk__waits_half_a_millisecond(void **state)
{
    struct rig r;
    struct bk_io io;
    (void)state;
    setup_rig(&r, &io, BK_SYNC_ALWAYS, 100000);
    sync_of(&r, 2);
    put(&r, 1);
    assert_int_equal(gather_us(&r), 500);
    rig_fini(&r);
}

static void test_log_gather__no_sync_is_waited_for__nor_does_it_wait(void **state)
{
    struct rig r;
    struct bk_io io;
    (void)state;
    setup_rig(&r, &io, BK_SYNC_EVERYSEC, 160);
    put(&r, 5);
    RIG_TRUE(&r, rig_sync(&r));
    put(&r, 1);
    assert_int_equal(gather_us(&r), 0);
    rig_fini(&r);
}

int main(void)
{
    quiet_log();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_gather__fewer_writes_than_the_last_sync_took__waits_for_them),
        cmocka_unit_test(test_log_gather__one_write_at_a_time__waits_for_nothing),
        cmocka_unit_test(test_log_gather__a_slow_disk__waits_half_a_millisecond),
        cmocka_unit_test(test_log_gather__no_sync_is_waited_for__nor_does_it_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
