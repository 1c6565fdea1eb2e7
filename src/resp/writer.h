/* SPDX-License-Identifier: MIT */
/*
 * writer.h - replies to bytes, RESP2 or RESP3. What RESP2 lacks is sent in the form in which Redis
 * sends it there (map: flat array, null: $-1 or *-1, double: bulk string, boolean: integer, set and
 * push: array).
 */
#ifndef BK_RESP_WRITER_H
#define BK_RESP_WRITER_H

#include "base/buf.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

/* Appends to a buffer that somebody else owns. */
struct resp_writer {
    struct bk_buf *out; /* borrowed */
    int proto;          /* 2 or 3 */
    unsigned errors;    /* error replies written, for statistics */
};

void resp_write_simple(struct resp_writer *w, const char *text); /* +text */
void resp_write_ok(struct resp_writer *w);
/* text without "-" and CRLF; CR and LF inside become spaces. The first word is the error's code. */
void resp_write_error(struct resp_writer *w, const char *text);
void resp_write_errorf(struct resp_writer *w, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void resp_write_int(struct resp_writer *w, int64_t v);
void resp_write_bulk(struct resp_writer *w, struct bk_span bytes);
void resp_write_bulk_str(struct resp_writer *w, const char *s);
void resp_write_bulk_i64(struct resp_writer *w, int64_t v);
void resp_write_null(struct resp_writer *w);                /* $-1 or _ */
void resp_write_null_array(struct resp_writer *w);          /* *-1 or _ */
void resp_write_array(struct resp_writer *w, uint64_t n);   /* header: n elements follow */
void resp_write_map(struct resp_writer *w, uint64_t pairs); /* header: 2 n elements follow */
void resp_write_set(struct resp_writer *w, uint64_t n);
void resp_write_push(struct resp_writer *w, uint64_t n);
void resp_write_double(struct resp_writer *w, double v);
void resp_write_bool(struct resp_writer *w, bool v);
void resp_write_verbatim(struct resp_writer *w, const char *ext3,
                         struct bk_span bytes); /* RESP2: bulk */
void resp_write_bignum(struct resp_writer *w, struct bk_span digits);

#endif
