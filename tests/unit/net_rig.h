/* SPDX-License-Identifier: MIT */
/* net_rig.h - what the tests of net/ begin and end with, and the figures that they wait for. */
#ifndef TESTS_UNIT_NET_RIG_H
#define TESTS_UNIT_NET_RIG_H

#include "lib/net_fake.h"

#include "net/net_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static inline int setup(void **state)
{
    struct fake *f = calloc(1, sizeof(*f));
    atomic_store(&f->commits_at_once, true);
    *state = f;
    return 0;
}

static inline int setup_late(void **state)
{
    setup(state);
    struct fake *f = *state;
    atomic_store(&f->late, true);
    return 0;
}

static inline int teardown(void **state)
{
    struct fake *f = *state;
    fake_stop(f);
    free(f);
    return 0;
}

#define TEST_ONCE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
/* And once more with ticks that end after each command. */
#define TEST(name) TEST_ONCE(name), cmocka_unit_test_setup_teardown(name, setup_late, teardown)

static inline uint64_t connected(struct fake *f)
{
    struct net_stats s;
    net_stats_get(f->net, &s);
    return s.connected;
}

static inline uint64_t parked(struct fake *f)
{
    struct net_stats s;
    net_stats_get(f->net, &s);
    return s.parked;
}

static inline uint64_t at_gate(struct fake *f)
{
    return (uint64_t)atomic_load(&f->at_gate);
}

#endif
