/* SPDX-License-Identifier: MIT */
/*
 * test_torn.c - traps 8 and 9: bytes on disk that were never written whole. Behind the last sync
 * mark after a power loss they are the torn tail; anywhere else, and when only the process died,
 * they are damage.
 */
#include "damaged_copy.h"

/* ---- Trap 8: the torn tail ---- */

static void test_trap08__last_record_cut_zeroed_or_scrambled_at_every_byte__rest_is_served(
    void **state)
{
    struct rig *r = *state;
    char path[300];
    struct rng rng = {3};
    unsigned kept = 0;
    fill(r, true);
    uint64_t from = active_file(r, path).size;
    assert_int_equal(rig_put(r, "last", "the last value, which is torn"), BK_OK);
    RIG_TRUE(r, rig_settle(r));
    uint64_t to = active_file(r, path).size;
    for (uint64_t at = from; at <= to; at++) {
        for (int how = 0; how < 3; how++) {
            struct copy c;
            uint8_t junk[8192] = {0};
            copy_make(&c, r, SIMDISK_POWER);
            if (how == 0) {
                simdisk_resize(c.disk, path, at);
            } else {
                if (how == 2) {
                    rng_fill(&rng, junk, sizeof(junk)); /* behind the end too: blocks used before */
                }
                simdisk_patch(c.disk, path, at, junk, sizeof(junk));
            }
            assert_int_equal(copy_open(&c, r, BK_CORRUPT_REFUSE), BK_OK);
            assert_int_equal(count_good(&c, KEYS), KEYS);
            assert_int_equal(c.stats.damaged_records, 0);
            struct bk_buf got = {0};
            int rc = copy_get(&c, "last", &got);
            assert_true(rc == BK_NOTFOUND ||
                        (rc == BK_OK && has_value(&c, "last", "the last value, which is torn")));
            /* What was cut off or zeroed whole left no trace to count. */
            assert_true(rc == BK_OK || how < 2 || c.stats.tail_bytes_cut > 0);
            kept += rc == BK_OK;
            bk_buf_fini(&got);
            copy_free(&c);
        }
    }
    assert_in_range(kept, 3, 3 * 40); /* undamaged, or in its padding */
}

/* The same bytes, but only the process died: nothing is cut off silently, it is damage or it is
 * whole. */
static void test_trap08__same_damage_after_a_kill__is_counted(void **state)
{
    struct rig *r = *state;
    char path[300];
    fill(r, true);
    uint64_t from = active_file(r, path).size;
    assert_int_equal(rig_put(r, "last", "the last value, which is damaged"), BK_OK);
    RIG_TRUE(r, rig_settle(r));
    for (uint64_t at = from; at < from + 40; at++) {
        struct copy c;
        copy_make(&c, r, SIMDISK_KILL);
        simdisk_patch(c.disk, path, at, "\xff\xff\xff\xff", 4);
        assert_int_equal(copy_open(&c, r, BK_CORRUPT_SERVE), BK_OK);
        assert_int_equal(count_good(&c, KEYS), KEYS);
        if (!has_value(&c, "last", "the last value, which is damaged")) {
            assert_true(c.stats.damaged_records + c.stats.damaged_bytes > 0);
        }
        copy_free(&c);
    }
}

/* ---- Trap 9: holes ---- */

/* Writes keys until the file holds several pages of 4 KiB; returns how many. */
static unsigned fill_pages(struct rig *r, unsigned keys)
{
    char key[32];
    char value[512];
    memset(value, 'p', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    for (unsigned i = 0; i < keys; i++) {
        snprintf(key, sizeof(key), "page-key-%04u", i);
        assert_int_equal(rig_put(r, key, value), BK_OK);
    }
    RIG_TRUE(r, rig_settle(r));
    return keys;
}

/* Which of the page keys are there, as a count, and whether they are the first ones. */
static unsigned page_keys(struct copy *c, unsigned keys, bool *prefix)
{
    unsigned n = 0;
    *prefix = true;
    for (unsigned i = 0; i < keys; i++) {
        struct bk_buf got = {0};
        char key[32];
        snprintf(key, sizeof(key), "page-key-%04u", i);
        int rc = copy_get(c, key, &got);
        /* BK_CORRUPT: the header stands before the hole, the value in it. */
        assert_true(rc == BK_OK || rc == BK_NOTFOUND || rc == BK_CORRUPT);
        *prefix = *prefix && (rc == BK_NOTFOUND || (rc == BK_OK && n == i));
        n += rc == BK_OK;
        bk_buf_fini(&got);
    }
    return n;
}

static void test_trap09__hole_behind_the_sync_mark_after_power_loss__ends_the_history_there(
    void **state)
{
    struct rig *r = *state;
    char path[300];
    static const uint8_t zeros[4096];
    fill(r, true);
    unsigned keys = fill_pages(r, 100);
    uint64_t end = active_file(r, path).size;
    for (uint64_t hole = 8192; hole + 4096 < end; hole += 4096) {
        struct copy c;
        bool prefix;
        copy_make(&c, r, SIMDISK_POWER);
        simdisk_patch(c.disk, path, hole, zeros, sizeof(zeros));
        assert_int_equal(copy_open(&c, r, BK_CORRUPT_REFUSE), BK_OK);
        assert_int_equal(count_good(&c, KEYS), KEYS);
        unsigned n = page_keys(&c, keys, &prefix);
        assert_true(prefix);
        assert_true(n < keys && n > 0);
        assert_int_equal(c.stats.damaged_records, 0);
        assert_true(c.stats.tail_bytes_cut > 0);
        copy_free(&c);
    }
}

static void test_trap09__hole_after_a_kill__is_damage_and_what_follows_is_kept(void **state)
{
    struct rig *r = *state;
    char path[300];
    static const uint8_t zeros[4096];
    fill(r, false);
    unsigned keys = fill_pages(r, 100);
    uint64_t end = active_file(r, path).size;
    for (uint64_t hole = 8192; hole + 4096 < end; hole += 4096) {
        struct copy c;
        bool prefix;
        copy_make(&c, r, SIMDISK_KILL);
        simdisk_patch(c.disk, path, hole, zeros, sizeof(zeros));
        assert_int_equal(copy_open(&c, r, BK_CORRUPT_REFUSE), BK_CORRUPT);
        assert_int_equal(copy_open(&c, r, BK_CORRUPT_SERVE), BK_OK);
        assert_int_equal(count_good(&c, KEYS), KEYS);
        unsigned n = page_keys(&c, keys, &prefix);
        assert_false(prefix);
        assert_in_range(n, keys - 10, keys - 6); /* records of 552 bytes: a page touches 8 or 9 */
        assert_true(c.stats.damaged_bytes > 0);
        copy_free(&c);
    }
}

/* In front of the mark a hole is damage even after a power loss: those bytes had been synced. */
static void test_trap09__hole_before_the_sync_mark__is_damage(void **state)
{
    struct rig *r = *state;
    char path[300];
    static const uint8_t zeros[4096];
    unsigned keys = fill_pages(r, 60);
    RIG_TRUE(r, rig_sync(r));
    assert_int_equal(rig_put(r, "behind", "the mark"), BK_OK); /* carries the mark */
    RIG_TRUE(r, rig_settle(r));
    active_file(r, path);
    struct copy c;
    bool prefix;
    copy_make(&c, r, SIMDISK_POWER);
    simdisk_patch(c.disk, path, 8192, zeros, sizeof(zeros));
    assert_int_equal(copy_open(&c, r, BK_CORRUPT_SERVE), BK_OK);
    unsigned n = page_keys(&c, keys, &prefix);
    assert_false(prefix);
    assert_in_range(n, keys - 10, keys - 6);
    assert_true(c.stats.damaged_bytes > 0);
    assert_true(has_value(&c, "behind", "the mark"));
    copy_free(&c);
}

/* What comes behind the last record in front of the mark is no gap. */
static void test_trap09__hole_up_to_the_sync_mark__keeps_what_is_behind_it(void **state)
{
    struct rig *r = *state;
    struct copy c;
    static const uint8_t zeros[64];
    char path[300];
    char key[32];
    char value[64];
    fill(r, true);
    assert_int_equal(rig_put(r, "behind", "the mark"), BK_OK); /* carries it */
    RIG_TRUE(r, rig_settle(r));
    active_file(r, path);
    name_of(KEYS - 1, key, value);
    copy_make(&c, r, SIMDISK_POWER);
    simdisk_patch(c.disk, path, find(r, path, key) - HEADER, zeros, sizeof(zeros));
    assert_int_equal(copy_open(&c, r, BK_CORRUPT_SERVE), BK_OK);
    assert_int_equal(count_good(&c, KEYS - 1), KEYS - 1);
    assert_true(has_value(&c, "behind", "the mark"));
    assert_true(c.stats.damaged_bytes > 0);
    assert_int_equal(c.stats.tail_bytes_cut, 0);
    copy_free(&c);
}

/* Sealed by a clean stop, then damaged: the same, whatever the boot id says. */
static void test_trap09__hole_in_a_sealed_file__is_damage(void **state)
{
    struct rig *r = *state;
    char path[300];
    static const uint8_t zeros[4096];
    unsigned keys = fill_pages(r, 60);
    active_file(r, path);
    assert_int_equal(rig_close(r), BK_OK);
    rig_forget_image(r);
    for (int kind = SIMDISK_KILL; kind <= SIMDISK_POWER; kind++) {
        struct copy c;
        bool prefix;
        copy_make(&c, r, (enum simdisk_kind)kind);
        simdisk_patch(c.disk, path, 12288, zeros, sizeof(zeros));
        assert_int_equal(copy_open(&c, r, BK_CORRUPT_SERVE), BK_OK);
        assert_in_range(page_keys(&c, keys, &prefix), keys - 10, keys - 6);
        assert_true(c.stats.damaged_bytes > 0);
        copy_free(&c);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup_everysec, teardown)
#define T_NO(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_trap08__last_record_cut_zeroed_or_scrambled_at_every_byte__rest_is_served),
        T(test_trap08__same_damage_after_a_kill__is_counted),
        T(test_trap09__hole_behind_the_sync_mark_after_power_loss__ends_the_history_there),
        T_NO(test_trap09__hole_after_a_kill__is_damage_and_what_follows_is_kept),
        T(test_trap09__hole_before_the_sync_mark__is_damage),
        T(test_trap09__hole_up_to_the_sync_mark__keeps_what_is_behind_it),
        T_NO(test_trap09__hole_in_a_sealed_file__is_damage),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
