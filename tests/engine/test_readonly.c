/* SPDX-License-Identifier: MIT */
/* test_readonly.c - a store that is opened to be read: it shows what any opening shows, and leaves
 * every byte and every name as it was. */
#include "engine_test.h"

#define CHANGING                                                                          \
    (SIMDISK_WRITE | SIMDISK_SYNC | SIMDISK_ALLOCATE | SIMDISK_TRUNCATE | SIMDISK_MKDIR | \
     SIMDISK_RENAME | SIMDISK_UNLINK | SIMDISK_SYNC_DIR | SIMDISK_LINK | SIMDISK_RMDIR)

static int open_to_read(struct rig *r, struct simdisk *disk, struct bk_db **db,
                        struct bk_error *err)
{
    struct bk_options opt = r->opt;
    opt.read_only = true;
    opt.io = simdisk_io(disk);
    opt.on_corruption = BK_CORRUPT_SERVE;
    return bk_open(db, &opt, err);
}

struct keys {
    struct rig *r;
    struct bk_db *mine, *other;
    uint32_t num;
    size_t n;
};

static void same_key(void *arg, const struct bk_scan_entry *e)
{
    struct keys *k = arg;
    struct bk_buf mine = {0};
    struct bk_buf other = {0};
    int64_t until[2] = {0, 0};
    int rc = bk_get(k->mine, k->num, e->key, &mine, &until[0]);
    assert_int_equal(bk_get(k->other, k->num, e->key, &other, &until[1]), rc);
    assert_true(rc != BK_OK || bk_span_eq(bk_buf_span(&mine), bk_buf_span(&other)));
    assert_int_equal(until[0], until[1]);
    bk_buf_fini(&mine);
    bk_buf_fini(&other);
    k->n++;
}

/* Every key of one is in the other, and there are as many. */
static void same_contents(struct rig *r, struct bk_db *a, struct bk_db *b)
{
    for (uint32_t num = 0; num < RIG_DATABASES; num++) {
        struct keys k = {r, a, b, num, 0};
        uint64_t cursor = 0;
        do {
            bk_scan(a, num, &cursor, 100, same_key, &k);
        } while (cursor != 0);
        assert_int_equal(bk_count(a, num), bk_count(b, num));
        assert_int_equal(bk_count(a, num), k.n);
    }
}

/* Reads the store as it lies there, then opens a copy of it as a writer does, and compares. */
static void read_and_compare(struct rig *r, uint64_t seed)
{
    struct bk_error err = {0};
    struct bk_db *reader = NULL;
    struct bk_db *writer = NULL;
    struct bk_options opt = r->opt;
    struct simdisk *copy = simdisk_clone(r->disk, seed);
    uint64_t before = simdisk_calls(r->disk, CHANGING);
    BK_SUCCEEDS(open_to_read(r, r->disk, &reader, &err), err);
    BK_SUCCEEDS(bk_check(reader, &err), err);
    opt.io = simdisk_io(copy);
    opt.on_corruption = BK_CORRUPT_SERVE;
    BK_SUCCEEDS(bk_open(&writer, &opt, &err), err);
    same_contents(r, reader, writer);
    assert_int_equal(bk_put(reader, 0, bk_span_str("k"), bk_span_str("v"), 0), BK_EREADONLY);
    assert_int_equal(bk_write_state(reader, NULL), BK_EREADONLY);
    assert_int_equal(bk_snapshot(reader, RIG_DIR "/snap", NULL, NULL, NULL), BK_EREADONLY);
    assert_false(bk_step(reader));
    BK_SUCCEEDS(bk_close(&reader, &err), err);
    assert_int_equal(simdisk_calls(r->disk, CHANGING), before);
    BK_SUCCEEDS(bk_close(&writer, &err), err);
    simdisk_free(&copy);
}

static void damage(struct rig *r, uint64_t pick)
{
    char path[300];
    rig_path(pick % 2 == 0 ? "MANIFEST" : "KEYDIR", path, sizeof(path));
    if (simdisk_size(r->disk, path) > 40) {
        simdisk_patch(r->disk, path, 20 + rng_below(&r->rng, 20), "\xa5", 1);
    }
}

static void test_readonly__stores_closed_killed_cut_and_damaged__read_as_a_writer_finds_them(
    void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40 * (uint64_t)long_factor(); seed++) {
        struct rig r;
        rig_init(&r, seed, (enum bk_sync)(seed % 3));
        rig_merging(&r);
        r.opt.max_file_bytes = (uint64_t)4096 << (seed % 4);
        RIG_TRUE(&r, rig_open(&r) == BK_OK);
        for (unsigned i = 0; i < 150; i++) {
            RIG_TRUE(&r, rig_random_op(&r));
        }
        if (seed % 4 == 0) {
            RIG_TRUE(&r, rig_close(&r) == BK_OK);
        } else {
            rig_crash(&r, seed % 4 == 1 ? SIMDISK_POWER : SIMDISK_KILL);
        }
        read_and_compare(&r, seed);
        if (seed % 3 == 0) {
            damage(&r, seed);
            read_and_compare(&r, seed);
        }
        rig_fini(&r);
    }
}

static void test_readonly__no_store__is_an_error_and_makes_none(void **state)
{
    (void)state;
    struct rig r;
    struct bk_db *db = NULL;
    struct bk_error err = {0};
    rig_init(&r, 1, BK_SYNC_ALWAYS);
    assert_int_equal(open_to_read(&r, r.disk, &db, &err), BK_EIO);
    assert_int_equal(simdisk_calls(r.disk, CHANGING), 0);
    assert_null(db);
    rig_fini(&r);
}

static void test_readonly__lock__readers_share_it_and_keep_writers_out(void **state)
{
    (void)state;
    struct rig r;
    struct bk_db *one = NULL;
    struct bk_db *two = NULL;
    struct bk_error err = {0};
    rig_init(&r, 1, BK_SYNC_ALWAYS);
    RIG_TRUE(&r, rig_open(&r) == BK_OK);
    assert_int_equal(rig_put(&r, "k", "v"), BK_OK);
    RIG_TRUE(&r, rig_settle(&r));
    assert_int_equal(open_to_read(&r, r.disk, &one, &err), BK_ELOCKED);
    assert_non_null(strstr(err.text, "4711"));
    RIG_TRUE(&r, rig_close(&r) == BK_OK);
    BK_SUCCEEDS(open_to_read(&r, r.disk, &one, &err), err);
    BK_SUCCEEDS(open_to_read(&r, r.disk, &two, &err), err);
    assert_int_equal(bk_open(&r.db, &r.opt, &err),
                     BK_ELOCKED); /* this disk knows no reader's pid */
    assert_string_equal(err.text, "a process that reads has this directory open: which one cannot "
                                  "be seen from here");
    BK_SUCCEEDS(bk_close(&one, &err), err);
    BK_SUCCEEDS(bk_close(&two, &err), err);
    RIG_TRUE(&r, rig_open(&r) == BK_OK);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            test_readonly__stores_closed_killed_cut_and_damaged__read_as_a_writer_finds_them),
        cmocka_unit_test(test_readonly__no_store__is_an_error_and_makes_none),
        cmocka_unit_test(test_readonly__lock__readers_share_it_and_keep_writers_out),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
