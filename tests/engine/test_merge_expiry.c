/* SPDX-License-Identifier: MIT */
/* test_merge_expiry.c - keys that run out of time between two steps of one state of a merge,
 * between two of its states, and after it. */
#include "merge_rig.h"

/* With more data than that a hint has several parts, each of which is a step of the plan. */
#define PART ((size_t)4 << 20)

static void put_value(struct rig *r, const char *key, struct bk_span value, int64_t expire_ms)
{
    rig_begin(r);
    rig_batch_put(r, 0, bk_span_str(key), value, 0, expire_ms);
    assert_int_equal(rig_commit(r), BK_OK);
    RIG_TRUE(r, rig_settle(r));
}

/* A key that the plan's first step is about, of up to 64. */
static void first_step_key(struct rig *r, char *out, size_t len)
{
    struct bk_key k;
    unsigned i = 0;
    do {
        snprintf(out, len, "k%u", i++);
        bk_key_init(r->db, &k, out, strlen(out));
    } while ((k.hash >> 48 & 63) != 0);
}

/* The key's file has no guard when the plan begins; then the key goes, and is the first. Its record
 * was not judged, so it has to stay. */
static void test_trap25__expires_between_two_steps_of_the_plan__older_copy_stays_hidden(
    void **state)
{
    (void)state;
    struct rig r;
    char key[16];
    char *large = calloc(PART + PART / 4, 1);
    setup_rig(&r, 70, BK_SYNC_ALWAYS);
    r.opt.merge.policy = BK_MERGE_NEVER;
    r.opt.merge.small_file = 0;
    r.opt.max_file_bytes = (uint64_t)64 << 20;
    next_file(&r);
    first_step_key(&r, key, sizeof(key));
    put_n(&r, "old", 30, "v");
    assert_int_equal(rig_put(&r, key, "without end"), BK_OK);
    next_file(&r);
    put_n(&r, "gone", 10, "v");
    for (unsigned i = 0; i < 10; i++) { /* guards, so that there is a plan to be made */
        char gone[16];
        snprintf(gone, sizeof(gone), "gone%u", i);
        assert_int_equal(rig_delete(&r, gone), BK_OK);
    }
    next_file(&r);
    put_value(&r, key, bk_span_str("short"), bk_clock_wall_ms(&r.clock.clock) + 1000000);
    put_value(&r, "large", bk_span_of(large, PART + PART / 4), 0);
    next_file(&r);
    assert_int_equal(rig_put(&r, "large", "small"), BK_OK);
    r.opt.merge.policy = BK_MERGE_ALWAYS;
    next_file(&r);
    simclock_advance_ms(&r.clock, 2000000);
    assert_true(merge_until(&r, BK_MERGE_PLAN));
    bk_step(r.db);
    assert_int_equal(state_of(&r), BK_MERGE_PLAN);
    assert_int_equal(bk_expire_step(r.db, 100, NULL), 1);
    merge_all(&r);
    assert_true(merges(&r) > 0);
    next_file(&r);
    assert_false(has(&r, key));
    assert_true(has(&r, "large"));
    RIG_TRUE(&r, rig_check(&r));
    rig_fini(&r);
    free(large);
}

/* The key goes when its record has been copied and before its entry is pointed at the copy. The
 * file of copies then has nothing that lives, and still has to hide what is older. */
static void test_trap25__expires_once_it_is_copied__older_copy_stays_hidden(void **state)
{
    static const enum bk_merge_state late[] = {BK_MERGE_SYNC, BK_MERGE_LOG, BK_MERGE_EDIT,
                                               BK_MERGE_SWING};
    (void)state;
    for (unsigned i = 0; i < sizeof(late) / sizeof(late[0]); i++) {
        struct rig r;
        setup_rig(&r, 90 + i, BK_SYNC_ALWAYS);
        r.opt.merge.policy = BK_MERGE_NEVER;
        r.opt.merge.small_file = 0;
        next_file(&r);
        put_n(&r, "old", 30, "v");
        assert_int_equal(rig_put(&r, "k", "without end"), BK_OK);
        next_file(&r);
        put_value(&r, "k", bk_span_str("short"), bk_clock_wall_ms(&r.clock.clock) + 1000000);
        put_n(&r, "dead", 30, "1");
        next_file(&r);
        put_n(&r, "dead", 30, "2");
        r.opt.merge.policy = BK_MERGE_ALWAYS;
        next_file(&r);
        assert_true(merge_until(&r, late[i]));
        simclock_advance_ms(&r.clock, 2000000);
        assert_int_equal(bk_expire_step(r.db, 100, NULL), 1);
        merge_all(&r);
        RIG_TRUE(&r, rig_check(&r));
        next_file(&r);
        assert_false(has(&r, "k"));
        assert_true(has(&r, "old1"));
        RIG_TRUE(&r, rig_check(&r));
        rig_fini(&r);
    }
}

/* ---- Trap 41 ---- */

#define EXPIRING 400u
#define LIFE_MS 1000000

struct before {
    uint64_t newest; /* file, when the merges began */
    unsigned left;   /* files that were there then and still are */
};

static void note_newest(void *arg, const struct bk_file_info *info)
{
    struct before *b = arg;
    b->newest = info->id > b->newest ? info->id : b->newest;
}

static void count_left(void *arg, const struct bk_file_info *info)
{
    struct before *b = arg;
    b->left += info->id <= b->newest;
}

/* Three of four keys have an expiry; one of these three loses it, one gets a later one. Between
 * them lies what makes each file worth a merge. */
static void put_expiring(struct rig *r, int64_t expire_ms)
{
    for (unsigned i = 0; i < EXPIRING; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%u", i);
        put_value(r, key, bk_span_str("v"), i % 4 == 0 ? 0 : expire_ms);
        assert_int_equal(rig_put(r, "dead", "a value that the next one makes dead"), BK_OK);
        if (i % 4 == 1) {
            put_value(r, key, bk_span_str("kept"), 0);
        } else if (i % 4 == 2) {
            put_value(r, key, bk_span_str("later"), expire_ms + LIFE_MS);
        }
    }
    RIG_TRUE(r, rig_settle(r));
}

/* Until each key's record lies elsewhere. */
static void merge_every_file(struct rig *r)
{
    struct before b = {0};
    next_file(r);
    assert_int_equal(rig_put(r, "dead", "nothing"), BK_OK);
    bk_files(r->db, note_newest, &b);
    b.newest--; /* the one that is written to */
    bk_merge(r->db, BK_MERGE_NOW);
    merge_all(r);
    bk_files(r->db, count_left, &b);
    assert_int_equal(b.left, 0);
}

static size_t expire_all(struct rig *r)
{
    size_t gone = 0;
    bool more = true;
    for (unsigned i = 0; more && i < 10000; i++) {
        gone += bk_expire_step(r->db, 16, &more);
    }
    return gone;
}

/* Nobody touches the keys: the entry that was made when they lay elsewhere removes them. */
static void test_trap41__every_file_merged__untouched_keys_go_in_time(void **state)
{
    (void)state;
    for (int restart = 0; restart < 2; restart++) {
        struct rig r;
        setup_rig(&r, 71, BK_SYNC_ALWAYS);
        r.opt.merge.policy = BK_MERGE_NEVER;
        next_file(&r);
        put_expiring(&r, bk_clock_wall_ms(&r.clock.clock) + LIFE_MS);
        merge_every_file(&r);
        if (restart) {
            next_file(&r);
        }
        assert_int_equal(bk_count_expiring(r.db, 0), EXPIRING / 2);
        assert_int_equal(expire_all(&r), 0);
        simclock_advance_ms(&r.clock, LIFE_MS);
        assert_int_equal(expire_all(&r), EXPIRING / 4);
        simclock_advance_ms(&r.clock, LIFE_MS);
        assert_int_equal(expire_all(&r), EXPIRING / 4);
        assert_int_equal(bk_count_expiring(r.db, 0), 0);
        assert_int_equal(bk_count(r.db, 0), EXPIRING / 2 + 1);
        RIG_TRUE(&r, rig_same(&r));
        RIG_TRUE(&r, rig_check(&r));
        rig_fini(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            test_trap25__expires_between_two_steps_of_the_plan__older_copy_stays_hidden),
        cmocka_unit_test(test_trap25__expires_once_it_is_copied__older_copy_stays_hidden),
        cmocka_unit_test(test_trap41__every_file_merged__untouched_keys_go_in_time),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
