/* SPDX-License-Identifier: MIT */
/* test_keydir_expiry.c - which keys run out when: against a plain array of times, and what the
 * wheel costs when keys lose their expiry by the million. */
#include "base/buf.h"
#include "engine/keydir.h"
#include "engine/wheel.h"
#include "lib/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SEED 42u
#define START_MS ((int64_t)1780000000123)

struct keys {
    struct bki_keydir *kd;
    int64_t *expire; /* by number; -1: no such key */
    unsigned n;
    int64_t now_ms;
};

static void setup_keys(struct keys *k, unsigned n)
{
    *k = (struct keys){.kd = bki_keydir_new(1, SEED, START_MS, NULL),
                       .expire = calloc(n, sizeof *k->expire),
                       .n = n,
                       .now_ms = START_MS};
    for (unsigned i = 0; i < n; i++) {
        k->expire[i] = -1;
    }
}

static void fini_keys(struct keys *k)
{
    bki_keydir_free(&k->kd);
    free(k->expire);
}

static void make_key(struct bk_key *key, char *text, unsigned i)
{
    int n = snprintf(text, 32, "key:%012u", i);
    key->bytes = bk_span_of(text, (size_t)n);
    key->hash = bki_key_hash(SEED, text, (size_t)n);
}

static void put(struct keys *k, unsigned i, int64_t expire_ms)
{
    char text[32];
    struct bk_key key;
    struct bki_entry old;
    struct bki_entry e = {.loc = i + 1, .size = 64, .expire_ms = expire_ms};
    make_key(&key, text, i);
    assert_int_equal(bki_keydir_put(k->kd, &key, &e, &old), k->expire[i] >= 0);
    k->expire[i] = expire_ms;
}

static void cut(struct keys *k, unsigned i)
{
    char text[32];
    struct bk_key key;
    struct bki_entry old;
    make_key(&key, text, i);
    assert_int_equal(bki_keydir_remove(k->kd, &key, 1, &old), k->expire[i] >= 0);
    k->expire[i] = -1;
}

static void check(struct keys *k)
{
    struct bk_error err = {0};
    if (!bki_keydir_check(k->kd, &err)) {
        fail_msg("%s", err.text);
    }
}

/* Whether its tick is over. */
static bool is_due(const struct keys *k, unsigned i)
{
    return k->expire[i] > 0 && bki_wheel_tick(k->expire[i]) < bki_wheel_tick(k->now_ms);
}

/* Takes what a stripe gives out, all of it or, as if it were not committed, one in three. */
static void take(struct keys *k, const struct bk_buf *out, bool all)
{
    struct bki_entry e;
    struct bk_span bytes;
    for (size_t at = 0; bki_entry_next(out, &at, &e, &bytes);) {
        unsigned i = (unsigned)e.loc - 1;
        if (k->expire[i] < 0) {
            continue; /* given out twice */
        }
        assert_true(is_due(k, i));
        assert_int_equal(e.expire_ms, k->expire[i]);
        if (all || i % 3 == 0) {
            cut(k, i);
        }
    }
}

static void expire(struct keys *k, size_t piece, bool all)
{
    struct bk_buf out = {0};
    for (unsigned s = 0; s < BKI_KD_STRIPES; s++) {
        size_t left;
        do {
            left = piece;
            out.len = 0;
            bki_keydir_expire(k->kd, s, k->now_ms, &left, &out);
            take(k, &out, all);
        } while (left == 0);
        left = piece;
        bki_keydir_expire(k->kd, s, k->now_ms, &left, &out);
        assert_int_equal(left, piece); /* looking when there is nothing to do is no work */
    }
    bk_buf_fini(&out);
    for (unsigned i = 0; i < k->n; i++) {
        if (is_due(k, i) && (all || i % 3 == 0)) {
            fail_msg("key %u was not given out", i);
        }
    }
}

static void test_keydir_expire__random_lives__each_due_key_is_given_out(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct rng rng = {seed};
        struct keys k;
        setup_keys(&k, 700);
        for (unsigned round = 0; round < 200; round++) {
            for (uint64_t ops = rng_below(&rng, 200); ops > 0; ops--) {
                unsigned i = (unsigned)rng_below(&rng, k.n);
                uint64_t what = rng_below(&rng, 10);
                int64_t ahead = (int64_t)rng_below(&rng, (uint64_t)1 << rng_below(&rng, 42));
                if (what < 2) {
                    cut(&k, i);
                } else if (what < 4) {
                    put(&k, i, 0);
                } else if (what == 4) {
                    put(&k, i, INT64_MAX - ahead);
                } else {
                    put(&k, i, k.now_ms + ahead);
                }
            }
            check(&k);
            k.now_ms += 1 + (int64_t)rng_below(&rng, (uint64_t)1 << rng_below(&rng, 24));
            bool all = rng_percent(&rng, 70);
            expire(&k, 1 + (size_t)rng_below(&rng, 100), all);
            if (!all) { /* what was left there comes up in the next tick */
                check(&k);
                k.now_ms += BKI_WHEEL_TICK_MS;
                expire(&k, 64, true);
            }
            check(&k);
        }
        fini_keys(&k);
    }
}

static uint64_t bytes_of(struct keys *k)
{
    struct bki_keydir_stats s;
    bki_keydir_stats(k->kd, &s);
    return s.bytes;
}

/* The packed entries, 32 bytes and at most a third of room on top, and the wheel's 8. */
static void test_keydir_expire__memory_of_a_key__under_56_bytes(void **state)
{
    (void)state;
    struct rng rng = {3};
    struct keys k;
    setup_keys(&k, 1000000);
    uint64_t empty = bytes_of(&k);
    for (unsigned i = 0; i < k.n; i++) {
        put(&k, i, k.now_ms + (int64_t)rng_below(&rng, 86400000));
    }
    assert_in_range(bytes_of(&k) - empty, 0, 56 * (uint64_t)k.n);
    print_message("%.1f bytes a key\n", (double)(bytes_of(&k) - empty) / k.n);
    fini_keys(&k);
}

/* Trap 41: locks that are taken with an expiry and given up long before it, keys that lose theirs,
 * sessions that are prolonged: what the wheel holds stays in proportion to the keys. */
static void test_trap41__expiry_set_and_lost_by_the_million__memory_stays(void **state)
{
    (void)state;
    struct keys k;
    setup_keys(&k, 20000);
    for (unsigned i = 0; i < k.n; i++) {
        put(&k, i, k.now_ms + 3600000);
    }
    uint64_t bytes = bytes_of(&k);
    for (unsigned i = 0; i < 2000000; i++) {
        unsigned n = i % k.n;
        if (n % 3 == 0) {
            cut(&k, n);
        } else if (n % 3 == 1) {
            put(&k, n, 0);
        }
        k.now_ms += i % 500 == 0;
        put(&k, n, k.now_ms + 3600000);
        if (i % 1000 == 0) {
            expire(&k, 64, true);
        }
    }
    check(&k);
    assert_in_range(bytes_of(&k), 0, bytes + bytes / 2);
    k.now_ms += 3600000 + 2 * BKI_WHEEL_TICK_MS;
    expire(&k, 64, true);
    assert_int_equal(bki_keydir_count(k.kd), 0);
    fini_keys(&k);
}

/* Trap 41: keys that lose their expiry, or go, and come with the same one again ("until midnight"),
 * while time passes. */
static void test_trap41__same_expiry_lost_and_regained__memory_stays(void **state)
{
    (void)state;
    struct rng rng = {5};
    struct keys k;
    setup_keys(&k, 20000);
    int64_t midnight = k.now_ms + 3600000;
    for (unsigned i = 0; i < k.n; i++) {
        put(&k, i, midnight);
    }
    uint64_t bytes = bytes_of(&k);
    for (unsigned i = 0; i < 2000000; i++) {
        unsigned n = (unsigned)rng_below(&rng, k.n);
        if (n % 2 == 0) {
            cut(&k, n);
        } else {
            put(&k, n, 0);
        }
        put(&k, n, midnight);
        if (i % 1000 == 0) {
            k.now_ms++;
            expire(&k, 64, true);
        }
    }
    check(&k);
    print_message("%.2f times the bytes\n", (double)bytes_of(&k) / (double)bytes);
    assert_in_range(bytes_of(&k), 0, bytes + bytes / 2);
    k.now_ms = midnight + 2 * BKI_WHEEL_TICK_MS;
    expire(&k, 64, true);
    assert_int_equal(bki_keydir_count(k.kd), 0);
    fini_keys(&k);
}

static int by_number(const void *x, const void *y)
{
    const uint64_t *a = x;
    const uint64_t *b = y;
    return (*a > *b) - (*a < *b);
}

/* Two keys of one stripe with the same hash in the wheel: 34 bits. Among so many some 29 pairs. */
static void find_like_ones(unsigned *a, unsigned *b)
{
    enum { N = 1000000, STRIPE_SHIFT = 48, NUMBER_BITS = 24 };
    uint64_t *marks = calloc(N, sizeof *marks);
    assert_non_null(marks);
    for (unsigned i = 0; i < N; i++) {
        char text[32];
        struct bk_key key;
        make_key(&key, text, i);
        uint64_t stripe = key.hash >> STRIPE_SHIFT & (BKI_KD_STRIPES - 1);
        uint64_t mark = stripe << 28 | (key.hash & BKI_WHEEL_HASH_MASK);
        marks[i] = mark << NUMBER_BITS | i;
    }
    qsort(marks, N, sizeof *marks, by_number);
    size_t i = 1;
    while (marks[i] >> NUMBER_BITS != marks[i - 1] >> NUMBER_BITS) {
        i++;
        assert_true(i < N);
    }
    *a = (unsigned)marks[i - 1] & ((1u << NUMBER_BITS) - 1);
    *b = (unsigned)marks[i] & ((1u << NUMBER_BITS) - 1);
    free(marks);
}

/* They run out, and cannot be removed: no room on the disk, say. */
static void test_keydir_expire__two_like_keys_stay__their_entries_stay_two(void **state)
{
    (void)state;
    unsigned a, b;
    struct keys k;
    struct bk_buf out = {0};
    find_like_ones(&a, &b);
    print_message("keys %u and %u\n", a, b);
    setup_keys(&k, (a > b ? a : b) + 1);
    put(&k, a, k.now_ms + 1000);
    put(&k, b, k.now_ms + 1000);
    uint64_t bytes = bytes_of(&k);
    for (unsigned tick = 0; tick < 24; tick++) {
        k.now_ms += BKI_WHEEL_TICK_MS;
        for (unsigned s = 0; s < BKI_KD_STRIPES; s++) {
            size_t max = 100000;
            bki_keydir_expire(k.kd, s, k.now_ms, &max, &out);
        }
    }
    assert_in_range(bytes_of(&k), 0, bytes + 1024);
    check(&k);
    k.now_ms += BKI_WHEEL_TICK_MS;
    expire(&k, 64, true);
    assert_int_equal(bki_keydir_count(k.kd), 0);
    bk_buf_fini(&out);
    fini_keys(&k);
}

/* Trap 27: between the finding of an expired key and its removal the key is overwritten, or made to
 * stay: the removal, which names the place that was found, finds another. */
static void test_trap27__written_anew_after_it_was_found_expired__stays(void **state)
{
    (void)state;
    struct keys k;
    struct bk_buf out = {0};
    struct bki_entry e;
    struct bki_entry old;
    struct bk_key key;
    unsigned found = 0;
    setup_keys(&k, 2000);
    for (unsigned i = 0; i < k.n; i++) {
        put(&k, i, k.now_ms + 1000);
    }
    k.now_ms += 2000;
    for (unsigned s = 0; s < BKI_KD_STRIPES; s++) {
        size_t max = 100000;
        bki_keydir_expire(k.kd, s, k.now_ms, &max, &out);
    }
    for (size_t at = 0; bki_entry_next(&out, &at, &e, &key.bytes); found++) {
        unsigned i = (unsigned)e.loc - 1;
        key.hash = bki_key_hash(SEED, key.bytes.data, key.bytes.len);
        if (i % 2 == 0) { /* its record is another one now */
            struct bki_entry now = {.loc = 100000 + i, .size = 64, .expire_ms = i % 4 * 1000000};
            assert_true(bki_keydir_put(k.kd, &key, &now, &old));
        }
        assert_int_equal(bki_keydir_remove_if(k.kd, &key, e.loc, 0), i % 2 == 1);
    }
    assert_int_equal(found, k.n);
    assert_int_equal(bki_keydir_count(k.kd), k.n / 2);
    check(&k);
    bk_buf_fini(&out);
    fini_keys(&k);
}

/* A swap takes the wheel along. */
static void test_keydir_expire__databases_swapped__keys_run_out_in_their_new_one(void **state)
{
    (void)state;
    struct keys k;
    setup_keys(&k, 1000);
    struct bki_keydir *other = bki_keydir_new(2, SEED, START_MS, NULL);
    for (unsigned i = 0; i < k.n; i++) {
        put(&k, i, k.now_ms + 1000);
    }
    bki_keydir_swap(k.kd, other, 5);
    struct bki_keydir *was = k.kd;
    k.kd = other;
    check(&k);
    k.now_ms += 2000;
    expire(&k, 64, true);
    assert_int_equal(bki_keydir_count(other), 0);
    bki_keydir_free(&was);
    fini_keys(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keydir_expire__random_lives__each_due_key_is_given_out),
        cmocka_unit_test(test_keydir_expire__memory_of_a_key__under_56_bytes),
        cmocka_unit_test(test_trap41__expiry_set_and_lost_by_the_million__memory_stays),
        cmocka_unit_test(test_trap41__same_expiry_lost_and_regained__memory_stays),
        cmocka_unit_test(test_keydir_expire__two_like_keys_stay__their_entries_stay_two),
        cmocka_unit_test(test_trap27__written_anew_after_it_was_found_expired__stays),
        cmocka_unit_test(test_keydir_expire__databases_swapped__keys_run_out_in_their_new_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
