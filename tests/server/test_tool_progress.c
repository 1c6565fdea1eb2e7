/* SPDX-License-Identifier: MIT */
/* test_tool_progress.c - what the offline tool shows on a terminal while something takes long. What
 * takes long is held until it has shown itself: input that stays open, output that nobody takes,
 * links and syncs (lib/preload_read.c). */
#include "tool_test.h"

#include <sys/prctl.h>

#define GOOD "{\"db\":0,\"key\":\"one\",\"value\":\"1\"}\n"
#define NO_BAR "[                    ]   0%, 0 B of "

/* A run of the tool whose standard error is a terminal. */
struct run {
    pid_t pid;
    int master;
};

/* in, out: -1 = the terminal too. */
static struct run run_on_terminal(int in, int out, const char *verb, const char *a, const char *b)
{
    struct run r = {.master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)};
    assert_true(r.master >= 0 && grantpt(r.master) == 0 && unlockpt(r.master) == 0);
    const char *terminal = ptsname(r.master);
    assert_non_null(terminal);
    int slave = open(terminal, O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(slave >= 0);
    r.pid = fork();
    if (r.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody behind */
        dup2(in >= 0 ? in : slave, 0);
        dup2(out >= 0 ? out : slave, 1);
        dup2(slave, 2);
        execl(TEST_TOOL, TEST_TOOL, verb, a, b, (char *)NULL);
        _exit(127);
    }
    close(slave);
    return r;
}

static void expect_shown(const struct run *r, const char *text)
{
    char seen[4096] = "";
    size_t n = 0;
    while (strstr(seen, text) == NULL && n + 1 < sizeof seen) {
        struct pollfd p = {.fd = r->master, .events = POLLIN};
        if (poll(&p, 1, RESPC_PATIENCE_MS) != 1) {
            break;
        }
        ssize_t got = read(r->master, seen + n, sizeof seen - 1 - n);
        if (got <= 0) {
            break; /* it has ended */
        }
        n += (size_t)got;
        seen[n] = '\0';
    }
    if (strstr(seen, text) == NULL) {
        fail_msg("%s is not shown, but: %s", text, seen);
    }
}

static void expect_end(const struct run *r)
{
    int status = -1;
    assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
    close(r->master);
    assert_int_equal(status, 0);
}

/* ---- What is held ---- */

static int hold_fd;

/* Runs that begin now stand still where which says. */
static void hold(const char *which)
{
    char library[512];
    const char *fifo = in_dir("hold");
    snprintf(library, sizeof library - 64, "%s", TEST_TOOL);
    snprintf(strrchr(library, '/'), 64, "/tests/lib/preload_read.so");
    assert_int_equal(access(library, R_OK), 0); /* else nothing would ever be held */
    assert_int_equal(mkfifo(fifo, 0600), 0);
    hold_fd = open(fifo, O_RDWR | O_CLOEXEC);
    assert_true(hold_fd >= 0);
    setenv(which, fifo, 1);
    setenv("LD_PRELOAD", library, 1);
}

static void begin_freely(void)
{
    unsetenv("LINKS_HOLD");
    unsetenv("SYNCS_HOLD");
    unsetenv("LD_PRELOAD");
}

static void let_go(void)
{
    assert_int_equal(unlink(in_dir("hold")), 0);
    close(hold_fd);
}

static int teardown_held(void **state)
{
    begin_freely();
    return teardown_each(state);
}

/* ---- Verbs ---- */

static void test_progress__load_from_a_pipe__shows_bytes(void **state)
{
    (void)state;
    int in[2];
    const char *s = in_dir("s");
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    struct run r = run_on_terminal(in[0], -1, "load", s, NULL);
    assert_int_equal(write(in[1], GOOD, strlen(GOOD)), (int)strlen(GOOD));
    expect_shown(&r, "Loading: ");
    close(in[0]);
    close(in[1]);
    expect_end(&r);
    RUN(0, "get", s, "one");
    OUT("1");
}

static void test_progress__snapshot_and_restore__show_a_bar(void **state)
{
    (void)state;
    const char *s = in_dir("s");
    const char *snap = in_dir("snap");
    fill(s, 1, 100, false);
    hold("LINKS_HOLD");
    struct run r = run_on_terminal(-1, -1, "snapshot", s, snap);
    begin_freely();
    expect_shown(&r, "Copying: " NO_BAR);
    let_go();
    expect_end(&r);
    hold("LINKS_HOLD");
    r = run_on_terminal(-1, -1, "restore", snap, in_dir("r"));
    begin_freely();
    expect_shown(&r, "Restoring: " NO_BAR);
    let_go();
    expect_end(&r);
    assert_true(same_stores(s, in_dir("r")) > 0);
}

/* More than fits into the pipe and into the tool's own buffer. */
static void test_progress__keys_into_a_pipe__shows_a_bar(void **state)
{
    (void)state;
    int out[2];
    char bytes[4096];
    const char *s = in_dir("s");
    fill(s, 2, 1000, false);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_true(fcntl(out[1], F_SETPIPE_SZ, 4096) >= 4096);
    struct run r = run_on_terminal(-1, out[1], "keys", s, NULL);
    close(out[1]);
    expect_shown(&r, "Listing: [");
    expect_shown(&r, " keys");
    while (read(out[0], bytes, sizeof bytes) > 0) {
    }
    close(out[0]);
    expect_end(&r);
}

static void test_progress__closing_waits_for_the_disk__shows_the_time(void **state)
{
    (void)state;
    int in[2];
    const char *s = in_dir("s");
    RUN(0, "put", s, "k", "v");
    hold("SYNCS_HOLD");
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(write(in[1], GOOD, strlen(GOOD)), (int)strlen(GOOD));
    close(in[1]);
    struct run r = run_on_terminal(in[0], -1, "load", s, NULL);
    begin_freely();
    close(in[0]);
    expect_shown(&r, "Closing: 0:0");
    let_go();
    expect_end(&r);
    RUN(0, "get", s, "one");
    OUT("1");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup_each, teardown_held)
    const struct CMUnitTest tests[] = {
        T(test_progress__load_from_a_pipe__shows_bytes),
        T(test_progress__snapshot_and_restore__show_a_bar),
        T(test_progress__keys_into_a_pipe__shows_a_bar),
        T(test_progress__closing_waits_for_the_disk__shows_the_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
