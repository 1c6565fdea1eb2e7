/* SPDX-License-Identifier: MIT */
/* strings_private.h - the functions behind the rows of strings.c, by the file that holds them. */
#ifndef BK_COMMAND_STRINGS_PRIVATE_H
#define BK_COMMAND_STRINGS_PRIVATE_H

#include "command/command.h"

/* strings_read.c */
void strings_get(struct command_ctx *c);
void strings_getdel(struct command_ctx *c);
void strings_mget(struct command_ctx *c);
void strings_strlen(struct command_ctx *c);
void strings_getrange(struct command_ctx *c);

/* strings_set.c */
void strings_set(struct command_ctx *c);
void strings_setnx(struct command_ctx *c);
void strings_setex(struct command_ctx *c);
void strings_psetex(struct command_ctx *c);
void strings_getset(struct command_ctx *c);
void strings_getex(struct command_ctx *c);
void strings_mset(struct command_ctx *c);
void strings_msetnx(struct command_ctx *c);
enum ks_need strings_set_need(const struct resp_command *cmd, int arg);

/* strings_edit.c */
void strings_append(struct command_ctx *c);
void strings_setrange(struct command_ctx *c);
void strings_incr(struct command_ctx *c);
void strings_decr(struct command_ctx *c);
void strings_incrby(struct command_ctx *c);
void strings_decrby(struct command_ctx *c);
void strings_incrbyfloat(struct command_ctx *c);

/* strings_lcs.c */
void strings_lcs(struct command_ctx *c);

#endif
