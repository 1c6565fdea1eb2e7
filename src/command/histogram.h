/* SPDX-License-Identifier: MIT */
/*
 * histogram.h - how long calls of one command took, in buckets of about one percent's width: those
 * in which Redis counts (nanoseconds from 1 to a second, two significant digits), so that
 * percentiles come out as its own do.
 *
 * One thread adds, any may read: relaxed atomics, so a reader may miss what is being added.
 */
#ifndef BK_COMMAND_HISTOGRAM_H
#define BK_COMMAND_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

/* Below 1 microsecond one bucket, from there on 128 for each power of two up to a second. */
#define HISTOGRAM_BUCKETS (1u + 21u * 128u)

struct histogram {
    _Atomic uint64_t counts[HISTOGRAM_BUCKETS];
};

struct histogram_sum {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t total;
};

void histogram_add(struct histogram *h, int64_t us);
void histogram_reset(struct histogram *h); /* from any thread; a count being added may survive */
void histogram_collect(const struct histogram *h, struct histogram_sum *sum); /* adds h to sum */

/* The highest value, in nanoseconds, of the bucket up to which percent of all lie; the lowest for
 * percent 0. total > 0. */
uint64_t histogram_percentile(const struct histogram_sum *sum, double percent);
/* LATENCY HISTOGRAM's steps: step i ends at *end_us, and so many lie up to there. Returns the
 * count, which is total at the last step; i < HISTOGRAM_STEPS. */
#define HISTOGRAM_STEPS 21u
uint64_t histogram_step(const struct histogram_sum *sum, unsigned i, uint64_t *end_us);

#endif
