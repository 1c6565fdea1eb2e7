/* SPDX-License-Identifier: MIT */
/* test_verify.c - bk_verify: silent about stores that are well, however they ended; and no byte of
 * any file can change unseen. */
#include "bad_sector.h"
#include "base/checksum.h"
#include "merge_rig.h"

#define NAMES_MAX 40

struct found {
    unsigned n;
    bool key; /* one of them names this key */
    char wanted[40];
    char what[400]; /* files and sentences, one a line */
};

static void note(void *arg, const struct bk_finding *f)
{
    struct found *all = arg;
    size_t at = strlen(all->what);
    all->n++;
    all->key = all->key || (f->has_key && bk_span_eq(f->key, bk_span_str(all->wanted)));
    snprintf(all->what + at, sizeof(all->what) - at, "%s: %s\n", f->file, f->what);
}

static struct found verify(struct rig *r, struct simdisk *disk, const char *key)
{
    struct bk_options opt = r->opt;
    struct bk_error err = {0};
    struct bk_db *db = NULL;
    struct bk_progress p = {0};
    struct found all = {0};
    snprintf(all.wanted, sizeof(all.wanted), "%s", key);
    opt.read_only = true;
    opt.io = simdisk_io(disk);
    opt.on_corruption = BK_CORRUPT_SERVE;
    BK_SUCCEEDS(bk_open(&db, &opt, &err), err);
    BK_SUCCEEDS(bk_verify(db, note, &all, &p, &err), err);
    assert_int_equal(p.bytes_done, p.bytes_total);
    BK_SUCCEEDS(bk_close(&db, &err), err);
    return all;
}

#define NOTHING_FOUND(f)               \
    do {                               \
        if ((f).n > 0) {               \
            print_error("%s", f.what); \
            fail();                    \
        }                              \
    } while (0)

static void test_verify__stores_closed_killed_and_cut__are_well(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60 * (uint64_t)long_factor(); seed++) {
        struct rig r;
        rig_init(&r, seed, (enum bk_sync)(seed % 3));
        rig_merging(&r);
        r.opt.max_file_bytes = (uint64_t)4096 << (seed % 4);
        RIG_TRUE(&r, rig_open(&r) == BK_OK);
        for (unsigned i = 0; i < 200; i++) {
            RIG_TRUE(&r, rig_random_op(&r));
        }
        if (seed % 2 == 0) {
            RIG_TRUE(&r, rig_close(&r) == BK_OK);
        } else {
            rig_crash(&r, seed % 4 == 1 ? SIMDISK_POWER : SIMDISK_KILL);
        }
        struct found f = verify(&r, r.disk, "");
        if (f.n > 0) {
            print_error("seed %llu\n", (unsigned long long)seed);
        }
        NOTHING_FOUND(f);
        rig_fini(&r);
    }
}

static void test_verify__stores_cut_anywhere__are_well(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 150 * (uint64_t)long_factor(); seed++) {
        struct rig r;
        struct rng rng = {seed};
        rig_init(&r, seed, (enum bk_sync)(seed % 3));
        rig_merging(&r);
        r.opt.max_file_bytes = (uint64_t)4096 << (seed % 3);
        RIG_TRUE(&r, rig_open(&r) == BK_OK);
        for (unsigned i = 0; i < 50; i++) {
            RIG_TRUE(&r, rig_random_op(&r));
        }
        simdisk_cut(r.disk, 1 + rng_below(&rng, 2000));
        for (unsigned i = 0; i < 400 && !simdisk_dead(r.disk); i++) {
            RIG_TRUE(&r, rig_random_op(&r));
        }
        rig_crash(&r, seed % 4 == 0 ? SIMDISK_KILL : SIMDISK_POWER);
        struct found f = verify(&r, r.disk, "");
        if (f.n > 0) {
            print_error("seed %llu\n", (unsigned long long)seed);
        }
        NOTHING_FOUND(f);
        rig_fini(&r);
    }
}

/* ---- A store of three files, with hints, batches, flushed and swapped databases ---- */

static void write_all(struct rig *r)
{
    int64_t far = bk_clock_wall_ms(&r->clock.clock) + 1000000;
    char key[32];
    static uint8_t value[3000];
    memset(value, 'v', sizeof(value));
    assert_int_equal(rig_put(r, "deleted", "soon"), BK_OK);
    assert_int_equal(rig_put(r, "twice", "older"), BK_OK);
    for (unsigned i = 0; i < 8; i++) {
        snprintf(key, sizeof(key), "key %u", i);
        rig_begin(r);
        rig_batch_put(r, i % 3, bk_span_str(key), bk_span_of(value, 100 * i + i % 8), (uint8_t)i,
                      i % 2 == 0 ? far : 0);
        rig_batch_put(r, 0, bk_span_str(key), bk_span_of(value, 5), 0, 0);
        if (i == 4) {
            rig_batch_flush(r, 2);
            rig_batch_swap(r, 0, 1);
            rig_batch_swap(r, 0, 1);
        }
        assert_int_equal(rig_commit(r), BK_OK);
        RIG_TRUE(r, rig_settle(r));
    }
    assert_int_equal(rig_delete(r, "deleted"), BK_OK);
    assert_int_equal(rig_put(r, "twice", "newer"), BK_OK);
    RIG_TRUE(r, rig_sync(r));
}

static int setup(void **state)
{
    struct rig *r = set_rig_up(state, 11, BK_SYNC_EVERYSEC);
    r->opt.max_file_bytes = 4096;
    for (int life = 0; life < 4; life++) { /* the last one makes hints of what the others wrote */
        RIG_TRUE(r, rig_open(r) == BK_OK);
        if (life < 3) {
            write_all(r);
        }
        RIG_TRUE(r, rig_settle(r));
        RIG_TRUE(r, rig_close(r) == BK_OK);
    }
    return 0;
}

struct names {
    unsigned n;
    char name[NAMES_MAX][64];
};

static void take_name(void *arg, const char *name)
{
    struct names *l = arg;
    if (strcmp(name, "LOCK") != 0) {
        assert_true(l->n < NAMES_MAX);
        snprintf(l->name[l->n++], sizeof(l->name[0]), "%s", name);
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void list(struct rig *r, struct names *l)
{
    const struct bk_io *io = simdisk_io(r->disk);
    *l = (struct names){0};
    assert_int_equal(io->list(io->arg, RIG_DIR, take_name, l), 0);
    qsort(l->name, l->n, sizeof(l->name[0]), by_name);
}

static unsigned count_of(const struct names *l, const char *part)
{
    unsigned n = 0;
    for (unsigned i = 0; i < l->n; i++) {
        n += strstr(l->name[i], part) != NULL;
    }
    return n;
}

static void test_verify__any_byte_of_any_file_changed__is_found(void **state)
{
    struct rig *r = *state;
    struct names l;
    struct rng rng = {3};
    unsigned tried = 0;
    list(r, &l);
    assert_true(count_of(&l, ".data") >= 3 && count_of(&l, ".hint") >= 2);
    assert_true(count_of(&l, "MANIFEST") == 1 && count_of(&l, "KEYDIR") == 1);
    NOTHING_FOUND(verify(r, r->disk, ""));
    for (unsigned i = 0; i < l.n; i++) {
        char path[300];
        struct bk_buf all = {0};
        rig_path(l.name[i], path, sizeof(path));
        simdisk_read(r->disk, path, &all);
        for (uint64_t at = 0; at < all.len; at += 1 + rng_below(&rng, 6 / long_factor() + 1)) {
            uint8_t bad =
                all.data[at] ^ (uint8_t)(rng_percent(&rng, 50) ? 1u << rng_below(&rng, 8)
                                                               : 1 + rng_below(&rng, 255));
            uint8_t version = at == 8 || at == 9;
            if (version) {
                continue; /* of the format: a newer one is refused as a whole */
            }
            simdisk_patch(r->disk, path, at, &bad, 1);
            struct found f = verify(r, r->disk, "");
            simdisk_patch(r->disk, path, at, &all.data[at], 1);
            if (strstr(f.what, l.name[i]) == NULL) {
                print_error("byte %llu of %s: %s\n", (unsigned long long)at, l.name[i], f.what);
                fail();
            }
            tried++;
        }
        bk_buf_fini(&all);
    }
    assert_true(tried > 1000);
    NOTHING_FOUND(verify(r, r->disk, ""));
}

static void test_verify__file_missing_or_cut__is_found(void **state)
{
    struct rig *r = *state;
    struct names l;
    list(r, &l);
    for (unsigned i = 0; i < l.n; i++) {
        char path[300];
        bool needed = strstr(l.name[i], ".data") != NULL || strcmp(l.name[i], "MANIFEST") == 0;
        struct simdisk *copy = simdisk_clone(r->disk, 1);
        rig_path(l.name[i], path, sizeof(path));
        simdisk_resize(copy, path, simdisk_size(copy, path) - 8);
        struct found f = verify(r, copy, "");
        assert_non_null(strstr(f.what, l.name[i]));
        simdisk_remove(copy, path);
        f = verify(r, copy, "");
        assert_int_equal(f.n > 0, needed); /* an image or a hint is missed by nobody */
        assert_true(!needed || strstr(f.what, l.name[i]) != NULL);
        simdisk_free(&copy);
    }
}

/* ---- What a power cut leaves of a manifest's last edit, and what looks like it ---- */

/* The data file without a header: a merge's first output. */
static bool find_unfinished(struct rig *r, char path[300])
{
    static const uint8_t zeros[64];
    struct names l;
    bool found = false;
    list(r, &l);
    for (unsigned i = 0; !found && i < l.n; i++) {
        struct bk_buf all = {0};
        rig_path(l.name[i], path, 300);
        simdisk_read(r->disk, path, &all);
        found = strstr(path, ".data") != NULL && all.len > 64 && memcmp(all.data, zeros, 64) == 0;
        bk_buf_fini(&all);
    }
    return found;
}

/* Killed within a merge; the manifest ends in an edit of which nothing but the room is there. */
static void kill_within_merge(struct rig *r, char unfinished[300])
{
    setup_rig(r, 21, BK_SYNC_ALWAYS);
    for (unsigned i = 0; !find_unfinished(r, unfinished); i++) {
        assert_true(i < 1000);
        assert_int_equal(rig_put(r, i % 2 == 0 ? "a" : "b", "the same again and again"), BK_OK);
        for (unsigned k = 0; k < 20 && !find_unfinished(r, unfinished); k++) {
            one_step(r);
        }
    }
    rig_crash(r, SIMDISK_KILL);
    simdisk_resize(r->disk, RIG_DIR "/MANIFEST", simdisk_size(r->disk, RIG_DIR "/MANIFEST") + 24);
}

static void test_verify__torn_edit_beside_an_unfinished_merge__is_well(void **state)
{
    (void)state;
    struct rig r;
    char path[300];
    kill_within_merge(&r, path);
    NOTHING_FOUND(verify(&r, r.disk, ""));
    simdisk_patch(r.disk, path, 3, "x", 1);
    struct found f = verify(&r, r.disk, "");
    assert_int_equal(f.n, 1);
    assert_non_null(strstr(f.what, "the header is damaged, and no manifest names the file"));
    simdisk_patch(r.disk, path, 3, "", 1);
    simdisk_remove(r.disk, RIG_DIR "/MANIFEST");
    f = verify(&r, r.disk, "");
    assert_int_equal(f.n, 2); /* it may be one that was wiped */
    assert_non_null(strstr(f.what, "MANIFEST: the file is missing"));
    assert_non_null(strstr(f.what, "there is no header, and no manifest names the file"));
    rig_fini(&r);
}

static void test_verify__last_edit_changed__is_no_torn_one(void **state)
{
    (void)state;
    struct rig r;
    char path[300];
    struct bk_buf all = {0};
    kill_within_merge(&r, path);
    simdisk_resize(r.disk, RIG_DIR "/MANIFEST", simdisk_size(r.disk, RIG_DIR "/MANIFEST") - 24);
    simdisk_read(r.disk, RIG_DIR "/MANIFEST", &all);
    simdisk_patch(r.disk, RIG_DIR "/MANIFEST", all.len - 3, "abc", 3);
    struct found f = verify(&r, r.disk, "");
    assert_non_null(strstr(f.what, "MANIFEST: the last edit does not check"));
    simdisk_put(r.disk, RIG_DIR "/KEYDIR", "x", 1); /* as a clean close leaves one */
    simdisk_resize(r.disk, RIG_DIR "/MANIFEST", all.len - 3);
    f = verify(&r, r.disk, "");
    assert_non_null(strstr(f.what, "MANIFEST: the last edit does not check"));
    simdisk_remove(r.disk, RIG_DIR "/KEYDIR");
    f = verify(&r, r.disk, "");
    assert_null(strstr(f.what, "MANIFEST"));
    bk_buf_fini(&all);
    rig_fini(&r);
}

/* ---- What checks and is wrong: hints that lie under checksums that are right ---- */

/* The hint that lists key, and where the entry of its last record lies. */
static uint64_t find_entry(struct rig *r, const char *key, char path[300], struct bk_buf *all)
{
    struct names l;
    list(r, &l);
    for (unsigned i = l.n; i > 0; i--) {
        uint64_t at = 0;
        rig_path(l.name[i - 1], path, 300);
        simdisk_read(r->disk, path, all);
        if (strstr(l.name[i - 1], ".hint") == NULL) {
            continue;
        }
        for (uint64_t k = 116; k + strlen(key) < bk_get64(all->data + 68); k++) {
            bool here = bk_get32(all->data + k - 4) == strlen(key) &&
                        memcmp(all->data + k, key, strlen(key)) == 0;
            at = here ? k - 20 : at;
        }
        if (at != 0) {
            return at;
        }
    }
    fail();
    return 0;
}

static void mend_hint(struct bk_buf *b)
{
    uint64_t table = bk_get64(b->data + 68);
    for (uint32_t i = 0; i < bk_get32(b->data + 64); i++) {
        uint8_t *row = b->data + table + (size_t)i * 24;
        bk_put32(row + 20, bk_crc32c(0, b->data + bk_get64(row), bk_get32(row + 16)));
    }
    bk_put32(b->data + 84, bk_crc32c(0, b->data + table, b->len - table));
    bk_put32(b->data + 92, bk_crc32c(0, b->data, 92));
}

/* Changes one byte of the last entry of key, then reads the store without its image. */
static struct found lie(struct rig *r, const char *key, unsigned byte, uint8_t value)
{
    char path[300];
    struct bk_buf all = {0};
    uint64_t at = find_entry(r, key, path, &all);
    struct simdisk *copy = simdisk_clone(r->disk, 1);
    assert_int_not_equal(all.data[at + byte], value);
    all.data[at + byte] = value;
    mend_hint(&all);
    simdisk_put(copy, path, all.data, all.len);
    struct found f = verify(r, copy, key); /* by the image, which is right */
    assert_non_null(strstr(f.what, "the entries are not the records of the data file"));
    assert_true(f.n <= 2); /* a wrong space is not in the filter either */
    simdisk_remove(copy, RIG_DIR "/KEYDIR");
    f = verify(r, copy, key);
    simdisk_free(&copy);
    bk_buf_fini(&all);
    return f;
}

#define KIND 5u /* bytes of an entry */
#define FLAGS 6u
#define SPACE 12u

static void test_verify__index_from_a_lying_hint__each_wrong_key_is_found(void **state)
{
    struct rig *r = *state;
    struct found f = lie(r, "twice", KIND, 2);
    assert_non_null(strstr(f.what, "the index does not have this key"));
    f = lie(r, "twice", SPACE, 9);
    assert_non_null(strstr(f.what, "the index names an older record of the key"));
    assert_true(f.key);
    f = lie(r, "twice", FLAGS, 3);
    assert_non_null(strstr(f.what, "another size, expiry or type"));
    assert_true(f.key);
    f = lie(r, "deleted", KIND, 1);
    assert_non_null(strstr(f.what, "another size, expiry or type"));
    assert_true(f.key);
}

static void note_hint(void *arg, const struct bk_finding *f)
{
    unsigned *n = arg;
    assert_false(f->loss);
    assert_non_null(strstr(f->file, ".hint"));
    ++*n;
}

static void test_verify__hint_unreadable__is_no_loss(void **state)
{
    struct rig *r = *state;
    char path[300];
    struct bk_buf hint = {0};
    find_entry(r, "twice", path, &hint);
    const uint64_t where[] = {0, 96, bk_get64(hint.data + 68), hint.len - 8};
    for (size_t i = 0; i < sizeof(where) / sizeof(where[0]); i++) {
        struct bk_options opt = r->opt;
        struct bk_error err = {0};
        struct bk_db *db = NULL;
        unsigned n = 0;
        opt.read_only = true;
        opt.io = bad_sector(r, path, where[i], 8);
        BK_SUCCEEDS(bk_open(&db, &opt, &err), err);
        BK_SUCCEEDS(bk_verify(db, note_hint, &n, NULL, &err), err);
        assert_int_equal(n, 1);
        BK_SUCCEEDS(bk_close(&db, &err), err);
    }
    bk_buf_fini(&hint);
}

static void test_verify__damaged_value_and_record__name_their_key(void **state)
{
    struct rig *r = *state;
    char path[300];
    struct names l;
    list(r, &l);
    for (unsigned i = l.n; i > 0; i--) {
        struct bk_buf all = {0};
        rig_path(l.name[i - 1], path, sizeof(path));
        simdisk_read(r->disk, path, &all);
        uint8_t *at = strstr(path, ".data") == NULL ? NULL : memmem(all.data, all.len, "newer", 5);
        if (at != NULL) {
            struct simdisk *copy = simdisk_clone(r->disk, 1);
            uint64_t offset = (uint64_t)(at - all.data);
            simdisk_patch(copy, path, offset, "N", 1);
            struct found f = verify(r, copy, "twice");
            assert_true(f.key && strstr(f.what, "value") != NULL);
            simdisk_patch(copy, path, offset - 3, "X", 1); /* in the key: no record any more */
            f = verify(r, copy, "twice");
            assert_true(f.key && strstr(f.what, "no record checks here") != NULL);
            simdisk_free(&copy);
            bk_buf_fini(&all);
            return;
        }
        bk_buf_fini(&all);
    }
    fail();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verify__stores_closed_killed_and_cut__are_well),
        cmocka_unit_test(test_verify__stores_cut_anywhere__are_well),
        cmocka_unit_test_setup_teardown(test_verify__any_byte_of_any_file_changed__is_found, setup,
                                        teardown_rig),
        cmocka_unit_test_setup_teardown(test_verify__file_missing_or_cut__is_found, setup,
                                        teardown_rig),
        cmocka_unit_test_setup_teardown(
            test_verify__index_from_a_lying_hint__each_wrong_key_is_found, setup, teardown_rig),
        cmocka_unit_test_setup_teardown(test_verify__damaged_value_and_record__name_their_key,
                                        setup, teardown_rig),
        cmocka_unit_test_setup_teardown(test_verify__hint_unreadable__is_no_loss, setup,
                                        teardown_rig),
        cmocka_unit_test(test_verify__torn_edit_beside_an_unfinished_merge__is_well),
        cmocka_unit_test(test_verify__last_edit_changed__is_no_torn_one),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
