/* SPDX-License-Identifier: MIT */
/* text.h - bytes as text and back: escaped for the eye, in hex, in base64. */
#ifndef BK_TOOLS_TEXT_H
#define BK_TOOLS_TEXT_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdio.h>

/* One line whatever the bytes: \n, \\, \x00; all but printable ASCII is escaped. */
void tool_text_escaped(FILE *f, struct bk_span s);
void tool_text_hex(FILE *f, struct bk_span s);

/* Append to *out. False: not hex, not base64 (with its padding, nothing around it). */
bool tool_hex_decode(const char *text, struct bk_buf *out);
bool tool_base64_decode(const char *text, size_t len, struct bk_buf *out);
void tool_base64_encode(struct bk_span s, struct bk_buf *out);

#endif
