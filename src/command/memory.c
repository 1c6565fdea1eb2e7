/* SPDX-License-Identifier: MIT */
/*
 * memory.c - MEMORY: what the process holds, in Redis's names.
 *
 * Values are on disk: what a key takes in memory is its place in the index, and its value only
 * while the value cache holds it. The index counts as overhead, so that the rest, called dataset by
 * Redis, is the value cache for the most part.
 */
#include "command/args.h"
#include "command/connection.h"
#include "command/rows.h"

#include <inttypes.h>
#include <stdio.h>

static void memory_usage(struct command_ctx *c)
{
    struct ks_value v;
    bool ok = true;
    for (int i = 3; i < c->cmd->argc && ok; i += 2) {
        int64_t samples = 0;
        ok = i + 1 < c->cmd->argc && arg_is(arg_at(c, i), "samples");
        if (!ok) {
            resp_write_error(c->reply, ARG_ERROR_SYNTAX);
        } else if (!arg_i64(c, arg_at(c, i + 1), &samples)) {
            ok = false;
        } else if (samples < 0) {
            resp_write_error(c->reply, ARG_ERROR_SYNTAX);
            ok = false;
        }
    }
    if (ok) {
        ks_get(c->txn, 0, &v);
        if (v.exists) {
            resp_write_int(c->reply, (int64_t)ks_key_memory(c->txn, 0));
        } else {
            resp_write_null(c->reply);
        }
    }
}

/* ---- STATS ---- */

/* A map into a buffer of its own: how many pairs there are is known at the end. */
struct map {
    struct resp_writer w;
    struct bk_buf bytes; /* owned */
    uint64_t pairs;
};

static void put_num(struct map *m, const char *name, int64_t v)
{
    resp_write_bulk_str(&m->w, name);
    resp_write_int(&m->w, v);
    m->pairs++;
}

static double ratio(uint64_t a, uint64_t b)
{
    return (double)a / (double)(b > 0 ? b : 1);
}

static void put_double(struct map *m, const char *name, double v)
{
    resp_write_bulk_str(&m->w, name);
    resp_write_double(&m->w, v);
    m->pairs++;
}

/* How far one figure is above another, as a ratio and in bytes. */
static void put_above(struct map *m, const char *ratio_name, const char *bytes_name, uint64_t a,
                      uint64_t b)
{
    put_double(m, ratio_name, ratio(a, b));
    put_num(m, bytes_name, (int64_t)a - (int64_t)b);
}

struct databases {
    uint64_t keys, bytes; /* of all indexes */
};

static void put_databases(struct command_ctx *c, struct map *m, struct databases *all)
{
    for (uint32_t db = 0; db < ks_databases(c->ks); db++) {
        uint64_t keys = ks_count(c->ks, db);
        if (keys > 0) {
            char name[24];
            uint64_t expiry = 0;
            uint64_t main = ks_index_bytes(c->ks, db, &expiry);
            snprintf(name, sizeof(name), "db.%" PRIu32, db);
            resp_write_bulk_str(&m->w, name);
            resp_write_map(&m->w, 3);
            put_num(m, "overhead.hashtable.main", (int64_t)main);
            put_num(m, "overhead.hashtable.expires", (int64_t)expiry);
            put_num(m, "overhead.hashtable.slot-to-keys", 0);
            m->pairs -= 2; /* three inside, one outside */
            all->keys += keys;
            all->bytes += main + expiry;
        }
    }
}

static void put_totals(struct map *m, const struct memory_summary *s, const struct databases *d)
{
    uint64_t overhead = s->startup + s->clients + s->log_buffer + d->bytes;
    uint64_t dataset = s->allocated > overhead ? s->allocated - overhead : 0;
    uint64_t since_start = s->allocated > s->startup ? s->allocated - s->startup : 0;
    put_num(m, "overhead.total", (int64_t)overhead);
    put_num(m, "keys.count", (int64_t)d->keys);
    put_num(m, "keys.bytes-per-key", d->keys > 0 ? (int64_t)(since_start / d->keys) : 0);
    put_num(m, "dataset.bytes", (int64_t)dataset);
    put_double(m, "dataset.percentage", ratio(dataset, since_start) * 100);
    put_double(m, "peak.percentage", ratio(s->allocated, s->peak) * 100);
}

/* What there is nothing of is 0. */
static void put_summary(struct command_ctx *c, struct map *m, const struct memory_summary *s)
{
    struct databases d = {0};
    put_num(m, "peak.allocated", (int64_t)s->peak);
    put_num(m, "total.allocated", (int64_t)s->allocated);
    put_num(m, "startup.allocated", (int64_t)s->startup);
    put_num(m, "replication.backlog", 0);
    put_num(m, "clients.slaves", 0);
    put_num(m, "clients.normal", (int64_t)s->clients);
    put_num(m, "cluster.links", 0);
    put_num(m, "aof.buffer", (int64_t)s->log_buffer);
    put_num(m, "lua.caches", 0);
    put_num(m, "functions.caches", 0);
    put_databases(c, m, &d);
    put_totals(m, s, &d);
    put_num(m, "allocator.allocated", (int64_t)s->allocated);
    put_num(m, "allocator.active", (int64_t)s->active);
    put_num(m, "allocator.resident", (int64_t)s->resident);
    put_above(m, "allocator-fragmentation.ratio", "allocator-fragmentation.bytes", s->active,
              s->allocated);
    put_above(m, "allocator-rss.ratio", "allocator-rss.bytes", s->resident, s->active);
    put_above(m, "rss-overhead.ratio", "rss-overhead.bytes", s->rss, s->resident);
    put_above(m, "fragmentation", "fragmentation.bytes", s->rss, s->allocated);
}

static void memory_stats(struct command_ctx *c)
{
    struct memory_summary s;
    struct map m = {.w = {.proto = c->reply->proto}};
    m.w.out = &m.bytes;
    c->ops->memory_summary(c->ops->arg, &s);
    put_summary(c, &m, &s);
    resp_write_map(c->reply, m.pairs);
    bk_buf_append(c->reply->out, m.bytes.data, m.bytes.len);
    bk_buf_fini(&m.bytes);
}

/* ---- DOCTOR ---- */

#define SMALL_BYTES ((uint64_t)5 << 20)    /* below this nothing can be told */
#define MUCH_BYTES ((uint64_t)10 << 20)    /* nothing less is worth a word */
#define CLIENT_BYTES ((uint64_t)200 << 10) /* a client, on average */

/* Redis's thresholds. */
static void diagnose(const struct memory_summary *s, struct bk_buf *out)
{
    if (ratio(s->peak, s->allocated) > 1.5) {
        bk_buf_printf(out,
                      " * Peak: at most %" PRIu64 " bytes were in use, now it is %" PRIu64
                      ". What is free goes back to the system by itself within seconds; MEMORY "
                      "PURGE does it at once.\n",
                      s->peak, s->allocated);
    }
    if (ratio(s->active, s->allocated) > 1.1 && s->active - s->allocated > MUCH_BYTES) {
        bk_buf_printf(out,
                      " * Fragmentation: %" PRIu64 " bytes lie free in pages that hold something. "
                      "They serve what comes next.\n",
                      s->active - s->allocated);
    }
    if (ratio(s->resident, s->active) > 1.1 && s->resident - s->active > MUCH_BYTES) {
        bk_buf_printf(out,
                      " * Allocator: it keeps %" PRIu64 " bytes of pages that hold nothing. MEMORY "
                      "PURGE gives them back.\n",
                      s->resident - s->active);
    }
    if (ratio(s->rss, s->resident) > 1.1 && s->rss - s->resident > MUCH_BYTES) {
        bk_buf_printf(out,
                      " * Process: %" PRIu64 " bytes are not the allocator's: program, stacks and "
                      "tables that the system gave directly.\n",
                      s->rss - s->resident);
    }
    if (s->clients_n > 0 && s->clients / s->clients_n > CLIENT_BYTES) {
        bk_buf_printf(out,
                      " * Clients: %" PRIu64 " bytes each on average. CLIENT LIST tells whose "
                      "replies or commands they are.\n",
                      s->clients / s->clients_n);
    }
}

static void memory_doctor(struct command_ctx *c)
{
    struct memory_summary s;
    struct bk_buf text = {0};
    c->ops->memory_summary(c->ops->arg, &s);
    if (s.allocated < SMALL_BYTES) {
        bk_buf_printf(&text,
                      "The server uses less than 5 MB: there is nothing to be told of it.\n");
    } else {
        diagnose(&s, &text);
    }
    if (text.len == 0) {
        bk_buf_printf(&text, "No memory issue was found.\n");
    }
    resp_write_verbatim(c->reply, "txt", bk_buf_span(&text));
    bk_buf_fini(&text);
}

/* ---- The rest ---- */

static void memory_malloc_stats(struct command_ctx *c)
{
    struct bk_buf text = {0};
    if (c->ops->memory_report(c->ops->arg, &text)) {
        resp_write_verbatim(c->reply, "txt", bk_buf_span(&text));
    } else {
        resp_write_bulk_str(c->reply, "Stats not supported for the current allocator");
    }
    bk_buf_fini(&text);
}

static void memory_purge_run(struct command_ctx *c)
{
    if (c->ops->memory_purge(c->ops->arg)) {
        resp_write_ok(c->reply);
    } else {
        resp_write_error(c->reply, "ERR Error purging dirty pages");
    }
}

static void memory_help(struct command_ctx *c)
{
    static const char *const lines[] = {
        "DOCTOR",
        "    Return memory problems reports.",
        "MALLOC-STATS",
        "    Return internal statistics report from the memory allocator.",
        "PURGE",
        "    Attempt to purge dirty pages for reclamation by the allocator.",
        "STATS",
        "    Return information about the memory usage of the server.",
        "USAGE <key> [SAMPLES <count>]",
        "    Return memory in bytes used by <key> and its value. Nested values are",
        "    sampled up to <count> times (default: 5, 0 means sample all).",
        NULL,
    };
    reply_help(c, "MEMORY", lines);
}

#define MEMORY_ROW(NAME, FLAGS, RUN)                                                       \
    {                                                                                      \
        .name = NAME, .arity = 2, .flags = (FLAGS) | CMD_NO_STORE, .categories = CAT_SLOW, \
        .run = RUN                                                                         \
    }

static const struct command_row subcommands[] = {
    MEMORY_ROW("doctor", 0, memory_doctor),
    MEMORY_ROW("help", CMD_LOADING | CMD_STALE, memory_help),
    MEMORY_ROW("malloc-stats", 0, memory_malloc_stats),
    MEMORY_ROW("purge", 0, memory_purge_run),
    MEMORY_ROW("stats", 0, memory_stats),
    {.name = "usage",
     .arity = -3,
     .flags = CMD_READONLY | CMD_NO_TOUCH,
     .categories = CAT_READ | CAT_SLOW,
     .first_key = 2,
     .last_key = 2,
     .key_step = 1,
     .need = KS_NEED_META,
     .run = memory_usage},
    ROW_END,
};

const struct command_row command_rows_memory[] = {
    {.name = "memory",
     .arity = -2,
     .flags = CMD_NO_STORE,
     .categories = CAT_SLOW,
     .run = memory_help,
     .subcommands = subcommands},
    ROW_END,
};
