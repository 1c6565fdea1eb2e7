/* SPDX-License-Identifier: MIT */
/* test_merge_hints.c - merges and hints that cannot be read: an older file's filter, the output's
 * own while keys move, an input's that alone knows the keys of a damaged place. */
#include "engine/bad_sector.h"
#include "engine/merge_rig.h"

#include "engine/db_private.h"
#include "engine/hint_private.h"

#define KEYS 40u
#define SWUNG 12000u /* short keys: several blocks of a hint, one part */

static struct bki_file *oldest(struct rig *r)
{
    struct bki_file *found = NULL;
    for (uint32_t i = 0; i < atomic_load(&r->db->files.slots_n); i++) {
        struct bki_file *f = bki_files_slot(&r->db->files, i);
        bool sealed = f != NULL && atomic_load(&f->state) == BKI_FILE_SEALED;
        found = sealed && (found == NULL || f->rank < found->rank) ? f : found;
    }
    assert_non_null(found);
    return found;
}

/* The sealed file that is the nth behind f. */
static struct bki_file *behind(struct rig *r, const struct bki_file *f, unsigned nth)
{
    uint64_t rank = f->rank;
    struct bki_file *found = NULL;
    for (; nth > 0; nth--) {
        found = NULL;
        for (uint32_t i = 0; i < atomic_load(&r->db->files.slots_n); i++) {
            struct bki_file *g = bki_files_slot(&r->db->files, i);
            bool later = g != NULL && g->rank > rank;
            found = later && (found == NULL || g->rank < found->rank) ? g : found;
        }
        assert_non_null(found);
        rank = found->rank;
    }
    return found;
}

static void open_hint(struct rig *r, const struct bki_file *f, struct bki_hint *h)
{
    assert_int_equal(bki_hint_open(h, r->opt.io, r->db->files.dir, f, r->db->hash_seed, NULL),
                     BK_OK);
}

static void hint_path(const struct bki_file *f, char out[64])
{
    snprintf(out, 64, RIG_DIR "/%010llu.hint", (unsigned long long)f->id);
}

/* Where the nth block of the file's hint lies, and the filter of its first part. */
static uint64_t block_at(struct rig *r, const struct bki_file *f, uint32_t nth)
{
    struct bki_hint h;
    open_hint(r, f, &h);
    assert_true(nth < h.info.blocks);
    uint64_t at = h.blocks[nth].offset;
    bki_hint_close(&h);
    return at;
}

static uint64_t filter_at(struct rig *r, const struct bki_file *f)
{
    struct bki_hint h;
    open_hint(r, f, &h);
    uint64_t at = h.codes[0].offset;
    bki_hint_close(&h);
    return at;
}

/* From here on one byte of the file's hint cannot be read. */
static void spoil(const struct bki_file *f, uint64_t offset)
{
    hint_path(f, bad_disk.path);
    bad_disk.from = offset;
    bad_disk.to = offset + 1;
}

/* The header of the file's first record: not to be put right. */
static void damage_first(struct rig *r, const struct bki_file *f)
{
    static const uint8_t other[16] = {0x5a, 0xa5, 0x5a, 0xa5, 0x5a, 0xa5, 0x5a, 0xa5};
    simdisk_patch(r->disk, f->path, f->header_bytes, other, sizeof other);
}

static void begin_with(struct rig *r, uint64_t seed)
{
    setup_rig(r, seed, BK_SYNC_EVERYSEC);
    r->opt.merge.policy = BK_MERGE_NEVER;
    r->opt.merge.small_file = 0;
    r->opt.max_file_bytes = (uint64_t)4 << 20;
    r->opt.io = bad_sector(r, "none", 0, 0);
    next_file(r);
}

static void merge_from_here(struct rig *r)
{
    merge_all(r); /* hints are made */
    r->opt.merge.policy = BK_MERGE_ALWAYS;
    next_file(r);
}

/* It is made again, and then tombstones go that it had to be asked about. */
static void test_merge__filter_of_an_older_file_unreadable__tombstones_go_later(void **state)
{
    (void)state;
    struct rig r;
    begin_with(&r, 95);
    put_large(&r, "kept", KEYS);
    next_file(&r);
    put_large(&r, "gone", KEYS);
    next_file(&r);
    for (unsigned i = 0; i < KEYS; i++) {
        char key[16];
        snprintf(key, sizeof key, "gone%u", i);
        assert_int_equal(rig_delete(&r, key), BK_OK);
    }
    next_file(&r);
    merge_from_here(&r);
    const struct bki_file *f = oldest(&r);
    spoil(f, filter_at(&r, f));
    step_ms(&r, 20000);
    assert_int_equal(bad_disk.from, bad_disk.to); /* made again */
    assert_true(merges(&r) > 0);
    assert_int_equal(guard_bytes(&r), 0);
    RIG_TRUE(&r, rig_same(&r));
    RIG_TRUE(&r, rig_check(&r));
    rig_fini(&r);
}

/* A merge of a file of which half is dead, about to move its keys. */
static struct bki_file *run_up_to_swing(struct rig *r)
{
    put_n(r, "k", SWUNG, "v");
    next_file(r);
    put_n(r, "k", SWUNG / 2, "w");
    r->opt.merge.policy = BK_MERGE_ALWAYS;
    next_file(r);
    assert_true(merge_until(r, BK_MERGE_SWING));
    assert_int_equal(r->db->merge.out_n, 1);
    return r->db->merge.out[0];
}

static void test_merge__hint_of_the_output_unreadable__is_made_again(void **state)
{
    (void)state;
    struct rig r;
    begin_with(&r, 96);
    const struct bki_file *out = run_up_to_swing(&r);
    spoil(out, block_at(&r, out, 1));
    step_ms(&r, 20000);
    assert_true(merges(&r) > 0);
    same_after_restart(&r);
    rig_fini(&r);
}

static unsigned readable(struct rig *r)
{
    struct bk_buf got = {0};
    unsigned n = 0;
    for (unsigned i = 0; i < SWUNG; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%u", i);
        n += bk_get(r->db, 0, bk_span_str(key), &got, NULL) == BK_OK;
    }
    bk_buf_fini(&got);
    return n;
}

/* While keys move the hint and a copy are damaged, so that a new hint cannot list them all: those
 * that were not moved stay where they are, and what was not damaged answers. */
static void test_merge__hint_and_a_copy_damaged__no_other_key_is_lost(void **state)
{
    (void)state;
    struct rig r;
    char path[64];
    begin_with(&r, 97);
    const struct bki_file *out = run_up_to_swing(&r);
    hint_path(out, path);
    simdisk_flip(r.disk, path, block_at(&r, out, 1) * 8);
    damage_first(&r, out);
    step_ms(&r, 5000);
    assert_int_equal(state_of(&r), BK_MERGE_SWING);
    assert_int_equal(readable(&r), SWUNG - 1);
    RIG_TRUE(&r, rig_close(&r) == BK_OK);
    rig_forget_image(&r);
    r.opt.on_corruption = BK_CORRUPT_SERVE;
    RIG_TRUE(&r, rig_open(&r) == BK_OK);
    assert_int_equal(readable(&r), SWUNG - 1);
    rig_fini(&r);
}

/* Of the file that is most worth a merge a place is damaged, and the hint, which alone knows the
 * keys that lay there, cannot be read: it is left for a while, and others are merged. */
static void test_merge__damaged_place_and_hint_unreadable__other_files_are_merged(void **state)
{
    (void)state;
    struct rig r;
    begin_with(&r, 98);
    put_large(&r, "old", KEYS);
    next_file(&r);
    put_large(&r, "a", KEYS);
    next_file(&r);
    put_large(&r, "between", KEYS);
    next_file(&r);
    put_large(&r, "b", KEYS);
    next_file(&r);
    put_n(&r, "a", KEYS - 10, "small");
    put_n(&r, "b", KEYS - 16, "small");
    merge_from_here(&r);
    const struct bki_file *f = behind(&r, oldest(&r), 1);
    spoil(f, block_at(&r, f, 0));
    damage_first(&r, f);
    step_ms(&r, 60000);
    assert_true(merges(&r) > 0);
    assert_int_equal(atomic_load(&f->state), BKI_FILE_SEALED);
    RIG_TRUE(&r, rig_same(&r));
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge__filter_of_an_older_file_unreadable__tombstones_go_later),
        cmocka_unit_test(test_merge__hint_of_the_output_unreadable__is_made_again),
        cmocka_unit_test(test_merge__hint_and_a_copy_damaged__no_other_key_is_lost),
        cmocka_unit_test(test_merge__damaged_place_and_hint_unreadable__other_files_are_merged),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
