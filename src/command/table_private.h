/* SPDX-License-Identifier: MIT */
/*
 * table_private.h - the command table as the executor sees it: every row, subcommands too, has a
 * slot with a number, so that statistics are an array.
 */
#ifndef BK_COMMAND_TABLE_PRIVATE_H
#define BK_COMMAND_TABLE_PRIVATE_H

#include "command/table.h"

#include <stddef.h>

/* Made once, at the first call of any table function; read-only from then on. */
struct command_slot {
    const struct command_row *row;     /* static */
    const struct command_slot *parent; /* NULL for a top-level command */
    const char *full_name;             /* "client|kill" */
    size_t name_len;                   /* of row->name */
    size_t id;                         /* 0 .. command_slot_count() - 1 */
};

void command_table_setup(void); /* any number of times, from any thread */

/* The two below expect that command_table_setup has been called. NULL when there is none. */
const struct command_slot *command_slot_find(const struct command_slot *parent,
                                             struct bk_span name);
const struct command_slot *command_slot_at(size_t id);
size_t command_slot_count(void); /* subcommands included; they stand behind the top-level ones */

#endif
