/* SPDX-License-Identifier: MIT */
/* The server as a process: background, supervisors, signals, limits, crashes; and INFO. */
#include "base/error.h"
#include "lib/expect.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH_SIZE 256
#define TEXT_SIZE 8192

static struct server server;
static struct respc *client;

static int setup_none(void **state)
{
    (void)state;
    server = (struct server){.redis = false};
    client = NULL;
    return 0;
}

static int teardown_server(void **state)
{
    (void)state;
    respc_close(&client);
    server_fini(&server);
    return 0;
}

static void set_options(const char *const *options)
{
    size_t i = 0;
    for (; options[i] != NULL; i++) {
        server.options[i] = options[i];
    }
    server.options[i] = NULL;
}
#define OPTIONS(...) set_options((const char *const[]){__VA_ARGS__, NULL})

static void start(void)
{
    assert_true(server_start(&server));
    client = expect_connection(&server);
}

static void stop(void)
{
    respc_close(&client);
    assert_int_equal(server_stop(&server), 0);
}

#define OK(...) expect_reply(client, "+OK", __VA_ARGS__, NULL)
static void expect_option(const char *name, const char *value)
{
    char want[512];
    snprintf(want, sizeof want, "*2 [$\"%s\" $\"%s\"]", name, value);
    expect_reply(client, want, "CONFIG", "GET", name, NULL);
}

/* The text of INFO with up to two sections; "" stands for none. */
static const char *info(const char *one, const char *two)
{
    static char text[4 * TEXT_SIZE];
    struct reply *r = two[0] != '\0'   ? respc_command(client, "INFO", one, two, NULL)
                      : one[0] != '\0' ? respc_command(client, "INFO", one, NULL)
                                       : respc_command(client, "INFO", NULL);
    assert_non_null(r);
    snprintf(text, sizeof text, "%s", r->text);
    reply_free(&r);
    return text;
}

static const char *read_file(const char *path)
{
    static char text[TEXT_SIZE];
    FILE *f = fopen(path, "r");
    size_t n = f != NULL ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = '\0';
    if (f != NULL) {
        fclose(f);
    }
    return text;
}

static int listen_somewhere(int *port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    *port = ntohs(addr.sin_port);
    return fd;
}

static void expect_start_fails(const char *text)
{
    server.no_wait = true;
    assert_true(server_start(&server));
    assert_int_equal(server_wait(&server), 1);
    if (!server_log_has(&server, text)) {
        server_show_log(&server);
        fail_msg("the log does not say: %s", text);
    }
}

/* ---- The process ---- */

static void test_process__port_in_use__ends_the_start(void **state)
{
    (void)state;
    char text[16];
    int port;
    int fd = listen_somewhere(&port);
    snprintf(text, sizeof text, "%d", port);
    OPTIONS("--port", text, "--daemonize", "yes"); /* said before it goes to the background */
    expect_start_fails("Address already in use");
    close(fd);
}

static void test_process__second_server_on_a_directory__ends(void **state)
{
    (void)state;
    start();
    struct server first = server;
    server.no_wait = true;
    assert_true(server_start(&server));
    assert_int_equal(server_wait(&server), 1);
    assert_true(server_log_has(&server, "has this directory open"));
    server = first;
    expect_reply(client, "+PONG", "PING", NULL);
    stop();
}

static void test_process__daemonize__leaves_a_server_and_its_pid_file(void **state)
{
    (void)state;
    char pidfile[PATH_SIZE];
    char log[PATH_SIZE];
    tmpdir_make(&server.dir, "config");
    tmpdir_join(&server.dir, "pid", pidfile, sizeof pidfile);
    tmpdir_join(&server.dir, "own.log", log, sizeof log);
    OPTIONS("--daemonize", "yes", "--pidfile", pidfile, "--logfile", log);
    server.no_wait = true;
    assert_true(server_start(&server));
    /* The starter ends once the server can be used: no waiting here. */
    assert_int_equal(server_wait(&server), 0);
    client = expect_connection(&server);
    OK("SET", "k", "v");
    long pid = strtol(read_file(pidfile), NULL, 10);
    assert_true(pid > 1 && kill((pid_t)pid, 0) == 0);
    char want[64];
    snprintf(want, sizeof want, "\r\nprocess_id:%ld\r\n", pid);
    expect_info_line(client, "server", want);
    bk_ignore(respc_send(client, "SHUTDOWN\r\n", 10) ? 0 : 1, "the end below tells");
    expect_closed(client);
    for (int i = 0; i < 1000 && access(pidfile, F_OK) == 0; i++) {
        poll(NULL, 0, 10);
    }
    assert_int_not_equal(access(pidfile, F_OK), 0);
    for (int i = 0; i < 1000 && strstr(read_file(log), "bye bye") == NULL; i++) {
        poll(NULL, 0, 10);
    }
    assert_non_null(strstr(read_file(log), "bye bye"));
}

/* By a shell that closes its standard error. */
static bool start_without_stderr(void)
{
    char script[PATH_SIZE];
    char was[PATH_SIZE];
    const char *set = getenv("BITKV_SERVER");
    snprintf(was, sizeof was, "%s", set != NULL ? set : "");
    tmpdir_join(&server.dir, "closed", script, sizeof script);
    FILE *f = fopen(script, "we");
    assert_non_null(f);
    assert_true(
        fprintf(f, "#!/bin/sh\nexec '%s' \"$@\" 2>&-\n", was[0] != '\0' ? was : TEST_SERVER) > 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(script, 0700), 0);
    setenv("BITKV_SERVER", script, 1);
    bool started = server_start(&server);
    if (set != NULL) {
        setenv("BITKV_SERVER", was, 1);
    } else {
        unsetenv("BITKV_SERVER");
    }
    return started;
}

/* What the start opens has no number at which going to the background puts something else. */
static void test_process__daemonize_without_stderr__still_hears_signals(void **state)
{
    (void)state;
    char pidfile[PATH_SIZE];
    tmpdir_make(&server.dir, "config");
    tmpdir_join(&server.dir, "pid", pidfile, sizeof pidfile);
    OPTIONS("--daemonize", "yes", "--pidfile", pidfile);
    server.no_wait = true;
    assert_true(start_without_stderr());
    assert_int_equal(server_wait(&server), 0);
    pid_t pid = (pid_t)strtol(read_file(pidfile), NULL, 10);
    assert_true(pid > 1);
    client = expect_connection(&server);
    assert_int_equal(kill(pid, SIGTERM), 0);
    for (int i = 0; i < 1000 && access(pidfile, F_OK) == 0; i++) {
        poll(NULL, 0, 10);
    }
    bool heard = access(pidfile, F_OK) != 0;
    if (!heard) {
        kill(pid, SIGKILL);
    }
    assert_true(heard);
    expect_closed(client);
}

static void expect_notice(int fd, const char *begin)
{
    char text[512];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, RESPC_PATIENCE_MS), 1);
    ssize_t n = recv(fd, text, sizeof text - 1, 0);
    assert_true(n > 0);
    text[n] = '\0';
    assert_int_equal(strncmp(text, begin, strlen(begin)), 0);
}

static void test_process__systemd__is_told_ready_and_stopping(void **state)
{
    (void)state;
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    tmpdir_make(&server.dir, "config");
    tmpdir_join(&server.dir, "notify", addr.sun_path, sizeof addr.sun_path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", addr.sun_path, 1), 0);
    OPTIONS("--supervised", "systemd", "--daemonize", "yes"); /* stays in the foreground */
    start();
    unsetenv("NOTIFY_SOCKET");
    expect_notice(fd, "READY=1\n");
    expect_info_line(client, "server", "\r\nprocess_supervised:systemd\r\n");
    stop();
    expect_notice(fd, "STOPPING=1\n");
    close(fd);
}

static void test_process__signals__end_the_server_or_are_ignored(void **state)
{
    (void)state;
    static const int ends[] = {SIGTERM, SIGINT};
    for (int i = 0; i < 2; i++) {
        start();
        OK("CONFIG", "SET", "appendfsync", "no");
        OK("SET", "k", i == 0 ? "a" : "b");
        kill(server.pid, SIGHUP);
        kill(server.pid, SIGPIPE);
        expect_reply(client, "+PONG", "PING", NULL);
        respc_close(&client);
        assert_int_equal(server_signal(&server, ends[i]), 0);
        assert_true(server_log_has(&server, "bye bye"));
        start();
        expect_reply(client, i == 0 ? "$\"a\"" : "$\"b\"", "GET", "k", NULL);
        stop();
    }
}

/* A client that has asked for more than its socket takes, and reads nothing. */
static void leave_a_reply_unread(void)
{
    bool seen = false;
    expect_reply(client, ":33554433", "SETRANGE", "k", "33554432", "x", NULL);
    assert_true(respc_send(client, "GET k\r\n", 7));
    struct respc *other = expect_connection(&server);
    for (int i = 0; i < 10000 && !seen; i++) {
        struct reply *r = respc_command(other, "CLIENT", "LIST", NULL);
        assert_non_null(r);
        seen = strstr(r->text, "cmd=get") != NULL;
        reply_free(&r);
    }
    assert_true(seen);
    respc_close(&other);
}

static void test_process__client_that_does_not_read__holds_a_shutdown_for_a_bounded_time(void **s)
{
    (void)s;
    OPTIONS("--shutdown-timeout", "1");
    start();
    leave_a_reply_unread();
    assert_int_equal(server_signal(&server, SIGTERM), 0);
    assert_true(server_log_has(&server, "bye bye"));
}

/* A first signal, and its shutdown has begun. */
static void begin_shutdown(int sig)
{
    kill(server.pid, sig);
    for (int i = 0; i < 10000 && !server_log_has(&server, "User requested shutdown"); i++) {
        poll(NULL, 0, 1);
    }
}

/* Starts a server whose hard end may leave threads that nobody has joined: the thread sanitizer is
 * not to count them. */
static void start_without_thread_leaks(void)
{
    const char *set = getenv("TSAN_OPTIONS");
    char was[512];
    char now[600];
    snprintf(was, sizeof was, "%s", set != NULL ? set : "");
    snprintf(now, sizeof now, "%s:report_thread_leaks=0", was);
    assert_int_equal(setenv("TSAN_OPTIONS", now, 1), 0);
    start();
    assert_int_equal(setenv("TSAN_OPTIONS", was, 1), 0);
}

static void test_process__sigint_during_a_shutdown__ends_it_at_once(void **state)
{
    (void)state;
    OPTIONS("--shutdown-timeout", "100000");
    start_without_thread_leaks();
    leave_a_reply_unread();
    begin_shutdown(SIGTERM);
    assert_int_equal(server_signal(&server, SIGINT), 1);
    assert_true(server_log_has(&server, "You insist"));
}

static void test_process__sigterm_during_a_shutdown__leaves_it_in_order(void **state)
{
    (void)state;
    OPTIONS("--shutdown-timeout", "1");
    start();
    leave_a_reply_unread();
    begin_shutdown(SIGINT);
    assert_int_equal(server_signal(&server, SIGTERM), 0);
    assert_true(server_log_has(&server, "bye bye"));
    assert_false(server_log_has(&server, "You insist"));
}

/* As from a terminal and a supervisor: stopped meanwhile, the server sees both at one moment. */
static void test_process__both_signals_together__are_one_request(void **state)
{
    (void)state;
    start();
    OK("SET", "k", "v");
    kill(server.pid, SIGSTOP);
    kill(server.pid, SIGTERM);
    kill(server.pid, SIGINT);
    assert_int_equal(server_signal(&server, SIGCONT), 0);
    assert_true(server_log_has(&server, "bye bye"));
    assert_false(server_log_has(&server, "You insist"));
}

/* From here on the server's syncs do not end, until the FIFO does. */
static int hold_syncs(const char *fifo)
{
    assert_int_equal(mkfifo(fifo, 0600), 0);
    int fd = open(fifo, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* Its snapshot waits for a sync that hangs, and would for ten minutes. */
static void test_process__save_meanwhile__does_not_hold_up_a_shutdown(void **state)
{
    (void)state;
    char fifo[PATH_SIZE];
    char library[2 * PATH_SIZE];
    const char *program = getenv("BITKV_SERVER") != NULL ? getenv("BITKV_SERVER") : TEST_SERVER;
    snprintf(library, sizeof library - 64, "%s", program);
    snprintf(strrchr(library, '/'), 64, "/tests/lib/preload_read.so");
    assert_int_equal(access(library, R_OK), 0);
    tmpdir_make(&server.dir, "save");
    tmpdir_join(&server.dir, "hold", fifo, sizeof fifo);
    setenv("SYNCS_HOLD", fifo, 1);
    setenv("LD_PRELOAD", library, 1);
    OPTIONS("--shutdown-timeout", "1000000");
    bool started = server_start(&server);
    unsetenv("LD_PRELOAD");
    assert_true(started);
    client = expect_connection(&server);
    struct respc *other = expect_connection(&server);
    OK("SET", "k", "v");
    int held = hold_syncs(fifo);
    assert_true(respc_send(client, "SAVE\r\n", 6));
    while (expect_info(other, "everything", "clients_parked:") == 0) {
    }
    respc_close(&other);
    assert_int_equal(kill(server.pid, SIGTERM), 0);
    expect_next(client, "-ERR the snapshot failed, see the log");
    expect_closed(client);
    close(held);
    assert_int_equal(server_wait(&server), 0);
}

static void test_process__descriptor_limit__lowers_maxclients_and_says_so(void **state)
{
    (void)state;
    server.fd_limit = 120;
    OPTIONS("--maxclients", "5000");
    start();
    struct reply *r = respc_command(client, "CONFIG", "GET", "maxclients", NULL);
    assert_non_null(r);
    long clients = strtol(r->elem[1]->text, NULL, 10);
    assert_in_range(clients, 1, 119);
    reply_free(&r);
    char want[192];
    snprintf(want, sizeof want,
             "-ERR CONFIG SET failed (possibly related to argument 'maxclients') - The operating "
             "system is not able to handle the specified number of clients, try with %ld",
             clients);
    r = respc_command(client, "CONFIG", "SET", "maxclients", "6000", NULL);
    assert_non_null(r);
    /* Data files have come meanwhile, so there may be room for fewer. */
    assert_int_equal(strncmp(r->text, want + 1, 140), 0);
    reply_free(&r);
    snprintf(want, sizeof want, "%ld", clients);
    expect_option("maxclients", want);
    stop();
}

static void test_process__crash__leaves_a_report(void **state)
{
    (void)state;
    if (!EXPECT_MEMORY) {
        skip(); /* a sanitizer has its own report */
    }
    start();
    respc_close(&client);
    assert_int_equal(server_signal(&server, SIGSEGV), -SIGSEGV);
    assert_true(server_log_has(&server, "bitkv crashed by signal SIGSEGV"));
    assert_true(server_log_has(&server, "version 0."));
    assert_true(server_log_has(&server, "crash report: end"));
}

/* ---- INFO ---- */

static bool has_section(const char *text, const char *name)
{
    char line[64];
    snprintf(line, sizeof line, "# %s\r\n", name);
    return strstr(text, line) != NULL;
}

static void test_process__info__has_the_sections_that_were_asked_for(void **state)
{
    (void)state;
    start();
    const char *text = info("", "");
    assert_true(has_section(text, "Server") && has_section(text, "Keyspace"));
    assert_true(has_section(text, "Modules") && has_section(text, "Bitkv"));
    assert_false(has_section(text, "Commandstats"));
    text = info("ALL", "");
    assert_true(has_section(text, "Commandstats"));
    assert_false(has_section(text, "Modules"));
    text = info("everything", "");
    assert_true(has_section(text, "Commandstats") && has_section(text, "Modules"));
    text = info("cpu", "Clients");
    assert_true(strncmp(text, "# Clients\r\n", 11) == 0);
    assert_non_null(strstr(text, "\r\n\r\n# CPU\r\n"));
    assert_false(has_section(text, "Server"));
    assert_string_equal(info("nosuch", ""), "");
    text = info("default", "commandstats");
    assert_true(has_section(text, "Commandstats") && has_section(text, "Server"));
    stop();
}

static void test_process__info__counts(void **state)
{
    (void)state;
    start();
    OK("SET", "k", "v", "EX", "1000");
    OK("SET", "l", "v");
    expect_reply(client, "$\"v\"", "GET", "k", NULL);
    expect_reply(client, "$null", "GET", "m", NULL);
    expect_reply(client, "-ERR unknown command 'NOSUCH', with args beginning with: ", "NOSUCH",
                 NULL);
    expect_info_line(client, "keyspace", "db0:keys=2,expires=1,avg_ttl=0\r\n");
    expect_info_line(client, "stats", "\r\nkeyspace_hits:1\r\n");
    expect_info_line(client, "stats", "\r\nkeyspace_misses:1\r\n");
    expect_info_line(client, "clients", "connected_clients:1\r\n");
    expect_info_line(client, "server", "redis_version:7.0.15\r\n");
    expect_info_line(client, "replication", "role:master\r\n");
    expect_info_line(client, "persistence", "\r\naof_last_write_status:ok\r\n");
    expect_info_line(client, "commandstats", "cmdstat_get:calls=2,");
    expect_info_line(client, "bitkv", "\r\nappends:2\r\n");
    expect_reply(client, ":20000001", "SETRANGE", "large", "20000000", "x", NULL);
    unsigned long peak = expect_info(client, "memory", "used_memory_peak:");
    expect_reply(client, ":1", "DEL", "large", NULL);
    OK("CONFIG", "RESETSTAT");
    expect_info_line(client, "stats", "\r\nkeyspace_hits:0\r\n");
    assert_true(expect_info(client, "memory", "used_memory_peak:") >= peak); /* no statistic */
    stop();
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup_none, teardown_server)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_process__port_in_use__ends_the_start),
        CASE(test_process__second_server_on_a_directory__ends),
        CASE(test_process__daemonize__leaves_a_server_and_its_pid_file),
        CASE(test_process__daemonize_without_stderr__still_hears_signals),
        CASE(test_process__systemd__is_told_ready_and_stopping),
        CASE(test_process__signals__end_the_server_or_are_ignored),
        CASE(test_process__client_that_does_not_read__holds_a_shutdown_for_a_bounded_time),
        CASE(test_process__sigint_during_a_shutdown__ends_it_at_once),
        CASE(test_process__sigterm_during_a_shutdown__leaves_it_in_order),
        CASE(test_process__both_signals_together__are_one_request),
        CASE(test_process__save_meanwhile__does_not_hold_up_a_shutdown),
        CASE(test_process__descriptor_limit__lowers_maxclients_and_says_so),
        CASE(test_process__crash__leaves_a_report),
        CASE(test_process__info__has_the_sections_that_were_asked_for),
        CASE(test_process__info__counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
