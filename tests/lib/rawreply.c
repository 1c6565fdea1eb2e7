/* SPDX-License-Identifier: MIT */
/* rawreply.c - a reader of replies that keeps their bytes. */
#include "lib/rawreply.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 32

/* The first line of a reply. */
struct head {
    char type;
    long long number; /* of $ ! = * % ~ > : the length or the count */
    size_t len;       /* bytes of the line with its end */
};

static bool is_counted(char type)
{
    return type != '\0' && strchr("$!=*%~>", type) != NULL;
}

static bool is_line(char type)
{
    return type != '\0' && strchr("+-:,#_(", type) != NULL;
}

/* 1: read; 0: not whole; -1: wrong. */
static int read_head(const char *data, size_t len, struct head *h)
{
    const char *end;

    if (len == 0) {
        return 0;
    }
    h->type = data[0];
    if (!is_counted(h->type) && !is_line(h->type)) {
        return -1;
    }
    end = memmem(data, len, "\r\n", 2);
    if (end == NULL) {
        return 0;
    }
    h->len = (size_t)(end - data) + 2;
    h->number = is_counted(h->type) ? strtoll(data + 1, NULL, 10) : 0;
    return 1;
}

static ssize_t length_at(const char *data, size_t len, int depth)
{
    struct head h;
    size_t at;
    int rc = depth > DEPTH_MAX ? -1 : read_head(data, len, &h);

    if (rc <= 0) {
        return rc;
    }
    if (is_line(h.type) || h.number < 0) {
        return (ssize_t)h.len;
    }
    if (strchr("$!=", h.type) != NULL) {
        at = h.len + (size_t)h.number + 2;
        return at <= len ? (ssize_t)at : 0;
    }
    at = h.len;
    for (long long i = 0; i < (h.type == '%' ? 2 : 1) * h.number; i++) {
        ssize_t one = length_at(data + at, len - at, depth + 1);
        if (one <= 0) {
            return one;
        }
        at += (size_t)one;
    }
    return (ssize_t)at;
}

ssize_t raw_length(const char *data, size_t len)
{
    return length_at(data, len, 0);
}

bool raw_is_error(struct raw reply)
{
    return reply.len > 0 && (reply.data[0] == '-' || reply.data[0] == '!');
}

bool raw_is_null(struct raw reply)
{
    return raw_is(reply, "_\r\n") || raw_is(reply, "$-1\r\n") || raw_is(reply, "*-1\r\n");
}

bool raw_is_aggregate(struct raw reply)
{
    return reply.len > 0 && strchr("*%~>", reply.data[0]) != NULL && !raw_is_null(reply);
}

struct raw raw_text(struct raw reply)
{
    struct head h;

    if (read_head(reply.data, reply.len, &h) <= 0 || strchr("*%~>", h.type) != NULL ||
        h.number < 0) {
        return (struct raw){"", 0};
    }
    if (is_line(h.type)) {
        return (struct raw){reply.data + 1, h.len - 3};
    }
    return (struct raw){reply.data + h.len, (size_t)h.number};
}

size_t raw_elements(struct raw reply, struct raw *out, size_t max)
{
    struct head h;
    size_t n = 0;
    size_t at;

    if (!raw_is_aggregate(reply) || read_head(reply.data, reply.len, &h) <= 0) {
        return 0;
    }
    for (at = h.len; at < reply.len; n++) {
        ssize_t one = raw_length(reply.data + at, reply.len - at);
        if (one <= 0) {
            break;
        }
        if (n < max) {
            out[n] = (struct raw){reply.data + at, (size_t)one};
        }
        at += (size_t)one;
    }
    return n;
}

bool raw_equal(struct raw a, struct raw b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

int raw_compare(struct raw a, struct raw b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int rc = n == 0 ? 0 : memcmp(a.data, b.data, n);

    return rc != 0 ? rc : (a.len > b.len) - (a.len < b.len);
}

bool raw_is(struct raw a, const char *text)
{
    return raw_equal(a, (struct raw){text, strlen(text)});
}

bool raw_same_shape(struct raw a, struct raw b)
{
    struct raw ea[64];
    struct raw eb[64];
    size_t na;
    size_t nb;
    bool same;

    if (a.len == 0 || b.len == 0 || a.data[0] != b.data[0] || raw_is_null(a) != raw_is_null(b)) {
        return false;
    }
    na = raw_elements(a, ea, 64);
    nb = raw_elements(b, eb, 64);
    same = true;
    for (size_t i = 0; i < na && i < nb && i < 64 && same; i++) {
        same = raw_same_shape(ea[i], eb[i]);
    }
    return same;
}

void raw_print(struct raw a, size_t max)
{
    for (size_t i = 0; i < a.len && i < max; i++) {
        unsigned char c = (unsigned char)a.data[i];
        if (c == '\r') {
            fputs("\\r", stdout);
        } else if (c == '\n') {
            fputs("\\n", stdout);
        } else if (c == '"' || c == '\\') {
            printf("\\%c", c);
        } else if (isprint(c)) {
            putchar(c);
        } else {
            printf("\\x%02x", c);
        }
    }
    if (a.len > max) {
        printf("...(%zu bytes more)", a.len - max);
    }
}
