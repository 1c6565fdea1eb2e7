/* SPDX-License-Identifier: MIT */
/* num.h - numbers in text, exactly as Redis reads and writes them: no locale, no leading space or
 * '+'. */
#ifndef BK_BASE_NUM_H
#define BK_BASE_NUM_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

/* The whole span is a decimal integer in canonical form ("-12", not "012", "+1", "1 " or ""). */
bool bk_parse_i64(struct bk_span s, int64_t *out);
bool bk_parse_u64(struct bk_span s, uint64_t *out);

/* Writes v in decimal without a terminating NUL; buf holds at least 21 bytes. Returns the length.
 */
unsigned bk_format_i64(char *buf, int64_t v);
unsigned bk_format_u64(char *buf, uint64_t v);

#endif
