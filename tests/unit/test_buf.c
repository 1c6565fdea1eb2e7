/* SPDX-License-Identifier: MIT */
/* Growable bytes and counted blocks. */
#include "base/buf.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void test_buf__appends__keep_every_byte_while_it_grows(void **state)
{
    (void)state;
    struct bk_buf b = {0};
    for (unsigned i = 0; i < 300000; i++) {
        uint8_t byte = (uint8_t)(i * 7);
        bk_buf_append(&b, &byte, 1);
    }
    assert_int_equal(b.len, 300000);
    assert_true(b.cap >= b.len && b.cap < b.len * 2 + 64);
    for (unsigned i = 0; i < 300000; i++) {
        if (b.data[i] != (uint8_t)(i * 7)) {
            fail_msg("byte %u differs", i);
        }
    }
    bk_buf_fini(&b);
    assert_null(b.data);
    assert_int_equal(b.cap, 0);
}

static void test_buf__nothing_appended__allocates_nothing(void **state)
{
    (void)state;
    struct bk_buf b = {0};
    bk_buf_append(&b, NULL, 0);
    assert_null(b.data);
    bk_buf_fini(&b);
    bk_buf_append(&b, "x", 1);
    assert_int_equal(b.len, 1);
    bk_buf_fini(&b);
}

static void test_buf__reserve__counts_only_what_is_filled(void **state)
{
    (void)state;
    struct bk_buf b = {0};
    bk_buf_append(&b, "ab", 2);
    uint8_t *room = bk_buf_reserve(&b, 1000);
    assert_ptr_equal(room, b.data + 2);
    assert_int_equal(b.len, 2);
    assert_true(b.cap >= 1002);
    memset(room, 'c', 1000);
    b.len += 1000;
    assert_true(bk_buf_span(&b).len == 1002 && b.data[1001] == 'c');
    bk_buf_fini(&b);
}

static void test_buf__printf__appends_text_without_its_nul(void **state)
{
    (void)state;
    struct bk_buf b = {0};
    char longer[500];
    memset(longer, 'y', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    bk_buf_printf(&b, "%d-%s;", 12, "x");
    bk_buf_printf(&b, "%s", longer);
    bk_buf_printf(&b, "%s", "");
    assert_int_equal(b.len, 5 + 499);
    assert_memory_equal(b.data, "12-x;yyy", 8);
    bk_buf_fini(&b);
}

static void test_buf__consume__drops_the_front(void **state)
{
    (void)state;
    struct bk_buf b = {0};
    bk_buf_append(&b, "abcdef", 6);
    bk_buf_consume(&b, 2);
    assert_true(bk_span_eq(bk_buf_span(&b), bk_span_str("cdef")));
    bk_buf_consume(&b, 0);
    bk_buf_consume(&b, 4);
    assert_int_equal(b.len, 0);
    bk_buf_append(&b, "z", 1);
    assert_true(bk_span_eq(bk_buf_span(&b), bk_span_str("z")));
    bk_buf_fini(&b);
}

static void test_span__comparison__minds_length_and_may_ignore_case(void **state)
{
    (void)state;
    assert_true(bk_span_eq(bk_span_of(NULL, 0), bk_span_str("")));
    assert_true(bk_span_eq(bk_span_of("a\0b", 3), bk_span_of("a\0b", 3)));
    assert_false(bk_span_eq(bk_span_of("a\0b", 3), bk_span_of("a\0c", 3)));
    assert_false(bk_span_eq(bk_span_str("ab"), bk_span_str("abc")));
    assert_true(bk_span_eq_nocase(bk_span_str("GeT"), "get"));
    assert_false(bk_span_eq_nocase(bk_span_str("gets"), "get"));
    assert_false(bk_span_eq_nocase(bk_span_of("get\0", 4), "get"));
    assert_true(bk_span_eq_nocase(bk_span_of(NULL, 0), ""));
}

static void test_block__last_reference__frees_it(void **state)
{
    (void)state;
    struct bk_block *a = bk_block_new(10);
    memset(a->data, 1, 10);
    struct bk_block *b = bk_block_ref(a);
    assert_ptr_equal(a, b);
    bk_block_unref(&a);
    assert_null(a);
    assert_int_equal(b->len, 10);
    assert_int_equal(b->data[9], 1);
    bk_block_unref(&b);
    assert_null(b);
    bk_block_unref(&b);
}

static void *share(void *arg)
{
    struct bk_block *mine = arg;
    for (int i = 0; i < 20000; i++) {
        struct bk_block *copy = bk_block_ref(mine);
        bk_block_unref(&copy);
    }
    bk_block_unref(&mine);
    return NULL;
}

static void test_block__threads__count_exactly(void **state)
{
    (void)state;
    pthread_t threads[4];
    struct bk_block *b = bk_block_new(1);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, share, bk_block_ref(b)), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(atomic_load(&b->refs), 1);
    bk_block_unref(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buf__appends__keep_every_byte_while_it_grows),
        cmocka_unit_test(test_buf__nothing_appended__allocates_nothing),
        cmocka_unit_test(test_buf__reserve__counts_only_what_is_filled),
        cmocka_unit_test(test_buf__printf__appends_text_without_its_nul),
        cmocka_unit_test(test_buf__consume__drops_the_front),
        cmocka_unit_test(test_span__comparison__minds_length_and_may_ignore_case),
        cmocka_unit_test(test_block__last_reference__frees_it),
        cmocka_unit_test(test_block__threads__count_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
