/* SPDX-License-Identifier: MIT */
/*
 * app.h - the running server: the modules, in the order in which they stand, and the options. One
 * struct, owned by main() and handed around; no global. Private to app/.
 */
#ifndef BK_APP_APP_H
#define BK_APP_APP_H

#include "app/conf_load.h"
#include "app/memory.h"
#include "app/option.h"
#include "app/snapshots.h"
#include "app/transfer.h"
#include "base/error.h"
#include "base/mutex.h"
#include "command/command.h"
#include "command/timing.h"
#include "engine/bitkv.h"
#include "net/net.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define APP_RUN_ID_LEN 40

/* The start of the store, loading.c. */
struct app_loading {
    struct bk_progress progress; /* atomic */
    /* Set once, before the loops run. */
    int64_t started_ms; /* wall clock */
    /* The opening thread's, until it has been joined. */
    pthread_t thread;
    struct bk_options options; /* strings borrowed from the server's options */
    struct bk_db *db;          /* handed on */
    struct bk_error err;
    int rc;
    atomic_bool done;
};

/* What maxmemory looks at; app_memory.c. */
struct app_memory {
    /* Guarded by the options' lock. */
    struct memory_slack slack;
    int64_t sampled_us; /* monotonic */
    /* Atomic. */
    _Atomic int64_t
        to_free; /* bytes over maxmemory, the value cache apart, as of the last sample */
    _Atomic uint64_t counted; /* then */
    atomic_bool near;         /* the limit is */
    _Atomic int64_t due_us;   /* monotonic; when the next sample is */
    _Atomic int64_t late_us; /* and when others than loop 0 take it; INT64_MAX: there is no limit */
    atomic_int rule;         /* enum ks_evict_rule */
    atomic_uint samples;
    _Atomic uint64_t evicted; /* keys, since the last CONFIG RESETSTAT */
    _Atomic uint64_t peak;    /* of what is allocated */
    /* Loop 0 only. */
    int64_t ages_us;  /* when the next step of ages is due */
    uint64_t flushed; /* evicted, when the log was last flushed for it */
};

#define APP_PACE_SECONDS 60u

/* The loops' p99 tick times, second by second: how fast a merge may go. */
struct app_pace {
    unsigned calls;
    uint64_t before[NET_TICK_BUCKETS];
    uint64_t p99[APP_PACE_SECONDS]; /* ring */
    size_t n;                       /* ever taken */
};

struct app {
    /* Set once, before the loops run. */
    struct net *net;             /* owned */
    struct keyspace *ks;         /* owned */
    struct snapshots *snapshots; /* owned */
    struct timing *timing;       /* owned */
    struct transfers *transfers; /* owned */
    struct server_ops ops;
    struct net_store_ops store_ops;
    char *conf_file; /* owned, absolute; NULL: none */
    char run_id[APP_RUN_ID_LEN + 1];
    int64_t started_ms;     /* wall clock */
    int64_t started_us;     /* monotonic */
    int wake_fd;            /* eventfd: something for main() to do */
    const char *supervised; /* "no", "systemd" or "upstart" */

    /* Held over a CONFIG REWRITE, so that the file is one client's at a time and the newest options
     * stay; rank 15, in front of mu. */
    struct bk_mutex rewrite_mu;
    /* Guarded by mu (rank 15). */
    struct bk_mutex mu;
    struct options options BK_GUARDED(mu);
    uint64_t cache_bytes
        BK_GUARDED(mu); /* what the store's cache may have now: cache-size, or less for maxmemory */

    /* Guarded by mu until loaded, then set. */
    char *dir; /* owned, absolute; NULL: not yet known */

    /* Atomic: NULL while the store is being opened; owned. */
    _Atomic(struct bk_db *) db;
    struct app_loading loading;
    /* Loop 0 only. */
    struct app_pace pace;
    struct app_memory memory;

    /* Atomic: copies of options and samples that loops look at on every command. */
    atomic_bool has_password;
    _Atomic uint64_t proto_max_bulk;
    _Atomic uint64_t hll_sparse_max;
    _Atomic uint64_t memory_startup; /* allocated before the store was opened */
    _Atomic uint64_t expired_base;   /* the store's counts at the last CONFIG RESETSTAT */
    _Atomic uint64_t delayed_base;
    atomic_uint shutdown_flags;
    atomic_bool shutdown_asked;
};

/* app_options.c: from options to the modules' own settings. */
void app_store_options(const struct app *a,
                       struct bk_options *out); /* dir is borrowed from a->options */
void app_net_tunables(const struct options *o, struct net_tunables *out);
/* bind is the caller's room of OPTION_BIND_MAX strings; listen borrows it and the words in *store.
 */
void app_listen(const struct options *o, struct net_listen *out, const char **bind,
                struct bk_buf *store);
int app_log_setup(const struct options *o);
enum bk_log_level app_log_level(const struct options *o);

/* app_merge.c */
void app_merge_pace(struct app *a); /* 10 times a second, on loop 0 */
void app_merge_lines(struct app *a, struct bk_buf *out);
void app_file_lines(struct app *a, struct bk_buf *out);
void app_damage_lines(struct app *a, struct bk_buf *out);

/* app_config.c */
void app_config_ops(struct server_ops *ops);
/* Puts options to use that loops look at through atomics. */
void app_apply_atomics(struct app *a) BK_REQUIRES(a->mu);
/* Thresholds of the slow log and the latency monitor. */
void app_apply_timing(struct app *a) BK_REQUIRES(a->mu);
/* Gives the store its settings; without one nothing is done. */
void app_apply_store(struct app *a) BK_REQUIRES(a->mu);

/* app_memory.c: maxmemory. */
unsigned app_memory_step(struct app *a); /* on loop 0; returns in how many ms to call it again */
bool app_memory_over(struct app *a);     /* server_ops' memory_over */
void app_memory_apply(struct app *a) BK_REQUIRES(a->mu);
void app_memory_ops(struct server_ops *ops);
void app_memory_sample_locked(struct app *a) BK_REQUIRES(a->mu);

/* app_ops.c: the rest of server_ops, and net_store_ops. */
void app_server_ops(struct app *a);
void app_store_ops(struct app *a);
/* Makes a->snapshots; then, when the store and a->dir are there, lets them begin. */
void app_snapshots_new(struct app *a);
void app_transfers_new(struct app *a);
void app_snapshots_open(struct app *a, struct bk_db *db);

/* NULL while the store is being opened. Once there it stays as long as a loop runs. */
static inline struct bk_db *app_db(const struct app *a)
{
    return atomic_load_explicit(&a->db, memory_order_acquire);
}
/* All zero, or "writable", while there is no store. */
void app_stats(const struct app *a, struct bk_stats *out);
int app_write_state(const struct app *a, struct bk_error *err);

/* loading.c: the store is opened by a thread of its own, while clients already get -LOADING. */
BK_MUST_USE int app_load_begin(struct app *a, struct bk_error *err);
/* Waits until the opening thread has ended, which cancel makes happen soon; then the store is there
 * for all, or err says why not. BK_ECANCELED: it was called off. */
BK_MUST_USE int app_load_end(struct app *a, bool cancel, struct bk_error *err);
/* One line for the log. */
void app_load_log(const struct app *a);

/* info.c */
void app_info(void *arg, const struct bk_span *sections, size_t n, struct bk_buf *out);

#endif
