/* SPDX-License-Identifier: MIT */
/*
 * respc.h - a small blocking client for tests: sends commands or raw bytes, reads RESP2 and RESP3
 * into a tree.
 *
 * Every wait ends after RESPC_PATIENCE_MS with a failure, so that a test never hangs; the figure
 * leaves room for sanitizer builds on a busy machine.
 */
#ifndef BK_TESTS_RESPC_H
#define BK_TESTS_RESPC_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define RESPC_PATIENCE_MS 120000

/* One reply. Storage owned by the tree; reply_free(&root) frees all of it. */
struct reply {
    char type;           /* the RESP type byte: + - : $ * _ , # ( ! = % ~ > */
    bool null;           /* $-1, *-1 or _ */
    int64_t integer;     /* of ':' and '#' (0 or 1) */
    char *text;          /* of what is no aggregate: its bytes, a NUL behind them */
    size_t len;          /* of text */
    struct reply **elem; /* of an aggregate; a map's keys and values in turn */
    size_t elems;
};

void reply_free(struct reply **r);
bool reply_equal(const struct reply *a, const struct reply *b);
/* One line: `*2 [$"a" :1]`; bytes that do not print as \xNN, long strings cut. */
void reply_print(const struct reply *r, FILE *to);
/* The same in a buffer, NUL-terminated. */
void reply_format(const struct reply *r, struct bk_buf *out);
/* The value behind key in a map, or in a flat array of pairs; NULL when there is none. Borrowed. */
const struct reply *reply_get(const struct reply *r, const char *key);

struct respc;

/* NULL with errno when nobody answers. */
struct respc *respc_connect(const char *host, int port);
struct respc *respc_connect_unix(const char *path);
void respc_close(struct respc **c);
int respc_fd(const struct respc *c);

/* False: the server has closed, or took nothing for too long. */
bool respc_send(struct respc *c, const void *bytes, size_t n);
/* Appends a command to *out in RESP. Arguments end with NULL. */
void respc_format(struct bk_buf *out, const char *arg, ...) __attribute__((sentinel));
void respc_format_argv(struct bk_buf *out, size_t argc, const struct bk_span *argv);

/* The next reply, pushes included; NULL: end of stream, no reply in time, or bytes that are no
 * reply (respc_problem says which). The caller frees. */
struct reply *respc_read(struct respc *c);
const char *respc_problem(const struct respc *c);
/* Sends one command and reads one reply. Arguments end with NULL. */
struct reply *respc_command(struct respc *c, const char *arg, ...) __attribute__((sentinel));
struct reply *respc_command_argv(struct respc *c, size_t argc, const struct bk_span *argv);

/* Sends everything while reading what comes; returns when all is sent and n replies have been seen,
 * whole but not decoded: counted only. False on a closed connection or no progress. */
bool respc_exchange(struct respc *c, const void *bytes, size_t n, size_t replies);
/* Ends our side of the stream. */
void respc_finish(struct respc *c);
/* All bytes until the server closes, a reset included. False: it did not close in time. */
bool respc_read_to_end(struct respc *c, struct bk_buf *out);

#endif
