/* SPDX-License-Identifier: MIT */
/*
 * Messages between clients on several loops: order, limits, and a thousand subscriptions beside a
 * model. The replies themselves are compared with Redis's in test_events.c.
 */
#include "base/error.h"
#include "lib/rng.h"
#include "server/one_server.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define START(...) start((const char *const[]){"--io-threads", "4", __VA_ARGS__, NULL})

static int64_t number_of(struct reply *r, char type)
{
    assert_non_null(r);
    assert_int_equal(r->type, type);
    int64_t n = r->integer;
    reply_free(&r);
    return n;
}

/* ---- Order ---- */

#define PUBLISHERS 3
#define SUBSCRIBERS 5
#define MESSAGES 2000

/* Each message names its publisher and its number: those of one publisher come in order, and all of
 * them. */
static void check_order(struct respc *c)
{
    int next[PUBLISHERS] = {0};
    for (int i = 0; i < PUBLISHERS * MESSAGES; i++) {
        struct reply *r = respc_read(c);
        int from = -1;
        int number = -1;
        assert_non_null(r);
        assert_int_equal(r->elems, 3);
        assert_int_equal(sscanf(r->elem[2]->text, "%d:%d", &from, &number), 2);
        assert_in_range(from, 0, PUBLISHERS - 1);
        assert_int_equal(number, next[from]);
        next[from]++;
        reply_free(&r);
    }
}

static void test_pubsub__several_publishers__each_ones_messages_come_in_order(void **state)
{
    (void)state;
    START("--appendfsync", "no");
    struct respc *subs[SUBSCRIBERS];
    struct respc *pubs[PUBLISHERS];
    struct bk_buf b = {0};
    for (int i = 0; i < SUBSCRIBERS; i++) {
        subs[i] = expect_connection(&server);
        expect_reply(subs[i], "*3 [$\"subscribe\" $\"ch\" :1]", "SUBSCRIBE", "ch", NULL);
    }
    for (int i = 0; i < PUBLISHERS; i++) {
        pubs[i] = expect_connection(&server);
    }
    for (int i = 0; i < PUBLISHERS; i++) {
        b.len = 0;
        for (int n = 0; n < MESSAGES; n++) {
            char text[32];
            snprintf(text, sizeof text, "%d:%d", i, n);
            respc_format(&b, "PUBLISH", "ch", text, NULL);
        }
        assert_true(respc_send(pubs[i], b.data, b.len));
    }
    for (int i = 0; i < SUBSCRIBERS; i++) {
        check_order(subs[i]);
        respc_close(&subs[i]);
    }
    for (int i = 0; i < PUBLISHERS; i++) {
        for (int n = 0; n < MESSAGES; n++) {
            assert_int_equal(number_of(respc_read(pubs[i]), ':'), SUBSCRIBERS);
        }
        respc_close(&pubs[i]);
    }
    bk_buf_fini(&b);
    expect_clean_stop(&server);
}

/* ---- Limits ---- */

#define BIG 100000

/* How many have heard it; other, who reads it, among them. */
static int64_t publish_to(struct respc *pub, const char *text, struct respc *other)
{
    int64_t heard = number_of(respc_command(pub, "PUBLISH", "ch", text, NULL), ':');
    struct reply *r = respc_read(other);
    assert_non_null(r);
    assert_int_equal(r->elem[2]->len, strlen(text));
    reply_free(&r);
    return heard;
}

static void test_pubsub__subscriber_that_does_not_read__is_closed_and_memory_is_bounded(
    void **state)
{
    (void)state;
    START("--client-output-buffer-limit", "pubsub", "8mb", "0", "0");
    struct respc *slow = expect_connection(&server);
    struct respc *other = expect_connection(&server);
    struct respc *pub = expect_connection(&server);
    char *text = bk_alloc(BIG + 1);
    memset(text, 'x', BIG);
    text[BIG] = '\0';
    expect_reply(slow, "*3 [$\"subscribe\" $\"ch\" :1]", "SUBSCRIBE", "ch", NULL);
    expect_reply(other, "*3 [$\"subscribe\" $\"ch\" :1]", "SUBSCRIBE", "ch", NULL);
    long before = server_memory_kib(&server, "VmHWM:");
    int64_t heard = 2;
    for (int i = 0; i < 1000; i++) { /* 100 MB */
        heard = publish_to(pub, text, other);
    }
    long grown = server_memory_kib(&server, "VmHWM:") - before;
    /* Its loop closes it, which on a busy machine may not have had a turn meanwhile. */
    for (int i = 0; heard != 1 && i < 200000; i++) {
        heard = publish_to(pub, "x", other);
    }
    assert_int_equal(heard, 1);
    assert_int_equal(expect_info(pub, "clients", "connected_clients:"), 2);
    if (EXPECT_MEMORY) {
        print_message("grown by %ld KiB\n", grown);
        assert_true(grown < 64 * 1024); /* its limit, a few times over */
    }
    free(text);
    respc_close(&slow);
    respc_close(&other);
    respc_close(&pub);
    expect_clean_stop(&server);
}

/* ---- Who waits ---- */

/* Once a client waits: its wait is over. */
static void unblock(struct respc *c, int64_t id)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, id);
    while (expect_info(c, "clients", "blocked_clients:") == 0) {
    }
    expect_reply(c, ":1", "CLIENT", "UNBLOCK", text, NULL);
}

/* Its loop must not lose its way among its connections. */
static void test_pubsub__unblocked_client_closes_the_next_one__others_are_served(void **state)
{
    (void)state;
    start((const char *const[]){"--io-threads", "1", "--client-output-buffer-limit", "pubsub",
                                "8192", "0", "0", NULL});
    char text[12000];
    struct bk_buf b = {0};
    struct respc *other = expect_connection(&server);
    struct respc *waits = expect_connection(&server);
    int64_t id = number_of(respc_command(waits, "CLIENT", "ID", NULL), ':');
    struct respc *next = expect_connection(&server);
    expect_reply(next, "*3 [$\"subscribe\" $\"y\" :1]", "SUBSCRIBE", "y", NULL);
    struct reply *hello = respc_command(waits, "HELLO", "3", NULL);
    reply_free(&hello);
    expect_reply(waits, ">3 [$\"subscribe\" $\"x\" :1]", "SUBSCRIBE", "x", NULL);
    memset(text, 'z', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    respc_format(&b, "WAIT", "1", "0", NULL);
    respc_format(&b, "PUBLISH", "y", text, NULL); /* more than next may have */
    respc_format(&b, "PUBLISH", "x", "hi", NULL);
    assert_true(respc_send(waits, b.data, b.len));
    unblock(other, id);
    expect_next(waits, ":0");
    expect_next(waits, ":1");
    expect_next(waits, ">3 [$\"message\" $\"x\" $\"hi\"]");
    expect_next(waits, ":1");
    expect_closed(next);
    expect_reply(other, "+PONG", "PING", NULL);
    bk_buf_fini(&b);
    respc_close(&next);
    respc_close(&waits);
    respc_close(&other);
    expect_clean_stop(&server);
}

/* ---- Beside a model ---- */

#define CLIENTS 8
#define CHANNELS 12
#define STEPS 4000

struct listener {
    struct respc *c;
    bool channel[CHANNELS]; /* c0, c1 ... */
    bool pattern[CHANNELS]; /* *0, *1, ...: of all channels whose name ends so */
    int64_t due;            /* messages that must come */
};

static int64_t count_of(const struct listener *l)
{
    int64_t n = 0;
    for (int i = 0; i < CHANNELS; i++) {
        n += l->channel[i] + l->pattern[i];
    }
    return n;
}

/* Reads what must come before the answer to what has just been asked, then that. */
static void expect_answer(struct listener *l, const char *word, int64_t count)
{
    for (;;) {
        struct reply *r = respc_read(l->c);
        assert_non_null(r);
        bool message =
            strcmp(r->elem[0]->text, "message") == 0 || strcmp(r->elem[0]->text, "pmessage") == 0;
        if (!message) {
            assert_string_equal(r->elem[0]->text, word);
            assert_int_equal(r->elem[2]->integer, count);
            assert_int_equal(l->due, 0); /* all that was published before comes before */
        }
        l->due -= message;
        reply_free(&r);
        if (!message) {
            break;
        }
    }
}

static void change(struct rng *rng, struct listener *l)
{
    int i = (int)rng_below(rng, CHANNELS);
    bool by_pattern = rng_percent(rng, 30);
    bool *has = by_pattern ? &l->pattern[i] : &l->channel[i];
    bool join = rng_percent(rng, 50);
    char name[16];
    char word[16];
    struct bk_buf b = {0};
    snprintf(name, sizeof name, by_pattern ? "*%d" : "c%d", i);
    snprintf(word, sizeof word, "%s%ssubscribe", by_pattern ? "p" : "", join ? "" : "un");
    *has = join;
    respc_format(&b, word, name, NULL);
    assert_true(respc_send(l->c, b.data, b.len));
    bk_buf_fini(&b);
    expect_answer(l, word, count_of(l));
}

/* A client that goes without a word, and a new one in its place. */
static void replace(struct listener *l)
{
    respc_close(&l->c);
    *l = (struct listener){.c = expect_connection(&server)};
}

static bool ends_with(int channel, int pattern)
{
    return channel == pattern || (channel >= 10 && channel % 10 == pattern);
}

static void publish(struct rng *rng, struct respc *pub, struct listener *all, bool some_left)
{
    int i = (int)rng_below(rng, CHANNELS);
    char name[16];
    int64_t want = 0;
    snprintf(name, sizeof name, "c%d", i);
    for (int who = 0; who < CLIENTS; who++) {
        int64_t n = all[who].channel[i];
        for (int p = 0; p < CHANNELS; p++) {
            n += all[who].pattern[p] && ends_with(i, p);
        }
        all[who].due += n;
        want += n;
    }
    int64_t told = number_of(respc_command(pub, "PUBLISH", name, "x", NULL), ':');
    /* One that has closed its end is a subscriber until the server has seen it. */
    assert_true(some_left ? told >= want : told == want);
}

/* Everything that is due, and nothing else. */
static void finish(struct listener *l)
{
    while (l->due > 0) {
        struct reply *r = respc_read(l->c);
        assert_non_null(r);
        l->due--;
        reply_free(&r);
    }
    if (count_of(l) == 0) {
        expect_reply(l->c, "+PONG", "PING", NULL);
    } else {
        expect_reply(l->c, "*2 [$\"pong\" $\"\"]", "PING", NULL);
    }
}

static void test_pubsub__subscriptions_at_random__are_what_the_model_says(void **state)
{
    (void)state;
    struct listener all[CLIENTS];
    struct rng rng = {rng_seed_from_env("PUBSUB_SEED")};
    print_message("PUBSUB_SEED=%" PRIu64 "\n", rng.state);
    START("--appendfsync", "no");
    struct respc *pub = expect_connection(&server);
    for (int i = 0; i < CLIENTS; i++) {
        all[i] = (struct listener){.c = expect_connection(&server)};
    }
    for (int step = 0; step < STEPS; step++) {
        struct listener *l = &all[rng_below(&rng, CLIENTS)];
        if (rng_percent(&rng, 50)) {
            publish(&rng, pub, all, false);
        } else {
            change(&rng, l);
        }
        if (rng_below(&rng, 200) == 0) {
            replace(l);
            publish(&rng, pub, all, true);
            while (expect_info(pub, "clients", "connected_clients:") != CLIENTS + 1) {
            }
        }
    }
    for (int i = 0; i < CLIENTS; i++) {
        finish(&all[i]);
        respc_close(&all[i].c);
    }
    respc_close(&pub);
    expect_clean_stop(&server);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_none, teardown_server)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_pubsub__several_publishers__each_ones_messages_come_in_order),
        TEST(test_pubsub__subscriber_that_does_not_read__is_closed_and_memory_is_bounded),
        TEST(test_pubsub__unblocked_client_closes_the_next_one__others_are_served),
        TEST(test_pubsub__subscriptions_at_random__are_what_the_model_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
