/* SPDX-License-Identifier: MIT */
/* test_multi.c - MULTI, EXEC and WATCH of clients on several loops, against each other, a full log
 * and kill -9. */
#include "lib/expect.h"
#include "lib/rng.h"
#include "lib/server.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CLIENTS 6
#define ADDS 150
#define PAIRS 1500

static const char *const loops_options[] = {"--io-threads", "3", "--max-file-size", "64kb"};

struct client {
    const struct server *server; /* borrowed */
    struct respc *conn;
    pthread_t thread;
    atomic_bool *stop;
    bool ok;
};

static struct reply *call(struct respc *c, const char *text)
{
    struct bk_span args[16];
    size_t n = 0;
    for (const char *at = text; *at != '\0' && n < 16;) {
        size_t len = strcspn(at, " ");
        args[n++] = bk_span_of(at, len);
        at += len + (at[len] == ' ' ? 1 : 0);
    }
    return respc_command_argv(c, n, args);
}

/* Does it answer with this text? */
static bool says(struct respc *c, const char *command, const char *text)
{
    struct reply *r = call(c, command);
    bool same = r != NULL && r->text != NULL && strcmp(r->text, text) == 0;
    reply_free(&r);
    return same;
}

static long number_of(struct respc *c, const char *command)
{
    struct reply *r = call(c, command);
    long n = r == NULL        ? -1
             : r->type == ':' ? (long)r->integer
             : r->null        ? 0
                              : strtol(r->text, NULL, 10);
    reply_free(&r);
    return n;
}

static void start(struct server *s, const char *const *options, size_t n)
{
    memcpy(s->options, options, n * sizeof(*options));
    assert_true(server_start(s));
}

static void run_clients(struct server *s, struct client *clients, size_t n,
                        void *(*main_fn)(void *), atomic_bool *stop)
{
    for (size_t i = 0; i < n; i++) {
        clients[i] = (struct client){.server = s, .conn = server_connect(s), .stop = stop};
        assert_non_null(clients[i].conn);
        assert_int_equal(pthread_create(&clients[i].thread, NULL, main_fn, &clients[i]), 0);
    }
}

static void join_clients(struct client *clients, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(pthread_join(clients[i].thread, NULL), 0);
        assert_true(clients[i].ok);
        respc_close(&clients[i].conn);
    }
}

/* ---- WATCH ---- */

/* One try to add 1 to the sum; -1: something else than EXEC's two answers came. */
static int add_one(struct respc *c)
{
    char set[64];
    if (!says(c, "WATCH sum", "OK")) {
        return -1;
    }
    snprintf(set, sizeof(set), "SET sum %ld", number_of(c, "GET sum") + 1);
    if (!says(c, "MULTI", "OK") || !says(c, set, "QUEUED")) {
        return -1;
    }
    struct reply *r = call(c, "EXEC");
    int done = r == NULL || r->type != '*' ? -1 : r->null ? 0 : 1;
    reply_free(&r);
    return done;
}

static void *adder_main(void *arg)
{
    struct client *c = arg;
    int done = 0;
    c->ok = true;
    for (int i = 0; i < ADDS && c->ok; i += done) {
        done = add_one(c->conn);
        c->ok = done >= 0;
    }
    return NULL;
}

static void test_multi__clients_that_add_under_watch__lose_nothing(void **state)
{
    (void)state;
    struct server s = {0};
    struct client clients[CLIENTS];
    start(&s, loops_options, 4);
    run_clients(&s, clients, CLIENTS, adder_main, NULL);
    join_clients(clients, CLIENTS);
    struct respc *c = server_connect(&s);
    assert_int_equal(number_of(c, "GET sum"), CLIENTS * ADDS);
    respc_close(&c);
    assert_int_equal(server_stop(&s), 0);
    server_fini(&s);
}

/* ---- EXEC against EXEC ---- */

static bool exec_pair(struct respc *c, const char *one, const char *other, char *value,
                      size_t value_len)
{
    bool ok = says(c, "MULTI", "OK") && says(c, one, "QUEUED") && says(c, "SELECT 1", "QUEUED") &&
              says(c, other, "QUEUED") && says(c, "SELECT 0", "QUEUED");
    struct reply *r = ok ? call(c, "EXEC") : NULL;
    ok = r != NULL && r->elems == 4 && reply_equal(r->elem[0], r->elem[2]);
    if (ok && value != NULL) {
        snprintf(value, value_len, "%s", r->elem[0]->null ? "" : r->elem[0]->text);
    }
    reply_free(&r);
    return ok;
}

static void *pair_writer_main(void *arg)
{
    struct client *c = arg;
    c->ok = true;
    for (int i = 0; i < PAIRS && c->ok; i++) {
        char one[64];
        char other[64];
        snprintf(one, sizeof(one), "SET left %d", i);
        snprintf(other, sizeof(other), "SET right %d", i);
        c->ok = exec_pair(c->conn, one, other, NULL, 0);
    }
    atomic_store(c->stop, true);
    return NULL;
}

static void *pair_reader_main(void *arg)
{
    struct client *c = arg;
    long last = 0;
    c->ok = true;
    while (c->ok && !atomic_load(c->stop)) {
        char value[32];
        c->ok = exec_pair(c->conn, "GET left", "GET right", value, sizeof(value)) &&
                strtol(value, NULL, 10) >= last;
        last = strtol(value, NULL, 10);
    }
    return NULL;
}

static void test_multi__pairs_in_two_databases__are_seen_whole(void **state)
{
    (void)state;
    struct server s = {0};
    struct client writer;
    struct client readers[3];
    atomic_bool stop = false;
    start(&s, loops_options, 4);
    run_clients(&s, readers, 3, pair_reader_main, &stop);
    run_clients(&s, &writer, 1, pair_writer_main, &stop);
    join_clients(&writer, 1);
    join_clients(readers, 3);
    assert_int_equal(server_stop(&s), 0);
    server_fini(&s);
}

/* ---- kill -9 ---- */

static void *killed_writer_main(void *arg)
{
    struct client *c = arg;
    for (int i = 1;; i++) {
        char one[64];
        char other[64];
        snprintf(one, sizeof(one), "SET left %d", i);
        snprintf(other, sizeof(other), "SET right %d", i);
        if (!exec_pair(c->conn, one, other, NULL, 0)) {
            break;
        }
        atomic_store(c->stop, true); /* something is acknowledged */
    }
    c->ok = true;
    return NULL;
}

static void test_multi__killed_in_the_middle__all_of_it_or_nothing(void **state)
{
    (void)state;
    struct server s = {.options = {"--appendfsync", "always", "--io-threads", "2"}};
    assert_true(server_start(&s));
    for (int round = 0; round < 5; round++) {
        struct client writer;
        atomic_bool acknowledged = false;
        struct respc *c;
        run_clients(&s, &writer, 1, killed_writer_main, &acknowledged);
        c = server_connect(&s);
        while (!atomic_load(&acknowledged) || number_of(c, "GET left") < 20 * (round + 1)) {
        }
        assert_int_equal(server_signal(&s, SIGKILL), -SIGKILL);
        respc_close(&c);
        join_clients(&writer, 1);
        assert_true(server_start(&s));
        c = server_connect(&s);
        long left = number_of(c, "GET left");
        assert_true(left >= 20 * (round + 1));
        assert_true(says(c, "SELECT 1", "OK"));
        assert_int_equal(number_of(c, "GET right"), left);
        assert_true(says(c, "FLUSHALL", "OK"));
        respc_close(&c);
    }
    assert_int_equal(server_stop(&s), 0);
    server_fini(&s);
}

/* ---- A full log ---- */

static void add_transaction(struct bk_buf *out, struct bk_span value)
{
    struct bk_span set[] = {bk_span_str("SET"), bk_span_str("k"), value};
    respc_format(out, "MULTI", NULL);
    respc_format(out, "ECHO", "once", NULL);
    respc_format(out, "INCR", "n", NULL);
    respc_format_argv(out, 3, set);
    respc_format(out, "EXEC", NULL);
}

static void test_multi__no_room_in_the_log__commands_without_the_store_run_once(void **state)
{
    (void)state;
    enum { TIMES = 300, LEN = 60000 };
    struct server s = {.options = {"--log-buffer-size", "64kb", "--appendfsync", "always"}};
    struct bk_buf out = {0};
    char *value = malloc(LEN);
    assert_non_null(value);
    memset(value, 'v', LEN);
    assert_true(server_start(&s));
    struct respc *c = server_connect(&s);
    for (int i = 0; i < TIMES; i++) {
        add_transaction(&out, bk_span_of(value, LEN));
    }
    assert_true(respc_exchange(c, out.data, out.len, TIMES * 5));
    assert_int_equal(number_of(c, "GET n"), TIMES);
    assert_int_equal(expect_info(c, "commandstats", "cmdstat_echo:calls="), TIMES);
    assert_true(expect_info(c, "everything", "log_full:") > 0);
    respc_close(&c);
    bk_buf_fini(&out);
    free(value);
    assert_int_equal(server_stop(&s), 0);
    server_fini(&s);
}

/* ---- Bounds ---- */

static void test_multi__queue_over_the_query_buffer_limit__the_client_is_closed(void **state)
{
    (void)state;
    struct server s = {.options = {"--client-query-buffer-limit", "1mb"}};
    struct bk_buf out = {0};
    struct bk_buf end = {0};
    char value[4000];
    memset(value, 'v', sizeof(value));
    assert_true(server_start(&s));
    struct respc *c = server_connect(&s);
    respc_format(&out, "MULTI", NULL);
    for (int i = 0; i < 400; i++) {
        struct bk_span echo[] = {bk_span_str("ECHO"), bk_span_of(value, sizeof(value))};
        respc_format_argv(&out, 2, echo);
    }
    (void)respc_send(c, out.data, out.len); /* it may be closed before all is sent */
    assert_true(respc_read_to_end(c, &end));
    assert_true(server_log_has(&s, "reached max query buffer length"));
    respc_close(&c);
    bk_buf_fini(&out);
    bk_buf_fini(&end);
    assert_int_equal(server_stop(&s), 0);
    server_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_multi__clients_that_add_under_watch__lose_nothing),
        cmocka_unit_test(test_multi__pairs_in_two_databases__are_seen_whole),
        cmocka_unit_test(test_multi__killed_in_the_middle__all_of_it_or_nothing),
        cmocka_unit_test(test_multi__no_room_in_the_log__commands_without_the_store_run_once),
        cmocka_unit_test(test_multi__queue_over_the_query_buffer_limit__the_client_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
