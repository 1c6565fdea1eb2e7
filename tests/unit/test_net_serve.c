/* SPDX-License-Identifier: MIT */
/* test_net_serve.c - connections over real sockets and loops, with an executor and a store that the
 * test steers. */
#include "net_rig.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- Plain service ---- */

static void test_net__commands_on_tcp_and_unix__are_answered(void **state)
{
    struct fake *f = *state;
    fake_start(f, 2);
    int a = fake_connect(f);
    int b = fake_connect_unix(f);
    fake_send(a, "ECHO one\r\n*2\r\n$4\r\nECHO\r\n$3\r\ntwo\r\n");
    fake_send(b, "ECHO three\r\n\r\n");
    fake_expect(a, "$3\r\none\r\n$3\r\ntwo\r\n");
    fake_expect(b, "$5\r\nthree\r\n");
    close(a);
    close(b);
    fake_until(f, connected, 0);
}

static void test_net__many_pipelined_commands__keep_their_order(void **state)
{
    struct fake *f = *state;
    struct bk_buf ask = {0};
    struct bk_buf want = {0};
    fake_start(f, 1);
    for (int i = 0; i < 20000; i++) { /* many ticks of 1,024 commands */
        char text[16];
        int n = snprintf(text, sizeof(text), "%d", i);
        bk_buf_printf(&ask, "ECHO %s\r\n", text);
        bk_buf_printf(&want, "$%d\r\n%s\r\n", n, text);
    }
    bk_buf_append(&ask, "", 1);
    bk_buf_append(&want, "", 1);
    int a = fake_connect(f);
    fake_send(a, (const char *)ask.data);
    fake_expect(a, (const char *)want.data);
    close(a);
    bk_buf_fini(&ask);
    bk_buf_fini(&want);
}

/* Replies far beyond what sockets hold, asked for before any is read. */
static void test_net__all_sent_before_any_is_read__never_deadlocks(void **state)
{
    struct fake *f = *state;
    struct bk_buf want = {0};
    fake_start(f, 1);
    int a = fake_connect(f);
    for (int i = 0; i < 40; i++) {
        fake_send(a, "BIG 1000000\r\nECHO x\r\n");
    }
    bk_buf_printf(&want, "$1000000\r\n");
    for (int i = 0; i < 1000000; i++) {
        char c = (char)('a' + i % 23);
        bk_buf_append(&want, &c, 1);
    }
    bk_buf_append(&want, "\r\n$1\r\nx\r\n", 10);
    for (int i = 0; i < 40; i++) {
        fake_expect(a, (const char *)want.data);
    }
    close(a);
    bk_buf_fini(&want);
}

static void test_net__malformed_input__gets_the_error_and_is_closed(void **state)
{
    struct fake *f = *state;
    fake_start(f, 1);
    int a = fake_connect(f);
    fake_send(a, "ECHO a\r\n*1\r\n+bad\r\n");
    fake_expect(a, "$1\r\na\r\n-ERR Protocol error: expected '$', got '+'\r\n");
    fake_expect_closed(a);
    close(a);
}

static void test_net__malformed_input_of_who_wants_no_replies__is_closed_without_a_word(
    void **state)
{
    struct fake *f = *state;
    fake_start(f, 1);
    int a = fake_connect(f);
    fake_send(a, "ECHO a\r\nMUTE\r\n*1\r\n+bad\r\n");
    fake_expect(a, "$1\r\na\r\n");
    fake_expect_closed(a);
    close(a);
}

static void test_net__password_taken_away__ends_the_limits_before_auth(void **state)
{
    struct fake *f = *state;
    static const char eleven[] = "*11\r\n$4\r\nECHO\r\n$1\r\nx\r\n$0\r\n\r\n$0\r\n\r\n$0\r\n\r\n"
                                 "$0\r\n\r\n$0\r\n\r\n$0\r\n\r\n$0\r\n\r\n$0\r\n\r\n$0\r\n\r\n";
    atomic_store(&f->password, true);
    fake_start(f, 1);
    int a = fake_connect(f);
    int b = fake_connect(f);
    fake_until(f, connected, 2);
    fake_send(a, eleven);
    fake_expect(a, "-ERR Protocol error: unauthenticated multibulk length\r\n");
    fake_expect_closed(a);
    atomic_store(&f->password, false);
    fake_send(b, eleven);
    fake_expect(b, "$1\r\nx\r\n");
    close(a);
    close(b);
}

static void test_net__http__is_closed_before_anything_behind_it_runs(void **state)
{
    struct fake *f = *state;
    fake_start(f, 1);
    int a = fake_connect(f);
    int b = fake_connect(f);
    fake_send(a, "*1\r\n$4\r\nPoSt\r\nWRITE\r\n");
    fake_send(b, "GET / HTTP/1.1\r\nHost: x\r\n\r\nWRITE\r\n");
    fake_expect_closed(a);
    fake_expect_closed(b);
    assert_int_equal(atomic_load(&f->tail), 0);
    close(a);
    close(b);
}

/* ---- Limits ---- */

static void test_net__over_maxclients__is_told_and_closed(void **state)
{
    struct fake *f = *state;
    f->cfg.tunables.maxclients = 2;
    fake_start(f, 2);
    int a = fake_connect(f);
    int b = fake_connect_unix(f);
    fake_until(f, connected, 2);
    int c = fake_connect(f);
    fake_expect(c, "-ERR max number of clients reached\r\n");
    fake_expect_closed(c);
    close(a);
    fake_until(f, connected, 1);
    int d = fake_connect(f);
    fake_send(d, "ECHO d\r\n");
    fake_expect(d, "$1\r\nd\r\n");
    close(b);
    close(c);
    close(d);
}

static void test_net__protected_mode__lets_in_loopback_only(void **state)
{
    struct fake *f = *state;
    f->cfg.tunables.protected_mode = true;
    fake_start(f, 1);
    int a = fake_connect(f);
    fake_send(a, "ECHO a\r\n");
    fake_expect(a, "$1\r\na\r\n");
    /* For Redis 7.0 only 127.0.0.1 and ::1 are loopback. */
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002)};
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(f->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int b = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(b, (struct sockaddr *)&from, sizeof(from)), 0);
    assert_int_equal(connect(b, (struct sockaddr *)&to, sizeof(to)), 0);
    fake_expect(b, "-DENIED Redis is running in protected mode because protected mode is enabled");
    struct net_tunables t;
    net_tunables_get(f->net, &t);
    t.protected_mode = false;
    net_tune(f->net, &t);
    close(b);
    b = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(b, (struct sockaddr *)&from, sizeof(from)), 0);
    assert_int_equal(connect(b, (struct sockaddr *)&to, sizeof(to)), 0);
    fake_send(b, "ECHO b\r\n");
    fake_expect(b, "$1\r\nb\r\n");
    close(a);
    close(b);
}

static uint64_t accept_errors(struct fake *f)
{
    struct net_stats s;
    net_stats_get(f->net, &s);
    return s.accept_errors > 0;
}

static void test_net__no_descriptors_left__clients_wait_and_are_served_later(void **state)
{
    struct fake *f = *state;
    struct rlimit was;
    fake_start(f, 1);
    int a = fake_connect(f);
    fake_send(a, "ECHO a\r\n");
    fake_expect(a, "$1\r\na\r\n");
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    int b = socket(AF_INET, SOCK_STREAM, 0); /* the last number that may be used */
    struct rlimit low = {.rlim_cur = (rlim_t)b + 1, .rlim_max = was.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    assert_int_equal(getpeername(a, (struct sockaddr *)&sa, &len), 0);
    assert_int_equal(connect(b, (struct sockaddr *)&sa, len), 0);
    fake_until(f, accept_errors, 1);
    fake_send(a, "ECHO still\r\n");
    fake_expect(a, "$5\r\nstill\r\n");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    fake_send(b, "ECHO b\r\n");
    fake_expect(b, "$1\r\nb\r\n");
    close(a);
    close(b);
}

static uint64_t killed_obuf(struct fake *f)
{
    struct net_stats s;
    net_stats_get(f->net, &s);
    return s.connections_killed_obuf;
}

static uint64_t killed_query(struct fake *f)
{
    struct net_stats s;
    net_stats_get(f->net, &s);
    return s.connections_killed_query;
}

static void test_net__reads_nothing_over_the_output_limit__is_closed(void **state)
{
    struct fake *f = *state;
    f->cfg.tunables.obuf_hard_bytes = 4u << 20;
    fake_start(f, 1);
    int a = fake_connect(f);
    int b = fake_connect(f);
    fake_until(f, connected, 2);
    for (int i = 0; i < 30; i++) {
        fake_send(b, "BIG 1000000\r\n"); /* 30 MB: more than the sockets and the limit hold */
    }
    fake_until(f, killed_obuf, 1);
    fake_until(f, connected, 1);
    fake_send(a, "ECHO a\r\n");
    fake_expect(a, "$1\r\na\r\n");
    close(a);
    close(b);
}

static void test_net__over_the_query_limit__is_closed_without_a_word(void **state)
{
    struct fake *f = *state;
    f->cfg.tunables.query_buffer_bytes = 1u << 20;
    fake_start(f, 1);
    int a = fake_connect(f);
    char *big = malloc(1500001);
    memset(big, 'x', 1500000);
    big[1500000] = '\0';
    fake_send(a, "*2\r\n$4\r\nECHO\r\n$2000000\r\n");
    size_t sent = 0;
    while (sent < 1500000) {
        ssize_t n = send(a, big + sent, 1500000 - sent, MSG_NOSIGNAL);
        if (n <= 0) {
            break; /* it may be closed before all has gone */
        }
        sent += (size_t)n;
    }
    fake_expect_closed(a);
    fake_until(f, killed_query, 1);
    fake_until(f, connected, 0);
    close(a);
    free(big);
}

static void test_net__idle_connection__costs_at_most_two_kib(void **state)
{
    struct fake *f = *state;
    int fd[200];
    fake_start(f, 1);
    for (int i = 0; i < 200; i++) {
        fd[i] = fake_connect(f);
        fake_send(fd[i], "ECHO a\r\n");
        fake_expect(fd[i], "$1\r\na\r\n");
    }
    struct net_stats s;
    for (int i = 0; i < 1000; i++) {
        net_stats_get(f->net, &s);
        if (s.clients_memory <= 200u * 2048) {
            break;
        }
        fake_is_silent(fd[0], 10); /* until the second's work has passed over them */
    }
    assert_true(s.clients_memory <= 200u * 2048);
    for (int i = 0; i < 200; i++) {
        fake_send(fd[i], "ECHO b\r\n");
        fake_expect(fd[i], "$1\r\nb\r\n");
        close(fd[i]);
    }
}

static void test_net__idle_over_timeout__is_closed(void **state)
{
    struct fake *f = *state;
    f->cfg.tunables.timeout_s = 1;
    fake_start(f, 1);
    int a = fake_connect(f);
    fake_send(a, "ECHO a\r\n");
    fake_expect(a, "$1\r\na\r\n");
    fake_expect_closed(a);
    close(a);
}

/* Its reply waits for a commit: who is behind that is the disk. */
static void test_net__waits_longer_than_timeout__is_not_idle(void **state)
{
    struct fake *f = *state;
    f->cfg.tunables.timeout_s = 1;
    atomic_store(&f->commits_at_once, false);
    fake_start(f, 1);
    int waits = fake_connect(f);
    int idle = fake_connect(f);
    fake_send(waits, "WRITE\r\n");
    fake_send(idle, "ECHO a\r\n");
    fake_expect(idle, "$1\r\na\r\n");
    fake_expect_closed(idle);
    fake_commit(f, 10);
    fake_expect(waits, ":10\r\n");
    close(waits);
    close(idle);
}

/* ---- Clients seen by clients, settings, the end ---- */

static void test_net__client_list__shows_all_loops_in_the_order_of_age(void **state)
{
    struct fake *f = *state;
    char text[4096] = "";
    fake_start(f, 3);
    int fd[3];
    for (int i = 0; i < 3; i++) {
        fd[i] = fake_connect(f);
        fake_send(fd[i], "NAME n\r\n");
        fake_expect(fd[i], "+OK\r\n");
    }
    fake_send(fd[1], "LIST\r\n");
    assert_false(fake_is_silent(fd[1], 5000));
    ssize_t n = recv(fd[1], text, sizeof(text) - 1, 0);
    assert_true(n > 0);
    const char *one = strstr(text, "id=1 addr=127.0.0.1:");
    const char *two = strstr(text, "\nid=2 ");
    const char *three = strstr(text, "\nid=3 ");
    assert_non_null(one);
    assert_non_null(two);
    assert_non_null(three);
    assert_true(one < two && two < three);
    assert_non_null(
        strstr(text, " name=n age=0 idle=0 flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 qbuf=0"));
    for (int i = 0; i < 3; i++) {
        close(fd[i]);
    }
}

static void test_net__kill_of_self__answers_first(void **state)
{
    struct fake *f = *state;
    fake_start(f, 1);
    int a = fake_connect(f);
    fake_send(a, "KILL 1\r\nECHO never\r\n");
    fake_expect(a, ":1\r\n");
    fake_expect_closed(a);
    close(a);
}

static void test_net__relisten__moves_to_the_new_addresses_or_changes_nothing(void **state)
{
    static const char *const both[] = {"127.0.0.1", "-::1"};
    static const char *const bad[] = {"127.0.0.1", "192.0.2.1"};
    static const char *const any[] = {"*"};
    struct fake *f = *state;
    struct bk_error err = {0};
    struct net_listen l;
    fake_start(f, 2);
    l = f->cfg.listen;
    int a = fake_connect(f);
    l.bind = bad;
    l.bind_n = 2;
    assert_int_not_equal(net_relisten(f->net, &l, &err), BK_OK);
    int b = fake_connect(f); /* still there */
    fake_send(b, "ECHO b\r\n");
    fake_expect(b, "$1\r\nb\r\n");
    l.bind = any;
    l.bind_n = 1;
    assert_int_equal(net_relisten(f->net, &l, &err), BK_OK);
    l.bind = both;
    l.bind_n = 2;
    assert_int_equal(net_relisten(f->net, &l, &err), BK_OK);
    int c = fake_connect(f);
    fake_send(c, "ECHO c\r\n");
    fake_expect(c, "$1\r\nc\r\n");
    fake_send(a, "ECHO a\r\n"); /* connections do not care */
    fake_expect(a, "$1\r\na\r\n");
    close(a);
    close(b);
    close(c);
}

static void test_net__port_in_use__start_fails_with_the_reason(void **state)
{
    struct fake *f = *state;
    struct net *other = NULL;
    struct bk_error err = {0};
    fake_start(f, 1);
    assert_int_equal(net_new(&other, 1, &err), BK_OK);
    struct net_config cfg = f->cfg;
    cfg.listen.unixsocket = "";
    assert_int_equal(net_start(other, &cfg, NULL, &f->ops, &f->store, &err), BK_EIO);
    assert_int_equal(err.sys_errno, EADDRINUSE);
    net_free(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_net__commands_on_tcp_and_unix__are_answered),
        TEST(test_net__many_pipelined_commands__keep_their_order),
        TEST(test_net__all_sent_before_any_is_read__never_deadlocks),
        TEST(test_net__malformed_input__gets_the_error_and_is_closed),
        TEST(test_net__malformed_input_of_who_wants_no_replies__is_closed_without_a_word),
        TEST(test_net__password_taken_away__ends_the_limits_before_auth),
        /* What came before it in the same tick is not answered; in an earlier one it is. */
        cmocka_unit_test_setup_teardown(test_net__http__is_closed_before_anything_behind_it_runs,
                                        setup, teardown),
        TEST(test_net__over_maxclients__is_told_and_closed),
        TEST(test_net__protected_mode__lets_in_loopback_only),
        TEST(test_net__no_descriptors_left__clients_wait_and_are_served_later),
        TEST(test_net__reads_nothing_over_the_output_limit__is_closed),
        TEST(test_net__over_the_query_limit__is_closed_without_a_word),
        TEST(test_net__idle_connection__costs_at_most_two_kib),
        TEST(test_net__idle_over_timeout__is_closed),
        TEST(test_net__waits_longer_than_timeout__is_not_idle),
        TEST(test_net__client_list__shows_all_loops_in_the_order_of_age),
        TEST(test_net__kill_of_self__answers_first),
        TEST(test_net__relisten__moves_to_the_new_addresses_or_changes_nothing),
        TEST(test_net__port_in_use__start_fails_with_the_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
