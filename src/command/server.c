/* SPDX-License-Identifier: MIT */
/*
 * server.c - commands about the server as a whole: CONFIG, INFO, SHUTDOWN, TIME, FUNCTION FLUSH.
 * DEBUG: debug.c. SAVE: save.c.
 *
 * What they show and change lies behind struct server_ops.
 */
#include "command/args.h"
#include "command/connection.h"
#include "command/debug.h"
#include "command/exec_private.h"
#include "command/save.h"
#include "command/table.h"

#include <stdlib.h>
#include <time.h>

/* ---- CONFIG ---- */

struct config_reply {
    struct resp_writer w; /* into a buffer of its own: the count comes first */
    uint64_t found;
};

static void config_each(void *arg, const char *name, struct bk_span value)
{
    struct config_reply *r = arg;
    resp_write_bulk_str(&r->w, name);
    resp_write_bulk(&r->w, value);
    r->found++;
}

static void config_get(struct command_ctx *c)
{
    size_t n = (size_t)c->cmd->argc - 2;
    struct bk_span *patterns = bk_alloc(n * sizeof(*patterns));
    struct bk_buf pairs = {0};
    struct config_reply r = {.w = {.out = &pairs, .proto = c->reply->proto}};
    for (size_t i = 0; i < n; i++) {
        patterns[i] = arg_at(c, (int)i + 2);
    }
    c->ops->config_get(c->ops->arg, patterns, n, config_each, &r);
    resp_write_map(c->reply, r.found);
    bk_buf_append(c->reply->out, pairs.data, pairs.len);
    bk_buf_fini(&pairs);
    free(patterns);
}

static void config_set(struct command_ctx *c)
{
    size_t n = ((size_t)c->cmd->argc - 2) / 2;
    struct config_pair *pairs = bk_alloc(n * sizeof(*pairs));
    struct bk_buf error = {0};
    for (size_t i = 0; i < n; i++) {
        pairs[i].name = arg_at(c, (int)(2 * i) + 2);
        pairs[i].value = arg_at(c, (int)(2 * i) + 3);
        if (c->ops->config_secret(c->ops->arg, pairs[i].name)) {
            exec_redact(c, (int)(2 * i) + 3);
        }
    }
    if (c->cmd->argc % 2 != 0) {
        resp_write_error(c->reply, ARG_ERROR_SYNTAX);
    } else if (c->ops->config_set(c->ops->arg, pairs, n, &error)) {
        resp_write_ok(c->reply);
    } else {
        reply_error_text(c, &error);
    }
    bk_buf_fini(&error);
    free(pairs);
}

static void config_resetstat(struct command_ctx *c)
{
    c->ops->config_resetstat(c->ops->arg);
    resp_write_ok(c->reply);
}

static void config_rewrite(struct command_ctx *c)
{
    struct bk_buf error = {0};
    if (c->ops->config_rewrite(c->ops->arg, &error)) {
        resp_write_ok(c->reply);
    } else {
        reply_error_text(c, &error);
    }
    bk_buf_fini(&error);
}

static void config_help(struct command_ctx *c)
{
    static const char *const lines[] = {
        "GET <pattern>",
        "    Return parameters matching the glob-like <pattern> and their values.",
        "SET <directive> <value>",
        "    Set the configuration <directive> to <value>.",
        "RESETSTAT",
        "    Reset statistics reported by the INFO command.",
        "REWRITE",
        "    Rewrite the configuration file.",
        NULL,
    };
    reply_help(c, "CONFIG", lines);
}

/* ---- INFO, TIME ---- */

static void info_run(struct command_ctx *c)
{
    struct bk_span standard = bk_span_str("default");
    size_t n = (size_t)c->cmd->argc - 1;
    struct bk_span *sections = bk_alloc((n + 1) * sizeof(*sections));
    struct bk_buf text = {0};
    sections[0] = standard;
    for (size_t i = 0; i < n; i++) {
        sections[i] = arg_at(c, (int)i + 1);
    }
    c->ops->info(c->ops->arg, sections, n == 0 ? 1 : n, &text);
    resp_write_verbatim(c->reply, "txt", bk_buf_span(&text));
    bk_buf_fini(&text);
    free(sections);
}

/* The clock itself, not the tick's: the reply promises microseconds. */
static void time_run(struct command_ctx *c)
{
    struct timespec now;
    bk_ignore(clock_gettime(CLOCK_REALTIME, &now), "this clock cannot fail");
    resp_write_array(c->reply, 2);
    resp_write_bulk_i64(c->reply, now.tv_sec);
    resp_write_bulk_i64(c->reply, now.tv_nsec / 1000);
}

/* ---- SHUTDOWN ---- */

static const struct shutdown_word {
    const char *word;
    unsigned flag;
} shutdown_words[] = {{"nosave", SHUTDOWN_NOSAVE},
                      {"save", SHUTDOWN_SAVE},
                      {"now", SHUTDOWN_NOW},
                      {"force", SHUTDOWN_FORCE}};

static bool shutdown_word(struct bk_span arg, unsigned *flags, bool *abort_it)
{
    bool known = arg_is(arg, "abort");
    *abort_it = *abort_it || known;
    for (size_t i = 0; i < sizeof(shutdown_words) / sizeof(shutdown_words[0]) && !known; i++) {
        known = arg_is(arg, shutdown_words[i].word);
        *flags |= known ? shutdown_words[i].flag : 0;
    }
    return known;
}

static void shutdown_begin(struct command_ctx *c, unsigned flags)
{
    struct bk_buf error = {0};
    if (c->ops->shutdown(c->ops->arg, flags, &error)) {
        /* The end of the connection is the reply, and it comes when the server has closed its
         * store. */
        c->session->reply_mode = REPLY_OFF;
    } else {
        reply_error_text(c, &error);
    }
    bk_buf_fini(&error);
}

static void shutdown_run(struct command_ctx *c)
{
    unsigned flags = 0;
    bool abort_it = false;
    bool ok = true;
    for (int i = 1; ok && i < c->cmd->argc; i++) {
        ok = shutdown_word(arg_at(c, i), &flags, &abort_it);
    }
    ok = ok && !(abort_it && flags != 0) &&
         ((flags & SHUTDOWN_NOSAVE) == 0 || (flags & SHUTDOWN_SAVE) == 0);
    if (!ok) {
        resp_write_error(c->reply, ARG_ERROR_SYNTAX);
    } else if (!abort_it) {
        shutdown_begin(c, flags);
    } else if (c->ops->shutdown_abort(c->ops->arg)) {
        resp_write_ok(c->reply);
    } else {
        resp_write_error(c->reply, "ERR No shutdown in progress.");
    }
}

/* ---- FUNCTION ---- */

/* There are no functions, so there is nothing to flush; test suites call it before each test. */
static void function_flush(struct command_ctx *c)
{
    if (c->cmd->argc > 3) {
        reply_subcommand_syntax(c, "FUNCTION");
    } else if (c->cmd->argc == 3 && !arg_is(arg_at(c, 2), "sync") &&
               !arg_is(arg_at(c, 2), "async")) {
        resp_write_error(c->reply, "ERR FUNCTION FLUSH only supports SYNC|ASYNC option");
    } else {
        resp_write_ok(c->reply);
    }
}

static void function_help(struct command_ctx *c)
{
    static const char *const lines[] = {
        "FLUSH [ASYNC|SYNC]",
        "    Delete all the libraries.",
        "    When called without the optional mode argument, the behavior is determined by the",
        "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
        "    * ASYNC: Asynchronously flush the libraries.",
        "    * SYNC: Synchronously flush the libraries.",
        NULL,
    };
    reply_help(c, "FUNCTION", lines);
}

#define HELP_FLAGS (CMD_LOADING | CMD_STALE | CMD_NO_STORE)
#define ADMIN (CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_NO_STORE)
#define CAT_ADMIN_SLOW (CAT_ADMIN | CAT_SLOW | CAT_DANGEROUS)

static const struct command_row config_rows[] = {
    {.name = "get", .arity = -3, .flags = ADMIN, .categories = CAT_ADMIN_SLOW, .run = config_get},
    {.name = "set", .arity = -4, .flags = ADMIN, .categories = CAT_ADMIN_SLOW, .run = config_set},
    {.name = "resetstat",
     .arity = 2,
     .flags = ADMIN,
     .categories = CAT_ADMIN_SLOW,
     .run = config_resetstat},
    {.name = "rewrite",
     .arity = 2,
     .flags = ADMIN,
     .categories = CAT_ADMIN_SLOW,
     .run = config_rewrite},
    {.name = "help", .arity = 2, .flags = HELP_FLAGS, .categories = CAT_SLOW, .run = config_help},
    {.name = NULL},
};

static const struct command_row function_rows[] = {
    {.name = "flush",
     .arity = -2,
     .flags = CMD_WRITE | CMD_NOSCRIPT | CMD_NO_STORE,
     .categories = CAT_WRITE | CAT_SLOW | CAT_SCRIPTING,
     .run = function_flush},
    {.name = "help",
     .arity = 2,
     .flags = HELP_FLAGS,
     .categories = CAT_SLOW | CAT_SCRIPTING,
     .run = function_help},
    {.name = NULL},
};

const struct command_row command_rows_server[] = {
    {.name = "config",
     .arity = -2,
     .flags = CMD_NO_STORE,
     .categories = CAT_SLOW,
     .subcommands = config_rows},
    {.name = "info",
     .arity = -1,
     .flags = CMD_LOADING | CMD_STALE | CMD_NO_STORE,
     .categories = CAT_SLOW | CAT_DANGEROUS,
     .run = info_run},
    {.name = "time",
     .arity = 1,
     .flags = CMD_LOADING | CMD_STALE | CMD_FAST | CMD_NO_STORE,
     .categories = CAT_FAST,
     .run = time_run},
    {.name = "shutdown",
     .arity = -1,
     .flags = ADMIN | CMD_NO_MULTI | CMD_ALLOW_BUSY,
     .categories = CAT_ADMIN_SLOW,
     .run = shutdown_run},
    {.name = "bgsave",
     .arity = -1,
     .flags = CMD_ADMIN | CMD_NOSCRIPT | CMD_NO_ASYNC_LOADING | CMD_NO_STORE,
     .categories = CAT_ADMIN_SLOW,
     .run = save_bgsave},
    {.name = "save",
     .arity = 1,
     .flags = CMD_ADMIN | CMD_NOSCRIPT | CMD_NO_ASYNC_LOADING | CMD_NO_MULTI | CMD_NO_STORE,
     .categories = CAT_ADMIN_SLOW,
     .run = save_save},
    {.name = "lastsave",
     .arity = 1,
     .flags = CMD_LOADING | CMD_STALE | CMD_FAST | CMD_NO_STORE,
     .categories = CAT_ADMIN | CAT_FAST | CAT_DANGEROUS,
     .run = save_lastsave},
    {.name = "debug",
     .arity = -2,
     .flags = ADMIN | CMD_PROTECTED,
     .categories = CAT_ADMIN_SLOW,
     .run = debug_run},
    {.name = "function",
     .arity = -2,
     .flags = CMD_NO_STORE,
     .categories = CAT_SLOW,
     .subcommands = function_rows},
    {.name = NULL},
};
