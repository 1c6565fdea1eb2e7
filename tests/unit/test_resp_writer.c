/* SPDX-License-Identifier: MIT */
/* Replies to bytes, in both protocols. */
#include "resp/writer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct bk_buf out;
    struct resp_writer w;
};

static int setup(void **state)
{
    struct fixture *f = bk_alloc_zero(1, sizeof *f);
    f->w = (struct resp_writer){&f->out, 2, 0};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    bk_buf_fini(&f->out);
    free(f);
    return 0;
}

/* What was written since the last call. */
static void wrote(struct fixture *f, const char *want)
{
    bk_buf_append(&f->out, "", 1);
    assert_string_equal((char *)f->out.data, want);
    f->out.len = 0;
}

static void test_writer__lines__carry_their_text(void **state)
{
    struct fixture *f = *state;
    resp_write_ok(&f->w);
    resp_write_simple(&f->w, "PONG");
    wrote(f, "+OK\r\n+PONG\r\n");
    resp_write_error(&f->w, "ERR no\r\nsuch thing");
    resp_write_errorf(&f->w, "ERR '%s' %d", "x\ny", 7);
    wrote(f, "-ERR no  such thing\r\n-ERR 'x y' 7\r\n");
    assert_int_equal(f->w.errors, 2);
}

static void test_writer__integers__reach_both_ends(void **state)
{
    struct fixture *f = *state;
    resp_write_int(&f->w, 0);
    resp_write_int(&f->w, 9);
    resp_write_int(&f->w, 10);
    resp_write_int(&f->w, -1);
    wrote(f, ":0\r\n:9\r\n:10\r\n:-1\r\n");
    resp_write_int(&f->w, INT64_MAX);
    resp_write_int(&f->w, INT64_MIN);
    resp_write_bulk_i64(&f->w, INT64_MIN);
    wrote(f, ":9223372036854775807\r\n:-9223372036854775808\r\n$20\r\n-9223372036854775808\r\n");
}

static void test_writer__bulks__keep_every_byte(void **state)
{
    struct fixture *f = *state;
    resp_write_bulk(&f->w, bk_span_of(NULL, 0));
    resp_write_bulk_str(&f->w, "0123456789a");
    wrote(f, "$0\r\n\r\n$11\r\n0123456789a\r\n");
    resp_write_bulk(&f->w, bk_span_of("a\0\r\nb", 5));
    assert_int_equal(f->out.len, 11);
    assert_memory_equal(f->out.data, "$5\r\na\0\r\nb\r\n", 11);
}

static void test_writer__large_bulk__is_whole(void **state)
{
    struct fixture *f = *state;
    size_t n = 1000000;
    uint8_t *bytes = bk_alloc(n);
    memset(bytes, 'z', n);
    resp_write_bulk(&f->w, bk_span_of(bytes, n));
    assert_int_equal(f->out.len, 10 + n + 2);
    assert_memory_equal(f->out.data, "$1000000\r\n", 10);
    assert_memory_equal(f->out.data + 10, bytes, n);
    assert_memory_equal(f->out.data + 10 + n, "\r\n", 2);
    free(bytes);
}

static void write_all(struct resp_writer *w)
{
    resp_write_null(w);
    resp_write_null_array(w);
    resp_write_array(w, 3);
    resp_write_map(w, 2);
    resp_write_set(w, 12);
    resp_write_push(w, 1);
    resp_write_bool(w, true);
    resp_write_bool(w, false);
    resp_write_verbatim(w, "txt", bk_span_str("hi"));
    resp_write_bignum(w, bk_span_str("-123456789012345678901234567890"));
}

static void test_writer__resp2__sends_substitutes(void **state)
{
    struct fixture *f = *state;
    write_all(&f->w);
    wrote(f, "$-1\r\n*-1\r\n*3\r\n*4\r\n*12\r\n*1\r\n:1\r\n:0\r\n$2\r\nhi\r\n"
             "$31\r\n-123456789012345678901234567890\r\n");
}

static void test_writer__resp3__sends_its_types(void **state)
{
    struct fixture *f = *state;
    f->w.proto = 3;
    write_all(&f->w);
    wrote(f, "_\r\n_\r\n*3\r\n%2\r\n~12\r\n>1\r\n#t\r\n#f\r\n=6\r\ntxt:hi\r\n"
             "(-123456789012345678901234567890\r\n");
}

static void test_writer__doubles__print_as_redis_7(void **state)
{
    struct fixture *f = *state;
    static const double values[] = {0, 3, -2.5, 0.1, 1e100, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        resp_write_double(&f->w, values[i]);
    }
    resp_write_double(&f->w, -NAN);
    wrote(f, "$1\r\n0\r\n$1\r\n3\r\n$4\r\n-2.5\r\n$19\r\n0.10000000000000001\r\n$6\r\n"
             "1e+100\r\n$3\r\ninf\r\n$4\r\n-inf\r\n$3\r\nnan\r\n");
    f->w.proto = 3;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        resp_write_double(&f->w, values[i]);
    }
    resp_write_double(&f->w, NAN);
    wrote(f, ",0\r\n,3\r\n,-2.5\r\n,0.10000000000000001\r\n,1e+100\r\n"
             ",inf\r\n,-inf\r\n,nan\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_writer__lines__carry_their_text, setup, teardown),
        cmocka_unit_test_setup_teardown(test_writer__integers__reach_both_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_writer__bulks__keep_every_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(test_writer__large_bulk__is_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(test_writer__resp2__sends_substitutes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_writer__resp3__sends_its_types, setup, teardown),
        cmocka_unit_test_setup_teardown(test_writer__doubles__print_as_redis_7, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
