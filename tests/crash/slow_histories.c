/* SPDX-License-Identifier: MIT */
/*
 * slow_histories.c - eight clients on three loops and few hot keys: every history must be
 * linearizable, over all keys at once; and a server without its key locks must be found out.
 *
 * Environment: HISTORY_SECONDS (default 100), HISTORY_SEED, BITKV_SERVER, NOLOCKS_SERVER (a server
 * built with BK_TEST_NO_KEY_LOCKS). With a file as argument: checks that history again.
 */
#include "lib/history.h"
#include "lib/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HISTORIES_MIN 1000
#define NOLOCKS_SECONDS 60
#define NOLOCKS_TRIES 6
#define NOLOCKS_SERVER_DEFAULT "nolocks/bitkv-server" /* beside this variant's folder */

static const char *save_dir(void)
{
    const char *dir = getenv("TMPDIR");

    return dir == NULL ? "/tmp" : dir;
}

static unsigned seconds_wanted(void)
{
    const char *text = getenv("HISTORY_SECONDS");

    return text == NULL ? 100 : (unsigned)strtoul(text, NULL, 10);
}

static void print_result(const struct history_result *r)
{
    print_message(
        "%u histories good, %u bad, %u undecided; %llu operations; longest check %llu steps, "
        "%.0f ms\n",
        r->good, r->bad, r->undecided, (unsigned long long)r->ops, (unsigned long long)r->steps_max,
        r->check_ms_max);
}

/* Records and checks on a server with these options, for its part of the time. */
static void run_campaign(const char *const *options, unsigned percent,
                         struct history_result *result)
{
    struct server s = {.redis = false};
    struct history_goal goal = {.seed = rng_seed_from_env("HISTORY_SEED"),
                                .seconds = seconds_wanted() * percent / 100,
                                .histories_min = HISTORIES_MIN * percent / 100,
                                .save_dir = save_dir()};

    for (size_t i = 0; options[i] != NULL; i++) {
        s.options[i] = options[i];
    }
    assert_true(server_start(&s));
    goal.port = s.port;
    print_message("HISTORY_SEED=%llu, %u s\n", (unsigned long long)goal.seed, goal.seconds);
    history_campaign(&goal, result);
    print_result(result);
    if (result->broken) {
        server_show_log(&s);
    }
    server_fini(&s);
    assert_false(result->broken);
    assert_int_equal(result->bad, 0);
    assert_int_equal(result->undecided, 0);
}

static void test_histories__defaults__linearizable(void **state)
{
    const char *const options[] = {"--io-threads", "3", NULL};
    struct history_result result;

    (void)state;
    run_campaign(options, 60, &result);
}

static void test_histories__values_read_from_files__linearizable(void **state)
{
    const char *const options[] = {"--io-threads", "3", "--cache-size", "0", NULL};
    struct history_result result;

    (void)state;
    run_campaign(options, 30, &result);
}

static void test_histories__files_change_all_the_time__linearizable(void **state)
{
    const char *const options[] = {
        "--io-threads", "3", "--cache-size", "0", "--max-file-size", "64kb", "--appendfsync",
        "no",           NULL};
    struct history_result result;

    (void)state;
    run_campaign(options, 5, &result);
}

static void test_histories__always__linearizable(void **state)
{
    const char *const options[] = {"--io-threads", "3", "--appendfsync", "always", NULL};
    struct history_result result;

    (void)state;
    run_campaign(options, 5, &result);
}

/* The variant's folder stands beside ours: build/debug/bitkv-server, build/nolocks/bitkv-server. */
static const char *nolocks_server(void)
{
    static char path[512];
    const char *given = getenv("NOLOCKS_SERVER");
    char *at;

    if (given != NULL) {
        return given;
    }
    snprintf(path, sizeof(path), "%s", TEST_SERVER);
    for (unsigned i = 0; i < 2; i++) {
        at = strrchr(path, '/');
        if (at != NULL) {
            *at = '\0';
        }
    }
    at = path + strlen(path);
    snprintf(at, sizeof(path) - (size_t)(at - path), "/%s", NOLOCKS_SERVER_DEFAULT);
    return path;
}

/* Without its locks the server may also fall over: then again, with another seed. */
static void campaign_until_bad(uint64_t seed, const char *save, struct history_result *result)
{
    result->bad = 0;
    for (unsigned i = 0; i < NOLOCKS_TRIES && result->bad == 0; i++) {
        struct server s = {.options = {"--io-threads", "3"}};
        struct history_goal goal = {.seed = seed + i * 100000u, .save_dir = save};
        goal.seconds = NOLOCKS_SECONDS / NOLOCKS_TRIES;
        assert_true(server_start(&s));
        goal.port = s.port;
        history_campaign(&goal, result);
        print_result(result);
        server_fini(&s);
    }
}

static void test_histories__server_without_key_locks__rejected(void **state)
{
    struct tmpdir dir;
    struct history_result result;
    uint64_t seed = rng_seed_from_env("HISTORY_SEED");
    const char *ours = getenv("BITKV_SERVER");
    char kept[512] = "";

    (void)state;
    print_message("HISTORY_SEED=%llu\n", (unsigned long long)seed);
    if (ours != NULL) {
        snprintf(kept, sizeof(kept), "%s", ours);
    }
    tmpdir_make(&dir, "nolocks"); /* the bad history is wanted: it is not kept */
    setenv("BITKV_SERVER", nolocks_server(), 1);
    campaign_until_bad(seed, dir.path, &result);
    tmpdir_remove(&dir);
    if (kept[0] != '\0') {
        setenv("BITKV_SERVER", kept, 1);
    } else {
        unsetenv("BITKV_SERVER");
    }
    assert_int_equal(result.bad, 1);
}

static int check_file(const char *path)
{
    struct history h = {NULL, 0, 0};
    struct lin_report report;
    bool good = false;

    if (!history_load(&h, path)) {
        fprintf(stderr, "%s: no history\n", path);
    } else {
        good = lin_check(h.ops, h.n, 100000000, &report) == LIN_GOOD;
        printf("%zu operations: %s after %llu steps\n%s\n", h.n, lin_verdict_name(report.verdict),
               (unsigned long long)report.steps, report.text);
    }
    history_fini(&h);
    return good ? 0 : 1;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_histories__server_without_key_locks__rejected),
        cmocka_unit_test(test_histories__defaults__linearizable),
        cmocka_unit_test(test_histories__values_read_from_files__linearizable),
        cmocka_unit_test(test_histories__files_change_all_the_time__linearizable),
        cmocka_unit_test(test_histories__always__linearizable),
    };

    return argc > 1 ? check_file(argv[1]) : cmocka_run_group_tests(tests, NULL, NULL);
}
