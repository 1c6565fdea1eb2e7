/* SPDX-License-Identifier: MIT */
/*
 * one_server.h - tests that each start one server, with options of their own: it goes also after a
 * test that has failed half way. And scripts that are played to it and to redis-server.
 */
#ifndef BK_TESTS_ONE_SERVER_H
#define BK_TESTS_ONE_SERVER_H

#include "base/buf.h"
#include "lib/expect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct server server;

static inline int setup_none(void **state)
{
    (void)state;
    server = (struct server){.redis = false};
    return 0;
}

static inline int teardown_server(void **state)
{
    (void)state;
    server_fini(&server);
    return 0;
}

/* options end with NULL, and are borrowed until the server's end. */
static inline void start(const char *const *options)
{
    for (size_t i = 0; options[i] != NULL; i++) {
        server.options[i] = options[i];
    }
    assert_true(server_start(&server));
}

/* The first line that differs, with what led to it. */
static inline void expect_same(const char *ours, const char *theirs)
{
    size_t at = 0;
    size_t line = 0;
    while (ours[at] == theirs[at] && ours[at] != '\0') {
        line = ours[at] == '>' && (at == 0 || ours[at - 1] == '\n') ? at : line;
        at++;
    }
    if (ours[at] != theirs[at]) {
        fail_msg("\nbitkv:\n%.400s\nredis:\n%.400s", ours + line, theirs + line);
    }
}

/* play appends what clients have heard, ended by '\0': the same from both servers. Lines of the
 * script begin with '>' in it, if they are to be shown where it differs. */
static inline void expect_as_redis(const char *const *options, const char *const *script,
                                   void (*play)(struct server *to, const char *const *script,
                                                struct bk_buf *out))
{
    struct server redis = {.redis = true};
    struct bk_buf ours = {0};
    struct bk_buf theirs = {0};
    start(options);
    assert_true(server_start(&redis));
    play(&server, script, &ours);
    play(&redis, script, &theirs);
    server_fini(&redis);
    expect_same((const char *)ours.data, (const char *)theirs.data);
    bk_buf_fini(&ours);
    bk_buf_fini(&theirs);
    expect_clean_stop(&server);
}

#endif
