/* SPDX-License-Identifier: MIT */
/*
 * multi.h - the commands that a client has queued between MULTI and EXEC. multi.c keeps them,
 * exec_multi.c runs them.
 */
#ifndef BK_COMMAND_MULTI_H
#define BK_COMMAND_MULTI_H

#include "command/table_private.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct multi_command {
    const struct command_slot *slot;
    struct resp_command cmd; /* owned copy */
    size_t first_key;        /* of the transaction's keys; set while EXEC names them */
    uint32_t db;             /* that it has run in, and MONITOR shows */
    uint32_t redacted;       /* what MONITOR does not show of it (struct exec) */
    /* Of a command without the store, whose effects are there at once: its reply, so that it does
     * not run again when the others must. */
    bool done;
    struct bk_buf reply; /* owned */
    unsigned errors;
};

struct multi {
    struct multi_command *v; /* owned */
    size_t n, cap;
    uint64_t bytes;   /* of the copies */
    uint32_t flags;   /* CMD_WRITE, CMD_DENYOOM, CMD_READONLY, CMD_MAY_REPLICATE: of any;
                         CMD_TAKES_AWAY: of all   that write */
    bool uses_store;  /* one of them begins a transaction */
    bool not_loading; /* one of them cannot run while the store is loading */
    bool failed;      /* one was refused when it came: EXEC will refuse all */
    bool saves;       /* one that has run was BGSAVE */
    uint32_t db;      /* that the client was in at EXEC */
};

/* The queue of a session that is inside MULTI; cmd is copied. */
void multi_queue(struct session *s, const struct command_slot *slot,
                 const struct resp_command *cmd);
/* Ends the MULTI, and the WATCHes with it. */
void multi_discard(struct session *s, struct keyspace *ks);

#endif
