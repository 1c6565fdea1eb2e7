/* SPDX-License-Identifier: MIT */
/* test_net_push.c - bytes that one connection's thread hands to the clients of others. */
#include "net_rig.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static uint64_t killed_obuf(struct fake *f)
{
    struct net_stats s;
    net_stats_get(f->net, &s);
    return s.connections_killed_obuf;
}

static uint64_t refused(struct fake *f)
{
    return atomic_load(&f->refused) > 0;
}

static uint64_t queued(struct fake *f)
{
    return atomic_load(&atomic_load(&f->joined[0])->queued);
}

static uint64_t tail(struct fake *f)
{
    return atomic_load(&f->tail);
}

/* Joined, and on the loop that connections are given in turn. */
static int join(struct fake *f)
{
    int fd = fake_connect(f);
    fake_send(fd, "JOIN\r\n");
    fake_expect(fd, "+OK\r\n");
    return fd;
}

static int plain(struct fake *f)
{
    int fd = fake_connect(f);
    fake_send(fd, "ECHO x\r\n");
    fake_expect(fd, "$1\r\nx\r\n");
    return fd;
}

/* ---- Order ---- */

static void test_push__from_other_loops__comes_in_the_senders_order(void **state)
{
    struct fake *f = *state;
    struct bk_buf tell = {0};
    struct bk_buf want = {0};
    fake_start(f, 3);
    int hears[2] = {join(f), join(f)};
    int tells = plain(f);
    for (int i = 0; i < 5000; i++) { /* many ticks of the sender */
        bk_buf_printf(&tell, "TELL m%04d\r\n", i);
        bk_buf_printf(&want, "*1\r\n$5\r\nm%04d\r\n", i);
    }
    bk_buf_append(&tell, "", 1);
    bk_buf_append(&want, "", 1);
    fake_send(tells, (const char *)tell.data);
    for (int i = 0; i < 2; i++) {
        fake_expect(hears[i], (const char *)want.data);
        close(hears[i]);
    }
    close(tells);
    bk_buf_fini(&tell);
    bk_buf_fini(&want);
}

static void test_push__to_a_client_in_resp3__is_a_push(void **state)
{
    struct fake *f = *state;
    fake_start(f, 2);
    int a = join(f);
    int b = join(f);
    fake_send(a, "PROTO 3\r\n");
    fake_expect(a, "+OK\r\n");
    fake_send(b, "TELL x\r\n");
    fake_expect(a, ">1\r\n$1\r\nx\r\n");
    fake_expect(b, "+OK\r\n*1\r\n$1\r\nx\r\n");
    close(a);
    close(b);
}

static void test_push__to_the_sender_itself__comes_before_the_reply_if_asked_for(void **state)
{
    struct fake *f = *state;
    fake_start(f, 1);
    int a = join(f);
    fake_send(a, "FIRST 1\r\nTELL 2\r\nFIRST 3\r\nECHO e\r\nTELL 4\r\nECHO e\r\n");
    fake_expect(a, "*1\r\n$1\r\n1\r\n+OK\r\n");
    fake_expect(a, "+OK\r\n*1\r\n$1\r\n2\r\n");
    fake_expect(a, "*1\r\n$1\r\n3\r\n+OK\r\n$1\r\ne\r\n");
    fake_expect(a, "+OK\r\n*1\r\n$1\r\n4\r\n$1\r\ne\r\n");
    close(a);
}

/* While the loop of clients with even numbers stands still: from..to are told, one after another.
 */
static void tell_many(int fd, int from, int to, struct bk_buf *want)
{
    struct bk_buf tell = {0};
    struct bk_buf said = {0};
    for (int i = from; i < to; i++) {
        bk_buf_printf(&tell, "TELL m%06d\r\n", i);
        bk_buf_printf(&said, "+OK\r\n");
        bk_buf_printf(want, "*1\r\n$7\r\nm%06d\r\n", i);
        if ((i + 1) % 1000 == 0 || i + 1 == to) {
            bk_buf_append(&tell, "", 1);
            bk_buf_append(&said, "", 1);
            fake_send(fd, (const char *)tell.data);
            fake_expect(fd, (const char *)said.data);
            tell.len = 0;
            said.len = 0;
        }
    }
    bk_buf_fini(&tell);
    bk_buf_fini(&said);
}

/* Of 100,000 messages that wait when the loop goes on it hands over a tick's worth, then it reads
 * what others have sent meanwhile. */
static void test_push__flood_for_one__others_are_answered_between_its_messages(void **state)
{
    struct fake *f = *state;
    struct bk_buf want = {0};
    fake_start(f, 2);
    int a = join(f);
    int b = plain(f);
    int c = plain(f); /* on a's loop, as d */
    int gap = plain(f);
    int d = plain(f);
    fake_send(c, "GATE\r\n");
    fake_until(f, at_gate, 1);
    tell_many(b, 0, 100000, &want);
    uint64_t all = queued(f);
    atomic_store(&f->late, true);
    fake_send(d, "LAG 0\r\n");
    fake_open_gate(f);
    char reply[32] = {0};
    for (size_t n = 0; n < sizeof reply - 1 && strchr(reply, '\n') == NULL; n++) {
        assert_int_equal(recv(d, reply + n, 1, 0), 1);
    }
    assert_in_range(strtoull(reply + 1, NULL, 10), all / 2, all);
    bk_buf_append(&want, "", 1);
    fake_expect(a, (const char *)want.data);
    fake_until(f, queued, 0);
    bk_buf_fini(&want);
    close(a);
    close(b);
    close(c);
    close(gap);
    close(d);
}

/* However many ticks that takes: what came before a command of the receiver's comes before its
 * reply, what it tells itself behind that. */
static void test_push__receiver_of_a_flood_sends_commands__order_stays(void **state)
{
    struct fake *f = *state;
    struct bk_buf want = {0};
    fake_start(f, 2);
    int a = join(f);
    int b = plain(f);
    int c = plain(f); /* on a's loop */
    fake_send(c, "GATE\r\n");
    fake_until(f, at_gate, 1);
    tell_many(b, 0, 5000, &want);
    fake_send(a, "ECHO 1\r\nTELL own\r\nECHO 2\r\nFIRST own\r\n");
    fake_open_gate(f);
    bk_buf_printf(&want,
                  "$1\r\n1\r\n+OK\r\n*1\r\n$3\r\nown\r\n$1\r\n2\r\n*1\r\n$3\r\nown\r\n+OK\r\n");
    bk_buf_append(&want, "", 1);
    fake_expect(a, (const char *)want.data);
    bk_buf_fini(&want);
    close(a);
    close(b);
    close(c);
}

/* Each of many receivers gets all of it, in its order: nobody's turn is forgotten. */
static void test_push__flood_for_many__all_have_their_turns(void **state)
{
    struct fake *f = *state;
    struct bk_buf want = {0};
    int a[FAKE_JOINED_MAX];
    fake_start(f, 1);
    for (unsigned i = 0; i < FAKE_JOINED_MAX; i++) {
        a[i] = join(f);
    }
    int b = plain(f);
    tell_many(b, 0, 3000, &want);
    bk_buf_append(&want, "", 1);
    for (unsigned i = 0; i < FAKE_JOINED_MAX; i++) {
        fake_expect(a[i], (const char *)want.data);
        close(a[i]);
    }
    bk_buf_fini(&want);
    close(b);
}

/* A command that waits for room, and one that runs in slices. */
static void test_push__while_a_command_runs__waits_for_its_reply(void **state)
{
    struct fake *f = *state;
    fake_start(f, 2);
    int a = join(f);
    int b = plain(f);
    fake_send(a, "NOROOM mine\r\nECHO e\r\n");
    fake_until(f, refused, 1);
    fake_send(b, "TELL x\r\nTELL y\r\n");
    fake_expect(b, "+OK\r\n+OK\r\n");
    assert_true(fake_is_silent(a, 50));
    fake_give_room(f);
    fake_expect(a, "$4\r\nmine\r\n*1\r\n$1\r\nx\r\n*1\r\n$1\r\ny\r\n$1\r\ne\r\n");
    close(a);
    close(b);
}

/* ---- The log ---- */

static void test_push__depends_on_an_uncommitted_write__waits_with_all_behind_it(void **state)
{
    struct fake *f = *state;
    atomic_store(&f->commits_at_once, false);
    fake_start(f, 2);
    int a = join(f);
    int b = plain(f);
    fake_send(b, "TELL before\r\n");
    fake_expect(a, "*1\r\n$6\r\nbefore\r\n");
    fake_send(b, "TELL x 10\r\nTELL y\r\n");
    fake_expect(b, "+OK\r\n+OK\r\n+OK\r\n");
    assert_true(fake_is_silent(a, 50));
    fake_commit(f, 10);
    fake_expect(a, "*1\r\n$1\r\nx\r\n*1\r\n$1\r\ny\r\n");
    close(a);
    close(b);
}

static void test_push__write_undone__vanishes_and_its_neighbours_stay(void **state)
{
    struct fake *f = *state;
    atomic_store(&f->commits_at_once, false);
    fake_start(f, 2);
    int a = join(f);
    int b = plain(f);
    fake_send(b, "TELL x 10\r\nTELL lost 20\r\nTELL lost 20\r\nTELL y 30\r\n");
    fake_expect(b, "+OK\r\n+OK\r\n+OK\r\n+OK\r\n");
    fake_send(a, "ECHO e\r\n");
    assert_true(fake_is_silent(a, 50));
    atomic_store(&f->undone_from, 10);
    atomic_store(&f->undone_to, 20);
    fake_commit(f, 30);
    fake_expect(a, "*1\r\n$1\r\nx\r\n*1\r\n$1\r\ny\r\n$1\r\ne\r\n");
    close(a);
    close(b);
}

/* A client that wants no replies has none that wait; its writes count all the same. */
static void test_publish__behind_a_write_without_a_reply__waits_for_it(void **state)
{
    static const char done[] = "*3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$4\r\ndone\r\n";
    struct fake *f = *state;
    atomic_store(&f->commits_at_once, false);
    fake_start(f, 2);
    int a = plain(f);
    int b = plain(f);
    fake_send(a, "SUBSCRIBE ch\r\n");
    fake_expect(a, "+OK\r\n");
    fake_send(b, "QUIET\r\n");
    fake_until(f, tail, 10);
    fake_send(b, "ECHO x\r\n"); /* a tick of its own */
    fake_expect(b, "$1\r\nx\r\n");
    fake_send(b, "PUBLISH ch done\r\n");
    fake_expect(b, "+OK\r\n");
    assert_true(fake_is_silent(a, 50));
    fake_commit(f, 10);
    fake_expect(a, done);
    /* A write that is known to be undone holds back nothing. */
    fake_send(b, "QUIET\r\n");
    fake_until(f, tail, 20);
    atomic_store(&f->undone_from, 10);
    atomic_store(&f->undone_to, 20);
    fake_commit(f, 20);
    fake_send(b, "PUBLISH ch done\r\n");
    fake_expect(b, "+OK\r\n");
    fake_expect(a, done);
    close(a);
    close(b);
}

static uint64_t committed(struct fake *f)
{
    return atomic_load(&f->committed);
}

/* The command has written; its own message, in front of its reply, is more than its client may
 * hold. The reply is lost with the connection, the write has happened and is handed to the disk,
 * though nobody writes after it. */
static void test_push__own_message_closes_the_sender__its_write_is_flushed(void **state)
{
    struct fake *f = *state;
    f->cfg.tunables.obuf_pubsub_hard_bytes = 16;
    fake_start(f, 1);
    int a = join(f);
    fake_send(a, "FIRST long-enough-for-the-limit 10\r\n");
    fake_expect_closed(a);
    assert_int_equal(killed_obuf(f), 1);
    fake_until(f, committed, 10);
    close(a);
}

/* ---- Limits and ends ---- */

#define BIG 100000

/* n pushes of BIG bytes; the sender gets all its answers. */
static void tell_big(int fd, int n)
{
    struct bk_buf line = {0};
    bk_buf_printf(&line, "*2\r\n$4\r\nTELL\r\n$%d\r\n", BIG);
    memset(bk_buf_reserve(&line, BIG), 'x', BIG);
    line.len += BIG;
    bk_buf_append(&line, "\r\n", 3);
    for (int i = 0; i < n; i++) {
        fake_send(fd, (const char *)line.data);
        fake_expect(fd, "+OK\r\n");
    }
    bk_buf_fini(&line);
}

/* The receiver's loop stands still: what is under way is bounded all the same. */
static void test_push__loop_that_takes_nothing__holds_no_more_than_the_limit(void **state)
{
    struct fake *f = *state;
    f->cfg.tunables.obuf_pubsub_hard_bytes = 1u << 20;
    fake_start(f, 2);
    int a = join(f);
    int b = plain(f);
    int c = plain(f); /* on a's loop */
    fake_send(c, "GATE\r\n");
    fake_until(f, at_gate, 1);
    tell_big(b, 100);
    assert_in_range(queued(f), 1u << 20, (1u << 20) + BIG + 100);
    fake_open_gate(f);
    fake_until(f, killed_obuf, 1);
    fake_until(f, connected, 2);
    fake_until(f, queued, 0);
    close(a);
    close(b);
    close(c);
}

static void test_push__client_that_does_not_read__is_closed_and_others_are_served(void **state)
{
    struct fake *f = *state;
    f->cfg.tunables.obuf_pubsub_hard_bytes = 1u << 20;
    fake_start(f, 2);
    int a = join(f);
    int b = plain(f);
    tell_big(b, 200); /* far more than the sockets and the limit hold */
    fake_until(f, killed_obuf, 1);
    fake_until(f, connected, 1);
    fake_send(b, "ECHO b\r\n");
    fake_expect(b, "$1\r\nb\r\n");
    close(a);
    close(b);
}

static void test_push__receiver_vanishes__what_is_under_way_is_dropped(void **state)
{
    struct fake *f = *state;
    fake_start(f, 2);
    int a = join(f);
    int b = plain(f);
    int c = plain(f); /* on a's loop */
    fake_send(c, "GATE\r\n");
    fake_until(f, at_gate, 1);
    fake_send(b, "TELL x\r\nTELL y\r\n");
    fake_expect(b, "+OK\r\n+OK\r\n");
    struct linger now = {.l_onoff = 1};
    setsockopt(a, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(a);
    fake_open_gate(f);
    fake_until(f, connected, 2);
    fake_send(b, "TELL z\r\n");
    fake_expect(b, "+OK\r\n");
    fake_until(f, queued, 0);
    close(b);
    close(c);
}

/* What was under way when the server stopped belongs to nobody: the sanitizers would tell. */
static void test_push__server_stops__leaves_nothing_behind(void **state)
{
    struct fake *f = *state;
    fake_start(f, 4);
    int hears[4];
    for (int i = 0; i < 4; i++) {
        hears[i] = join(f);
    }
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 4; i++) {
            fake_send(hears[i], "TELL x\r\nTELL y\r\n");
        }
    }
    for (int i = 0; i < 4; i++) {
        close(hears[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_ONCE(test_push__from_other_loops__comes_in_the_senders_order),
        TEST_ONCE(test_push__to_a_client_in_resp3__is_a_push),
        TEST_ONCE(test_push__to_the_sender_itself__comes_before_the_reply_if_asked_for),
        TEST_ONCE(test_push__flood_for_one__others_are_answered_between_its_messages),
        TEST_ONCE(test_push__receiver_of_a_flood_sends_commands__order_stays),
        TEST_ONCE(test_push__flood_for_many__all_have_their_turns),
        TEST_ONCE(test_push__while_a_command_runs__waits_for_its_reply),
        TEST_ONCE(test_push__depends_on_an_uncommitted_write__waits_with_all_behind_it),
        TEST_ONCE(test_push__write_undone__vanishes_and_its_neighbours_stay),
        TEST_ONCE(test_publish__behind_a_write_without_a_reply__waits_for_it),
        TEST_ONCE(test_push__own_message_closes_the_sender__its_write_is_flushed),
        TEST_ONCE(test_push__loop_that_takes_nothing__holds_no_more_than_the_limit),
        TEST_ONCE(test_push__client_that_does_not_read__is_closed_and_others_are_served),
        TEST_ONCE(test_push__receiver_vanishes__what_is_under_way_is_dropped),
        TEST_ONCE(test_push__server_stops__leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
