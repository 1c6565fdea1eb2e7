/* SPDX-License-Identifier: MIT */
/*
 * dump_payload.h - what DUMP answers and RESTORE takes: a value in Redis's RDB encoding, version
 * 10, with the version and a CRC-64 behind it. Strings only: there are no collections yet.
 *
 * Pure functions. A payload comes from anybody: reading takes no memory, so that a length that lies
 * costs nothing, and what has been read can be copied without a failure.
 */
#ifndef BK_COMMAND_DUMP_PAYLOAD_H
#define BK_COMMAND_DUMP_PAYLOAD_H

#include "base/buf.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

enum dump_status {
    DUMP_OK,
    DUMP_BAD_FOOTER, /* too short, of a later version, or its checksum is another */
    DUMP_BAD_DATA    /* not a string, or not a whole one */
};

enum dump_form { DUMP_PLAIN, DUMP_NUMBER, DUMP_LZF };

/* The value in a payload. */
struct dump_value {
    enum dump_form form;
    uint64_t len; /* of the value, in bytes */
    struct bk_span
        bytes;       /* borrowed from the payload: the value, or for DUMP_LZF its compression */
    char number[24]; /* DUMP_NUMBER: the value, not NUL-terminated */
};

/* Accepts what Redis 7.0 accepts of type string; whatever stands between value and footer is
 * ignored, as there. */
enum dump_status dump_read(struct bk_span payload, struct dump_value *out);

/* Writes the value's len bytes. */
void dump_value_copy(const struct dump_value *v, uint8_t *to);

/* Is the value these bytes? Takes memory for what is compressed, if its length is that of them. */
bool dump_value_is(const struct dump_value *v, struct bk_span bytes);

/* Appends the payload of a string of at most 4 GiB - 1. Takes as much memory again while it tries
 * to compress. */
void dump_write(struct bk_buf *out, struct bk_span value);

#endif
