/* SPDX-License-Identifier: MIT */
/* histogram.c - see histogram.h. A bucket is a power of two, shift, and the eight highest bits of
 * the value, 128 to 255; bucket 0 is what took less than a microsecond. */
#include "command/histogram.h"

#include "base/assert.h"

#include <stddef.h>

#define HALF 128u
#define FIRST_SHIFT 2u /* of 1,000 ns */
#define MAX_NS 1000000000u
#define STEP_NS 1024u /* the first step's end */

static size_t bucket_of(uint64_t ns)
{
    unsigned shift = ns < 2 * HALF ? 0 : 63u - (unsigned)__builtin_clzll(ns) - 7u;
    return shift < FIRST_SHIFT ? 0
                               : 1 + (size_t)(shift - FIRST_SHIFT) * HALF + (ns >> shift) - HALF;
}

/* The lowest and the highest value that are counted in this bucket. */
static uint64_t bucket_begin(size_t b)
{
    return b == 0 ? 1 : ((b - 1) % HALF + HALF) << ((b - 1) / HALF + FIRST_SHIFT);
}

static uint64_t bucket_end(size_t b)
{
    return b == 0 ? 1 : (((b - 1) % HALF + HALF + 1) << ((b - 1) / HALF + FIRST_SHIFT)) - 1;
}

void histogram_add(struct histogram *h, int64_t us)
{
    uint64_t ns = us <= 0 ? 1 : us >= MAX_NS / 1000 ? MAX_NS : (uint64_t)us * 1000;
    _Atomic uint64_t *count = &h->counts[bucket_of(ns)];
    uint64_t was = atomic_load_explicit(count, memory_order_relaxed);
    atomic_store_explicit(count, was + 1, memory_order_relaxed);
}

void histogram_reset(struct histogram *h)
{
    for (size_t b = 0; b < HISTOGRAM_BUCKETS; b++) {
        atomic_store_explicit(&h->counts[b], 0, memory_order_relaxed);
    }
}

void histogram_collect(const struct histogram *h, struct histogram_sum *sum)
{
    for (size_t b = 0; b < HISTOGRAM_BUCKETS; b++) {
        uint64_t n = atomic_load_explicit(&h->counts[b], memory_order_relaxed);
        sum->counts[b] += n;
        sum->total += n;
    }
}

uint64_t histogram_percentile(const struct histogram_sum *sum, double percent)
{
    uint64_t wanted = (uint64_t)(percent / 100.0 * (double)sum->total + 0.5);
    uint64_t seen = sum->counts[0];
    size_t b = 0;
    BK_ASSERT(sum->total > 0);
    wanted = wanted == 0 ? 1 : wanted;
    while (seen < wanted && b + 1 < HISTOGRAM_BUCKETS) {
        seen += sum->counts[++b];
    }
    return percent > 0 ? bucket_end(b) : bucket_begin(b);
}

uint64_t histogram_step(const struct histogram_sum *sum, unsigned i, uint64_t *end_us)
{
    uint64_t level = (uint64_t)STEP_NS << i;
    size_t last = level > MAX_NS ? HISTOGRAM_BUCKETS - 1 : bucket_of(level);
    uint64_t seen = 0;
    BK_ASSERT(i < HISTOGRAM_STEPS);
    for (size_t b = 0; b <= last; b++) {
        seen += sum->counts[b];
    }
    *end_us = bucket_end(last) / 1000;
    return seen;
}
