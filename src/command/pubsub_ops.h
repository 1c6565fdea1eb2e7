/* SPDX-License-Identifier: MIT */
/*
 * pubsub_ops.h - what commands ask of net/ about messages to other clients: pub/sub, MONITOR. All
 * may be called from any loop thread; those with a session, on its own loop.
 */
#ifndef BK_COMMAND_PUBSUB_OPS_H
#define BK_COMMAND_PUBSUB_OPS_H

#include "base/span.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct session;

/* What a client may listen to. */
enum topic_kind { TOPIC_CHANNEL, TOPIC_PATTERN, TOPIC_SHARD, TOPIC_KINDS };

typedef void topic_each_fn(void *arg, struct bk_span name);

/* What must cost no more than a load as long as nobody asks for it. Any thread, relaxed. */
struct server_watch {
    atomic_uint monitors; /* clients that MONITOR */
    atomic_uint notify;   /* notify-keyspace-events: enum notify_class, 0 = off */
    atomic_uint tracking; /* clients that track (tracking_ops.h) */
};

struct pubsub_ops {
    void *arg; /* borrowed; handed to every function */
    struct server_watch *watch;

    /* False: it does (does not) listen to that already. */
    bool (*join)(void *arg, struct session *s, enum topic_kind kind, struct bk_span name);
    bool (*leave)(void *arg, struct session *s, enum topic_kind kind, struct bk_span name);
    /* What it has joined first of all that it listens to; borrowed until it leaves. False: nothing.
     */
    bool (*first)(void *arg, struct session *s, enum topic_kind kind, struct bk_span *name);

    /* To a channel or shard channel. from: whose command it is, NULL: nobody's. The message leaves
     * when pos, and from's own earlier writes, are committed. Returns how many times it was sent.
     */
    size_t (*publish)(void *arg, struct session *from, enum topic_kind kind, struct bk_span channel,
                      struct bk_span message, uint64_t pos);
    /* How many times it would be. */
    size_t (*receivers)(void *arg, enum topic_kind kind, struct bk_span channel);
    /* Might anybody hear of a channel? */
    bool (*any)(void *arg);

    size_t (*listeners)(void *arg, enum topic_kind kind, struct bk_span name);
    uint64_t (*count)(void *arg, enum topic_kind kind); /* names with a listener */
    void (*each)(void *arg, enum topic_kind kind, topic_each_fn *each, void *each_arg);

    /* MONITOR: from now on the client gets every line; false: it does already. */
    bool (*monitor)(void *arg, struct session *s);
    void (*unmonitor)(void *arg, struct session *s);
    /* A line for all of them, without "+" and CRLF, behind the reply of the command that runs; what
     * stands for the client's address is put in after the first prefix bytes. */
    void (*monitored)(void *arg, const struct session *from, struct bk_span line, size_t prefix);
};

#endif
