/* SPDX-License-Identifier: MIT */
/* eqjudge.h - are two replies to one command the same, as the command's rule sees it? */
#ifndef BK_TESTS_EQJUDGE_H
#define BK_TESTS_EQJUDGE_H

#include "lib/eqgen.h"
#include "lib/rawreply.h"

/* why: a static text, or NULL when they agree. */
const char *eq_judge(const struct eq_cmd *cmd, struct raw theirs, struct raw ours);

/* Sorts the elements of an aggregate (groups of `step` stay together), without doubles if unique;
 * the result is a RESP array, owned by the caller. */
struct raw eq_sorted(struct raw reply, size_t step, bool unique);

#endif
