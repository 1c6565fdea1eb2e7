/* SPDX-License-Identifier: MIT */
/* test_keydir_age.c - ages of keys while a keydir grows, shrinks and is rewritten; samples. */
#include "base/buf.h"
#include "engine/keydir.h"
#include "lib/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SEED 42u

static void make_key(struct bk_key *key, char *text, unsigned i)
{
    int n = snprintf(text, 32, "key:%u", i);
    key->bytes = bk_span_of(text, (size_t)n);
    key->hash = bki_key_hash(SEED, text, (size_t)n);
}

static void put(struct bki_keydir *kd, unsigned i, int64_t expire_ms)
{
    char text[32];
    struct bk_key key;
    struct bki_entry e = {.loc = i + 1, .size = 64, .expire_ms = expire_ms};
    struct bki_entry old;
    make_key(&key, text, i);
    (void)bki_keydir_put(kd, &key, &e, &old);
}

static uint8_t age_of(struct bki_keydir *kd, unsigned i, bool use)
{
    char text[32];
    struct bk_key key;
    struct bki_entry e;
    uint64_t del_pos;
    make_key(&key, text, i);
    assert_true(use ? bki_keydir_use(kd, &key, &e, &del_pos)
                    : bki_keydir_find(kd, &key, &e, &del_pos));
    return e.age;
}

static void remove_key(struct bki_keydir *kd, unsigned i)
{
    char text[32];
    struct bk_key key;
    struct bki_entry old;
    make_key(&key, text, i);
    assert_true(bki_keydir_remove(kd, &key, 0, &old));
}

static void test_keydir_age__use__gives_the_age_that_runs_and_a_look_does_not(void **state)
{
    (void)state;
    struct bki_keydir *kd = bki_keydir_new(1, SEED, 0, NULL);
    put(kd, 1, 0);
    put(kd, 2, 99);
    bki_keydir_set_age(kd, 5);
    assert_false(bki_keydir_used(kd));
    assert_int_equal(age_of(kd, 1, false), 0);
    assert_false(bki_keydir_used(kd));
    assert_int_equal(age_of(kd, 1, true), 0); /* as it was before */
    assert_true(bki_keydir_used(kd));
    assert_int_equal(age_of(kd, 1, false), 5);
    assert_int_equal(age_of(kd, 2, false), 0);
    put(kd, 2, 99);
    assert_int_equal(age_of(kd, 2, false), 5);
    bki_keydir_free(&kd);
}

static void test_keydir_age__put_as_idle__lasts_until_it_is_used(void **state)
{
    (void)state;
    struct bki_keydir *kd = bki_keydir_new(1, SEED, 0, NULL);
    char text[32];
    struct bk_key key;
    bki_keydir_set_age(kd, 3);
    put(kd, 1, 0);
    make_key(&key, text, 1);
    bki_keydir_idle(kd, &key, 12);
    assert_int_equal(age_of(kd, 1, false), 12);
    assert_int_equal(age_of(kd, 1, true), 12);
    assert_int_equal(age_of(kd, 1, false), 3);
    make_key(&key, text, 2);
    bki_keydir_idle(kd, &key, 12); /* not there */
    bki_keydir_free(&kd);
}

static void test_keydir_age__merge_swings__age_stays(void **state)
{
    (void)state;
    struct bki_keydir *kd = bki_keydir_new(1, SEED, 0, NULL);
    char text[32];
    struct bk_key key;
    struct bki_entry e = {.loc = 700, .size = 64};
    bki_keydir_set_age(kd, 9);
    put(kd, 1, 0);
    bki_keydir_set_age(kd, 3);
    make_key(&key, text, 1);
    assert_true(bki_keydir_replace_if(kd, &key, 2, &e));
    assert_int_equal(age_of(kd, 1, false), 9);
    bki_keydir_free(&kd);
}

static void test_keydir_age__grows_and_shrinks__ages_stay(void **state)
{
    (void)state;
    enum { N = 100000 };
    struct bki_keydir *kd = bki_keydir_new(1, SEED, 0, NULL);
    for (unsigned i = 0; i < N; i++) {
        bki_keydir_set_age(kd, (uint8_t)(i % 16));
        put(kd, i, i % 3 == 0 ? 1000 : 0);
    }
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(age_of(kd, i, false), i % 16);
    }
    for (unsigned i = 0; i < N; i++) {
        if (i % 10 != 0) {
            remove_key(kd, i);
        }
    }
    for (unsigned i = 0; i < N; i += 10) {
        assert_int_equal(age_of(kd, i, false), i % 16);
    }
    struct bk_error err;
    assert_true(bki_keydir_check(kd, &err));
    bki_keydir_free(&kd);
}

/* Every key that is there from begin to end is rewritten, whatever comes and goes meanwhile. */
static void test_keydir_age__rewritten_in_steps__reaches_every_key(void **state)
{
    (void)state;
    enum { N = 20000 };
    struct bki_keydir *kd = bki_keydir_new(1, SEED, 0, NULL);
    uint8_t to[16];
    uint64_t cursor = 0;
    unsigned more = N;
    for (uint8_t i = 0; i < 16; i++) {
        to[i] = i == 4 ? 2 : i;
    }
    for (unsigned i = 0; i < N; i++) {
        bki_keydir_set_age(kd, i % 2 == 0 ? 4 : 6);
        put(kd, i, 0);
    }
    do {
        size_t max = 37;
        bki_keydir_rewrite_ages(kd, &cursor, to, &max);
        assert_true(max == 0 || cursor == 0);
        for (unsigned k = 0; k < 200; k++) {
            put(kd, more++, 0);
        }
    } while (cursor != 0);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(age_of(kd, i, false), i % 2 == 0 ? 2 : 6);
    }
    bki_keydir_free(&kd);
}

static void test_keydir_age__written_as_an_image__codes_come_back(void **state)
{
    (void)state;
    struct bki_keydir *kd = bki_keydir_new(1, SEED, 0, NULL);
    struct bki_keydir *again = bki_keydir_new(1, SEED, 0, NULL);
    uint8_t code[16];
    for (uint8_t i = 0; i < 16; i++) {
        code[i] = i / 2;
    }
    for (unsigned i = 0; i < 1000; i++) {
        bki_keydir_set_age(kd, (uint8_t)(i % 16));
        put(kd, i, i % 5 == 0 ? 5000 : 0);
    }
    for (unsigned s = 0; s < BKI_KD_STRIPES; s++) {
        struct bki_keydir_shape shape;
        struct bk_buf words = {0};
        bki_keydir_shape(kd, s, &shape);
        if (shape.buckets > 0) {
            assert_int_equal(bki_keydir_dump(kd, s, 0, code, SIZE_MAX, &words), shape.buckets);
            bki_keydir_load_shape(again, s, shape.buckets);
            bki_keydir_load(again, s, 0, (const uint64_t *)(const void *)words.data, shape.buckets);
        }
        bk_buf_fini(&words);
    }
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(age_of(again, i, false), i % 16 / 2);
        assert_int_equal(age_of(kd, i, false), i % 16);
    }
    bki_keydir_free(&kd);
    bki_keydir_free(&again);
}

/* ---- Samples ---- */

/* Draws often and counts each key by its location. */
static void count_draws(struct bki_keydir *kd, unsigned draws, bool soonest, unsigned *counts)
{
    struct rng rng = {5};
    struct bk_buf out = {0};
    for (unsigned i = 0; i < draws; i++) {
        struct bki_entry e;
        struct bk_span key;
        out.len = 0;
        bki_keydir_sample_expiring(kd, rng_next(&rng), soonest, &out);
        assert_true(out.len > 0);
        for (size_t at = 0; bki_entry_next(&out, &at, &e, &key);) {
            assert_int_not_equal(e.expire_ms, 0);
            counts[e.loc - 1]++;
        }
    }
    bk_buf_fini(&out);
}

/* Every some-th key has an expiry; each of them is drawn about as often as any other. */
static void check_fair(unsigned n, unsigned every)
{
    struct bki_keydir *kd = bki_keydir_new(1, SEED, 0, NULL);
    unsigned *counts = calloc(n, sizeof *counts);
    unsigned expiring = (n + every - 1) / every;
    uint64_t total = 0;
    for (unsigned i = 0; i < n; i++) {
        put(kd, i, i % every == 0 ? 1000000 + (int64_t)i * 997 % 50000000 : 0);
    }
    count_draws(kd, expiring * 40, false, counts);
    for (unsigned i = 0; i < n; i++) {
        total += counts[i];
    }
    double mean = (double)total / expiring;
    double spread = 0;
    for (unsigned i = 0; i < n; i += every) {
        assert_true(counts[i] > 0);
        spread += ((double)counts[i] - mean) * ((double)counts[i] - mean);
    }
    /* For draws of single keys without any preference the variance is the mean; they come in groups
     * that stay together, up to eight of them. */
    if (spread / expiring > mean * 12) {
        fail_msg("%u keys, each %u-th: mean %.1f, variance %.1f", n, every, mean,
                 spread / expiring);
    }
    free(counts);
    bki_keydir_free(&kd);
}

static void test_keydir_sample__half_of_the_keys_expire__each_is_drawn_as_often(void **state)
{
    (void)state;
    check_fair(20000, 2);
}

static void test_keydir_sample__one_in_a_thousand_expires__each_is_drawn_as_often(void **state)
{
    (void)state;
    check_fair(400000, 1000);
}

static void test_keydir_sample__soonest__draws_near_the_front(void **state)
{
    (void)state;
    enum { N = 20000 };
    struct bki_keydir *kd = bki_keydir_new(1, SEED, 0, NULL);
    unsigned *counts = calloc(N, sizeof *counts);
    uint64_t all = 0;
    uint64_t front = 0;
    for (unsigned i = 0; i < N; i++) {
        put(kd, i, 1000000 + (int64_t)i * 1000); /* over five hours */
    }
    count_draws(kd, 2000, true, counts);
    for (unsigned i = 0; i < N; i++) {
        all += counts[i];
        front += i < N / 4 ? counts[i] : 0;
    }
    assert_true(front * 100 >= all * 95);
    free(counts);
    bki_keydir_free(&kd);
}

static void test_keydir_sample__no_key_expires__nothing_comes(void **state)
{
    (void)state;
    struct bki_keydir *kd = bki_keydir_new(1, SEED, 0, NULL);
    struct bk_buf out = {0};
    bki_keydir_sample_expiring(kd, 1, false, &out);
    put(kd, 1, 0);
    bki_keydir_sample_expiring(kd, 1, false, &out);
    bki_keydir_sample_expiring(kd, 1, true, &out);
    assert_int_equal(out.len, 0);
    bk_buf_fini(&out);
    bki_keydir_free(&kd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keydir_age__use__gives_the_age_that_runs_and_a_look_does_not),
        cmocka_unit_test(test_keydir_age__put_as_idle__lasts_until_it_is_used),
        cmocka_unit_test(test_keydir_age__merge_swings__age_stays),
        cmocka_unit_test(test_keydir_age__grows_and_shrinks__ages_stay),
        cmocka_unit_test(test_keydir_age__rewritten_in_steps__reaches_every_key),
        cmocka_unit_test(test_keydir_age__written_as_an_image__codes_come_back),
        cmocka_unit_test(test_keydir_sample__half_of_the_keys_expire__each_is_drawn_as_often),
        cmocka_unit_test(test_keydir_sample__one_in_a_thousand_expires__each_is_drawn_as_often),
        cmocka_unit_test(test_keydir_sample__soonest__draws_near_the_front),
        cmocka_unit_test(test_keydir_sample__no_key_expires__nothing_comes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
