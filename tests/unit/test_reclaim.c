/* SPDX-License-Identifier: MIT */
/* test_reclaim.c - a block is freed when whoever could have found it has gone, and soon then. */
#include "reclaim_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define AT_ONCE 32u /* blocks, or 64 KiB, between two tries to free some */

static void retire_some(struct bki_retired *list, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        bki_retire(list, malloc(8), 8);
    }
}

static unsigned waiting(const struct bki_retired *list)
{
    return list->young.n + list->old.n;
}

static void test_retire__nobody_looks__freed_at_once_by_the_batch(void **state)
{
    (void)state;
    struct bki_reclaim *r = reclaim_new();
    struct bki_retired list = {.reclaim = r};
    retire_some(&list, AT_ONCE - 1);
    assert_int_equal(waiting(&list), AT_ONCE - 1);
    retire_some(&list, 1);
    assert_int_equal(waiting(&list), 0);
    bki_retire(&list, malloc(8), 64u << 10);
    assert_int_equal(waiting(&list), 0);
    retire_some(&list, 3);
    bki_retired_fini(&list);
    assert_int_equal(waiting(&list), 0);
    reclaim_free(r);
}

/* The sanitizers see whether what a pin protects is freed too early. */
static void test_retire__somebody_looks__waits_for_him(void **state)
{
    (void)state;
    struct bki_reclaim *r = reclaim_new();
    struct bki_retired list = {.reclaim = r};
    struct bki_retired other = {.reclaim = r};
    for (unsigned round = 0; round < 6; round++) {
        char *block = malloc(8);
        unsigned pin = bki_pin(&r->pins);
        memcpy(block, "there", 6);
        bki_retire(&list, block, 8);
        retire_some(&list, 10 * AT_ONCE);
        retire_some(&other, AT_ONCE); /* has begun a grace as well */
        assert_int_equal(waiting(&list), 10 * AT_ONCE + 1);
        assert_string_equal(block, "there");
        unsigned late = bki_pin(&r->pins);
        bki_unpin(&r->pins, pin);
        bki_retired_tidy(&list, UINT32_MAX); /* may wait for the later one as well */
        bki_unpin(&r->pins, late);
        retire_some(&list, AT_ONCE);
        bki_retired_tidy(&list, UINT32_MAX);
        bki_retired_tidy(&other, UINT32_MAX);
        assert_int_equal(waiting(&list) + waiting(&other), 0);
        assert_false(atomic_load(&list.waiting));
    }
    bki_retired_fini(&list);
    bki_retired_fini(&other);
    reclaim_free(r);
}

/* Whoever retires something is not held up by all that waited before. */
static void test_retire__long_backlog__freed_bit_by_bit(void **state)
{
    (void)state;
    struct bki_reclaim *r = reclaim_new();
    struct bki_retired list = {.reclaim = r};
    unsigned pin = bki_pin(&r->pins);
    retire_some(&list, 5000);
    assert_int_equal(waiting(&list), 5000);
    assert_int_equal(bki_retired_bytes(&list), 5000 * 8);
    bki_unpin(&r->pins, pin);
    for (unsigned before = waiting(&list); before > AT_ONCE; before = waiting(&list)) {
        retire_some(&list, AT_ONCE);
        assert_true(waiting(&list) < before && waiting(&list) + 2 * AT_ONCE >= before);
    }
    bki_retired_fini(&list);
    reclaim_free(r);
}

/* A structure goes while somebody looks: nobody waits, and what was its own goes later. */
static void test_retire__structure_goes__its_blocks_are_left_to_reclaim(void **state)
{
    (void)state;
    struct bki_reclaim *r = reclaim_new();
    struct bki_retired list = {.reclaim = r};
    char *block = malloc(8);
    unsigned pin = bki_pin(&r->pins);
    memcpy(block, "there", 6);
    bki_retire(&list, block, 8);
    bki_retired_fini(&list);
    assert_int_equal(r->orphans.n, 1);
    bki_reclaim_tidy(r);
    assert_string_equal(block, "there");
    bki_unpin(&r->pins, pin);
    bki_reclaim_tidy(r);
    assert_int_equal(r->orphans.n, 0);
    reclaim_free(r);
}

static void test_retire__no_look_ups_without_lock__freed_at_once(void **state)
{
    (void)state;
    struct bki_retired list = {.reclaim = NULL};
    retire_some(&list, 5);
    assert_int_equal(waiting(&list), 0);
    bki_retire(NULL, malloc(8), 8);
    bki_retire(&list, NULL, 0);
    bki_retired_fini(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_retire__nobody_looks__freed_at_once_by_the_batch),
        cmocka_unit_test(test_retire__somebody_looks__waits_for_him),
        cmocka_unit_test(test_retire__long_backlog__freed_bit_by_bit),
        cmocka_unit_test(test_retire__structure_goes__its_blocks_are_left_to_reclaim),
        cmocka_unit_test(test_retire__no_look_ups_without_lock__freed_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
