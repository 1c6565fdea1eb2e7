/* SPDX-License-Identifier: MIT */
/* ahead.c - see ahead.h. */
#include "net/ahead.h"

#include "base/assert.h"

void ahead_fini(struct ahead *a)
{
    for (size_t i = 0; i < AHEAD_MAX; i++) {
        resp_command_fini(&a->cmd[i]);
    }
}

enum resp_status ahead_fill(struct ahead *a, struct resp_reader *r,
                            const struct resp_limits *limits, size_t max, const char **error)
{
    enum resp_status status = RESP_COMMAND;
    BK_ASSERT(a->at == a->n);
    a->at = 0;
    a->n = resp_reader_ahead(r, limits, a->cmd, max < AHEAD_MAX ? max : AHEAD_MAX);
    if (a->n == 0) {
        status = resp_reader_next(r, limits, &a->cmd[0], error);
        a->n = status == RESP_COMMAND ? 1 : 0;
    }
    return status;
}

void ahead_more(struct ahead *a, struct resp_reader *r, const struct resp_limits *limits)
{
    if (a->at == a->n) {
        a->at = 0;
        a->n = resp_reader_ahead(r, limits, a->cmd, AHEAD_MAX);
    }
}

void ahead_take(struct ahead *a, struct resp_command *cmd)
{
    struct resp_command mine = a->cmd[0];
    BK_ASSERT(a->at == a->n);
    a->cmd[0] = *cmd;
    *cmd = mine;
    a->at = 0;
    a->n = 1;
}

void ahead_put_back(struct ahead *a, struct resp_reader *r)
{
    if (a->at < a->n) {
        resp_reader_put_back(r, a->cmd + a->at, a->n - a->at);
    }
    if (a->n > 0) {
        resp_command_reset(&a->cmd[0]); /* the only one that may hold a large argument */
    }
    a->at = a->n = 0;
}
