/* SPDX-License-Identifier: MIT */
/* bits.c - see bits.h. Long runs go eight bytes at a time, by memcpy: strings are not aligned. */
#include "command/bits.h"

#include "base/assert.h"

#include <string.h>

#define WORD 8

static uint64_t word_at(const uint8_t *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof(w));
    return w;
}

/* Those of the byte's bits that lie within first .. last, for a byte that holds one of them. */
static uint8_t mask_of(uint64_t byte, uint64_t first, uint64_t last)
{
    unsigned mask = 0xff;
    if (byte == first / 8) {
        mask &= 0xffu >> (first % 8);
    }
    if (byte == last / 8) {
        mask &= 0xff00u >> (last % 8 + 1);
    }
    return (uint8_t)mask;
}

/* ---- Counting ---- */

/* Sums in ever wider fields: without the instruction for it, still no table and no call. */
static unsigned count_word(uint64_t w)
{
    w -= w >> 1 & 0x5555555555555555u;
    w = (w & 0x3333333333333333u) + (w >> 2 & 0x3333333333333333u);
    w = (w + (w >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return (unsigned)(w * 0x0101010101010101u >> 56);
}

static uint64_t count_bytes(const uint8_t *p, size_t n)
{
    uint64_t total = 0;
    for (; n >= WORD; n -= WORD, p += WORD) {
        total += count_word(word_at(p));
    }
    for (; n > 0; n--, p++) {
        total += count_word(*p);
    }
    return total;
}

uint64_t bits_count(struct bk_span s, uint64_t first, uint64_t last)
{
    uint64_t from = first / 8;
    uint64_t to = last / 8;
    uint64_t total;
    BK_ASSERT(first <= last && to < s.len);
    total = count_word(s.data[from] & mask_of(from, first, last));
    if (from < to) {
        total += count_word(s.data[to] & mask_of(to, first, last));
        total += count_bytes(s.data + from + 1, to - from - 1);
    }
    return total;
}

/* ---- Searching ---- */

/* How many of the n bytes from p on are all of this value. */
static size_t skip(const uint8_t *p, size_t n, uint8_t value)
{
    uint64_t word = value * 0x0101010101010101u;
    size_t i = 0;
    while (i + WORD <= n && word_at(p + i) == word) {
        i += WORD;
    }
    while (i < n && p[i] == value) {
        i++;
    }
    return i;
}

int64_t bits_find(struct bk_span s, uint64_t first, uint64_t last, bool set)
{
    uint8_t flip = set ? 0 : 0xff; /* what is looked for becomes a set bit */
    uint64_t to = last / 8;
    uint64_t at = first / 8;
    unsigned found;
    BK_ASSERT(first <= last && to < s.len);
    found = (s.data[at] ^ flip) & mask_of(at, first, last);
    if (found == 0 && at < to) {
        at += 1 + skip(s.data + at + 1, to - at - 1, flip);
        found = (s.data[at] ^ flip) & mask_of(at, first, last);
    }
    return found == 0 ? -1 : (int64_t)(at * 8) + __builtin_clz(found) - 24;
}

/* ---- Combining ---- */

static uint64_t combine_word(enum bits_op op, uint64_t a, uint64_t b)
{
    uint64_t result = ~a;
    switch (op) {
    case BITS_AND:
        result = a & b;
        break;
    case BITS_OR:
        result = a | b;
        break;
    case BITS_XOR:
        result = a ^ b;
        break;
    case BITS_NOT:
        break;
    }
    return result;
}

/* out[i] = op(out[i], src[i]) */
static void combine_bytes(enum bits_op op, uint8_t *out, const uint8_t *src, size_t n)
{
    size_t i = 0;
    for (; i + WORD <= n; i += WORD) {
        uint64_t w = combine_word(op, word_at(out + i), word_at(src + i));
        memcpy(out + i, &w, sizeof(w));
    }
    for (; i < n; i++) {
        out[i] = (uint8_t)combine_word(op, out[i], src[i]);
    }
}

void bits_combine(enum bits_op op, uint8_t *out, size_t len, const struct bk_span *src, size_t n)
{
    BK_ASSERT(n == 1 || (n > 1 && op != BITS_NOT));
    if (src[0].len != 0) {
        memcpy(out, src[0].data, src[0].len);
    }
    memset(out + src[0].len, 0, len - src[0].len);
    if (op == BITS_NOT) {
        combine_bytes(op, out, out, len);
    }
    for (size_t i = 1; i < n; i++) {
        BK_ASSERT(src[i].len <= len);
        combine_bytes(op, out, src[i].data, src[i].len);
        if (op == BITS_AND) {
            memset(out + src[i].len, 0, len - src[i].len);
        }
    }
}

/* ---- Integers of any width ---- */

/* The sign bit of the lowest bits goes up to the top. */
static int64_t extend_sign(uint64_t value, unsigned bits)
{
    unsigned above = 64 - bits;
    return (int64_t)(value << above) >> above;
}

int64_t bits_get(struct bk_span s, uint64_t offset, const struct bits_type *type)
{
    uint64_t byte = offset / 8;
    uint64_t value = 0;
    unsigned shift = (unsigned)(offset % 8);
    unsigned left = type->bits;
    BK_ASSERT(type->bits >= 1 && type->bits <= (type->has_sign ? 64 : 63));
    for (; left > 0; byte++, shift = 0) {
        unsigned here = 8 - shift < left ? 8 - shift : left;
        unsigned bits = byte < s.len ? s.data[byte] : 0;
        value = value << here | (bits >> (8 - shift - here) & (0xffu >> (8 - here)));
        left -= here;
    }
    return type->has_sign ? extend_sign(value, type->bits) : (int64_t)value;
}

void bits_set(uint8_t *bytes, uint64_t offset, const struct bits_type *type, int64_t value)
{
    uint64_t byte = offset / 8;
    unsigned shift = (unsigned)(offset % 8);
    unsigned left = type->bits;
    for (; left > 0; byte++, shift = 0) {
        unsigned here = 8 - shift < left ? 8 - shift : left;
        unsigned down = 8 - shift - here;
        unsigned mask = (0xffu >> (8 - here)) << down;
        unsigned bits = (unsigned)((uint64_t)value >> (left - here) << down) & mask;
        bytes[byte] = (uint8_t)((bytes[byte] & ~mask) | bits);
        left -= here;
    }
}

static bool add_without_sign(unsigned bits, enum bits_overflow how, uint64_t value, int64_t add,
                             int64_t *sum)
{
    uint64_t max = ((uint64_t)1 << bits) - 1;
    bool over = value > max || (add > 0 && (uint64_t)add > max - value);
    bool under = !over && add < 0 && 0 - (uint64_t)add > value;
    bool fits = !over && !under;
    if (fits || how == BITS_WRAP) {
        *sum = (int64_t)((value + (uint64_t)add) & max);
    } else if (how == BITS_SATURATE) {
        *sum = over ? (int64_t)max : 0;
    }
    return fits || how != BITS_FAIL;
}

/*
 * Redis's tests, in its arithmetic: the difference between the highest value and a number far below
 * the lowest one runs over, so that such a number, stored with OVERFLOW SAT, becomes the highest
 * value and not the lowest.
 */
static bool add_with_sign(unsigned bits, enum bits_overflow how, int64_t value, int64_t add,
                          int64_t *sum)
{
    int64_t max = INT64_MAX >> (64 - bits);
    int64_t min = -max - 1;
    int64_t up = (int64_t)((uint64_t)max - (uint64_t)value);
    int64_t down = (int64_t)((uint64_t)min - (uint64_t)value);
    bool over = value > max || (bits != 64 && add > up) || (value >= 0 && add > 0 && add > up);
    bool under = !over && (value < min || (bits != 64 && add < down) ||
                           (value < 0 && add < 0 && add < down));
    bool fits = !over && !under;
    if (fits || how == BITS_WRAP) {
        *sum = extend_sign((uint64_t)value + (uint64_t)add, bits);
    } else if (how == BITS_SATURATE) {
        *sum = over ? max : min;
    }
    return fits || how != BITS_FAIL;
}

bool bits_add(const struct bits_type *type, enum bits_overflow how, int64_t value, int64_t add,
              int64_t *sum)
{
    BK_ASSERT(type->bits >= 1 && type->bits <= (type->has_sign ? 64 : 63));
    return type->has_sign ? add_with_sign(type->bits, how, value, add, sum)
                          : add_without_sign(type->bits, how, (uint64_t)value, add, sum);
}
