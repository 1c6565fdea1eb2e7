/* SPDX-License-Identifier: MIT */
/* database.c - commands on whole databases: SELECT DBSIZE RANDOMKEY FLUSHDB FLUSHALL, and the rows
 * of KEYS and SCAN. */
#include "command/args.h"
#include "command/rows.h"
#include "command/scan.h"

#include "base/num.h"

#include <limits.h>

static bool is_database(const struct command_ctx *c, int64_t n)
{
    return n >= 0 && n < (int64_t)ks_databases(c->ks);
}

/* Inside MULTI: the keys of the commands behind it are another database's. */
static enum ks_need select_names(const struct command_ctx *c)
{
    int64_t n = 0;
    if (c->cmd->argc == 2 && bk_parse_i64(arg_at(c, 1), &n) && is_database(c, n)) {
        ks_txn_focus(c->txn, (uint32_t)n, 0);
    }
    return KS_NEED_NOTHING;
}

static void select_command(struct command_ctx *c)
{
    int64_t n = 0;
    if (arg_i64(c, arg_at(c, 1), &n)) {
        if (n < INT_MIN || n > INT_MAX) {
            resp_write_errorf(c->reply, "ERR value is out of range, value must between %d and %d",
                              INT_MIN, INT_MAX);
        } else if (!is_database(c, n)) {
            resp_write_error(c->reply, "ERR DB index is out of range");
        } else {
            resp_write_ok(c->reply);
            atomic_store_explicit(&c->session->db, (uint32_t)n, memory_order_relaxed);
        }
    }
}

static void dbsize_command(struct command_ctx *c)
{
    resp_write_int(c->reply, (int64_t)ks_txn_count(c->txn));
}

static void randomkey_command(struct command_ctx *c)
{
    struct bk_buf key = {0};
    if (ks_txn_random_key(c->txn, &key) == BK_OK) {
        resp_write_bulk(c->reply, bk_buf_span(&key));
    } else {
        resp_write_null(c->reply);
    }
    bk_buf_fini(&key);
}

/* ASYNC and SYNC are the same here: a flush is one record, and memory is given back behind it. */
static bool flush_option_fits(const struct command_ctx *c)
{
    return c->cmd->argc == 1 ||
           (c->cmd->argc == 2 && (arg_is(arg_at(c, 1), "async") || arg_is(arg_at(c, 1), "sync")));
}

static bool check_flush_option(struct command_ctx *c)
{
    bool ok = flush_option_fits(c);
    if (!ok) {
        resp_write_error(c->reply, ARG_ERROR_SYNTAX);
    }
    return ok;
}

/* Inside MULTI: nothing need be fetched for the commands behind it. */
static enum ks_need flushdb_names(const struct command_ctx *c)
{
    if (flush_option_fits(c)) {
        ks_txn_will_flush(c->txn, ks_txn_db(c->txn));
    }
    return KS_NEED_NOTHING;
}

static enum ks_need flushall_names(const struct command_ctx *c)
{
    for (uint32_t db = 0; db < ks_databases(c->ks) && flush_option_fits(c); db++) {
        ks_txn_will_flush(c->txn, db);
    }
    return KS_NEED_NOTHING;
}

static void flushdb_command(struct command_ctx *c)
{
    if (check_flush_option(c)) {
        ks_flush(c->txn, ks_txn_db(c->txn));
        resp_write_ok(c->reply);
    }
}

static void flushall_command(struct command_ctx *c)
{
    if (check_flush_option(c)) {
        for (uint32_t db = 0; db < ks_databases(c->ks); db++) {
            ks_flush(c->txn, db);
        }
        resp_write_ok(c->reply);
    }
}

#define CAT_FLUSH (CAT_KEYSPACE | CAT_WRITE | CAT_SLOW | CAT_DANGEROUS)
#define CAT_LOOK (CAT_KEYSPACE | CAT_READ)

const struct command_row command_rows_database[] = {
    {.name = "dbsize",
     .arity = 1,
     .flags = ROW_READ_FAST,
     .categories = CAT_LOOK | CAT_FAST,
     .run = dbsize_command},
    {.name = "flushall",
     .arity = -1,
     .flags = CMD_WRITE | CMD_ALL_KEYS | CMD_TAKES_AWAY,
     .categories = CAT_FLUSH,
     .name_keys = flushall_names,
     .run = flushall_command},
    {.name = "flushdb",
     .arity = -1,
     .flags = CMD_WRITE | CMD_ALL_KEYS | CMD_TAKES_AWAY,
     .categories = CAT_FLUSH,
     .name_keys = flushdb_names,
     .run = flushdb_command},
    {.name = "keys",
     .arity = 2,
     .flags = CMD_READONLY,
     .categories = CAT_LOOK | CAT_SLOW | CAT_DANGEROUS,
     .run = scan_keys_command},
    {.name = "randomkey",
     .arity = 1,
     .flags = CMD_READONLY,
     .categories = CAT_LOOK | CAT_SLOW,
     .run = randomkey_command},
    {.name = "scan",
     .arity = -2,
     .flags = CMD_READONLY,
     .categories = CAT_LOOK | CAT_SLOW,
     .run = scan_scan_command},
    {.name = "select",
     .arity = 2,
     .flags = CMD_LOADING | CMD_STALE | CMD_FAST | CMD_NO_STORE,
     .categories = CAT_FAST | CAT_CONNECTION,
     .name_keys = select_names,
     .run = select_command},
    ROW_END,
};
