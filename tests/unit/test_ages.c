/* SPDX-License-Identifier: MIT */
/* test_ages.c - sixteen ages against keys that know when they were used. */
#include "engine/ages.h"
#include "lib/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define KEYS 4000u

struct world {
    struct bki_ages ages;
    struct rng rng;
    int64_t now_ms;
    uint8_t age[KEYS];
    int64_t used_ms[KEYS];
};

static void setup_world(struct world *w, uint64_t seed)
{
    w->rng = (struct rng){seed};
    w->now_ms = 5000;
    bki_ages_init(&w->ages, w->now_ms);
    for (unsigned i = 0; i < KEYS; i++) {
        w->age[i] = 0;
        w->used_ms[i] = w->now_ms;
    }
}

/* A tenth of a second; a lap, when one is under way, takes lap_steps of them. */
static void step(struct world *w, unsigned *lap_at, unsigned lap_steps)
{
    struct bki_ages *a = &w->ages;
    w->now_ms += 100;
    if (a->lap && ++*lap_at == lap_steps) {
        for (unsigned i = 0; i < KEYS; i++) {
            w->age[i] = a->to[w->age[i]];
        }
        bki_ages_lap_end(a, w->now_ms);
    }
    if (bki_ages_due(a, w->now_ms)) {
        uint8_t age = bki_ages_next(a, w->now_ms);
        for (unsigned i = 0; i < KEYS; i++) {
            assert_int_not_equal(w->age[i], age); /* a number that is given out is nobody's */
        }
    }
    if (bki_ages_lap_begin(a, w->now_ms)) {
        *lap_at = 0;
    }
}

static void use(struct world *w, unsigned i)
{
    w->age[i] = atomic_load(&w->ages.now);
    w->used_ms[i] = w->now_ms;
}

/* Each estimate is right to a factor of one more than off, or to the length of a span. */
static void check_estimates(const struct world *w, int64_t span_ms, int64_t off)
{
    for (unsigned i = 0; i < KEYS; i++) {
        int64_t is = w->now_ms - w->used_ms[i];
        int64_t said = (int64_t)bki_ages_idle_ms(&w->ages, w->age[i], w->now_ms);
        int64_t apart = said > is ? said - is : is - said;
        if (apart > off * is + 2 * span_ms) {
            fail_msg("idle for %ld ms, said %ld ms", (long)is, (long)said);
        }
    }
}

/* Keys are used at rates that differ by orders of magnitude. */
static void run(uint64_t seed, unsigned lap_steps, int64_t span_ms)
{
    struct world *w = calloc(1, sizeof *w);
    unsigned lap_at = 0;
    setup_world(w, seed);
    for (unsigned t = 0; t < 20000; t++) {
        for (unsigned n = 0; n < 4; n++) {
            use(w, (unsigned)rng_below(&w->rng, 1u << (1 + rng_below(&w->rng, 11))));
        }
        step(w, &lap_at, lap_steps);
        if (t > 1000 && t % 100 == 0) {
            check_estimates(w, span_ms, 2);
        }
    }
    free(w);
}

static void test_ages__keys_used_at_all_rates__idle_time_is_about_right(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        run(seed, 1, 1000);
    }
}

/* A lap of 30 seconds, as of many keys: spans become ten seconds long. */
static void test_ages__slow_laps__spans_grow_and_numbers_last(void **state)
{
    (void)state;
    run(7, 300, 10000);
}

static void test_ages__nobody_uses_a_key__the_span_stays_empty(void **state)
{
    (void)state;
    struct bki_ages a;
    bki_ages_init(&a, 0);
    for (int64_t now = 1000; now < 100000; now += 1000) {
        assert_true(bki_ages_due(&a, now));
        bki_ages_keep(&a, now);
        assert_false(bki_ages_lap_begin(&a, now));
    }
    assert_int_equal(bki_ages_idle_ms(&a, atomic_load(&a.now), 100000), 0);
}

/* What a clean stop writes is what the next start reads. */
static void test_ages__codes__come_back_within_a_factor_of_four(void **state)
{
    (void)state;
    static const int64_t idle_s[] = {0, 1, 2, 5, 20, 100, 300, 2000, 5000, 16000};
    for (size_t i = 0; i < sizeof idle_s / sizeof idle_s[0]; i++) {
        struct bki_ages before;
        struct bki_ages after;
        int64_t now = 1000000000;
        bki_ages_init(&before, now - idle_s[i] * 1000);
        uint8_t used = atomic_load(&before.now);
        (void)bki_ages_next(&before, now - idle_s[i] * 1000);
        uint8_t code = bki_ages_code(&before, used, now);
        assert_true(code < BKI_AGE_CODES);
        bki_ages_init(&after, 77);
        int64_t said_s = (int64_t)bki_ages_idle_ms(&after, code, 77) / 1000;
        assert_true(said_s <= idle_s[i] * 4);
        assert_true(said_s * 4 >= idle_s[i]);
    }
}

static void expect_said(const struct bki_ages *a, uint64_t ms, int64_t now, uint64_t least,
                        uint64_t most)
{
    uint64_t said = bki_ages_idle_ms(a, bki_ages_of(a, ms, now), now);
    if (said < least || said > most) {
        fail_msg("idle for %lu ms, said %lu ms", (unsigned long)ms, (unsigned long)said);
    }
}

static void test_ages__age_of_an_idle_time__is_that_of_its_span(void **state)
{
    (void)state;
    struct bki_ages a;
    int64_t now = 50000;
    bki_ages_init(&a, now);
    assert_int_equal(bki_ages_of(&a, 0, now), atomic_load(&a.now));
    for (uint64_t ms = 1000; ms < 16384000; ms += ms / 3) {
        expect_said(&a, ms, now, ms / 2, ms * 2);
    }
    expect_said(&a, 500000000, now, 8192000, 8192000); /* before all that is known */
}

static void test_ages__span_of_its_own__is_exact_and_leaves_others_as_they_are(void **state)
{
    (void)state;
    struct bki_ages a;
    int64_t now = 50000;
    bki_ages_init(&a, now);
    bki_ages_begin_at(&a, 500000000, now);
    bki_ages_begin_at(&a, 1000000, now);
    uint32_t n = a.order_n;
    bki_ages_begin_at(&a, 1000000, now); /* there is one */
    assert_int_equal(a.order_n, n);
    expect_said(&a, 500000000, now, 500000000, 500000000);
    expect_said(&a, 1000000, now, 1000000, 1000000);
    expect_said(&a, 900000, now, 512000, 512000);
    expect_said(&a, 9000000, now, 8192000, 8192000);
}

/* However many are asked for: spans of what is used go on, and what is put together still tells
 * about each key that bears it. */
static void test_ages__many_spans_of_their_own__all_estimates_stay_about_right(void **state)
{
    (void)state;
    struct world *w = calloc(1, sizeof *w);
    unsigned lap_at = 0;
    setup_world(w, 11);
    for (unsigned t = 0; t < 20000; t++) {
        use(w, (unsigned)rng_below(&w->rng, 1u << (1 + rng_below(&w->rng, 11))));
        unsigned i = (unsigned)rng_below(&w->rng, KEYS);
        uint64_t idle = rng_below(&w->rng, UINT64_C(1) << rng_below(&w->rng, 24));
        bki_ages_begin_at(&w->ages, idle, w->now_ms);
        w->age[i] = bki_ages_of(&w->ages, idle, w->now_ms);
        w->used_ms[i] = w->now_ms - (int64_t)idle;
        step(w, &lap_at, 1);
        if (t % 100 == 0) {
            check_estimates(w, 1000, 3); /* idle times of all lengths: spans are wide */
        }
    }
    assert_true(w->ages.from_ms[w->ages.order[0]] > w->now_ms - 3000);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ages__keys_used_at_all_rates__idle_time_is_about_right),
        cmocka_unit_test(test_ages__slow_laps__spans_grow_and_numbers_last),
        cmocka_unit_test(test_ages__nobody_uses_a_key__the_span_stays_empty),
        cmocka_unit_test(test_ages__codes__come_back_within_a_factor_of_four),
        cmocka_unit_test(test_ages__age_of_an_idle_time__is_that_of_its_span),
        cmocka_unit_test(test_ages__span_of_its_own__is_exact_and_leaves_others_as_they_are),
        cmocka_unit_test(test_ages__many_spans_of_their_own__all_estimates_stay_about_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
