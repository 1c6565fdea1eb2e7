/* SPDX-License-Identifier: MIT */
/* push.c - see push.h. */
#include "net/push.h"

#include "base/assert.h"
#include "base/buf.h"
#include "command/table.h"
#include "net/net_private.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define KEEP_ITEMS 4096u /* a larger queue is given back once it has been emptied */

/* ---- Messages and peers ---- */

struct push *push_new(uint64_t pos, enum push_kind kind, size_t len)
{
    struct push *p = bk_alloc(sizeof(*p) + len);
    atomic_init(&p->refs, 1);
    p->pos = pos;
    p->kind = kind;
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

static bool queue_empty(const struct push_queue *q)
{
    return q->first == q->n;
}

/* Takes what the item owns. */
static void queue_add(struct push_queue *q, struct push_item item)
{
    if (q->n == q->cap && q->first > q->cap / 2) {
        q->n -= q->first;
        memmove(q->v, q->v + q->first, q->n * sizeof(*q->v));
        q->first = 0;
    } else if (q->n == q->cap) {
        q->cap = q->cap == 0 ? 16 : q->cap * 2;
        q->v = bk_realloc(q->v, q->cap * sizeof(*q->v));
    }
    q->v[q->n++] = item;
}

static void item_drop(struct push_item *item)
{
    atomic_fetch_sub(&item->to->queued, cost(item->what));
    push_unref(&item->what);
    peer_unref(&item->to);
}

void push_queue_fini(struct push_queue *q)
{
    for (size_t i = q->first; i < q->n; i++) {
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
    queue_add(&l->pushes, (struct push_item){peer_ref(to), push_ref(what)});
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

/* Tells a client to forget values. */
static bool is_invalidation(const struct push *p)
{
    return p->kind == PUSH_INVALIDATE || p->kind == PUSH_INVALIDATE_REDIRECTED;
}

/* An EXEC that has published, say, wants its messages in front of its reply; but what makes values
 * in that reply out of date comes behind it, or its client would keep them for ever. */
static bool after_reply(const struct conn *c, const struct push *p)
{
    const struct command_row *row = RELAXED_LOAD(&c->session.last_command);
    return is_invalidation(p) && c == c->loop->answering && row != NULL &&
           (row->flags & (CMD_RUNS_QUEUE | CMD_READONLY)) != 0;
}

static void put_invalidation(struct bk_buf *out, const struct push *p, bool resp3)
{
    bk_buf_printf(out, "%s",
                  resp3 ? ">2\r\n$10\r\ninvalidate\r\n"
                        : "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n");
    if (p->len == 0) {
        bk_buf_printf(out, "%s", resp3 ? "_\r\n" : "$-1\r\n");
    }
    bk_buf_append(out, p->bytes, p->len);
}

static void put_push(struct conn *c, const struct push *p)
{
    struct bk_buf *out = &c->loop->out;
    /* In front of RESET's reply the client still speaks as before. */
    bool answering = c == c->loop->answering;
    bool resp3 = (answering ? c->loop->proto_before : RELAXED_LOAD(&c->session.proto)) == 3;
    bool subscribed = RELAXED_LOAD(&conn_peer_made(c)->subscribed);
    size_t before = out->len;
    switch (p->kind) {
    case PUSH_INVALIDATE:
    case PUSH_INVALIDATE_REDIRECTED:
        if (resp3 || (subscribed && p->kind == PUSH_INVALIDATE_REDIRECTED)) {
            put_invalidation(out, p, resp3);
        }
        break;
    case PUSH_RESP3:
        bk_buf_append(out, p->bytes, resp3 ? p->len : 0);
        break;
    case PUSH_MESSAGE:
        bk_buf_append(out, p->bytes, p->len);
        out->data[before] = resp3 ? '>' : '*';
        break;
    case PUSH_LINES:
        bk_buf_append(out, p->bytes, p->len);
        break;
    }
}

static void conn_push(struct conn *c, const struct push *p)
{
    struct loop *l = c->loop;
    conn_out_begin(c);
    size_t before = l->out.len;
    put_push(c, p);
    conn_out_end(c, before, p->pos, is_invalidation(p) ? OUT_STAYS : OUT_MESSAGE);
    if (l->out.len >= NET_TICK_OUTPUT) {
        loop_flush(l);
    }
}

/* What may still be handed over. */
struct room {
    unsigned pushes;
    size_t bytes;
};

static const struct room at_once = {NET_ONCE_PUSHES, NET_TICK_OUTPUT};
static const struct room a_turn = {NET_TURN_PUSHES, NET_TICK_OUTPUT};
static const struct room all = {UINT_MAX, SIZE_MAX};

static bool room_left(const struct room *r)
{
    return r->pushes > 0 && r->bytes > 0;
}

static void room_used(struct room *r, unsigned pushes, size_t bytes)
{
    r->pushes -= pushes;
    r->bytes -= bytes < r->bytes ? bytes : r->bytes;
}

/* Takes the item. May close the connection. */
static void deliver(struct conn *c, struct push_item *item, struct room *room)
{
    room_used(room, 1, item->what->len);
    if (c->state == CONN_CLOSING) {
        /* full says so too: it gets no more, but what it has been given leaves */
    } else if (atomic_load(&item->to->full)) {
        conn_overflowed(c);
    } else {
        conn_push(c, item->what);
    }
    item_drop(item);
}

/* On loop->receivers as long as there is something to be handed over. There it keeps its place. */
static void list_receiver(struct conn *c)
{
    if (queue_empty(&c->held) || must_wait(c)) {
        list_remove(&c->receives);
    } else if (list_empty(&c->receives)) {
        list_push(&c->loop->receivers, &c->receives);
    }
}

/* From c's own queue. */
static void deliver_held(struct conn *c, struct room *room)
{
    while (!queue_empty(&c->held) && !must_wait(c) && room_left(room) &&
           !after_reply(c, c->held.v[c->held.first].what)) {
        struct push_item item = c->held.v[c->held.first++];
        if (queue_empty(&c->held)) {
            push_queue_fini(&c->held);
        }
        deliver(c, &item, room);
    }
    list_receiver(c);
}

/* Takes the item: at once, or into the connection's own queue. only: NULL, or the one to which it
 * may go at once. */
static void take(struct push_item *item, const struct conn *only, struct room *room)
{
    struct conn *c = item->to->conn;
    if (c == NULL || c->state == CONN_CLOSING) {
        item_drop(item);
    } else if (atomic_load(&item->to->full)) {
        conn_overflowed(c);
        item_drop(item);
    } else if (queue_empty(&c->held) && !must_wait(c) && room_left(room) &&
               !after_reply(c, item->what) && (only == NULL || only == c)) {
        deliver(c, item, room);
    } else {
        queue_add(&c->held, *item);
        list_receiver(c);
    }
}

static void take_queue(struct loop *l, const struct conn *only, struct room *room)
{
    struct push_queue now;
    bk_mutex_lock(&l->push_mu);
    now = l->pushes;
    l->pushes = l->pushes_spare;
    bk_mutex_unlock(&l->push_mu);
    l->pushes_spare = (struct push_queue){0};
    for (size_t i = 0; i < now.n; i++) {
        take(&now.v[i], only, room);
    }
    now.n = 0;
    if (now.cap > KEEP_ITEMS) {
        push_queue_fini(&now);
    } else {
        l->pushes_spare = now;
    }
}

/* Connections that have something waiting, each in its turn. */
static void serve_receivers(struct loop *l)
{
    while (!list_empty(&l->receivers) && !loop_late(l)) {
        struct room turn = a_turn;
        deliver_held(LIST_OWNER(list_pop(&l->receivers), struct conn, receives), &turn);
        (void)exec_look(l->exec);
    }
}

/* What waited comes first. All that there is time for: by number, what many commands of a tick send
 * would be more than a tick hands over, for as long as they come. */
void loop_take_pushes(struct loop *l)
{
    struct room room = at_once;
    loop_next_part(l);
    serve_receivers(l);
    take_queue(l, NULL, &room);
    serve_receivers(l);
}

bool conn_has_pushes(const struct conn *c)
{
    const struct peer *me = conn_peer_made(c);
    return me != NULL && atomic_load_explicit(&me->queued, memory_order_relaxed) > 0;
}

bool conn_take_pushes(struct conn *c, bool whole)
{
    struct room room = whole ? all : a_turn;
    deliver_held(c, &room);
    take_queue(c->loop, c, &room);
    return queue_empty(&c->held);
}

void conn_take_held(struct conn *c)
{
    list_receiver(c);
}

/* ---- A connection's own peer ---- */

/* c is in the registry. */
static struct peer *made_locked(struct conn *c)
{
    bk_mutex_assert_held(&c->loop->registry_mu);
    struct peer *p = conn_peer_made(c);
    if (p == NULL) {
        p = bk_alloc_zero(1, sizeof(*p));
        atomic_init(&p->refs, 1);
        p->loop = c->loop;
        p->conn = c;
        atomic_store_explicit(&c->peer, p, memory_order_release);
    }
    return p;
}

struct peer *conn_peer(struct conn *c)
{
    struct peer *p = conn_peer_made(c);
    BK_ASSERT(c->state != CONN_CLOSED);
    if (p == NULL) {
        bk_mutex_lock(&c->loop->registry_mu);
        p = made_locked(c);
        bk_mutex_unlock(&c->loop->registry_mu);
    }
    return p;
}

static struct peer *find_on_loop(struct loop *l, uint64_t id)
{
    struct peer *found = NULL;
    bk_mutex_lock(&l->registry_mu);
    for (struct list *node = l->registry.next; node != &l->registry && found == NULL;
         node = node->next) {
        struct conn *c = LIST_OWNER(node, struct conn, registered);
        if (c->session.id == id) {
            found = peer_ref(made_locked(c));
        }
    }
    bk_mutex_unlock(&l->registry_mu);
    return found;
}

struct peer *net_find_peer(struct net *net, uint64_t id)
{
    struct peer *found = NULL;
    for (unsigned i = 0; i < net->loops_n && found == NULL; i++) {
        found = find_on_loop(&net->loops[i], id);
    }
    return found;
}

void conn_leave_peer(struct conn *c)
{
    struct peer *me = conn_peer_made(c);
    if (me != NULL) {
        me->conn = NULL;
        atomic_store(&me->full, true);
        list_remove(&c->receives);
        push_queue_fini(&c->held);
        atomic_store_explicit(&c->peer, NULL, memory_order_relaxed);
        peer_unref(&me);
    }
}
