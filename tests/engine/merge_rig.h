/* SPDX-License-Identifier: MIT */
/* merge_rig.h - a stepped store in which merges run whenever they can; shared by test_merge.c and
 * test_hints.c. */
#ifndef BK_TESTS_MERGE_RIG_H
#define BK_TESTS_MERGE_RIG_H

#include "engine_test.h"

#define STEPS 200000u

static inline void setup_rig(struct rig *r, uint64_t seed, enum bk_sync sync)
{
    rig_init(r, seed, sync);
    rig_merging(r);
    r->opt.merge.dead_ratio = 20;
    r->opt.merge.max_files = 8;
    r->opt.max_file_bytes = 4096;
    RIG_TRUE(r, rig_open(r) == BK_OK);
}

static inline enum bk_merge_state state_of(struct rig *r)
{
    struct bk_merge_status s;
    bk_merge_status(r->db, &s);
    return s.state;
}

static inline void one_step(struct rig *r)
{
    if (!rig_step(r)) {
        simclock_advance_ms(&r->clock, 5);
    }
}

/* A step each millisecond. */
static inline void step_ms(struct rig *r, unsigned ms)
{
    for (unsigned i = 0; i < ms; i++) {
        rig_step(r);
        simclock_advance_ms(&r->clock, 1);
    }
}

/* Until a merge stands in the state; false: none came there. */
static inline bool merge_until(struct rig *r, enum bk_merge_state state)
{
    unsigned i = 0;
    while (state_of(r) != state && i++ < 3000) {
        one_step(r);
    }
    return state_of(r) == state;
}

/* Until nothing is left to merge: idle over many looks at the files. */
static inline void merge_all(struct rig *r)
{
    unsigned quiet = 0;
    RIG_TRUE(r, rig_settle(r));
    for (unsigned i = 0; quiet < 40; i++) {
        assert_true(i < STEPS);
        one_step(r);
        quiet = state_of(r) == BK_MERGE_IDLE ? quiet + 1 : 0;
    }
}

static inline uint64_t merges(struct rig *r)
{
    struct bk_merge_status s;
    bk_merge_status(r->db, &s);
    return s.runs;
}

static inline void same_after_restart(struct rig *r)
{
    RIG_TRUE(r, rig_sync(r));
    merge_all(r);
    RIG_TRUE(r, rig_same(r));
    RIG_TRUE(r, rig_check(r));
    RIG_TRUE(r, rig_close(r) == BK_OK);
    RIG_TRUE(r, rig_open(r) == BK_OK);
    RIG_TRUE(r, rig_same(r));
    RIG_TRUE(r, rig_check(r));
}

/* A new life begins a new data file; without an image it reads hints and data. */
static inline void next_file(struct rig *r)
{
    RIG_TRUE(r, rig_close(r) == BK_OK);
    rig_forget_image(r);
    RIG_TRUE(r, rig_open(r) == BK_OK);
}

static inline void put_n(struct rig *r, const char *prefix, unsigned n, const char *value)
{
    for (unsigned i = 0; i < n; i++) {
        char key[64];
        snprintf(key, sizeof(key), "%s%u", prefix, i);
        int rc;
        while ((rc = rig_put(r, key, value)) == BK_EAGAIN) {
            one_step(r);
        }
        assert_int_equal(rc, BK_OK);
    }
}

/* The same with values of 1,000 bytes. */
static inline void put_large(struct rig *r, const char *prefix, unsigned n)
{
    char value[1001];
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    put_n(r, prefix, n, value);
}

static inline bool has(struct rig *r, const char *key)
{
    struct bk_item item = {0};
    struct bk_key k;
    bk_key_init(r->db, &k, key, strlen(key));
    unsigned pin = bk_pin(r->db);
    bk_locate(r->db, &(uint32_t){0}, &k, 1, &item);
    bool found =
        item.at != 0 && (item.expire_ms == 0 || item.expire_ms > bk_clock_wall_ms(&r->clock.clock));
    bk_unpin(r->db, pin);
    bk_item_fini(&item);
    return found;
}

static inline uint64_t guard_bytes(struct rig *r)
{
    struct bk_stats s;
    bk_stats_get(r->db, &s);
    return s.guard_bytes;
}

#endif
