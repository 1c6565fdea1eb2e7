/* SPDX-License-Identifier: MIT */
/* test_batch.c - batches read their own writes, and are whole or absent for every reader and after
 * every crash. */
#include "engine_test.h"

static int setup(void **state)
{
    struct rig *r = set_rig_up(state, 21, BK_SYNC_NO);
    r->opt.max_file_bytes = 1 << 20;
    RIG_TRUE(r, rig_open(r) == BK_OK);
    return 0;
}

struct peeked {
    struct bk_batch *b;
    struct bk_db *db;
    struct bk_item item;
};

static struct bk_item *peek(struct peeked *p, uint32_t num, const char *name)
{
    struct bk_key key;
    bk_key_init(p->db, &key, name, strlen(name));
    bk_batch_peek(p->b, num, &key, &p->item);
    return &p->item;
}

static void add_put(struct rig *r, struct bk_batch *b, uint32_t num, const char *name,
                    const char *value)
{
    struct bk_key key;
    bk_key_init(r->db, &key, name, strlen(name));
    bk_batch_put(b, num, &key, &(struct bk_value){bk_span_str(value), NULL}, 3, 0);
}

static void add_delete(struct rig *r, struct bk_batch *b, uint32_t num, const char *name)
{
    struct bk_key key;
    bk_key_init(r->db, &key, name, strlen(name));
    bk_batch_delete(b, num, &key);
}

static void assert_own(const struct bk_item *item, const char *value)
{
    assert_true(item->at == UINT64_MAX);
    assert_true(bk_span_eq(item->value, bk_span_str(value)));
}

static void assert_stored(const struct bk_item *item)
{
    assert_true(item->at != 0 && item->at != UINT64_MAX);
    assert_int_equal(item->value.len, 0);
}

static void test_batch__peek__sees_own_writes_first(void **state)
{
    struct rig *r = *state;
    assert_int_equal(rig_put(r, "stored", "s"), BK_OK);
    assert_int_equal(rig_put(r, "gone", "g"), BK_OK);
    struct peeked p = {.b = bk_batch_new(r->db), .db = r->db};
    bk_batch_begin(p.b);
    bk_batch_lock_all(p.b);
    bk_batch_lock(p.b);
    assert_stored(peek(&p, 0, "stored"));
    assert_int_equal(peek(&p, 0, "none")->at, 0);
    add_put(r, p.b, 0, "stored", "own");
    assert_own(peek(&p, 0, "stored"), "own");
    assert_int_equal(p.item.flags & BK_TYPE_MASK, 3);
    add_put(r, p.b, 0, "stored", "");
    assert_own(peek(&p, 0, "stored"), "");
    add_delete(r, p.b, 0, "gone");
    assert_int_equal(peek(&p, 0, "gone")->at, 0);
    add_put(r, p.b, 0, "gone", "back");
    assert_own(peek(&p, 0, "gone"), "back");
    assert_int_equal(peek(&p, 1, "gone")->at, 0);
    assert_false(bk_batch_empty(p.b));
    bk_batch_cancel(p.b);
    RIG_TRUE(r, rig_same(r)); /* cancelled: nothing has changed */
    bk_item_fini(&p.item);
    bk_batch_free(&p.b);
}

static void test_batch__peek__follows_flush_and_swap(void **state)
{
    struct rig *r = *state;
    assert_int_equal(rig_put(r, "zero", "0"), BK_OK);
    rig_begin(r);
    rig_batch_put(r, 1, bk_span_str("one"), bk_span_str("1"), 0, 0);
    assert_int_equal(rig_commit(r), BK_OK);
    struct peeked p = {.b = bk_batch_new(r->db), .db = r->db};
    bk_batch_begin(p.b);
    bk_batch_lock_all(p.b);
    bk_batch_lock(p.b);
    add_put(r, p.b, 0, "own", "before");
    bk_batch_swap(p.b, 0, 1);
    assert_stored(peek(&p, 0, "one"));
    assert_stored(peek(&p, 1, "zero"));
    assert_int_equal(peek(&p, 0, "zero")->at, 0);
    assert_own(peek(&p, 1, "own"), "before");
    assert_int_equal(peek(&p, 0, "own")->at, 0);
    bk_batch_flush(p.b, 1);
    assert_int_equal(peek(&p, 1, "zero")->at, 0);
    assert_int_equal(peek(&p, 1, "own")->at, 0);
    assert_stored(peek(&p, 0, "one"));
    add_put(r, p.b, 1, "after", "flush");
    assert_own(peek(&p, 1, "after"), "flush");
    uint64_t pos = 0;
    assert_int_equal(bk_batch_commit(p.b, &pos, NULL), BK_OK);
    assert_int_equal(bk_count(r->db, 0), 1);
    assert_int_equal(bk_count(r->db, 1), 1);
    bk_item_fini(&p.item);
    bk_batch_free(&p.b);
}

static void test_batch__empty_or_cancelled__changes_nothing(void **state)
{
    struct rig *r = *state;
    uint64_t pos = 1234;
    assert_int_equal(rig_put(r, "k", "v"), BK_OK);
    uint64_t tail = bk_tail(r->db);
    struct bk_batch *b = bk_batch_new(r->db);
    bk_batch_begin(b);
    assert_true(bk_batch_empty(b));
    assert_int_equal(bk_batch_commit(b, &pos, NULL), BK_OK);
    assert_true(pos <= tail);
    bk_batch_begin(b);
    add_put(r, b, 0, "k", "other");
    bk_batch_cancel(b);
    assert_int_equal(bk_tail(r->db), tail);
    RIG_TRUE(r, rig_same(r));
    bk_batch_free(&b);
    bk_batch_free(&b);
}

static void test_batch__over_batch_bytes_max__is_refused_before_anything_changed(void **state)
{
    struct rig *r = *state;
    struct bk_error err = {0};
    char value[5000];
    memset(value, 'x', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    assert_int_equal(rig_put(r, "k", "v"), BK_OK);
    assert_int_equal(rig_close(r), BK_OK);
    r->opt.batch_bytes_max = 100000;
    RIG_TRUE(r, rig_open(r) == BK_OK);
    uint64_t tail = bk_tail(r->db);
    struct bk_batch *b = bk_batch_new(r->db);
    bk_batch_begin(b);
    for (int i = 0; i < 30; i++) {
        char *name = (char *)bk_batch_alloc(b, 16);
        snprintf(name, 16, "k%d", i);
        add_put(r, b, 0, name, value);
    }
    uint64_t pos = 0;
    assert_int_equal(bk_batch_commit(b, &pos, &err), BK_ETOOBIG);
    assert_int_equal(bk_tail(r->db), tail);
    RIG_TRUE(r, rig_same(r));
    bk_batch_free(&b);
}

/* Trap 23: lengths at the limit of a value and at edges of integers, which cut to 32 bits would be
 * small. None of these bytes is there to be read. */
static void test_trap23__value_lengths_over_32_bits__are_refused(void **state)
{
    struct rig *r = *state;
    static const uint64_t lengths[] = {
        BK_VALUE_MAX + 1,         UINT32_MAX - 28, UINT32_MAX,     (uint64_t)UINT32_MAX + 1,
        (uint64_t)UINT32_MAX + 6, INT64_MAX,       UINT64_MAX - 7, UINT64_MAX};
    struct bk_block *block = bk_block_new(8);
    struct bk_batch *b = bk_batch_new(r->db);
    uint64_t tail = bk_tail(r->db);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct bk_key key;
        uint64_t pos = 0;
        bk_key_init(r->db, &key, "k", 1);
        bk_batch_begin(b);
        add_put(r, b, 0, "another", "which is small");
        bk_batch_put(b, 0, &key, &(struct bk_value){bk_span_of(block->data, lengths[i]), block}, 0,
                     0);
        assert_int_equal(bk_batch_commit(b, &pos, NULL), BK_ETOOBIG);
        assert_int_equal(bk_tail(r->db), tail);
        assert_int_equal(bk_count(r->db, 0), 0);
    }
    bk_batch_free(&b);
    bk_block_unref(&block);
}

/* The last write of each key wins, in memory and on disk; flushes and swaps take part in the order.
 */
static void test_batch__random_batches__equal_the_model_also_after_restart(void **state)
{
    struct rig *r = *state;
    for (unsigned i = 0; i < 400; i++) {
        RIG_TRUE(r, rig_random_op(r));
        if (i % 50 == 49) {
            RIG_TRUE(r, rig_settle(r));
            RIG_TRUE(r, rig_same(r));
            RIG_TRUE(r, rig_check(r));
            RIG_TRUE(r, rig_close(r) == BK_OK);
            RIG_TRUE(r, rig_open(r) == BK_OK);
            RIG_TRUE(r, rig_same(r));
        }
    }
}

/* ---- Trap 34: cut, zeros and garbage at every byte of a frame ---- */

struct frame {
    uint64_t from; /* logical offsets in the last file */
    uint64_t to;
    char file[300];
};

static void note_active(void *arg, const struct bk_file_info *info)
{
    struct bk_file_info *active = arg;
    if (info->state == BK_FILE_ACTIVE) {
        *active = *info;
    }
}

static struct bk_file_info active_file(struct rig *r)
{
    struct bk_file_info info = {0};
    bk_files(r->db, note_active, &info);
    assert_true(info.id != 0);
    return info;
}

/* Two databases with keys, then one batch, written but not synced. */
static struct frame write_frame(struct rig *r, bool with_flush)
{
    assert_int_equal(rig_put(r, "keep", "safe"), BK_OK);
    assert_int_equal(rig_put(r, "a", "old a"), BK_OK);
    assert_int_equal(rig_put(r, "gone", "old gone"), BK_OK);
    RIG_TRUE(r, rig_settle(r));
    struct frame f = {.from = active_file(r).size};
    rig_begin(r);
    if (with_flush) {
        rig_batch_flush(r, 0);
        rig_batch_swap(r, 1, 2);
    }
    rig_batch_put(r, 0, bk_span_str("a"), bk_span_str("new a"), 1, 0);
    rig_batch_put(r, 0, bk_span_str("b"), bk_span_str("a somewhat longer value of b"), 2, 0);
    rig_batch_delete(r, 0, bk_span_str("gone"));
    rig_batch_put(r, 2, bk_span_str("c"), bk_span_str(""), 0, SIMCLOCK_START_MS + 1000000);
    assert_int_equal(rig_commit(r), BK_OK);
    RIG_TRUE(r, rig_settle(r));
    f.to = active_file(r).size;
    assert_true(f.to > f.from + 100);
    char name[64];
    snprintf(name, sizeof(name), "%010llu.data", (unsigned long long)active_file(r).id);
    rig_path(name, f.file, sizeof(f.file));
    return f;
}

enum damage { CUT, ZEROS, GARBAGE, DAMAGES };

static void damage_from(struct simdisk *d, const struct frame *f, uint64_t at, enum damage how,
                        struct rng *rng)
{
    uint8_t junk[4096];
    size_t n = (size_t)(f->to - at);
    assert_true(n <= sizeof(junk));
    if (how == CUT) {
        simdisk_resize(d, f->file, at);
    } else {
        memset(junk, 0, sizeof(junk));
        if (how == GARBAGE) {
            rng_fill(rng, junk, n);
        }
        simdisk_patch(d, f->file, at, junk, n);
    }
}

/* Opens the damaged copy: it must equal the history without the batch, or with all of it. Returns
 * which. */
static bool open_copy(struct rig *r, struct simdisk *copy)
{
    struct rig c = *r;
    size_t len = 0;
    struct model_state seen;
    c.disk = copy;
    c.opt.io = simdisk_io(copy);
    c.db = NULL;
    RIG_TRUE(&c, rig_open(&c) == BK_OK);
    RIG_TRUE(&c, rig_read_all(&c, &seen));
    bool match = model_match(&r->model, &seen, SIMCLOCK_START_MS, r->model.entries_n - 1, &len);
    if (!match) {
        model_diff(&r->model, &seen, SIMCLOCK_START_MS, r->model.entries_n, stderr);
    }
    assert_true(match);
    RIG_TRUE(&c, rig_check(&c));
    model_state_fini(&seen);
    bk_batch_free(&c.batch);
    bk_ignore(bk_close(&c.db, NULL), "thrown away");
    return len == r->model.entries_n;
}

static void sweep_frame(struct rig *r, bool with_flush, enum simdisk_kind kind)
{
    struct frame f = write_frame(r, with_flush);
    struct rng rng = {99};
    unsigned whole = 0;
    for (uint64_t at = f.from; at <= f.to; at++) {
        for (enum damage how = CUT; how < DAMAGES; how++) {
            /* A killed process leaves a frame short, never scrambled: test_damage.c has that.
             * Garbage at every third byte, so that the sweep stays short. */
            if (how == GARBAGE && (kind == SIMDISK_KILL || (at % 3 != 0 && at != f.to))) {
                continue;
            }
            struct simdisk *copy = simdisk_clone(r->disk, at);
            simdisk_restart(copy, kind);
            damage_from(copy, &f, at, how, &rng);
            r->opt.on_corruption = kind == SIMDISK_POWER ? BK_CORRUPT_REFUSE : BK_CORRUPT_SERVE;
            whole += open_copy(r, copy);
            simdisk_free(&copy);
        }
    }
    assert_true(whole >=
                3 - (kind == SIMDISK_KILL ? 1 : 0)); /* undamaged (at the end): it is there */
    assert_true(whole <= 3 * 24); /* only padding may be lost without losing the frame */
}

static void test_trap34__frame_damaged_at_every_byte_after_power_loss__whole_or_absent(void **state)
{
    sweep_frame(*state, false, SIMDISK_POWER);
}

static void test_trap34__frame_cut_at_every_byte_after_a_kill__whole_or_absent(void **state)
{
    sweep_frame(*state, false, SIMDISK_KILL);
}

/* Trap 33: an EXEC of FLUSHDB, SWAPDB and SETs is one frame too. */
static void test_trap33__frame_with_flush_and_swap_damaged_at_every_byte__whole_or_absent(
    void **state)
{
    sweep_frame(*state, true, SIMDISK_POWER);
}

static void test_trap33__frame_with_flush_and_swap_cut_after_a_kill__whole_or_absent(void **state)
{
    sweep_frame(*state, true, SIMDISK_KILL);
}

/* A space that no number stands for any more is dead for good, the first new one too: nothing of it
 * comes back into memory at a start. */
static void test_trap33__flushed_twice__a_restart_finds_nothing(void **state)
{
    struct rig *r = *state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(rig_put(r, "k", "v"), BK_OK);
        rig_begin(r);
        rig_batch_flush(r, 0);
        assert_int_equal(rig_commit(r), BK_OK);
    }
    for (int life = 0; life < 2; life++) {
        struct bk_stats st;
        assert_int_equal(rig_close(r), BK_OK);
        RIG_TRUE(r, rig_open(r) == BK_OK);
        bk_stats_get(r->db, &st);
        assert_int_equal(st.keys, 0);
        assert_int_equal(st.live_bytes, 0);
        RIG_TRUE(r, rig_check(r));
    }
}

/* A batch larger than max_file_bytes lies in a file of its own, whole. */
static void test_batch__larger_than_a_file__is_in_one_file(void **state)
{
    struct rig *r = *state;
    assert_int_equal(rig_close(r), BK_OK);
    r->opt.max_file_bytes = 4096;
    RIG_TRUE(r, rig_open(r) == BK_OK);
    char value[400];
    memset(value, 'y', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    for (int round = 0; round < 3; round++) {
        rig_begin(r);
        for (int i = 0; i < 100; i++) {
            char name[16];
            snprintf(name, sizeof(name), "k%d", i);
            rig_batch_put(r, 0, bk_span_str(name), bk_span_str(value), 0, 0);
        }
        assert_int_equal(rig_commit(r), BK_OK);
        assert_int_equal(rig_put(r, "small", "s"), BK_OK);
    }
    RIG_TRUE(r, rig_settle(r));
    RIG_TRUE(r, rig_check(r));
    rig_crash(r, SIMDISK_KILL);
    RIG_TRUE(r, rig_reopen(r));
    assert_int_equal(bk_count(r->db, 0), 101);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown_rig)
    const struct CMUnitTest tests[] = {
        T(test_batch__peek__sees_own_writes_first),
        T(test_batch__peek__follows_flush_and_swap),
        T(test_batch__empty_or_cancelled__changes_nothing),
        T(test_batch__over_batch_bytes_max__is_refused_before_anything_changed),
        T(test_trap23__value_lengths_over_32_bits__are_refused),
        T(test_batch__random_batches__equal_the_model_also_after_restart),
        T(test_trap34__frame_damaged_at_every_byte_after_power_loss__whole_or_absent),
        T(test_trap34__frame_cut_at_every_byte_after_a_kill__whole_or_absent),
        T(test_trap33__frame_with_flush_and_swap_damaged_at_every_byte__whole_or_absent),
        T(test_trap33__frame_with_flush_and_swap_cut_after_a_kill__whole_or_absent),
        T(test_trap33__flushed_twice__a_restart_finds_nothing),
        T(test_batch__larger_than_a_file__is_in_one_file),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
