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
        cmocka_unit_test(test_pin__readers_all_the_time__none_sees_what_was_taken_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
