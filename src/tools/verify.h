/* SPDX-License-Identifier: MIT */
/* verify.h - everything in a store read and checked; what is wrong as lines on standard output. */
#ifndef BK_TOOLS_VERIFY_H
#define BK_TOOLS_VERIFY_H

#include "tools/store.h"

struct tool_damage {
    uint64_t places;
    bool loss; /* at one of them something that counted may be gone */
};

/* TOOL_OK: all of it was read; *out says with what result. TOOL_ERROR. */
int tool_verify(struct tool_store *s, struct tool_damage *out);

#endif
