/* SPDX-License-Identifier: MIT */
/* timing.c - life and thresholds of what SLOWLOG (slowlog.c) and LATENCY (latency.c) keep. */
#include "command/timing_private.h"

#include "base/buf.h"

#include <stdlib.h>

static const struct timing_settings defaults = {
    .tracking = true, .slow_us = 10000, .slowlog_max = 128};

struct timing *timing_new(void)
{
    struct timing *t = bk_alloc_zero(1, sizeof(*t));
    bk_mutex_init(&t->mu, "timing", BK_RANK_STATS);
    timing_set(t, &defaults);
    return t;
}

void timing_free(struct timing **t)
{
    if (*t != NULL) {
        bk_mutex_lock(&(*t)->mu);
        slowlog_clear_locked(*t);
        bk_mutex_unlock(&(*t)->mu);
        bk_mutex_fini(&(*t)->mu);
        free(*t);
        *t = NULL;
    }
}

void timing_set(struct timing *t, const struct timing_settings *s)
{
    int64_t slow_us = s->slow_us < 0 ? INT64_MAX : s->slow_us;
    bool monitored = s->monitor_ms > 0 && s->monitor_ms < INT64_MAX / 1000;
    int64_t monitor_us = monitored ? (int64_t)s->monitor_ms * 1000 : INT64_MAX;
    atomic_store(&t->tracking, s->tracking);
    atomic_store(&t->slow_us, slow_us);
    atomic_store(&t->monitor_us, monitor_us);
    atomic_store(&t->notice_us, slow_us < monitor_us ? slow_us : monitor_us);
    bk_mutex_lock(&t->mu);
    t->slow_max = s->slowlog_max;
    slowlog_trim_locked(t);
    bk_mutex_unlock(&t->mu);
}
