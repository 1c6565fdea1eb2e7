/* SPDX-License-Identifier: MIT */
/* spread.c - see spread.h: buckets are powers of two, each cut into SPREAD_SUB. */
#include "lib/spread.h"

static unsigned bucket_of(uint64_t v)
{
    if (v < SPREAD_SUB) {
        return (unsigned)v;
    }
    unsigned shift = 63u - (unsigned)__builtin_clzll(v) - 5u;
    return (shift + 1) * SPREAD_SUB + (unsigned)(v >> shift) - SPREAD_SUB;
}

static uint64_t bucket_start(unsigned b)
{
    unsigned shift = b / SPREAD_SUB;
    return shift == 0 ? b : (uint64_t)(SPREAD_SUB + b % SPREAD_SUB) << (shift - 1);
}

void spread_add(struct spread *s, uint64_t v)
{
    s->n++;
    s->sum += v;
    s->longest = v > s->longest ? v : s->longest;
    s->buckets[bucket_of(v)]++;
}

uint64_t spread_at(const struct spread *s, double part)
{
    uint64_t left = (uint64_t)((double)s->n * part);
    for (unsigned b = 0; b < 64 * SPREAD_SUB; b++) {
        if (left < s->buckets[b]) {
            return bucket_start(b);
        }
        left -= s->buckets[b];
    }
    return s->longest;
}

double spread_mean(const struct spread *s)
{
    return s->n == 0 ? 0 : (double)s->sum / (double)s->n;
}
