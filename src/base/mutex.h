/* SPDX-License-Identifier: MIT */
/*
 * mutex.h - a mutex with a name and a rank.
 *
 * A thread takes mutexes in rising rank only; among mutexes of one rank, in rising address (the
 * stripes of one array). Builds with BK_DEBUG keep each thread's held list and abort when the order
 * is broken. The table of ranks is in src/README.md. Clang's -Wthread-safety checks the annotations
 * below.
 */
#ifndef BK_BASE_MUTEX_H
#define BK_BASE_MUTEX_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#if defined(__clang__)
#define BK_TSA(x) __attribute__((x))
#else
#define BK_TSA(x)
#endif
#define BK_CAPABILITY BK_TSA(capability("mutex"))
#define BK_ACQUIRE(...) BK_TSA(acquire_capability(__VA_ARGS__))
#define BK_RELEASE(...) BK_TSA(release_capability(__VA_ARGS__))
#define BK_TRY_ACQUIRE(...) BK_TSA(try_acquire_capability(__VA_ARGS__))
#define BK_REQUIRES(...) BK_TSA(requires_capability(__VA_ARGS__))
#define BK_EXCLUDES(...) BK_TSA(locks_excluded(__VA_ARGS__))
#define BK_NO_TSA BK_TSA(no_thread_safety_analysis)
/* Documentation that grep finds: clang 14 does not parse guarded_by(sibling) in C. */
#define BK_GUARDED(mu)

enum bk_rank {
    BK_RANK_KEY = 10,      /* key lock stripes */
    BK_RANK_CONFIG = 15,   /* options: held while a change is put to use */
    BK_RANK_CONTROL = 20,  /* background work: prepare, seal, merge control */
    BK_RANK_EDITS = 25,    /* the manifest; held across I/O, never taken by a loop */
    BK_RANK_FILES = 30,    /* file list */
    BK_RANK_KEYDIR = 40,   /* keydir stripes */
    BK_RANK_WRITE = 45,    /* the one writer of the log's buffer */
    BK_RANK_LOG = 50,      /* the log's tail */
    BK_RANK_TRACKING = 53, /* which clients track, and by which prefixes */
    BK_RANK_TOPICS = 55,   /* who listens to what, who remembers which key */
    BK_RANK_TRACKER = 57,  /* how one client tracks */
    BK_RANK_SERVER = 60,   /* loops: connection lists, queues between loops */
    BK_RANK_READS = 65,    /* reads that wait for the disk, and those that are done */
    BK_RANK_CACHE = 70,    /* value cache shards */
    BK_RANK_RECLAIM = 75,  /* when memory that look-ups may read is freed */
    BK_RANK_STATS = 90     /* statistics, logging */
};

struct BK_CAPABILITY bk_mutex {
    pthread_mutex_t mu;
    const char *name; /* borrowed, static */
    int rank;
};

void bk_mutex_init(struct bk_mutex *m, const char *name, int rank);
void bk_mutex_fini(struct bk_mutex *m);
void bk_mutex_lock(struct bk_mutex *m) BK_ACQUIRE(m);
bool bk_mutex_trylock(struct bk_mutex *m) BK_TRY_ACQUIRE(true, m);
void bk_mutex_unlock(struct bk_mutex *m) BK_RELEASE(m);
/* Debug builds abort unless the calling thread holds m. */
void bk_mutex_assert_held(const struct bk_mutex *m);

/* A condition for one mutex; waits are woken spuriously, so callers loop. */
struct bk_cond {
    pthread_cond_t cond;
};

void bk_cond_init(struct bk_cond *c);
void bk_cond_fini(struct bk_cond *c);
void bk_cond_signal(struct bk_cond *c);
void bk_cond_broadcast(struct bk_cond *c);
/* timeout_us < 0: no limit. Returns false when the time ran out. */
bool bk_cond_wait(struct bk_cond *c, struct bk_mutex *m, int64_t timeout_us) BK_REQUIRES(m);

#endif
