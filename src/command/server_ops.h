/* SPDX-License-Identifier: MIT */
/*
 * server_ops.h - what commands need beyond their own connection, as functions that net/ and app/
 * fill in. All may be called from any loop thread. Texts handed out are appended to the caller's
 * buffer.
 */
#ifndef BK_COMMAND_SERVER_OPS_H
#define BK_COMMAND_SERVER_OPS_H

#include "base/buf.h"
#include "base/span.h"
#include "command/pubsub_ops.h"
#include "command/tracking_ops.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct session;

/* CLIENT KILL and CLIENT LIST: fields that are 0 or NULL match every client. */
struct client_filter {
    const uint64_t *ids; /* borrowed */
    size_t ids_n;
    struct bk_span addr, laddr, user, type; /* len 0: not asked for */
    bool skip_self;                         /* SKIPME yes */
    const struct session *self;
};

enum client_text { CLIENT_TEXT_NAME, CLIENT_TEXT_LIB_NAME, CLIENT_TEXT_LIB_VER };

enum shutdown_flags {
    SHUTDOWN_NOSAVE = 1,
    SHUTDOWN_SAVE = 2,
    SHUTDOWN_NOW = 4,
    SHUTDOWN_FORCE = 8
};

enum client_pause { CLIENT_PAUSE_OFF, CLIENT_PAUSE_WRITE, CLIENT_PAUSE_ALL }; /* rising */
enum merge_order { MERGE_NOW, MERGE_PAUSE, MERGE_RESUME };
enum save_state { SAVE_RUNNING, SAVE_DONE, SAVE_FAILED };

/* Bytes, unless a name says otherwise. */
struct memory_summary {
    uint64_t allocated, peak,
        startup;                 /* handed out by the allocator: now, most, before the start */
    uint64_t active, resident;   /* the allocator's pages with something in them, and all */
    uint64_t rss;                /* of the process */
    uint64_t clients, clients_n; /* held for clients, and how many there are */
    uint64_t log_buffer;         /* records that wait to be written */
};

/* MIGRATE: what is to be sent where, and how many lines answer it. */
struct transfer_order {
    char *host; /* owned */
    int port;
    int64_t timeout_ms;  /* to connect, and each time that nothing moves */
    struct bk_buf bytes; /* owned */
    size_t lines;
};

enum transfer_outcome {
    TRANSFER_DONE,
    TRANSFER_NOT_CONNECTED, /* no answer in time, or no such name */
    TRANSFER_NOT_SENT,      /* refused (Redis learns of it when it writes), or not in time */
    TRANSFER_NOT_ANSWERED   /* not by all lines */
};

/* Borrowed from the transfer. */
struct transfer_result {
    enum transfer_outcome outcome;
    struct bk_buf lines; /* each with a NUL in place of its end */
    size_t lines_n;
    struct bk_span sent; /* the order's bytes */
};

struct transfer;

struct config_pair {
    struct bk_span name;
    struct bk_span value;
};

struct exec;
struct timing;

struct server_ops {
    void *arg;             /* borrowed; handed to every function */
    struct timing *timing; /* borrowed; NULL: nothing is slow (tests) */
    /* All loops' executors, for LATENCY HISTOGRAM. */
    struct exec *const *(*executors)(void *arg, size_t *n);

    /* Clients (net/). One line each in CLIENT LIST's format, without a line end for client_info. */
    void (*client_list)(void *arg, const struct client_filter *filter, struct bk_buf *out);
    void (*client_info)(void *arg, const struct session *s, struct bk_buf *out);
    /* How many were killed; the caller itself is closed after its reply. */
    unsigned (*client_kill)(void *arg, const struct client_filter *filter);
    /* Ends the wait of the client with this id, if it is in a command that can be ended so. */
    bool (*client_unblock)(void *arg, uint64_t id, bool error);
    /* text of length 0 unsets. The caller has checked the characters. */
    void (*client_set_text)(void *arg, struct session *s, enum client_text which,
                            struct bk_span text);

    /* enum client_pause, so that a command knows with one load that there is no pause; borrowed;
     * NULL: there never is one (tests). While it is set client_paused tells whether the pause still
     * holds: EXEC_PAUSED then. */
    const atomic_int *pause;
    bool (*client_paused)(void *arg);
    void (*client_pause)(void *arg, int64_t ms, enum client_pause mode);
    void (*client_unpause)(void *arg);

    /* Options (app/). */
    /* Calls each() for the options whose name matches one of the glob patterns, each option once.
     */
    void (*config_get)(void *arg, const struct bk_span *patterns, size_t n,
                       void (*each)(void *each_arg, const char *name, struct bk_span value),
                       void *each_arg);
    /* All or none. On failure returns false with Redis's error text in *error. */
    bool (*config_set)(void *arg, const struct config_pair *pairs, size_t n, struct bk_buf *error);
    bool (*config_secret)(void *arg, struct bk_span name); /* not for SLOWLOG to show */
    bool (*config_rewrite)(void *arg,
                           struct bk_buf *error); /* text of the whole error reply on failure */
    void (*config_resetstat)(void *arg);

    /* AUTH and HELLO AUTH: is there a password, and is this it? */
    bool (*auth_required)(void *arg);
    bool (*auth_check)(void *arg, struct bk_span user, struct bk_span password);

    /* The password's SHA-256 in hex; nothing when there is none. */
    void (*auth_hash)(void *arg, struct bk_buf *out);

    /* INFO (app/): the text of the sections asked for ("default", "all", "everything" included). */
    void (*info)(void *arg, const struct bk_span *sections, size_t n, struct bk_buf *out);

    /* Snapshots. save_begin returns the number of the one that it has begun in the background, 0
     * with an error text when it has not; the store's wake call comes when it has ended.
     * save_possible: whether it would. save_schedule begins one, when another runs as soon as that
     * has ended. */
    uint64_t (*save_begin)(void *arg, struct bk_buf *error);
    bool (*save_possible)(void *arg, struct bk_buf *error);
    void (*save_schedule)(void *arg);
    enum save_state (*save_state)(void *arg, uint64_t number);
    int64_t (*last_save_s)(void *arg); /* when the last good one ended, seconds since 1970 */

    /* Begins a shutdown; false with an error text when it is refused. abort: SHUTDOWN ABORT. */
    bool (*shutdown)(void *arg, unsigned flags, struct bk_buf *error);
    bool (*shutdown_abort)(void *arg);

    /* BITKV and BGREWRITEAOF (app/). */
    void (*merge)(void *arg, enum merge_order order);
    bool (*merge_running)(void *arg);
    void (*merge_status)(void *arg, struct bk_buf *out); /* lines "field:value\r\n", as in INFO */
    void (*files)(void *arg, struct bk_buf *out);        /* a line for each data file */
    void (*damage)(void *arg, struct bk_buf *out);       /* a line for each damaged place */

    /* MEMORY (app/). */
    void (*memory_summary)(void *arg, struct memory_summary *out);
    bool (*memory_purge)(void *arg);
    bool (*memory_report)(void *arg, struct bk_buf *out); /* false: the allocator has none */

    /* Transfers. begin takes what the order holds; NULL: too many are under way, or the system has
     * no thread or descriptor for it, and nothing was taken. The store's wake call comes when one
     * has ended, and perhaps no other: who must wait also asks again by the clock. drop takes and
     * nulls; one that has not ended is called off. Not under a key lock. */
    struct transfer *(*transfer_begin)(void *arg, struct transfer_order *order);
    bool (*transfer_ended)(struct transfer *t, struct transfer_result *out); /* any time */
    void (*transfer_drop)(struct transfer **t);

    bool (*debug_allowed)(void *arg, const struct session *s); /* enable-debug-command */
    bool (*memory_over)(void *arg); /* maxmemory reached: commands flagged denyoom are refused */
    uint64_t (*proto_max_bulk_len)(void *arg);
    uint64_t (*hll_sparse_max_bytes)(void *arg);

    /* Messages to other clients; borrowed from net/. */
    const struct pubsub_ops *pubsub;
    const struct tracking_ops *tracking; /* the same; NULL: nobody tracks (tests) */
};

#endif
