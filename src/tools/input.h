/* SPDX-License-Identifier: MIT */
/*
 * input.h - what a load reads: lines and counted bytes from a stream, with their place for
 * messages. Memory follows what has arrived, never what a length promises.
 */
#ifndef BK_TOOLS_INPUT_H
#define BK_TOOLS_INPUT_H

#include "base/buf.h"
#include "base/error.h"

#include <stdint.h>
#include <stdio.h>

struct tool_input {
    FILE *f;                 /* borrowed */
    uint64_t line;           /* of the last one read, from 1 */
    uint64_t offset;         /* bytes read */
    _Atomic uint64_t *count; /* borrowed; may be NULL: offset for those who watch */
};

/* A line without its newline into *out. BK_NOTFOUND: the end. BK_ETOOBIG: longer than max. BK_EIO.
 * The last line may lack its newline: *whole tells. */
BK_MUST_USE int tool_input_line(struct tool_input *in, size_t max, struct bk_buf *out, bool *whole);
/* The same for a line of text that begins with first, behind blanks. BK_EINVAL: the last byte of
 * *out is another one in its place, or a control byte other than tab and CR; what follows it is not
 * read, since the line may never end. */
BK_MUST_USE int tool_input_text(struct tool_input *in, char first, size_t max, struct bk_buf *out,
                                bool *whole);
/* Exactly n bytes into *out. BK_NOTFOUND: the input ends before. */
BK_MUST_USE int tool_input_bytes(struct tool_input *in, size_t n, struct bk_buf *out);
/* Everything up to the end. */
BK_MUST_USE int tool_input_all(struct tool_input *in, size_t max, struct bk_buf *out);

#endif
