/* SPDX-License-Identifier: MIT */
/*
 * conn_io.c - bytes into a connection's reader, and replies out of the tick's buffer.
 *
 * All connections of a loop write their replies into loop->out; a connection's bytes of this tick
 * are one segment of it. The end of the tick sends segments straight from there. What must wait,
 * for the store or for the client, moves to the connection's outq, and from then on order demands
 * that all later bytes go through it too.
 */
#include "net/net_private.h"

#include "base/assert.h"
#include "base/log.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <sys/socket.h>

#define STEAL_MIN 65536u /* so much left over moves as a whole buffer where it can, uncopied */
#define TRIM_AFTER_MS 1000

/* ---- Input ---- */

void conn_watch_input(struct conn *c, bool on)
{
    if (on == c->reading) {
        return;
    }
    c->reading = on;
    int rc = on ? event_add(&c->read_ev, NULL) : event_del(&c->read_ev);
    if (rc != 0) {
        bk_log(BK_LOG_WARNING, "Cannot watch client id=%llu for input; closing it",
               (unsigned long long)c->session.id);
        c->reading = false;
        conn_close(c);
    }
}

/* The client sends no more. It may still read: what it has asked for is sent first. */
static void conn_end_of_input(struct conn *c)
{
    if (c->dirty || !outq_empty(&c->outq)) {
        conn_drain(c);
    } else {
        conn_close(c);
    }
}

void conn_read_cb(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;
    struct loop *l = c->loop;
    (void)what;
    loop_tick_begin(l);
    if (c->state != CONN_OPEN) {
        return; /* the arguments of an unfinished command, or commands not yet looked at, lie in the
                   reader */
    }
    size_t room;
    arrivals_make_way(l);
    resp_reader_borrow(c->reader, &l->spare);
    uint8_t *to = resp_reader_space(c->reader, &room);
    ssize_t n = recv(fd, to, room < NET_TICK_INPUT ? room : NET_TICK_INPUT, 0);
    if (n > 0) {
        resp_reader_filled(c->reader, (size_t)n);
        stat_add(&l->stats.input_bytes, (uint64_t)n);
        RELAXED_STORE(&c->last_ms, l->now_ms);
        c->trimmed = false;
        arrivals_add(l, c);
        loop_break_if_late(l);
        return;
    }
    resp_reader_give_back(c->reader, &l->spare);
    if (n == 0) {
        conn_end_of_input(c);
    } else if (errno != EAGAIN && errno != EINTR) {
        conn_close(c);
    }
}

/* ---- Gathering replies ---- */

/* Moves this tick's segment to the queue. */
static void conn_queue_segment(struct conn *c)
{
    struct loop *l = c->loop;
    if (c->seg_len > 0) {
        outq_add(&c->outq, bk_span_of(l->out.data + c->seg_at, c->seg_len), l->parts.v + c->part_at,
                 c->part_n);
    }
    c->seg_len = 0;
    c->part_n = 0;
}

void conn_out_begin(struct conn *c)
{
    struct loop *l = c->loop;
    if (c->dirty && c->seg_at + c->seg_len == l->out.len) {
        return;
    }
    if (!c->dirty) {
        c->dirty = true;
        list_push(&l->dirty, &c->dirty_link);
        c->seg_len = 0;
        c->part_n = 0;
    } else {
        conn_queue_segment(c); /* another connection wrote behind our segment: begin a new one */
    }
    c->seg_at = l->out.len;
    c->part_at = l->parts.n;
}

void loop_saw_pos(struct loop *l, uint64_t pos)
{
    if (pos > l->max_pos) {
        l->max_pos = pos;
    }
}

void conn_out_end(struct conn *c, size_t before, uint64_t pos, enum out_what what)
{
    struct loop *l = c->loop;
    size_t len = l->out.len - before;
    loop_saw_pos(l, pos);
    if (pos > c->last_pos) {
        c->last_pos = pos;
    }
    if (len > 0) {
        if (what == OUT_STAYS) {
            out_parts_add_staying(&l->parts, c->part_at, pos, len);
        } else {
            out_parts_add(&l->parts, c->part_at, pos, len, what == OUT_REPLY ? 1 : 0);
        }
        c->seg_len += len;
        c->part_n = l->parts.n - c->part_at;
    }
}

/* ---- Sending ---- */

/* How much went; 0 with the connection closed when the client is gone. */
static size_t conn_send(struct conn *c, struct bk_span bytes)
{
    struct loop *l = c->loop;
    ssize_t n = send(c->fd, bytes.data, bytes.len, MSG_NOSIGNAL);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            conn_close(c);
        }
        return 0;
    }
    stat_add(&l->stats.output_bytes, (uint64_t)n);
    RELAXED_STORE(&c->last_ms, l->now_ms);
    return (size_t)n;
}

/* What could not leave of the segment, whose first sent of ready bytes are gone; done: parts that
 * are settled. */
static void conn_keep_rest(struct conn *c, size_t sent, size_t ready, size_t done)
{
    struct loop *l = c->loop;
    const uint8_t *seg = l->out.data + c->seg_at;
    bool whole = c->seg_at == 0 && c->seg_len == l->out.len;
    if (whole && ready == c->seg_len && ready - sent >= STEAL_MIN) {
        outq_steal(&c->outq, &l->out, sent);
        return;
    }
    outq_add_settled(&c->outq, bk_span_of(seg + sent, ready - sent));
    outq_add(&c->outq, bk_span_of(seg + ready, c->seg_len - ready), l->parts.v + c->part_at + done,
             c->part_n - done);
}

/* Nothing is queued: sends what is committed of the segment straight from the tick's buffer. */
static void conn_send_segment(struct conn *c)
{
    struct loop *l = c->loop;
    const struct out_part *parts = l->parts.v + c->part_at;
    size_t done = 0;
    size_t ready = 0;
    while (done < c->part_n &&
           (parts[done].pos == 0 || l->judge.pos_state(l->judge.arg, parts[done].pos) == BK_OK)) {
        ready += parts[done++].len;
    }
    size_t sent = ready > 0 ? conn_send(c, bk_span_of(l->out.data + c->seg_at, ready)) : 0;
    if (c->state != CONN_CLOSED && sent < c->seg_len) {
        conn_keep_rest(c, sent, ready, done);
    }
}

void conn_flush(struct conn *c)
{
    list_remove(&c->dirty_link);
    c->dirty = false;
    if (c->seg_len > 0 && outq_empty(&c->outq)) {
        conn_send_segment(c);
        c->seg_len = 0;
        c->part_n = 0;
    } else {
        conn_queue_segment(c);
    }
    if (c->state != CONN_CLOSED) {
        conn_send_queued(c);
    }
}

void conn_overflowed(struct conn *c)
{
    bk_log(BK_LOG_WARNING, "Client id=%llu addr=%s closed for overcoming of output buffer limits.",
           (unsigned long long)c->session.id, c->addr);
    stat_add(&c->loop->stats.killed_obuf, 1);
    conn_close(c);
}

/* Over the hard limit, or over the soft one for too long: Redis closes at once, replies and all. */
static void conn_check_limits(struct conn *c)
{
    struct loop *l = c->loop;
    const struct net_tunables *t = &l->tun;
    const struct peer *me = conn_peer_made(c);
    bool pubsub = me != NULL && RELAXED_LOAD(&me->subscribed);
    uint64_t hard = pubsub ? t->obuf_pubsub_hard_bytes : t->obuf_hard_bytes;
    uint64_t soft = pubsub ? t->obuf_pubsub_soft_bytes : t->obuf_soft_bytes;
    uint32_t soft_s = pubsub ? t->obuf_pubsub_soft_s : t->obuf_soft_s;
    uint64_t held = outq_pending(&c->outq) + (me != NULL ? RELAXED_LOAD(&me->queued) : 0);
    bool over = hard > 0 && held >= hard;
    if (soft > 0 && held >= soft) {
        if (c->soft_since_ms == 0) {
            c->soft_since_ms = l->now_ms;
        }
        over = over || l->now_ms - c->soft_since_ms > (int64_t)soft_s * 1000;
    } else {
        c->soft_since_ms = 0;
    }
    if (over) {
        conn_overflowed(c);
    }
}

static void conn_watch_output(struct conn *c, bool on)
{
    if (on != c->writing) {
        c->writing = on;
        int rc = on ? event_add(&c->write_ev, NULL) : event_del(&c->write_ev);
        if (rc != 0) {
            c->writing = false;
            conn_close(c);
        }
    }
}

static void conn_set_waits(struct conn *c, bool waits)
{
    struct loop *l = c->loop;
    list_remove(&c->waiting);
    if (waits) {
        list_push(&l->waiting, &c->waiting);
    }
    if (waits != c->waits) {
        c->waits = waits;
        stat_add(&l->stats.waiting, waits ? 1 : UINT64_MAX);
    }
}

/* After a send: which events and lists follow from what is still queued. */
static void conn_after_send(struct conn *c)
{
    conn_set_waits(c, outq_waits(&c->outq));
    conn_watch_output(c, outq_ready(&c->outq).len > 0);
    if (c->state == CONN_CLOSED) {
        return;
    }
    if (outq_empty(&c->outq)) {
        outq_trim(&c->outq, true);
        c->soft_since_ms = 0;
        /* Older output may run dry in the middle of a tick: what this tick has gathered is still to
         * be sent, and conn_flush comes here again. */
        if (c->state == CONN_CLOSING && !c->dirty) {
            conn_close(c);
        }
    } else {
        conn_check_limits(c);
    }
}

void conn_send_queued(struct conn *c)
{
    outq_settle(&c->outq, &c->loop->judge);
    struct bk_span ready = outq_ready(&c->outq);
    /* While the write event is on, the socket is full: the event will tell. */
    if (ready.len > 0 && !c->writing) {
        outq_sent(&c->outq, conn_send(c, ready));
    }
    if (c->state != CONN_CLOSED) {
        conn_after_send(c);
        conn_measure(c);
    }
}

void conn_write_cb(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;
    (void)fd;
    (void)what;
    loop_tick_begin(c->loop);
    struct bk_span ready = outq_ready(&c->outq);
    if (ready.len > 0) {
        outq_sent(&c->outq, conn_send(c, ready));
    }
    if (c->state != CONN_CLOSED) {
        conn_after_send(c);
        conn_measure(c);
    }
    (void)exec_look(c->loop->exec);
    loop_break_if_late(c->loop);
}

/* ---- Once in a while ---- */

void conn_measure(struct conn *c)
{
    RELAXED_STORE(&c->input_pending, resp_reader_pending(c->reader));
    RELAXED_STORE(&c->output_pending, outq_pending(&c->outq));
    size_t held = c->pending != NULL ? sizeof(*c->pending) + resp_command_memory(c->pending) : 0;
    RELAXED_STORE(&c->memory, sizeof(*c) + resp_reader_memory(c->reader) + outq_memory(&c->outq) +
                                  held + RELAXED_LOAD(&c->session.multi_bytes));
}

/* Its input is not watched while it is parked. */
static bool conn_hung_up(const struct conn *c)
{
    struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) == 1 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

void conn_second(struct conn *c)
{
    struct loop *l = c->loop;
    if (conn_waits_at_will(c) && conn_hung_up(c)) {
        conn_close(c);
        return;
    }
    int64_t idle_ms = l->now_ms - RELAXED_LOAD(&c->last_ms);
    const struct peer *me = conn_peer_made(c);
    bool listens =
        RELAXED_LOAD(&c->session.monitors) || (me != NULL && RELAXED_LOAD(&me->subscribed));
    bool busy = c->pending != NULL || c->waits || c->state == CONN_READY;
    if (l->tun.timeout_s > 0 && !busy && !listens && idle_ms > (int64_t)l->tun.timeout_s * 1000) {
        bk_log(BK_LOG_VERBOSE, "Closing idle client id=%llu", (unsigned long long)c->session.id);
        stat_add(&l->stats.timed_out, 1);
        conn_close(c);
        return;
    }
    if (!c->trimmed && c->state == CONN_OPEN && idle_ms >= TRIM_AFTER_MS) {
        c->trimmed = true;
        resp_reader_trim(c->reader);
        outq_trim(&c->outq, false);
        conn_measure(c);
    }
    conn_check_limits(c);
}
