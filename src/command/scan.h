/* SPDX-License-Identifier: MIT */
/* scan.h - the functions of KEYS and SCAN, whose rows stand in database.c. */
#ifndef BK_COMMAND_SCAN_H
#define BK_COMMAND_SCAN_H

#include "command/command.h"

void scan_keys_command(struct command_ctx *c);
void scan_scan_command(struct command_ctx *c);

#endif
