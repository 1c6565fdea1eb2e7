/* SPDX-License-Identifier: MIT */
/*
 * outq.h - replies of one connection that have not left yet, in order, each part with the log
 * position it depends on. No sockets: the caller sends outq_ready() and tells how much went.
 *
 *   bytes:  | sent | settled: may leave | part | part | ... |
 *
 * A part becomes settled when its position is committed. When its write was undone, each of its
 * replies is replaced by one error, unless the part stays.
 */
#ifndef BK_NET_OUTQ_H
#define BK_NET_OUTQ_H

#include "base/buf.h"
#include "base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct out_part {
    uint64_t pos; /* 0: depends on nothing */
    size_t len;
    uint32_t replies; /* commands answered here with at least one byte */
    bool stays;       /* leaves also when the write was undone: no reply, and still true */
};

/* Parts in the making: those of all connections of a tick. All zero is empty. */
struct out_parts {
    struct out_part *v; /* owned */
    size_t n, cap;
};
void out_parts_fini(struct out_parts *p);
/* Adds to the part at index first or later whose position is the same and which is the last, or
 * begins a new one. */
void out_parts_add(struct out_parts *p, size_t first, uint64_t pos, size_t len, uint32_t replies);
void out_parts_add_staying(struct out_parts *p, size_t first, uint64_t pos, size_t len);

/* All zero is a valid empty queue. */
struct outq {
    struct bk_buf bytes;
    size_t sent;            /* bytes at the front that are gone already */
    size_t settled;         /* bytes after those that may leave */
    struct out_parts parts; /* of the bytes after those; the first head of them are settled */
    size_t head;
};

/* What became of a position, and what to answer when its write was undone. */
struct outq_judge {
    int (*pos_state)(void *arg, uint64_t pos); /* BK_OK, BK_EAGAIN: not yet, else undone */
    void *arg;
    void (*undone)(void *arg2, uint32_t replies,
                   struct bk_buf *out); /* appends that many error replies */
    void *arg2;
};

void outq_fini(struct outq *q);

static inline size_t outq_pending(const struct outq *q)
{
    return q->bytes.len - q->sent;
}

static inline bool outq_empty(const struct outq *q)
{
    return q->bytes.len == q->sent;
}

static inline bool outq_waits(const struct outq *q)
{
    return q->head < q->parts.n;
}

/* Appends bytes that may leave at once; only while nothing waits. */
void outq_add_settled(struct outq *q, struct bk_span bytes);
/* Appends the bytes of n parts; their lengths add up to bytes.len. */
void outq_add(struct outq *q, struct bk_span bytes, const struct out_part *parts, size_t n);
/* Takes a whole buffer, of which the first sent bytes are gone and the rest may leave; only while
 * empty. */
void outq_steal(struct outq *q, struct bk_buf *bytes, size_t sent);
/* Settles parts from the front up to the first that must wait. */
void outq_settle(struct outq *q, const struct outq_judge *judge);
/* What may leave now; borrowed until the next call. */
struct bk_span outq_ready(const struct outq *q);
/* n bytes of outq_ready have left. */
void outq_sent(struct outq *q, size_t n);
/* Gives memory back when empty; keep: also keeps small buffers for the next tick. */
void outq_trim(struct outq *q, bool keep);
size_t outq_memory(const struct outq *q);

#endif
