/* SPDX-License-Identifier: MIT */
/* timing_private.h - timing as the executor and the commands SLOWLOG and LATENCY see it. */
#ifndef BK_COMMAND_TIMING_PRIVATE_H
#define BK_COMMAND_TIMING_PRIVATE_H

#include "command/command.h"
#include "command/timing.h"

#include "base/mutex.h"

#include <stdatomic.h>

/* As many arguments and bytes of one as Redis keeps; the last argument says how many more. */
#define SLOWLOG_ARGS 32
#define SLOWLOG_ARG_BYTES 128u
#define LATENCY_SAMPLES 160u

struct slow_entry {
    struct slow_entry *newer, *older;
    int64_t id, time_s, took_us;
    struct bk_buf rest; /* owned: arguments, address and name as the reply has them */
};

struct latency_sample {
    int64_t time_s, ms;
};

/* One event: the worst sample of each second in which there was one, the last 160 of them. */
struct latency_series {
    struct latency_sample samples[LATENCY_SAMPLES]; /* ring; time_s 0: none */
    unsigned next;
    int64_t max_ms;
    bool used;
};

struct timing {
    /* Atomic. */
    atomic_bool tracking;
    _Atomic int64_t slow_us;    /* INT64_MAX: nothing is logged */
    _Atomic int64_t monitor_us; /* INT64_MAX: nothing is noted */
    _Atomic int64_t notice_us;  /* the lower of the two: what took less needs no further look */
    /* Guarded by mu (rank 90). */
    struct bk_mutex mu;
    struct slow_entry *newest BK_GUARDED(mu), *oldest BK_GUARDED(mu);
    uint64_t slow_n BK_GUARDED(mu), slow_max BK_GUARDED(mu);
    int64_t slow_next_id BK_GUARDED(mu);
    struct latency_series events[TIMING_EVENTS] BK_GUARDED(mu);
};

/* None (tests of the executor): calls are tracked, and nothing is slow. */
static inline bool timing_tracks(struct timing *t)
{
    return t == NULL || atomic_load_explicit(&t->tracking, memory_order_relaxed);
}

static inline bool timing_notices(struct timing *t, int64_t took_us)
{
    return t != NULL && took_us >= atomic_load_explicit(&t->notice_us, memory_order_relaxed);
}

/* slowlog.c. c's command has ended; arguments that it has told exec_redact of are not kept. */
void slowlog_add(struct timing *t, const struct command_ctx *c, int64_t took_us);
void slowlog_trim_locked(struct timing *t) BK_REQUIRES(t->mu);
void slowlog_clear_locked(struct timing *t) BK_REQUIRES(t->mu);

#endif
