/* SPDX-License-Identifier: MIT */
/* Where lines of the log go when somebody rotates it. */
#include "base/log.h"

#include "lib/tmpdir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void expect_line(const char *path, const char *text)
{
    char line[256] = "";
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    assert_non_null(strstr(line, text));
    assert_null(fgets(line, sizeof line, f)); /* and no other */
    fclose(f);
}

static void test_log__file_moved_or_removed__the_next_line_is_in_a_new_one(void **state)
{
    struct tmpdir dir;
    char path[256];
    char moved[256];
    (void)state;
    tmpdir_make(&dir, "log");
    tmpdir_join(&dir, "log", path, sizeof path);
    tmpdir_join(&dir, "log.1", moved, sizeof moved);
    assert_int_equal(bk_log_setup(path, NULL, 0), 0);
    bk_log(BK_LOG_WARNING, "first");
    assert_int_equal(rename(path, moved), 0);
    bk_log(BK_LOG_WARNING, "second");
    expect_line(moved, "first");
    expect_line(path, "second");
    assert_int_equal(unlink(path), 0);
    bk_log(BK_LOG_WARNING, "third");
    expect_line(path, "third");
    assert_int_equal(bk_log_setup("", NULL, 0), 0);
    tmpdir_remove(&dir);
}

/* Its directory has gone: lines go where they went. */
static void test_log__cannot_be_made_anew__nothing_stops(void **state)
{
    struct tmpdir dir;
    struct tmpdir other;
    char path[256];
    char moved[256];
    (void)state;
    tmpdir_make(&dir, "log");
    tmpdir_make(&other, "log");
    tmpdir_join(&dir, "log", path, sizeof path);
    tmpdir_join(&other, "log", moved, sizeof moved);
    assert_int_equal(bk_log_setup(path, NULL, 0), 0);
    assert_int_equal(rename(path, moved), 0);
    tmpdir_remove(&dir);
    bk_log(BK_LOG_WARNING, "only");
    expect_line(moved, "only");
    assert_int_equal(bk_log_setup("", NULL, 0), 0);
    tmpdir_remove(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log__file_moved_or_removed__the_next_line_is_in_a_new_one),
        cmocka_unit_test(test_log__cannot_be_made_anew__nothing_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
