/* SPDX-License-Identifier: MIT */
/* test_net_arrivals.c - connections that receive in the same round of epoll, and run after that. */
#include "net_rig.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LARGE 100000 /* received into a block of its own */
#define MANY 20      /* more than one group, fewer than libevent takes from epoll at first */

struct crowd {
    int gate;
    int c[MANY];
};

static void ask(int c, const char *name, const char *arg)
{
    struct bk_buf b = {0};
    bk_buf_printf(&b, "*2\r\n$%zu\r\n%s\r\n$%zu\r\n", strlen(name), name, strlen(arg));
    bk_buf_append(&b, arg, strlen(arg));
    bk_buf_append(&b, "\r\n", 3);
    fake_send(c, (const char *)b.data);
    bk_buf_fini(&b);
}

static void answered(int c, const char *arg)
{
    struct bk_buf b = {0};
    bk_buf_printf(&b, "$%zu\r\n", strlen(arg));
    bk_buf_append(&b, arg, strlen(arg));
    bk_buf_append(&b, "\r\n", 3);
    fake_expect(c, (const char *)b.data);
    bk_buf_fini(&b);
}

/* All are served, and their loop stands: what is sent now is there in its next round (a unix socket
 * delivers at once). */
static void crowd_waits(struct fake *f, struct crowd *w)
{
    fake_start(f, 1);
    w->gate = fake_connect_unix(f);
    for (int i = 0; i < MANY; i++) {
        w->c[i] = fake_connect_unix(f);
        ask(w->c[i], "ECHO", "hello");
        answered(w->c[i], "hello");
    }
    assert_int_equal(atomic_load(&f->fetched), 0);
    fake_send(w->gate, "GATE\r\n");
    fake_until(f, at_gate, 1);
}

static void crowd_goes(struct fake *f, struct crowd *w)
{
    fake_open_gate(f);
    fake_expect(w->gate, "+OK\r\n");
}

static void crowd_leaves(struct crowd *w)
{
    for (int i = 0; i < MANY; i++) {
        close(w->c[i]);
    }
    close(w->gate);
}

static void test_net__many_arrive_together__are_looked_at_together(void **state)
{
    struct fake *f = *state;
    struct crowd w;
    char text[16];
    crowd_waits(f, &w);
    for (int i = 0; i < MANY; i++) {
        snprintf(text, sizeof(text), "text %d", i);
        ask(w.c[i], "ECHO", text);
    }
    crowd_goes(f, &w);
    for (int i = 0; i < MANY; i++) {
        snprintf(text, sizeof(text), "text %d", i);
        answered(w.c[i], text);
    }
    assert_int_equal(atomic_load(&f->fetched), MANY);
    crowd_leaves(&w);
}

static void test_net__many_arrive_together__run_in_the_order_of_their_arrival(void **state)
{
    struct fake *f = *state;
    struct crowd w;
    char text[16];
    crowd_waits(f, &w);
    for (int i = 0; i < MANY; i++) {
        ask(w.c[i], "WRITE", i % 3 == 1 ? "x" : "yy");
    }
    crowd_goes(f, &w);
    for (int i = 0; i < MANY; i++) {
        snprintf(text, sizeof(text), ":%d\r\n", 10 * (i + 1));
        fake_expect(w.c[i], text);
    }
    crowd_leaves(&w);
}

/* Of all kinds: each keeps its own bytes, however much the others receive before it runs. */
static void test_net__all_kinds_arrive_together__each_is_served(void **state)
{
    struct fake *f = *state;
    struct crowd w;
    char *large = malloc(LARGE + 1);
    assert_non_null(large);
    memset(large, 'L', LARGE);
    large[LARGE] = '\0';
    crowd_waits(f, &w);
    fake_send(w.c[0], "*2\r\n$4\r\nECHO\r\n$6\r\nhalf-");
    fake_send(w.c[1], "ECHO 1\r\n*2\r\n$4\r\nECHO\r\n$1\r\n2\r\n*2\r\n$4\r\nECHO\r\n$1\r\n3\r\n");
    fake_send(w.c[2], "*1\r\n+bad\r\n");
    ask(w.c[3], "NOROOM", "no room");
    ask(w.c[4], "READ", "read");
    ask(w.c[5], "ECHO", large + LARGE - 3000);
    ask(w.c[6], "SLICES", "3");
    fake_send(w.c[7], "ECHO inline\r\n");
    fake_send(w.c[8], "*2\r\n$4\r\nECHO\r\n$100000\r\n");
    fake_send(w.c[8], large + LARGE - 30000);
    fake_send(w.c[9], "*1\r\n$4\r\nQUIT\r\n");
    ask(w.c[10], "NOROOM", large + LARGE - 1500);
    ask(w.c[11], "ECHO", "last");
    crowd_goes(f, &w);
    fake_expect(w.c[1], "$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n");
    fake_expect(w.c[2], "-ERR Protocol error: expected '$', got '+'\r\n");
    fake_expect_closed(w.c[2]);
    answered(w.c[5], large + LARGE - 3000);
    answered(w.c[6], "3");
    answered(w.c[7], "inline");
    fake_expect(w.c[9], "+OK\r\n");
    fake_expect_closed(w.c[9]);
    answered(w.c[11], "last");
    fake_send(w.c[8], large + 30000);
    fake_send(w.c[8], "\r\n");
    answered(w.c[8], large);
    fake_send(w.c[0], "d\r\n");
    answered(w.c[0], "half-d");
    fake_finish_reads(f);
    answered(w.c[4], "read");
    fake_give_room(f);
    answered(w.c[3], "no room");
    answered(w.c[10], large + LARGE - 1500);
    crowd_leaves(&w);
    free(large);
}

/* The gate's client is the first one, with the id 1. */
static void test_net__killed_by_one_that_arrived_before__does_not_run(void **state)
{
    struct fake *f = *state;
    struct crowd w;
    crowd_waits(f, &w);
    ask(w.c[0], "KILL", "3");
    ask(w.c[1], "WRITE", "x");
    ask(w.c[2], "ECHO", "x");
    crowd_goes(f, &w);
    fake_expect(w.c[0], ":1\r\n");
    fake_expect_closed(w.c[1]);
    answered(w.c[2], "x");
    assert_int_equal(atomic_load(&f->tail), 0);
    crowd_leaves(&w);
}

static void *stop_server(void *arg)
{
    struct fake *f = arg;
    net_shutdown(f->net, 5000);
    return NULL;
}

/* What was received in the round in which the server learns that it is to stop does not run. */
static void test_net__server_stops_in_between__they_are_closed(void **state)
{
    struct fake *f = *state;
    struct crowd w;
    pthread_t stopper;
    crowd_waits(f, &w);
    for (int i = 0; i < 5; i++) {
        ask(w.c[i], "WRITE", "x");
    }
    assert_int_equal(pthread_create(&stopper, NULL, stop_server, f), 0);
    while (!atomic_load(&f->net->stop)) {
        sched_yield();
    }
    loop_poke(&f->net->loops[0]); /* whether the stopper has done so yet or not */
    fake_open_gate(f);
    for (int i = 0; i < MANY; i++) {
        fake_expect_closed(w.c[i]);
    }
    assert_int_equal(pthread_join(stopper, NULL), 0);
    assert_int_equal(atomic_load(&f->tail), 0);
    crowd_leaves(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_ONCE(test_net__many_arrive_together__are_looked_at_together),
        TEST(test_net__many_arrive_together__run_in_the_order_of_their_arrival),
        TEST(test_net__all_kinds_arrive_together__each_is_served),
        TEST(test_net__killed_by_one_that_arrived_before__does_not_run),
        TEST(test_net__server_stops_in_between__they_are_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
