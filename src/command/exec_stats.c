/* SPDX-License-Identifier: MIT */
/*
 * exec_stats.c - what the executors count and how long commands take, summed for INFO.
 *
 * Every call is timed. A clock read costs about as much as a look-up, so there is one for each
 * command, not two: the look at a command's end is the moment and the begin of the next one in the
 * same pipeline, whose parsing is so counted to it. The moment must be of the wall clock, which may
 * step: what looks long or negative is held against the steady clock.
 */
#include "command/exec_private.h"
#include "command/histogram.h"
#include "command/timing_private.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DOUBTFUL_US 1000 /* a step of the wall clock below this stays unnoticed */
#define PERCENTILE_BYTES 32u
#define SECRET_LAST 31 /* bit of redacted that stands for all further arguments too */

static uint64_t value_of(const exec_counter *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* ---- The clock ---- */

int64_t exec_look(struct exec *e)
{
    e->now_us = bk_clock_system_wall_us();
    return e->now_us;
}

int64_t exec_clock_ms(const struct exec *e)
{
    return e->now_us / 1000;
}

void exec_tick(struct exec *e, int64_t wall_us, int64_t mono_us)
{
    e->now_us = wall_us;
    e->tick_wall_us = wall_us;
    e->tick_mono_us = mono_us;
}

int64_t exec_tick_us(const struct exec *e)
{
    return e->now_us - e->tick_wall_us;
}

/* Takes off what the wall clock has stepped since the tick began. */
static int64_t without_step(struct exec *e, int64_t took_us)
{
    int64_t mono_us = bk_clock_mono_us(&bk_clock_system);
    int64_t step_us = (e->now_us - e->tick_wall_us) - (mono_us - e->tick_mono_us);
    if (step_us >= DOUBTFUL_US || step_us <= -DOUBTFUL_US) {
        took_us -= step_us;
        exec_tick(e, e->now_us, mono_us);
    }
    return took_us > 0 ? took_us : 0;
}

int64_t exec_took(struct exec *e, int64_t begin_us)
{
    int64_t took_us = exec_look(e) - begin_us;
    return took_us >= 0 && took_us < DOUBTFUL_US ? took_us : without_step(e, took_us);
}

/* ---- Calls ---- */

/* The histogram of a command that is called for the first time; readers see it whole. */
static struct histogram *histogram_of(struct exec_command_stat *stat)
{
    struct histogram *h = atomic_load_explicit(&stat->latency, memory_order_relaxed);
    if (h == NULL) {
        h = bk_alloc_zero(1, sizeof(*h));
        atomic_store_explicit(&stat->latency, h, memory_order_release);
    }
    return h;
}

void exec_ended(const struct command_ctx *c, struct exec_command_stat *stat, int64_t took_us,
                bool failed)
{
    struct timing *t = c->ops->timing;
    exec_count(&stat->calls, 1);
    exec_count(&stat->usec, (uint64_t)took_us);
    exec_count(&stat->failed, failed);
    if (timing_tracks(t)) {
        histogram_add(histogram_of(stat), took_us);
    }
    if (timing_notices(t, took_us)) {
        bool fast = (c->row->flags & CMD_FAST) != 0;
        timing_note(t, fast ? TIMING_FAST_COMMAND : TIMING_COMMAND, took_us);
        if ((c->row->flags & CMD_SKIP_SLOWLOG) == 0) {
            slowlog_add(t, c, took_us);
        }
    }
}

void exec_redact(const struct command_ctx *c, int i)
{
    c->exec->redacted |= UINT32_C(1) << (i < SECRET_LAST ? i : SECRET_LAST);
}

bool exec_is_secret(const struct command_ctx *c, int i)
{
    return (c->exec->redacted >> (i < SECRET_LAST ? i : SECRET_LAST) & 1) != 0;
}

void exec_stats_free(struct exec *e)
{
    for (size_t id = 0; id < command_slot_count(); id++) {
        free(atomic_load(&e->stats[id].latency));
    }
    free(e->stats);
    free(e->error_words);
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

/* ---- Latency ---- */

void exec_latency(struct exec *const *all, size_t n, size_t id, struct histogram_sum *sum)
{
    *sum = (struct histogram_sum){0};
    for (size_t i = 0; i < n; i++) {
        const struct histogram *h =
            atomic_load_explicit(&all[i]->stats[id].latency, memory_order_acquire);
        if (h != NULL) {
            histogram_collect(h, sum);
        }
    }
}

static void append_percentiles(const struct histogram_sum *sum, struct bk_span words,
                               struct bk_buf *out)
{
    const char *comma = "";
    while (words.len > 0) {
        char text[PERCENTILE_BYTES] = {0};
        const uint8_t *space = memchr(words.data, ' ', words.len);
        size_t len = space == NULL ? words.len : (size_t)(space - words.data);
        size_t step = space == NULL ? len : len + 1;
        memcpy(text, words.data, len < sizeof(text) ? len : sizeof(text) - 1);
        bk_buf_printf(out, "%sp%s=%.3f", comma, text,
                      (double)histogram_percentile(sum, strtod(text, NULL)) / 1000.0);
        comma = ",";
        words = bk_span_of(words.data + step, words.len - step);
    }
}

void exec_latencystats(struct exec *const *all, size_t n, struct bk_span percentiles,
                       struct bk_buf *out)
{
    struct histogram_sum *sum = bk_alloc(sizeof(*sum));
    for (size_t id = 0; id < command_slot_count(); id++) {
        exec_latency(all, n, id, sum);
        if (sum->total > 0) {
            bk_buf_printf(out, "latency_percentiles_usec_%s:", command_slot_at(id)->full_name);
            append_percentiles(sum, percentiles, out);
            bk_buf_append(out, "\r\n", 2);
        }
    }
    free(sum);
}

/* ---- Errors ---- */

/* Redis's rule: the first word where one ends within 32 bytes, else ERR. */
static struct bk_span error_word(struct bk_span reply)
{
    size_t seen = reply.len < EXEC_ERROR_BYTES ? reply.len : EXEC_ERROR_BYTES;
    const uint8_t *space = seen == 0 ? NULL : memchr(reply.data, ' ', seen);
    return space == NULL ? bk_span_str("ERR")
                         : bk_span_of(reply.data + 1, (size_t)(space - reply.data) - 1);
}

static void count_word(struct exec *e, struct bk_span word)
{
    size_t n = atomic_load_explicit(&e->error_words_n, memory_order_relaxed);
    size_t i = 0;
    while (i < n && !bk_span_eq(word, bk_span_str(e->error_words[i].word))) {
        i++;
    }
    if (i == n && n < EXEC_ERRORS_MAX) {
        if (e->error_words == NULL) {
            e->error_words = bk_alloc_zero(EXEC_ERRORS_MAX, sizeof(*e->error_words));
        }
        memcpy(e->error_words[i].word, word.data, word.len);
        atomic_store_explicit(&e->error_words_n, n + 1, memory_order_release);
    }
    if (i < EXEC_ERRORS_MAX) {
        exec_count(&e->error_words[i].count, 1);
    }
}

/* An array that holds errors (EXEC's) has had them counted one by one. */
void exec_stat_error(struct exec *e, const struct resp_writer *reply, size_t start, unsigned errors)
{
    const struct bk_buf *out = reply->out;
    if (reply->errors != errors && out->len > start && out->data[start] == '-') {
        count_word(e, error_word(bk_span_of(out->data + start, out->len - start)));
    }
}

struct error_sum {
    const char *word; /* borrowed from an executor */
    uint64_t count;
};

static int by_word(const void *a, const void *b)
{
    return strcmp(((const struct error_sum *)a)->word, ((const struct error_sum *)b)->word);
}

/* As Redis: what could break INFO's lines apart is shown as an underscore. */
static void append_safe(struct bk_buf *out, const char *word)
{
    for (; *word != '\0'; word++) {
        bk_buf_append(out, strchr("#:\n\r", *word) != NULL ? "_" : word, 1);
    }
}

void exec_errorstats(struct exec *const *all, size_t n, struct bk_buf *out)
{
    struct error_sum *sums = bk_alloc(n * EXEC_ERRORS_MAX * sizeof(*sums));
    size_t sums_n = 0;
    for (size_t i = 0; i < n; i++) {
        size_t words = atomic_load_explicit(&all[i]->error_words_n, memory_order_acquire);
        for (size_t w = 0; w < words; w++) {
            const struct exec_error *error = &all[i]->error_words[w];
            sums[sums_n++] = (struct error_sum){error->word, value_of(&error->count)};
        }
    }
    qsort(sums, sums_n, sizeof(*sums), by_word);
    for (size_t i = 0; i < sums_n; i++) {
        if (i + 1 < sums_n && strcmp(sums[i].word, sums[i + 1].word) == 0) {
            sums[i + 1].count += sums[i].count; /* another loop's */
        } else if (sums[i].count > 0) {
            bk_buf_printf(out, "errorstat_");
            append_safe(out, sums[i].word);
            bk_buf_printf(out, ":count=%" PRIu64 "\r\n", sums[i].count);
        }
    }
    free(sums);
}

/* ---- Reset ---- */

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
        struct histogram *h = atomic_load_explicit(&e->stats[id].latency, memory_order_acquire);
        zero(&e->stats[id].calls);
        zero(&e->stats[id].usec);
        zero(&e->stats[id].rejected);
        zero(&e->stats[id].failed);
        if (h != NULL) {
            histogram_reset(h);
        }
    }
    size_t words = atomic_load_explicit(&e->error_words_n, memory_order_acquire);
    for (size_t w = 0; w < words; w++) {
        zero(&e->error_words[w].count);
    }
}
