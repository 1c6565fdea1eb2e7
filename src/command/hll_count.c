/* SPDX-License-Identifier: MIT */
/* hll_count.c - how many elements the registers speak of: Otmar Ertl's estimate ("New cardinality
 * estimation algorithms for HyperLogLog sketches", arXiv:1702.01284), in the order of operations
 * that Redis has, since its result is kept in the value and must be the same in every bit. */
#include "command/hll_private.h"

#include <math.h>

#define VALUES (HLL_REGISTER_MAX + 1)
#define RUN_MAX 51 /* the highest value that a hash gives: 50 zeros and the one behind them */
#define HALF_BY_LN2 0.721347520444481703680

/* For the registers that are still 0; x: their part of all. */
static double sigma(double x)
{
    double y = 1;
    double z = x;
    double before;
    if (x == 1.0) {
        return INFINITY;
    }
    do {
        x *= x;
        before = z;
        z += x * y;
        y += y;
    } while (before != z);
    return z;
}

/* For the registers that cannot rise any more; x: the part of the others. */
static double tau(double x)
{
    double y = 1.0;
    double z = 1 - x;
    double before;
    if (x == 0.0 || x == 1.0) {
        return 0.0;
    }
    do {
        x = sqrt(x);
        before = z;
        y *= 0.5;
        z -= (1 - x) * (1 - x) * y;
    } while (before != z);
    return z / 3;
}

/* Registers that no set of elements gives (all of them at the top) make it infinite: 2^63 is what
 * Redis makes of that, which shows as the lowest number and keeps the count out of date. */
static uint64_t estimate(const uint64_t *of_value)
{
    const double m = HLL_REGISTERS;
    double z = m * tau((m - (double)of_value[RUN_MAX]) / m);
    double e;
    for (int value = RUN_MAX - 1; value >= 1; value--) {
        z += (double)of_value[value];
        z *= 0.5;
    }
    z += m * sigma((double)of_value[0] / m);
    e = round(HALF_BY_LN2 * m * m / z);
    return e < 0x1p63 ? (uint64_t)e : (uint64_t)1 << 63;
}

bool hll_count(struct bk_span s, uint64_t *count)
{
    uint64_t of_value[VALUES] = {0};
    struct hll_walk w = hll_walk_of(s);
    struct hll_op op;
    if (hll_encoding(s) == HLL_DENSE) {
        for (; w.next < HLL_REGISTERS; w.next++) {
            of_value[hll_dense_get(s.data + HLL_HEADER, (size_t)w.next)]++;
        }
    } else {
        while (hll_walk_inside(&w, &op)) {
            of_value[op.value] += op.run;
        }
    }
    if (w.next == HLL_REGISTERS) {
        *count = estimate(of_value);
    }
    return w.next == HLL_REGISTERS;
}

uint64_t hll_count_registers(const uint8_t *registers)
{
    uint64_t of_value[VALUES] = {0};
    for (size_t i = 0; i < HLL_REGISTERS; i++) {
        of_value[registers[i] & HLL_REGISTER_MAX]++;
    }
    return estimate(of_value);
}
