/* SPDX-License-Identifier: MIT */
/* memory.h - what the process holds: jemalloc's figures where it is linked and serves us, else the
 * C library's. */
#ifndef BK_APP_MEMORY_H
#define BK_APP_MEMORY_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

struct memory_figures {
    uint64_t allocated; /* bytes handed out */
    uint64_t active;    /* bytes of pages that hold some of them */
    uint64_t resident;  /* bytes that the allocator has from the system */
};
void memory_figures(struct memory_figures *out); /* any thread; some microseconds */

/* Lets the allocator give unused pages back by itself, from a thread of its own, as Redis's
 * jemalloc-bg-thread does: a loop that has fallen quiet never asks for it. After the last fork. */
void memory_background(void);

/* Gives back to the system what nobody uses at the moment. false: the allocator cannot, or failed.
 */
bool memory_purge(void);
/* Appends the allocator's own report; false: it has none. */
bool memory_report(struct bk_buf *out);

uint64_t memory_rss(void);                                   /* resident set; 0: unknown */
uint64_t memory_system_total(void);                          /* of the machine */
const char *memory_allocator(char *buf, unsigned long size); /* "jemalloc-5.3.0" or "libc" */

#endif
