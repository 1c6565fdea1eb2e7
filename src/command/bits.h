/* SPDX-License-Identifier: MIT */
/*
 * bits.h - strings as arrays of bits: counting, searching, combining, and the integers of any width
 * that BITFIELD keeps in them. Bit 0 is the highest of the first byte. Pure: no commands, no
 * replies.
 */
#ifndef BK_COMMAND_BITS_H
#define BK_COMMAND_BITS_H

#include "base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bits first to last, both included; first <= last < 8 * s.len. */
uint64_t bits_count(struct bk_span s, uint64_t first, uint64_t last);
/* The first one that is set (or clear), or -1. */
int64_t bits_find(struct bk_span s, uint64_t first, uint64_t last, bool set);

enum bits_op { BITS_AND, BITS_OR, BITS_XOR, BITS_NOT };
/* out[0 .. len): the n >= 1 sources, of at most len bytes each, with zeros behind the shorter ones.
 * BITS_NOT takes one. out is none of the sources. */
void bits_combine(enum bits_op op, uint8_t *out, size_t len, const struct bk_span *src, size_t n);

/* An integer of 1 to 64 bits, 63 if it has no sign: its value is an int64_t in any case. */
struct bits_type {
    bool has_sign;
    unsigned bits;
};

/* Bits behind the end of the string are clear. */
int64_t bits_get(struct bk_span s, uint64_t offset, const struct bits_type *type);
/* The lowest bits of value; offset + type->bits bits are there. */
void bits_set(uint8_t *bytes, uint64_t offset, const struct bits_type *type, int64_t value);

enum bits_overflow { BITS_WRAP, BITS_SATURATE, BITS_FAIL };
/*
 * value + add as the type can hold it; false: it cannot, and BITS_FAIL was asked for. value itself
 * may be out of range when add is 0 (a number to be stored); a type without a sign takes it as a
 * uint64_t.
 */
bool bits_add(const struct bits_type *type, enum bits_overflow how, int64_t value, int64_t add,
              int64_t *sum);

#endif
