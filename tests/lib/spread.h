/* SPDX-License-Identifier: MIT */
/* spread.h - how times are spread, in little memory: percentiles good to 3 %. */
#ifndef BK_TESTS_SPREAD_H
#define BK_TESTS_SPREAD_H

#include <stdint.h>

#define SPREAD_SUB 32u /* buckets to each doubling */

/* All zero is an empty one. */
struct spread {
    uint64_t n, sum, longest;
    uint64_t buckets[64 * SPREAD_SUB];
};

void spread_add(struct spread *s, uint64_t v);
/* The value that `part` (0 .. 1) of all lie below; 0 for an empty one. */
uint64_t spread_at(const struct spread *s, double part);
double spread_mean(const struct spread *s);

#endif
