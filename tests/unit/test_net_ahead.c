/* SPDX-License-Identifier: MIT */
/* test_net_ahead.c - commands that are parsed before their turn. */
#include "net_rig.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void append_array(struct bk_buf *b, const char *name, const char *arg)
{
    bk_buf_printf(b, "*2\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n", strlen(name), name, strlen(arg), arg);
}

/* Arrays are parsed several at a time: what lies behind one that is not done is neither lost nor
 * run twice, nor does its end come too early. */
static void test_net__parsed_ahead__run_one_by_one_behind_those_that_wait(void **state)
{
    struct fake *f = *state;
    static const char *const slow[] = {"SLICES", "NOROOM", "ECHO", "NOROOM", "SLICES"};
    enum { N = 120, SLOW = sizeof(slow) / sizeof(*slow) };
    struct bk_buf ask = {0};
    struct bk_buf want = {0};
    for (int i = 0; i < N; i++) {
        char text[16];
        int n = snprintf(text, sizeof(text), "%d", i + 1);
        append_array(&ask, i % 7 == 3 ? slow[i / 7 % SLOW] : "ECHO", text);
        bk_buf_printf(&want, "$%d\r\n%s\r\n", n, text);
    }
    bk_buf_append(&ask, "", 1);
    bk_buf_append(&want, "", 1);
    fake_start(f, 1);
    int a = fake_connect(f);
    fake_send(a, (const char *)ask.data);
    fake_until(f, parked, 1);
    fake_give_room(f);
    fake_expect(a, (const char *)want.data);
    fake_send(a, "*1\r\n$4\r\nQUIT\r\n*2\r\n$4\r\nECHO\r\n$1\r\nx\r\n");
    fake_expect(a, "+OK\r\n");
    fake_expect_closed(a);
    assert_true(atomic_load(&f->looked_ahead) > N);
    close(a);
    bk_buf_fini(&ask);
    bk_buf_fini(&want);
}

/* The fake executor fails when a flush, or another connection's command, comes within the time of
 * commands that were looked at ahead (exec_ahead_over). */
static void test_net__looked_at_ahead__is_over_before_anything_else(void **state)
{
    enum { BIG = 1200000 };
    struct fake *f = *state;
    struct bk_buf ask = {0};
    struct bk_buf want = {0};
    append_array(&ask, "WRITE", "x");
    append_array(&ask, "BIG", "1200000"); /* sent before the tick ends */
    append_array(&ask, "ECHO", "b");
    bk_buf_append(&ask, "", 1);
    bk_buf_printf(&want, ":10\r\n$%d\r\n", BIG);
    for (size_t i = 0; i < BIG; i++) {
        bk_buf_printf(&want, "%c", (char)('a' + i % 23));
    }
    bk_buf_printf(&want, "\r\n$1\r\nb\r\n");
    bk_buf_append(&want, "", 1);
    fake_start(f, 1);
    int a = fake_connect(f);
    int b = fake_connect(f);
    fake_send(a, (const char *)ask.data);
    fake_expect(a, (const char *)want.data);
    fake_send(a, "GATE\r\n"); /* so that both wait when the next tick begins */
    fake_until(f, at_gate, 1);
    ask.len = 0;
    append_array(&ask, "ECHO", "1");
    append_array(&ask, "ECHO", "2");
    bk_buf_append(&ask, "", 1);
    fake_send(a, (const char *)ask.data);
    fake_send(b, "ECHO b\r\n");
    fake_open_gate(f);
    fake_expect(a, "+OK\r\n$1\r\n1\r\n$1\r\n2\r\n");
    fake_expect(b, "$1\r\nb\r\n");
    close(a);
    close(b);
    bk_buf_fini(&ask);
    bk_buf_fini(&want);
}

/* One thread's commands lie there; what they held is not kept until its next one comes. */
static void test_ahead__command_was_run__its_large_argument_is_let_go(void **state)
{
    static const struct resp_limits limits = {512u << 20, 1024u << 20, true};
    struct ahead a = {0};
    struct resp_command other = {0};
    struct resp_reader *r = resp_reader_new();
    struct bk_buf text = {0};
    const char *error;
    size_t room;
    (void)state;
    bk_buf_printf(&text, "*1\r\n$%u\r\n", RESP_BIG_ARG);
    for (size_t i = 0; i < RESP_BIG_ARG + 2; i++) {
        bk_buf_append(&text, "x", 1);
    }
    for (size_t at = 0; at < text.len;) {
        assert_int_equal(ahead_fill(&a, r, &limits, AHEAD_MAX, &error), RESP_MORE);
        uint8_t *to = resp_reader_space(r, &room);
        room = room < text.len - at ? room : text.len - at;
        memcpy(to, text.data + at, room);
        resp_reader_filled(r, room);
        at += room;
    }
    assert_int_equal(ahead_fill(&a, r, &limits, AHEAD_MAX, &error), RESP_COMMAND);
    struct bk_block *block = bk_block_ref(a.cmd[0].argv[0].block);
    a.at++;
    ahead_put_back(&a, r);
    assert_int_equal(atomic_load(&block->refs), 1);
    bk_block_unref(&block);
    ahead_take(&a, &other);
    assert_int_equal(a.n, 1);
    assert_int_equal(other.argc, 0);
    ahead_put_back(&a, r);
    ahead_fini(&a);
    resp_command_fini(&other);
    resp_reader_free(&r);
    bk_buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_net__parsed_ahead__run_one_by_one_behind_those_that_wait),
        TEST(test_net__looked_at_ahead__is_over_before_anything_else),
        cmocka_unit_test(test_ahead__command_was_run__its_large_argument_is_let_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
