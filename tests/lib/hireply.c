/* SPDX-License-Identifier: MIT */
/* hireply.c - see hireply.h. */
#include "lib/hireply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static jmp_buf failed;
static char why[512];

bool hi_passes(void (*body)(void))
{
    if (setjmp(failed) != 0) {
        return false;
    }
    body();
    return true;
}

const char *hi_why(void)
{
    return why;
}

void hi_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    longjmp(failed, 1);
}

void hi_same(long long got, long long expected)
{
    if (got != expected) {
        hi_fail("got %lld, expected %lld", got, expected);
    }
}

/* ---- Commands ---- */

redisReply *hi_checked(redisContext *c, void *reply)
{
    if (reply == NULL) {
        hi_fail("no reply: %s", c->errstr);
    }
    return reply;
}

void hi_is_text(redisReply *reply, const void *text, size_t len)
{
    bool ok = (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS) &&
              reply->len == len && memcmp(reply->str, text, len) == 0;
    if (!ok) {
        hi_fail("got type %d %.100s, expected %.100s", reply->type,
                reply->str != NULL ? reply->str : "", (const char *)text);
    }
    freeReplyObject(reply);
}

void hi_is(redisReply *reply, const char *text)
{
    hi_is_text(reply, text, strlen(text));
}

long long hi_number(redisReply *reply)
{
    if (reply->type != REDIS_REPLY_INTEGER) {
        hi_fail("type %d %s, expected a number", reply->type, reply->str != NULL ? reply->str : "");
    }
    long long n = reply->integer;
    freeReplyObject(reply);
    return n;
}

void hi_is_number(redisReply *reply, long long n)
{
    hi_same(hi_number(reply), n);
}

void hi_is_null(redisReply *reply)
{
    hi_same(reply->type, REDIS_REPLY_NIL);
    freeReplyObject(reply);
}

void hi_is_error(redisReply *reply, const char *words)
{
    if (reply->type != REDIS_REPLY_ERROR || strstr(reply->str, words) == NULL) {
        hi_fail("type %d %s, expected the error %s", reply->type,
                reply->str != NULL ? reply->str : "", words);
    }
    freeReplyObject(reply);
}

void hi_is_array(const redisReply *reply, size_t n)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != n) {
        hi_fail("type %d with %zu elements, expected an array of %zu", reply->type, reply->elements,
                n);
    }
}

redisReply *hi_next(redisContext *c)
{
    void *reply = NULL;
    if (redisGetReply(c, &reply) != REDIS_OK) {
        hi_fail("no reply: %s", c->errstr);
    }
    return reply;
}

/* ---- Messages ---- */

void hi_is_message(redisReply *reply, size_t n, const char *const *texts, size_t last_len)
{
    hi_is_array(reply, n);
    for (size_t i = 0; i < n; i++) {
        const redisReply *e = reply->element[i];
        size_t len = i == n - 1 ? last_len : strlen(texts[i]);
        if (e->type != REDIS_REPLY_STRING || e->len != len || memcmp(e->str, texts[i], len) != 0) {
            hi_fail("element %zu is of type %d: %.100s", i, e->type, e->str != NULL ? e->str : "");
        }
    }
    freeReplyObject(reply);
}

void hi_is_subscription(redisReply *reply, const char *kind, long long count)
{
    hi_is_array(reply, 3);
    hi_same(strcmp(reply->element[0]->str, kind), 0);
    hi_same(reply->element[2]->integer, count);
    freeReplyObject(reply);
}
