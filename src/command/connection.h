/* SPDX-License-Identifier: MIT */
/* connection.h - what the files of the connection, client and server commands share. */
#ifndef BK_COMMAND_CONNECTION_H
#define BK_COMMAND_CONNECTION_H

#include "command/command.h"

#include <stdbool.h>

/* CLIENT SETNAME and HELLO SETNAME; false: the error is written. */
bool client_set_name(struct command_ctx *c, struct bk_span name);

/* The reply of "NAME HELP"; lines ends with NULL, the first and the last two lines of Redis's form
 * are added. */
void reply_help(struct command_ctx *c, const char *name, const char *const *lines);

/* "unknown subcommand or wrong number of arguments for 'x'. Try NAME HELP." about argv[1]. */
void reply_subcommand_syntax(struct command_ctx *c, const char *name);

/* text holds a whole error reply without "-" and CRLF. */
void reply_error_text(struct command_ctx *c, const struct bk_buf *text);

#endif
