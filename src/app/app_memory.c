/* SPDX-License-Identifier: MIT */
/*
 * app_memory.c - maxmemory: past it the value cache gives way first, then keys are evicted as
 * maxmemory-policy says, or commands that need memory are refused.
 *
 * What is held against the limit is what the allocator has taken for data that is in use: pages,
 * its own tables and the rest of pages that are in use in part (memory_counted). Samples of it cost
 * as much as many commands, so they come ten times a second, and a hundred times a second from an
 * eighth below the limit on, or where memory grows so fast that it would be there soon. Loop 0
 * takes them; when it is late, the next command that needs memory does. A sample says how many
 * bytes have to go; from there on each key that is evicted is taken off that by estimate, until the
 * next sample tells the truth. So memory may go over the limit by what arrives in some hundredths
 * of a second.
 *
 * Who evicts: a command that needs memory, a few keys before it runs; and a slice on loop 0, as
 * long as there is something to free.
 */
#include "app/app.h"
#include "app/memory.h"
#include "base/clock.h"
#include "command/notify.h"

#define CACHE_STEP \
    ((uint64_t)4 << 20) /* the cache gives way so much in a sample: a few ms at most */
#define NEAR_SHARE 8u   /* from an eighth below the limit on */
#define SAMPLE_MS 100
#define SAMPLE_NEAR_MS 10
#define SAMPLE_LATE_MS 5 /* behind its time */
#define EVICT_AGAIN_MS 3 /* while there is more to free: a quarter of loop 0's time */
#define EVICT_SLICE_US 1000
#define EVICT_BATCH 64u  /* keys, of a slice */
#define EVICT_AT_ONCE 4u /* keys, before a command runs */
#define AGE_SLICE_US 500
#define AGE_BUCKETS 256u

/* In the order of maxmemory-policy's choices. */
static const enum ks_evict_rule rules[] = {KS_EVICT_VOLATILE_LRU, KS_EVICT_VOLATILE_RANDOM,
                                           KS_EVICT_VOLATILE_TTL, KS_EVICT_ALL_LRU,
                                           KS_EVICT_ALL_RANDOM,   KS_EVICT_NONE};

void app_memory_apply(struct app *a)
{
    const struct options *o = &a->options;
    struct app_memory *m = &a->memory;
    bk_mutex_assert_held(&a->mu);
    atomic_store(&m->rule, rules[option_num(o, OPTION_MAXMEMORY_POLICY)]);
    atomic_store(&m->samples, (unsigned)option_num(o, OPTION_MAXMEMORY_SAMPLES));
}

/* ---- Samples ---- */

static void set_cache(struct app *a, uint64_t bytes)
{
    struct bk_db *db = app_db(a);
    if (db != NULL && bytes != a->cache_bytes) { /* without one: its cache comes with it */
        bk_cache_limit(db, bytes);
        a->cache_bytes = bytes;
    }
}

/* The cache's bound on its way to the target: down in steps, because what goes is freed at once, or
 * when look-ups that are under way have ended; up when it is worth it. */
static uint64_t cache_next(const struct app *a, uint64_t target, uint64_t wanted, uint64_t used)
{
    uint64_t from = a->cache_bytes < used ? a->cache_bytes : used;
    if (target < from) {
        return from - target > CACHE_STEP ? from - CACHE_STEP : target;
    }
    bool worth =
        target <= a->cache_bytes || target - a->cache_bytes > wanted / 16 || target == wanted;
    return worth ? target : a->cache_bytes;
}

/* How much is in use two samples from now, if it goes on as it has since the last one. */
static uint64_t expected(const struct app_memory *m, uint64_t counted, int64_t now_us)
{
    uint64_t before = atomic_load(&m->counted);
    int64_t passed_us = now_us - m->sampled_us;
    double grown = counted > before ? (double)(counted - before) : 0;
    double pace = m->sampled_us != 0 && passed_us > 0 ? grown / (double)passed_us : 0;
    return counted + (uint64_t)(pace * (2000.0 * SAMPLE_MS));
}

/* limit: 0 = none. */
static void time_next_sample(struct app_memory *m, uint64_t limit, uint64_t counted)
{
    int64_t now_us = bk_clock_mono_us(&bk_clock_system);
    bool near = limit != 0 && expected(m, counted, now_us) > limit - limit / NEAR_SHARE;
    int64_t due_us = now_us + (near ? SAMPLE_NEAR_MS : SAMPLE_MS) * 1000;
    m->sampled_us = now_us;
    atomic_store(&m->near, near);
    atomic_store(&m->due_us, due_us);
    atomic_store(&m->late_us, limit != 0 ? due_us + SAMPLE_LATE_MS * 1000 : INT64_MAX);
}

void app_memory_sample_locked(struct app *a)
{
    struct app_memory *m = &a->memory;
    struct memory_figures f;
    struct bk_db *db = app_db(a);
    bk_mutex_assert_held(&a->mu);
    memory_figures(&f);
    uint64_t counted = memory_counted(&m->slack, &f);
    uint64_t cache = db != NULL ? bk_cache_used(db) : 0;
    uint64_t limit = (uint64_t)option_num(&a->options, OPTION_MAXMEMORY);
    uint64_t wanted = (uint64_t)option_num(&a->options, OPTION_CACHE_SIZE);
    uint64_t target = wanted;
    int64_t to_free = 0;
    if (f.allocated > atomic_load(&m->peak)) {
        atomic_store(&m->peak, f.allocated);
    }
    if (limit != 0) {
        uint64_t others = counted > cache ? counted - cache : 0;
        uint64_t room = others > limit ? 0 : limit - others;
        target = room < wanted ? room : wanted;
        to_free = others > limit ? (int64_t)(others - limit) : 0;
    }
    set_cache(a, cache_next(a, target, wanted, cache));
    time_next_sample(m, limit, counted);
    atomic_store(&m->counted, counted);
    atomic_store(&m->to_free, to_free);
}

static void sample(struct app *a)
{
    /* CONFIG SET holds the lock while it listens anew: then this sample is left out. */
    if (bk_mutex_trylock(&a->mu)) {
        app_memory_sample_locked(a);
        bk_mutex_unlock(&a->mu);
    }
}

/* ---- Eviction ---- */

/* After the commit, on a loop thread: as any other delete, it is heard of once it is as durable as
 * it will be. */
static void tell_evicted(void *arg, uint32_t db, struct bk_span key, uint64_t pos)
{
    struct app *a = arg;
    notify_vanished(&a->ops, NULL, NOTIFY_EVICTED, "evicted", db, key, pos);
}

/* BK_OK: keys have gone, or may do so soon. */
static int evict(struct app *a, enum ks_evict_rule rule, unsigned max)
{
    struct app_memory *m = &a->memory;
    struct ks_evict e = {.rule = rule,
                         .samples = atomic_load(&m->samples),
                         .max = max,
                         .evicted = tell_evicted,
                         .arg = a};
    struct ks_evicted gone = {0};
    struct bk_error err;
    int rc = ks_evict(a->ks, &e, &gone, &err);
    atomic_fetch_sub(&m->to_free, (int64_t)gone.memory);
    atomic_fetch_add_explicit(&m->evicted, gone.keys, memory_order_relaxed);
    return rc;
}

static enum ks_evict_rule rule_of(const struct app *a)
{
    return (enum ks_evict_rule)atomic_load_explicit(&a->memory.rule, memory_order_relaxed);
}

bool app_memory_over(struct app *a)
{
    struct app_memory *m = &a->memory;
    int64_t late_us = atomic_load_explicit(&m->late_us, memory_order_relaxed);
    if (late_us != INT64_MAX && bk_clock_mono_us(&bk_clock_system) > late_us) {
        sample(a);
    }
    if (atomic_load_explicit(&m->to_free, memory_order_relaxed) <= 0) {
        return false;
    }
    if (net_client_paused(a->net)) {
        return false; /* no key leaves, and a write that is let in waits and asks again */
    }
    enum ks_evict_rule rule = rule_of(a);
    if (rule == KS_EVICT_NONE || app_db(a) == NULL) {
        return true;
    }
    /* As long as keys go the command may run: it has made room for itself. Where the log has no
     * room it waits for that itself; where the disk takes no deletes, it is told so, as all writes
     * are. */
    return evict(a, rule, EVICT_AT_ONCE) == BK_NOTFOUND;
}

/* True: there is more to free, and keys go. */
static bool evict_slice(struct app *a)
{
    enum ks_evict_rule rule = rule_of(a);
    int64_t end_us = bk_clock_mono_us(&bk_clock_system) + EVICT_SLICE_US;
    bool gone = false;
    int rc = BK_OK;
    if (rule == KS_EVICT_NONE || app_db(a) == NULL || net_client_paused(a->net)) {
        return false;
    }
    while (rc == BK_OK && atomic_load(&a->memory.to_free) > 0 &&
           bk_clock_mono_us(&bk_clock_system) < end_us) {
        rc = evict(a, rule, EVICT_BATCH);
        gone = gone || rc == BK_OK;
    }
    return gone && atomic_load(&a->memory.to_free) > 0;
}

/* No reply waits for these deletes, so nobody else sees to it that they are written. */
static void flush_evicted(struct app *a)
{
    struct app_memory *m = &a->memory;
    uint64_t evicted = atomic_load(&m->evicted);
    if (evicted != m->flushed) {
        bk_flush(app_db(a), bk_tail(app_db(a)));
        m->flushed = evicted;
    }
}

static void step_ages(struct app *a)
{
    struct bk_db *db = app_db(a);
    int64_t end_us = bk_clock_mono_us(&bk_clock_system) + AGE_SLICE_US;
    while (db != NULL && bk_age_step(db, AGE_BUCKETS) &&
           bk_clock_mono_us(&bk_clock_system) < end_us) {
    }
}

unsigned app_memory_step(struct app *a)
{
    struct app_memory *m = &a->memory;
    int64_t now_us = bk_clock_mono_us(&bk_clock_system);
    if (now_us >= m->ages_us) {
        m->ages_us = now_us + SAMPLE_MS * 1000;
        step_ages(a);
    }
    if (now_us >= atomic_load(&m->due_us)) {
        sample(a);
    }
    bool more = evict_slice(a);
    flush_evicted(a);
    return more ? EVICT_AGAIN_MS : atomic_load(&m->near) ? SAMPLE_NEAR_MS : SAMPLE_MS;
}

/* ---- For MEMORY ---- */

static void summary(void *arg, struct memory_summary *out)
{
    struct app *a = arg;
    struct memory_figures m;
    struct net_stats n;
    struct bk_stats s;
    uint64_t peak = atomic_load(&a->memory.peak);
    memory_figures(&m);
    net_stats_get(a->net, &n);
    app_stats(a, &s);
    *out = (struct memory_summary){
        .allocated = m.allocated,
        .peak = peak > m.allocated ? peak : m.allocated,
        .startup = atomic_load(&a->memory_startup),
        .active = m.active,
        .resident = m.resident,
        .rss = memory_rss(),
        .clients = n.clients_memory,
        .clients_n = n.connected,
        .log_buffer = s.log_buffer_used,
    };
}

static bool purge(void *arg)
{
    (void)arg;
    return memory_purge();
}

static bool report(void *arg, struct bk_buf *out)
{
    (void)arg;
    return memory_report(out);
}

void app_memory_ops(struct server_ops *ops)
{
    ops->memory_summary = summary;
    ops->memory_purge = purge;
    ops->memory_report = report;
}
