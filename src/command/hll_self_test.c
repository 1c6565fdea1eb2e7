/* SPDX-License-Identifier: MIT */
/* hll_self_test.c - PFSELFTEST: registers keep what is put into them, both encodings count the
 * same, and the count is near the truth. What it adds is always the same. */
#include "command/hll_private.h"

#include "base/checksum.h"

#include <math.h>
#include <stdlib.h>

#define ROUNDS 20
#define ELEMENTS 100000u
#define ERROR_TIMES 6 /* of the standard error, as Redis allows */

static uint64_t scatter(uint64_t i)
{
    uint64_t z = i * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    return z ^ z >> 27;
}

static unsigned wanted(size_t round, size_t reg)
{
    return (unsigned)(scatter(round * HLL_REGISTERS + reg) & HLL_REGISTER_MAX);
}

static bool registers_hold(struct bk_buf *why)
{
    uint8_t registers[HLL_DENSE_LEN - HLL_HEADER] = {0};
    bool ok = true;
    for (size_t round = 0; round < ROUNDS && ok; round++) {
        for (size_t reg = 0; reg < HLL_REGISTERS; reg++) {
            hll_dense_set(registers, reg, wanted(round, reg));
        }
        for (size_t reg = 0; reg < HLL_REGISTERS && ok; reg++) {
            unsigned is = hll_dense_get(registers, reg);
            ok = is == wanted(round, reg);
            if (!ok) {
                bk_buf_printf(why, "ERR TESTFAILED Register %zu should be %u but is %u", reg,
                              wanted(round, reg), is);
            }
        }
    }
    return ok;
}

/* After n elements in both. */
static bool counts_hold(struct bk_span dense, struct bk_span sparse, uint64_t n,
                        uint64_t sparse_max, struct bk_buf *why)
{
    uint64_t by_dense = 0;
    uint64_t by_sparse = 0;
    double allowed = n == 10 ? 1 : ceil(1.04 / sqrt(HLL_REGISTERS) * ERROR_TIMES * (double)n);
    bool ok = false;
    if (n < sparse_max / 2 && hll_encoding(sparse) != HLL_SPARSE) {
        bk_buf_printf(why, "ERR TESTFAILED sparse encoding not used");
    } else if (!hll_count(dense, &by_dense) || !hll_count(sparse, &by_sparse) ||
               by_dense != by_sparse) {
        bk_buf_printf(why, "ERR TESTFAILED dense/sparse disagree");
    } else if (fabs((double)by_dense - (double)n) > allowed) {
        bk_buf_printf(why, "ERR TESTFAILED Too big error. card:%llu abserr:%.0f",
                      (unsigned long long)n, fabs((double)by_dense - (double)n));
    } else {
        ok = true;
    }
    return ok;
}

bool hll_self_test(uint64_t sparse_max, struct bk_buf *why)
{
    struct bk_buf dense = {0};
    struct bk_buf sparse = {0};
    uint64_t checkpoint = 1;
    bool ok = registers_hold(why);
    hll_new(&dense);
    hll_new(&sparse);
    ok = ok && hll_to_dense(&dense);
    for (uint64_t n = 1; n <= ELEMENTS && ok; n++) {
        uint8_t element[8];
        bk_put64(element, scatter(n));
        ok = hll_add(&dense, bk_span_of(element, sizeof(element)), sparse_max) != HLL_CORRUPT &&
             hll_add(&sparse, bk_span_of(element, sizeof(element)), sparse_max) != HLL_CORRUPT;
        if (ok && n == checkpoint) {
            ok = counts_hold(bk_buf_span(&dense), bk_buf_span(&sparse), n, sparse_max, why);
            checkpoint *= 10;
        }
    }
    bk_buf_fini(&dense);
    bk_buf_fini(&sparse);
    return ok;
}
