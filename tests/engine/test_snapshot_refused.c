/* SPDX-License-Identifier: MIT */
/* test_snapshot_refused.c - what snapshots, restores and removals do not touch, and do not make. */
#include "engine_test.h"

#include <errno.h>

#define SNAP "snap"
#define BACK "back"

static int setup(void **state)
{
    struct rig *r = set_rig_up(state, 73, BK_SYNC_EVERYSEC);
    RIG_TRUE(r, rig_open(r) == BK_OK);
    assert_int_equal(rig_put(r, "k", "v"), BK_OK);
    return 0;
}

static struct bk_db *open_in(struct rig *r, const char *dir)
{
    struct bk_options opt = r->opt;
    struct bk_error err = {0};
    struct bk_db *db = NULL;
    opt.dir = dir;
    BK_SUCCEEDS(bk_open(&db, &opt, &err), err);
    return db;
}

/* The store in dir opens and has the key. */
static void expect_whole(struct rig *r, const char *dir)
{
    struct bk_db *db = open_in(r, dir);
    struct bk_buf v = {0};
    assert_int_equal(bk_get(db, 0, bk_span_str("k"), &v, NULL), BK_OK);
    assert_true(bk_span_eq(bk_buf_span(&v), bk_span_str("v")));
    assert_int_equal(bk_close(&db, NULL), BK_OK);
    bk_buf_fini(&v);
}

/* ---- The name that it has until it is whole ---- */

/* Somebody's file in a directory of that name, however it got there. */
static void test_snapshot__other_name_is_taken__leaves_what_has_it(void **state)
{
    struct rig *r = *state;
    const struct bk_io *io = simdisk_io(r->disk);
    struct bk_error err = {0};
    BK_SUCCEEDS(bk_snapshot(r->db, SNAP, NULL, NULL, &err), err);
    assert_int_equal(io->mkdir(io->arg, BACK ".tmp"), 0);
    simdisk_put(r->disk, BACK ".tmp/a", "mine", 4);
    assert_int_equal(bk_restore(io, SNAP, BACK, NULL, &err), BK_EINVAL);
    assert_string_equal(err.path, BACK ".tmp");
    assert_non_null(strstr(err.text, "remove it"));
    assert_int_equal(bk_snapshot(r->db, BACK, NULL, NULL, &err), BK_EINVAL);
    assert_string_equal(err.path, BACK ".tmp");
    assert_int_equal(simdisk_size(r->disk, BACK ".tmp/a"), 4);
    assert_false(simdisk_exists(r->disk, BACK));
    simdisk_remove(r->disk, BACK ".tmp/a");
    BK_SUCCEEDS(bk_restore(io, SNAP, BACK, NULL, &err), err); /* empty: taken over */
    expect_whole(r, BACK);
}

static void test_snapshot__removal_finds_its_name_taken__leaves_both(void **state)
{
    struct rig *r = *state;
    const struct bk_io *io = simdisk_io(r->disk);
    struct bk_error err = {0};
    BK_SUCCEEDS(bk_snapshot(r->db, SNAP, NULL, NULL, &err), err);
    assert_int_equal(io->mkdir(io->arg, SNAP ".tmp"), 0);
    simdisk_put(r->disk, SNAP ".tmp/a", "mine", 4);
    assert_int_equal(bk_snapshot_remove(io, SNAP, &err), BK_EINVAL);
    assert_string_equal(err.path, SNAP ".tmp");
    assert_int_equal(simdisk_size(r->disk, SNAP ".tmp/a"), 4);
    expect_whole(r, SNAP);
}

static void test_snapshot__removal_finds_a_file_of_somebodys__leaves_all(void **state)
{
    struct rig *r = *state;
    const struct bk_io *io = simdisk_io(r->disk);
    struct bk_error err = {0};
    BK_SUCCEEDS(bk_snapshot(r->db, SNAP, NULL, NULL, &err), err);
    simdisk_put(r->disk, SNAP "/notes", "mine", 4);
    assert_int_equal(bk_snapshot_remove(io, SNAP, &err), BK_EINVAL);
    assert_string_equal(err.path, SNAP "/notes");
    assert_int_equal(simdisk_size(r->disk, SNAP "/notes"), 4);
    expect_whole(r, SNAP);
    simdisk_remove(r->disk, SNAP "/notes");
    BK_SUCCEEDS(bk_snapshot_remove(io, SNAP, &err), err);
    assert_false(simdisk_exists(r->disk, SNAP) || simdisk_exists(r->disk, SNAP ".tmp"));
}

/* No room for its LOCK, so there is none: nobody has it open. */
static void test_snapshot__removal_without_room_for_a_lock__removes(void **state)
{
    struct rig *r = *state;
    const struct bk_io *io = simdisk_io(r->disk);
    struct bk_error err = {0};
    static const int full[] = {ENOSPC, EDQUOT};
    for (size_t i = 0; i < 2; i++) {
        BK_SUCCEEDS(bk_snapshot(r->db, SNAP, NULL, NULL, &err), err);
        simdisk_fail(r->disk, SIMDISK_LOCK, 1, 1, full[i]);
        BK_SUCCEEDS(bk_snapshot_remove(io, SNAP, &err), err);
        assert_int_equal(simdisk_failed(r->disk), 1);
        assert_false(simdisk_exists(r->disk, SNAP) || simdisk_exists(r->disk, SNAP ".tmp"));
    }
    BK_SUCCEEDS(bk_snapshot(r->db, SNAP, NULL, NULL, &err), err);
    simdisk_fail(r->disk, SIMDISK_LOCK, 1, 1, EIO);
    assert_int_equal(bk_snapshot_remove(io, SNAP, &err), BK_EIO);
    expect_whole(r, SNAP);
}

static void test_snapshot__source_has_the_other_name__stays_whole(void **state)
{
    struct rig *r = *state;
    const struct bk_io *io = simdisk_io(r->disk);
    struct bk_error err = {0};
    BK_SUCCEEDS(bk_snapshot(r->db, BACK ".tmp", NULL, NULL, &err), err);
    assert_int_equal(bk_restore(io, BACK ".tmp", BACK, NULL, &err), BK_EINVAL);
    expect_whole(r, BACK ".tmp");
    struct bk_db *db = open_in(r, BACK ".tmp"); /* the open store itself */
    assert_int_equal(bk_snapshot(db, BACK, NULL, NULL, &err), BK_EINVAL);
    assert_int_equal(bk_close(&db, NULL), BK_OK);
    expect_whole(r, BACK ".tmp");
    assert_false(simdisk_exists(r->disk, BACK));
}

/* ---- Restoring what others have open ---- */

static void test_snapshot__restored_where_a_store_writes__is_refused_with_the_pid(void **state)
{
    struct rig *r = *state;
    const struct bk_io *io = simdisk_io(r->disk);
    struct bk_error err = {0};
    BK_SUCCEEDS(bk_snapshot(r->db, SNAP, NULL, NULL, &err), err);
    BK_SUCCEEDS(bk_restore(io, SNAP, BACK, NULL, &err), err);
    assert_false(simdisk_exists(r->disk, SNAP "/LOCK")); /* as on a disk that is only read */
    struct bk_db *db = open_in(r, SNAP);
    assert_int_equal(bk_restore(io, SNAP, BACK "2", NULL, &err), BK_ELOCKED);
    assert_string_equal(err.path, SNAP "/LOCK");
    assert_non_null(strstr(err.text, "process 4711 has"));
    assert_false(simdisk_exists(r->disk, BACK "2") || simdisk_exists(r->disk, BACK "2.tmp"));
    assert_int_equal(bk_close(&db, NULL), BK_OK);
    r->opt.read_only = true;
    db = open_in(r, SNAP);
    BK_SUCCEEDS(bk_restore(io, SNAP, BACK "2", NULL, &err), err);
    assert_int_equal(bk_close(&db, NULL), BK_OK);
    r->opt.read_only = false;
    expect_whole(r, BACK "2");
}

/* Nobody can open it to write while it is read; whatever fails, afterwards everybody can. */
static void test_snapshot__restoring_ends_early__lets_the_snapshot_go(void **state)
{
    struct rig *r = *state;
    const struct bk_io *io = simdisk_io(r->disk);
    struct bk_error err = {0};
    BK_SUCCEEDS(bk_snapshot(r->db, SNAP, NULL, NULL, &err), err);
    expect_whole(r, SNAP); /* which makes its LOCK */
    unsigned handles = simdisk_handles(r->disk);
    uint64_t n = 1;
    for (bool failed = true; failed; n++) {
        simdisk_fail(r->disk, SIMDISK_ANY & ~(unsigned)(SIMDISK_CLOSE | SIMDISK_UNLOCK), n, 1, EIO);
        int rc = bk_restore(io, SNAP, BACK, NULL, &err);
        failed = simdisk_failed(r->disk) > 0;
        simdisk_fail(r->disk, 0, 0, 0, 0);
        assert_true(rc == BK_OK || failed);
        assert_int_equal(simdisk_handles(r->disk), handles);
        if (failed && simdisk_exists(r->disk, rc == BK_OK ? BACK : BACK ".tmp")) {
            BK_SUCCEEDS(bk_snapshot_remove(io, rc == BK_OK ? BACK : BACK ".tmp", &err), err);
        }
    }
    assert_true(n > 10);
    expect_whole(r, SNAP);
    expect_whole(r, BACK);
}

/* ---- A store that is not whole ---- */

static void expect_refused(struct rig *r, const char *why)
{
    struct bk_error err = {0};
    RIG_TRUE(r, rig_open(r) == BK_OK);
    assert_int_equal(bk_snapshot(r->db, SNAP, NULL, NULL, &err), BK_CORRUPT);
    assert_non_null(strstr(err.text, why));
    assert_non_null(strstr(err.text, "bitkv repair"));
    assert_false(simdisk_exists(r->disk, SNAP) || simdisk_exists(r->disk, SNAP ".tmp"));
    bk_batch_free(&r->batch);
    assert_int_equal(bk_close(&r->db, NULL), BK_OK);
}

static void test_snapshot__file_cut_or_headless__is_refused_until_it_is_back(void **state)
{
    struct rig *r = *state;
    const struct bk_io *io = simdisk_io(r->disk);
    struct bk_error err = {0};
    struct bk_buf file = {0};
    uint8_t wrong[3];
    char path[300];
    rig_path("0000000001.data", path, sizeof(path));
    RIG_TRUE(r, rig_close(r) == BK_OK);
    simdisk_read(r->disk, path, &file);
    r->opt.on_corruption = BK_CORRUPT_SERVE;
    simdisk_resize(r->disk, path, file.len - 1);
    expect_refused(r, "shorter");
    simdisk_put(r->disk, path, file.data, file.len);
    for (size_t i = 0; i < sizeof(wrong); i++) {
        wrong[i] = file.data[16 + i] ^ 0xff;
    }
    simdisk_patch(r->disk, path, 16, wrong, sizeof(wrong));
    expect_refused(r, "header");
    simdisk_put(r->disk, path, file.data, file.len);
    RIG_TRUE(r, rig_open(r) == BK_OK);
    BK_SUCCEEDS(bk_snapshot(r->db, SNAP, NULL, NULL, &err), err);
    BK_SUCCEEDS(bk_restore(io, SNAP, BACK, NULL, &err), err);
    expect_whole(r, BACK);
    bk_buf_fini(&file);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown_rig)
    const struct CMUnitTest tests[] = {
        T(test_snapshot__other_name_is_taken__leaves_what_has_it),
        T(test_snapshot__removal_finds_its_name_taken__leaves_both),
        T(test_snapshot__removal_finds_a_file_of_somebodys__leaves_all),
        T(test_snapshot__removal_without_room_for_a_lock__removes),
        T(test_snapshot__source_has_the_other_name__stays_whole),
        T(test_snapshot__restored_where_a_store_writes__is_refused_with_the_pid),
        T(test_snapshot__restoring_ends_early__lets_the_snapshot_go),
        T(test_snapshot__file_cut_or_headless__is_refused_until_it_is_back),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
