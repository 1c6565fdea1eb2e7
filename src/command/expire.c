/* SPDX-License-Identifier: MIT */
/*
 * expire.c - commands on a key's expiry: EXPIRE and its family, TTL and its family, PERSIST.
 *
 * The expiry is a field of the record, so that a change writes the record anew: value needed.
 */
#include "command/args.h"
#include "command/notify.h"
#include "command/rows.h"

/* Options of EXPIRE. */
enum { IF_NONE = 1 << 0, IF_SET = 1 << 1, IF_GREATER = 1 << 2, IF_LESS = 1 << 3 };

static unsigned option_of(struct bk_span word)
{
    return arg_is(word, "nx")   ? IF_NONE
           : arg_is(word, "xx") ? IF_SET
           : arg_is(word, "gt") ? IF_GREATER
           : arg_is(word, "lt") ? IF_LESS
                                : 0;
}

/* Redis's "%s", which ends at a NUL and loses line ends at its end. */
static void reply_unsupported(struct command_ctx *c, struct bk_span word)
{
    int len = word.len == 0 ? 0 : (int)strnlen((const char *)word.data, (size_t)arg_text_len(word));
    while (len > 0 && (word.data[len - 1] == '\r' || word.data[len - 1] == '\n')) {
        len--;
    }
    resp_write_errorf(c->reply, "ERR Unsupported option %.*s", len, (const char *)word.data);
}

static bool parse_options(struct command_ctx *c, unsigned *options)
{
    bool ok = true;
    *options = 0;
    for (int i = 3; i < c->cmd->argc && ok; i++) {
        unsigned option = option_of(arg_at(c, i));
        ok = option != 0;
        *options |= option;
        if (!ok) {
            reply_unsupported(c, arg_at(c, i));
        }
    }
    if (ok && (*options & IF_NONE) != 0 && *options != IF_NONE) {
        resp_write_error(c->reply,
                         "ERR NX and XX, GT or LT options at the same time are not compatible");
        ok = false;
    } else if (ok && (*options & IF_GREATER) != 0 && (*options & IF_LESS) != 0) {
        resp_write_error(c->reply, "ERR GT and LT options at the same time are not compatible");
        ok = false;
    }
    return ok;
}

/* Negative and past times are allowed here: the key is then deleted. */
static bool parse_when(struct command_ctx *c, enum arg_unit unit, int64_t base_ms, int64_t *when)
{
    int64_t factor = unit == UNIT_SECONDS ? 1000 : 1;
    bool ok = arg_i64(c, arg_at(c, 2), when);
    if (ok && (__builtin_mul_overflow(*when, factor, when) ||
               __builtin_add_overflow(*when, base_ms, when))) {
        arg_reply_expire_time(c);
        ok = false;
    }
    return ok;
}

/* No expiry counts as one that never comes: GT never beats it, LT always does. */
static bool allowed(unsigned options, int64_t current, int64_t when)
{
    bool set = current != 0;
    return !((options & IF_NONE) != 0 && set) && !((options & IF_SET) != 0 && !set) &&
           !((options & IF_GREATER) != 0 && (!set || when <= current)) &&
           !((options & IF_LESS) != 0 && set && when >= current);
}

static void expire_key(struct command_ctx *c, enum arg_unit unit, int64_t base_ms)
{
    unsigned options = 0;
    int64_t when = 0;
    if (parse_options(c, &options) && parse_when(c, unit, base_ms, &when)) {
        struct ks_value v;
        ks_get(c->txn, 0, &v);
        if (!v.exists || !allowed(options, v.expire_ms, when)) {
            resp_write_int(c->reply, 0);
        } else if (when <= c->now_ms) {
            ks_delete(c->txn, 0);
            command_notify(c, NOTIFY_GENERIC, "del", ks_key(c->txn, 0));
            resp_write_int(c->reply, 1);
        } else {
            struct ks_write w = {v.type, v.bytes, v.block, when, v.encoding};
            ks_put(c->txn, 0, &w); /* the same time too: who watches the key sees a change */
            command_notify(c, NOTIFY_GENERIC, "expire", ks_key(c->txn, 0));
            resp_write_int(c->reply, 1);
        }
    }
}

static void expire_command(struct command_ctx *c)
{
    expire_key(c, UNIT_SECONDS, c->now_ms);
}

static void pexpire_command(struct command_ctx *c)
{
    expire_key(c, UNIT_MS, c->now_ms);
}

static void expireat_command(struct command_ctx *c)
{
    expire_key(c, UNIT_SECONDS, 0);
}

static void pexpireat_command(struct command_ctx *c)
{
    expire_key(c, UNIT_MS, 0);
}

/* -2: no such key, -1: no expiry. Seconds are rounded, by half a second up, as in Redis. */
static void reply_ttl(struct command_ctx *c, enum arg_unit unit, int64_t base_ms)
{
    struct ks_value v;
    int64_t reply = -2;
    arg_lookup(c, 0, &v);
    if (v.exists && v.expire_ms == 0) {
        reply = -1;
    } else if (v.exists) {
        reply = v.expire_ms > base_ms ? v.expire_ms - base_ms : 0;
        if (unit == UNIT_SECONDS) {
            reply = (int64_t)(((uint64_t)reply + 500) / 1000);
        }
    }
    resp_write_int(c->reply, reply);
}

static void ttl_command(struct command_ctx *c)
{
    reply_ttl(c, UNIT_SECONDS, c->now_ms);
}

static void pttl_command(struct command_ctx *c)
{
    reply_ttl(c, UNIT_MS, c->now_ms);
}

static void expiretime_command(struct command_ctx *c)
{
    reply_ttl(c, UNIT_SECONDS, 0);
}

static void pexpiretime_command(struct command_ctx *c)
{
    reply_ttl(c, UNIT_MS, 0);
}

static void persist_command(struct command_ctx *c)
{
    struct ks_value v;
    ks_get(c->txn, 0, &v);
    if (v.exists && v.expire_ms != 0) {
        struct ks_write w = {v.type, v.bytes, v.block, 0, v.encoding};
        ks_put(c->txn, 0, &w);
        command_notify(c, NOTIFY_GENERIC, "persist", ks_key(c->txn, 0));
        resp_write_int(c->reply, 1);
    } else {
        resp_write_int(c->reply, 0);
    }
}

#define EXPIRE_ROW(NAME, RUN)                                                                  \
    {                                                                                          \
        .name = NAME, .arity = -3, .flags = ROW_WRITE_FAST,                                    \
        .categories = CAT_KEYSPACE | CAT_WRITE | CAT_FAST, ROW_ONE_KEY, .need = KS_NEED_VALUE, \
        .run = RUN                                                                             \
    }
#define TTL_ROW(NAME, RUN)                                                                   \
    {                                                                                        \
        .name = NAME, .arity = 2, .flags = ROW_READ_FAST | CMD_NO_TOUCH,                     \
        .categories = CAT_KEYSPACE | CAT_READ | CAT_FAST, ROW_ONE_KEY, .need = KS_NEED_META, \
        .run = RUN                                                                           \
    }

const struct command_row command_rows_expire[] = {
    EXPIRE_ROW("expire", expire_command),
    EXPIRE_ROW("expireat", expireat_command),
    TTL_ROW("expiretime", expiretime_command),
    {.name = "persist",
     .arity = 2,
     .flags = ROW_WRITE_FAST,
     .categories = CAT_KEYSPACE | CAT_WRITE | CAT_FAST,
     ROW_ONE_KEY,
     .need = KS_NEED_VALUE,
     .run = persist_command},
    EXPIRE_ROW("pexpire", pexpire_command),
    EXPIRE_ROW("pexpireat", pexpireat_command),
    TTL_ROW("pexpiretime", pexpiretime_command),
    TTL_ROW("pttl", pttl_command),
    TTL_ROW("ttl", ttl_command),
    ROW_END,
};
