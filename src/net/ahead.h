/* SPDX-License-Identifier: MIT */
/*
 * ahead.h - commands of one connection that were parsed before their turn, so that the executor can
 * see what comes and have it brought nearer (exec_ahead).
 *
 * They still run one after the other. What one of them changes for those behind it is asked again
 * when their turn comes; what a connection that stops in the middle has not run goes back to its
 * reader.
 */
#ifndef BK_NET_AHEAD_H
#define BK_NET_AHEAD_H

#include "resp/reader.h"

#include <stddef.h>

#define AHEAD_MAX 16u

/* One for each loop; all zero is empty. */
struct ahead {
    struct resp_command cmd[AHEAD_MAX]; /* owned */
    size_t n, at;                       /* cmd[at .. n) are still to run */
};

void ahead_fini(struct ahead *a);

/* Parses, when nothing is left to run: several commands with several, else one. RESP_COMMAND:
 * cmd[0 .. n) are there. *error as resp_reader_next sets it. */
enum resp_status ahead_fill(struct ahead *a, struct resp_reader *r,
                            const struct resp_limits *limits, size_t max, const char **error);
/* The same for a look at what comes, and nothing else: there may be none to see. */
void ahead_more(struct ahead *a, struct resp_reader *r, const struct resp_limits *limits);
/* When all is put back: cmd, parsed elsewhere, is the one to run; *cmd is an empty one from now on.
 */
void ahead_take(struct ahead *a, struct resp_command *cmd);
/* Gives what has not been run back to the reader that it came from, and lets go of what has. */
void ahead_put_back(struct ahead *a, struct resp_reader *r);

#endif
