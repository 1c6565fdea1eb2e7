/* SPDX-License-Identifier: MIT */
/*
 * cut_plays.h - what a store does while it is cut off: plays that end early when the disk dies;
 * shared by test_slow_cuts.c and test_slow_rot.c.
 */
#ifndef BK_TESTS_CUT_PLAYS_H
#define BK_TESTS_CUT_PLAYS_H

#include "engine_test.h"

#include "lib/cuts.h"

#define SNAP "snap"

/* A promise within a scenario: in this world or the first one. */
static struct cuts *world;
#define MUST(call) CUTS_TRUE(world, call)

static inline bool dead(struct rig *r)
{
    return simdisk_dead(r->disk);
}

/* ---- What they are made of ---- */

static inline void open_it(struct rig *r)
{
    MUST(rig_open(r) == BK_OK || dead(r));
}

static inline void close_it(struct rig *r)
{
    if (r->db != NULL && !dead(r)) {
        MUST(rig_close(r) == BK_OK || dead(r));
    }
}

static inline void some_random(struct rig *r, unsigned n)
{
    for (unsigned i = 0; i < n && r->db != NULL && !dead(r); i++) {
        MUST(rig_random_op(r));
    }
}

static inline void sync_it(struct rig *r)
{
    if (r->db != NULL && !dead(r)) {
        MUST(rig_sync(r));
    }
}

static inline void put_some(struct rig *r, const char *name, unsigned n, size_t len)
{
    char value[3000];
    memset(value, 'v', sizeof(value));
    value[len] = '\0';
    for (unsigned i = 0; i < n && r->db != NULL && !dead(r); i++) {
        char key[32];
        snprintf(key, sizeof(key), "%s%u", name, i);
        snprintf(value, 16, "%08llu", (unsigned long long)r->model.entries_n);
        value[8] = 'v';
        MUST(rig_put(r, key, value) == BK_OK || dead(r));
    }
}

static inline void step_some(struct rig *r, unsigned n)
{
    for (unsigned i = 0; i < n && r->db != NULL && !dead(r); i++) {
        if (!rig_step(r)) {
            simclock_advance_ms(&r->clock, 5);
        }
    }
}

static inline void settle_it(struct rig *r)
{
    if (r->db != NULL && !dead(r)) {
        MUST(rig_settle(r));
    }
}

/* ---- Plays ---- */

static inline void play_tiny(struct rig *r)
{
    open_it(r);
    put_some(r, "k", 2, 20);
    settle_it(r);
    if (r->db != NULL && !dead(r)) {
        MUST(rig_delete(r, "k0") == BK_OK || dead(r));
    }
    sync_it(r);
    put_some(r, "k", 1, 30);
    close_it(r);
}

static inline void play_writes(struct rig *r)
{
    open_it(r);
    some_random(r, 70);
    sync_it(r);
}

static inline void play_rotation(struct rig *r)
{
    open_it(r);
    for (unsigned i = 0; i < 6; i++) {
        put_some(r, i % 2 == 0 ? "a" : "b", 3, 700);
        some_random(r, 3);
        step_some(r, 2);
    }
    sync_it(r);
}

static inline void small_files(struct rig *r)
{
    r->opt.max_file_bytes = 4096;
}

static inline void prepare_hints(struct rig *r)
{
    small_files(r);
    open_it(r);
    put_some(r, "a", 12, 900);
    some_random(r, 30);
    put_some(r, "b", 12, 900);
    sync_it(r);
    MUST(rig_close(r) == BK_OK);
    rig_forget_image(r);
}

static inline void no_hint(void *arg, const struct bk_file_info *info)
{
    *(bool *)arg |= info->state == BK_FILE_SEALED && !info->hinted && info->live_bytes > 0;
}

/* The background makes hints while writes go on. */
static inline void play_hints(struct rig *r)
{
    bool missing = true;
    open_it(r);
    for (unsigned i = 0; i < 300 && missing && r->db != NULL && !dead(r); i++) {
        if (i % 40 == 3) {
            put_some(r, "a", 2, 300);
            MUST(rig_delete(r, "b1") == BK_OK || dead(r));
        }
        step_some(r, 1);
        missing = false;
        bk_files(r->db, no_hint, &missing);
    }
    sync_it(r);
}

/* Live, dead and deleted records, flushed and swapped databases, and behind them writes that
 * nothing has synced: they are the proof that what they replace is dead. */
static inline void prepare_merge(struct rig *r)
{
    rig_merging(r);
    r->opt.merge.dead_ratio = 20;
    r->opt.merge.max_files = 8;
    small_files(r);
    open_it(r);
    put_some(r, "a", 25, 60);
    put_some(r, "a", 18, 300);
    some_random(r, 40);
    MUST(rig_sync(r));
    MUST(rig_close(r) == BK_OK);
    rig_forget_image(r);
    open_it(r);
    put_some(r, "a", 12, 200);
    for (unsigned i = 12; i < 16; i++) {
        char key[16];
        snprintf(key, sizeof(key), "a%u", i);
        MUST(rig_delete(r, key) == BK_OK);
    }
}

static inline void play_merge(struct rig *r)
{
    struct bk_merge_status s = {0};
    for (unsigned i = 0; i < 4000 && s.runs < 2 && !dead(r); i++) {
        step_some(r, 1);
        if (i % 50 == 20 && !dead(r)) {
            some_random(r, 1);
        }
        bk_merge_status(r->db, &s);
    }
}

static inline void put_expiring(struct rig *r, unsigned n)
{
    for (unsigned i = 0; i < n && r->db != NULL && !dead(r); i++) {
        char key[16];
        snprintf(key, sizeof(key), "e%u", i);
        rig_begin(r);
        rig_batch_put(r, 0, bk_span_str(key), bk_span_str("for a while"), 0,
                      bk_clock_wall_ms(&r->clock.clock) + 50 + 200 * (int64_t)i);
        MUST(rig_commit(r) == BK_OK || dead(r));
    }
}

/* Keys run out of time before, in and behind merges; older copies of them never come back. */
static inline void play_expiry(struct rig *r)
{
    for (unsigned round = 0; round < 3 && !dead(r); round++) {
        put_some(r, "e", 8, 100);
        settle_it(r);
        put_expiring(r, 8);
        for (unsigned i = 0; i < 60 && !dead(r); i++) {
            step_some(r, 1);
            bk_expire_step(r->db, 3, NULL);
            simclock_advance_ms(&r->clock, 20);
        }
    }
    sync_it(r);
}

/* FLUSHDB and SWAPDB, alone and in batches, between rotations. */
static inline void play_databases(struct rig *r)
{
    open_it(r);
    for (unsigned i = 0; i < 12 && r->db != NULL && !dead(r); i++) {
        put_some(r, "k", 2, 400);
        rig_begin(r);
        if (i % 3 != 2) {
            rig_batch_swap(r, i % RIG_DATABASES, (i + 1) % RIG_DATABASES);
        }
        rig_batch_put(r, i % 2, bk_span_str("in the batch"), bk_span_str("yes"), 1, 0);
        if (i % 3 != 0) {
            rig_batch_flush(r, (i + 1) % RIG_DATABASES);
        }
        rig_batch_delete(r, 1, bk_span_str("k1"));
        MUST(rig_commit(r) == BK_OK || dead(r));
        step_some(r, 2);
    }
    sync_it(r);
}

/* An image is written, loaded, and taken away before the first write; one life only reads. */
static inline void play_image(struct rig *r)
{
    for (unsigned i = 0; i < 3 && !dead(r); i++) {
        open_it(r);
        if (i != 1 && r->db != NULL && !dead(r)) {
            put_some(r, i == 0 ? "a" : "b", 3, 100);
            MUST(rig_delete(r, "a1") == BK_OK || dead(r));
        }
        close_it(r);
    }
}

/* All of it, over several lives that end well. */
static inline void play_mixture(struct rig *r)
{
    rig_merging(r);
    small_files(r);
    for (unsigned life = 0; life < 3 && !dead(r); life++) {
        char dir[16];
        snprintf(dir, sizeof(dir), SNAP "%u", life);
        open_it(r);
        some_random(r, 25);
        step_some(r, 30);
        if (r->db != NULL && !dead(r)) {
            MUST(bk_snapshot(r->db, dir, NULL, NULL, NULL) == BK_OK || dead(r));
        }
        put_expiring(r, 3);
        some_random(r, 15);
        step_some(r, 30);
        close_it(r);
    }
}

static inline uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *s = getenv(name);
    return s != NULL && s[0] != '\0' ? strtoull(s, NULL, 10) : otherwise;
}

#endif
