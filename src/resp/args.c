/* SPDX-License-Identifier: MIT */
/* args.c - see args.h. */
#include "resp/args.h"

#include <stdlib.h>

#define ARGV_FIRST 8
#define ARGV_KEEP 1024 /* a longer vector is not kept for the next command */

void resp_command_fini(struct resp_command *c)
{
    for (int i = 0; i < c->argc; i++) {
        bk_block_unref(&c->argv[i].block);
    }
    free(c->argv);
    *c = (struct resp_command){0};
}

size_t resp_command_copy(struct resp_command *to, const struct resp_command *from)
{
    size_t vector = (size_t)from->argc * sizeof *from->argv;
    size_t small = 0;
    size_t large = 0;
    for (int i = 0; i < from->argc; i++) {
        *(from->argv[i].block == NULL ? &small : &large) += from->argv[i].bytes.len;
    }
    *to = (struct resp_command){.argc = from->argc,
                                .argv_cap = from->argc,
                                .argv = bk_alloc(vector + small),
                                .wire_bytes = from->wire_bytes};
    uint8_t *at = (uint8_t *)(to->argv + from->argc);
    for (int i = 0; i < from->argc; i++) {
        const struct resp_arg *arg = &from->argv[i];
        to->argv[i] = *arg;
        if (arg->block != NULL) {
            to->argv[i].block = bk_block_ref(arg->block);
        } else if (arg->bytes.len > 0) {
            memcpy(at, arg->bytes.data, arg->bytes.len);
            to->argv[i].bytes.data = at;
            at += arg->bytes.len;
        }
    }
    return vector + small + large;
}

size_t resp_command_memory(const struct resp_command *c)
{
    size_t n = (size_t)c->argv_cap * sizeof *c->argv;
    for (int i = 0; i < c->argc; i++) {
        n += c->argv[i].block != NULL ? c->argv[i].block->len : 0;
    }
    return n;
}

void resp_command_reset(struct resp_command *c)
{
    if (c->argv_cap > ARGV_KEEP) {
        resp_command_fini(c);
        return;
    }
    for (int i = 0; i < c->argc; i++) {
        if (c->argv[i].block != NULL) {
            bk_block_unref(&c->argv[i].block);
        }
    }
    c->argc = 0;
    c->wire_bytes = 0;
}

void resp_args_grow(struct resp_command *c)
{
    int cap = ARGV_FIRST;
    if (c->argv_cap > 0) {
        cap = c->argv_cap > RESP_ARGC_MAX / 2 ? RESP_ARGC_MAX : c->argv_cap * 2;
    }
    c->argv = bk_realloc(c->argv, (size_t)cap * sizeof *c->argv);
    c->argv_cap = cap;
}

void resp_args_shrink(struct resp_command *c)
{
    if (c->argc > 0 && c->argv_cap > c->argc) {
        c->argv = bk_realloc(c->argv, (size_t)c->argc * sizeof *c->argv);
        c->argv_cap = c->argc;
    }
}

/* One inline argument while it is unescaped: out never overtakes in, since escapes only get
 * shorter. */
struct word {
    const uint8_t *in;
    const uint8_t *end;
    uint8_t *out;
};

/* The C locale's isspace. */
static bool is_blank(uint8_t ch)
{
    return ch == ' ' || (ch >= '\t' && ch <= '\r');
}

static int hex_digit(uint8_t ch)
{
    if (ch >= '0' && ch <= '9') {
        return ch - '0';
    }
    ch |= 0x20;
    return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

static uint8_t unescape(uint8_t ch)
{
    switch (ch) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'b':
        return '\b';
    case 'a':
        return '\a';
    default:
        return ch;
    }
}

/* in stands behind a backslash inside double quotes, and there is at least one byte more. */
static void take_escape(struct word *w)
{
    if (w->end - w->in >= 3 && w->in[0] == 'x' && hex_digit(w->in[1]) >= 0 &&
        hex_digit(w->in[2]) >= 0) {
        *w->out++ = (uint8_t)(hex_digit(w->in[1]) << 4 | hex_digit(w->in[2]));
        w->in += 3;
        return;
    }
    *w->out++ = unescape(*w->in++);
}

/* in stands behind the opening quote. A closing quote ends the argument: only a blank or the end
 * may follow. */
static bool take_quoted(struct word *w, uint8_t quote)
{
    while (w->in < w->end) {
        uint8_t ch = *w->in++;
        if (ch == quote) {
            return w->in == w->end || is_blank(*w->in);
        }
        if (ch != '\\' || w->in == w->end) {
            *w->out++ = ch;
        } else if (quote == '"') {
            take_escape(w);
        } else if (*w->in == '\'') {
            *w->out++ = *w->in++;
        } else {
            *w->out++ = ch;
        }
    }
    return false;
}

/* Redis's quirk: \v and \f separate arguments, but do not end a word that has begun. */
static bool ends_word(uint8_t ch)
{
    return ch == ' ' || ch == '\n' || ch == '\r' || ch == '\t';
}

static bool take_word(struct word *w)
{
    while (w->in < w->end && !ends_word(*w->in)) {
        uint8_t ch = *w->in++;
        if (ch == '"' || ch == '\'') {
            return take_quoted(w, ch);
        }
        *w->out++ = ch;
    }
    return true;
}

bool resp_args_split(uint8_t *line, size_t len, struct resp_command *c)
{
    struct word w = {line, line + len, line};
    for (;;) {
        while (w.in < w.end && is_blank(*w.in)) {
            w.in++;
        }
        if (w.in == w.end) {
            return true;
        }
        const uint8_t *first = w.out;
        if (!take_word(&w)) {
            return false;
        }
        resp_args_push(c, bk_span_of(first, (size_t)(w.out - first)), NULL);
    }
}
