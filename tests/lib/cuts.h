/* SPDX-License-Identifier: MIT */
/*
 * cuts.h - one run of a scenario, and beside it, for each call that it makes of the simulated disk,
 * a world in which that very call goes wrong.
 *
 * The worlds are child processes that are forked within the call: nothing has to be played again,
 * and each shows the same whenever the seed is the same. A child goes through the rest of the
 * scenario (in which every call fails, once the life has ended), then through what comes after it,
 * and ends with cuts_done or, through CUTS_TRUE, cuts_broken; any other end, a sanitizer's too,
 * counts as broken. While it recovers, further children see the power go a second time. Counts are
 * shared by all of them.
 */
#ifndef BK_TESTS_CUTS_H
#define BK_TESTS_CUTS_H

#include "lib/rig.h"

#include <stdbool.h>
#include <stdint.h>

#define CUTS_DEPTH 2u
#define CUTS_FATES 8u

/* A child costs the address sanitizer many times what it costs others. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CUTS_STRIDE 29u
#endif
#endif
#ifndef CUTS_STRIDE
#define CUTS_STRIDE 1u
#endif

/* How a world goes wrong. */
struct cuts_fate {
    int told;               /* for the disk: SIMDISK_ENDS, SIMDISK_SHORT or -errno */
    enum simdisk_kind kind; /* of SIMDISK_ENDS */
    unsigned mask;          /* the calls that it can meet, enum simdisk_call */
    uint64_t times;         /* how many of them it meets, from the one that was chosen on */
    unsigned every;         /* at every so many of the chosen calls; 1: each */
    const char *name;       /* static */
};

struct cuts_counts {
    uint64_t calls;               /* of the disk, in the scenario */
    uint64_t points;              /* worlds that began in it */
    uint64_t of_fate[CUTS_FATES]; /* of the points, by the index of their fate */
    uint64_t second;              /* worlds that began in a recovery */
    uint64_t broken; /* worlds in which a promise was not kept, or that ended otherwise */
};

struct cuts {
    struct rig *r;                 /* borrowed */
    const char *name;              /* borrowed; of the scenario */
    const struct cuts_fate *fates; /* borrowed */
    unsigned fates_n;              /* at most CUTS_FATES */
    unsigned stride;               /* every so many calls of the scenario */
    unsigned second;               /* and of a recovery; 0: none */
    struct cuts_counts *counts;    /* borrowed; from cuts_counts_new */
    /* Of this world. */
    unsigned depth; /* 0: nothing has gone wrong */
    const struct cuts_fate *fate[CUTS_DEPTH];
    uint64_t at[CUTS_DEPTH]; /* the call, counted from the begin of the watch */
    uint64_t left;           /* calls that the fate still meets */
    uint64_t now;
};

struct cuts_counts *cuts_counts_new(void); /* all zero; for the life of the process */

/* From here to cuts_rest each call of the rig's disk begins worlds, where fewer than `depth` have
 * begun before. */
void cuts_watch(struct cuts *c);
/* The last point is behind the last call: a life ends there too. True: this is a world in which
 * something has gone wrong. */
bool cuts_rest(struct cuts *c);
/* This world is over, as it should be. Does not return. */
void cuts_done(const struct cuts *c);
/* ... and it broke a promise; says which world it is. Returns in the first world alone. */
void cuts_broken(const struct cuts *c, const char *file, int line, const char *what);

/* The rig's why tells more. */
#define CUTS_TRUE(c, call)                               \
    do {                                                 \
        if (!(call)) {                                   \
            cuts_broken((c), __FILE__, __LINE__, #call); \
        }                                                \
    } while (0)

/* Ends this world's life as its fate wants, with survivors of its own, and begins the next. */
void cuts_end_life(struct cuts *c);

#endif
