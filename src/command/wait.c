/* SPDX-License-Identifier: MIT */
/*
 * wait.c - WAIT: there are no replicas, so that none ever acknowledges.
 *
 * A client that wants one is parked until its time is over, or CLIENT UNBLOCK ends it: no other
 * client waits for it.
 */
#include "command/args.h"
#include "command/exec_private.h"
#include "command/rows.h"

#include "base/num.h"

/* The moment that the client waits for, EXEC_FOREVER when it sets no limit. */
static bool parse_timeout(struct command_ctx *c, int arg, int64_t *until_ms)
{
    int64_t ms = 0;
    bool ok = false;
    if (!bk_parse_i64(arg_at(c, arg), &ms)) {
        resp_write_error(c->reply, "ERR timeout is not an integer or out of range");
    } else if (ms < 0) {
        resp_write_error(c->reply, "ERR timeout is negative");
    } else {
        ok = true;
        if (ms == 0) {
            *until_ms = EXEC_FOREVER;
        } else if (__builtin_add_overflow(ms, c->now_ms, until_ms)) {
            *until_ms = c->now_ms; /* as in Redis, where the sum lies in the past */
        }
    }
    return ok;
}

/* Whether the client goes on waiting. The state changes in one step, so that CLIENT UNBLOCK ends
 * this wait or finds none. */
static bool stay_parked(struct command_ctx *c, bool wants)
{
    int was = WAIT_NONE;
    return wants && (atomic_compare_exchange_strong(&c->session->wait, &was, WAIT_PARKED) ||
                     was == WAIT_PARKED);
}

static void wait_command(struct command_ctx *c)
{
    int64_t replicas = 0;
    int64_t until_ms = 0;
    if (arg_i64(c, arg_at(c, 1), &replicas) && parse_timeout(c, 2, &until_ms)) {
        struct exec_slice *slice = exec_slice_of(c);
        if (slice->until_ms == 0) {
            slice->until_ms = until_ms;
        }
        /* An EXEC cannot wait. */
        bool wants = replicas > 0 && c->now_ms < slice->until_ms && !c->exec->in_multi;
        slice->more = stay_parked(c, wants);
        slice->parked = slice->more;
        if (!slice->more && atomic_exchange(&c->session->wait, WAIT_NONE) == WAIT_UNBLOCKED_ERROR) {
            resp_write_error(c->reply, "UNBLOCKED client unblocked via CLIENT UNBLOCK");
        } else {
            resp_write_int(c->reply, 0); /* taken back while it waits */
        }
    }
}

const struct command_row command_rows_wait[] = {
    {.name = "wait",
     .arity = 3,
     .flags = CMD_NOSCRIPT | CMD_NO_STORE,
     .categories = CAT_SLOW | CAT_CONNECTION,
     .run = wait_command},
    ROW_END,
};
