/* SPDX-License-Identifier: MIT */
/* strings_edit.c - commands that make a new string from the old one: APPEND, SETRANGE, INCR and its
 * family. All keep the key's expiry. */
#include "command/args.h"
#include "command/compose.h"
#include "command/notify.h"
#include "command/strings_private.h"

#include "base/num.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define LONG_DOUBLE_TEXT_MAX \
    5120 /* the largest long double takes 4,933 digits and 18 more behind the point */

/* ---- Numbers ---- */

static void put_text(struct command_ctx *c, const struct ks_value *old, const char *text,
                     size_t len, enum ks_encoding encoding, const char *event)
{
    uint8_t *bytes = ks_alloc(c->txn, len);
    struct ks_write w = {KS_STRING, {bytes, len}, NULL, old->exists ? old->expire_ms : 0, encoding};
    memcpy(bytes, text, len);
    command_put(c, 0, &w);
    command_notify(c, NOTIFY_STRING, event, ks_key(c->txn, 0));
}

static void add(struct command_ctx *c, int64_t delta)
{
    struct ks_value old;
    int64_t n = 0;
    bool ok = arg_get_string(c, 0, &old);
    if (ok && old.exists && !bk_parse_i64(old.bytes, &n)) {
        resp_write_error(c->reply, ARG_ERROR_INTEGER);
    } else if (ok && __builtin_add_overflow(n, delta, &n)) {
        resp_write_error(c->reply, "ERR increment or decrement would overflow");
    } else if (ok) {
        char text[24];
        unsigned len = bk_format_i64(text, n);
        put_text(c, &old, text, len, KS_AS_SET, "incrby");
        resp_write_int(c->reply, n);
    }
}

void strings_incr(struct command_ctx *c)
{
    add(c, 1);
}

void strings_decr(struct command_ctx *c)
{
    add(c, -1);
}

void strings_incrby(struct command_ctx *c)
{
    int64_t delta = 0;
    if (arg_i64(c, arg_at(c, 2), &delta)) {
        add(c, delta);
    }
}

void strings_decrby(struct command_ctx *c)
{
    int64_t delta = 0;
    if (arg_i64(c, arg_at(c, 2), &delta)) {
        if (delta == INT64_MIN) {
            resp_write_error(c->reply, "ERR decrement would overflow");
        } else {
            add(c, -delta);
        }
    }
}

/* 17 digits behind the point, without the zeros at the end: "3.1", "5", "0" and never "-0". */
static size_t format_long_double(char *text, size_t cap, long double v)
{
    size_t len = (size_t)snprintf(text, cap, "%.17Lf", v);
    while (len > 0 && text[len - 1] == '0') {
        len--;
    }
    if (len > 0 && text[len - 1] == '.') {
        len--;
    }
    if (len == 2 && text[0] == '-' && text[1] == '0') {
        text[0] = '0';
        len = 1;
    }
    return len;
}

void strings_incrbyfloat(struct command_ctx *c)
{
    struct ks_value old;
    long double n = 0;
    long double delta = 0;
    bool ok = arg_get_string(c, 0, &old);
    bool numbers = ok && (!old.exists || arg_parse_long_double(old.bytes, &n)) &&
                   arg_parse_long_double(arg_at(c, 2), &delta);
    if (ok && !numbers) {
        resp_write_error(c->reply, "ERR value is not a valid float");
    } else if (ok && (isnan(n + delta) || isinf(n + delta))) {
        resp_write_error(c->reply, "ERR increment would produce NaN or Infinity");
    } else if (ok) {
        char text[LONG_DOUBLE_TEXT_MAX];
        size_t len = format_long_double(text, sizeof(text), n + delta);
        put_text(c, &old, text, len, KS_TEXT, "incrbyfloat");
        resp_write_bulk(c->reply, bk_span_of(text, len));
    }
}

/* ---- Bytes ---- */

/* The sum, if a string may be that long: for the option, and for the store, before memory is taken
 * for what it would refuse. false: the error is written. */
static bool check_length(struct command_ctx *c, uint64_t a, uint64_t b, uint64_t *sum)
{
    bool ok = !__builtin_add_overflow(a, b, sum) && *sum <= KS_VALUE_MAX &&
              *sum <= c->ops->proto_max_bulk_len(c->ops->arg);
    if (!ok) {
        resp_write_error(c->reply, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    }
    return ok;
}

/* Stores the old bytes, as many zeros as the offset asks for, and the new bytes over it all. */
static void put_composed(struct command_ctx *c, const struct ks_value *old, size_t offset,
                         struct bk_span add_bytes)
{
    size_t end = offset + add_bytes.len;
    struct compose n;
    compose_begin(c, &n, end > old->bytes.len ? end : old->bytes.len);
    compose_fill(&n, old->bytes);
    if (add_bytes.len > 0) {
        memcpy(n.bytes + offset, add_bytes.data, add_bytes.len);
    }
    resp_write_int(c->reply, (int64_t)n.len);
    compose_put(c, 0, &n, old->exists ? old->expire_ms : 0);
}

/* An absent key takes the argument as it came, whatever its size. To append nothing is a write. */
void strings_append(struct command_ctx *c)
{
    struct ks_value old;
    const struct resp_arg *tail = &c->cmd->argv[2];
    uint64_t sum = 0;
    bool ok = arg_get_string(c, 0, &old);
    if (ok && !old.exists) {
        struct ks_write w = {KS_STRING, tail->bytes, tail->block, 0, KS_AS_SET};
        command_put(c, 0, &w);
        command_notify(c, NOTIFY_STRING, "append", ks_key(c->txn, 0));
        resp_write_int(c->reply, (int64_t)tail->bytes.len);
    } else if (ok && check_length(c, old.bytes.len, tail->bytes.len, &sum)) {
        put_composed(c, &old, old.bytes.len, tail->bytes);
        command_notify(c, NOTIFY_STRING, "append", ks_key(c->txn, 0));
    }
}

void strings_setrange(struct command_ctx *c)
{
    struct ks_value old;
    struct bk_span bytes = arg_at(c, 3);
    int64_t offset = 0;
    uint64_t sum = 0;
    bool ok = arg_i64(c, arg_at(c, 2), &offset);
    if (ok && offset < 0) {
        resp_write_error(c->reply, "ERR offset is out of range");
    } else if (ok && arg_get_string(c, 0, &old)) {
        if (bytes.len == 0) {
            resp_write_int(c->reply, (int64_t)old.bytes.len);
        } else if (check_length(c, (uint64_t)offset, bytes.len, &sum)) {
            put_composed(c, &old, (size_t)offset, bytes);
            command_notify(c, NOTIFY_STRING, "setrange", ks_key(c->txn, 0));
        }
    }
}
