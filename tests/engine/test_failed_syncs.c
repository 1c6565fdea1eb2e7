/* SPDX-License-Identifier: MIT */
/*
 * test_failed_syncs.c - behind a sync that has failed: what was acknowledged before it is not on
 * the disk until it was written again, and until then nothing relies on it: no merge, no close, no
 * start.
 */
#include "rare.h"

#define SEEDS 8

/* ---- A store whose merge wants to leave out what an unsynced write has replaced ---- */

static void find_active(void *arg, const struct bk_file_info *info)
{
    if (info->state == BK_FILE_ACTIVE) {
        *(uint64_t *)arg = info->id;
    }
}

static uint64_t active_id(struct rare *s)
{
    uint64_t id = 0;
    bk_files(s->r.db, find_active, &id);
    assert_true(id != 0);
    return id;
}

static struct bk_merge_status merge_of(struct rare *s)
{
    struct bk_merge_status st;
    bk_merge_status(s->r.db, &st);
    return st;
}

static void put_many(struct rare *s, const char *value)
{
    for (int i = 0; i < 12; i++) {
        char key[8];
        snprintf(key, sizeof(key), "a%d", i);
        assert_int_equal(rig_put(&s->r, key, value), BK_OK);
    }
}

/* The last sealed file holds k, synced, beside records that are all dead; merges are held back. */
static struct rare *with_old(uint64_t seed)
{
    struct rare *s = rare_new(seed, BK_SYNC_EVERYSEC);
    char large[301];
    memset(large, 'v', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    rig_merging(&s->r);
    s->r.opt.merge.dead_ratio = 20;
    s->r.opt.max_file_bytes = 8192;
    RIG_TRUE(&s->r, rig_open(&s->r) == BK_OK);
    bk_merge(s->r.db, BK_MERGE_PAUSE);
    assert_int_equal(rig_put(&s->r, "k", "OLD"), BK_OK);
    put_many(s, large);
    rare_reopen(s);
    bk_merge(s->r.db, BK_MERGE_PAUSE);
    put_many(s, "small");
    RIG_TRUE(&s->r, rig_sync(&s->r));
    return s;
}

static void time_passes(struct rare *s, int64_t ms)
{
    for (int64_t i = 0; i < ms; i++) {
        simclock_advance_ms(&s->r.clock, 1);
        rig_step(&s->r);
    }
}

/* The next file is used up, and another cannot be made: what the sync thread does next waits for a
 * moment. Then k is written and acknowledged, and its sync fails. */
static void fail_while_room_is_short(struct rare *s)
{
    uint64_t id = active_id(s);
    s->create_error = ENOSPC;
    for (int i = 0; active_id(s) == id; i++) {
        assert_true(i < 1000);
        assert_int_equal(rig_put(&s->r, "fill", "the active file"), BK_OK);
        RIG_TRUE(&s->r, rig_settle(&s->r));
    }
    RIG_TRUE(&s->r, rig_sync(&s->r));
    assert_int_equal(rig_put(&s->r, "k", "NEW"), BK_OK);
    RIG_TRUE(&s->r, rig_settle(&s->r));
    simclock_advance_ms(&s->r.clock, 1001);
    simdisk_fail(s->r.disk, SIMDISK_SYNC, 1, 1, EIO);
    bk_step(s->r.db); /* the sync fails */
    bk_step(s->r.db); /* what was not committed is undone */
    assert_int_equal(simdisk_failed(s->r.disk), 1);
    assert_int_not_equal(bk_write_state(s->r.db, NULL), BK_OK);
    simdisk_fail(s->r.disk, 0, 0, 0, 0);
    s->create_error = 0;
}

/* The same with a file that can be written to no more, nor made again. */
static void fail_for_long(struct rare *s)
{
    static char name[32];
    assert_int_equal(rig_put(&s->r, "k", "NEW"), BK_OK);
    RIG_TRUE(&s->r, rig_settle(&s->r));
    snprintf(name, sizeof(name), "%010llu.data", (unsigned long long)active_id(s));
    simdisk_fail(s->r.disk, SIMDISK_SYNC, 1, 1, EIO);
    simclock_advance_ms(&s->r.clock, 1001);
    bk_step(s->r.db);
    assert_int_equal(simdisk_failed(s->r.disk), 1);
    simdisk_fail(s->r.disk, 0, 0, 0, 0);
    s->sick = name;
}

static void cut_power(struct rare *s)
{
    rig_crash(&s->r, SIMDISK_POWER);
    s->sick = NULL;
    RIG_TRUE(&s->r, rig_reopen(&s->r));
}

/* Writes are taken again, and so is the merge's work, by time alone. */
static void get_well(struct rare *s)
{
    for (int i = 0; i < 100 && bk_write_state(s->r.db, NULL) != BK_OK; i++) {
        time_passes(s, 10);
    }
    assert_int_equal(bk_write_state(s->r.db, NULL), BK_OK);
    rare_expect(s, 0, "k", "NEW");
}

/* ---- Merges ---- */

static void test_trap03__merge_soon_after_a_failed_sync__keeps_what_was_synced(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct rare *s = with_old(seed);
        fail_while_room_is_short(s);
        bk_merge(s->r.db, BK_MERGE_RESUME);
        time_passes(s, 150);
        assert_int_equal(merge_of(s).state, BK_MERGE_LOG);
        assert_int_equal(merge_of(s).runs, 0);
        if (seed % 2 == 0) {
            get_well(s);
            time_passes(s, 100);
            assert_true(merge_of(s).runs > 0);
        }
        cut_power(s);
        rare_free(s);
    }
}

static void test_trap03__merge_while_a_file_stays_unsynced__keeps_what_was_synced(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct rare *s = with_old(seed);
        fail_for_long(s);
        bk_merge(s->r.db, BK_MERGE_RESUME);
        uint64_t calls = simdisk_calls(s->r.disk, SIMDISK_ANY);
        time_passes(s, 3000);
        assert_int_equal(merge_of(s).runs, 0);
        assert_int_equal(bk_write_state(s->r.db, NULL), BK_EIO);
        rare_expect(s, 0, "k", "NEW");
        /* A try every 200 ms. */
        assert_in_range(simdisk_calls(s->r.disk, SIMDISK_ANY) - calls, 20, 400);
        if (seed % 2 == 0) {
            s->sick = NULL;
            get_well(s);
            time_passes(s, 100);
            assert_true(merge_of(s).runs > 0);
        }
        cut_power(s);
        rare_free(s);
    }
}

/* ---- No room for a copy ---- */

static void test_trap19__failed_sync_on_a_full_disk__is_written_again_in_place(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct rare *s = with_old(seed);
        assert_int_equal(rig_put(&s->r, "k", "NEW"), BK_OK);
        RIG_TRUE(&s->r, rig_settle(&s->r));
        s->create_error = ENOSPC;
        simdisk_fail(s->r.disk, SIMDISK_SYNC, 1, 1, EIO);
        RIG_TRUE(&s->r, rig_sync(&s->r));
        assert_int_equal(simdisk_failed(s->r.disk), 1);
        get_well(s);
        assert_int_equal(s->r.durable_n, s->r.model.entries_n);
        cut_power(s);
        rare_expect(s, 0, "k", "NEW");
        rare_free(s);
    }
}

/* ---- Closing ---- */

static void test_trap19__close_soon_after_a_failed_sync__writes_it_again(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct rare *s = with_old(seed);
        fail_while_room_is_short(s);
        RIG_TRUE(&s->r, rig_close(&s->r) == BK_OK);
        assert_int_equal(simdisk_handles(s->r.disk), 0);
        cut_power(s);
        rare_expect(s, 0, "k", "NEW");
        RIG_TRUE(&s->r, rig_check(&s->r));
        rare_free(s);
    }
}

/* It is in no file that the next start takes for sealed: that one writes it again. */
static void test_trap35__close_while_a_file_stays_unsynced__says_so(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct rare *s = with_old(seed);
        fail_for_long(s);
        time_passes(s, seed % 2 == 0 ? 300 : 1);
        assert_int_equal(rig_close(&s->r), BK_EIO);
        assert_int_equal(simdisk_handles(s->r.disk), 0);
        assert_false(simdisk_exists(s->r.disk, RIG_DIR "/KEYDIR"));
        s->sick = NULL;
        RIG_TRUE(&s->r, rig_reopen(&s->r));
        rare_expect(s, 0, "k", "NEW");
        cut_power(s);
        rare_expect(s, 0, "k", "NEW");
        rare_free(s);
    }
}

/* ---- Pages that the kernel has dropped ---- */

#define KEYS_MAX 2000
#define PLACES 200

struct place {
    char file[32];
    uint64_t offset, bytes;
};

struct places {
    struct place v[PLACES];
    size_t n;
};

static void keep_place(void *arg, const struct bk_damage *found)
{
    struct places *p = arg;
    assert_true(found->in_data && p->n < PLACES);
    struct place *to = &p->v[p->n++];
    snprintf(to->file, sizeof to->file, "%s", found->file);
    to->offset = found->offset;
    to->bytes = found->bytes;
}

static bool inside(const struct place *p, const struct places *of, size_t n)
{
    bool found = false;
    for (size_t i = 0; i < n && !found; i++) {
        const struct place *q = &of->v[i];
        found = strcmp(p->file, q->file) == 0 && p->offset >= q->offset &&
                p->offset < q->offset + q->bytes;
    }
    return found;
}

static void text_of(unsigned key, char *name, char *value)
{
    snprintf(name, 16, "key%u", key);
    memset(value, 'a' + (int)(key % 26), 300);
    value[300] = '\0';
    memcpy(value, name, strlen(name));
}

/* Reads the keys; each has its own value or is damaged. Returns how many are. */
static unsigned count_damaged(struct bk_db *db, unsigned keys)
{
    unsigned damaged = 0;
    struct bk_buf got = {0};
    for (unsigned i = 0; i < keys; i++) {
        char name[16];
        char value[301];
        text_of(i, name, value);
        int rc = bk_get(db, 0, bk_span_str(name), &got, NULL);
        assert_true(rc == BK_OK || rc == BK_CORRUPT);
        assert_true(rc != BK_OK || bk_span_eq(bk_buf_span(&got), bk_span_str(value)));
        damaged += rc == BK_CORRUPT;
    }
    bk_buf_fini(&got);
    return damaged;
}

/* Writes that were answered, then a sync that fails and takes their pages with it. In mode no one
 * comes when a file is full. */
static unsigned lose_pages(enum bk_sync sync, uint64_t seed)
{
    struct rig r;
    struct places *p = bk_alloc_zero(1, sizeof *p);
    rig_init(&r, seed, sync);
    simdisk_evict_lost(r.disk, true);
    r.opt.on_corruption = BK_CORRUPT_SERVE;
    RIG_TRUE(&r, rig_open(&r) == BK_OK);
    unsigned keys = 0;
    simdisk_fail(r.disk, SIMDISK_SYNC, 3 + seed, 1, EIO);
    for (; keys < KEYS_MAX && simdisk_failed(r.disk) == 0; keys++) {
        char name[16];
        char value[301];
        text_of(keys, name, value);
        assert_int_equal(rig_put(&r, name, value), BK_OK);
        rig_step(&r);
        simclock_advance_ms(&r.clock, 50);
    }
    for (int i = 0; i < 10; i++) {
        simclock_advance_ms(&r.clock, 300);
        RIG_TRUE(&r, rig_settle(&r));
    }
    assert_int_equal(simdisk_failed(r.disk), 1);
    bk_damages(r.db, keep_place, p);
    size_t told = p->n;
    unsigned damaged = count_damaged(r.db, keys);
    assert_true(damaged == 0 || told > 0);
    p->n = 0;
    bk_damages(r.db, keep_place, p); /* those that were told come first */
    for (size_t i = told; i < p->n; i++) {
        assert_true(inside(&p->v[i], p, told)); /* what reads have found was listed */
    }
    assert_int_equal(rig_put(&r, "after", "x"), BK_OK);
    RIG_TRUE(&r, rig_sync(&r));
    free(p);
    rig_fini(&r);
    return damaged;
}

static void test_trap19__pages_gone_with_a_failed_sync__are_listed(void **state)
{
    (void)state;
    static const enum bk_sync modes[] = {BK_SYNC_EVERYSEC, BK_SYNC_NO};
    for (size_t m = 0; m < 2; m++) {
        unsigned damaged = 0;
        for (uint64_t seed = 1; seed <= 3 * SEEDS; seed++) {
            damaged += lose_pages(modes[m], seed);
        }
        assert_true(damaged > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trap03__merge_soon_after_a_failed_sync__keeps_what_was_synced),
        cmocka_unit_test(test_trap03__merge_while_a_file_stays_unsynced__keeps_what_was_synced),
        cmocka_unit_test(test_trap19__failed_sync_on_a_full_disk__is_written_again_in_place),
        cmocka_unit_test(test_trap19__close_soon_after_a_failed_sync__writes_it_again),
        cmocka_unit_test(test_trap35__close_while_a_file_stays_unsynced__says_so),
        cmocka_unit_test(test_trap19__pages_gone_with_a_failed_sync__are_listed),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
