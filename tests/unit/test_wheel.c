/* SPDX-License-Identifier: MIT */
/* test_wheel.c - the timing wheel: against a plain array, near and far, with the clock set back. */
#include "engine/wheel.h"
#include "lib/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define START ((uint64_t)13900000000)

/* Everything due before upto; each is checked to be, and set to 0 in ticks (by hash). */
static size_t take_due(struct bki_wheel *w, uint64_t upto, uint64_t *ticks)
{
    struct bki_wheel_entry e;
    enum bki_wheel_work work;
    size_t n = 0;
    while ((work = bki_wheel_step(w, upto, &e)) != BKI_WHEEL_REST) {
        if (work == BKI_WHEEL_DUE) {
            assert_true(e.tick < upto);
            assert_int_equal(ticks[e.hash], e.tick);
            ticks[e.hash] = 0;
            n++;
        }
    }
    return n;
}

static size_t count_due(const uint64_t *ticks, size_t n, uint64_t upto)
{
    size_t due = 0;
    for (size_t i = 0; i < n; i++) {
        due += ticks[i] != 0 && ticks[i] < upto;
    }
    return due;
}

static uint64_t draw_tick(struct rng *rng, uint64_t now)
{
    uint64_t ahead = rng_below(rng, (uint64_t)1 << rng_below(rng, 34));
    uint64_t tick = rng_below(rng, 20) == 0 ? now - rng_below(rng, 1000) : now + ahead;
    return tick > BKI_WHEEL_TICK_MAX ? BKI_WHEEL_TICK_MAX : tick;
}

/* Entries that are added all the time, a clock that makes small and large steps, some of them back,
 * and a sweep now and then: each comes up once, not before its time, and at the first step after.
 */
static void test_wheel__random_times__come_up_when_due(void **state)
{
    (void)state;
    enum { N = 4000 };
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct rng rng = {seed};
        uint64_t *ticks = calloc(N, sizeof *ticks);
        uint64_t now = START + rng_below(&rng, 1u << 30);
        struct bki_wheel *w = bki_wheel_new(now);
        uint32_t added = 0;
        while (added < N || bki_wheel_count(w) > 0) {
            for (uint64_t i = rng_below(&rng, 20); i > 0 && added < N; i--, added++) {
                ticks[added] = draw_tick(&rng, now);
                bki_wheel_add(w, (struct bki_wheel_entry){.tick = ticks[added], .hash = added});
            }
            for (uint64_t i = rng_below(&rng, 8); i > 0; i--) {
                struct bki_wheel_entry e;
                if (bki_wheel_sweep(w, &e)) {
                    assert_int_equal(ticks[e.hash], e.tick);
                    bki_wheel_add(w, e);
                }
            }
            uint64_t step = 1 + rng_below(&rng, (uint64_t)1 << rng_below(&rng, 31));
            now = rng_below(&rng, 10) == 0 ? now - 9 - step / 2
                                           : now + step; /* a second, or it is waited for */
            now = now > BKI_WHEEL_TICK_MAX || (added == N && rng_below(&rng, 50) == 0)
                      ? BKI_WHEEL_TICK_MAX
                      : now;
            size_t due = count_due(ticks, N, now);
            if (take_due(w, now, ticks) != due) {
                fail_msg("seed %llu: not all that was due came up", (unsigned long long)seed);
            }
            if (now == BKI_WHEEL_TICK_MAX && added == N) {
                break; /* what is left is due at the end of time */
            }
        }
        assert_int_equal(count_due(ticks, N, BKI_WHEEL_TICK_MAX), 0);
        bki_wheel_free(&w);
        free(ticks);
    }
}

/* A clock that is set back: what lay ahead lies further ahead, what is added now comes first. */
static void test_wheel__clock_set_back__new_entries_come_up_in_time(void **state)
{
    (void)state;
    uint64_t ticks[2] = {START + 1000, START - 86400 * 8 + 50};
    struct bki_wheel *w = bki_wheel_new(START);
    bki_wheel_add(w, (struct bki_wheel_entry){.tick = ticks[0], .hash = 0});
    uint64_t now = START - 86400 * 8;
    assert_int_equal(take_due(w, now, ticks), 0);
    bki_wheel_add(w, (struct bki_wheel_entry){.tick = ticks[1], .hash = 1});
    assert_int_equal(take_due(w, now + 50, ticks), 0);
    assert_int_equal(take_due(w, now + 51, ticks), 1);
    assert_int_equal(ticks[1], 0);
    assert_int_equal(take_due(w, START + 1001, ticks), 1);
    bki_wheel_free(&w);
}

static void test_wheel__sweep__takes_each_once_and_gives_the_memory_back(void **state)
{
    (void)state;
    enum { N = 100000 };
    struct rng rng = {7};
    struct bki_wheel *w = bki_wheel_new(START);
    uint64_t empty = bki_wheel_bytes(w);
    unsigned char *seen = calloc(N, 1);
    for (uint32_t i = 0; i < N; i++) {
        bki_wheel_add(w, (struct bki_wheel_entry){.tick = draw_tick(&rng, START), .hash = i});
    }
    assert_int_equal(bki_wheel_count(w), N);
    assert_in_range(bki_wheel_bytes(w), N * 8, N * 9 + empty + 384 * 1024);
    struct bki_wheel_entry *all = calloc(N, sizeof *all);
    bki_wheel_list(w, all);
    for (uint32_t i = 0; i < N; i++) {
        assert_int_equal(seen[all[i].hash]++, 0);
    }
    struct bki_wheel_entry e;
    for (uint32_t i = 0; i < N; i++) {
        assert_true(bki_wheel_sweep(w, &e));
        assert_int_equal(seen[e.hash]++, 1);
    }
    assert_false(bki_wheel_sweep(w, &e));
    assert_int_equal(bki_wheel_bytes(w), empty);
    free(all);
    free(seen);
    bki_wheel_free(&w);
}

/* Keys that get the same expiry again and again leave equal entries, and each is the one that
 * counts.
 */
static void test_wheel__equal_entries__a_sweep_leaves_few(void **state)
{
    (void)state;
    enum { N = 1000, EACH = 30 };
    struct bki_wheel *w = bki_wheel_new(START);
    for (uint32_t i = 0; i < N * EACH; i++) {
        uint32_t hash = i % N;
        bki_wheel_add(w, (struct bki_wheel_entry){.tick = START + 100 + hash % 3, .hash = hash});
    }
    assert_int_equal(bki_wheel_count(w), N * EACH);
    struct bki_wheel_entry e;
    for (uint32_t i = 0; i < 4 * N * EACH; i++) {
        assert_true(bki_wheel_sweep(w, &e));
        bki_wheel_add(w, e);
    }
    assert_in_range(bki_wheel_count(w), N, 2 * N);
    unsigned came[N] = {0};
    while (bki_wheel_step(w, START + 200, &e) != BKI_WHEEL_REST) {
        assert_true(e.hash < N);
        came[e.hash]++;
    }
    for (uint32_t i = 0; i < N; i++) {
        assert_true(came[i] > 0);
    }
    bki_wheel_free(&w);
}

enum { COPIES = 500, COPIES_MOVES = 20000 };

struct copies {
    struct bki_wheel *w;
    struct rng rng;
    uint64_t now;
    uint64_t sweeps;        /* of a thousand moves */
    uint64_t had[COPIES];   /* by hash */
    uint64_t ticks[COPIES]; /* the same, or 0: it has come up */
    bool there[COPIES];     /* in the end */
};

static void add_copy(struct copies *c, uint32_t hash)
{
    c->ticks[hash] = c->had[hash];
    bki_wheel_add(c->w, (struct bki_wheel_entry){.tick = c->had[hash], .hash = hash});
}

static void assert_is_there(const struct copies *c, const struct bki_wheel_entry *e)
{
    assert_true(e->hash < COPIES);
    assert_true(c->ticks[e->hash] == 0 || c->ticks[e->hash] == e->tick);
}

static void turn_copies(struct copies *c, uint64_t now)
{
    struct bki_wheel_entry e;
    enum bki_wheel_work work;
    while ((work = bki_wheel_step(c->w, now, &e)) != BKI_WHEEL_REST) {
        if (work == BKI_WHEEL_DUE) {
            assert_is_there(c, &e);
            c->ticks[e.hash] = 0;
        }
    }
    c->now = now;
    for (uint32_t i = 0; i < COPIES; i++) {
        assert_true(c->ticks[i] == 0 || c->ticks[i] >= now);
    }
}

/* By a second at least, or it would be waited for. What has come up gets the same time again. */
static void turn_copies_back(struct copies *c)
{
    if (c->now <= START + 8) {
        return;
    }
    turn_copies(c, c->now - 9 - rng_below(&c->rng, c->now - START - 8));
    for (uint32_t i = 0; i < COPIES; i++) {
        if (c->ticks[i] == 0 && c->had[i] >= c->now) {
            add_copy(c, i);
        }
    }
}

static void move_copies(struct copies *c)
{
    struct bki_wheel_entry e[8];
    uint64_t move = rng_below(&c->rng, 1000);
    uint32_t hash = (uint32_t)rng_below(&c->rng, COPIES);
    if (move < c->sweeps && bki_wheel_sweep(c->w, e)) {
        bki_wheel_add(c->w, e[0]);
    } else if (move < 960 && c->ticks[hash] != 0) {
        add_copy(c, hash);
    } else if (move < 970 && bki_wheel_pick(c->w, hash, e) &&
               bki_wheel_pick_first(c->w, hash, e + 1)) {
        assert_is_there(c, e);
        assert_is_there(c, e + 1);
    } else if (move < 980) {
        for (size_t n = bki_wheel_first(c->w, e, 8); n > 0; n--) {
            bki_wheel_add(c->w, e[n - 1]);
        }
    } else if (move < 990) {
        turn_copies(c, c->now + rng_below(&c->rng, move < 985 ? 50 : 5000));
    } else {
        turn_copies_back(c);
    }
}

static void look_for_copies(struct copies *c)
{
    uint64_t n = bki_wheel_count(c->w);
    struct bki_wheel_entry *all = calloc(n + 1, sizeof *all);
    bki_wheel_list(c->w, all);
    for (uint64_t i = 0; i < n; i++) {
        c->there[all[i].hash] = true;
    }
    for (uint32_t i = 0; i < COPIES; i++) {
        assert_true(c->there[i] || c->ticks[i] == 0);
    }
    free(all);
}

/* Copies of entries that are there, sweeps, entries taken out in front and put back, a clock that
 * goes on and back: none is left out of which there is no copy. */
static void test_wheel__copies_added_and_swept__each_comes_up(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct copies c = {.w = bki_wheel_new(START), .rng = {seed}, .now = START};
        for (uint32_t i = 0; i < COPIES; i++) {
            c.had[i] = START + 1 + rng_below(&c.rng, (uint64_t)1 << (6 + seed % 9));
            add_copy(&c, i);
        }
        for (unsigned i = 0; i < COPIES_MOVES; i++) {
            c.sweeps = i % 64 == 0 ? rng_below(&c.rng, 3) * 300 : c.sweeps;
            move_copies(&c);
        }
        look_for_copies(&c);
        turn_copies(&c, START + 1000000);
        assert_int_equal(bki_wheel_count(c.w), 0);
        bki_wheel_free(&c.w);
    }
}

/* An entry is drawn as often as any other, in crowded slots and in lonely ones, also when time has
 * moved on. */
static void test_wheel__pick__each_entry_is_drawn_as_often(void **state)
{
    (void)state;
    enum { N = 1200, DRAWS = 100 };
    struct rng rng = {3};
    struct bki_wheel *w = bki_wheel_new(START);
    unsigned *counts = calloc(N, sizeof *counts);
    struct bki_wheel_entry e;
    assert_false(bki_wheel_pick(w, 1, &e));
    for (unsigned i = 0; i < N; i++) { /* half of them in one slot of a high level */
        uint64_t ahead = i % 2 == 0 ? 300000 : 100 + rng_below(&rng, 1u << 20);
        bki_wheel_add(w, (struct bki_wheel_entry){.tick = START + ahead, .hash = i});
    }
    while (bki_wheel_step(w, START + 90, &e) != BKI_WHEEL_REST) {
    }
    double spread = 0;
    for (unsigned i = 0; i < N * DRAWS; i++) {
        assert_true(bki_wheel_pick(w, rng_next(&rng), &e));
        counts[e.hash]++;
    }
    for (unsigned i = 0; i < N; i++) {
        spread += ((double)counts[i] - DRAWS) * ((double)counts[i] - DRAWS);
    }
    assert_true(spread / N <
                1.3 * DRAWS); /* the variance of draws without preference is the mean */
    assert_int_equal(bki_wheel_count(w), N);
    free(counts);
    bki_wheel_free(&w);
}

/* In the order of slots; those are up to 4096 ticks long here. */
static void test_wheel__first__takes_out_what_comes_next(void **state)
{
    (void)state;
    struct bki_wheel *w = bki_wheel_new(START);
    struct bki_wheel_entry e[8];
    unsigned taken = 0;
    for (unsigned i = 0; i < 1000; i++) {
        bki_wheel_add(w, (struct bki_wheel_entry){.tick = START + i * 50, .hash = i});
    }
    size_t n;
    while ((n = bki_wheel_first(w, e, 8)) > 0) {
        for (size_t k = 0; k < n; k++, taken++) {
            uint64_t ahead = e[k].tick - START;
            assert_true(ahead + 4096 >= taken * (uint64_t)50);
            assert_true(ahead <= taken * (uint64_t)50 + 4096);
        }
    }
    assert_int_equal(taken, 1000);
    assert_int_equal(bki_wheel_count(w), 0);
    bki_wheel_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wheel__random_times__come_up_when_due),
        cmocka_unit_test(test_wheel__clock_set_back__new_entries_come_up_in_time),
        cmocka_unit_test(test_wheel__sweep__takes_each_once_and_gives_the_memory_back),
        cmocka_unit_test(test_wheel__equal_entries__a_sweep_leaves_few),
        cmocka_unit_test(test_wheel__copies_added_and_swept__each_comes_up),
        cmocka_unit_test(test_wheel__pick__each_entry_is_drawn_as_often),
        cmocka_unit_test(test_wheel__first__takes_out_what_comes_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
