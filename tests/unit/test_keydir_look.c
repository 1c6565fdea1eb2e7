/* SPDX-License-Identifier: MIT */
/*
 * test_keydir_look.c - look-ups without a lock, by threads of their own, while another changes,
 * grows, shrinks and exchanges the keydir: what they find is whole, what stays is found.
 */
#include "reclaim_rig.h"

#include "base/buf.h"
#include "engine/keydir.h"
#include "engine/record.h"
#include "lib/rng.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SEED 42u
#define READERS 3u
#define STAY 300u   /* keys that are there throughout */
#define CHURN 6000u /* others, that come and go: several buckets of each stripe split and join */

static void make_key(struct bk_key *key, char *text, unsigned i)
{
    int n = snprintf(text, 32, "key:%u", i);
    *key = (struct bk_key){.bytes = bk_span_of(text, (size_t)n)};
    key->hash = bki_key_hash(SEED, text, (size_t)n);
}

/* All of an entry follows from its location: so a mixture of two shows. */
static struct bki_entry entry_of(uint64_t loc)
{
    return (struct bki_entry){.loc = loc,
                              .size = loc % 4 == 3 ? BKI_CLASSED_MAX + loc * 8 : 64 + loc % 5 * 8,
                              .expire_ms = loc % 3 == 0 ? (int64_t)loc * 1000 : 0,
                              .type = (uint8_t)(loc % 8)};
}

static bool is_whole(const struct bki_entry *e)
{
    struct bki_entry want = entry_of(e->loc);
    return e->size == want.size && e->expire_ms == want.expire_ms && e->type == want.type;
}

struct world {
    struct bki_reclaim *reclaim;
    struct bki_keydir *kd;
    pthread_t reader[READERS];
    _Atomic uint64_t there; /* key 0 has been put after the delete at this position */
    bool comes_and_goes;    /* key 0, and the others too */
    bool one_key;           /* is looked at, and no other */
    atomic_bool over;
    atomic_uint wrong, looks;
};

struct reader {
    struct world *w;
    uint64_t last[STAY]; /* the location at which each key was seen last: they rise */
};

static void look_at(struct reader *r, unsigned i, bool use)
{
    struct world *w = r->w;
    i = w->one_key ? 0 : i;
    char text[32];
    struct bk_key key;
    struct bki_entry e = {0};
    uint64_t del_pos = 0;
    uint64_t there = atomic_load(&w->there);
    make_key(&key, text, i);
    bool found = use ? bki_keydir_use(w->kd, &key, &e, &del_pos)
                     : bki_keydir_find(w->kd, &key, &e, &del_pos);
    bool right = found ? is_whole(&e) && e.loc >= r->last[i]
                       : w->comes_and_goes && (i != 0 || del_pos > there);
    r->last[i] = found ? e.loc : r->last[i];
    atomic_fetch_add(&w->wrong, !right);
}

static void *reader_main(void *arg)
{
    struct world *w = arg;
    struct reader r = {.w = w};
    struct bk_key keys[8];
    char text[8][32];
    uint64_t locs[8];
    for (unsigned i = 0; !atomic_load(&w->over); i++) {
        look_at(&r, i % STAY, i / STAY % 2 == 0);
        if (i % 64 == 0) {
            bki_keydir_set_age(w->kd, (uint8_t)(1 + i / 64 % 15));
        }
        if (i % 16 == 0) {
            for (unsigned k = 0; k < 8; k++) {
                make_key(&keys[k], text[k], (i + k) % (STAY + CHURN));
            }
            bki_keydir_prefetch(w->kd, keys, 8, locs);
        }
        atomic_fetch_add_explicit(&w->looks, 1, memory_order_relaxed);
    }
    return NULL;
}

static void world_open(struct world *w, bool comes_and_goes, bool one_key)
{
    *w = (struct world){.comes_and_goes = comes_and_goes, .one_key = one_key};
    w->reclaim = reclaim_new();
    w->kd = bki_keydir_new(1, SEED, 0, w->reclaim);
}

static void start_readers(struct world *w)
{
    for (unsigned i = 0; i < READERS; i++) {
        assert_int_equal(pthread_create(&w->reader[i], NULL, reader_main, w), 0);
    }
    while (atomic_load(&w->looks) < READERS) {
        sched_yield();
    }
}

static void world_close(struct world *w)
{
    struct bk_error err;
    atomic_store(&w->over, true);
    for (unsigned i = 0; i < READERS; i++) {
        assert_int_equal(pthread_join(w->reader[i], NULL), 0);
    }
    assert_int_equal(atomic_load(&w->wrong), 0);
    assert_true(bki_keydir_check(w->kd, &err));
    bki_keydir_free(&w->kd);
    reclaim_free(w->reclaim);
}

static void put(struct world *w, unsigned i, uint64_t loc)
{
    char text[32];
    struct bk_key key;
    struct bki_entry e = entry_of(loc);
    struct bki_entry old;
    make_key(&key, text, i);
    (void)bki_keydir_put(w->kd, &key, &e, &old);
}

static bool remove_key(struct world *w, unsigned i, uint64_t pos)
{
    char text[32];
    struct bk_key key;
    struct bki_entry old;
    make_key(&key, text, i);
    return bki_keydir_remove(w->kd, &key, pos, &old);
}

/* Half of the keys come and go, the stripes grow and shrink, and what stays changes its shape. */
static void test_look__others_come_and_go__what_stays_is_found_whole(void **state)
{
    (void)state;
    struct world w;
    uint64_t loc = 1;
    world_open(&w, false, false);
    for (unsigned i = 0; i < STAY; i++) {
        put(&w, i, loc++);
    }
    start_readers(&w);
    for (unsigned round = 0; round < 8; round++) {
        for (unsigned i = 0; i < CHURN; i++) {
            put(&w, STAY + i, loc++);
            put(&w, i % STAY, loc++);
        }
        for (unsigned i = 0; i < CHURN; i++) {
            assert_true(remove_key(&w, STAY + i, loc));
            put(&w, i % STAY, loc++);
        }
    }
    world_close(&w);
}

/* Location, expiry and size change in their places. */
static void test_look__entry_of_several_words__never_mixed(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, false, true);
    put(&w, 0, 3);
    start_readers(&w);
    for (uint64_t loc = 3; loc <= 12u * 300000; loc += 12) {
        put(&w, 0, loc);
    }
    world_close(&w);
}

/* A look-up that stores a key's age brings no location back that has been replaced. */
static void test_look__used_while_it_changes__no_change_is_lost(void **state)
{
    (void)state;
    struct world w;
    struct bk_key key;
    char text[32];
    world_open(&w, false, true);
    put(&w, 0, 1);
    start_readers(&w);
    make_key(&key, text, 0);
    for (uint64_t loc = 13; loc <= 12u * 500000; loc += 12) { /* of one shape, without expiry */
        struct bki_entry e = entry_of(loc);
        struct bki_entry old = {0};
        assert_true(bki_keydir_put(w.kd, &key, &e, &old));
        assert_int_equal(old.loc, loc - 12);
    }
    world_close(&w);
}

/* A miss tells the delete that it depends on. */
static void test_look__key_comes_and_goes__miss_tells_of_delete(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, true, true);
    put(&w, 0, 1);
    start_readers(&w);
    for (uint64_t pos = 1; pos <= 200000; pos++) {
        assert_true(remove_key(&w, 0, pos));
        put(&w, 0, pos + 1);
        atomic_store(&w.there, pos);
    }
    world_close(&w);
}

/* All is taken away at once, and freed, while somebody may still be looking at it. */
static void test_look__contents_swapped_and_freed__nothing_half_is_found(void **state)
{
    (void)state;
    struct world w;
    uint64_t loc = 1;
    world_open(&w, true, false);
    put(&w, 0, loc++);
    start_readers(&w);
    for (unsigned round = 0; round < 100; round++) {
        struct bk_buf packed = {0};
        struct bki_keydir *taken = bki_keydir_new(round + 2, SEED, 0, w.reclaim);
        for (unsigned i = 0; i < STAY + 700; i++) {
            put(&w, i, loc++);
            if (i == 0) {
                atomic_store(&w.there, loc);
            }
        }
        bki_keydir_swap(w.kd, taken, ++loc);
        while (bki_keydir_drain(taken, &packed)) {
            packed.len = 0;
        }
        bk_buf_fini(&packed);
        bki_keydir_free(&taken);
    }
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_look__others_come_and_go__what_stays_is_found_whole),
        cmocka_unit_test(test_look__entry_of_several_words__never_mixed),
        cmocka_unit_test(test_look__used_while_it_changes__no_change_is_lost),
        cmocka_unit_test(test_look__key_comes_and_goes__miss_tells_of_delete),
        cmocka_unit_test(test_look__contents_swapped_and_freed__nothing_half_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
