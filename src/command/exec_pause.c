/* SPDX-License-Identifier: MIT */
/*
 * exec_pause.c - what a command makes of CLIENT PAUSE.
 *
 * It looks before it begins, and a writing one again under its key locks. CLIENT PAUSE sets the
 * mode, then passes all key locks, then answers: who has locks and sees no pause is done before the
 * answer, and who comes later sees it.
 */
#include "command/exec_private.h"
#include "command/multi.h"

static int pause_mode(const struct server_ops *ops)
{
    return ops->pause == NULL ? CLIENT_PAUSE_OFF
                              : atomic_load_explicit(ops->pause, memory_order_acquire);
}

bool exec_pause_holds(const struct server_ops *ops)
{
    return pause_mode(ops) != CLIENT_PAUSE_OFF && ops->client_paused(ops->arg);
}

bool exec_paused(const struct exec_run *r)
{
    const struct server_ops *ops = r->ctx.ops;
    const struct multi *m = r->ctx.session->multi;
    int mode = pause_mode(ops);
    uint32_t flags = r->ctx.row->flags;
    if (m != NULL && (flags & CMD_RUNS_QUEUE) != 0) {
        flags |= m->flags;
    }
    bool held = (mode == CLIENT_PAUSE_ALL && !r->begun) ||
                (mode != CLIENT_PAUSE_OFF && (flags & (CMD_WRITE | CMD_MAY_REPLICATE)) != 0);
    return held && ops->client_paused(ops->arg);
}
