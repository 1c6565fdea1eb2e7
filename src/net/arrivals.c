/* SPDX-License-Identifier: MIT */
/*
 * arrivals.c - connections whose bytes came in the same round of epoll.
 *
 * Without pipelines each brings one command, and each command would wait for its key's memory
 * alone. So the loop receives from several first, has what their commands will look up brought into
 * the processor's cache, for all of them at once (exec_prefetch), and then runs them, in the order
 * in which they came: also where a tick's time is over before all have run. A pipeline looks ahead
 * for itself (ahead.h).
 */
#include "net/net_private.h"

#include "base/assert.h"

/* The next command of a connection that has sent one, and no more. */
static bool parse_one(struct arrival *at)
{
    struct conn *c = at->conn;
    struct resp_limits limits = conn_limits(c);
    if (c->state != CONN_OPEN || !c->session.authenticated ||
        resp_reader_ahead(c->reader, &limits, &at->cmd, 1) == 0) {
        return false;
    }
    bool pipeline = resp_reader_pending(c->reader) > 0;
    if (pipeline) {
        resp_reader_put_back(c->reader, &at->cmd, 1);
    }
    return !pipeline;
}

static void look_ahead(struct loop *l, struct arrivals *a)
{
    struct exec_next next[ARRIVALS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < a->n; i++) {
        struct arrival *at = &a->v[i];
        at->parsed = parse_one(at);
        if (at->parsed) {
            next[n++] = (struct exec_next){&at->conn->session, &at->cmd};
        }
    }
    exec_prefetch(l->exec, next, n);
    (void)exec_look(l->exec); /* behind all that was received */
}

/* Its turn comes in the next tick, behind those that wait already. */
static void leave(struct loop *l, struct arrival *at)
{
    struct conn *c = at->conn;
    if (at->parsed) {
        resp_reader_put_back(c->reader, &at->cmd, 1);
    }
    conn_set_state(c, CONN_READY);
    list_remove(&c->queued);
    list_push(&l->left, &c->queued);
    resp_reader_give_back(c->reader, &l->spare);
    conn_measure(c);
}

static void run(struct loop *l, struct arrival *at)
{
    if (at->parsed) {
        ahead_take(&l->ahead, &at->cmd);
    }
    conn_run(at->conn);
}

/* Those that were left in former ticks, then those that have come; at least one, unless the time of
 * this round is over already. */
static void arrivals_run(struct loop *l)
{
    struct arrivals *a = &l->arrivals;
    bool late = a->late || loop_work_off(l, &l->left);
    if (!late && a->n > 1) {
        look_ahead(l, a);
    }
    for (size_t i = 0; i < a->n; i++) {
        if (a->v[i].conn->state != CONN_OPEN) {
            continue; /* the server stops, or the client was closed: its memory lasts until the
                         tick's end */
        }
        if (late) {
            leave(l, &a->v[i]);
        } else {
            run(l, &a->v[i]);
            late = loop_late(l);
        }
    }
    a->n = 0;
    a->late = late;
}

void arrivals_make_way(struct loop *l)
{
    const struct arrivals *a = &l->arrivals;
    if (a->n > 0) {
        resp_reader_step_aside(a->v[a->n - 1].conn->reader, &l->spare);
    }
}

void arrivals_add(struct loop *l, struct conn *c)
{
    struct arrivals *a = &l->arrivals;
    BK_ASSERT(a->n < ARRIVALS_MAX && c->state == CONN_OPEN);
    struct arrival *at = &a->v[a->n++];
    at->conn = c;
    at->parsed = false;
    if (a->n == ARRIVALS_MAX || !resp_reader_can_step_aside(c->reader)) {
        arrivals_run(l);
    }
}

void arrivals_end(struct loop *l)
{
    arrivals_run(l);
    l->arrivals.late = false;
}

void arrivals_fini(struct arrivals *a)
{
    for (size_t i = 0; i < ARRIVALS_MAX; i++) {
        resp_command_fini(&a->v[i].cmd);
    }
}
