/* SPDX-License-Identifier: MIT */
/* expect.c - see expect.h. */
#include "lib/expect.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Takes r. all: the whole text must be the same, else only its beginning. */
static void compare(struct respc *c, struct reply *r, const char *want, bool all)
{
    struct bk_buf got = {0};
    if (r == NULL) {
        bk_buf_printf(&got, "no reply: %s", respc_problem(c));
        *bk_buf_reserve(&got, 1) = '\0';
    } else {
        reply_format(r, &got);
    }
    reply_free(&r);
    bool same = all ? strcmp((char *)got.data, want) == 0
                    : strncmp((char *)got.data, want, strlen(want)) == 0;
    if (!same) {
        print_error("wanted %s\ngot    %s\n", want, (char *)got.data);
    }
    bk_buf_fini(&got);
    assert_true(same);
}

void expect_reply(struct respc *c, const char *want, const char *arg, ...)
{
    struct bk_span argv[64];
    size_t argc = 0;
    va_list ap;
    va_start(ap, arg);
    for (; arg != NULL && argc < sizeof argv / sizeof *argv; arg = va_arg(ap, const char *)) {
        argv[argc++] = bk_span_str(arg);
    }
    va_end(ap);
    compare(c, respc_command_argv(c, argc, argv), want, true);
}

void expect_next(struct respc *c, const char *want)
{
    compare(c, respc_read(c), want, true);
}

void expect_prefix(struct respc *c, const char *prefix)
{
    compare(c, respc_read(c), prefix, false);
}

void expect_closed(struct respc *c)
{
    struct bk_buf rest = {0};
    bool closed = respc_read_to_end(c, &rest);
    size_t n = rest.len;
    bk_buf_fini(&rest);
    assert_true(closed);
    assert_int_equal(n, 0);
}

struct respc *expect_connection(const struct server *s)
{
    struct respc *c = server_connect(s);
    if (c == NULL) {
        fail_msg("cannot connect to port %d: %s", s->port, strerror(errno));
    }
    return c;
}

unsigned long expect_info(struct respc *c, const char *section, const char *field)
{
    struct reply *r = respc_command(c, "INFO", section, NULL);
    const char *at = r == NULL ? NULL : strstr(r->text, field);
    assert_non_null(at);
    unsigned long n = strtoul(at + strlen(field), NULL, 10);
    reply_free(&r);
    return n;
}

void expect_info_line(struct respc *c, const char *section, const char *line)
{
    struct reply *r = respc_command(c, "INFO", section, NULL);
    assert_non_null(r);
    if (strstr(r->text, line) == NULL) {
        fail_msg("INFO %s does not have %s:\n%s", section, line, r->text);
    }
    reply_free(&r);
}

void expect_clean_stop(struct server *s)
{
    int status = server_stop(s);
    server_fini(s);
    assert_int_equal(status, 0);
}
