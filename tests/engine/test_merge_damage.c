/* SPDX-License-Identifier: MIT */
/* test_merge_damage.c - a merge over bytes that are no record any more, while databases move, over
 * a file that was cut off, and with a hint that cannot be read for a moment. */
#include "merge_rig.h"

#include <errno.h>

#define KEYS 150u

/* The first write of the merge, in the middle of its search for the keys of what is damaged,
 * exchanges databases 0 and 1. */
static struct rig *swap_in;
static int64_t (*plain_pwritev)(void *arg, int fd, const struct iovec *iov, int iov_n,
                                uint64_t offset);

static int64_t swapping_pwritev(void *arg, int fd, const struct iovec *iov, int iov_n,
                                uint64_t offset)
{
    struct rig *r = swap_in;
    swap_in = NULL;
    if (r != NULL) {
        rig_begin(r);
        rig_batch_swap(r, 0, 1);
        assert_int_equal(rig_commit(r), BK_OK);
    }
    return plain_pwritev(arg, fd, iov, iov_n, offset);
}

static void name_of(char *out, size_t len, uint32_t num, unsigned i)
{
    snprintf(out, len, "database-%u-key-%03u", num, i);
}

static void put_both(struct rig *r)
{
    for (unsigned i = 0; i < KEYS; i++) {
        for (uint32_t num = 0; num < 2; num++) {
            char key[32];
            name_of(key, sizeof(key), num, i);
            rig_begin(r);
            rig_batch_put(r, num, bk_span_str(key), bk_span_str("v"), 0, 0);
            assert_int_equal(rig_commit(r), BK_OK);
        }
    }
}

static void sealed_path(void *arg, const struct bk_file_info *info)
{
    char *path = arg;
    if (info->state == BK_FILE_SEALED) {
        snprintf(path, 300, RIG_DIR "/%010llu.data", (unsigned long long)info->id);
    }
}

static uint64_t place_of(const struct bk_buf *file, const char *key)
{
    const uint8_t *p = memmem(file->data, file->len, key, strlen(key));
    assert_non_null(p);
    return (uint64_t)(p - file->data);
}

/* From the header of the first key's record to the last key. */
static void damage_both(struct rig *r, const char *path)
{
    struct bk_buf all = {0};
    char first[32];
    char last[32];
    name_of(first, sizeof(first), 0, 0);
    name_of(last, sizeof(last), 1, KEYS - 1);
    simdisk_read(r->disk, path, &all);
    uint64_t from = place_of(&all, first) - 12;
    uint64_t to = place_of(&all, last) + strlen(last);
    memset(all.data + from, 0xa5, (size_t)(to - from));
    simdisk_patch(r->disk, path, from, all.data + from, (size_t)(to - from));
    bk_buf_fini(&all);
}

static int load(struct rig *r, uint32_t num, const char *key)
{
    struct bk_item item = {0};
    struct bk_key k;
    bk_key_init(r->db, &k, key, strlen(key));
    bk_locate(r->db, &num, &k, 1, &item);
    int rc = item.at == 0 ? BK_NOTFOUND : bk_load(r->db, &k, &item, NULL);
    bk_item_fini(&item);
    return rc;
}

static void all_answer_errors(struct rig *r)
{
    for (unsigned i = 0; i < KEYS; i++) {
        for (uint32_t num = 0; num < 2; num++) {
            char key[32];
            name_of(key, sizeof(key), num, i);
            assert_int_equal(load(r, 1 - num, key), BK_CORRUPT);
        }
    }
}

static void test_trap48__databases_swapped_in_a_search_for_damaged_keys__each_gets_one_marker(
    void **state)
{
    (void)state;
    struct rig r;
    struct bk_merge_status s;
    char path[300] = "";
    setup_rig(&r, 81, BK_SYNC_ALWAYS);
    struct bk_io io = *r.opt.io;
    plain_pwritev = io.pwritev;
    io.pwritev = swapping_pwritev;
    r.opt.io = &io;
    r.opt.on_corruption = BK_CORRUPT_SERVE;
    r.opt.merge.policy = BK_MERGE_NEVER;
    r.opt.max_file_bytes = 65536;
    next_file(&r);
    put_both(&r);
    put_n(&r, "dead", 200, "1");
    next_file(&r);
    put_n(&r, "dead", 200, "2");
    RIG_TRUE(&r, rig_settle(&r));
    bk_files(r.db, sealed_path, path);
    r.opt.merge.policy = BK_MERGE_ALWAYS;
    r.opt.max_file_bytes = 4096; /* markers enough for several outputs */
    next_file(&r);
    assert_true(merge_until(&r, BK_MERGE_COPY));
    damage_both(&r, path);
    swap_in = &r;
    while (swap_in != NULL && state_of(&r) == BK_MERGE_COPY) {
        one_step(&r);
    }
    assert_null(swap_in);
    merge_all(&r);
    bk_merge_status(r.db, &s);
    assert_true(s.runs > 0);
    assert_int_equal(s.aborted, 0);
    assert_int_equal(s.markers, 2 * KEYS);
    for (int i = 0; i < 2; i++) {
        all_answer_errors(&r);
        RIG_TRUE(&r, rig_check(&r));
        next_file(&r);
    }
    rig_fini(&r);
}

/* ---- A sealed file that is cut off ---- */

#define CUTS 160u /* bytes from the end: all of the short last record, and more */

static void put_bytes(struct rig *r, const char *key, const void *value, size_t len)
{
    rig_begin(r);
    rig_batch_put(r, 0, bk_span_str(key), bk_span_of(value, len), 0, 0);
    assert_int_equal(rig_commit(r), BK_OK);
}

/* One sealed file that is worth a merge, whose last records last() writes. */
static void seal_one(struct rig *r, void (*last)(struct rig *r), char path[300])
{
    static uint8_t large[30000];
    setup_rig(r, 82, BK_SYNC_ALWAYS);
    r->opt.on_corruption = BK_CORRUPT_SERVE;
    r->opt.merge.policy = BK_MERGE_NEVER;
    r->opt.max_file_bytes = 4 << 20;
    next_file(r);
    memset(large, 'L', sizeof(large));
    for (int i = 0; i < 4; i++) {
        put_bytes(r, "often", large, sizeof(large));
    }
    last(r);
    RIG_TRUE(r, rig_settle(r));
    next_file(r);
    bk_files(r->db, sealed_path, path);
    r->opt.merge.policy = BK_MERGE_ALWAYS;
    assert_int_equal(rig_close(r), BK_OK);
    rig_forget_image(r);
}

static void note_nothing(void *arg, const struct bk_finding *f)
{
    (void)arg;
    (void)f;
}

/* Opens a copy whose file lacks its last bytes, merges, and looks at all of it: look() answers how
 * many keys are lost. */
static void open_cut(const struct rig *r, const char *path, unsigned bytes,
                     unsigned (*look)(struct rig *c))
{
    struct bk_merge_status s;
    struct bk_error err = {0};
    struct rig c = *r;
    c.disk = simdisk_clone(r->disk, bytes);
    c.opt.io = simdisk_io(c.disk);
    simclock_init(&c.clock);
    c.opt.clock = &c.clock.clock;
    simdisk_resize(c.disk, path, simdisk_size(c.disk, path) - bytes);
    RIG_TRUE(&c, rig_open(&c) == BK_OK);
    unsigned lost = look(&c);
    merge_all(&c);
    assert_int_equal(look(&c), lost);
    bk_merge_status(c.db, &s);
    assert_true(s.runs > 0);
    assert_true(s.markers >= lost);
    BK_SUCCEEDS(bk_verify(c.db, note_nothing, NULL, NULL, &err), err);
    RIG_TRUE(&c, rig_check(&c));
    bk_batch_free(&c.batch);
    assert_int_equal(bk_close(&c.db, NULL), BK_OK);
    simdisk_free(&c.disk);
}

static void large_then_short(struct rig *r)
{
    static uint8_t large[60000];
    memset(large, 'l', sizeof(large));
    put_bytes(r, "large", large, sizeof(large));
    put_bytes(r, "short", "a value shorter than the one before it", 38);
}

static bool holds(struct rig *r, const char *key, struct bk_span value)
{
    struct bk_buf got = {0};
    bool same = bk_get(r->db, 0, bk_span_str(key), &got, NULL) == BK_OK &&
                bk_span_eq(bk_buf_span(&got), value);
    bk_buf_fini(&got);
    return same;
}

static unsigned large_is_there(struct rig *c)
{
    static uint8_t large[60000];
    memset(large, 'l', sizeof(large));
    assert_true(holds(c, "large", bk_span_of(large, sizeof(large))));
    int rc = load(c, 0, "short");
    assert_true(rc == BK_CORRUPT || rc == BK_NOTFOUND ||
                holds(c, "short", bk_span_str("a value shorter than the one before it")));
    return rc == BK_CORRUPT;
}

static void test_damage__short_record_cut_off_behind_a_large_one__is_merged_as_lost(void **state)
{
    (void)state;
    struct rig r;
    char path[300] = "";
    seal_one(&r, large_then_short, path);
    for (unsigned i = 0; i < CUTS; i++) {
        open_cut(&r, path, i, large_is_there);
    }
    rig_fini(&r);
}

/* The value is a map of databases for whoever takes it for one. */
static void value_then_map(struct rig *r)
{
    uint8_t pairs[16] = {0, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0};
    put_n(r, "kept", 20, "value");
    put_bytes(r, "pairs", pairs, sizeof(pairs));
    rig_begin(r);
    rig_batch_swap(r, 2, 3);
    assert_int_equal(rig_commit(r), BK_OK);
}

static unsigned kept_are_there(struct rig *c)
{
    for (unsigned i = 0; i < 20; i++) {
        char key[32];
        snprintf(key, sizeof(key), "kept%u", i);
        assert_true(holds(c, key, bk_span_str("value")));
    }
    return 0;
}

static void test_damage__map_of_databases_cut_off__no_other_bytes_take_its_place(void **state)
{
    (void)state;
    struct rig r;
    char path[300] = "";
    seal_one(&r, value_then_map, path);
    for (unsigned i = 0; i < 64; i++) {
        open_cut(&r, path, i, kept_are_there);
    }
    rig_fini(&r);
}

/* ---- Many keys in one hole ---- */

#define LOST 6000u
#define STEP_KEYS 4096u /* that one step may look at */
#define STEP_HOLES 64u  /* as many places that do not check make a step */

static void put_lost(struct rig *r)
{
    for (unsigned i = 0; i < LOST;) {
        rig_begin(r);
        for (unsigned end = i + 500; i < end; i++) {
            char key[32];
            snprintf(key, sizeof(key), "lost%04u", i);
            rig_batch_put(r, 0, bk_span_str(key), bk_span_str("v"), 0, 0);
        }
        assert_int_equal(rig_commit(r), BK_OK);
    }
}

/* Most of the file is dead: what lives is had from its hint. */
static void lost_then_dead(struct rig *r)
{
    static uint8_t large[30000];
    put_lost(r);
    for (int i = 0; i < 50; i++) {
        put_bytes(r, "often", large, sizeof(large));
    }
}

static void damage_lost(struct rig *r, const char *path)
{
    struct bk_buf all = {0};
    simdisk_read(r->disk, path, &all);
    uint64_t from = place_of(&all, "lost0000") - 28;
    uint64_t to = place_of(&all, "lost5999");
    memset(all.data + from, 0xa5, (size_t)(to - from));
    simdisk_patch(r->disk, path, from, all.data + from, (size_t)(to - from));
    bk_buf_fini(&all);
}

static void test_damage__many_keys_in_one_hole__one_walk_in_short_steps(void **state)
{
    (void)state;
    struct rig r;
    struct bk_merge_status s = {0};
    char path[300] = "";
    unsigned steps = 0;
    seal_one(&r, lost_then_dead, path);
    RIG_TRUE(&r, rig_open(&r) == BK_OK);
    put_bytes(&r, "often", "v", 1);
    assert_true(merge_until(&r, BK_MERGE_COPY));
    damage_lost(&r, path);
    while (state_of(&r) == BK_MERGE_COPY) {
        uint64_t before = s.markers;
        bk_step(r.db);
        bk_merge_status(r.db, &s);
        assert_true(s.markers - before <= STEP_KEYS);
        simclock_advance_ms(&r.clock, 5);
        steps++;
    }
    assert_int_equal(s.markers, LOST);
    assert_in_range(steps, LOST / STEP_HOLES, LOST / STEP_HOLES + 20);
    merge_all(&r);
    bk_merge_status(r.db, &s);
    assert_int_equal(s.aborted, 0);
    assert_int_equal(load(&r, 0, "lost0000"), BK_CORRUPT);
    assert_true(holds(&r, "often", bk_span_str("v")));
    RIG_TRUE(&r, rig_check(&r));
    rig_fini(&r);
}

/* ---- A hint that cannot be read for a moment ---- */

#define SWUNG 12000u /* short keys: several blocks of a hint, one part */

/* Until the read has failed or SWING is over. */
static void swing_with_failing_read(struct rig *r, uint64_t nth)
{
    simdisk_fail(r->disk, SIMDISK_READ, nth, 1, EIO);
    while (simdisk_failed(r->disk) == 0 && state_of(r) == BK_MERGE_SWING) {
        one_step(r);
    }
}

/* What is pointed at its copy before the error must not count as dead when the part is tried again:
 * the next merge would drop the file unread. */
static void test_damage__reads_fail_while_keys_move__nothing_counts_as_dead(void **state)
{
    (void)state;
    struct rig r;
    struct bk_merge_status s;
    uint64_t failed = 0;
    setup_rig(&r, 83, BK_SYNC_EVERYSEC);
    r.opt.merge.policy = BK_MERGE_NEVER;
    r.opt.max_file_bytes = (uint64_t)4 << 20;
    next_file(&r);
    put_n(&r, "k", SWUNG, "v");
    next_file(&r);
    put_n(&r, "k", SWUNG / 2, "w");
    r.opt.merge.policy = BK_MERGE_ALWAYS;
    next_file(&r);
    assert_true(merge_until(&r, BK_MERGE_SWING));
    for (uint64_t nth = 1; state_of(&r) == BK_MERGE_SWING; nth++) {
        swing_with_failing_read(&r, nth);
        failed += simdisk_failed(r.disk);
    }
    simdisk_fail(r.disk, 0, 0, 0, 0);
    assert_true(failed > 4);
    bk_merge_status(r.db, &s);
    assert_int_equal(s.lost_races, 0);
    RIG_TRUE(&r, rig_check(&r));
    merge_all(&r);
    same_after_restart(&r);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            test_trap48__databases_swapped_in_a_search_for_damaged_keys__each_gets_one_marker),
        cmocka_unit_test(test_damage__short_record_cut_off_behind_a_large_one__is_merged_as_lost),
        cmocka_unit_test(test_damage__many_keys_in_one_hole__one_walk_in_short_steps),
        cmocka_unit_test(test_damage__reads_fail_while_keys_move__nothing_counts_as_dead),
        cmocka_unit_test(test_damage__map_of_databases_cut_off__no_other_bytes_take_its_place),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
