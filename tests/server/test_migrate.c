/* SPDX-License-Identifier: MIT */
/* MIGRATE beside what else a server does: pauses, and descriptors that have run out. What it moves
 * and answers is in tcl-tests/test_migrate.tcl. */
#include "base/error.h"
#include "server/one_server.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* One loop: what it has done for a client has been done for all. */
#define START() start((const char *const[]){"--io-threads", "1", NULL})

/* A listener on a free port of the loopback; its waits end as those of respc.h do. */
static int target_listen(int *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval tv = {.tv_sec = RESPC_PATIENCE_MS / 1000};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

/* The transfer's connection, once something has come. */
static int target_accept(int listener)
{
    char byte;
    int fd = accept(listener, NULL, NULL);
    assert_true(fd >= 0);
    assert_int_equal(recv(fd, &byte, 1, MSG_PEEK), 1);
    return fd;
}

/* A server with a key k, two of its clients, and where k is to go. */
struct fixture {
    struct respc *c, *migrates;
    int listener, port;
};

static void begin(struct fixture *f)
{
    START();
    f->c = expect_connection(&server);
    f->migrates = expect_connection(&server);
    f->listener = target_listen(&f->port);
    expect_reply(f->c, "+OK", "SET", "k", "v", NULL);
}

static void end(struct fixture *f)
{
    close(f->listener);
    respc_close(&f->migrates);
    respc_close(&f->c);
    expect_clean_stop(&server);
}

/* The target has taken the key. */
static void answer(int fd)
{
    assert_int_equal(send(fd, "+OK\r\n+OK\r\n", 10, 0), 10);
}

static void send_migrate(struct respc *c, int port)
{
    struct bk_buf b = {0};
    char text[16];
    snprintf(text, sizeof text, "%d", port);
    respc_format(&b, "MIGRATE", "127.0.0.1", text, "k", "0", "100000", NULL);
    assert_true(respc_send(c, b.data, b.len));
    bk_buf_fini(&b);
}

static void test_migrate__client_pause_meanwhile__deletes_after_its_end(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    send_migrate(f.migrates, f.port);
    int fd = target_accept(f.listener);
    while (expect_info(f.c, "everything", "clients_parked:") == 0) {
    }
    expect_reply(f.c, "+OK", "CLIENT", "PAUSE", "100000000", "WRITE", NULL);
    answer(fd);
    while (expect_info(f.c, "everything", "clients_parked:") != 0) { /* it has seen the answers */
    }
    expect_reply(f.c, ":1", "EXISTS", "k", NULL);
    assert_int_equal(expect_info(f.c, "clients", "blocked_clients:"), 1);
    expect_reply(f.c, "+OK", "CLIENT", "UNPAUSE", NULL);
    expect_next(f.migrates, "+OK");
    expect_reply(f.c, ":0", "EXISTS", "k", NULL);
    close(fd);
    end(&f);
}

static void test_migrate__client_pause_meanwhile__goes_on_when_its_time_is_over(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    send_migrate(f.migrates, f.port);
    int fd = target_accept(f.listener);
    expect_reply(f.c, "+OK", "CLIENT", "PAUSE", "200", NULL);
    answer(fd);
    expect_next(f.migrates, "+OK");
    expect_reply(f.c, ":0", "EXISTS", "k", NULL);
    close(fd);
    end(&f);
}

/* ---- No descriptors ---- */

/* The server's limit, while it runs: 1 leaves it what it has and nothing new. */
static void limit_descriptors(rlim_t n)
{
    struct rlimit limit;
    assert_int_equal(prlimit(server.pid, RLIMIT_NOFILE, NULL, &limit), 0);
    limit.rlim_cur = n < limit.rlim_max ? n : limit.rlim_max;
    assert_int_equal(prlimit(server.pid, RLIMIT_NOFILE, &limit, NULL), 0);
}

/* Nobody else does anything, so nothing but the clock wakes it. */
static void test_migrate__no_descriptors__ends_at_its_timeout(void **state)
{
    (void)state;
    START();
    struct respc *c = expect_connection(&server);
    expect_reply(c, "+OK", "SET", "k", "v", NULL);
    limit_descriptors(1);
    expect_reply(c, "-IOERR error or timeout connecting to the client", "MIGRATE", "127.0.0.1", "1",
                 "k", "0", "250", NULL);
    expect_reply(c, ":1", "EXISTS", "k", NULL);
    limit_descriptors(RLIM_INFINITY);
    respc_close(&c);
    expect_clean_stop(&server);
}

static void test_migrate__descriptors_come_back__is_begun(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    limit_descriptors(1);
    send_migrate(f.migrates, f.port);
    while (expect_info(f.c, "everything", "clients_parked:") == 0) {
    }
    limit_descriptors(RLIM_INFINITY);
    int fd = target_accept(f.listener);
    answer(fd);
    expect_next(f.migrates, "+OK");
    expect_reply(f.c, ":0", "EXISTS", "k", NULL);
    close(fd);
    end(&f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_none, teardown_server)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_migrate__client_pause_meanwhile__deletes_after_its_end),
        TEST(test_migrate__client_pause_meanwhile__goes_on_when_its_time_is_over),
        TEST(test_migrate__no_descriptors__ends_at_its_timeout),
        TEST(test_migrate__descriptors_come_back__is_begun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
