/* SPDX-License-Identifier: MIT */
/*
 * format.h - records as text: JSON lines, and the commands of a Redis client.
 *
 * JSON: one object a line, {"db":0,"key":"..","value":"..","pxat":ms,"flags":n}; pxat only with an
 * expiry, flags only where they are not 0; bytes that are no plain UTF-8 text stand in base64 under
 * key64 and value64.
 *
 * RESP: SELECT where the database changes, and SET key value [PXAT ms], as arrays of strings. What
 * has flags is no string to Redis and cannot be written.
 */
#ifndef BK_TOOLS_FORMAT_H
#define BK_TOOLS_FORMAT_H

#include "tools/input.h"
#include "tools/store.h"

/* A record as it was read; all zero to begin with. */
struct tool_reader {
    struct tool_input in;
    struct tool_record r; /* of the last read: borrowed from the buffers here */
    struct bk_buf line, key, value, word;
    uint32_t db;    /* RESP: what was selected */
    uint64_t reads; /* records */
    char why[200];  /* after BK_EINVAL: what is wrong, and where */
};
void tool_reader_fini(struct tool_reader *rd);
int tool_reader_bad(struct tool_reader *rd, const char *fmt, ...)
    __attribute__((format(printf, 2, 3))); /* fills why; BK_EINVAL */

/* BK_NOTFOUND: the end, between two records. BK_EINVAL: what follows is no record. BK_EIO. */
BK_MUST_USE int tool_json_read(struct tool_reader *rd);
BK_MUST_USE int tool_resp_read(struct tool_reader *rd);

/* Puts bytes into an object of libjansson's: as text under name, or in base64 under name64. Not 0:
 * it failed. */
struct json_t;
int tool_json_set_bytes(struct json_t *o, const char *name, const char *name64, struct bk_span s);

/* BK_EINVAL: it cannot be written in this format. */
BK_MUST_USE int tool_json_write(FILE *f, const struct tool_record *r);
BK_MUST_USE int tool_resp_write(FILE *f, const struct tool_record *r, int64_t *selected);

#endif
