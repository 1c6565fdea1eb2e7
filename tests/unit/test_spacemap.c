/* SPDX-License-Identifier: MIT */
/* Which number a space has, also one that no store of ours would have written. */
#include "engine/spacemap.h"

#include "engine/bitkv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_spacemap__first_spaces__are_one_more_than_their_numbers(void **state)
{
    struct bki_spacemap m = {.next = BKI_SPACE_FIRST};
    (void)state;
    assert_int_equal(bki_spacemap_number(&m, 1), 0);
    assert_int_equal(bki_spacemap_number(&m, BK_DATABASES_MAX), BK_DATABASES_MAX - 1);
    bki_spacemap_set(&m, 3, BKI_SPACE_FIRST);
    assert_int_equal(bki_spacemap_number(&m, BKI_SPACE_FIRST), 3);
    assert_int_equal(bki_spacemap_number(&m, 4), -1); /* flushed */
    assert_int_equal(bki_spacemap_number(&m, 1), 0);
    assert_int_equal(bki_spacemap_number(&m, 5), 4);
    bki_spacemap_fini(&m);
}

static void test_spacemap__space_that_never_was__has_no_number(void **state)
{
    static const uint32_t never[] = {0,     BK_DATABASES_MAX + 1, BKI_SPACE_FIRST - 1,
                                     65534, BKI_SPACE_FIRST,      UINT32_MAX};
    struct bki_spacemap m = {.next = BKI_SPACE_FIRST};
    (void)state;
    for (size_t i = 0; i < sizeof never / sizeof never[0]; i++) {
        assert_int_equal(bki_spacemap_number(&m, never[i]), -1);
    }
    bki_spacemap_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spacemap__first_spaces__are_one_more_than_their_numbers),
        cmocka_unit_test(test_spacemap__space_that_never_was__has_no_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
