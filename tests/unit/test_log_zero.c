/* SPDX-License-Identifier: MIT */
/* With appendfsync always zeros are written ahead of the log's end, where that makes syncs cheaper:
 * never over a record, never beyond the room that is reserved. */
#include "engine/engine_test.h"

#include "engine/db_private.h"

#include <errno.h>

#define PIECE 1048576u

struct zeros {
    const struct bk_io *under;
    struct bk_io io;
    struct rig r;
    int error;      /* what the next zeros fail with */
    int in_place;   /* what the file system is said to do */
    unsigned count; /* writes of zeros so far */
    uint64_t from, to;
};

static struct zeros *z;

static bool all_zero(const struct iovec *iov)
{
    const uint8_t *p = iov->iov_base;
    return iov->iov_len >= 4096 && p[0] == 0 && memcmp(p, p + 1, iov->iov_len - 1) == 0;
}

static int64_t see_write(void *arg, int fd, const struct iovec *iov, int iov_n, uint64_t offset)
{
    if (iov_n == 1 && all_zero(iov) && z->r.db != NULL) {
        const struct bki_file *f = z->r.db->log.active;
        assert_true(offset >= atomic_load(&f->size));
        assert_true(offset + iov->iov_len <= atomic_load(&f->allocated));
        assert_int_equal(offset % 4096, 0);
        if (z->error != 0) {
            int error = z->error;
            z->error = 0;
            return -error;
        }
        z->count++;
        z->from = offset;
        z->to = offset + iov->iov_len;
    }
    return z->under->pwritev(arg, fd, iov, iov_n, offset);
}

static int say_in_place(void *arg, const char *path)
{
    (void)arg;
    (void)path;
    return z->in_place;
}

static void begin(enum bk_sync sync, int in_place)
{
    z = calloc(1, sizeof(*z));
    assert_non_null(z);
    rig_init(&z->r, 5, sync);
    z->under = z->r.opt.io;
    z->io = *z->under;
    z->io.pwritev = see_write;
    z->io.in_place = say_in_place;
    z->in_place = in_place;
    z->r.opt.io = &z->io;
    z->r.opt.max_file_bytes = (uint64_t)8 << 20;
    RIG_TRUE(&z->r, rig_open(&z->r) == BK_OK);
}

static void end(void)
{
    RIG_TRUE(&z->r, rig_same(&z->r));
    RIG_TRUE(&z->r, rig_check(&z->r));
    rig_crash(&z->r, SIMDISK_POWER);
    RIG_TRUE(&z->r, rig_reopen(&z->r));
    rig_fini(&z->r);
    free(z);
}

/* A record of about n bytes, synced by itself. */
static void put_synced(size_t n)
{
    static char value[40000];
    assert_true(n < sizeof(value));
    memset(value, 'v', n);
    value[n] = '\0';
    assert_int_equal(rig_put(&z->r, "k", value), BK_OK);
    RIG_TRUE(&z->r, rig_settle(&z->r));
}

static void test_log_zero__small_syncs__share_a_piece(void **state)
{
    (void)state;
    begin(BK_SYNC_ALWAYS, 1);
    unsigned syncs = 0;
    while (z->count < 3 && syncs < 10000) {
        put_synced(2000);
        syncs++;
        assert_true(atomic_load(&z->r.db->log.active->size) <= z->to);
    }
    assert_int_equal(z->to - z->from, PIECE);
    assert_in_range(syncs, 2 * PIECE / 2200, 3 * PIECE / 2000);
    end();
}

static void test_log_zero__large_syncs__go_without(void **state)
{
    (void)state;
    begin(BK_SYNC_ALWAYS, 1);
    for (unsigned i = 0; i < 100; i++) {
        put_synced(39000);
    }
    assert_in_range(z->count, 0, 1); /* before it is known how large they are */
    end();
}

static void test_log_zero__other_modes_and_file_systems__go_without(void **state)
{
    (void)state;
    begin(BK_SYNC_EVERYSEC, 1);
    for (unsigned i = 0; i < 50; i++) {
        put_synced(2000);
        RIG_TRUE(&z->r, rig_sync(&z->r));
    }
    assert_int_equal(z->count, 0);
    end();
    begin(BK_SYNC_ALWAYS, 0);
    for (unsigned i = 0; i < 50; i++) {
        put_synced(2000);
    }
    assert_int_equal(z->count, 0);
    end();
}

static void test_log_zero__no_room_for_zeros__records_go_on(void **state)
{
    (void)state;
    begin(BK_SYNC_ALWAYS, 1);
    z->error = ENOSPC;
    for (unsigned i = 0; i < 300; i++) {
        put_synced(2000);
    }
    assert_int_equal(z->error, 0);
    assert_int_equal(z->count, 0);
    assert_int_equal(z->r.undone, 0);
    end();
}

static void test_log_zero__zeros_fail__like_a_write_of_records(void **state)
{
    struct bk_stats before;
    struct bk_stats after;
    (void)state;
    begin(BK_SYNC_ALWAYS, 1);
    bk_stats_get(z->r.db, &before);
    z->error = EIO;
    assert_int_equal(rig_put(&z->r, "k", "v"), BK_OK);
    bk_ignore(rig_settle(&z->r) ? 0 : 1, "what became of the write is seen below");
    bk_stats_get(z->r.db, &after);
    assert_int_equal(z->error, 0);
    assert_int_equal(after.write_errors - before.write_errors, 1);
    assert_int_equal(z->r.undone, 1);
    put_synced(2000);
    end();
}

int main(void)
{
    quiet_log();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_zero__small_syncs__share_a_piece),
        cmocka_unit_test(test_log_zero__large_syncs__go_without),
        cmocka_unit_test(test_log_zero__other_modes_and_file_systems__go_without),
        cmocka_unit_test(test_log_zero__no_room_for_zeros__records_go_on),
        cmocka_unit_test(test_log_zero__zeros_fail__like_a_write_of_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
