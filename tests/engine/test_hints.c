/* SPDX-License-Identifier: MIT */
/* test_hints.c - starts from hint files, good ones and others. */
#include "bad_sector.h"
#include "merge_rig.h"
#include "rare.h"

struct names {
    char data[64][300];
    unsigned n;
};

static void add_name(void *arg, const struct bk_file_info *info)
{
    struct names *l = arg;
    char name[64];
    if (info->state == BK_FILE_SEALED && l->n < 64) {
        snprintf(name, sizeof(name), "%010llu.hint", (unsigned long long)info->id);
        rig_path(name, l->data[l->n++], 300);
    }
}

static void hints_of(struct rig *r, struct names *l)
{
    l->n = 0;
    bk_files(r->db, add_name, l);
    for (unsigned i = 0; i < l->n; i++) {
        assert_true(simdisk_exists(r->disk, l->data[i]));
    }
    assert_true(l->n >= 2);
}

/* A store of its own with so many operations behind it, all of them synced. */
static void write_at_random(struct rig *r, uint64_t seed, unsigned ops)
{
    setup_rig(r, seed, BK_SYNC_ALWAYS);
    r->opt.merge.policy = BK_MERGE_NEVER;
    next_file(r);
    for (unsigned i = 0; i < ops; i++) {
        RIG_TRUE(r, rig_random_op(r));
    }
    RIG_TRUE(r, rig_sync(r));
}

static void test_trap06__hint_of_another_file_or_cut__is_not_used(void **state)
{
    (void)state;
    struct rig r;
    static struct names l;
    write_at_random(&r, 9, 300);
    for (unsigned how = 0; how < 4; how++) {
        merge_all(&r); /* hints are made beside */
        hints_of(&r, &l);
        struct bk_buf a = {0};
        struct bk_buf b = {0};
        simdisk_read(r.disk, l.data[0], &a);
        simdisk_read(r.disk, l.data[1], &b);
        RIG_TRUE(&r, rig_close(&r) == BK_OK);
        if (how == 0) {
            simdisk_put(r.disk, l.data[0], b.data, b.len);
            simdisk_put(r.disk, l.data[1], a.data, a.len);
        } else if (how == 1) {
            simdisk_resize(r.disk, l.data[0], a.len - 1);
        } else if (how == 2) {
            simdisk_remove(r.disk, l.data[0]);
        } else {
            simdisk_resize(r.disk, l.data[0], 0);
        }
        bk_buf_fini(&a);
        bk_buf_fini(&b);
        rig_forget_image(&r);
        RIG_TRUE(&r, rig_open(&r) == BK_OK);
        RIG_TRUE(&r, rig_same(&r));
        RIG_TRUE(&r, rig_check(&r));
    }
    rig_fini(&r);
}

static void test_trap06__each_byte_of_a_hint_changed__every_key_is_right(void **state)
{
    (void)state;
    struct rig r;
    static struct names l;
    write_at_random(&r, 10, 120);
    merge_all(&r);
    hints_of(&r, &l);
    struct bk_buf hint = {0};
    simdisk_read(r.disk, l.data[0], &hint);
    for (size_t at = 0; at < hint.len; at += 1 + at / 200) {
        RIG_TRUE(&r, rig_close(&r) == BK_OK);
        rig_forget_image(&r);
        uint8_t byte = hint.data[at] ^ (uint8_t)(1u << (at % 8));
        simdisk_put(r.disk, l.data[0], hint.data, hint.len);
        simdisk_patch(r.disk, l.data[0], at, &byte, 1);
        RIG_TRUE(&r, rig_open(&r) == BK_OK);
        RIG_TRUE(&r, rig_same(&r));
    }
    RIG_TRUE(&r, rig_check(&r));
    bk_buf_fini(&hint);
    rig_fini(&r);
}

/* Header, blocks, table. */
static void test_trap06__hint_unreadable__data_is_read_and_it_is_made_again(void **state)
{
    (void)state;
    struct rig r;
    static struct names l;
    write_at_random(&r, 13, 300);
    const struct bk_io *io = r.opt.io;
    for (unsigned how = 0; how < 3; how++) {
        struct bk_stats s;
        merge_all(&r); /* hints are made beside */
        hints_of(&r, &l);
        struct bk_buf hint = {0};
        simdisk_read(r.disk, l.data[1], &hint);
        RIG_TRUE(&r, rig_close(&r) == BK_OK);
        rig_forget_image(&r);
        r.opt.io = bad_sector(&r, l.data[1], how == 0 ? 0 : how == 1 ? 96 : hint.len - 8, 8);
        RIG_TRUE(&r, rig_open(&r) == BK_OK);
        bk_stats_get(r.db, &s);
        assert_int_equal(s.damaged_indexes, 1);
        assert_int_equal(s.damaged_records, 0);
        RIG_TRUE(&r, rig_same(&r));
        RIG_TRUE(&r, rig_check(&r));
        RIG_TRUE(&r, rig_settle(&r)); /* one that cannot be read either is not made without end */
        bad_sector_heal();
        simclock_advance_ms(&r.clock, 10000);
        merge_all(&r);
        RIG_TRUE(&r, rig_close(&r) == BK_OK);
        rig_forget_image(&r);
        r.opt.io = io;
        RIG_TRUE(&r, rig_open(&r) == BK_OK);
        bk_stats_get(r.db, &s);
        assert_int_equal(s.damaged_indexes, 0);
        RIG_TRUE(&r, rig_same(&r));
        bk_buf_fini(&hint);
    }
    rig_fini(&r);
}

/* Of a file that is gone the hint is all there is: no older value shows because of it. */
static void test_trap06__hint_of_a_missing_file_unreadable__refuses_with_the_reason(void **state)
{
    (void)state;
    struct rig r;
    static struct names l;
    struct bk_error err = {0};
    char data[300];
    write_at_random(&r, 14, 120);
    merge_all(&r);
    hints_of(&r, &l);
    RIG_TRUE(&r, rig_close(&r) == BK_OK);
    rig_forget_image(&r);
    snprintf(data, sizeof(data), "%.*s.data", (int)(strlen(l.data[0]) - 5), l.data[0]);
    simdisk_remove(r.disk, data);
    struct bk_options opt = r.opt;
    opt.on_corruption = BK_CORRUPT_SERVE;
    opt.read_only = true;
    opt.io = bad_sector(&r, l.data[0], 96, 8);
    struct bk_db *db = NULL;
    assert_int_equal(bk_open(&db, &opt, &err), BK_EIO);
    assert_non_null(strstr(err.path, l.data[0]));
    assert_string_equal(err.text, "the hint file cannot be read");
    bad_sector_heal();
    BK_SUCCEEDS(bk_open(&db, &opt, &err), err);
    BK_SUCCEEDS(bk_close(&db, &err), err);
    rig_fini(&r);
}

static void test_trap07__delete_in_a_hinted_file__key_stays_deleted(void **state)
{
    (void)state;
    struct rig r;
    setup_rig(&r, 11, BK_SYNC_ALWAYS);
    r.opt.merge.policy = BK_MERGE_NEVER;
    next_file(&r);
    assert_int_equal(rig_put(&r, "k", "v"), BK_OK);
    RIG_TRUE(&r, rig_settle(&r));
    next_file(&r);
    assert_int_equal(rig_delete(&r, "k"), BK_OK);
    RIG_TRUE(&r, rig_settle(&r));
    next_file(&r);
    merge_all(&r);
    next_file(&r);
    assert_false(has(&r, "k"));
    RIG_TRUE(&r, rig_same(&r));
    rig_fini(&r);
}

static void test_trap44__start_with_hints__reads_no_data(void **state)
{
    (void)state;
    struct rig r;
    setup_rig(&r, 12, BK_SYNC_ALWAYS);
    r.opt.merge.policy = BK_MERGE_NEVER;
    r.opt.max_file_bytes = 65536;
    next_file(&r);
    for (unsigned i = 0; i < 40; i++) {
        static char value[2000];
        memset(value, 'x', sizeof(value) - 1);
        put_n(&r, "k", 30, value);
        RIG_TRUE(&r, rig_settle(&r));
    }
    merge_all(&r);
    next_file(&r);
    merge_all(&r); /* the last file's hint */
    uint64_t reads = simdisk_calls(r.disk, SIMDISK_READ);
    struct bk_stats s;
    next_file(&r);
    bk_stats_get(r.db, &s);
    uint64_t took = simdisk_calls(r.disk, SIMDISK_READ) - reads;
    /* A few reads a file (header; hint's header, table, blocks twice), none for its megabytes. */
    assert_true(s.file_bytes > 1000000);
    assert_true(took < 20 * s.files + 20);
    RIG_TRUE(&r, rig_same(&r));
    rig_fini(&r);
}

/* ---- Starts after a kill ---- */

/* Where reading of each data file begins behind its header, by the number in its name. */
static struct {
    struct bk_io io;
    const struct bk_io *below;
    uint64_t of_fd[4096]; /* 0: no data file */
    uint64_t first[256];  /* 0: nothing is read */
} meter;

#define HINT_BYTES 400000u
#define FILE_HEADER 64u

static int meter_open(void *arg, const char *path, enum bk_io_open how)
{
    int fd = meter.below->open(arg, path, how);
    if (fd >= 0) {
        assert_in_range(fd, 0, 4095);
        unsigned long long id = strtoull(path + strlen(RIG_DIR "/"), NULL, 10);
        meter.of_fd[fd] = strstr(path, ".data") != NULL ? id : 0;
    }
    return fd;
}

static int64_t meter_pread(void *arg, int fd, void *buf, size_t len, uint64_t offset)
{
    uint64_t *first = &meter.first[meter.of_fd[fd] % 256];
    if (offset + len > FILE_HEADER && (*first == 0 || offset < *first)) {
        *first = offset < FILE_HEADER ? FILE_HEADER : offset;
    }
    return meter.below->pread(arg, fd, buf, len, offset);
}

static const struct bk_io *meter_begin(struct rig *r)
{
    memset(&meter, 0, sizeof(meter));
    meter.below = simdisk_io(r->disk);
    meter.io = *meter.below;
    meter.io.open = meter_open;
    meter.io.pread = meter_pread;
    return &meter.io;
}

struct tail {
    uint64_t id, bytes, sealed_bytes;
    unsigned sealed, hinted;
};

static void add_tail(void *arg, const struct bk_file_info *info)
{
    struct tail *t = arg;
    assert_in_range(info->id, 1, 255);
    if (info->state == BK_FILE_ACTIVE) {
        t->id = info->id;
        t->bytes = info->size;
    } else if (info->state == BK_FILE_SEALED) {
        t->sealed++;
        t->hinted += info->hinted;
        t->sealed_bytes += info->size;
    }
}

/* Files that were sealed come before it. */
static void expect_tail_alone(const struct tail *t)
{
    for (unsigned id = 1; id < t->id; id++) {
        assert_int_equal(meter.first[id], 0);
    }
    assert_in_range(meter.first[t->id], HINT_BYTES, t->bytes);
}

/* Hints stand for all that is sealed and for the front of the file that was written to. */
static void test_trap44__start_after_a_kill__reads_the_tail_alone(void **state)
{
    (void)state;
    static char value[2000];
    struct rig r;
    struct tail t = {0};
    setup_rig(&r, 15, BK_SYNC_ALWAYS);
    r.opt.merge.policy = BK_MERGE_NEVER;
    r.opt.max_file_bytes = (uint64_t)1 << 20;
    r.opt.hint_bytes = HINT_BYTES;
    next_file(&r);
    memset(value, 'x', sizeof(value) - 1);
    for (unsigned i = 0; i < 80 || t.bytes < HINT_BYTES * 3 / 2; i++) {
        put_n(&r, "k", 30, value);
        merge_all(&r); /* hints are made beside */
        t = (struct tail){0};
        bk_files(r.db, add_tail, &t);
    }
    assert_true(t.sealed >= 3 && t.hinted == t.sealed);
    assert_true(t.sealed_bytes > 3000000);
    rig_crash(&r, SIMDISK_KILL);
    r.opt.io = meter_begin(&r);
    RIG_TRUE(&r, rig_open(&r) == BK_OK);
    expect_tail_alone(&t);
    RIG_TRUE(&r, rig_recovered(&r));
    RIG_TRUE(&r, rig_same(&r));
    RIG_TRUE(&r, rig_check(&r));
    rig_fini(&r);
}

/* The active file, found short or missing after a kill: its hint was made of what had been synced,
 * so this is damage, and its keys answer errors. */
static void test_trap06__active_file_shorter_than_its_hint__keys_answer_errors(void **state)
{
    (void)state;
    static char value[2000];
    memset(value, 'x', sizeof(value) - 1);
    for (unsigned missing = 0; missing < 2; missing++) {
        struct rig r;
        struct tail t = {0};
        struct bk_buf got = {0};
        char name[64];
        char path[300];
        setup_rig(&r, 17 + missing, BK_SYNC_ALWAYS);
        r.opt.merge.policy = BK_MERGE_NEVER;
        r.opt.max_file_bytes = (uint64_t)4 << 20;
        r.opt.hint_bytes = HINT_BYTES;
        next_file(&r);
        assert_int_equal(rig_put(&r, "k", "older"), BK_OK);
        next_file(&r);
        for (unsigned i = 0; t.bytes < HINT_BYTES * 3 / 2; i++) {
            put_n(&r, "filler", 30, value);
            assert_int_equal(rig_put(&r, "k", "newer"), BK_OK);
            if (t.bytes > HINT_BYTES / 2 && i % 2 == 0) {
                merge_all(&r); /* the hint of its front is made beside */
            }
            bk_files(r.db, add_tail, &t);
        }
        rig_crash(&r, SIMDISK_KILL);
        snprintf(name, sizeof(name), "%010llu.data", (unsigned long long)t.id);
        rig_path(name, path, sizeof(path));
        if (missing == 1) {
            simdisk_remove(r.disk, path);
        } else {
            simdisk_resize(r.disk, path, FILE_HEADER);
        }
        assert_int_equal(rig_open(&r), BK_CORRUPT); /* on_corruption refuse */
        r.opt.on_corruption = BK_CORRUPT_SERVE;
        for (unsigned start = 0; start < 3; start++) {
            assert_int_equal(rig_open(&r), BK_OK);
            assert_int_equal(bk_get(r.db, 0, bk_span_str("k"), &got, NULL), BK_CORRUPT);
            assert_int_equal(bk_get(r.db, 0, bk_span_str("filler7"), &got, NULL), BK_CORRUPT);
            for (unsigned i = 0; i < 200; i++) { /* hints are made */
                one_step(&r);
            }
            RIG_TRUE(&r, rig_check(&r));
            assert_int_equal(rig_close(&r), BK_OK);
            rig_forget_image(&r);
        }
        bk_buf_fini(&got);
        rig_fini(&r);
    }
}

/* ---- Trap 49 ---- */

static void remove_hints(struct rig *r, const struct names *l)
{
    for (unsigned i = 0; i < l->n; i++) {
        simdisk_remove(r->disk, l->data[i]);
    }
}

static void expect_gone(struct rig *r)
{
    struct bk_buf got = {0};
    struct bk_stats s;
    bk_stats_get(r->db, &s);
    assert_int_equal(s.damaged_indexes, 0);
    assert_int_equal(bk_get(r->db, 0, bk_span_str("k"), &got, NULL), BK_NOTFOUND);
    assert_false(has(r, "k"));
    RIG_TRUE(r, rig_check(r));
    bk_buf_fini(&got);
}

/* The older value in one sealed file, the one with an expiry in another, a kill, and the time runs
 * out before the start. */
static void test_trap49__killed_and_started_after_the_expiry__older_value_stays_hidden(void **state)
{
    (void)state;
    static struct names l;
    for (unsigned how = 0; how < 3; how++) { /* by hints, by records, by the newer one's record */
        struct rig r;
        setup_rig(&r, 16, BK_SYNC_ALWAYS);
        r.opt.merge.policy = BK_MERGE_NEVER;
        next_file(&r);
        assert_int_equal(rig_put(&r, "k", "v1"), BK_OK);
        next_file(&r);
        rig_begin(&r);
        rig_batch_put(&r, 0, bk_span_str("k"), bk_span_str("v2"), 0,
                      bk_clock_wall_ms(&r.clock.clock) + 1000000);
        assert_int_equal(rig_commit(&r), BK_OK);
        if (how < 2) {
            put_n(&r, "filler", 300, "that ends the file");
        }
        merge_all(&r); /* hints are made beside */
        assert_true(has(&r, "k"));
        l.n = 0;
        bk_files(r.db, add_name, &l);
        assert_true(how < 2 ? l.n >= 2 : l.n == 1);
        rig_crash(&r, SIMDISK_KILL);
        if (how == 1) {
            remove_hints(&r, &l);
        }
        simclock_advance_ms(&r.clock, 1000000);
        RIG_TRUE(&r, rig_open(&r) == BK_OK);
        expect_gone(&r);
        simclock_advance_ms(&r.clock, 1000);
        assert_in_range(bk_expire_step(r.db, 1000, NULL), 0, 1);
        expect_gone(&r);
        RIG_TRUE(&r, rig_recovered(&r));
        next_file(&r); /* and of what that start has left */
        expect_gone(&r);
        RIG_TRUE(&r, rig_same(&r));
        rig_fini(&r);
    }
}

/* The last byte of the file that is not zero: in what was written to it last. */
static void spoil_end(struct rig *r, const char *path)
{
    struct bk_buf bytes = {0};
    simdisk_read(r->disk, path, &bytes);
    size_t at = bytes.len;
    while (at > 0 && bytes.data[at - 1] == 0) {
        at--;
    }
    assert_true(at > 0);
    simdisk_flip(r->disk, path, (uint64_t)(at - 1) * 8 + 3);
    bk_buf_fini(&bytes);
}

/* The seal of a full file cannot be noted. The hint of the next one's front says that both were
 * synced: damage in the first is damage, and not where a power cut tore the history off. */
static void test_trap08__file_before_a_hinted_front_is_damaged__what_is_behind_stays(void **state)
{
    (void)state;
    static char value[2000];
    struct rare *s = rare_new(18, BK_SYNC_ALWAYS);
    struct rig *r = &s->r;
    struct tail t = {0};
    char path[300];
    memset(value, 'x', sizeof(value) - 1);
    rig_merging(r);
    r->opt.merge.policy = BK_MERGE_NEVER;
    r->opt.max_file_bytes = (uint64_t)1 << 20;
    r->opt.hint_bytes = HINT_BYTES;
    RIG_TRUE(r, rig_open(r) == BK_OK);
    for (; t.bytes < (512u << 10); bk_files(r->db, add_tail, &t)) {
        put_n(r, "first", 10, value);
        RIG_TRUE(r, rig_settle(r));
    }
    uint64_t first = t.id;
    s->sick = "MANIFEST";
    for (unsigned i = 0; t.id == first; i++) {
        assert_true(i < 100);
        put_n(r, "first", 10, value);
        RIG_TRUE(r, rig_settle(r));
        bk_files(r->db, add_tail, &t);
    }
    assert_int_equal(rig_put(r, "behind", "v"), BK_OK);
    for (; t.bytes < HINT_BYTES * 3 / 2; bk_files(r->db, add_tail, &t)) {
        put_n(r, "second", 10, value);
    }
    merge_all(r); /* the hint of its front is made beside */
    assert_int_equal(t.sealed, 0);
    snprintf(path, sizeof(path), RIG_DIR "/%010llu.hint", (unsigned long long)t.id);
    assert_true(simdisk_exists(r->disk, path));
    rig_crash(r, SIMDISK_POWER);
    s->sick = NULL;
    snprintf(path, sizeof(path), RIG_DIR "/%010llu.data", (unsigned long long)first);
    spoil_end(r, path);
    r->opt.on_corruption = BK_CORRUPT_SERVE;
    RIG_TRUE(r, rig_open(r) == BK_OK);
    rare_expect(s, 0, "behind", "v");
    RIG_TRUE(r, rig_check(r));
    rare_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trap06__hint_of_another_file_or_cut__is_not_used),
        cmocka_unit_test(test_trap06__each_byte_of_a_hint_changed__every_key_is_right),
        cmocka_unit_test(test_trap06__hint_unreadable__data_is_read_and_it_is_made_again),
        cmocka_unit_test(test_trap06__hint_of_a_missing_file_unreadable__refuses_with_the_reason),
        cmocka_unit_test(test_trap07__delete_in_a_hinted_file__key_stays_deleted),
        cmocka_unit_test(test_trap44__start_with_hints__reads_no_data),
        cmocka_unit_test(test_trap44__start_after_a_kill__reads_the_tail_alone),
        cmocka_unit_test(test_trap06__active_file_shorter_than_its_hint__keys_answer_errors),
        cmocka_unit_test(test_trap08__file_before_a_hinted_front_is_damaged__what_is_behind_stays),
        cmocka_unit_test(
            test_trap49__killed_and_started_after_the_expiry__older_value_stays_hidden),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
