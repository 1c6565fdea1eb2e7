/* SPDX-License-Identifier: MIT */
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

static void (*panic_hook)(void);

void bk_assert_set_hook(void (*hook)(void))
{
    panic_hook = hook;
}

_Noreturn void bk_assert_failed(const char *fact, const char *file, int line)
{
    fprintf(stderr, "assertion failed: %s (%s:%d)\n", fact, file, line);
    void (*hook)(void) = panic_hook;
    panic_hook = NULL; /* a second failure, inside the hook, goes straight to abort */
    if (hook != NULL) {
        hook();
    }
    abort();
}
