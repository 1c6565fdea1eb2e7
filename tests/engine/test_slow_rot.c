/* SPDX-License-Identifier: MIT */
/*
 * test_slow_rot.c - a store ends at a call of the disk, by a power cut or a kill, and before it is
 * opened again one bit of one of its files turns over.
 *
 * The same store without the flip tells what must be there: every key has that value, but for one
 * at most, whose read answers an error. What a power cut has left behind the last sync mark may end
 * earlier, at the flip, which nothing tells from a torn tail; it is a prefix of the history then,
 * but for records that merges left out because of what lay behind the flip. ROT_TIMES=n: n times as
 * many seeds.
 */
#include "cut_plays.h"

#include <malloc.h>

#define NAMES_MAX 64u

static const struct cuts_fate ends[] = {
    {SIMDISK_ENDS, SIMDISK_POWER, SIMDISK_ANY, 1, 1, "power cut"},
    {SIMDISK_ENDS, SIMDISK_KILL, SIMDISK_ANY, 1, 1, "kill"},
};

/* ---- The flip ---- */

struct names {
    char at[NAMES_MAX][300];
    size_t n;
};

static void note_name(void *arg, const char *name)
{
    struct names *l = arg;
    size_t len = strlen(name);
    bool counts =
        strcmp(name, "MANIFEST") == 0 || strcmp(name, "KEYDIR") == 0 ||
        (len > 5 && (strcmp(name + len - 5, ".data") == 0 || strcmp(name + len - 5, ".hint") == 0));
    if (counts && l->n < NAMES_MAX) {
        rig_path(name, l->at[l->n++], sizeof(l->at[0]));
    }
}

/* What lies behind the records is no target: nobody reads it. False: there is nothing to flip. */
static bool flip_one(struct cuts *c, struct rng *rng)
{
    struct names l = {.n = 0};
    struct bk_buf all = {0};
    const struct bk_io *io = simdisk_io(c->r->disk);
    if (io->list(io->arg, RIG_DIR, note_name, &l) != 0 || l.n == 0) {
        return false;
    }
    const char *path = l.at[rng_below(rng, l.n)];
    simdisk_read(c->r->disk, path, &all);
    while (all.len > 0 && all.data[all.len - 1] == 0) {
        all.len--;
    }
    bool any = all.len > 0;
    if (any) {
        uint64_t bit = rng_below(rng, all.len * 8);
        snprintf(c->r->why, sizeof(c->r->why), "bit %llu of %s", (unsigned long long)bit, path);
        simdisk_flip(c->r->disk, path, bit);
    }
    bk_buf_fini(&all);
    return any;
}

/* ---- What must be there ---- */

/* What the store without the flip holds. */
struct truth {
    struct model_state state;
    uint64_t keys[RIG_DATABASES]; /* whose time has not run out */
    uint64_t cut;                 /* bytes of torn tails */
};

static uint64_t bytes_cut(struct bk_db *db)
{
    struct bk_stats s;
    bk_stats_get(db, &s);
    return s.tail_bytes_cut;
}

struct count {
    int64_t now_ms;
    uint64_t n;
};

static void count_entry(void *arg, const struct bk_scan_entry *e)
{
    struct count *c = arg;
    c->n += e->expire_ms == 0 || e->expire_ms > c->now_ms ? 1 : 0;
}

static uint64_t keys_of(struct rig *r, uint32_t num)
{
    struct count c = {.now_ms = bk_clock_wall_ms(&r->clock.clock)};
    uint64_t cursor = 0;
    do {
        bk_scan(r->db, num, &cursor, 50, count_entry, &c);
    } while (cursor != 0);
    return c.n;
}

static void learn(struct cuts *c, struct truth *t)
{
    struct rig twin = *c->r;
    twin.disk = simdisk_clone(c->r->disk, 5);
    twin.opt.io = simdisk_io(twin.disk);
    twin.opt.on_corruption = BK_CORRUPT_REFUSE;
    CUTS_TRUE(c, rig_open(&twin) == BK_OK && rig_read_all(&twin, &t->state));
    for (uint32_t i = 0; i < RIG_DATABASES; i++) {
        t->keys[i] = keys_of(&twin, i);
    }
    t->cut = bytes_cut(twin.db);
    bk_batch_free(&twin.batch);
    bk_ignore(bk_close(&twin.db, NULL), "thrown away");
    simdisk_free(&twin.disk);
}

struct compared {
    struct rig *r;
    uint32_t num;
    unsigned wrong, errors;
};

static void compare_key(void *arg, struct bk_span key, const struct model_value *v)
{
    struct compared *k = arg;
    struct bk_buf got = {0};
    int rc = bk_get(k->r->db, k->num, key, &got, NULL);
    k->errors += rc == BK_CORRUPT ? 1 : 0;
    k->wrong +=
        rc == BK_CORRUPT || (rc == BK_OK && bk_span_eq(bk_buf_span(&got), v->value)) ? 0 : 1;
    bk_buf_fini(&got);
}

/* All that was there, and no more; one key at most answers an error. */
static bool same_but_one(struct rig *r, const struct truth *t)
{
    struct compared k = {.r = r};
    bool counts = true;
    for (k.num = 0; k.num < RIG_DATABASES; k.num++) {
        model_state_each(&t->state, k.num, compare_key, &k);
        counts = counts && keys_of(r, k.num) == t->keys[k.num];
    }
    return counts && k.wrong == 0 && k.errors <= 1;
}

/* The log was cut at the flip. After a kill that costs no more than the last write of all, where
 * nothing tells damage from a write that was cut off (replay_tail.c). */
static bool shorter(struct rig *r, const struct truth *t)
{
    char why[sizeof(r->why)];
    if (bytes_cut(r->db) <= t->cut) {
        return false;
    }
    memcpy(why, r->why, sizeof(why));
    r->acked_n -= !r->power_lost && r->acked_n > 0 ? 1 : 0;
    r->durable_n = 0;
    bool ok = (r->power_lost && r->opt.merge.policy != BK_MERGE_NEVER) || rig_recovered(r);
    memcpy(r->why, why, sizeof(why));
    return ok;
}

static void open_again(struct cuts *c)
{
    char why[sizeof(c->r->why)];
    memcpy(why, c->r->why, sizeof(why));
    bool opened = rig_open(c->r) == BK_OK;
    if (opened) {
        memcpy(c->r->why, why, sizeof(why));
    }
    CUTS_TRUE(c, opened);
}

static void come_back(struct cuts *c)
{
    struct rig *r = c->r;
    struct truth t;
    struct rng rng = {r->seed * 100003 + c->at[0] * 17 + (uint64_t)c->fate[0]->kind};
    cuts_end_life(c);
    learn(c, &t);
    if (!flip_one(c, &rng)) {
        cuts_done(c);
    }
    r->opt.on_corruption = BK_CORRUPT_SERVE;
    open_again(c);
    bool same = same_but_one(r, &t);
    CUTS_TRUE(c, same || shorter(r, &t));
    CUTS_TRUE(c, bk_check(r->db, NULL) == BK_OK);
    if (same) {
        bk_batch_free(&r->batch);
        CUTS_TRUE(c, bk_close(&r->db, NULL) == BK_OK);
        open_again(c);
        CUTS_TRUE(c, same_but_one(r, &t));
        CUTS_TRUE(c, bk_check(r->db, NULL) == BK_OK);
    }
    cuts_done(c);
}

/* ---- Running them ---- */

static void run(const char *name, void (*prepare)(struct rig *r), void (*play)(struct rig *r),
                unsigned stride)
{
    struct cuts_counts *counts = cuts_counts_new();
    const char *times = getenv("ROT_TIMES");
    unsigned seeds =
        3 * (times != NULL && times[0] != '\0' ? (unsigned)strtoul(times, NULL, 10) : 1);
    for (unsigned seed = 0; seed < seeds; seed++) {
        struct rig r;
        struct cuts c = {.r = &r,
                         .name = name,
                         .fates = ends,
                         .fates_n = sizeof(ends) / sizeof(ends[0]),
                         .stride = stride * CUTS_STRIDE,
                         .counts = counts};
        world = &c;
        rig_init(&r, 7000 + seed, (enum bk_sync)(seed % 3));
        if (prepare != NULL) {
            prepare(&r);
        }
        cuts_watch(&c);
        play(&r);
        if (cuts_rest(&c)) {
            come_back(&c);
        }
        rig_fini(&r);
    }
    print_message("%-10s calls %6llu  ends with a flip %6llu\n", name,
                  (unsigned long long)counts->calls, (unsigned long long)counts->points);
    assert_int_equal(counts->broken, 0);
    assert_true(counts->points > 0);
}

static void test_rot__bit_flipped_after_the_end_of_writes__costs_its_record_alone(void **state)
{
    (void)state;
    run("writes", NULL, play_writes, 2);
    run("rotation", small_files, play_rotation, 3);
    run("databases", small_files, play_databases, 3);
}

static void test_rot__bit_flipped_after_the_end_of_hints_and_merges__costs_its_record_alone(
    void **state)
{
    (void)state;
    run("hints", prepare_hints, play_hints, 3);
    run("merge", prepare_merge, play_merge, 11);
    run("expiry", prepare_merge, play_expiry, 7);
}

static void test_rot__bit_flipped_around_clean_stops__costs_its_record_alone(void **state)
{
    (void)state;
    run("image", NULL, play_image, 1);
    run("mixture", NULL, play_mixture, 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rot__bit_flipped_after_the_end_of_writes__costs_its_record_alone),
        cmocka_unit_test(
            test_rot__bit_flipped_after_the_end_of_hints_and_merges__costs_its_record_alone),
        cmocka_unit_test(test_rot__bit_flipped_around_clean_stops__costs_its_record_alone),
    };
    quiet_log();
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
