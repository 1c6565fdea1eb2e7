/* SPDX-License-Identifier: MIT */
/* The table of options: every row is sound, and every kind of value is read and written as Redis
 * does. */
#include "app/option.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Sets an option from words separated by spaces. Returns the reason of a refusal, or NULL. */
static const char *set(struct options *o, const char *name, const char *value)
{
    static char reason[512];
    struct bk_span argv[64];
    struct bk_buf why = {0};
    enum option_id id = option_find(bk_span_str(name));
    assert_int_not_equal(id, OPTION_COUNT);
    struct option_words words = {argv, 1, false};
    argv[0] = bk_span_str(value);
    if ((option_rows[id].flags & OPTION_MULTI) != 0) {
        words.argc = option_split_spaces(argv[0], argv, 64);
    }
    bool ok = option_parse(id, &o->values[id], &words, &o->values[id], &why);
    snprintf(reason, sizeof reason, "%.*s", (int)why.len, (const char *)why.data);
    bk_buf_fini(&why);
    return ok ? NULL : reason;
}

static const char *get(const struct options *o, const char *name)
{
    static char text[512];
    struct bk_buf out = {0};
    enum option_id id = option_find(bk_span_str(name));
    option_format(id, &o->values[id], &out);
    snprintf(text, sizeof text, "%.*s", (int)out.len, (const char *)out.data);
    bk_buf_fini(&out);
    return text;
}

static void test_option__every_row__has_a_valid_default_and_a_name_of_its_own(void **state)
{
    (void)state;
    struct options o;
    options_init(&o); /* asserts that each default is valid */
    for (int id = 0; id < OPTION_COUNT; id++) {
        const struct option_row *row = &option_rows[id];
        assert_non_null(row->name);
        assert_int_equal(option_find(bk_span_str(row->name)), id);
        assert_true(row->alias == NULL || (int)option_find(bk_span_str(row->alias)) == id);
        assert_true(option_is_default((enum option_id)id, &o.values[id]));
        assert_true(row->min <= row->max);
    }
    assert_int_equal(option_find(bk_span_str("nosuch")), OPTION_COUNT);
    assert_int_equal(option_find(bk_span_str("")), OPTION_COUNT);
    options_fini(&o);
}

/* What CONFIG GET * of redis-server 7.0.15 shows, and its hidden ones. */
static void test_option__every_name_of_redis_7__is_known(void **state)
{
    (void)state;
    static const char *const names[] = {
#include "redis_options.inc"
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (option_find(bk_span_str(names[i])) == OPTION_COUNT) {
            fail_msg("unknown option of Redis: %s", names[i]);
        }
    }
}

struct set_row {
    const char *name, *value;
    const char *shown; /* NULL: refused */
    const char *reason;
};

static void check_rows(const struct set_row *rows, size_t n)
{
    struct options o;
    options_init(&o);
    for (size_t i = 0; i < n; i++) {
        const char *reason = set(&o, rows[i].name, rows[i].value);
        if (rows[i].shown == NULL) {
            assert_non_null(reason);
            assert_string_equal(reason, rows[i].reason);
        } else {
            assert_null(reason);
            assert_string_equal(get(&o, rows[i].name), rows[i].shown);
        }
    }
    options_fini(&o);
}

#define INTEGER "argument couldn't be parsed into an integer"
#define MEMORY "argument must be a memory value"
#define TOO_LARGE "argument must be between 0 and 9223372036854775807 inclusive"

static void test_option__numbers__are_read_as_redis_reads_them(void **state)
{
    (void)state;
    static const struct set_row rows[] = {
        {"timeout", "0", "0", NULL},
        {"timeout", "2147483647", "2147483647", NULL},
        {"timeout", "2147483648", NULL, "argument must be between 0 and 2147483647 inclusive"},
        {"timeout", "-1", NULL, "argument must be between 0 and 2147483647 inclusive"},
        {"timeout", "abc", NULL, INTEGER},
        {"timeout", "012", NULL, INTEGER},
        {"timeout", "0x10", NULL, INTEGER},
        {"timeout", "+5", NULL, INTEGER},
        {"timeout", " 5", NULL, INTEGER},
        {"timeout", "", NULL, INTEGER},
        {"port", "65536", NULL, "argument must be between 0 and 65535 inclusive"},
        {"maxclients", "0", NULL, "argument must be between 1 and 4294967295 inclusive"},
        {"list-max-listpack-size", "-5", "-5", NULL},
        {"tracking-table-max-keys", "18446744073709551615", NULL, INTEGER},
        {"unixsocketperm", "770", "770", NULL},
        {"unixsocketperm", "9", NULL, "argument couldn't be parsed as an octal number"},
        {"unixsocketperm", "1777", NULL, "argument must be between 0 and 777 inclusive"},
        {"hz", "100000", "500", NULL},
        {"hz", "0", "1", NULL},
        {"max-file-age", "90", "90", NULL},
        {"max-file-age", "2h", "7200", NULL},
        {"max-file-age", "1W", "604800", NULL},
        {"max-file-age", "h", NULL,
         "argument must be a time in seconds, or with the unit s, m, h, d or w"},
        {"max-file-age", "99999999999w", NULL,
         "argument must be between 0 and 4294967295 inclusive"},
        {"max-file-age", "9223372036854775807w", NULL,
         "argument must be a time in seconds, or with the unit s, m, h, d or w"},
    };
    check_rows(rows, sizeof rows / sizeof *rows);
}

static void test_option__memory__takes_units_and_never_overflows(void **state)
{
    (void)state;
    static const struct set_row rows[] = {
        {"maxmemory", "100", "100", NULL},
        {"maxmemory", "100b", "100", NULL},
        {"maxmemory", "1k", "1000", NULL},
        {"maxmemory", "1KB", "1024", NULL},
        {"maxmemory", "1m", "1000000", NULL},
        {"maxmemory", "2mb", "2097152", NULL},
        {"maxmemory", "1g", "1000000000", NULL},
        {"maxmemory", "5Gb", "5368709120", NULL},
        {"maxmemory", "", "0", NULL}, /* as Redis: no digits are 0 */
        {"maxmemory", "9223372036854775807", "9223372036854775807", NULL},
        {"maxmemory", "9223372036854775808", NULL, TOO_LARGE},
        {"maxmemory", "9007199254740992kb", NULL, TOO_LARGE},
        {"maxmemory", "99999999999999999999999", NULL, TOO_LARGE},
        {"maxmemory", "-1", NULL, MEMORY},
        {"maxmemory", "1x", NULL, MEMORY},
        {"maxmemory", "1.5mb", NULL, MEMORY},
        {"maxmemory", "1 mb", NULL, MEMORY},
        {"maxmemory", "5%", NULL, MEMORY},
        {"max-file-size", "4095", NULL,
         "argument must be between 4096 and 1099511627776 inclusive"},
        {"max-file-size", "1024gb", "1099511627776", NULL},
        {"maxmemory-clients", "5%", "5%", NULL},
        {"maxmemory-clients", "1mb", "1048576", NULL},
        {"maxmemory-clients", "101%", NULL, "percentage argument must be less or equal to 100"},
        {"maxmemory-clients", "-5%", NULL, "argument must be a memory or percent value"},
    };
    check_rows(rows, sizeof rows / sizeof *rows);
}

static void test_option__choices_and_texts__are_read_as_redis_reads_them(void **state)
{
    (void)state;
    static const struct set_row rows[] = {
        {"appendfsync", "ALWAYS", "always", NULL},
        {"appendfsync", "never", NULL,
         "argument(s) must be one of the following: everysec, always, no"},
        {"appendfsync", "", NULL, "argument(s) must be one of the following: everysec, always, no"},
        {"protected-mode", "NO", "no", NULL},
        {"protected-mode", "1", NULL, "argument must be 'yes' or 'no'"},
        {"oom-score-adj", "relative", "yes", NULL},
        {"oom-score-adj", "absolute", "absolute", NULL},
        {"slave-read-only", "no", "no", NULL},
        {"dbfilename", "a/b", NULL, "dbfilename can't be a path, just a filename"},
        {"appenddirname", "", NULL, "appenddirname can't be empty"},
        {"appendfilename", "a/b", NULL, "appendfilename can't be a path, just a filename"},
        {"cluster-announce-hostname", "a b", NULL,
         "Hostnames may only contain alphanumeric characters, hyphens or dots"},
        {"proc-title-template", "{title} x", "{title} x", NULL},
        {"proc-title-template", "{foo}", NULL,
         "template format is invalid or contains unknown variables"},
        {"dir", "", NULL, "dir can't be empty"},
    };
    check_rows(rows, sizeof rows / sizeof *rows);
}

static void test_option__lists__are_read_and_shown_as_redis_does(void **state)
{
    (void)state;
    static const struct set_row rows[] = {
        {"save", "900 1 300 10", "900 1 300 10", NULL},
        {"save", "10 2 x", NULL, "Invalid save parameters"},
        {"save", "0 1", NULL, "Invalid save parameters"},
        {"save", "5  1", NULL, "Invalid save parameters"},
        {"save", "", "", NULL},
        {"client-output-buffer-limit", "normal 1mb 2kb 3 replica 1 2 3",
         "normal 1048576 2048 3 slave 1 2 3 pubsub 33554432 8388608 60", NULL},
        {"client-output-buffer-limit", "pubsub 0 0 0",
         "normal 1048576 2048 3 slave 1 2 3 pubsub 0 0 0", NULL},
        {"client-output-buffer-limit", "normal 1 2", NULL,
         "Wrong number of arguments in buffer limit configuration."},
        {"client-output-buffer-limit", "master 1 2 3", NULL,
         "Invalid client class specified in buffer limit configuration."},
        {"client-output-buffer-limit", "normal 1x 2 3", NULL,
         "Error in hard, soft or soft_seconds setting in buffer limit configuration."},
        {"client-output-buffer-limit", "normal 1 2 -3", NULL,
         "Error in hard, soft or soft_seconds setting in buffer limit configuration."},
        {"bind", "127.0.0.1 -::1", "127.0.0.1 -::1", NULL},
        {"bind", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17", NULL,
         "Too many bind addresses specified."},
        {"bind", "", "", NULL},
        {"notify-keyspace-events", "KEA", "AKE", NULL},
        {"notify-keyspace-events", "Kmng", "gnKm", NULL},
        {"notify-keyspace-events", "Kn$lshzxetdg", "AK", NULL},
        {"notify-keyspace-events", "q", NULL,
         "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."},
        {"oom-score-adj-values", "1 2", NULL, "wrong number of arguments"},
        {"oom-score-adj-values", "1 2 2001", NULL,
         "Invalid oom-score-adj-values, elements must be between -2000 and 2000."},
        {"slaveof", "host 6379", "host 6379", NULL},
        {"replicaof", "host x", NULL, "Invalid master port"},
        {"replicaof", "no one", "", NULL},
        {"shutdown-on-sigint", "now save", "save now", NULL},
        {"shutdown-on-sigint", "save nosave", NULL,
         "shutdown options SAVE and NOSAVE can't be used simultaneously"},
        {"latency-tracking-info-percentiles", "1e1 0x10 33.333333333", "10 16 33.333333", NULL},
        {"latency-tracking-info-percentiles", "101", NULL,
         "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"},
        {"latency-tracking-info-percentiles", "x", NULL,
         "Invalid latency-tracking-info-percentiles parameters"},
    };
    check_rows(rows, sizeof rows / sizeof *rows);
}

static void test_option__refused_value__leaves_the_old_one(void **state)
{
    (void)state;
    struct options o;
    options_init(&o);
    assert_null(set(&o, "client-output-buffer-limit", "normal 7 7 7"));
    assert_non_null(set(&o, "client-output-buffer-limit", "normal 8 8 8 nobody 1 1 1"));
    assert_string_equal(get(&o, "client-output-buffer-limit"),
                        "normal 7 7 7 slave 268435456 67108864 60 pubsub 33554432 8388608 60");
    struct option_output_limit limits[OPTION_CLASSES];
    option_output_limits(&o.values[OPTION_CLIENT_OUTPUT_BUFFER_LIMIT], limits);
    assert_int_equal(limits[OPTION_CLASS_NORMAL].hard_bytes, 7);
    assert_int_equal(limits[OPTION_CLASS_PUBSUB].soft_seconds, 60);
    options_fini(&o);
}

static void test_option__memory_for_a_file__has_the_largest_exact_unit(void **state)
{
    (void)state;
    static const struct {
        int64_t bytes;
        const char *text;
    } rows[] = {{0, "0"},         {1, "1"},         {1023, "1023"},
                {1024, "1kb"},    {1025, "1025"},   {1 << 20, "1mb"},
                {3 << 20, "3mb"}, {1 << 30, "1gb"}, {(int64_t)5 << 40, "5120gb"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct bk_buf out = {0};
        int64_t back = -1;
        option_format_memory(&out, rows[i].bytes);
        assert_true(bk_span_eq(bk_buf_span(&out), bk_span_str(rows[i].text)));
        assert_true(option_parse_memory(bk_buf_span(&out), &back));
        assert_true(back == rows[i].bytes);
        bk_buf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_option__every_row__has_a_valid_default_and_a_name_of_its_own),
        cmocka_unit_test(test_option__every_name_of_redis_7__is_known),
        cmocka_unit_test(test_option__numbers__are_read_as_redis_reads_them),
        cmocka_unit_test(test_option__memory__takes_units_and_never_overflows),
        cmocka_unit_test(test_option__choices_and_texts__are_read_as_redis_reads_them),
        cmocka_unit_test(test_option__lists__are_read_and_shown_as_redis_does),
        cmocka_unit_test(test_option__refused_value__leaves_the_old_one),
        cmocka_unit_test(test_option__memory_for_a_file__has_the_largest_exact_unit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
