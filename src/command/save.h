/* SPDX-License-Identifier: MIT */
/* save.h - BGSAVE, SAVE, LASTSAVE. */
#ifndef BK_COMMAND_SAVE_H
#define BK_COMMAND_SAVE_H

#include "command/command.h"

void save_bgsave(struct command_ctx *c);
void save_save(struct command_ctx *c);
void save_lastsave(struct command_ctx *c);

#endif
