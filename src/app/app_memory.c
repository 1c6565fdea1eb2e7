/* SPDX-License-Identifier: MIT */
/*
 * app_memory.c - maxmemory: past it the value cache gives way first, then commands that need memory
 * are refused.
 *
 * Sampled ten times a second, because asking the allocator costs as much as many commands: a burst
 * may go over by what arrives in a tenth of a second.
 */
#include "app/app.h"
#include "app/memory.h"

#define CACHE_STEP \
    16u /* the cache's bound follows in steps of a sixteenth of it, not at every sample */

static void set_cache(struct app *a, uint64_t bytes)
{
    struct bk_tunables t;
    struct bk_db *db = app_db(a);
    if (db == NULL) {
        return; /* its cache comes with it */
    }
    bk_tunables_get(db, &t);
    t.cache_bytes = bytes;
    bk_tune(db, &t);
    a->cache_bytes = bytes;
}

void app_memory_sample_locked(struct app *a)
{
    struct memory_figures m;
    struct bk_stats s;
    bk_mutex_assert_held(&a->mu);
    memory_figures(&m);
    if (m.allocated > atomic_load(&a->memory_peak)) {
        atomic_store(&a->memory_peak, m.allocated);
    }
    uint64_t limit = (uint64_t)option_num(&a->options, OPTION_MAXMEMORY);
    uint64_t wanted = (uint64_t)option_num(&a->options, OPTION_CACHE_SIZE);
    uint64_t target = wanted;
    bool over = false;
    if (limit != 0) {
        app_stats(a, &s);
        uint64_t without_cache = m.allocated > s.cache_used ? m.allocated - s.cache_used : 0;
        over = without_cache > limit;
        uint64_t room = over ? 0 : limit - without_cache;
        target = room < wanted ? room : wanted;
    }
    uint64_t apart = target > a->cache_bytes ? target - a->cache_bytes : a->cache_bytes - target;
    if (apart != 0 && (apart > wanted / CACHE_STEP || target == wanted || target == 0)) {
        set_cache(a, target);
    }
    atomic_store(&a->memory_over, over);
}

static void summary(void *arg, struct memory_summary *out)
{
    struct app *a = arg;
    struct memory_figures m;
    struct net_stats n;
    struct bk_stats s;
    uint64_t peak = atomic_load(&a->memory_peak);
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

void app_memory_sample(struct app *a)
{
    /* CONFIG SET holds the lock while it listens anew: then this sample is left out. */
    if (bk_mutex_trylock(&a->mu)) {
        app_memory_sample_locked(a);
        bk_mutex_unlock(&a->mu);
    }
}
