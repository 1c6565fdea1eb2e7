/* SPDX-License-Identifier: MIT */
/* test_merge_damage.c - a merge over bytes that are no record any more, while databases move. */
#include "merge_rig.h"

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
    bk_step(r.db);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            test_trap48__databases_swapped_in_a_search_for_damaged_keys__each_gets_one_marker),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
