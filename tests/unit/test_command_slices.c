/* SPDX-License-Identifier: MIT */
/* Commands, and what happens between two steps of them: a disk that fails, a pause that begins. */
#include "command/command.h"
#include "lib/rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define KEYS 6000 /* some slices */
#define NEW 200   /* so that the first slice has some of them */

static uint64_t bulk_max(void *arg)
{
    (void)arg;
    return 1000;
}

struct run {
    struct exec *exec;
    struct session session;
    struct bk_buf out;
    struct resp_writer reply;
    struct exec_slice *slice;
    uint64_t pos;
};

static enum exec_result step(struct run *r, struct resp_arg *argv, int argc)
{
    struct resp_command cmd = {.argc = argc, .argv = argv};
    r->pos = 0;
    return (r->slice != NULL ? exec_resume : exec_command)(r->exec, &r->session, &cmd, 1000000,
                                                           &r->reply, &r->pos, &r->slice);
}

static void put_some(struct rig *r, const char *name, int n)
{
    for (int i = 0; i < n; i++) {
        char key[32];
        snprintf(key, sizeof key, "%s:%d", name, i);
        assert_int_equal(rig_put(r, key, "v"), BK_OK);
    }
}

/* The first slice has seen keys that never came to be, the last one sees a store that is sound
 * again: its position alone would let the reply out. */
static void test_slices__undone_in_between__reply_depends_on_what_was_undone(void **state)
{
    struct rig rig;
    struct server_ops ops = {.proto_max_bulk_len = bulk_max};
    struct resp_arg argv[] = {{bk_span_str("keys"), NULL}, {bk_span_str("*"), NULL}};
    (void)state;
    rig_init(&rig, 1, BK_SYNC_ALWAYS);
    assert_int_equal(rig_open(&rig), BK_OK);
    put_some(&rig, "old", KEYS);
    assert_true(rig_settle(&rig));
    struct keyspace *ks = ks_new(rig.db, RIG_DATABASES);
    struct run r = {.exec = exec_new(ks, &ops), .session.authenticated = true};
    r.reply = (struct resp_writer){.out = &r.out, .proto = 2};

    put_some(&rig, "new", NEW);
    assert_int_equal(step(&r, argv, 2), EXEC_MORE);
    assert_int_equal(bk_pos_state(rig.db, r.pos), BK_EAGAIN);
    simdisk_fail(rig.disk, SIMDISK_WRITE, 1, UINT64_MAX, EIO);
    while (bk_pos_state(rig.db, r.pos) == BK_EAGAIN) {
        rig_step(&rig);
    }
    simdisk_fail(rig.disk, 0, 0, 0, 0);
    assert_int_equal(bk_pos_state(rig.db, r.pos), BK_EIO);
    assert_true(rig_settle(&rig));

    enum exec_result result = EXEC_MORE;
    while (result == EXEC_MORE) {
        result = step(&r, argv, 2);
    }
    assert_int_equal(result, EXEC_DONE);
    assert_int_equal(bk_pos_state(rig.db, r.pos), BK_EIO);

    bk_buf_fini(&r.out);
    exec_free(&r.exec);
    ks_free(&ks);
    rig_fini(&rig);
}

/* CLIENT PAUSE of another loop, begun while this one reads a value. */
static atomic_int pause_mode;
static int64_t (*read_disk)(void *arg, int fd, void *p, size_t n, uint64_t offset);

static int64_t read_and_pause(void *arg, int fd, void *p, size_t n, uint64_t offset)
{
    atomic_store(&pause_mode, CLIENT_PAUSE_WRITE);
    return read_disk(arg, fd, p, n, offset);
}

static bool memory_over(void *arg)
{
    (void)arg;
    return false;
}

static bool client_paused(void *arg)
{
    (void)arg;
    return true;
}

static void test_pause__begun_before_the_locks_are_held__holds_the_write_up(void **state)
{
    struct rig rig;
    struct server_ops ops = {.proto_max_bulk_len = bulk_max,
                             .memory_over = memory_over,
                             .pause = &pause_mode,
                             .client_paused = client_paused};
    struct resp_arg argv[] = {
        {bk_span_str("append"), NULL}, {bk_span_str("k"), NULL}, {bk_span_str("more"), NULL}};
    (void)state;
    rig_init(&rig, 1, BK_SYNC_ALWAYS);
    struct bk_io io = *rig.opt.io;
    read_disk = io.pread;
    io.pread = read_and_pause;
    io.pread_cached = NULL;
    rig.opt.io = &io;
    rig.opt.cache_bytes = 0;
    assert_int_equal(rig_open(&rig), BK_OK);
    assert_int_equal(rig_put(&rig, "k", "v"), BK_OK);
    assert_true(rig_settle(&rig));
    struct keyspace *ks = ks_new(rig.db, RIG_DATABASES);
    struct run r = {.exec = exec_new(ks, &ops), .session.authenticated = true};
    r.reply = (struct resp_writer){.out = &r.out, .proto = 2};

    uint64_t tail = bk_tail(rig.db);
    atomic_store(&pause_mode, CLIENT_PAUSE_OFF);
    assert_int_equal(step(&r, argv, 3), EXEC_PAUSED);
    assert_int_equal(atomic_load(&pause_mode), CLIENT_PAUSE_WRITE);
    assert_int_equal(bk_tail(rig.db), tail);
    assert_int_equal(r.out.len, 0);
    rig.opt.io = simdisk_io(rig.disk);
    io.pread = read_disk;
    atomic_store(&pause_mode, CLIENT_PAUSE_OFF);
    assert_int_equal(step(&r, argv, 3), EXEC_DONE);
    assert_true(r.out.len == 4 && memcmp(r.out.data, ":5\r\n", 4) == 0);

    bk_buf_fini(&r.out);
    exec_free(&r.exec);
    ks_free(&ks);
    rig_fini(&rig);
}

/* One that begins between the first look at it and the commit: the second time it is asked. */
static bool paused_at_the_second_look(void *arg)
{
    unsigned *looks = arg;
    return ++*looks > 1;
}

/* SET looks at no key before it runs, and takes its locks behind its function. */
static void test_pause__begun_before_a_plain_write_has_locks__holds_it_up(void **state)
{
    struct rig rig;
    unsigned looks = 0;
    struct server_ops ops = {.arg = &looks,
                             .proto_max_bulk_len = bulk_max,
                             .memory_over = memory_over,
                             .pause = &pause_mode,
                             .client_paused = paused_at_the_second_look};
    struct resp_arg argv[] = {
        {bk_span_str("set"), NULL}, {bk_span_str("k"), NULL}, {bk_span_str("v"), NULL}};
    (void)state;
    rig_init(&rig, 1, BK_SYNC_ALWAYS);
    assert_int_equal(rig_open(&rig), BK_OK);
    struct keyspace *ks = ks_new(rig.db, RIG_DATABASES);
    struct run r = {.exec = exec_new(ks, &ops), .session.authenticated = true};
    r.reply = (struct resp_writer){.out = &r.out, .proto = 2};

    uint64_t tail = bk_tail(rig.db);
    atomic_store(&pause_mode, CLIENT_PAUSE_WRITE);
    assert_int_equal(step(&r, argv, 3), EXEC_PAUSED);
    assert_int_equal(bk_tail(rig.db), tail);
    assert_int_equal(r.out.len, 0);
    atomic_store(&pause_mode, CLIENT_PAUSE_OFF);
    assert_int_equal(step(&r, argv, 3), EXEC_DONE);
    assert_true(r.out.len == 5 && memcmp(r.out.data, "+OK\r\n", 5) == 0);
    assert_true(bk_tail(rig.db) > tail);

    bk_buf_fini(&r.out);
    exec_free(&r.exec);
    ks_free(&ks);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slices__undone_in_between__reply_depends_on_what_was_undone),
        cmocka_unit_test(test_pause__begun_before_the_locks_are_held__holds_the_write_up),
        cmocka_unit_test(test_pause__begun_before_a_plain_write_has_locks__holds_it_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
