/* SPDX-License-Identifier: MIT */
/* test_topics.c - who listens to what, beside a table of bits; and joined, left and published from
 * several threads at once. */
#include "net/topics.h"

#include "base/buf.h"
#include "base/glob.h"
#include "lib/rng.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define LISTENERS 12
#define NAMES 40

static struct topics *topics;
static struct topic_set sets[LISTENERS];
static bool model[LISTENERS][TOPIC_KINDS][NAMES];
static char names[NAMES][16];

static int setup(void **state)
{
    (void)state;
    topics = topics_new();
    memset(model, 0, sizeof model);
    for (int i = 0; i < LISTENERS; i++) {
        topic_set_init(&sets[i]);
    }
    for (int i = 0; i < NAMES; i++) {
        snprintf(names[i], sizeof names[i], i % 4 == 0 ? "c?%d*" : "ch%d", i);
    }
    names[1][0] = '\0'; /* a name like any other */
    return 0;
}

static void leave_everything(int who)
{
    struct bk_span name;
    for (int kind = 0; kind < TOPIC_KINDS; kind++) {
        while (topic_set_first(&sets[who], (enum topic_kind)kind, &name)) {
            struct bk_buf copy = {0};
            bk_buf_append(&copy, name.data, name.len);
            assert_true(
                topics_leave(topics, &sets[who], (enum topic_kind)kind, bk_buf_span(&copy)));
            bk_buf_fini(&copy);
        }
    }
    memset(model[who], 0, sizeof model[who]);
}

static int teardown(void **state)
{
    (void)state;
    for (int i = 0; i < LISTENERS; i++) {
        leave_everything(i);
        topic_set_fini(&sets[i]);
    }
    topics_free(&topics);
    return 0;
}

struct heard {
    unsigned direct[LISTENERS], by_pattern[LISTENERS];
};

static void hear(void *arg, void *who, const struct bk_span *pattern)
{
    struct heard *h = arg;
    size_t i = (size_t)((struct topic_set *)who - sets);
    (pattern == NULL ? h->direct : h->by_pattern)[i]++;
}

static void check_publish(enum topic_kind kind, int name)
{
    struct heard h = {0};
    size_t want = 0;
    struct bk_span channel = bk_span_str(names[name]);
    size_t told = topics_publish(topics, kind, channel, hear, &h);
    for (int who = 0; who < LISTENERS; who++) {
        unsigned patterns = 0;
        for (int i = 0; i < NAMES && kind == TOPIC_CHANNEL; i++) {
            patterns +=
                model[who][TOPIC_PATTERN][i] && bk_glob(bk_span_str(names[i]), channel, false);
        }
        assert_int_equal(h.direct[who], model[who][kind][name]);
        assert_int_equal(h.by_pattern[who], patterns);
        want += patterns + model[who][kind][name];
    }
    assert_int_equal(told, want);
}

static void count_name(void *arg, struct bk_span name)
{
    (void)name;
    (*(unsigned *)arg)++;
}

static void check_counts(enum topic_kind kind)
{
    unsigned there = 0;
    unsigned listed = 0;
    for (int i = 0; i < NAMES; i++) {
        size_t n = 0;
        for (int who = 0; who < LISTENERS; who++) {
            n += model[who][kind][i];
        }
        assert_int_equal(topics_listeners(topics, kind, bk_span_str(names[i])), n);
        there += n > 0;
    }
    topics_each(topics, kind, count_name, &listed);
    assert_int_equal(listed, there);
    assert_int_equal(topics_count(topics, kind), there);
}

static void test_topics__joined_and_left_at_random__are_what_a_table_says(void **state)
{
    (void)state;
    struct rng rng = {rng_seed_from_env("TOPICS_SEED")};
    print_message("TOPICS_SEED=%llu\n", (unsigned long long)rng.state);
    for (int step = 0; step < 20000; step++) {
        int who = (int)rng_below(&rng, LISTENERS);
        enum topic_kind kind = (enum topic_kind)rng_below(&rng, TOPIC_KINDS);
        int name = (int)rng_below(&rng, NAMES);
        bool *has = &model[who][kind][name];
        struct bk_span text = bk_span_str(names[name]);
        if (rng_percent(&rng, 50)) {
            assert_int_equal(topics_join(topics, &sets[who], kind, text, &sets[who]), !*has);
            *has = true;
        } else {
            assert_int_equal(topics_leave(topics, &sets[who], kind, text), *has);
            *has = false;
        }
        if (step % 20 == 0) {
            check_publish(step % 40 == 0 ? TOPIC_CHANNEL : TOPIC_SHARD, name);
        }
        if (step % 500 == 0) {
            leave_everything(who);
            check_counts(kind);
        }
    }
}

static void test_topics__nobody_listens__nobody_hears(void **state)
{
    (void)state;
    struct heard h = {0};
    assert_false(topics_any(topics));
    assert_int_equal(topics_publish(topics, TOPIC_CHANNEL, bk_span_str("x"), hear, &h), 0);
    assert_true(topics_join(topics, &sets[0], TOPIC_SHARD, bk_span_str("x"), &sets[0]));
    assert_false(topics_any(topics));
    assert_true(topics_join(topics, &sets[0], TOPIC_PATTERN, bk_span_str("y*"), &sets[0]));
    assert_true(topics_any(topics));
    assert_int_equal(topics_publish(topics, TOPIC_CHANNEL, bk_span_str("x"), hear, &h), 0);
}

/* The oldest first, whatever the hash says. */
static void test_topics__first__is_the_oldest(void **state)
{
    (void)state;
    struct bk_span name;
    for (int i = 0; i < NAMES; i++) {
        assert_true(topics_join(topics, &sets[0], TOPIC_CHANNEL, bk_span_str(names[i]), &sets[0]));
    }
    for (int i = 0; i < NAMES; i++) {
        assert_true(topic_set_first(&sets[0], TOPIC_CHANNEL, &name));
        assert_true(bk_span_eq(name, bk_span_str(names[i])));
        assert_true(topics_leave(topics, &sets[0], TOPIC_CHANNEL, bk_span_str(names[i])));
    }
}

/* ---- Threads ---- */

#define ROUNDS 20000

struct worker {
    int who;
    struct rng rng;
    _Atomic bool listens; /* to what hear_live is told of: between join and leave */
};
static struct worker workers[4];

/* Under the topic's mutex: who hears has joined, and has not left. */
static void hear_live(void *arg, void *who, const struct bk_span *pattern)
{
    (void)pattern;
    *(bool *)arg = *(bool *)arg && atomic_load(&((struct worker *)who)->listens);
}

static void *work_main(void *arg)
{
    struct worker *w = arg;
    bool *ok = bk_alloc(sizeof *ok);
    *ok = true;
    for (int i = 0; i < ROUNDS; i++) {
        struct bk_span name = bk_span_str(names[rng_below(&w->rng, 3) * 4]);
        enum topic_kind kind = rng_percent(&w->rng, 20) ? TOPIC_PATTERN : TOPIC_CHANNEL;
        atomic_store(&w->listens, true);
        *ok = *ok && topics_join(topics, &sets[w->who], kind, name, w);
        (void)topics_publish(topics, TOPIC_CHANNEL, name, hear_live, ok);
        *ok = *ok && topics_leave(topics, &sets[w->who], kind, name);
        atomic_store(&w->listens, false);
        (void)topics_publish(topics, TOPIC_CHANNEL, name, hear_live, ok);
    }
    return ok;
}

static void test_topics__several_threads__nobody_hears_what_he_has_left(void **state)
{
    (void)state;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        workers[i].who = i;
        workers[i].rng.state = (uint64_t)i;
        assert_int_equal(pthread_create(&threads[i], NULL, work_main, &workers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *ok = NULL;
        assert_int_equal(pthread_join(threads[i], &ok), 0);
        assert_true(*(bool *)ok);
        free(ok);
    }
    assert_int_equal(topics_count(topics, TOPIC_CHANNEL), 0);
    assert_int_equal(topics_count(topics, TOPIC_PATTERN), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_topics__joined_and_left_at_random__are_what_a_table_says),
        TEST(test_topics__nobody_listens__nobody_hears),
        TEST(test_topics__first__is_the_oldest),
        TEST(test_topics__several_threads__nobody_hears_what_he_has_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
