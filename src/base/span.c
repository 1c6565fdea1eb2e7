/* SPDX-License-Identifier: MIT */
#include "base/span.h"

#include <strings.h>

bool bk_span_eq_nocase(struct bk_span a, const char *s)
{
    size_t n = strlen(s);
    return a.len == n && (n == 0 || strncasecmp((const char *)a.data, s, n) == 0);
}
