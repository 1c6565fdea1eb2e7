/* SPDX-License-Identifier: MIT */
/* args.c - see args.h. */
#include "command/args.h"

#include "base/num.h"
#include "command/exec_private.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LONG_DOUBLE_TEXT_MAX 5120 /* as Redis: longer texts are no number */

struct bk_span arg_at(const struct command_ctx *c, int i)
{
    return c->cmd->argv[i].bytes;
}

bool arg_is(struct bk_span arg, const char *word)
{
    size_t enough = strlen(word) + 1; /* an argument may be huge */
    size_t seen = arg.len < enough ? arg.len : enough;
    size_t len = seen == 0 ? 0 : strnlen((const char *)arg.data, seen);
    return bk_span_eq_nocase(bk_span_of(arg.data, len), word);
}

int arg_text_len(struct bk_span arg)
{
    return arg.len < ARG_TEXT_MAX ? (int)arg.len : ARG_TEXT_MAX;
}

bool arg_i64(struct command_ctx *c, struct bk_span arg, int64_t *out)
{
    bool ok = bk_parse_i64(arg, out);
    if (!ok) {
        resp_write_error(c->reply, ARG_ERROR_INTEGER);
    }
    return ok;
}

bool arg_parse_long_double(struct bk_span arg, long double *out)
{
    char text[LONG_DOUBLE_TEXT_MAX];
    char *end = NULL;
    long double v = 0;
    bool ok = arg.len != 0 && arg.len < sizeof(text);
    if (ok) {
        memcpy(text, arg.data, arg.len);
        text[arg.len] = '\0';
        errno = 0;
        v = strtold(text, &end);
        ok = !isspace((unsigned char)text[0]) && end == text + arg.len && !isnan(v) &&
             errno != EINVAL;
        /* Out of range: too large, or so small that nothing is left of it. */
        if (errno == ERANGE && (isinf(v) || fpclassify(v) == FP_ZERO)) {
            ok = false;
        }
    }
    if (ok) {
        *out = v;
    }
    return ok;
}

void arg_reply_arity(struct command_ctx *c)
{
    resp_write_errorf(c->reply, "ERR wrong number of arguments for '%s' command",
                      command_name(c->row));
}

void arg_reply_expire_time(struct command_ctx *c)
{
    resp_write_errorf(c->reply, "ERR invalid expire time in '%s' command", command_name(c->row));
}

void arg_reply_wrong_type(struct command_ctx *c)
{
    resp_write_error(c->reply, "WRONGTYPE Operation against a key holding the wrong kind of value");
}

bool arg_expiry(struct command_ctx *c, struct bk_span arg, enum arg_unit unit, int64_t base_ms,
                int64_t *out)
{
    int64_t factor = unit == UNIT_SECONDS ? 1000 : 1;
    int64_t n = 0;
    bool ok = arg_i64(c, arg, &n);
    if (ok) {
        ok = n > 0 && n <= INT64_MAX / factor && n * factor <= INT64_MAX - base_ms;
        if (ok) {
            *out = n * factor + base_ms;
        } else {
            arg_reply_expire_time(c);
        }
    }
    return ok;
}

void arg_lookup(struct command_ctx *c, size_t index, struct ks_value *out)
{
    ks_get(c->txn, index, out);
    exec_count(out->exists ? &c->exec->hits : &c->exec->misses, 1);
    if (!out->exists && (c->exec->notify.classes & NOTIFY_MISS) != 0) {
        command_notify(c, NOTIFY_MISS, "keymiss", ks_key(c->txn, index));
    }
}

static bool check_string(struct command_ctx *c, const struct ks_value *v)
{
    bool ok = !v->exists || v->type == KS_STRING;
    if (!ok) {
        arg_reply_wrong_type(c);
    }
    return ok;
}

bool arg_lookup_string(struct command_ctx *c, size_t index, struct ks_value *out)
{
    arg_lookup(c, index, out);
    return check_string(c, out);
}

bool arg_get_string(struct command_ctx *c, size_t index, struct ks_value *out)
{
    ks_get(c->txn, index, out);
    return check_string(c, out);
}
