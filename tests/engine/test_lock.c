/* SPDX-License-Identifier: MIT */
/* test_lock.c - trap 22: one opener of a directory at a time; a dead one leaves nothing that blocks
 * the next. */
#include "engine_test.h"
#include "lib/tmpdir.h"

#include <signal.h>
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

/* A child that opens the store, writes one key, says so, and waits to be killed. */
static pid_t start_holder(struct place *p)
{
    int pipe_fd[2];
    char ready = 0;
    assert_int_equal(pipe(pipe_fd), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct bk_db *db = NULL;
        bool ok = bk_open(&db, &p->opt, NULL) == BK_OK &&
                  bk_put(db, 0, bk_span_str("k"), bk_span_str("of the child"), 0) == BK_OK;
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

static void test_trap22__second_open_in_another_process__is_refused_with_the_pid(void **state)
{
    struct place *p = *state;
    struct bk_error err = {0};
    struct bk_db *db = NULL;
    char pid_text[32];
    pid_t pid = start_holder(p);
    assert_int_equal(bk_open(&db, &p->opt, &err), BK_ELOCKED);
    assert_null(db);
    snprintf(pid_text, sizeof(pid_text), "%ld", (long)pid);
    assert_non_null(strstr(err.text, pid_text));
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
        T(test_trap22__kill_dash_9__next_open_needs_no_clean_up),
        T(test_trap22__second_open_in_one_process__is_refused),
        T(test_trap22__stale_pid_in_the_lock_file__does_not_block),
        T(test_trap22__program_started_by_the_opener__inherits_nothing),
        T(test_lock__failed_open__holds_nothing),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
