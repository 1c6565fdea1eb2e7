/* SPDX-License-Identifier: MIT */
/*
 * dump_payload.c - see dump_payload.h.
 *
 *   1 byte   type: 0 = string
 *            the string:
 *              00nnnnnn                 length in 6 bits, bytes
 *              01nnnnnn nnnnnnnn        length in 14 bits, bytes
 *              10000000 4 bytes         length in 32 bits, big-endian, bytes
 *              10000001 8 bytes         length in 64 bits, big-endian, bytes
 *              11000000 1 byte          a number, little-endian; 11000001 2 bytes, 11000010 4 bytes
 *              11000011 length length   lengths of the compressed and of the plain bytes, LZF
 *   2 bytes  version, little-endian
 *   8 bytes  CRC-64 of all before it, little-endian
 */
#include "command/dump_payload.h"

#include "base/assert.h"
#include "base/checksum.h"
#include "base/num.h"

#include <liblzf/lzf.h>
#include <stdbool.h>
#include <stdlib.h>

#define VERSION 10u
#define FOOTER 10u /* bytes */
#define TYPE_STRING 0

/* The first byte of a length. */
#define LEN_14 0x40u
#define LEN_32 0x80u
#define LEN_64 0x81u
#define ENCODED 0xc0u
#define INT8 0u
#define INT16 1u
#define INT32 2u
#define LZF 3u

#define NUMBER_TEXT_MAX 11u /* bytes of a 32-bit number */
#define COMPRESS_MIN 21u    /* Redis tries no shorter ones */
#define COMPRESS_GAIN 4u    /* nor keeps what saves less */

/* ---- Reading ---- */

/* false: there are not so many bytes. */
static bool take(struct bk_span *rest, uint64_t n, struct bk_span *out)
{
    bool ok = n <= rest->len;
    if (ok) {
        *out = bk_span_of(rest->data, (size_t)n);
        *rest = bk_span_of(rest->data + n, rest->len - (size_t)n);
    }
    return ok;
}

static uint64_t big_endian(struct bk_span bytes)
{
    uint64_t v = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        v = v << 8 | bytes.data[i];
    }
    return v;
}

/* *encoded: what follows is no length, and *v tells what it is. */
static bool take_length(struct bk_span *rest, uint64_t *v, bool *encoded)
{
    struct bk_span first;
    struct bk_span more = {NULL, 0};
    bool ok = take(rest, 1, &first);
    uint8_t head = ok ? first.data[0] : 0;
    *encoded = (head & ENCODED) == ENCODED;
    if (ok && head == LEN_32) {
        ok = take(rest, 4, &more);
    } else if (ok && head == LEN_64) {
        ok = take(rest, 8, &more);
    } else if (ok && (head & ENCODED) == LEN_14) {
        ok = take(rest, 1, &more);
    } else if (ok && (head & ENCODED) == LEN_32) {
        ok = false; /* 10xxxxxx has two meanings only */
    }
    if (ok) {
        bool in_head = (head & ENCODED) != LEN_32;
        *v = (in_head ? (uint64_t)(head & 0x3fu) << (8 * more.len) : 0) | big_endian(more);
    }
    return ok;
}

/* A length where only a length may stand. Redis does not look at that mark there either. */
static bool take_plain_length(struct bk_span *rest, uint64_t *v)
{
    bool encoded;
    return take_length(rest, v, &encoded);
}

static bool read_number(struct bk_span *rest, unsigned log2_bytes, struct dump_value *out)
{
    struct bk_span b;
    bool ok = take(rest, (uint64_t)1 << log2_bytes, &b);
    if (ok) {
        int64_t v = log2_bytes == INT8    ? (int8_t)b.data[0]
                    : log2_bytes == INT16 ? (int16_t)bk_get16(b.data)
                                          : (int32_t)bk_get32(b.data);
        out->form = DUMP_NUMBER;
        out->len = bk_format_i64(out->number, v);
    }
    return ok;
}

/*
 * Do these bytes expand to exactly len bytes? A walk over the stream without an output: a control
 * byte below 32 is followed by that many bytes and one; any other has in its upper three bits the
 * length of a copy less 2 (7: the next byte is added), and below, with the last byte, how far back.
 */
static bool expands_to(struct bk_span in, uint64_t len)
{
    size_t i = 0;
    uint64_t out = 0;
    bool ok = true;
    while (ok && i < in.len) {
        unsigned control = in.data[i++];
        unsigned run = control >> 5;
        if (control < 32) {
            i += control + 1;
            out += control + 1;
            ok = i <= in.len;
        } else {
            size_t distance = i + (run == 7 ? 1 : 0); /* where its last byte stands */
            ok = distance < in.len &&
                 (((uint64_t)control & 0x1f) << 8) + in.data[distance] + 1 <= out;
            out += run + 2 + (ok && run == 7 ? in.data[i] : 0);
            i = distance + 1;
        }
    }
    return ok && out == len;
}

static bool read_lzf(struct bk_span *rest, struct dump_value *out)
{
    uint64_t packed;
    bool ok = take_plain_length(rest, &packed) && take_plain_length(rest, &out->len) &&
              take(rest, packed, &out->bytes);
    if (ok && out->len == 0) {
        out->form = DUMP_PLAIN; /* to Redis too, whatever the bytes are */
        out->bytes.len = 0;
    } else if (ok) {
        out->form = DUMP_LZF;
        ok = out->len <= UINT32_MAX && packed <= UINT32_MAX && expands_to(out->bytes, out->len);
    }
    return ok;
}

static bool read_string(struct bk_span *rest, struct dump_value *out)
{
    uint64_t v;
    bool encoded;
    bool ok = take_length(rest, &v, &encoded);
    if (ok && !encoded) {
        out->form = DUMP_PLAIN;
        out->len = v;
        ok = take(rest, v, &out->bytes);
    } else if (ok && v == LZF) {
        ok = read_lzf(rest, out);
    } else if (ok) {
        ok = v <= INT32 && read_number(rest, (unsigned)v, out);
    }
    return ok;
}

static bool footer_fits(struct bk_span payload)
{
    bool fits = payload.len >= FOOTER;
    if (fits) {
        const uint8_t *footer = payload.data + payload.len - FOOTER;
        fits = bk_get16(footer) <= VERSION &&
               bk_get64(footer + 2) == bk_crc64(0, payload.data, payload.len - 8);
    }
    return fits;
}

enum dump_status dump_read(struct bk_span payload, struct dump_value *out)
{
    enum dump_status status = DUMP_BAD_FOOTER;
    struct dump_value v = {0};
    if (footer_fits(payload)) {
        /* Redis reads on into the footer. */
        struct bk_span rest = bk_span_of(payload.data + 1, payload.len - 1);
        bool ok = payload.data[0] == TYPE_STRING && read_string(&rest, &v);
        status = ok ? DUMP_OK : DUMP_BAD_DATA;
    }
    if (status == DUMP_OK) {
        *out = v;
    }
    return status;
}

void dump_value_copy(const struct dump_value *v, uint8_t *to)
{
    if (v->form == DUMP_LZF) {
        unsigned n = lzf_decompress(v->bytes.data, (unsigned)v->bytes.len, to, (unsigned)v->len);
        BK_ASSERT(n == v->len); /* expands_to has seen to it */
    } else if (v->len > 0) {
        memcpy(to, v->form == DUMP_NUMBER ? (const uint8_t *)v->number : v->bytes.data,
               (size_t)v->len);
    }
}

bool dump_value_is(const struct dump_value *v, struct bk_span bytes)
{
    bool same = v->len == bytes.len;
    if (same && v->form == DUMP_LZF) {
        uint8_t *plain = bk_alloc(bytes.len);
        dump_value_copy(v, plain);
        same = memcmp(plain, bytes.data, bytes.len) == 0;
        free(plain);
    } else if (same && bytes.len > 0) {
        const void *plain = v->form == DUMP_NUMBER ? (const void *)v->number : v->bytes.data;
        same = memcmp(plain, bytes.data, bytes.len) == 0;
    }
    return same;
}

/* ---- Writing ---- */

static void write_length(struct bk_buf *out, uint64_t len)
{
    uint8_t b[5];
    if (len < 64) {
        b[0] = (uint8_t)len;
        bk_buf_append(out, b, 1);
    } else if (len < 16384) {
        b[0] = (uint8_t)(LEN_14 | len >> 8);
        b[1] = (uint8_t)len;
        bk_buf_append(out, b, 2);
    } else {
        BK_ASSERT(len <= UINT32_MAX);
        b[0] = LEN_32;
        b[1] = (uint8_t)(len >> 24);
        b[2] = (uint8_t)(len >> 16);
        b[3] = (uint8_t)(len >> 8);
        b[4] = (uint8_t)len;
        bk_buf_append(out, b, 5);
    }
}

/* false: it is no number that has a form of its own. */
static bool write_number(struct bk_buf *out, struct bk_span value)
{
    uint8_t b[5];
    int64_t v = 0;
    bool ok = value.len <= NUMBER_TEXT_MAX && bk_parse_i64(value, &v) && v == (int32_t)v;
    if (ok) {
        unsigned kind = v == (int8_t)v ? INT8 : v == (int16_t)v ? INT16 : INT32;
        b[0] = (uint8_t)(ENCODED | kind);
        bk_put32(b + 1, (uint32_t)v);
        bk_buf_append(out, b, 1 + ((size_t)1 << kind));
    }
    return ok;
}

/* false: it cannot be made shorter. */
static bool write_lzf(struct bk_buf *out, struct bk_span value)
{
    unsigned packed = 0;
    if (value.len >= COMPRESS_MIN) {
        unsigned room = (unsigned)value.len - COMPRESS_GAIN;
        uint8_t *to = bk_alloc(room);
        packed = lzf_compress(value.data, (unsigned)value.len, to, room);
        if (packed != 0) {
            uint8_t head = ENCODED | LZF;
            bk_buf_append(out, &head, 1);
            write_length(out, packed);
            write_length(out, value.len);
            bk_buf_append(out, to, packed);
        }
        free(to);
    }
    return packed != 0;
}

void dump_write(struct bk_buf *out, struct bk_span value)
{
    size_t begin = out->len;
    uint8_t type = TYPE_STRING;
    uint8_t footer[FOOTER];
    BK_ASSERT(value.len <= UINT32_MAX);
    bk_buf_append(out, &type, 1);
    if (!write_number(out, value) && !write_lzf(out, value)) {
        write_length(out, value.len);
        bk_buf_append(out, value.data, value.len);
    }
    bk_put16(footer, VERSION);
    bk_buf_append(out, footer, 2);
    bk_put64(footer, bk_crc64(0, out->data + begin, out->len - begin));
    bk_buf_append(out, footer, 8);
}
