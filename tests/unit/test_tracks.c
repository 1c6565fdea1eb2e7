/* SPDX-License-Identifier: MIT */
/* test_tracks.c - who remembers which key: against a plain model, from several threads, and what a
 * cleared table gives back. */
#include "net/tracks.h"

#include "lib/rng.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WHOS 40
#define KEYS 300

static atomic_int refs[WHOS]; /* who is the address of one of them */
static atomic_bool dropped_uncounted;

static void ref(void *who)
{
    atomic_fetch_add((atomic_int *)who, 1);
}

/* One that is dropped before it is counted may be the last: its owner is gone too early. */
static void drop(void *who)
{
    if (atomic_fetch_sub((atomic_int *)who, 1) <= 0) {
        atomic_store(&dropped_uncounted, true);
    }
}

static bool add(struct tracks *t, struct bk_span key, unsigned who)
{
    return tracks_add(t, key, &refs[who]);
}

static struct bk_span key_name(char text[16], unsigned i)
{
    return bk_span_of(text, (size_t)snprintf(text, 16, "key:%u", i));
}

static bool listed(const struct tracks_list *l, unsigned who)
{
    bool found = false;
    for (size_t i = 0; i < l->n; i++) {
        found = found || l->v[i] == &refs[who];
    }
    return found;
}

static int references(void)
{
    int n = 0;
    for (unsigned i = 0; i < WHOS; i++) {
        n += atomic_load(&refs[i]);
    }
    return n;
}

static void test_tracks__key_remembered_twice__is_one_item(void **state)
{
    struct tracks *t = tracks_new(ref, drop);
    struct tracks_list l = {0};
    (void)state;
    assert_true(add(t, bk_span_str("k"), 1));
    assert_false(add(t, bk_span_str("k"), 1));
    assert_true(add(t, bk_span_str("k"), 2));
    assert_true(add(t, bk_span_str(""), 1));
    assert_int_equal(tracks_keys(t), 2);
    assert_int_equal(tracks_items(t), 3);
    (void)tracks_take(t, bk_span_str("k"), NULL, &l);
    assert_int_equal(l.n, 2);
    assert_true(listed(&l, 1) && listed(&l, 2));
    tracks_list_fini(t, &l);
    (void)tracks_take(t, bk_span_str("k"), NULL, &l);
    assert_int_equal(l.n, 0);
    assert_int_equal(tracks_keys(t), 1);
    tracks_free(&t);
    assert_int_equal(references(), 0);
}

static void test_tracks__taken_with_keep__goes_on_remembering(void **state)
{
    struct tracks *t = tracks_new(ref, drop);
    struct tracks_list l = {0};
    (void)state;
    for (unsigned who = 0; who < 9; who++) {
        assert_true(add(t, bk_span_str("k"), who));
    }
    assert_true(tracks_take(t, bk_span_str("k"), &refs[4], &l));
    assert_int_equal(l.n, 9);
    assert_int_equal(atomic_load(&refs[4]), 2); /* the list's, beside the table's */
    tracks_list_fini(t, &l);
    assert_int_equal(tracks_items(t), 1);
    assert_false(
        tracks_take(t, bk_span_str("k"), &refs[5], &l)); /* who does not remember it is not kept */
    assert_int_equal(l.n, 1);
    assert_true(listed(&l, 4));
    tracks_list_fini(t, &l);
    assert_int_equal(tracks_keys(t), 0);
    tracks_free(&t);
    assert_int_equal(references(), 0);
}

struct model {
    bool has[KEYS][WHOS];
    unsigned keys, items;
};

static void model_forget(struct model *m, unsigned key, const struct tracks_list *l)
{
    unsigned n = 0;
    for (unsigned who = 0; who < WHOS; who++) {
        assert_int_equal(listed(l, who), m->has[key][who]);
        n += m->has[key][who];
        m->has[key][who] = false;
    }
    assert_int_equal(l->n, n);
    m->items -= n;
    m->keys -= n > 0;
}

static void model_add(struct model *m, struct tracks *t, unsigned key, unsigned who)
{
    char text[16];
    bool first = true;
    for (unsigned i = 0; i < WHOS; i++) {
        first = first && !m->has[key][i];
    }
    assert_int_equal(add(t, key_name(text, key), who), !m->has[key][who]);
    m->items += !m->has[key][who];
    m->keys += first;
    m->has[key][who] = true;
}

static void take_random(struct model *m, struct tracks *t, uint64_t random)
{
    struct tracks_list l = {0};
    struct bk_buf key = {0};
    bool any = m->keys > 0;
    assert_int_equal(tracks_take_any(t, random, &key, &l), any);
    if (any) {
        bk_buf_append(&key, "", 1);
        model_forget(m, (unsigned)strtoul((char *)key.data + 4, NULL, 10), &l);
    }
    tracks_list_fini(t, &l);
    bk_buf_fini(&key);
}

static void test_tracks__random_operations__match_a_plain_model(void **state)
{
    uint64_t seed = 20261121;
    struct rng r = {.state = seed};
    struct model *m = bk_alloc_zero(1, sizeof *m);
    struct tracks *t = tracks_new(ref, drop);
    (void)state;
    printf("seed %llu\n", (unsigned long long)seed);
    for (unsigned round = 0; round < 60000; round++) {
        uint64_t what = rng_below(&r, 1000);
        unsigned key = (unsigned)rng_below(&r, KEYS);
        if (what < 800) {
            model_add(m, t, key, (unsigned)rng_below(&r, WHOS));
        } else if (what < 950) {
            char text[16];
            struct tracks_list l = {0};
            (void)tracks_take(t, key_name(text, key), NULL, &l);
            model_forget(m, key, &l);
            tracks_list_fini(t, &l);
        } else if (what < 999) {
            take_random(m, t, rng_next(&r));
        } else {
            tracks_clear(t);
            memset(m, 0, sizeof *m);
        }
        assert_int_equal(tracks_keys(t), m->keys);
        assert_int_equal(tracks_items(t), m->items);
    }
    while (m->keys > 0) {
        take_random(m, t, rng_next(&r));
    }
    tracks_free(&t);
    free(m);
    assert_int_equal(references(), 0);
}

static void test_tracks__cleared__is_given_back_in_steps_and_in_passing(void **state)
{
    struct tracks *t = tracks_new(ref, drop);
    char text[16];
    (void)state;
    for (unsigned i = 0; i < 5000; i++) {
        add(t, key_name(text, i), i % WHOS);
    }
    tracks_clear(t);
    assert_int_equal(tracks_keys(t), 0);
    assert_int_equal(tracks_items(t), 0);
    assert_int_equal(references(), 5000);
    assert_true(tracks_give_back(t, 1000));
    int left = references();
    assert_true(left < 5000 && left >= 4000);
    for (unsigned i = 0; i < 4000; i++) { /* no more than was there comes before that is gone */
        add(t, key_name(text, i), 0);
    }
    assert_int_equal(references(), 4000);
    assert_false(tracks_give_back(t, 1));
    tracks_free(&t);
    assert_int_equal(references(), 0);
}

/* ---- Several threads ---- */

#define ROUNDS 30000

struct worker {
    struct tracks *t;
    uint64_t seed;
    unsigned who;
    pthread_t thread;
};

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct rng r = {.state = w->seed};
    struct bk_buf key = {0};
    for (unsigned i = 0; i < ROUNDS; i++) {
        char text[16];
        struct tracks_list l = {0};
        struct bk_span name = key_name(text, (unsigned)rng_below(&r, KEYS));
        uint64_t what = rng_below(&r, 100);
        if (what < 70) {
            add(w->t, name, w->who);
        } else if (what < 98) {
            (void)tracks_take(w->t, name, NULL, &l);
        } else if (what < 99) {
            key.len = 0;
            (void)tracks_take_any(w->t, rng_next(&r), &key, &l);
        } else {
            tracks_clear(w->t);
        }
        tracks_list_fini(w->t, &l);
    }
    bk_buf_fini(&key);
    return NULL;
}

static void test_tracks__four_threads__lose_no_reference(void **state)
{
    struct worker w[4];
    struct tracks *t = tracks_new(ref, drop);
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        w[i] = (struct worker){.t = t, .seed = i + 1, .who = i};
        assert_int_equal(pthread_create(&w[i].thread, NULL, worker_main, &w[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(w[i].thread, NULL), 0);
    }
    (void)tracks_give_back(t, SIZE_MAX);
    assert_int_equal(references(), tracks_items(t));
    tracks_free(&t);
    assert_int_equal(references(), 0);
    assert_false(atomic_load(&dropped_uncounted));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tracks__key_remembered_twice__is_one_item),
        cmocka_unit_test(test_tracks__taken_with_keep__goes_on_remembering),
        cmocka_unit_test(test_tracks__random_operations__match_a_plain_model),
        cmocka_unit_test(test_tracks__cleared__is_given_back_in_steps_and_in_passing),
        cmocka_unit_test(test_tracks__four_threads__lose_no_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
