/* SPDX-License-Identifier: MIT */
/*
 * test_faults.c - disks that are full, that fail, and that answer in pieces: a command is refused
 * before it has changed anything, or its write is undone and its answer is an error; nothing that
 * was acknowledged is lost, and writes come back by themselves.
 */
#include "engine_test.h"
#include "lib/moment.h"
#include "lib/tmpdir.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static int setup(void **state)
{
    struct rig *r = set_rig_up(state, 51, BK_SYNC_ALWAYS);
    RIG_TRUE(r, rig_open(r) == BK_OK);
    return 0;
}

static char *filler(size_t len)
{
    char *s = malloc(len + 1);
    memset(s, 'f', len);
    s[len] = '\0';
    return s;
}

/* Writes until the store refuses; returns the code. */
static int fill_up(struct rig *r, const char *value)
{
    int rc = BK_OK;
    for (unsigned i = 0; i < 2000 && rc == BK_OK; i++) {
        char key[32];
        snprintf(key, sizeof(key), "fill%u", i);
        rc = rig_put(r, key, value);
        if (rc == BK_OK) {
            rig_step(r);
        }
    }
    return rc;
}

static void test_trap16__full_disk__refuses_before_anything_changed(void **state)
{
    struct rig *r = *state;
    char *value = filler(1000);
    assert_int_equal(rig_put(r, "old", "value"), BK_OK);
    RIG_TRUE(r, rig_settle(r));
    simdisk_capacity(r->disk, simdisk_used(r->disk) + 100000);
    assert_int_equal(fill_up(r, value), BK_ENOSPC);
    assert_int_equal(rig_put(r, "old", value), BK_ENOSPC);
    RIG_TRUE(r, rig_settle(r)); /* what was accepted before is answered */
    assert_int_equal(r->undone, 0);
    RIG_TRUE(r, rig_same(r));
    RIG_TRUE(r, rig_get_same(r, 0, bk_span_str("old")));
    rig_crash(r, SIMDISK_POWER);
    r->opt.on_corruption = BK_CORRUPT_REFUSE;
    RIG_TRUE(r, rig_reopen(r)); /* the disk is still full */
    simdisk_capacity(r->disk, UINT64_MAX);
    free(value);
}

static void test_trap42__room_comes_back__writes_come_back_20_times(void **state)
{
    struct rig *r = *state;
    char *value = filler(1000);
    for (int round = 0; round < 20; round++) {
        simdisk_capacity(r->disk, simdisk_used(r->disk) + 60000);
        assert_int_equal(fill_up(r, value), BK_ENOSPC);
        RIG_TRUE(r, rig_settle(r));
        simdisk_capacity(r->disk, UINT64_MAX);
        /* Time passes; nobody restarts anything. */
        int rc = BK_ENOSPC;
        for (int i = 0; i < 100 && rc != BK_OK; i++) {
            simclock_advance_ms(&r->clock, 100);
            rig_step(r);
            rc = rig_put(r, "back", value);
        }
        assert_int_equal(rc, BK_OK);
        RIG_TRUE(r, rig_settle(r));
        assert_int_equal(bk_write_state(r->db, NULL), BK_OK);
        RIG_TRUE(r, rig_same(r));
    }
    rig_crash(r, SIMDISK_POWER);
    RIG_TRUE(r, rig_reopen(r));
    free(value);
}

/* The disk fails for good after the write was accepted: it is undone, its position says so, and
 * reads see what was there before; when the disk works again, so does the store. */
static void test_trap16__write_error_after_acceptance__is_undone(void **state)
{
    struct rig *r = *state;
    assert_int_equal(rig_put(r, "a", "old"), BK_OK);
    assert_int_equal(rig_put(r, "deleted", "old"), BK_OK);
    RIG_TRUE(r, rig_settle(r));
    for (int round = 0; round < 3; round++) {
        uint64_t undone = r->undone;
        assert_int_equal(rig_put(r, "a", "new"), BK_OK);
        assert_int_equal(rig_delete(r, "deleted"), BK_OK);
        assert_int_equal(rig_put(r, "fresh", "x"), BK_OK);
        rig_begin(r);
        rig_batch_flush(r, 0);
        rig_batch_swap(r, 0, 1);
        rig_batch_put(r, 0, bk_span_str("b"), bk_span_str("in a batch"), 0, 0);
        assert_int_equal(rig_commit(r), BK_OK);
        uint64_t pos = r->model.entries[r->model.entries_n - 1].pos;
        assert_int_equal(bk_pos_state(r->db, pos), BK_EAGAIN);
        simdisk_fail(r->disk, SIMDISK_ANY & ~(unsigned)(SIMDISK_READ | SIMDISK_SIZE), 1, UINT64_MAX,
                     EIO);
        for (int i = 0; i < 50 && bk_pos_state(r->db, pos) == BK_EAGAIN; i++) {
            rig_step(r);
            simclock_advance_ms(&r->clock, 100);
        }
        assert_int_equal(bk_pos_state(r->db, pos), BK_EIO);
        assert_int_equal(r->undone, undone + 4);
        RIG_TRUE(r, rig_same(r));
        assert_int_not_equal(bk_write_state(r->db, NULL), BK_OK);
        assert_true(rig_put(r, "a", "refused") == BK_EIO);
        simdisk_fail(r->disk, 0, 0, 0, 0);
        int rc = BK_EIO;
        for (int i = 0; i < 100 && rc != BK_OK; i++) {
            simclock_advance_ms(&r->clock, 100);
            rig_step(r);
            rc = rig_put(r, "back", "x");
        }
        assert_int_equal(rc, BK_OK);
        RIG_TRUE(r, rig_settle(r));
        RIG_TRUE(r, rig_same(r));
        RIG_TRUE(r, rig_check(r));
        if (round == 1) {
            rig_crash(r, SIMDISK_POWER); /* nothing that was undone comes back */
            RIG_TRUE(r, rig_reopen(r));
        }
    }
}

/* One write fails: what it held is undone and said so, or written elsewhere; all else is there, and
 * the store goes on by itself. */
static void test_faults__one_failed_write__costs_no_other_write(void **state)
{
    struct rig *r = *state;
    for (int round = 0; round < 10; round++) {
        assert_int_equal(rig_put(r, "a", round % 2 == 0 ? "1" : "2"), BK_OK);
        RIG_TRUE(r, rig_settle(r));
        assert_int_equal(rig_put(r, "b", "2"), BK_OK);
        assert_int_equal(rig_delete(r, "a"), BK_OK);
        simdisk_fail(r->disk, SIMDISK_WRITE, 1, 1, round % 2 == 0 ? EIO : ENOSPC);
        for (int i = 0; i < 20; i++) {
            simclock_advance_ms(&r->clock, 200);
            rig_step(r);
        }
        RIG_TRUE(r, rig_settle(r));
        assert_int_equal(simdisk_failed(r->disk), 1);
        RIG_TRUE(r, rig_same(r));
        assert_int_equal(bk_write_state(r->db, NULL), BK_OK);
        assert_int_equal(rig_put(r, "c", "3"), BK_OK);
        RIG_TRUE(r, rig_settle(r));
        rig_crash(r, SIMDISK_POWER);
        RIG_TRUE(r, rig_reopen(r));
    }
}

/* Trap 19: fsync fails once. It is not asked again for the same file; what it was for is written
 * elsewhere. */
static void failed_sync(enum bk_sync sync, bool evict)
{
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct rig r;
        rig_init(&r, seed, sync);
        simdisk_evict_lost(r.disk, evict);
        RIG_TRUE(&r, rig_open(&r) == BK_OK);
        for (int i = 0; i < 5; i++) {
            assert_int_equal(rig_put(&r, "before", "x"), BK_OK);
            assert_int_equal(rig_put(&r, i % 2 == 0 ? "a" : "b", "acknowledged"), BK_OK);
            if (i != 3) {
                RIG_TRUE(&r, rig_sync(&r));
            }
        }
        /* The sync that fails is the one of what was written last: everything else is done before.
         */
        RIG_TRUE(&r, rig_sync(&r));
        assert_int_equal(rig_put(&r, "a", "while the sync fails"), BK_OK);
        assert_int_equal(rig_put(&r, "c", "while the sync fails"), BK_OK);
        assert_int_equal(rig_delete(&r, "b"), BK_OK);
        if (sync != BK_SYNC_ALWAYS) {
            RIG_TRUE(&r, rig_settle(&r)); /* acknowledged, not synced */
        }
        simdisk_fail(r.disk, SIMDISK_SYNC, 1, 1, EIO);
        RIG_TRUE(&r, rig_sync(&r));
        assert_int_equal(simdisk_failed(r.disk), 1);
        simdisk_fail(r.disk, 0, 0, 0, 0);
        for (int i = 0; i < 10; i++) {
            simclock_advance_ms(&r.clock, 300);
            RIG_TRUE(&r, rig_settle(&r));
        }
        assert_int_equal(rig_put(&r, "after", "x"), BK_OK);
        RIG_TRUE(&r, rig_settle(&r));
        RIG_TRUE(&r, rig_sync(&r));
        assert_int_equal(r.durable_n, r.model.entries_n);
        RIG_TRUE(&r, rig_same(&r));
        r.opt.on_corruption = BK_CORRUPT_SERVE;
        rig_crash(&r, SIMDISK_POWER);
        RIG_TRUE(&r, rig_reopen(&r));
        rig_fini(&r);
    }
}

static void test_trap19__failed_sync_always__nothing_acknowledged_is_lost(void **state)
{
    (void)state;
    failed_sync(BK_SYNC_ALWAYS, false);
    failed_sync(BK_SYNC_ALWAYS, true);
}

static void test_trap19__failed_sync_everysec__is_written_again_elsewhere(void **state)
{
    (void)state;
    failed_sync(BK_SYNC_EVERYSEC, false);
}

/* Trap 20: every read and write may be short or interrupted. */
static void test_trap20__short_and_interrupted_calls__change_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct rig r;
        rig_init(&r, seed, (enum bk_sync)(seed % 3));
        simdisk_noise(r.disk, 30);
        RIG_TRUE(&r, rig_open(&r) == BK_OK);
        for (int i = 0; i < 200; i++) {
            RIG_TRUE(&r, rig_random_op(&r));
        }
        RIG_TRUE(&r, rig_sync(&r));
        assert_int_equal(r.undone, 0);
        assert_int_equal(r.refused, 0);
        RIG_TRUE(&r, rig_same(&r));
        RIG_TRUE(&r, rig_check(&r));
        RIG_TRUE(&r, rig_close(&r) == BK_OK);
        RIG_TRUE(&r, rig_open(&r) == BK_OK);
        RIG_TRUE(&r, rig_same(&r));
        rig_fini(&r);
    }
}

/* ---- Fault sweep: the nth call fails, once or from then on ---- */

/* False: the nth call was never reached. */
static bool sweep_one(uint64_t n, uint64_t times, int error, enum bk_sync sync)
{
    struct rig r;
    rig_init(&r, 77, sync);
    r.opt.on_corruption = BK_CORRUPT_SERVE;
    simdisk_fail(r.disk, SIMDISK_ANY & ~(unsigned)(SIMDISK_CLOSE | SIMDISK_READ), n, times, error);
    int rc = rig_open(&r);
    for (unsigned i = 0; i < 40 && rc == BK_OK; i++) {
        RIG_TRUE(&r, rig_random_op(&r));
        simclock_advance_ms(&r.clock, 50);
    }
    bool reached = simdisk_failed(r.disk) > 0;
    simdisk_fail(r.disk, 0, 0, 0, 0);
    if (rc != BK_OK) {
        assert_int_equal(simdisk_handles(r.disk), 0);
        RIG_TRUE(&r, rig_open(&r) == BK_OK);
    }
    for (int i = 0; i < 40; i++) { /* it gets well by itself */
        simclock_advance_ms(&r.clock, 200);
        rig_step(&r);
    }
    RIG_TRUE(&r, rig_sync(&r));
    RIG_TRUE(&r, rig_same(&r));
    RIG_TRUE(&r, rig_check(&r));
    assert_int_equal(rig_put(&r, "works", "again"), BK_OK);
    RIG_TRUE(&r, rig_sync(&r));
    rig_crash(&r, n % 2 == 0 ? SIMDISK_POWER : SIMDISK_KILL);
    RIG_TRUE(&r, rig_reopen(&r));
    RIG_TRUE(&r, rig_close(&r) == BK_OK);
    assert_int_equal(simdisk_handles(r.disk), 0);
    rig_fini(&r);
    return reached;
}

static void sweep(uint64_t times, int error)
{
    for (int sync = BK_SYNC_ALWAYS; sync <= BK_SYNC_NO; sync++) {
        uint64_t n = 1;
        while (sweep_one(n, times, error, (enum bk_sync)sync)) {
            n++;
        }
        assert_true(n > 20);
    }
}

static void test_faults__each_call_fails_once__nothing_promised_is_lost(void **state)
{
    (void)state;
    sweep(1, EIO);
}

static void test_faults__disk_fails_from_each_call_on__nothing_promised_is_lost(void **state)
{
    (void)state;
    sweep(UINT64_MAX, EIO);
}

static void test_faults__disk_full_from_each_call_on__nothing_promised_is_lost(void **state)
{
    (void)state;
    sweep(UINT64_MAX, ENOSPC);
}

/* A close that fails says so, and loses nothing that was acknowledged before. */
static void test_trap35__close_with_a_failing_disk__says_so(void **state)
{
    struct rig *r = *state;
    assert_int_equal(rig_put(r, "acknowledged", "x"), BK_OK);
    RIG_TRUE(r, rig_settle(r));
    assert_int_equal(rig_put(r, "pending", "x"), BK_OK);
    simdisk_fail(r->disk, SIMDISK_WRITE | SIMDISK_SYNC | SIMDISK_OPEN, 1, UINT64_MAX, EIO);
    assert_int_not_equal(rig_close(r), BK_OK);
    assert_int_equal(simdisk_handles(r->disk), 0);
    simdisk_fail(r->disk, 0, 0, 0, 0);
    RIG_TRUE(r, rig_reopen(r));
    assert_true(bk_count(r->db, 0) >= 1);
}

/* ---- Real file systems ---- */

/* In a child: opens a store, takes room away, fills it until it refuses, checks that it refuses
 * cleanly, makes room, writes again. The number of the step that went wrong, or 0. */
static int fill_real(const char *dir, void (*take_room)(const char *dir),
                     void (*make_room)(const char *dir))
{
    struct bk_options o;
    struct bk_db *db = NULL;
    struct bk_buf got = {0};
    char *value = filler(60000);
    bk_options_init(&o);
    o.dir = dir;
    o.sync = BK_SYNC_ALWAYS;
    o.max_file_bytes = 1 << 20;
    int step = bk_open(&db, &o, NULL) == BK_OK ? 0 : 1;
    int rc = BK_OK;
    take_room(dir);
    for (unsigned i = 0; i < 5000 && rc == BK_OK && step == 0; i++) {
        char key[32];
        snprintf(key, sizeof(key), "k%u", i);
        rc = bk_put(db, 0, bk_span_str(key), bk_span_str(value), 0);
        if (rc != BK_OK) {
            /* BK_EIO: accepted, then the write failed and was undone */
            step = rc != BK_ENOSPC && rc != BK_EIO                              ? 2
                   : bk_get(db, 0, bk_span_str(key), &got, NULL) != BK_NOTFOUND ? 3
                                                                                : 0;
        }
    }
    step = step == 0 && rc == BK_OK ? 4 : step;
    step = step == 0 && bk_get(db, 0, bk_span_str("k0"), &got, NULL) != BK_OK ? 5 : step;
    if (step == 0) {
        make_room(dir);
        for (unsigned i = 0; i < 600 && rc != BK_OK;
             i++) { /* writes come back by themselves, in seconds */
            rc = bk_put(db, 0, bk_span_str("back"), bk_span_str("x"), 0);
            moment_pass(rc == BK_OK ? 0 : 10000);
        }
        step = rc != BK_OK                       ? 6
               : bk_close(&db, NULL) != BK_OK    ? 7
               : bk_open(&db, &o, NULL) != BK_OK ? 8
                                                 : 0;
    }
    step = step == 0 && bk_get(db, 0, bk_span_str("back"), &got, NULL) != BK_OK ? 9 : step;
    step = step == 0 && bk_check(db, NULL) != BK_OK ? 10 : step;
    return step;
}

static void set_limit(rlim_t bytes)
{
    struct rlimit lim;
    getrlimit(RLIMIT_FSIZE, &lim);
    lim.rlim_cur = bytes < lim.rlim_max ? bytes : lim.rlim_max;
    setrlimit(RLIMIT_FSIZE, &lim);
}

/* Less than one file is long: the next one cannot be made. */
static void lower_limit(const char *dir)
{
    (void)dir;
    set_limit(300000);
}

static void raise_limit(const char *dir)
{
    (void)dir;
    set_limit(RLIM_INFINITY);
}

static void test_trap16__file_size_limit__is_a_full_disk(void **state)
{
    (void)state;
    struct tmpdir dir;
    tmpdir_make(&dir, "fsize");
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGXFSZ, SIG_IGN);
        _exit(fill_real(dir.path, lower_limit, raise_limit));
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    tmpdir_remove(&dir);
}

static void leave_room(const char *dir)
{
    (void)dir; /* the file system is small as it is */
}

static void remove_ballast(const char *dir)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/../ballast", dir);
    unlink(path);
}

#define NO_MOUNT 77

static int in_tmpfs(const char *dir)
{
    char path[200];
    int code = NO_MOUNT;
    if (unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
        mount("tmpfs", dir, "tmpfs", 0, "size=4m") == 0) {
        snprintf(path, sizeof(path), "%s/ballast", dir);
        FILE *f = fopen(path, "w");
        char *fill = filler(1 << 20);
        code = f != NULL && fwrite(fill, 1, 1 << 20, f) == 1 << 20 && fclose(f) == 0 ? 0 : 99;
        snprintf(path, sizeof(path), "%s/data", dir);
        code = code == 0 ? fill_real(path, leave_room, remove_ballast) : code;
    }
    return code;
}

static void test_trap16__small_tmpfs__fill_free_go_on(void **state)
{
    (void)state;
    struct tmpdir dir;
    tmpdir_make(&dir, "tmpfs");
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        _exit(in_tmpfs(dir.path));
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    tmpdir_remove(&dir);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == NO_MOUNT) {
        print_message("skipped: mounting a tmpfs is not permitted here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown_rig)
    const struct CMUnitTest tests[] = {
        T(test_trap16__full_disk__refuses_before_anything_changed),
        T(test_trap42__room_comes_back__writes_come_back_20_times),
        T(test_trap16__write_error_after_acceptance__is_undone),
        T(test_faults__one_failed_write__costs_no_other_write),
        cmocka_unit_test(test_trap19__failed_sync_always__nothing_acknowledged_is_lost),
        cmocka_unit_test(test_trap19__failed_sync_everysec__is_written_again_elsewhere),
        cmocka_unit_test(test_trap20__short_and_interrupted_calls__change_nothing),
        cmocka_unit_test(test_faults__each_call_fails_once__nothing_promised_is_lost),
        cmocka_unit_test(test_faults__disk_fails_from_each_call_on__nothing_promised_is_lost),
        cmocka_unit_test(test_faults__disk_full_from_each_call_on__nothing_promised_is_lost),
        T(test_trap35__close_with_a_failing_disk__says_so),
        cmocka_unit_test(test_trap16__file_size_limit__is_a_full_disk),
        cmocka_unit_test(test_trap16__small_tmpfs__fill_free_go_on),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
