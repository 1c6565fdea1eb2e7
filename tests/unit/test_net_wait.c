/* SPDX-License-Identifier: MIT */
/* test_net_wait.c - connections that wait: for a commit, for room in the log, for a long command,
 * at the end. */
#include "net_rig.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static uint64_t waiting(struct fake *f)
{
    struct net_stats s;
    net_stats_get(f->net, &s);
    return s.replies_waiting;
}

static uint64_t reading(struct fake *f)
{
    struct net_stats s;
    net_stats_get(f->net, &s);
    return s.reading;
}

static uint64_t slices(struct fake *f)
{
    return (uint64_t)atomic_load(&f->running_slices);
}

static uint64_t tail(struct fake *f)
{
    return atomic_load(&f->tail);
}

static void test_net__trap47_uncommitted_write__holds_its_reply_and_those_behind_it(void **state)
{
    struct fake *f = *state;
    atomic_store(&f->commits_at_once, false);
    fake_start(f, 2);
    int a = fake_connect(f);
    int b = fake_connect(f);
    fake_send(a, "ECHO first\r\nWRITE\r\nECHO behind\r\n");
    fake_expect(a, "$5\r\nfirst\r\n");
    fake_until(f, waiting, 1);
    assert_true(fake_is_silent(a, 20));
    fake_send(b, "ECHO other\r\n");
    fake_expect(b, "$5\r\nother\r\n"); /* nobody else waits for it */
    fake_send(a, "ECHO later\r\n");
    fake_commit(f, 10);
    fake_expect(a, ":10\r\n$6\r\nbehind\r\n$5\r\nlater\r\n");
    fake_until(f, waiting, 0);
    close(a);
    close(b);
}

static void test_net__undone_write__answers_misconf_for_each_reply_that_depends_on_it(void **state)
{
    struct fake *f = *state;
    atomic_store(&f->commits_at_once, false);
    fake_start(f, 1);
    int a = fake_connect(f);
    fake_send(a, "WRITE\r\nECHO a\r\nQUIET\r\nWRITE\r\nWRITE\r\n");
    fake_until(f, tail, 40);
    fake_until(f, waiting, 1);
    atomic_store(&f->undone_from, 10);
    atomic_store(&f->undone_to, 40);
    fake_commit(f, 10);
    fake_expect(
        a, ":10\r\n$1\r\na\r\n"
           "-MISCONF Errors writing to the data files, this command was undone: disk on fire\r\n"
           "-MISCONF Errors writing to the data files, this command was undone: disk on fire\r\n");
    fake_send(a, "ECHO on\r\n");
    fake_expect(a, "$2\r\non\r\n");
    close(a);
}

static void test_net__no_room__parks_until_woken_and_runs_the_command_once(void **state)
{
    struct fake *f = *state;
    fake_start(f, 2);
    int a = fake_connect(f);
    int b = fake_connect(f);
    fake_send(a, "ECHO a\r\nNOROOM x\r\nECHO c\r\n");
    fake_expect(a, "$1\r\na\r\n");
    fake_until(f, parked, 1);
    fake_send(a, "ECHO d\r\n");
    fake_send(b, "ECHO b\r\n");
    fake_expect(b, "$1\r\nb\r\n");
    assert_true(fake_is_silent(a, 20));
    int before = atomic_load(&f->refused);
    net_wake(f->net); /* for nothing: it tries once more and waits on */
    assert_true(fake_is_silent(a, 20));
    assert_true(atomic_load(&f->refused) <= before + 2);
    fake_give_room(f);
    fake_expect(a, "$1\r\nx\r\n$1\r\nc\r\n$1\r\nd\r\n");
    fake_until(f, parked, 0);
    close(a);
    close(b);
}

/* Those behind the one that was refused wait for the next commit too, however late it is. */
static void test_net__no_room__nobody_tries_again_before_there_is_some(void **state)
{
    struct fake *f = *state;
    fake_start(f, 1);
    int a = fake_connect(f);
    int b = fake_connect(f);
    int c = fake_connect(f);
    fake_send(a, "NOROOM a\r\n");
    fake_send(b, "NOROOM b\r\n");
    fake_until(f, parked, 2);
    for (int i = 0; i < 100; i++) { /* ticks that others make */
        fake_send(c, "ECHO c\r\n");
        fake_expect(c, "$1\r\nc\r\n");
    }
    net_wake(f->net);
    for (int i = 0; i < 100; i++) {
        fake_send(c, "ECHO c\r\n");
        fake_expect(c, "$1\r\nc\r\n");
    }
    assert_in_range(atomic_load(&f->refused), 2, 12); /* and a look behind each arming */
    fake_give_room(f);
    fake_expect(a, "$1\r\na\r\n");
    fake_expect(b, "$1\r\nb\r\n");
    close(a);
    close(b);
    close(c);
}

/* Who waits by the clock, and stands before it, runs each time. */
static void test_net__no_room_behind_a_waiter__gets_its_turn(void **state)
{
    struct fake *f = *state;
    fake_start(f, 1);
    int a = fake_connect(f);
    int b = fake_connect(f);
    fake_send(a, "HOLD 1000000 x\r\n");
    fake_until(f, parked, 1);
    fake_send(b, "NOROOM b\r\n");
    fake_until(f, parked, 2);
    fake_give_room(f);
    fake_expect(b, "$1\r\nb\r\n");
    close(a);
    close(b);
}

static void test_net__value_being_read__others_are_served_and_order_is_kept(void **state)
{
    struct fake *f = *state;
    fake_start(f, 1);
    int a = fake_connect(f);
    int b = fake_connect(f);
    int c = fake_connect(f);
    fake_send(a, "ECHO a\r\nREAD x\r\nECHO c\r\nREAD y\r\nQUIT\r\n");
    fake_expect(a, "$1\r\na\r\n");
    fake_until(f, reading, 1);
    fake_send(b, "ECHO b\r\n");
    fake_expect(b, "$1\r\nb\r\n");
    fake_send(c, "READ z\r\n");
    fake_until(f, reading, 2);
    close(c);
    net_wake(f->net); /* not for them */
    assert_true(fake_is_silent(a, 20));
    fake_send(b, "KILL 3\r\n");
    fake_expect(b, ":1\r\n");
    fake_until(f, connected, 2);
    fake_until(f, reading, 1);
    fake_finish_reads(f);
    fake_expect(a, "$1\r\nx\r\n$1\r\nc\r\n$1\r\ny\r\n+OK\r\n");
    fake_expect_closed(a);
    fake_until(f, reading, 0);
    assert_int_equal(atomic_load(&f->running_slices), 0);
    close(a);
    close(b);
}

static void test_net__closed_while_waiting__is_dropped_cleanly(void **state)
{
    struct fake *f = *state;
    atomic_store(&f->commits_at_once, false);
    fake_start(f, 1);
    int a = fake_connect(f);
    int b = fake_connect(f);
    int c = fake_connect(f);
    int d = fake_connect(f);
    fake_send(a, "NOROOM x\r\nECHO y\r\n");
    fake_send(b, "SLICES 1000000000\r\n");
    fake_send(c, "WRITE\r\n");
    fake_until(f, parked, 1);
    fake_until(f, slices, 1);
    fake_until(f, waiting, 1);
    fake_send(d, "KILL 1\r\nKILL 2\r\nKILL 3\r\nKILL 99\r\n");
    fake_expect(d, ":1\r\n:1\r\n:1\r\n:0\r\n");
    fake_expect_closed(a);
    fake_expect_closed(b);
    fake_expect_closed(c);
    fake_until(f, parked, 0);
    fake_until(f, slices, 0);
    fake_until(f, waiting, 0);
    fake_until(f, connected, 1);
    fake_commit(f, 10);
    close(a);
    close(b);
    close(c);
    close(d);
}

static void test_net__long_command__lets_others_run_and_keeps_its_arguments(void **state)
{
    struct fake *f = *state;
    fake_start(f, 1);
    int a = fake_connect(f);
    int b = fake_connect(f);
    fake_send(a, "SLICES 300000\r\nECHO after\r\n");
    fake_until(f, slices, 1);
    fake_send(a, "ECHO more\r\n"); /* must not overwrite the argument of the command that runs */
    for (int i = 0; i < 10; i++) {
        fake_send(b, "ECHO b\r\n");
        fake_expect(b, "$1\r\nb\r\n");
    }
    fake_expect(a, "$6\r\n300000\r\n$5\r\nafter\r\n$4\r\nmore\r\n");
    close(a);
    close(b);
}

/* Commits come from another thread at any moment: a reply that missed its wake-up would never
 * leave. */
static void test_net__parked_by_the_clock__goes_on_in_time_and_others_never_wait(void **state)
{
    struct fake *f = *state;
    fake_start(f, 1);
    int a = fake_connect(f);
    int b = fake_connect(f);
    int64_t begin_us = bk_clock_mono_us(&bk_clock_system);
    fake_send(a, "HOLD 60\r\nECHO behind\r\n");
    fake_until(f, parked, 1);
    fake_send(b, "ECHO other\r\n");
    fake_expect(b, "$5\r\nother\r\n");
    net_wake(f->net); /* too early: it waits on */
    fake_expect(a, "$2\r\n60\r\n$6\r\nbehind\r\n");
    assert_true(bk_clock_mono_us(&bk_clock_system) - begin_us >= 59000);
    fake_until(f, parked, 0);
    assert_int_equal(atomic_load(&f->running_slices), 0);
    close(a);
    close(b);
}

/* It would never learn of it by reading, and a stop would wait for it in vain. */
static void test_net__parked_for_ever__ends_with_its_client_or_the_server(void **state)
{
    struct fake *f = *state;
    fake_start(f, 1);
    int a = fake_connect(f);
    int b = fake_connect(f);
    int c = fake_connect(f);
    int64_t begin_us;
    fake_send(a, "HOLD 0\r\n");
    fake_send(b, "HOLD 0\r\nECHO more\r\n");
    fake_send(c, "HOLD 100000\r\n");
    fake_until(f, parked, 3);
    close(a);
    fake_until(f, connected, 2);
    begin_us = bk_clock_mono_us(&bk_clock_system);
    net_shutdown(f->net, 60000);
    assert_true(bk_clock_mono_us(&bk_clock_system) - begin_us < 30000000);
    fake_expect_closed(b);
    fake_expect_closed(c);
    assert_int_equal(atomic_load(&f->running_slices), 0);
    close(b);
    close(c);
}

static void test_net__commits_race_with_waiting__no_wake_up_is_lost(void **state)
{
    struct fake *f = *state;
    atomic_store(&f->commits_at_once, false);
    fake_start(f, 2);
    int a = fake_connect(f);
    int b = fake_connect(f);
    for (uint64_t i = 0; i < 3000; i++) {
        fake_send(i % 2 == 0 ? a : b, "WRITE\r\n");
        uint64_t want = (i + 1) * 10;
        while (atomic_load(&f->tail) < want) {
        }
        fake_commit(f, want); /* at about the moment in which the loop goes to sleep */
        char text[32];
        snprintf(text, sizeof(text), ":%llu\r\n", (unsigned long long)want);
        fake_expect(i % 2 == 0 ? a : b, text);
    }
    close(a);
    close(b);
}

static void test_net__quit_and_half_close__send_all_replies_first(void **state)
{
    struct fake *f = *state;
    fake_start(f, 1);
    int a = fake_connect(f);
    fake_send(a, "ECHO a\r\nQUIT\r\nECHO never\r\n");
    fake_expect(a, "$1\r\na\r\n+OK\r\n");
    fake_expect_closed(a);
    close(a);
    atomic_store(&f->commits_at_once, false);
    int b = fake_connect(f);
    fake_send(b, "WRITE\r\n");
    shutdown(b, SHUT_WR);
    fake_until(f, waiting, 1);
    fake_commit(f, 10);
    fake_expect(b, ":10\r\n");
    fake_expect_closed(b);
    close(b);
}

/* In one tick: a's last commands run, its earlier reply becomes committed, and only then the loop
 * looks at what waits. While the loop stands at the gate, these become ready in that order. */
static void test_net__older_reply_leaves_in_the_tick_of_quit__later_ones_still_do(void **state)
{
    struct fake *f = *state;
    atomic_store(&f->commits_at_once, false);
    fake_start(f, 1);
    int a = fake_connect(f);
    int b = fake_connect(f);
    int c = fake_connect(f);
    fake_until(f, connected, 3);
    fake_send(a, "WRITE\r\n");
    fake_until(f, waiting, 1);
    fake_send(c, "GATE\r\n");
    fake_until(f, at_gate, 1);
    fake_send(a, "ECHO hello\r\nQUIT\r\n");
    fake_send(b, "COMMIT 10\r\n");
    net_wake(f->net);
    fake_open_gate(f);
    fake_expect(b, "+OK\r\n");
    fake_expect(c, "+OK\r\n");
    fake_commit(f, 10); /* should the events have come in another order */
    fake_expect(a, ":10\r\n$5\r\nhello\r\n+OK\r\n");
    fake_expect_closed(a);
    close(a);
    close(b);
    close(c);
}

static int64_t wall_ms(void)
{
    return bk_clock_wall_ms(&bk_clock_system);
}

static void test_net__command_behind_a_slow_one__gets_its_own_moment(void **state)
{
    struct fake *f = *state;
    char text[64];
    fake_start(f, 1);
    int a = fake_connect(f);
    fake_until(f, connected, 1);
    int64_t later = wall_ms() + 100;
    snprintf(text, sizeof(text), "GATE\r\nSINCE %lld\r\n", (long long)later);
    fake_send(a, text);
    fake_until(f, at_gate, 1);
    while (wall_ms() < later) {
        fake_is_silent(a, 5); /* the time that passes is what the test is about */
    }
    fake_open_gate(f);
    fake_expect(a, "+OK\r\n:1\r\n");
    close(a);
}

static uint64_t memory_is_large(struct fake *f)
{
    struct net_stats s;
    net_stats_get(f->net, &s);
    return s.clients_memory > 2000000;
}

static void test_net__parked_command__counts_in_the_memory_of_its_client(void **state)
{
    struct fake *f = *state;
    static char big[2000001];
    fake_start(f, 1);
    int a = fake_connect(f);
    memset(big, 'x', sizeof(big) - 1);
    fake_send(a, "*3\r\n$6\r\nNOROOM\r\n$1\r\nx\r\n$2000000\r\n");
    fake_send(a, big);
    fake_send(a, "\r\n");
    fake_until(f, parked, 1);
    fake_until(f, memory_is_large, 1);
    fake_give_room(f);
    fake_expect(a, "$1\r\nx\r\n");
    fake_until(f, memory_is_large, 0);
    close(a);
}

static void test_net__shutdown__sends_what_is_committed_and_ends_what_runs(void **state)
{
    struct fake *f = *state;
    atomic_store(&f->commits_at_once, false);
    fake_start(f, 2);
    int a = fake_connect(f);
    int b = fake_connect(f);
    fake_send(a, "WRITE\r\n");
    fake_send(b, "SLICES 200000\r\n");
    fake_until(f, waiting, 1);
    fake_until(f, slices, 1);
    fake_commit(f, 10);
    net_shutdown(f->net, 10000);
    fake_expect(a, ":10\r\n");
    fake_expect(b, "$6\r\n200000\r\n");
    fake_expect_closed(a);
    fake_expect_closed(b);
    close(a);
    close(b);
}

static void test_net__shutdown_with_stuck_clients__ends_at_the_deadline(void **state)
{
    struct fake *f = *state;
    atomic_store(&f->commits_at_once, false);
    fake_start(f, 2);
    int a = fake_connect(f);
    int b = fake_connect(f);
    int c = fake_connect(f);
    fake_send(a, "WRITE\r\n");
    fake_send(b, "NOROOM x\r\n");
    fake_send(c, "SLICES 1000000000\r\n");
    fake_until(f, waiting, 1);
    fake_until(f, parked, 1);
    fake_until(f, slices, 1);
    net_shutdown(f->net, 50);
    fake_expect_closed(a);
    fake_expect_closed(b);
    fake_expect_closed(c);
    assert_int_equal(atomic_load(&f->running_slices), 0);
    close(a);
    close(b);
    close(c);
}

static void test_conn_state__moves__are_those_of_the_table(void **state)
{
    struct fake *f = *state;
    fake_start(f, 1);
    for (int from = 0; from < CONN_STATES; from++) {
        assert_false(conn_state_legal(CONN_CLOSED, (enum conn_state)from));
        assert_int_equal(conn_state_legal((enum conn_state)from, CONN_CLOSED), from != CONN_CLOSED);
    }
    assert_false(conn_state_legal(CONN_CLOSING, CONN_OPEN));
    assert_false(conn_state_legal(CONN_READY, CONN_PARKED));
    assert_false(
        conn_state_legal(CONN_PARKED, CONN_CLOSING)); /* its command has not been answered */
    assert_true(conn_state_legal(CONN_OPEN, CONN_PARKED));
    assert_true(conn_state_legal(CONN_SLICE, CONN_PAUSED));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_net__trap47_uncommitted_write__holds_its_reply_and_those_behind_it),
        TEST(test_net__undone_write__answers_misconf_for_each_reply_that_depends_on_it),
        TEST(test_net__no_room__parks_until_woken_and_runs_the_command_once),
        TEST(test_net__no_room__nobody_tries_again_before_there_is_some),
        TEST(test_net__no_room_behind_a_waiter__gets_its_turn),
        TEST(test_net__value_being_read__others_are_served_and_order_is_kept),
        TEST(test_net__closed_while_waiting__is_dropped_cleanly),
        TEST(test_net__long_command__lets_others_run_and_keeps_its_arguments),
        TEST(test_net__parked_by_the_clock__goes_on_in_time_and_others_never_wait),
        TEST(test_net__parked_for_ever__ends_with_its_client_or_the_server),
        TEST(test_net__commits_race_with_waiting__no_wake_up_is_lost),
        TEST(test_net__quit_and_half_close__send_all_replies_first),
        TEST(test_net__older_reply_leaves_in_the_tick_of_quit__later_ones_still_do),
        TEST(test_net__command_behind_a_slow_one__gets_its_own_moment),
        TEST(test_net__parked_command__counts_in_the_memory_of_its_client),
        TEST(test_net__shutdown__sends_what_is_committed_and_ends_what_runs),
        TEST(test_net__shutdown_with_stuck_clients__ends_at_the_deadline),
        TEST(test_conn_state__moves__are_those_of_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
