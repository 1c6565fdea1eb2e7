/* SPDX-License-Identifier: MIT */
/* bitkv.c - BITKV, the commands that Redis does not have, and BGREWRITEAOF, which means one of
 * them. */
#include "command/args.h"
#include "command/connection.h"
#include "command/exec_private.h"
#include "command/rows.h"
#include "command/server_ops.h"

static void merge_status(struct command_ctx *c)
{
    struct bk_buf text = {0};
    c->ops->merge_status(c->ops->arg, &text);
    resp_write_verbatim(c->reply, "txt", bk_buf_span(&text));
    bk_buf_fini(&text);
}

static void bitkv_merge(struct command_ctx *c)
{
    struct bk_span what = c->cmd->argc > 2 ? arg_at(c, 2) : bk_span_str("status");
    if (c->cmd->argc > 3) {
        reply_subcommand_syntax(c, "BITKV");
    } else if (arg_is(what, "status")) {
        merge_status(c);
    } else if (arg_is(what, "now")) {
        c->ops->merge(c->ops->arg, MERGE_NOW);
        resp_write_ok(c->reply);
    } else if (arg_is(what, "pause")) {
        c->ops->merge(c->ops->arg, MERGE_PAUSE);
        resp_write_ok(c->reply);
    } else if (arg_is(what, "resume")) {
        c->ops->merge(c->ops->arg, MERGE_RESUME);
        resp_write_ok(c->reply);
    } else {
        resp_write_error(c->reply, ARG_ERROR_SYNTAX);
    }
}

static void bitkv_files(struct command_ctx *c)
{
    struct bk_buf text = {0};
    c->ops->files(c->ops->arg, &text);
    resp_write_verbatim(c->reply, "txt", bk_buf_span(&text));
    bk_buf_fini(&text);
}

static void bitkv_damage(struct command_ctx *c)
{
    struct bk_buf text = {0};
    c->ops->damage(c->ops->arg, &text);
    resp_write_verbatim(c->reply, "txt", bk_buf_span(&text));
    bk_buf_fini(&text);
}

static void bitkv_help(struct command_ctx *c)
{
    static const char *const lines[] = {
        "DAMAGE",
        "    One line for each place that was found damaged since the start.",
        "FILES",
        "    One line for each data file: its bytes by kind, and why a merge takes it or does not.",
        "MERGE [STATUS]",
        "    What the merge does and has done.",
        "MERGE NOW",
        "    Merge until nothing is left that can be reclaimed, whatever merge-policy says.",
        "MERGE PAUSE|RESUME",
        "    Stand still, and go on.",
        NULL,
    };
    reply_help(c, "BITKV", lines);
}

/* Redis rewrites its log without what is dead in it; so does a merge. */
static void bgrewriteaof(struct command_ctx *c)
{
    if (c->ops->merge_running(c->ops->arg)) {
        resp_write_error(c->reply, "ERR Background append only file rewriting already in progress");
    } else {
        c->ops->merge(c->ops->arg, MERGE_NOW);
        resp_write_simple(c->reply, c->exec->in_multi
                                        ? "Background append only file rewriting scheduled"
                                        : "Background append only file rewriting started");
    }
}

#define ADMIN (CMD_ADMIN | CMD_NOSCRIPT | CMD_NO_STORE)
#define CAT_ADMIN_SLOW (CAT_ADMIN | CAT_SLOW | CAT_DANGEROUS)

static const struct command_row bitkv_rows[] = {
    {.name = "merge",
     .arity = -2,
     .flags = ADMIN,
     .categories = CAT_ADMIN_SLOW,
     .run = bitkv_merge},
    {.name = "files", .arity = 2, .flags = ADMIN, .categories = CAT_ADMIN_SLOW, .run = bitkv_files},
    {.name = "damage",
     .arity = 2,
     .flags = ADMIN,
     .categories = CAT_ADMIN_SLOW,
     .run = bitkv_damage},
    {.name = "help",
     .arity = 2,
     .flags = CMD_LOADING | CMD_STALE | CMD_NO_STORE,
     .categories = CAT_SLOW,
     .run = bitkv_help},
    ROW_END,
};

const struct command_row command_rows_bitkv[] = {
    {.name = "bitkv",
     .arity = -2,
     .flags = CMD_NO_STORE,
     .categories = CAT_SLOW,
     .subcommands = bitkv_rows},
    {.name = "bgrewriteaof",
     .arity = 1,
     .flags = ADMIN | CMD_NO_ASYNC_LOADING,
     .categories = CAT_ADMIN_SLOW,
     .run = bgrewriteaof},
    ROW_END,
};
