/* SPDX-License-Identifier: MIT */
/* clock.h - time as a table of functions, so that a test can be the clock. Order never depends on
 * it. */
#ifndef BK_BASE_CLOCK_H
#define BK_BASE_CLOCK_H

#include <stdint.h>

struct bk_clock {
    int64_t (*wall_ms)(void *arg); /* milliseconds since 1970 UTC; may step in both directions */
    int64_t (*mono_us)(void *arg); /* microseconds that never go back */
    void *arg;                     /* borrowed; handed to both */
};

extern const struct bk_clock bk_clock_system;

/* Microseconds since 1970 UTC; may step in both directions. */
int64_t bk_clock_system_wall_us(void);

static inline int64_t bk_clock_wall_ms(const struct bk_clock *c)
{
    return c->wall_ms(c->arg);
}

static inline int64_t bk_clock_mono_us(const struct bk_clock *c)
{
    return c->mono_us(c->arg);
}

#endif
