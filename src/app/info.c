/* SPDX-License-Identifier: MIT */
/*
 * info.c - INFO: which sections, in Redis's order, and what they need. Field names are Redis's
 * wherever the figure means the same; what only bitkv has stands under # Bitkv.
 */
#include "app/info.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { IN_DEFAULT = 1, IN_ALL = 2, IN_EVERYTHING = 4 };

static void nothing(struct info *i)
{
    (void)i;
}

static void info_cluster(struct info *i)
{
    info_line(i, "cluster_enabled", "0");
}

static const struct {
    const char *name, *title;
    unsigned in;
    void (*write)(struct info *i);
} sections[] = {
    {"server", "Server", IN_DEFAULT | IN_ALL, info_server},
    {"clients", "Clients", IN_DEFAULT | IN_ALL, info_clients},
    {"memory", "Memory", IN_DEFAULT | IN_ALL, info_memory},
    {"persistence", "Persistence", IN_DEFAULT | IN_ALL, info_persistence},
    {"stats", "Stats", IN_DEFAULT | IN_ALL, info_stats},
    {"replication", "Replication", IN_DEFAULT | IN_ALL, info_replication},
    {"cpu", "CPU", IN_DEFAULT | IN_ALL, info_cpu},
    {"modules", "Modules", IN_DEFAULT | IN_EVERYTHING, nothing},
    {"commandstats", "Commandstats", IN_ALL, info_commandstats},
    {"errorstats", "Errorstats", IN_DEFAULT | IN_ALL, info_errorstats},
    {"latencystats", "Latencystats", IN_ALL, info_latencystats},
    {"cluster", "Cluster", IN_DEFAULT | IN_ALL, info_cluster},
    {"keyspace", "Keyspace", IN_DEFAULT | IN_ALL, info_keyspace},
    {"merge", "Merge", IN_DEFAULT | IN_ALL, info_merge},
    {"bitkv", "Bitkv", IN_DEFAULT | IN_ALL, info_bitkv},
};
#define SECTIONS (sizeof sections / sizeof sections[0])

void info_line(struct info *i, const char *name, const char *fmt, ...)
{
    char text[4096];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    bk_buf_printf(i->out, "%s:%s\r\n", name, text);
}

void info_num(struct info *i, const char *name, uint64_t v)
{
    info_line(i, name, "%" PRIu64, v);
}

void info_human(struct info *i, const char *name, uint64_t bytes)
{
    static const char units[] = "BKMGTP";
    double v = (double)bytes;
    int u = 0;
    while (v >= 1024.0 && units[u + 1] != '\0') {
        v /= 1024.0;
        u++;
    }
    char field[64];
    snprintf(field, sizeof field, "%s_human", name);
    info_num(i, name, bytes);
    if (u == 0) {
        info_line(i, field, "%" PRIu64 "B", bytes);
    } else {
        info_line(i, field, "%.2f%c", v, units[u]);
    }
}

/* ---- Which sections ---- */

static void choose(const struct bk_span *asked, size_t n, bool chosen[SECTIONS])
{
    unsigned groups = n == 0 ? IN_DEFAULT : 0;
    for (size_t k = 0; k < n; k++) {
        groups |= bk_span_eq_nocase(asked[k], "default") ? IN_DEFAULT : 0;
        groups |= bk_span_eq_nocase(asked[k], "all") ? IN_ALL : 0;
        groups |= bk_span_eq_nocase(asked[k], "everything") ? IN_ALL | IN_EVERYTHING : 0;
    }
    for (size_t s = 0; s < SECTIONS; s++) {
        chosen[s] = (sections[s].in & groups) != 0;
        for (size_t k = 0; k < n; k++) {
            chosen[s] = chosen[s] || bk_span_eq_nocase(asked[k], sections[s].name);
        }
    }
}

static void gather(struct info *i)
{
    struct app *a = i->a;
    bk_mutex_lock(&a->mu);
    options_copy(&i->options, &a->options);
    bk_mutex_unlock(&a->mu);
    i->now_ms = bk_clock_wall_ms(&bk_clock_system);
    app_stats(a, &i->store);
    i->loading = !ks_ready(a->ks);
    net_stats_get(a->net, &i->net);
    snapshots_info(a->snapshots, &i->snapshots);
    size_t n = 0;
    struct exec *const *all = net_execs(a->net, &n);
    for (size_t k = 0; k < n; k++) {
        struct exec_totals t;
        exec_totals(all[k], &t);
        i->commands.commands += t.commands;
        i->commands.errors += t.errors;
        i->commands.keyspace_hits += t.keyspace_hits;
        i->commands.keyspace_misses += t.keyspace_misses;
    }
}

void app_info(void *arg, const struct bk_span *asked, size_t n, struct bk_buf *out)
{
    struct info i = {.a = arg, .out = out};
    bool chosen[SECTIONS];
    size_t written = 0;
    choose(asked, n, chosen);
    gather(&i);
    for (size_t s = 0; s < SECTIONS; s++) {
        if (chosen[s]) {
            bk_buf_printf(out, "%s# %s\r\n", written++ > 0 ? "\r\n" : "", sections[s].title);
            sections[s].write(&i);
        }
    }
    options_fini(&i.options);
}
