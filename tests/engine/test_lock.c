/* SPDX-License-Identifier: MIT */
/* test_lock.c - trap 22: one opener of a directory at a time; a dead one leaves nothing that blocks
 * the next. */
#include "engine/io.h"
#include "engine_test.h"
#include "lib/smallfs.h"
#include "lib/tmpdir.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct place {
    struct tmpdir dir;
    struct bk_options opt;
};

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    tmpdir_make(&p->dir, "lock");
    bk_options_init(&p->opt);
    p->opt.dir = p->dir.path;
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    tmpdir_remove(&p->dir);
    free(p);
    return 0;
}

/* A child that opens the store, writes one key unless it only reads, says so, and waits to be
 * killed. */
static pid_t start_holder(struct place *p)
{
    int pipe_fd[2];
    char ready = 0;
    assert_int_equal(pipe(pipe_fd), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct bk_db *db = NULL;
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody behind */
        bool ok = bk_open(&db, &p->opt, NULL) == BK_OK &&
                  (p->opt.read_only ||
                   bk_put(db, 0, bk_span_str("k"), bk_span_str("of the child"), 0) == BK_OK);
        ready = ok ? 'y' : 'n';
        if (write(pipe_fd[1], &ready, 1) != 1) {
            _exit(1);
        }
        for (;;) {
            pause();
        }
    }
    assert_int_equal(read(pipe_fd[0], &ready, 1), 1);
    assert_int_equal(ready, 'y');
    close(pipe_fd[0]);
    close(pipe_fd[1]);
    return pid;
}

static void kill_holder(pid_t pid)
{
    int status = 0;
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
}

static void expect_held_by(struct place *p, pid_t pid)
{
    struct bk_error err = {0};
    struct bk_db *db = NULL;
    char text[64];
    assert_int_equal(bk_open(&db, &p->opt, &err), BK_ELOCKED);
    assert_null(db);
    snprintf(text, sizeof(text), "process %ld has this directory open", (long)pid);
    assert_string_equal(err.text, text);
}

static void test_trap22__second_open_in_another_process__is_refused_with_the_pid(void **state)
{
    struct place *p = *state;
    pid_t pid = start_holder(p);
    expect_held_by(p, pid);
    kill_holder(pid);
}

/* Readers write nothing, and LOCK still has the pid of the writer before them. Who was refused has
 * LOCK open too, but holds nothing. */
static void test_lock__held_by_readers__one_that_is_left_is_named(void **state)
{
    struct place *p = *state;
    char path[200];
    kill_holder(start_holder(p));
    p->opt.read_only = true;
    pid_t first = start_holder(p);
    pid_t second = start_holder(p);
    p->opt.read_only = false;
    tmpdir_join(&p->dir, "LOCK", path, sizeof(path));
    int looks_on = open(path, O_RDWR | O_CLOEXEC);
    assert_true(looks_on >= 0);
    kill_holder(first);
    expect_held_by(p, second);
    kill_holder(second);
    close(looks_on);
}

/* As in a container, whose processes have other numbers inside. */
static void test_lock__pid_in_the_file_is_wrong__the_holder_is_named(void **state)
{
    struct place *p = *state;
    char path[200];
    pid_t pid = start_holder(p);
    tmpdir_join(&p->dir, "LOCK", path, sizeof(path));
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    fprintf(f, "%-15ld\n", 1L);
    assert_int_equal(fclose(f), 0);
    expect_held_by(p, pid);
    kill_holder(pid);
}

static void test_trap22__kill_dash_9__next_open_needs_no_clean_up(void **state)
{
    struct place *p = *state;
    struct bk_error err = {0};
    for (int i = 0; i < 3; i++) {
        struct bk_db *db = NULL;
        struct bk_buf got = {0};
        kill_holder(start_holder(p));
        BK_SUCCEEDS(bk_open(&db, &p->opt, &err), err);
        assert_int_equal(bk_get(db, 0, bk_span_str("k"), &got, NULL), BK_OK);
        assert_true(bk_span_eq(bk_buf_span(&got), bk_span_str("of the child")));
        bk_buf_fini(&got);
        BK_SUCCEEDS(bk_close(&db, &err), err);
    }
}

static void test_trap22__second_open_in_one_process__is_refused(void **state)
{
    struct place *p = *state;
    struct bk_error err = {0};
    struct bk_db *db = NULL;
    struct bk_db *second = NULL;
    BK_SUCCEEDS(bk_open(&db, &p->opt, &err), err);
    assert_int_equal(bk_open(&second, &p->opt, &err), BK_ELOCKED);
    assert_null(second);
    /* The refused one has not let go of the first one's lock, as a POSIX record lock would. */
    assert_int_equal(bk_open(&second, &p->opt, &err), BK_ELOCKED);
    BK_SUCCEEDS(bk_close(&db, &err), err);
    BK_SUCCEEDS(bk_open(&db, &p->opt, &err), err);
    BK_SUCCEEDS(bk_close(&db, &err), err);
}

/* A lock file with the pid of a process that lives (ours) but holds no lock does not block anybody.
 */
static void test_trap22__stale_pid_in_the_lock_file__does_not_block(void **state)
{
    struct place *p = *state;
    struct bk_error err = {0};
    struct bk_db *db = NULL;
    char path[200];
    tmpdir_join(&p->dir, "LOCK", path, sizeof(path));
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "%ld\n", (long)getpid());
    assert_int_equal(fclose(f), 0);
    BK_SUCCEEDS(bk_open(&db, &p->opt, &err), err);
    BK_SUCCEEDS(bk_close(&db, &err), err);
}

/* A program that the opener starts must not inherit the lock, or any file: close-on-exec. */
static void test_trap22__program_started_by_the_opener__inherits_nothing(void **state)
{
    struct place *p = *state;
    struct bk_error err = {0};
    struct bk_db *db = NULL;
    BK_SUCCEEDS(bk_open(&db, &p->opt, &err), err);
    assert_int_equal(bk_put(db, 0, bk_span_str("k"), bk_span_str("v"), 0), BK_OK);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char script[300];
        snprintf(script, sizeof(script), "! ls -l /proc/self/fd | grep -q '%s'", p->dir.path);
        execl("/bin/sh", "sh", "-c", script, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    BK_SUCCEEDS(bk_close(&db, &err), err);
}

/* ---- A full disk ---- */

enum outcome { OUTCOME_OK, OUTCOME_FAILED, OUTCOME_NO_MOUNT };

/* Bytes until no more fit, a page at a time. */
static void fill_up(const struct place *p)
{
    static const uint8_t page[4096];
    char path[300];
    tmpdir_join(&p->dir, "ballast", path, sizeof(path));
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    while (write(fd, page, sizeof(page)) > 0) {
    }
    close(fd);
}

/* In a process of its own, since the mount is its alone: a store in a directory that is full runs
 * through steps. */
static void on_full_disk(struct place *p, bool (*steps)(struct place *p))
{
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const char *why = NULL;
        if (!smallfs_enter(&why) ||
            !smallfs_mount(SMALLFS_TMPFS, p->dir.path, (uint64_t)1 << 20, NULL, &why)) {
            print_error("%s\n", why);
            _exit(OUTCOME_NO_MOUNT);
        }
        _exit(steps(p) ? OUTCOME_OK : OUTCOME_FAILED);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == OUTCOME_NO_MOUNT) {
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), OUTCOME_OK);
}

/* Opens LOCK as a store does, while the disk is full; who comes second is told so. */
static bool lock_twice(struct place *p, long wanted_holder)
{
    const struct bk_io *io = &bk_io_system;
    char path[300];
    long holder = 0;
    tmpdir_join(&p->dir, "LOCK", path, sizeof(path));
    int lock = io->lock(io->arg, path, &holder);
    if (lock < 0) {
        print_error("lock: %s\n", strerror(-lock));
        return false;
    }
    bool ok = true;
    for (int shared = 0; shared < 2; shared++) {
        int rc =
            shared ? io->lock_shared(io->arg, path, &holder) : io->lock(io->arg, path, &holder);
        ok = ok && rc == -EWOULDBLOCK && holder == wanted_holder;
    }
    if (!ok) {
        print_error("the holder is said to be %ld, not %ld\n", holder, wanted_holder);
    }
    return io->unlock(io->arg, lock) == 0 && ok;
}

static bool take_missing_lock(struct place *p)
{
    fill_up(p);
    return lock_twice(p, (long)getpid());
}

static void test_lock__missing_on_a_full_disk__names_its_holder(void **state)
{
    on_full_disk(*state, take_missing_lock);
}

/* As a copy without its LOCK, in which nothing can be written but what is there can be read. */
static bool open_copy(struct place *p)
{
    struct bk_error err = {0};
    struct bk_db *db = NULL;
    struct bk_buf got = {0};
    char path[300];
    bool ok = bk_open(&db, &p->opt, &err) == BK_OK &&
              bk_put(db, 0, bk_span_str("k"), bk_span_str("v"), 0) == BK_OK &&
              bk_close(&db, &err) == BK_OK;
    tmpdir_join(&p->dir, "LOCK", path, sizeof(path));
    ok = ok && unlink(path) == 0;
    fill_up(p);
    ok = ok && bk_open(&db, &p->opt, &err) == BK_OK &&
         bk_get(db, 0, bk_span_str("k"), &got, NULL) == BK_OK && bk_close(&db, &err) == BK_OK;
    if (!ok) {
        print_error("%s (%s): %s\n", err.text, err.path, strerror(err.sys_errno));
    }
    bk_buf_fini(&got);
    return ok;
}

static void test_lock__missing_on_a_full_disk__store_opens(void **state)
{
    on_full_disk(*state, open_copy);
}

/* The block that it has serves again. */
static bool take_old_lock(struct place *p)
{
    char path[300];
    tmpdir_join(&p->dir, "LOCK", path, sizeof(path));
    FILE *f = fopen(path, "w");
    if (f == NULL || fputs("1234567\n", f) < 0 || fclose(f) != 0) {
        return false;
    }
    fill_up(p);
    return lock_twice(p, (long)getpid()) && lock_twice(p, (long)getpid());
}

static void test_lock__there_on_a_full_disk__names_its_holder(void **state)
{
    on_full_disk(*state, take_old_lock);
}

/* A snapshot whose making was cut off may be just what fills the disk. */
static bool remove_leftover(struct place *p)
{
    struct bk_error err = {0};
    char dir[200];
    char file[300];
    tmpdir_join(&p->dir, "snap", dir, sizeof(dir));
    snprintf(file, sizeof(file), "%s/0000000001.data", dir);
    if (mkdir(dir, 0700) != 0 || close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)) != 0) {
        return false;
    }
    fill_up(p);
    int rc = bk_snapshot_remove(NULL, dir, &err);
    if (rc != BK_OK) {
        print_error("%s: %s\n", err.text, strerror(err.sys_errno));
    }
    return rc == BK_OK && access(dir, F_OK) != 0;
}

static void test_lock__leftover_on_a_full_disk__is_removed(void **state)
{
    on_full_disk(*state, remove_leftover);
}

/* A failed open holds nothing: not the lock, not a file. */
static void test_lock__failed_open__holds_nothing(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 3, BK_SYNC_ALWAYS);
    RIG_TRUE(&r, rig_open(&r) == BK_OK);
    assert_int_equal(rig_put(&r, "k", "v"), BK_OK);
    assert_int_equal(rig_close(&r), BK_OK);
    uint64_t n = 1;
    for (bool failed = true; failed; n++) {
        simdisk_fail(r.disk, SIMDISK_ANY & ~(unsigned)(SIMDISK_CLOSE | SIMDISK_UNLOCK), n, 1, 5);
        int rc = rig_open(&r);
        failed = simdisk_failed(r.disk) > 0;
        simdisk_fail(r.disk, 0, 0, 0, 0);
        if (rc == BK_OK) {
            assert_int_equal(rig_close(&r), BK_OK);
        }
        assert_int_equal(simdisk_handles(r.disk), 0);
        RIG_TRUE(&r, rig_open(&r) == BK_OK);
        RIG_TRUE(&r, rig_same(&r));
        assert_int_equal(rig_close(&r), BK_OK);
    }
    assert_true(n > 5);
    rig_fini(&r);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_trap22__second_open_in_another_process__is_refused_with_the_pid),
        T(test_lock__held_by_readers__one_that_is_left_is_named),
        T(test_lock__pid_in_the_file_is_wrong__the_holder_is_named),
        T(test_trap22__kill_dash_9__next_open_needs_no_clean_up),
        T(test_trap22__second_open_in_one_process__is_refused),
        T(test_trap22__stale_pid_in_the_lock_file__does_not_block),
        T(test_trap22__program_started_by_the_opener__inherits_nothing),
        T(test_lock__missing_on_a_full_disk__names_its_holder),
        T(test_lock__missing_on_a_full_disk__store_opens),
        T(test_lock__there_on_a_full_disk__names_its_holder),
        T(test_lock__leftover_on_a_full_disk__is_removed),
        T(test_lock__failed_open__holds_nothing),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
