/* SPDX-License-Identifier: MIT */
/*
 * test_damage.c - bytes on disk that are not what was written. Behind the last sync mark after a power loss they are
 * the torn tail; anywhere else, and when only the process died, they are damage: stepped over, counted, listed, and
 * never served.
 *
 * Each test writes a store, keeps its disk, and opens many damaged copies of it.
 */
#include "engine_test.h"

#include <sys/resource.h>

#define KEYS 12u
#define HEADER 28u /* bytes of a record before its key, when it does not expire */

struct copy {
    struct simdisk *disk; /* owned */
    struct bk_db *db;     /* owned */
    struct bk_stats stats;/* after opening */
};

static void file_path(uint64_t id, char out[300])
{
    char name[64];
    snprintf(name, sizeof(name), "%010llu.data", (unsigned long long)id);
    rig_path(name, out, 300);
}

static void note_active(void *arg, const struct bk_file_info *info)
{
    struct bk_file_info *active = arg;
    if (info->state == BK_FILE_ACTIVE) {
        *active = *info;
    }
}

static struct bk_file_info active_file(struct rig *r, char path[300])
{
    struct bk_file_info info = {0};
    bk_files(r->db, note_active, &info);
    assert_true(info.id != 0);
    file_path(info.id, path);
    return info;
}

/* The copy starts a new life of the given kind; the caller damages it, then opens it. */
static void copy_make(struct copy *c, struct rig *r, enum simdisk_kind kind)
{
    *c = (struct copy){.disk = simdisk_clone(r->disk, 5)};
    simdisk_restart(c->disk, kind);
}

static int copy_open(struct copy *c, struct rig *r, enum bk_on_corruption on_corruption)
{
    struct bk_options o = r->opt;
    struct bk_error err = {0};
    o.io = simdisk_io(c->disk);
    o.on_corruption = on_corruption;
    int rc = bk_open(&c->db, &o, &err);
    if (rc == BK_OK) {
        bk_stats_get(c->db, &c->stats);
    }
    return rc;
}

static void copy_free(struct copy *c)
{
    if (c->db != NULL) {
        bk_ignore(bk_close(&c->db, NULL), "thrown away");
    }
    simdisk_free(&c->disk);
}

/* The value of a key: BK_OK with it in out, BK_NOTFOUND, or the error. */
static int copy_get(struct copy *c, const char *key, struct bk_buf *out)
{
    return bk_get(c->db, 0, bk_span_str(key), out, NULL);
}

static bool has_value(struct copy *c, const char *key, const char *value)
{
    struct bk_buf got = {0};
    bool same = copy_get(c, key, &got) == BK_OK && bk_span_eq(bk_buf_span(&got), bk_span_str(value));
    bk_buf_fini(&got);
    return same;
}

static void name_of(unsigned i, char key[32], char value[64])
{
    snprintf(key, 32, "key-number-%03u", i);
    snprintf(value, 64, "the value of key number %03u, not short", i);
}

/* KEYS keys written one by one; synced (with a mark behind them) when asked. */
static void fill(struct rig *r, bool synced)
{
    char key[32];
    char value[64];
    for (unsigned i = 0; i < KEYS; i++) {
        name_of(i, key, value);
        assert_int_equal(rig_put(r, key, value), BK_OK);
    }
    RIG_TRUE(r, rig_settle(r));
    if (synced) {
        RIG_TRUE(r, rig_sync(r));
    }
}

/* Where bytes stand in a file; the test fails when they do not, or twice. */
static uint64_t find(struct rig *r, const char *path, const char *bytes)
{
    struct bk_buf all = {0};
    simdisk_read(r->disk, path, &all);
    uint8_t *at = memmem(all.data, all.len, bytes, strlen(bytes));
    assert_non_null(at);
    uint64_t offset = (uint64_t)(at - all.data);
    at++;
    assert_null(memmem(at, all.len - (size_t)(at - all.data), bytes, strlen(bytes)));
    bk_buf_fini(&all);
    return offset;
}

static unsigned count_good(struct copy *c, unsigned skip)
{
    char key[32];
    char value[64];
    unsigned good = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        name_of(i, key, value);
        good += i != skip && has_value(c, key, value);
    }
    return good;
}

static int setup_sync(void **state, enum bk_sync sync)
{
    struct rig *r = malloc(sizeof(*r));
    rig_init(r, 31, sync);
    r->opt.max_file_bytes = 1 << 20;
    RIG_TRUE(r, rig_open(r) == BK_OK);
    *state = r;
    return 0;
}

static int setup(void **state)
{
    return setup_sync(state, BK_SYNC_NO);
}

static int setup_everysec(void **state)
{
    return setup_sync(state, BK_SYNC_EVERYSEC);
}

static int teardown(void **state)
{
    struct rig *r = *state;
    rig_fini(r);
    free(r);
    return 0;
}

/* ---- Trap 8: the torn tail ---- */

static void test_trap08__last_record_cut_zeroed_or_scrambled_at_every_byte__rest_is_served(void **state)
{
    struct rig *r = *state;
    char path[300];
    struct rng rng = {3};
    unsigned kept = 0;
    fill(r, true);
    uint64_t from = active_file(r, path).size;
    assert_int_equal(rig_put(r, "last", "the last value, which is torn"), BK_OK);
    RIG_TRUE(r, rig_settle(r));
    uint64_t to = active_file(r, path).size;
    for (uint64_t at = from; at <= to; at++) {
        for (int how = 0; how < 3; how++) {
            struct copy c;
            uint8_t junk[8192] = {0};
            copy_make(&c, r, SIMDISK_POWER);
            if (how == 0) {
                simdisk_resize(c.disk, path, at);
            } else {
                if (how == 2) {
                    rng_fill(&rng, junk, sizeof(junk)); /* behind the end too: blocks used before */
                }
                simdisk_patch(c.disk, path, at, junk, sizeof(junk));
            }
            assert_int_equal(copy_open(&c, r, BK_CORRUPT_REFUSE), BK_OK);
            assert_int_equal(count_good(&c, KEYS), KEYS);
            assert_int_equal(c.stats.damaged_records, 0);
            struct bk_buf got = {0};
            int rc = copy_get(&c, "last", &got);
            assert_true(rc == BK_NOTFOUND || (rc == BK_OK && has_value(&c, "last", "the last value, which is torn")));
            /* What was cut off or zeroed whole left no trace to count. */
            assert_true(rc == BK_OK || how < 2 || c.stats.tail_bytes_cut > 0);
            kept += rc == BK_OK;
            bk_buf_fini(&got);
            copy_free(&c);
        }
    }
    assert_in_range(kept, 3, 3 * 40); /* undamaged, or in its padding */
}

/* The same bytes, but only the process died: nothing is cut off silently, it is damage or it is whole. */
static void test_trap08__same_damage_after_a_kill__is_counted(void **state)
{
    struct rig *r = *state;
    char path[300];
    fill(r, true);
    uint64_t from = active_file(r, path).size;
    assert_int_equal(rig_put(r, "last", "the last value, which is damaged"), BK_OK);
    RIG_TRUE(r, rig_settle(r));
    for (uint64_t at = from; at < from + 40; at++) {
        struct copy c;
        copy_make(&c, r, SIMDISK_KILL);
        simdisk_patch(c.disk, path, at, "\xff\xff\xff\xff", 4);
        assert_int_equal(copy_open(&c, r, BK_CORRUPT_SERVE), BK_OK);
        assert_int_equal(count_good(&c, KEYS), KEYS);
        if (!has_value(&c, "last", "the last value, which is damaged")) {
            assert_true(c.stats.damaged_records + c.stats.damaged_bytes > 0);
        }
        copy_free(&c);
    }
}

/* ---- Trap 9: holes ---- */

/* Writes keys until the file holds several pages of 4 KiB; returns how many. */
static unsigned fill_pages(struct rig *r, unsigned keys)
{
    char key[32];
    char value[512];
    memset(value, 'p', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    for (unsigned i = 0; i < keys; i++) {
        snprintf(key, sizeof(key), "page-key-%04u", i);
        assert_int_equal(rig_put(r, key, value), BK_OK);
    }
    RIG_TRUE(r, rig_settle(r));
    return keys;
}

/* Which of the page keys are there, as a count, and whether they are the first ones. */
static unsigned page_keys(struct copy *c, unsigned keys, bool *prefix)
{
    unsigned n = 0;
    *prefix = true;
    for (unsigned i = 0; i < keys; i++) {
        struct bk_buf got = {0};
        char key[32];
        snprintf(key, sizeof(key), "page-key-%04u", i);
        int rc = copy_get(c, key, &got);
        /* BK_CORRUPT: the header stands before the hole, the value in it. */
        assert_true(rc == BK_OK || rc == BK_NOTFOUND || rc == BK_CORRUPT);
        *prefix = *prefix && (rc == BK_NOTFOUND || (rc == BK_OK && n == i));
        n += rc == BK_OK;
        bk_buf_fini(&got);
    }
    return n;
}

static void test_trap09__hole_behind_the_sync_mark_after_power_loss__ends_the_history_there(void **state)
{
    struct rig *r = *state;
    char path[300];
    static const uint8_t zeros[4096];
    fill(r, true);
    unsigned keys = fill_pages(r, 100);
    uint64_t end = active_file(r, path).size;
    for (uint64_t hole = 8192; hole + 4096 < end; hole += 4096) {
        struct copy c;
        bool prefix;
        copy_make(&c, r, SIMDISK_POWER);
        simdisk_patch(c.disk, path, hole, zeros, sizeof(zeros));
        assert_int_equal(copy_open(&c, r, BK_CORRUPT_REFUSE), BK_OK);
        assert_int_equal(count_good(&c, KEYS), KEYS);
        unsigned n = page_keys(&c, keys, &prefix);
        assert_true(prefix);
        assert_true(n < keys && n > 0);
        assert_int_equal(c.stats.damaged_records, 0);
        assert_true(c.stats.tail_bytes_cut > 0);
        copy_free(&c);
    }
}

static void test_trap09__hole_after_a_kill__is_damage_and_what_follows_is_kept(void **state)
{
    struct rig *r = *state;
    char path[300];
    static const uint8_t zeros[4096];
    fill(r, false);
    unsigned keys = fill_pages(r, 100);
    uint64_t end = active_file(r, path).size;
    for (uint64_t hole = 8192; hole + 4096 < end; hole += 4096) {
        struct copy c;
        bool prefix;
        copy_make(&c, r, SIMDISK_KILL);
        simdisk_patch(c.disk, path, hole, zeros, sizeof(zeros));
        assert_int_equal(copy_open(&c, r, BK_CORRUPT_REFUSE), BK_CORRUPT);
        assert_int_equal(copy_open(&c, r, BK_CORRUPT_SERVE), BK_OK);
        assert_int_equal(count_good(&c, KEYS), KEYS);
        unsigned n = page_keys(&c, keys, &prefix);
        assert_false(prefix);
        assert_in_range(n, keys - 10, keys - 6); /* records of 552 bytes: a page touches 8 or 9 */
        assert_true(c.stats.damaged_bytes > 0);
        copy_free(&c);
    }
}

/* In front of the mark a hole is damage even after a power loss: those bytes had been synced. */
static void test_trap09__hole_before_the_sync_mark__is_damage(void **state)
{
    struct rig *r = *state;
    char path[300];
    static const uint8_t zeros[4096];
    unsigned keys = fill_pages(r, 60);
    RIG_TRUE(r, rig_sync(r));
    assert_int_equal(rig_put(r, "behind", "the mark"), BK_OK); /* carries the mark */
    RIG_TRUE(r, rig_settle(r));
    active_file(r, path);
    struct copy c;
    bool prefix;
    copy_make(&c, r, SIMDISK_POWER);
    simdisk_patch(c.disk, path, 8192, zeros, sizeof(zeros));
    assert_int_equal(copy_open(&c, r, BK_CORRUPT_SERVE), BK_OK);
    unsigned n = page_keys(&c, keys, &prefix);
    assert_false(prefix);
    assert_in_range(n, keys - 10, keys - 6);
    assert_true(c.stats.damaged_bytes > 0);
    assert_true(has_value(&c, "behind", "the mark"));
    copy_free(&c);
}

/* Sealed by a clean stop, then damaged: the same, whatever the boot id says. */
static void test_trap09__hole_in_a_sealed_file__is_damage(void **state)
{
    struct rig *r = *state;
    char path[300];
    static const uint8_t zeros[4096];
    unsigned keys = fill_pages(r, 60);
    active_file(r, path);
    assert_int_equal(rig_close(r), BK_OK);
    for (int kind = SIMDISK_KILL; kind <= SIMDISK_POWER; kind++) {
        struct copy c;
        bool prefix;
        copy_make(&c, r, (enum simdisk_kind)kind);
        simdisk_patch(c.disk, path, 12288, zeros, sizeof(zeros));
        assert_int_equal(copy_open(&c, r, BK_CORRUPT_SERVE), BK_OK);
        assert_in_range(page_keys(&c, keys, &prefix), keys - 10, keys - 6);
        assert_true(c.stats.damaged_bytes > 0);
        copy_free(&c);
    }
}

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
            /* A damaged value: its key answers an error. A damaged header or key: the key is not known. */
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
    for (int sealed = 0; sealed < 2; sealed++) {
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
        }
    }
}

/* Sizes of all ones, and of all the ones in between: neither time nor memory is spent on them. */
static void test_trap24__damaged_sizes__allocate_nothing(void **state)
{
    struct rig *r = *state;
    char path[300];
    char key[32];
    char value[64];
    struct rusage before;
    struct rusage after;
    fill(r, true);
    active_file(r, path);
    name_of(7, key, value);
    uint64_t start = find(r, path, key) - HEADER;
    getrusage(RUSAGE_SELF, &before);
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
    getrusage(RUSAGE_SELF, &after);
    assert_true(after.ru_maxrss - before.ru_maxrss < 64 * 1024); /* KiB */
}

/* Trap 10: a record that checks in its own file does not check in another, wherever it is pasted. */
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
            /* After a power loss the history may end at the damage, before the delete is known: then old is right
             * only if everything behind it is gone too. The delete stands in front of both places. */
            assert_int_equal(rc, BK_NOTFOUND);
            bk_buf_fini(&got);
            copy_free(&c);
        }
    }
    bk_buf_fini(&all);
}

/* Trap 10: a record pasted from an earlier place of the same file does not bring an old value back. */
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
    const struct CMUnitTest tests[] = {
        T(test_trap08__last_record_cut_zeroed_or_scrambled_at_every_byte__rest_is_served),
        T(test_trap08__same_damage_after_a_kill__is_counted),
        T(test_trap09__hole_behind_the_sync_mark_after_power_loss__ends_the_history_there),
        T_NO(test_trap09__hole_after_a_kill__is_damage_and_what_follows_is_kept),
        T(test_trap09__hole_before_the_sync_mark__is_damage),
        T_NO(test_trap09__hole_in_a_sealed_file__is_damage),
        T(test_trap11__every_byte_of_a_record_changed__is_never_served_wrong),
        T(test_trap48__damaged_value__never_shows_the_older_one),
        T(test_trap24__damaged_sizes__allocate_nothing),
        T_NO(test_trap10__record_pasted_from_another_file__is_not_taken),
        T(test_trap10__stale_record_of_the_same_file__does_not_come_back),
        T(test_damage__large_value__each_block_is_checked),
        T(test_damage__under_a_running_store__reads_answer_an_error),
        T(test_damage__read_error__is_an_error_and_passes),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
