/* SPDX-License-Identifier: MIT */
/* Transfers: what is sent arrives, answers come back line by line, time runs out, nobody is left
 * behind. */
#include "app/transfer.h"
#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define LONG_MS 60000

struct rig {
    struct transfers *all;
    sem_t ended;
    int listener;
    int port;
};

static void count_end(void *arg)
{
    struct rig *r = arg;
    sem_post(&r->ended);
}

static int setup(void **state)
{
    struct rig *r = bk_alloc_zero(1, sizeof(*r));
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(a);
    assert_int_equal(sem_init(&r->ended, 0, 0), 0);
    r->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(r->listener, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(r->listener, 64), 0);
    assert_int_equal(getsockname(r->listener, (struct sockaddr *)&a, &len), 0);
    r->port = ntohs(a.sin_port);
    r->all = transfers_new(count_end, r);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    transfers_free(&r->all);
    close(r->listener);
    sem_destroy(&r->ended);
    free(r);
    return 0;
}

static struct transfer *begin(struct rig *r, int64_t timeout_ms, const char *bytes, size_t n,
                              size_t lines)
{
    struct transfer_order o = {.port = r->port, .timeout_ms = timeout_ms, .lines = lines};
    o.host = strdup("127.0.0.1");
    bk_buf_append(&o.bytes, bytes, n);
    struct transfer *t = transfer_begin(r->all, &o);
    if (t != NULL) {
        assert_null(o.host); /* taken */
        assert_null(o.bytes.data);
    }
    free(o.host);
    bk_buf_fini(&o.bytes);
    return t;
}

static void await_end(struct rig *r)
{
    while (sem_wait(&r->ended) != 0) {
        assert_int_equal(errno, EINTR);
    }
}

static void send_text(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void test_transfer__answers__come_back_as_lines(void **state)
{
    struct rig *r = *state;
    enum { BYTES = 8 << 20 };
    char *bytes = bk_alloc_zero(1, BYTES);
    struct transfer_result result;
    struct transfer *t = begin(r, LONG_MS, bytes, BYTES, 3);
    assert_non_null(t);
    int fd = accept(r->listener, NULL, NULL);
    assert_int_equal(recv(fd, bytes, BYTES, MSG_WAITALL), BYTES);
    send_text(fd, "+OK\r\n-ERR ");
    assert_false(transfer_ended(t, &result));
    send_text(fd, "x\r\n\r\n");
    await_end(r);
    assert_true(transfer_ended(t, &result));
    assert_int_equal(result.outcome, TRANSFER_DONE);
    assert_int_equal(result.lines_n, 3);
    assert_memory_equal(result.lines.data, "+OK\0-ERR x\0\0", 12);
    assert_int_equal(result.sent.len, BYTES);
    transfer_drop(&t);
    assert_null(t);
    close(fd);
    free(bytes);
}

static void test_transfer__nobody_there__is_not_sent(void **state)
{
    struct rig *r = *state;
    struct transfer_result result;
    close(r->listener);
    struct transfer *t = begin(r, LONG_MS, "x", 1, 1);
    await_end(r);
    assert_true(transfer_ended(t, &result));
    assert_int_equal(result.outcome, TRANSFER_NOT_SENT);
    transfer_drop(&t);
    r->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* for the teardown */
}

static void test_transfer__no_such_address__is_not_connected(void **state)
{
    struct rig *r = *state;
    struct transfer_result result;
    struct transfer_order o = {
        .host = strdup("1.2.3.4.5"), .port = 1, .timeout_ms = LONG_MS, .lines = 1};
    struct transfer *t = transfer_begin(r->all, &o);
    await_end(r);
    assert_true(transfer_ended(t, &result));
    assert_int_equal(result.outcome, TRANSFER_NOT_CONNECTED);
    transfer_drop(&t);
}

/* Hangs up, says nothing, says too much. */
static void test_transfer__target_misbehaves__keeps_the_lines_that_came(void **state)
{
    struct rig *r = *state;
    char flood[5000];
    memset(flood, 'x', sizeof(flood));
    for (int how = 0; how < 3; how++) {
        struct transfer_result result;
        struct transfer *t = begin(r, how == 1 ? 50 : LONG_MS, "x", 1, 2);
        int fd = accept(r->listener, NULL, NULL);
        char byte;
        assert_int_equal(recv(fd, &byte, 1, 0), 1);
        send_text(fd, "+OK\r\n");
        if (how == 0) {
            close(fd);
        } else if (how == 2) {
            assert_int_equal(send(fd, flood, sizeof(flood), MSG_NOSIGNAL), sizeof(flood));
        }
        await_end(r);
        assert_true(transfer_ended(t, &result));
        assert_int_equal(result.outcome, TRANSFER_NOT_ANSWERED);
        assert_int_equal(result.lines_n, 1);
        transfer_drop(&t);
        if (how != 0) {
            close(fd);
        }
    }
}

static void test_transfer__dropped__ends_at_once(void **state)
{
    struct rig *r = *state;
    int64_t begin_us = bk_clock_mono_us(&bk_clock_system);
    struct transfer *t = begin(r, LONG_MS, "x", 1, 1);
    int fd = accept(r->listener, NULL, NULL);
    transfer_drop(&t);
    await_end(r);
    assert_true(bk_clock_mono_us(&bk_clock_system) - begin_us < (int64_t)LONG_MS * 500);
    close(fd);
}

static void test_transfer__too_many__wait_for_an_end(void **state)
{
    struct rig *r = *state;
    struct transfer *t[TRANSFERS_MAX];
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < TRANSFERS_MAX; i++) {
            t[i] = begin(r, LONG_MS, "x", 1, 1);
            assert_non_null(t[i]);
        }
        assert_null(begin(r, LONG_MS, "x", 1, 1));
        transfer_drop(&t[3]);
        await_end(r);
        t[3] = begin(r, LONG_MS, "x", 1, 1);
        assert_non_null(t[3]);
        for (size_t i = 0; i < TRANSFERS_MAX; i++) {
            transfer_drop(&t[i]);
            await_end(r);
        }
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_transfer__answers__come_back_as_lines),
        T(test_transfer__nobody_there__is_not_sent),
        T(test_transfer__no_such_address__is_not_connected),
        T(test_transfer__target_misbehaves__keeps_the_lines_that_came),
        T(test_transfer__dropped__ends_at_once),
        T(test_transfer__too_many__wait_for_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
