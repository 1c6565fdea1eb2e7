/* SPDX-License-Identifier: MIT */
/* test_rotate.c - data files: rotation by size and age, files of their own, counted bytes,
 * descriptors, offsets. */
#include "engine_test.h"
#include "lib/tmpdir.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static int setup(void **state)
{
    struct rig *r = set_rig_up(state, 61, BK_SYNC_EVERYSEC);
    RIG_TRUE(r, rig_open(r) == BK_OK);
    return 0;
}

static void put_bytes(struct rig *r, const char *key, size_t len)
{
    uint8_t *value = malloc(len + 1);
    pattern_fill(value, len, len);
    rig_begin(r);
    rig_batch_put(r, 0, bk_span_str(key), bk_span_of(value, len), 0, 0);
    assert_int_equal(rig_commit(r), BK_OK);
    free(value);
}

struct sums {
    uint64_t files;
    uint64_t size;
    uint64_t live;
    uint64_t dead;
    uint64_t guard;
    uint64_t last_rank;
    uint64_t largest;
};

static void add_file(void *arg, const struct bk_file_info *info)
{
    struct sums *s = arg;
    if (info->state == BK_FILE_NEXT) {
        return;
    }
    assert_true(s->files == 0 || info->rank > s->last_rank);
    s->last_rank = info->rank;
    s->files++;
    s->size += info->size;
    s->live += info->live_bytes;
    s->dead += info->dead_bytes;
    s->guard += info->guard_bytes;
    s->largest = info->size > s->largest ? info->size : s->largest;
    assert_true(info->live_bytes + info->dead_bytes + info->guard_bytes <= info->size);
}

static void test_rotate__by_size__files_stay_below_the_limit(void **state)
{
    struct rig *r = *state;
    for (int i = 0; i < 300; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i % 40);
        put_bytes(r, key, 700);
        rig_step(r);
    }
    RIG_TRUE(r, rig_settle(r));
    struct sums s = {0};
    bk_files(r->db, add_file, &s);
    assert_in_range(s.files, 300 * 700 / 16384, 300 * 800 / 16384 + 5);
    assert_true(s.largest <= 16384);
    RIG_TRUE(r, rig_check(r));
}

static void test_rotate__by_age__an_old_file_ends(void **state)
{
    struct rig *r = *state;
    struct bk_tunables t;
    bk_tunables_get(r->db, &t);
    t.max_file_age_s = 60;
    bk_tune(r->db, &t);
    struct bk_stats a;
    struct bk_stats b;
    bk_stats_get(r->db, &a);
    for (int i = 0; i < 10; i++) {
        put_bytes(r, "k", 10);
        RIG_TRUE(r, rig_settle(r));
        simclock_advance_ms(&r->clock, 30000);
    }
    RIG_TRUE(r, rig_settle(r));
    bk_stats_get(r->db, &b);
    assert_in_range(b.rotations - a.rotations, 3, 6);
    /* A file without records is never too old: an idle store does not make files. */
    bk_stats_get(r->db, &a);
    for (int i = 0; i < 20; i++) {
        simclock_advance_ms(&r->clock, 61000);
        RIG_TRUE(r, rig_settle(r));
    }
    bk_stats_get(r->db, &b);
    assert_true(b.rotations - a.rotations <= 1);
    RIG_TRUE(r, rig_same(r));
}

static void test_rotate__record_larger_than_a_file__gets_its_own(void **state)
{
    struct rig *r = *state;
    put_bytes(r, "small", 100);
    put_bytes(r, "large", 100000);
    put_bytes(r, "small again", 100);
    put_bytes(r, "larger", 2500000);
    put_bytes(r, "last", 100);
    RIG_TRUE(r, rig_sync(r));
    struct sums s = {0};
    bk_files(r->db, add_file, &s);
    assert_true(s.largest >= 2500000 && s.largest < 2500000 + 70000);
    RIG_TRUE(r, rig_same(r));
    RIG_TRUE(r, rig_check(r));
    rig_crash(r, SIMDISK_POWER);
    RIG_TRUE(r, rig_reopen(r));
    assert_int_equal(bk_count(r->db, 0), 5);
}

/* A command pays for a rotation with a pointer: the commit itself makes no call of the disk. */
static void test_rotate__commit__makes_no_call_of_the_disk(void **state)
{
    struct rig *r = *state;
    for (int i = 0; i < 100; i++) {
        RIG_TRUE(r, rig_settle(r)); /* the next file is ready */
        uint64_t calls = simdisk_calls(r->disk, SIMDISK_ANY);
        put_bytes(r, "k", 900);
        assert_int_equal(simdisk_calls(r->disk, SIMDISK_ANY), calls);
    }
}

/* Live, dead and guard bytes are what a walk over the files finds (bk_check), and add up. */
static void test_trap45__bytes_are_counted_exactly(void **state)
{
    struct rig *r = *state;
    for (int i = 0; i < 600; i++) {
        RIG_TRUE(r, rig_random_op(r));
        if (i % 60 == 0) {
            RIG_TRUE(r, rig_settle(r));
            RIG_TRUE(r, rig_check(r));
            struct sums s = {0};
            struct bk_stats st;
            bk_files(r->db, add_file, &s);
            bk_stats_get(r->db, &st);
            assert_int_equal(st.live_bytes, s.live);
            assert_int_equal(st.dead_bytes, s.dead);
            assert_int_equal(st.guard_bytes, s.guard);
        }
        if (i % 150 == 149) { /* the same counts after a restart, clean or not */
            struct sums a = {0};
            struct sums b = {0};
            RIG_TRUE(r, rig_sync(r));
            /* A start drops what has expired, to the millisecond. */
            simclock_advance_ms(&r->clock, 128 - bk_clock_wall_ms(&r->clock.clock) % 128);
            for (int k = 0; k < 200; k++) {
                bk_expire_step(r->db, 100, NULL);
            }
            RIG_TRUE(r, rig_settle(r));
            bk_files(r->db, add_file, &a);
            if (i % 300 == 299) {
                rig_crash(r, SIMDISK_KILL);
            } else {
                RIG_TRUE(r, rig_close(r) == BK_OK);
            }
            RIG_TRUE(r, rig_open(r) == BK_OK);
            bk_files(r->db, add_file, &b);
            assert_int_equal(a.live, b.live);
            RIG_TRUE(r, rig_check(r));
        }
    }
}

static void test_rotate__flushed_database__is_all_dead(void **state)
{
    struct rig *r = *state;
    for (int i = 0; i < 50; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        put_bytes(r, key, 300);
    }
    rig_begin(r);
    rig_batch_flush(r, 0);
    assert_int_equal(rig_commit(r), BK_OK);
    RIG_TRUE(r, rig_settle(r));
    struct bk_stats st;
    bk_stats_get(r->db, &st);
    assert_int_equal(st.keys, 0);
    assert_int_equal(st.live_bytes, 0);
    RIG_TRUE(r, rig_check(r));
}

/* ---- Descriptors ---- */

static void test_trap35__thousand_rotations__handles_are_files_and_a_constant(void **state)
{
    struct rig *r = *state;
    struct bk_tunables t;
    bk_tunables_get(r->db, &t);
    t.max_file_bytes = 4096;
    bk_tune(r->db, &t);
    int64_t extra = -1;
    for (int i = 0; i < 1000; i++) {
        put_bytes(r, "k", 3900);
        RIG_TRUE(r, rig_settle(r));
        if (i % 100 == 99) {
            int64_t files = (int64_t)rig_data_files(r, NULL, NULL);
            int64_t now = (int64_t)simdisk_handles(r->disk) - files;
            assert_true(extra < 0 || (now - extra <= 2 && extra - now <= 2));
            extra = now;
        }
    }
    struct bk_stats st;
    bk_stats_get(r->db, &st);
    assert_true(st.rotations >= 990);
    assert_true(extra <= 4);
    assert_int_equal(rig_close(r), BK_OK);
    assert_int_equal(simdisk_handles(r->disk), 0);
    RIG_TRUE(r, rig_open(r) == BK_OK);
    RIG_TRUE(r, rig_same(r));
}

static unsigned descriptors(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    while (readdir(d) != NULL) {
        n++;
    }
    closedir(d);
    return n;
}

static void test_trap35__open_and_close_a_hundred_times__descriptors_are_steady(void **state)
{
    (void)state;
    struct tmpdir dir;
    struct bk_options o;
    struct bk_error err = {0};
    tmpdir_make(&dir, "fds");
    bk_options_init(&o);
    o.dir = dir.path;
    unsigned before = descriptors();
    for (int i = 0; i < 100; i++) {
        struct bk_db *db = NULL;
        BK_SUCCEEDS(bk_open(&db, &o, &err), err);
        assert_int_equal(bk_put(db, 0, bk_span_str("k"), bk_span_str("v"), 0), BK_OK);
        BK_SUCCEEDS(bk_close(&db, &err), err);
        assert_int_equal(descriptors(), before);
    }
    tmpdir_remove(&dir);
}

/* ---- Trap 21, on the real table ---- */

static void test_trap21__pwrite_at_an_offset__is_not_an_append(void **state)
{
    (void)state;
    struct tmpdir dir;
    char path[200];
    char buf[8] = {0};
    const struct bk_io *io = &bk_io_system;
    tmpdir_make(&dir, "append");
    tmpdir_join(&dir, "f", path, sizeof(path));
    int fd = io->open(io->arg, path, BK_IO_CREATE);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFL) & O_APPEND, 0);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    struct iovec iov[2] = {{.iov_base = (char[]){"abc"}, .iov_len = 3},
                           {.iov_base = (char[]){"def"}, .iov_len = 3}};
    assert_int_equal(io->pwritev(io->arg, fd, iov, 2, 0), 6);
    iov[0].iov_base = (char[]){"X"};
    iov[0].iov_len = 1;
    assert_int_equal(io->pwritev(io->arg, fd, iov, 1, 2), 1);
    assert_int_equal(io->size(io->arg, fd), 6);
    assert_int_equal(io->pread(io->arg, fd, buf, 8, 0), 6);
    assert_memory_equal(buf, "abXdef", 6);
    /* Room that was reserved reads as zero and does not move what is written. */
    assert_int_equal(io->allocate(io->arg, fd, 0, 100000), 0);
    assert_int_equal(io->size(io->arg, fd), 100000);
    assert_int_equal(io->pread(io->arg, fd, buf, 8, 4), 8);
    assert_memory_equal(buf, "ef\0\0\0\0\0\0", 8);
    assert_int_equal(io->open(io->arg, path, BK_IO_CREATE), -17);
    assert_int_equal(io->close(io->arg, fd), 0);
    tmpdir_remove(&dir);
}

/* Trap 18: a sealed file is cut under a running store. Without mmap that is an error reply, not a
 * SIGBUS. */
static void test_trap18__file_cut_under_reads__answers_errors_and_lives(void **state)
{
    (void)state;
    struct tmpdir dir;
    struct bk_options o;
    struct bk_db *db = NULL;
    struct bk_error err = {0};
    char path[200];
    char value[2000];
    struct bk_buf got = {0};
    tmpdir_make(&dir, "cut");
    bk_options_init(&o);
    o.dir = dir.path;
    o.max_file_bytes = 100000;
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    for (int life = 0; life < 2; life++) {
        BK_SUCCEEDS(bk_open(&db, &o, &err), err);
        for (int i = 0; i < 100 && life == 0; i++) {
            char key[16];
            snprintf(key, sizeof(key), "k%d", i);
            assert_int_equal(bk_put(db, 0, bk_span_str(key), bk_span_str(value), 0), BK_OK);
        }
        if (life == 0) {
            BK_SUCCEEDS(bk_close(&db, &err), err);
        }
    }
    tmpdir_join(&dir, "0000000001.data", path, sizeof(path));
    assert_int_equal(truncate(path, 20000), 0);
    unsigned good = 0;
    unsigned bad = 0;
    for (int i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        int rc = bk_get(db, 0, bk_span_str(key), &got, NULL);
        assert_true(rc == BK_OK || rc == BK_CORRUPT || rc == BK_EIO);
        good += rc == BK_OK && bk_span_eq(bk_buf_span(&got), bk_span_str(value));
        bad += rc != BK_OK;
    }
    assert_true(good > 40 && bad > 30);
    assert_int_equal(good + bad, 100);
    assert_int_equal(bk_put(db, 0, bk_span_str("k0"), bk_span_str("new"), 0), BK_OK);
    BK_SUCCEEDS(bk_close(&db, &err), err);
    bk_buf_fini(&got);
    tmpdir_remove(&dir);
}

/* Trap 23: offsets beyond 4 GiB. The values are zeros, which the simulated disk keeps for nothing.
 */
static void test_trap23__offsets_beyond_4_gib__are_read_back(void **state)
{
    struct rig *r = *state;
    const size_t len = (size_t)300 << 20;
    assert_int_equal(rig_close(r), BK_OK);
    r->opt.max_file_bytes = (uint64_t)8 << 30;
    r->opt.log_buffer_bytes = (uint64_t)1 << 30;
    RIG_TRUE(r, rig_open(r) == BK_OK);
    struct bk_block *zeros = bk_block_new(len);
    memset(zeros->data, 0, len);
    struct bk_key key;
    uint64_t pos = 0;
    for (unsigned i = 0; i < 15; i++) {
        int rc = BK_EAGAIN;
        for (int tries = 0; tries < 1000 && rc == BK_EAGAIN; tries++) {
            bk_key_init(r->db, &key, "large", 5);
            bk_batch_begin(r->batch);
            bk_batch_put(r->batch, 0, &key, &(struct bk_value){bk_span_of(zeros->data, len), zeros},
                         0, 0);
            rc = bk_batch_commit(r->batch, &pos, NULL);
            bk_step(r->db);
        }
        assert_int_equal(rc, BK_OK);
        while (bk_pos_state(r->db, pos) == BK_EAGAIN) {
            bk_flush(r->db, pos);
            bk_step(r->db);
        }
    }
    bk_block_unref(&zeros);
    assert_int_equal(rig_put(r, "behind 4 GiB", "is here"), BK_OK);
    RIG_TRUE(r, rig_settle(r));
    struct sums s = {0};
    bk_files(r->db, add_file, &s);
    assert_true(s.largest > (uint64_t)4 << 30);
    for (int life = 0; life < 2; life++) {
        struct bk_buf got = {0};
        assert_int_equal(bk_get(r->db, 0, bk_span_str("behind 4 GiB"), &got, NULL), BK_OK);
        assert_true(bk_span_eq(bk_buf_span(&got), bk_span_str("is here")));
        bk_buf_fini(&got);
        if (life == 0) {
            rig_crash(r, SIMDISK_KILL);
            RIG_TRUE(r, rig_open(r) == BK_OK);
        }
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown_rig)
    const struct CMUnitTest tests[] = {
        T(test_rotate__by_size__files_stay_below_the_limit),
        T(test_rotate__by_age__an_old_file_ends),
        T(test_rotate__record_larger_than_a_file__gets_its_own),
        T(test_rotate__commit__makes_no_call_of_the_disk),
        T(test_trap45__bytes_are_counted_exactly),
        T(test_rotate__flushed_database__is_all_dead),
        T(test_trap35__thousand_rotations__handles_are_files_and_a_constant),
        cmocka_unit_test(test_trap35__open_and_close_a_hundred_times__descriptors_are_steady),
        cmocka_unit_test(test_trap21__pwrite_at_an_offset__is_not_an_append),
        cmocka_unit_test(test_trap18__file_cut_under_reads__answers_errors_and_lives),
        T(test_trap23__offsets_beyond_4_gib__are_read_back),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
