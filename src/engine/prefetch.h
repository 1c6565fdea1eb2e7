/* SPDX-License-Identifier: MIT */
/* prefetch.h - lines of memory brought into the processor's cache ahead of their use. */
#ifndef BK_ENGINE_PREFETCH_H
#define BK_ENGINE_PREFETCH_H

#include <stddef.h>

/* Of a function that does nothing but prefetch. To gcc it is pure, and it drops the calls of a pure
 * function whose result nobody wants: so it is expanded before gcc looks (tests/lint/symbols.sh).
 */
#define BKI_PREFETCHES static inline __attribute__((always_inline)) void

/* The first lines of a block, or nothing for NULL. */
BKI_PREFETCHES bki_prefetch_lines(const void *block, size_t lines)
{
    for (size_t line = 0; block != NULL && line < lines; line++) {
        __builtin_prefetch((const char *)block + line * 64);
    }
}

#endif
