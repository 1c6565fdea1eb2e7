/* SPDX-License-Identifier: MIT */
/* test_pin.c - a wait is over when every pin that was held at its begin has been given back. */
#include "engine/pin.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static struct bki_pins *pins_new(void)
{
    struct bki_pins *p = aligned_alloc(64, sizeof(*p));
    assert_non_null(p);
    *p = (struct bki_pins){0};
    return p;
}

static void test_pin__held_before__is_waited_for(void **state)
{
    (void)state;
    struct bki_pins *p = pins_new();
    for (int phase = 0; phase < 4; phase++) {
        struct bki_grace g;
        unsigned old = bki_pin(p);
        bki_grace_begin(p, &g);
        assert_false(bki_grace_over(p, &g));
        unsigned nested = bki_pin(p);
        bki_unpin(p, nested);
        assert_false(bki_grace_over(p, &g));
        bki_unpin(p, old);
        assert_true(bki_grace_over(p, &g));
        if (phase % 2 == 0) {
            bki_grace_begin(p, &g); /* the next round begins with the other counter */
            assert_true(bki_grace_over(p, &g));
            bki_grace_begin(p, &g);
            assert_true(bki_grace_over(p, &g));
        }
    }
    free(p);
}

/* Is nothing pinned just now? */
static bool over(struct bki_pins *p)
{
    struct bki_grace g;
    bki_grace_begin(p, &g);
    return bki_grace_over(p, &g);
}

static unsigned held(const struct bki_pins *p)
{
    unsigned n = 0;
    for (unsigned i = 0; i < BKI_PIN_SLOTS; i++) {
        n += atomic_load(&p->slot[i].held[0]) + atomic_load(&p->slot[i].held[1]);
    }
    return n;
}

static void test_visit__holds_both__pins_inside_cost_nothing(void **state)
{
    (void)state;
    struct bki_pins *a = pins_new();
    struct bki_pins *b = pins_new();
    struct bki_pins *other = pins_new();
    for (int turn = 0; turn < 3; turn++) {
        bki_visit_begin(a, b);
        unsigned in_a = bki_pin(a);
        unsigned in_b = bki_pin(b);
        unsigned again = bki_pin(a);
        unsigned elsewhere = bki_pin(other);
        assert_int_equal(held(a), 1);
        assert_int_equal(held(b), 1);
        assert_int_equal(held(other), 1);
        bki_unpin(a, in_a);
        bki_unpin(a, again);
        bki_unpin(b, in_b);
        bki_unpin(other, elsewhere);
        assert_false(over(a));
        assert_false(over(b));
        assert_true(over(other));
        bki_visit_end(a, b);
        assert_true(over(a));
        assert_true(over(b));
    }
    free(a);
    free(b);
    free(other);
}

static void *give_back(void *arg)
{
    unsigned *token = ((void **)arg)[1];
    bki_unpin(((void **)arg)[0], *token);
    return NULL;
}

static void test_visit__pin_apart__outlives_it(void **state)
{
    (void)state;
    struct bki_pins *a = pins_new();
    struct bki_pins *b = pins_new();
    pthread_t t;
    bki_visit_begin(a, b);
    unsigned token = bki_pin_apart(a);
    bki_visit_end(a, b);
    assert_false(over(a));
    assert_true(over(b));
    assert_int_equal(pthread_create(&t, NULL, give_back, (void *[]){a, &token}), 0);
    assert_int_equal(pthread_join(t, NULL), 0);
    assert_true(over(a));
    free(a);
    free(b);
}

/* Another thread that pins while we visit, and unpins when it is told to. */
struct neighbour {
    struct bki_pins *pins;
    pthread_barrier_t at;
};

static void *pin_for_a_while(void *arg)
{
    struct neighbour *n = arg;
    unsigned token = bki_pin(n->pins);
    pthread_barrier_wait(&n->at); /* pinned */
    pthread_barrier_wait(&n->at); /* the visit is over */
    bki_unpin(n->pins, token);
    return NULL;
}

static void test_visit__of_one_thread__stands_for_no_other_thread_s_pins(void **state)
{
    (void)state;
    struct neighbour n = {.pins = pins_new()};
    struct bki_pins *b = pins_new();
    pthread_t t;
    pthread_barrier_init(&n.at, NULL, 2);
    bki_visit_begin(n.pins, b);
    assert_int_equal(pthread_create(&t, NULL, pin_for_a_while, &n), 0);
    pthread_barrier_wait(&n.at);
    assert_int_equal(held(n.pins), 2);
    bki_visit_end(n.pins, b);
    assert_false(over(n.pins));
    pthread_barrier_wait(&n.at);
    assert_int_equal(pthread_join(t, NULL), 0);
    assert_true(over(n.pins));
    pthread_barrier_destroy(&n.at);
    free(n.pins);
    free(b);
}

/* What readers look at is replaced and, after a wait, spoiled: none may see it spoiled. */
struct cell {
    _Atomic uint64_t v;
};

struct world {
    struct bki_pins *pins;
    _Atomic(struct cell *) current;
    atomic_bool stop;
    atomic_uint spoiled;
};

static void *reader(void *arg)
{
    struct world *w = arg;
    while (!atomic_load(&w->stop)) {
        unsigned pin = bki_pin(w->pins);
        struct cell *p = atomic_load(&w->current);
        for (int i = 0; i < 10; i++) {
            if (atomic_load_explicit(&p->v, memory_order_relaxed) != 42) {
                atomic_fetch_add(&w->spoiled, 1);
            }
        }
        bki_unpin(w->pins, pin);
    }
    return NULL;
}

static void test_pin__readers_all_the_time__none_sees_what_was_taken_away(void **state)
{
    (void)state;
    enum { THREADS = 3, ROUNDS = 3000 };
    struct world w = {.pins = pins_new()};
    pthread_t t[THREADS];
    struct cell *now = malloc(sizeof(*now));
    now->v = 42;
    atomic_store(&w.current, now);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&t[i], NULL, reader, &w), 0);
    }
    for (int i = 0; i < ROUNDS; i++) {
        struct bki_grace g;
        struct cell *next = malloc(sizeof(*next));
        next->v = 42;
        atomic_store(&w.current, next);
        bki_grace_begin(w.pins, &g);
        while (!bki_grace_over(w.pins, &g)) {
        }
        now->v = 0;
        free(now);
        now = next;
    }
    atomic_store(&w.stop, true);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(t[i], NULL), 0);
    }
    assert_int_equal(atomic_load(&w.spoiled), 0);
    free(now);
    free(w.pins);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pin__held_before__is_waited_for),
        cmocka_unit_test(test_visit__holds_both__pins_inside_cost_nothing),
        cmocka_unit_test(test_visit__pin_apart__outlives_it),
        cmocka_unit_test(test_visit__of_one_thread__stands_for_no_other_thread_s_pins),
        cmocka_unit_test(test_pin__readers_all_the_time__none_sees_what_was_taken_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
