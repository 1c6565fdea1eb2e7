/* SPDX-License-Identifier: MIT */
/* rows.h - short forms for the rows of data commands; only files that hold rows include it. */
#ifndef BK_COMMAND_ROWS_H
#define BK_COMMAND_ROWS_H

#include "command/table.h"

#define ROW_READ_FAST (CMD_READONLY | CMD_FAST)
#define ROW_WRITE_FAST (CMD_WRITE | CMD_FAST)
#define ROW_WRITE_OOM (CMD_WRITE | CMD_DENYOOM)
#define ROW_WRITE_OOM_FAST (CMD_WRITE | CMD_DENYOOM | CMD_FAST)

#define ROW_ONE_KEY .first_key = 1, .last_key = 1, .key_step = 1
#define ROW_ALL_ARGS .first_key = 1, .last_key = -1, .key_step = 1
#define ROW_TWO_KEYS .first_key = 1, .last_key = 2, .key_step = 1
#define ROW_PAIRS .first_key = 1, .last_key = -1, .key_step = 2

#define ROW_END      \
    {                \
        .name = NULL \
    }

#endif
