/* SPDX-License-Identifier: MIT */
/*
 * app.h - the running server: the modules, in the order in which they stand, and the options. One
 * struct, owned by main() and handed around; no global. Private to app/.
 */
#ifndef BK_APP_APP_H
#define BK_APP_APP_H

#include "app/conf_load.h"
#include "app/option.h"
#include "base/error.h"
#include "base/mutex.h"
#include "command/command.h"
#include "engine/bitkv.h"
#include "net/net.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define APP_RUN_ID_LEN 40

struct app {
    /* Set once, before the loops run. */
    struct net *net;     /* owned */
    struct bk_db *db;    /* owned */
    struct keyspace *ks; /* owned */
    struct server_ops ops;
    struct net_store_ops store_ops;
    char *conf_file; /* owned, absolute; NULL: none */
    char *dir;       /* owned, absolute */
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

    /* Atomic: copies of options and samples that loops look at on every command. */
    atomic_bool has_password;
    atomic_bool memory_over;
    _Atomic uint64_t proto_max_bulk;
    _Atomic uint64_t memory_peak;
    _Atomic uint64_t expired_base; /* the store's count at the last CONFIG RESETSTAT */
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

/* app_config.c */
void app_config_ops(struct server_ops *ops);
/* Puts options to use that loops look at through atomics. */
void app_apply_atomics(struct app *a) BK_REQUIRES(a->mu);

/* app_memory.c: maxmemory. Ten times a second, on a loop; never blocks. */
void app_memory_sample(struct app *a);
void app_memory_sample_locked(struct app *a) BK_REQUIRES(a->mu);

/* app_ops.c: the rest of server_ops, and net_store_ops. */
void app_server_ops(struct app *a);
void app_store_ops(struct app *a);

/* info.c */
void app_info(void *arg, const struct bk_span *sections, size_t n, struct bk_buf *out);

#endif
