/* SPDX-License-Identifier: MIT */
/* eqgen_dump.c - arguments for RESTORE: payloads of strings, and ones that are spoilt. */
#include "base/checksum.h"
#include "command/dump_payload.h"
#include "lib/eqgen_words.h"

#include <stdlib.h>

#define FOOTER 10u
#define VALUE_MAX 400u

static void seal(struct bk_buf *b, uint16_t version)
{
    uint8_t footer[FOOTER];
    bk_put16(footer, version);
    bk_buf_append(b, footer, 2);
    bk_put64(footer, bk_crc64(0, b->data, b->len));
    bk_buf_append(b, footer, 8);
}

/* What may stand where a string begins, right or not: forms, lengths, numbers, compressions. */
static void random_string(struct rng *r, struct bk_buf *b)
{
    static const uint8_t heads[] = {0x00, 0x01, 0x03, 0x14, 0x40, 0x41, 0x80, 0x81, 0x82,
                                    0xbf, 0xc0, 0xc1, 0xc2, 0xc3, 0xc3, 0xc3, 0xc4, 0xff};
    uint8_t head = heads[rng_below(r, sizeof(heads))];
    size_t n = (size_t)rng_below(r, 12);
    bk_buf_append(b, &head, 1);
    for (size_t i = 0; i < n; i++) {
        uint8_t byte = (uint8_t)(rng_percent(r, 70) ? rng_below(r, 8) : rng_below(r, 256));
        bk_buf_append(b, &byte, 1);
    }
}

static void random_value(struct rng *r, struct bk_buf *b)
{
    size_t n = (size_t)rng_below(r, rng_percent(r, 50) ? 30 : VALUE_MAX);
    unsigned letters = rng_percent(r, 50) ? 2 : 256;
    uint8_t *bytes = bk_buf_reserve(b, n);
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (uint8_t)('a' + rng_below(r, letters));
    }
    b->len += n;
}

static void random_number(struct rng *r, struct bk_buf *b)
{
    int64_t v = (int64_t)(rng_next(r) >> rng_below(r, 64));
    bk_buf_printf(b, "%lld", (long long)(rng_percent(r, 50) ? v : -v));
}

static void spoil(struct rng *r, struct bk_buf *b)
{
    if (rng_percent(r, 50)) {
        b->len = (size_t)rng_below(r, b->len);
    } else {
        b->data[rng_below(r, b->len)] ^= (uint8_t)(1u << rng_below(r, 8));
    }
}

void eq_add_payload(struct rng *r, struct eq_cmd *cmd)
{
    struct bk_buf value = {0};
    struct bk_buf payload = {0};
    switch (rng_below(r, 8)) {
    case 0: {
        /* A type that neither knows, or a string of an older version, or of a later one. */
        uint8_t type = rng_percent(r, 80) ? 0 : 200;
        bk_buf_append(&payload, &type, 1);
        random_string(r, &payload);
        seal(&payload, (uint16_t)(rng_percent(r, 80) ? 10 : rng_below(r, 14)));
        break;
    }
    case 1:
        random_number(r, &value);
        dump_write(&payload, bk_buf_span(&value));
        break;
    default:
        random_value(r, &value);
        dump_write(&payload, bk_buf_span(&value));
        break;
    }
    if (rng_percent(r, 8)) {
        spoil(r, &payload);
    }
    eq_cmd_add(cmd, payload.data, payload.len);
    bk_buf_fini(&value);
    bk_buf_fini(&payload);
}
