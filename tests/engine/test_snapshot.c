/* SPDX-License-Identifier: MIT */
/* test_snapshot.c - snapshots, restoring and removing them, cut short and refused at every call of
 * the disk. Under load, on a real disk: test_snapshot_load.c. */
#include "engine_test.h"

#include <errno.h>

#define SNAP "snap"
#define BACK "back"
#define OPS 60u

static int setup(void **state)
{
    struct rig *r = set_rig_up(state, 71, BK_SYNC_EVERYSEC);
    RIG_TRUE(r, rig_open(r) == BK_OK);
    return 0;
}

static void play(struct rig *r, unsigned ops)
{
    for (unsigned i = 0; i < ops && !simdisk_dead(r->disk); i++) {
        RIG_TRUE(r, rig_random_op(r));
    }
}

/* The rig's store and the one in dir change places: what the rig says is of that one. */
struct aside {
    struct bk_db *db;
    struct bk_batch *batch;
    const char *dir;
};

static int look_into(struct rig *r, const char *dir, struct aside *a)
{
    struct bk_error err = {0};
    *a = (struct aside){r->db, r->batch, r->opt.dir};
    r->opt.dir = dir;
    r->db = NULL;
    r->batch = NULL;
    int rc = bk_open(&r->db, &r->opt, &err);
    if (rc == BK_OK) {
        r->batch = bk_batch_new(r->db);
    } else {
        snprintf(r->why, sizeof(r->why), "%s %s", err.path, err.text);
    }
    return rc;
}

static void look_back(struct rig *r, struct aside *a)
{
    struct bk_error err = {0};
    if (r->db != NULL) {
        bk_batch_free(&r->batch);
        BK_SUCCEEDS(bk_close(&r->db, &err), err);
    }
    r->db = a->db;
    r->batch = a->batch;
    r->opt.dir = a->dir;
}

/* The store in dir opens and equals the model's present state. */
static void expect_same(struct rig *r, const char *dir)
{
    struct aside a;
    RIG_TRUE(r, look_into(r, dir, &a) == BK_OK);
    RIG_TRUE(r, rig_same(r));
    RIG_TRUE(r, rig_check(r));
    look_back(r, &a);
}

static void add_bytes(void *arg, const struct bk_file_info *info)
{
    *(uint64_t *)arg += info->size;
    assert_int_equal(info->state, BK_FILE_SEALED);
}

static void test_snapshot__taken__opens_and_holds_all_that_was_written(void **state)
{
    struct rig *r = *state;
    for (unsigned round = 0; round < 6; round++) {
        struct bk_snapshot_result res = {0};
        struct bk_error err = {0};
        char dir[16];
        uint64_t bytes = 0;
        play(r, 40); /* some of it still in the log's buffer, or not synced */
        uint64_t tail = bk_tail(r->db);
        snprintf(dir, sizeof(dir), SNAP "%u", round);
        BK_SUCCEEDS(bk_snapshot(r->db, dir, &res, NULL, &err), err);
        assert_true(res.pos >= tail);
        assert_true(res.files > 0 && res.copied_bytes == 0);
        BK_SUCCEEDS(bk_snapshot_files(simdisk_io(r->disk), dir, add_bytes, &bytes, &err), err);
        assert_int_equal(bytes, res.bytes);
        expect_same(r, dir);
        RIG_TRUE(r, rig_same(r));
    }
    RIG_TRUE(r, rig_settle(r));
    RIG_TRUE(r, rig_check(r));
}

/* The two go their own ways: nothing that one of them does shows in the other. */
static void test_snapshot__written_to__changes_nothing_in_the_store(void **state)
{
    struct rig *r = *state;
    struct bk_error err = {0};
    struct aside a;
    play(r, 80);
    assert_int_equal(rig_put(r, "in both", "1"), BK_OK);
    BK_SUCCEEDS(bk_snapshot(r->db, SNAP, NULL, NULL, &err), err);
    struct bk_buf manifest = {0};
    struct bk_buf later = {0};
    simdisk_read(r->disk, SNAP "/MANIFEST", &manifest);

    play(r, 80);
    assert_int_equal(rig_put(r, "in the store", "1"), BK_OK);
    RIG_TRUE(r, rig_sync(r));
    simdisk_read(r->disk, SNAP "/MANIFEST", &later);
    assert_true(bk_span_eq(bk_buf_span(&manifest), bk_buf_span(&later)));

    RIG_TRUE(r, look_into(r, SNAP, &a) == BK_OK);
    struct bk_buf v = {0};
    assert_int_equal(bk_get(r->db, 0, bk_span_str("in both"), &v, NULL), BK_OK);
    assert_int_equal(bk_get(r->db, 0, bk_span_str("in the store"), &v, NULL), BK_NOTFOUND);
    for (unsigned i = 0; i < 60; i++) {
        uint64_t pos = 0;
        char text[600];
        struct bk_key key;
        memset(text, 'x', sizeof(text));
        snprintf(text, 16, "own %u", i);
        bk_key_init(r->db, &key, text, strlen(text));
        text[8] = 'x';
        bk_batch_begin(r->batch);
        bk_batch_put(r->batch, 0, &key, &(struct bk_value){bk_span_of(text, sizeof(text)), NULL}, 0,
                     0);
        int rc = bk_batch_commit(r->batch, &pos, &err);
        for (unsigned k = 0; rc == BK_EAGAIN && k < 1000; k++) {
            bk_flush(r->db, bk_tail(r->db));
            bk_step(r->db);
            rc = bk_batch_commit(r->batch, &pos, &err);
        }
        assert_true(rc == BK_OK);
    }
    look_back(r, &a);

    RIG_TRUE(r, rig_settle(r));
    RIG_TRUE(r, rig_same(r));
    RIG_TRUE(r, rig_check(r));
    rig_crash(r, SIMDISK_POWER);
    RIG_TRUE(r, rig_reopen(r));
    bk_buf_fini(&v);
    bk_buf_fini(&manifest);
    bk_buf_fini(&later);
}

static void test_snapshot__empty_store__is_an_empty_store(void **state)
{
    struct rig *r = *state;
    struct bk_snapshot_result res = {0};
    struct bk_error err = {0};
    BK_SUCCEEDS(bk_snapshot(r->db, SNAP, &res, NULL, &err), err);
    assert_int_equal(res.files, 0);
    expect_same(r, SNAP);
}

/* Numbers of databases stand for other spaces after a flush or a swap, and the record that says so
 * may lie in the file that was the active one. */
static void test_snapshot__after_flush_and_swap__knows_the_databases(void **state)
{
    struct rig *r = *state;
    struct bk_error err = {0};
    for (uint32_t num = 0; num < 3; num++) {
        rig_begin(r);
        rig_batch_put(r, num, bk_span_str("k"), bk_span_str("before"), 0, 0);
        assert_int_equal(rig_commit(r), BK_OK);
    }
    rig_begin(r);
    rig_batch_flush(r, 0);
    assert_int_equal(rig_commit(r), BK_OK);
    BK_SUCCEEDS(bk_snapshot(r->db, SNAP "1", NULL, NULL, &err), err);
    expect_same(r, SNAP "1");
    rig_begin(r);
    rig_batch_swap(r, 1, 2);
    assert_int_equal(rig_commit(r), BK_OK);
    assert_int_equal(rig_put(r, "k", "after"), BK_OK);
    BK_SUCCEEDS(bk_snapshot(r->db, SNAP "2", NULL, NULL, &err), err);
    expect_same(r, SNAP "2");
    BK_SUCCEEDS(bk_snapshot(r->db, SNAP "3", NULL, NULL, &err), err); /* nothing came in between */
    expect_same(r, SNAP "3");
}

static void test_snapshot__directory_is_taken__refuses(void **state)
{
    struct rig *r = *state;
    const struct bk_io *io = simdisk_io(r->disk);
    struct bk_error err = {0};
    play(r, 20);
    assert_int_equal(io->mkdir(io->arg, SNAP), 0);
    simdisk_put(r->disk, SNAP "/something", "x", 1);
    assert_int_equal(bk_snapshot(r->db, SNAP, NULL, NULL, &err), BK_EINVAL);
    assert_int_equal(simdisk_size(r->disk, SNAP "/something"), 1);
    simdisk_remove(r->disk, SNAP "/something");
    BK_SUCCEEDS(bk_snapshot(r->db, SNAP, NULL, NULL, &err), err); /* empty: taken over */
    assert_int_equal(bk_snapshot(r->db, SNAP, NULL, NULL, &err), BK_EINVAL);
    assert_int_equal(bk_snapshot(r->db, "", NULL, NULL, &err), BK_EINVAL);
    assert_int_equal(bk_snapshot(r->db, "other/", NULL, NULL, &err), BK_EINVAL);
    assert_int_equal(bk_snapshot(r->db, "no/parent", NULL, NULL, &err), BK_EIO);
    expect_same(r, SNAP);
}

static void test_snapshot__stopped__ends_early_and_leaves_nothing(void **state)
{
    struct rig *r = *state;
    struct bk_error err = {0};
    play(r, 20);
    bk_snapshot_stop(r->db);
    assert_int_equal(bk_snapshot(r->db, SNAP, NULL, NULL, &err), BK_EAGAIN);
    assert_false(simdisk_exists(r->disk, SNAP) || simdisk_exists(r->disk, SNAP ".tmp"));
    RIG_TRUE(r, rig_same(r));
}

/* Between file systems there are no links. */
static void no_links(struct rig *r)
{
    simdisk_fail(r->disk, SIMDISK_LINK, 1, UINT64_MAX, EXDEV);
}

static void test_snapshot__links_do_not_reach__copies_and_says_so(void **state)
{
    struct rig *r = *state;
    struct bk_snapshot_result res = {0};
    struct bk_progress watched = {0};
    struct bk_error err = {0};
    play(r, 100);
    no_links(r);
    BK_SUCCEEDS(bk_snapshot(r->db, SNAP, &res, &watched, &err), err);
    assert_true(res.bytes > 0);
    assert_int_equal(res.copied_bytes, res.bytes);
    assert_int_equal(watched.bytes_total, res.bytes);
    assert_int_equal(watched.bytes_done, res.bytes);
    expect_same(r, SNAP);
    BK_SUCCEEDS(bk_restore(simdisk_io(r->disk), SNAP, BACK, &watched, &err), err);
    expect_same(r, BACK);
    assert_int_equal(watched.bytes_done, res.bytes);
    atomic_store(&watched.cancel, true);
    assert_int_equal(bk_snapshot(r->db, SNAP "2", NULL, &watched, &err), BK_ECANCELED);
    assert_int_equal(bk_restore(simdisk_io(r->disk), SNAP, BACK "2", &watched, &err), BK_ECANCELED);
    assert_false(simdisk_exists(r->disk, SNAP "2.tmp") || simdisk_exists(r->disk, BACK "2.tmp"));
    simdisk_fail(r->disk, 0, 0, 0, 0);
}

/* ---- Cut short at every call ---- */

struct scene {
    bool links;
    enum simdisk_kind kind;
    enum bk_sync sync;
};

/* The store with a history, ready for a snapshot. */
static void begin_scene(struct rig *r, uint64_t seed, const struct scene *s)
{
    rig_init(r, seed, s->sync);
    RIG_TRUE(r, rig_open(r) == BK_OK);
    play(r, OPS);
    if (!s->links) {
        no_links(r);
    }
}

/* Calls that f makes from here to its end. */
static uint64_t calls_of(uint64_t seed, const struct scene *s, int (*f)(struct rig *r))
{
    struct rig r;
    begin_scene(&r, seed, s);
    uint64_t before = simdisk_calls(r.disk, SIMDISK_ANY);
    assert_int_equal(f(&r), BK_OK);
    uint64_t calls = simdisk_calls(r.disk, SIMDISK_ANY) - before;
    rig_fini(&r);
    return calls;
}

static int take(struct rig *r)
{
    return bk_snapshot(r->db, SNAP, NULL, NULL, NULL);
}

/* dir is a whole snapshot of the model's state, or there is none. */
static void expect_whole_or_none(struct rig *r, const char *dir, bool must)
{
    char manifest[64];
    snprintf(manifest, sizeof(manifest), "%s/MANIFEST", dir);
    assert_true(simdisk_exists(r->disk, dir) || !must);
    if (simdisk_exists(r->disk, dir)) {
        assert_true(simdisk_exists(r->disk, manifest));
        expect_same(r, dir);
    }
}

/* After a crash that has left no snapshot, but perhaps a part of one. */
static void take_again(struct rig *r)
{
    const struct bk_io *io = simdisk_io(r->disk);
    struct bk_error err = {0};
    int rc = bk_snapshot(r->db, SNAP, NULL, NULL, &err);
    if (rc != BK_OK) {
        assert_int_equal(rc, BK_EINVAL);
        assert_string_equal(err.path, SNAP ".tmp");
        assert_non_null(strstr(err.text, "remove it"));
        BK_SUCCEEDS(bk_snapshot_remove(io, SNAP ".tmp", &err), err);
        BK_SUCCEEDS(bk_snapshot(r->db, SNAP, NULL, NULL, &err), err);
    }
    assert_false(simdisk_exists(r->disk, SNAP ".tmp"));
}

static unsigned crash_in_snapshot(const struct scene *s, uint64_t seed)
{
    uint64_t calls = calls_of(seed, s, take);
    unsigned whole = 0;
    assert_true(calls > 10);
    for (uint64_t n = 1; n <= calls + 1; n++) {
        struct rig r;
        begin_scene(&r, seed, s);
        simdisk_cut(r.disk, n);
        int rc = take(&r);
        assert_true(rc == BK_OK ? n > calls : n <= calls);
        rig_crash(&r, s->kind);
        simdisk_fail(r.disk, 0, 0, 0, 0);
        whole += simdisk_exists(r.disk, SNAP) ? 1u : 0u;
        expect_whole_or_none(&r, SNAP, rc == BK_OK);
        RIG_TRUE(&r, rig_reopen(&r));
        play(&r, 10);
        /* What the crash has left is in nobody's way but its own name's. */
        struct bk_error err = {0};
        BK_SUCCEEDS(bk_snapshot(r.db, SNAP "2", NULL, NULL, &err), err);
        expect_same(&r, SNAP "2");
        if (!simdisk_exists(r.disk, SNAP)) {
            take_again(&r);
        }
        RIG_TRUE(&r, rig_settle(&r));
        RIG_TRUE(&r, rig_same(&r));
        RIG_TRUE(&r, rig_check(&r));
        rig_fini(&r);
    }
    return whole;
}

static void test_trap36__crash_at_every_call__whole_snapshot_or_none(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        struct scene s = {.links = i % 3 != 0,
                          .kind = i % 2 == 0 ? SIMDISK_POWER : SIMDISK_KILL,
                          .sync = i % 4 == 0   ? BK_SYNC_ALWAYS
                                  : i % 4 == 1 ? BK_SYNC_NO
                                               : BK_SYNC_EVERYSEC};
        assert_true(crash_in_snapshot(&s, 100 + i) >= 1);
    }
}

/* ---- Refused at every call ---- */

static void test_snapshot__call_fails__says_so_and_leaves_the_store_whole(void **state)
{
    (void)state;
    static const int errors[] = {EIO, ENOSPC};
    unsigned failed = 0;
    for (unsigned i = 0; i < 4; i++) {
        /* Calls of the log's own would make the store give up a file: that is other tests' matter.
         */
        unsigned mask = SIMDISK_LINK | SIMDISK_MKDIR | SIMDISK_RENAME | SIMDISK_LIST |
                        SIMDISK_READ | (i < 2 ? 0u : SIMDISK_SYNC_DIR | SIMDISK_SIZE);
        struct scene s = {.links = true, .sync = BK_SYNC_EVERYSEC};
        for (uint64_t n = 1; n < 1000; n++) {
            struct rig r;
            struct bk_error err = {0};
            begin_scene(&r, 7 + i, &s);
            RIG_TRUE(&r, rig_sync(&r));
            simdisk_fail(r.disk, mask, n, 1, errors[i % 2]);
            int rc = bk_snapshot(r.db, SNAP, NULL, NULL, &err);
            bool hit = simdisk_failed(r.disk) > 0;
            simdisk_fail(r.disk, 0, 0, 0, 0);
            failed += rc != BK_OK ? 1u : 0u;
            assert_true(rc == BK_OK || hit);
            expect_whole_or_none(&r, SNAP, rc == BK_OK);
            assert_true(rc == BK_OK || !simdisk_exists(r.disk, SNAP));
            BK_SUCCEEDS(bk_snapshot(r.db, SNAP "2", NULL, NULL, &err), err);
            expect_same(&r, SNAP "2");
            RIG_TRUE(&r, rig_same(&r));
            RIG_TRUE(&r, rig_close(&r) == BK_OK);
            assert_int_equal(simdisk_handles(r.disk), 0);
            rig_fini(&r);
            if (!hit) {
                break;
            }
            assert_true(n < 999);
        }
    }
    assert_true(failed > 20);
}

/* A file that is missing, or has another one in its place, is no part of a snapshot; the error says
 * what to do. */
static void test_snapshot__data_file_gone__is_refused_until_it_is_back(void **state)
{
    struct rig *r = *state;
    struct bk_error err = {0};
    struct bk_buf file = {0};
    struct bk_buf other = {0};
    char path[300];
    char other_path[300];
    rig_path("0000000001.data", path, sizeof(path));
    rig_path("0000000003.data", other_path, sizeof(other_path));
    for (int i = 0; i < 3; i++) { /* a file each */
        play(r, OPS);
        RIG_TRUE(r, rig_close(r) == BK_OK);
        RIG_TRUE(r, rig_open(r) == BK_OK);
    }
    RIG_TRUE(r, rig_close(r) == BK_OK);
    simdisk_read(r->disk, path, &file);
    simdisk_read(r->disk, other_path, &other);
    assert_true(file.len > 100 && other.len > 100);
    r->opt.on_corruption = BK_CORRUPT_SERVE;
    for (int i = 0; i < 2; i++) {
        simdisk_remove(r->disk, path);
        if (i == 1) {
            simdisk_put(r->disk, path, other.data, other.len);
        }
        RIG_TRUE(r, rig_open(r) == BK_OK);
        assert_int_equal(bk_snapshot(r->db, SNAP, NULL, NULL, &err), BK_CORRUPT);
        assert_non_null(strstr(err.text, "bitkv repair"));
        assert_non_null(strstr(err.text, i == 0 ? "missing" : "another data file"));
        assert_false(simdisk_exists(r->disk, SNAP));
        bk_batch_free(&r->batch);
        assert_int_equal(bk_close(&r->db, NULL), BK_OK);
    }
    simdisk_remove(r->disk, path);
    simdisk_put(r->disk, path, file.data, file.len);
    RIG_TRUE(r, rig_open(r) == BK_OK);
    BK_SUCCEEDS(bk_snapshot(r->db, SNAP, NULL, NULL, &err), err);
    expect_same(r, SNAP);
    bk_buf_fini(&file);
    bk_buf_fini(&other);
}

static void test_snapshot__no_room_for_copies__leaves_nothing_behind(void **state)
{
    struct rig *r = *state;
    struct bk_error err = {0};
    play(r, 150);
    RIG_TRUE(r, rig_settle(r));
    uint64_t used = simdisk_used(r->disk);
    no_links(r);
    simdisk_capacity(r->disk, used + 20000);
    assert_int_equal(bk_snapshot(r->db, SNAP, NULL, NULL, &err), BK_ENOSPC);
    assert_false(simdisk_exists(r->disk, SNAP) || simdisk_exists(r->disk, SNAP ".tmp"));
    simdisk_capacity(r->disk, UINT64_MAX);
    simdisk_fail(r->disk, 0, 0, 0, 0);
    RIG_TRUE(r, rig_same(r));
}

/* ---- Restoring and removing ---- */

static void test_snapshot__restored__holds_the_same_and_stays(void **state)
{
    struct rig *r = *state;
    const struct bk_io *io = simdisk_io(r->disk);
    struct bk_error err = {0};
    struct aside a;
    play(r, 100);
    BK_SUCCEEDS(bk_snapshot(r->db, SNAP, NULL, NULL, &err), err);
    BK_SUCCEEDS(bk_restore(io, SNAP, BACK, NULL, &err), err);
    RIG_TRUE(r, look_into(r, BACK, &a) == BK_OK);
    RIG_TRUE(r, rig_same(r));
    assert_int_equal(rig_put(r, "k", "in the restored one"), BK_OK);
    RIG_TRUE(r, rig_same(r));
    look_back(r, &a);
    assert_int_equal(bk_restore(io, SNAP, BACK, NULL, &err), BK_EINVAL); /* not empty */
    assert_int_equal(bk_restore(io, "nothing", BACK "2", NULL, &err), BK_CORRUPT);
    assert_int_equal(bk_restore(io, RIG_DIR, BACK "2", NULL, &err),
                     BK_ELOCKED); /* a store at work */
    assert_non_null(strstr(err.text, "process 4711 has"));
    assert_false(simdisk_exists(r->disk, BACK "2"));
    BK_SUCCEEDS(bk_restore(io, SNAP, BACK "2", NULL, &err), err);
}

static void expect_refused(struct rig *r, const char *what)
{
    struct bk_error err = {0};
    int rc = bk_restore(simdisk_io(r->disk), SNAP, BACK, NULL, &err);
    if (rc != BK_CORRUPT) {
        fail_msg("restoring with %s: %d %s", what, rc, err.text);
    }
    assert_true(err.text[0] != '\0');
    assert_false(simdisk_exists(r->disk, BACK) || simdisk_exists(r->disk, BACK ".tmp"));
}

static void a_data_file(void *arg, const struct bk_file_info *info)
{
    uint64_t *id = arg;
    *id = info->size > 200 && *id == 0 ? info->id : *id;
}

static void test_snapshot__damaged__is_not_restored(void **state)
{
    struct rig *r = *state;
    struct bk_error err = {0};
    struct bk_buf bytes = {0};
    char path[64];
    uint64_t id = 0;
    play(r, 100);
    BK_SUCCEEDS(bk_snapshot(r->db, SNAP, NULL, NULL, &err), err);
    BK_SUCCEEDS(bk_snapshot_files(simdisk_io(r->disk), SNAP, a_data_file, &id, &err), err);
    RIG_TRUE(r, rig_close(r) == BK_OK); /* the store shares what is damaged now */

    simdisk_read(r->disk, SNAP "/MANIFEST", &bytes);
    for (uint64_t i = 0; i < bytes.len; i++) {
        uint8_t flipped = bytes.data[i] ^ 0x40;
        bool version = i == 8 || i == 9; /* another answer: it is newer than we are */
        if (!version) {
            simdisk_patch(r->disk, SNAP "/MANIFEST", i, &flipped, 1);
            expect_refused(r, "a byte of the manifest flipped");
            simdisk_patch(r->disk, SNAP "/MANIFEST", i, &bytes.data[i], 1);
        }
    }
    for (uint64_t len = 0; len < bytes.len; len++) {
        simdisk_resize(r->disk, SNAP "/MANIFEST", len);
        expect_refused(r, "the manifest cut");
    }
    simdisk_put(r->disk, SNAP "/MANIFEST", bytes.data, bytes.len);

    snprintf(path, sizeof(path), SNAP "/%010u.data", (unsigned)id);
    simdisk_read(r->disk, path, &bytes);
    for (uint64_t i = 0; i < 64; i++) {
        uint8_t flipped = bytes.data[i] ^ 0x40;
        if (i != 8 && i != 9) {
            simdisk_patch(r->disk, path, i, &flipped, 1);
            expect_refused(r, "a byte of a file's header flipped");
            simdisk_patch(r->disk, path, i, &bytes.data[i], 1);
        }
    }
    simdisk_resize(r->disk, path, bytes.len - 1);
    expect_refused(r, "a file cut by a byte");
    simdisk_remove(r->disk, path);
    expect_refused(r, "a file gone");
    simdisk_put(r->disk, path, bytes.data, bytes.len);
    BK_SUCCEEDS(bk_restore(simdisk_io(r->disk), SNAP, BACK, NULL, &err), err);
    bk_buf_fini(&bytes);
}

static void test_snapshot__removed__is_gone_and_the_store_is_not(void **state)
{
    struct rig *r = *state;
    const struct bk_io *io = simdisk_io(r->disk);
    struct bk_error err = {0};
    struct aside a;
    play(r, 100);
    BK_SUCCEEDS(bk_snapshot(r->db, SNAP, NULL, NULL, &err), err);
    RIG_TRUE(r, look_into(r, SNAP, &a) == BK_OK);
    assert_int_equal(bk_snapshot_remove(io, SNAP, &err), BK_ELOCKED);
    RIG_TRUE(r, rig_same(r));
    look_back(r, &a);
    BK_SUCCEEDS(bk_snapshot_remove(io, SNAP, &err), err);
    assert_false(simdisk_exists(r->disk, SNAP) || simdisk_exists(r->disk, SNAP ".tmp"));
    RIG_TRUE(r, rig_same(r));
    RIG_TRUE(r, rig_check(r));
    assert_int_equal(bk_snapshot_remove(io, SNAP, &err), BK_EIO); /* there is none */
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown_rig)
    const struct CMUnitTest tests[] = {
        T(test_snapshot__taken__opens_and_holds_all_that_was_written),
        T(test_snapshot__written_to__changes_nothing_in_the_store),
        T(test_snapshot__empty_store__is_an_empty_store),
        T(test_snapshot__after_flush_and_swap__knows_the_databases),
        T(test_snapshot__directory_is_taken__refuses),
        T(test_snapshot__stopped__ends_early_and_leaves_nothing),
        T(test_snapshot__links_do_not_reach__copies_and_says_so),
        cmocka_unit_test(test_trap36__crash_at_every_call__whole_snapshot_or_none),
        cmocka_unit_test(test_snapshot__call_fails__says_so_and_leaves_the_store_whole),
        T(test_snapshot__data_file_gone__is_refused_until_it_is_back),
        T(test_snapshot__no_room_for_copies__leaves_nothing_behind),
        T(test_snapshot__restored__holds_the_same_and_stays),
        T(test_snapshot__damaged__is_not_restored),
        T(test_snapshot__removed__is_gone_and_the_store_is_not),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
