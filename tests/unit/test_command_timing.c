/* SPDX-License-Identifier: MIT */
/* How long commands take: what is counted, what SLOWLOG and LATENCY keep, and a wall clock that
 * steps. There is no store: the commands here need none. */
#include "command/exec_private.h"
#include "command/timing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ARGS_MAX 64
#define STEP_US 5000000

struct fixture {
    struct keyspace *ks;
    struct server_ops ops;
    struct timing_settings settings;
    struct exec *exec[2];
    struct session s;
    struct bk_buf out;
    struct resp_writer reply;
    struct resp_arg argv[ARGS_MAX];
    int argc;
};

static bool no(void *arg)
{
    (void)arg;
    return false;
}

static bool debug_allowed(void *arg, const struct session *s)
{
    (void)arg;
    (void)s;
    return true;
}

static bool is_secret(void *arg, struct bk_span name)
{
    (void)arg;
    return bk_span_eq_nocase(name, "requirepass");
}

static bool config_set(void *arg, const struct config_pair *pairs, size_t n, struct bk_buf *error)
{
    (void)arg;
    (void)pairs;
    (void)n;
    (void)error;
    return true;
}

static struct exec *const *executors(void *arg, size_t *n)
{
    struct fixture *f = arg;
    *n = 2;
    return f->exec;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->ks = ks_new(NULL, 16);
    f->ops = (struct server_ops){.arg = f,
                                 .timing = timing_new(),
                                 .executors = executors,
                                 .auth_required = no,
                                 .config_secret = is_secret,
                                 .config_set = config_set,
                                 .debug_allowed = debug_allowed};
    f->settings = (struct timing_settings){.tracking = true, .slow_us = -1, .slowlog_max = 128};
    timing_set(f->ops.timing, &f->settings);
    f->exec[0] = exec_new(f->ks, &f->ops);
    f->exec[1] = exec_new(f->ks, &f->ops);
    f->s.addr = "1.2.3.4:5";
    f->reply = (struct resp_writer){.out = &f->out, .proto = 2};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    exec_free(&f->exec[0]);
    exec_free(&f->exec[1]);
    timing_free(&f->ops.timing);
    ks_free(&f->ks);
    bk_buf_fini(&f->out);
    free(f);
    return 0;
}

/* Words apart by spaces; the reply stays in f->out. */
static void run_on(struct fixture *f, int loop, const char *words)
{
    struct exec_slice *slice = NULL;
    struct resp_command cmd = {.argv = f->argv};
    uint64_t pos = 0;
    while (*words != '\0') {
        size_t len = strcspn(words, " ");
        f->argv[cmd.argc++] = (struct resp_arg){bk_span_of((const uint8_t *)words, len), NULL};
        words += len + (words[len] == ' ');
    }
    f->out.len = 0;
    assert_int_equal(exec_command(f->exec[loop], &f->s, &cmd, 1000, &f->reply, &pos, &slice),
                     EXEC_DONE);
    bk_buf_append(&f->out, "", 1);
}

static void run(struct fixture *f, const char *words)
{
    run_on(f, 0, words);
}

static void expect(struct fixture *f, const char *words, const char *want)
{
    run(f, words);
    assert_string_equal((char *)f->out.data, want);
}

static void expect_part(struct fixture *f, const char *words, const char *part)
{
    run(f, words);
    if (strstr((char *)f->out.data, part) == NULL) {
        fail_msg("'%s' is not in: %s", part, (char *)f->out.data);
    }
}

static void log_from(struct fixture *f, int64_t us)
{
    f->settings.slow_us = us;
    timing_set(f->ops.timing, &f->settings);
}

/* What INFO would show. */
static void text_of(struct fixture *f, void (*write)(struct exec *const *, size_t, struct bk_buf *),
                    struct bk_buf *out)
{
    out->len = 0;
    write(f->exec, 2, out);
    bk_buf_append(out, "", 1);
}

static void test_timing__errors__are_counted_by_their_first_word_over_all_loops(void **state)
{
    struct fixture *f = *state;
    struct bk_buf text = {0};
    run_on(f, 0, "debug error");
    run_on(f, 0, "nosuch");
    run_on(f, 1, "echo");
    run_on(f, 1, "get k"); /* -LOADING */
    run_on(f, 1, "config set x");
    run_on(f, 0, "debug error averyveryverylongwordthatgoesonandon");
    text_of(f, exec_errorstats, &text);
    assert_string_equal((char *)text.data,
                        "errorstat_ERR:count=5\r\nerrorstat_LOADING:count=1\r\n");
    exec_resetstat(f->exec[0]);
    exec_resetstat(f->exec[1]);
    text_of(f, exec_errorstats, &text);
    assert_string_equal((char *)text.data, "");
    bk_buf_fini(&text);
}

static void test_timing__more_error_words_than_fit__are_counted_in_the_total(void **state)
{
    struct fixture *f = *state;
    struct bk_buf text = {0};
    struct exec_totals totals;
    for (unsigned i = 0; i < EXEC_ERRORS_MAX + 20; i++) {
        f->out.len = 0;
        resp_write_errorf(&f->reply, "W%03u text", i);
        exec_stat_error(f->exec[0], &f->reply, 0, f->reply.errors - 1);
    }
    text_of(f, exec_errorstats, &text);
    assert_non_null(strstr((char *)text.data, "errorstat_W127:count=1\r\n"));
    assert_null(strstr((char *)text.data, "W128"));
    run(f, "nosuch");
    exec_totals(f->exec[0], &totals);
    assert_int_equal(totals.errors, 1);
    bk_buf_fini(&text);
}

static void test_timing__a_command__is_timed_and_counted_in_its_histogram(void **state)
{
    struct fixture *f = *state;
    struct bk_buf text = {0};
    run_on(f, 0, "debug sleep 0.02");
    run_on(f, 1, "debug sleep 0.02");
    run_on(f, 1, "debug nosuch");
    text_of(f, exec_commandstats, &text);
    const char *usec = strstr((char *)text.data, "cmdstat_debug:calls=3,usec=");
    assert_non_null(usec);
    assert_in_range(strtoull(strstr(usec, "usec=") + 5, NULL, 10), 40000, 20000000);
    assert_non_null(strstr(usec, ",rejected_calls=0,failed_calls=1\r\n"));
    text.len = 0;
    exec_latencystats(f->exec, 2, bk_span_str("0 50 99.9"), &text);
    bk_buf_append(&text, "", 1);
    assert_non_null(strstr((char *)text.data, "latency_percentiles_usec_debug:p0="));
    const char *p50 = strstr((char *)text.data, ",p50=");
    assert_non_null(p50);
    assert_true(strtod(p50 + 5, NULL) >= 20000);
    expect_part(f, "latency histogram debug", "*2\r\n$5\r\ndebug\r\n*4\r\n$5\r\ncalls\r\n:3\r\n");
    f->settings.tracking = false;
    timing_set(f->ops.timing, &f->settings);
    run(f, "debug sleep 0");
    expect_part(f, "latency histogram debug", "calls\r\n:3\r\n");
    bk_buf_fini(&text);
}

/* The clock is set by five seconds while a command runs: as if it had begun at another time. */
static void step_under_a_command(struct fixture *f, int64_t us)
{
    (void)exec_look(f->exec[0]);
    f->exec[0]->now_us -= us;
    f->exec[0]->tick_wall_us -= us;
    run(f, "debug sleep 0.002");
}

static void test_timing__wall_clock_steps__no_call_gets_longer_or_negative(void **state)
{
    struct fixture *f = *state;
    struct bk_buf text = {0};
    log_from(f, STEP_US / 2);
    step_under_a_command(f, STEP_US);
    step_under_a_command(f, -STEP_US);
    expect(f, "slowlog len", ":0\r\n");
    text_of(f, exec_commandstats, &text);
    const char *usec = strstr((char *)text.data, "cmdstat_debug:calls=2,usec=");
    assert_non_null(usec);
    assert_in_range(strtoull(strstr(usec, "usec=") + 5, NULL, 10), 4000, STEP_US / 2);
    bk_buf_fini(&text);
}

static void test_slowlog__threshold__lets_in_what_took_as_long(void **state)
{
    struct fixture *f = *state;
    log_from(f, 15000);
    run(f, "debug sleep 0");
    expect(f, "slowlog len", ":0\r\n");
    run(f, "debug sleep 0.02");
    expect(f, "slowlog len", ":1\r\n");
    expect_part(f, "slowlog get",
                "*3\r\n$5\r\ndebug\r\n$5\r\nsleep\r\n$4\r\n0.02\r\n$9\r\n1.2.3.4:5\r\n$0\r\n\r\n");
    log_from(f, -1);
    run(f, "debug sleep 0.02");
    expect(f, "slowlog len", ":1\r\n");
}

static void test_slowlog__secrets__are_not_kept(void **state)
{
    struct fixture *f = *state;
    log_from(f, 0);
    run(f, "auth one two");
    expect_part(f, "slowlog get 1", "$4\r\nauth\r\n$10\r\n(redacted)\r\n$10\r\n(redacted)\r\n");
    run(f, "hello 2 auth name pass");
    expect_part(f, "slowlog get 1", "auth\r\n$10\r\n(redacted)\r\n$10\r\n(redacted)\r\n");
    run(f, "auth one two three");
    expect_part(f, "slowlog get 1",
                "auth\r\n$10\r\n(redacted)\r\n$10\r\n(redacted)\r\n$10\r\n(redacted)\r\n");
    run(f, "config set requirepass p timeout 0");
    expect_part(f, "slowlog get 1", "requirepass\r\n$10\r\n(redacted)\r\n$7\r\ntimeout\r\n$1\r\n0");
    run(f, "echo open");
    expect_part(f, "slowlog get 1", "echo\r\n$4\r\nopen\r\n");
}

static void test_slowlog__many_or_long_arguments__are_cut(void **state)
{
    struct fixture *f = *state;
    char words[300] = "echo ";
    log_from(f, 0);
    memset(words + 5, 'A', 129);
    run(f, words);
    expect_part(f, "slowlog get 1", "A... (1 more bytes)\r\n");
    run(f, "debug 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 "
           "31 32 33");
    expect_part(f, "slowlog get 1", "*32\r\n");
    expect_part(f, "slowlog get 2", "$2\r\n30\r\n$22\r\n... (3 more arguments)\r\n$9\r\n1.2.3.4");
}

static void test_slowlog__long_name_of_the_client__is_cut(void **state)
{
    struct fixture *f = *state;
    char name[130] = "";
    log_from(f, 0);
    f->s.name = name;
    memset(name, 'n', 128);
    run(f, "echo x");
    expect_part(f, "slowlog get 1", "$9\r\n1.2.3.4:5\r\n$128\r\nnnn");
    name[128] = 'n';
    run(f, "echo x");
    expect_part(f, "slowlog get 1", "nnnn... (1 more bytes)\r\n");
    f->s.name = NULL;
}

static void test_slowlog__max_len__keeps_the_newest(void **state)
{
    struct fixture *f = *state;
    f->settings.slowlog_max = 3;
    log_from(f, 0);
    for (int i = 0; i < 10; i++) {
        run(f, "echo x");
    }
    expect(f, "slowlog len", ":3\r\n");
    expect_part(f, "slowlog get 1", "*1\r\n*6\r\n:10\r\n");
    f->settings.slowlog_max = 1;
    log_from(f, -1);
    expect(f, "slowlog len", ":1\r\n");
    expect(f, "slowlog reset", "+OK\r\n");
    expect(f, "slowlog get -1", "*0\r\n");
}

static void test_latency__events__keep_the_worst_of_a_second(void **state)
{
    struct fixture *f = *state;
    expect(f, "latency latest", "*0\r\n");
    run(f, "debug sleep 0.02");
    expect(f, "latency latest", "*0\r\n");
    f->settings.monitor_ms = 10;
    log_from(f, -1);
    run(f, "debug sleep 0.02");
    timing_note(f->ops.timing, TIMING_FAST_COMMAND, 9999);
    timing_note(f->ops.timing, TIMING_EXPIRE_CYCLE, 77000);
    expect_part(f, "latency latest", "*2\r\n*4\r\n$7\r\ncommand\r\n:");
    expect_part(f, "latency latest", "*4\r\n$12\r\nexpire-cycle\r\n:");
    expect_part(f, "latency latest", ":77\r\n:77\r\n");
    expect_part(f, "latency history expire-cycle", ":77\r\n");
    expect(f, "latency history fast-command", "*0\r\n");
    expect(f, "latency history nosuch", "*0\r\n");
    expect_part(f, "latency graph expire-cycle", "expire-cycle - high 77 ms, low 77 ms");
    expect_part(f, "latency doctor", "expire-cycle: 1 latency spikes (average 77ms");
    timing_note(f->ops.timing, TIMING_AOF_WRITE, 33000);
    timing_note(f->ops.timing, TIMING_AOF_WRITE_PENDING_FSYNC, 33000);
    expect_part(f, "latency history aof-write", ":33\r\n");
    expect(f, "latency history aof-write-alone", "*0\r\n");
    expect_part(f, "latency graph aof-write-pending-fsync", "high 33 ms, low 33 ms");
    expect_part(f, "latency doctor", "aof-write-pending-fsync: 1 latency spikes (average 33ms");
    timing_note(f->ops.timing, TIMING_AOF_WRITE_ALONE, 44000);
    timing_note(f->ops.timing, TIMING_AOF_FSYNC_ALWAYS, 55000);
    expect_part(f, "latency history aof-write-alone", ":44\r\n");
    expect_part(f, "latency history aof-fsync-always", ":55\r\n");
    expect(f, "latency reset aof-write aof-write-alone aof-write-pending-fsync aof-fsync-always",
           ":4\r\n");
    expect(f, "latency reset nosuch", ":0\r\n");
    expect(f, "latency reset EXPIRE-CYCLE command", ":2\r\n");
    expect(f, "latency latest", "*0\r\n");
    expect(f, "latency graph command", "-ERR No samples available for event 'command'\r\n");
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_timing__errors__are_counted_by_their_first_word_over_all_loops),
        T(test_timing__more_error_words_than_fit__are_counted_in_the_total),
        T(test_timing__a_command__is_timed_and_counted_in_its_histogram),
        T(test_timing__wall_clock_steps__no_call_gets_longer_or_negative),
        T(test_slowlog__threshold__lets_in_what_took_as_long),
        T(test_slowlog__secrets__are_not_kept),
        T(test_slowlog__many_or_long_arguments__are_cut),
        T(test_slowlog__long_name_of_the_client__is_cut),
        T(test_slowlog__max_len__keeps_the_newest),
        T(test_latency__events__keep_the_worst_of_a_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
