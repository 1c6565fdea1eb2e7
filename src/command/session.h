/* SPDX-License-Identifier: MIT */
/*
 * session.h - what commands know and change of the connection that they came in on. net/ embeds it
 * in its connection and is its only other reader.
 *
 * Fields marked "atomic" are read by other loops (CLIENT LIST); all others belong to the
 * connection's loop alone.
 */
#ifndef BK_COMMAND_SESSION_H
#define BK_COMMAND_SESSION_H

#include "command/pubsub_ops.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Of a command that parks and may be ended by CLIENT UNBLOCK: WAIT. */
enum session_wait { WAIT_NONE, WAIT_PARKED, WAIT_UNBLOCKED, WAIT_UNBLOCKED_ERROR };

enum session_reply { REPLY_ON, REPLY_OFF, REPLY_SKIP_NEXT, REPLY_SKIP };

struct bk_reads;
struct command_row;
struct keyspace;
struct ks_watches;
struct multi;

struct session {
    /* Set once, at accept. */
    uint64_t id; /* from 1, never used twice */
    int64_t created_ms;
    const char *addr; /* borrowed from net's connection; NULL: none (tests) */
    /* Atomic. */
    _Atomic uint32_t db;
    atomic_int proto;                                 /* 2 or 3 */
    _Atomic(const struct command_row *) last_command; /* static row; NULL before the first */
    _Atomic uint32_t multi_count; /* commands queued by MULTI, and 1; 0: not inside one */
    _Atomic uint64_t multi_bytes; /* what they and the watches hold */
    atomic_bool no_evict, no_touch;
    _Atomic uint32_t tracking; /* enum tracking_flag; all but CACHING changed by net/ */
    _Atomic uint64_t redirect; /* the client that hears instead; 0: none. Changed by net/ */
    _Atomic uint32_t listens[TOPIC_KINDS]; /* subscriptions; changed by net/ */
    atomic_bool monitors;
    atomic_int wait; /* enum session_wait; CLIENT UNBLOCK makes the last two of WAIT_PARKED */
    atomic_bool
        close_soon; /* set by CLIENT KILL and others: close once what is queued has been sent */
    /* This loop only. */
    bool authenticated;
    enum session_reply reply_mode;
    bool close_after_reply;     /* QUIT, protocol errors */
    struct multi *multi;        /* owned; what MULTI has queued; NULL: not inside one */
    struct ks_watches *watches; /* owned; NULL: none */
    struct bk_reads *ahead;     /* owned; what was read for commands that come next, or NULL */
    size_t ahead_left;          /* how many of them have not run */
    bool watch_lost;            /* WATCH came before there was a store: EXEC will fail */
    /* Changed through server_ops.client_set_text only, since other loops read them. Owned by net/.
     */
    char *name;
    char *lib_name;
    char *lib_ver;
};

/* The connection is gone: lets go of what its commands have left. ks: the store's, still open. */
void session_end(struct session *s, struct keyspace *ks);

#endif
