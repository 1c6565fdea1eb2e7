/* SPDX-License-Identifier: MIT */
/*
 * span.h - borrowed bytes: a pointer and a length, owned by somebody else, never NUL-terminated by
 * contract.
 */
#ifndef BK_BASE_SPAN_H
#define BK_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bk_span {
    const uint8_t *data; /* borrowed; may be NULL when len is 0 */
    size_t len;
};

static inline struct bk_span bk_span_of(const void *data, size_t len)
{
    return (struct bk_span){(const uint8_t *)data, len};
}

static inline struct bk_span bk_span_str(const char *s)
{
    return (struct bk_span){(const uint8_t *)s, strlen(s)};
}

static inline bool bk_span_eq(struct bk_span a, struct bk_span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* ASCII case is ignored, as in Redis's command and option names. s is NUL-terminated. */
bool bk_span_eq_nocase(struct bk_span a, const char *s);

#endif
