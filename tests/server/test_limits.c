/* SPDX-License-Identifier: MIT */
/*
 * Limits: what one client may hold, how many may come, how long they may idle; and that memory
 * stays within what the limits allow, whatever a client does. Larger amounts by hand:
 * BITKV_TEST_GARBAGE_MB=1024, BITKV_TEST_CONNECTIONS=10000, BITKV_TEST_COMMANDS=100000000.
 */
#include "base/buf.h"
#include "base/error.h"
#include "lib/rawconn.h"
#include "lib/rng.h"
#include "server/one_server.h"

#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <cmocka.h>

#define MIB (1024u * 1024u)

#define START(...) start((const char *const[]){__VA_ARGS__, NULL})

static unsigned long from_env(const char *name, unsigned long otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? strtoul(text, NULL, 10) : otherwise;
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* INFO's figure, asked again until it is what is wanted. */
static void wait_for_clients(struct respc *c, long wanted)
{
    int64_t end = now_ms() + RESPC_PATIENCE_MS;
    long n = -1;
    while (n != wanted && now_ms() < end) {
        n = (long)expect_info(c, "clients", "connected_clients:");
    }
    assert_int_equal(n, wanted);
}

static void test_limits__query_buffer_exceeded__closes_without_a_word(void **state)
{
    (void)state;
    START("--client-query-buffer-limit", "1mb");
    struct respc *c = expect_connection(&server);
    struct bk_buf b = {0};
    bk_buf_printf(&b, "PING\r\n*2\r\n$4\r\nECHO\r\n$4000000\r\n");
    memset(bk_buf_reserve(&b, 4 * MIB), 'x', 4 * MIB);
    b.len += 3 * MIB;
    bk_ignore(respc_send(c, b.data, b.len) ? 0 : 1, "the server may close before it has all");
    expect_next(c, "+PONG");
    expect_closed(c);
    respc_close(&c);

    c = expect_connection(&server);
    b.len = 0;
    bk_buf_printf(&b, "*2\r\n$6\r\nSTRLEN\r\n$%u\r\n", 900000);
    memset(bk_buf_reserve(&b, MIB), 'x', MIB);
    b.len += 900000;
    bk_buf_printf(&b, "\r\n");
    assert_true(respc_send(c, b.data, b.len));
    expect_next(c, ":0");
    bk_buf_fini(&b);
    respc_close(&c);
    expect_clean_stop(&server);
}

/* n times GET of one key. */
static void ask(struct bk_buf *out, const char *key, int n)
{
    out->len = 0;
    for (int i = 0; i < n; i++) {
        respc_format(out, "GET", key, NULL);
    }
}

static void store_value(struct respc *c, const char *key, size_t n)
{
    char *value = bk_alloc(n + 1);
    memset(value, 'v', n);
    value[n] = '\0';
    expect_reply(c, "+OK", "SET", key, value, NULL);
    free(value);
}

/* A client asks for 1 GB and reads nothing: it is closed, and memory has not grown by more than the
 * limit, what the kernel's buffers hold apart, and one command's reply. */
static void test_limits__replies_nobody_reads__are_bounded(void **state)
{
    (void)state;
    START("--client-output-buffer-limit", "normal", "8mb", "0", "0");
    struct respc *other = expect_connection(&server);
    struct respc *c = expect_connection(&server);
    struct bk_buf b = {0};
    struct bk_buf got = {0};
    store_value(other, "big", 1000000);
    long before = server_memory_kib(&server, "VmHWM:");
    ask(&b, "big", 1000);
    bk_ignore(respc_send(c, b.data, b.len) ? 0 : 1, "the server may close before it has all");
    wait_for_clients(other, 1);
    long grown = server_memory_kib(&server, "VmHWM:") - before;
    assert_true(respc_read_to_end(c, &got));
    assert_true(got.len < 1000u * 1000000u);
    if (EXPECT_MEMORY) {
        print_message("grown by %ld KiB\n", grown);
        assert_true(grown < 40 * 1024);
    }
    expect_reply(other, "+PONG", "PING", NULL);
    bk_buf_fini(&got);
    bk_buf_fini(&b);
    respc_close(&c);
    respc_close(&other);
    expect_clean_stop(&server);
}

static void test_limits__soft_output_limit__closes_after_its_seconds(void **state)
{
    (void)state;
    START("--client-output-buffer-limit", "normal", "0", "1mb", "1");
    struct respc *other = expect_connection(&server);
    struct respc *c = expect_connection(&server);
    struct bk_buf b = {0};
    store_value(other, "big", 1000000);
    ask(&b, "big", 40);
    int64_t begun = now_ms();
    assert_true(respc_send(c, b.data, b.len));
    wait_for_clients(other, 1);
    assert_true(now_ms() - begun >= 900);
    bk_buf_fini(&b);
    respc_close(&c);
    respc_close(&other);
    expect_clean_stop(&server);
}

static void test_limits__maxclients__the_next_one_is_told_and_closed(void **state)
{
    (void)state;
    enum { MAX = 5 };
    struct respc *c[MAX] = {NULL};
    START("--maxclients", "5");
    c[0] = expect_connection(&server);
    wait_for_clients(c[0], 1);
    for (int i = 1; i < MAX; i++) {
        c[i] = expect_connection(&server);
        expect_reply(c[i], "+PONG", "PING", NULL);
    }
    struct respc *more = expect_connection(&server);
    expect_next(more, "-ERR max number of clients reached");
    expect_closed(more);
    respc_close(&more);

    respc_close(&c[MAX - 1]);
    wait_for_clients(c[0], MAX - 1);
    c[MAX - 1] = expect_connection(&server);
    expect_reply(c[MAX - 1], "+PONG", "PING", NULL);
    for (int i = 0; i < MAX; i++) {
        respc_close(&c[i]);
    }
    expect_clean_stop(&server);
}

static void test_limits__timeout__closes_who_is_idle_and_nobody_else(void **state)
{
    (void)state;
    START("--timeout", "1");
    struct respc *busy = expect_connection(&server);
    struct respc *idle = expect_connection(&server);
    expect_reply(idle, "+PONG", "PING", NULL);
    struct pollfd p = {.fd = respc_fd(idle), .events = POLLIN};
    int64_t end = now_ms() + RESPC_PATIENCE_MS;
    while (poll(&p, 1, 20) == 0 && now_ms() < end) {
        expect_reply(busy, "+PONG", "PING", NULL);
    }
    expect_closed(idle);
    expect_reply(busy, "+PONG", "PING", NULL);
    respc_close(&idle);
    respc_close(&busy);
    expect_clean_stop(&server);
}

static void raise_descriptors(void)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* More clients than descriptors: who does not fit waits or is turned away, and the server goes on.
 */
static void test_limits__no_descriptors_left__is_survived(void **state)
{
    (void)state;
    enum { N = 300 };
    struct respc *c[N] = {NULL};
    server.fd_limit = 100;
    START("--maxclients", "10000");
    assert_true(server_log_has(&server, "maxclients"));
    raise_descriptors();
    for (int i = 0; i < N; i++) {
        c[i] = server_connect(&server);
        if (c[i] != NULL) {
            bk_ignore(respc_send(c[i], "PING\r\n", 6) ? 0 : 1, "it may have been turned away");
        }
    }
    expect_next(c[0], "+PONG");
    expect_reply(c[0], "+OK", "SET", "k", "v", NULL);
    for (int i = 1; i < N; i++) {
        respc_close(&c[i]);
    }
    wait_for_clients(c[0], 1);
    c[1] = expect_connection(&server);
    expect_reply(c[1], "$\"v\"", "GET", "k", NULL);
    respc_close(&c[0]);
    respc_close(&c[1]);
    expect_clean_stop(&server);
}

static void check_idle_cost(const char *what, long before, unsigned long n)
{
    int64_t end = now_ms() + RESPC_PATIENCE_MS;
    long kib;
    /* Buffers go a second after the last command, and the allocator gives pages back in its own
     * time. */
    struct respc *c = expect_connection(&server);
    do {
        expect_reply(c, "+PONG", "PING", NULL);
        kib = server_memory_kib(&server, "VmRSS:") - before;
    } while (kib * 1024 > (long)n * 2048 && now_ms() < end);
    respc_close(&c);
    print_message("%s: %ld bytes each\n", what, kib * 1024 / (long)n);
    assert_true(kib * 1024 <= (long)n * 2048);
}

static void test_limits__idle_connections__cost_2_kib_each(void **state)
{
    (void)state;
    unsigned long n = from_env("BITKV_TEST_CONNECTIONS", 3000);
    START("--maxclients", "20000");
    raise_descriptors();
    struct respc *other = expect_connection(&server);
    struct respc **c = bk_alloc_zero(n, sizeof(struct respc *));
    wait_for_clients(other, 1);
    long before = server_memory_kib(&server, "VmRSS:");
    for (unsigned long i = 0; i < n; i++) {
        c[i] = expect_connection(&server);
    }
    wait_for_clients(other, (long)n + 1);
    if (EXPECT_MEMORY) {
        check_idle_cost("connected", before, n);
    }
    for (unsigned long i = 0; i < n; i++) {
        assert_true(respc_send(c[i], "SET k v\r\n*1\r\n$4\r\nPI", 19));
        expect_next(c[i], "+OK");
    }
    if (EXPECT_MEMORY) {
        check_idle_cost("half a command sent", before, n);
    }
    for (unsigned long i = 0; i < n; i++) {
        assert_true(respc_send(c[i], "NG\r\n", 4));
        expect_next(c[i], "+PONG");
        respc_close(&c[i]);
    }
    wait_for_clients(other, 1);
    free(c);
    respc_close(&other);
    expect_clean_stop(&server);
}

/* ---- Garbage ---- */

enum garbage { RANDOM_BYTES, RANDOM_LINES, ENDLESS_LINE, ENDLESS_ARRAY, BIG_CLAIM, GARBAGE_KINDS };

static void fill_lines(struct rng *r, uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t x = rng_next(r);
        p[i] = x % 60 == 0 ? '\n' : (uint8_t)(' ' + x / 64 % 94);
    }
}

/* One megabyte of a kind. */
static void make_garbage(struct rng *r, enum garbage kind, struct bk_buf *b)
{
    uint8_t *p;
    b->len = 0;
    if (kind == BIG_CLAIM) {
        bk_buf_printf(b, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n");
    } else if (kind == ENDLESS_ARRAY) {
        bk_buf_printf(b, "*2147483647\r\n");
    }
    p = bk_buf_reserve(b, MIB);
    switch (kind) {
    case RANDOM_LINES:
        fill_lines(r, p, MIB);
        break;
    case ENDLESS_LINE:
        memset(p, 'x', MIB);
        break;
    case ENDLESS_ARRAY:
        for (size_t i = 0; i < MIB; i++) {
            p[i] = (uint8_t) "$0\r\n\r\n"[i % 6];
        }
        break;
    default:
        rng_fill(r, p, MIB);
        break;
    }
    b->len += MIB;
}

static void test_limits__garbage__leaves_memory_and_service_alone(void **state)
{
    (void)state;
    unsigned long mib = from_env("BITKV_TEST_GARBAGE_MB", 100);
    struct rng r = {rng_seed_from_env("TEST_SEED")};
    print_message("TEST_SEED=%" PRIu64 "\n", r.state);
    START("--client-query-buffer-limit", "4mb", "--client-output-buffer-limit", "normal", "4mb",
          "0", "0");
    struct respc *other = expect_connection(&server);
    struct bk_buf b = {0};
    long before = server_memory_kib(&server, "VmHWM:");
    for (unsigned long i = 0; i < mib;) {
        enum garbage kind = (enum garbage)rng_below(&r, GARBAGE_KINDS);
        struct respc *c = expect_connection(&server);
        /* Up to 8 MB on one connection, unless it is closed for what it sends. */
        bool alive = true;
        for (int k = 0; alive && k < 8; k++, i++) {
            make_garbage(&r, kind, &b);
            alive = respc_exchange(c, b.data, b.len, 0);
        }
        respc_close(&c);
        expect_reply(other, "+PONG", "PING", NULL);
    }
    long grown = server_memory_kib(&server, "VmHWM:") - before;
    if (EXPECT_MEMORY) {
        print_message("%lu MB of garbage, grown by %ld KiB\n", mib, grown);
        assert_true(grown < 64 * 1024);
    }
    wait_for_clients(other, 1);
    bk_buf_fini(&b);
    respc_close(&other);
    expect_clean_stop(&server);
}

/* Many clients that claim much and send little hold only what they have sent. */
static void test_limits__claims_of_many_clients__hold_their_own_bytes_only(void **state)
{
    (void)state;
    enum { N = 100 };
    struct respc *c[N];
    static const char claim[] = "*1000000\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nabc";
    START("--maxclients", "200");
    struct respc *other = expect_connection(&server);
    long before = server_memory_kib(&server, "VmHWM:");
    for (int i = 0; i < N; i++) {
        c[i] = expect_connection(&server);
        assert_true(respc_send(c[i], claim, sizeof claim - 1));
        expect_reply(other, "+PONG", "PING", NULL);
    }
    wait_for_clients(other, N + 1);
    long grown = server_memory_kib(&server, "VmHWM:") - before;
    if (EXPECT_MEMORY) {
        print_message("grown by %ld KiB\n", grown);
        assert_true(grown < N * 100);
    }
    for (int i = 0; i < N; i++) {
        respc_close(&c[i]);
    }
    respc_close(&other);
    expect_clean_stop(&server);
}

/* Each of these writes needs the log's buffer for itself, so each commit has room for one: if it
 * then ran all that wait, the tries, with a checksum of the value each, would be TIMES * N * N / 2.
 */
static void test_limits__many_clients_wait_for_room__a_commit_tries_a_few_again(void **state)
{
    (void)state;
    enum { N = 60, TIMES = 30, LEN = 60000, TRIES = 30 };
    struct respc *c[N];
    struct bk_buf out = {0};
    char *value = malloc(LEN);
    assert_non_null(value);
    memset(value, 'v', LEN);
    START("--log-buffer-size", "64kb", "--appendfsync", "always", "--io-threads", "2");
    for (int i = 0; i < TIMES; i++) {
        struct bk_span set[] = {bk_span_str("SET"), bk_span_str("k"), bk_span_of(value, LEN)};
        respc_format_argv(&out, 3, set);
    }
    for (int i = 0; i < N; i++) {
        c[i] = expect_connection(&server);
        assert_true(respc_send(c[i], out.data, out.len));
    }
    for (int i = 0; i < N * TIMES; i++) {
        expect_next(c[i % N], "+OK");
    }
    struct respc *other = expect_connection(&server);
    unsigned long tries = expect_info(other, "everything", "log_full:");
    print_message("%lu tries without room for %d writes\n", tries, N * TIMES);
    assert_true(tries > 0);
    assert_true(tries < (unsigned long)N * TIMES * TRIES);
    for (int i = 0; i < N; i++) {
        respc_close(&c[i]);
    }
    respc_close(&other);
    bk_buf_fini(&out);
    free(value);
    expect_clean_stop(&server);
}

/* ---- Allocations ---- */

#define CHUNK 1000 /* commands sent at once */

/* Requests that the allocator has served so far, by its own count; 0: it keeps none. */
static unsigned long long requests_served(struct rawconn *c)
{
    static const char ask[] = "MEMORY MALLOC-STATS\r\n";
    struct raw reply;
    assert_true(rawconn_send(c, ask, sizeof(ask) - 1));
    assert_true(rawconn_reply(c, RESPC_PATIENCE_MS, &reply));
    struct bk_buf text = {0};
    bk_buf_append(&text, reply.data, reply.len);
    bk_buf_append(&text, "", 1);
    const char *at = strstr((const char *)text.data, "\ntotal:");
    unsigned long long served = 0;
    if (at != NULL) {
        at += strlen("\ntotal:");
        for (int column = 0; column < 6; column++) { /* the sixth: nrequests */
            char *end;
            served = strtoull(at, &end, 10);
            at = end;
        }
    }
    bk_buf_fini(&text);
    return served;
}

static void append_chunk(struct bk_buf *b)
{
    for (int i = 0; i < CHUNK / 4; i++) {
        int key = i % 100;
        bk_buf_printf(b, "*3\r\n$3\r\nSET\r\n$3\r\nk%02d\r\n$64\r\n%064d\r\n", key, i);
        bk_buf_printf(b, "*2\r\n$3\r\nGET\r\n$3\r\nk%02d\r\n", key);
        bk_buf_printf(b, "*2\r\n$6\r\nSTRLEN\r\n$3\r\nk%02d\r\n", key);
        bk_buf_printf(b, "*3\r\n$6\r\nEXISTS\r\n$3\r\nk%02d\r\n$3\r\nnil\r\n", key);
    }
}

static void run_chunks(struct rawconn *c, const struct bk_buf *chunk, unsigned long n)
{
    struct raw reply;
    for (unsigned long i = 0; i < n; i++) {
        assert_true(rawconn_send(c, chunk->data, chunk->len));
        for (int k = 0; k < CHUNK; k++) {
            assert_true(rawconn_reply(c, RESPC_PATIENCE_MS, &reply));
            assert_false(raw_is_error(reply));
        }
    }
}

/* What is allocated belongs to ticks. (A value that a read brings into the cache takes memory
 * there; these are read while they are in the log's buffer.) */
static void test_limits__million_commands__allocate_nothing_each(void **state)
{
    (void)state;
    unsigned long chunks = from_env("BITKV_TEST_COMMANDS", 1000000) / CHUNK;
    struct rawconn c;
    struct bk_buf chunk = {0};
    START("--io-threads", "1");
    assert_true(rawconn_open(&c, server.port));
    append_chunk(&chunk);
    run_chunks(&c, &chunk, 10);
    unsigned long long before = requests_served(&c);
    if (before > 0) { /* a sanitizer's allocator has no such figures */
        run_chunks(&c, &chunk, chunks);
        unsigned long long served = requests_served(&c) - before;
        print_message("%llu requests to the allocator by %lu commands\n", served, chunks * CHUNK);
        assert_true(served < chunks * CHUNK / 20);
    }
    rawconn_close(&c);
    bk_buf_fini(&chunk);
    expect_clean_stop(&server);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup_none, teardown_server)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_limits__query_buffer_exceeded__closes_without_a_word),
        CASE(test_limits__replies_nobody_reads__are_bounded),
        CASE(test_limits__soft_output_limit__closes_after_its_seconds),
        CASE(test_limits__maxclients__the_next_one_is_told_and_closed),
        CASE(test_limits__timeout__closes_who_is_idle_and_nobody_else),
        CASE(test_limits__no_descriptors_left__is_survived),
        CASE(test_limits__idle_connections__cost_2_kib_each),
        CASE(test_limits__garbage__leaves_memory_and_service_alone),
        CASE(test_limits__claims_of_many_clients__hold_their_own_bytes_only),
        CASE(test_limits__many_clients_wait_for_room__a_commit_tries_a_few_again),
        CASE(test_limits__million_commands__allocate_nothing_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
