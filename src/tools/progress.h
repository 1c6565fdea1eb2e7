/* SPDX-License-Identifier: MIT */
/*
 * progress.h - a line on the terminal about what takes longer than a second.
 *
 * Whoever works counts in counts, which the engine fills in by itself where it takes the same
 * struct. A thread looks at it now and then and draws on standard error, if that is a terminal.
 */
#ifndef BK_TOOLS_PROGRESS_H
#define BK_TOOLS_PROGRESS_H

#include "base/mutex.h"
#include "engine/bitkv.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* TOOL_TIME: nothing is counted, the line tells how long it has taken. */
enum tool_unit { TOOL_BYTES, TOOL_KEYS, TOOL_TIME };

struct tool_progress {
    /* Set once by begin. */
    const char *what; /* borrowed, static */
    enum tool_unit unit;
    bool watched; /* there is a terminal, and a thread that draws */
    pthread_t thread;
    int64_t started_us;
    /* Atomic. keys_total: with TOOL_KEYS; 0 = not known. */
    struct bk_progress counts;
    _Atomic uint64_t keys_total;
    /* Guarded by mu. */
    struct bk_mutex mu;
    struct bk_cond stopping;
    bool stop BK_GUARDED(mu);
};

/* p must not move until the end. */
void tool_progress_begin(struct tool_progress *p, const char *what, enum tool_unit unit);
/* Takes the line off the terminal again. */
void tool_progress_end(struct tool_progress *p);

/* The line, at most size - 1 bytes: done of total (0: not known) after elapsed_us. */
void tool_progress_line(char *out, size_t size, const char *what, enum tool_unit unit,
                        uint64_t done, uint64_t total, int64_t elapsed_us);

#endif
