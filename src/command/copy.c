/* SPDX-License-Identifier: MIT */
/* copy.c - commands that reach into another database: COPY, MOVE, SWAPDB. */
#include "command/args.h"
#include "command/notify.h"
#include "command/rows.h"

#include "base/num.h"

#include <limits.h>

#define ERROR_DB "ERR DB index is out of range"
#define ERROR_SAME "ERR source and destination objects are the same"

/* The transaction's index of COPY's and MOVE's keys. */
enum { FROM = 0, TO = 1 };

/* The number of a database, in Redis's two steps. NULL, or the error's text. */
static const char *parse_db(const struct command_ctx *c, struct bk_span arg, uint32_t *db)
{
    int64_t n = 0;
    const char *error = NULL;
    if (!bk_parse_i64(arg, &n)) {
        error = ARG_ERROR_INTEGER;
    } else if (n < INT_MIN || n > INT_MAX) {
        error = "ERR value is out of range, value must between -2147483648 and 2147483647";
    } else if (n < 0 || n >= (int64_t)ks_databases(c->ks)) {
        error = ERROR_DB;
    } else {
        *db = (uint32_t)n;
    }
    return error;
}

/* ---- COPY and MOVE ---- */

struct copy_plan {
    uint32_t db; /* of the new key */
    bool replace;
};

/* NULL, or the error's text: what is wrong with the command whatever the keys hold. */
static const char *plan_copy(const struct command_ctx *c, struct copy_plan *p)
{
    const char *error = NULL;
    *p = (struct copy_plan){.db = ks_txn_db(c->txn)};
    for (int i = 3; i < c->cmd->argc && error == NULL; i++) {
        if (arg_is(arg_at(c, i), "replace")) {
            p->replace = true;
        } else if (arg_is(arg_at(c, i), "db") && i + 1 < c->cmd->argc) {
            error = parse_db(c, arg_at(c, ++i), &p->db);
        } else {
            error = ARG_ERROR_SYNTAX;
        }
    }
    if (error == NULL && p->db == ks_txn_db(c->txn) && bk_span_eq(arg_at(c, 1), arg_at(c, 2))) {
        error = ERROR_SAME;
    }
    return error;
}

static const char *plan_move(const struct command_ctx *c, struct copy_plan *p)
{
    const char *error;
    *p = (struct copy_plan){.db = ks_txn_db(c->txn)};
    error = parse_db(c, arg_at(c, 2), &p->db);
    return error == NULL && p->db == ks_txn_db(c->txn) ? ERROR_SAME : error;
}

/* Neither key is asked for when the command is wrong. */
static enum ks_need name_both(const struct command_ctx *c, const char *error, uint32_t db, int to)
{
    if (error == NULL) {
        (void)ks_txn_key(c->txn, arg_at(c, 1), KS_NEED_VALUE);
        (void)ks_txn_key_in(c->txn, db, arg_at(c, to), KS_NEED_META);
    }
    return error == NULL ? KS_NEED_VALUE : KS_NEED_NOTHING;
}

static enum ks_need copy_keys(const struct command_ctx *c)
{
    struct copy_plan p;
    const char *error = plan_copy(c, &p);
    return name_both(c, error, p.db, 2);
}

static enum ks_need move_keys(const struct command_ctx *c)
{
    struct copy_plan p;
    const char *error = plan_move(c, &p);
    return name_both(c, error, p.db, 1);
}

/* The new key takes type, value and expiry. false: it is there already. */
static bool put_copy(struct command_ctx *c, const struct ks_value *from, const struct copy_plan *p,
                     struct bk_span key)
{
    struct ks_value to;
    bool puts;
    ks_get(c->txn, TO, &to);
    puts = p->replace || !to.exists;
    if (puts) {
        struct ks_write w = {from->type, from->bytes, from->block, from->expire_ms, from->encoding};
        ks_put(c->txn, TO, &w);
        command_notify_db(c, NOTIFY_NEW, "new", p->db, key); /* also where it replaces */
    }
    return puts;
}

static void copy_command(struct command_ctx *c)
{
    struct copy_plan p;
    struct ks_value from;
    const char *error = plan_copy(c, &p);
    if (error != NULL) {
        resp_write_error(c->reply, error);
    } else {
        bool copied;
        arg_lookup(c, FROM, &from);
        copied = from.exists && put_copy(c, &from, &p, arg_at(c, 2));
        if (copied) {
            command_notify_db(c, NOTIFY_GENERIC, "copy_to", p.db, arg_at(c, 2));
        }
        resp_write_int(c->reply, copied ? 1 : 0);
    }
}

static void move_command(struct command_ctx *c)
{
    struct copy_plan p;
    struct ks_value from;
    bool moved = false;
    const char *error = plan_move(c, &p);
    if (error != NULL) {
        resp_write_error(c->reply, error);
    } else {
        ks_get(c->txn, FROM, &from);
        moved = from.exists && put_copy(c, &from, &p, arg_at(c, 1));
        if (moved) {
            ks_delete(c->txn, FROM);
            command_notify(c, NOTIFY_GENERIC, "move_from", arg_at(c, 1));
            command_notify_db(c, NOTIFY_GENERIC, "move_to", p.db, arg_at(c, 1));
        }
        resp_write_int(c->reply, moved ? 1 : 0);
    }
}

/* ---- SWAPDB ---- */

static bool parse_index(const struct command_ctx *c, int arg, int64_t *db)
{
    return bk_parse_i64(arg_at(c, arg), db) && *db >= INT_MIN && *db <= INT_MAX;
}

/* NULL, or the error's text. */
static const char *plan_swap(const struct command_ctx *c, uint32_t *one, uint32_t *other)
{
    int64_t a = 0;
    int64_t b = 0;
    int64_t n = ks_databases(c->ks);
    const char *error = NULL;
    if (!parse_index(c, 1, &a)) {
        error = "ERR invalid first DB index";
    } else if (!parse_index(c, 2, &b)) {
        error = "ERR invalid second DB index";
    } else if (a < 0 || a >= n || b < 0 || b >= n) {
        error = ERROR_DB;
    }
    *one = (uint32_t)a;
    *other = (uint32_t)b;
    return error;
}

/* Inside MULTI: the keys of the commands behind it lie elsewhere. */
static enum ks_need swapdb_names(const struct command_ctx *c)
{
    uint32_t one;
    uint32_t other;
    if (plan_swap(c, &one, &other) == NULL) {
        ks_txn_will_swap(c->txn, one, other);
    }
    return KS_NEED_NOTHING;
}

static void swapdb_command(struct command_ctx *c)
{
    uint32_t one;
    uint32_t other;
    const char *error = plan_swap(c, &one, &other);
    if (error != NULL) {
        resp_write_error(c->reply, error);
        return;
    }
    if (one != other) {
        ks_swap(c->txn, one, other);
    }
    resp_write_ok(c->reply);
}

const struct command_row command_rows_copy[] = {
    {.name = "copy",
     .arity = -3,
     .flags = ROW_WRITE_OOM,
     .categories = CAT_KEYSPACE | CAT_WRITE | CAT_SLOW,
     ROW_TWO_KEYS,
     .name_keys = copy_keys,
     .run = copy_command},
    {.name = "move",
     .arity = 3,
     .flags = ROW_WRITE_FAST,
     .categories = CAT_KEYSPACE | CAT_WRITE | CAT_FAST,
     ROW_ONE_KEY,
     .name_keys = move_keys,
     .run = move_command},
    {.name = "swapdb",
     .arity = 3,
     .flags = ROW_WRITE_FAST | CMD_ALL_KEYS,
     .categories = CAT_KEYSPACE | CAT_WRITE | CAT_FAST | CAT_DANGEROUS,
     .name_keys = swapdb_names,
     .run = swapdb_command},
    ROW_END,
};
