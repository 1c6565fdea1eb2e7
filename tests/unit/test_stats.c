/* SPDX-License-Identifier: MIT */
/* test_stats.c - figures of a store while other threads change what they are of. */
#include "engine/engine_test.h"

#include "engine/db_private.h"

#include <pthread.h>

#define CALLS 20000

struct toggle {
    struct bki_file *file;
    atomic_bool stop;
};

static void *toggle_main(void *arg)
{
    struct toggle *t = arg;
    while (!atomic_load(&t->stop)) {
        atomic_store(&t->file->state, BKI_FILE_DROPPED);
        atomic_store(&t->file->state, BKI_FILE_SEALED);
    }
    return NULL;
}

static void count_strange(void *arg, const struct bk_file_info *info)
{
    *(unsigned *)arg += (unsigned)info->state > BK_FILE_NEXT;
}

static struct bki_file *first_sealed(struct bk_db *db)
{
    struct bki_file *f = NULL;
    for (uint32_t i = 0; f == NULL && i < atomic_load(&db->files.slots_n); i++) {
        struct bki_file *at = bki_files_slot(&db->files, i);
        f = at != NULL && atomic_load(&at->state) == BKI_FILE_SEALED ? at : NULL;
    }
    return f;
}

/* A merge drops files without the list's lock. */
static void test_stats__files_listed_while_one_is_dropped__have_states_that_are_known(void **state)
{
    (void)state;
    struct rig r;
    struct toggle t = {0};
    pthread_t thread;
    unsigned strange = 0;
    rig_init(&r, 1, BK_SYNC_EVERYSEC);
    RIG_TRUE(&r, rig_open(&r) == BK_OK);
    assert_int_equal(rig_put(&r, "a", "1"), BK_OK);
    RIG_TRUE(&r, rig_close(&r) == BK_OK);
    RIG_TRUE(&r, rig_open(&r) == BK_OK);
    t.file = first_sealed(r.db);
    assert_non_null(t.file);
    assert_int_equal(pthread_create(&thread, NULL, toggle_main, &t), 0);
    for (int i = 0; i < CALLS; i++) {
        bk_files(r.db, count_strange, &strange);
    }
    atomic_store(&t.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(strange, 0);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stats__files_listed_while_one_is_dropped__have_states_that_are_known),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
