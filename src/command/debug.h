/* SPDX-License-Identifier: MIT */
/* debug.h - the DEBUG command, whose row stands in server.c. */
#ifndef BK_COMMAND_DEBUG_H
#define BK_COMMAND_DEBUG_H

#include "command/command.h"

void debug_run(struct command_ctx *c);

#endif
