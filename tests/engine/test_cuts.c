/* SPDX-License-Identifier: MIT */
/*
 * test_cuts.c - however a world of cuts.h ends, other than by cuts_done, it is counted as broken
 * and only once.
 */
#include "cut_plays.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

static const struct cuts_fate kill_it[] = {
    {SIMDISK_ENDS, SIMDISK_KILL, SIMDISK_ANY, 1, 1, "kill"},
};

/* Opens a store, with a world at each call of the disk, each of which ends as told. */
static void worlds_that_end(void (*end)(struct cuts *c), struct cuts_counts *counts)
{
    struct rig r;
    struct cuts c = {
        .r = &r, .name = "ends", .fates = kill_it, .fates_n = 1, .stride = 1, .counts = counts};
    world = &c;
    rig_init(&r, 1, BK_SYNC_ALWAYS);
    cuts_watch(&c);
    open_it(&r);
    if (cuts_rest(&c)) {
        end(&c);
    }
    rig_fini(&r);
}

static void end_well(struct cuts *c)
{
    cuts_done(c);
}

static void end_broken(struct cuts *c)
{
    CUTS_TRUE(c, c->depth == 0);
}

/* As the address and undefined-behaviour sanitizers end a process. */
static void end_by_status(struct cuts *c)
{
    (void)c;
    _exit(1);
}

static void end_by_signal(struct cuts *c)
{
    struct rlimit none = {0, 0};
    (void)c;
    setrlimit(RLIMIT_CORE, &none);
    abort();
}

/* Counts of a scenario of some calls, each of whose worlds ends so. */
static const struct cuts_counts *counts_of(void (*end)(struct cuts *c))
{
    struct cuts_counts *counts = cuts_counts_new();
    worlds_that_end(end, counts);
    assert_true(counts->points > 5);
    return counts;
}

static void test_cuts__worlds_that_end_well__are_not_broken(void **state)
{
    (void)state;
    assert_int_equal(counts_of(end_well)->broken, 0);
}

static void test_cuts__worlds_that_break_a_promise__each_counts_once(void **state)
{
    (void)state;
    const struct cuts_counts *n = counts_of(end_broken);
    assert_int_equal(n->broken, n->points);
}

static void test_cuts__worlds_that_end_by_an_exit_status__each_counts_once(void **state)
{
    (void)state;
    const struct cuts_counts *n = counts_of(end_by_status);
    assert_int_equal(n->broken, n->points);
}

static void test_cuts__worlds_that_end_by_a_signal__each_counts_once(void **state)
{
    (void)state;
    const struct cuts_counts *n = counts_of(end_by_signal);
    assert_int_equal(n->broken, n->points);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuts__worlds_that_end_well__are_not_broken),
        cmocka_unit_test(test_cuts__worlds_that_break_a_promise__each_counts_once),
        cmocka_unit_test(test_cuts__worlds_that_end_by_an_exit_status__each_counts_once),
        cmocka_unit_test(test_cuts__worlds_that_end_by_a_signal__each_counts_once),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
