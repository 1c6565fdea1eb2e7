/* SPDX-License-Identifier: MIT */
/* simclock.h - a clock that moves only when a test says so. Any thread may read it. */
#ifndef BK_TESTS_SIMCLOCK_H
#define BK_TESTS_SIMCLOCK_H

#include "base/clock.h"

#include <stdatomic.h>
#include <stdint.h>

#define SIMCLOCK_START_MS ((int64_t)1700000000000)

struct simclock {
    _Atomic int64_t wall_ms;
    _Atomic int64_t mono_us;
    struct bk_clock clock; /* hand &clock to the store */
};

/* c must not move in memory afterwards: clock.arg points to it. */
void simclock_init(struct simclock *c);
void simclock_advance_ms(struct simclock *c, int64_t ms); /* both clocks */
void simclock_step_wall_ms(struct simclock *c,
                           int64_t ms); /* the wall clock alone, in either direction */

#endif
