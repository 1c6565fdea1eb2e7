/* SPDX-License-Identifier: MIT */
/*
 * hireply.h - commands through hiredis and what their replies must be.
 *
 * A check that fails ends the function that hi_passes() has called, by longjmp; hi_why() says what
 * was wrong. What the function had allocated by then is lost. One thread.
 */
#ifndef BK_TESTS_HIREPLY_H
#define BK_TESTS_HIREPLY_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>

/* Whether body came to its end. */
bool hi_passes(void (*body)(void));
const char *hi_why(void);
void hi_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void hi_same(long long got, long long expected);

/* The reply to a command, owned by the caller; none is a failure. */
#define HI(c, ...) hi_checked((c), redisCommand((c), __VA_ARGS__))
redisReply *hi_checked(redisContext *c, void *reply);
/* The next reply to what was appended, or the next message; owned by the caller. */
redisReply *hi_next(redisContext *c);

/* All of these but hi_is_array() take the reply. */
void hi_is(redisReply *reply, const char *text);
void hi_is_text(redisReply *reply, const void *text, size_t len);
long long hi_number(redisReply *reply);
void hi_is_number(redisReply *reply, long long n);
void hi_is_null(redisReply *reply);
void hi_is_error(redisReply *reply, const char *words);
void hi_is_array(const redisReply *reply, size_t n);
/* An array of texts, the last of them last_len bytes long. */
void hi_is_message(redisReply *reply, size_t n, const char *const *texts, size_t last_len);
void hi_is_subscription(redisReply *reply, const char *kind, long long count);

#endif
