/* SPDX-License-Identifier: MIT */
/*
 * slow_model.c - the store beside a model of it: random puts, deletes, expiries, batches, flushes
 * and swaps over tiny files, merges all the time, each stopped at each of its states in turn while
 * writes go on, and an end of the process or the power at any call of the disk. After every restart
 * the store is what the model says, the number of keys is the number of keys found, and the bytes
 * of every file, live, dead and guards, are what a scan of it counts.
 *
 * Everything follows from a seed that a failure prints. Environment: MODEL_SECONDS (default 120),
 * MODEL_SEED (the first one; with MODEL_SECONDS=0 it alone is run), BITKV_TRACE=1 (every call of
 * the disk, and the store's log).
 */
#include "engine/bitkv.h"
#include "lib/rig.h"
#include "lib/rng.h"

#include "base/clock.h"
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LIVES 10u
#define STATES ((unsigned)BK_MERGE_RETIRE + 1) /* of a merge; its named points */

static struct {
    uint64_t lives, clean, kills, cuts, writes, merges;
    uint64_t stops[STATES]; /* at each state */
} seen;

static void must(struct rig *r, bool fact, const char *what)
{
    if (!fact) {
        fail_msg("seed %llu, life %u: %s: %s", (unsigned long long)r->seed, r->life, what, r->why);
    }
}

static enum bk_merge_state state_of(struct rig *r)
{
    struct bk_merge_status s;
    bk_merge_status(r->db, &s);
    return s.state;
}

static void start(struct rig *r)
{
    must(r, rig_reopen(r), "a start");
    must(r, rig_same(r), "the keys, or the number of them");
    must(r, rig_check(r), "the bytes of the files");
}

static void some_ops(struct rig *r, unsigned n)
{
    for (unsigned i = 0; i < n && !simdisk_dead(r->disk); i++) {
        must(r, rig_random_op(r), "an operation");
    }
}

/* Lets a merge get to the state and holds it there while users go on. */
static void stop_merge_at(struct rig *r, enum bk_merge_state state)
{
    for (unsigned i = 0; i < 400 && !simdisk_dead(r->disk) && state_of(r) != state; i++) {
        if (!rig_step(r)) {
            simclock_advance_ms(&r->clock, 3);
        }
        if (i % 16 == 0) {
            some_ops(r, 1);
        }
    }
    if (!simdisk_dead(r->disk) && state_of(r) == state) {
        seen.stops[state]++;
        bk_merge(r->db, BK_MERGE_PAUSE);
        some_ops(r, 5 + (unsigned)rng_below(&r->rng, 40));
        bk_merge(r->db, BK_MERGE_RESUME);
    }
}

static void end_life(struct rig *r)
{
    struct bk_stats s;
    struct bk_merge_status m;
    bk_stats_get(r->db, &s);
    bk_merge_status(r->db, &m);
    seen.lives++;
    seen.writes += s.batches;
    seen.merges += m.runs;
    uint64_t pick = rng_below(&r->rng, 10);
    if (!simdisk_dead(r->disk) && pick == 0) {
        seen.clean++;
        simdisk_cut(r->disk, 0);
        must(r, rig_close(r) == BK_OK, "a clean stop");
    } else if (pick < 3) {
        seen.cuts++;
        rig_crash(r, SIMDISK_POWER);
    } else {
        seen.kills++;
        rig_crash(r, SIMDISK_KILL);
    }
    simdisk_cut(r->disk, 0);
}

static void one_life(struct rig *r)
{
    if (rng_percent(&r->rng, 80)) {
        simdisk_cut(r->disk, 1 + rng_below(&r->rng, 1500));
    }
    for (unsigned i = 0; i < 12 && !simdisk_dead(r->disk); i++) {
        some_ops(r, 10 + (unsigned)rng_below(&r->rng, 60));
        stop_merge_at(r, (enum bk_merge_state)(BK_MERGE_PLAN + rng_below(&r->rng, STATES - 1)));
    }
    end_life(r);
}

static void run_seed(uint64_t seed)
{
    struct rig r;
    rig_init(&r, seed, (enum bk_sync)(seed % 3));
    rig_merging(&r);
    r.opt.max_file_bytes = (uint64_t)4096 << (seed % 4);
    r.opt.log_buffer_bytes = seed % 2 == 0 ? 65536 : 1 << 20;
    r.opt.cache_bytes = seed % 5 == 0 ? 100000 : 0;
    if (getenv("BITKV_TRACE") != NULL) {
        simdisk_trace(r.disk, stderr);
    }
    for (unsigned life = 0; life < LIVES; life++) {
        start(&r);
        one_life(&r);
    }
    start(&r);
    rig_fini(&r);
}

static uint64_t number_from_env(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static void test_model__random_lives_with_merges__the_store_is_what_the_model_says(void **state)
{
    (void)state;
    uint64_t seed = number_from_env("MODEL_SEED", (uint64_t)bk_clock_wall_ms(&bk_clock_system));
    int64_t end = bk_clock_mono_us(&bk_clock_system) +
                  (int64_t)number_from_env("MODEL_SECONDS", 120) * 1000000;
    print_message("seeds from %llu on\n", (unsigned long long)seed);
    do {
        run_seed(seed++);
    } while (bk_clock_mono_us(&bk_clock_system) < end);
    print_message("%llu lives: %llu stopped, %llu killed, %llu cut; %llu writes, %llu merges; "
                  "stopped in each state:",
                  (unsigned long long)seen.lives, (unsigned long long)seen.clean,
                  (unsigned long long)seen.kills, (unsigned long long)seen.cuts,
                  (unsigned long long)seen.writes, (unsigned long long)seen.merges);
    for (unsigned i = BK_MERGE_PLAN; i < STATES; i++) {
        print_message(" %llu", (unsigned long long)seen.stops[i]);
    }
    print_message("\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model__random_lives_with_merges__the_store_is_what_the_model_says),
    };
    bk_log_set_level(getenv("BITKV_TRACE") != NULL ? BK_LOG_DEBUG : BK_LOG_NOTHING);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
