/* SPDX-License-Identifier: MIT */
/* mutex.c - ranks are checked against the thread's held list in BK_DEBUG builds; otherwise plain
 * pthread. */
#include "base/mutex.h"

#include "base/assert.h"

#include <errno.h>
#include <time.h>

#ifdef BK_DEBUG
/* FLUSHALL takes every key lock, so the list is longer than any other holder needs. */
#define HELD_MAX 4096
static _Thread_local const struct bk_mutex *held[HELD_MAX];
static _Thread_local unsigned held_n;

/* Before the lock: a thread that takes a mutex twice would wait for itself, and say nothing. */
static void check_order(const struct bk_mutex *m)
{
    if (held_n > 0) {
        const struct bk_mutex *top = held[held_n - 1];
        BK_ASSERT(m->rank > top->rank || (m->rank == top->rank && m > top));
    }
}

static void note_locked(const struct bk_mutex *m)
{
    BK_ASSERT(held_n < HELD_MAX);
    held[held_n++] = m;
}

static void note_unlocked(const struct bk_mutex *m)
{
    unsigned i = held_n;
    while (i > 0 && held[i - 1] != m) {
        i--;
    }
    BK_ASSERT(i > 0);
    for (; i < held_n; i++) {
        held[i - 1] = held[i];
    }
    held_n--;
}
#else
#define check_order(m) ((void)0)
#define note_locked(m) ((void)0)
#define note_unlocked(m) ((void)0)
#endif

void bk_mutex_init(struct bk_mutex *m, const char *name, int rank)
{
    pthread_mutexattr_t attr;
    int rc = pthread_mutexattr_init(&attr);
    /* Most are held for some memory work: whoever finds one taken looks again a few times before it
     * lets the kernel wait for it. */
    rc |= pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
    rc |= pthread_mutex_init(&m->mu, &attr);
    rc |= pthread_mutexattr_destroy(&attr);
    BK_ASSERT(rc == 0);
    m->name = name;
    m->rank = rank;
}

void bk_mutex_fini(struct bk_mutex *m)
{
    int rc = pthread_mutex_destroy(&m->mu);
    BK_ASSERT(rc == 0);
}

void bk_mutex_lock(struct bk_mutex *m) BK_NO_TSA
{
    check_order(m);
    int rc = pthread_mutex_lock(&m->mu);
    BK_ASSERT(rc == 0);
    note_locked(m);
}

bool bk_mutex_trylock(struct bk_mutex *m) BK_NO_TSA
{
    if (pthread_mutex_trylock(&m->mu) != 0) {
        return false;
    }
    note_locked(m); /* a try never waits, so it cannot be part of a deadlock */
    return true;
}

void bk_mutex_unlock(struct bk_mutex *m) BK_NO_TSA
{
    note_unlocked(m);
    int rc = pthread_mutex_unlock(&m->mu);
    BK_ASSERT(rc == 0);
}

void bk_mutex_assert_held(const struct bk_mutex *m)
{
#ifdef BK_DEBUG
    for (unsigned i = 0; i < held_n; i++) {
        if (held[i] == m) {
            return;
        }
    }
    bk_assert_failed("mutex is held", m->name, m->rank);
#else
    (void)m;
#endif
}

void bk_cond_init(struct bk_cond *c)
{
    pthread_condattr_t attr;
    int rc = pthread_condattr_init(&attr);
    rc |= pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    rc |= pthread_cond_init(&c->cond, &attr);
    rc |= pthread_condattr_destroy(&attr);
    BK_ASSERT(rc == 0);
}

void bk_cond_fini(struct bk_cond *c)
{
    int rc = pthread_cond_destroy(&c->cond);
    BK_ASSERT(rc == 0);
}

void bk_cond_signal(struct bk_cond *c)
{
    pthread_cond_signal(&c->cond);
}

void bk_cond_broadcast(struct bk_cond *c)
{
    pthread_cond_broadcast(&c->cond);
}

bool bk_cond_wait(struct bk_cond *c, struct bk_mutex *m, int64_t timeout_us) BK_NO_TSA
{
    note_unlocked(m);
    int rc;
    if (timeout_us < 0) {
        rc = pthread_cond_wait(&c->cond, &m->mu);
    } else {
        struct timespec ts;
        clock_gettime(CLOCK_MONOTONIC, &ts);
        int64_t ns = ts.tv_nsec + timeout_us % 1000000 * 1000;
        ts.tv_sec += (time_t)(timeout_us / 1000000 + ns / 1000000000);
        ts.tv_nsec = (long)(ns % 1000000000);
        rc = pthread_cond_timedwait(&c->cond, &m->mu, &ts);
    }
    check_order(m);
    note_locked(m);
    BK_ASSERT(rc == 0 || rc == ETIMEDOUT);
    return rc == 0;
}
