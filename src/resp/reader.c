/* SPDX-License-Identifier: MIT */
/*
 * reader.c - the parser over what a reader has received.
 *
 * Redis reads header lines as C strings: a NUL byte hides all that follows it until the line is too
 * long. The byte behind a CR, and the two behind an argument, are skipped without a look. Clients
 * may see either, so we do the same.
 */
#include "base/num.h"
#include "resp/args.h"
#include "resp/reader_private.h"

#include <stdio.h>
#include <stdlib.h>

#define UNAUTH_ARGC_MAX 10 /* Redis's limits before AUTH */
#define UNAUTH_BULK_MAX 16384

struct resp_reader *resp_reader_new(void)
{
    struct resp_reader *r = bk_alloc_zero(1, sizeof *r);
    r->read_size = READ_MIN;
    r->bulk_len = -1;
    return r;
}

void resp_reader_free(struct resp_reader **r)
{
    if (*r == NULL) {
        return;
    }
    resp_command_fini(&(*r)->part);
    bk_block_unref(&(*r)->block);
    free((*r)->buf);
    free(*r);
    *r = NULL;
}

/* ---- Lines ---- */

enum line { LINE_FOUND, LINE_MORE, LINE_TOO_LONG };

/* Looks from pos for terminator; *len is the number of bytes in front of it. */
static enum line find_line(struct resp_reader *r, int terminator, size_t *len)
{
    const uint8_t *line = r->buf + r->pos;
    size_t held = r->end - r->pos;
    size_t n = min_size(held, RESP_INLINE_MAX +
                                  1); /* so that the limit does not depend on the reads' sizes */
    size_t from = min_size(r->scanned, n);
    const uint8_t *at = memchr(line + from, terminator, n - from);
    size_t upto = at != NULL ? (size_t)(at - line) : n;
    const uint8_t *nul = memchr(line + from, '\0', upto - from);
    if (nul == NULL && at != NULL) {
        r->scanned = upto;
        *len = upto;
        return LINE_FOUND;
    }
    r->scanned = nul != NULL ? (size_t)(nul - line) : n;
    return held > RESP_INLINE_MAX ? LINE_TOO_LONG : LINE_MORE;
}

/* A line of '*' or '$': its end is the CR and whatever byte follows. */
static enum line find_length_line(struct resp_reader *r, size_t *len)
{
    enum line found = find_line(r, '\r', len);
    if (found == LINE_FOUND && *len + 2 > r->end - r->pos) {
        return LINE_MORE;
    }
    return found;
}

static void step_over(struct resp_reader *r, size_t n)
{
    r->pos += n;
    r->scanned = 0;
}

static enum resp_status fail(struct resp_reader *r, const char *error)
{
    r->error = error;
    return RESP_BAD;
}

/* ---- Commands ---- */

/* Returns RESP_COMMAND when the line has been read: args_left then tells how many arguments follow.
 */
static enum resp_status read_array_header(struct resp_reader *r, const struct resp_limits *limits)
{
    const uint8_t *p = r->buf + r->pos;
    if (r->end - r->pos >= 4 && p[1] >= '1' && p[1] <= '9' && p[2] == '\r') {
        r->args_left = p[1] - '0'; /* nearly every command */
        step_over(r, 4);
        return RESP_COMMAND;
    }
    size_t len;
    enum line found = find_length_line(r, &len);
    if (found != LINE_FOUND) {
        return found == LINE_MORE ? RESP_MORE
                                  : fail(r, "ERR Protocol error: too big mbulk count string");
    }
    int64_t count;
    if (!bk_parse_i64(bk_span_of(p + 1, len - 1), &count) || count > RESP_ARGC_MAX) {
        return fail(r, "ERR Protocol error: invalid multibulk length");
    }
    if (count > UNAUTH_ARGC_MAX && !limits->authenticated) {
        return fail(r, "ERR Protocol error: unauthenticated multibulk length");
    }
    step_over(r, len + 2);
    r->args_left = count > 0 ? count : 0;
    return RESP_COMMAND;
}

static enum resp_status fail_expected_dollar(struct resp_reader *r, uint8_t got)
{
    char shown = got == '\r' || got == '\n' ? ' ' : (char)got;
    snprintf(r->error_text, sizeof r->error_text, "ERR Protocol error: expected '$', got '%c'",
             shown);
    return fail(r, r->error_text);
}

/* RESP_COMMAND when the line has been read into bulk_len. */
static enum resp_status read_bulk_header(struct resp_reader *r, const struct resp_limits *limits)
{
    size_t len = 0;
    enum line found = find_length_line(r, &len);
    if (found != LINE_FOUND) {
        return found == LINE_MORE ? RESP_MORE
                                  : fail(r, "ERR Protocol error: too big bulk count string");
    }
    const uint8_t *p = r->buf + r->pos;
    if (p[0] != '$') {
        return fail_expected_dollar(r, p[0]);
    }
    int64_t n;
    if (!bk_parse_i64(bk_span_of(p + 1, len - 1), &n) || n < 0 || (uint64_t)n > limits->bulk_max) {
        return fail(r, "ERR Protocol error: invalid bulk length");
    }
    if (n > UNAUTH_BULK_MAX && !limits->authenticated) {
        return fail(r, "ERR Protocol error: unauthenticated bulk length");
    }
    step_over(r, len + 2);
    r->bulk_len = n;
    return RESP_COMMAND;
}

/*
 * The fast path: arguments whose length line is plain digits and CRLF and whose bytes are all here.
 * Stops at anything else, with pos at that argument's length line.
 */
static void take_plain_args(struct resp_reader *r, const struct resp_limits *limits,
                            struct resp_command *c)
{
    uint64_t max = limits->authenticated ? RESP_BIG_ARG - 1 : UNAUTH_BULK_MAX;
    max = limits->bulk_max < max ? limits->bulk_max : max;
    const uint8_t *p = r->buf + r->pos;
    const uint8_t *end = r->buf + r->end;
    while (r->args_left > 0 && end - p >= 4 && p[0] == '$') {
        uint64_t len = (uint64_t)p[1] - '0';
        if (len > 9) {
            break;
        }
        const uint8_t *q = p + 2;
        while (len > 0 && len <= max && q < end && (uint8_t)(*q - '0') <= 9) {
            len = len * 10 + (uint64_t)(*q++ - '0');
        }
        if (len > max || (uint64_t)(end - q) < len + 4 || *q != '\r') {
            break;
        }
        resp_args_push(c, bk_span_of(q + 2, (size_t)len), NULL);
        r->args_left--;
        p = q + 2 + len + 2;
    }
    size_t n = (size_t)(p - (r->buf + r->pos));
    if (n > 0) {
        step_over(r, n);
    }
}

static void push_block(struct resp_reader *r, struct resp_command *c, struct bk_block *block)
{
    block->len = (size_t)r->bulk_len; /* the CRLF behind it stays unseen */
    resp_args_push(c, bk_span_of(block->data, block->len), block);
    r->bulk_len = -1;
    r->args_left--;
}

static enum resp_status take_big_arg(struct resp_reader *r, struct resp_command *c)
{
    if (r->block == NULL) {
        size_t want = (size_t)r->bulk_len + 2;
        size_t have = min_size(r->end - r->pos, want);
        size_t cap = min_size(want, max_size(RESP_BIG_ARG, have * 2));
        struct bk_block *block = bk_block_new(cap);
        memcpy(block->data, r->buf + r->pos, have);
        if (have == want) {
            step_over(r, want);
            push_block(r, c, block);
            return RESP_COMMAND;
        }
        r->end = r->pos; /* what follows is received into the block */
        r->block = block;
        r->block_cap = cap;
        r->block_have = have;
        r->block_want = want;
    }
    if (r->block_have < r->block_want) {
        return RESP_MORE;
    }
    struct bk_block *whole = r->block;
    r->block = NULL;
    r->blocks_done += r->block_want;
    push_block(r, c, whole);
    return RESP_COMMAND;
}

static enum resp_status take_small_arg(struct resp_reader *r, struct resp_command *c)
{
    size_t len = (size_t)r->bulk_len;
    if (r->end - r->pos < len + 2) {
        return RESP_MORE;
    }
    resp_args_push(c, bk_span_of(r->buf + r->pos, len), NULL);
    step_over(r, len + 2);
    r->bulk_len = -1;
    r->args_left--;
    return RESP_COMMAND;
}

static enum resp_status read_args(struct resp_reader *r, const struct resp_limits *limits,
                                  struct resp_command *c)
{
    enum resp_status status = RESP_COMMAND;
    while (r->args_left > 0 && status == RESP_COMMAND) {
        if (r->bulk_len < 0) {
            take_plain_args(r, limits, c);
            if (r->args_left == 0) {
                break;
            }
            status = read_bulk_header(r, limits);
        }
        if (status == RESP_COMMAND) {
            status = r->bulk_len >= RESP_BIG_ARG ? take_big_arg(r, c) : take_small_arg(r, c);
        }
    }
    return status;
}

static enum resp_status read_inline(struct resp_reader *r, struct resp_command *c)
{
    size_t len;
    enum line found = find_line(r, '\n', &len);
    if (found != LINE_FOUND) {
        return found == LINE_MORE ? RESP_MORE
                                  : fail(r, "ERR Protocol error: too big inline request");
    }
    uint8_t *line = r->buf + r->pos;
    size_t text = len > 0 && line[len - 1] == '\r' ? len - 1 : len;
    if (!resp_args_split(line, text, c)) {
        return fail(r, "ERR Protocol error: unbalanced quotes in request");
    }
    step_over(r, len + 1);
    return RESP_COMMAND;
}

/* Moves a vector to where none is. */
static void move_command(struct resp_command *to, struct resp_command *from)
{
    *to = *from;
    *from = (struct resp_command){0};
}

/* args_left == 0: a new command begins at pos; otherwise one goes on, with its first arguments
 * already in c. */
static enum resp_status read_command(struct resp_reader *r, const struct resp_limits *limits,
                                     struct resp_command *c)
{
    if (r->args_left == 0) {
        if (r->pos == r->end) {
            return RESP_MORE;
        }
        if (r->buf[r->pos] != '*') {
            return read_inline(r, c);
        }
        enum resp_status status = read_array_header(r, limits);
        if (status != RESP_COMMAND) {
            return status;
        }
    }
    return read_args(r, limits, c);
}

enum resp_status resp_reader_next(struct resp_reader *r, const struct resp_limits *limits,
                                  struct resp_command *c, const char **error)
{
    resp_command_reset(c);
    if (r->part.argc > 0) {
        resp_command_fini(c);
        move_command(c, &r->part);
    }
    enum resp_status status = r->error == NULL ? read_command(r, limits, c) : RESP_BAD;
    size_t wire = resp_reader_pending(r);
    if (status == RESP_COMMAND) {
        wire -= r->end - r->pos; /* what pends behind this command */
    }
    if (status != RESP_BAD && wire + (size_t)c->argc * sizeof *c->argv > limits->query_max) {
        status = fail(r, "");
    }
    if (status == RESP_COMMAND) {
        c->wire_bytes = wire;
        r->start = r->pos;
        r->blocks_done = 0;
    } else if (status == RESP_MORE) {
        if (c->argc > 0) {
            move_command(&r->part, c);
        }
    } else {
        resp_command_reset(c);
        *error = r->error;
    }
    return status;
}

/* ---- Several at once ---- */

/* Takes the command at pos, or nothing. */
static bool take_plain_command(struct resp_reader *r, const struct resp_limits *limits,
                               struct resp_command *c)
{
    if (r->end - r->pos < 4) {
        return false; /* there may be no buffer at all */
    }
    const uint8_t *p = r->buf + r->pos;
    if (p[0] != '*' || p[1] < '1' || p[1] > '9' || p[2] != '\r') {
        return false;
    }
    resp_command_reset(c);
    r->args_left = p[1] - '0';
    step_over(r, 4);
    take_plain_args(r, limits, c);
    size_t wire = r->pos - r->start;
    if (r->args_left > 0 || wire + (size_t)c->argc * sizeof *c->argv > limits->query_max) {
        r->args_left = 0;
        r->pos = r->start;
        r->scanned = 0;
        resp_command_reset(c);
        return false;
    }
    c->wire_bytes = wire;
    r->start = r->pos;
    return true;
}

size_t resp_reader_ahead(struct resp_reader *r, const struct resp_limits *limits,
                         struct resp_command *v, size_t max)
{
    size_t n = 0;
    if (r->error != NULL || r->args_left > 0 || r->start != r->pos) {
        return 0;
    }
    while (n < max && take_plain_command(r, limits, &v[n])) {
        n++;
    }
    return n;
}

void resp_reader_put_back(struct resp_reader *r, const struct resp_command *v, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        bytes += v[i].wire_bytes;
    }
    if (n > 0) {
        BK_ASSERT(r->start == r->pos && r->args_left == 0 && bytes <= r->pos);
        r->start -= bytes;
        r->pos = r->start;
        r->scanned = 0;
    }
}
