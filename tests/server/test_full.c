/* SPDX-License-Identifier: MIT */
/* Writes without room on disk, as a client sees them; with a cap of the user's own in the disk's
 * place. A real full disk is in tests/crash/full_disk.c. */
#include "lib/expect.h"
#include "lib/moment.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TRIES 20000 /* of 5 ms */

static struct server server;
static struct respc *client;

static int setup(void **state)
{
    (void)state;
    server = (struct server){.options = {"--disk-max-bytes", "2mb", "--max-file-size", "256kb",
                                         "--merge-interval", "20", "--io-threads", "2"}};
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

/* The type of the reply, and its text begins with MISCONF if it is an error. */
static char set_key(unsigned i, size_t len)
{
    static char value[100000];
    char key[32];
    snprintf(key, sizeof key, "k%u", i);
    memset(value, 'v', len);
    value[len] = '\0';
    struct reply *r = respc_command(client, "SET", key, value, NULL);
    assert_non_null(r);
    char type = r->type;
    assert_true(type == '+' || (type == '-' && strncmp(r->text, "MISCONF ", 8) == 0));
    reply_free(&r);
    return type;
}

static unsigned fill(void)
{
    unsigned n = 0;
    while (set_key(n, 1000) == '+') {
        n++;
    }
    return n;
}

static bool info_has(const char *line)
{
    struct reply *r = respc_command(client, "INFO", "all", NULL);
    bool has = r != NULL && strstr(r->text, line) != NULL;
    reply_free(&r);
    return has;
}

static void await_write(void)
{
    int tries = 0;
    while (set_key(0, 1000) != '+') {
        assert_true(tries++ < TRIES);
        moment_pass(5000);
    }
}

static void test_full__no_room__writes_of_any_size_refused_reads_and_deletes_go_on(void **state)
{
    (void)state;
    assert_true(server_start(&server));
    client = expect_connection(&server);
    unsigned n = fill();
    assert_true(n > 1000);
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(set_key(n + i, i % 2 == 0 ? 1 : 99000), '-');
        moment_pass(10000);
    }
    assert_true(info_has("aof_last_write_status:err"));
    assert_true(info_has("over disk-max-bytes"));
    expect_reply(client, ":1", "EXISTS", "k1", NULL);
    expect_reply(client, ":1000", "STRLEN", "k2", NULL);
    expect_reply(client, ":1", "DEL", "k1", NULL);
    expect_reply(client, ":2", "UNLINK", "k2", "k3", NULL);
    expect_reply(client, "$null", "GETDEL", "k3", NULL);
    expect_reply(client, ":0", "DEL", "k1", NULL);
    assert_true(respc_send(client, "EXPIRE k4 100\r\nPING\r\nPING x\r\n", 29));
    for (int i = 0; i < 3; i++) {
        expect_prefix(client, "-MISCONF Errors writing to the data files, ");
    }
    expect_reply(client, "$null", "GET", "k1", NULL);
    expect_reply(client, "+OK", "FLUSHDB", NULL);
    await_write();
    expect_reply(client, "+PONG", "PING", NULL);
    expect_reply(client, ":1", "DBSIZE", NULL);
    assert_true(info_has("aof_last_write_status:ok"));
    assert_true(fill() > 1000);
}

static void test_full__more_room_by_config_set__writes_come_back(void **state)
{
    (void)state;
    assert_true(server_start(&server));
    client = expect_connection(&server);
    unsigned n = fill();
    expect_reply(client, "*2 [$\"disk-reserve\" $\"201326592\"]", "CONFIG", "GET", "disk-reserve",
                 NULL);
    expect_reply(client, "+OK", "CONFIG", "SET", "disk-max-bytes", "0", "disk-reserve", "0", NULL);
    await_write();
    for (unsigned i = 0; i < 3000; i++) {
        assert_int_equal(set_key(n + i, 1000), '+');
    }
}

static unsigned long evicted(void)
{
    struct reply *r = respc_command(client, "INFO", "stats", NULL);
    const char *at = r == NULL ? NULL : strstr(r->text, "evicted_keys:");
    assert_non_null(at);
    unsigned long n = strtoul(at + strlen("evicted_keys:"), NULL, 10);
    reply_free(&r);
    return n;
}

/* An evicted key is deleted on disk: the part of the reserve that deletes have serves that too, and
 * what has gone makes room for writes. */
static void test_full__eviction_without_room__goes_on_and_makes_room(void **state)
{
    (void)state;
    assert_true(server_start(&server));
    client = expect_connection(&server);
    unsigned n = fill();
    assert_true(n > 1000);
    expect_reply(client, "+OK", "CONFIG", "SET", "maxmemory", "1", "maxmemory-policy",
                 "allkeys-random", NULL);
    for (int tries = 0; evicted() < n; tries++) {
        assert_true(tries < TRIES);
        moment_pass(5000);
    }
    expect_reply(client, ":0", "DBSIZE", NULL);
    expect_reply(client, "+OK", "CONFIG", "SET", "maxmemory", "0", NULL);
    await_write();
    respc_close(&client);
    assert_int_equal(server_signal(&server, SIGKILL), -SIGKILL);
    assert_true(server_start(&server));
    client = expect_connection(&server);
    expect_reply(client, ":1", "DBSIZE", NULL); /* the others do not come back */
    assert_true(fill() > 1000);
}

/* It asks the store whether it takes writes, which is looked up where there is no room. */
static void test_full__bgsave_without_room__begins_and_writes_come_back(void **state)
{
    (void)state;
    assert_true(server_start(&server));
    client = expect_connection(&server);
    assert_true(fill() > 100);
    expect_reply(client, "+Background saving started", "BGSAVE", NULL);
    expect_reply(client, "+OK", "CONFIG", "SET", "disk-max-bytes", "0", "disk-reserve", "0", NULL);
    await_write();
    respc_close(&client);
    expect_clean_stop(&server);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_full__no_room__writes_of_any_size_refused_reads_and_deletes_go_on),
        T(test_full__more_room_by_config_set__writes_come_back),
        T(test_full__eviction_without_room__goes_on_and_makes_room),
        T(test_full__bgsave_without_room__begins_and_writes_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
