/* SPDX-License-Identifier: MIT */
/* test_merge_behind.c - what a merge copies goes to the disk piece by piece, not all at its end;
 * and a disk that fails at that takes nothing along. */
#include "engine/io.h"
#include "merge_rig.h"

#include <errno.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)
#define KEYS 6000u

static struct {
    const struct bk_io *disk;
    struct simdisk *sim;
    unsigned calls;
    unsigned fails_at; /* this call fails, and what it was for is lost; 0: none */
    uint64_t next[64]; /* by handle: where the next piece begins */
} behind;

static int note_piece(void *arg, int fd, uint64_t offset, uint64_t len)
{
    assert_in_range(fd, 0, 63);
    assert_int_equal(len, MIB);
    assert_int_equal(offset, behind.next[fd]);
    assert_true(behind.disk->size(arg, fd) >= (int64_t)(offset + len));
    behind.next[fd] = offset + len;
    behind.calls++;
    if (behind.calls != behind.fails_at) {
        return 0;
    }
    simdisk_fail(behind.sim, SIMDISK_SYNC, 1, 1, EIO);
    int rc = behind.disk->sync(arg, fd);
    simdisk_fail(behind.sim, 0, 0, 0, 0);
    assert_int_equal(rc, -EIO);
    return rc;
}

static int create_or_open(void *arg, const char *path, enum bk_io_open how)
{
    int fd = behind.disk->open(arg, path, how);
    if (fd >= 0 && fd < 64) {
        behind.next[fd] = 0;
    }
    return fd;
}

/* A file of 6 MB, a third of it dead. */
static void setup_behind(struct rig *r, struct bk_io *io)
{
    setup_rig(r, 17, BK_SYNC_EVERYSEC);
    *io = *r->opt.io;
    memset(&behind, 0, sizeof behind);
    behind.disk = r->opt.io;
    behind.sim = r->disk;
    io->write_behind = note_piece;
    io->open = create_or_open;
    r->opt.io = io;
    r->opt.max_file_bytes = 16 * MIB;
    r->opt.merge.policy = BK_MERGE_NEVER;
    next_file(r);
    put_large(r, "k", KEYS);
    put_n(r, "k", KEYS / 3, "short");
    r->opt.merge.policy = BK_MERGE_ALWAYS;
    next_file(r);
}

static void test_merge__copies__to_the_disk_by_and_by(void **state)
{
    (void)state;
    struct rig r;
    struct bk_io io;
    setup_behind(&r, &io);
    merge_all(&r);
    assert_true(merges(&r) > 0);
    assert_true(behind.calls >= 3);
    same_after_restart(&r);
    rig_fini(&r);
}

static void fail_at(unsigned call)
{
    struct rig r;
    struct bk_io io;
    struct bk_merge_status s;
    setup_behind(&r, &io);
    behind.fails_at = call;
    for (unsigned i = 0; behind.calls < call; i++) {
        assert_true(i < STEPS);
        one_step(&r);
    }
    bk_merge_status(r.db, &s);
    assert_int_equal(s.aborted, 1);
    assert_int_equal(s.runs, 0);
    assert_non_null(strstr(s.last_error, "sync"));
    RIG_TRUE(&r, rig_same(&r));
    simclock_advance_ms(&r.clock, 3600000);
    merge_all(&r);
    assert_true(merges(&r) > 0);
    same_after_restart(&r);
    rig_fini(&r);
}

static void test_merge__fails_at_a_piece__nothing_is_lost(void **state)
{
    (void)state;
    for (unsigned call = 1; call <= 3; call++) {
        fail_at(call);
    }
}

static void test_io__write_behind__tells_failures_but_not_that_there_is_none(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(bk_io_system.write_behind(NULL, ends[0], 0, MIB), 0);
    (void)close(ends[0]);
    (void)close(ends[1]);
    assert_int_equal(bk_io_system.write_behind(NULL, ends[0], 0, MIB), -EBADF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge__copies__to_the_disk_by_and_by),
        cmocka_unit_test(test_merge__fails_at_a_piece__nothing_is_lost),
        cmocka_unit_test(test_io__write_behind__tells_failures_but_not_that_there_is_none),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
