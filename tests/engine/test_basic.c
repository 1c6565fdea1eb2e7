/* SPDX-License-Identifier: MIT */
/* test_basic.c - put, get, delete, expiry, counts and reopening, on a real directory with threads.
 */
#include "engine_test.h"
#include "lib/tmpdir.h"

#include <sys/stat.h>

struct store {
    struct tmpdir dir;
    char path[160];
    struct simclock clock;
    struct bk_options opt;
    struct bk_db *db;
};

static void store_open(struct store *s)
{
    struct bk_error err = {0};
    BK_SUCCEEDS(bk_open(&s->db, &s->opt, &err), err);
}

static void store_reopen(struct store *s)
{
    struct bk_error err = {0};
    BK_SUCCEEDS(bk_close(&s->db, &err), err);
    assert_null(s->db);
    store_open(s);
}

static int setup(void **state)
{
    struct store *s = calloc(1, sizeof(*s));
    tmpdir_make(&s->dir, "basic");
    tmpdir_join(&s->dir, "data", s->path, sizeof(s->path));
    simclock_init(&s->clock);
    bk_options_init(&s->opt);
    s->opt.dir = s->path;
    s->opt.clock = &s->clock.clock;
    store_open(s);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct store *s = *state;
    if (s->db != NULL) {
        struct bk_error err = {0};
        BK_SUCCEEDS(bk_check(s->db, &err), err);
        BK_SUCCEEDS(bk_close(&s->db, &err), err);
    }
    tmpdir_remove(&s->dir);
    free(s);
    return 0;
}

static void put(struct store *s, uint32_t num, const char *key, const char *value,
                int64_t expire_ms)
{
    assert_int_equal(bk_put(s->db, num, bk_span_str(key), bk_span_str(value), expire_ms), BK_OK);
}

static void expect(struct store *s, uint32_t num, const char *key, const char *value)
{
    struct bk_buf got = {0};
    int rc = bk_get(s->db, num, bk_span_str(key), &got, NULL);
    if (value == NULL) {
        assert_int_equal(rc, BK_NOTFOUND);
    } else {
        assert_int_equal(rc, BK_OK);
        assert_true(bk_span_eq(bk_buf_span(&got), bk_span_str(value)));
    }
    bk_buf_fini(&got);
}

static void test_basic__put_and_get__same_value_before_and_after_reopen(void **state)
{
    struct store *s = *state;
    put(s, 0, "a", "1", 0);
    put(s, 0, "b", "", 0);
    put(s, 0, "", "empty key", 0);
    put(s, 3, "a", "other database", 0);
    put(s, 0, "a", "2", 0);
    for (int round = 0; round < 3; round++) {
        expect(s, 0, "a", "2");
        expect(s, 0, "b", "");
        expect(s, 0, "", "empty key");
        expect(s, 3, "a", "other database");
        expect(s, 1, "a", NULL);
        expect(s, 0, "c", NULL);
        assert_int_equal(bk_count(s->db, 0), 3);
        assert_int_equal(bk_count(s->db, 3), 1);
        store_reopen(s);
    }
}

static void test_basic__delete__is_gone_before_and_after_reopen(void **state)
{
    struct store *s = *state;
    put(s, 0, "a", "1", 0);
    put(s, 0, "b", "2", 0);
    assert_int_equal(bk_delete(s->db, 0, bk_span_str("a")), BK_OK);
    assert_int_equal(bk_delete(s->db, 0, bk_span_str("a")), BK_NOTFOUND);
    assert_int_equal(bk_delete(s->db, 1, bk_span_str("b")), BK_NOTFOUND);
    for (int round = 0; round < 3; round++) {
        expect(s, 0, "a", NULL);
        expect(s, 0, "b", "2");
        store_reopen(s);
    }
    put(s, 0, "a", "again", 0);
    store_reopen(s);
    expect(s, 0, "a", "again");
}

static void test_basic__arguments_out_of_range__are_refused(void **state)
{
    struct store *s = *state;
    static const uint32_t nums[] = {16, BK_DATABASES_MAX + 1, 1u << 20, UINT32_MAX};
    struct bk_span k = bk_span_str("k");
    struct bk_buf got = {0};
    put(s, 0, "k", "v", INT64_MAX);
    assert_int_equal(bk_put(s->db, 0, k, bk_span_str("new"), -1), BK_EINVAL);
    assert_int_equal(bk_put(s->db, 0, k, bk_span_str("new"), INT64_MIN), BK_EINVAL);
    for (size_t i = 0; i < sizeof(nums) / sizeof(nums[0]); i++) {
        assert_int_equal(bk_get(s->db, nums[i], k, &got, NULL), BK_EINVAL);
        assert_int_equal(bk_put(s->db, nums[i], k, bk_span_str("new"), 0), BK_EINVAL);
        assert_int_equal(bk_delete(s->db, nums[i], k), BK_EINVAL);
    }
    expect(s, 0, "k", "v");
    store_reopen(s);
    expect(s, 0, "k", "v");
    bk_buf_fini(&got);
}

/* Trap 26, 49: expiry is an absolute time, the same after a restart, and an expired record hides
 * what it replaced. */
static void test_trap49__expired_key__stays_hidden_and_hides_its_older_value(void **state)
{
    struct store *s = *state;
    int64_t now = bk_clock_wall_ms(&s->clock.clock);
    struct bk_buf got = {0};
    int64_t expire = 0;
    put(s, 0, "k", "old without expiry", 0);
    put(s, 0, "k", "new", now + 50);
    put(s, 0, "long", "x", now + 100000);
    assert_int_equal(bk_count_expiring(s->db, 0), 2);
    expect(s, 0, "k", "new");
    store_reopen(s);
    expect(s, 0, "k", "new");
    assert_int_equal(bk_get(s->db, 0, bk_span_str("long"), &got, &expire), BK_OK);
    assert_int_equal(expire, now + 100000);
    simclock_advance_ms(&s->clock, 51);
    expect(s, 0, "k", NULL);
    store_reopen(s);
    expect(s, 0, "k", NULL);
    simclock_advance_ms(&s->clock, 128); /* to the tick, wheel.h */
    assert_int_equal(bk_expire_step(s->db, 100, NULL), 1);
    expect(s, 0, "k", NULL);
    assert_int_equal(bk_count(s->db, 0), 1);
    store_reopen(s);
    expect(s, 0, "k", NULL);
    expect(s, 0, "long", "x");
    bk_buf_fini(&got);
}

static void test_trap12__clock_goes_back__newer_write_wins(void **state)
{
    struct store *s = *state;
    put(s, 0, "k", "first", 0);
    simclock_step_wall_ms(&s->clock, -86400000);
    put(s, 0, "k", "second", 0);
    store_reopen(s);
    expect(s, 0, "k", "second");
}

/* An expiry entry drops itself when the key has got another time; the numbers of expiring keys stay
 * exact. */
static void test_trap41__overwritten_expiry__does_not_fire(void **state)
{
    struct store *s = *state;
    int64_t now = bk_clock_wall_ms(&s->clock.clock);
    char key[32];
    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        put(s, 0, key, "x", now + 1000);
    }
    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        if (i % 3 == 0) {
            put(s, 0, key, "kept", 0);
        } else if (i % 3 == 1) {
            put(s, 0, key, "later", now + 50000);
        } else {
            assert_int_equal(bk_delete(s->db, 0, bk_span_str(key)), BK_OK);
        }
    }
    assert_int_equal(bk_count_expiring(s->db, 0), 1000);
    simclock_advance_ms(&s->clock, 2000);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(bk_expire_step(s->db, 100, NULL), 0);
    }
    assert_int_equal(bk_count(s->db, 0), 2000);
    store_reopen(s);
    assert_int_equal(bk_count(s->db, 0), 2000);
    simclock_advance_ms(&s->clock, 50000);
    size_t gone = 0;
    for (int i = 0; i < 2000 && gone < 1000; i++) {
        gone += bk_expire_step(s->db, 100, NULL);
    }
    assert_int_equal(gone, 1000);
    assert_int_equal(bk_count(s->db, 0), 1000);
    assert_int_equal(bk_count_expiring(s->db, 0), 0);
    expect(s, 0, "k0", "kept");
    expect(s, 0, "k1", NULL);
    expect(s, 0, "k2", NULL);
    struct bk_stats st;
    bk_stats_get(s->db, &st);
    assert_int_equal(st.expired, 1000);
}

static void test_basic__keys_of_odd_lengths__come_back(void **state)
{
    struct store *s = *state;
    static const size_t lengths[] = {0, 1, 253, 254, 255, 256, 300, 65535, 65536, 70000};
    uint8_t *key = malloc(70001);
    struct bk_buf got = {0};
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
            pattern_fill(key, lengths[i] + 1, i);
            struct bk_span k = bk_span_of(key, lengths[i]);
            uint64_t value = lengths[i];
            if (round == 0) {
                assert_int_equal(bk_put(s->db, 0, k, bk_span_of(&value, sizeof(value)), 0), BK_OK);
            }
            assert_int_equal(bk_get(s->db, 0, k, &got, NULL), BK_OK);
            assert_int_equal(got.len, sizeof(value));
            assert_memory_equal(got.data, &value, sizeof(value));
            /* one byte longer or another last byte is another key */
            assert_int_equal(bk_get(s->db, 0, bk_span_of(key, lengths[i] + 1), &got, NULL),
                             BK_NOTFOUND);
        }
        if (round == 0) {
            store_reopen(s);
        }
    }
    bk_buf_fini(&got);
    free(key);
}

/* Values on both sides of each edge: size classes, value CRC blocks of 64 KiB, records over 1 MiB.
 */
static void test_basic__values_around_every_size_edge__come_back(void **state)
{
    struct store *s = *state;
    static const size_t edges[] = {8,      472,    512,    1024,    2048,    4096,
                                   8192,   16384,  32768,  65536,   98304,   131072,
                                   196608, 262144, 524288, 1048576, 2097152, 4194304};
    const size_t around = 40;
    uint8_t *value = malloc(4194304 + around + 1);
    struct bk_buf got = {0};
    for (int round = 0; round < 2; round++) {
        for (size_t e = 0; e < sizeof(edges) / sizeof(edges[0]); e++) {
            size_t step = edges[e] > 65536 ? 20 : edges[e] > 4096 ? 8 : 1;
            size_t first = edges[e] > around ? edges[e] - around : 0;
            for (size_t len = first; len <= edges[e] + around; len += step) {
                char key[32];
                snprintf(key, sizeof(key), "v%zu", len);
                pattern_fill(value, len, len);
                if (round == 0) {
                    assert_int_equal(bk_put(s->db, 0, bk_span_str(key), bk_span_of(value, len), 0),
                                     BK_OK);
                }
                assert_int_equal(bk_get(s->db, 0, bk_span_str(key), &got, NULL), BK_OK);
                assert_int_equal(got.len, len);
                assert_memory_equal(got.data, value, len);
            }
        }
        if (round == 0) {
            struct bk_error err = {0};
            BK_SUCCEEDS(bk_check(s->db, &err), err);
            store_reopen(s);
        }
    }
    bk_buf_fini(&got);
    free(value);
}

static void test_basic__random_key__is_drawn_from_all(void **state)
{
    struct store *s = *state;
    struct rng rng = {5};
    struct bk_buf key = {0};
    int64_t expire = 7;
    unsigned seen[16] = {0};
    assert_int_equal(bk_random_key(s->db, 0, 1, &key, &expire), BK_NOTFOUND);
    for (unsigned i = 0; i < 16; i++) {
        char name[8];
        snprintf(name, sizeof(name), "%u", i);
        put(s, 0, name, "x", 0);
    }
    for (unsigned i = 0; i < 4000; i++) {
        assert_int_equal(bk_random_key(s->db, 0, rng_next(&rng), &key, &expire), BK_OK);
        bk_buf_append(&key, "", 1);
        seen[strtoul((char *)key.data, NULL, 10)]++;
    }
    for (unsigned i = 0; i < 16; i++) {
        assert_in_range(seen[i], 40, 1500);
    }
    bk_buf_fini(&key);
}

static void test_basic__options_out_of_range__are_refused(void **state)
{
    struct store *s = *state;
    struct bk_options o = s->opt;
    struct bk_db *db = NULL;
    char path[160];
    tmpdir_join(&s->dir, "other", path, sizeof(path));
    o.dir = path;
    o.databases = 0;
    assert_int_equal(bk_open(&db, &o, NULL), BK_EINVAL);
    o.databases = BK_DATABASES_MAX + 1;
    assert_int_equal(bk_open(&db, &o, NULL), BK_EINVAL);
    assert_null(db);
}

static void test_basic__directory_and_files__have_the_stated_modes(void **state)
{
    struct store *s = *state;
    struct stat st;
    char path[300];
    assert_int_equal(stat(s->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0750);
    snprintf(path, sizeof(path), "%s/MANIFEST", s->path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
}

static void test_basic__stats__count_what_was_done(void **state)
{
    struct store *s = *state;
    struct bk_stats a;
    struct bk_stats b;
    bk_stats_get(s->db, &a);
    put(s, 0, "a", "1", 0);
    put(s, 0, "a", "2", 0);
    assert_int_equal(bk_delete(s->db, 0, bk_span_str("a")), BK_OK);
    bk_stats_get(s->db, &b);
    assert_int_equal(b.appends - a.appends, 3);
    assert_int_equal(b.keys, 0);
    assert_true(b.dead_bytes > a.dead_bytes);
    assert_true(b.guard_bytes > a.guard_bytes);
    assert_true(b.tail_pos > a.tail_pos);
    assert_true(b.committed_pos == b.tail_pos);
}

static void test_basic__tunables__are_clamped_and_kept(void **state)
{
    struct store *s = *state;
    struct bk_tunables t;
    bk_tunables_get(s->db, &t);
    assert_int_equal(t.sync, BK_SYNC_EVERYSEC);
    t.sync = BK_SYNC_ALWAYS;
    t.max_file_bytes = 1;
    t.log_buffer_bytes = 1;
    bk_tune(s->db, &t);
    bk_tunables_get(s->db, &t);
    assert_int_equal(t.sync, BK_SYNC_ALWAYS);
    assert_int_equal(t.max_file_bytes, 4096);
    assert_int_equal(t.log_buffer_bytes, 65536);
    for (int i = 0; i < 50; i++) {
        put(s, 0, "k", "a value of some length that makes the small file turn over now and then",
            0);
    }
    struct bk_stats st;
    bk_stats_get(s->db, &st);
    assert_true(st.synced_pos == st.tail_pos);
    assert_true(st.rotations > 0);
}

static void test_basic__deleted_keys__give_their_memory_back(void **state)
{
    struct store *s = *state;
    struct bk_stats before;
    struct bk_stats full;
    struct bk_stats after;
    char key[32];
    bk_stats_get(s->db, &before);
    for (int i = 0; i < 50000; i++) {
        snprintf(key, sizeof(key), "key:%012d", i);
        put(s, 0, key, "12345678", 0);
    }
    bk_stats_get(s->db, &full);
    for (int i = 0; i < 50000; i++) {
        snprintf(key, sizeof(key), "key:%012d", i);
        assert_int_equal(bk_delete(s->db, 0, bk_span_str(key)), BK_OK);
    }
    bk_stats_get(s->db, &after);
    assert_in_range((full.keydir_bytes - before.keydir_bytes) / 50000, 16, 40);
    assert_true(full.keydir_moved_max <= 64);
    assert_true(after.keydir_bytes - before.keydir_bytes <
                (full.keydir_bytes - before.keydir_bytes) / 4);
}

/* Trap 10's neighbour: bytes that look like records inside values are values. */
static void test_basic__value_that_is_a_copy_of_the_log__stays_a_value(void **state)
{
    struct store *s = *state;
    char path[300];
    struct bk_buf copy = {0};
    struct bk_buf got = {0};
    put(s, 0, "a", "1", 0);
    snprintf(path, sizeof(path), "%s/0000000001.data", s->path);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    copy.len = fread(bk_buf_reserve(&copy, 4096), 1, 4096, f);
    fclose(f);
    assert_true(copy.len > 100);
    assert_int_equal(bk_put(s->db, 0, bk_span_str("copy"), bk_buf_span(&copy), 0), BK_OK);
    assert_int_equal(bk_delete(s->db, 0, bk_span_str("a")), BK_OK);
    store_reopen(s);
    expect(s, 0, "a", NULL);
    assert_int_equal(bk_get(s->db, 0, bk_span_str("copy"), &got, NULL), BK_OK);
    assert_true(bk_span_eq(bk_buf_span(&got), bk_buf_span(&copy)));
    bk_buf_fini(&copy);
    bk_buf_fini(&got);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_basic__put_and_get__same_value_before_and_after_reopen),
        T(test_basic__delete__is_gone_before_and_after_reopen),
        T(test_basic__arguments_out_of_range__are_refused),
        T(test_trap49__expired_key__stays_hidden_and_hides_its_older_value),
        T(test_trap12__clock_goes_back__newer_write_wins),
        T(test_trap41__overwritten_expiry__does_not_fire),
        T(test_basic__keys_of_odd_lengths__come_back),
        T(test_basic__values_around_every_size_edge__come_back),
        T(test_basic__random_key__is_drawn_from_all),
        T(test_basic__options_out_of_range__are_refused),
        T(test_basic__directory_and_files__have_the_stated_modes),
        T(test_basic__stats__count_what_was_done),
        T(test_basic__tunables__are_clamped_and_kept),
        T(test_basic__deleted_keys__give_their_memory_back),
        T(test_basic__value_that_is_a_copy_of_the_log__stays_a_value),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
