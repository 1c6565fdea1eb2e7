/* SPDX-License-Identifier: MIT */
/*
 * net.h - clients over TCP and unix sockets: one libevent loop per thread, a connection for life on
 * one of them.
 *
 * Order of calls (app/): net_new, net_start, then the store is opened with net_wake as its wake
 * call (until then commands are answered with -LOADING and net_store_ops do nothing), ...
 * net_shutdown, then the store is closed, net_free last. So net_wake is valid as long as the store.
 */
#ifndef BK_NET_NET_H
#define BK_NET_NET_H

#include "base/error.h"
#include "command/command.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NET_LOOPS_MAX 64
#define NET_TICK_BUCKETS \
    28 /* bucket i counts ticks that took [2^i, 2^(i+1)) microseconds, bucket 0 from 0 */

struct net;

/* Where to listen. Strings are borrowed for the call. */
struct net_listen {
    const char *const
        *bind; /* as Redis: "127.0.0.1", "::1", "*", "::*", a host name; "-" in front: optional */
    size_t bind_n;
    uint16_t port;           /* 0: no TCP */
    int backlog;             /* tcp-backlog */
    const char *unixsocket;  /* NULL or "": none; a stale socket file is replaced */
    unsigned unixsocketperm; /* 0: left to the umask */
};

/* What CONFIG SET may change at any time. 0 means "no limit" or "off" where not said otherwise. */
struct net_tunables {
    uint32_t maxclients;      /* at least 1 */
    uint32_t timeout_s;       /* idle clients are closed after this */
    uint32_t tcp_keepalive_s; /* of connections accepted from now on */
    bool protected_mode;
    uint64_t obuf_hard_bytes, obuf_soft_bytes; /* client-output-buffer-limit normal */
    uint32_t obuf_soft_s;
    uint64_t obuf_pubsub_hard_bytes, obuf_pubsub_soft_bytes; /* the same, pubsub */
    uint32_t obuf_pubsub_soft_s;
    uint64_t query_buffer_bytes; /* client-query-buffer-limit */
    uint64_t tracking_keys;      /* tracking-table-max-keys */
};

/* What net needs of the store and of the server's regular work; app fills it from bitkv.h. All are
 * called from loop threads; arg is borrowed until net_shutdown has returned. */
struct net_store_ops {
    void *arg;
    void (*flush)(void *arg, uint64_t pos);                   /* bk_flush */
    int (*pos_state)(void *arg, uint64_t pos);                /* bk_pos_state */
    size_t (*expire_step)(void *arg, size_t max, bool *more); /* bk_expire_step */
    void (*expire_took)(void *arg, int64_t us); /* a slice of expire_steps; NULL: not told */
    /* One sentence for the clients whose writes were undone, e.g. "No space left on device". */
    void (*write_error)(void *arg, char *text, size_t size);
    void (*cron)(void *arg,
                 int64_t now_ms); /* 10 times a second on loop 0; must not block; NULL: none */
    /* On loop 0; returns in how many milliseconds to call it again, 1 or more. NULL: none. */
    unsigned (*memory_step)(void *arg);
};

struct net_config {
    struct net_listen listen;
    struct net_tunables tunables;
};

/* Allocates; opens nothing but the loops' own descriptors. io_threads: 1 .. NET_LOOPS_MAX. On
 * success *out is owned by the caller. */
BK_MUST_USE int net_new(struct net **out, unsigned io_threads, struct bk_error *err);
/* Takes and nulls; NULL inside is accepted. The loops must not run (net_shutdown, or never
 * started). */
void net_free(struct net **net);

unsigned net_loops(const struct net *net); /* number of loop threads */

/* The client part of struct server_ops, to be called from app's functions of the same names, on a
 * loop thread. */
void net_client_list(struct net *net, const struct client_filter *filter, struct bk_buf *out);
void net_client_info(struct net *net, const struct session *s, struct bk_buf *out);
unsigned net_client_kill(struct net *net, const struct client_filter *filter);
bool net_client_unblock(struct net *net, uint64_t id, bool error);
void net_client_set_text(struct net *net, struct session *s, enum client_text which,
                         struct bk_span text);

/* Pub/sub and MONITOR for commands; borrowed until net_free. */
const struct pubsub_ops *net_pubsub_ops(const struct net *net);
/* CLIENT TRACKING for commands; borrowed until net_free. */
const struct tracking_ops *net_tracking_ops(const struct net *net);

/* CLIENT PAUSE for so many milliseconds from now; UNPAUSE; does a pause hold? The mode: what
 * server_ops.pause points to. */
void net_client_pause(struct net *net, int64_t ms, enum client_pause mode);
void net_client_unpause(struct net *net);
bool net_client_paused(struct net *net);
const atomic_int *net_pause_mode(const struct net *net);

/* Opens the listeners, starts the loops. ks, ops and store are borrowed until net_shutdown has
 * returned. On failure nothing runs or listens; err says which address and why (a port in use,
 * ...). */
BK_MUST_USE int net_start(struct net *net, const struct net_config *cfg, struct keyspace *ks,
                          const struct server_ops *ops, const struct net_store_ops *store,
                          struct bk_error *err);

/* The store's wake call: any thread, never blocks, costs one load per loop when nobody waits. net
 * may be NULL. */
void net_wake(struct net *net);

/* Stops accepting and reading, lets running commands end, sends what is committed for at most
 * timeout_ms, closes every connection and joins the loops. Not from a loop thread. The unix
 * socket's file is removed. */
void net_shutdown(struct net *net, uint32_t timeout_ms);

/* While it runs, from any thread. */
void net_tunables_get(struct net *net, struct net_tunables *out);
void net_tune(struct net *net, const struct net_tunables *t);
/* CONFIG SET bind, port: listens there instead; addresses in both sets stay open. On failure
 * nothing changes. */
BK_MUST_USE int net_relisten(struct net *net, const struct net_listen *l, struct bk_error *err);

/* Sums over the loops; counters are since start or the last net_resetstat. */
struct net_stats {
    uint64_t connected; /* now */
    uint64_t connections_received, connections_rejected;
    uint64_t connections_killed_obuf, connections_killed_query, connections_timed_out;
    uint64_t commands; /* also those answered with an error */
    uint64_t input_bytes, output_bytes;
    uint64_t ops_per_sec, input_bytes_per_sec, output_bytes_per_sec; /* over the last 1.6 seconds */
    uint64_t input_buffer_max, output_buffer_max;                    /* largest of any client now */
    uint64_t clients_memory;  /* bytes held for all clients now */
    uint64_t parked;          /* clients that wait for room in the log now */
    uint64_t reading;         /* clients whose values are being read from the disk now */
    uint64_t blocked;         /* clients that wait in WAIT, MIGRATE or for CLIENT PAUSE's end now */
    uint64_t replies_waiting; /* clients with replies that wait for a commit now */
    uint64_t ticks, tick_us_total, tick_us_max;
    uint64_t tick_ran_us_max; /* waits for a processor taken off */
    uint64_t tick_us[NET_TICK_BUCKETS];
    uint64_t accept_errors, misconf_replies;
    uint64_t topics[TOPIC_KINDS]; /* names that somebody listens to now */
    uint64_t expire_capped;       /* slices of expiry that ended with more to do */
    /* Clients that track now, keys that they remember, pairs of the two, prefixes. */
    uint64_t tracking_clients, tracking_keys, tracking_items, tracking_prefixes;
};
void net_stats_get(struct net *net, struct net_stats *out);
/* Upper bound in microseconds of the ticks up to the given share (0.5, 0.99), from tick_us. */
uint64_t net_stats_tick_percentile(const struct net_stats *s, double share);
void net_resetstat(
    struct net *net); /* CONFIG RESETSTAT: the loops' counters and their executors' */

/* The loops' executors, for exec_totals and exec_commandstats; NULL but between net_start and
 * net_shutdown. */
struct exec *const *net_execs(const struct net *net, size_t *n);

#endif
