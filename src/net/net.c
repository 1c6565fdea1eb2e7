/* SPDX-License-Identifier: MIT */
/* net.c - the whole: life, settings that change at run time, wake-ups from the store, statistics.
 */
#include "net/net_private.h"

#include "base/assert.h"
#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

/* ---- Life ---- */

int net_new(struct net **out, unsigned io_threads, struct bk_error *err)
{
    struct net *net = bk_alloc_zero(1, sizeof(*net));
    int rc = BK_OK;
    BK_ASSERT(io_threads > 0 && io_threads <= NET_LOOPS_MAX);
    net->loops_n = io_threads;
    net->loops = bk_alloc_zero(net->loops_n, sizeof(*net->loops));
    net->execs = bk_alloc_zero(net->loops_n, sizeof(struct exec *));
    bk_mutex_init(&net->listen_mu, "listeners", BK_RANK_SERVER);
    pubsub_setup(net);
    tracking_setup(net);
    bk_mutex_init(&net->pause_mu, "client pause", BK_RANK_SERVER);
    for (unsigned i = 0; i < net->loops_n && rc == BK_OK; i++) {
        rc = loop_setup(&net->loops[i], net, i, err);
    }
    if (rc == BK_OK) {
        *out = net;
    } else {
        net_free(&net);
    }
    return rc;
}

void net_free(struct net **net)
{
    struct net *n = *net;
    if (n == NULL) {
        return;
    }
    BK_ASSERT(!n->started);
    for (unsigned i = 0; i < n->loops_n; i++) {
        loop_teardown(&n->loops[i]);
    }
    tracking_teardown(n);
    pubsub_teardown(n);
    bk_mutex_fini(&n->listen_mu);
    bk_mutex_fini(&n->pause_mu);
    free(n->loops);
    free(n->execs);
    free(n);
    *net = NULL;
}

unsigned net_loops(const struct net *net)
{
    return net->loops_n;
}

static void free_execs(struct net *net)
{
    for (unsigned i = 0; i < net->loops_n; i++) {
        net->execs[i] = NULL;
        exec_free(&net->loops[i].exec);
    }
}

/* Tells the first n loops to stop and waits for them. */
static void stop_loops(struct net *net, unsigned n, uint32_t timeout_ms)
{
    int64_t now_us = bk_clock_mono_us(&bk_clock_system);
    atomic_store(&net->stop_deadline_us, now_us + (int64_t)timeout_ms * 1000);
    atomic_store(&net->stop, true);
    for (unsigned i = 0; i < n; i++) {
        loop_poke(&net->loops[i]);
    }
    for (unsigned i = 0; i < n; i++) {
        int rc = pthread_join(net->loops[i].thread, NULL);
        BK_ASSERT(rc == 0);
    }
}

static void wake_loop(void *arg)
{
    loop_poke(arg);
}

int net_start(struct net *net, const struct net_config *cfg, struct keyspace *ks,
              const struct server_ops *ops, const struct net_store_ops *store, struct bk_error *err)
{
    BK_ASSERT(!net->started);
    net->ks = ks;
    net->ops = ops;
    net->store = *store;
    net_tune(net, &cfg->tunables);
    int rc = listen_open(&net->listeners, &cfg->listen, err);
    if (rc != BK_OK) {
        return rc;
    }
    net->listeners_changed = true;
    for (unsigned i = 0; i < net->loops_n; i++) {
        net->loops[i].exec = exec_new(ks, ops);
        exec_wake_by(net->loops[i].exec, wake_loop, &net->loops[i]);
        net->execs[i] = net->loops[i].exec;
    }
    unsigned running = 0;
    while (running < net->loops_n && rc == BK_OK) {
        rc = loop_start(&net->loops[running], err);
        running += rc == BK_OK ? 1 : 0;
    }
    if (rc == BK_OK) {
        net->started = true;
    } else {
        stop_loops(net, running, 0);
        free_execs(net);
        listen_close(&net->listeners);
    }
    return rc;
}

void net_shutdown(struct net *net, uint32_t timeout_ms)
{
    if (net->started) {
        stop_loops(net, net->loops_n, timeout_ms);
        listen_close(&net->listeners);
        free_execs(net);
        net->started = false;
    }
}

int net_relisten(struct net *net, const struct net_listen *l, struct bk_error *err)
{
    int rc = listen_replace(net, l, err);
    if (rc == BK_OK) {
        loop_poke(&net->loops[0]);
    }
    return rc;
}

/*
 * The store stores its committed position, then comes here; a loop arms wants_wake, then looks at
 * the position. Both add to wake_seq in between, and whoever adds second sees what the first had
 * stored: either we see the flag, or the loop sees the position.
 */
void net_wake(struct net *net)
{
    if (net == NULL) {
        return;
    }
    atomic_fetch_add(&net->wake_seq, 1);
    for (unsigned i = 0; i < net->loops_n; i++) {
        struct loop *l = &net->loops[i];
        if (atomic_load(&l->wants_wake) && atomic_exchange(&l->wants_wake, false)) {
            loop_poke(l);
        }
    }
}

/* ---- Settings ---- */

void net_tunables_read(struct net *net, struct net_tunables *out)
{
    *out =
        (struct net_tunables){.maxclients = RELAXED_LOAD(&net->maxclients),
                              .timeout_s = RELAXED_LOAD(&net->timeout_s),
                              .tcp_keepalive_s = RELAXED_LOAD(&net->tcp_keepalive_s),
                              .protected_mode = RELAXED_LOAD(&net->protected_mode),
                              .obuf_hard_bytes = RELAXED_LOAD(&net->obuf_hard_bytes),
                              .obuf_soft_bytes = RELAXED_LOAD(&net->obuf_soft_bytes),
                              .obuf_soft_s = RELAXED_LOAD(&net->obuf_soft_s),
                              .obuf_pubsub_hard_bytes = RELAXED_LOAD(&net->obuf_pubsub_hard_bytes),
                              .obuf_pubsub_soft_bytes = RELAXED_LOAD(&net->obuf_pubsub_soft_bytes),
                              .obuf_pubsub_soft_s = RELAXED_LOAD(&net->obuf_pubsub_soft_s),
                              .query_buffer_bytes = RELAXED_LOAD(&net->query_buffer_bytes),
                              .tracking_keys = RELAXED_LOAD(&net->tracking_keys_max)};
}

void net_tunables_get(struct net *net, struct net_tunables *out)
{
    net_tunables_read(net, out);
}

void net_tune(struct net *net, const struct net_tunables *t)
{
    RELAXED_STORE(&net->maxclients, t->maxclients);
    RELAXED_STORE(&net->timeout_s, t->timeout_s);
    RELAXED_STORE(&net->tcp_keepalive_s, t->tcp_keepalive_s);
    RELAXED_STORE(&net->protected_mode, t->protected_mode);
    RELAXED_STORE(&net->obuf_hard_bytes, t->obuf_hard_bytes);
    RELAXED_STORE(&net->obuf_soft_bytes, t->obuf_soft_bytes);
    RELAXED_STORE(&net->obuf_soft_s, t->obuf_soft_s);
    RELAXED_STORE(&net->obuf_pubsub_hard_bytes, t->obuf_pubsub_hard_bytes);
    RELAXED_STORE(&net->obuf_pubsub_soft_bytes, t->obuf_pubsub_soft_bytes);
    RELAXED_STORE(&net->obuf_pubsub_soft_s, t->obuf_pubsub_soft_s);
    RELAXED_STORE(&net->query_buffer_bytes, t->query_buffer_bytes);
    RELAXED_STORE(&net->tracking_keys_max, t->tracking_keys);
}

/* ---- Statistics ---- */

static void add_loop(struct net_stats *out, const struct loop *l)
{
    const struct loop_stats *s = &l->stats;
    uint64_t max_us = RELAXED_LOAD(&s->tick_us_max);
    uint64_t ran_us = RELAXED_LOAD(&s->tick_ran_us_max);
    out->commands += RELAXED_LOAD(&s->commands);
    out->input_bytes += RELAXED_LOAD(&s->input_bytes);
    out->output_bytes += RELAXED_LOAD(&s->output_bytes);
    out->connections_killed_obuf += RELAXED_LOAD(&s->killed_obuf);
    out->connections_killed_query += RELAXED_LOAD(&s->killed_query);
    out->connections_timed_out += RELAXED_LOAD(&s->timed_out);
    out->misconf_replies += RELAXED_LOAD(&s->misconf);
    out->parked += RELAXED_LOAD(&s->parked);
    out->blocked += RELAXED_LOAD(&s->blocked);
    out->reading += RELAXED_LOAD(&s->reading);
    out->replies_waiting += RELAXED_LOAD(&s->waiting);
    out->ticks += RELAXED_LOAD(&s->ticks);
    out->tick_us_total += RELAXED_LOAD(&s->tick_us_total);
    out->tick_us_max = max_us > out->tick_us_max ? max_us : out->tick_us_max;
    out->tick_ran_us_max = ran_us > out->tick_ran_us_max ? ran_us : out->tick_ran_us_max;
    for (unsigned i = 0; i < NET_TICK_BUCKETS; i++) {
        out->tick_us[i] += RELAXED_LOAD(&s->tick_us[i]);
    }
}

static void add_clients(struct net_stats *out, struct loop *l)
{
    bk_mutex_lock(&l->registry_mu);
    for (struct list *node = l->registry.next; node != &l->registry; node = node->next) {
        const struct conn *c = LIST_OWNER(node, struct conn, registered);
        uint64_t in = RELAXED_LOAD(&c->input_pending);
        uint64_t pending = RELAXED_LOAD(&c->output_pending);
        out->input_buffer_max = in > out->input_buffer_max ? in : out->input_buffer_max;
        out->output_buffer_max =
            pending > out->output_buffer_max ? pending : out->output_buffer_max;
        out->clients_memory += RELAXED_LOAD(&c->memory);
    }
    bk_mutex_unlock(&l->registry_mu);
}

void net_stats_get(struct net *net, struct net_stats *out)
{
    *out = (struct net_stats){.connected = atomic_load(&net->connected),
                              .connections_received = RELAXED_LOAD(&net->received),
                              .connections_rejected = RELAXED_LOAD(&net->rejected),
                              .ops_per_sec = RELAXED_LOAD(&net->ops_per_sec),
                              .input_bytes_per_sec = RELAXED_LOAD(&net->in_per_sec),
                              .output_bytes_per_sec = RELAXED_LOAD(&net->out_per_sec),
                              .accept_errors = RELAXED_LOAD(&net->accept_errors),
                              .expire_capped = RELAXED_LOAD(&net->expire_capped)};
    out->tracking_clients = RELAXED_LOAD(&net->watch.tracking);
    out->tracking_keys = tracks_keys(net->tracks);
    out->tracking_items = tracks_items(net->tracks);
    out->tracking_prefixes = RELAXED_LOAD(&net->prefixes_n);
    for (int kind = 0; kind < TOPIC_KINDS; kind++) {
        out->topics[kind] = topics_count(net->topics, (enum topic_kind)kind);
    }
    for (unsigned i = 0; i < net->loops_n; i++) {
        add_loop(out, &net->loops[i]);
        add_clients(out, &net->loops[i]);
    }
}

uint64_t net_stats_tick_percentile(const struct net_stats *s, double share)
{
    double below = 0;
    for (unsigned i = 0; i < NET_TICK_BUCKETS; i++) {
        below += (double)s->tick_us[i];
        if (s->ticks > 0 && below >= share * (double)s->ticks) {
            return (uint64_t)2 << i;
        }
    }
    return s->tick_us_max;
}

static void reset_loop(struct loop_stats *s)
{
    RELAXED_STORE(&s->commands, 0);
    RELAXED_STORE(&s->input_bytes, 0);
    RELAXED_STORE(&s->output_bytes, 0);
    RELAXED_STORE(&s->killed_obuf, 0);
    RELAXED_STORE(&s->killed_query, 0);
    RELAXED_STORE(&s->timed_out, 0);
    RELAXED_STORE(&s->misconf, 0);
    RELAXED_STORE(&s->ticks, 0);
    RELAXED_STORE(&s->tick_us_total, 0);
    RELAXED_STORE(&s->tick_us_max, 0);
    RELAXED_STORE(&s->tick_ran_us_max, 0);
    for (unsigned i = 0; i < NET_TICK_BUCKETS; i++) {
        RELAXED_STORE(&s->tick_us[i], 0);
    }
}

/* A loop that counts at this moment may bring its old figure back: harmless for statistics. */
void net_resetstat(struct net *net)
{
    RELAXED_STORE(&net->received, 0);
    RELAXED_STORE(&net->rejected, 0);
    RELAXED_STORE(&net->accept_errors, 0);
    for (unsigned i = 0; i < net->loops_n; i++) {
        reset_loop(&net->loops[i].stats);
        if (net->loops[i].exec != NULL) {
            exec_resetstat(net->loops[i].exec);
        }
    }
}

struct exec *const *net_execs(const struct net *net, size_t *n)
{
    *n = net->loops_n;
    return net->execs;
}
