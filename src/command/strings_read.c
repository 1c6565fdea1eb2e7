/* SPDX-License-Identifier: MIT */
/* strings_read.c - commands that read strings: GET GETDEL MGET STRLEN GETRANGE SUBSTR. */
#include "command/args.h"
#include "command/notify.h"
#include "command/strings_private.h"

/* The key's value or a null; true when there was one. */
static bool reply_value(struct command_ctx *c, size_t index)
{
    struct ks_value v;
    bool ok = arg_lookup_string(c, index, &v);
    if (ok && v.exists) {
        resp_write_bulk(c->reply, v.bytes);
    } else if (ok) {
        resp_write_null(c->reply);
    }
    return ok && v.exists;
}

void strings_get(struct command_ctx *c)
{
    (void)reply_value(c, 0);
}

void strings_getdel(struct command_ctx *c)
{
    if (reply_value(c, 0)) {
        ks_delete(c->txn, 0);
        command_notify(c, NOTIFY_GENERIC, "del", ks_key(c->txn, 0));
    }
}

void strings_mget(struct command_ctx *c)
{
    size_t n = (size_t)c->cmd->argc - 1;
    resp_write_array(c->reply, n);
    for (size_t i = 0; i < n; i++) {
        struct ks_value v;
        arg_lookup(c, i, &v);
        if (v.exists && v.type == KS_STRING) {
            resp_write_bulk(c->reply, v.bytes);
        } else {
            resp_write_null(c->reply);
        }
    }
}

void strings_strlen(struct command_ctx *c)
{
    struct ks_value v;
    if (arg_lookup_string(c, 0, &v)) {
        resp_write_int(c->reply, (int64_t)v.bytes.len);
    }
}

/* The part from first to last, both counted from the end when negative. */
static struct bk_span sub_span(struct bk_span s, int64_t first, int64_t last)
{
    int64_t len = (int64_t)s.len;
    struct bk_span part = {s.data, 0};
    bool reversed = first < 0 && last < 0 && first > last;
    first = first < 0 ? first + len : first;
    last = last < 0 ? last + len : last;
    first = first < 0 ? 0 : first;
    last = last < 0 ? 0 : last;
    last = last >= len ? len - 1 : last;
    if (!reversed && first <= last && len != 0) {
        part = bk_span_of(s.data + first, (size_t)(last - first + 1));
    }
    return part;
}

void strings_getrange(struct command_ctx *c)
{
    int64_t first = 0;
    int64_t last = 0;
    struct ks_value v;
    if (arg_i64(c, arg_at(c, 2), &first) && arg_i64(c, arg_at(c, 3), &last) &&
        arg_lookup_string(c, 0, &v)) {
        resp_write_bulk(c->reply, sub_span(v.bytes, first, last));
    }
}
