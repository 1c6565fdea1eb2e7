/* SPDX-License-Identifier: MIT */
/*
 * reads.h - the I/O threads that wait for the disk in place of those who may not.
 *
 * What they read for whom is struct bk_reads (bitkv.h, reads.c). Here: the queue between them.
 */
#ifndef BK_ENGINE_READS_H
#define BK_ENGINE_READS_H

#include "base/error.h"
#include "base/mutex.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define BKI_READERS_MAX 256u /* threads */

struct bk_db;
struct bk_read;

struct bki_read_pool {
    /* Set once, by bki_read_pool_start. */
    pthread_t *threads; /* owned */
    unsigned threads_n; /* 0: there are none, and nothing is ever queued */
    /* Atomic. */
    atomic_uint readers;              /* bk_reader objects alive */
    _Atomic uint64_t handed, pending; /* reads since the store was opened; not done yet */
    /* Guarded by mu (rank reads). */
    struct bk_mutex mu;
    struct bk_cond work; /* with mu */
    struct bk_read *first BK_GUARDED(mu);
    struct bk_read *last BK_GUARDED(mu); /* of the queue; valid while first is not NULL */
    unsigned idle BK_GUARDED(mu);        /* threads that wait for work */
    bool stop BK_GUARDED(mu);
};

void bki_read_pool_init(struct bki_read_pool *p);
/* The threads have been stopped. */
void bki_read_pool_fini(struct bki_read_pool *p);
BK_MUST_USE int bki_read_pool_start(struct bk_db *db, unsigned threads, struct bk_error *err);
/* Nothing is queued any more: every bk_reader has been freed. */
void bki_read_pool_stop(struct bk_db *db);

#endif
