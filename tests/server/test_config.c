/* SPDX-License-Identifier: MIT */
/* Options of a running server: CONFIG, what takes effect at once, and files that are wrong. */
#include "base/error.h"
#include "lib/expect.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
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
#define SET_FAILS(name, value, text)                                                         \
    expect_reply(client,                                                                     \
                 "-ERR CONFIG SET failed (possibly related to argument '" name "') - " text, \
                 "CONFIG", "SET", name, value, NULL)

static void expect_option(const char *name, const char *value)
{
    char want[512];
    snprintf(want, sizeof want, "*2 [$\"%s\" $\"%s\"]", name, value);
    expect_reply(client, want, "CONFIG", "GET", name, NULL);
}

static void write_file(const char *name, const char *text, char path[PATH_SIZE])
{
    if (server.dir.path[0] == '\0') {
        tmpdir_make(&server.dir, "config");
    }
    tmpdir_join(&server.dir, name, path, PATH_SIZE);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
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

/* ---- CONFIG ---- */

static void test_config__errors__are_redis_s(void **state)
{
    (void)state;
    start();
    SET_FAILS("timeout", "x", "argument couldn't be parsed into an integer");
    SET_FAILS("port", "70000", "argument must be between 0 and 65535 inclusive");
    SET_FAILS("daemonize", "yes", "can't set immutable config");
    SET_FAILS("dir", "/tmp", "can't set protected config");
    SET_FAILS("appendfsync", "x", "argument(s) must be one of the following: everysec, always, no");
    expect_reply(client, "-ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'",
                 "CONFIG", "SET", "timeout", "1", "nosuch", "2", NULL);
    expect_reply(client,
                 "-ERR CONFIG SET failed (possibly related to argument 'timeout') - duplicate "
                 "parameter",
                 "CONFIG", "SET", "timeout", "1", "timeout", "2", NULL);
    expect_option("timeout", "0");
    expect_reply(client, "-ERR The server is running without a config file", "CONFIG", "REWRITE",
                 NULL);
    expect_reply(client, "*0 []", "CONFIG", "GET", "nosuch", NULL);
    stop();
}

static void test_config__names_and_aliases__are_both_shown(void **state)
{
    (void)state;
    start();
    OK("CONFIG", "SET", "slave-priority", "7");
    expect_option("replica-priority", "7");
    expect_option("slave-priority", "7");
    expect_option("use-exit-on-panic", "no");
    expect_reply(client, "*0 []", "CONFIG", "GET", "use-exit-on-pani?", NULL);
    expect_reply(client, "*2 [$\"maxclients\" $\"10000\"]", "CONFIG", "GET", "MAXCLI*",
                 "maxclients", NULL);
    struct reply *r = respc_command(client, "CONFIG", "GET", "*", NULL);
    assert_non_null(r);
    assert_non_null(reply_get(r, "max-file-size"));
    assert_non_null(reply_get(r, "lua-time-limit"));
    assert_true(r->elems > 2 * 190);
    reply_free(&r);
    stop();
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

static void test_config__several_options__are_set_all_or_none(void **state)
{
    (void)state;
    char text[16];
    int port;
    int fd = listen_somewhere(&port);
    start();
    snprintf(text, sizeof text, "%d", port);
    expect_reply(
        client,
        "-ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on "
        "this port. Check server logs.",
        "CONFIG", "SET", "timeout", "77", "port", text, "loglevel", "debug", NULL);
    expect_option("timeout", "0");
    expect_option("loglevel", "notice");
    snprintf(text, sizeof text, "%d", server.port);
    expect_option("port", text);
    struct respc *other = expect_connection(&server); /* still listens where it did */
    expect_reply(other, "+PONG", "PING", NULL);
    respc_close(&other);
    OK("CONFIG", "SET", "timeout", "77", "loglevel", "debug");
    expect_option("timeout", "77");
    expect_option("loglevel", "debug");
    close(fd);
    stop();
}

static void test_config__port__moves_the_listener_at_once(void **state)
{
    (void)state;
    char text[16];
    start();
    int old = server.port;
    server.port = server_free_port();
    snprintf(text, sizeof text, "%d", server.port);
    OK("CONFIG", "SET", "port", text);
    struct respc *other = expect_connection(&server);
    expect_reply(other, "+PONG", "PING", NULL);
    respc_close(&other);
    assert_null(respc_connect("127.0.0.1", old));
    expect_reply(client, "+PONG", "PING", NULL); /* who was there stays */
    stop();
}

static void test_config__requirepass__asks_who_comes_next(void **state)
{
    (void)state;
    start();
    OK("CONFIG", "SET", "requirepass", "a secret");
    struct respc *other = expect_connection(&server);
    expect_reply(other, "-NOAUTH Authentication required.", "GET", "k", NULL);
    expect_reply(other, "-WRONGPASS invalid username-password pair or user is disabled.", "AUTH",
                 "a secre", NULL);
    expect_reply(other, "-WRONGPASS invalid username-password pair or user is disabled.", "AUTH",
                 "somebody", "a secret", NULL);
    expect_reply(other, "+OK", "AUTH", "default", "a secret", NULL);
    expect_reply(other, "$null", "GET", "k", NULL);
    respc_close(&other);
    expect_option("requirepass", "a secret");
    OK("CONFIG", "SET", "requirepass", "");
    other = expect_connection(&server);
    expect_reply(other, "$null", "GET", "k", NULL);
    respc_close(&other);
    stop();
    assert_false(server_log_has(&server, "secret"));
}

static void test_config__maxmemory__refuses_what_needs_memory_at_once(void **state)
{
    (void)state;
    start();
    OK("SET", "k", "v");
    OK("CONFIG", "SET", "maxmemory", "1");
    expect_reply(client, "-OOM command not allowed when used memory > 'maxmemory'.", "SET", "k",
                 "w", NULL);
    expect_reply(client, "$\"v\"", "GET", "k", NULL);
    expect_reply(client, ":1", "DEL", "k", NULL);
    expect_info_line(client, "memory", "\r\nmaxmemory:1\r\n");
    OK("CONFIG", "SET", "maxmemory", "1024gb");
    OK("SET", "k", "w");
    stop();
}

static void test_config__store_options__reach_the_store(void **state)
{
    (void)state;
    start();
    /* What is overwritten must not be merged away while it is counted. */
    OK("CONFIG", "SET", "merge-policy", "never");
    OK("CONFIG", "SET", "appendfsync", "always", "max-file-size", "64kb", "cache-size", "1mb");
    expect_info_line(client, "bitkv", "\r\nappendfsync:always\r\n");
    char value[8192];
    memset(value, 'x', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    for (int i = 0; i < 40; i++) {
        OK("SET", "k", value);
    }
    assert_true(expect_info(client, "bitkv", "\r\nfiles:") > 3); /* 320 KiB in files of 64 */
    stop();
}

static void test_config__enable_debug_command__says_who_may(void **state)
{
    (void)state;
    static const char *const modes[] = {"no", "yes", "local"};
    for (int i = 0; i < 3; i++) {
        OPTIONS("--enable-debug-command", modes[i]);
        start();
        struct reply *r = respc_command(client, "DEBUG", "SLEEP", "0", NULL);
        assert_non_null(r);
        assert_int_equal(r->type, i == 0 ? '-' : '+');
        reply_free(&r);
        stop();
    }
}

/* ---- Files ---- */

static void test_config__rewrite__keeps_the_file_and_a_restart_reads_it(void **state)
{
    (void)state;
    char path[PATH_SIZE];
    write_file("bitkv.conf", "# mine\ntimeout 5\n\nsave 1 1\n", path);
    server.conf = path;
    start();
    expect_option("timeout", "5");
    OK("CONFIG", "SET", "timeout", "6", "cache-size", "5mb", "requirepass", "p \"q");
    OK("CONFIG", "REWRITE");
    const char *text = read_file(path);
    assert_int_equal(
        strncmp(text, "# mine\ntimeout 6\n\nsave 1 1\n# Generated by CONFIG REWRITE\n", 56), 0);
    assert_non_null(strstr(text, "\ncache-size 5mb\n"));
    assert_non_null(strstr(text, "\nrequirepass \"p \\\"q\"\n"));
    stop();
    start();
    expect_reply(client, "+OK", "AUTH", "p \"q", NULL);
    expect_option("timeout", "6");
    expect_option("cache-size", "5242880");
    expect_info_line(client, "server", path);
    stop();
}

/* Clients of different loops at once: each rewrite is whole and succeeds. */
static void test_config__rewrites_at_once__all_succeed(void **state)
{
    (void)state;
    enum { CLIENTS = 4, ROUNDS = 10 };
    static const char rewrite[] = "CONFIG REWRITE\r\n";
    struct respc *c[CLIENTS];
    char path[PATH_SIZE];
    write_file("bitkv.conf", "timeout 5\n", path);
    server.conf = path;
    OPTIONS("--io-threads", "4");
    start();
    for (int i = 0; i < CLIENTS; i++) {
        c[i] = expect_connection(&server);
    }
    for (int i = 0; i < CLIENTS * ROUNDS; i++) {
        assert_true(respc_send(c[i % CLIENTS], rewrite, sizeof rewrite - 1));
    }
    for (int i = 0; i < CLIENTS * ROUNDS; i++) {
        expect_next(c[i % CLIENTS], "+OK");
    }
    for (int i = 0; i < CLIENTS; i++) {
        respc_close(&c[i]);
    }
    assert_int_equal(strncmp(read_file(path), "timeout 5\n", 10), 0);
    stop();
}

static void test_trap43__redis_conf__starts_and_says_what_has_no_effect(void **state)
{
    (void)state;
    char path[PATH_SIZE];
    write_file("redis.conf",
               "always-show-logo no\nappendfilename \"appendonly.aof\"\nsave 900 1\nsave 300 10\n"
               "client-output-buffer-limit replica 256mb 64mb 60\nslave-priority 3\n"
               "rename-command CONFIG \"\"\nlist-max-ziplist-entries 5\ntls-port 0\n",
               path);
    server.conf = path;
    start();
    expect_option("save", "900 1 300 10");
    expect_option("replica-priority", "3");
    stop();
    static const char *const names[] = {"always-show-logo", "appendfilename", "save",
                                        "replica-priority", "rename-command", "tls-port"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char line[128];
        snprintf(line, sizeof line, "Option '%s' is known from Redis and has no effect here",
                 names[i]);
        assert_true(server_log_has(&server, line));
    }
    assert_false(server_log_has(&server, "'client-output-buffer-limit'"));
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

static void test_config__wrong_file__ends_the_start_with_file_and_line(void **state)
{
    (void)state;
    char path[PATH_SIZE];
    char text[PATH_SIZE + 64];
    write_file("bad.conf", "port 0\n\ncache-size 5q\n", path);
    server.conf = path;
    snprintf(text, sizeof text, "Reading the configuration file, at line 3 of '%s'", path);
    expect_start_fails(text);
    assert_true(server_log_has(&server, ">>> 'cache-size 5q'"));
    assert_true(server_log_has(&server, "argument must be a memory value"));
}

static void test_config__unknown_option__ends_the_start(void **state)
{
    (void)state;
    OPTIONS("--nosuch", "1");
    expect_start_fails("Bad directive or wrong number of arguments");
}

static void test_config__environment__lies_between_file_and_command_line(void **state)
{
    (void)state;
    char path[PATH_SIZE];
    write_file("bitkv.conf", "timeout 5\nmaxclients 50\n", path);
    server.conf = path;
    OPTIONS("--databases", "3");
    assert_int_equal(setenv("BITKV_TIMEOUT", "6", 1), 0);
    assert_int_equal(setenv("BITKV_DATABASES", "4", 1), 0);
    start();
    unsetenv("BITKV_TIMEOUT");
    unsetenv("BITKV_DATABASES");
    expect_option("timeout", "6");
    expect_option("maxclients", "50");
    expect_option("databases", "3");
    stop();
}

static void test_config__files__have_their_modes(void **state)
{
    (void)state;
    char path[PATH_SIZE];
    char dir[PATH_SIZE];
    char log[PATH_SIZE];
    struct stat st;
    tmpdir_make(&server.dir, "config");
    tmpdir_join(&server.dir, "made", dir, sizeof dir);
    tmpdir_join(&server.dir, "own.log", log, sizeof log);
    mode_t mask = umask(0);
    OPTIONS("--dir", dir, "--logfile", log);
    start();
    umask(mask);
    expect_option("dir", dir);
    OK("SET", "k", "v");
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0750);
    assert_int_equal(stat(log, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    DIR *d = opendir(dir);
    assert_non_null(d);
    int files = 0;
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (e->d_name[0] != '.') {
            snprintf(path, sizeof path, "%.100s/%.100s", dir, e->d_name);
            assert_int_equal(stat(path, &st), 0);
            assert_int_equal(st.st_mode & 07777, 0640);
            files++;
        }
    }
    closedir(d);
    assert_true(files >= 3);
    stop();
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup_none, teardown_server)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_config__errors__are_redis_s),
        CASE(test_config__names_and_aliases__are_both_shown),
        CASE(test_config__several_options__are_set_all_or_none),
        CASE(test_config__port__moves_the_listener_at_once),
        CASE(test_config__requirepass__asks_who_comes_next),
        CASE(test_config__maxmemory__refuses_what_needs_memory_at_once),
        CASE(test_config__store_options__reach_the_store),
        CASE(test_config__enable_debug_command__says_who_may),
        CASE(test_config__rewrite__keeps_the_file_and_a_restart_reads_it),
        CASE(test_config__rewrites_at_once__all_succeed),
        CASE(test_trap43__redis_conf__starts_and_says_what_has_no_effect),
        CASE(test_config__wrong_file__ends_the_start_with_file_and_line),
        CASE(test_config__unknown_option__ends_the_start),
        CASE(test_config__environment__lies_between_file_and_command_line),
        CASE(test_config__files__have_their_modes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
