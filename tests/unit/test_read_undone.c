/* SPDX-License-Identifier: MIT */
/*
 * test_read_undone.c - a read whose write is undone while it is under way: between its look at the
 * end of the file and its look into the log's buffer.
 *
 * The only thing that it does in between is to take the log's mutex, so that call is taken over.
 */
#include "engine/rare.h"

#include "engine/db_private.h"

#include <dlfcn.h>
#include <pthread.h>

static pthread_mutex_t *watched; /* NULL: none */
static struct rare *store;

int pthread_mutex_lock(pthread_mutex_t *mu)
{
    static union {
        void *symbol;
        int (*call)(pthread_mutex_t *);
    } real;
    if (real.symbol == NULL) {
        real.symbol = dlsym(RTLD_NEXT, "pthread_mutex_lock");
    }
    if (mu == watched) {
        watched = NULL;
        bk_step(store->r.db); /* the sync fails */
        bk_step(store->r.db); /* and is undone */
    }
    return real.call(mu);
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
    watched = &s->r.db->log.mu.mu;
    assert_int_equal(rare_load(s, "b", &item), BK_CHANGED);
    assert_null(watched);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read__undone_under_way__is_no_damage),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
