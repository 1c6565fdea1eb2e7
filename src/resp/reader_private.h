/* SPDX-License-Identifier: MIT */
/*
 * reader_private.h - a reader's insides, for receive.c (the buffer) and reader.c (the parser).
 *
 * buf holds [start, end): bytes of the command being parsed and what came behind it; the parser
 * stands at pos. A big argument's bytes (with the CRLF behind it) are not in buf but in block, and
 * belong at pos, which is then end. True between calls:
 *
 *   R1  start <= pos <= end <= cap;
 *
 *   R2  resp_reader_next moves no byte of buf, so spans live until the next call that may;
 *
 *   R3  memory grows with what has arrived: at most twice that, one read's room, and one block's
 *       first 64 KiB;
 *
 *   R4  what commands come out does not depend on how the bytes were cut into reads.
 */
#ifndef BK_RESP_READER_PRIVATE_H
#define BK_RESP_READER_PRIVATE_H

#include "base/assert.h"
#include "resp/reader.h"

#define READ_MIN 1024u /* room offered to a connection that sends little */

struct resp_reader {
    uint8_t *buf; /* owned; NULL while cap is 0 */
    size_t cap;
    size_t start;     /* of the command being parsed */
    size_t pos;       /* the parser's place */
    size_t end;       /* of what has been received */
    size_t scanned;   /* bytes from pos on that are known to hold no end of line */
    size_t read_size; /* READ_MIN to READ_MAX */
    size_t room;      /* offered by the last resp_reader_space */

    int64_t args_left; /* of the array being read; 0 between commands */
    int64_t bulk_len;  /* of the argument being read; -1 while its length line has not been read */

    struct bk_block *block; /* owned, one reference; NULL unless a big argument is half received */
    size_t block_cap;
    size_t block_have;
    size_t block_want;  /* the argument and its CRLF */
    size_t blocks_done; /* bytes of this command that came through blocks and are complete */

    /* Arguments of a command that is not whole yet, else empty. Spans point into buf. */
    struct resp_command part;
    const char *error; /* static or error_text; set once, then the stream is dead */
    char error_text[48];
};

BK_STATIC_ASSERT(sizeof(struct resp_reader) < 256, "an idle connection holds almost nothing");

static inline size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

#endif
