/* SPDX-License-Identifier: MIT */
/*
 * hll.h - HyperLogLogs in Redis's bytes. Pure: no commands, no replies.
 *
 * A value is 16 bytes of header and 16,384 registers of 6 bits, the longest run of zeros that the
 * hash of an element of each has shown:
 *
 *   "HYLL" | encoding | 3 unused | count, little-endian, 8; its highest bit: it is out of date
 *
 *   dense   12,288 bytes, registers packed from the lowest bit up
 *   sparse  00xxxxxx            x + 1 registers of 0
 *           01xxxxxx yyyyyyyy   xy + 1 registers of 0
 *           1vvvvvxx            x + 1 registers of v + 1
 *
 * Values come from clients, who may have written any bytes: a function that says "false" or
 * HLL_CORRUPT has found sparse registers that are not 16,384. What is changed is written over in
 * the very steps that Redis takes, so that the bytes are the same.
 */
#ifndef BK_COMMAND_HLL_H
#define BK_COMMAND_HLL_H

#include "base/buf.h"
#include "base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HLL_REGISTERS 16384
#define HLL_REGISTER_MAX 63
#define HLL_HEADER 16
#define HLL_DENSE_LEN (HLL_HEADER + HLL_REGISTERS * 6 / 8)

enum hll_encoding { HLL_DENSE = 0, HLL_SPARSE = 1 };
enum hll_result { HLL_SAME, HLL_CHANGED, HLL_CORRUPT };

/* Is the header one, and a dense value as long as it must be? All functions below ask for that. */
bool hll_valid(struct bk_span s);
enum hll_encoding hll_encoding(struct bk_span s);

void hll_new(struct bk_buf *h); /* appends an empty one */

/* sparse_max: bytes that a sparse value may grow to before it becomes a dense one. An element may
 * come to be found corrupt behind others that have been added. */
enum hll_result hll_add(struct bk_buf *h, struct bk_span element, uint64_t sparse_max);
/* Raises the register to value, 1 .. 63. */
enum hll_result hll_raise(struct bk_buf *h, size_t reg, unsigned value, uint64_t sparse_max);
bool hll_to_dense(struct bk_buf *h);

/* The count that is kept in the header. */
bool hll_cached(struct bk_span s, uint64_t *count); /* false: it is out of date */
void hll_cache(uint8_t *header, uint64_t count);
void hll_forget(uint8_t *header); /* it is out of date from now on */

bool hll_count(struct bk_span s, uint64_t *count);
/* Raises registers, of which there are HLL_REGISTERS, to those of s. */
bool hll_merge(struct bk_span s, uint8_t *registers);
uint64_t hll_count_registers(const uint8_t *registers);

/* "Z:16383 v:1,1" for a sparse value, as PFDEBUG DECODE shows it. */
void hll_decode(struct bk_span s, struct bk_buf *text);

/* hll_self_test.c: what PFSELFTEST looks at; false with the reason in *why. */
bool hll_self_test(uint64_t sparse_max, struct bk_buf *why);

#endif
