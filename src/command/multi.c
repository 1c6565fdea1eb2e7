/* SPDX-License-Identifier: MIT */
/* multi.c - MULTI, DISCARD, WATCH, UNWATCH, and the queue between MULTI and EXEC. */
#include "command/multi.h"

#include "command/args.h"
#include "command/exec_private.h"
#include "command/rows.h"

#include <stdlib.h>

/* ---- The queue ---- */

static void set_figures(struct session *s)
{
    uint64_t bytes = (s->multi == NULL ? 0 : s->multi->bytes) + ks_watches_memory(s->watches);
    uint32_t count = s->multi == NULL ? 0 : (uint32_t)s->multi->n + 1;
    atomic_store_explicit(&s->multi_bytes, bytes, memory_order_relaxed);
    atomic_store_explicit(&s->multi_count, count, memory_order_relaxed);
}

static void note_flags(struct multi *m, uint32_t flags)
{
    bool took_away = (m->flags & CMD_WRITE) == 0 || (m->flags & CMD_TAKES_AWAY) != 0;
    m->flags |= flags & (CMD_WRITE | CMD_DENYOOM | CMD_READONLY | CMD_MAY_REPLICATE);
    if ((flags & CMD_WRITE) != 0) {
        bool all = took_away && (flags & CMD_TAKES_AWAY) != 0;
        m->flags = all ? m->flags | CMD_TAKES_AWAY : m->flags & ~(uint32_t)CMD_TAKES_AWAY;
    }
    m->uses_store = m->uses_store || (flags & CMD_NO_STORE) == 0;
    m->not_loading = m->not_loading || (flags & CMD_LOADING) == 0;
}

void multi_queue(struct session *s, const struct command_slot *slot, const struct resp_command *cmd)
{
    struct multi *m = s->multi;
    if (m->n == m->cap) {
        m->cap = m->cap == 0 ? 4 : m->cap * 2;
        m->v = bk_realloc(m->v, m->cap * sizeof(*m->v));
    }
    struct multi_command *q = &m->v[m->n++];
    *q = (struct multi_command){.slot = slot};
    m->bytes += sizeof(*q) + resp_command_copy(&q->cmd, cmd);
    note_flags(m, slot->row->flags);
    set_figures(s);
}

static void multi_free(struct multi **m)
{
    for (size_t i = 0; *m != NULL && i < (*m)->n; i++) {
        resp_command_fini(&(*m)->v[i].cmd);
        bk_buf_fini(&(*m)->v[i].reply);
    }
    if (*m != NULL) {
        free((*m)->v);
        free(*m);
        *m = NULL;
    }
}

void multi_discard(struct session *s, struct keyspace *ks)
{
    multi_free(&s->multi);
    ks_unwatch(ks, &s->watches);
    s->watch_lost = false;
    set_figures(s);
}

void session_end(struct session *s, struct keyspace *ks)
{
    multi_discard(s, ks);
    ks_reads_free(&s->ahead);
}

/* ---- Commands ---- */

static void multi_command(struct command_ctx *c)
{
    if (c->session->multi != NULL) {
        resp_write_error(c->reply, "ERR MULTI calls can not be nested");
        return;
    }
    resp_write_ok(c->reply);
    c->session->multi = bk_alloc_zero(1, sizeof(*c->session->multi));
    set_figures(c->session);
}

static void discard_command(struct command_ctx *c)
{
    if (c->session->multi == NULL) {
        resp_write_error(c->reply, "ERR DISCARD without MULTI");
        return;
    }
    resp_write_ok(c->reply);
    multi_discard(c->session, c->ks);
}

/* What EXEC does when there is nothing to execute. */
static void exec_outside(struct command_ctx *c)
{
    resp_write_error(c->reply, "ERR EXEC without MULTI");
}

static void watch_command(struct command_ctx *c)
{
    struct session *s = c->session;
    if (s->multi != NULL) {
        resp_write_error(c->reply, "ERR WATCH inside MULTI is not allowed");
        return;
    }
    uint32_t db = atomic_load_explicit(&s->db, memory_order_relaxed);
    s->watch_lost = s->watch_lost || !ks_ready(c->ks);
    for (int i = 1; i < c->cmd->argc && !s->watch_lost; i++) {
        ks_watch(c->ks, &s->watches, db, arg_at(c, i), c->now_ms);
    }
    resp_write_ok(c->reply);
    set_figures(s);
}

/* Inside EXEC, which holds the keys' locks, the watches are over anyway. */
static void unwatch_command(struct command_ctx *c)
{
    if (!c->exec->in_multi) {
        ks_unwatch(c->ks, &c->session->watches);
        c->session->watch_lost = false;
        set_figures(c->session);
    }
    resp_write_ok(c->reply);
}

#define MULTI_FLAGS \
    (CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_ALLOW_BUSY | CMD_NO_STORE)
#define CAT_MULTI (CAT_FAST | CAT_TRANSACTION)

const struct command_row command_rows_multi[] = {
    {.name = "discard",
     .arity = 1,
     .flags = MULTI_FLAGS | CMD_AT_ONCE,
     .categories = CAT_MULTI,
     .run = discard_command},
    {.name = "exec",
     .arity = 1,
     .flags = CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_SKIP_SLOWLOG | CMD_NO_STORE |
              CMD_AT_ONCE | CMD_RUNS_QUEUE,
     .categories = CAT_SLOW | CAT_TRANSACTION,
     .run = exec_outside},
    {.name = "multi",
     .arity = 1,
     .flags = MULTI_FLAGS | CMD_AT_ONCE,
     .categories = CAT_MULTI,
     .run = multi_command},
    {.name = "unwatch",
     .arity = 1,
     .flags = MULTI_FLAGS,
     .categories = CAT_MULTI,
     .run = unwatch_command},
    {.name = "watch",
     .arity = -2,
     .flags = MULTI_FLAGS | CMD_AT_ONCE,
     .categories = CAT_MULTI,
     ROW_ALL_ARGS,
     .run = watch_command},
    ROW_END,
};
