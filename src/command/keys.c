/* SPDX-License-Identifier: MIT */
/* keys.c - commands on keys whatever they hold: DEL UNLINK EXISTS TOUCH TYPE RENAME RENAMENX. */
#include "command/args.h"
#include "command/notify.h"
#include "command/rows.h"

/* How many of the keys were there. One named twice is gone at the second look. */
static void del_command(struct command_ctx *c)
{
    int64_t deleted = 0;
    size_t n = (size_t)c->cmd->argc - 1;
    for (size_t i = 0; i < n; i++) {
        struct ks_value v;
        ks_get(c->txn, i, &v);
        if (v.exists) {
            ks_delete(c->txn, i);
            command_notify(c, NOTIFY_GENERIC, "del", ks_key(c->txn, i));
            deleted++;
        }
    }
    resp_write_int(c->reply, deleted);
}

/* EXISTS and TOUCH: a key named twice counts twice. */
static void exists_command(struct command_ctx *c)
{
    int64_t found = 0;
    size_t n = (size_t)c->cmd->argc - 1;
    for (size_t i = 0; i < n; i++) {
        struct ks_value v;
        arg_lookup(c, i, &v);
        found += v.exists ? 1 : 0;
    }
    resp_write_int(c->reply, found);
}

static void type_command(struct command_ctx *c)
{
    struct ks_value v;
    arg_lookup(c, 0, &v);
    resp_write_simple(c->reply, v.exists ? ks_type_name(v.type) : "none");
}

/* The old key's value moves; what the new one holds is overwritten unread. */
static enum ks_need rename_need(const struct resp_command *cmd, int arg)
{
    (void)cmd;
    return arg == 1 ? KS_NEED_VALUE : KS_NEED_META;
}

/* The new name takes type, value and expiry. false: RENAMENX found the new name taken. */
static bool move_key(struct command_ctx *c, const struct ks_value *from, bool only_if_free)
{
    struct ks_value to = {0};
    bool moves;
    if (only_if_free) {
        ks_get(c->txn, 1, &to);
    }
    moves = !to.exists;
    if (moves) {
        struct ks_write w = {from->type, from->bytes, from->block, from->expire_ms, from->encoding};
        ks_put(c->txn, 1, &w);
        ks_delete(c->txn, 0);
        command_notify(c, NOTIFY_NEW, "new", ks_key(c->txn, 1)); /* also where it takes the place of
                                                                     another */
        command_notify(c, NOTIFY_GENERIC, "rename_from", ks_key(c->txn, 0));
        command_notify(c, NOTIFY_GENERIC, "rename_to", ks_key(c->txn, 1));
    }
    return moves;
}

static void rename_key(struct command_ctx *c, bool only_if_free)
{
    struct ks_value from;
    ks_get(c->txn, 0, &from);
    if (!from.exists) {
        resp_write_error(c->reply, "ERR no such key");
    } else {
        bool same = bk_span_eq(arg_at(c, 1), arg_at(c, 2));
        bool moved = !same && move_key(c, &from, only_if_free);
        if (only_if_free) {
            resp_write_int(c->reply, moved ? 1 : 0);
        } else {
            resp_write_ok(c->reply);
        }
    }
}

static void rename_command(struct command_ctx *c)
{
    rename_key(c, false);
}

static void renamenx_command(struct command_ctx *c)
{
    rename_key(c, true);
}

#define CAT_KEYS_READ (CAT_KEYSPACE | CAT_READ | CAT_FAST)
#define CAT_KEYS_WRITE (CAT_KEYSPACE | CAT_WRITE)

const struct command_row command_rows_key[] = {
    {.name = "del",
     .arity = -2,
     .flags = CMD_WRITE | CMD_TAKES_AWAY,
     .categories = CAT_KEYS_WRITE | CAT_SLOW,
     ROW_ALL_ARGS,
     .need = KS_NEED_META,
     .run = del_command},
    {.name = "exists",
     .arity = -2,
     .flags = ROW_READ_FAST | CMD_NO_TOUCH,
     .categories = CAT_KEYS_READ,
     ROW_ALL_ARGS,
     .need = KS_NEED_META,
     .run = exists_command},
    {.name = "rename",
     .arity = 3,
     .flags = CMD_WRITE,
     .categories = CAT_KEYS_WRITE | CAT_SLOW,
     ROW_TWO_KEYS,
     .need_of = rename_need,
     .run = rename_command},
    {.name = "renamenx",
     .arity = 3,
     .flags = ROW_WRITE_FAST,
     .categories = CAT_KEYS_WRITE | CAT_FAST,
     ROW_TWO_KEYS,
     .need_of = rename_need,
     .run = renamenx_command},
    {.name = "touch",
     .arity = -2,
     .flags = ROW_READ_FAST,
     .categories = CAT_KEYS_READ,
     ROW_ALL_ARGS,
     .need = KS_NEED_META,
     .run = exists_command},
    {.name = "type",
     .arity = 2,
     .flags = ROW_READ_FAST | CMD_NO_TOUCH,
     .categories = CAT_KEYS_READ,
     ROW_ONE_KEY,
     .need = KS_NEED_META,
     .run = type_command},
    {.name = "unlink",
     .arity = -2,
     .flags = ROW_WRITE_FAST | CMD_TAKES_AWAY,
     .categories = CAT_KEYS_WRITE | CAT_FAST,
     ROW_ALL_ARGS,
     .need = KS_NEED_META,
     .run = del_command},
    ROW_END,
};
