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
    uint64_t metadata;  /* bytes of the allocator's own */
    uint64_t resident;  /* bytes that the allocator has from the system */
};
void memory_figures(struct memory_figures *out); /* any thread; some microseconds */

/*
 * What maxmemory is held against: what is allocated, the allocator's own, and what lies free
 * between allocations in pages in use, the slack.
 *
 * A key that goes leaves a hole, which gives no page back at once: keys that come go into it. If
 * holes counted, more keys would be evicted for them, which would leave more holes. So slack counts
 * as it arises while pages become more, and not where they are as many as they have been: what is
 * counted falls by what is freed, and rises again only when the holes are filled or turn out to be
 * of no use. The highest number of pages is forgotten over minutes. Pages in no use at all are left
 * out: they serve what is allocated next, and go back to the system within seconds.
 */
struct memory_slack {
    uint64_t high;  /* most pages in use, in bytes */
    uint64_t bytes; /* of slack that count */
};
uint64_t memory_counted(struct memory_slack *s, const struct memory_figures *f);

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
