/* SPDX-License-Identifier: MIT */
/* compose.h - room for a string that a command makes: small ones in the transaction's memory, large
 * ones in a block of their own, which the store shares instead of copying it. */
#ifndef BK_COMMAND_COMPOSE_H
#define BK_COMMAND_COMPOSE_H

#include "command/command.h"

#include <stddef.h>
#include <stdint.h>

/* Ends with compose_put or compose_drop. */
struct compose {
    uint8_t *bytes; /* borrowed, from the transaction or from block */
    size_t len;
    struct bk_block *block; /* owned; NULL for small ones */
};

void compose_begin(struct command_ctx *c, struct compose *n, size_t len); /* not initialised */
/* The old bytes, or as many as there is room for; zeros behind them. */
void compose_fill(struct compose *n, struct bk_span old);
/* As a string that was edited in place: OBJECT ENCODING says raw. */
void compose_put(struct command_ctx *c, size_t index, struct compose *n, int64_t expire_ms);
void compose_drop(struct compose *n);

#endif
