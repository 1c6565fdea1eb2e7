/* SPDX-License-Identifier: MIT */
/*
 * test_histories.c - a few histories of 8 clients on 3 loops, in every build, sanitizers included.
 * The many are in tests/crash/slow_histories.c.
 */
#include "lib/history.h"
#include "lib/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define SECONDS 3
#define HISTORIES 10

static void run_histories(const char *appendfsync, const char *cache_size)
{
    struct server s = {
        .options = {"--io-threads", "3", "--appendfsync", appendfsync, "--cache-size", cache_size}};
    const char *dir = getenv("TMPDIR");
    struct history_goal goal = {.seed = rng_seed_from_env("HISTORY_SEED"),
                                .seconds = SECONDS,
                                .histories_min = HISTORIES,
                                .save_dir = dir == NULL ? "/tmp" : dir};
    struct history_result result;

    print_message("HISTORY_SEED=%llu\n", (unsigned long long)goal.seed);
    assert_true(server_start(&s));
    goal.port = s.port;
    history_campaign(&goal, &result);
    print_message("%u histories good, %u bad, %u undecided\n", result.good, result.bad,
                  result.undecided);
    assert_false(result.broken);
    assert_int_equal(result.bad, 0);
    assert_int_equal(result.undecided, 0);
    assert_int_equal(server_stop(&s), 0);
    server_fini(&s);
}

static void test_histories__everysec__linearizable(void **state)
{
    (void)state;
    run_histories("everysec", "8mb");
}

static void test_histories__always__linearizable(void **state)
{
    (void)state;
    run_histories("always", "8mb");
}

static void test_histories__values_read_from_files__linearizable(void **state)
{
    (void)state;
    run_histories("no", "0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_histories__everysec__linearizable),
        cmocka_unit_test(test_histories__always__linearizable),
        cmocka_unit_test(test_histories__values_read_from_files__linearizable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
