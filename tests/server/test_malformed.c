/* SPDX-License-Identifier: MIT */
/* Malformed input, sent to bitkv and to redis-server: the same bytes come back, and the same close.
 */
#include "base/error.h"
#include "lib/expect.h"
#include "lib/rng.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct server ours;
static struct server redis = {.redis = true};

static int setup_servers(void **state)
{
    (void)state;
    return server_start(&ours) && server_start(&redis) ? 0 : -1;
}

static int teardown_servers(void **state)
{
    (void)state;
    int status = server_stop(&ours);
    server_fini(&ours);
    server_fini(&redis);
    return status == 0 ? 0 : -1;
}

/* closes: the server must close by itself; otherwise a PING behind the input must be answered. */
struct row {
    const char *bytes;
    size_t n;
    bool closes;
};
#define OPEN(text)                    \
    {                                 \
        text, sizeof(text) - 1, false \
    }
#define SHUT(text)                   \
    {                                \
        text, sizeof(text) - 1, true \
    }

/* All that the server sends for this input until the connection ends. */
static void talk(const struct server *s, const struct row *row, struct bk_buf *out)
{
    struct respc *c = expect_connection(s);
    /* A server that has closed meanwhile takes no more: what it said is read all the same. */
    bk_ignore(respc_send(c, row->bytes, row->n) ? 0 : 1, "see above");
    if (!row->closes) {
        bk_ignore(respc_send(c, "PING the-end\r\n", 14) ? 0 : 1, "see above");
        respc_finish(c);
    }
    bool ended = respc_read_to_end(c, out);
    respc_close(&c);
    *bk_buf_reserve(out, 1) = '\0';
    assert_true(ended);
}

static void show(const char *who, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    print_error("%s: ", who);
    for (size_t i = 0; i < n && i < 300; i++) {
        print_error(p[i] >= ' ' && p[i] < 127 ? "%c" : "\\x%02x", p[i]);
    }
    print_error("%s\n", n > 300 ? "..." : "");
}

/* end_shows: whether the last PING is answered tells if the server has closed by itself. */
static bool same_on_both(const struct row *row, bool end_shows)
{
    struct bk_buf mine = {0};
    struct bk_buf theirs = {0};
    talk(&redis, row, &theirs);
    talk(&ours, row, &mine);
    bool same = bk_span_eq(bk_buf_span(&mine), bk_buf_span(&theirs));
    bool open = strstr((char *)theirs.data, "the-end") != NULL;
    bool expected = !end_shows || open != row->closes;
    if (!same || !expected) {
        show("sent ", row->bytes, row->n);
        show("redis", theirs.data, theirs.len);
        show("bitkv", mine.data, mine.len);
    }
    bk_buf_fini(&mine);
    bk_buf_fini(&theirs);
    return same && expected;
}

static void check_rows(const struct row *rows, size_t n)
{
    size_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        bad += !same_on_both(&rows[i], true);
    }
    assert_int_equal(bad, 0);
}
#define CHECK(rows) check_rows(rows, sizeof(rows) / sizeof *(rows))

static void test_malformed__array_headers__as_redis(void **state)
{
    (void)state;
    static const struct row rows[] = {
        OPEN("*0\r\n"),
        OPEN("*-1\r\n"),
        OPEN("*-2147483649\r\n"),
        OPEN("*0\rx"),
        SHUT("*\r\n"),
        SHUT("*x\r\n"),
        SHUT("*1x\r\n"),
        SHUT("*01\r\n"),
        SHUT("*+1\r\n"),
        SHUT("* 1\r\n"),
        SHUT("*1 \r\n"),
        SHUT("*-0\r\n"),
        SHUT("*--1\r\n"),
        SHUT("*2147483648\r\n"),
        SHUT("*9223372036854775808\r\n"),
        SHUT("*99999999999999999999999\r\n"),
        SHUT("**1\r\n"),
        SHUT("*$1\r\n"),
        SHUT("*1.0\r\n"),
        SHUT("*0x1\r\n"),
        SHUT("*\n\r\n"),
        SHUT("*2147483647\r\n$4\r\nPING\r\nx\r\n"),
        SHUT("*1048577\r\n$1\r\na\r\n:\r\n"),
    };
    CHECK(rows);
}

static void test_malformed__bulk_headers__as_redis(void **state)
{
    (void)state;
    static const struct row rows[] = {
        SHUT("*1\r\nPING\r\n"),
        SHUT("*1\r\n\r\n\r\n"),
        SHUT("*1\r\n\n\r\n"),
        SHUT("*1\r\n*1\r\n"),
        SHUT("*1\r\n:4\r\n"),
        SHUT("*1\r\n\x80\r\n"),
        SHUT("*1\r\n$\r\n"),
        SHUT("*1\r\n$-1\r\n"),
        SHUT("*1\r\n$04\r\nPING\r\n"),
        SHUT("*1\r\n$+4\r\nPING\r\n"),
        SHUT("*1\r\n$4 \r\nPING\r\n"),
        SHUT("*1\r\n$x\r\n"),
        SHUT("*1\r\n$4x\r\nPING\r\n"),
        SHUT("*1\r\n$-0\r\n"),
        SHUT("*1\r\n$536870913\r\n"),
        SHUT("*1\r\n$9223372036854775808\r\n"),
        SHUT("*1\r\n$99999999999999999999\r\n"),
        OPEN("*2\r\n$4\r\nPING\r\n$2\r\nabc\r\n\r\n"),
        SHUT("*2\r\n$4\r\nECHO\r\n4\r\nabcd\r\n"),
        OPEN("*1\r\n$0\r\n\r\n"),
        OPEN("*2\r\n$4\r\nECHO\r\n$0\r\n\r\n"),
        OPEN("*1\rx$4\rxPINGxx"),
        OPEN("*1\r\n$4\r\nPINGab"),
        OPEN("*1\r\n$4\r\nPI\r\n\r\n"),
        OPEN("*1\r\n$5\r\nPI\0NG\r\n"),
    };
    CHECK(rows);
}

static void test_malformed__inline__as_redis(void **state)
{
    (void)state;
    static const struct row rows[] = {
        OPEN("\r\n"),
        OPEN("\n\n \n"),
        OPEN("PING\n"),
        OPEN("ping\r\r\n"),
        OPEN("PING \"a\\x41\\n\\q\"\r\n"),
        OPEN("PING 'a\\'b\\n'\r\n"),
        OPEN("PING a\"b\"\r\n"),
        OPEN("PING \"a\"\t'b'\r\n"),
        OPEN("\"PING\"\r\n"),
        OPEN("PING \"\"\r\n"),
        OPEN("\v\fPING\r\n"),
        OPEN("PING\f\r\n"),
        OPEN("PING \fa\v \r\n"),
        OPEN("$4\r\n"),
        OPEN("+OK\r\n"),
        OPEN("-ERR\r\n"),
        OPEN(":1\r\n"),
        OPEN("%1\r\n"),
        OPEN("\xff\xfe\r\n"),
        OPEN("''\r\n"),
        OPEN("nosuch a b c\r\n"),
        OPEN("GET\r\n"),
        OPEN("GET a b\r\n"),
        OPEN("SET a b EX\r\n"),
        SHUT("PING \"a\r\n"),
        SHUT("PING 'a\r\n"),
        SHUT("\"a\"b\r\n"),
        SHUT("'a'b\r\n"),
        SHUT("PING \"\\\r\n"),
        SHUT("PING \"a\\\"\r\n"),
        SHUT("'\\'\r\n"),
        SHUT("PING a\"b\"c\r\n"),
    };
    CHECK(rows);
}

static void test_malformed__behind_good_commands__these_are_answered_first(void **state)
{
    (void)state;
    static const struct row rows[] = {
        SHUT("PING\r\n*1\r\n$4\r\nPING\r\n*x\r\nPING\r\n"),
        SHUT("*1\r\n$4\r\nPING\r\n*1\r\nPING\r\n*1\r\n$4\r\nPING\r\n"),
        SHUT("PING 1\r\nPING \"2\r\nPING 3\r\n"),
        SHUT("PING a\r\nQUIT\r\nPING b\r\n"),
        SHUT("*1\r\n$4\r\nquit\r\n*x\r\n"),
        SHUT("POST / HTTP/1.1\r\nPING\r\n"),
        SHUT("GET / HTTP/1.1\r\nHost: x\r\n\r\nPING\r\n"),
        SHUT("PING\r\nCLIENT REPLY OFF\r\n*x\r\n"),
        SHUT("PING\r\nCLIENT REPLY SKIP\r\n*x\r\n"),
        SHUT("CLIENT REPLY OFF\r\nCLIENT REPLY ON\r\n*x\r\n"),
    };
    CHECK(rows);
}

static void check_long(const char *prefix, size_t n, char ch)
{
    struct bk_buf b = {0};
    bk_buf_append(&b, prefix, strlen(prefix));
    memset(bk_buf_reserve(&b, n), ch, n);
    b.len += n;
    struct row row = {(char *)b.data, b.len, true};
    bool same = same_on_both(&row, true);
    bk_buf_fini(&b);
    assert_true(same);
}

static void test_malformed__lines_without_an_end__as_redis(void **state)
{
    (void)state;
    check_long("", 65537, 'x');
    check_long("PING\r\n", 80000, 'y');
    check_long("*", 65536, '1');
    check_long("*1\r\n$", 65536, '1');
    check_long("*2\r\n$4\r\nECHO\r\n", 65537, 'z');
}

static void test_malformed__nul_bytes_in_lines__hide_their_end(void **state)
{
    (void)state;
    struct bk_buf b = {0};
    static const char *const heads[] = {"PI", "*", "*1\r\n$", "*1\r\n"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        b.len = 0;
        bk_buf_append(&b, heads[i], strlen(heads[i]));
        bk_buf_append(&b,
                      "\0"
                      "4\r\nPING\r\n",
                      10);
        memset(bk_buf_reserve(&b, 65536), '\n', 65536);
        b.len += 65536;
        struct row row = {(char *)b.data, b.len, true};
        assert_true(same_on_both(&row, true));
    }
    bk_buf_fini(&b);
}

static void set_password(const struct server *s, const char *old, const char *password)
{
    struct respc *c = expect_connection(s);
    if (old[0] != '\0') {
        expect_reply(c, "+OK", "AUTH", old, NULL);
    }
    expect_reply(c, "+OK", "CONFIG", "SET", "requirepass", password, NULL);
    respc_close(&c);
}

static void test_malformed__before_auth__redis_strict_limits(void **state)
{
    (void)state;
    static const struct row rows[] = {
        SHUT("*11\r\n"),
        SHUT("*1\r\n$16385\r\n"),
        OPEN("*1\r\n$4\r\nPING\r\n"),
        OPEN("GET a\r\n"),
        SHUT("*2147483648\r\n"),
        SHUT("*1\r\n$536870913\r\n"),
        OPEN("*2\r\n$4\r\nAUTH\r\n$3\r\nbad\r\n"),
        OPEN("AUTH "
             "pw\r\n*11\r\n$3\r\nDEL\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$"
             "1\r\na\r\n"
             "$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n"),
        SHUT("AUTH no\r\n*11\r\n"),
    };
    set_password(&ours, "", "pw");
    set_password(&redis, "", "pw");
    size_t bad = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bad += !same_on_both(&rows[i], false); /* the last PING gets an error */
    }
    /* RESET takes the password back, and with it the limits of what came in the same read. */
    struct bk_buf b = {0};
    bk_buf_printf(&b,
                  "AUTH pw\r\n*1\r\n$4\r\nPING\r\n*1\r\n$5\r\nRESET\r\n*2\r\n$4\r\nECHO\r\n"
                  "$16385\r\n%016385d\r\n",
                  0);
    struct row row = {(char *)b.data, b.len, true};
    bad += !same_on_both(&row, true);
    bk_buf_fini(&b);
    set_password(&ours, "pw", "");
    set_password(&redis, "pw", "");
    assert_int_equal(bad, 0);
}

/* A valid stream with a few bytes changed, taken out, doubled or put in. */
static void mutate(struct rng *r, struct bk_buf *out)
{
    static const char *const parts[] = {
        "*1\r\n$4\r\nPING\r\n",
        "*2\r\n$4\r\nECHO\r\n$5\r\nworld\r\n",
        "PING\r\n",
        "echo \"a b\" \r\n",
        "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\nvv\r\n",
        "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
        "*0\r\n",
        "\r\n",
        "*2\r\n$6\r\nSTRLEN\r\n$1\r\nk\r\n",
        "ping 'x'\n",
    };
    static const char odd[] = "*$\r\n0123456789-\"'\\ x\t\xff";
    for (uint64_t n = 1 + rng_below(r, 6); n > 0; n--) {
        const char *part = parts[rng_below(r, sizeof parts / sizeof *parts)];
        bk_buf_append(out, part, strlen(part));
    }
    for (uint64_t n = rng_below(r, 4); n > 0 && out->len > 0; n--) {
        size_t at = rng_below(r, out->len);
        uint8_t byte = (uint8_t)odd[rng_below(r, sizeof odd - 1)];
        if (rng_percent(r, 40)) {
            out->data[at] = byte;
        } else if (rng_percent(r, 50)) {
            memmove(out->data + at, out->data + at + 1, out->len - at - 1);
            out->len--;
        } else {
            bk_buf_append(out, &byte, 1);
        }
    }
}

static void test_malformed__random_changes__as_redis(void **state)
{
    (void)state;
    struct rng r = {rng_seed_from_env("TEST_SEED")};
    print_message("TEST_SEED=%" PRIu64 "\n", r.state);
    struct bk_buf b = {0};
    size_t bad = 0;
    for (int i = 0; i < 1500 && bad < 5; i++) {
        b.len = 0;
        mutate(&r, &b);
        struct bk_buf mine = {0};
        struct bk_buf theirs = {0};
        struct row row = {(char *)b.data, b.len, false};
        talk(&redis, &row, &theirs);
        talk(&ours, &row, &mine);
        if (!bk_span_eq(bk_buf_span(&mine), bk_buf_span(&theirs))) {
            show("sent ", row.bytes, row.n);
            show("redis", theirs.data, theirs.len);
            show("bitkv", mine.data, mine.len);
            bad++;
        }
        bk_buf_fini(&mine);
        bk_buf_fini(&theirs);
    }
    bk_buf_fini(&b);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_malformed__array_headers__as_redis),
        cmocka_unit_test(test_malformed__bulk_headers__as_redis),
        cmocka_unit_test(test_malformed__inline__as_redis),
        cmocka_unit_test(test_malformed__behind_good_commands__these_are_answered_first),
        cmocka_unit_test(test_malformed__lines_without_an_end__as_redis),
        cmocka_unit_test(test_malformed__nul_bytes_in_lines__hide_their_end),
        cmocka_unit_test(test_malformed__before_auth__redis_strict_limits),
        cmocka_unit_test(test_malformed__random_changes__as_redis),
    };
    return cmocka_run_group_tests(tests, setup_servers, teardown_servers);
}
