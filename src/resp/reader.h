/* SPDX-License-Identifier: MIT */
/*
 * reader.h - bytes from a client to commands, resumable at any byte. No sockets: the caller
 * receives into the room that the reader offers, so that nothing is copied twice.
 *
 * Understands RESP arrays of bulk strings and inline commands, as Redis 7 does. Malformed input
 * ends the stream with Redis's own error text.
 */
#ifndef BK_RESP_READER_H
#define BK_RESP_READER_H

#include "base/buf.h"
#include "base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of an inline command or of a length line. */
#define RESP_INLINE_MAX 65536u
/* Arguments of one command, as in Redis 7; query_max bounds what they hold. */
#define RESP_ARGC_MAX INT32_MAX
/* An argument of this size or more is received into a block of its own. */
#define RESP_BIG_ARG 65536u

struct resp_reader;

/* Limits may change between commands: while a client is not authenticated, run each command before
 * parsing the next. */
struct resp_limits {
    uint64_t bulk_max; /* proto-max-bulk-len */
    /* client-query-buffer-limit: bytes held for one command, its argument vector included. */
    uint64_t query_max;
    bool authenticated; /* false: Redis's stricter limits, 10 arguments of 16 KiB */
};

struct resp_arg {
    struct bk_span bytes;
    struct bk_block *block; /* counted; where a big argument's bytes lie, else NULL */
};

/* All zero is a valid empty command; reused for many. */
struct resp_command {
    int argc;
    int argv_cap;
    struct resp_arg *argv; /* owned */
    size_t wire_bytes;     /* what the command took on the wire */
};
void resp_command_fini(struct resp_command *c);
/* Empties it for the next command: lets go of blocks, and of a vector that only a rare one needs.
 */
void resp_command_reset(struct resp_command *c);
/* Makes *to, which is empty, a copy that lasts: large arguments are shared, the rest is copied into
 * one allocation. Returns the bytes that it holds. */
size_t resp_command_copy(struct resp_command *to, const struct resp_command *from);
size_t resp_command_memory(const struct resp_command *c); /* bytes allocated: vector and blocks */

enum resp_status {
    RESP_MORE,    /* no whole command yet */
    RESP_COMMAND, /* *c holds one, argc may be 0 (an empty line): nothing to run or answer */
    /* Protocol error: send it, close the connection. Over query_max it is "": close silently. */
    RESP_BAD
};

struct resp_reader *resp_reader_new(void);
void resp_reader_free(struct resp_reader **r);

/* Room for *n more bytes, at least one; *n is what is worth receiving at once. Invalidates the
 * arguments of commands returned so far, except what lies in blocks. */
uint8_t *resp_reader_space(struct resp_reader *r, size_t *n);
void resp_reader_filled(struct resp_reader *r, size_t n);

/* The next whole command. *error (static or the reader's own text, until the next call) is set with
 * RESP_BAD, without "-" and CRLF, e.g. "ERR Protocol error: invalid bulk length". */
enum resp_status resp_reader_next(struct resp_reader *r, const struct resp_limits *limits,
                                  struct resp_command *c, const char **error);

/* Several commands at once: up to max whole ones that follow, as far as they are plain (arrays of
 * up to nine small arguments, all of them here); what it leaves, resp_reader_next takes. The
 * arguments of all of them are valid until the room for more is asked for. Not for a client that is
 * not authenticated: its limits may change with each command. */
size_t resp_reader_ahead(struct resp_reader *r, const struct resp_limits *limits,
                         struct resp_command *v, size_t max);
/* The last n commands that resp_reader_ahead took were not run: they pend again. At once after it,
 * with nothing else asked of the reader in between. */
void resp_reader_put_back(struct resp_reader *r, const struct resp_command *v, size_t n);

/* Buffers that the readers of a thread use in turn, so that a client holds only the bytes of a
 * command that is half received: a large one to receive into, and small ones for what waits until
 * others have received too. All zero is empty. */
#define RESP_ASIDE_MAX 16u
struct resp_spare {
    uint8_t *buf; /* owned; NULL: it is lent, or was never made */
    size_t cap;
    uint8_t *aside[RESP_ASIDE_MAX]; /* owned; the small ones that are not lent */
    size_t aside_n;
};
void resp_spare_fini(struct resp_spare *spare);
/* Before resp_reader_space: a reader that holds next to nothing takes the spare. */
void resp_reader_borrow(struct resp_reader *r, struct resp_spare *spare);
/* When next to nothing pends, what the reader has borrowed goes back; invalidates arguments as
 * resp_reader_space does. */
void resp_reader_give_back(struct resp_reader *r, struct resp_spare *spare);
/* What pends, if it is little, makes way to a small buffer, and the large one goes back;
 * invalidates arguments as resp_reader_space does. */
bool resp_reader_can_step_aside(const struct resp_reader *r);
void resp_reader_step_aside(struct resp_reader *r, struct resp_spare *spare);

/* Bytes received and not yet returned in a command. */
size_t resp_reader_pending(const struct resp_reader *r);
/* Bytes allocated; small and fixed when nothing pends. */
size_t resp_reader_memory(const struct resp_reader *r);
/* Gives idle memory back, all of it when nothing pends; invalidates arguments as resp_reader_space
 * does. */
void resp_reader_trim(struct resp_reader *r);

#endif
