/* SPDX-License-Identifier: MIT */
/* eqgen_words.h - random arguments; only eqgen.c includes it. */
#ifndef BK_TESTS_EQGEN_WORDS_H
#define BK_TESTS_EQGEN_WORDS_H

#include "lib/eqgen.h"

/* A word of a template: "$k" and its like become random arguments, others go as they are in random
 * case. */
void eq_add_word(struct rng *r, struct eq_cmd *cmd, const char *word);
void eq_add_text(struct eq_cmd *cmd, const char *text);
void eq_add_anything(struct rng *r, struct eq_cmd *cmd);
void eq_add_payload(struct rng *r, struct eq_cmd *cmd); /* eqgen_dump.c */

#endif
