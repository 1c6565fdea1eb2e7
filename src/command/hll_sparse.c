/* SPDX-License-Identifier: MIT */
/* hll_sparse.c - raising a register of a sparse HyperLogLog: the operation that covers it is split
 * in place, then equal neighbours are joined. */
#include "command/hll_private.h"

#include "base/assert.h"

#include <string.h>

#define JOIN_STEPS 5 /* operations that are looked at for neighbours to join; Redis's number */
#define PARTS_MAX 5  /* bytes of an HLL_XZERO, a value and an HLL_XZERO */

/* The operation that covers a register. Places are from the value's first byte. */
struct cover {
    size_t at, before; /* before: of the one in front of it; the same as at if it is the first */
    struct hll_op op;
    size_t first; /* its first register */
};

/* false: none does, or it is cut in the middle, and there is no byte to split. */
static bool find(struct bk_span s, size_t reg, struct cover *c)
{
    size_t at = HLL_HEADER;
    bool found = false;
    *c = (struct cover){.at = at, .before = at};
    while (at < s.len && !found) {
        c->op = hll_op_at(s.data + at, s.data + s.len);
        found = reg < c->first + c->op.run;
        if (found) {
            c->at = at;
        } else {
            c->before = at;
            c->first += c->op.run;
            at += c->op.size;
        }
    }
    return found && c->at + c->op.size <= s.len;
}

static uint8_t *put_zeros(uint8_t *p, size_t run)
{
    BK_ASSERT(run >= 1 && run <= HLL_REGISTERS);
    if (run > HLL_ZERO_RUN_MAX) {
        *p++ = (uint8_t)(0x40 | (run - 1) >> 8);
    }
    *p++ = (uint8_t)(run - 1);
    return p;
}

static uint8_t *put_value(uint8_t *p, unsigned value, size_t run)
{
    BK_ASSERT(value >= 1 && value <= HLL_SPARSE_VALUE_MAX && run >= 1 && run <= HLL_VALUE_RUN_MAX);
    *p = (uint8_t)(0x80 | (value - 1) << 2 | (run - 1));
    return p + 1;
}

static uint8_t *put_old(uint8_t *p, const struct hll_op *op, size_t run)
{
    if (run != 0) {
        p = op->kind == HLL_VALUE ? put_value(p, op->value, run) : put_zeros(p, run);
    }
    return p;
}

/* What takes the operation's place: the registers in front, the raised one, those behind. */
static size_t split(const struct cover *c, size_t reg, unsigned value, uint8_t *parts)
{
    uint8_t *p = put_old(parts, &c->op, reg - c->first);
    p = put_value(p, value, 1);
    p = put_old(p, &c->op, c->first + c->op.run - 1 - reg);
    return (size_t)(p - parts);
}

static void replace(struct bk_buf *h, const struct cover *c, const uint8_t *parts, size_t n)
{
    size_t behind = c->at + c->op.size;
    (void)bk_buf_reserve(h, PARTS_MAX);
    memmove(h->data + c->at + n, h->data + behind, h->len - behind);
    memcpy(h->data + c->at, parts, n);
    h->len = h->len + n - c->op.size;
}

/* Two values that are equal and fit one operation. */
static bool joins(const struct hll_op *a, const struct hll_op *b)
{
    return a->kind == HLL_VALUE && b->kind == HLL_VALUE && a->value == b->value &&
           a->run + b->run <= HLL_VALUE_RUN_MAX;
}

static void join_from(struct bk_buf *h, size_t at)
{
    for (int steps = 0; steps < JOIN_STEPS && at < h->len; steps++) {
        const uint8_t *end = h->data + h->len;
        struct hll_op op = hll_op_at(h->data + at, end);
        struct hll_op next = {.kind = HLL_ZERO};
        if (at + 1 < h->len) {
            next = hll_op_at(h->data + at + 1, end);
        }
        if (joins(&op, &next)) {
            (void)put_value(h->data + at + 1, op.value, op.run + next.run);
            memmove(h->data + at, h->data + at + 1, h->len - at - 1);
            h->len--;
        } else {
            at += op.size;
        }
    }
}

static enum hll_result promote(struct bk_buf *h, size_t reg, unsigned value)
{
    enum hll_result result = HLL_CORRUPT;
    if (hll_to_dense(h)) {
        hll_dense_set(h->data + HLL_HEADER, reg, value);
        result = HLL_CHANGED;
    }
    return result;
}

enum hll_result hll_sparse_raise(struct bk_buf *h, size_t reg, unsigned value, uint64_t sparse_max)
{
    struct cover c;
    uint8_t parts[PARTS_MAX];
    size_t n;
    if (value > HLL_SPARSE_VALUE_MAX) {
        return promote(h, reg, value);
    }
    if (!find(bk_buf_span(h), reg, &c)) {
        return HLL_CORRUPT;
    }
    if (c.op.kind == HLL_VALUE && c.op.value >= value) {
        return HLL_SAME;
    }
    n = split(&c, reg, value, parts);
    if (n > c.op.size && h->len + n - c.op.size > sparse_max) {
        return promote(h, reg, value);
    }
    replace(h, &c, parts, n);
    join_from(h, c.before);
    hll_forget(h->data);
    return HLL_CHANGED;
}
