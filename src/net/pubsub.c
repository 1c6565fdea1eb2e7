/* SPDX-License-Identifier: MIT */
/*
 * pubsub.c - messages from one client to others: pub/sub and MONITOR, as commands ask for them
 * (command/pubsub_ops.h).
 *
 * A message is put into the queues of its receivers' loops under the mutex of its topic. So whoever
 * has left a topic finds all that it was still to get in its own queue: UNSUBSCRIBE puts that in
 * front of its reply. And every client that has seen a PUBLISH answered finds its message under
 * way.
 */
#include "net/net_private.h"

#include "base/assert.h"
#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

static struct conn *conn_of(struct session *s)
{
    return LIST_OWNER(s, struct conn, session);
}

/* ---- Subscriptions ---- */

/* What CLIENT LIST shows, and which output limit holds. */
static void count_topics(struct conn *c)
{
    size_t all = 0;
    for (int kind = 0; kind < TOPIC_KINDS; kind++) {
        size_t n = topic_set_count(c->topics, (enum topic_kind)kind);
        RELAXED_STORE(&c->session.listens[kind], (uint32_t)n);
        all += n;
    }
    RELAXED_STORE(&conn_peer_made(c)->subscribed, all > 0);
}

static bool pubsub_join(void *arg, struct session *s, enum topic_kind kind, struct bk_span name)
{
    struct net *net = arg;
    struct conn *c = conn_of(s);
    struct peer *me = conn_peer(c);
    if (c->topics == NULL) {
        c->topics = bk_alloc(sizeof(*c->topics));
        topic_set_init(c->topics);
    }
    bool joined = topics_join(net->topics, c->topics, kind, name, me);
    count_topics(c);
    return joined;
}

static bool pubsub_leave(void *arg, struct session *s, enum topic_kind kind, struct bk_span name)
{
    struct net *net = arg;
    struct conn *c = conn_of(s);
    bool left = c->topics != NULL && topics_leave(net->topics, c->topics, kind, name);
    if (left) {
        count_topics(c);
        c->loop->pushes_first = c->loop->pushes_first || conn_has_pushes(c);
    }
    return left;
}

static bool pubsub_first(void *arg, struct session *s, enum topic_kind kind, struct bk_span *name)
{
    (void)arg;
    const struct conn *c = conn_of(s);
    return c->topics != NULL && topic_set_first(c->topics, kind, name);
}

void conn_leave_topics(struct conn *c)
{
    struct net *net = c->loop->net;
    for (int kind = 0; c->topics != NULL && kind < TOPIC_KINDS; kind++) {
        struct bk_span name;
        while (topic_set_first(c->topics, (enum topic_kind)kind, &name)) {
            bool left = topics_leave(net->topics, c->topics, (enum topic_kind)kind, name);
            BK_ASSERT(left);
        }
    }
    if (c->topics != NULL) {
        count_topics(c);
        topic_set_fini(c->topics);
        free(c->topics);
        c->topics = NULL;
    }
}

/* ---- Messages ---- */

struct publishing {
    struct loop *from;       /* borrowed; NULL: no loop */
    const struct peer *self; /* borrowed; the sender's, NULL: none */
    enum topic_kind kind;
    struct bk_span channel, message; /* borrowed */
    uint64_t pos;
    struct push *body; /* counted; for the pattern, or for the channel's own listeners */
    const struct bk_span *pattern; /* borrowed; of body */
    bool to_self;
};

static void add_bulk(struct bk_buf *out, struct bk_span bytes)
{
    bk_buf_printf(out, "$%zu\r\n", bytes.len);
    bk_buf_append(out, bytes.data, bytes.len);
    bk_buf_append(out, "\r\n", 2);
}

/* The first byte is set for each receiver. */
static struct push *message_new(const struct publishing *p, const struct bk_span *pattern)
{
    struct bk_buf text = {0};
    bk_buf_printf(&text, "%s",
                  pattern != NULL          ? "*4\r\n$8\r\npmessage\r\n"
                  : p->kind == TOPIC_SHARD ? "*3\r\n$8\r\nsmessage\r\n"
                                           : "*3\r\n$7\r\nmessage\r\n");
    if (pattern != NULL) {
        add_bulk(&text, *pattern);
    }
    add_bulk(&text, p->channel);
    add_bulk(&text, p->message);
    struct push *body = push_new(p->pos, PUSH_MESSAGE, text.len);
    memcpy(body->bytes, text.data, text.len);
    bk_buf_fini(&text);
    return body;
}

static void hear(void *arg, void *who, const struct bk_span *pattern)
{
    struct publishing *p = arg;
    if (p->body == NULL || pattern != p->pattern) {
        push_unref(&p->body);
        p->body = message_new(p, pattern);
        p->pattern = pattern;
    }
    peer_send(who, p->body, p->from);
    p->to_self = p->to_self || who == p->self;
}

/* What a message of c's waits for: pos, and the last of c's own writes, which may have no reply
 * that does, unless that write's fate is known. */
static uint64_t behind_own(struct conn *c, uint64_t pos)
{
    const struct outq_judge *judge = &c->loop->judge;
    if (c->last_pos != 0 && judge->pos_state(judge->arg, c->last_pos) != BK_EAGAIN) {
        c->last_pos = 0;
    }
    return c->last_pos > pos ? c->last_pos : pos;
}

static size_t pubsub_publish(void *arg, struct session *from, enum topic_kind kind,
                             struct bk_span channel, struct bk_span message, uint64_t pos)
{
    struct net *net = arg;
    struct conn *c = from != NULL ? conn_of(from) : NULL;
    struct publishing p = {.kind = kind, .channel = channel, .message = message, .pos = pos};
    if (c != NULL) {
        p.from = c->loop;
        p.self = conn_peer_made(c);
        p.pos = behind_own(c, pos);
    }
    size_t n = topics_publish(net->topics, kind, channel, hear, &p);
    push_unref(&p.body);
    if (p.to_self) {
        p.from->pushes_first = true;
    }
    return n;
}

static void hear_nothing(void *arg, void *who, const struct bk_span *pattern)
{
    (void)arg;
    (void)who;
    (void)pattern;
}

static size_t pubsub_receivers(void *arg, enum topic_kind kind, struct bk_span channel)
{
    return topics_publish(((struct net *)arg)->topics, kind, channel, hear_nothing, NULL);
}

static bool pubsub_any(void *arg)
{
    return topics_any(((struct net *)arg)->topics);
}

static size_t pubsub_listeners(void *arg, enum topic_kind kind, struct bk_span name)
{
    return topics_listeners(((struct net *)arg)->topics, kind, name);
}

static uint64_t pubsub_count(void *arg, enum topic_kind kind)
{
    return topics_count(((struct net *)arg)->topics, kind);
}

static void pubsub_each(void *arg, enum topic_kind kind, topic_each_fn *each, void *each_arg)
{
    topics_each(((struct net *)arg)->topics, kind, each, each_arg);
}

/* ---- MONITOR ---- */

static bool monitor_begin(void *arg, struct session *s)
{
    struct net *net = arg;
    struct conn *c = conn_of(s);
    struct peer *me = conn_peer(c);
    if (RELAXED_LOAD(&s->monitors)) {
        return false;
    }
    RELAXED_STORE(&s->monitors, true);
    bk_mutex_lock(&net->monitors_mu);
    net->monitors = bk_realloc(net->monitors, (net->monitors_n + 1) * sizeof(struct peer *));
    net->monitors[net->monitors_n++] = me;
    bk_mutex_unlock(&net->monitors_mu);
    atomic_fetch_add(&net->watch.monitors, 1);
    return true;
}

static void monitor_end(void *arg, struct session *s)
{
    struct net *net = arg;
    const struct peer *me = conn_peer_made(conn_of(s));
    if (!RELAXED_LOAD(&s->monitors)) {
        return;
    }
    RELAXED_STORE(&s->monitors, false);
    atomic_fetch_sub(&net->watch.monitors, 1);
    bk_mutex_lock(&net->monitors_mu);
    size_t i = 0;
    while (net->monitors[i] != me) {
        i++;
    }
    net->monitors_n--;
    memmove(net->monitors + i, net->monitors + i + 1,
            (net->monitors_n - i) * sizeof(struct peer *));
    bk_mutex_unlock(&net->monitors_mu);
}

/* Lines that are under way come in front of the reply. */
static void monitor_off(void *arg, struct session *s)
{
    struct conn *c = conn_of(s);
    monitor_end(arg, s);
    c->loop->pushes_first = c->loop->pushes_first || conn_has_pushes(c);
}

void conn_leave_monitors(struct conn *c)
{
    monitor_end(c->loop->net, &c->session);
}

/* As Redis shows an address: a unix client's is the socket's path. */
static void monitored(void *arg, const struct session *from, struct bk_span line, size_t prefix)
{
    (void)arg;
    const struct conn *c =
        (const struct conn *)(const void *)((const char *)from - offsetof(struct conn, session));
    struct bk_buf *out = &c->loop->monitored;
    size_t addr_len = strlen(c->addr) - (c->is_unix ? 2 : 0); /* without ":0" */
    bk_buf_append(out, "+", 1);
    bk_buf_append(out, line.data, prefix);
    bk_buf_printf(out, "%s%.*s", c->is_unix ? "unix:" : "", (int)addr_len, c->addr);
    bk_buf_append(out, line.data + prefix, line.len - prefix);
    bk_buf_append(out, "\r\n", 2);
}

void conn_tell_monitors(struct conn *c, uint64_t pos)
{
    struct loop *l = c->loop;
    struct net *net = l->net;
    struct push *lines = push_new(behind_own(c, pos), PUSH_LINES, l->monitored.len);
    memcpy(lines->bytes, l->monitored.data, l->monitored.len);
    bk_buf_fini(&l->monitored);
    bk_mutex_lock(&net->monitors_mu);
    for (size_t i = 0; i < net->monitors_n; i++) {
        peer_send(net->monitors[i], lines, l);
    }
    bk_mutex_unlock(&net->monitors_mu);
    push_unref(&lines);
}

/* ---- Life ---- */

void pubsub_setup(struct net *net)
{
    net->topics = topics_new();
    bk_mutex_init(&net->monitors_mu, "monitors", BK_RANK_TOPICS);
    net->pubsub = (struct pubsub_ops){.arg = net,
                                      .watch = &net->watch,
                                      .join = pubsub_join,
                                      .leave = pubsub_leave,
                                      .first = pubsub_first,
                                      .publish = pubsub_publish,
                                      .receivers = pubsub_receivers,
                                      .any = pubsub_any,
                                      .listeners = pubsub_listeners,
                                      .count = pubsub_count,
                                      .each = pubsub_each,
                                      .monitor = monitor_begin,
                                      .unmonitor = monitor_off,
                                      .monitored = monitored};
}

void pubsub_teardown(struct net *net)
{
    BK_ASSERT(net->monitors_n == 0);
    topics_free(&net->topics);
    bk_mutex_fini(&net->monitors_mu);
    free(net->monitors);
}

const struct pubsub_ops *net_pubsub_ops(const struct net *net)
{
    return &net->pubsub;
}
