/* SPDX-License-Identifier: MIT */
#include "engine/filter.h"

#include <string.h>

/* Keeps the order: of two values the larger one is not mapped below the smaller one. */
static uint64_t mapped(uint64_t value, size_t n)
{
    return (uint64_t)((unsigned __int128)value * ((uint64_t)n << BKI_FILTER_RICE) >> 64);
}

/* ---- Bits, lowest first ---- */

struct bits {
    struct bk_buf *out;
    unsigned used; /* of the last byte; 8: full */
};

static void put_bit(struct bits *b, unsigned bit)
{
    if (b->used == 8) {
        *bk_buf_reserve(b->out, 1) = 0;
        b->out->len++;
        b->used = 0;
    }
    b->out->data[b->out->len - 1] |= (uint8_t)(bit << b->used++);
}

struct reader {
    const uint8_t *code;
    size_t bits, at;
};

static bool take_bit(struct reader *r, unsigned *bit)
{
    if (r->at == r->bits) {
        return false;
    }
    *bit = (unsigned)(r->code[r->at / 8] >> (r->at % 8)) & 1u;
    r->at++;
    return true;
}

static bool take_distance(struct reader *r, uint64_t *distance)
{
    uint64_t high = 0;
    uint64_t low = 0;
    unsigned bit = 0;
    bool ok;
    while ((ok = take_bit(r, &bit)) && bit == 1) {
        high++;
    }
    for (unsigned i = 0; ok && i < BKI_FILTER_RICE; i++) {
        ok = take_bit(r, &bit);
        low |= (uint64_t)bit << i;
    }
    *distance = high << BKI_FILTER_RICE | low;
    return ok;
}

/* ---- The set ---- */

void bki_filter_encode(const uint64_t *values, size_t n, struct bk_buf *out)
{
    struct bits b = {out, 8};
    uint64_t before = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t v = mapped(values[i], n);
        uint64_t distance = v - before;
        for (uint64_t q = distance >> BKI_FILTER_RICE; q > 0; q--) {
            put_bit(&b, 1);
        }
        put_bit(&b, 0);
        for (unsigned k = 0; k < BKI_FILTER_RICE; k++) {
            put_bit(&b, (unsigned)(distance >> k) & 1u);
        }
        before = v;
    }
}

int bki_filter_ask(const uint8_t *code, size_t len, size_t n, const uint64_t *asked, size_t asked_n,
                   bool *maybe)
{
    struct reader r = {code, len * 8, 0};
    uint64_t at = 0;
    size_t seen = 0;
    memset(maybe, 0, asked_n * sizeof *maybe);
    for (size_t i = 0; i < asked_n; i++) {
        uint64_t want = mapped(asked[i], n);
        while (seen < n && (seen == 0 || at < want)) {
            uint64_t distance;
            if (!take_distance(&r, &distance)) {
                return BK_CORRUPT;
            }
            at += distance;
            seen++;
        }
        maybe[i] = seen > 0 && at == want;
    }
    return BK_OK;
}
