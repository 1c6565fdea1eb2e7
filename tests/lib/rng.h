/* SPDX-License-Identifier: MIT */
/* rng.h - numbers drawn from a seed (splitmix64), so that a test run repeats from the seed that it
 * prints. */
#ifndef BK_TESTS_RNG_H
#define BK_TESTS_RNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

struct rng {
    uint64_t state;
};

static inline uint64_t rng_next(struct rng *r)
{
    uint64_t z = (r->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* 0 .. n-1; 0 for n == 0. */
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
    return n == 0 ? 0 : rng_next(r) % n;
}

static inline bool rng_percent(struct rng *r, unsigned percent)
{
    return rng_below(r, 100) < percent;
}

static inline void rng_fill(struct rng *r, void *data, size_t len)
{
    uint8_t *p = data;
    for (size_t i = 0; i < len; i++) {
        p[i] = (uint8_t)rng_next(r);
    }
}

/* lo .. hi, both included. */
static inline int64_t rng_range(struct rng *r, int64_t lo, int64_t hi)
{
    return lo + (int64_t)rng_below(r, (uint64_t)(hi - lo) + 1);
}

/* The seed of a run: environment variable `name` in decimal, else from the clock. */
static inline uint64_t rng_seed_from_env(const char *name)
{
    const char *text = getenv(name);
    struct timespec now;
    struct rng r;

    if (text != NULL && *text != '\0') {
        return strtoull(text, NULL, 10);
    }
    clock_gettime(CLOCK_REALTIME, &now);
    r.state = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    return rng_next(&r) % 1000000000u;
}

#endif
