/* SPDX-License-Identifier: MIT */
/*
 * timing.h - what the executors of all loops share to watch slow commands: the thresholds, the slow
 * log (SLOWLOG) and the latency monitor (LATENCY). Any thread may call anything here.
 */
#ifndef BK_COMMAND_TIMING_H
#define BK_COMMAND_TIMING_H

#include <stdbool.h>
#include <stdint.h>

struct timing;

struct timing_settings {
    bool tracking;        /* latency-tracking */
    int64_t slow_us;      /* slowlog-log-slower-than; negative: nothing is logged */
    uint64_t slowlog_max; /* slowlog-max-len */
    uint64_t monitor_ms;  /* latency-monitor-threshold; 0: nothing is noted */
};

/* What takes time, apart from others by its name in LATENCY. */
enum timing_event {
    TIMING_COMMAND,
    TIMING_FAST_COMMAND, /* of commands flagged "fast" */
    TIMING_EXPIRE_CYCLE, /* taking expired keys out: commands of the first loop wait meanwhile */
    TIMING_AOF_FSYNC_ALWAYS,        /* appendfsync always: a sync of the log */
    TIMING_AOF_WRITE,               /* writing the log out, and one of the next two */
    TIMING_AOF_WRITE_ALONE,         /* nothing else was under way in the log */
    TIMING_AOF_WRITE_PENDING_FSYNC, /* a sync was */
    TIMING_EVENTS
};

struct timing *timing_new(void); /* with Redis's defaults */
void timing_free(struct timing **t);
void timing_set(struct timing *t, const struct timing_settings *s);
/* Kept if it took latency-monitor-threshold or longer. */
void timing_note(struct timing *t, enum timing_event what, int64_t took_us);

#endif
