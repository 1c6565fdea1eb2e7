/* SPDX-License-Identifier: MIT */
/*
 * merge_pick.h - which files a merge takes: pure arithmetic over their sizes and dead bytes.
 *
 * A file is rewritten when a part of it can be reclaimed that is worth the writing. At a threshold
 * of half, uniform overwriting settles where a file is about half dead when it is taken and the
 * store about 1.4 times its live bytes, with one byte written by merges for each byte written by
 * users (the cleaning cost of log-structured stores: Rosenblum and Ousterhout, "The design and
 * implementation of a log-structured file system", 1992).
 */
#ifndef BK_ENGINE_MERGE_PICK_H
#define BK_ENGINE_MERGE_PICK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A sealed file; bytes without its header. live + dead + guards = size. */
struct bki_pick_file {
    uint64_t size, live, dead, guards;
    uint64_t guards_stuck; /* guards that the last look found to be needed still */
    uint64_t hint;         /* bytes that the hint of what lives in it takes, about */
    bool excluded;         /* not to be touched */
};

struct bki_pick_rules {
    uint32_t dead_ratio; /* percent */
    uint64_t dead_bytes;
    uint64_t small_file;
    uint32_t max_files;
    uint64_t max_bytes;  /* read in one run */
    uint64_t free_bytes; /* on disk: outputs and their hints must fit */
    uint64_t keep_bytes; /* and leave so much */
};

struct bki_pick {
    uint32_t first, n; /* a run of the files given, which are in the order of rank; n 0: none */
    uint64_t reclaim;  /* bytes that it frees, if all guards go that may */
    const char *why;   /* static */
};

/* For hint: records, with dead ones, are all about as long. */
uint64_t bki_pick_hint_bytes(const struct bki_pick_file *file, uint64_t records);

void bki_merge_pick(const struct bki_pick_file *files, uint32_t n,
                    const struct bki_pick_rules *rules, struct bki_pick *out);

/* Why a file is or is no candidate by itself; static text. */
const char *bki_pick_reason(const struct bki_pick_file *f, const struct bki_pick_rules *rules);

/* Whether minute of day (0 .. 1439) lies in "HH:MM-HH:MM"; an end before its begin is the next
 * day's. *valid: the text is such a window. */
bool bki_pick_hours(const char *window, int minute, bool *valid);

#endif
