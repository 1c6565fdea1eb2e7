/* SPDX-License-Identifier: MIT */
/* dump.c - DUMP and RESTORE: a value out of this server, or of a Redis, and into another. */
#include "command/args.h"
#include "command/notify.h"
#include "command/dump_payload.h"
#include "command/rows.h"

/* Values of this size and more are made in a block, which the store shares instead of copying. */
#define SHARED_MIN 65536u

static void dump_command(struct command_ctx *c)
{
    struct ks_value v;
    struct bk_buf payload = {0};
    arg_lookup(c, 0, &v);
    if (v.exists) {
        dump_write(&payload, v.bytes);
        resp_write_bulk(c->reply, bk_buf_span(&payload));
    } else {
        resp_write_null(c->reply);
    }
    bk_buf_fini(&payload);
}

struct restore_options {
    bool replace;
    bool absolute;
    /* How long the key has not been used, or how often it has been; -1: not given. */
    int64_t idle_s, frequency;
};

static bool parse_bounded(struct command_ctx *c, int arg, int64_t max, const char *error,
                          int64_t *out)
{
    bool ok = arg_i64(c, arg_at(c, arg), out);
    if (ok && (*out < 0 || *out > max)) {
        resp_write_error(c->reply, error);
        ok = false;
    }
    return ok;
}

static bool parse_restore(struct command_ctx *c, struct restore_options *o)
{
    bool ok = true;
    *o = (struct restore_options){.idle_s = -1, .frequency = -1};
    for (int i = 4; i < c->cmd->argc && ok; i++) {
        bool more = i + 1 < c->cmd->argc;
        if (arg_is(arg_at(c, i), "replace")) {
            o->replace = true;
        } else if (arg_is(arg_at(c, i), "absttl")) {
            o->absolute = true;
        } else if (arg_is(arg_at(c, i), "idletime") && more && o->frequency == -1) {
            ok = parse_bounded(c, ++i, INT64_MAX, "ERR Invalid IDLETIME value, must be >= 0",
                               &o->idle_s);
        } else if (arg_is(arg_at(c, i), "freq") && more && o->idle_s == -1) {
            ok = parse_bounded(c, ++i, 255, "ERR Invalid FREQ value, must be >= 0 and <= 255",
                               &o->frequency);
        } else {
            resp_write_error(c->reply, ARG_ERROR_SYNTAX);
            ok = false;
        }
    }
    return ok;
}

/* 0: never. A time beyond all numbers has passed, as in Redis, where the sum turns negative. */
static bool parse_ttl(struct command_ctx *c, bool absolute, int64_t *expire_ms)
{
    int64_t base = absolute ? 0 : c->now_ms;
    bool ok = parse_bounded(c, 2, INT64_MAX, "ERR Invalid TTL value, must be >= 0", expire_ms);
    if (ok && *expire_ms != 0 && __builtin_add_overflow(*expire_ms, base, expire_ms)) {
        *expire_ms = INT64_MIN;
    }
    return ok;
}

/* The value in the payload, if a string may be that long. false: the error is written. */
static bool parse_payload(struct command_ctx *c, struct dump_value *v)
{
    enum dump_status status = dump_read(arg_at(c, 3), v);
    bool ok = false;
    if (status == DUMP_BAD_FOOTER) {
        resp_write_error(c->reply, "ERR DUMP payload version or checksum are wrong");
    } else if (status == DUMP_BAD_DATA) {
        resp_write_error(c->reply, "ERR Bad data format");
    } else if (v->len > KS_VALUE_MAX || v->len > c->ops->proto_max_bulk_len(c->ops->arg)) {
        /* A few megabytes may expand to a few hundred times as much. */
        resp_write_error(c->reply, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    } else {
        ok = true;
    }
    return ok;
}

/* Plain bytes stay where they are, in the argument. */
static void put_value(struct command_ctx *c, const struct dump_value *v, int64_t expire_ms)
{
    struct bk_block *made = NULL;
    struct ks_write w = {KS_STRING, v->bytes, c->cmd->argv[3].block, expire_ms, KS_AS_SET};
    if (v->form != DUMP_PLAIN) {
        uint8_t *to;
        made = v->len >= SHARED_MIN ? bk_block_new(v->len) : NULL;
        to = made != NULL ? made->data : ks_alloc(c->txn, v->len);
        dump_value_copy(v, to);
        w.bytes = bk_span_of(to, v->len);
        w.block = made;
    }
    ks_put(c->txn, 0, &w);                              /* keeps a reference of the block */
    command_notify(c, NOTIFY_NEW, "new", arg_at(c, 1)); /* also where it replaces */
    command_notify(c, NOTIFY_GENERIC, "restore", arg_at(c, 1));
    bk_block_unref(&made);
}

static void put_idle(struct command_ctx *c, int64_t idle_s)
{
    int64_t ms;
    if (__builtin_mul_overflow(idle_s, INT64_C(1000), &ms)) {
        ms = INT64_MAX; /* no age reaches as far anyway */
    }
    if (idle_s != -1) {
        ks_put_idle(c->txn, 0, (uint64_t)ms);
    }
}

/* FREQ has no effect, as in Redis while no policy is chosen that counts uses: there is none. */
static void restore_command(struct command_ctx *c)
{
    struct restore_options o;
    struct ks_value old;
    struct dump_value v;
    int64_t expire_ms = 0;
    if (!parse_restore(c, &o)) {
        return;
    }
    ks_get(c->txn, 0, &old);
    if (old.exists && !o.replace) {
        resp_write_error(c->reply, "BUSYKEY Target key name already exists.");
    } else if (parse_ttl(c, o.absolute, &expire_ms) && parse_payload(c, &v)) {
        if (expire_ms == 0 || expire_ms > c->now_ms) {
            put_value(c, &v, expire_ms);
            put_idle(c, o.idle_s);
        } else if (old.exists) {
            ks_delete(c->txn, 0);
            command_notify(c, NOTIFY_GENERIC, "del", arg_at(c, 1));
        }
        resp_write_ok(c->reply);
    }
}

const struct command_row command_rows_dump[] = {
    {.name = "dump",
     .arity = 2,
     .flags = CMD_READONLY,
     .categories = CAT_KEYSPACE | CAT_READ | CAT_SLOW,
     ROW_ONE_KEY,
     .need = KS_NEED_VALUE,
     .run = dump_command},
    {.name = "restore",
     .arity = -4,
     .flags = ROW_WRITE_OOM,
     .categories = CAT_KEYSPACE | CAT_WRITE | CAT_SLOW | CAT_DANGEROUS,
     ROW_ONE_KEY,
     .need = KS_NEED_META,
     .run = restore_command},
    ROW_END,
};
