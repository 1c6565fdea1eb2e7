/* SPDX-License-Identifier: MIT */
/* What the offline tool writes and reads: bytes as text, records as JSON and RESP, its progress. */
#include "lib/rng.h"
#include "tools/format.h"
#include "tools/progress.h"
#include "tools/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_text__base64__is_that_of_rfc_4648(void **state)
{
    (void)state;
    static const char *const rows[][2] = {{"", ""},
                                          {"f", "Zg=="},
                                          {"fo", "Zm8="},
                                          {"foo", "Zm9v"},
                                          {"foob", "Zm9vYg=="},
                                          {"fooba", "Zm9vYmE="},
                                          {"foobar", "Zm9vYmFy"}};
    static const char *const bad[] = {
        "Zg=", "Zg", "Zh==", "Zm9=", "Z===", "====", "Zm9v\n", "Zm 9", "Zg==Zg==", "Zm=v", "Zm-_"};
    struct bk_buf b = {0};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        b.len = 0;
        tool_base64_encode(bk_span_str(rows[i][0]), &b);
        assert_true(bk_span_eq(bk_buf_span(&b), bk_span_str(rows[i][1])));
        b.len = 0;
        assert_true(tool_base64_decode(rows[i][1], strlen(rows[i][1]), &b));
        assert_true(bk_span_eq(bk_buf_span(&b), bk_span_str(rows[i][0])));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(tool_base64_decode(bad[i], strlen(bad[i]), &b));
    }
    assert_false(tool_base64_decode("Zg\0=", 4, &b));
    bk_buf_fini(&b);
}

static void test_text__hex__both_cases_and_whole_bytes(void **state)
{
    (void)state;
    struct bk_buf b = {0};
    assert_true(tool_hex_decode("00fFAb9", &b) == false);
    b.len = 0;
    assert_true(tool_hex_decode("00fFAb", &b));
    assert_int_equal(b.len, 3);
    assert_memory_equal(b.data, "\x00\xff\xab", 3);
    assert_false(tool_hex_decode("0g", &b));
    assert_false(tool_hex_decode("@@", &b));
    bk_buf_fini(&b);
}

static void test_progress__line__tells_part_and_time_left(void **state)
{
    (void)state;
    char line[160];
    tool_progress_line(line, sizeof line, "Loading", TOOL_BYTES, 500000000, 2000000000, 30000000);
    assert_string_equal(line,
                        "Loading: [=====               ]  25%, 500.0 MB of 2.0 GB, 1:30 left");
    tool_progress_line(line, sizeof line, "Loading", TOOL_BYTES, 999, 0, 1);
    assert_string_equal(line, "Loading: 999 B");
    tool_progress_line(line, sizeof line, "Dumping", TOOL_KEYS, 0, 12, 1);
    assert_string_equal(line, "Dumping: [                    ]   0%, 0 of 12 keys");
    tool_progress_line(line, sizeof line, "Dumping", TOOL_KEYS, 13, 12, 1);
    assert_string_equal(line, "Dumping: 13 keys");
    tool_progress_line(line, sizeof line, "Closing", TOOL_TIME, 0, 0, 62500000);
    assert_string_equal(line, "Closing: 1:02");
    tool_progress_line(line, 8, "Dumping", TOOL_KEYS, 6, 12, 1);
    assert_string_equal(line, "Dumping");
}

enum dump_format { JSON, RESP };

static int read_as(enum dump_format format, struct tool_reader *rd)
{
    return format == JSON ? tool_json_read(rd) : tool_resp_read(rd);
}

/* Every prefix of a dump gives the records that are whole in it, then the end or an error. */
static void test_format__input_cut_anywhere__gives_whole_records_alone(void **state)
{
    (void)state;
    static const char *const dumps[] = {
        "{\"db\":0,\"key\":\"a\",\"value\":\"b\\n\"}\n{\"key64\":\"/"
        "w==\",\"value\":\"\",\"pxat\":5}\n",
        "*2\r\n$6\r\nSELECT\r\n$1\r\n7\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\nb\n\r\n"
        "*5\r\n$3\r\nset\r\n$1\r\n\xff\r\n$0\r\n\r\n$4\r\nPXAT\r\n$1\r\n5\r\n"};
    for (int format = JSON; format <= RESP; format++) {
        size_t whole = strlen(dumps[format]);
        unsigned at_end = 0;
        for (size_t n = 1; n <= whole; n++) {
            char *copy = strndup(dumps[format], n);
            struct tool_reader rd = {.in = {.f = fmemopen(copy, n, "r")}};
            int rc;
            unsigned records = 0;
            while ((rc = read_as((enum dump_format)format, &rd)) == BK_OK) {
                records++;
                assert_int_equal(rd.r.num, format == RESP ? 7 : 0);
                assert_int_equal(rd.r.value.len, records == 1 ? 2 : 0);
                assert_int_equal(rd.r.expire_ms, records == 1 ? 0 : 5);
            }
            assert_true(rc == BK_NOTFOUND || (rc == BK_EINVAL && rd.why[0] != '\0'));
            assert_true(records <= 2 && (n < whole || (records == 2 && rc == BK_NOTFOUND)));
            at_end += rc == BK_NOTFOUND;
            fclose(rd.in.f);
            free(copy);
            tool_reader_fini(&rd);
        }
        /* JSON: behind each line and each closing brace; RESP: behind each command. */
        assert_int_equal(at_end, format == JSON ? 4 : 3);
    }
}

static void test_format__random_records__come_back_as_they_were(void **state)
{
    (void)state;
    uint64_t seed = rng_seed_from_env("BITKV_SEED");
    struct rng rng = {seed};
    print_message("BITKV_SEED=%llu\n", (unsigned long long)seed);
    for (unsigned i = 0; i < 2000; i++) {
        uint8_t key[30];
        uint8_t value[100];
        char *text = NULL;
        size_t len = 0;
        int64_t selected = -1;
        bool json = rng_percent(&rng, 50);
        bool plain = rng_percent(&rng, 50);
        struct tool_record r = {.num = (uint32_t)rng_below(&rng, BK_DATABASES_MAX),
                                .key = {key, rng_below(&rng, sizeof key)},
                                .value = {value, rng_below(&rng, sizeof value)},
                                .flags = json ? (uint8_t)rng_next(&rng) : 0,
                                .expire_ms =
                                    rng_percent(&rng, 50) ? rng_range(&rng, 1, 1 << 30) : 0};
        rng_fill(&rng, key, sizeof key);
        rng_fill(&rng, value, sizeof value);
        for (size_t k = 0; plain && k < sizeof value; k++) {
            value[k] &= 0x7f;
        }
        FILE *f = open_memstream(&text, &len);
        assert_int_equal(json ? tool_json_write(f, &r) : tool_resp_write(f, &r, &selected), BK_OK);
        fclose(f);
        struct tool_reader rd = {.in = {.f = fmemopen(text, len, "r")}};
        assert_int_equal(read_as(json ? JSON : RESP, &rd), BK_OK);
        assert_true(bk_span_eq(rd.r.key, r.key) && bk_span_eq(rd.r.value, r.value));
        assert_int_equal(rd.r.num, r.num);
        assert_int_equal(rd.r.flags, r.flags);
        assert_int_equal(rd.r.expire_ms, r.expire_ms);
        assert_int_equal(read_as(json ? JSON : RESP, &rd), BK_NOTFOUND);
        fclose(rd.in.f);
        free(text);
        tool_reader_fini(&rd);
    }
}

/* Whatever the server takes can be dumped, and so must load. */
static void test_format__expiry_of_any_size__comes_back_as_it_was(void **state)
{
    (void)state;
    static const int64_t times[] = {1, ((int64_t)1 << 62) + 1, INT64_MAX};
    for (size_t i = 0; i < 2 * sizeof times / sizeof times[0]; i++) {
        bool json = i % 2 == 0;
        char *text = NULL;
        size_t len = 0;
        int64_t selected = -1;
        struct tool_record r = {
            .key = bk_span_str("k"), .value = bk_span_str("v"), .expire_ms = times[i / 2]};
        FILE *f = open_memstream(&text, &len);
        assert_int_equal(json ? tool_json_write(f, &r) : tool_resp_write(f, &r, &selected), BK_OK);
        fclose(f);
        struct tool_reader rd = {.in = {.f = fmemopen(text, len, "r")}};
        assert_int_equal(read_as(json ? JSON : RESP, &rd), BK_OK);
        assert_int_equal(rd.r.expire_ms, r.expire_ms);
        fclose(rd.in.f);
        free(text);
        tool_reader_fini(&rd);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text__base64__is_that_of_rfc_4648),
        cmocka_unit_test(test_text__hex__both_cases_and_whole_bytes),
        cmocka_unit_test(test_progress__line__tells_part_and_time_left),
        cmocka_unit_test(test_format__input_cut_anywhere__gives_whole_records_alone),
        cmocka_unit_test(test_format__random_records__come_back_as_they_were),
        cmocka_unit_test(test_format__expiry_of_any_size__comes_back_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
