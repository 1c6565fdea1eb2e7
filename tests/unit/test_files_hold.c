/* SPDX-License-Identifier: MIT */
/*
 * While files are held, as a snapshot does, no merge takes the place of its inputs: what it left
 * out because of a newer record would be missing from a snapshot that ends before that record.
 */
#include "engine/merge_rig.h"

#include "engine/db_private.h"

static void overwrite(struct rig *r, unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++) {
        char key[16];
        char value[300];
        snprintf(key, sizeof(key), "k%u", i % 7);
        memset(value, 'a' + (int)(i % 26), sizeof(value) - 1);
        value[sizeof(value) - 1] = '\0';
        assert_int_equal(rig_put(r, key, value), BK_OK);
        if (state_of(r) != BK_MERGE_EDIT) {
            one_step(r);
        }
    }
}

static bool begin_edit(struct rig *r)
{
    bool there = false;
    for (unsigned i = 0; i < 50 && !there; i++) {
        overwrite(r, 20);
        there = merge_until(r, BK_MERGE_EDIT);
    }
    return there;
}

static void test_files__held__a_merge_waits_at_its_edit(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct rig r;
        struct bki_manifest_state before;
        struct bki_manifest_state after;
        setup_rig(&r, seed, BK_SYNC_EVERYSEC);
        assert_true(begin_edit(&r));
        uint64_t runs = merges(&r);
        bki_files_hold(&r.db->files);
        bki_files_copy_state(&r.db->files, &before);
        for (unsigned i = 0; i < 40; i++) {
            overwrite(&r, 5); /* the log goes on, files are begun and sealed */
            RIG_TRUE(&r, rig_sync(&r));
            assert_int_equal(state_of(&r), BK_MERGE_EDIT);
        }
        bki_files_copy_state(&r.db->files, &after);
        assert_true(after.files_n > before.files_n);
        for (uint32_t i = 0; i < before.files_n; i++) {
            char path[BKI_PATH_MAX];
            assert_non_null(bki_manifest_find(&after, before.files[i].id));
            bki_datafile_path(path, RIG_DIR, before.files[i].id);
            assert_true(simdisk_exists(r.disk, path));
        }
        bki_manifest_state_fini(&before);
        bki_manifest_state_fini(&after);
        bki_files_release(&r.db->files);
        merge_all(&r);
        assert_true(merges(&r) > runs);
        RIG_TRUE(&r, rig_same(&r));
        RIG_TRUE(&r, rig_check(&r));
        rig_fini(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files__held__a_merge_waits_at_its_edit),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
