/* SPDX-License-Identifier: MIT */
/* hll.c - see hll.h: the header, hashing, and what both encodings have in common. */
#include "command/hll_private.h"

#include "base/assert.h"
#include "base/checksum.h"

#include <string.h>

#define ENCODING_AT 4
#define COUNT_AT 8
#define OUT_OF_DATE 0x80 /* in the highest byte of the count */

#define INDEX_BITS 14
#define HASH_SEED 0xadc83b19u

BK_STATIC_ASSERT(1 << INDEX_BITS == HLL_REGISTERS, "a register for each index");

bool hll_valid(struct bk_span s)
{
    return s.len >= HLL_HEADER && memcmp(s.data, "HYLL", 4) == 0 &&
           (s.data[ENCODING_AT] == HLL_SPARSE ||
            (s.data[ENCODING_AT] == HLL_DENSE && s.len == HLL_DENSE_LEN));
}

enum hll_encoding hll_encoding(struct bk_span s)
{
    BK_ASSERT(hll_valid(s));
    return (enum hll_encoding)s.data[ENCODING_AT];
}

void hll_new(struct bk_buf *h)
{
    static const uint8_t empty[HLL_HEADER + 2] = {'H',        'Y',         'L',        'L',
                                                  HLL_SPARSE, [16] = 0x7f, [17] = 0xff};
    bk_buf_append(h, empty, sizeof(empty));
}

/* ---- The count in the header ---- */

bool hll_cached(struct bk_span s, uint64_t *count)
{
    bool valid = (s.data[HLL_HEADER - 1] & OUT_OF_DATE) == 0;
    if (valid) {
        *count = bk_get64(s.data + COUNT_AT);
    }
    return valid;
}

void hll_cache(uint8_t *header, uint64_t count)
{
    bk_put64(header + COUNT_AT, count);
}

void hll_forget(uint8_t *header)
{
    header[HLL_HEADER - 1] |= OUT_OF_DATE;
}

/* ---- Elements ---- */

/* MurmurHash2 of 64 bits (Austin Appleby), for little-endian words. */
static uint64_t hash(struct bk_span s)
{
    const uint64_t m = 0xc6a4a7935bd1e995u;
    const unsigned r = 47;
    const uint8_t *p = s.data;
    size_t left = s.len;
    uint64_t h = HASH_SEED ^ (s.len * m);
    for (; left >= 8; left -= 8, p += 8) {
        uint64_t k = bk_get64(p) * m;
        h = (h ^ ((k ^ k >> r) * m)) * m;
    }
    if (left > 0) {
        uint64_t rest = 0;
        for (size_t i = 0; i < left; i++) {
            rest |= (uint64_t)p[i] << (8 * i);
        }
        h = (h ^ rest) * m;
    }
    h = (h ^ h >> r) * m;
    return h ^ h >> r;
}

enum hll_result hll_add(struct bk_buf *h, struct bk_span element, uint64_t sparse_max)
{
    uint64_t bits = hash(element);
    size_t reg = bits & (HLL_REGISTERS - 1);
    /* Zeros up to the first one, which counts too; a one behind the hash ends them at the latest.
     */
    uint64_t run = bits >> INDEX_BITS | (uint64_t)1 << (64 - INDEX_BITS);
    return hll_raise(h, reg, (unsigned)__builtin_ctzll(run) + 1, sparse_max);
}

enum hll_result hll_raise(struct bk_buf *h, size_t reg, unsigned value, uint64_t sparse_max)
{
    enum hll_result result = HLL_SAME;
    BK_ASSERT(reg < HLL_REGISTERS && value >= 1 && value <= HLL_REGISTER_MAX);
    if (hll_encoding(bk_buf_span(h)) == HLL_SPARSE) {
        result = hll_sparse_raise(h, reg, value, sparse_max);
    } else if (hll_dense_get(h->data + HLL_HEADER, reg) < value) {
        hll_dense_set(h->data + HLL_HEADER, reg, value);
        result = HLL_CHANGED;
    }
    return result;
}

/* ---- To other forms ---- */

bool hll_to_dense(struct bk_buf *h)
{
    uint8_t dense[HLL_DENSE_LEN] = {0};
    struct bk_span s = bk_buf_span(h);
    struct hll_walk w = hll_walk_of(s);
    struct hll_op op;
    if (hll_encoding(s) == HLL_DENSE) {
        return true;
    }
    memcpy(dense, s.data, HLL_HEADER);
    dense[ENCODING_AT] = HLL_DENSE;
    while (hll_walk_inside(&w, &op)) {
        for (unsigned i = 0; i < op.run && op.kind == HLL_VALUE; i++) {
            hll_dense_set(dense + HLL_HEADER, (size_t)w.first + i, op.value);
        }
    }
    if (w.next == HLL_REGISTERS) {
        h->len = 0;
        bk_buf_append(h, dense, sizeof(dense));
    }
    return w.next == HLL_REGISTERS;
}

static void raise_to(uint8_t *reg, unsigned value)
{
    if (value > *reg) {
        *reg = (uint8_t)value;
    }
}

bool hll_merge(struct bk_span s, uint8_t *registers)
{
    struct hll_walk w = hll_walk_of(s);
    struct hll_op op;
    if (hll_encoding(s) == HLL_DENSE) {
        for (; w.next < HLL_REGISTERS; w.next++) {
            raise_to(&registers[w.next], hll_dense_get(s.data + HLL_HEADER, (size_t)w.next));
        }
    } else {
        while (hll_walk_inside(&w, &op)) {
            for (unsigned i = 0; i < op.run && op.kind == HLL_VALUE; i++) {
                raise_to(&registers[w.first + i], op.value);
            }
        }
    }
    return w.next == HLL_REGISTERS;
}

void hll_decode(struct bk_span s, struct bk_buf *text)
{
    struct hll_walk w = hll_walk_of(s);
    struct hll_op op;
    while (hll_walk_next(&w, &op)) {
        const char *blank = text->len == 0 ? "" : " ";
        if (op.kind == HLL_VALUE) {
            bk_buf_printf(text, "%sv:%u,%u", blank, op.value, op.run);
        } else {
            bk_buf_printf(text, "%s%c:%u", blank, op.kind == HLL_ZERO ? 'z' : 'Z', op.run);
        }
    }
}
