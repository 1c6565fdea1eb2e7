/* SPDX-License-Identifier: MIT */
/* hll_private.h - registers as they lie in the two encodings, for the files of hll.h. */
#ifndef BK_COMMAND_HLL_PRIVATE_H
#define BK_COMMAND_HLL_PRIVATE_H

#include "command/hll.h"

#define HLL_SPARSE_VALUE_MAX 32u
#define HLL_VALUE_RUN_MAX 4u
#define HLL_ZERO_RUN_MAX 64u

/* One operation of the sparse encoding. */
enum hll_kind { HLL_ZERO, HLL_XZERO, HLL_VALUE };
struct hll_op {
    enum hll_kind kind;
    unsigned size; /* bytes; of an HLL_XZERO 2, even if the value ends between them */
    unsigned run;  /* registers */
    unsigned value;
};

/* The operation at p, which is not the end. A byte that is missing is read as 0, as Redis reads the
 * NUL behind its strings. */
static inline struct hll_op hll_op_at(const uint8_t *p, const uint8_t *end)
{
    struct hll_op op;
    if ((*p & 0x80) != 0) {
        op = (struct hll_op){HLL_VALUE, 1, (*p & 3u) + 1, (*p >> 2 & 31u) + 1};
    } else if ((*p & 0x40) == 0) {
        op = (struct hll_op){HLL_ZERO, 1, (*p & 63u) + 1, 0};
    } else {
        unsigned low = end - p > 1 ? p[1] : 0;
        op = (struct hll_op){HLL_XZERO, 2, ((*p & 63u) << 8 | low) + 1, 0};
    }
    return op;
}

/* Walks over the operations of a sparse value. */
struct hll_walk {
    const uint8_t *p, *end;
    uint64_t first; /* register of the operation that hll_walk_next gave */
    uint64_t next;  /* register behind it */
};
static inline struct hll_walk hll_walk_of(struct bk_span s)
{
    return (struct hll_walk){s.data + HLL_HEADER, s.data + s.len, 0, 0};
}
/* Operations whole or not, as many as there are. */
static inline bool hll_walk_next(struct hll_walk *w, struct hll_op *op)
{
    bool more = w->p < w->end;
    if (more) {
        *op = hll_op_at(w->p, w->end);
        w->p += (size_t)(w->end - w->p) < op->size ? (size_t)(w->end - w->p) : op->size;
        w->first = w->next;
        w->next += op->run;
    }
    return more;
}
/* The same, but none past the last register: w->next, which is HLL_REGISTERS behind the last
 * operation of a value that is not corrupt, then is more. */
static inline bool hll_walk_inside(struct hll_walk *w, struct hll_op *op)
{
    return hll_walk_next(w, op) && w->next <= HLL_REGISTERS;
}

/* registers: HLL_REGISTERS packed ones. */
static inline unsigned hll_dense_get(const uint8_t *registers, size_t reg)
{
    size_t byte = reg * 6 / 8;
    unsigned shift = reg * 6 % 8;
    /* The last register ends with the last byte. */
    unsigned high = shift > 2 ? registers[byte + 1] : 0;
    return (registers[byte] >> shift | high << (8 - shift)) & HLL_REGISTER_MAX;
}

static inline void hll_dense_set(uint8_t *registers, size_t reg, unsigned value)
{
    size_t byte = reg * 6 / 8;
    unsigned shift = reg * 6 % 8;
    registers[byte] =
        (uint8_t)((registers[byte] & ~((unsigned)HLL_REGISTER_MAX << shift)) | value << shift);
    if (shift > 2) {
        registers[byte + 1] =
            (uint8_t)((registers[byte + 1] & ~((unsigned)HLL_REGISTER_MAX >> (8 - shift))) |
                      value >> (8 - shift));
    }
}

/* hll_sparse.c */
enum hll_result hll_sparse_raise(struct bk_buf *h, size_t reg, unsigned value, uint64_t sparse_max);

#endif
