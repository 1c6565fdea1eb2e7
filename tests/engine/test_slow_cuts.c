/* SPDX-License-Identifier: MIT */
/*
 * test_slow_cuts.c - each scenario is ended at every single call of the disk, by a power cut and by
 * a kill, and at calls of the recovery after it once more. The model says what must be there then;
 * nothing may count as damage (on_corruption is refuse); and the store goes on working.
 *
 * CUTS_TIMES=n: n times as many seeds.
 * CUTS_STRIDE=n: only every nth call. CUTS_SEED=n, CUTS_SCENE=name: that one alone. A seed is
 * 10 * round + mode, round from 1, mode one of enum bk_sync: as printed.
 */
#include "cut_plays.h"

#include <errno.h>
#include <malloc.h>

#define BACK "back"

enum { POWER_CUT, KILL };

static const struct cuts_fate ends[] = {
    [POWER_CUT] = {SIMDISK_ENDS, SIMDISK_POWER, SIMDISK_ANY, 1, 1, "power cut"},
    [KILL] = {SIMDISK_ENDS, SIMDISK_KILL, SIMDISK_ANY, 1, 1, "kill"},
};

struct scene {
    const char *name;
    void (*prepare)(struct rig *r);         /* before the calls that are counted; NULL: nothing */
    void (*play)(struct rig *r);            /* may end early when the disk dies */
    bool (*look)(struct rig *r, bool done); /* before the store is opened again; NULL: nothing */
    unsigned second; /* a second cut at one of so many calls of each recovery; 0: none */
};

static void no_links(struct rig *r)
{
    simdisk_fail(r->disk, SIMDISK_LINK, 1, UINT64_MAX, EXDEV);
}

static void prepare_store(struct rig *r)
{
    small_files(r);
    open_it(r);
    some_random(r, 60);
    if (r->seed % 3 == 0) {
        no_links(r); /* copies, as between file systems */
    }
}

static int last_rc; /* of the scenario's own call; the worlds have one each */

static void play_snapshot(struct rig *r)
{
    last_rc = bk_snapshot(r->db, SNAP, NULL, NULL, NULL);
    MUST(last_rc == BK_OK || dead(r));
}

static void prepare_snapshot(struct rig *r)
{
    prepare_store(r);
    MUST(bk_snapshot(r->db, SNAP, NULL, NULL, NULL) == BK_OK);
}

static void play_restore(struct rig *r)
{
    last_rc = bk_restore(simdisk_io(r->disk), SNAP, BACK, NULL, NULL);
    MUST(last_rc == BK_OK || dead(r));
}

static void play_removal(struct rig *r)
{
    last_rc = bk_snapshot_remove(simdisk_io(r->disk), SNAP, NULL);
    MUST(last_rc == BK_OK || dead(r));
}

/* dir, if it is there, is a store that holds what the rig's store held when it was made. */
static bool whole(struct rig *r, const char *dir)
{
    struct rig there = *r;
    there.db = NULL;
    there.batch = NULL;
    there.opt.dir = dir;
    bool ok = rig_open(&there) == BK_OK && rig_same(&there) && rig_check(&there);
    if (there.db != NULL) {
        bk_batch_free(&there.batch);
        ok = bk_close(&there.db, NULL) == BK_OK && ok;
    }
    memcpy(r->why, there.why, sizeof(r->why));
    return ok;
}

static bool whole_or_none(struct rig *r, const char *dir, bool must)
{
    return simdisk_exists(r->disk, dir) ? whole(r, dir) : !must;
}

static bool look_snapshot(struct rig *r, bool done)
{
    return whole_or_none(r, SNAP, done && last_rc == BK_OK);
}

static bool look_restore(struct rig *r, bool done)
{
    return whole_or_none(r, BACK, done && last_rc == BK_OK) && whole_or_none(r, SNAP, true);
}

static bool look_removal(struct rig *r, bool done)
{
    bool gone = done && last_rc == BK_OK;
    return gone ? !simdisk_exists(r->disk, SNAP) : whole_or_none(r, SNAP, false);
}

/* ---- After the end ---- */

static void go_on(struct cuts *c)
{
    struct rig *r = c->r;
    simdisk_fail(r->disk, 0, 0, 0, 0);
    for (unsigned i = 0; i < 6; i++) {
        CUTS_TRUE(c, rig_random_op(r));
    }
    CUTS_TRUE(c, rig_sync(r));
    CUTS_TRUE(c, rig_same(r));
    CUTS_TRUE(c, rig_check(r));
    if ((c->at[0] + c->at[1]) % 4 == 0) {
        CUTS_TRUE(c, rig_close(r) == BK_OK);
        CUTS_TRUE(c, simdisk_handles(r->disk) == 0);
        CUTS_TRUE(c, rig_open(r) == BK_OK);
        CUTS_TRUE(c, rig_same(r));
        CUTS_TRUE(c, rig_check(r));
    } else if ((c->at[0] + c->at[1]) % 4 == 2) {
        rig_crash(r, SIMDISK_POWER);
        CUTS_TRUE(c, rig_reopen(r));
    }
}

/* The world in which the life has ended: it comes back, perhaps by a recovery that is cut too. */
static void come_back(struct cuts *c, const struct scene *s)
{
    struct rig *r = c->r;
    bool done = !dead(r); /* nothing was left to be cut off but what runs behind */
    cuts_end_life(c);
    if (c->fate[0]->kind == SIMDISK_KILL) {
        c->second *= 16; /* the calls of a recovery are much the same after each kill */
    }
    simclock_advance_ms(&r->clock, (int64_t)(c->at[0] % 5) * 300);
    if (s->look != NULL) {
        CUTS_TRUE(c, s->look(r, done));
    }
    cuts_watch(c);
    int rc = rig_open(r);
    cuts_rest(c);
    if (c->depth == CUTS_DEPTH) {
        CUTS_TRUE(c, dead(r) || (rc == BK_OK && rig_recovered(r)));
        cuts_end_life(c);
        rc = rig_open(r);
    }
    CUTS_TRUE(c, rc == BK_OK);
    CUTS_TRUE(c, rig_recovered(r));
    CUTS_TRUE(c, rig_check(r));
    go_on(c);
    cuts_done(c);
}

/* ---- Running them ---- */

struct tally {
    uint64_t first_seed, runs;
    struct cuts_counts *counts; /* borrowed */
};

static void run_seed(const struct scene *s, uint64_t seed, struct tally *t)
{
    struct rig r;
    struct cuts c = {.r = &r,
                     .name = s->name,
                     .fates = ends,
                     .fates_n = sizeof(ends) / sizeof(ends[0]),
                     .stride = (unsigned)number_from("CUTS_STRIDE", CUTS_STRIDE),
                     .second = s->second * (unsigned)number_from("CUTS_STRIDE", CUTS_STRIDE),
                     .counts = t->counts};
    t->first_seed = t->runs++ == 0 ? seed : t->first_seed;
    world = &c;
    rig_init(&r, seed, (enum bk_sync)(seed % 10));
    if (s->prepare != NULL) {
        s->prepare(&r);
    }
    cuts_watch(&c);
    s->play(&r);
    if (cuts_rest(&c)) {
        come_back(&c, s);
    }
    rig_fini(&r);
}

/* The numbers of the whole run. */
static struct cuts_counts total;
static uint64_t runs;

static void add_up(const struct scene *s, const struct tally *t)
{
    const struct cuts_counts *n = t->counts;
    print_message("%-10s first seed %2llu  runs %2llu  calls %6llu  power cuts %6llu  kills %6llu  "
                  "second ends %6llu\n",
                  s->name, (unsigned long long)t->first_seed, (unsigned long long)t->runs,
                  (unsigned long long)n->calls, (unsigned long long)n->of_fate[POWER_CUT],
                  (unsigned long long)n->of_fate[KILL], (unsigned long long)n->second);
    runs += t->runs;
    total.calls += n->calls;
    total.points += n->points;
    total.second += n->second;
    total.of_fate[POWER_CUT] += n->of_fate[POWER_CUT];
    total.of_fate[KILL] += n->of_fate[KILL];
}

/* modes: bits by enum bk_sync. */
static void run(const struct scene *s, unsigned modes, unsigned rounds)
{
    struct tally t = {.counts = cuts_counts_new()};
    const char *scene = getenv("CUTS_SCENE");
    if (scene != NULL && strcmp(scene, s->name) != 0) {
        skip();
    }
    uint64_t one = number_from("CUTS_SEED", 0);
    /* With each call of each recovery nothing is left to add. */
    rounds *= s->second == 1 ? 1 : (unsigned)number_from("CUTS_TIMES", 1);
    for (uint64_t seed = 10; one == 0 && seed < 10 * ((uint64_t)rounds + 1); seed++) {
        if (seed % 10 <= BK_SYNC_NO && (modes >> seed % 10 & 1u) != 0) {
            run_seed(s, seed, &t);
        }
    }
    if (one % 10 <= BK_SYNC_NO && one >= 10 && (modes >> one % 10 & 1u) != 0) {
        run_seed(s, one, &t);
    }
    add_up(s, &t);
    assert_int_equal(t.counts->broken, 0);
    assert_true(t.counts->of_fate[POWER_CUT] + t.counts->of_fate[KILL] == t.counts->points);
    assert_true(one != 0 || (t.counts->of_fate[POWER_CUT] > 0 && t.counts->of_fate[KILL] > 0));
}

#define MODES 7u

static void test_cuts__tiny__second_cut_at_each_call_of_the_recovery(void **state)
{
    (void)state;
    run(&(struct scene){"tiny", NULL, play_tiny, NULL, 1}, 1u << BK_SYNC_ALWAYS, 1);
    run(&(struct scene){"tiny", NULL, play_tiny, NULL, 61}, MODES, 1);
}

static void test_cuts__writes__a_prefix_with_all_that_was_promised(void **state)
{
    (void)state;
    run(&(struct scene){"writes", NULL, play_writes, NULL, 1201}, MODES, 2);
}

static void test_trap05__cut_around_rotations__no_file_is_lost(void **state)
{
    (void)state;
    run(&(struct scene){"rotation", small_files, play_rotation, NULL, 1201}, MODES, 2);
}

static void test_cuts__hints_made_in_the_background__are_whole_or_not_used(void **state)
{
    (void)state;
    run(&(struct scene){"hints", prepare_hints, play_hints, NULL, 601}, MODES, 1);
}

static void test_trap03__cut_at_every_call_of_merges__no_older_value_comes_back(void **state)
{
    (void)state;
    run(&(struct scene){"merge", prepare_merge, play_merge, NULL, 1201},
        1u << BK_SYNC_EVERYSEC | 1u << BK_SYNC_NO, 1);
}

static void test_trap04__cut_at_every_call_of_merges__nothing_acknowledged_is_lost(void **state)
{
    (void)state;
    run(&(struct scene){"merge", prepare_merge, play_merge, NULL, 1201}, 1u << BK_SYNC_ALWAYS, 1);
}

static void test_trap25__cut_while_keys_expire__no_older_copy_comes_back(void **state)
{
    (void)state;
    run(&(struct scene){"expiry", prepare_merge, play_expiry, NULL, 1201}, MODES, 1);
}

static void test_trap33__cut_around_flush_and_swap__all_of_it_or_nothing(void **state)
{
    (void)state;
    run(&(struct scene){"databases", small_files, play_databases, NULL, 601}, MODES, 1);
}

static void test_trap37__cut_around_clean_stops__the_image_is_never_believed_wrongly(void **state)
{
    (void)state;
    run(&(struct scene){"image", NULL, play_image, NULL, 601}, MODES, 1);
}

static void test_trap36__cut_in_a_snapshot__whole_or_none(void **state)
{
    (void)state;
    run(&(struct scene){"snapshot", prepare_store, play_snapshot, look_snapshot, 601}, MODES, 1);
}

static void test_cuts__restore__whole_or_none(void **state)
{
    (void)state;
    run(&(struct scene){"restore", prepare_snapshot, play_restore, look_restore, 601}, MODES, 1);
}

static void test_cuts__removal_of_a_snapshot__whole_or_none(void **state)
{
    (void)state;
    run(&(struct scene){"removal", prepare_snapshot, play_removal, look_removal, 601}, MODES, 1);
}

static void test_cuts__mixture__of_everything(void **state)
{
    (void)state;
    run(&(struct scene){"mixture", NULL, play_mixture, NULL, 2003},
        1u << BK_SYNC_ALWAYS | 1u << BK_SYNC_EVERYSEC, 1);
}

/* By default at least 10,000 points, five times as long at least 100,000. */
static void test_cuts__all_scenarios__add_up(void **state)
{
    (void)state;
    print_message("all scenarios: runs %llu, calls %llu, crash points %llu (power cuts %llu, kills "
                  "%llu), second ends %llu\n",
                  (unsigned long long)runs, (unsigned long long)total.calls,
                  (unsigned long long)total.points, (unsigned long long)total.of_fate[POWER_CUT],
                  (unsigned long long)total.of_fate[KILL], (unsigned long long)total.second);
    bool part = getenv("CUTS_SCENE") != NULL || getenv("CUTS_SEED") != NULL ||
                number_from("CUTS_STRIDE", CUTS_STRIDE) > 1;
    uint64_t least = number_from("CUTS_TIMES", 1) >= 5 ? 100000 : 10000;
    assert_true(total.points >= (part ? 1 : least));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuts__tiny__second_cut_at_each_call_of_the_recovery),
        cmocka_unit_test(test_cuts__writes__a_prefix_with_all_that_was_promised),
        cmocka_unit_test(test_trap05__cut_around_rotations__no_file_is_lost),
        cmocka_unit_test(test_cuts__hints_made_in_the_background__are_whole_or_not_used),
        cmocka_unit_test(test_trap03__cut_at_every_call_of_merges__no_older_value_comes_back),
        cmocka_unit_test(test_trap04__cut_at_every_call_of_merges__nothing_acknowledged_is_lost),
        cmocka_unit_test(test_trap25__cut_while_keys_expire__no_older_copy_comes_back),
        cmocka_unit_test(test_trap33__cut_around_flush_and_swap__all_of_it_or_nothing),
        cmocka_unit_test(test_trap37__cut_around_clean_stops__the_image_is_never_believed_wrongly),
        cmocka_unit_test(test_trap36__cut_in_a_snapshot__whole_or_none),
        cmocka_unit_test(test_cuts__restore__whole_or_none),
        cmocka_unit_test(test_cuts__removal_of_a_snapshot__whole_or_none),
        cmocka_unit_test(test_cuts__mixture__of_everything),
        cmocka_unit_test(test_cuts__all_scenarios__add_up),
    };
    quiet_log();
    /* The store's large tables come from the kernel as zeros that cost nothing until they are
     * touched; the allocator would clear used memory for them, in each of the many worlds. */
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
