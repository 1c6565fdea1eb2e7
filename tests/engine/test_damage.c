/* SPDX-License-Identifier: MIT */
/*
 * test_damage.c - bytes on disk that are not what was written: stepped over, counted, listed, and
 * never served.
 *
 * Each test writes a store, keeps its disk, and opens many damaged copies of it.
 */
#include "damaged_copy.h"
#include "lib/expect.h"

#include <sys/resource.h>
#include <unistd.h>

/* ---- Damage to single fields ---- */

static void test_trap11__every_byte_of_a_record_changed__is_never_served_wrong(void **state)
{
    struct rig *r = *state;
    char path[300];
    char key[32];
    char value[64];
    static const uint8_t masks[] = {0x01, 0x80, 0xff};
    fill(r, true);
    assert_int_equal(rig_put(r, "behind", "the mark"), BK_OK);
    RIG_TRUE(r, rig_settle(r));
    active_file(r, path);
    name_of(5, key, value);
    uint64_t start = find(r, path, key) - HEADER;
    uint64_t end = find(r, path, value) + strlen(value);
    struct bk_buf all = {0};
    simdisk_read(r->disk, path, &all);
    for (uint64_t at = start; at < end; at++) {
        for (size_t m = 0; m < sizeof(masks); m++) {
            struct copy c;
            struct bk_buf got = {0};
            uint8_t bad = all.data[at] ^ masks[m];
            copy_make(&c, r, SIMDISK_KILL);
            simdisk_patch(c.disk, path, at, &bad, 1);
            assert_int_equal(copy_open(&c, r, BK_CORRUPT_SERVE), BK_OK);
            assert_int_equal(count_good(&c, 5), KEYS - 1);
            assert_true(has_value(&c, "behind", "the mark"));
            int rc = copy_get(&c, key, &got);
            /* A damaged value: its key answers an error. A damaged header or key: the key is not
             * known. */
            assert_true(rc == BK_CORRUPT || rc == BK_NOTFOUND);
            bk_stats_get(c.db, &c.stats);
            assert_true(c.stats.damaged_records + c.stats.damaged_bytes > 0);
            bk_buf_fini(&got);
            copy_free(&c);
        }
    }
    bk_buf_fini(&all);
}

/* A damaged value does not uncover the value that it had replaced. */
static void test_trap48__damaged_value__never_shows_the_older_one(void **state)
{
    struct rig *r = *state;
    char path[300];
    fill(r, true);
    assert_int_equal(rig_put(r, "twice", "the older value of this key"), BK_OK);
    assert_int_equal(rig_put(r, "twice", "the newer value of this key"), BK_OK);
    RIG_TRUE(r, rig_sync(r));
    assert_int_equal(rig_put(r, "behind", "the mark"), BK_OK);
    RIG_TRUE(r, rig_settle(r));
    active_file(r, path);
    uint64_t at = find(r, path, "the newer value of this key");
    for (int sealed = 0; sealed < 3; sealed++) { /* 1: by the image, 2: by the records */
        struct copy c;
        struct bk_buf got = {0};
        copy_make(&c, r, SIMDISK_KILL);
        simdisk_patch(c.disk, path, at + 4, "NEW", 3);
        assert_int_equal(copy_open(&c, r, BK_CORRUPT_SERVE), BK_OK);
        assert_int_equal(copy_get(&c, "twice", &got), BK_CORRUPT);
        assert_int_equal(count_good(&c, KEYS), KEYS);
        bk_buf_fini(&got);
        copy_free(&c);
        if (sealed == 0) {
            assert_int_equal(rig_close(r), BK_OK);
        } else {
            rig_forget_image(r);
        }
    }
}

/* ---- Trap 24 ---- */

#define ROOM ((rlim_t)48 << 20) /* an open store's own, on top of what the test has */

static struct rlimit unbounded;

/* Memory that is asked for and never touched shows in no figure of memory in use. So there is no
 * room for it, and a store that finds none ends the program. */
static void bound_addresses(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%lu", &pages), 1);
    fclose(f);
    assert_int_equal(getrlimit(RLIMIT_AS, &unbounded), 0);
    struct rlimit l = unbounded;
    l.rlim_cur = pages * (rlim_t)sysconf(_SC_PAGESIZE) + ROOM;
    assert_int_equal(EXPECT_MEMORY ? setrlimit(RLIMIT_AS, &l) : 0, 0);
}

static int setup_bounded(void **state)
{
    int rc = setup_everysec(state);
    bound_addresses();
    return rc;
}

static int teardown_bounded(void **state)
{
    setrlimit(RLIMIT_AS, &unbounded);
    return teardown(state);
}

/* Sizes of all ones, and of all the ones in between: neither time nor memory is spent on them. */
static void test_trap24__damaged_sizes__allocate_nothing(void **state)
{
    struct rig *r = *state;
    char path[300];
    char key[32];
    char value[64];
    fill(r, true);
    active_file(r, path);
    name_of(7, key, value);
    uint64_t start = find(r, path, key) - HEADER;
    for (unsigned at = 0; at + 4 <= HEADER; at++) {
        for (unsigned bits = 20; bits <= 32; bits += 3) {
            struct copy c;
            uint32_t huge = bits == 32 ? UINT32_MAX : (1u << bits) - 1;
            copy_make(&c, r, SIMDISK_KILL);
            simdisk_patch(c.disk, path, start + at, &huge, sizeof(huge));
            assert_int_equal(copy_open(&c, r, BK_CORRUPT_SERVE), BK_OK);
            assert_int_equal(count_good(&c, 7), KEYS - 1);
            copy_free(&c);
        }
    }
}

/* The same in what stands beside the data: whatever is read there, every key is found. */
static void test_trap24__damaged_sizes_in_other_files__allocate_nothing(void **state)
{
    struct rig *r = *state;
    static const char *const names[] = {"KEYDIR", "0000000001.hint", "MANIFEST"};
    static const uint32_t huge = UINT32_MAX;
    fill(r, true);
    for (int life = 0; life < 2; life++) { /* the second one makes the hint */
        assert_int_equal(rig_close(r), BK_OK);
        RIG_TRUE(r, rig_open(r) == BK_OK);
        RIG_TRUE(r, rig_settle(r));
    }
    assert_int_equal(rig_close(r), BK_OK);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[300];
        rig_path(names[i], path, sizeof(path));
        assert_true(simdisk_size(r->disk, path) >= 64);
        for (uint64_t at = 0; at + 4 <= simdisk_size(r->disk, path) && at < 512; at += 2) {
            struct copy c;
            copy_make(&c, r, SIMDISK_KILL);
            simdisk_patch(c.disk, path, at, &huge, sizeof(huge));
            assert_int_equal(copy_open(&c, r, BK_CORRUPT_SERVE), BK_OK);
            assert_int_equal(count_good(&c, KEYS), KEYS);
            copy_free(&c);
        }
        rig_forget_image(r); /* else the others are not looked at */
    }
    RIG_TRUE(r, rig_open(r) == BK_OK);
}

/* Trap 10: a record that checks in its own file does not check in another, wherever it is pasted.
 */
static void test_trap10__record_pasted_from_another_file__is_not_taken(void **state)
{
    struct rig *r = *state;
    char first[300];
    char second[300];
    active_file(r, first);
    assert_int_equal(rig_put(r, "pasted", "from the first file"), BK_OK);
    RIG_TRUE(r, rig_settle(r));
    uint64_t from = find(r, first, "pasted") - HEADER;
    assert_int_equal(rig_close(r), BK_OK);
    RIG_TRUE(r, rig_open(r) == BK_OK);
    assert_int_equal(rig_delete(r, "pasted"), BK_OK);
    assert_int_equal(rig_put(r, "victim", "of the same size..."), BK_OK);
    fill(r, false);
    struct bk_file_info info = active_file(r, second);
    assert_string_not_equal(first, second);
    uint64_t places[] = {find(r, second, "victim") - HEADER, info.size};
    struct bk_buf all = {0};
    simdisk_read(r->disk, first, &all);
    for (size_t i = 0; i < 2; i++) {
        for (int kind = SIMDISK_KILL; kind <= SIMDISK_POWER; kind++) {
            struct copy c;
            struct bk_buf got = {0};
            copy_make(&c, r, (enum simdisk_kind)kind);
            simdisk_patch(c.disk, second, places[i], all.data + from, 56);
            assert_int_equal(copy_open(&c, r, BK_CORRUPT_SERVE), BK_OK);
            int rc = copy_get(&c, "pasted", &got);
            /* After a power loss the history may end at the damage, before the delete is known:
             * then old is right only if everything behind it is gone too. The delete stands in
             * front of both places. */
            assert_int_equal(rc, BK_NOTFOUND);
            bk_buf_fini(&got);
            copy_free(&c);
        }
    }
    bk_buf_fini(&all);
}

/* Trap 10: a record pasted from an earlier place of the same file does not bring an old value back.
 */
static void test_trap10__stale_record_of_the_same_file__does_not_come_back(void **state)
{
    struct rig *r = *state;
    char path[300];
    active_file(r, path);
    assert_int_equal(rig_put(r, "stale", "old value"), BK_OK);
    RIG_TRUE(r, rig_settle(r));
    uint64_t from = find(r, path, "stale") - HEADER;
    assert_int_equal(rig_put(r, "stale", "new value"), BK_OK);
    fill(r, true);
    struct bk_file_info info = active_file(r, path);
    struct bk_buf all = {0};
    simdisk_read(r->disk, path, &all);
    for (int kind = SIMDISK_KILL; kind <= SIMDISK_POWER; kind++) {
        struct copy c;
        copy_make(&c, r, (enum simdisk_kind)kind);
        simdisk_patch(c.disk, path, info.size, all.data + from, 48);
        assert_int_equal(copy_open(&c, r, BK_CORRUPT_SERVE), BK_OK);
        assert_true(has_value(&c, "stale", "new value"));
        assert_int_equal(count_good(&c, KEYS), KEYS);
        copy_free(&c);
    }
    bk_buf_fini(&all);
}

/* Values over 64 KiB carry a CRC for each 64 KiB: damage in any block is found. */
static void test_damage__large_value__each_block_is_checked(void **state)
{
    struct rig *r = *state;
    char path[300];
    size_t len = 5 * 65536 + 1234;
    uint8_t *value = malloc(len);
    pattern_fill(value, len, 77);
    fill(r, true);
    rig_begin(r);
    rig_batch_put(r, 0, bk_span_str("a large value's key"), bk_span_of(value, len), 0, 0);
    assert_int_equal(rig_commit(r), BK_OK);
    RIG_TRUE(r, rig_sync(r));
    uint64_t end = active_file(r, path).size;
    uint64_t start = find(r, path, "a large value's key") + 19;
    for (uint64_t at = start; at < end - 8; at += at < start + 40 ? 1 : 16381) {
        struct copy c;
        struct bk_buf all = {0};
        struct bk_buf got = {0};
        copy_make(&c, r, SIMDISK_KILL);
        simdisk_read(c.disk, path, &all);
        uint8_t bad = all.data[at] ^ 0x10;
        simdisk_patch(c.disk, path, at, &bad, 1);
        assert_int_equal(copy_open(&c, r, BK_CORRUPT_SERVE), BK_OK);
        int rc = copy_get(&c, "a large value's key", &got);
        bool in_padding = at >= start + 4 * 6 + len;
        assert_true(rc == BK_CORRUPT || rc == BK_NOTFOUND || (in_padding && rc == BK_OK));
        assert_int_equal(count_good(&c, KEYS), KEYS);
        bk_buf_fini(&all);
        bk_buf_fini(&got);
        copy_free(&c);
    }
    free(value);
}

/* Damage under a running store: the read says so, everything else goes on. */
static void test_damage__under_a_running_store__reads_answer_an_error(void **state)
{
    struct rig *r = *state;
    char path[300];
    char key[32];
    char value[64];
    fill(r, true);
    assert_int_equal(rig_close(r), BK_OK);
    RIG_TRUE(r, rig_open(r) == BK_OK);
    rig_path("0000000001.data", path, sizeof(path));
    name_of(3, key, value);
    simdisk_patch(r->disk, path, find(r, path, value) + 2, "X", 1);
    struct copy c = {.disk = r->disk, .db = r->db};
    struct bk_buf got = {0};
    assert_int_equal(copy_get(&c, key, &got), BK_CORRUPT);
    assert_int_equal(got.len, 0);
    assert_int_equal(count_good(&c, 3), KEYS - 1);
    assert_int_equal(rig_put(r, key, "healed"), BK_OK);
    assert_true(has_value(&c, key, "healed"));
    bk_stats_get(r->db, &c.stats);
    assert_true(c.stats.damaged_records > 0);
}

/* A write that went to the wrong place: what lies there checks, and is another key's. No record
 * that is committed moves, so looking again finds nothing else. */
static void test_trap48__record_of_another_key_in_the_place__is_damage(void **state)
{
    struct rig *r = *state;
    static const char value[] = "as long as that of the other";
    char path[300];
    struct copy c;
    struct bk_key key;
    struct bk_item item = {0};
    struct bk_buf all = {0};
    struct bk_buf got = {0};
    fill(r, true);
    assert_int_equal(rig_put(r, "key one", value), BK_OK);
    assert_int_equal(rig_put(r, "key two", value), BK_OK);
    RIG_TRUE(r, rig_settle(r));
    active_file(r, path);
    uint64_t one = find(r, path, "key one") - HEADER;
    uint64_t two = find(r, path, "key two") - HEADER;
    assert_int_equal(rig_close(r), BK_OK);
    simdisk_read(r->disk, path, &all);
    copy_make(&c, r, SIMDISK_KILL);
    simdisk_patch(c.disk, path, one, all.data + two, two - one);
    assert_int_equal(copy_open(&c, r, BK_CORRUPT_SERVE), BK_OK); /* by the image */
    bk_key_init(c.db, &key, "key one", 7);
    unsigned pin = bk_pin(c.db);
    bk_locate(c.db, &(uint32_t){0}, &key, 1, &item);
    assert_int_equal(bk_load(c.db, &key, &item, NULL), BK_CORRUPT);
    bk_unpin(c.db, pin);
    assert_int_equal(copy_get(&c, "key one", &got), BK_CORRUPT);
    assert_true(has_value(&c, "key two", value));
    assert_int_equal(count_good(&c, KEYS), KEYS);
    bk_stats_get(c.db, &c.stats);
    assert_int_equal(c.stats.damaged_records, 1);
    bk_item_fini(&item);
    bk_buf_fini(&all);
    copy_free(&c);
}

/* Reads that fail say so; the next one that works answers. */
static void test_damage__read_error__is_an_error_and_passes(void **state)
{
    struct rig *r = *state;
    fill(r, true);
    assert_int_equal(rig_close(r), BK_OK);
    RIG_TRUE(r, rig_open(r) == BK_OK);
    struct copy c = {.disk = r->disk, .db = r->db};
    struct bk_buf got = {0};
    char key[32];
    char value[64];
    name_of(3, key, value);
    simdisk_fail(r->disk, SIMDISK_READ, 1, 1, 5);
    assert_int_equal(copy_get(&c, key, &got), BK_EIO);
    assert_int_equal(simdisk_failed(r->disk), 1);
    assert_true(has_value(&c, key, value));
    bk_buf_fini(&got);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup_everysec, teardown)
#define T_NO(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define BOUNDED(name) cmocka_unit_test_setup_teardown(name, setup_bounded, teardown_bounded)
    const struct CMUnitTest tests[] = {
        T(test_trap11__every_byte_of_a_record_changed__is_never_served_wrong),
        T(test_trap48__damaged_value__never_shows_the_older_one),
        BOUNDED(test_trap24__damaged_sizes__allocate_nothing),
        BOUNDED(test_trap24__damaged_sizes_in_other_files__allocate_nothing),
        T_NO(test_trap10__record_pasted_from_another_file__is_not_taken),
        T(test_trap10__stale_record_of_the_same_file__does_not_come_back),
        T(test_damage__large_value__each_block_is_checked),
        T(test_damage__under_a_running_store__reads_answer_an_error),
        T(test_trap48__record_of_another_key_in_the_place__is_damage),
        T(test_damage__read_error__is_an_error_and_passes),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
