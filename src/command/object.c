/* SPDX-License-Identifier: MIT */
/*
 * object.c - OBJECT: how a value is kept.
 *
 * A string is always kept as bytes. Its encoding is the one that Redis gives to these bytes when
 * SET stores them, unless the command that wrote it leaves another one behind there.
 */
#include "command/args.h"
#include "command/connection.h"
#include "command/exec_private.h"
#include "command/rows.h"

#include "base/num.h"

#define INT_TEXT_MAX 20u      /* Redis does not look for a number in longer strings */
#define EMBEDDED_MAX 44u      /* longer ones are apart from their object there */
#define REFERENCES INT64_C(1) /* no two keys share a value */

static const char *string_encoding(const struct ks_value *v)
{
    int64_t number;
    bool is_int =
        v->encoding == KS_AS_SET && v->bytes.len <= INT_TEXT_MAX && bk_parse_i64(v->bytes, &number);
    bool is_raw = v->encoding == KS_RAW || v->bytes.len > EMBEDDED_MAX;
    return is_int ? "int" : is_raw ? "raw" : "embstr";
}

/* Counted as a look-up; a miss is no event, as in Redis. */
static void look(struct command_ctx *c, struct ks_value *v)
{
    ks_get(c->txn, 0, v);
    exec_count(v->exists ? &c->exec->hits : &c->exec->misses, 1);
}

static void object_encoding(struct command_ctx *c)
{
    struct ks_value v;
    look(c, &v);
    if (v.exists) {
        resp_write_bulk_str(c->reply, string_encoding(&v));
    } else {
        resp_write_null(c->reply);
    }
}

static void object_refcount(struct command_ctx *c)
{
    struct ks_value v;
    look(c, &v);
    if (v.exists) {
        resp_write_int(c->reply, REFERENCES);
    } else {
        resp_write_null(c->reply);
    }
}

/* In seconds, which Redis rounds down too. */
static void object_idletime(struct command_ctx *c)
{
    struct ks_value v;
    look(c, &v);
    if (v.exists) {
        resp_write_int(c->reply, (int64_t)(ks_idle_ms(c->txn, 0) / 1000));
    } else {
        resp_write_null(c->reply);
    }
}

/* No policy that counts uses may be chosen, so that this is true of every key. */
static void object_freq(struct command_ctx *c)
{
    struct ks_value v;
    look(c, &v);
    if (v.exists) {
        resp_write_error(
            c->reply, "ERR An LFU maxmemory policy is not selected, access frequency not tracked. "
                      "Please note that when switching between policies at runtime LRU and LFU "
                      "data will take some time to adjust.");
    } else {
        resp_write_null(c->reply);
    }
}

static void object_help(struct command_ctx *c)
{
    static const char *const lines[] = {
        "ENCODING <key>",
        "    Return the kind of internal representation used in order to store the value",
        "    associated with a <key>.",
        "FREQ <key>",
        "    Return the access frequency index of the <key>. The returned integer is",
        "    proportional to the logarithm of the recent access frequency of the key.",
        "IDLETIME <key>",
        "    Return the idle time of the <key>, that is the approximated number of",
        "    seconds elapsed since the last access to the key.",
        "REFCOUNT <key>",
        "    Return the number of references of the value associated with the specified",
        "    <key>.",
        NULL,
    };
    reply_help(c, "OBJECT", lines);
}

#define OBJECT_ROW(NAME, NEED, RUN)                                                      \
    {                                                                                    \
        .name = NAME, .arity = 3, .flags = CMD_READONLY | CMD_NO_TOUCH,                  \
        .categories = CAT_KEYSPACE | CAT_READ | CAT_SLOW, .first_key = 2, .last_key = 2, \
        .key_step = 1, .need = NEED, .run = RUN                                          \
    }

static const struct command_row subcommands[] = {
    OBJECT_ROW("encoding", KS_NEED_VALUE, object_encoding),
    OBJECT_ROW("freq", KS_NEED_META, object_freq),
    OBJECT_ROW("idletime", KS_NEED_META, object_idletime),
    OBJECT_ROW("refcount", KS_NEED_META, object_refcount),
    {.name = "help",
     .arity = 2,
     .flags = CMD_LOADING | CMD_STALE | CMD_NO_STORE,
     .categories = CAT_KEYSPACE | CAT_SLOW,
     .run = object_help},
    ROW_END,
};

const struct command_row command_rows_object[] = {
    {.name = "object",
     .arity = -2,
     .flags = CMD_NO_STORE,
     .categories = CAT_SLOW,
     .run = object_help,
     .subcommands = subcommands},
    ROW_END,
};
