/* SPDX-License-Identifier: MIT */
/* args.h - argument vectors inside resp/: growth by what has arrived, release, and inline commands.
 */
#ifndef BK_RESP_ARGS_H
#define BK_RESP_ARGS_H

#include "resp/reader.h"

void resp_args_grow(struct resp_command *c);
void resp_args_shrink(struct resp_command *c); /* keeps room for its arguments only */

/* block: a reference that c takes over, or NULL. */
static inline void resp_args_push(struct resp_command *c, struct bk_span bytes,
                                  struct bk_block *block)
{
    if (c->argc == c->argv_cap) {
        resp_args_grow(c);
    }
    c->argv[c->argc].bytes = bytes;
    c->argv[c->argc].block = block;
    c->argc++;
}

/* Splits an inline command as Redis does (blanks, "..." with escapes, '...'), unescaping in place:
 * the arguments point into line. line holds no NUL byte. False: quotes are not balanced. */
bool resp_args_split(uint8_t *line, size_t len, struct resp_command *c);

#endif
