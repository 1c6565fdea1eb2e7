/* SPDX-License-Identifier: MIT */
/* expect.h - one command, one expected reply; a difference fails the running cmocka test with both
 * printed. */
#ifndef BK_TESTS_EXPECT_H
#define BK_TESTS_EXPECT_H

#include "lib/respc.h"
#include "lib/server.h"

#include <stddef.h>

/* want as reply_format prints it: `+OK`, `:1`, `$"text"`, `$null`, `*2 [:1 :2]`. */
void expect_reply(struct respc *c, const char *want, const char *arg, ...)
    __attribute__((sentinel));
/* The next reply, of something that has been sent already. */
void expect_next(struct respc *c, const char *want);
/* Reads one reply; it must begin with prefix ("-ERR Protocol"). */
void expect_prefix(struct respc *c, const char *prefix);
/* The server closes without another byte. */
void expect_closed(struct respc *c);
/* A new connection; the test fails when there is none. */
struct respc *expect_connection(const struct server *s);
/* The number behind field ("log_full:") in a section of INFO. */
unsigned long expect_info(struct respc *c, const char *section, const char *field);
/* A section of INFO ("": the usual ones) has this text in it. */
void expect_info_line(struct respc *c, const char *section, const char *line);
/* server_stop gives 0, and the directory goes. */
void expect_clean_stop(struct server *s);

/* 0 under the sanitizers: their shadow memory makes figures of memory meaningless, and they are
 * slow. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define EXPECT_MEMORY 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define EXPECT_MEMORY 0
#else
#define EXPECT_MEMORY 1
#endif
#else
#define EXPECT_MEMORY 1
#endif

#endif
