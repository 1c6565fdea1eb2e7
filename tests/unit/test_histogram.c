/* SPDX-License-Identifier: MIT */
/* The histogram of calls: the buckets that Redis counts in, percentiles and steps of it. */
#include "command/histogram.h"
#include "lib/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void sum_up(const struct histogram *h, struct histogram_sum *sum)
{
    *sum = (struct histogram_sum){.total = 0};
    histogram_collect(h, sum);
}

/* What INFO latencystats of Redis 7.0 shows of one call that took so long, times 1,000. */
static void test_histogram__one_call__comes_out_as_the_end_of_its_bucket(void **state)
{
    static const struct {
        int64_t us;
        uint64_t ns;
    } rows[] = {{-5, 1},
                {0, 1},
                {1, 1003},
                {2, 2007},
                {4, 4015},
                {9, 9023},
                {36, 36095},
                {50000, 50069503},
                {999999, 1002438655},
                {1000000, 1002438655},
                {5000000, 1002438655}};
    static struct histogram_sum sum;
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct histogram *h = calloc(1, sizeof(*h));
        histogram_add(h, rows[i].us);
        sum_up(h, &sum);
        assert_int_equal(sum.total, 1);
        assert_int_equal(histogram_percentile(&sum, 50), rows[i].ns);
        assert_int_equal(histogram_percentile(&sum, 100), rows[i].ns);
        free(h);
    }
}

static void test_histogram__percentiles__are_within_one_percent_of_the_sorted_values(void **state)
{
    enum { N = 20000 };
    static const double percents[] = {0, 1, 50, 90, 99, 99.9, 99.99, 100};
    static struct histogram_sum sum;
    static int64_t at[100001]; /* how often each value */
    struct histogram *h = calloc(1, sizeof(*h));
    struct rng r = {rng_seed_from_env("HISTOGRAM_SEED")};
    (void)state;
    printf("HISTOGRAM_SEED=%llu\n", (unsigned long long)r.state);
    for (int i = 0; i < N; i++) {
        int64_t us = (int64_t)rng_below(&r, 10 + rng_below(&r, 100000));
        at[us]++;
        histogram_add(h, us);
    }
    sum_up(h, &sum);
    for (size_t p = 0; p < sizeof(percents) / sizeof(percents[0]); p++) {
        int64_t wanted = (int64_t)(percents[p] / 100 * N + 0.5);
        int64_t seen = at[0];
        int64_t us = 0;
        while (seen < (wanted > 0 ? wanted : 1)) {
            seen += at[++us];
        }
        double told = (double)histogram_percentile(&sum, percents[p]) / 1000;
        assert_true(told >= (double)us * 0.99 && told <= (double)us * 1.01 + 0.001);
    }
    free(h);
}

static void test_histogram__steps__end_where_those_of_redis_do_and_hold_all(void **state)
{
    static const uint64_t ends[] = {1, 2, 4, 8, 16, 33, 66, 132, 264, 528, 1056, 2113};
    static struct histogram_sum sum;
    struct histogram *h = calloc(1, sizeof(*h));
    uint64_t end_us;
    (void)state;
    histogram_add(h, 0);
    histogram_add(h, 1);
    histogram_add(h, 2);
    histogram_add(h, 33);
    histogram_add(h, 34);
    histogram_add(h, 9000000);
    sum_up(h, &sum);
    for (unsigned i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        uint64_t seen = histogram_step(&sum, i, &end_us);
        assert_int_equal(end_us, ends[i]);
        assert_int_equal(seen, i == 0 ? 2 : i < 5 ? 3 : i == 5 ? 4 : 5);
    }
    assert_int_equal(histogram_step(&sum, HISTOGRAM_STEPS - 1, &end_us), 6);
    assert_int_equal(end_us, 1073741);
    free(h);
}

static void test_histogram__reset__leaves_nothing(void **state)
{
    static struct histogram_sum sum;
    struct histogram *h = calloc(1, sizeof(*h));
    (void)state;
    histogram_add(h, 7);
    histogram_add(h, 700000);
    histogram_reset(h);
    sum_up(h, &sum);
    assert_int_equal(sum.total, 0);
    free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_histogram__one_call__comes_out_as_the_end_of_its_bucket),
        cmocka_unit_test(test_histogram__percentiles__are_within_one_percent_of_the_sorted_values),
        cmocka_unit_test(test_histogram__steps__end_where_those_of_redis_do_and_hold_all),
        cmocka_unit_test(test_histogram__reset__leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
