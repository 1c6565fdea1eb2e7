/* SPDX-License-Identifier: MIT */
/* slowlog.c - SLOWLOG: the latest commands that took slowlog-log-slower-than microseconds or
 * longer. */
#include "command/args.h"
#include "command/connection.h"
#include "command/exec_private.h"
#include "command/timing_private.h"

#include "base/num.h"

#include <stdlib.h>

#define GET_DEFAULT 10

/* ---- Keeping ---- */

static void drop_oldest_locked(struct timing *t) BK_REQUIRES(t->mu);

static void drop_oldest_locked(struct timing *t)
{
    struct slow_entry *gone = t->oldest;
    t->oldest = gone->newer;
    if (t->oldest != NULL) {
        t->oldest->older = NULL;
    } else {
        t->newest = NULL;
    }
    t->slow_n--;
    bk_buf_fini(&gone->rest);
    free(gone);
}

void slowlog_trim_locked(struct timing *t)
{
    while (t->slow_n > t->slow_max) {
        drop_oldest_locked(t);
    }
}

void slowlog_clear_locked(struct timing *t)
{
    while (t->slow_n > 0) {
        drop_oldest_locked(t);
    }
}

/* The client's name too, which it may choose as long as an argument. */
static void write_arg(struct resp_writer *out, struct bk_span arg)
{
    if (arg.len > SLOWLOG_ARG_BYTES) {
        struct bk_buf cut = {0};
        bk_buf_append(&cut, arg.data, SLOWLOG_ARG_BYTES);
        bk_buf_printf(&cut, "... (%zu more bytes)", arg.len - SLOWLOG_ARG_BYTES);
        resp_write_bulk(out, bk_buf_span(&cut));
        bk_buf_fini(&cut);
    } else {
        resp_write_bulk(out, arg);
    }
}

/* The last three elements of an entry; both protocols write them alike. */
static void write_rest(struct resp_writer *out, const struct command_ctx *c)
{
    int argc = c->cmd->argc;
    int kept = argc > SLOWLOG_ARGS ? SLOWLOG_ARGS : argc;
    resp_write_array(out, (uint64_t)kept);
    for (int i = 0; i < kept; i++) {
        if (kept < argc && i == kept - 1) {
            struct bk_buf more = {0};
            bk_buf_printf(&more, "... (%d more arguments)", argc - kept + 1);
            resp_write_bulk(out, bk_buf_span(&more));
            bk_buf_fini(&more);
        } else if (exec_is_secret(c, i)) {
            resp_write_bulk_str(out, "(redacted)");
        } else {
            write_arg(out, arg_at(c, i));
        }
    }
    resp_write_bulk_str(out, c->session->addr != NULL ? c->session->addr : "");
    write_arg(out, bk_span_str(c->session->name != NULL ? c->session->name : ""));
}

void slowlog_add(struct timing *t, const struct command_ctx *c, int64_t took_us)
{
    if (took_us < atomic_load_explicit(&t->slow_us, memory_order_relaxed)) {
        return;
    }
    struct slow_entry *entry = bk_alloc_zero(1, sizeof(*entry));
    struct resp_writer out = {.out = &entry->rest, .proto = 2};
    entry->time_s = c->exec->now_us / 1000000;
    entry->took_us = took_us;
    write_rest(&out, c);
    entry->rest.data = bk_realloc(entry->rest.data, entry->rest.len); /* it may be kept for long */
    entry->rest.cap = entry->rest.len;
    bk_mutex_lock(&t->mu);
    entry->id = t->slow_next_id++;
    entry->older = t->newest;
    if (t->newest != NULL) {
        t->newest->newer = entry;
    } else {
        t->oldest = entry;
    }
    t->newest = entry;
    t->slow_n++;
    slowlog_trim_locked(t);
    bk_mutex_unlock(&t->mu);
}

/* ---- The command ---- */

static void slowlog_get(struct command_ctx *c)
{
    struct timing *t = c->ops->timing;
    int64_t wanted = GET_DEFAULT;
    if (c->cmd->argc == 3 && (!bk_parse_i64(arg_at(c, 2), &wanted) || wanted < -1)) {
        resp_write_error(c->reply, "ERR count should be greater than or equal to -1");
        return;
    }
    if (c->cmd->argc > 3) {
        reply_subcommand_syntax(c, "SLOWLOG");
        return;
    }
    bk_mutex_lock(&t->mu);
    uint64_t n = wanted < 0 || (uint64_t)wanted > t->slow_n ? t->slow_n : (uint64_t)wanted;
    const struct slow_entry *entry = t->newest;
    resp_write_array(c->reply, n);
    for (; n > 0; n--) {
        resp_write_array(c->reply, 6);
        resp_write_int(c->reply, entry->id);
        resp_write_int(c->reply, entry->time_s);
        resp_write_int(c->reply, entry->took_us);
        bk_buf_append(c->reply->out, entry->rest.data, entry->rest.len);
        entry = entry->older;
    }
    bk_mutex_unlock(&t->mu);
}

static void slowlog_len(struct command_ctx *c)
{
    struct timing *t = c->ops->timing;
    bk_mutex_lock(&t->mu);
    resp_write_int(c->reply, (int64_t)t->slow_n);
    bk_mutex_unlock(&t->mu);
}

static void slowlog_reset(struct command_ctx *c)
{
    struct timing *t = c->ops->timing;
    bk_mutex_lock(&t->mu);
    slowlog_clear_locked(t);
    bk_mutex_unlock(&t->mu);
    resp_write_ok(c->reply);
}

static void slowlog_help(struct command_ctx *c)
{
    static const char *const lines[] = {
        "GET [<count>]",
        "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
        "    Entries are made of:",
        "    id, timestamp, time in microseconds, arguments array, client IP and port,",
        "    client name",
        "LEN",
        "    Return the length of the slowlog.",
        "RESET",
        "    Reset the slowlog.",
        NULL,
    };
    reply_help(c, "SLOWLOG", lines);
}

#define FLAGS (CMD_ADMIN | CMD_LOADING | CMD_STALE | CMD_NO_STORE)
#define CATS (CAT_ADMIN | CAT_SLOW | CAT_DANGEROUS)

static const struct command_row subcommands[] = {
    {.name = "get", .arity = -2, .flags = FLAGS, .categories = CATS, .run = slowlog_get},
    {.name = "len", .arity = 2, .flags = FLAGS, .categories = CATS, .run = slowlog_len},
    {.name = "reset", .arity = 2, .flags = FLAGS, .categories = CATS, .run = slowlog_reset},
    {.name = "help",
     .arity = 2,
     .flags = CMD_LOADING | CMD_STALE | CMD_NO_STORE,
     .categories = CAT_SLOW,
     .run = slowlog_help},
    {.name = NULL},
};

const struct command_row command_rows_slowlog[] = {
    {.name = "slowlog",
     .arity = -2,
     .flags = CMD_NO_STORE,
     .categories = CAT_SLOW,
     .subcommands = subcommands},
    {.name = NULL},
};
