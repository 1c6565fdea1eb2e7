/* SPDX-License-Identifier: MIT */
/*
 * latency.c - LATENCY: how long commands take (HISTOGRAM), and when something took
 * latency-monitor-threshold milliseconds or longer (all the others).
 *
 * As in Redis an event keeps one sample a second, the worst of it.
 */
#include "command/args.h"
#include "command/connection.h"
#include "command/exec_private.h"
#include "command/histogram.h"
#include "command/introspect.h"
#include "command/timing_private.h"

#include "base/assert.h"
#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GRAPH_COLUMNS 80
#define GRAPH_ROWS 4
#define LABEL_BYTES 24
#define MINUTE 60
#define HOUR 3600
#define DAY 86400

static const char *const event_names[TIMING_EVENTS] = {
    [TIMING_COMMAND] = "command",
    [TIMING_FAST_COMMAND] = "fast-command",
    [TIMING_EXPIRE_CYCLE] = "expire-cycle",
    [TIMING_AOF_FSYNC_ALWAYS] = "aof-fsync-always",
    [TIMING_AOF_WRITE] = "aof-write",
    [TIMING_AOF_WRITE_ALONE] = "aof-write-alone",
    [TIMING_AOF_WRITE_PENDING_FSYNC] = "aof-write-pending-fsync",
};

/* ---- Keeping ---- */

static struct latency_sample *latest_of(struct latency_series *s)
{
    return &s->samples[(s->next + LATENCY_SAMPLES - 1) % LATENCY_SAMPLES];
}

void timing_note(struct timing *w, enum timing_event what, int64_t took_us)
{
    if (w == NULL || took_us < atomic_load_explicit(&w->monitor_us, memory_order_relaxed)) {
        return;
    }
    struct latency_sample now = {bk_clock_wall_ms(&bk_clock_system) / 1000, took_us / 1000};
    struct latency_series *s = &w->events[what];
    bk_mutex_lock(&w->mu);
    struct latency_sample *latest = latest_of(s);
    s->used = true;
    s->max_ms = now.ms > s->max_ms ? now.ms : s->max_ms;
    if (latest->time_s != now.time_s) {
        s->samples[s->next] = now;
        s->next = (s->next + 1) % LATENCY_SAMPLES;
    } else if (now.ms > latest->ms) {
        latest->ms = now.ms;
    }
    bk_mutex_unlock(&w->mu);
}

/* A copy of one event's samples, oldest first. */
struct series_copy {
    struct latency_sample v[LATENCY_SAMPLES];
    unsigned n;
    int64_t max_ms;
    bool used;
};

static void copy_series(struct timing *w, enum timing_event what, struct series_copy *out)
{
    const struct latency_series *s = &w->events[what];
    out->n = 0;
    bk_mutex_lock(&w->mu);
    out->used = s->used;
    out->max_ms = s->max_ms;
    for (unsigned i = 0; i < LATENCY_SAMPLES; i++) {
        const struct latency_sample *sample = &s->samples[(s->next + i) % LATENCY_SAMPLES];
        if (sample->time_s != 0) {
            out->v[out->n++] = *sample;
        }
    }
    bk_mutex_unlock(&w->mu);
}

static enum timing_event event_named(struct bk_span name)
{
    unsigned e = 0;
    while (e < TIMING_EVENTS && !bk_span_eq(name, bk_span_str(event_names[e]))) {
        e++;
    }
    return (enum timing_event)e;
}

/* ---- LATEST, HISTORY, RESET ---- */

static void latency_latest(struct command_ctx *c)
{
    struct bk_buf rows = {0};
    struct resp_writer w = {.out = &rows, .proto = c->reply->proto};
    uint64_t n = 0;
    for (unsigned e = 0; e < TIMING_EVENTS; e++) {
        struct series_copy s;
        copy_series(c->ops->timing, (enum timing_event)e, &s);
        if (s.used) {
            resp_write_array(&w, 4);
            resp_write_bulk_str(&w, event_names[e]);
            resp_write_int(&w, s.v[s.n - 1].time_s);
            resp_write_int(&w, s.v[s.n - 1].ms);
            resp_write_int(&w, s.max_ms);
            n++;
        }
    }
    resp_write_array(c->reply, n);
    bk_buf_append(c->reply->out, rows.data, rows.len);
    bk_buf_fini(&rows);
}

static void latency_history(struct command_ctx *c)
{
    enum timing_event what = event_named(arg_at(c, 2));
    struct series_copy s = {.n = 0};
    if (what != TIMING_EVENTS) {
        copy_series(c->ops->timing, what, &s);
    }
    resp_write_array(c->reply, s.n);
    for (unsigned i = 0; i < s.n; i++) {
        resp_write_array(c->reply, 2);
        resp_write_int(c->reply, s.v[i].time_s);
        resp_write_int(c->reply, s.v[i].ms);
    }
}

/* Is the event asked for? Without names all are. */
static bool reset_names(struct command_ctx *c, const char *event)
{
    bool named = c->cmd->argc == 2;
    for (int i = 2; i < c->cmd->argc && !named; i++) {
        named = arg_is(arg_at(c, i), event);
    }
    return named;
}

static void latency_reset(struct command_ctx *c)
{
    struct timing *w = c->ops->timing;
    int64_t n = 0;
    bk_mutex_lock(&w->mu);
    for (unsigned e = 0; e < TIMING_EVENTS; e++) {
        if (w->events[e].used && reset_names(c, event_names[e])) {
            w->events[e] = (struct latency_series){.used = false};
            n++;
        }
    }
    bk_mutex_unlock(&w->mu);
    resp_write_int(c->reply, n);
}

/* ---- GRAPH ---- */

struct graph {
    const struct series_copy *series;
    unsigned first, n; /* of series: one screen's width */
    int64_t low, high; /* of all samples */
    int64_t now_s;
};

/* How long ago a sample was: "12s", "3m", "5h", "2d". */
static int age_label(char label[LABEL_BYTES], int64_t age_s)
{
    int64_t v = age_s < MINUTE ? age_s
                : age_s < HOUR ? age_s / MINUTE
                : age_s < DAY  ? age_s / HOUR
                               : age_s / DAY;
    char unit = age_s < MINUTE ? 's' : age_s < HOUR ? 'm' : age_s < DAY ? 'h' : 'd';
    return snprintf(label, LABEL_BYTES, "%" PRId64 "%c", v, unit);
}

/* The character of one sample in one of the rows, the highest row being 0: a filled curve, whose
 * top is one of three heights. */
static char curve_char(const struct graph *g, int64_t ms, int row)
{
    static const char tops[] = "_o#";
    const int heights = 3;
    int64_t span = g->high > g->low ? g->high - g->low : 1;
    int step = (int)((double)(ms - g->low) * (heights * GRAPH_ROWS) / (double)span);
    step = step >= heights * GRAPH_ROWS ? heights * GRAPH_ROWS - 1 : step;
    int at = step - (GRAPH_ROWS - row - 1) * heights;
    return at < 0 ? ' ' : at < heights ? tops[at] : '|';
}

static void draw_curve(const struct graph *g, struct bk_buf *out)
{
    for (int row = 0; row < GRAPH_ROWS; row++) {
        for (unsigned i = 0; i < g->n; i++) {
            char ch = curve_char(g, g->series->v[g->first + i].ms, row);
            bk_buf_append(out, &ch, 1);
        }
        bk_buf_append(out, "\n", 1);
    }
}

/* The labels, each written downwards below its sample, with a line free above them. */
static void draw_labels(const struct graph *g, struct bk_buf *out)
{
    char label[LABEL_BYTES];
    int longest = 0;
    bk_buf_printf(out, "%*s\n", (int)g->n, "");
    for (int row = 0; row == 0 || row < longest; row++) {
        for (unsigned i = 0; i < g->n; i++) {
            int len = age_label(label, g->now_s - g->series->v[g->first + i].time_s);
            longest = len > longest ? len : longest;
            bk_buf_append(out, row < len ? &label[row] : " ", 1);
        }
        bk_buf_append(out, "\n", 1);
    }
}

static void write_graph(const char *name, const struct series_copy *s, struct bk_buf *out)
{
    struct graph g = {.series = s,
                      .low = s->v[0].ms,
                      .high = s->v[0].ms,
                      .now_s = bk_clock_wall_ms(&bk_clock_system) / 1000};
    for (unsigned i = 1; i < s->n; i++) {
        g.low = s->v[i].ms < g.low ? s->v[i].ms : g.low;
        g.high = s->v[i].ms > g.high ? s->v[i].ms : g.high;
    }
    bk_buf_printf(out,
                  "%s - high %" PRId64 " ms, low %" PRId64 " ms (all time high %" PRId64 " ms)\n",
                  name, g.high, g.low, s->max_ms);
    for (int i = 0; i < GRAPH_COLUMNS; i++) {
        bk_buf_append(out, "-", 1);
    }
    bk_buf_append(out, "\n", 1);
    for (g.first = 0; g.first < s->n; g.first += GRAPH_COLUMNS) {
        unsigned left = s->n - g.first;
        g.n = left < GRAPH_COLUMNS ? left : GRAPH_COLUMNS;
        bk_buf_append(out, "\n", g.first > 0);
        draw_curve(&g, out);
        draw_labels(&g, out);
    }
}

static void latency_graph(struct command_ctx *c)
{
    struct bk_span name = arg_at(c, 2);
    enum timing_event what = event_named(name);
    struct series_copy s = {.used = false};
    if (what != TIMING_EVENTS) {
        copy_series(c->ops->timing, what, &s);
    }
    if (s.used) {
        struct bk_buf text = {0};
        write_graph(event_names[what], &s, &text);
        resp_write_verbatim(c->reply, "txt", bk_buf_span(&text));
        bk_buf_fini(&text);
    } else {
        resp_write_errorf(c->reply, "ERR No samples available for event '%.*s'", arg_text_len(name),
                          (const char *)name.data);
    }
}

/* ---- DOCTOR ---- */

static const char *const advice[TIMING_EVENTS] = {
    [TIMING_COMMAND] = "SLOWLOG GET names slow commands, if slowlog-log-slower-than lets them in.",
    [TIMING_FAST_COMMAND] = "Such commands are slow where the processor or the disk is busy "
                            "otherwise: see tick_us_max and tick_ran_us_max in INFO bitkv, which "
                            "tells the one from the other.",
    [TIMING_EXPIRE_CYCLE] = "Many keys run out at the same time: spread their times.",
    [TIMING_AOF_FSYNC_ALWAYS] = "Replies to writes wait for the disk: a faster one helps, or "
                                "appendfsync everysec, which may lose a second's writes.",
    [TIMING_AOF_WRITE] = "The two lines below tell apart whether a sync was under way.",
    [TIMING_AOF_WRITE_ALONE] = "Writing the log out takes long without a sync: the disk's queue or "
                               "memory for its cache is full, or values are very large.",
    [TIMING_AOF_WRITE_PENDING_FSYNC] =
        "The disk cannot sync and take writes at the same time, or takes more than two seconds for "
        "a sync: aof_delayed_fsync in INFO counts the latter.",
};

static void doctor_event(enum timing_event what, const struct series_copy *s, struct bk_buf *out)
{
    int64_t sum = 0;
    int64_t off = 0;
    BK_ASSERT(s->n > 0);
    int64_t since_s = bk_clock_wall_ms(&bk_clock_system) / 1000 - s->v[0].time_s;
    for (unsigned i = 0; i < s->n; i++) {
        sum += s->v[i].ms;
    }
    int64_t mean = sum / s->n;
    for (unsigned i = 0; i < s->n; i++) {
        off += s->v[i].ms > mean ? s->v[i].ms - mean : mean - s->v[i].ms;
    }
    bk_buf_printf(out,
                  "%s: %u latency spikes (average %" PRId64 "ms, mean deviation %" PRId64
                  "ms, period %.2f sec). Worst all time event %" PRId64 "ms.\n  %s\n",
                  event_names[what], s->n, mean, off / s->n,
                  (double)(since_s > 0 ? since_s : 1) / s->n, s->max_ms, advice[what]);
}

static void latency_doctor(struct command_ctx *c)
{
    struct timing *w = c->ops->timing;
    bool on = atomic_load(&w->monitor_us) != INT64_MAX;
    struct bk_buf text = {0};
    for (unsigned e = 0; e < TIMING_EVENTS; e++) {
        struct series_copy s;
        copy_series(w, (enum timing_event)e, &s);
        if (s.used) {
            doctor_event((enum timing_event)e, &s, &text);
        }
    }
    if (text.len == 0 && on) {
        bk_buf_printf(&text, "Nothing took latency-monitor-threshold or longer.\n");
    } else if (text.len == 0) {
        bk_buf_printf(&text, "Latency monitoring is off: CONFIG SET latency-monitor-threshold "
                             "<milliseconds> turns it on.\n");
    }
    resp_write_verbatim(c->reply, "txt", bk_buf_span(&text));
    bk_buf_fini(&text);
}

/* ---- HISTOGRAM ---- */

struct histograms {
    struct exec *const *all;
    size_t all_n;
    struct histogram_sum *sum; /* owned */
    struct bk_buf rows;        /* owned */
    struct resp_writer w;      /* into rows: the count comes first */
    uint64_t n;
};

static void write_histogram(struct resp_writer *w, const struct histogram_sum *sum)
{
    struct bk_buf steps = {0};
    struct resp_writer into = {.out = &steps, .proto = w->proto};
    uint64_t before = 0;
    uint64_t n = 0;
    for (unsigned i = 0; i < HISTOGRAM_STEPS; i++) {
        uint64_t end_us;
        uint64_t seen = histogram_step(sum, i, &end_us);
        if (seen > before) {
            resp_write_int(&into, (int64_t)end_us);
            resp_write_int(&into, (int64_t)seen);
            n++;
        }
        before = seen;
    }
    resp_write_map(w, 2);
    resp_write_bulk_str(w, "calls");
    resp_write_int(w, (int64_t)sum->total);
    resp_write_bulk_str(w, "histogram_usec");
    resp_write_map(w, n);
    bk_buf_append(w->out, steps.data, steps.len);
    bk_buf_fini(&steps);
}

static void add_command(struct histograms *h, const struct command_slot *slot)
{
    exec_latency(h->all, h->all_n, slot->id, h->sum);
    if (h->sum->total > 0) {
        resp_write_bulk_str(&h->w, slot->full_name);
        write_histogram(&h->w, h->sum);
        h->n++;
    }
}

/* A command and its subcommands; a name with a bar is a subcommand alone. */
static void add_named(struct histograms *h, struct bk_span name)
{
    const struct command_row *row = introspect_find(name);
    for (size_t id = 0; row != NULL && id < command_slot_count(); id++) {
        const struct command_slot *slot = command_slot_at(id);
        if (slot->row == row || (slot->parent != NULL && slot->parent->row == row)) {
            add_command(h, slot);
        }
    }
}

static void latency_histogram(struct command_ctx *c)
{
    struct histograms h = {.sum = bk_alloc(sizeof(struct histogram_sum))};
    h.all = c->ops->executors(c->ops->arg, &h.all_n);
    h.w = (struct resp_writer){.out = &h.rows, .proto = c->reply->proto};
    for (size_t id = 0; c->cmd->argc == 2 && id < command_slot_count(); id++) {
        add_command(&h, command_slot_at(id));
    }
    for (int i = 2; i < c->cmd->argc; i++) {
        add_named(&h, arg_at(c, i));
    }
    resp_write_map(c->reply, h.n);
    bk_buf_append(c->reply->out, h.rows.data, h.rows.len);
    bk_buf_fini(&h.rows);
    free(h.sum);
}

/* ---- The command ---- */

static void latency_help(struct command_ctx *c)
{
    static const char histogram_line[] =
        "    Return a cumulative distribution of latencies in the format of a histogram for the "
        "specified command names.";
    static const char *const lines[] = {
        "DOCTOR",
        "    Return a human readable latency analysis report.",
        "GRAPH <event>",
        "    Return an ASCII latency graph for the <event> class.",
        "HISTORY <event>",
        "    Return time-latency samples for the <event> class.",
        "LATEST",
        "    Return the latest latency samples for all events.",
        "RESET [<event> ...]",
        "    Reset latency data of one or more <event> classes.",
        "    (default: reset all data for all event classes)",
        "HISTOGRAM [COMMAND ...]",
        histogram_line,
        "    If no commands are specified then all histograms are replied.",
        NULL,
    };
    reply_help(c, "LATENCY", lines);
}

#define FLAGS (CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_NO_STORE)
#define CATS (CAT_ADMIN | CAT_SLOW | CAT_DANGEROUS)

static const struct command_row subcommands[] = {
    {.name = "doctor", .arity = 2, .flags = FLAGS, .categories = CATS, .run = latency_doctor},
    {.name = "graph", .arity = 3, .flags = FLAGS, .categories = CATS, .run = latency_graph},
    {.name = "history", .arity = 3, .flags = FLAGS, .categories = CATS, .run = latency_history},
    {.name = "latest", .arity = 2, .flags = FLAGS, .categories = CATS, .run = latency_latest},
    {.name = "reset", .arity = -2, .flags = FLAGS, .categories = CATS, .run = latency_reset},
    {.name = "histogram",
     .arity = -2,
     .flags = FLAGS,
     .categories = CATS,
     .run = latency_histogram},
    {.name = "help",
     .arity = 2,
     .flags = CMD_LOADING | CMD_STALE | CMD_NO_STORE,
     .categories = CAT_SLOW,
     .run = latency_help},
    {.name = NULL},
};

const struct command_row command_rows_latency[] = {
    {.name = "latency",
     .arity = -2,
     .flags = CMD_NO_STORE,
     .categories = CAT_SLOW,
     .subcommands = subcommands},
    {.name = NULL},
};
