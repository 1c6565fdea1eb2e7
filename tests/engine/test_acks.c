/* SPDX-License-Identifier: MIT */
/* test_acks.c - every answer carries the log position that it depends on, and positions tell the
 * truth. */
#include "engine_test.h"

#include <errno.h>

static int setup(void **state)
{
    struct rig *r = set_rig_up(state, 11, BK_SYNC_ALWAYS);
    RIG_TRUE(r, rig_open(r) == BK_OK);
    return 0;
}

static void locate(struct rig *r, const char *name, struct bk_item *item)
{
    struct bk_key key;
    bk_key_init(r->db, &key, name, strlen(name));
    bk_locate(r->db, &(uint32_t){0}, &key, 1, item);
}

static void test_trap47__miss_after_uncommitted_delete__waits_for_the_delete(void **state)
{
    struct rig *r = *state;
    struct bk_item item = {0};
    assert_int_equal(rig_put(r, "k", "v"), BK_OK);
    RIG_TRUE(r, rig_settle(r));
    locate(r, "k", &item);
    assert_true(item.at != 0);
    assert_int_equal(bk_pos_state(r->db, item.pos), BK_OK);
    assert_int_equal(rig_delete(r, "k"), BK_OK);
    locate(r, "k", &item);
    assert_int_equal(item.at, 0);
    assert_true(item.pos > 0);
    assert_int_equal(bk_pos_state(r->db, item.pos), BK_EAGAIN);
    assert_int_equal(bk_pos_state(r->db, bk_tail(r->db)), BK_EAGAIN); /* what DBSIZE waits for */
    /* The power fails before the nil was sent: the key may be there. After it was sent: it is not.
     */
    uint64_t miss_pos = item.pos;
    RIG_TRUE(r, rig_settle(r));
    assert_int_equal(bk_pos_state(r->db, miss_pos), BK_OK);
    bk_item_fini(&item);
    rig_crash(r, SIMDISK_POWER);
    RIG_TRUE(r, rig_reopen(r));
    locate(r, "k", &item);
    assert_int_equal(item.at, 0);
    bk_item_fini(&item);
}

static void test_trap47__hit_on_uncommitted_put__waits_for_the_put(void **state)
{
    struct rig *r = *state;
    struct bk_item item = {0};
    assert_int_equal(rig_put(r, "k", "new"), BK_OK);
    locate(r, "k", &item);
    assert_true(item.at != 0);
    assert_int_equal(bk_pos_state(r->db, item.pos), BK_EAGAIN);
    /* The value can be read before it is committed; the reply has to wait. */
    struct bk_key key;
    struct bk_error err = {0};
    bk_key_init(r->db, &key, "k", 1);
    BK_SUCCEEDS(bk_load(r->db, &key, &item, &err), err);
    assert_true(bk_span_eq(item.value, bk_span_str("new")));
    RIG_TRUE(r, rig_settle(r));
    assert_int_equal(bk_pos_state(r->db, item.pos), BK_OK);
    bk_item_fini(&item);
}

/* Swaps databases 0 and 1, and locates k in 0, which depends on the swap. */
static void swap_and_locate(struct rig *r, struct bk_item *item)
{
    rig_begin(r);
    rig_batch_swap(r, 0, 1);
    assert_int_equal(rig_commit(r), BK_OK);
    locate(r, "k", item);
    assert_int_equal(bk_pos_state(r->db, item->pos), BK_EAGAIN);
}

static void test_trap47__flush_and_swap__make_misses_wait(void **state)
{
    struct rig *r = *state;
    struct bk_item item = {0};
    assert_int_equal(rig_put(r, "k", "v"), BK_OK);
    RIG_TRUE(r, rig_settle(r));
    rig_begin(r);
    rig_batch_flush(r, 0);
    assert_int_equal(rig_commit(r), BK_OK);
    locate(r, "k", &item);
    assert_int_equal(item.at, 0);
    assert_int_equal(bk_pos_state(r->db, item.pos), BK_EAGAIN);
    RIG_TRUE(r, rig_settle(r));
    assert_int_equal(bk_pos_state(r->db, item.pos), BK_OK);
    assert_int_equal(rig_put(r, "k", "v2"), BK_OK);
    RIG_TRUE(r, rig_settle(r));
    swap_and_locate(r, &item);
    assert_int_equal(item.at, 0);
    RIG_TRUE(r, rig_settle(r));
    assert_int_equal(bk_pos_state(r->db, item.pos), BK_OK);
    bk_item_fini(&item);
}

/* What a swap has brought under a number depends on the swap, however old it is. */
static void test_trap47__swap__makes_hits_wait(void **state)
{
    struct rig *r = *state;
    struct bk_item item = {0};
    rig_begin(r);
    rig_batch_put(r, 0, bk_span_str("k"), bk_span_str("of 0"), 0, 0);
    rig_batch_put(r, 1, bk_span_str("k"), bk_span_str("of 1"), 0, 0);
    assert_int_equal(rig_commit(r), BK_OK);
    RIG_TRUE(r, rig_settle(r));
    locate(r, "k", &item);
    assert_int_equal(item.pos, 0);
    uint64_t before = item.at;
    swap_and_locate(r, &item);
    assert_int_not_equal(item.at, before);
    RIG_TRUE(r, rig_settle(r));
    assert_int_equal(bk_pos_state(r->db, item.pos), BK_OK);
    locate(r, "k", &item);
    assert_int_equal(item.pos, 0);
    /* Undone it was never true. */
    simdisk_fail(r->disk, SIMDISK_ANY & ~(unsigned)(SIMDISK_CLOSE | SIMDISK_READ), 1, UINT64_MAX,
                 EIO);
    swap_and_locate(r, &item);
    assert_int_equal(item.at, before);
    for (int i = 0; i < 100 && bk_pos_state(r->db, item.pos) == BK_EAGAIN; i++) {
        rig_step(r);
    }
    assert_int_equal(bk_pos_state(r->db, item.pos), BK_EIO);
    simdisk_fail(r->disk, 0, 0, 0, 0);
    for (int i = 0; i < 10; i++) {
        simclock_advance_ms(&r->clock, 300);
        RIG_TRUE(r, rig_settle(r));
    }
    locate(r, "k", &item);
    assert_int_not_equal(item.at, before);
    assert_int_equal(item.pos, 0);
    RIG_TRUE(r, rig_same(r));
    bk_item_fini(&item);
}

static void test_acks__always__nothing_is_committed_before_a_sync(void **state)
{
    struct rig *r = *state;
    uint64_t syncs = simdisk_calls(r->disk, SIMDISK_SYNC);
    assert_int_equal(rig_put(r, "k", "v"), BK_OK);
    while (r->acked_n < r->model.entries_n) {
        rig_step(r);
        if (simdisk_calls(r->disk, SIMDISK_SYNC) == syncs) {
            assert_int_equal(r->acked_n, 0);
        }
    }
    assert_true(simdisk_calls(r->disk, SIMDISK_SYNC) > syncs);
}

static void test_acks__always__many_writes_share_one_sync(void **state)
{
    struct rig *r = *state;
    uint64_t syncs = simdisk_calls(r->disk, SIMDISK_SYNC);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(rig_put(r, "k", "v"), BK_OK);
    }
    RIG_TRUE(r, rig_settle(r));
    assert_in_range(simdisk_calls(r->disk, SIMDISK_SYNC) - syncs, 1, 4);
}

/* A sync begins within a second of the first unsynced write, whatever comes after it. */
static void test_acks__everysec__sync_begins_within_a_second(void **state)
{
    struct rig *r = *state;
    assert_int_equal(rig_close(r), BK_OK);
    r->opt.sync = BK_SYNC_EVERYSEC;
    RIG_TRUE(r, rig_open(r) == BK_OK);
    for (int round = 0; round < 5; round++) {
        assert_int_equal(rig_put(r, "k", "v"), BK_OK);
        uint64_t pos = bk_tail(r->db);
        struct bk_stats st = {0};
        for (int ms = 0; ms < 1000; ms += 50) {
            RIG_TRUE(r, rig_settle(r));
            assert_int_equal(bk_pos_state(r->db, pos), BK_OK); /* committed when written */
            simclock_advance_ms(&r->clock, 50);
            assert_int_equal(rig_put(r, "other", "v"), BK_OK);
        }
        RIG_TRUE(r, rig_settle(r));
        bk_stats_get(r->db, &st);
        assert_true(st.synced_pos >= pos);
    }
}

static void test_acks__no__writes_are_synced_at_rotation_and_close_only(void **state)
{
    struct rig *r = *state;
    char value[2000];
    assert_int_equal(rig_close(r), BK_OK);
    r->opt.sync = BK_SYNC_NO;
    RIG_TRUE(r, rig_open(r) == BK_OK);
    RIG_TRUE(r, rig_settle(r));
    struct bk_stats a;
    struct bk_stats b;
    bk_stats_get(r->db, &a);
    assert_int_equal(rig_put(r, "k", "v"), BK_OK);
    for (int i = 0; i < 20; i++) {
        simclock_advance_ms(&r->clock, 1000);
        RIG_TRUE(r, rig_settle(r));
    }
    bk_stats_get(r->db, &b);
    assert_true(b.synced_pos < b.tail_pos);
    assert_int_equal(b.committed_pos, b.tail_pos);
    memset(value, 'x', sizeof(value));
    value[sizeof(value) - 1] = '\0';
    uint64_t pos = bk_tail(r->db);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(rig_put(r, "k", value), BK_OK);
        RIG_TRUE(r, rig_settle(r));
    }
    bk_stats_get(r->db, &b);
    assert_true(b.rotations > a.rotations);
    assert_true(b.synced_pos >= pos);
}

static void test_acks__full_log__answers_again_and_changes_nothing(void **state)
{
    struct rig *r = *state;
    char value[8192];
    char name[16]; /* borrowed by the batch */
    assert_int_equal(rig_close(r), BK_OK);
    r->opt.log_buffer_bytes = 65536;
    r->opt.max_file_bytes = 1 << 20;
    RIG_TRUE(r, rig_open(r) == BK_OK);
    RIG_TRUE(r, rig_settle(r));
    memset(value, 'x', sizeof(value));
    struct bk_batch *b = bk_batch_new(r->db);
    struct bk_key key;
    int rc = BK_OK;
    unsigned n = 0;
    uint64_t pos = 0;
    for (; rc == BK_OK && n < 100; n++) {
        snprintf(name, sizeof(name), "k%u", n);
        bk_key_init(r->db, &key, name, strlen(name));
        bk_batch_begin(b);
        bk_batch_put(b, 0, &key, &(struct bk_value){bk_span_of(value, sizeof(value)), NULL}, 0, 0);
        rc = bk_batch_commit(b, &pos, NULL);
    }
    assert_int_equal(rc, BK_EAGAIN);
    assert_in_range(n, 3, 20);
    assert_int_equal(bk_count(r->db, 0), n - 1);
    struct bk_stats st;
    bk_stats_get(r->db, &st);
    assert_true(st.log_full > 0);
    while (bk_step(r->db) || bk_pos_state(r->db, pos) == BK_EAGAIN) {
    }
    bk_batch_begin(b);
    bk_batch_put(b, 0, &key, &(struct bk_value){bk_span_of(value, sizeof(value)), NULL}, 0, 0);
    assert_int_equal(bk_batch_commit(b, &pos, NULL), BK_OK);
    bk_batch_free(&b);
}

/* A record larger than the whole log buffer is taken when the buffer is empty. */
static void test_acks__record_larger_than_the_log_buffer__is_accepted(void **state)
{
    struct rig *r = *state;
    struct bk_tunables t;
    size_t len = 1 << 20;
    uint8_t *value = malloc(len);
    bk_tunables_get(r->db, &t);
    t.log_buffer_bytes = 65536;
    bk_tune(r->db, &t);
    pattern_fill(value, len, 3);
    for (int i = 0; i < 3; i++) {
        rig_begin(r);
        rig_batch_put(r, 0, bk_span_str("large"), bk_span_of(value, len), 1, 0);
        assert_int_equal(rig_commit(r), BK_OK);
    }
    RIG_TRUE(r, rig_settle(r));
    RIG_TRUE(r, rig_same(r));
    rig_crash(r, SIMDISK_POWER);
    RIG_TRUE(r, rig_reopen(r));
    RIG_TRUE(r, rig_get_same(r, 0, bk_span_str("large")));
    free(value);
}

/* Trap 40: a value that was located is the value of that moment, or the caller is told to look
 * again. */
static void test_trap40__key_that_moved_on__loads_as_located_or_says_changed(void **state)
{
    struct rig *r = *state;
    struct bk_item item = {0};
    struct bk_key key;
    struct bk_error err = {0};
    assert_int_equal(rig_put(r, "k", "old"), BK_OK);
    RIG_TRUE(r, rig_settle(r));
    for (int how = 0; how < 3; how++) {
        locate(r, "k", &item);
        uint64_t at = item.at;
        assert_true(at != 0);
        assert_int_equal(how == 0   ? rig_put(r, "k", "new")
                         : how == 1 ? rig_delete(r, "k")
                                    : rig_put(r, "x", "y"),
                         BK_OK);
        RIG_TRUE(r, rig_settle(r));
        bk_key_init(r->db, &key, "k", 1);
        int rc = bk_load(r->db, &key, &item, &err);
        assert_true(rc == BK_OK || (rc == BK_CHANGED && how < 2));
        if (rc == BK_OK) {
            assert_true(bk_span_eq(item.value, bk_span_str(how == 0   ? "old"
                                                           : how == 1 ? "new"
                                                                      : "again")));
        }
        locate(r, "k", &item);
        assert_true(how == 2 ? item.at == at : item.at != at);
        if (how == 1) {
            assert_int_equal(rig_put(r, "k", "again"), BK_OK);
            RIG_TRUE(r, rig_settle(r));
        }
    }
    bk_item_fini(&item);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown_rig)
    const struct CMUnitTest tests[] = {
        T(test_trap47__miss_after_uncommitted_delete__waits_for_the_delete),
        T(test_trap47__hit_on_uncommitted_put__waits_for_the_put),
        T(test_trap47__flush_and_swap__make_misses_wait),
        T(test_trap47__swap__makes_hits_wait),
        T(test_acks__always__nothing_is_committed_before_a_sync),
        T(test_acks__always__many_writes_share_one_sync),
        T(test_acks__everysec__sync_begins_within_a_second),
        T(test_acks__no__writes_are_synced_at_rotation_and_close_only),
        T(test_acks__full_log__answers_again_and_changes_nothing),
        T(test_acks__record_larger_than_the_log_buffer__is_accepted),
        T(test_trap40__key_that_moved_on__loads_as_located_or_says_changed),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
