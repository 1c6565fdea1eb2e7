/* SPDX-License-Identifier: MIT */
/*
 * test_rare_undo.c - what was undone: its bytes are never shown, its positions say so for good,
 * it does not come back, and readers that still hold a place in a file that went with it are safe.
 */
#include "rare.h"

static int setup(void **state)
{
    struct rare *s = rare_new(71, BK_SYNC_ALWAYS);
    RIG_TRUE(&s->r, rig_open(&s->r) == BK_OK);
    rare_steps(s);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    rare_free(*state);
    return 0;
}

/* Until writes are taken again, by time alone. */
static void get_well(struct rare *s)
{
    for (int i = 0; i < 100 && bk_write_state(s->r.db, NULL) != BK_OK; i++) {
        simclock_advance_ms(&s->r.clock, 100);
        rare_steps(s);
    }
    assert_int_equal(bk_write_state(s->r.db, NULL), BK_OK);
    rare_steps(s);
}

/* A write that is accepted; its file refuses it in the next step. */
static uint64_t doomed_put(struct rare *s, const char *key, const char *value)
{
    uint64_t pos = 0;
    assert_int_equal(rare_put_once(s, 0, key, bk_span_str(value), &pos), BK_OK);
    assert_int_equal(bk_pos_state(s->r.db, pos), BK_EAGAIN);
    bk_flush(s->r.db, pos);
    s->write_failures = 1;
    return pos;
}

/* Undoes what doomed_put has begun. */
static void undo(struct rare *s)
{
    for (int i = 0; i < 20; i++) {
        simclock_advance_ms(&s->r.clock, 300);
        rare_steps(s);
    }
    assert_int_equal(s->write_failures, 0);
}

/* The one record of the file is undone, so the file goes; a reader has found it before. */
static void test_rare_undo__file_dropped_under_a_located_item__no_bytes(void **state)
{
    struct rare *s = *state;
    struct bk_item item = {0};
    uint64_t pos = doomed_put(s, "b", "never");
    rare_locate(s, "b", &item);
    assert_true(item.at != 0);
    s->create_error = ENOSPC; /* no new file takes the place of the old one */
    undo(s);
    assert_int_equal(bk_pos_state(s->r.db, pos), BK_EIO);
    assert_false(simdisk_exists(s->r.disk, RIG_DIR "/0000000001.data"));
    int rc = rare_load(s, "b", &item);
    assert_true(rc == BK_CHANGED || rc == BK_CORRUPT || rc == BK_EIO);
    assert_int_equal(bk_pos_state(s->r.db, item.pos), BK_EIO);
    rare_expect(s, 0, "b", NULL);
    bk_item_fini(&item);
    RIG_TRUE(&s->r, rig_check(&s->r));
}

/* Undone, but its file is still there: its end tells that there is nothing to read. */
static void test_rare_undo__undone_record__is_not_read(void **state)
{
    struct rare *s = *state;
    struct bk_item item = {0};
    uint64_t pos = doomed_put(s, "b", "never");
    rare_locate(s, "b", &item);
    bk_step(s->r.db); /* the write fails */
    bk_step(s->r.db); /* it is undone; its file is not dropped yet */
    assert_int_equal(bk_pos_state(s->r.db, pos), BK_EIO);
    assert_true(simdisk_exists(s->r.disk, RIG_DIR "/0000000001.data"));
    uint64_t reads = simdisk_calls(s->r.disk, SIMDISK_READ);
    assert_int_equal(rare_load(s, "b", &item), BK_CHANGED);
    assert_int_equal(simdisk_calls(s->r.disk, SIMDISK_READ), reads);
    bk_item_fini(&item);
    get_well(s);
    RIG_TRUE(&s->r, rig_check(&s->r));
}

/* The dropped file's descriptor is given back one day: its number may be another file's then. */
static void test_rare_undo__file_dropped_long_ago__no_bytes(void **state)
{
    struct rare *s = *state;
    struct bk_item item = {0};
    unsigned handles = simdisk_handles(s->r.disk);
    doomed_put(s, "b", "never");
    rare_locate(s, "b", &item);
    undo(s);
    for (int i = 0; i < 80; i++) {
        doomed_put(s, "b", "never");
        undo(s);
        get_well(s);
    }
    assert_true(simdisk_handles(s->r.disk) < handles + 80);
    int rc = rare_load(s, "b", &item);
    assert_true(rc == BK_CHANGED || rc == BK_CORRUPT || rc == BK_EIO);
    bk_item_fini(&item);
    assert_int_equal(rare_put(s, 0, "b", bk_span_str("there")), BK_OK);
    RIG_TRUE(&s->r, rig_settle(&s->r));
    rare_expect(s, 0, "b", "there");
    RIG_TRUE(&s->r, rig_check(&s->r));
    assert_int_equal(rig_close(&s->r), BK_OK);
    assert_int_equal(simdisk_handles(s->r.disk), 0);
}

/* A hit on a new value, a hit that hides an older one, and a miss, each found before the undo. */
static void test_rare_undo__looked_up_before_the_undo__pos_says_so(void **state)
{
    struct rare *s = *state;
    struct rig *r = &s->r;
    struct bk_item fresh = {0};
    struct bk_item newer = {0};
    struct bk_item miss = {0};
    struct bk_item twice[2] = {{0}, {0}};
    struct bk_key keys[2];
    assert_int_equal(rig_put(r, "a", "old"), BK_OK);
    assert_int_equal(rig_put(r, "d", "old"), BK_OK);
    RIG_TRUE(r, rig_settle(r));
    assert_int_equal(rig_put(r, "a", "new"), BK_OK);
    assert_int_equal(rig_delete(r, "d"), BK_OK);
    doomed_put(s, "b", "new");
    rare_locate(s, "b", &fresh);
    rare_locate(s, "a", &newer);
    rare_locate(s, "d", &miss);
    assert_int_equal(miss.at, 0);
    bk_key_init(r->db, &keys[0], "a", 1);
    bk_key_init(r->db, &keys[1], "b", 1);
    bk_locate(r->db, (uint32_t[]){0, 0}, keys, 2, twice);
    undo(s);
    const struct bk_item *items[] = {&fresh, &newer, &miss, &twice[0], &twice[1]};
    for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
        assert_true(items[i]->pos != 0);
        assert_int_equal(bk_pos_state(r->db, items[i]->pos), BK_EIO);
    }
    int rc = rare_load(s, "a", &newer);
    assert_true(rc == BK_CHANGED || rc == BK_CORRUPT || rc == BK_EIO);
    rare_locate(s, "a", &newer);
    assert_int_equal(bk_pos_state(r->db, newer.pos), BK_OK);
    rare_expect(s, 0, "a", "old");
    rare_expect(s, 0, "b", NULL);
    rare_expect(s, 0, "d", "old");
    bk_item_fini(&fresh);
    bk_item_fini(&newer);
    bk_item_fini(&miss);
    bk_item_fini(&twice[0]);
    bk_item_fini(&twice[1]);
}

/* A look-up in front of an undo, used behind it, while the sync of the write is what fails. */
static void undo_in_sync(struct rare *s)
{
    struct bk_item item = {0};
    rare_locate(s, "b", &item);
    assert_true(item.at != 0);
    s->pos = item.pos;
    bk_item_fini(&item);
}

static void test_rare_undo__looked_up_during_the_failing_sync__pos_says_so(void **state)
{
    struct rare *s = *state;
    uint64_t pos = 0;
    assert_int_equal(rare_put_once(s, 0, "b", bk_span_str("never"), &pos), BK_OK);
    bk_flush(s->r.db, pos);
    s->in_sync = undo_in_sync;
    s->sync_failures = 1;
    undo(s);
    assert_true(s->pos != 0);
    assert_int_equal(bk_pos_state(s->r.db, s->pos), BK_EIO);
    rare_expect(s, 0, "b", NULL);
}

/* The sync fails behind the write, and then neither a file can be made nor the manifest written:
 * the end of the file is on disk all the same. */
static void test_rare_undo__undone_writes__do_not_come_back_after_a_kill(void **state)
{
    struct rare *s = *state;
    struct rig *r = &s->r;
    assert_int_equal(rare_put(s, 0, "a", bk_span_str("1")), BK_OK);
    assert_int_equal(rare_put(s, 0, "d", bk_span_str("1")), BK_OK);
    RIG_TRUE(r, rig_settle(r));
    uint64_t pos = 0;
    struct bk_key key;
    bk_key_init(r->db, &key, "d", 1);
    bk_batch_begin(r->batch);
    bk_batch_delete(r->batch, 0, &key);
    assert_int_equal(bk_batch_commit(r->batch, &pos, NULL), BK_OK);
    assert_int_equal(rare_put_once(s, 0, "b", bk_span_str("2"), &pos), BK_OK);
    assert_int_equal(rare_put_once(s, 0, "a", bk_span_str("2"), &pos), BK_OK);
    bk_flush(r->db, pos);
    s->sync_failures = 1;
    bk_step(r->db);
    assert_int_equal(s->sync_failures, 0);
    s->all_writes_fail = true;
    s->create_error = EIO;
    for (int i = 0; i < 10; i++) {
        simclock_advance_ms(&r->clock, 100);
        bk_step(r->db);
    }
    assert_int_equal(bk_pos_state(r->db, pos), BK_EIO);
    rare_expect(s, 0, "a", "1");
    rig_crash(r, SIMDISK_KILL);
    s->all_writes_fail = false;
    s->create_error = 0;
    RIG_TRUE(r, rig_open(r) == BK_OK);
    rare_expect(s, 0, "a", "1");
    rare_expect(s, 0, "b", NULL);
    rare_expect(s, 0, "d", "1");
    RIG_TRUE(r, rig_check(r));
}

/* A count of keys depends on all that was written: after an undo on nothing that is still due. */
static void test_rare_undo__tail_after_an_undo__is_committed(void **state)
{
    struct rare *s = *state;
    uint64_t pos = doomed_put(s, "b", "never");
    uint64_t before = bk_tail(s->r.db);
    bk_step(s->r.db);
    bk_step(s->r.db);
    assert_int_equal(bk_pos_state(s->r.db, pos), BK_EIO);
    assert_int_equal(bk_pos_state(s->r.db, before), BK_EIO);
    assert_int_equal(bk_pos_state(s->r.db, bk_tail(s->r.db)), BK_OK);
    get_well(s);
    assert_int_equal(bk_pos_state(s->r.db, bk_tail(s->r.db)), BK_OK);
    assert_int_equal(bk_count(s->r.db, 0), 0);
    /* The next write's position is none of an undone one's either. */
    assert_int_equal(rare_put_once(s, 0, "b", bk_span_str("there"), &pos), BK_OK);
    assert_int_equal(bk_pos_state(s->r.db, pos), BK_EAGAIN);
    RIG_TRUE(&s->r, rig_settle(&s->r));
    assert_int_equal(bk_pos_state(s->r.db, pos), BK_OK);
}

/* More undoings than the log keeps apart: none of them reads as committed, and the newest committed
 * write reads as committed. */
static void test_rare_undo__150_undoings__every_old_position_still_says_so(void **state)
{
    enum { ROUNDS = 150 };
    struct rare *s = *state;
    uint64_t undone[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t good = 0;
        assert_int_equal(rare_put_once(s, 0, "a", bk_span_str("good"), &good), BK_OK);
        RIG_TRUE(&s->r, rig_settle(&s->r));
        assert_int_equal(bk_pos_state(s->r.db, good), BK_OK);
        undone[i] = doomed_put(s, "b", "never");
        undo(s);
        get_well(s);
        assert_int_equal(bk_pos_state(s->r.db, good), BK_OK);
        for (int j = 0; j <= i; j++) {
            assert_int_equal(bk_pos_state(s->r.db, undone[j]), BK_EIO);
        }
    }
    struct bk_stats st;
    bk_stats_get(s->r.db, &st);
    assert_int_equal(st.undone, ROUNDS);
    rare_expect(s, 0, "a", "good");
    rare_expect(s, 0, "b", NULL);
    RIG_TRUE(&s->r, rig_check(&s->r));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_rare_undo__file_dropped_under_a_located_item__no_bytes),
        T(test_rare_undo__undone_record__is_not_read),
        T(test_rare_undo__file_dropped_long_ago__no_bytes),
        T(test_rare_undo__looked_up_before_the_undo__pos_says_so),
        T(test_rare_undo__looked_up_during_the_failing_sync__pos_says_so),
        T(test_rare_undo__undone_writes__do_not_come_back_after_a_kill),
        T(test_rare_undo__tail_after_an_undo__is_committed),
        T(test_rare_undo__150_undoings__every_old_position_still_says_so),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
