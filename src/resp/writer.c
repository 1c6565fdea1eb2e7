/* SPDX-License-Identifier: MIT */
/* writer.c - replies to bytes. Each function reserves once, then stores without further checks. */
#include "resp/writer.h"

#include "base/assert.h"
#include "base/num.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#define HEAD_MAX 24   /* type, 20 digits, CRLF */
#define DOUBLE_MAX 40 /* %.17g */

static void write_static(struct resp_writer *w, const char *bytes, size_t n)
{
    memcpy(bk_buf_reserve(w->out, n), bytes, n);
    w->out->len += n;
}
#define WRITE_STATIC(w, text) write_static(w, text, sizeof(text) - 1)

static uint8_t *put_crlf(uint8_t *p)
{
    p[0] = '\r';
    p[1] = '\n';
    return p + 2;
}

/* Type, number, CRLF at p, which has HEAD_MAX bytes; returns what follows. */
static uint8_t *put_head(uint8_t *p, char type, uint64_t n)
{
    *p++ = (uint8_t)type;
    if (n < 10) {
        *p++ = (uint8_t)('0' + n);
    } else {
        p += bk_format_u64((char *)p, n);
    }
    return put_crlf(p);
}

static void set_end(struct resp_writer *w, const uint8_t *end)
{
    w->out->len = (size_t)(end - w->out->data);
}

static void write_head(struct resp_writer *w, char type, uint64_t n)
{
    set_end(w, put_head(bk_buf_reserve(w->out, HEAD_MAX), type, n));
}

static uint8_t *put_bytes(uint8_t *p, const void *bytes, size_t n)
{
    if (n > 0) {
        memcpy(p, bytes, n);
    }
    return p + n;
}

/* One line: type, text with CR and LF replaced, CRLF. */
static void write_line(struct resp_writer *w, char type, const char *text, size_t n)
{
    uint8_t *p = bk_buf_reserve(w->out, n + 3);
    *p++ = (uint8_t)type;
    for (size_t i = 0; i < n; i++) {
        uint8_t ch = (uint8_t)text[i];
        *p++ = ch == '\r' || ch == '\n' ? ' ' : ch;
    }
    set_end(w, put_crlf(p));
}

void resp_write_simple(struct resp_writer *w, const char *text)
{
    write_line(w, '+', text, strlen(text));
}

void resp_write_ok(struct resp_writer *w)
{
    WRITE_STATIC(w, "+OK\r\n");
}

void resp_write_error(struct resp_writer *w, const char *text)
{
    w->errors++;
    write_line(w, '-', text, strlen(text));
}

void resp_write_errorf(struct resp_writer *w, const char *fmt, ...)
{
    struct bk_buf text = {0};
    va_list ap;
    va_start(ap, fmt);
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    BK_ASSERT(n >= 0);
    size_t size = (size_t)n + 1;
    char *p = (char *)bk_buf_reserve(&text, size);
    vsnprintf(p, size, fmt, again);
    va_end(again);
    w->errors++;
    write_line(w, '-', p, (size_t)n);
    bk_buf_fini(&text);
}

void resp_write_int(struct resp_writer *w, int64_t v)
{
    if (v >= 0) {
        write_head(w, ':', (uint64_t)v);
        return;
    }
    uint8_t *p = bk_buf_reserve(w->out, HEAD_MAX);
    *p++ = ':';
    p += bk_format_i64((char *)p, v);
    set_end(w, put_crlf(p));
}

void resp_write_bulk(struct resp_writer *w, struct bk_span bytes)
{
    uint8_t *p = put_head(bk_buf_reserve(w->out, HEAD_MAX + bytes.len + 2), '$', bytes.len);
    set_end(w, put_crlf(put_bytes(p, bytes.data, bytes.len)));
}

void resp_write_bulk_str(struct resp_writer *w, const char *s)
{
    resp_write_bulk(w, bk_span_str(s));
}

void resp_write_bulk_i64(struct resp_writer *w, int64_t v)
{
    char digits[24];
    resp_write_bulk(w, bk_span_of(digits, bk_format_i64(digits, v)));
}

void resp_write_null(struct resp_writer *w)
{
    if (w->proto == 3) {
        WRITE_STATIC(w, "_\r\n");
    } else {
        WRITE_STATIC(w, "$-1\r\n");
    }
}

void resp_write_null_array(struct resp_writer *w)
{
    if (w->proto == 3) {
        WRITE_STATIC(w, "_\r\n");
    } else {
        WRITE_STATIC(w, "*-1\r\n");
    }
}

void resp_write_array(struct resp_writer *w, uint64_t n)
{
    write_head(w, '*', n);
}

void resp_write_map(struct resp_writer *w, uint64_t pairs)
{
    if (w->proto == 3) {
        write_head(w, '%', pairs);
    } else {
        write_head(w, '*', pairs * 2);
    }
}

void resp_write_set(struct resp_writer *w, uint64_t n)
{
    write_head(w, w->proto == 3 ? '~' : '*', n);
}

void resp_write_push(struct resp_writer *w, uint64_t n)
{
    write_head(w, w->proto == 3 ? '>' : '*', n);
}

void resp_write_double(struct resp_writer *w, double v)
{
    char text[DOUBLE_MAX];
    int n;
    if (isnan(v)) {
        n = snprintf(text, sizeof text,
                     "nan"); /* never "-nan", as the sign of a NaN means nothing */
    } else if (isinf(v)) {
        n = snprintf(text, sizeof text, v > 0 ? "inf" : "-inf");
    } else {
        n = snprintf(text, sizeof text, "%.17g", v);
    }
    if (w->proto == 3) {
        write_line(w, ',', text, (size_t)n);
    } else {
        resp_write_bulk(w, bk_span_of(text, (size_t)n));
    }
}

void resp_write_bool(struct resp_writer *w, bool v)
{
    if (w->proto == 3) {
        write_static(w, v ? "#t\r\n" : "#f\r\n", 4);
    } else {
        write_static(w, v ? ":1\r\n" : ":0\r\n", 4);
    }
}

void resp_write_verbatim(struct resp_writer *w, const char *ext3, struct bk_span bytes)
{
    BK_ASSERT(strlen(ext3) == 3);
    if (w->proto != 3) {
        resp_write_bulk(w, bytes);
        return;
    }
    uint8_t *p = put_head(bk_buf_reserve(w->out, HEAD_MAX + 4 + bytes.len + 2), '=', bytes.len + 4);
    p = put_bytes(p, ext3, 3);
    *p++ = ':';
    set_end(w, put_crlf(put_bytes(p, bytes.data, bytes.len)));
}

void resp_write_bignum(struct resp_writer *w, struct bk_span digits)
{
    if (w->proto == 3) {
        write_line(w, '(', (const char *)digits.data, digits.len);
    } else {
        resp_write_bulk(w, digits);
    }
}
