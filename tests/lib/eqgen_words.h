/* SPDX-License-Identifier: MIT */
/* eqgen_words.h - random arguments; only eqgen.c and its parts include it. */
#ifndef BK_TESTS_EQGEN_WORDS_H
#define BK_TESTS_EQGEN_WORDS_H

#include "lib/eqgen.h"

/* A word of a template: "$k" and its like become random arguments, others go as they are in random
 * case. */
void eq_add_word(struct rng *r, struct eq_cmd *cmd, const char *word);
void eq_add_text(struct eq_cmd *cmd, const char *text);
void eq_add_anything(struct rng *r, struct eq_cmd *cmd);
void eq_add_payload(struct rng *r, struct eq_cmd *cmd); /* eqgen_dump.c */

/* eqgen_tame.c */
/* The argument at this place becomes the only one of *from. */
void eq_replace_arg(struct eq_cmd *cmd, size_t at, struct eq_cmd *from);
void eq_tame(struct rng *r, struct eq_cmd *cmd);

#endif
