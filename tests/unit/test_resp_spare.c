/* SPDX-License-Identifier: MIT */
/* test_resp_spare.c - readers of one thread that use one receive buffer in turn. */
#include "base/buf.h"
#include "resp/reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct resp_limits limits = {512u << 20, 1024u << 20, true};

static void receive(struct resp_reader *r, struct resp_spare *spare, const char *bytes, size_t n)
{
    size_t room;
    resp_reader_borrow(r, spare);
    while (n > 0) {
        uint8_t *p = resp_reader_space(r, &room);
        size_t now = n < room ? n : room;
        memcpy(p, bytes, now);
        resp_reader_filled(r, now);
        bytes += now;
        n -= now;
    }
}

/* Takes all whole commands; their first arguments are appended to out. */
static void take(struct resp_reader *r, struct bk_buf *out)
{
    struct resp_command c = {0};
    const char *error;
    while (resp_reader_next(r, &limits, &c, &error) == RESP_COMMAND) {
        bk_buf_append(out, c.argv[0].bytes.data, c.argv[0].bytes.len);
        bk_buf_append(out, ";", 1);
    }
    resp_command_fini(&c);
}

static void test_spare__whole_commands__readers_hold_nothing_and_share_one_buffer(void **state)
{
    struct resp_spare spare = {0};
    struct bk_buf out = {0};
    struct resp_reader *r[3];
    const uint8_t *shared = NULL;
    (void)state;
    for (int i = 0; i < 3; i++) {
        r[i] = resp_reader_new();
    }
    for (int i = 0; i < 30; i++) {
        receive(r[i % 3], &spare, "PING\r\n", 6);
        take(r[i % 3], &out);
        resp_reader_give_back(r[i % 3], &spare);
        assert_true(resp_reader_memory(r[i % 3]) < 512);
        assert_non_null(spare.buf);
        assert_true(shared == NULL || shared == spare.buf);
        shared = spare.buf;
    }
    assert_int_equal(out.len, 30 * 5);
    for (int i = 0; i < 3; i++) {
        resp_reader_free(&r[i]);
    }
    resp_spare_fini(&spare);
    bk_buf_fini(&out);
}

static void test_spare__half_command__keeps_its_bytes_while_others_read(void **state)
{
    struct resp_spare spare = {0};
    struct bk_buf out = {0};
    struct resp_reader *a = resp_reader_new();
    struct resp_reader *b = resp_reader_new();
    const char *text = "*2\r\n$5\r\nhello\r\n$3\r\nabc\r\n";
    (void)state;
    for (size_t cut = 1; cut < strlen(text); cut++) {
        receive(a, &spare, text, cut);
        take(a, &out);
        resp_reader_give_back(a, &spare);
        assert_true(resp_reader_memory(a) < 1024 + cut);
        receive(b, &spare, "other\r\n", 7);
        take(b, &out);
        resp_reader_give_back(b, &spare);
        receive(a, &spare, text + cut, strlen(text) - cut);
        take(a, &out);
        resp_reader_give_back(a, &spare);
        assert_int_equal(out.len, 12);
        assert_memory_equal(out.data, "other;hello;", 12);
        out.len = 0;
        assert_true(resp_reader_memory(b) < 512);
    }
    resp_reader_free(&a);
    resp_reader_free(&b);
    resp_spare_fini(&spare);
    bk_buf_fini(&out);
}

/* Arguments around the sizes at which a half command keeps the whole buffer, or gets a block of its
 * own. */
static void test_spare__half_of_a_large_argument__survives_every_hand_over(void **state)
{
    static const size_t sizes[] = {1000, 4080, 4096, 20000, 65000, 65536, 200000};
    struct resp_spare spare = {0};
    struct resp_reader *a = resp_reader_new();
    struct resp_reader *b = resp_reader_new();
    struct bk_buf text = {0};
    struct bk_buf out = {0};
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        text.len = out.len = 0;
        bk_buf_printf(&text, "*1\r\n$%zu\r\n", sizes[i]);
        for (size_t k = 0; k < sizes[i]; k++) {
            uint8_t byte = (uint8_t)(k * 7 % 251);
            bk_buf_append(&text, &byte, 1);
        }
        bk_buf_append(&text, "\r\n", 2);
        for (size_t at = 0; at < text.len;) {
            size_t n = text.len - at < 777 ? text.len - at : 777;
            receive(a, &spare, (const char *)text.data + at, n);
            at += n;
            take(a, &out);
            resp_reader_give_back(a, &spare);
            receive(b, &spare, "x\r\n", 3);
            struct bk_buf ignored = {0};
            take(b, &ignored);
            bk_buf_fini(&ignored);
            resp_reader_give_back(b, &spare);
        }
        assert_int_equal(out.len, sizes[i] + 1);
        assert_memory_equal(out.data, text.data + text.len - 2 - sizes[i], sizes[i]);
    }
    resp_reader_free(&a);
    resp_reader_free(&b);
    resp_spare_fini(&spare);
    bk_buf_fini(&text);
    bk_buf_fini(&out);
}

/* As many receive as may wait, and run only then: the large buffer goes round, the small ones are
 * used again, and none stays with who has nothing left. */
static void test_spare__steps_aside__what_was_received_waits_in_small_buffers(void **state)
{
    enum { N = RESP_ASIDE_MAX };
    struct resp_spare spare = {0};
    struct resp_reader *r[N];
    struct bk_buf out = {0};
    const uint8_t *small[N] = {0};
    (void)state;
    for (unsigned i = 0; i < N; i++) {
        r[i] = resp_reader_new();
    }
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < N; i++) {
            receive(r[i], &spare, "hello\r\nwor", 10);
            assert_true(resp_reader_can_step_aside(r[i]));
            resp_reader_step_aside(r[i], &spare);
            assert_non_null(spare.buf);
            assert_true(resp_reader_memory(r[i]) < 2048 + 512);
        }
        assert_int_equal(spare.aside_n, 0);
        for (unsigned i = 0; i < N; i++) {
            take(r[i], &out);
            resp_reader_give_back(r[i], &spare);
            assert_int_equal(resp_reader_pending(r[i]), 3);
            assert_true(resp_reader_memory(r[i]) < 512);
        }
        assert_int_equal(spare.aside_n, N);
        for (unsigned i = 0; i < N; i++) {
            bool known = round == 0;
            for (unsigned k = 0; k < N; k++) {
                known = known || small[k] == spare.aside[i];
            }
            assert_true(known);
        }
        memcpy(small, spare.aside, sizeof(small));
        for (unsigned i = 0; i < N; i++) {
            receive(r[i], &spare, "ld\r\n", 4);
            take(r[i], &out);
            resp_reader_give_back(r[i], &spare);
        }
        assert_int_equal(out.len, N * 12);
        assert_memory_equal(out.data, "hello;hello;", 12);
        assert_memory_equal(out.data + out.len - 12, "world;world;", 12);
        out.len = 0;
    }
    for (unsigned i = 0; i < N; i++) {
        resp_reader_free(&r[i]);
    }
    resp_spare_fini(&spare);
    bk_buf_fini(&out);
}

static void test_spare__more_than_a_small_buffer_holds__does_not_step_aside(void **state)
{
    static const size_t sizes[] = {1000, 2048, 2049, 4096, 70000};
    struct resp_spare spare = {0};
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct resp_reader *r = resp_reader_new();
        struct bk_buf text = {0};
        bk_buf_printf(&text, "*1\r\n$%zu\r\n", sizes[i]);
        while (text.len < sizes[i]) {
            bk_buf_append(&text, "x", 1);
        }
        receive(r, &spare, (const char *)text.data, text.len);
        assert_int_equal(resp_reader_can_step_aside(r), text.len <= 2048);
        resp_reader_free(&r);
        bk_buf_fini(&text);
    }
    resp_spare_fini(&spare);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spare__whole_commands__readers_hold_nothing_and_share_one_buffer),
        cmocka_unit_test(test_spare__half_of_a_large_argument__survives_every_hand_over),
        cmocka_unit_test(test_spare__half_command__keeps_its_bytes_while_others_read),
        cmocka_unit_test(test_spare__steps_aside__what_was_received_waits_in_small_buffers),
        cmocka_unit_test(test_spare__more_than_a_small_buffer_holds__does_not_step_aside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
