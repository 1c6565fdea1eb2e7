/* SPDX-License-Identifier: MIT */
/*
 * save.c - BGSAVE, SAVE, LASTSAVE: snapshots are made behind server_ops, on a thread of their own.
 *
 * SAVE's connection is parked until that thread has ended: no other client waits for it.
 */
#include "command/save.h"

#include "command/args.h"
#include "command/connection.h"
#include "command/exec_private.h"
#include "command/multi.h"

/* A snapshot of an EXEC's own writes can only be begun once they are committed. */
static void schedule(struct command_ctx *c)
{
    struct bk_buf error = {0};
    if (c->ops->save_possible(c->ops->arg, &error)) {
        c->session->multi->saves = true;
        resp_write_simple(c->reply, "Background saving scheduled");
    } else {
        reply_error_text(c, &error);
    }
    bk_buf_fini(&error);
}

/* 0: the reply says why not. */
static uint64_t begin(struct command_ctx *c)
{
    struct bk_buf error = {0};
    uint64_t number = c->ops->save_begin(c->ops->arg, &error);
    if (number == 0) {
        reply_error_text(c, &error);
    }
    bk_buf_fini(&error);
    return number;
}

/* SCHEDULE is for a server that rewrites its log at the moment: a merge is in nobody's way here. */
void save_bgsave(struct command_ctx *c)
{
    if (c->cmd->argc > 2 || (c->cmd->argc == 2 && !arg_is(arg_at(c, 1), "schedule"))) {
        resp_write_error(c->reply, ARG_ERROR_SYNTAX);
    } else if (c->exec->in_multi) {
        schedule(c);
    } else if (begin(c) != 0) {
        resp_write_simple(c->reply, "Background saving started");
    }
}

void save_save(struct command_ctx *c)
{
    struct exec_slice *slice = exec_slice_of(c);
    if (slice->wanted == 0) {
        slice->wanted = begin(c);
    }
    if (slice->wanted == 0) {
        return;
    }
    switch (c->ops->save_state(c->ops->arg, slice->wanted)) {
    case SAVE_RUNNING:
        slice->more = true;
        slice->parked = true;
        break;
    case SAVE_DONE:
        resp_write_ok(c->reply);
        break;
    case SAVE_FAILED:
        resp_write_error(c->reply, "ERR the snapshot failed, see the log");
        break;
    }
}

void save_lastsave(struct command_ctx *c)
{
    resp_write_int(c->reply, c->ops->last_save_s(c->ops->arg));
}
