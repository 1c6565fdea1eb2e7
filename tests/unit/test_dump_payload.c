/* SPDX-License-Identifier: MIT */
/* What DUMP writes and RESTORE takes: payloads of a Redis 7.0.15, those that lie, those that are
 * cut. */
#include "base/checksum.h"
#include "command/dump_payload.h"
#include "lib/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

struct vector {
    const char *value;
    const char *hex; /* as Redis 7.0.15 answers DUMP */
};

static const struct vector vectors[] = {
    {"", "00000a005d9b5c400f7fa2da"},
    {"a", "0001610a00bffeef9b8f367db4"},
    {"0", "00c0000a009840a778f8500308"},
    {"127", "00c07f0a000db5eb315254c514"},
    {"-128", "00c0800a009966326d2f0c5bd9"},
    {"128", "00c180000a00eb7ab3b510cf4b65"},
    {"-32769", "00c2ff7fffff0a00aee34c4d06c68536"},
    {"2147483647", "00c2ffffff7f0a002c74e59ee02eada1"},
    {"-2147483648", "00c2000000800a00c74f873e33558187"},
    {"2147483648", "000a323134373438333634380a00e7b129a34c1d76ee"},
    {"-0", "00022d300a00d5411fd9d6d050cc"},
    {"007", "00033030370a007258e27b4c69bad9"},
    {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
     "00c3094058016161e04b000161610a00ed4d8d13ca1171c5"},
};

static struct bk_buf from_hex(const char *hex)
{
    struct bk_buf b = {0};
    for (; hex[0] != '\0'; hex += 2) {
        char pair[3] = {hex[0], hex[1], '\0'};
        uint8_t byte = (uint8_t)strtoul(pair, NULL, 16);
        bk_buf_append(&b, &byte, 1);
    }
    return b;
}

/* The value of a payload in its own block, so that a byte too far is noticed. */
static bool read_value(struct bk_span payload, struct bk_buf *value)
{
    struct dump_value v;
    bool ok = dump_read(payload, &v) == DUMP_OK;
    if (ok) {
        value->len = 0;
        dump_value_copy(&v, bk_buf_reserve(value, v.len));
        value->len = v.len;
    }
    return ok;
}

/* Type and string as given, version and a checksum that is right. */
static struct bk_buf sealed(const void *body, size_t n)
{
    struct bk_buf b = {0};
    uint8_t footer[8];
    bk_buf_append(&b, body, n);
    bk_put16(footer, 10);
    bk_buf_append(&b, footer, 2);
    bk_put64(footer, bk_crc64(0, b.data, b.len));
    bk_buf_append(&b, footer, 8);
    return b;
}

static enum dump_status read_sealed(const void *body, size_t n)
{
    struct bk_buf b = sealed(body, n);
    struct dump_value v;
    enum dump_status status = dump_read(bk_buf_span(&b), &v);
    bk_buf_fini(&b);
    return status;
}

static void test_dump_payload__of_redis__is_read_and_written_to_the_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        struct bk_span plain = bk_span_str(vectors[i].value);
        struct bk_buf theirs = from_hex(vectors[i].hex);
        struct bk_buf ours = {0};
        struct bk_buf value = {0};
        dump_write(&ours, plain);
        assert_int_equal(ours.len, theirs.len);
        assert_memory_equal(ours.data, theirs.data, theirs.len);
        assert_true(read_value(bk_buf_span(&theirs), &value));
        assert_true(bk_span_eq(bk_buf_span(&value), plain));
        bk_buf_fini(&theirs);
        bk_buf_fini(&ours);
        bk_buf_fini(&value);
    }
}

/* Lengths at the edges of their forms, bytes that compress and bytes that do not. */
static void test_dump_payload__any_value__comes_back(void **state)
{
    static const size_t lengths[] = {19,    20,    21,    22,    63,    64,     65,
                                     16383, 16384, 16385, 65535, 65536, 300000, 2000000};
    struct rng r = {20241121};
    struct bk_buf value = {0};
    struct bk_buf back = {0};
    (void)state;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]) * 3; i++) {
        struct bk_buf payload = {0};
        size_t len = lengths[i / 3];
        uint8_t *bytes = bk_buf_reserve(&value, len);
        rng_fill(&r, bytes, len);
        for (size_t at = 0; i % 3 != 0 && at < len; at++) {
            bytes[at] = (uint8_t)(i % 3 == 1 ? at / 300 : bytes[at] % 3);
        }
        dump_write(&payload, bk_span_of(bytes, len));
        assert_true(payload.len <= len + 16);
        assert_true(i % 3 == 0 || len < 1000 || payload.len < len);
        assert_true(read_value(bk_buf_span(&payload), &back));
        assert_true(bk_span_eq(bk_buf_span(&back), bk_span_of(bytes, len)));
        bk_buf_fini(&payload);
    }
    bk_buf_fini(&value);
    bk_buf_fini(&back);
}

static void test_dump_payload__cut_or_with_a_flipped_bit__is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        struct bk_buf b = from_hex(vectors[i].hex);
        struct dump_value v;
        for (size_t len = 0; len < b.len; len++) {
            assert_int_equal(dump_read(bk_span_of(b.data, len), &v), DUMP_BAD_FOOTER);
        }
        for (size_t bit = 0; bit < b.len * 8; bit++) {
            b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_int_equal(dump_read(bk_buf_span(&b), &v), DUMP_BAD_FOOTER);
            b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        bk_buf_fini(&b);
    }
}

static void test_dump_payload__later_version__is_refused(void **state)
{
    struct bk_buf b = sealed("\0\1a", 3);
    struct dump_value v;
    (void)state;
    assert_int_equal(dump_read(bk_buf_span(&b), &v), DUMP_OK);
    for (uint16_t version = 0; version < 300; version++) {
        bk_put16(b.data + 3, version);
        bk_put64(b.data + 5, bk_crc64(0, b.data, 5));
        assert_int_equal(dump_read(bk_buf_span(&b), &v), version <= 10 ? DUMP_OK : DUMP_BAD_FOOTER);
    }
    bk_buf_fini(&b);
}

#define READ(body) read_sealed(body, sizeof(body) - 1)

/* None of these may take memory by what it claims: the reader takes none at all. */
static void test_dump_payload__with_a_length_that_lies__is_bad_data(void **state)
{
    (void)state;
    assert_int_equal(READ("\0\x14short"), DUMP_BAD_DATA);
    assert_int_equal(READ("\0\x80\xff\xff\xff\xff"), DUMP_BAD_DATA);
    assert_int_equal(READ("\0\x81\x7f\xff\xff\xff\xff\xff\xff\xff"), DUMP_BAD_DATA);
    assert_int_equal(READ("\0\x81\xff\xff\xff\xff\xff\xff\xff\xff"), DUMP_BAD_DATA);
    assert_int_equal(READ("\0\x82\1a"), DUMP_BAD_DATA);
    assert_int_equal(READ("\0\xbf\1a"), DUMP_BAD_DATA);
    assert_int_equal(READ("\0\xc4\1a"), DUMP_BAD_DATA);
    assert_int_equal(READ("\0\xff"), DUMP_BAD_DATA);
    /* Five bytes that say they are four gigabytes, and 2^63. */
    assert_int_equal(READ("\0\xc3\5\x80\xff\xff\xff\xff\1ab\xe0\1"), DUMP_BAD_DATA);
    assert_int_equal(READ("\0\xc3\5\x81\x80\0\0\0\0\0\0\0\1ab\xe0\1"), DUMP_BAD_DATA);
    assert_int_equal(READ("\0\xc3\x80\xff\xff\xff\xff\x0a\1ab"), DUMP_BAD_DATA);
}

static void test_dump_payload__with_a_bad_compression__is_bad_data(void **state)
{
    (void)state;
    assert_int_equal(READ("\0\xc3\3\2\1ab"), DUMP_OK);
    assert_int_equal(READ("\0\xc3\3\3\1ab"), DUMP_BAD_DATA);         /* one byte less than told */
    assert_int_equal(READ("\0\xc3\3\1\1ab"), DUMP_BAD_DATA);         /* one more */
    assert_int_equal(READ("\0\xc3\3\4\3ab"), DUMP_BAD_DATA);         /* literals beyond the end */
    assert_int_equal(READ("\0\xc3\5\5\1ab\x20\1"), DUMP_OK);         /* a copy of what was */
    assert_int_equal(READ("\0\xc3\5\5\1ab\x20\2"), DUMP_BAD_DATA);   /* of what was not */
    assert_int_equal(READ("\0\xc3\4\5\1ab\x20"), DUMP_BAD_DATA);     /* without its distance */
    assert_int_equal(READ("\0\xc3\5\x0b\1ab\xe0\0"), DUMP_BAD_DATA); /* without, long */
    assert_int_equal(READ("\0\xc3\6\x0b\1ab\xe0\0\1"), DUMP_OK);
    assert_int_equal(READ("\0\xc3\0\1"), DUMP_BAD_DATA);
    assert_int_equal(READ("\0\xc3\2\0ab"), DUMP_OK); /* Redis looks no further: an empty string */
}

static void test_dump_payload__of_another_type__is_bad_data(void **state)
{
    uint8_t body[] = {0, 1, 'a'};
    (void)state;
    for (unsigned type = 1; type < 256; type++) {
        body[0] = (uint8_t)type;
        assert_int_equal(read_sealed(body, sizeof(body)), DUMP_BAD_DATA);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dump_payload__of_redis__is_read_and_written_to_the_byte),
        cmocka_unit_test(test_dump_payload__any_value__comes_back),
        cmocka_unit_test(test_dump_payload__cut_or_with_a_flipped_bit__is_refused),
        cmocka_unit_test(test_dump_payload__later_version__is_refused),
        cmocka_unit_test(test_dump_payload__with_a_length_that_lies__is_bad_data),
        cmocka_unit_test(test_dump_payload__with_a_bad_compression__is_bad_data),
        cmocka_unit_test(test_dump_payload__of_another_type__is_bad_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
