/* SPDX-License-Identifier: MIT */
/* push.c - see push.h. */
#include "net/push.h"

#include "base/assert.h"
#include "base/buf.h"
#include "net/net_private.h"

#include <stdlib.h>

#define KEEP_ITEMS 4096u /* a larger queue is given back once it has been emptied */

/* ---- Messages and peers ---- */

struct push *push_new(uint64_t pos, bool is_push, size_t len)
{
    struct push *p = bk_alloc(sizeof(*p) + len);
    atomic_init(&p->refs, 1);
    p->pos = pos;
    p->is_push = is_push;
    p->len = len;
    return p;
}

struct push *push_ref(struct push *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void push_unref(struct push **p)
{
    if (*p != NULL && atomic_fetch_sub(&(*p)->refs, 1) == 1) {
        free(*p);
    }
    *p = NULL;
}

struct peer *peer_ref(struct peer *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void peer_unref(struct peer **p)
{
    if (*p != NULL && atomic_fetch_sub(&(*p)->refs, 1) == 1) {
        free(*p);
    }
    *p = NULL;
}

/* What an item counts for while it is under way: its place in the queue too, so that a flood of
 * small ones is bounded as well. */
static uint64_t cost(const struct push *p)
{
    return p->len + sizeof(struct push_item);
}

static void queue_add(struct push_queue *q, struct peer *to, struct push *what)
{
    if (q->n == q->cap) {
        q->cap = q->cap == 0 ? 16 : q->cap * 2;
        q->v = bk_realloc(q->v, q->cap * sizeof(*q->v));
    }
    q->v[q->n++] = (struct push_item){peer_ref(to), push_ref(what)};
}

static void item_drop(struct push_item *item)
{
    atomic_fetch_sub(&item->to->queued, cost(item->what));
    push_unref(&item->what);
    peer_unref(&item->to);
}

void push_queue_fini(struct push_queue *q)
{
    for (size_t i = 0; i < q->n; i++) {
        item_drop(&q->v[i]);
    }
    free(q->v);
    *q = (struct push_queue){0};
}

/* ---- Sending ---- */

static uint64_t hard_limit(const struct peer *to)
{
    const struct net *net = to->loop->net;
    return atomic_load_explicit(&to->subscribed, memory_order_relaxed)
               ? RELAXED_LOAD(&net->obuf_pubsub_hard_bytes)
               : RELAXED_LOAD(&net->obuf_hard_bytes);
}

void peer_send(struct peer *to, struct push *what, const struct loop *from)
{
    struct loop *l = to->loop;
    if (atomic_load(&to->full)) {
        return;
    }
    uint64_t queued = atomic_fetch_add(&to->queued, cost(what)) + cost(what);
    uint64_t limit = hard_limit(to);
    if (limit > 0 && queued >= limit) {
        atomic_store(&to->full, true); /* the loop finds it at the item that follows */
    }
    bk_mutex_lock(&l->push_mu);
    bool first = l->pushes.n == 0;
    queue_add(&l->pushes, to, what);
    bk_mutex_unlock(&l->push_mu);
    if (first && from != l) { /* our own loop looks at the end of this tick */
        loop_poke(l);
    }
}

/* ---- Receiving ---- */

/* The arguments of an unfinished command lie in the reader, and its reply comes first. */
static bool must_wait(const struct conn *c)
{
    return c->pending != NULL && c != c->loop->answering;
}

static void conn_push(struct conn *c, const struct push *p)
{
    struct loop *l = c->loop;
    conn_out_begin(c);
    size_t before = l->out.len;
    bk_buf_append(&l->out, p->bytes, p->len);
    if (p->is_push) {
        l->out.data[before] = RELAXED_LOAD(&c->session.proto) == 3 ? '>' : '*';
    }
    conn_out_end(c, before, p->pos, false);
    if (l->out.len >= NET_TICK_OUTPUT) {
        loop_flush(l);
    }
}

static void deliver(struct push_item *item)
{
    struct conn *c = item->to->conn;
    if (c != NULL && c->state != CONN_CLOSING) {
        if (atomic_load(&item->to->full)) {
            conn_overflowed(c);
        } else if (must_wait(c)) {
            queue_add(&c->held, item->to, item->what);
            atomic_fetch_add(&item->to->queued, cost(item->what)); /* item_drop takes one off */
        } else {
            conn_push(c, item->what);
        }
    }
    item_drop(item);
}

void loop_take_pushes(struct loop *l)
{
    struct push_queue now;
    bk_mutex_lock(&l->push_mu);
    now = l->pushes;
    l->pushes = l->pushes_spare;
    bk_mutex_unlock(&l->push_mu);
    l->pushes_spare = (struct push_queue){0};
    for (size_t i = 0; i < now.n; i++) {
        deliver(&now.v[i]);
    }
    now.n = 0;
    if (now.cap > KEEP_ITEMS) {
        push_queue_fini(&now);
    } else {
        l->pushes_spare = now;
    }
}

bool conn_has_pushes(const struct conn *c)
{
    return c->peer != NULL && atomic_load_explicit(&c->peer->queued, memory_order_relaxed) > 0;
}

void conn_take_held(struct conn *c)
{
    struct push_queue now = c->held;
    c->held = (struct push_queue){0};
    for (size_t i = 0; i < now.n; i++) {
        deliver(&now.v[i]);
    }
    now.n = 0;
    push_queue_fini(&now);
}

/* ---- A connection's own peer ---- */

struct peer *conn_peer(struct conn *c)
{
    BK_ASSERT(c->state != CONN_CLOSED);
    if (c->peer == NULL) {
        struct peer *p = bk_alloc_zero(1, sizeof(*p));
        atomic_init(&p->refs, 1);
        p->loop = c->loop;
        p->conn = c;
        c->peer = p;
    }
    return c->peer;
}

void conn_leave_peer(struct conn *c)
{
    if (c->peer != NULL) {
        c->peer->conn = NULL;
        atomic_store(&c->peer->full, true);
        push_queue_fini(&c->held);
        peer_unref(&c->peer);
    }
}
