/* SPDX-License-Identifier: MIT */
/*
 * ticks.c - how long a loop's ticks take, and how long without the time in which its thread could
 * have run and no processor was free. The kernel counts that wait in /proc/thread-self/schedstat
 * (second figure, ns); it is read at most each millisecond, and again after a long tick. So a wait
 * of up to a millisecond before the tick may be taken off as well.
 */
#include "net/net_private.h"

#include "base/clock.h"
#include "base/num.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define LOOK_US 1000
#define LONG_US 2000u /* of shorter ticks the waits are not looked up */

/* How long this thread has waited for a processor so far; 0 where the kernel does not say. */
static uint64_t waited_ns(const struct tick_timer *t)
{
    char text[96];
    uint64_t ns = 0;
    ssize_t n = t->schedstat_fd < 0 ? 0 : pread(t->schedstat_fd, text, sizeof text, 0);
    const char *end = n > 0 ? text + n : text;
    const char *from = n > 0 ? memchr(text, ' ', (size_t)n) : NULL;
    const char *to = from == NULL ? NULL : memchr(from + 1, ' ', (size_t)(end - from - 1));
    if (to == NULL || !bk_parse_u64(bk_span_of(from + 1, (size_t)(to - from - 1)), &ns)) {
        return 0;
    }
    return ns;
}

void ticks_open(struct tick_timer *t)
{
    t->schedstat_fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
}

void ticks_close(struct tick_timer *t)
{
    if (t->schedstat_fd >= 0) {
        close(t->schedstat_fd);
    }
    t->schedstat_fd = -1;
}

void ticks_begin(struct tick_timer *t)
{
    t->start_us = bk_clock_mono_us(&bk_clock_system);
    if (t->start_us - t->looked_us >= LOOK_US) {
        t->looked_us = t->start_us;
        t->waited_ns = waited_ns(t);
    }
}

static void keep_longest(_Atomic uint64_t *longest, uint64_t us)
{
    if (us > RELAXED_LOAD(longest)) {
        RELAXED_STORE(longest, us);
    }
}

void ticks_end(struct tick_timer *t, struct loop_stats *s)
{
    int64_t took = bk_clock_mono_us(&bk_clock_system) - t->start_us;
    uint64_t us = took > 0 ? (uint64_t)took : 0;
    uint64_t ran_us = us;
    unsigned bucket = us < 2 ? 0 : 63u - (unsigned)__builtin_clzll(us);
    stat_add(&s->ticks, 1);
    stat_add(&s->tick_us_total, us);
    stat_add(&s->tick_us[bucket < NET_TICK_BUCKETS ? bucket : NET_TICK_BUCKETS - 1], 1);
    if (us > LONG_US) {
        uint64_t waited = (waited_ns(t) - t->waited_ns) / 1000;
        ran_us = us > waited ? us - waited : 0;
    }
    keep_longest(&s->tick_us_max, us);
    keep_longest(&s->tick_ran_us_max, ran_us);
}
