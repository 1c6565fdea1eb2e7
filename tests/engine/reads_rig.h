/* SPDX-License-Identifier: MIT */
/*
 * reads_rig.h - a store whose I/O threads read a disk that can be held, and whose page cache is
 * always empty for those who will not wait; and what a command does to read from it.
 */
#ifndef BK_TESTS_READS_RIG_H
#define BK_TESTS_READS_RIG_H

#include "engine_test.h"
#include "engine/io.h"
#include "lib/tmpdir.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <unistd.h>

#define WAIT_S 60 /* for what must come; then the test fails */

struct disk {
    struct bk_io io;
    pthread_mutex_t mu;
    pthread_cond_t moved;
    bool held;         /* reads of I/O threads stand still */
    unsigned standing; /* of them */
    int fails;         /* errno value that they answer, or 0 */
};

struct place {
    struct tmpdir dir;
    struct disk disk;
    struct bk_options opt;
    struct bk_db *db;
    struct bk_reader *reader;
    sem_t woken;
};

/* ---- The disk ---- */

static inline bool by_reader(void)
{
    char name[16];
    return pthread_getname_np(pthread_self(), name, sizeof(name)) == 0 &&
           strcmp(name, "bk-read") == 0;
}

static inline int64_t disk_pread(void *arg, int fd, void *buf, size_t len, uint64_t offset)
{
    struct disk *d = arg;
    int fails = 0;
    if (by_reader()) {
        pthread_mutex_lock(&d->mu);
        d->standing++;
        pthread_cond_broadcast(&d->moved);
        while (d->held) {
            pthread_cond_wait(&d->moved, &d->mu);
        }
        d->standing--;
        fails = d->fails;
        pthread_mutex_unlock(&d->mu);
    }
    return fails != 0 ? -fails : bk_io_system.pread(bk_io_system.arg, fd, buf, len, offset);
}

static inline int64_t disk_pread_cached(void *arg, int fd, void *buf, size_t len, uint64_t offset)
{
    (void)arg;
    (void)fd;
    (void)buf;
    (void)len;
    (void)offset;
    return -EAGAIN;
}

static inline void disk_hold(struct disk *d, bool held)
{
    pthread_mutex_lock(&d->mu);
    d->held = held;
    pthread_cond_broadcast(&d->moved);
    pthread_mutex_unlock(&d->mu);
}

/* Until so many reads stand still. */
static inline void disk_wait(struct disk *d, unsigned n)
{
    struct timespec until;
    int rc = 0;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    pthread_mutex_lock(&d->mu);
    while (d->standing < n && rc == 0) {
        rc = pthread_cond_timedwait(&d->moved, &d->mu, &until);
    }
    pthread_mutex_unlock(&d->mu);
    assert_int_equal(rc, 0);
}

/* ---- A store ---- */

static inline void woken(void *arg)
{
    sem_post(arg);
}

static inline void open_store(struct place *p)
{
    struct bk_error err = {0};
    BK_SUCCEEDS(bk_open(&p->db, &p->opt, &err), err);
    p->reader = bk_reader_new(p->db, woken, &p->woken);
    assert_true((p->reader == NULL) == (p->opt.disk_threads == 0));
}

static inline void close_store(struct place *p)
{
    struct bk_error err = {0};
    bk_reader_free(&p->reader);
    BK_SUCCEEDS(bk_close(&p->db, &err), err);
}

/* Everything is as it should be; with no thread that works on it. */
static inline void check_store(struct place *p)
{
    struct bk_error err = {0};
    p->opt.stepped = true;
    BK_SUCCEEDS(bk_open(&p->db, &p->opt, &err), err);
    BK_SUCCEEDS(bk_check(p->db, &err), err);
    BK_SUCCEEDS(bk_close(&p->db, &err), err);
}

/* What was just written lies on the disk alone after this. */
static inline void reopen(struct place *p)
{
    close_store(p);
    open_store(p);
}

static inline int setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    tmpdir_make(&p->dir, "reads");
    pthread_mutex_init(&p->disk.mu, NULL);
    pthread_cond_init(&p->disk.moved, NULL);
    p->disk.io = bk_io_system;
    p->disk.io.arg = &p->disk;
    p->disk.io.pread = disk_pread;
    p->disk.io.pread_cached = disk_pread_cached;
    sem_init(&p->woken, 0, 0);
    bk_options_init(&p->opt);
    p->opt.dir = p->dir.path;
    p->opt.io = &p->disk.io;
    p->opt.disk_threads = 4;
    p->opt.merge.policy = BK_MERGE_NEVER;
    open_store(p);
    *state = p;
    return 0;
}

static inline int teardown(void **state)
{
    struct place *p = *state;
    close_store(p);
    check_store(p);
    sem_destroy(&p->woken);
    pthread_cond_destroy(&p->disk.moved);
    pthread_mutex_destroy(&p->disk.mu);
    tmpdir_remove(&p->dir);
    free(p);
    return 0;
}

static inline void put(struct place *p, const char *key, const char *value)
{
    assert_int_equal(bk_put(p->db, 0, bk_span_str(key), bk_span_str(value), 0), BK_OK);
}

static inline struct bk_stats stats(struct place *p)
{
    struct bk_stats s;
    bk_stats_get(p->db, &s);
    return s;
}

/* ---- One command's reads ---- */

struct get {
    struct place *p;
    struct bk_key key;
    struct bk_item item;
    struct bk_reads *reads;
};

/* Looks the key up and asks for its value without waiting, as a command does each time it runs. */
static inline int get_try(struct get *g, struct bk_error *err)
{
    unsigned pin = bk_pin(g->p->db);
    const uint32_t num = 0;
    int rc;
    do {
        bk_locate(g->p->db, &num, &g->key, 1, &g->item);
        rc = BK_NOTFOUND;
        if (g->item.at != 0 && g->reads != NULL) {
            rc = bk_reads_take(g->reads, &g->key, &g->item, err);
        }
        if (g->item.at != 0 && rc == BK_NOTFOUND) {
            rc = bk_load_cached(g->p->db, &g->key, &g->item, err);
            if (rc == BK_READING) {
                g->reads = g->reads != NULL ? g->reads : bk_reads_new(g->p->reader, g);
                rc = bk_reads_add(g->reads, num, &g->key, &g->item);
            }
        }
    } while (rc == BK_CHANGED);
    bk_unpin(g->p->db, pin);
    return rc;
}

static inline void get_begin(struct get *g, struct place *p, const char *key)
{
    *g = (struct get){.p = p};
    bk_key_init(p->db, &g->key, key, strlen(key));
}

static inline void get_end(struct get *g)
{
    bk_reads_free(&g->reads);
    bk_item_fini(&g->item);
}

/* Waits for the wake call, then for the owner of reads that are done. */
static inline struct get *next_done(struct place *p)
{
    struct timespec until;
    void *owner = NULL;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    while (!bk_reader_next(p->reader, &owner)) {
        bk_reader_submit(p->reader);
        assert_int_equal(sem_timedwait(&p->woken, &until), 0);
    }
    return owner;
}

static inline int get_whole(struct get *g, struct bk_error *err)
{
    int rc;
    while ((rc = get_try(g, err)) == BK_READING) {
        bk_reader_submit(g->p->reader);
        assert_ptr_equal(next_done(g->p), g);
    }
    return rc;
}

static inline void expect_bytes(const struct get *g, const char *want)
{
    assert_int_equal(g->item.value.len, strlen(want));
    assert_memory_equal(g->item.value.data, want, strlen(want));
}

#endif
