/* SPDX-License-Identifier: MIT */
/* test_cache.c - what the cache answers is what was put for that location: alone, and while other
 * threads put, forget, shrink and purge. */
#include "reclaim_rig.h"

#include "base/buf.h"
#include "engine/cache.h"
#include "engine/reclaim.h"
#include "lib/rng.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LOCS 4000u
#define VALUE_MAX 300u
#define BYTES (1u << 20) /* room for about half of them */
#define READERS 2u

static struct bk_span value_of(uint64_t loc, uint8_t *bytes)
{
    size_t len = loc % VALUE_MAX;
    memset(bytes, (int)(loc * 31 % 251), len);
    return bk_span_of(bytes, len);
}

static void put(struct bki_cache *c, uint64_t loc)
{
    uint8_t bytes[VALUE_MAX];
    bki_cache_put(c, loc, value_of(loc, bytes), (uint8_t)loc);
}

/* Whether the cache answers with what belongs to the location, or nothing: *hit tells. */
static bool answers_right(struct bki_cache *c, uint64_t loc, struct bk_buf *buf, bool *hit)
{
    uint8_t bytes[VALUE_MAX];
    uint8_t flags = 0;
    buf->len = 0;
    *hit = bki_cache_get(c, loc, buf, &flags);
    return !*hit || (flags == (uint8_t)loc && bk_span_eq(bk_buf_span(buf), value_of(loc, bytes)));
}

static void test_cache__more_than_fits__bounded_and_right(void **state)
{
    (void)state;
    struct bki_cache *c = bki_cache_new(BYTES, NULL);
    struct bki_cache_stats s;
    struct bk_buf buf = {0};
    uint64_t hits = 0;
    bool hit;
    for (uint64_t loc = 1; loc <= 4ull * LOCS; loc++) {
        put(c, loc);
    }
    for (uint64_t loc = 1; loc <= 4ull * LOCS; loc++) {
        assert_true(answers_right(c, loc, &buf, &hit));
        hits += hit;
    }
    bki_cache_stats(c, &s);
    assert_int_equal(s.hits, hits);
    assert_int_equal(s.misses, 4ull * LOCS - hits);
    assert_true(hits > LOCS / 2 && s.used <= BYTES && s.used > BYTES / 2);
    bki_cache_forget(c, 4ull * LOCS);
    assert_int_equal(bki_cache_bytes(c, 4ull * LOCS), 0);
    bki_cache_resize(c, 0);
    bki_cache_stats(c, &s);
    assert_int_equal(s.used, 0);
    bk_buf_fini(&buf);
    bki_cache_free(&c);
}

struct world {
    struct bki_cache *cache;
    atomic_bool over;
    atomic_uint wrong, hits;
};

static void *reader_main(void *arg)
{
    struct world *w = arg;
    struct bk_buf buf = {0};
    uint64_t locs[8];
    bool hit;
    for (uint64_t i = 0; !atomic_load(&w->over); i++) {
        for (unsigned k = 0; k < 8; k++) {
            locs[k] = (i * 8 + k) % LOCS + 1;
        }
        bki_cache_prefetch(w->cache, locs, 8);
        for (unsigned k = 0; k < 8; k++) {
            atomic_fetch_add(&w->wrong, !answers_right(w->cache, locs[k], &buf, &hit));
            atomic_fetch_add(&w->hits, hit);
        }
    }
    bk_buf_fini(&buf);
    return NULL;
}

static bool is_third(void *arg, uint64_t loc)
{
    (void)arg;
    return loc % 3 == 0;
}

static void test_cache__changed_meanwhile__look_ups_are_right(void **state)
{
    (void)state;
    struct rng rng = {7};
    struct world w = {.over = false};
    pthread_t reader[READERS];
    struct bki_reclaim *reclaim = reclaim_new();
    w.cache = bki_cache_new(BYTES, reclaim);
    for (unsigned i = 0; i < READERS; i++) {
        assert_int_equal(pthread_create(&reader[i], NULL, reader_main, &w), 0);
    }
    for (unsigned round = 0; round < 60 || atomic_load(&w.hits) < 1000; round++) {
        struct bki_cache_purge purge = {0};
        for (unsigned i = 0; i < LOCS; i++) {
            put(w.cache, 1 + rng_below(&rng, LOCS));
            if (i % 4 == 0) {
                bki_cache_forget(w.cache, 1 + rng_below(&rng, LOCS));
            }
        }
        while (!bki_cache_purge(w.cache, &purge, is_third, NULL)) {
        }
        bki_cache_resize(w.cache, round % 3 == 0 ? 0 : BYTES >> round % 3);
    }
    atomic_store(&w.over, true);
    for (unsigned i = 0; i < READERS; i++) {
        assert_int_equal(pthread_join(reader[i], NULL), 0);
    }
    assert_int_equal(atomic_load(&w.wrong), 0);
    bki_cache_free(&w.cache);
    reclaim_free(reclaim);
}

/* ---- Entries that stay ---- */

struct filling {
    struct bki_cache *cache;
    _Atomic uint64_t put; /* locations up to here are there */
    atomic_bool over;
    atomic_uint missed;
};

static void *looker_main(void *arg)
{
    struct filling *f = arg;
    struct bk_buf buf = {0};
    bool hit;
    for (uint64_t i = 0; !atomic_load(&f->over); i++) {
        uint64_t there = atomic_load(&f->put);
        bool right =
            there == 0 || (answers_right(f->cache, 1 + i * 7919 % there, &buf, &hit) && hit);
        atomic_fetch_add(&f->missed, !right);
    }
    bk_buf_fini(&buf);
    return NULL;
}

/* Entries change their chains when a table grows: a look-up finds them all the same. */
static void test_cache__tables_grow__what_is_there_is_found(void **state)
{
    (void)state;
    struct bki_reclaim *reclaim = reclaim_new();
    for (unsigned round = 0; round < 20; round++) {
        struct filling f = {.cache = bki_cache_new(256u << 20, reclaim)};
        pthread_t looker[READERS];
        for (unsigned i = 0; i < READERS; i++) {
            assert_int_equal(pthread_create(&looker[i], NULL, looker_main, &f), 0);
        }
        for (uint64_t loc = 1; loc <= 5ull * LOCS; loc++) {
            put(f.cache, loc);
            atomic_store(&f.put, loc);
        }
        atomic_store(&f.over, true);
        for (unsigned i = 0; i < READERS; i++) {
            assert_int_equal(pthread_join(looker[i], NULL), 0);
        }
        assert_int_equal(atomic_load(&f.missed), 0);
        bki_cache_free(&f.cache);
    }
    reclaim_free(reclaim);
}

/* Nothing that was taken out is kept for longer than somebody may look at it. */
static void test_cache__emptied__gives_all_back(void **state)
{
    (void)state;
    struct bki_cache_stats s;
    struct bki_reclaim *reclaim = reclaim_new();
    struct bki_cache *c = bki_cache_new(64u << 20, reclaim);
    for (uint64_t loc = 1; loc <= LOCS; loc++) {
        put(c, loc);
    }
    unsigned pin = bki_pin(&reclaim->pins);
    bki_cache_resize(c, 0);
    bki_cache_stats(c, &s);
    assert_true(s.used > LOCS * 40); /* it counts as long as it is there */
    bki_unpin(&reclaim->pins, pin);
    do { /* some at a time */
        bki_cache_tidy(c);
        bki_cache_stats(c, &s);
    } while (s.used > 0);
    bki_cache_resize(c, 64u << 20);
    for (uint64_t loc = 1; loc <= LOCS; loc++) {
        put(c, loc);
    }
    bki_cache_resize(c, 0);
    bki_cache_stats(c, &s);
    assert_int_equal(s.used, 0);
    bki_cache_free(&c);
    reclaim_free(reclaim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cache__more_than_fits__bounded_and_right),
        cmocka_unit_test(test_cache__changed_meanwhile__look_ups_are_right),
        cmocka_unit_test(test_cache__tables_grow__what_is_there_is_found),
        cmocka_unit_test(test_cache__emptied__gives_all_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
