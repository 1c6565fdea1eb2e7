/* SPDX-License-Identifier: MIT */
/* exec_stats.c - what the executors counted, summed for INFO. */
#include "command/exec_private.h"

#include "base/clock.h"

#include <inttypes.h>

/* A clock read costs about as much as a look-up, so a command that is called often is timed now and
 * then. */
#define MEASURE_ALL 64u  /* calls that are all timed */
#define MEASURE_EACH 16u /* later: one call in so many; a power of two */

static uint64_t value_of(const exec_counter *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

int64_t exec_stat_begin(const struct exec_command_stat *stat)
{
    uint64_t calls = value_of(&stat->calls);
    bool measured = calls < MEASURE_ALL || (calls & (MEASURE_EACH - 1)) == 0;
    return measured ? bk_clock_mono_us(&bk_clock_system) : 0;
}

void exec_stat_end(struct exec_command_stat *stat, int64_t begin_us)
{
    if (begin_us != 0) {
        uint64_t weight = value_of(&stat->calls) < MEASURE_ALL ? 1 : MEASURE_EACH;
        int64_t took = bk_clock_mono_us(&bk_clock_system) - begin_us;
        exec_count(&stat->usec, (uint64_t)took * weight);
    }
}

void exec_totals(const struct exec *e, struct exec_totals *out)
{
    out->commands = value_of(&e->commands);
    out->errors = value_of(&e->errors);
    out->keyspace_hits = value_of(&e->hits);
    out->keyspace_misses = value_of(&e->misses);
}

struct sum {
    uint64_t calls, usec, rejected, failed;
};

static struct sum sum_of(struct exec *const *all, size_t n, size_t id)
{
    struct sum s = {0};
    for (size_t i = 0; i < n; i++) {
        const struct exec_command_stat *stat = &all[i]->stats[id];
        s.calls += value_of(&stat->calls);
        s.usec += value_of(&stat->usec);
        s.rejected += value_of(&stat->rejected);
        s.failed += value_of(&stat->failed);
    }
    return s;
}

void exec_commandstats(struct exec *const *all, size_t n, struct bk_buf *out)
{
    for (size_t id = 0; id < command_slot_count(); id++) {
        struct sum s = sum_of(all, n, id);
        if (s.calls != 0 || s.rejected != 0 || s.failed != 0) {
            bk_buf_printf(
                out,
                "cmdstat_%s:calls=%" PRIu64 ",usec=%" PRIu64
                ",usec_per_call=%.2f,rejected_calls=%" PRIu64 ",failed_calls=%" PRIu64 "\r\n",
                command_slot_at(id)->full_name, s.calls, s.usec,
                s.calls == 0 ? 0.0 : (double)s.usec / (double)s.calls, s.rejected, s.failed);
        }
    }
}

static void zero(exec_counter *counter)
{
    atomic_store_explicit(counter, 0, memory_order_relaxed);
}

/* May run in another thread than the executor's: a count that is made at the same moment can
 * survive, which a reset of statistics can bear. */
void exec_resetstat(struct exec *e)
{
    zero(&e->commands);
    zero(&e->errors);
    zero(&e->hits);
    zero(&e->misses);
    for (size_t id = 0; id < command_slot_count(); id++) {
        zero(&e->stats[id].calls);
        zero(&e->stats[id].usec);
        zero(&e->stats[id].rejected);
        zero(&e->stats[id].failed);
    }
}
