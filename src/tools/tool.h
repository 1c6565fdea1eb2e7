/* SPDX-License-Identifier: MIT */
/*
 * tool.h - what every verb of the offline tool gets, and how it ends.
 *
 * A verb is one function over the parsed command line; it returns the exit status of the process.
 * What is asked for goes to standard output, all else to standard error.
 */
#ifndef BK_TOOLS_TOOL_H
#define BK_TOOLS_TOOL_H

#include "base/error.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

enum tool_exit {
    TOOL_OK = 0,
    TOOL_NO = 1,   /* the answer is no: no such key, damage found, something lost */
    TOOL_ERROR = 2 /* it could not be done: wrong usage, no such store, a disk's error */
};

enum tool_format { TOOL_JSON, TOOL_RESP };

struct tool_args {
    const char *dir;
    int argc;    /* operands behind DIR */
    char **argv; /* borrowed */
    uint32_t db;
    bool db_given;
    bool json, hex, null, stdin_key;
    int64_t expire_ms; /* absolute; 0 = never */
    enum tool_format format;
};

int tool_get(const struct tool_args *a);
int tool_put(const struct tool_args *a);
int tool_del(const struct tool_args *a);
int tool_keys(const struct tool_args *a);
int tool_stats(const struct tool_args *a);
int tool_check(const struct tool_args *a);
int tool_repair(const struct tool_args *a);
int tool_dump(const struct tool_args *a);
int tool_load(const struct tool_args *a);
int tool_merge(const struct tool_args *a);
int tool_snapshot(const struct tool_args *a);
int tool_restore(const struct tool_args *a);

/* "bitkv: ..." on standard error; TOOL_ERROR. */
int tool_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int tool_fail_err(const struct bk_error *err);
/* After the last byte of output: TOOL_ERROR when not all of it could be written, else status. */
int tool_output_end(int status);

#endif
