/* SPDX-License-Identifier: MIT */
/*
 * test_rare_paths.c - what seldom comes together: a manifest lost after a power cut, appendfsync
 * changed while a commit is asked for, databases of high numbers, a damaged map in an old file.
 */
#include "rare.h"

/* ---- The manifest is lost after a power cut ---- */

static void remove_manifest(struct rare *s)
{
    simdisk_remove(s->r.disk, RIG_DIR "/MANIFEST");
    s->r.opt.on_corruption = BK_CORRUPT_SERVE;
}

/* Everything of the page cache on the platter, but the record of this key, which is zeros; and
 * another boot. */
static void cut_power_before(struct rare *s, const char *key)
{
    struct bk_buf bytes = {0};
    uint8_t zeros[64] = {0};
    rig_crash(&s->r, SIMDISK_KILL);
    struct simdisk *all = simdisk_clone(s->r.disk, 1);
    simdisk_free(&s->r.disk);
    s->r.disk = all;
    simdisk_read(all, RIG_DIR "/0000000001.data", &bytes);
    const uint8_t *at = memmem(bytes.data, bytes.len, key, strlen(key));
    assert_non_null(at);
    simdisk_patch(all, RIG_DIR "/0000000001.data", (uint64_t)(at - bytes.data) - 28, zeros,
                  28 + strlen(key));
    simdisk_restart(all, SIMDISK_POWER);
    bk_buf_fini(&bytes);
}

static void test_rare_paths__manifest_lost_after_a_power_cut__the_cut_stays(void **state)
{
    (void)state;
    struct rare *s = rare_opened(81, BK_SYNC_NO);
    struct rig *r = &s->r;
    assert_int_equal(rig_put(r, "a", "1"), BK_OK);
    assert_int_equal(rig_put(r, "deleted", "1"), BK_OK);
    assert_int_equal(rig_delete(r, "deleted"), BK_OK);
    assert_int_equal(rig_put(r, "the hole", "1"), BK_OK);
    assert_int_equal(rig_put(r, "ghost", "1"), BK_OK);
    assert_int_equal(rig_put(r, "deleted", "2"), BK_OK);
    assert_int_equal(rig_delete(r, "a"), BK_OK);
    rare_settle(s);
    cut_power_before(s, "the hole");
    for (int start = 0; start < 4; start++) {
        RIG_TRUE(r, rig_open(r) == BK_OK);
        rare_expect(s, 0, "a", "1");
        rare_expect(s, 0, "deleted", NULL);
        rare_expect(s, 0, "the hole", NULL);
        rare_expect(s, 0, "ghost", NULL);
        rare_expect(s, 0, "new", start == 0 ? NULL : "2");
        assert_int_equal(rare_put(s, 0, "new", bk_span_str("2")), BK_OK);
        if (start == 2) {
            rare_settle(s);
            rig_crash(r, SIMDISK_KILL);
        } else {
            assert_int_equal(rig_close(r), BK_OK);
        }
        remove_manifest(s);
    }
    rare_free(s);
}

/* The same for what cuts of the power really leave. */
static void test_rare_paths__manifest_lost_after_many_power_cuts__nothing_comes_back(void **state)
{
    (void)state;
    char value[40];
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct rare *s = rare_opened(seed, BK_SYNC_EVERYSEC);
        struct rig *r = &s->r;
        for (int i = 0; i < 60; i++) {
            char key[8];
            snprintf(key, sizeof(key), "k%d", (int)rng_below(&r->rng, 6));
            snprintf(value, sizeof(value), "%llu of %d", (unsigned long long)seed, i);
            assert_int_equal(rng_percent(&r->rng, 30) ? rig_delete(r, key) : rig_put(r, key, value),
                             BK_OK);
            rig_step(r);
            simclock_advance_ms(&r->clock, 20);
        }
        rig_crash(r, SIMDISK_POWER);
        RIG_TRUE(r, rig_reopen(r));
        assert_int_equal(rig_put(r, "after", "the cut"), BK_OK);
        RIG_TRUE(r, rig_close(r) == BK_OK);
        remove_manifest(s);
        RIG_TRUE(r, rig_open(r) == BK_OK);
        RIG_TRUE(r, rig_same(r));
        RIG_TRUE(r, rig_check(r));
        rare_free(s);
    }
}

/* ---- appendfsync is changed ---- */

static void tune_sync(struct rare *s, enum bk_sync sync)
{
    struct bk_tunables t;
    bk_tunables_get(s->r.db, &t);
    t.sync = sync;
    bk_tune(s->r.db, &t);
}

/* Nobody flushes any more: steps alone commit, and wake who waits. */
static void test_rare_paths__always_given_up_while_asked_for__steps_commit(void **state)
{
    (void)state;
    for (int to = BK_SYNC_EVERYSEC; to <= BK_SYNC_NO; to++) {
        struct rare *s = rare_opened(82, BK_SYNC_ALWAYS);
        uint64_t pos = 0;
        assert_int_equal(rare_put_once(s, 0, "a", bk_span_str("1"), &pos), BK_OK);
        bk_flush(s->r.db, pos);
        assert_int_equal(bk_pos_state(s->r.db, pos), BK_EAGAIN);
        tune_sync(s, (enum bk_sync)to);
        unsigned wakes = s->wakes;
        rare_steps(s);
        assert_int_equal(bk_pos_state(s->r.db, pos), BK_OK);
        assert_true(s->wakes > wakes);
        rig_crash(&s->r, SIMDISK_KILL);
        RIG_TRUE(&s->r, rig_open(&s->r) == BK_OK);
        rare_expect(s, 0, "a", "1");
        rare_free(s);
    }
}

/* What was asked for while a sync ran that began before. */
static void ask_and_give_up(struct rare *s)
{
    assert_int_equal(rare_put_once(s, 0, "b", bk_span_str("2"), &s->pos), BK_OK);
    bk_flush(s->r.db, s->pos);
    tune_sync(s, BK_SYNC_NO);
}

static void test_rare_paths__always_given_up_during_a_sync__steps_commit(void **state)
{
    (void)state;
    struct rare *s = rare_opened(83, BK_SYNC_ALWAYS);
    uint64_t pos = 0;
    assert_int_equal(rare_put_once(s, 0, "a", bk_span_str("1"), &pos), BK_OK);
    bk_flush(s->r.db, pos);
    s->in_sync = ask_and_give_up;
    rare_steps(s);
    assert_null(s->in_sync);
    assert_int_equal(bk_pos_state(s->r.db, pos), BK_OK);
    assert_true(s->pos > pos);
    assert_int_equal(bk_pos_state(s->r.db, s->pos), BK_OK);
    rare_free(s);
}

/* The other way round: what nobody has written yet is synced by steps alone, and not committed
 * before. */
static void test_rare_paths__always_asked_for_later__steps_sync(void **state)
{
    (void)state;
    for (int from = BK_SYNC_EVERYSEC; from <= BK_SYNC_NO; from++) {
        struct rare *s = rare_opened(84, (enum bk_sync)from);
        uint64_t early = 0;
        uint64_t pos = 0;
        assert_int_equal(rare_put_once(s, 0, "early", bk_span_str("1"), &early), BK_OK);
        bk_flush(s->r.db, early);
        assert_int_equal(bk_pos_state(s->r.db, early), BK_OK);
        assert_int_equal(rare_put_once(s, 0, "a", bk_span_str("1"), &pos), BK_OK);
        tune_sync(s, BK_SYNC_ALWAYS);
        bk_flush(s->r.db, pos);
        assert_int_equal(bk_pos_state(s->r.db, pos), BK_EAGAIN);
        rare_steps(s);
        assert_int_equal(bk_pos_state(s->r.db, pos), BK_OK);
        assert_true(simdisk_is_durable(s->r.disk, RIG_DIR "/0000000001.data"));
        rig_crash(&s->r, SIMDISK_POWER);
        RIG_TRUE(&s->r, rig_open(&s->r) == BK_OK);
        rare_expect(s, 0, "early", "1");
        rare_expect(s, 0, "a", "1");
        rare_free(s);
    }
}

/* ---- Databases of high numbers ---- */

static struct rare *many_databases(uint64_t seed, uint64_t max_file_bytes)
{
    struct rare *s = rare_new(seed, BK_SYNC_EVERYSEC);
    s->r.opt.databases = BK_DATABASES_MAX;
    s->r.opt.max_file_bytes = max_file_bytes;
    RIG_TRUE(&s->r, rig_open(&s->r) == BK_OK);
    rare_steps(s);
    return s;
}

/* Writes until two more files are full. */
static void rotate(struct rare *s)
{
    struct bk_span value = rare_filled(60000);
    struct bk_stats before;
    struct bk_stats now;
    bk_stats_get(s->r.db, &before);
    now = before;
    for (int i = 0; i < 20 && now.rotations < before.rotations + 2; i++) {
        assert_int_equal(rare_put(s, 1, "filler", value), BK_OK);
        rare_settle(s);
        bk_stats_get(s->r.db, &now);
    }
    assert_true(now.rotations >= before.rotations + 2);
    rare_span_free(&value);
}

static void test_rare_paths__flush_of_the_highest_number__survives_rotations(void **state)
{
    (void)state;
    const uint32_t top = BK_DATABASES_MAX - 1;
    static const uint64_t sizes[] = {65536, 300000}; /* below and above a map of that length */
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct rare *s = many_databases(85, sizes[i]);
        assert_int_equal(rare_put(s, top, "gone", bk_span_str("1")), BK_OK);
        assert_int_equal(rare_put(s, top - 1, "stays", bk_span_str("1")), BK_OK);
        rare_flush_db(s, top);
        assert_int_equal(rare_put(s, top, "behind", bk_span_str("1")), BK_OK);
        rotate(s);
        for (int start = 0; start < 2; start++) {
            rare_expect(s, top, "gone", NULL);
            rare_expect(s, top, "behind", "1");
            rare_expect(s, top - 1, "stays", "1");
            RIG_TRUE(&s->r, rig_check(&s->r));
            if (start == 0) {
                rig_crash(&s->r, SIMDISK_KILL);
                RIG_TRUE(&s->r, rig_open(&s->r) == BK_OK);
                rare_steps(s);
            } else {
                rare_reopen(s);
            }
            rotate(s);
        }
        rare_free(s);
    }
}

/* Where one batch of many swaps leaves the contents of a number. */
static uint32_t moved_to(uint32_t num)
{
    return num < 100 ? 99 - num : BK_DATABASES_MAX - 1 - num;
}

/* Odd times each, so that they do not cancel each other out; more than a map has numbers. */
static void swap_many(struct rare *s)
{
    uint64_t pos = 0;
    bk_batch_begin(s->r.batch);
    bk_batch_lock_all(s->r.batch);
    bk_batch_lock(s->r.batch);
    for (uint32_t i = 0; i < 50 * 165; i++) {
        bk_batch_swap(s->r.batch, i % 50, moved_to(i % 50));
    }
    for (uint32_t num = 100; num <= 4000; num += 100) {
        bk_batch_swap(s->r.batch, num, moved_to(num));
    }
    bk_batch_flush(s->r.batch, moved_to(39));
    bk_batch_flush(s->r.batch, moved_to(39));
    bk_batch_flush(s->r.batch, moved_to(3900));
    assert_int_equal(rare_commit(s, s->r.batch, &pos), BK_OK);
}

static void test_rare_paths__many_swaps_in_one_batch__survive_rotations(void **state)
{
    (void)state;
    static const uint32_t nums[] = {0, 1, 7, 100, 3000, 4000, 39, 3900};
    enum { KEPT = 6, ALL = 8 }; /* the last ones are flushed */
    struct rare *s = many_databases(86, 300000);
    char key[32];
    for (size_t i = 0; i < ALL; i++) {
        snprintf(key, sizeof(key), "key of %u", nums[i]);
        assert_int_equal(rare_put(s, nums[i], key, bk_span_str("1")), BK_OK);
    }
    swap_many(s);
    for (int start = 0; start < 3; start++) {
        for (size_t i = 0; i < ALL; i++) {
            snprintf(key, sizeof(key), "key of %u", nums[i]);
            rare_expect(s, moved_to(nums[i]), key, i < KEPT ? "1" : NULL);
            rare_expect(s, nums[i], key, NULL);
        }
        rotate(s);
        RIG_TRUE(&s->r, rig_check(&s->r));
        rare_reopen(s);
    }
    rare_free(s);
}

/* The number on one side of the swap was never used: what is written to both afterwards stays where
 * it was written. */
static void test_rare_paths__swap_with_an_unused_number__writes_stay_apart(void **state)
{
    (void)state;
    struct rare *s = rare_opened(95, BK_SYNC_ALWAYS);
    uint64_t pos = 0;
    assert_int_equal(rare_put(s, 0, "a", bk_span_str("1")), BK_OK);
    bk_batch_begin(s->r.batch);
    bk_batch_lock_all(s->r.batch);
    bk_batch_lock(s->r.batch);
    bk_batch_swap(s->r.batch, 0, 3);
    assert_int_equal(rare_commit(s, s->r.batch, &pos), BK_OK);
    assert_int_equal(rare_put(s, 0, "b", bk_span_str("2")), BK_OK);
    assert_int_equal(rare_put(s, 3, "c", bk_span_str("3")), BK_OK);
    rare_flush_db(s, 2); /* unused too */
    assert_int_equal(rare_put(s, 2, "d", bk_span_str("4")), BK_OK);
    rare_settle(s);
    for (int start = 0; start < 2; start++) {
        rare_expect(s, 3, "a", "1");
        rare_expect(s, 3, "c", "3");
        rare_expect(s, 0, "b", "2");
        rare_expect(s, 2, "d", "4");
        for (uint32_t num = 0; num < RIG_DATABASES; num++) {
            assert_int_equal(bk_count(s->r.db, num), num == 1 ? 0 : num == 3 ? 2 : 1);
        }
        RIG_TRUE(&s->r, rig_check(&s->r));
        rare_reopen(s);
    }
    rare_free(s);
}

static void test_rare_paths__more_databases_than_there_may_be__are_refused(void **state)
{
    (void)state;
    struct rare *s = rare_new(87, BK_SYNC_NO);
    static const uint32_t bad[] = {0, BK_DATABASES_MAX + 1, 20000, 65535, UINT32_MAX};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        s->r.opt.databases = bad[i];
        assert_int_equal(rig_open(&s->r), BK_EINVAL);
        assert_int_equal(simdisk_handles(s->r.disk), 0);
    }
    s->r.opt.databases = BK_DATABASES_MAX;
    RIG_TRUE(&s->r, rig_open(&s->r) == BK_OK);
    rare_free(s);
}

/* ---- A damaged map record in an old file ---- */

/* Every life makes a file that is sealed at its end; the first record of each but the newest is
 * damaged in turn. */
static void test_rare_paths__damaged_map_in_an_old_file__later_files_lose_no_key(void **state)
{
    (void)state;
    enum { LIVES = 4 };
    for (int bad = 0; bad < LIVES - 1; bad++) {
        struct rare *s = rare_new(88, BK_SYNC_ALWAYS);
        char path[LIVES][64];
        char key[32];
        uint8_t byte = 0xff;
        for (int life = 0; life < LIVES; life++) {
            RIG_TRUE(&s->r, rig_open(&s->r) == BK_OK);
            /* The store's files are those of the lives before and the active and the next one. */
            snprintf(path[life], sizeof(path[life]), "%s/%010d.data", RIG_DIR, 2 * life + 1);
            assert_true(simdisk_exists(s->r.disk, path[life]));
            if (life == 0) {
                rare_flush_db(s, 0);
            }
            rare_steps(s);
            snprintf(key, sizeof(key), "key of life %d", life);
            assert_int_equal(rare_put(s, 0, key, bk_span_str("1")), BK_OK);
            assert_int_equal(rig_close(&s->r), BK_OK);
        }
        rig_forget_image(&s->r);
        simdisk_patch(s->r.disk, path[bad], 64 + 2, &byte, 1);
        for (int life = 0; life < LIVES; life++) {
            /* Without hints: the data files are read. */
            char hint[64];
            snprintf(hint, sizeof(hint), "%s/%010d.hint", RIG_DIR, 2 * life + 1);
            if (simdisk_exists(s->r.disk, hint)) {
                simdisk_patch(s->r.disk, hint, 0, &byte, 1);
            }
        }
        s->r.opt.on_corruption = BK_CORRUPT_SERVE;
        RIG_TRUE(&s->r, rig_open(&s->r) == BK_OK);
        struct bk_stats st;
        bk_stats_get(s->r.db, &st);
        assert_true(st.damaged_records > 0);
        for (int life = 0; life < LIVES; life++) {
            snprintf(key, sizeof(key), "key of life %d", life);
            if (life > bad) {
                rare_expect(s, 0, key, "1");
            }
        }
        rare_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rare_paths__manifest_lost_after_a_power_cut__the_cut_stays),
        cmocka_unit_test(test_rare_paths__manifest_lost_after_many_power_cuts__nothing_comes_back),
        cmocka_unit_test(test_rare_paths__always_given_up_while_asked_for__steps_commit),
        cmocka_unit_test(test_rare_paths__always_given_up_during_a_sync__steps_commit),
        cmocka_unit_test(test_rare_paths__always_asked_for_later__steps_sync),
        cmocka_unit_test(test_rare_paths__flush_of_the_highest_number__survives_rotations),
        cmocka_unit_test(test_rare_paths__many_swaps_in_one_batch__survive_rotations),
        cmocka_unit_test(test_rare_paths__swap_with_an_unused_number__writes_stay_apart),
        cmocka_unit_test(test_rare_paths__more_databases_than_there_may_be__are_refused),
        cmocka_unit_test(test_rare_paths__damaged_map_in_an_old_file__later_files_lose_no_key),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
