/* SPDX-License-Identifier: MIT */
/*
 * push.h - bytes for a client that it has not asked for with this command: messages of pub/sub,
 * lines of MONITOR, and the like. Any loop thread hands them to a connection of any loop.
 *
 *   sender's thread:    peer_send() -> the loop's queue (mutex), wakes the loop when it was empty
 *   receiver's thread:  loop_take_pushes() -> the connection's output, in front of later replies;
 *                       what a tick has no room for waits in the connection's own queue
 *
 * Promises: what one thread sends to one peer arrives in that order. A push leaves when the log
 * position that it depends on is committed; most vanish if that was undone. It waits for the reply
 * of a command that its connection has begun. For a connection that is gone it is dropped; one that
 * has more waiting than its output limit allows is closed. A tick hands over what there is time
 * for (NET_TURN_US), taking connections in turn, so that a flood for some does not keep the others
 * waiting for their replies.
 */
#ifndef BK_NET_PUSH_H
#define BK_NET_PUSH_H

#include "base/span.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conn;
struct loop;

/* How its bytes become what the receiver's protocol asks for. */
enum push_kind {
    PUSH_LINES,   /* they are it */
    PUSH_MESSAGE, /* bytes[0] becomes '>' for a client that speaks RESP3, '*' for another */
    /* An array of keys to forget, or nothing for all of them. RESP2 has nothing to carry it, unless
     * it is redirected to a client that is subscribed: then it is a message of a channel. It is
     * sent also when the write was undone: the value has changed, there and back. */
    PUSH_INVALIDATE,
    PUSH_INVALIDATE_REDIRECTED,
    PUSH_RESP3 /* they are it, for RESP3 alone */
};

/* A message: filled by who made it, then shared read-only by all who get it. Counted. */
struct push {
    atomic_uint refs;
    uint64_t pos; /* of the log; 0: depends on nothing */
    enum push_kind kind;
    size_t len;
    uint8_t bytes[];
};

struct push *push_new(uint64_t pos, enum push_kind kind, size_t len); /* bytes are not set */
struct push *push_ref(struct push *p);
void push_unref(struct push **p); /* takes and nulls; NULL inside is accepted */

/* A connection as other threads know it: it may be gone. Counted. */
struct peer {
    /* Set once. */
    struct loop *loop; /* borrowed until net_free */
    /* Atomics. */
    atomic_uint refs;
    _Atomic uint64_t queued; /* bytes sent and not yet in the connection's output */
    atomic_bool subscribed;  /* pub/sub's output limit holds, else that of normal clients */
    atomic_bool full;        /* takes no more: over its limit, closing, or closed */
    atomic_bool broken;      /* what it is to hear as a cache goes to a client that is gone */
    /* The loop's thread only. */
    struct conn *conn; /* borrowed; NULL once closed */
};

struct peer *peer_ref(struct peer *p);
void peer_unref(struct peer **p); /* takes and nulls; NULL inside is accepted */

/* From any loop thread; from: its loop (NULL: another thread). Both are borrowed for the call. */
void peer_send(struct peer *to, struct push *what, const struct loop *from);

/* One push under way; both counted. */
struct push_item {
    struct peer *to;
    struct push *what;
};

/* All zero is empty. */
struct push_queue {
    struct push_item *v; /* owned; items are v[first] .. v[n - 1] */
    size_t first, n, cap;
};
void push_queue_fini(struct push_queue *q); /* drops what is in it */

#endif
