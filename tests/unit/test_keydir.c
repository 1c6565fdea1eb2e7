/* SPDX-License-Identifier: MIT */
/* test_keydir.c - the map from keys to records: against a plain array, while it grows, shrinks and
 * is scanned. */
#include "base/buf.h"
#include "engine/bucket.h"
#include "engine/keydir.h"
#include "engine/record.h"
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

static struct bki_entry entry_of(unsigned i)
{
    struct bki_entry e = {.loc = i + 1, .size = 64 + i % 5 * 8, .type = (uint8_t)(i % 8)};
    e.expire_ms = i % 3 == 0 ? 1000 + (int64_t)i : 0;
    return e;
}

static void put(struct bki_keydir *kd, unsigned i)
{
    char text[32];
    struct bk_key key;
    struct bki_entry e = entry_of(i);
    struct bki_entry old;
    make_key(&key, text, i);
    assert_false(bki_keydir_put(kd, &key, &e, &old));
}

static void check_there(struct bki_keydir *kd, unsigned i)
{
    char text[32];
    struct bk_key key;
    struct bki_entry want = entry_of(i);
    struct bki_entry e;
    uint64_t del_pos;
    make_key(&key, text, i);
    assert_true(bki_keydir_find(kd, &key, &e, &del_pos));
    assert_int_equal(e.loc, want.loc);
    assert_int_equal(e.size, want.size);
    assert_int_equal(e.expire_ms, want.expire_ms);
    assert_int_equal(e.type, want.type);
}

static void test_keydir__many_inserts__all_found_and_few_moved(void **state)
{
    (void)state;
    struct bki_keydir *kd = bki_keydir_new(1, SEED, 0, NULL);
    for (unsigned i = 0; i < 200000; i++) {
        put(kd, i);
    }
    struct bk_error err;
    assert_true(bki_keydir_check(kd, &err));
    for (unsigned i = 0; i < 200000; i++) {
        check_there(kd, i);
    }
    struct bki_keydir_stats s;
    bki_keydir_stats(kd, &s);
    assert_int_equal(s.keys, 200000);
    assert_int_equal(s.expiring, 66667);
    assert_true(s.moved_max <= 64);
    bki_keydir_free(&kd);
}

static void test_keydir__removed_keys__memory_comes_back(void **state)
{
    (void)state;
    struct bki_keydir *kd = bki_keydir_new(1, SEED, 0, NULL);
    struct bki_keydir_stats empty;
    struct bki_keydir_stats full;
    bki_keydir_stats(kd, &empty);
    for (unsigned i = 0; i < 50000; i++) {
        put(kd, i);
    }
    bki_keydir_stats(kd, &full);
    for (unsigned i = 0; i < 50000; i++) {
        char text[32];
        struct bk_key key;
        struct bki_entry old;
        make_key(&key, text, i);
        assert_true(bki_keydir_remove(kd, &key, 7, &old));
        assert_int_equal(old.loc, i + 1);
        if (i % 5000 == 0) {
            struct bk_error err;
            assert_true(bki_keydir_check(kd, &err));
        }
    }
    struct bki_keydir_stats s;
    bki_keydir_stats(kd, &s);
    assert_int_equal(s.keys, 0);
    assert_int_equal(s.bytes, empty.bytes);
    assert_true(full.bytes > empty.bytes);
    bki_keydir_free(&kd);
}

static void test_keydir__replace_changes_shape__entry_is_whole(void **state)
{
    (void)state;
    struct bki_keydir *kd = bki_keydir_new(1, SEED, 0, NULL);
    char text[32];
    struct bk_key key;
    struct bki_entry old;
    make_key(&key, text, 1);
    struct bki_entry shapes[] = {
        {.loc = 10, .size = 64},
        {.loc = 11, .size = 64, .expire_ms = 99},
        {.loc = 12, .size = 2u << 20, .expire_ms = 98},
        {.loc = 13, .size = 3u << 20},
        {.loc = 14, .size = 72, .type = 5},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        uint64_t del_pos;
        struct bki_entry e;
        struct bk_error err;
        assert_int_equal(bki_keydir_put(kd, &key, &shapes[i], &old), i > 0);
        assert_true(bki_keydir_find(kd, &key, &e, &del_pos));
        assert_memory_equal(&e.loc, &shapes[i].loc, sizeof e.loc);
        assert_int_equal(e.size, shapes[i].size);
        assert_int_equal(e.expire_ms, shapes[i].expire_ms);
        assert_true(bki_keydir_check(kd, &err));
    }
    assert_false(bki_keydir_replace_if(kd, &key, 13, &shapes[0]));
    assert_true(bki_keydir_replace_if(kd, &key, 14, &shapes[0]));
    assert_false(bki_keydir_remove_if(kd, &key, 14, 5));
    assert_true(bki_keydir_remove_if(kd, &key, 10, 5));
    struct bki_entry e;
    uint64_t del_pos = 0;
    assert_false(bki_keydir_find(kd, &key, &e, &del_pos));
    assert_int_equal(del_pos, 5);
    bki_keydir_free(&kd);
}

/* Keys that are there throughout are seen, while others come and go by the thousand between two
 * calls. */
static void test_keydir__scan_while_it_grows_and_shrinks__sees_what_stays(void **state)
{
    (void)state;
    enum { STAY = 3000, CHURN = 40000 };
    struct bki_keydir *kd = bki_keydir_new(1, SEED, 0, NULL);
    bool *seen = bk_alloc_zero(STAY, sizeof *seen);
    for (unsigned i = 0; i < STAY; i++) {
        put(kd, i);
    }
    struct bk_buf packed = {0};
    uint64_t cursor = 0;
    unsigned next = STAY;
    unsigned gone = STAY;
    unsigned calls = 0;
    do {
        packed.len = 0;
        bki_keydir_scan(kd, &cursor, &packed);
        struct bki_entry e;
        struct bk_span key;
        for (size_t at = 0; bki_entry_next(&packed, &at, &e, &key);) {
            if (e.loc <= STAY) {
                seen[e.loc - 1] = true;
            }
        }
        for (unsigned k = 0; k < 200 && next < STAY + CHURN; k++) {
            put(kd, next++);
        }
        for (unsigned k = 0; k < 250 && next == STAY + CHURN && gone < next; k++) {
            char text[32];
            struct bk_key del;
            struct bki_entry old;
            make_key(&del, text, gone++);
            assert_true(bki_keydir_remove(kd, &del, 1, &old));
        }
        assert_true(++calls < 100000);
    } while (cursor != 0);
    for (unsigned i = 0; i < STAY; i++) {
        assert_true(seen[i]);
    }
    bk_buf_fini(&packed);
    free(seen);
    bki_keydir_free(&kd);
}

static void test_keydir__swap_and_drain__contents_move_whole(void **state)
{
    (void)state;
    struct bki_keydir *a = bki_keydir_new(1, SEED, 0, NULL);
    struct bki_keydir *b = bki_keydir_new(2, SEED, 0, NULL);
    for (unsigned i = 0; i < 70000; i++) {
        put(a, i);
    }
    bki_keydir_swap(a, b, 9);
    assert_int_equal(bki_keydir_count(a), 0);
    assert_int_equal(bki_keydir_count(b), 70000);
    assert_int_equal(bki_keydir_space(a), 2);
    struct bk_buf packed = {0};
    struct bki_entry e;
    uint64_t drained = 0;
    while (bki_keydir_drain(b, &packed)) {
        for (size_t at = 0; bki_entry_next(&packed, &at, &e, NULL);) {
            drained++;
        }
        packed.len = 0;
    }
    assert_int_equal(drained, 70000);
    bk_buf_fini(&packed);
    bki_keydir_free(&a);
    bki_keydir_free(&b);
}

/* One change, drawn from few keys or many; some of long records and of keys with an expiry. */
static void draw_change(struct rng *rng, struct bki_change *c, char *text, unsigned keys)
{
    *c = (struct bki_change){.old = {.loc = 99}};
    make_key(&c->key, text, (unsigned)rng_below(rng, keys));
    if (!rng_percent(rng, 30)) {
        c->now = (struct bki_entry){.loc = 1 + rng_below(rng, 1u << 30),
                                    .size = rng_percent(rng, 5) ? 3u << 20 : 64,
                                    .expire_ms = rng_percent(rng, 20) ? 5000 : 0,
                                    .type = (uint8_t)rng_below(rng, 8)};
    }
}

/* The same by put and remove. */
static void apply_one(struct bki_keydir *kd, const struct bki_change *c)
{
    struct bki_entry now = c->now;
    struct bki_entry old = {0};
    if (now.loc == 0) {
        bool had = bki_keydir_remove(kd, &c->key, 0, &old);
        assert_int_equal(had, c->old.loc != 0);
    } else {
        bool had = bki_keydir_put(kd, &c->key, &now, &old);
        assert_int_equal(had, c->old.loc != 0);
    }
    assert_int_equal(old.loc, c->old.loc);
    assert_true(old.loc == 0 || old.size == c->old.size);
}

static int by_place(const void *a, const void *b)
{
    const struct bki_change *x = a;
    const struct bki_change *y = b;
    uint64_t s = x->key.hash >> 48 & (BKI_KD_STRIPES - 1);
    uint64_t t = y->key.hash >> 48 & (BKI_KD_STRIPES - 1);
    uint32_t p = bki_keydir_bucket(16, x->key.hash);
    uint32_t q = bki_keydir_bucket(16, y->key.hash);
    return s != t ? (s < t ? -1 : 1) : p != q ? (p < q ? -1 : 1) : 0;
}

static void test_keydir__changes_applied_together__as_one_by_one(void **state)
{
    (void)state;
    enum { N = 500 };
    static struct bki_change c[N];
    static char text[N][32];
    struct bki_keydir_stats one;
    struct bki_keydir_stats all;
    struct bk_error err;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct rng rng = {seed};
        struct bki_keydir *together = bki_keydir_new(1, SEED, 0, NULL);
        struct bki_keydir *single = bki_keydir_new(1, SEED, 0, NULL);
        for (unsigned round = 0; round < 6; round++) {
            for (unsigned i = 0; i < N; i++) {
                draw_change(&rng, &c[i], text[i], seed % 2 == 0 ? 40 : 3000);
            }
            if (seed % 3 == 0) {
                qsort(c, N, sizeof c[0], by_place);
            }
            for (unsigned s = 0; s < BKI_KD_STRIPES && seed % 4 != 0; s++) {
                assert_true(bki_keydir_expect(together, s, rng_below(&rng, 400)) > 0);
            }
            bki_keydir_apply(together, c, N);
            for (unsigned i = 0; i < N; i++) {
                apply_one(single, &c[i]);
            }
            for (unsigned s = 0; s < BKI_KD_STRIPES; s++) {
                bki_keydir_fit(together, s);
            }
            assert_true(bki_keydir_check(together, &err));
        }
        bki_keydir_stats(together, &all);
        bki_keydir_stats(single, &one);
        assert_int_equal(all.keys, one.keys);
        assert_int_equal(all.expiring, one.expiring);
        assert_true(all.bytes <= one.bytes + one.bytes / 4);
        bki_keydir_free(&together);
        bki_keydir_free(&single);
    }
}

static void test_keydir__expect_and_fit__room_comes_and_goes(void **state)
{
    (void)state;
    struct bki_keydir *kd = bki_keydir_new(1, SEED, 0, NULL);
    struct bki_keydir_stats empty;
    struct bki_keydir_stats s;
    struct bki_keydir_shape shape;
    bki_keydir_stats(kd, &empty);
    assert_int_equal(bki_keydir_expect(kd, 3, 100 * BKI_KD_FILL), 100);
    assert_int_equal(bki_keydir_expect(kd, 3, 150 * BKI_KD_FILL), 150);
    assert_int_equal(bki_keydir_expect(kd, 3, 7), 150);
    bki_keydir_shape(kd, 3, &shape);
    assert_int_equal(shape.buckets, 150);
    bki_keydir_fit(kd, 3);
    bki_keydir_fit(kd, 4);
    bki_keydir_stats(kd, &s);
    assert_int_equal(s.bytes, empty.bytes);
    assert_int_equal(bki_keydir_bucket(1, 12345), 0);
    assert_int_equal(bki_keydir_bucket(6, 0xfffffff1), 1);
    assert_int_equal(bki_keydir_bucket(6, 0xfffffff2), 2);
    assert_int_equal(bki_keydir_bucket(6, 0xfffffff5), 5);
    bki_keydir_free(&kd);
}

static void test_bucket__keys_of_every_length__found(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 7, 8, 9, 16, 253, 254, 255, 256, 300, 70000};
    enum { N = sizeof lengths / sizeof lengths[0] };
    uint8_t *bytes = bk_alloc_zero(70000, 1);
    struct bki_slot s = {NULL};
    for (unsigned i = 0; i < N; i++) {
        struct bki_entry e = {.loc = i + 1, .size = 64, .expire_ms = i % 2 == 0 ? 5 : 0};
        bki_bucket_add(&s, &e, bk_span_of(bytes, lengths[i]), NULL);
    }
    for (unsigned i = 0; i < N; i++) {
        struct bki_entry e;
        struct bk_span key;
        uint64_t *p = bki_bucket_find(bki_slot_get(&s), bk_span_of(bytes, lengths[i]));
        assert_non_null(p);
        bki_entry_read(p, &e, &key);
        assert_int_equal(e.loc, i + 1);
        assert_int_equal(key.len, lengths[i]);
        assert_int_equal(bki_entry_units_at(p), bki_entry_units(&e, key.len));
    }
    for (unsigned i = 0; i < N; i++) {
        uint64_t *p = bki_bucket_find(bki_slot_get(&s), bk_span_of(bytes, lengths[i]));
        bki_bucket_cut(&s, p, NULL);
    }
    assert_null(bki_slot_get(&s));
    free(bytes);
}

/* The i-th of all texts over two letters, one of them zero, shortest first: 2^len of each length.
 */
static struct bk_span text_of(unsigned i, uint8_t *text)
{
    size_t len = 0;
    while (i >= 1u << len) {
        i -= 1u << len++;
    }
    for (size_t at = 0; at < len; at++) {
        text[at] = (i >> at & 1) != 0 ? 'a' : 0;
    }
    return bk_span_of(text, len);
}

static void test_bucket__keys_that_differ_in_one_letter__each_is_found(void **state)
{
    (void)state;
    enum { N = 4095 }; /* lengths 0 to 11 */
    struct bki_slot s = {NULL};
    uint8_t text[16];
    for (unsigned i = 0; i < N; i += 2) {
        struct bki_entry e = {.loc = i + 1,
                              .size = i % 14 == 0 ? BKI_CLASSED_MAX + 8 : 64,
                              .expire_ms = i % 6 == 0 ? 5 : 0};
        bki_bucket_add(&s, &e, text_of(i, text), NULL);
    }
    for (unsigned i = 0; i < N; i++) {
        const uint64_t *p = bki_bucket_find(bki_slot_get(&s), text_of(i, text));
        struct bki_entry e = {0};
        if (p != NULL) {
            bki_entry_read(p, &e, NULL);
        }
        assert_int_equal(e.loc, i % 2 == 0 ? i + 1 : 0);
    }
    bki_slot_set(&s, NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keydir__many_inserts__all_found_and_few_moved),
        cmocka_unit_test(test_keydir__removed_keys__memory_comes_back),
        cmocka_unit_test(test_keydir__replace_changes_shape__entry_is_whole),
        cmocka_unit_test(test_keydir__scan_while_it_grows_and_shrinks__sees_what_stays),
        cmocka_unit_test(test_keydir__swap_and_drain__contents_move_whole),
        cmocka_unit_test(test_keydir__changes_applied_together__as_one_by_one),
        cmocka_unit_test(test_keydir__expect_and_fit__room_comes_and_goes),
        cmocka_unit_test(test_bucket__keys_of_every_length__found),
        cmocka_unit_test(test_bucket__keys_that_differ_in_one_letter__each_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
