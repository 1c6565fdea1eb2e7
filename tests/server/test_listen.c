/* SPDX-License-Identifier: MIT */
/* Where the server listens, who may come in, and how it ends. */
#include "base/error.h"
#include "lib/expect.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH_SIZE 256

static struct server server;

static int setup_none(void **state)
{
    (void)state;
    server = (struct server){.redis = false};
    return 0;
}

static int teardown_server(void **state)
{
    (void)state;
    server_fini(&server);
    return 0;
}

static void set_options(struct server *s, const char *const *options)
{
    size_t i = 0;
    for (; options[i] != NULL; i++) {
        s->options[i] = options[i];
    }
    s->options[i] = NULL;
}
#define OPTIONS(s, ...) set_options(s, (const char *const[]){__VA_ARGS__, NULL})

static void test_listen__unix_socket__serves_with_its_permissions(void **state)
{
    (void)state;
    char path[PATH_SIZE];
    struct stat st;
    tmpdir_make(&server.dir, "server");
    tmpdir_join(&server.dir, "s", path, sizeof path);
    OPTIONS(&server, "--unixsocket", path, "--unixsocketperm", "700");
    assert_true(server_start(&server));
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0700);
    struct respc *c = respc_connect_unix(path);
    assert_non_null(c);
    expect_reply(c, "+OK", "SET", "k", "v", NULL);
    expect_reply(c, "$\"v\"", "GET", "k", NULL);
    respc_close(&c);
    /* A socket file that a dead server has left behind is no hindrance. */
    assert_int_equal(server_signal(&server, SIGKILL), -SIGKILL);
    assert_int_equal(stat(path, &st), 0);
    assert_true(server_start(&server));
    c = respc_connect_unix(path);
    assert_non_null(c);
    expect_reply(c, "$\"v\"", "GET", "k", NULL);
    respc_close(&c);
    assert_int_equal(server_stop(&server), 0);
    assert_int_not_equal(stat(path, &st), 0);
}

static bool has_ipv6(void)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool yes = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return yes;
}

static void test_listen__several_addresses__all_serve(void **state)
{
    (void)state;
    static const char *const hosts[] = {"127.0.0.1", "127.0.0.2", "::1"};
    size_t n = has_ipv6() ? 3 : 2;
    OPTIONS(&server, "--bind", hosts[0], hosts[1], n == 3 ? hosts[2] : NULL);
    assert_true(server_start(&server));
    for (size_t i = 0; i < n; i++) {
        struct respc *c = respc_connect(hosts[i], server.port);
        assert_non_null(c);
        expect_reply(c, "+PONG", "PING", NULL);
        respc_close(&c);
    }
    struct respc *none = respc_connect("127.0.0.3", server.port);
    assert_null(none);
    expect_clean_stop(&server);
}

static void test_listen__port_in_use__exits_1_with_the_reason(void **state)
{
    (void)state;
    struct server second = {.no_wait = true};
    char port[16];
    assert_true(server_start(&server));
    snprintf(port, sizeof port, "%d", server.port);
    OPTIONS(&second, "--port", port);
    assert_true(server_start(&second));
    int status = server_wait(&second);
    bool told = server_log_has(&second, "already in use") && server_log_has(&second, port);
    if (!told) {
        server_show_log(&second);
    }
    server_fini(&second);
    assert_int_equal(status, 1);
    assert_true(told);
    expect_clean_stop(&server);
}

static void test_listen__directory_in_use__exits_1_with_the_reason(void **state)
{
    (void)state;
    struct server second = {.no_wait = true};
    char dir[PATH_SIZE];
    assert_true(server_start(&server));
    tmpdir_join(&server.dir, "data", dir, sizeof dir);
    OPTIONS(&second, "--dir", dir);
    assert_true(server_start(&second));
    int status = server_wait(&second);
    bool told = server_log_has(&second, dir);
    server_fini(&second);
    assert_int_equal(status, 1);
    assert_true(told);
    struct respc *c = expect_connection(&server);
    expect_reply(c, "+PONG", "PING", NULL);
    respc_close(&c);
    expect_clean_stop(&server);
}

/* Ended by sig with a client still there; what was acknowledged is found again. */
static void check_end(int sig, int want)
{
    char key[16];
    snprintf(key, sizeof key, "k%d", sig);
    assert_true(server_start(&server));
    struct respc *c = expect_connection(&server);
    struct respc *half = expect_connection(&server);
    expect_reply(c, "+OK", "SET", key, "v", NULL);
    assert_true(respc_send(half, "*3\r\n$3\r\nSET\r\n$1\r\n", 17));
    expect_reply(c, "+PONG", "PING", NULL);
    int status = server_signal(&server, sig);
    if (status != want) {
        server_show_log(&server);
    }
    assert_int_equal(status, want);
    expect_closed(c);
    respc_close(&c);
    respc_close(&half);
    assert_true(server_start(&server));
    c = expect_connection(&server);
    expect_reply(c, "$\"v\"", "GET", key, NULL);
    respc_close(&c);
    assert_int_equal(server_stop(&server), 0);
}

static void test_listen__sigterm_and_sigint__finish_and_exit_0(void **state)
{
    (void)state;
    check_end(SIGTERM, 0);
    check_end(SIGINT, 0);
}

static void test_listen__kill_9__loses_nothing_acknowledged(void **state)
{
    (void)state;
    check_end(SIGKILL, -SIGKILL);
}

static void test_listen__sigterm_under_load__every_reply_is_true(void **state)
{
    (void)state;
    enum { N = 20000 };
    struct bk_buf b = {0};
    struct bk_buf got = {0};
    assert_true(server_start(&server));
    struct respc *c = expect_connection(&server);
    expect_reply(c, ":1", "INCR", "n", NULL);
    for (int i = 0; i < N; i++) {
        respc_format(&b, "INCR", "n", NULL);
    }
    assert_true(respc_send(c, b.data, b.len));
    assert_int_equal(kill(server.pid, SIGTERM), 0);
    assert_true(respc_read_to_end(c, &got));
    assert_int_equal(server_wait(&server), 0);
    /* The last whole reply is the count that a restart must at least show. */
    *bk_buf_reserve(&got, 1) = '\0';
    long last = 1;
    for (char *at = (char *)got.data; (at = strchr(at, ':')) != NULL && strstr(at, "\r\n") != NULL;
         at++) {
        last = strtol(at + 1, NULL, 10);
    }
    respc_close(&c);
    assert_true(server_start(&server));
    c = expect_connection(&server);
    struct reply *r = respc_command(c, "GET", "n", NULL);
    assert_non_null(r);
    assert_true(strtol(r->text, NULL, 10) >= last);
    reply_free(&r);
    respc_close(&c);
    bk_buf_fini(&b);
    bk_buf_fini(&got);
    expect_clean_stop(&server);
}

static void test_listen__clients_that_vanish__do_not_hurt(void **state)
{
    (void)state;
    assert_true(server_start(&server));
    struct respc *other = expect_connection(&server);
    struct bk_buf b = {0};
    for (int i = 0; i < 20000; i++) {
        respc_format(&b, "ECHO", "some bytes to be sent back", NULL);
    }
    long before = server_descriptors(&server);
    for (int i = 0; i < 30; i++) {
        struct respc *c = expect_connection(&server);
        bk_ignore(respc_exchange(c, b.data, b.len / (size_t)(i % 7 + 1), 1) ? 0 : 1,
                  "any part will do");
        respc_close(&c); /* with replies unread: the server's next write fails */
        expect_reply(other, "+PONG", "PING", NULL);
    }
    /* The last one's end may be a tick away: its place is free when a new client's number is the
     * same. */
    long now = -1;
    for (int i = 0; i < 100000 && now != before; i++) {
        expect_reply(other, "+PONG", "PING", NULL);
        now = server_descriptors(&server);
    }
    assert_int_equal(now, before);
    bk_buf_fini(&b);
    respc_close(&other);
    expect_clean_stop(&server);
}

static void check_mode(const char *name, mode_t wanted)
{
    char path[PATH_SIZE];
    struct stat st;
    tmpdir_join(&server.dir, name, path, sizeof path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, wanted);
}

static void test_listen__data_directory__is_made_for_the_owner_and_group(void **state)
{
    (void)state;
    char dir[PATH_SIZE];
    char name[PATH_SIZE];
    mode_t old = umask(0);
    tmpdir_make(&server.dir, "server");
    tmpdir_join(&server.dir, "fresh", dir, sizeof dir);
    OPTIONS(&server, "--dir", dir);
    bool started = server_start(&server);
    umask(old);
    assert_true(started);
    check_mode("fresh", 0750);
    snprintf(name, sizeof name, "fresh/MANIFEST");
    check_mode(name, 0640);
    expect_clean_stop(&server);
}

/* ---- Protected mode: in a network of our own, so that an address that is not loopback's lies on
 * no wire ---- */

#define OUTSIDE "10.99.0.1"
enum { SKIPPED = 77 };

static bool enter_own_network(void)
{
    struct ifreq r = {.ifr_name = "lo"};
    if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
        return false;
    }
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    r.ifr_flags = IFF_UP | IFF_RUNNING | IFF_LOOPBACK;
    bool done = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &r) == 0;
    union {
        struct sockaddr any;
        struct sockaddr_in in;
    } a = {.in = {.sin_family = AF_INET}};
    inet_pton(AF_INET, OUTSIDE, &a.in.sin_addr);
    snprintf(r.ifr_name, sizeof r.ifr_name, "lo:1");
    r.ifr_addr = a.any;
    done = done && ioctl(fd, SIOCSIFADDR, &r) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return done;
}

/* What a client from outside is told before it has said anything; NUL-terminated. */
static bool greeting(const struct server *s, struct bk_buf *out)
{
    struct respc *c = respc_connect(OUTSIDE, s->port);
    bool ended = c != NULL && respc_read_to_end(c, out);
    respc_close(&c);
    *bk_buf_reserve(out, 1) = '\0';
    return ended;
}

static bool outside_gets(const struct server *s, const char *prefix)
{
    struct respc *c = respc_connect(OUTSIDE, s->port);
    struct reply *r = c != NULL ? respc_command(c, "PING", NULL) : NULL;
    bool as_wanted = r != NULL && strncmp(r->text, prefix, strlen(prefix)) == 0;
    reply_free(&r);
    respc_close(&c);
    return as_wanted;
}

static bool set_inside(const struct server *s, const char *name, const char *value)
{
    struct respc *c = server_connect(s);
    struct reply *r = respc_command(c, "CONFIG", "SET", name, value, NULL);
    bool done = r != NULL && r->type == '+';
    reply_free(&r);
    respc_close(&c);
    return done;
}

static int check_protected(struct server *ours, struct server *redis)
{
    struct bk_buf mine = {0};
    struct bk_buf theirs = {0};
    OPTIONS(ours, "--bind", "127.0.0.1", OUTSIDE);
    OPTIONS(redis, "--bind", "127.0.0.1", OUTSIDE);
    bool ok = server_start(ours) && server_start(redis);
    ok = ok && greeting(ours, &mine) && greeting(redis, &theirs);
    if (ok && !bk_span_eq(bk_buf_span(&mine), bk_buf_span(&theirs))) {
        fprintf(stderr, "redis: %s\nbitkv: %s\n", (char *)theirs.data, (char *)mine.data);
        ok = false;
    }
    ok = ok && theirs.len > 500;
    ok = ok && set_inside(ours, "protected-mode", "no") && outside_gets(ours, "PONG");
    ok = ok && set_inside(ours, "protected-mode", "yes") && outside_gets(ours, "DENIED");
    ok = ok && set_inside(ours, "requirepass", "pw") && outside_gets(ours, "NOAUTH");
    bk_buf_fini(&mine);
    bk_buf_fini(&theirs);
    return ok ? 0 : 1;
}

static int protected_main(void)
{
    struct server ours = {.redis = false};
    struct server redis = {.redis = true};
    if (!enter_own_network()) {
        return SKIPPED;
    }
    int rc = check_protected(&ours, &redis);
    if (ours.pid != 0 && server_stop(&ours) != 0) {
        rc = 1;
    }
    server_fini(&ours);
    server_fini(&redis);
    return rc;
}

static void test_listen__protected_mode__keeps_strangers_out_as_redis_does(void **state)
{
    (void)state;
    int status = 0;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        _exit(protected_main());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == SKIPPED) {
        print_message("no network namespaces here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup_none, teardown_server)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_listen__unix_socket__serves_with_its_permissions),
        CASE(test_listen__several_addresses__all_serve),
        CASE(test_listen__port_in_use__exits_1_with_the_reason),
        CASE(test_listen__directory_in_use__exits_1_with_the_reason),
        CASE(test_listen__sigterm_and_sigint__finish_and_exit_0),
        CASE(test_listen__kill_9__loses_nothing_acknowledged),
        CASE(test_listen__sigterm_under_load__every_reply_is_true),
        CASE(test_listen__clients_that_vanish__do_not_hurt),
        CASE(test_listen__data_directory__is_made_for_the_owner_and_group),
        CASE(test_listen__protected_mode__keeps_strangers_out_as_redis_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
