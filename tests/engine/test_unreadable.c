/* SPDX-License-Identifier: MIT */
/* test_unreadable.c - sectors of data files that the disk does not read: what lies around them is
 * there, and who only reads gets at it. */
#include "bad_sector.h"
#include "base/num.h"

#define BAD_FILE "0000000001.data"
#define BAD_AT 8192u
#define BAD_KEYS 40u
struct unread {
    unsigned sectors;
    bool key[BAD_KEYS]; /* named as lost */
};

static void note_unread(void *arg, const struct bk_finding *f)
{
    struct unread *u = arg;
    assert_true(f->loss);
    assert_string_equal(f->file, BAD_FILE);
    if (strcmp(f->what, "these bytes cannot be read") == 0) {
        assert_int_equal(f->offset, BAD_AT);
        assert_int_equal(f->bytes, 4096);
        u->sectors++;
    }
    if (f->has_key) {
        uint64_t i = 0;
        assert_true(bk_parse_u64(f->key, &i) && i < BAD_KEYS);
        u->key[i] = true;
    }
}

/* Values of 1,000 bytes; one of two blocks, whose middle is unreadable, when lengths is set. */
static void write_numbered(struct rig *r, bool lengths)
{
    static uint8_t value[100000];
    char key[32];
    memset(value, 'v', sizeof(value));
    for (unsigned i = 0; i < BAD_KEYS; i++) {
        snprintf(key, sizeof(key), "%u", i);
        rig_begin(r);
        rig_batch_put(r, 0, bk_span_str(key),
                      bk_span_of(value, lengths && i == 3 ? sizeof(value) : 1000), 0, 0);
        assert_int_equal(rig_commit(r), BK_OK);
        RIG_TRUE(r, rig_settle(r));
    }
}

static void count_unread(void *arg, const struct bk_finding *f)
{
    unsigned *sectors = arg;
    *sectors += f->loss && strcmp(f->what, "these bytes cannot be read") == 0;
}

/* The sector is told of, and takes no keys but its own with it. */
static void expect_the_rest(struct bk_db *db)
{
    struct bk_error err = {0};
    struct bk_stats stats;
    unsigned sectors = 0;
    unsigned lost = 0;
    bk_stats_get(db, &stats);
    assert_true(stats.damaged_records > 0);
    BK_SUCCEEDS(bk_verify(db, count_unread, &sectors, NULL, &err), err);
    assert_int_equal(sectors, 1);
    for (unsigned i = 0; i < BAD_KEYS; i++) {
        struct bk_buf value = {0};
        char key[32];
        snprintf(key, sizeof(key), "%u", i);
        lost += bk_get(db, 0, bk_span_str(key), &value, NULL) != BK_OK;
        bk_buf_fini(&value);
    }
    assert_true(lost >= 1 && lost <= 6);
}

/* Any of those that hold something, the header too; no hint and no image; closed, killed, and after
 * a power cut. One that is not only read is refused. */
static void test_unreadable__a_sector__keeps_no_reader_from_opening(void **state)
{
    enum { CLOSED, KILLED, CUT, ENDS };
    (void)state;
    for (unsigned end = CLOSED; end < ENDS; end++) {
        for (uint64_t at = 0; at <= 10 * 4096; at += 4096) {
            struct rig r;
            struct bk_db *db = NULL;
            struct bk_error err = {0};
            rig_init(&r, 5, BK_SYNC_EVERYSEC);
            r.opt.max_file_bytes = 1 << 20;
            r.opt.on_corruption = BK_CORRUPT_SERVE;
            RIG_TRUE(&r, rig_open(&r) == BK_OK);
            write_numbered(&r, false);
            RIG_TRUE(&r, rig_sync(&r));
            if (end == CLOSED) {
                RIG_TRUE(&r, rig_close(&r) == BK_OK);
                rig_forget_image(&r);
            } else {
                rig_crash(&r, end == KILLED ? SIMDISK_KILL : SIMDISK_POWER);
            }
            assert_false(simdisk_exists(r.disk, RIG_DIR "/0000000001.hint"));
            struct bk_options opt = r.opt;
            opt.io = bad_sector(&r, RIG_DIR "/" BAD_FILE, at, 4096);
            assert_int_equal(bk_open(&db, &opt, &err), BK_EIO);
            opt.read_only = true;
            BK_SUCCEEDS(bk_open(&db, &opt, &err), err);
            expect_the_rest(db);
            BK_SUCCEEDS(bk_close(&db, &err), err);
            rig_fini(&r);
        }
    }
}

#define MEMBERS 30u

/* Two values, then a batch that is longer than what a scan has in its window. */
static void write_batch(struct rig *r)
{
    static uint8_t value[60000];
    char key[32];
    memset(value, 'w', sizeof(value));
    for (unsigned i = 0; i < 2; i++) {
        snprintf(key, sizeof(key), "before %u", i);
        assert_int_equal(rig_put(r, key, "v"), BK_OK);
    }
    rig_begin(r);
    for (unsigned i = 0; i < MEMBERS; i++) {
        snprintf(key, sizeof(key), "%u", i);
        rig_batch_put(r, 0, bk_span_str(key), bk_span_of(value, sizeof(value)), 0, 0);
    }
    assert_int_equal(rig_commit(r), BK_OK);
    RIG_TRUE(r, rig_settle(r));
    assert_int_equal(rig_put(r, "behind", "v"), BK_OK);
    RIG_TRUE(r, rig_sync(r));
}

static bool is_there(struct bk_db *db, const char *key)
{
    struct bk_buf value = {0};
    bool there = bk_get(db, 0, bk_span_str(key), &value, NULL) == BK_OK;
    bk_buf_fini(&value);
    return there;
}

/* Far behind the batch's head: its other members are there, and what lies behind it. */
static void test_unreadable__a_sector_in_a_batch__takes_its_own_member(void **state)
{
    (void)state;
    for (unsigned kill = 0; kill < 2; kill++) {
        for (uint64_t at = 12288; at < (uint64_t)MEMBERS * 60000; at += 160 * 4096) {
            struct rig r;
            struct bk_db *db = NULL;
            struct bk_error err = {0};
            unsigned sectors = 0;
            unsigned there = 0;
            rig_init(&r, 5, BK_SYNC_EVERYSEC);
            r.opt.max_file_bytes = 4 << 20;
            r.opt.on_corruption = BK_CORRUPT_SERVE;
            RIG_TRUE(&r, rig_open(&r) == BK_OK);
            write_batch(&r);
            rig_crash(&r, kill == 1 ? SIMDISK_KILL : SIMDISK_POWER);
            struct bk_options opt = r.opt;
            opt.io = bad_sector(&r, RIG_DIR "/" BAD_FILE, at, 4096);
            opt.read_only = true;
            BK_SUCCEEDS(bk_open(&db, &opt, &err), err);
            BK_SUCCEEDS(bk_verify(db, count_unread, &sectors, NULL, &err), err);
            assert_int_equal(sectors, 1);
            for (unsigned i = 0; i < MEMBERS; i++) {
                char key[32];
                snprintf(key, sizeof(key), "%u", i);
                there += is_there(db, key);
            }
            assert_true(there >= MEMBERS - 2 && there < MEMBERS);
            assert_true(is_there(db, "before 1"));
            assert_true(is_there(db, "behind"));
            BK_SUCCEEDS(bk_close(&db, &err), err);
            rig_fini(&r);
        }
    }
}

static void test_unreadable__a_sector__is_found_and_the_rest_is_walked(void **state)
{
    (void)state;
    for (int lengths = 0; lengths < 2; lengths++) {
        struct rig r;
        struct bk_db *db = NULL;
        struct bk_error err = {0};
        struct unread u = {0};
        unsigned lost = 0;
        rig_init(&r, 5, BK_SYNC_EVERYSEC);
        r.opt.max_file_bytes = 1 << 20;
        RIG_TRUE(&r, rig_open(&r) == BK_OK);
        write_numbered(&r, lengths == 1);
        RIG_TRUE(&r, rig_close(&r) == BK_OK);
        struct bk_options opt = r.opt;
        opt.read_only = true;
        opt.io = bad_sector(&r, RIG_DIR "/" BAD_FILE, BAD_AT, 4096);
        BK_SUCCEEDS(bk_open(&db, &opt, &err), err);
        BK_SUCCEEDS(bk_verify(db, note_unread, &u, NULL, &err), err);
        assert_int_equal(u.sectors, 1);
        for (unsigned i = 0; i < BAD_KEYS; i++) {
            struct bk_buf value = {0};
            char key[32];
            snprintf(key, sizeof(key), "%u", i);
            int rc = bk_get(db, 0, bk_span_str(key), &value, NULL);
            assert_int_equal(rc, u.key[i] ? BK_EIO : BK_OK);
            lost += u.key[i];
            bk_buf_fini(&value);
        }
        assert_true(lengths == 1 ? lost == 1 && u.key[3] : lost >= 4 && lost <= 6);
        BK_SUCCEEDS(bk_close(&db, &err), err);
        rig_fini(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unreadable__a_sector__is_found_and_the_rest_is_walked),
        cmocka_unit_test(test_unreadable__a_sector__keeps_no_reader_from_opening),
        cmocka_unit_test(test_unreadable__a_sector_in_a_batch__takes_its_own_member),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
