/* SPDX-License-Identifier: MIT */
/* bitmap_field.c - BITFIELD and BITFIELD_RO: integers of any width within a string. All operations
 * are read before the first one is done, so that a wrong one leaves everything as it is. */
#include "command/args.h"
#include "command/bitmap_private.h"
#include "command/bits.h"
#include "command/compose.h"
#include "command/notify.h"

#include "base/num.h"

#include <stdlib.h>
#include <string.h>

enum field_kind { FIELD_GET, FIELD_SET, FIELD_INCRBY };

struct field_op {
    enum field_kind kind;
    enum bits_overflow overflow;
    struct bits_type type;
    uint64_t offset;
    int64_t number; /* to store, or to add */
};

struct field_ops {
    struct field_op *ops; /* owned */
    size_t n;
    bool writes;
    uint64_t end; /* behind the last bit that is written */
};

/* "u1" to "u63", "i1" to "i64"; as Redis, which takes a C string, looks no further than a NUL. */
static bool parse_type(struct command_ctx *c, struct bk_span arg, struct bits_type *type)
{
    int64_t bits = 0;
    bool ok = arg.len > 1 && (arg.data[0] == 'i' || arg.data[0] == 'u');
    if (ok) {
        size_t len = strnlen((const char *)arg.data + 1, arg.len - 1);
        type->has_sign = arg.data[0] == 'i';
        ok = bk_parse_i64(bk_span_of(arg.data + 1, len), &bits) && bits >= 1 &&
             bits <= (type->has_sign ? 64 : 63);
        type->bits = ok ? (unsigned)bits : 0;
    }
    if (!ok) {
        resp_write_error(c->reply, "ERR Invalid bitfield type. Use something like i16 u8. Note "
                                   "that u64 is not supported but i64 is.");
    }
    return ok;
}

static bool parse_overflow(struct command_ctx *c, struct bk_span arg, enum bits_overflow *out)
{
    bool ok = true;
    if (arg_is(arg, "wrap")) {
        *out = BITS_WRAP;
    } else if (arg_is(arg, "sat")) {
        *out = BITS_SATURATE;
    } else if (arg_is(arg, "fail")) {
        *out = BITS_FAIL;
    } else {
        resp_write_error(c->reply, "ERR Invalid OVERFLOW type specified");
        ok = false;
    }
    return ok;
}

/* The kind of the operation whose word stands at argv[at], if what it takes follows. */
static bool find_kind(const struct resp_command *cmd, int at, enum field_kind *kind)
{
    struct bk_span word = cmd->argv[at].bytes;
    int behind = cmd->argc - at - 1;
    bool ok = true;
    if (behind >= 2 && arg_is(word, "get")) {
        *kind = FIELD_GET;
    } else if (behind >= 3 && arg_is(word, "set")) {
        *kind = FIELD_SET;
    } else if (behind >= 3 && arg_is(word, "incrby")) {
        *kind = FIELD_INCRBY;
    } else {
        ok = false;
    }
    return ok;
}

/* Adds the operation at argv[at]; *used: how many arguments it takes. false: the error is written.
 */
static bool parse_op(struct command_ctx *c, int at, enum bits_overflow overflow,
                     struct field_ops *all, int *used)
{
    struct field_op *op = &all->ops[all->n];
    bool ok = find_kind(c->cmd, at, &op->kind);
    if (!ok) {
        resp_write_error(c->reply, ARG_ERROR_SYNTAX);
        return false;
    }
    op->overflow = overflow;
    op->number = 0;
    ok = parse_type(c, arg_at(c, at + 1), &op->type) &&
         bitmap_offset(c, arg_at(c, at + 2), op->type.bits, &op->offset);
    if (ok && op->kind != FIELD_GET) {
        uint64_t end = op->offset + op->type.bits;
        all->writes = true;
        all->end = end > all->end ? end : all->end;
        ok = arg_i64(c, arg_at(c, at + 3), &op->number);
    }
    *used = op->kind == FIELD_GET ? 3 : 4;
    all->n++;
    return ok;
}

/* all->ops has room for every argument. */
static bool parse_ops(struct command_ctx *c, struct field_ops *all)
{
    enum bits_overflow overflow = BITS_WRAP;
    bool ok = true;
    for (int at = 2; at < c->cmd->argc && ok;) {
        int used = 2;
        if (at + 1 < c->cmd->argc && arg_is(arg_at(c, at), "overflow")) {
            ok = parse_overflow(c, arg_at(c, at + 1), &overflow);
        } else {
            ok = parse_op(c, at, overflow, all, &used);
        }
        at += used;
    }
    return ok;
}

enum field_result { FIELD_SAME, FIELD_CHANGED, FIELD_FAILED };

/* SET or INCRBY: the reply is the old number, or the new one. */
static enum field_result write_field(struct command_ctx *c, struct compose *n,
                                     const struct field_op *op)
{
    int64_t old = bits_get(bk_span_of(n->bytes, n->len), op->offset, &op->type);
    bool set = op->kind == FIELD_SET;
    int64_t now = 0;
    bool ok = bits_add(&op->type, op->overflow, set ? op->number : old, set ? 0 : op->number, &now);
    if (ok) {
        resp_write_int(c->reply, set ? old : now);
        bits_set(n->bytes, op->offset, &op->type, now);
    } else {
        resp_write_null(c->reply);
    }
    return !ok ? FIELD_FAILED : now != old ? FIELD_CHANGED : FIELD_SAME;
}

/* The string grows to hold every field that is written, even if OVERFLOW FAIL then writes none: of
 * that alone nobody is told. */
static void run_writing(struct command_ctx *c, const struct field_ops *all)
{
    struct ks_value old;
    struct compose n;
    if (!arg_get_string(c, 0, &old)) {
        return;
    }
    size_t len = (size_t)((all->end + 7) / 8);
    bool grows = len > old.bytes.len;
    bool told = false;
    compose_begin(c, &n, grows ? len : old.bytes.len);
    compose_fill(&n, old.bytes);
    resp_write_array(c->reply, all->n);
    for (size_t i = 0; i < all->n; i++) {
        const struct field_op *op = &all->ops[i];
        if (op->kind == FIELD_GET) {
            resp_write_int(c->reply, bits_get(bk_span_of(n.bytes, n.len), op->offset, &op->type));
        } else {
            enum field_result result = write_field(c, &n, op);
            told = told || result == FIELD_CHANGED || (grows && result == FIELD_SAME);
        }
    }
    if (grows || told) {
        compose_put(c, 0, &n, old.exists ? old.expire_ms : 0);
    } else {
        compose_drop(&n);
    }
    if (told) {
        command_notify(c, NOTIFY_STRING, "setbit", ks_key(c->txn, 0));
    }
}

static void run_reading(struct command_ctx *c, const struct field_ops *all)
{
    struct ks_value v;
    if (arg_lookup_string(c, 0, &v)) {
        resp_write_array(c->reply, all->n);
        for (size_t i = 0; i < all->n; i++) {
            resp_write_int(c->reply, bits_get(v.bytes, all->ops[i].offset, &all->ops[i].type));
        }
    }
}

static void run_fields(struct command_ctx *c, bool may_write)
{
    struct field_ops all = {.n = 0};
    all.ops = bk_alloc((size_t)c->cmd->argc * sizeof(*all.ops));
    if (parse_ops(c, &all)) {
        if (!all.writes) {
            run_reading(c, &all);
        } else if (may_write) {
            run_writing(c, &all);
        } else {
            resp_write_error(c->reply, "ERR BITFIELD_RO only supports the GET subcommand");
        }
    }
    free(all.ops);
}

void bitmap_bitfield(struct command_ctx *c)
{
    run_fields(c, true);
}

void bitmap_bitfield_ro(struct command_ctx *c)
{
    run_fields(c, false);
}
