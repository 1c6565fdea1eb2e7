/* SPDX-License-Identifier: MIT */
/* exec_unknown.c - the replies to names that no command has. */
#include "command/exec_private.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define QUOTED_MAX 128 /* of a name, and of all arguments together, in "unknown command" */

/* As %.*s sees the argument: up to a NUL. */
static int quoted_len(struct bk_span arg, int max)
{
    size_t len = arg.len < (size_t)max ? arg.len : (size_t)max;
    return len == 0 ? 0 : (int)strnlen((const char *)arg.data, len);
}

void exec_reply_unknown(struct resp_writer *reply, const struct resp_command *cmd)
{
    char args[QUOTED_MAX + 8];
    int len = 0;
    struct bk_span name = cmd->argv[0].bytes;
    args[0] = '\0';
    for (int i = 1; i < cmd->argc && len < QUOTED_MAX; i++) {
        struct bk_span arg = cmd->argv[i].bytes;
        len += snprintf(args + len, sizeof(args) - (size_t)len, "'%.*s' ",
                        quoted_len(arg, QUOTED_MAX - len), (const char *)arg.data);
    }
    resp_write_errorf(reply, "ERR unknown command '%.*s', with args beginning with: %s",
                      quoted_len(name, QUOTED_MAX), (const char *)name.data, args);
}

void exec_reply_unknown_sub(struct resp_writer *reply, const struct resp_command *cmd)
{
    char upper[64];
    struct bk_span name = cmd->argv[0].bytes;
    struct bk_span sub = cmd->argv[1].bytes;
    size_t n = name.len < sizeof(upper) ? name.len : sizeof(upper) - 1;
    for (size_t i = 0; i < n; i++) {
        upper[i] = (char)toupper(name.data[i]);
    }
    resp_write_errorf(reply, "ERR unknown subcommand '%.*s'. Try %.*s HELP.",
                      quoted_len(sub, QUOTED_MAX), (const char *)sub.data, (int)n, upper);
}
