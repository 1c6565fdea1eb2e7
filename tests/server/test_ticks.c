/* SPDX-License-Identifier: MIT */
/*
 * The tick of a loop ends when its commands have had their time, however many wait: who has sent a
 * little is not behind everything that others have sent before.
 */
#include "server/one_server.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEXT \
    3000u /* LCS of two such texts takes longer than a tick has, however fast the machine */
#define LONG_ONES 100 /* fewer than one connection may run in a tick */
#define OTHERS 150
#define BEFORE_THEM 30 /* of the long ones, at most; one or two, if a tick takes what there is */

static void set_texts(struct respc *c)
{
    struct bk_buf command = {0};
    for (unsigned k = 0; k < 2; k++) {
        bk_buf_printf(&command, "*3\r\n$3\r\nSET\r\n$1\r\n%u\r\n$%u\r\n", k, TEXT);
        for (unsigned i = 0; i < TEXT; i++) {
            bk_buf_printf(&command, "%c", 'a' + (int)((i * (k + 3) / 7) % 26));
        }
        bk_buf_append(&command, "\r\n", 2);
    }
    assert_true(respc_send(c, command.data, command.len));
    expect_next(c, "+OK");
    expect_next(c, "+OK");
    bk_buf_fini(&command);
}

/* How many times LCS has run when c's command does. */
static long calls_told(struct respc *c)
{
    struct reply *r = respc_read(c);
    assert_non_null(r);
    const char *line = strstr(r->text, "cmdstat_lcs:calls=");
    long calls = line == NULL ? 0 : strtol(line + strlen("cmdstat_lcs:calls="), NULL, 10);
    reply_free(&r);
    return calls;
}

/* All are there before the server sees any of it. */
static void test_ticks__many_long_commands__leave_room_for_others(void **state)
{
    (void)state;
    start((const char *const[]){"--io-threads", "1", NULL});
    struct respc *busy = expect_connection(&server);
    struct respc *other[OTHERS];
    struct bk_buf commands = {0};
    long before = 0;
    set_texts(busy);
    for (int i = 0; i < OTHERS; i++) {
        other[i] = expect_connection(&server);
        expect_reply(other[i], "+PONG", "PING", NULL);
    }
    for (int i = 0; i < LONG_ONES; i++) {
        bk_buf_printf(&commands, "LCS 0 1 LEN\r\n");
    }
    kill(server.pid, SIGSTOP);
    assert_true(respc_send(busy, commands.data, commands.len));
    for (int i = 0; i < OTHERS; i++) {
        assert_true(respc_send(other[i], "INFO commandstats\r\n", 19));
    }
    kill(server.pid, SIGCONT);
    for (int i = 0; i < OTHERS; i++) {
        long calls = calls_told(other[i]);
        assert_in_range(calls, 0, BEFORE_THEM);
        before = calls > before ? calls : before;
        respc_close(&other[i]);
    }
    print_message("%ld of %d long commands ran before the last of the others\n", before, LONG_ONES);
    for (int i = 0; i < LONG_ONES; i++) {
        struct reply *r = respc_read(busy);
        assert_non_null(r);
        assert_int_equal(r->type, ':');
        reply_free(&r);
    }
    bk_buf_fini(&commands);
    respc_close(&busy);
    expect_clean_stop(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ticks__many_long_commands__leave_room_for_others,
                                        setup_none, teardown_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
