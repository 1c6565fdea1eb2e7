/* SPDX-License-Identifier: MIT */
/* What a server tells of damage: in a reply, in the log, in INFO, in BITKV DAMAGE; and the server
 * that refuses to start on it. */
#include "base/span.h"
#include "lib/expect.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VALUE "a value that stands in the file once"

static struct server server;
static struct respc *client;

static int setup(void **state)
{
    (void)state;
    server = (struct server){.redis = false};
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

static void start(void)
{
    assert_true(server_start(&server));
    client = expect_connection(&server);
}

/* The store's first data file, and what it begins with. */
static FILE *open_data(char *bytes, size_t size, size_t *n)
{
    char path[400];
    snprintf(path, sizeof(path), "%s/data/0000000001.data", server.dir.path);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    *n = fread(bytes, 1, size, f);
    return f;
}

/* Flips one bit of the text in it. */
static void flip_in(const char *text)
{
    static char bytes[1 << 16];
    size_t n;
    FILE *f = open_data(bytes, sizeof(bytes), &n);
    char *at = memmem(bytes, n, text, strlen(text));
    assert_non_null(at);
    *at ^= 1;
    assert_int_equal(fseek(f, at - bytes, SEEK_SET), 0);
    assert_int_equal(fwrite(at, 1, 1, f), 1);
    assert_int_equal(fclose(f), 0);
}

static void write_and_kill(void)
{
    start();
    expect_reply(client, "+OK", "SET", "good", "value", NULL);
    expect_reply(client, "+OK", "SET", "bad key", "older", NULL);
    expect_reply(client, "+OK", "SET", "bad key", VALUE, NULL);
    expect_reply(client, "+OK", "SET", "behind", "value", NULL);
    respc_close(&client);
    assert_int_equal(server_signal(&server, SIGKILL), -SIGKILL);
}

static void expect_within(const char *text, const char *command, const char *argument)
{
    struct reply *r = respc_command(client, command, argument, NULL);
    assert_non_null(r);
    if (strstr(r->text, text) == NULL) {
        print_error("%s %s: no \"%s\" in:\n%s\n", command, argument, text, r->text);
        fail();
    }
    reply_free(&r);
}

/* Nowhere in the reply. */
static void expect_no_text(const struct reply *r, const char *text)
{
    assert_true(r->text == NULL || strstr(r->text, text) == NULL);
    for (size_t i = 0; i < r->elems; i++) {
        expect_no_text(r->elem[i], text);
    }
}

static void test_damage__a_value__is_told_everywhere(void **state)
{
    (void)state;
    write_and_kill();
    flip_in(VALUE);
    start();
    expect_reply(client, "-ERR the value of this key is damaged on disk", "GET", "bad key", NULL);
    expect_reply(client, "$\"value\"", "GET", "good", NULL);
    expect_reply(client, "$\"value\"", "GET", "behind", NULL);
    expect_within("damaged_records:1\r\n", "INFO", "bitkv");
    expect_reply(client, "+OK", "CONFIG", "SET", "slowlog-log-slower-than", "0", NULL);
    expect_reply(client, "-ERR the value of this key is damaged on disk", "MIGRATE", "127.0.0.1",
                 "1", "bad key", "0", "1000", "AUTH", "a secret", NULL);
    struct reply *slow = respc_command(client, "SLOWLOG", "GET", NULL);
    assert_non_null(slow);
    expect_no_text(slow, "a secret");
    reply_free(&slow);
    expect_within("damaged_bytes:", "INFO", "bitkv");
    expect_within("file=0000000001.data offset=", "BITKV", "DAMAGE");
    expect_within("lost=yes", "BITKV", "DAMAGE");
    expect_within("db=0 key=\"bad\\x20key\"\n", "BITKV", "DAMAGE");
    assert_true(server_log_has(&server, "0000000001.data at offset"));
    assert_true(server_log_has(&server, "key \"bad key\""));
    assert_true(server_log_has(&server, "BITKV DAMAGE lists them"));
    expect_reply(client, "+OK", "SET", "bad key", "new", NULL);
    expect_reply(client, "$\"new\"", "GET", "bad key", NULL);
}

static void test_damage__a_file_in_refuse__ends_the_server_with_words(void **state)
{
    (void)state;
    write_and_kill();
    flip_in(VALUE);
    server.options[0] = "--on-corruption";
    server.options[1] = "refuse";
    server.no_wait = true;
    assert_true(server_start(&server));
    assert_int_equal(server_wait(&server), 1);
    assert_true(server_log_has(&server, "put whole files back from a snapshot"));
    assert_true(server_log_has(&server, "on-corruption serve"));
    server.options[0] = NULL;
    server.no_wait = false;
    start();
    expect_reply(client, "$\"value\"", "GET", "good", NULL);
}

/* What is written to the place of another: a whole record, of another key. */
static void misdirect(const char *from, const char *to)
{
    static char bytes[1 << 16];
    size_t n;
    FILE *f = open_data(bytes, sizeof(bytes), &n);
    char *source = memmem(bytes, n, from, strlen(from));
    char *target = memmem(bytes, n, to, strlen(to));
    assert_true(source != NULL && target != NULL);
    assert_int_equal(fseek(f, target - bytes - 28, SEEK_SET), 0);
    assert_int_equal(fwrite(source - 28, 1, 28 + strlen(from), f), 28 + strlen(from));
    assert_int_equal(fclose(f), 0);
}

static void test_damage__a_record_of_another_key__is_told(void **state)
{
    (void)state;
    start();
    expect_reply(client, "+OK", "SET", "key one", "value", NULL);
    expect_reply(client, "+OK", "SET", "key two", "value", NULL);
    respc_close(&client);
    assert_int_equal(server_stop(&server), 0);
    misdirect("key twovalue", "key onevalue");
    start();
    expect_reply(client, "-ERR the value of this key is damaged on disk", "GET", "key one", NULL);
    expect_reply(client, "$\"value\"", "GET", "key two", NULL);
    expect_within("key=\"key\\x20one\"\n", "BITKV", "DAMAGE");
    assert_true(server_log_has(&server, "key \"key one\""));
    expect_reply(client, "+OK", "SET", "key one", "new", NULL);
    expect_reply(client, "$\"new\"", "GET", "key one", NULL);
}

/* Some bytes shorter, under the same name; what else is linked to it stays. */
static void cut_data_file(void)
{
    static char bytes[1 << 16];
    char path[400];
    snprintf(path, sizeof(path), "%s/data/0000000001.data", server.dir.path);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(bytes, 1, sizeof(bytes), f);
    assert_int_equal(fclose(f), 0);
    assert_true(n > 100 && n < sizeof(bytes));
    assert_int_equal(remove(path), 0);
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n - 20, f), n - 20);
    assert_int_equal(fclose(f), 0);
}

static void test_damage__a_cut_file__makes_no_snapshot_and_removes_none(void **state)
{
    (void)state;
    start();
    expect_reply(client, "+OK", "SET", "k", VALUE, NULL);
    expect_reply(client, "+OK", "SAVE", NULL);
    respc_close(&client);
    assert_int_equal(server_stop(&server), 0);
    cut_data_file();
    start();
    expect_reply(client, "-ERR the value of this key is damaged on disk", "GET", "k", NULL);
    expect_reply(client, "-ERR the snapshot failed, see the log", "SAVE", NULL);
    expect_within("\nsnapshots:1\r\n", "INFO", "bitkv");
    assert_true(server_log_has(&server, "the file is shorter than it was: put the right one back"));
}

/* Its record may be whole in the older one. */
static void test_damage__a_value__keeps_old_snapshots(void **state)
{
    (void)state;
    start();
    expect_reply(client, "+OK", "SET", "k", VALUE, NULL);
    expect_reply(client, "+OK", "SAVE", NULL);
    expect_reply(client, "+OK", "SAVE", NULL);
    expect_within("\nsnapshots:1\r\n", "INFO", "bitkv");
    respc_close(&client);
    assert_int_equal(server_stop(&server), 0);
    flip_in(VALUE);
    start();
    expect_reply(client, "-ERR the value of this key is damaged on disk", "GET", "k", NULL);
    expect_reply(client, "+OK", "SAVE", NULL);
    expect_within("\nsnapshots:2\r\n", "INFO", "bitkv");
    assert_true(server_log_has(&server, "Old snapshots stay"));
    expect_reply(client, "+OK", "SAVE", NULL); /* the one in between goes */
    while (!server_log_has(&server, "Snapshot 0000000004-")) {
        /* It is there. */
    }
    expect_within("\nsnapshots:2\r\n", "INFO", "bitkv");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_damage__a_value__is_told_everywhere),
        T(test_damage__a_file_in_refuse__ends_the_server_with_words),
        T(test_damage__a_record_of_another_key__is_told),
        T(test_damage__a_cut_file__makes_no_snapshot_and_removes_none),
        T(test_damage__a_value__keeps_old_snapshots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
