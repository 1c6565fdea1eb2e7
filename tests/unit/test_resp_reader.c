/* SPDX-License-Identifier: MIT */
/* Commands out of bytes: what is accepted, what is refused with which text, and that the cuts do
 * not matter. */
#include "base/buf.h"
#include "resp/reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MIB (1024u * 1024u)

static const struct resp_limits open_limits = {512u * MIB, 1024u * MIB, true};
static const struct resp_limits unauth_limits = {512u * MIB, 1024u * MIB, false};

/* Receives up to n bytes into the reader's room; returns how many it took. */
static size_t receive(struct resp_reader *r, const char *bytes, size_t n)
{
    size_t room;
    uint8_t *p = resp_reader_space(r, &room);
    size_t take = n < room ? n : room;
    memcpy(p, bytes, take);
    resp_reader_filled(r, take);
    return take;
}

/* "(a|b c)" */
static void show(const struct resp_command *c, struct bk_buf *out)
{
    bk_buf_append(out, "(", 1);
    for (int i = 0; i < c->argc; i++) {
        bk_buf_append(out, "|", i > 0 ? 1 : 0);
        bk_buf_append(out, c->argv[i].bytes.data, c->argv[i].bytes.len);
    }
    bk_buf_append(out, ")", 1);
}

/* "(a|b c)" for each command in turn, "!text" for the error that ends the stream. */
static enum resp_status drain(struct resp_reader *r, const struct resp_limits *limits,
                              struct resp_command *c, struct bk_buf *out)
{
    const char *error = NULL;
    enum resp_status status;
    while ((status = resp_reader_next(r, limits, c, &error)) == RESP_COMMAND) {
        show(c, out);
    }
    if (status == RESP_BAD) {
        bk_buf_printf(out, "!%s", error);
    }
    return status;
}

/* The same with several commands at a time, of which the last one in four is put back. */
static enum resp_status drain_ahead(struct resp_reader *r, const struct resp_limits *limits,
                                    struct resp_command *c, struct bk_buf *out)
{
    struct resp_command v[4] = {{0}};
    enum resp_status status = RESP_COMMAND;
    while (status == RESP_COMMAND) {
        const char *error = NULL;
        size_t pending = resp_reader_pending(r);
        size_t n = resp_reader_ahead(r, limits, v, 4);
        size_t run = n < 4 ? n : 3;
        for (size_t i = 0; i < run; i++) {
            show(&v[i], out);
            pending -= v[i].wire_bytes;
        }
        resp_reader_put_back(r, v + run, n - run);
        assert_int_equal(resp_reader_pending(r), pending);
        if (n == 0) {
            status = resp_reader_next(r, limits, c, &error);
        }
        if (n == 0 && status == RESP_COMMAND) {
            show(c, out);
        } else if (status == RESP_BAD) {
            bk_buf_printf(out, "!%s", error);
        }
    }
    for (size_t i = 0; i < 4; i++) {
        resp_command_fini(&v[i]);
    }
    return status;
}

/* All that comes out when bytes arrive in pieces of chunk. The caller frees the text. */
static char *parse(const char *bytes, size_t n, size_t chunk, const struct resp_limits *limits,
                   bool ahead)
{
    struct resp_reader *r = resp_reader_new();
    struct resp_command c = {0};
    struct bk_buf out = {0};
    size_t at = 0;
    enum resp_status status = RESP_MORE;
    while (at < n && status == RESP_MORE) {
        at += receive(r, bytes + at, n - at < chunk ? n - at : chunk);
        status = (ahead ? drain_ahead : drain)(r, limits, &c, &out);
    }
    bk_buf_append(&out, "", 1);
    resp_command_fini(&c);
    resp_reader_free(&r);
    return (char *)out.data;
}

static void expect(const char *bytes, size_t n, const struct resp_limits *limits, const char *want)
{
    static const size_t chunks[] = {1, 2, 3, 5, 7, 16, 64, 1000, 1u << 30};
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        for (int ahead = 0; ahead <= (limits->authenticated ? 1 : 0); ahead++) {
            char *got = parse(bytes, n, chunks[i], limits, ahead == 1);
            assert_string_equal(got, want);
            free(got);
        }
    }
}
#define EXPECT(bytes, want) expect(bytes, sizeof(bytes) - 1, &open_limits, want)

static void test_reader__arrays__give_their_arguments(void **state)
{
    (void)state;
    EXPECT("*1\r\n$4\r\nPING\r\n", "(PING)");
    EXPECT("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
           "(SET|k|)(GET|k)");
    EXPECT("*2\r\n$4\r\nECHO\r\n$12\r\na\r\n$1\r\nb\r\n*1\r\n", "(ECHO|a\r\n$1\r\nb\r\n*1)");
    EXPECT("*12\r\n$1\r\n0\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n$1\r\n5\r\n$1\r\n6\r\n$"
           "1\r\n7\r\n$1\r\n8\r\n"
           "$1\r\n9\r\n$1\r\na\r\n$1\r\nb\r\n",
           "(0|1|2|3|4|5|6|7|8|9|a|b)");
}

static void test_reader__several_at_once__are_what_one_by_one_would_be(void **state)
{
    (void)state;
    struct bk_buf b = {0};
    struct bk_buf want = {0};
    for (int i = 0; i < 50; i++) {
        bk_buf_printf(&b, "*2\r\n$3\r\nGET\r\n$3\r\nk%02d\r\n", i);
        bk_buf_printf(&want, "(GET|k%02d)", i);
        if (i % 6 == 5) {
            bk_buf_printf(&b, "PING\r\n*0\r\n PING \r\n");
            bk_buf_printf(&want, "(PING)()(PING)");
        }
    }
    bk_buf_printf(&b, "*1\r\n$x\r\n");
    bk_buf_printf(&want, "!ERR Protocol error: invalid bulk length");
    bk_buf_append(&want, "", 1);
    expect((const char *)b.data, b.len, &open_limits, (const char *)want.data);
    bk_buf_fini(&b);
    bk_buf_fini(&want);
}

static void test_reader__empty_arrays__are_commands_without_arguments(void **state)
{
    (void)state;
    EXPECT("*0\r\n*-1\r\n*-77\r\n*1\r\n$4\r\nPING\r\n", "()()()(PING)");
}

static void test_reader__bytes_where_crlf_belongs__are_skipped_unseen_as_in_redis(void **state)
{
    (void)state;
    EXPECT("*1\rx$4\rxPINGxxPING\n", "(PING)(PING)");
}

static void test_reader__inline__splits_as_redis_does(void **state)
{
    (void)state;
    EXPECT("PING\r\n", "(PING)");
    EXPECT("PING\n", "(PING)");
    EXPECT("\r\n\n  \t \r\nPING\r\n", "()()()(PING)");
    EXPECT("SET  k\t v \r\n", "(SET|k|v)");
    EXPECT("a \"b c\" 'd e' \"\" ''\r\n", "(a|b c|d e||)");
    EXPECT("\"\\x41\\x4a\\xzz\\n\\r\\t\\b\\a\\\\\\\"\\q\"\n", "(AJxzz\n\r\t\b\a\\\"q)");
    EXPECT("'a\\'b\\n'\r\n", "(a'b\\n)");
    EXPECT("foo\"bar\" foo'b r'\r\n", "(foobar|foob r)");
    EXPECT("\v\fPING\f \va\r\n", "(PING\f|a)");
    EXPECT("a\rb\r\n", "(a|b)");
}

static void test_reader__inline__unbalanced_quotes_are_refused(void **state)
{
    (void)state;
    static const char *const lines[] = {"\"a\r\n",    "'a\r\n",     "\"a\"b\r\n", "'a'b\r\n",
                                        "x \"\\\r\n", "x \"\\x4\n", "'\\'\n"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        expect(lines[i], strlen(lines[i]), &open_limits,
               "!ERR Protocol error: unbalanced quotes in request");
    }
}

static void test_reader__malformed_arrays__get_redis_texts(void **state)
{
    (void)state;
    EXPECT("*x\r\n", "!ERR Protocol error: invalid multibulk length");
    EXPECT("*\r\n", "!ERR Protocol error: invalid multibulk length");
    EXPECT("*01\r\n", "!ERR Protocol error: invalid multibulk length");
    EXPECT("*+1\r\n", "!ERR Protocol error: invalid multibulk length");
    EXPECT("* 1\r\n", "!ERR Protocol error: invalid multibulk length");
    EXPECT("*2147483648\r\n", "!ERR Protocol error: invalid multibulk length");
    EXPECT("*2147483647\r\n", "");
    EXPECT("*1\r\nPING\r\n", "!ERR Protocol error: expected '$', got 'P'");
    EXPECT("*1\r\n\r\n\r\n", "!ERR Protocol error: expected '$', got ' '");
    EXPECT("*1\r\n\xff\r\n", "!ERR Protocol error: expected '$', got '\xff'");
    EXPECT("*1\r\n$-1\r\n", "!ERR Protocol error: invalid bulk length");
    EXPECT("*1\r\n$\r\n", "!ERR Protocol error: invalid bulk length");
    EXPECT("*1\r\n$04\r\nPING\r\n", "!ERR Protocol error: invalid bulk length");
    EXPECT("*1\r\n$4x\r\nPING\r\n", "!ERR Protocol error: invalid bulk length");
    EXPECT("*1\r\n$536870913\r\n", "!ERR Protocol error: invalid bulk length");
    EXPECT("*1\r\n$99999999999999999999\r\n", "!ERR Protocol error: invalid bulk length");
    EXPECT("*1\r\n$4\r\nPING\r\n*1\r\n:1\r\n", "(PING)!ERR Protocol error: expected '$', got ':'");
}

static void test_reader__bad_stream__stays_bad(void **state)
{
    (void)state;
    struct resp_reader *r = resp_reader_new();
    struct resp_command c = {0};
    struct bk_buf out = {0};
    receive(r, "*x\r\n", 4);
    assert_int_equal(drain(r, &open_limits, &c, &out), RESP_BAD);
    for (int i = 0; i < 100; i++) {
        receive(r, "*1\r\n$4\r\nPING\r\n", 14);
        assert_int_equal(drain(r, &open_limits, &c, &out), RESP_BAD);
    }
    assert_true(resp_reader_memory(r) < 20000);
    bk_buf_fini(&out);
    resp_command_fini(&c);
    resp_reader_free(&r);
}

static void test_reader__not_authenticated__small_limits(void **state)
{
    (void)state;
    const char *array = "*11\r\n";
    const char *bulk = "*1\r\n$16385\r\n";
    expect(array, strlen(array), &unauth_limits,
           "!ERR Protocol error: unauthenticated multibulk length");
    expect(bulk, strlen(bulk), &unauth_limits, "!ERR Protocol error: unauthenticated bulk length");
    expect("*10\r\n", 5, &unauth_limits, "");
    expect("*1\r\n$16384\r\n", 12, &unauth_limits, "");
    expect("*1\r\n$4\r\nPING\r\n", 14, &unauth_limits, "(PING)");
}

/* prefix, then n times 'x', then suffix. */
static void expect_long(const char *prefix, char ch, size_t n, const char *suffix, const char *want)
{
    struct bk_buf b = {0};
    bk_buf_append(&b, prefix, strlen(prefix));
    memset(bk_buf_reserve(&b, n), ch, n);
    b.len += n;
    bk_buf_append(&b, suffix, strlen(suffix));
    for (size_t chunk = 1000; chunk < 1000000; chunk *= 9) {
        char *got = parse((const char *)b.data, b.len, chunk, &open_limits, true);
        assert_string_equal(got, want);
        free(got);
    }
    bk_buf_fini(&b);
}

static void test_reader__line_without_end__is_refused_past_64_kib(void **state)
{
    (void)state;
    expect_long("", 'x', 65536, "", "");
    expect_long("", 'x', 65537, "", "!ERR Protocol error: too big inline request");
    expect_long("", 'x', 65537, "\n", "!ERR Protocol error: too big inline request");
    expect_long("*", '1', 65535, "", "");
    expect_long("*", '1', 65536, "", "!ERR Protocol error: too big mbulk count string");
    expect_long("*1\r\n$", '1', 65535, "", "");
    expect_long("*1\r\n$", '1', 65536, "", "!ERR Protocol error: too big bulk count string");
    expect_long("*", '1', 60000, "\r\n", "!ERR Protocol error: invalid multibulk length");
}

static void test_reader__nul_in_a_line__hides_its_end_as_in_redis(void **state)
{
    (void)state;
    EXPECT("PI\0NG\r\n", "");
    EXPECT("*1\r\n$4\0\r\nPING\r\n", "");
    EXPECT("*\0"
           "1\r\n",
           "");
    struct bk_buf b = {0};
    bk_buf_append(&b, "P\0\n", 3);
    for (int i = 0; i < 65534; i++) {
        bk_buf_append(&b, "y", 1);
    }
    char *got = parse((const char *)b.data, b.len, 900, &open_limits, true);
    assert_string_equal(got, "!ERR Protocol error: too big inline request");
    free(got);
    bk_buf_fini(&b);
}

static void append_bulk(struct bk_buf *b, size_t n, unsigned seed)
{
    bk_buf_printf(b, "$%zu\r\n", n);
    uint8_t *p = bk_buf_reserve(b, n + 2);
    for (size_t i = 0; i < n; i++) {
        p[i] = (uint8_t)((i * 31 + seed) >> 3);
    }
    memcpy(p + n, "\r\n", 2);
    b->len += n + 2;
}

static void check_bulk(const struct resp_arg *arg, size_t n, unsigned seed)
{
    assert_int_equal(arg->bytes.len, n);
    for (size_t i = 0; i < n; i++) {
        if (arg->bytes.data[i] != (uint8_t)((i * 31 + seed) >> 3)) {
            fail_msg("byte %zu of an argument of %zu differs", i, n);
        }
    }
    assert_int_equal(arg->block != NULL, n >= RESP_BIG_ARG);
    if (arg->block != NULL) {
        assert_ptr_equal(arg->bytes.data, arg->block->data);
        assert_int_equal(arg->block->len, n);
    }
}

static void test_reader__big_arguments__come_in_blocks_among_small_ones(void **state)
{
    (void)state;
    static const size_t sizes[] = {4, 65535, 65536, 7, 300000, 65537, 0, 3 * MIB, 16};
    enum { N = sizeof sizes / sizeof *sizes };
    struct bk_buf b = {0};
    for (int round = 0; round < 2; round++) {
        bk_buf_printf(&b, "*%d\r\n", N);
        for (unsigned i = 0; i < N; i++) {
            append_bulk(&b, sizes[i], i);
        }
    }
    for (size_t chunk = 999; chunk < 10 * MIB; chunk = chunk * 5 + 1) {
        struct resp_reader *r = resp_reader_new();
        struct resp_command c = {0};
        const char *error = NULL;
        size_t at = 0;
        int commands = 0;
        while (at < b.len) {
            size_t left = b.len - at < chunk ? b.len - at : chunk;
            at += receive(r, (const char *)b.data + at, left);
            while (resp_reader_next(r, &open_limits, &c, &error) == RESP_COMMAND) {
                commands++;
                assert_int_equal(c.argc, N);
                assert_int_equal(c.wire_bytes, b.len / 2);
                for (unsigned i = 0; i < N; i++) {
                    check_bulk(&c.argv[i], sizes[i], i);
                }
            }
        }
        assert_int_equal(commands, 2);
        assert_int_equal(resp_reader_pending(r), 0);
        resp_command_fini(&c);
        resp_reader_free(&r);
    }
    bk_buf_fini(&b);
}

static void test_reader__block_kept_by_the_caller__outlives_the_command(void **state)
{
    (void)state;
    struct bk_buf b = {0};
    bk_buf_printf(&b, "*1\r\n");
    append_bulk(&b, 100000, 3);
    struct resp_reader *r = resp_reader_new();
    struct resp_command c = {0};
    const char *error = NULL;
    size_t at = 0;
    while (at < b.len) {
        at += receive(r, (const char *)b.data + at, b.len - at);
        if (at < b.len) {
            assert_int_equal(resp_reader_next(r, &open_limits, &c, &error), RESP_MORE);
        }
    }
    assert_int_equal(resp_reader_next(r, &open_limits, &c, &error), RESP_COMMAND);
    struct resp_arg kept = {c.argv[0].bytes, bk_block_ref(c.argv[0].block)};
    assert_int_equal(resp_reader_next(r, &open_limits, &c, &error), RESP_MORE);
    resp_command_fini(&c);
    resp_reader_free(&r);
    check_bulk(&kept, 100000, 3);
    bk_block_unref(&kept.block);
    bk_buf_fini(&b);
}

static void test_reader__batch__stays_valid_until_the_next_read(void **state)
{
    (void)state;
    enum { N = 30 };
    struct bk_buf b = {0};
    for (int i = 0; i < N; i++) {
        bk_buf_printf(&b, "*2\r\n$3\r\nGET\r\n$8\r\nkey:%04d\r\n", i);
    }
    bk_buf_printf(&b, "*2\r\n$3\r\nGE");
    struct resp_reader *r = resp_reader_new();
    assert_int_equal(receive(r, (const char *)b.data, b.len), b.len);
    struct resp_command c[N] = {{0}};
    struct resp_command last = {0};
    const char *error = NULL;
    for (int i = 0; i < N; i++) {
        assert_int_equal(resp_reader_next(r, &open_limits, &c[i], &error), RESP_COMMAND);
    }
    assert_int_equal(resp_reader_next(r, &open_limits, &last, &error), RESP_MORE);
    assert_int_equal(last.argc, 0);
    assert_int_equal(resp_reader_pending(r), 10);
    for (int i = 0; i < N; i++) {
        char want[16];
        snprintf(want, sizeof want, "key:%04d", i);
        assert_int_equal(c[i].argc, 2);
        assert_true(bk_span_eq(c[i].argv[1].bytes, bk_span_str(want)));
        resp_command_fini(&c[i]);
    }
    resp_command_fini(&last);
    resp_reader_free(&r);
    bk_buf_fini(&b);
}

/* Receives all of b and asks for commands after each read; returns the most memory seen. */
static size_t peak_memory(const struct bk_buf *b, const struct resp_limits *limits,
                          enum resp_status *last, const char **error)
{
    struct resp_reader *r = resp_reader_new();
    struct resp_command c = {0};
    size_t peak = 0;
    size_t at = 0;
    *last = RESP_MORE;
    while (at < b->len && *last != RESP_BAD) {
        at += receive(r, (const char *)b->data + at, b->len - at);
        while ((*last = resp_reader_next(r, limits, &c, error)) == RESP_COMMAND) {
        }
        size_t now = resp_reader_memory(r);
        peak = now > peak ? now : peak;
    }
    resp_command_fini(&c);
    resp_reader_free(&r);
    return peak;
}

static void test_reader__claims__allocate_nothing_before_the_bytes_come(void **state)
{
    (void)state;
    struct bk_buf b = {0};
    enum resp_status last;
    const char *error = NULL;
    bk_buf_printf(&b, "*2147483647\r\n$536870912\r\nabc");
    assert_true(peak_memory(&b, &open_limits, &last, &error) < 100000);
    assert_int_equal(last, RESP_MORE);
    b.len = 0;
    bk_buf_printf(&b, "*1000000\r\n$1\r\nx\r\n$1\r\n");
    assert_true(peak_memory(&b, &open_limits, &last, &error) < 20000);
    bk_buf_fini(&b);
}

static void test_reader__over_query_max__closes_without_a_word(void **state)
{
    (void)state;
    struct resp_limits limits = {512u * MIB, MIB, true};
    struct bk_buf b = {0};
    enum resp_status last;
    const char *error = NULL;
    bk_buf_printf(&b, "*2\r\n$4\r\nECHO\r\n");
    append_bulk(&b, 2 * MIB, 1);
    assert_true(peak_memory(&b, &limits, &last, &error) < 2 * MIB + 100000);
    assert_int_equal(last, RESP_BAD);
    assert_string_equal(error, "");

    /* Many empty arguments: the vector counts, not only the wire. */
    b.len = 0;
    bk_buf_printf(&b, "*1000000\r\n");
    for (int i = 0; i < 1000000; i++) {
        bk_buf_append(&b, "$0\r\n\r\n", 6);
    }
    assert_true(peak_memory(&b, &limits, &last, &error) < 3 * MIB);
    assert_int_equal(last, RESP_BAD);
    assert_string_equal(error, "");
    bk_buf_fini(&b);
}

static void test_reader__endless_pipeline__keeps_its_memory_flat(void **state)
{
    (void)state;
    struct bk_buf b = {0};
    for (int i = 0; i < 200000; i++) {
        bk_buf_printf(&b, "*2\r\n$3\r\nGET\r\n$8\r\nkey:%04d\r\n", i % 10000);
    }
    enum resp_status last;
    const char *error = NULL;
    assert_true(peak_memory(&b, &open_limits, &last, &error) < 140000);
    assert_int_equal(last, RESP_MORE);
    bk_buf_fini(&b);
}

static void test_reader__trim__leaves_the_struct_when_idle_and_the_bytes_when_not(void **state)
{
    (void)state;
    struct resp_reader *r = resp_reader_new();
    struct resp_command c = {0};
    struct bk_buf out = {0};
    size_t fresh = resp_reader_memory(r);
    assert_true(fresh < 256);
    receive(r, "*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$1\r", 30);
    assert_int_equal(drain(r, &open_limits, &c, &out), RESP_MORE);
    resp_reader_trim(r);
    assert_true(resp_reader_memory(r) < 600);
    receive(r, "\nk\r\n", 4);
    assert_int_equal(drain(r, &open_limits, &c, &out), RESP_MORE);
    bk_buf_append(&out, "", 1);
    assert_string_equal((char *)out.data, "(PING)(GET|k)");
    resp_reader_trim(r);
    assert_int_equal(resp_reader_memory(r), fresh);
    bk_buf_fini(&out);
    resp_command_fini(&c);
    resp_reader_free(&r);
}

static void test_reader__trim_at_every_byte__changes_nothing(void **state)
{
    (void)state;
    struct bk_buf b = {0};
    bk_buf_printf(&b, "*3\r\n$3\r\nSET\r\n");
    append_bulk(&b, 70000, 1);
    append_bulk(&b, 100, 2);
    bk_buf_printf(&b, "PING a\r\n");
    char *want = parse((const char *)b.data, b.len, b.len, &open_limits, false);
    struct resp_reader *r = resp_reader_new();
    struct resp_command c = {0};
    struct bk_buf out = {0};
    for (size_t i = 0; i < b.len; i++) {
        receive(r, (const char *)b.data + i, 1);
        assert_int_equal(drain(r, &open_limits, &c, &out), RESP_MORE);
        resp_reader_trim(r);
    }
    bk_buf_append(&out, "", 1);
    assert_string_equal((char *)out.data, want);
    assert_int_equal(out.len, 1 + 3 + 1 + 70000 + 1 + 100 + 1 + 8 + 1);
    free(want);
    bk_buf_fini(&out);
    bk_buf_fini(&b);
    resp_command_fini(&c);
    resp_reader_free(&r);
}

/* Two readers in turn with one buffer; each keeps its half command. */
static void test_reader__spare_buffer__serves_readers_in_turn(void **state)
{
    (void)state;
    static const char bytes[] = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\nPING a\r\n";
    struct resp_spare spare = {0};
    struct resp_reader *r[2] = {resp_reader_new(), resp_reader_new()};
    struct resp_command c = {0};
    struct bk_buf out[2] = {{0}, {0}};
    for (size_t i = 0; i < (sizeof bytes - 1) * 2; i++) {
        struct resp_reader *mine = r[i % 2];
        resp_reader_borrow(mine, &spare);
        assert_int_equal(receive(mine, bytes + i / 2, 1), 1);
        assert_int_equal(drain(mine, &open_limits, &c, &out[i % 2]), RESP_MORE);
        resp_reader_give_back(mine, &spare);
        assert_non_null(spare.buf);
        assert_true(resp_reader_memory(mine) < 256 + 8 * sizeof(struct resp_arg) + sizeof bytes);
    }
    for (int i = 0; i < 2; i++) {
        bk_buf_append(&out[i], "", 1);
        assert_string_equal((char *)out[i].data, "(SET|k|value)(PING|a)");
        bk_buf_fini(&out[i]);
        resp_reader_free(&r[i]);
    }
    resp_spare_fini(&spare);
    resp_command_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reader__arrays__give_their_arguments),
        cmocka_unit_test(test_reader__several_at_once__are_what_one_by_one_would_be),
        cmocka_unit_test(test_reader__empty_arrays__are_commands_without_arguments),
        cmocka_unit_test(test_reader__bytes_where_crlf_belongs__are_skipped_unseen_as_in_redis),
        cmocka_unit_test(test_reader__inline__splits_as_redis_does),
        cmocka_unit_test(test_reader__inline__unbalanced_quotes_are_refused),
        cmocka_unit_test(test_reader__malformed_arrays__get_redis_texts),
        cmocka_unit_test(test_reader__bad_stream__stays_bad),
        cmocka_unit_test(test_reader__not_authenticated__small_limits),
        cmocka_unit_test(test_reader__line_without_end__is_refused_past_64_kib),
        cmocka_unit_test(test_reader__nul_in_a_line__hides_its_end_as_in_redis),
        cmocka_unit_test(test_reader__big_arguments__come_in_blocks_among_small_ones),
        cmocka_unit_test(test_reader__block_kept_by_the_caller__outlives_the_command),
        cmocka_unit_test(test_reader__batch__stays_valid_until_the_next_read),
        cmocka_unit_test(test_reader__claims__allocate_nothing_before_the_bytes_come),
        cmocka_unit_test(test_reader__over_query_max__closes_without_a_word),
        cmocka_unit_test(test_reader__endless_pipeline__keeps_its_memory_flat),
        cmocka_unit_test(test_reader__trim__leaves_the_struct_when_idle_and_the_bytes_when_not),
        cmocka_unit_test(test_reader__trim_at_every_byte__changes_nothing),
        cmocka_unit_test(test_reader__spare_buffer__serves_readers_in_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
