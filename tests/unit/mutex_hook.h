/* SPDX-License-Identifier: MIT */
/*
 * mutex_hook.h - something that happens just as the code under test takes a certain mutex, where
 * that is all it does between two looks at what may change. For one file of a test program: it
 * takes pthread_mutex_lock over.
 */
#ifndef BK_TESTS_MUTEX_HOOK_H
#define BK_TESTS_MUTEX_HOOK_H

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>

static struct mutex_hook {
    pthread_mutex_t *watched; /* NULL: none, and once it has run */
    void (*run)(void);        /* in front of the lock */
} mutex_hook;

int pthread_mutex_lock(pthread_mutex_t *mu)
{
    static union {
        void *symbol;
        int (*call)(pthread_mutex_t *);
    } real;
    if (real.symbol == NULL) {
        real.symbol = dlsym(RTLD_NEXT, "pthread_mutex_lock");
    }
    if (mu == mutex_hook.watched) {
        mutex_hook.watched = NULL;
        mutex_hook.run();
    }
    return real.call(mu);
}

#endif
