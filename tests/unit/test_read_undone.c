/* SPDX-License-Identifier: MIT */
/*
 * test_read_undone.c - a read whose write is undone while it is under way: between its look at the
 * end of the file and its look into the log's buffer.
 *
 * The only thing that it does in between is to take the log's mutex. And what an undoing holds
 * while it wakes.
 */
#include "engine/rare.h"

#include "engine/db_private.h"
#include "mutex_hook.h"

static struct rare *store;

static void fail_and_undo(void)
{
    bk_step(store->r.db); /* the sync fails */
    bk_step(store->r.db); /* and is undone */
}

static void test_read__undone_under_way__is_no_damage(void **state)
{
    (void)state;
    uint64_t pos = 0;
    struct bk_item item = {0};
    struct bk_stats st;
    store = rare_opened(1, BK_SYNC_ALWAYS);
    struct rare *s = store;
    assert_int_equal(rare_put(s, 0, "a", bk_span_str("1")), BK_OK);
    rare_settle(s);
    assert_int_equal(rare_put_once(s, 0, "b", bk_span_str("never"), &pos), BK_OK);
    bk_flush(s->r.db, pos);
    rare_locate(s, "b", &item);
    s->sync_failures = 1;
    mutex_hook = (struct mutex_hook){&s->r.db->log.mu.mu, fail_and_undo};
    assert_int_equal(rare_load(s, "b", &item), BK_CHANGED);
    assert_null(mutex_hook.watched);
    assert_int_equal(bk_pos_state(s->r.db, pos), BK_EIO);
    bk_stats_get(s->r.db, &st);
    assert_int_equal(st.damaged_records, 0);
    bk_item_fini(&item);
    rare_expect(s, 0, "b", NULL);
    rare_expect(s, 0, "a", "1");
    rare_reopen(s);
    rare_expect(s, 0, "a", "1");
    rare_free(s);
}

static struct {
    unsigned calls, locked;
} seen_by_wake;

static void look_at_locks(struct rare *s)
{
    struct bki_keylocks *locks = s->r.db != NULL ? s->r.db->locks : NULL;
    seen_by_wake.calls++;
    for (uint32_t i = 0; locks != NULL && i < BKI_KEYLOCKS; i++) {
        if (bk_mutex_trylock(&locks->stripe[i].mu)) {
            bk_mutex_unlock(&locks->stripe[i].mu);
        } else {
            seen_by_wake.locked++;
        }
    }
}

/* Who waits for a position takes locks of its own as it is woken. */
static void test_undo__wakes__behind_the_key_locks(void **state)
{
    (void)state;
    uint64_t pos = 0;
    store = rare_opened(1, BK_SYNC_ALWAYS);
    assert_int_equal(rare_put_once(store, 0, "a", bk_span_str("never"), &pos), BK_OK);
    bk_flush(store->r.db, pos);
    store->sync_failures = 1;
    bk_step(store->r.db); /* the sync fails */
    assert_int_equal(bk_pos_state(store->r.db, pos), BK_EAGAIN);
    store->in_wake = look_at_locks;
    bk_step(store->r.db); /* and is undone */
    store->in_wake = NULL;
    assert_int_equal(bk_pos_state(store->r.db, pos), BK_EIO);
    assert_true(seen_by_wake.calls > 0);
    assert_int_equal(seen_by_wake.locked, 0);
    rare_free(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read__undone_under_way__is_no_damage),
        cmocka_unit_test(test_undo__wakes__behind_the_key_locks),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
