/* SPDX-License-Identifier: MIT */
/* test_sync_thread.c - a store with its own threads on a real directory: what the sync thread does
 * without being asked, and what it may not hold up for ever. */
#include "engine_test.h"
#include "lib/tmpdir.h"

#include "base/clock.h"
#include "engine/io.h"

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#define PATIENCE_US 30000000
#define KEYS 1000u
#define KEYS_BYTES (KEYS * 40u) /* of their records, each padded to 8 bytes */
#define FILE_BYTES ((uint64_t)4 << 20)

/* Syncs of the directory, by the sync thread alone, wait for the gate. */
static struct {
    struct bk_io io;
    sem_t gate;
    atomic_bool shut;
    atomic_int waiting;
} slow;

static int slow_sync_dir(void *arg, const char *dir)
{
    char name[32] = "";
    pthread_getname_np(pthread_self(), name, sizeof(name));
    if (atomic_load(&slow.shut) && strcmp(name, "bk-sync") == 0) {
        atomic_fetch_add(&slow.waiting, 1);
        while (sem_wait(&slow.gate) != 0) {
            /* A signal came. */
        }
    }
    return bk_io_system.sync_dir(arg, dir);
}

static void open_gate(void)
{
    atomic_store(&slow.shut, false);
    sem_post(&slow.gate);
}

static void begin(struct tmpdir *dir, struct bk_db **db, enum bk_sync sync)
{
    struct bk_options o;
    slow.io = bk_io_system;
    slow.io.sync_dir = slow_sync_dir;
    assert_int_equal(sem_init(&slow.gate, 0, 0), 0);
    atomic_store(&slow.shut, false);
    atomic_store(&slow.waiting, 0);
    tmpdir_make(dir, "sync-thread");
    bk_options_init(&o);
    o.dir = dir->path;
    o.io = &slow.io;
    o.sync = sync;
    o.max_file_bytes = FILE_BYTES;
    o.merge.policy = BK_MERGE_NEVER;
    assert_int_equal(bk_open(db, &o, NULL), BK_OK);
}

static void end(struct tmpdir *dir, struct bk_db **db)
{
    assert_int_equal(bk_close(db, NULL), BK_OK);
    sem_destroy(&slow.gate);
    tmpdir_remove(dir);
}

struct writer {
    pthread_t thread;
    struct bk_db *db;
    atomic_bool stop;
    atomic_int rc;
};

/* Large values until the next file is being made; then small ones, which the active file has room
 * for. Slowly: it must not be full before the other thread is there. */
static void *write_main(void *arg)
{
    static const char value[10000];
    struct writer *w = arg;
    uint64_t bytes = 0;
    int rc = BK_OK;
    while (rc == BK_OK && !atomic_load(&w->stop)) {
        bool small = atomic_load(&slow.waiting) > 0;
        rc = bk_put(w->db, 0, bk_span_str("k"), bk_span_of(value, small ? 10 : sizeof(value)), 0);
        bytes += sizeof(value);
        poll(NULL, 0, bytes < FILE_BYTES ? 1 : 10);
    }
    atomic_store(&w->rc, rc);
    return NULL;
}

static uint64_t held_back(struct bk_db *db)
{
    struct bk_stats s;
    bk_stats_get(db, &s);
    return s.sync_waits;
}

/* Making the next file takes for ever: nothing is synced meanwhile, so writers wait once what they
 * wrote is two seconds old. */
static void test_everysec__next_file_takes_long__writers_wait(void **state)
{
    (void)state;
    struct tmpdir dir;
    struct writer w = {.rc = BK_OK};
    begin(&dir, &w.db, BK_SYNC_EVERYSEC);
    atomic_store(&slow.shut, true);
    assert_int_equal(pthread_create(&w.thread, NULL, write_main, &w), 0);
    int64_t end_us = bk_clock_mono_us(&bk_clock_system) + PATIENCE_US;
    while (held_back(w.db) == 0 && bk_clock_mono_us(&bk_clock_system) < end_us) {
        poll(NULL, 0, 10);
    }
    uint64_t waits = held_back(w.db);
    int waiting = atomic_load(&slow.waiting);
    atomic_store(&w.stop, true);
    open_gate();
    assert_int_equal(pthread_join(w.thread, NULL), 0);
    assert_int_equal(atomic_load(&w.rc), BK_OK);
    assert_int_equal(waiting, 1);
    assert_true(waits > 0);
    end(&dir, &w.db);
}

static void flush(struct bk_db *db)
{
    struct bk_batch *b = bk_batch_new(db);
    uint64_t pos;
    bk_batch_begin(b);
    bk_batch_lock_all(b);
    bk_batch_lock(b);
    bk_batch_flush(b, 0);
    assert_int_equal(bk_batch_commit(b, &pos, NULL), BK_OK);
    bk_flush(db, pos);
    bk_batch_free(&b);
}

static uint64_t dead(struct bk_db *db)
{
    struct bk_stats s;
    bk_stats_get(db, &s);
    return s.dead_bytes;
}

static void fill_and_flush(struct bk_db *db)
{
    for (unsigned k = 0; k < KEYS; k++) {
        char key[16];
        snprintf(key, sizeof(key), "key%u", k);
        assert_int_equal(bk_put(db, 0, bk_span_str(key), bk_span_str("value"), 0), BK_OK);
    }
    uint64_t before = dead(db);
    flush(db);
    int64_t end_us = bk_clock_mono_us(&bk_clock_system) + PATIENCE_US;
    while (dead(db) < before + KEYS_BYTES && bk_clock_mono_us(&bk_clock_system) < end_us) {
        poll(NULL, 0, 5);
    }
    assert_true(dead(db) >= before + KEYS_BYTES);
}

/* Whatever the mode, and though nobody writes after it: its keys count as dead soon. More than
 * once, since the sync thread may be at work for what was written before the first one. */
static void test_flush__last_write_for_long__gives_its_memory_back(void **state)
{
    static const enum bk_sync modes[] = {BK_SYNC_NO, BK_SYNC_EVERYSEC, BK_SYNC_ALWAYS};
    (void)state;
    for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        struct tmpdir dir;
        struct bk_db *db = NULL;
        begin(&dir, &db, modes[i]);
        for (unsigned round = 0; round < 3; round++) {
            fill_and_flush(db);
        }
        end(&dir, &db);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everysec__next_file_takes_long__writers_wait),
        cmocka_unit_test(test_flush__last_write_for_long__gives_its_memory_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
