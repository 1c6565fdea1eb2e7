/* SPDX-License-Identifier: MIT */
/* Address pages: lent, given back, and lent again as they were. */
#include "engine/pages.h"

#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct bki_pages pages;

static int setup(void **state)
{
    (void)state;
    bki_pages_init(&pages);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bki_pages_fini(&pages);
    return 0;
}

static void test_pages__given_back__are_lent_again(void **state)
{
    (void)state;
    assert_int_equal(bki_pages_take(&pages, 0, 0), 1); /* page 0 is nobody's */
    assert_int_equal(bki_pages_take(&pages, 0, 1), 2);
    bki_pages_give(&pages, 1);
    assert_int_equal(pages.used, 1);
    assert_int_equal(bki_pages_take(&pages, 7, 0), 1);
    assert_int_equal(bki_pages_take(&pages, 7, 1), 3);
}

/* What lies between the pages of before is free, and lent from the lowest on. */
static void test_pages__restored__are_as_before(void **state)
{
    (void)state;
    uint64_t *owner = bk_alloc(BKI_PAGES * sizeof(*owner));
    uint64_t offset;
    memset(owner, 0xff, BKI_PAGES * sizeof(*owner));
    owner[2] = 0; /* slot 0, page 0 of its file */
    owner[5] = (uint64_t)3 << 32 | 9;
    bki_pages_restore(&pages, owner);
    assert_int_equal(pages.used, 2);
    assert_int_equal(bki_loc_file(&pages, bki_loc_make(2, 24), &offset), 0);
    assert_int_equal(offset, 24);
    assert_int_equal(bki_loc_file(&pages, bki_loc_make(5, 8), &offset), 3);
    assert_int_equal(offset, ((uint64_t)9 << BKI_PAGE_SHIFT) + 8);
    assert_int_equal(bki_pages_take(&pages, 1, 0), 1);
    assert_int_equal(bki_pages_take(&pages, 1, 1), 3);
    assert_int_equal(bki_pages_take(&pages, 1, 2), 4);
    assert_int_equal(bki_pages_take(&pages, 1, 3), 6);
    assert_int_equal(pages.used, 6);
    free(owner);
}

static void test_pages__all_lent_before__none_is_left(void **state)
{
    (void)state;
    uint64_t *owner = bk_alloc_zero(BKI_PAGES, sizeof(*owner));
    owner[0] = BKI_NO_OWNER;
    bki_pages_restore(&pages, owner);
    assert_int_equal(pages.used, BKI_PAGES - 1);
    assert_int_equal(bki_pages_take(&pages, 1, 0), BKI_NO_PAGE);
    bki_pages_give(&pages, 77);
    assert_int_equal(bki_pages_take(&pages, 1, 0), 77);
    free(owner);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_pages__given_back__are_lent_again),
        TEST(test_pages__restored__are_as_before),
        TEST(test_pages__all_lent_before__none_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
