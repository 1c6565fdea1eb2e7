/* SPDX-License-Identifier: MIT */
/* simclock.c - see simclock.h. */
#include "lib/simclock.h"

static int64_t read_wall(void *arg)
{
    struct simclock *c = arg;
    return atomic_load(&c->wall_ms);
}

static int64_t read_mono(void *arg)
{
    struct simclock *c = arg;
    return atomic_load(&c->mono_us);
}

void simclock_init(struct simclock *c)
{
    atomic_init(&c->wall_ms, SIMCLOCK_START_MS);
    atomic_init(&c->mono_us, 1000000);
    c->clock = (struct bk_clock){.wall_ms = read_wall, .mono_us = read_mono, .arg = c};
}

void simclock_advance_ms(struct simclock *c, int64_t ms)
{
    atomic_fetch_add(&c->wall_ms, ms);
    atomic_fetch_add(&c->mono_us, ms * 1000);
}

void simclock_step_wall_ms(struct simclock *c, int64_t ms)
{
    atomic_fetch_add(&c->wall_ms, ms);
}
