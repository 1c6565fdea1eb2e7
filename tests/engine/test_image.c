/* SPDX-License-Identifier: MIT */
/*
 * test_image.c - the index image that a clean close leaves: used by the next start and by that one
 * alone, never believed when it is not exactly this store's, worth nothing to correctness when it
 * is lost, cut, changed or old.
 */
#include "engine_test.h"
#include "lib/tmpdir.h"

#include <unistd.h>

#define IMAGE RIG_DIR "/KEYDIR"
#define LONG_KEY 300u

static void write_key(struct rig *r, uint32_t num, struct bk_span key, struct bk_span value,
                      int64_t expire_ms)
{
    rig_begin(r);
    rig_batch_put(r, num, key, value, 0, expire_ms);
    assert_int_equal(rig_commit(r), BK_OK);
    RIG_TRUE(r, rig_settle(r));
}

/* Several files, databases that were flushed and swapped, deletes, expiries, odd lengths. */
static void fill(struct rig *r, unsigned keys)
{
    int64_t now = bk_clock_wall_ms(&r->clock.clock);
    uint8_t long_key[LONG_KEY];
    char key[32];
    char value[400];
    memset(value, 'v', sizeof(value));
    pattern_fill(long_key, sizeof(long_key), 1);
    for (unsigned i = 0; i < keys; i++) {
        snprintf(key, sizeof(key), "key %u", i);
        write_key(r, i % RIG_DATABASES, bk_span_str(key), bk_span_of(value, i % sizeof(value)),
                  i % 7 == 0 ? now + 100000 + i : 0);
        if (i % 5 == 0) {
            assert_int_equal(rig_delete(r, key), BK_OK);
        }
    }
    write_key(r, 1, bk_span_of(long_key, sizeof(long_key)), bk_span_str("long key"), 0);
    write_key(r, 1, bk_span_of("", 0), bk_span_str("empty key"), now + 500000);
    rig_begin(r);
    rig_batch_flush(r, 3);
    rig_batch_swap(r, 0, 2);
    assert_int_equal(rig_commit(r), BK_OK);
    write_key(r, 3, bk_span_str("after the flush"), bk_span_str(""), 0);
    RIG_TRUE(r, rig_sync(r));
}

static int setup(void **state)
{
    struct rig *r = set_rig_up(state, 7, BK_SYNC_EVERYSEC);
    RIG_TRUE(r, rig_open(r) == BK_OK);
    return 0;
}

/* Opens, and tells from the bytes that were read whether the image was used. */
static bool opens_by_image(struct rig *r)
{
    struct bk_progress p = {0};
    uint64_t size = simdisk_size(r->disk, IMAGE);
    r->opt.progress = &p;
    RIG_TRUE(r, rig_open(r) == BK_OK);
    r->opt.progress = NULL;
    assert_int_equal(p.bytes_done, p.bytes_total);
    assert_false(simdisk_exists(r->disk, IMAGE));
    return size > 0 && p.bytes_total == size;
}

static void expect_whole(struct rig *r)
{
    RIG_TRUE(r, rig_same(r));
    RIG_TRUE(r, rig_check(r));
}

/* The rig goes on with a copy of the disk; back with the one it had. */
static struct simdisk *use_disk(struct rig *r, struct simdisk *d)
{
    struct simdisk *was = r->disk;
    r->disk = d;
    r->opt.io = simdisk_io(d);
    return was;
}

/* ---- Used ---- */

static void test_image__clean_stop__next_start_reads_no_data(void **state)
{
    struct rig *r = *state;
    fill(r, 500);
    for (int life = 0; life < 4; life++) {
        struct bk_stats before;
        struct bk_stats after;
        RIG_TRUE(r, rig_sync(r));
        bk_stats_get(r->db, &before);
        assert_true(before.files > 3);
        assert_int_equal(rig_close(r), BK_OK);
        assert_true(simdisk_is_durable(r->disk, IMAGE));
        assert_true(opens_by_image(r));
        bk_stats_get(r->db, &after);
        assert_int_equal(after.keys, before.keys);
        assert_int_equal(after.expiring, before.expiring);
        assert_int_equal(after.live_bytes, before.live_bytes);
        assert_int_equal(after.dead_bytes, before.dead_bytes);
        assert_int_equal(after.guard_bytes, before.guard_bytes);
        expect_whole(r);
        for (int i = 0; i < 100; i++) {
            RIG_TRUE(r, rig_random_op(r));
        }
    }
}

static void test_image__empty_store__has_one(void **state)
{
    struct rig *r = *state;
    assert_int_equal(rig_close(r), BK_OK);
    assert_true(opens_by_image(r));
    expect_whole(r);
}

/* The contents of a flush are dead in the image too, although nobody had counted them yet. */
static void test_image__flush_just_before_the_close__is_counted(void **state)
{
    struct rig *r = *state;
    fill(r, 200);
    rig_begin(r);
    rig_batch_flush(r, 1);
    assert_int_equal(rig_commit(r), BK_OK);
    assert_int_equal(rig_close(r), BK_OK);
    assert_true(opens_by_image(r));
    expect_whole(r);
}

/* More than one thread, more than one block a stripe, keys and values that need long entries. */
static void test_image__large_store__is_loaded_in_parallel(void **state)
{
    (void)state;
    enum { KEYS = 60000, BIG = 100 };
    struct tmpdir dir;
    struct bk_options o;
    struct bk_error err = {0};
    struct bk_db *db = NULL;
    struct bk_progress p = {0};
    static uint8_t big[20000];
    static uint8_t huge[(1 << 20) + 5000];
    uint8_t *key = bk_alloc(200 * BIG);
    struct bk_buf got = {0};
    char path[300];
    tmpdir_make(&dir, "image");
    bk_options_init(&o);
    o.dir = dir.path;
    o.sync = BK_SYNC_NO;
    BK_SUCCEEDS(bk_open(&db, &o, &err), err);
    for (unsigned i = 0; i < KEYS; i++) {
        assert_int_equal(bk_put(db, 0, bk_span_of(&i, sizeof(i)), bk_span_str("v"), 0), BK_OK);
    }
    for (unsigned i = 1; i <= BIG; i++) {
        pattern_fill(key, (size_t)200 * i, i);
        assert_int_equal(bk_put(db, 1, bk_span_of(key, (size_t)200 * i), bk_span_of(big, i), 0),
                         BK_OK);
    }
    assert_int_equal(bk_put(db, 1, bk_span_str("huge"), bk_span_of(huge, sizeof(huge)), 0), BK_OK);
    BK_SUCCEEDS(bk_close(&db, &err), err);
    tmpdir_join(&dir, "KEYDIR", path, sizeof(path));
    assert_int_equal(access(path, R_OK), 0);
    o.progress = &p;
    BK_SUCCEEDS(bk_open(&db, &o, &err), err);
    assert_int_equal(p.keys, KEYS + BIG + 1);
    assert_int_equal(bk_count(db, 0), KEYS);
    assert_int_not_equal(access(path, R_OK), 0);
    BK_SUCCEEDS(bk_check(db, &err), err);
    pattern_fill(key, (size_t)200 * BIG, BIG);
    assert_int_equal(bk_get(db, 1, bk_span_of(key, (size_t)200 * BIG), &got, NULL), BK_OK);
    assert_int_equal(got.len, BIG);
    assert_int_equal(bk_get(db, 1, bk_span_str("huge"), &got, NULL), BK_OK);
    assert_int_equal(got.len, sizeof(huge));
    BK_SUCCEEDS(bk_close(&db, &err), err);
    bk_buf_fini(&got);
    free(key);
    tmpdir_remove(&dir);
}

/* Nothing was changed by a start that was called off: the image serves the next one. */
static void test_image__start_called_off__is_still_there(void **state)
{
    struct rig *r = *state;
    struct bk_progress p = {0};
    fill(r, 100);
    assert_int_equal(rig_close(r), BK_OK);
    atomic_store(&p.cancel, true);
    r->opt.progress = &p;
    assert_int_equal(rig_open(r), BK_ECANCELED);
    r->opt.progress = NULL;
    assert_true(opens_by_image(r));
    expect_whole(r);
    rig_crash(r, SIMDISK_KILL);
    r->opt.progress = &p; /* there is none now: the records are read */
    assert_int_equal(rig_open(r), BK_ECANCELED);
    r->opt.progress = NULL;
    RIG_TRUE(r, rig_reopen(r));
}

/* ---- Not believed ---- */

/* Trap 37. Also when the old image comes back from somewhere, after a kill and after a clean stop.
 */
static void test_trap37__stop_clean_start_write_kill_start__has_what_was_written(void **state)
{
    struct rig *r = *state;
    struct bk_buf old = {0};
    fill(r, 100);
    assert_int_equal(rig_close(r), BK_OK);
    simdisk_read(r->disk, IMAGE, &old);
    assert_true(old.len > 0);
    for (int round = 0; round < 6; round++) {
        bool comes_back = round >= 2;
        char value[32];
        RIG_TRUE(r, rig_open(r) == BK_OK);
        RIG_TRUE(r, rig_same(r));
        snprintf(value, sizeof(value), "round %d", round);
        assert_int_equal(rig_put(r, "key 1", value), BK_OK);
        assert_int_equal(rig_put(r, "new key", value), BK_OK);
        assert_int_equal(rig_delete(r, "key 3"), BK_OK);
        RIG_TRUE(r, rig_sync(r));
        assert_false(simdisk_exists(r->disk, IMAGE));
        if (round < 4) {
            rig_crash(r, round % 2 == 0 ? SIMDISK_KILL : SIMDISK_POWER);
        } else {
            assert_int_equal(rig_close(r), BK_OK);
        }
        assert_int_equal(simdisk_exists(r->disk, IMAGE), round >= 4);
        if (comes_back) {
            simdisk_put(r->disk, IMAGE, old.data, old.len);
        }
        if (round < 4) {
            RIG_TRUE(r, rig_reopen(r));
        } else {
            assert_false(opens_by_image(r));
        }
        expect_whole(r);
        assert_int_equal(rig_close(r), BK_OK);
    }
    RIG_TRUE(r, rig_open(r) == BK_OK);
    bk_buf_fini(&old);
}

/* Trap 49: the image holds a key whose time runs out while the store is closed. It hides the older
 * value, and goes as any other. */
static void test_trap49__key_expires_while_only_the_image_knows_it__older_value_stays_hidden(
    void **state)
{
    struct rig *r = *state;
    struct bk_buf got = {0};
    int64_t now = bk_clock_wall_ms(&r->clock.clock);
    write_key(r, 0, bk_span_str("k"), bk_span_str("older, without expiry"), 0);
    assert_int_equal(rig_close(r), BK_OK);
    RIG_TRUE(r, rig_open(r) == BK_OK);
    write_key(r, 0, bk_span_str("k"), bk_span_str("newer"), now + 50);
    assert_int_equal(rig_close(r), BK_OK);
    simclock_advance_ms(&r->clock, 51);
    for (int life = 0; life < 4; life++) {
        assert_true(opens_by_image(r));
        assert_int_equal(bk_get(r->db, 0, bk_span_str("k"), &got, NULL), BK_NOTFOUND);
        if (life == 1) {
            simclock_advance_ms(&r->clock, 128);
            assert_int_equal(bk_expire_step(r->db, 1000, NULL), 1);
        }
        assert_int_equal(bk_count(r->db, 0), life == 0 ? 1 : 0);
        RIG_TRUE(r, rig_check(r));
        assert_int_equal(rig_close(r), BK_OK);
    }
    simdisk_remove(r->disk, IMAGE); /* and from the records the same */
    RIG_TRUE(r, rig_open(r) == BK_OK);
    assert_int_equal(bk_get(r->db, 0, bk_span_str("k"), &got, NULL), BK_NOTFOUND);
    bk_buf_fini(&got);
}

/* Opens a copy of the closed store whose image was put there by the caller; it must be all there.
 */
static void expect_copy_whole(struct rig *r, struct simdisk *copy)
{
    struct simdisk *kept = use_disk(r, copy);
    assert_false(opens_by_image(r));
    expect_whole(r);
    assert_int_equal(rig_close(r), BK_OK);
    use_disk(r, kept);
}

static void test_image__any_byte_changed__is_not_used_and_no_key_is_lost(void **state)
{
    struct rig *r = *state;
    struct bk_buf good = {0};
    fill(r, 40);
    assert_int_equal(rig_close(r), BK_OK);
    simdisk_read(r->disk, IMAGE, &good);
    /* The tables of stripes are long and all alike: one byte in 17 of them, so that each place in
     * a row has its turn. */
    uint64_t step = long_factor() > 1 ? 1 : 17;
    for (uint64_t at = 0; at < good.len; at += at < 400 || good.len - at < 600 ? 1 : step) {
        struct simdisk *copy = simdisk_clone(r->disk, at + 1);
        uint8_t byte = good.data[at] ^ (uint8_t)(1u << at % 8);
        simdisk_patch(copy, IMAGE, at, &byte, 1);
        expect_copy_whole(r, copy);
        simdisk_free(&copy);
    }
    bk_buf_fini(&good);
    RIG_TRUE(r, rig_open(r) == BK_OK);
}

static void test_image__cut_or_longer_or_empty__is_not_used(void **state)
{
    struct rig *r = *state;
    struct bk_buf good = {0};
    fill(r, 40);
    assert_int_equal(rig_close(r), BK_OK);
    simdisk_read(r->disk, IMAGE, &good);
    bk_buf_append(&good, "\0\0\0\0\0\0\0", 8);
    for (uint64_t len = 0; len <= good.len; len += len < 200 || len + 200 > good.len ? 1 : 61) {
        if (len != good.len - 8) {
            struct simdisk *copy = simdisk_clone(r->disk, len + 1);
            simdisk_put(copy, IMAGE, good.data, len);
            expect_copy_whole(r, copy);
            simdisk_free(&copy);
        }
    }
    bk_buf_fini(&good);
    RIG_TRUE(r, rig_open(r) == BK_OK);
}

static void any_file(void *arg, const char *name)
{
    rig_path(name, arg, 300);
}

/* A data file that is not what it was: the records are read, and the damage is told. */
static void test_image__data_file_cut_or_gone__is_not_used(void **state)
{
    struct rig *r = *state;
    char path[300];
    fill(r, 200);
    assert_int_equal(rig_close(r), BK_OK);
    rig_data_files(r, any_file, path);
    r->opt.on_corruption = BK_CORRUPT_SERVE;
    for (int gone = 0; gone < 2; gone++) {
        struct simdisk *copy = simdisk_clone(r->disk, 3);
        struct simdisk *kept = use_disk(r, copy);
        struct bk_stats s;
        if (gone) {
            simdisk_remove(copy, path);
        } else {
            simdisk_resize(copy, path, simdisk_size(copy, path) - 8);
        }
        assert_false(opens_by_image(r));
        bk_stats_get(r->db, &s);
        assert_true(s.damaged_records > 0);
        /* Damage is told by each start, so this close leaves none. */
        bk_batch_free(&r->batch);
        assert_int_equal(bk_close(&r->db, NULL), BK_OK);
        assert_false(simdisk_exists(copy, IMAGE));
        use_disk(r, kept);
        simdisk_free(&copy);
    }
    RIG_TRUE(r, rig_open(r) == BK_OK);
}

/* ---- Faults; crashes: test_slow_cuts.c ---- */

/* A store with an image of one life, and a second life behind it. */
static void two_lives(struct rig *r, uint64_t seed)
{
    rig_init(r, seed, BK_SYNC_EVERYSEC);
    RIG_TRUE(r, rig_open(r) == BK_OK);
    fill(r, 12);
    RIG_TRUE(r, rig_close(r) == BK_OK);
    RIG_TRUE(r, rig_open(r) == BK_OK);
    for (int i = 0; i < 20; i++) {
        RIG_TRUE(r, rig_random_op(r));
    }
    RIG_TRUE(r, rig_sync(r));
}

/* One call fails: the close says so or has left a store that is whole; so has the open. */
static void test_image__any_call_fails__loses_nothing(void **state)
{
    (void)state;
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        struct rig r;
        two_lives(&r, 13);
        simdisk_fail(r.disk, SIMDISK_ANY & ~SIMDISK_CLOSE & ~SIMDISK_UNLOCK, n, 1, 5);
        int rc = rig_close(&r);
        if (rc == BK_OK) {
            rc = rig_open(&r);
        }
        failed = simdisk_failed(r.disk) > 0;
        simdisk_fail(r.disk, 0, 0, 0, 0);
        assert_true(failed || rc == BK_OK);
        rig_crash(&r, SIMDISK_KILL);
        RIG_TRUE(&r, rig_reopen(&r));
        expect_whole(&r);
        rig_fini(&r);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown_rig)
    const struct CMUnitTest tests[] = {
        T(test_image__clean_stop__next_start_reads_no_data),
        T(test_image__empty_store__has_one),
        T(test_image__flush_just_before_the_close__is_counted),
        cmocka_unit_test(test_image__large_store__is_loaded_in_parallel),
        T(test_image__start_called_off__is_still_there),
        T(test_trap37__stop_clean_start_write_kill_start__has_what_was_written),
        T(test_trap49__key_expires_while_only_the_image_knows_it__older_value_stays_hidden),
        T(test_image__any_byte_changed__is_not_used_and_no_key_is_lost),
        T(test_image__cut_or_longer_or_empty__is_not_used),
        T(test_image__data_file_cut_or_gone__is_not_used),
        cmocka_unit_test(test_image__any_call_fails__loses_nothing),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
