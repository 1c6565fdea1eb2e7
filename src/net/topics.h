/* SPDX-License-Identifier: MIT */
/*
 * topics.h - who listens to what: channels, patterns of channels, and shard channels. No
 * connections, no threads of its own: a listener is a pointer that the caller knows the meaning of.
 *
 *   name -> topic -> its listeners      shared by all threads, in shards with a mutex each
 *   listener -> what it listens to      struct topic_set, of the listener's own thread only
 *
 * A topic is there as long as somebody listens to it. Publishing where nobody listens to anything
 * costs two loads.
 */
#ifndef BK_NET_TOPICS_H
#define BK_NET_TOPICS_H

#include "base/span.h"
#include "command/pubsub_ops.h"
#include "net/list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct topics;

struct topics *topics_new(void);
void topics_free(struct topics **t); /* takes and nulls; nobody may listen any more */

/* A hash of names inside their owners. All zero is empty. */
struct name_node {
    struct name_node *next;
    uint64_t hash;
    struct bk_span name; /* borrowed from the topic */
};
struct name_table {
    struct name_node **v; /* owned array; a power of two long */
    size_t cap, n;
};

/* What one listener listens to; its own thread only. */
struct topic_set {
    struct {
        struct name_table by_name;
        struct list in_order; /* oldest first */
    } of[TOPIC_KINDS];
};
void topic_set_init(struct topic_set *s);
void topic_set_fini(struct topic_set *s); /* it listens to nothing any more */
size_t topic_set_count(const struct topic_set *s, enum topic_kind kind);
/* The oldest; borrowed until it is left. False: there is none. */
bool topic_set_first(const struct topic_set *s, enum topic_kind kind, struct bk_span *name);

/* who is borrowed until it has left. False: it listens to that already. */
bool topics_join(struct topics *t, struct topic_set *s, enum topic_kind kind, struct bk_span name,
                 void *who);
/* False: it does not listen to that. */
bool topics_leave(struct topics *t, struct topic_set *s, enum topic_kind kind, struct bk_span name);

/* Calls hear() for each listener of the channel, then (not for a shard channel) for each one of the
 * patterns that match it, with the pattern: as often as it listens. hear() is called under a mutex,
 * so that who leaves later has got the message, and who joins later has not. Returns the calls. */
typedef void topics_hear_fn(void *arg, void *who, const struct bk_span *pattern);
size_t topics_publish(struct topics *t, enum topic_kind kind, struct bk_span channel,
                      topics_hear_fn *hear, void *arg);
/* Is there anybody who might hear of a channel? May be out of date at once. */
bool topics_any(const struct topics *t);

size_t topics_listeners(struct topics *t, enum topic_kind kind, struct bk_span name);
uint64_t topics_count(const struct topics *t, enum topic_kind kind); /* topics, not listeners */
/* Calls each() for every topic that is there all the while; under a mutex. */
void topics_each(struct topics *t, enum topic_kind kind, topic_each_fn *each, void *arg);

#endif
