/* SPDX-License-Identifier: MIT */
/* test_merge_pages.c - address pages: of a merge's outputs, when the run is taken back after it has
 * taken them; of a file that a start reads from its hint. */
#include "engine/merge_rig.h"

#include "engine/db_private.h"

#include <errno.h>

struct lent {
    uint64_t used, left;
};

static struct lent pages(struct rig *r)
{
    const struct bki_pages *p = &r->db->files.pages;
    bk_mutex_lock(&r->db->log.mu);
    struct lent l = {atomic_load(&p->used), (uint64_t)(BKI_PAGES - p->fresh) + p->free_n};
    bk_mutex_unlock(&r->db->log.mu);
    return l;
}

static void assert_same(struct lent a, struct lent b)
{
    assert_int_equal(a.used, b.used);
    assert_int_equal(a.left, b.left);
}

static uint64_t aborted(struct rig *r)
{
    struct bk_merge_status s;
    bk_merge_status(r->db, &s);
    return s.aborted;
}

/* A run with several outputs, about to take their pages. */
static void run_up_to_edit(struct rig *r)
{
    bk_merge(r->db, BK_MERGE_PAUSE);
    put_n(r, "a", 400, "1");
    for (unsigned i = 2; i < 40; i += 2) { /* a20 to a29 and so on: half of each file is dead */
        char prefix[16];
        snprintf(prefix, sizeof prefix, "a%u", i);
        put_n(r, prefix, 10, "2");
    }
    RIG_TRUE(r, rig_settle(r));
    bk_merge(r->db, BK_MERGE_RESUME);
    assert_true(merge_until(r, BK_MERGE_EDIT));
    assert_true(r->db->merge.out_n > 1);
}

static void step_until_aborted(struct rig *r)
{
    uint64_t before = aborted(r);
    for (unsigned i = 0; i < 100 && aborted(r) == before; i++) {
        one_step(r);
    }
    assert_int_equal(aborted(r), before + 1);
}

static void test_merge__edit_fails_before_it_is_written__gives_the_pages_back(void **state)
{
    (void)state;
    static const unsigned fails[] = {SIMDISK_SYNC_DIR, SIMDISK_WRITE, SIMDISK_SYNC};
    for (size_t i = 0; i < sizeof fails / sizeof *fails; i++) {
        struct rig r;
        setup_rig(&r, 5, BK_SYNC_ALWAYS);
        run_up_to_edit(&r);
        struct lent before = pages(&r);
        simdisk_fail(r.disk, fails[i], 1, 1, EIO);
        step_until_aborted(&r);
        assert_same(pages(&r), before);
        RIG_TRUE(&r, rig_check(&r));
        same_after_restart(&r);
        rig_fini(&r);
    }
}

/* The first output gets a page, the second none. */
static void test_merge__pages_run_out__gives_back_what_it_took(void **state)
{
    (void)state;
    struct rig r;
    setup_rig(&r, 6, BK_SYNC_ALWAYS);
    run_up_to_edit(&r);
    struct bki_pages *p = &r.db->files.pages;
    bk_mutex_lock(&r.db->log.mu);
    assert_int_equal(p->free_n, 0);
    p->fresh = BKI_PAGES - 1;
    bk_mutex_unlock(&r.db->log.mu);
    struct lent before = pages(&r);
    step_until_aborted(&r);
    assert_same(pages(&r), before);
    RIG_TRUE(&r, rig_check(&r));
    rig_fini(&r);
}

static void test_check__page_that_is_nobodys__is_told(void **state)
{
    (void)state;
    struct rig r;
    struct bk_error err = {0};
    setup_rig(&r, 7, BK_SYNC_ALWAYS);
    put_n(&r, "a", 10, "1");
    RIG_TRUE(&r, rig_check(&r));
    bk_mutex_lock(&r.db->log.mu);
    uint32_t page = bki_pages_take(&r.db->files.pages, 0, 0);
    bk_mutex_unlock(&r.db->log.mu);
    assert_int_equal(bk_check(r.db, &err), BK_CORRUPT);
    bk_mutex_lock(&r.db->log.mu);
    bki_pages_give(&r.db->files.pages, page);
    bk_mutex_unlock(&r.db->log.mu);
    RIG_TRUE(&r, rig_check(&r));
    rig_fini(&r);
}

#define LARGE ((size_t)48 << 20)

/* Pages in which no record starts are not lent while the server runs; nor are they by a start. */
static void test_pages__start_from_a_hint__takes_those_in_which_records_start(void **state)
{
    (void)state;
    struct rig r;
    char *large = calloc(LARGE, 1);
    assert_non_null(large);
    setup_rig(&r, 5, BK_SYNC_EVERYSEC);
    r.opt.merge.policy = BK_MERGE_NEVER;
    r.opt.max_file_bytes = (uint64_t)256 << 20;
    r.opt.log_buffer_bytes = (uint64_t)256 << 20;
    next_file(&r);
    rig_begin(&r);
    rig_batch_put(&r, 0, bk_span_str("large"), bk_span_of(large, LARGE), 0, 0);
    assert_int_equal(rig_commit(&r), BK_OK);
    assert_int_equal(rig_put(&r, "behind", "v"), BK_OK);
    RIG_TRUE(&r, rig_sync(&r));
    uint64_t used = pages(&r).used;
    assert_in_range(used, 2, 3); /* with an empty active file's none or one */
    next_file(&r);
    merge_all(&r); /* its hint is made */
    used = pages(&r).used;
    next_file(&r);
    assert_int_equal(pages(&r).used, used);
    RIG_TRUE(&r, rig_same(&r));
    RIG_TRUE(&r, rig_check(&r));
    rig_fini(&r);
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages__start_from_a_hint__takes_those_in_which_records_start),
        cmocka_unit_test(test_merge__edit_fails_before_it_is_written__gives_the_pages_back),
        cmocka_unit_test(test_merge__pages_run_out__gives_back_what_it_took),
        cmocka_unit_test(test_check__page_that_is_nobodys__is_told),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
