/* SPDX-License-Identifier: MIT */
/*
 * toolrun.h - the offline tool, or another program, run to its end: input from memory, what it
 * writes kept.
 */
#ifndef BK_TESTS_TOOLRUN_H
#define BK_TESTS_TOOLRUN_H

#include "base/buf.h"

#include <stdio.h>
#include <sys/types.h>

#define TOOLRUN_ARGS 16

/* All zero to begin with; used again and again; toolrun_fini at the end. */
struct toolrun {
    struct bk_span input; /* borrowed; used up by the next run */
    int status;           /* exit status; -signal */
    struct bk_buf out;
    struct bk_buf err; /* both end in a NUL that is not counted */
};

/* bitkv with these arguments; the program is the one that was built together with the test. Returns
 * the status. */
int tool(struct toolrun *t, const char *arg, ...) __attribute__((sentinel));
/* Any program; argv[0] is looked for in PATH. */
int toolrun_argv(struct toolrun *t, const char *const *argv);
void toolrun_fini(struct toolrun *t);

#endif
