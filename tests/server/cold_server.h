/* SPDX-License-Identifier: MIT */
/*
 * cold_server.h - a server whose data files are never in the page cache, and whose reads stand
 * still when the test wants it (lib/preload_read.c); two clients of it.
 */
#ifndef BK_TESTS_COLD_SERVER_H
#define BK_TESTS_COLD_SERVER_H

#include "lib/expect.h"
#include "lib/server.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct server server;
    struct respc *a, *b; /* b: the one that looks on */
    struct tmpdir dir;
    char hold[160]; /* path of the FIFO */
    char mark[160]; /* path of what a read makes that stands */
    int hold_fd;    /* -1: reads are not held */
    const char *library;
};

static inline void preload(struct fixture *f)
{
    static char library[512];
    const char *program = getenv("BITKV_SERVER") != NULL ? getenv("BITKV_SERVER") : TEST_SERVER;
    snprintf(library, sizeof(library) - 64, "%s", program);
    snprintf(strrchr(library, '/'), 64, "/tests/lib/preload_read.so");
    assert_int_equal(access(library, R_OK), 0); /* else nothing would ever be held */
    f->library = library;
}

static inline void start(struct fixture *f)
{
    setenv("READS_HOLD", f->hold, 1);
    setenv("LD_PRELOAD", f->library, 1);
    bool started = server_start(&f->server);
    unsetenv("LD_PRELOAD");
    assert_true(started);
    f->a = expect_connection(&f->server);
    f->b = expect_connection(&f->server);
}

static inline int setup(void **state)
{
    static const char *const options[] = {"--io-threads",    "1",   "--cache-size",   "0",
                                          "--disk-threads",  "4",   "--merge-policy", "never",
                                          "--max-file-size", "16mb"};
    struct fixture *f = calloc(1, sizeof(*f));
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        f->server.options[i] = options[i];
    }
    f->hold_fd = -1;
    tmpdir_make(&f->dir, "cold");
    tmpdir_join(&f->dir, "hold", f->hold, sizeof(f->hold));
    tmpdir_join(&f->dir, "hold.stands", f->mark, sizeof(f->mark));
    preload(f);
    start(f);
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    respc_close(&f->a);
    respc_close(&f->b);
    expect_clean_stop(&f->server);
    tmpdir_remove(&f->dir);
    free(f);
    return 0;
}

/* From here on reads do not end. */
static inline void hold(struct fixture *f)
{
    assert_int_equal(mkfifo(f->hold, 0600), 0);
    f->hold_fd = open(f->hold, O_RDWR | O_CLOEXEC);
    assert_true(f->hold_fd >= 0);
}

/* Those that stand, and all that come. */
static inline void let_go(struct fixture *f)
{
    assert_int_equal(unlink(f->hold), 0);
    unlink(f->mark);
    close(f->hold_fd);
    f->hold_fd = -1;
}

/* A figure of INFO. */
static inline long info(struct fixture *f, const char *name)
{
    struct reply *r = respc_command(f->b, "INFO", "ALL", NULL);
    assert_true(r != NULL && r->text != NULL);
    const char *at = r->text;
    size_t len = strlen(name);
    while (at != NULL && (strncmp(at, name, len) != 0 || at[len] != ':')) {
        at = strchr(at, '\n');
        at = at == NULL ? NULL : at + 1;
    }
    assert_non_null(at);
    long n = strtol(at + len + 1, NULL, 10);
    reply_free(&r);
    return n;
}

/* Until the figure is n; each look is a round trip. */
static inline void until(struct fixture *f, const char *name, long n)
{
    long now = -1;
    for (int i = 0; i < 200000 && now != n; i++) {
        now = info(f, name);
    }
    assert_int_equal(now, n);
}

static inline void send_text(struct respc *c, const char *commands)
{
    assert_true(respc_send(c, commands, strlen(commands)));
}

/* A command of a, whose read then stands still. */
static inline void stands(struct fixture *f, const char *commands)
{
    send_text(f->a, commands);
    until(f, "disk_reads_pending", 1);
    assert_int_equal(info(f, "clients_reading"), 1);
    while (access(f->mark, F_OK) != 0) {
        assert_int_equal(info(f, "disk_reads_pending"), 1);
    }
}

static inline void put(struct fixture *f, const char *key, const char *value)
{
    expect_reply(f->b, "+OK", "SET", key, value, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
