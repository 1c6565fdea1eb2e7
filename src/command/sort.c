/* SPDX-License-Identifier: MIT */
/*
 * sort.c - SORT and SORT_RO. There is nothing to sort yet, since there are no lists, sets or sorted
 * sets: a key that is not there sorts to nothing, one that is there is of the wrong type.
 */
#include "command/args.h"
#include "command/notify.h"
#include "command/rows.h"

#include "base/num.h"

/* The transaction's index of the keys. */
enum { SOURCE = 0, DESTINATION = 1 };

/* The options; store: place in argv of the destination, 0 = none. NULL, or the error's text. */
static const char *parse_options(const struct resp_command *cmd, bool may_store, int *store)
{
    const char *error = NULL;
    *store = 0;
    for (int i = 2; i < cmd->argc && error == NULL; i++) {
        struct bk_span word = cmd->argv[i].bytes;
        int more = cmd->argc - 1 - i;
        int64_t n;
        if (arg_is(word, "asc") || arg_is(word, "desc") || arg_is(word, "alpha")) {
            continue;
        }
        if (arg_is(word, "limit") && more >= 2) {
            bool numbers = bk_parse_i64(cmd->argv[i + 1].bytes, &n) &&
                           bk_parse_i64(cmd->argv[i + 2].bytes, &n);
            error = numbers ? NULL : ARG_ERROR_INTEGER;
            i += 2;
        } else if (may_store && arg_is(word, "store") && more >= 1) {
            *store = ++i;
        } else if ((arg_is(word, "by") || arg_is(word, "get")) && more >= 1) {
            i++;
        } else {
            error = ARG_ERROR_SYNTAX;
        }
    }
    return error;
}

static enum ks_need sort_keys(const struct command_ctx *c)
{
    int store;
    bool good = parse_options(c->cmd, true, &store) == NULL;
    if (good) {
        (void)ks_txn_key(c->txn, arg_at(c, 1), KS_NEED_META);
    }
    if (good && store != 0) {
        (void)ks_txn_key(c->txn, arg_at(c, store), KS_NEED_META);
    }
    return good ? KS_NEED_META : KS_NEED_NOTHING;
}

/* What nothing sorts to: the destination is deleted. */
static void store_nothing(struct command_ctx *c, struct bk_span destination)
{
    struct ks_value old;
    ks_get(c->txn, DESTINATION, &old);
    if (old.exists) {
        ks_delete(c->txn, DESTINATION);
        command_notify(c, NOTIFY_GENERIC, "del", destination);
    }
    resp_write_int(c->reply, 0);
}

static void sort_key(struct command_ctx *c, bool may_store)
{
    struct ks_value v;
    int store;
    const char *error = parse_options(c->cmd, may_store, &store);
    if (error != NULL) {
        resp_write_error(c->reply, error);
        return;
    }
    arg_lookup(c, SOURCE, &v);
    if (v.exists) {
        arg_reply_wrong_type(c);
    } else if (store != 0) {
        store_nothing(c, arg_at(c, store));
    } else {
        resp_write_array(c->reply, 0);
    }
}

static void sort_command(struct command_ctx *c)
{
    sort_key(c, true);
}

static void sort_ro_command(struct command_ctx *c)
{
    sort_key(c, false);
}

#define CAT_SORT (CAT_SET | CAT_SORTEDSET | CAT_LIST | CAT_SLOW | CAT_DANGEROUS)

const struct command_row command_rows_sort[] = {
    {.name = "sort",
     .arity = -2,
     .flags = ROW_WRITE_OOM | CMD_MOVABLEKEYS,
     .categories = CAT_SORT | CAT_WRITE,
     ROW_ONE_KEY,
     .name_keys = sort_keys,
     .run = sort_command},
    {.name = "sort_ro",
     .arity = -2,
     .flags = CMD_READONLY | CMD_MOVABLEKEYS,
     .categories = CAT_SORT | CAT_READ,
     ROW_ONE_KEY,
     .need = KS_NEED_META,
     .run = sort_ro_command},
    ROW_END,
};
