/* SPDX-License-Identifier: MIT */
/* progress.c - see progress.h. */
#include "tools/progress.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define QUIET_US 1000000 /* what is over sooner shows nothing */
#define EACH_US 200000
#define BAR 20

static void amount(char *out, size_t size, enum tool_unit unit, uint64_t n)
{
    static const char *const names[] = {"B", "kB", "MB", "GB", "TB"};
    size_t scale = 0;
    double v = (double)n;
    if (unit == TOOL_KEYS) {
        snprintf(out, size, "%" PRIu64, n);
        return;
    }
    while (v >= 1000 && scale + 1 < sizeof names / sizeof names[0]) {
        v /= 1000;
        scale++;
    }
    snprintf(out, size, scale == 0 ? "%.0f %s" : "%.1f %s", v, names[scale]);
}

void tool_progress_line(char *out, size_t size, const char *what, enum tool_unit unit,
                        uint64_t done, uint64_t total, int64_t elapsed_us)
{
    char now[32];
    char all[32];
    char bar[BAR + 1];
    int64_t elapsed_s = elapsed_us / 1000000;
    const char *keys = unit == TOOL_KEYS ? " keys" : "";
    if (unit == TOOL_TIME) {
        snprintf(out, size, "%s: %" PRId64 ":%02" PRId64, what, elapsed_s / 60, elapsed_s % 60);
        return;
    }
    amount(now, sizeof now, unit, done);
    if (total == 0 || done > total) {
        snprintf(out, size, "%s: %s%s", what, now, keys);
        return;
    }
    amount(all, sizeof all, unit, total);
    double part = (double)done / (double)total;
    for (int i = 0; i < BAR; i++) {
        bar[i] = i < (int)(part * BAR) ? '=' : ' ';
    }
    bar[BAR] = '\0';
    int n = snprintf(out, size, "%s: [%s] %3d%%, %s of %s%s", what, bar, (int)(part * 100), now,
                     all, keys);
    if (done > 0 && n > 0 && (size_t)n < size) {
        int64_t left_s = (int64_t)((double)elapsed_us / part * (1 - part)) / 1000000;
        snprintf(out + n, size - (size_t)n, ", %" PRId64 ":%02" PRId64 " left", left_s / 60,
                 left_s % 60);
    }
}

static void draw(struct tool_progress *p)
{
    char line[160];
    uint64_t done =
        p->unit == TOOL_KEYS ? atomic_load(&p->counts.keys) : atomic_load(&p->counts.bytes_done);
    uint64_t total =
        p->unit == TOOL_KEYS ? atomic_load(&p->keys_total) : atomic_load(&p->counts.bytes_total);
    tool_progress_line(line, sizeof line, p->what, p->unit, done, total,
                       bk_clock_mono_us(&bk_clock_system) - p->started_us);
    fprintf(stderr, "\r%s\033[K", line);
    fflush(stderr);
}

static void *watch_main(void *arg)
{
    struct tool_progress *p = arg;
    bool drawn = false;
    bk_mutex_lock(&p->mu);
    while (!p->stop) {
        int64_t age = bk_clock_mono_us(&bk_clock_system) - p->started_us;
        if (age >= QUIET_US) {
            draw(p);
            drawn = true;
        }
        bk_cond_wait(&p->stopping, &p->mu, age < QUIET_US ? QUIET_US - age : EACH_US);
    }
    bk_mutex_unlock(&p->mu);
    if (drawn) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
    return NULL;
}

void tool_progress_begin(struct tool_progress *p, const char *what, enum tool_unit unit)
{
    *p = (struct tool_progress){
        .what = what, .unit = unit, .started_us = bk_clock_mono_us(&bk_clock_system)};
    if (isatty(STDERR_FILENO) == 1) {
        bk_mutex_init(&p->mu, "progress", BK_RANK_STATS);
        bk_cond_init(&p->stopping);
        p->watched = pthread_create(&p->thread, NULL, watch_main, p) == 0;
    }
}

void tool_progress_end(struct tool_progress *p)
{
    if (!p->watched) {
        return;
    }
    bk_mutex_lock(&p->mu);
    p->stop = true;
    bk_cond_signal(&p->stopping);
    bk_mutex_unlock(&p->mu);
    if (pthread_join(p->thread, NULL) == 0) {
        p->watched = false;
        bk_cond_fini(&p->stopping);
        bk_mutex_fini(&p->mu);
    }
}
