/* SPDX-License-Identifier: MIT */
/*
 * filter.h - may a set hold a value? A Golomb-Rice coded set (Putze, Sanders, Singler, "Cache-,
 * hash- and space-efficient Bloom filters", 2007).
 *
 * n values are mapped to the range n * 65536, sorted, and their distances are coded in 17.5 bits on
 * average. A value that is not in the set is said to be in it once in 65,536 times. Questions are
 * asked in rising order, so that one pass over the code answers all of them.
 */
#ifndef BK_ENGINE_FILTER_H
#define BK_ENGINE_FILTER_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BKI_FILTER_RICE 16u

/* Appends the code of n values, sorted and each once. */
void bki_filter_encode(const uint64_t *values, size_t n, struct bk_buf *out);

/* Sets maybe[i] for asked[i], sorted; n: how many values were encoded. BK_CORRUPT: no such code. */
BK_MUST_USE int bki_filter_ask(const uint8_t *code, size_t len, size_t n, const uint64_t *asked,
                               size_t asked_n, bool *maybe);

#endif
