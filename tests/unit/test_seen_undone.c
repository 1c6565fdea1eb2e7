/* SPDX-License-Identifier: MIT */
/*
 * test_seen_undone.c - what is told of a store without its keys' locks, and of writes that are
 * undone while it is looked at: the reply shows none of them, or depends on one.
 */
#include "command/command.h"
#include "engine/db_private.h"
#include "engine/keydir_private.h"
#include "lib/rig.h"
#include "mutex_hook.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static uint64_t bulk_max(void *arg)
{
    (void)arg;
    return 1000;
}

static struct rig rig;
static struct keyspace *ks;

static int setup(void **state)
{
    (void)state;
    rig_init(&rig, 1, BK_SYNC_ALWAYS);
    assert_int_equal(rig_open(&rig), BK_OK);
    assert_int_equal(rig_put(&rig, "old", "v"), BK_OK);
    assert_true(rig_settle(&rig));
    ks = ks_new(rig.db, RIG_DATABASES);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    ks_free(&ks);
    rig_fini(&rig);
    return 0;
}

static void lose_what_is_not_committed(void)
{
    uint64_t pos = bk_tail(rig.db);
    assert_int_equal(bk_pos_state(rig.db, pos), BK_EAGAIN);
    simdisk_fail(rig.disk, SIMDISK_WRITE, 1, UINT64_MAX, EIO);
    while (bk_pos_state(rig.db, pos) == BK_EAGAIN) {
        rig_step(&rig);
    }
    simdisk_fail(rig.disk, 0, 0, 0, 0);
    assert_int_equal(bk_pos_state(rig.db, pos), BK_EIO);
}

/* The write is undone once the last stripe is come to, behind the one that showed it. */
static void expect_nothing_undone(struct resp_arg *argv, int argc, const char *want)
{
    struct server_ops ops = {.proto_max_bulk_len = bulk_max};
    struct exec *exec = exec_new(ks, &ops);
    struct session session = {.authenticated = true};
    struct bk_buf out = {0};
    struct resp_writer reply = {.out = &out, .proto = 2};
    struct resp_command cmd = {.argc = argc, .argv = argv};
    struct exec_slice *slice = NULL;
    uint64_t pos = 0;
    struct stripe *last = &bki_db_keydir(rig.db, 0, false)->stripe[BKI_KD_STRIPES - 1];
    assert_int_equal(rig_put(&rig, "never", "v"), BK_OK);
    mutex_hook = (struct mutex_hook){&last->mu.mu, lose_what_is_not_committed};
    assert_int_equal(exec_command(exec, &session, &cmd, 1000000, &reply, &pos, &slice), EXEC_DONE);
    assert_null(mutex_hook.watched);
    assert_int_equal(bk_pos_state(rig.db, pos), BK_OK);
    bk_buf_append(&out, "", 1);
    assert_string_equal((const char *)out.data, want);
    bk_buf_fini(&out);
    exec_free(&exec);
}

static void test_scan__undone_under_way__is_not_shown(void **state)
{
    (void)state;
    struct resp_arg argv[] = {{bk_span_str("scan"), NULL},
                              {bk_span_str("0"), NULL},
                              {bk_span_str("count"), NULL},
                              {bk_span_str("1000"), NULL}};
    expect_nothing_undone(argv, 4, "*2\r\n$1\r\n0\r\n*1\r\n$3\r\nold\r\n");
}

static void test_keys__undone_under_way__is_not_shown(void **state)
{
    (void)state;
    struct resp_arg argv[] = {{bk_span_str("keys"), NULL}, {bk_span_str("*"), NULL}};
    expect_nothing_undone(argv, 2, "*1\r\n$3\r\nold\r\n");
}

static uint64_t told_pos;

static void undo_and_note(void *arg, uint32_t db, struct bk_span key, uint64_t pos)
{
    (void)arg;
    assert_int_equal(db, 0);
    assert_true(bk_span_eq(key, bk_span_str("old")));
    lose_what_is_not_committed();
    told_pos = pos;
}

/* "evicted" would be heard of a key that is there again. */
static void test_evicted__undone_as_it_is_told__depends_on_what_was_undone(void **state)
{
    (void)state;
    struct ks_evict e = {
        .rule = KS_EVICT_ALL_RANDOM, .samples = 5, .max = 1, .evicted = undo_and_note};
    struct ks_evicted gone = {0};
    assert_int_equal(ks_evict(ks, &e, &gone, NULL), BK_OK);
    assert_int_equal(gone.keys, 1);
    assert_int_equal(bk_pos_state(rig.db, told_pos), BK_EIO);
    assert_int_equal(bk_pos_state(rig.db, ks_tail(ks)), BK_OK);
    assert_int_equal(ks_count(ks, 0), 1);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_scan__undone_under_way__is_not_shown),
        CASE(test_keys__undone_under_way__is_not_shown),
        CASE(test_evicted__undone_as_it_is_told__depends_on_what_was_undone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
