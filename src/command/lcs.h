/* SPDX-License-Identifier: MIT */
/*
 * lcs.h - the longest common subsequence of two strings. Pure: no commands, no replies.
 *
 * Time is a.len * b.len. Redis keeps a number for each pair of places; here a bit is kept, which is
 * all that the way back asks for, and two rows of numbers, so a 32nd part of the memory.
 */
#ifndef BK_COMMAND_LCS_H
#define BK_COMMAND_LCS_H

#include "base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LCS_LENGTH_MAX (UINT32_MAX - 2) /* of a string */

struct lcs {
    struct bk_span a, b; /* borrowed until lcs_fini */
    uint32_t len;
    uint64_t *up; /* owned; a bit for each pair of places; NULL without way */
};

/* Strings of at most LCS_LENGTH_MAX bytes. way: lcs_ranges and lcs_text will be asked for. false:
 * there is not enough memory. */
bool lcs_init(struct lcs *l, struct bk_span a, struct bk_span b, bool way);
void lcs_fini(struct lcs *l);

/* A run that both strings have in common: first and last places, both included. */
struct lcs_range {
    uint32_t a_first, a_last, b_first, b_last;
};
/* From the end of the strings to their beginning. */
void lcs_ranges(const struct lcs *l, void (*each)(void *arg, const struct lcs_range *range),
                void *arg);
void lcs_text(const struct lcs *l, uint8_t *text); /* l->len bytes */

#endif
