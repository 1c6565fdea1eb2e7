/* SPDX-License-Identifier: MIT */
/*
 * fuzz_dump_payload.c - any bytes, as they are and with a right footer put behind them, are no
 * payload, or one whose value is no longer than its bytes can expand to; and what is written of a
 * value is read as the same.
 */
#include "base/assert.h"
#include "base/checksum.h"
#include "command/dump_payload.h"

#include <stdlib.h>

/* LZF: 3 bytes stand for 264 at most. */
#define EXPANSION 88u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(struct bk_span value)
{
    struct bk_buf payload = {0};
    struct dump_value v;
    uint8_t *back;
    dump_write(&payload, value);
    enum dump_status status = dump_read(bk_buf_span(&payload), &v);
    BK_ASSERT(status == DUMP_OK);
    BK_ASSERT(v.len == value.len);
    back = bk_alloc(v.len);
    dump_value_copy(&v, back);
    BK_ASSERT(bk_span_eq(bk_span_of(back, v.len), value));
    free(back);
    bk_buf_fini(&payload);
}

static void read_one(struct bk_span payload)
{
    struct dump_value v;
    if (dump_read(payload, &v) == DUMP_OK) {
        BK_ASSERT(v.len <= payload.len * EXPANSION);
        uint8_t *value = bk_alloc(v.len); /* of its very size: a byte too far is noticed */
        dump_value_copy(&v, value);
        round_trip(bk_span_of(value, v.len));
        free(value);
    }
}

/* A block of its own for each, for the same reason. */
static void read_copy(const uint8_t *data, size_t size, bool seal)
{
    size_t n = size + (seal ? 10 : 0);
    uint8_t *copy = bk_alloc(n);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    if (seal) {
        bk_put16(copy + size, 10);
        bk_put64(copy + size + 2, bk_crc64(0, copy, size + 2));
    }
    read_one(bk_span_of(copy, n));
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_copy(data, size, false);
    read_copy(data, size, true);
    round_trip(bk_span_of(data, size));
    return 0;
}
