/* SPDX-License-Identifier: MIT */
/*
 * test_manifest.c - trap 46: whatever happens to the manifest, every key is there and no data file
 * is removed.
 */
#include "base/checksum.h"
#include "engine_test.h"

#define MANIFEST "MANIFEST"

struct shelf {
    struct rig r;
    char path[300];
    struct bk_buf bytes; /* of the manifest */
    size_t files;
};

/* A store of several files (sealed ones, and one or more not sealed), with a deleted and an
 * overwritten key, swapped databases and a flushed one, as a kill leaves it. */
static int setup(void **state)
{
    struct shelf *s = calloc(1, sizeof(*s));
    struct rig *r = &s->r;
    char key[32];
    char value[600];
    rig_init(r, 41, BK_SYNC_ALWAYS);
    r->opt.max_file_bytes = 4096;
    memset(value, 'm', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    for (int life = 0; life < 2; life++) {
        RIG_TRUE(r, rig_open(r) == BK_OK);
        for (int i = 0; i < 20; i++) {
            snprintf(key, sizeof(key), "k%d-%d", life, i);
            assert_int_equal(rig_put(r, key, value), BK_OK);
            assert_int_equal(rig_put(r, "same key in every file", key), BK_OK);
        }
        assert_int_equal(rig_put(r, "deleted", "x"), BK_OK);
        assert_int_equal(rig_delete(r, "deleted"), BK_OK);
        rig_begin(r);
        rig_batch_put(r, 1, bk_span_str("flushed"), bk_span_str("x"), 0, 0);
        assert_int_equal(rig_commit(r), BK_OK);
        rig_begin(r);
        rig_batch_flush(r, 1);
        rig_batch_swap(r, 0, 2);
        assert_int_equal(rig_commit(r), BK_OK);
        assert_int_equal(rig_put(r, "behind the swap", key), BK_OK);
        RIG_TRUE(r, rig_settle(r));
        if (life == 0) {
            assert_int_equal(rig_close(r), BK_OK);
        }
    }
    rig_crash(r, SIMDISK_KILL);
    r->opt.on_corruption = BK_CORRUPT_SERVE;
    rig_path(MANIFEST, s->path, sizeof(s->path));
    simdisk_read(r->disk, s->path, &s->bytes);
    s->files = rig_data_files(r, NULL, NULL);
    assert_true(s->files > 5);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct shelf *s = *state;
    bk_buf_fini(&s->bytes);
    rig_fini(&s->r);
    free(s);
    return 0;
}

/* Opens a damaged copy of the disk: every key, every file; in the second start too, since the first
 * one repairs. */
static void expect_all(struct shelf *s, struct simdisk *copy, int starts)
{
    for (int start = 0; start < starts; start++) {
        struct rig c = s->r;
        c.disk = copy;
        c.opt.io = simdisk_io(copy);
        c.db = NULL;
        RIG_TRUE(&c, rig_open(&c) == BK_OK);
        RIG_TRUE(&c, rig_same(&c));
        RIG_TRUE(&c, rig_check(&c));
        assert_true(rig_data_files(&c, NULL, NULL) >= s->files);
        bk_batch_free(&c.batch);
        assert_int_equal(bk_close(&c.db, NULL), BK_OK);
    }
}

static void test_trap46__each_byte_changed__every_key_is_there(void **state)
{
    struct shelf *s = *state;
    static const uint8_t masks[] = {0x01, 0xff};
    for (size_t at = 0; at < s->bytes.len; at++) {
        struct simdisk *copy = simdisk_clone(s->r.disk, at);
        uint8_t bad = s->bytes.data[at] ^ masks[at % 2];
        simdisk_patch(copy, s->path, at, &bad, 1);
        expect_all(s, copy, at % 8 == 0 ? 2 : 1);
        simdisk_free(&copy);
    }
}

static void test_trap46__cut_at_each_byte__every_key_is_there(void **state)
{
    struct shelf *s = *state;
    for (size_t at = 0; at < s->bytes.len; at++) {
        struct simdisk *copy = simdisk_clone(s->r.disk, at);
        simdisk_restart(copy, at % 2 == 0 ? SIMDISK_KILL : SIMDISK_POWER);
        simdisk_resize(copy, s->path, at);
        expect_all(s, copy, at % 8 == 1 ? 2 : 1);
        simdisk_free(&copy);
    }
}

static void test_trap46__manifest_gone__every_key_is_there(void **state)
{
    struct shelf *s = *state;
    struct simdisk *copy = simdisk_clone(s->r.disk, 1);
    simdisk_remove(copy, s->path);
    expect_all(s, copy, 2);
    simdisk_free(&copy);
}

static void test_trap46__garbage_behind_the_last_edit__every_key_is_there(void **state)
{
    struct shelf *s = *state;
    struct rng rng = {8};
    uint8_t junk[300];
    for (unsigned i = 0; i < 50; i++) {
        struct simdisk *copy = simdisk_clone(s->r.disk, i);
        rng_fill(&rng, junk, sizeof(junk));
        if (i % 2 == 0) {
            memset(junk, 0, sizeof(junk));
        }
        simdisk_patch(copy, s->path, s->bytes.len, junk, 1 + i * 5);
        expect_all(s, copy, 2);
        simdisk_free(&copy);
    }
}

/* A copy of one of the store's files under a number that was never given out. */
static void put_copy(struct rig *r, const char *of, const char *name, uint64_t id, uint64_t store)
{
    char path[300];
    struct bk_buf all = {0};
    rig_path(of, path, sizeof(path));
    simdisk_read(r->disk, path, &all);
    if (id != 0) {
        bk_put64(all.data + 24, id);
        bk_put64(all.data + 40, store != 0 ? store : bk_get64(all.data + 40));
        uint32_t crc = bk_crc32c(0, all.data, 60);
        bk_put32(all.data + 60, bk_crc32c(crc, all.data + 64, bk_get32(all.data + 12) - 64));
    }
    rig_path(name, path, sizeof(path));
    simdisk_put(r->disk, path, all.data, id != 0 && store == 0 ? 64 : all.len);
    bk_buf_fini(&all);
}

/* A leftover of ours goes when the manifest is whole: a file that was begun and never named. What
 * only has such a name stays, whoever made it, and the numbers of new files are others. */
static void test_trap46__orphans_with_a_whole_manifest__only_our_own_are_removed(void **state)
{
    struct shelf *s = *state;
    struct rig *r = &s->r;
    static const char *const stay[] = {"notes.txt", "0000000900.data", "0000000901.data",
                                       "0000000902.data", "0000000903.hint"};
    static const char *const go[] = {"0000000904.data", "0000000905.data"};
    char path[300];
    uint8_t zeros[200] = {0};
    rig_path(stay[0], path, sizeof(path));
    simdisk_put(r->disk, path, "mine", 4);
    rig_path(stay[1], path, sizeof(path));
    simdisk_put(r->disk, path, "stray", 5);
    put_copy(r, "0000000002.data", stay[2], 0, 0);      /* a copy of ours, by hand */
    put_copy(r, "0000000002.data", stay[3], 902, 4711); /* another store's */
    rig_path(stay[4], path, sizeof(path));
    simdisk_put(r->disk, path, "a hint", 6);
    rig_path(go[0], path, sizeof(path));
    simdisk_put(r->disk, path, zeros, sizeof(zeros));
    put_copy(r, "0000000002.data", go[1], 905, 0); /* a header of ours and no record */
    for (int life = 0; life < 2; life++) {
        RIG_TRUE(r, rig_open(r) == BK_OK);
        RIG_TRUE(r, rig_settle(r));
        RIG_TRUE(r, rig_same(r));
        for (size_t i = 0; i < sizeof(stay) / sizeof(stay[0]); i++) {
            rig_path(stay[i], path, sizeof(path));
            assert_true(simdisk_exists(r->disk, path));
        }
        rig_path(go[0], path, sizeof(path));
        assert_false(simdisk_exists(r->disk, path));
        rig_path(go[1], path, sizeof(path));
        assert_false(simdisk_exists(r->disk, path));
        assert_int_equal(rig_close(r), BK_OK);
    }
}

/* ---- The manifest is gone and a record is damaged too ---- */

#define MANY 60u
#define KEPT "kept.snap"

struct lone {
    struct rig r;
    char path[300]; /* of the data file that has all records */
    struct bk_buf bytes;
};

static void note_active(void *arg, const struct bk_file_info *info)
{
    char name[64];
    if (info->state == BK_FILE_ACTIVE) {
        snprintf(name, sizeof(name), "%010llu.data", (unsigned long long)info->id);
        rig_path(name, arg, 300);
    }
}

/* One sealed file that a snapshot shares; no record in it tells of a sync. */
static void lone_setup(struct lone *s)
{
    struct rig *r = &s->r;
    struct bk_error err = {0};
    *s = (struct lone){0};
    rig_init(r, 43, BK_SYNC_NO);
    r->opt.max_file_bytes = 1 << 20;
    r->opt.on_corruption = BK_CORRUPT_SERVE;
    RIG_TRUE(r, rig_open(r) == BK_OK);
    for (unsigned i = 0; i < MANY; i++) {
        char key[32];
        char value[64];
        snprintf(key, sizeof(key), "key-%03u", i);
        int len = snprintf(value, sizeof(value), "value-%03u ends in a zero as a cut one may", i);
        rig_begin(r);
        rig_batch_put(r, 0, bk_span_str(key), bk_span_of(value, (size_t)len + 1), 0, 0);
        assert_int_equal(rig_commit(r), BK_OK);
    }
    RIG_TRUE(r, rig_settle(r));
    bk_files(r->db, note_active, s->path);
    BK_SUCCEEDS(bk_snapshot(r->db, KEPT, NULL, NULL, &err), err);
    assert_int_equal(rig_close(r), BK_OK);
    assert_int_equal(rig_data_files(r, NULL, NULL), 1);
    rig_forget_image(r);
    simdisk_read(r->disk, s->path, &s->bytes);
}

static uint64_t place_of(const struct lone *s, const char *what, unsigned i)
{
    char text[32];
    snprintf(text, sizeof(text), "%s-%03u", what, i);
    const uint8_t *p = memmem(s->bytes.data, s->bytes.len, text, strlen(text));
    assert_non_null(p);
    return (uint64_t)(p - s->bytes.data);
}

static void flip(struct lone *s, struct simdisk *copy, const char *what, unsigned i, size_t bytes)
{
    uint64_t at = place_of(s, what, i);
    uint8_t bad[64];
    memcpy(bad, s->bytes.data + at, bytes);
    for (size_t k = 0; k < bytes; k++) {
        bad[k] ^= 0x10;
    }
    simdisk_patch(copy, s->path, at, bad, bytes);
}

static const char *snapshots_name(const struct lone *s, char out[300])
{
    snprintf(out, 300, KEPT "/%s", strrchr(s->path, '/') + 1);
    return out;
}

/* Two starts, the first without a manifest: all keys but those of [from, to) are there, and the
 * snapshot has the bytes that it had. */
static void expect_but(struct lone *s, struct simdisk *copy, unsigned from, unsigned to)
{
    struct bk_buf before = {0};
    struct bk_buf after = {0};
    struct bk_buf got = {0};
    char linked[300];
    simdisk_read(copy, snapshots_name(s, linked), &before);
    rig_path(MANIFEST, linked, sizeof(linked));
    simdisk_remove(copy, linked);
    simdisk_restart(copy, SIMDISK_POWER);
    for (int start = 0; start < 2; start++) {
        struct rig c = s->r;
        c.disk = copy;
        c.opt.io = simdisk_io(copy);
        RIG_TRUE(&c, rig_open(&c) == BK_OK);
        for (unsigned i = 0; i < MANY; i++) {
            char key[32];
            snprintf(key, sizeof(key), "key-%03u", i);
            int rc = bk_get(c.db, 0, bk_span_str(key), &got, NULL);
            assert_true(i >= from && i < to ? rc != BK_OK : rc == BK_OK);
            got.len = 0;
        }
        RIG_TRUE(&c, rig_check(&c));
        bk_batch_free(&c.batch);
        assert_int_equal(bk_close(&c.db, NULL), BK_OK);
        simdisk_read(copy, snapshots_name(s, linked), &after);
        assert_true(bk_span_eq(bk_buf_span(&before), bk_buf_span(&after)));
    }
    bk_buf_fini(&before);
    bk_buf_fini(&after);
    bk_buf_fini(&got);
}

static void test_trap46__manifest_gone_and_records_damaged__what_follows_is_kept(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        unsigned i;
        size_t bytes;
        unsigned more; /* another bit, in the next key; 0: none */
        unsigned from, to;
    } plays[] = {
        {"value", 30, 1, 0, 30, 31}, /* a value, by one bit */
        {"value", 30, 8, 0, 30, 31},
        {"key", 30, 1, 0, 30, 31},
        {"key", 30, 7, 0, 30, 31},    /* no record any more */
        {"value", 30, 8, 31, 30, 32}, /* and the record behind it */
        {"value", MANY - 2, 8, MANY - 1, MANY - 2, MANY},
        {"key", MANY - 1, 7, 0, MANY - 1, MANY}, /* the last: taken for a torn tail */
    };
    struct lone s;
    lone_setup(&s);
    for (size_t i = 0; i < sizeof(plays) / sizeof(plays[0]); i++) {
        struct simdisk *copy = simdisk_clone(s.r.disk, i);
        flip(&s, copy, plays[i].what, plays[i].i, plays[i].bytes);
        if (plays[i].more > 0) {
            flip(&s, copy, "key", plays[i].more, 1);
        }
        expect_but(&s, copy, plays[i].from, plays[i].to);
        simdisk_free(&copy);
    }
    bk_buf_fini(&s.bytes);
    rig_fini(&s.r);
}

/* A data file that the manifest names is not there: that is loss, and it is said. */
static void test_manifest__missing_data_file__is_reported(void **state)
{
    struct shelf *s = *state;
    struct rig *r = &s->r;
    char path[300];
    rig_path("0000000002.data", path, sizeof(path));
    assert_true(simdisk_exists(r->disk, path));
    simdisk_remove(r->disk, path);
    r->opt.on_corruption = BK_CORRUPT_REFUSE;
    assert_int_equal(rig_open(r), BK_CORRUPT);
    r->opt.on_corruption = BK_CORRUPT_SERVE;
    RIG_TRUE(r, rig_open(r) == BK_OK);
    struct bk_stats st;
    bk_stats_get(r->db, &st);
    assert_true(st.damaged_records + st.damaged_bytes > 0);
    assert_true(bk_count(r->db, 0) > 0);
}

/* ---- Trap 13 ---- */

/* Which file each number was given to, and the newest file. */
struct numbers {
    uint64_t uid[256];
    uint64_t newest, newest_bytes;
};

static void note_number(void *arg, const struct bk_file_info *info)
{
    struct numbers *n = arg;
    assert_in_range(info->id, 1, 255);
    if (n->uid[info->id] == 0) {
        n->uid[info->id] = info->uid;
    }
    assert_int_equal(n->uid[info->id], info->uid);
    if (info->id >= n->newest) {
        n->newest = info->id;
        n->newest_bytes = info->size;
    }
}

/* The file that a start has made and that nothing was written to. */
static void expect_new_empty(struct rig *r, struct numbers *n)
{
    uint64_t before = n->newest;
    bk_files(r->db, note_number, n);
    assert_true(n->newest > before);
    assert_int_equal(n->newest_bytes, 64);
}

/* Numbers are not sorted as text: more than eleven files hold the one key. */
static void test_trap13__many_files__order_survives(void **state)
{
    struct shelf *s = *state;
    struct rig *r = &s->r;
    char value[64];
    RIG_TRUE(r, rig_reopen(r));
    for (int i = 0; i < 400; i++) {
        snprintf(value, sizeof(value), "value %d of this one key, which fills many files", i);
        assert_int_equal(rig_put(r, "one key", value), BK_OK);
        RIG_TRUE(r, rig_settle(r));
    }
    assert_true(rig_data_files(r, NULL, NULL) > s->files + 5);
    rig_crash(r, SIMDISK_POWER);
    RIG_TRUE(r, rig_reopen(r));
    assert_int_equal(rig_put(r, "one key", "newest"), BK_OK);
    assert_int_equal(rig_close(r), BK_OK);
    RIG_TRUE(r, rig_open(r) == BK_OK);
    RIG_TRUE(r, rig_same(r));
}

/* The newest file is empty and goes: by a clean close, in a kill, or by hand after one. Each time
 * the next file gets a number that no file had. */
static void test_trap13__newest_empty_file_gone__its_number_is_not_used_again(void **state)
{
    struct shelf *s = *state;
    struct rig *r = &s->r;
    struct numbers n = {0};
    char name[64];
    char path[300];
    RIG_TRUE(r, rig_reopen(r));
    for (int life = 0; life < 12; life++) {
        expect_new_empty(r, &n);
        snprintf(name, sizeof(name), "%010llu.data", (unsigned long long)n.newest);
        rig_path(name, path, sizeof(path));
        assert_true(simdisk_exists(r->disk, path));
        if (life % 3 == 0) {
            assert_int_equal(rig_close(r), BK_OK);
            assert_false(simdisk_exists(r->disk, path));
            RIG_TRUE(r, rig_open(r) == BK_OK);
        } else {
            rig_crash(r, life % 2 == 0 ? SIMDISK_KILL : SIMDISK_POWER);
            if (life % 3 == 1) {
                simdisk_remove(r->disk, path);
            }
            RIG_TRUE(r, rig_reopen(r));
        }
        RIG_TRUE(r, rig_same(r));
    }
    assert_true(n.newest > 11);
}

/* Over 1 MiB of edits the manifest is written anew: its size stays bounded. Each rotation is an
 * edit or two. */
static void test_manifest__grows__is_written_anew(void **state)
{
    struct shelf *s = *state;
    struct rig *r = &s->r;
    r->opt.sync = BK_SYNC_NO;
    RIG_TRUE(r, rig_reopen(r));
    char value[4000];
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    for (unsigned i = 0; i < 300 * long_factor(); i++) {
        assert_int_equal(rig_put(r, "k", value), BK_OK);
        RIG_TRUE(r, rig_settle(r));
    }
    assert_true(simdisk_size(r->disk, s->path) < (1200u << 10));
    RIG_TRUE(r, rig_same(r));
}

/* A newer major version, with checksums that are right, is refused with its own code, and nothing
 * is touched. */
static void test_manifest__newer_major_version__is_refused(void **state)
{
    struct shelf *s = *state;
    struct rig *r = &s->r;
    char path[300];
    uint8_t head[64];
    struct bk_buf all = {0};
    struct simdisk *copy = simdisk_clone(r->disk, 1);
    struct simdisk *kept = r->disk;
    r->disk = copy;
    r->opt.io = simdisk_io(copy);
    memcpy(head, s->bytes.data, 40);
    bk_put16(head + 8, 2);
    bk_put32(head + 36, bk_crc32c(0, head, 36));
    simdisk_patch(copy, s->path, 0, head, 40);
    assert_int_equal(rig_open(r), BK_EVERSION);
    simdisk_patch(copy, s->path, 0, s->bytes.data, 40);
    rig_path("0000000002.data", path, sizeof(path));
    simdisk_read(copy, path, &all);
    memcpy(head, all.data, 64);
    bk_put16(head + 8, 2);
    bk_put32(head + 60, bk_crc32c(0, head, 60));
    simdisk_patch(copy, path, 0, head, 64);
    assert_int_equal(rig_open(r), BK_EVERSION);
    assert_int_equal(simdisk_handles(copy), 0);
    simdisk_patch(copy, path, 0, all.data, 64);
    RIG_TRUE(r, rig_open(r) == BK_OK);
    RIG_TRUE(r, rig_same(r));
    rig_crash(r, SIMDISK_KILL);
    bk_buf_fini(&all);
    r->disk = kept;
    simdisk_free(&copy);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_trap46__each_byte_changed__every_key_is_there),
        T(test_trap46__cut_at_each_byte__every_key_is_there),
        T(test_trap46__manifest_gone__every_key_is_there),
        T(test_trap46__garbage_behind_the_last_edit__every_key_is_there),
        T(test_trap46__orphans_with_a_whole_manifest__only_our_own_are_removed),
        cmocka_unit_test(test_trap46__manifest_gone_and_records_damaged__what_follows_is_kept),
        T(test_manifest__missing_data_file__is_reported),
        T(test_trap13__many_files__order_survives),
        T(test_trap13__newest_empty_file_gone__its_number_is_not_used_again),
        T(test_manifest__grows__is_written_anew),
        T(test_manifest__newer_major_version__is_refused),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
