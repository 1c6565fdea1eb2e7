/* SPDX-License-Identifier: MIT */
/* test_log_map.c - what the log tells of the map of databases without being asked to write, and
 * that bytes nobody asks to write do not stop others. */
#include "engine/rare.h"

#include "engine/db_private.h"

static struct bk_db *opened(struct rare **out)
{
    struct rare *s = rare_opened(1, BK_SYNC_EVERYSEC);
    assert_int_equal(rare_put(s, 3, "a", bk_span_str("1")), BK_OK);
    rare_flush_db(s, 3);
    rare_settle(s);
    rare_reopen(s);
    *out = s;
    return s->r.db;
}

static uint64_t appends(struct bk_db *db)
{
    return atomic_load(&db->log.appends);
}

static uint32_t lend(struct bk_db *db, uint32_t fresh)
{
    struct bki_pages *p = &db->files.pages;
    bk_mutex_lock(&db->log.mu);
    uint32_t before = p->fresh;
    assert_int_equal(p->free_n, 0);
    p->fresh = fresh;
    bk_mutex_unlock(&db->log.mu);
    return before;
}

static void test_log_map__all_pages_lent__is_not_told_and_later_is(void **state)
{
    (void)state;
    struct rare *s;
    struct bk_db *db = opened(&s);
    uint64_t before = appends(db);
    uint32_t fresh = lend(db, BKI_PAGES);
    assert_false(bki_log_tell_map(&db->log));
    assert_int_equal(appends(db), before);
    lend(db, fresh);
    assert_true(bki_log_tell_map(&db->log));
    assert_true(appends(db) > before);
    rare_settle(s);
    RIG_TRUE(&s->r, rig_check(&s->r));
    rare_free(s);
}

/* Writes leave the last pages alone; a merge that frees some may need one for the map. */
static void test_log_map__last_page__is_enough(void **state)
{
    (void)state;
    struct rare *s;
    struct bk_db *db = opened(&s);
    uint64_t before = appends(db);
    lend(db, BKI_PAGES - 1);
    assert_int_equal(rare_put(s, 0, "a", bk_span_str("1")), BK_ENOSPC);
    assert_true(bki_log_tell_map(&db->log));
    assert_true(appends(db) > before);
    assert_true(bki_log_tell_map(&db->log)); /* it has been */
    rare_settle(s);
    rare_free(s);
}

/* Bytes are in the buffer, and whoever put them there does not ask for a write. */
static void wait_for_room(struct rare *s)
{
    struct bk_db *db = s->r.db;
    struct bk_span large = rare_filled((size_t)atomic_load(&db->log.buffer_bytes));
    uint64_t pos = 0;
    int rc = BK_EAGAIN;
    assert_true(atomic_load(&db->log.written_pos) < bk_tail(db));
    for (int i = 0; rc == BK_EAGAIN && i < 100; i++) {
        rc = rare_put_once(s, 0, "large", large, &pos);
        bk_step(db);
        simclock_advance_ms(&s->r.clock, 100);
    }
    assert_int_equal(rc, BK_OK);
    rare_span_free(&large);
}

static void test_log_map__told_without_a_flush__large_write_gets_in(void **state)
{
    (void)state;
    struct rare *s;
    struct bk_db *db = opened(&s);
    assert_true(bki_log_tell_map(&db->log));
    wait_for_room(s);
    rare_settle(s);
    RIG_TRUE(&s->r, rig_check(&s->r));
    rare_free(s);
}

/* As when a client is gone before its loop flushes. */
static void test_log__append_without_a_flush__large_write_gets_in(void **state)
{
    (void)state;
    for (int sync = BK_SYNC_ALWAYS; sync <= BK_SYNC_NO; sync++) {
        struct rare *s = rare_opened(2, (enum bk_sync)sync);
        uint64_t pos = 0;
        assert_int_equal(rare_put_once(s, 0, "small", bk_span_str("1"), &pos), BK_OK);
        wait_for_room(s);
        assert_int_equal(bk_pos_state(s->r.db, pos), BK_OK);
        rare_settle(s);
        rare_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_map__all_pages_lent__is_not_told_and_later_is),
        cmocka_unit_test(test_log_map__last_page__is_enough),
        cmocka_unit_test(test_log_map__told_without_a_flush__large_write_gets_in),
        cmocka_unit_test(test_log__append_without_a_flush__large_write_gets_in),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
