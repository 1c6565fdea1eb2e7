/* SPDX-License-Identifier: MIT */
/*
 * test_one_bit.c - single bits flipped in single places, one test for each thing that must not come
 * of it. test_slow_flips.c draws places at random.
 */
#include "damaged_copy.h"

static void flip(struct simdisk *disk, const char *path, uint64_t at, uint8_t mask)
{
    struct bk_buf all = {0};
    simdisk_read(disk, path, &all);
    assert_true(at < all.len);
    uint8_t bad = all.data[at] ^ mask;
    simdisk_patch(disk, path, at, &bad, 1);
    bk_buf_fini(&all);
}

static void settled(struct rig *r, int rc)
{
    assert_int_equal(rc, BK_OK);
    RIG_TRUE(r, rig_settle(r));
}

/* Where the last record that has these bytes begins, its key being all of them. */
static uint64_t last_of(struct rig *r, const char *path, const char *key)
{
    struct bk_buf all = {0};
    uint64_t found = 0;
    simdisk_read(r->disk, path, &all);
    for (size_t at = 0; at + strlen(key) <= all.len; at++) {
        found = memcmp(all.data + at, key, strlen(key)) == 0 ? at : found;
    }
    bk_buf_fini(&all);
    assert_true(found > HEADER);
    return found - HEADER;
}

struct seek {
    const char *key;
    bool found;
    char what[100];
};

static void seek_key(void *arg, const struct bk_damage *d)
{
    struct seek *s = arg;
    if (d->key_known && bk_span_eq(d->key, bk_span_str(s->key))) {
        s->found = true;
        assert_true(d->in_data && d->bytes > 0 && d->offset > 0 && d->database == 0);
        assert_true(strstr(d->file, ".data") != NULL);
    }
}

static bool told_of_key(struct copy *c, const char *key)
{
    struct seek s = {.key = key};
    bk_damages(c->db, seek_key, &s);
    return s.found;
}

/* Every bit of a deletion's header and key: the key stays deleted. */
static void test_bit__of_a_deletion__does_not_bring_the_key_back(void **state)
{
    struct rig *r = *state;
    char path[300];
    settled(r, rig_put(r, "deleted-key", "its value"));
    settled(r, rig_delete(r, "deleted-key"));
    fill(r, true);
    active_file(r, path);
    uint64_t start = last_of(r, path, "deleted-key");
    for (uint64_t bit = 0; bit < (HEADER + 11) * 8; bit++) {
        struct copy c;
        struct bk_buf got = {0};
        copy_make(&c, r, SIMDISK_KILL);
        flip(c.disk, path, start + bit / 8, (uint8_t)(1u << bit % 8));
        assert_int_equal(copy_open(&c, r, BK_CORRUPT_SERVE), BK_OK);
        assert_int_equal(copy_get(&c, "deleted-key", &got), BK_NOTFOUND);
        assert_int_equal(count_good(&c, KEYS), KEYS);
        assert_true(told_of_key(&c, "deleted-key"));
        bk_buf_fini(&got);
        copy_free(&c);
    }
}

/* Every bit of the newest record of a key, with others behind it and as the file's last: the key
 * answers an error, never its older value. */
static void every_bit_of_newest(struct rig *r, unsigned behind)
{
    static const char newest[] = "the newest value of it";
    char path[300];
    settled(r, rig_put(r, "two-values", "the older value of it"));
    settled(r, rig_put(r, "two-values", newest));
    if (behind > 0) {
        fill(r, false);
    }
    active_file(r, path);
    uint64_t start = last_of(r, path, "two-values");
    uint64_t bytes = HEADER + 10 + sizeof(newest) - 1;
    for (uint64_t bit = 0; bit < bytes * 8; bit++) {
        struct copy c;
        struct bk_buf got = {0};
        copy_make(&c, r, SIMDISK_KILL);
        flip(c.disk, path, start + bit / 8, (uint8_t)(1u << bit % 8));
        assert_int_equal(copy_open(&c, r, BK_CORRUPT_SERVE), BK_OK);
        assert_int_equal(copy_get(&c, "two-values", &got), BK_CORRUPT);
        assert_int_equal(count_good(&c, KEYS), behind);
        assert_true(told_of_key(&c, "two-values"));
        assert_int_equal(bk_check(c.db, NULL), BK_OK);
        bk_buf_fini(&got);
        copy_free(&c);
    }
}

static void test_bit__of_the_newest_record__does_not_show_the_older_one(void **state)
{
    every_bit_of_newest(*state, KEYS);
}

/* The process died, the machine did not: what was written is there, so bad bytes are damage. */
static void test_bit__of_the_last_record_after_a_kill__is_damage_and_no_torn_tail(void **state)
{
    every_bit_of_newest(*state, 0);
}

static void put_bytes(struct rig *r, const char *key, const uint8_t *value, size_t len)
{
    rig_begin(r);
    rig_batch_put(r, 0, bk_span_str(key), bk_span_of(value, len), 0, 0);
    settled(r, rig_commit(r));
}

/* The same for the last record's value where it ends in zeros, as what was cut off does. */
static void bit_before_zeros(struct rig *r, size_t len, size_t step)
{
    char path[300];
    uint8_t *newest = calloc(1, len);
    memset(newest, 'v', len - 21);
    settled(r, rig_put(r, "two-values", "the older value of it"));
    put_bytes(r, "two-values", newest, len);
    active_file(r, path);
    uint64_t table = len > 65536 ? (len + 65535) / 65536 * 4 : 0;
    uint64_t start = last_of(r, path, "two-values") + HEADER + 10 + table;
    for (uint64_t bit = 0; bit < len * 8; bit += step) {
        struct copy c;
        struct bk_buf got = {0};
        copy_make(&c, r, SIMDISK_KILL);
        flip(c.disk, path, start + bit / 8, (uint8_t)(1u << bit % 8));
        assert_int_equal(copy_open(&c, r, BK_CORRUPT_SERVE), BK_OK);
        assert_int_equal(copy_get(&c, "two-values", &got), BK_CORRUPT);
        assert_true(told_of_key(&c, "two-values"));
        bk_buf_fini(&got);
        copy_free(&c);
    }
    free(newest);
}

static void test_bit__of_a_last_value_that_ends_in_zeros__is_damage_and_no_torn_tail(void **state)
{
    struct rig *r = *state;
    bit_before_zeros(r, 50, 1);
    r->opt.max_file_bytes = 1 << 20;
    assert_int_equal(rig_close(r), BK_OK);
    RIG_TRUE(r, rig_open(r) == BK_OK);
    bit_before_zeros(r, 150000, 150001);
}

/* A write that was cut off half way is no damage: everything before it is there. */
static void test_bit__last_record_cut_off_at_each_byte__is_a_torn_tail(void **state)
{
    struct rig *r = *state;
    char path[300];
    settled(r, rig_put(r, "two-values", "the older value of it"));
    settled(r, rig_put(r, "two-values", "the newest value of it"));
    active_file(r, path);
    uint64_t start = last_of(r, path, "two-values");
    for (uint64_t at = start; at < start + HEADER + 10 + 22; at++) {
        struct copy c;
        uint8_t zeros[128] = {0};
        copy_make(&c, r, SIMDISK_KILL);
        simdisk_patch(c.disk, path, at, zeros, start + HEADER + 10 + 22 - at);
        assert_int_equal(copy_open(&c, r, BK_CORRUPT_REFUSE), BK_OK);
        assert_true(has_value(&c, "two-values", "the older value of it"));
        assert_int_equal(c.stats.damaged_records, 0);
        copy_free(&c);
    }
}

static void test_bit__last_value_with_zeros_cut_off_at_each_byte__is_a_torn_tail(void **state)
{
    struct rig *r = *state;
    char path[300];
    uint8_t newest[60] = "ends in zeros, but they are not what is missing";
    settled(r, rig_put(r, "two-values", "the older value of it"));
    put_bytes(r, "two-values", newest, sizeof(newest));
    active_file(r, path);
    uint64_t start = last_of(r, path, "two-values") + HEADER + 10;
    for (uint64_t at = 0; at < 47; at++) {
        struct copy c;
        uint8_t zeros[60] = {0};
        copy_make(&c, r, SIMDISK_KILL);
        simdisk_patch(c.disk, path, start + at, zeros, sizeof(zeros) - at);
        assert_int_equal(copy_open(&c, r, BK_CORRUPT_REFUSE), BK_OK);
        assert_true(has_value(&c, "two-values", "the older value of it"));
        assert_int_equal(c.stats.damaged_records, 0);
        copy_free(&c);
    }
}

/* One member of a batch that is whole on disk: the others are what they are. */
static void test_bit__of_one_member_of_a_batch__leaves_the_others(void **state)
{
    struct rig *r = *state;
    char path[300];
    char key[32];
    char value[64];
    rig_begin(r);
    for (unsigned i = 0; i < KEYS; i++) {
        name_of(i, key, value);
        rig_batch_put(r, 0, bk_span_str(key), bk_span_str(value), 0, 0);
    }
    settled(r, rig_commit(r));
    active_file(r, path);
    for (int behind = 0; behind < 2; behind++) {
        for (unsigned i = 0; i < KEYS; i++) {
            struct copy c;
            struct bk_buf got = {0};
            copy_make(&c, r, SIMDISK_KILL);
            name_of(i, key, value);
            flip(c.disk, path, find(r, path, value) + 3, 4);
            assert_int_equal(copy_open(&c, r, BK_CORRUPT_SERVE), BK_OK);
            assert_int_equal(count_good(&c, i), KEYS - 1);
            assert_int_equal(copy_get(&c, key, &got), BK_CORRUPT);
            bk_buf_fini(&got);
            copy_free(&c);
        }
        settled(r, rig_put(r, "behind", "the batch"));
    }
}

/* No bit of a data file's header keeps the store from opening: not those of the version either. */
static void test_bit__of_a_files_header__is_told_and_costs_nothing(void **state)
{
    struct rig *r = *state;
    fill(r, true);
    assert_int_equal(rig_close(r), BK_OK);
    for (uint64_t bit = 0; bit < 64 * 8; bit++) {
        struct copy c;
        char path[300];
        copy_make(&c, r, SIMDISK_KILL);
        rig_path("0000000001.data", path, sizeof(path));
        flip(c.disk, path, bit / 8, (uint8_t)(1u << bit % 8));
        assert_int_equal(copy_open(&c, r, BK_CORRUPT_SERVE), BK_OK);
        assert_int_equal(count_good(&c, KEYS), KEYS);
        assert_int_equal(c.stats.damaged_records, 1);
        copy_free(&c);
    }
}

static void merge_now(struct copy *c, struct rig *r)
{
    bk_merge(c->db, BK_MERGE_NOW);
    for (unsigned i = 0; i < 3000; i++) {
        if (!bk_step(c->db)) {
            simclock_advance_ms(&r->clock, 20);
        }
    }
}

static uint64_t runs_of(struct copy *c)
{
    struct bk_merge_status s;
    bk_merge_status(c->db, &s);
    return s.runs;
}

/* The mark that a merge puts in place of a damaged value keeps the key's expiry. It was no record
 * to whoever read it back, so the key went on pointing into a file that was gone. */
static void test_trap48__damaged_value_with_an_expiry__its_mark_is_found_after_a_merge(void **state)
{
    struct rig *r = *state;
    int64_t expire = bk_clock_wall_ms(&r->clock.clock) + 100000000;
    struct copy c;
    struct bk_buf got = {0};
    char path[300];
    rig_begin(r);
    rig_batch_put(r, 0, bk_span_str("expiring-key"), bk_span_str("a value that expires"), 0,
                  expire);
    settled(r, rig_commit(r));
    fill(r, true);
    fill(r, true);
    assert_int_equal(rig_close(r), BK_OK);
    copy_make(&c, r, SIMDISK_KILL);
    rig_path("0000000001.data", path, sizeof(path));
    flip(c.disk, path, find(r, path, "a value that expires"), 1);
    assert_int_equal(copy_open(&c, r, BK_CORRUPT_SERVE), BK_OK);
    merge_now(&c, r);
    assert_true(runs_of(&c) > 0);
    for (int life = 0; life < 2; life++) {
        assert_int_equal(copy_get(&c, "expiring-key", &got), BK_CORRUPT);
        assert_int_equal(count_good(&c, KEYS), KEYS);
        assert_int_equal(bk_check(c.db, NULL), BK_OK);
        assert_int_equal(bk_close(&c.db, NULL), BK_OK);
        assert_int_equal(copy_open(&c, r, BK_CORRUPT_SERVE), BK_OK);
    }
    assert_true(told_of_key(&c, "expiring-key"));
    bk_buf_fini(&got);
    copy_free(&c);
}

/* A hint whose blocks do not check kept merges away from its file for ever. */
static void test_bit__of_a_hint__it_is_made_again_and_merges_go_on(void **state)
{
    struct rig *r = *state;
    struct copy c;
    char path[300];
    char name[64];
    r->opt.merge.max_files = 1; /* with an older file left, the guard in the hint is asked for */
    settled(r, rig_put(r, "stays", "in the first file"));
    fill(r, true);
    assert_int_equal(rig_close(r), BK_OK);
    RIG_TRUE(r, rig_open(r) == BK_OK);
    assert_int_equal(rig_delete(r, "key-number-003"), BK_OK);
    assert_int_equal(rig_put(r, "key-number-004", "dead soon"), BK_OK);
    fill(r, true);
    assert_int_equal(rig_delete(r, "key-number-003"), BK_OK);
    assert_int_equal(rig_close(r), BK_OK);
    RIG_TRUE(r, rig_open(r) == BK_OK);
    RIG_TRUE(r, rig_sync(r)); /* makes the hint, and the close an image */
    struct bk_file_info info = active_file(r, path);
    assert_true(info.id > 2);
    assert_int_equal(rig_close(r), BK_OK);
    copy_make(&c, r, SIMDISK_KILL);
    do { /* the newest hint */
        assert_true(info.id-- > 2);
        snprintf(name, sizeof(name), "%010llu.hint", (unsigned long long)info.id);
        rig_path(name, path, sizeof(path));
    } while (!simdisk_exists(c.disk, path));
    assert_true(simdisk_exists(c.disk, path));
    flip(c.disk, path, 100, 2); /* in the first block */
    assert_int_equal(copy_open(&c, r, BK_CORRUPT_REFUSE), BK_OK);
    merge_now(&c, r);
    simclock_advance_ms(&r->clock, 6000);
    merge_now(&c, r);
    bk_stats_get(c.db, &c.stats);
    assert_int_equal(c.stats.damaged_indexes, 1);
    assert_int_equal(c.stats.damaged_records, 0);
    assert_true(runs_of(&c) > 0);
    assert_int_equal(count_good(&c, 3), KEYS - 1);
    copy_free(&c);
}

/* Refusing changes nothing, and says what to do. */
static void test_refuse__damaged_manifest__stays_as_it_is(void **state)
{
    struct rig *r = *state;
    char path[300];
    struct bk_buf before = {0};
    struct bk_buf after = {0};
    fill(r, true);
    assert_int_equal(rig_close(r), BK_OK);
    rig_path("MANIFEST", path, sizeof(path));
    for (int kind = 0; kind < 2; kind++) { /* one bit; more than one */
        struct copy c;
        struct bk_error err = {0};
        struct bk_options o = r->opt;
        copy_make(&c, r, SIMDISK_KILL);
        flip(c.disk, path, 60, kind == 0 ? 1 : 0x55);
        simdisk_read(c.disk, path, &before);
        o.io = simdisk_io(c.disk);
        o.on_corruption = BK_CORRUPT_REFUSE;
        assert_int_equal(bk_open(&c.db, &o, &err), BK_CORRUPT);
        assert_non_null(strstr(err.text, "snapshot"));
        assert_non_null(strstr(err.text, "on-corruption serve"));
        simdisk_read(c.disk, path, &after);
        assert_int_equal(before.len, after.len);
        assert_memory_equal(before.data, after.data, after.len);
        assert_int_equal(copy_open(&c, r, BK_CORRUPT_SERVE), BK_OK);
        assert_int_equal(count_good(&c, KEYS), KEYS);
        copy_free(&c);
    }
    bk_buf_fini(&before);
    bk_buf_fini(&after);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup_everysec, teardown)
    const struct CMUnitTest tests[] = {
        T(test_bit__of_a_deletion__does_not_bring_the_key_back),
        T(test_bit__of_the_newest_record__does_not_show_the_older_one),
        T(test_bit__of_the_last_record_after_a_kill__is_damage_and_no_torn_tail),
        T(test_bit__of_a_last_value_that_ends_in_zeros__is_damage_and_no_torn_tail),
        T(test_bit__last_record_cut_off_at_each_byte__is_a_torn_tail),
        T(test_bit__last_value_with_zeros_cut_off_at_each_byte__is_a_torn_tail),
        T(test_bit__of_one_member_of_a_batch__leaves_the_others),
        T(test_bit__of_a_files_header__is_told_and_costs_nothing),
        T(test_trap48__damaged_value_with_an_expiry__its_mark_is_found_after_a_merge),
        T(test_bit__of_a_hint__it_is_made_again_and_merges_go_on),
        T(test_refuse__damaged_manifest__stays_as_it_is),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
