/* SPDX-License-Identifier: MIT */
/*
 * scan.c - KEYS and SCAN.
 *
 * Both walk the database in slices of so many keys, so that neither KEYS on ten million keys nor
 * SCAN with a COUNT of a million holds up the other clients of the loop. What a slice finds is
 * kept, already in its wire form, in the connection's exec_slice: the array's header in front of it
 * needs the count.
 */
#include "command/scan.h"
#include "command/args.h"
#include "command/exec_private.h"

#include "base/glob.h"
#include "base/num.h"

/* About 0.2 ms of work. */
#define SLICE_KEYS 2000

#define SCAN_COUNT 10 /* of a SCAN without COUNT */

/* What a key must be like, and where the ones that are go. */
struct match {
    struct bk_span pattern;
    bool any;               /* the pattern is "*" */
    struct bk_span type;    /* len 0 and data NULL: not asked for */
    struct resp_writer out; /* appends to slice->replies */
    struct exec_slice *slice;
};

static bool is_star(struct bk_span pattern)
{
    return pattern.len == 1 && pattern.data[0] == '*';
}

static void collect(void *arg, const struct ks_scan_key *key)
{
    struct match *m = arg;
    bool fits = m->type.data == NULL || arg_is(m->type, ks_type_name(key->type));
    if (fits && (m->any || bk_glob(m->pattern, key->key, false))) {
        resp_write_bulk(&m->out, key->key);
        m->slice->found++;
    }
}

/* Walks on over up to max keys; true at the end of the database. */
static bool walk(struct command_ctx *c, struct match *m, size_t max)
{
    m->slice = exec_slice_of(c);
    m->out = (struct resp_writer){.out = &m->slice->replies, .proto = c->reply->proto};
    ks_txn_scan(c->txn, &m->slice->cursor, max, collect, m);
    return m->slice->cursor == 0;
}

static void reply_found(struct command_ctx *c, const struct exec_slice *slice)
{
    resp_write_array(c->reply, slice->found);
    bk_buf_append(c->reply->out, slice->replies.data, slice->replies.len);
}

void scan_keys_command(struct command_ctx *c)
{
    struct match m = {.pattern = arg_at(c, 1), .any = is_star(arg_at(c, 1))};
    if (walk(c, &m, SLICE_KEYS)) {
        reply_found(c, m.slice);
    } else {
        m.slice->more = true;
    }
}

/* As strtoul takes it, except for space in front: a sign, digits, nothing behind; nothing at all is
 * 0. */
static bool parse_cursor(struct bk_span text, uint64_t *cursor)
{
    const uint8_t *nul = text.len == 0 ? NULL : memchr(text.data, '\0', text.len);
    size_t len = nul == NULL ? text.len : (size_t)(nul - text.data);
    size_t i = len > 0 && (text.data[0] == '-' || text.data[0] == '+') ? 1 : 0;
    uint64_t v = 0;
    bool ok = len == 0 || i < len;
    for (; i < len && ok; i++) {
        unsigned digit = (unsigned)text.data[i] - '0';
        ok = digit <= 9 && !__builtin_mul_overflow(v, 10, &v) &&
             !__builtin_add_overflow(v, digit, &v);
    }
    if (ok) {
        *cursor = len > 0 && text.data[0] == '-' ? 0 - v : v;
    }
    return ok;
}

static bool parse_count(struct command_ctx *c, struct bk_span arg, uint64_t *count)
{
    int64_t n = 0;
    bool ok = arg_i64(c, arg, &n);
    if (ok && n < 1) {
        resp_write_error(c->reply, ARG_ERROR_SYNTAX);
        ok = false;
    }
    if (ok) {
        *count = (uint64_t)n;
    }
    return ok;
}

static bool parse_scan(struct command_ctx *c, uint64_t *cursor, uint64_t *count, struct match *m)
{
    bool ok = parse_cursor(arg_at(c, 1), cursor);
    m->any = true;
    *count = SCAN_COUNT;
    if (!ok) {
        resp_write_error(c->reply, "ERR invalid cursor");
    }
    for (int i = 2; i < c->cmd->argc && ok; i += 2) {
        bool pair = i + 1 < c->cmd->argc;
        if (pair && arg_is(arg_at(c, i), "count")) {
            ok = parse_count(c, arg_at(c, i + 1), count);
        } else if (pair && arg_is(arg_at(c, i), "match")) {
            m->pattern = arg_at(c, i + 1);
            m->any = is_star(m->pattern);
        } else if (pair && arg_is(arg_at(c, i), "type")) {
            m->type = arg_at(c, i + 1);
        } else {
            resp_write_error(c->reply, ARG_ERROR_SYNTAX);
            ok = false;
        }
    }
    return ok;
}

static void reply_scan(struct command_ctx *c, const struct exec_slice *slice)
{
    char text[24];
    unsigned len = bk_format_u64(text, slice->cursor);
    resp_write_array(c->reply, 2);
    resp_write_bulk(c->reply, bk_span_of(text, len));
    reply_found(c, slice);
}

void scan_scan_command(struct command_ctx *c)
{
    struct match m = {0};
    uint64_t cursor = 0;
    uint64_t count = 0;
    if (parse_scan(c, &cursor, &count, &m)) {
        struct exec_slice *slice = exec_slice_of(c);
        uint64_t max;
        if (slice->wanted == 0) {
            slice->cursor = cursor;
            slice->wanted = count;
        }
        max = slice->wanted < SLICE_KEYS ? slice->wanted : SLICE_KEYS;
        slice->wanted -= max;
        if (walk(c, &m, (size_t)max) || slice->wanted == 0) {
            reply_scan(c, slice);
        } else {
            slice->more = true;
        }
    }
}
