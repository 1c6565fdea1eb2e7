/* SPDX-License-Identifier: MIT */
/*
 * test_merge.c - merges on the simulated disk, stepped: stopped in each state while writes go on,
 * over damage, on a full disk, and across restarts. Every store is held against the model.
 */
#include "merge_rig.h"

#include <errno.h>

/* ---- Guards ---- */

/* The tombstone's file is rewritten; the file with the old value, mostly live, is not. */
static void test_trap01__delete_merged_before_the_value__key_stays_deleted(void **state)
{
    (void)state;
    struct rig r;
    setup_rig(&r, 1, BK_SYNC_ALWAYS);
    put_n(&r, "old", 30, "v");
    assert_int_equal(rig_put(&r, "k", "value"), BK_OK);
    RIG_TRUE(&r, rig_settle(&r));
    next_file(&r);
    assert_int_equal(rig_delete(&r, "k"), BK_OK);
    put_n(&r, "dead", 20, "1");
    put_n(&r, "dead", 20, "2");
    RIG_TRUE(&r, rig_settle(&r));
    next_file(&r);
    merge_all(&r);
    assert_true(merges(&r) > 0);
    assert_true(guard_bytes(&r) > 0); /* the older file may hold k: it does */
    same_after_restart(&r);
    assert_false(has(&r, "k"));
    /* When the older file goes, the guard does. */
    put_n(&r, "old", 30, "w");
    RIG_TRUE(&r, rig_settle(&r));
    next_file(&r);
    bk_merge(r.db, BK_MERGE_NOW);
    same_after_restart(&r);
    assert_int_equal(guard_bytes(&r), 0);
    rig_fini(&r);
}

static void put_expiring(struct rig *r, const char *key, const char *value, int64_t expire_ms)
{
    rig_begin(r);
    rig_batch_put(r, 0, bk_span_str(key), bk_span_str(value), 0, expire_ms);
    assert_int_equal(rig_commit(r), BK_OK);
    RIG_TRUE(r, rig_settle(r));
}

static void test_trap25__expired_record_merged__older_copy_stays_hidden(void **state)
{
    (void)state;
    struct rig r;
    setup_rig(&r, 2, BK_SYNC_ALWAYS);
    put_n(&r, "old", 30, "v");
    assert_int_equal(rig_put(&r, "k", "without end"), BK_OK);
    RIG_TRUE(&r, rig_settle(&r));
    next_file(&r);
    put_expiring(&r, "k", "short", bk_clock_wall_ms(&r.clock.clock) + 1000);
    RIG_TRUE(&r, rig_settle(&r));
    next_file(&r);
    simclock_advance_ms(&r.clock, 5000);
    while (bk_expire_step(r.db, 100, NULL) > 0) {
    }
    assert_false(has(&r, "k"));
    merge_all(&r);
    RIG_TRUE(&r, rig_close(&r) == BK_OK);
    RIG_TRUE(&r, rig_open(&r) == BK_OK);
    assert_false(has(&r, "k"));
    RIG_TRUE(&r, rig_check(&r));
    rig_fini(&r);
}

/* The newer write has the older clock, in its file too: the merges in between go by rank. */
static void test_trap12__clock_goes_back_between_merges__newer_write_wins(void **state)
{
    (void)state;
    struct rig r;
    setup_rig(&r, 12, BK_SYNC_EVERYSEC);
    for (unsigned i = 0; i < 6; i++) {
        char value[16];
        snprintf(value, sizeof(value), "%u", i);
        assert_int_equal(rig_put(&r, "k", value), BK_OK);
        put_n(&r, "other", 40, value);
        RIG_TRUE(&r, rig_sync(&r));
        simclock_step_wall_ms(&r.clock, -86400000);
        merge_all(&r);
        next_file(&r);
        RIG_TRUE(&r, rig_same(&r));
    }
    RIG_TRUE(&r, rig_check(&r));
    rig_fini(&r);
}

static void expire_all(struct rig *r)
{
    simclock_advance_ms(&r->clock, 5000);
    while (bk_expire_step(r->db, 100, NULL) > 0) {
    }
    assert_false(has(r, "k"));
}

/* A key runs out of time, and leaves memory, after the plan had it for alive: before its record is
 * judged, or when the plan was made it had run out and nobody had noticed. Nothing in the log tells
 * of it, so its record has to. */
static void test_trap25__expires_while_its_file_is_merged__older_copy_stays_hidden(void **state)
{
    (void)state;
    for (unsigned late = 0; late < 4; late++) {
        struct rig r;
        setup_rig(&r, 60 + late, BK_SYNC_ALWAYS);
        put_n(&r, "old", 30, "v");
        assert_int_equal(rig_put(&r, "k", "without end"), BK_OK);
        RIG_TRUE(&r, rig_settle(&r));
        next_file(&r);
        put_expiring(&r, "k", "short", bk_clock_wall_ms(&r.clock.clock) + 1000);
        put_n(&r, "dead", 30, "1");
        put_n(&r, "dead", late < 2 ? 20 : 29, "2");
        if (late % 2 == 1) { /* a guard beside it, so that the plan reads this file */
            assert_int_equal(rig_delete(&r, "dead29"), BK_OK);
        }
        RIG_TRUE(&r, rig_settle(&r));
        next_file(&r);
        if (late >= 2) {
            simclock_advance_ms(&r.clock, 1001);
        }
        assert_true(merge_until(&r, BK_MERGE_COPY));
        expire_all(&r);
        merge_all(&r);
        next_file(&r);
        assert_false(has(&r, "k"));
        assert_true(has(&r, "old1"));
        RIG_TRUE(&r, rig_check(&r));
        rig_fini(&r);
    }
}

static void test_trap26__expiry__survives_a_merge(void **state)
{
    (void)state;
    struct rig r;
    struct bk_item item = {0};
    struct bk_key k;
    setup_rig(&r, 3, BK_SYNC_ALWAYS);
    int64_t at = bk_clock_wall_ms(&r.clock.clock) + 100000;
    put_expiring(&r, "k", "v", at);
    put_n(&r, "dead", 30, "1");
    put_n(&r, "dead", 30, "2");
    RIG_TRUE(&r, rig_settle(&r));
    next_file(&r);
    merge_all(&r);
    assert_true(merges(&r) > 0);
    next_file(&r);
    bk_key_init(r.db, &k, "k", 1);
    bk_locate(r.db, &(uint32_t){0}, &k, 1, &item);
    assert_int_equal(item.expire_ms, at);
    bk_item_fini(&item);
    rig_fini(&r);
}

/* Dead and expired bytes leave the disk though nobody touches them. */
static void test_trap45__everything_deleted__the_files_go(void **state)
{
    (void)state;
    struct rig r;
    struct bk_stats s;
    setup_rig(&r, 4, BK_SYNC_EVERYSEC);
    put_n(&r, "k", 400, "some value of some length");
    for (unsigned i = 0; i < 400; i++) {
        char key[64];
        snprintf(key, sizeof(key), "k%u", i);
        int rc;
        while ((rc = rig_delete(&r, key)) == BK_EAGAIN) {
            one_step(&r);
        }
        assert_int_equal(rc, BK_OK);
    }
    RIG_TRUE(&r, rig_sync(&r));
    for (unsigned i = 0; i < 20000; i++) {
        one_step(&r);
    }
    bk_stats_get(r.db, &s);
    assert_true(s.file_bytes < 16384);
    RIG_TRUE(&r, rig_same(&r));
    RIG_TRUE(&r, rig_check(&r));
    rig_fini(&r);
}

/* Nothing that writes, hints, merges, images, manifests, ever names a place outside the store's
 * directory: that may be another file system, into which nothing can be renamed. */
static void test_trap30__merges_and_restarts__name_no_other_directory(void **state)
{
    (void)state;
    struct rig r;
    char *text = NULL;
    size_t len = 0;
    unsigned lines = 0;
    uint64_t runs = 0;
    FILE *trace = open_memstream(&text, &len);
    setup_rig(&r, 30, BK_SYNC_EVERYSEC);
    simdisk_trace(r.disk, trace);
    for (unsigned i = 0; i < 40; i++) {
        for (unsigned k = 0; k < 12; k++) {
            RIG_TRUE(&r, rig_random_op(&r));
        }
        merge_all(&r);
        if (i % 10 == 9) {
            runs += merges(&r);
            same_after_restart(&r);
        }
    }
    assert_true(runs > 0);
    simdisk_trace(r.disk, NULL);
    fclose(trace);
    for (char *save, *line = strtok_r(text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save), lines++) {
        char *words = NULL;
        char *path = strtok_r(line, " ", &words); /* a number, the call, the path */
        path = strtok_r(NULL, " ", &words);
        path = strtok_r(NULL, " ", &words);
        bool inside = strcmp(path, RIG_DIR) == 0 || strcmp(path, "-") == 0 ||
                      strcmp(path, ".") == 0 ||     /* where the store itself is, synced */
                      strcmp(path, "after") == 0 || /* the line of a restart */
                      strncmp(path, RIG_DIR "/", strlen(RIG_DIR "/")) == 0;
        if (!inside || strstr(path, "..") != NULL) {
            fail_msg("%s", path);
        }
    }
    assert_true(lines > 1000);
    free(text);
    rig_fini(&r);
}

/* ---- Writes while a merge stands still ---- */

static void stop_and_write(uint64_t seed, enum bk_merge_state at, enum bk_sync sync)
{
    struct rig r;
    setup_rig(&r, seed, sync);
    unsigned stops = 0;
    for (unsigned i = 0; i < 60; i++) {
        for (unsigned k = 0; k < 12; k++) {
            RIG_TRUE(&r, rig_random_op(&r));
        }
        if (merge_until(&r, at)) {
            stops++;
            for (unsigned k = 0; k < 12; k++) {
                RIG_TRUE(&r, rig_random_op(&r));
            }
        }
        if (i % 10 == 9) {
            same_after_restart(&r);
        }
    }
    assert_true(stops > 0);
    same_after_restart(&r);
    rig_fini(&r);
}

/* Overwrites, deletes, flushes and swaps between any two states: the copy never replaces what came
 * later (trap 2), nothing live is lost (28), places found before and after are right (29), flushed
 * keys stay gone (33). */
static void test_trap02__writes_in_each_state__the_newest_stays(void **state)
{
    (void)state;
    for (int at = BK_MERGE_PLAN; at <= BK_MERGE_RETIRE; at++) {
        for (uint64_t seed = 1; seed <= 3 * (uint64_t)long_factor(); seed++) {
            stop_and_write(seed * 10 + (uint64_t)at, (enum bk_merge_state)at,
                           (enum bk_sync)(seed % 3));
        }
    }
}

static void test_trap33__flush_in_each_state__old_keys_stay_gone(void **state)
{
    (void)state;
    for (int at = BK_MERGE_PLAN; at <= BK_MERGE_RETIRE; at++) {
        struct rig r;
        setup_rig(&r, 50 + (uint64_t)at, BK_SYNC_EVERYSEC);
        put_n(&r, "a", 100, "1");
        put_n(&r, "a", 70, "2");
        RIG_TRUE(&r, rig_settle(&r));
        assert_true(merge_until(&r, (enum bk_merge_state)at));
        rig_begin(&r);
        rig_batch_flush(&r, 0);
        assert_int_equal(rig_commit(&r), BK_OK);
        assert_int_equal(rig_put(&r, "new", "1"), BK_OK);
        same_after_restart(&r);
        assert_int_equal(bk_count(r.db, 0), 1);
        rig_fini(&r);
    }
}

static void test_trap28__uncommitted_writes_undone_in_each_state__nothing_is_lost(void **state)
{
    (void)state;
    for (int at = BK_MERGE_PLAN; at <= BK_MERGE_RETIRE; at++) {
        for (uint64_t seed = 1; seed <= 6; seed++) {
            struct rig r;
            setup_rig(&r, 700 + seed * 16 + (uint64_t)at, (enum bk_sync)(seed % 3));
            r.opt.on_corruption = BK_CORRUPT_SERVE;
            for (unsigned k = 0; k < 150; k++) {
                RIG_TRUE(&r, rig_random_op(&r));
            }
            merge_until(&r, (enum bk_merge_state)at);
            for (unsigned k = 0; k < 6; k++) {
                RIG_TRUE(&r, rig_random_op(&r));
            }
            simdisk_fail(r.disk, SIMDISK_WRITE, 1, 2, EIO);
            for (unsigned k = 0; k < 6; k++) {
                RIG_TRUE(&r, rig_random_op(&r));
            }
            simdisk_fail(r.disk, 0, 0, 0, 0);
            simclock_advance_ms(&r.clock, 2000);
            RIG_TRUE(&r, rig_settle(&r));
            same_after_restart(&r);
            rig_fini(&r);
        }
    }
}

/* ---- Damage, full disks, descriptors ---- */

static void find_record(struct rig *r, const char *path, const char *needle, uint64_t *offset)
{
    struct bk_buf bytes = {0};
    simdisk_read(r->disk, path, &bytes);
    const uint8_t *p = memmem(bytes.data, bytes.len, needle, strlen(needle));
    assert_non_null(p);
    *offset = (uint64_t)(p - bytes.data);
    bk_buf_fini(&bytes);
}

static void note_active(void *arg, const struct bk_file_info *info)
{
    struct bk_file_info *active = arg;
    if (info->state == BK_FILE_ACTIVE) {
        *active = *info;
    }
}

static void first_sealed(void *arg, const struct bk_file_info *info)
{
    uint64_t *id = arg;
    if (*id == 0 && info->state == BK_FILE_SEALED) {
        *id = info->id;
    }
}

static int load(struct rig *r, const char *key)
{
    struct bk_item item = {0};
    struct bk_key k;
    bk_key_init(r->db, &k, key, strlen(key));
    bk_locate(r->db, &(uint32_t){0}, &k, 1, &item);
    int rc = item.at == 0 ? BK_NOTFOUND : bk_load(r->db, &k, &item, NULL);
    bk_item_fini(&item);
    return rc;
}

static void test_trap48__damaged_live_value__a_marker_takes_its_place(void **state)
{
    (void)state;
    struct rig r;
    char name[64];
    char path[300];
    uint64_t id = 0;
    uint64_t offset;
    setup_rig(&r, 5, BK_SYNC_ALWAYS);
    r.opt.on_corruption = BK_CORRUPT_SERVE;
    assert_int_equal(rig_put(&r, "k", "an older value"), BK_OK);
    RIG_TRUE(&r, rig_settle(&r));
    next_file(&r);
    assert_int_equal(rig_put(&r, "k", "the newest value"), BK_OK);
    put_n(&r, "dead", 30, "1");
    put_n(&r, "dead", 30, "2");
    RIG_TRUE(&r, rig_settle(&r));
    r.opt.merge.policy = BK_MERGE_NEVER;
    next_file(&r);
    bk_files(r.db, first_sealed, &id);
    for (uint64_t i = id; i < id + 20; i++) {
        snprintf(name, sizeof(name), "%010llu.data", (unsigned long long)i);
        rig_path(name, path, sizeof(path));
        struct bk_buf bytes = {0};
        if (simdisk_exists(r.disk, path)) {
            simdisk_read(r.disk, path, &bytes);
        }
        bool here = bytes.len > 0 && memmem(bytes.data, bytes.len, "the newest", 10) != NULL;
        bk_buf_fini(&bytes);
        if (here) {
            break;
        }
    }
    find_record(&r, path, "the newest", &offset);
    simdisk_patch(r.disk, path, offset, "T", 1);
    assert_int_equal(load(&r, "k"), BK_CORRUPT);
    bk_merge(r.db, BK_MERGE_NOW);
    merge_all(&r);
    struct bk_merge_status s;
    bk_merge_status(r.db, &s);
    assert_int_equal(s.markers, 1);
    assert_int_equal(load(&r, "k"), BK_CORRUPT);
    for (int i = 0; i < 2; i++) {
        next_file(&r);
        assert_int_equal(load(&r, "k"), BK_CORRUPT);
        RIG_TRUE(&r, rig_check(&r));
    }
    rig_fini(&r);
}

/* Several wrong bits: no checksum tells whose record it was, but the file's hint does. */
static void test_trap01__tombstone_in_a_damaged_place__key_stays_deleted(void **state)
{
    (void)state;
    struct rig r;
    char path[300] = "";
    uint64_t offset;
    setup_rig(&r, 1, BK_SYNC_ALWAYS);
    r.opt.on_corruption = BK_CORRUPT_SERVE;
    r.opt.merge.policy = BK_MERGE_NEVER;
    next_file(&r);
    put_n(&r, "old", 30, "v");
    assert_int_equal(rig_put(&r, "a-key-that-goes", "value"), BK_OK);
    next_file(&r);
    assert_int_equal(rig_delete(&r, "a-key-that-goes"), BK_OK);
    struct bk_file_info active = {0};
    bk_files(r.db, note_active, &active);
    snprintf(path, sizeof(path), RIG_DIR "/%010llu.data", (unsigned long long)active.id);
    put_n(&r, "dead", 20, "1");
    put_n(&r, "dead", 20, "2");
    next_file(&r);
    merge_all(&r); /* hints only */
    find_record(&r, path, "a-key-that-goes", &offset);
    simdisk_patch(r.disk, path, offset - 12, "\xff\x55\xff\xaa\xff\x55\xff", 7);
    r.opt.merge.policy = BK_MERGE_ALWAYS;
    next_file(&r);
    merge_all(&r);
    assert_true(merges(&r) > 0);
    assert_false(simdisk_exists(r.disk, path));
    for (int i = 0; i < 2; i++) {
        next_file(&r);
        assert_int_equal(load(&r, "a-key-that-goes"), BK_NOTFOUND);
        assert_int_equal(bk_count(r.db, 0), 50);
        RIG_TRUE(&r, rig_check(&r));
    }
    rig_fini(&r);
}

static void test_trap17__no_room_for_outputs__what_is_dead_goes_all_the_same(void **state)
{
    (void)state;
    struct rig r;
    struct bk_stats before;
    struct bk_stats after;
    setup_rig(&r, 6, BK_SYNC_ALWAYS);
    r.opt.merge.policy = BK_MERGE_NEVER;
    next_file(&r);
    put_n(&r, "a", 200, "1");
    put_n(&r, "a", 200, "2");
    RIG_TRUE(&r, rig_settle(&r));
    bk_stats_get(r.db, &before);
    simdisk_capacity(r.disk, simdisk_used(r.disk));
    bk_merge(r.db, BK_MERGE_NOW);
    for (unsigned i = 0; i < 2000; i++) {
        one_step(&r);
    }
    bk_stats_get(r.db, &after);
    assert_true(after.file_bytes < before.file_bytes);
    simdisk_capacity(r.disk, UINT64_MAX);
    same_after_restart(&r);
    rig_fini(&r);
}

static void has_header(void *arg, const char *name)
{
    struct rig *r = arg;
    char path[300];
    struct bk_buf all = {0};
    rig_path(name, path, sizeof(path));
    simdisk_read(r->disk, path, &all);
    assert_true(all.len >= 64);
    assert_memory_equal(all.data, "bitkvdat", 8);
    bk_buf_fini(&all);
}

/* There is room for the copies, but not for all that is asked for ahead of them: the file is cut
 * back to what it was, which its header is a part of. */
static void test_trap17__less_room_than_asked_for__outputs_keep_their_headers(void **state)
{
    (void)state;
    struct rig r;
    struct bk_merge_status s;
    uint64_t outputs = 0;
    setup_rig(&r, 8, BK_SYNC_ALWAYS);
    r.opt.merge.policy = BK_MERGE_NEVER;
    next_file(&r);
    put_n(&r, "a", 400, "1");
    put_n(&r, "a", 150, "2");
    RIG_TRUE(&r, rig_settle(&r));
    simdisk_capacity(r.disk, simdisk_used(r.disk) + (1u << 20));
    bk_merge(r.db, BK_MERGE_NOW);
    for (unsigned i = 0; i < 2000; i++) {
        one_step(&r);
        bk_merge_status(r.db, &s);
        outputs = s.files_out > outputs ? s.files_out : outputs;
    }
    assert_true(outputs > 1);
    assert_true(rig_data_files(&r, has_header, &r) > 1);
    same_after_restart(&r);
    rig_fini(&r);
}

static void test_trap35__many_merges__descriptors_are_steady(void **state)
{
    (void)state;
    struct rig r;
    unsigned most = 0;
    setup_rig(&r, 7, BK_SYNC_NO);
    for (unsigned i = 0; i < 300; i++) {
        put_n(&r, "k", 20, i % 2 == 0 ? "even" : "odd");
        one_step(&r);
        if (i % 50 == 49) {
            RIG_TRUE(&r, rig_sync(&r));
            merge_all(&r);
            struct bk_stats s;
            bk_stats_get(r.db, &s);
            /* One a data file, the manifest and the lock. */
            assert_true(simdisk_handles(r.disk) <= s.files + 2);
            most = simdisk_handles(r.disk) > most ? simdisk_handles(r.disk) : most;
            assert_true(most < 20);
        }
    }
    assert_true(merges(&r) > 5);
    same_after_restart(&r);
    rig_fini(&r);
}

/* Chosen by bytes, so that even overwriting keeps its bound and merges do not run for nothing. */
static void test_trap38__even_overwriting__stays_under_its_bound(void **state)
{
    (void)state;
    struct rig r;
    struct bk_merge_status m;
    struct bk_stats s;
    rig_init(&r, 8, BK_SYNC_NO);
    bk_merge_rules_init(&r.opt.merge);
    r.opt.merge.small_file = 2048;
    r.opt.merge.interval_ms = 1;
    r.opt.merge.rate = 0;
    r.opt.max_file_bytes = 16384;
    RIG_TRUE(&r, rig_open(&r) == BK_OK);
    for (unsigned i = 0; i < 40000; i++) {
        char key[16];
        snprintf(key, sizeof(key), "key%llu", (unsigned long long)rng_below(&r.rng, 1000));
        int rc;
        while ((rc = rig_put(&r, key, "a value of forty bytes or somewhat more")) == BK_EAGAIN) {
            one_step(&r);
        }
        one_step(&r);
    }
    RIG_TRUE(&r, rig_sync(&r));
    merge_all(&r);
    bk_stats_get(r.db, &s);
    bk_merge_status(r.db, &m);
    assert_true(s.file_bytes < 2 * s.live_bytes);
    assert_true(m.bytes_written < 2 * s.write_bytes);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trap01__delete_merged_before_the_value__key_stays_deleted),
        cmocka_unit_test(test_trap01__tombstone_in_a_damaged_place__key_stays_deleted),
        cmocka_unit_test(test_trap12__clock_goes_back_between_merges__newer_write_wins),
        cmocka_unit_test(test_trap25__expired_record_merged__older_copy_stays_hidden),
        cmocka_unit_test(test_trap25__expires_while_its_file_is_merged__older_copy_stays_hidden),
        cmocka_unit_test(test_trap26__expiry__survives_a_merge),
        cmocka_unit_test(test_trap45__everything_deleted__the_files_go),
        cmocka_unit_test(test_trap30__merges_and_restarts__name_no_other_directory),
        cmocka_unit_test(test_trap02__writes_in_each_state__the_newest_stays),
        cmocka_unit_test(test_trap33__flush_in_each_state__old_keys_stay_gone),
        cmocka_unit_test(test_trap28__uncommitted_writes_undone_in_each_state__nothing_is_lost),
        cmocka_unit_test(test_trap48__damaged_live_value__a_marker_takes_its_place),
        cmocka_unit_test(test_trap17__no_room_for_outputs__what_is_dead_goes_all_the_same),
        cmocka_unit_test(test_trap17__less_room_than_asked_for__outputs_keep_their_headers),
        cmocka_unit_test(test_trap35__many_merges__descriptors_are_steady),
        cmocka_unit_test(test_trap38__even_overwriting__stays_under_its_bound),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
