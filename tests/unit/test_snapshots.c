/* SPDX-License-Identifier: MIT */
/* The server's snapshots, as loops ask for them. */
#include "app/snapshots.h"
#include "base/buf.h"
#include "lib/tmpdir.h"

#include <setjmp.h>
#include <stdarg.h>

#include <semaphore.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct place {
    struct tmpdir dir;
    char data[200], made[200];
    struct bk_db *db;
    sem_t ended;
    struct snapshots *all;
};

static void count_end(void *arg)
{
    struct place *p = arg;
    sem_post(&p->ended);
}

static int open_store(struct bk_db **db, const char *dir)
{
    struct bk_options o;
    bk_options_init(&o);
    o.dir = dir;
    return bk_open(db, &o, NULL);
}

static void begin(struct place *p)
{
    tmpdir_make(&p->dir, "snapshots");
    tmpdir_join(&p->dir, "data", p->data, sizeof(p->data));
    tmpdir_join(&p->dir, "made", p->made, sizeof(p->made));
    assert_int_equal(open_store(&p->db, p->data), BK_OK);
    assert_int_equal(sem_init(&p->ended, 0, 0), 0);
    struct snapshots_config c = {.keep = 8, .ended = count_end, .arg = p};
    p->all = snapshots_new(&c);
    snapshots_open(p->all, p->db, p->data, p->made);
}

static void end(struct place *p)
{
    snapshots_free(&p->all);
    assert_int_equal(bk_close(&p->db, NULL), BK_OK);
    sem_destroy(&p->ended);
    tmpdir_remove(&p->dir);
}

static void put(struct bk_db *db, const char *key)
{
    assert_int_equal(bk_put(db, 0, bk_span_str(key), bk_span_str("v"), 0), BK_OK);
}

/* Until none is made or wanted any more; its figures. */
static struct snapshots_info await_all(struct place *p)
{
    struct snapshots_info info;
    do {
        while (sem_wait(&p->ended) != 0) {
            /* A signal came. */
        }
        snapshots_info(p->all, &info);
    } while (info.running);
    return info;
}

static bool newest_has(const struct place *p, const char *name, const char *key)
{
    char path[300];
    struct bk_db *db = NULL;
    struct bk_buf value = {0};
    snprintf(path, sizeof(path), "%s/%s", p->made, name);
    assert_int_equal(open_store(&db, path), BK_OK);
    int rc = bk_get(db, 0, bk_span_str(key), &value, NULL);
    assert_int_equal(bk_close(&db, NULL), BK_OK);
    bk_buf_fini(&value);
    return rc == BK_OK;
}

/* What is written before one is scheduled is in it, though another was under way. */
static void test_snapshots__scheduled_while_one_is_made__another_follows(void **state)
{
    (void)state;
    struct place p;
    begin(&p);
    for (unsigned i = 0; i < 20; i++) {
        struct bk_buf error = {0};
        char key[16];
        uint64_t first = snapshots_begin(p.all, &error);
        assert_true(first > 0);
        snprintf(key, sizeof(key), "k%u", i);
        put(p.db, key);
        snapshots_schedule(p.all);
        struct snapshots_info info = await_all(&p);
        assert_int_equal(info.saves, 2 * (i + 1)); /* whether the first had ended by then or not */
        assert_true(info.last_ok);
        assert_int_equal(snapshots_state(p.all, first), SAVE_DONE);
        assert_true(newest_has(&p, info.last_name, key));
        assert_true(snapshots_possible(p.all, &error));
        bk_buf_fini(&error);
    }
    end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_snapshots__scheduled_while_one_is_made__another_follows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
