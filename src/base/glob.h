/* SPDX-License-Identifier: MIT */
/* glob.h - Redis's glob patterns: * ? [abc] [^a-z] and \ to take the next character as it is. */
#ifndef BK_BASE_GLOB_H
#define BK_BASE_GLOB_H

#include "base/span.h"

#include <stdbool.h>

/* Does the whole text match? Time is at most pattern length x text length. nocase folds ASCII
 * letters. As in Redis, an empty text is matched by an empty pattern only: a caller that lets "*"
 * mean everything asks for that itself. */
bool bk_glob(struct bk_span pattern, struct bk_span text, bool nocase);

#endif
