/* SPDX-License-Identifier: MIT */
/* cron.c - loop 0's regular work: expired keys, memory, rates for INFO, app's own. */
#include "net/net_private.h"

#include "base/assert.h"
#include "base/clock.h"

#include <event2/event.h>
#include <string.h>

#define CRON_MS 100
/* While there is more to do: a quarter of loop 0's time, and a command waits a slice at most. */
#define EXPIRE_AGAIN_MS 3
#define EXPIRE_SLICE_US 1000
#define EXPIRE_BATCH 64
#define RATE_SLOTS 16

static void rate_sample(struct rate *r, unsigned slot, uint64_t total, int64_t took_us,
                        _Atomic uint64_t *out)
{
    uint64_t sum = 0;
    /* RESETSTAT may have taken the counter back. */
    uint64_t grown = total > r->last ? total - r->last : 0;
    r->last = total;
    r->per_sec[slot] = grown * 1000000u / (uint64_t)took_us;
    for (unsigned i = 0; i < RATE_SLOTS; i++) {
        sum += r->per_sec[i];
    }
    RELAXED_STORE(out, sum / RATE_SLOTS);
}

static void sample_rates(struct net *net)
{
    int64_t now_us = bk_clock_mono_us(&bk_clock_system);
    int64_t took_us = now_us - net->rate_sampled_us;
    uint64_t commands = 0;
    uint64_t in = 0;
    uint64_t out = 0;
    if (took_us <= 0) {
        return;
    }
    for (unsigned i = 0; i < net->loops_n; i++) {
        const struct loop_stats *s = &net->loops[i].stats;
        commands += RELAXED_LOAD(&s->commands);
        in += RELAXED_LOAD(&s->input_bytes);
        out += RELAXED_LOAD(&s->output_bytes);
    }
    rate_sample(&net->ops_rate, net->rate_slot, commands, took_us, &net->ops_per_sec);
    rate_sample(&net->in_rate, net->rate_slot, in, took_us, &net->in_per_sec);
    rate_sample(&net->out_rate, net->rate_slot, out, took_us, &net->out_per_sec);
    net->rate_slot = (net->rate_slot + 1) % RATE_SLOTS;
    net->rate_sampled_us = now_us;
}

static void cron_cb(evutil_socket_t fd, short what, void *arg)
{
    struct net *net = arg;
    (void)fd;
    (void)what;
    loop_tick_begin(&net->loops[0]);
    sample_rates(net);
    tracking_cron(net);
    if (net->store.cron != NULL) {
        net->store.cron(net->store.arg, net->loops[0].now_ms);
    }
}

static void expire_cb(evutil_socket_t fd, short what, void *arg)
{
    struct net *net = arg;
    struct loop *l = &net->loops[0];
    const struct net_store_ops *store = &net->store;
    int64_t begin_us = bk_clock_mono_us(&bk_clock_system);
    int64_t now_us;
    bool more;
    struct timeval tv = {.tv_usec = CRON_MS * 1000};
    (void)fd;
    (void)what;
    loop_tick_begin(l);
    if (net_client_paused(net)) {
        evtimer_add(net->expire_ev, &tv); /* as in Redis no key leaves during a pause */
        return;
    }
    do {
        (void)store->expire_step(store->arg, EXPIRE_BATCH, &more);
        now_us = bk_clock_mono_us(&bk_clock_system);
    } while (more && now_us < begin_us + EXPIRE_SLICE_US);
    if (store->expire_took != NULL) {
        store->expire_took(store->arg, now_us - begin_us);
    }
    stat_add(&net->expire_capped, more);
    tv.tv_usec = (more ? EXPIRE_AGAIN_MS : CRON_MS) * 1000;
    evtimer_add(net->expire_ev, &tv);
}

static void memory_cb(evutil_socket_t fd, short what, void *arg)
{
    struct net *net = arg;
    (void)fd;
    (void)what;
    loop_tick_begin(&net->loops[0]);
    unsigned again_ms = net->store.memory_step(net->store.arg);
    struct timeval tv = {.tv_sec = again_ms / 1000, .tv_usec = again_ms % 1000 * 1000};
    evtimer_add(net->memory_ev, &tv);
}

void cron_setup(struct net *net)
{
    struct event_base *base = net->loops[0].base;
    struct timeval tv = {.tv_usec = CRON_MS * 1000};
    net->rate_sampled_us = bk_clock_mono_us(&bk_clock_system);
    net->cron_ev = event_new(base, -1, EV_PERSIST, cron_cb, net);
    net->expire_ev = evtimer_new(base, expire_cb, net);
    BK_ASSERT(net->cron_ev != NULL);
    BK_ASSERT(net->expire_ev != NULL);
    event_add(net->cron_ev, &tv);
    evtimer_add(net->expire_ev, &tv);
    if (net->store.memory_step != NULL) {
        net->memory_ev = evtimer_new(base, memory_cb, net);
        BK_ASSERT(net->memory_ev != NULL);
        evtimer_add(net->memory_ev, &tv);
    }
}

static void free_event(struct event **ev)
{
    if (*ev != NULL) {
        event_free(*ev);
        *ev = NULL;
    }
}

void cron_teardown(struct net *net)
{
    free_event(&net->cron_ev);
    free_event(&net->expire_ev);
    free_event(&net->memory_ev);
}
