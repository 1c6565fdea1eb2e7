/* SPDX-License-Identifier: MIT */
/*
 * While the store is being opened: who is answered what, INFO, SIGTERM, SHUTDOWN, a start that
 * fails.
 *
 * What holds the server in that state is a named pipe where it looks for a file: opening it for
 * reading waits until the test opens it for writing.
 */
#include "base/error.h"
#include "lib/expect.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH_SIZE 256
#define LOADING "-LOADING Redis is loading the dataset in memory"
#define LOOK_MS 5

static struct server server;
static struct respc *client;

static int setup(void **state)
{
    (void)state;
    server = (struct server){.no_wait = true};
    client = NULL;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    respc_close(&client);
    server_fini(&server);
    return 0;
}

static void path_of(const char *name, char *out)
{
    char data[PATH_SIZE - 40];
    tmpdir_join(&server.dir, "data", data, sizeof data);
    snprintf(out, PATH_SIZE, "%s/%s", data, name);
}

static void look_again(long *ms)
{
    poll(NULL, 0, LOOK_MS);
    *ms += LOOK_MS;
    assert_true(*ms < RESPC_PATIENCE_MS);
}

static void expect_log(const char *text)
{
    for (long ms = 0; !server_log_has(&server, text);) {
        look_again(&ms);
    }
}

/* Starts a server that comes no further than to the file of this name, and connects. */
static void start_held(const char *name)
{
    char path[PATH_SIZE];
    if (server.dir.path[0] == '\0') {
        tmpdir_make(&server.dir, "server");
    }
    path_of("", path);
    assert_true(mkdir(path, 0750) == 0 || errno == EEXIST);
    path_of(name, path);
    assert_int_equal(mkfifo(path, 0640), 0);
    assert_true(server_start(&server));
    for (long ms = 0; (client = server_connect(&server)) == NULL;) {
        look_again(&ms);
    }
}

/* Waits until the server has come to the file, and lets it go on. */
static void let_go(const char *name)
{
    char path[PATH_SIZE];
    int fd;
    path_of(name, path);
    for (long ms = 0; (fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC)) < 0;) {
        assert_int_equal(errno, ENXIO);
        look_again(&ms);
    }
    close(fd);
}

#define IMAGE "KEYDIR"            /* with no image in it: the records are read then */
#define NOBODYS "0000009999.data" /* looked at, since no manifest names it */

static void expect_loaded(void)
{
    struct reply *r = NULL;
    for (long ms = 0; r == NULL || r->type != '+'; look_again(&ms)) {
        reply_free(&r);
        r = respc_command(client, "PING", NULL);
        assert_non_null(r);
    }
    reply_free(&r);
}

/* ---- Tests ---- */

static void test_loading__commands_without_the_flag__are_refused(void **state)
{
    (void)state;
    start_held(NOBODYS);
    expect_reply(client, LOADING, "PING", NULL);
    expect_reply(client, LOADING, "GET", "k", NULL);
    expect_reply(client, LOADING, "SET", "k", "v", NULL);
    expect_reply(client, LOADING, "DBSIZE", NULL);
    expect_reply(client, LOADING, "FLUSHALL", NULL);
    expect_reply(client, LOADING, "KEYS", "*", NULL);
    expect_reply(client, "-ERR wrong number of arguments for 'get' command", "GET", NULL);
    expect_reply(client, "+OK", "SELECT", "1", NULL);
    expect_reply(client, "$\"hi\"", "ECHO", "hi", NULL);
    expect_reply(client, "+OK", "CLIENT", "SETNAME", "me", NULL);
    expect_reply(client, "+OK", "CONFIG", "SET", "maxmemory", "1gb", "cache-size", "1mb", NULL);
    expect_reply(client, "+OK", "CONFIG", "RESETSTAT", NULL);
    expect_reply(client, "*2 [$\"maxmemory\" $\"1073741824\"]", "CONFIG", "GET", "maxmemory", NULL);
    assert_int_equal(server_signal(&server, SIGKILL), -SIGKILL);
}

static void test_loading__password__is_asked_for_first(void **state)
{
    (void)state;
    server.options[0] = "--requirepass";
    server.options[1] = "secret";
    start_held(NOBODYS);
    expect_reply(client, "-NOAUTH Authentication required.", "GET", "k", NULL);
    expect_reply(client, "+OK", "AUTH", "secret", NULL);
    expect_reply(client, LOADING, "GET", "k", NULL);
    assert_int_equal(server_signal(&server, SIGKILL), -SIGKILL);
}

static void test_loading__info__has_the_fields_of_redis(void **state)
{
    (void)state;
    start_held(NOBODYS);
    expect_info_line(client, "persistence", "\r\nloading:1\r\nasync_loading:0\r\n");
    expect_info_line(client, "persistence", "\r\nloading_start_time:1");
    expect_info_line(client, "persistence", "\r\nloading_total_bytes:0\r\n");
    expect_info_line(client, "persistence", "\r\nloading_loaded_bytes:0\r\n");
    expect_info_line(client, "persistence", "\r\nloading_loaded_perc:0.00\r\n");
    expect_info_line(client, "persistence", "\r\nloading_eta_seconds:");
    /* All of it can be written without a store. */
    struct reply *r = respc_command(client, "INFO", "everything", NULL);
    assert_non_null(strstr(r->text, "# Keyspace\r\n\r\n"));
    reply_free(&r);
    expect_log("Loading: 0.0%, 0 of 0 bytes"); /* each second */
    assert_int_equal(server_signal(&server, SIGKILL), -SIGKILL);
}

static void test_loading__sigterm__ends_the_process_cleanly(void **state)
{
    (void)state;
    start_held(NOBODYS);
    kill(server.pid, SIGTERM);
    expect_log("Received SIGTERM scheduling shutdown");
    expect_log("Loading is called off");
    let_go(NOBODYS);
    assert_int_equal(server_wait(&server), 0);
    assert_false(server_log_has(&server, "Ready to accept connections"));
    assert_true(server_log_has(&server, "bye bye"));
}

static void test_loading__shutdown__ends_the_process_cleanly(void **state)
{
    (void)state;
    start_held(NOBODYS);
    struct bk_buf command = {0};
    respc_format(&command, "SHUTDOWN", NULL);
    assert_true(respc_send(client, command.data, command.len));
    bk_buf_fini(&command);
    expect_log("Loading is called off");
    let_go(NOBODYS);
    expect_closed(client);
    assert_int_equal(server_wait(&server), 0);
    assert_false(server_log_has(&server, "Ready to accept connections"));
}

static void test_loading__store_cannot_be_opened__ends_the_process(void **state)
{
    (void)state;
    start_held(NOBODYS);
    expect_reply(client, LOADING, "PING", NULL);
    let_go(NOBODYS);
    expect_closed(client);
    assert_int_equal(server_wait(&server), 1);
    assert_true(server_log_has(&server, "Could not open the data directory"));
}

/* A load that comes to its end: what was configured meanwhile holds, and the keys are there. */
static void test_loading__done__serves_what_was_stored(void **state)
{
    (void)state;
    server.no_wait = false;
    assert_true(server_start(&server));
    client = expect_connection(&server);
    expect_reply(client, "+OK", "SET", "k", "v", NULL);
    respc_close(&client);
    assert_int_equal(server_signal(&server, SIGKILL), -SIGKILL);
    server.no_wait = true;
    start_held(IMAGE);
    expect_reply(client, LOADING, "GET", "k", NULL);
    expect_reply(client, "+OK", "CONFIG", "SET", "cache-size", "3mb", NULL);
    expect_info_line(client, "persistence", "\r\nloading:1\r\n");
    expect_info_line(client, "persistence", "\r\nloading_total_bytes:");
    let_go(IMAGE);
    expect_loaded();
    expect_reply(client, "$\"v\"", "GET", "k", NULL); /* on the same connection */
    expect_info_line(client, "persistence", "\r\nloading:0\r\n");
    expect_reply(client, "*2 [$\"cache-size\" $\"3145728\"]", "CONFIG", "GET", "cache-size", NULL);
    expect_reply(client, "+OK", "SET", "k", "w", NULL);
    respc_close(&client);
    assert_int_equal(server_stop(&server), 0);
}

/* Called off while records are read: nothing is lost for the next start. */
static void test_loading__called_off__next_start_has_all(void **state)
{
    (void)state;
    server.no_wait = false;
    assert_true(server_start(&server));
    client = expect_connection(&server);
    expect_reply(client, "+OK", "SET", "k", "v", NULL);
    respc_close(&client);
    assert_int_equal(server_signal(&server, SIGKILL), -SIGKILL);
    server.no_wait = true;
    start_held(IMAGE);
    kill(server.pid, SIGINT);
    expect_log("Loading is called off");
    let_go(IMAGE);
    assert_int_equal(server_wait(&server), 0);
    respc_close(&client);
    char path[PATH_SIZE];
    path_of(IMAGE, path);
    unlink(path); /* the pipe, if it is still there */
    server.no_wait = false;
    assert_true(server_start(&server));
    client = expect_connection(&server);
    expect_reply(client, "$\"v\"", "GET", "k", NULL);
    respc_close(&client);
    assert_int_equal(server_stop(&server), 0);
}

/* A port in use is told before anything is read. */
static void test_loading__port_in_use__ends_the_start_first(void **state)
{
    (void)state;
    struct server second = {.no_wait = true};
    char port[16];
    start_held(NOBODYS);
    snprintf(port, sizeof port, "%d", server.port);
    second.options[0] = "--port";
    second.options[1] = port;
    second.options[2] = "--dir";
    char dir[PATH_SIZE];
    path_of("", dir);
    second.options[3] = dir;
    assert_true(server_start(&second));
    assert_int_equal(server_wait(&second), 1);
    assert_true(server_log_has(&second, "Address already in use"));
    server_fini(&second);
    assert_int_equal(server_signal(&server, SIGKILL), -SIGKILL);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_loading__commands_without_the_flag__are_refused),
        TEST(test_loading__password__is_asked_for_first),
        TEST(test_loading__info__has_the_fields_of_redis),
        TEST(test_loading__sigterm__ends_the_process_cleanly),
        TEST(test_loading__shutdown__ends_the_process_cleanly),
        TEST(test_loading__store_cannot_be_opened__ends_the_process),
        TEST(test_loading__done__serves_what_was_stored),
        TEST(test_loading__called_off__next_start_has_all),
        TEST(test_loading__port_in_use__ends_the_start_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
