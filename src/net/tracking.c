/* SPDX-License-Identifier: MIT */
/*
 * tracking.c - clients that keep values in caches of their own, and how they hear that a value has
 * changed (command/tracking_ops.h).
 *
 * No change is missed: a client's key is in the table (tracks.h) before its command looks the key
 * up, and who changes a key looks into the table after other threads see the change. So either the
 * client sees the new value or the writer sees the client. And no message overtakes the reply that
 * it makes out of date: it is sent after the look-up has begun, and the client's loop puts pushes
 * behind the reply of a command that runs (push.h).
 *
 * Whether anybody tracks at all is one relaxed load (server_watch.tracking), and whether any key is
 * remembered another. Neither is too old: who changes a key has a fence between the change and
 * these loads, and who looks a key up has one between counting himself and the look-up (both in
 * command/tracking.c). For changes of whole databases the count is read by a write,
 * which sees the newest.
 *
 * The table's entries hold references of trackers, not of connections: what a client has read stays
 * there when it turns tracking off or leaves, until the key changes or must make room, and is
 * passed over then.
 */
#include "net/net_private.h"
#include "net/tracks.h"

#include "base/assert.h"
#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

#define EVICT_IN_PASSING 4u /* keys for each new one, while there are too many */
#define EVICT_SLICE_US 1000
#define EVICT_AT_A_TIME 64u
#define GIVE_BACK_STEPS 20000u /* in a tenth of a second: well below a millisecond */

/* A prefix that somebody listens to. Guarded by net->tracking_mu; the name is set once. */
struct prefix {
    struct tracker **v; /* owned array of borrowed pointers: who closes takes itself out */
    size_t n, cap;
    size_t len;
    uint8_t name[];
};

/* One client's caching. Counted: by its connection, and by each key that it remembers. */
struct tracker {
    /* Set once. */
    struct peer *peer; /* counted */
    /* Atomic. */
    atomic_uint refs;
    /* Guarded by mu. */
    struct bk_mutex mu;
    uint32_t flags BK_GUARDED(mu);
    uint64_t redirect BK_GUARDED(mu); /* id; 0: none */
    struct peer *to BK_GUARDED(mu); /* counted; NULL: none, or already gone when it was asked for */
    /* Guarded by net->tracking_mu: net->trackers, while it is on. */
    struct list on_list;
    /* What it listens to, in rising order: written by the connection's loop under tracking_mu. */
    struct prefix **prefixes; /* owned array; the prefixes are there while we are in them */
    size_t prefixes_n;
};

static struct conn *conn_of(struct session *s)
{
    return LIST_OWNER(s, struct conn, session);
}

static const struct tracker *tracker_seen(const struct session *s)
{
    const char *c = (const char *)s - offsetof(struct conn, session);
    return ((const struct conn *)(const void *)c)->tracker;
}

/* ---- Trackers ---- */

static void tracker_ref(void *who)
{
    struct tracker *t = who;
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
}

static void tracker_unref(void *who)
{
    struct tracker *t = who;
    if (atomic_fetch_sub(&t->refs, 1) == 1) {
        peer_unref(&t->to);
        peer_unref(&t->peer);
        bk_mutex_fini(&t->mu);
        free(t);
    }
}

/* Made when first used. */
static struct tracker *tracker_of(struct conn *c)
{
    if (c->tracker == NULL) {
        struct tracker *t = bk_alloc_zero(1, sizeof(*t));
        atomic_init(&t->refs, 1);
        bk_mutex_init(&t->mu, "tracker", BK_RANK_TRACKER);
        list_init(&t->on_list);
        t->peer = peer_ref(conn_peer(c));
        c->tracker = t;
    }
    return c->tracker;
}

/* ---- Sending ---- */

/* What is being sent to one tracker after the other. */
struct sending {
    struct loop *from;          /* borrowed; NULL: no loop */
    const struct tracker *self; /* borrowed; whose command it was, NULL: nobody's */
    struct bk_span value;       /* borrowed; an array of keys; empty: all */
    uint64_t pos;
    bool spares_self; /* a client that has said NOLOOP does not hear of its own doing */
    struct push *own, *redirected; /* counted; made when first needed */
};

static struct push *push_of(struct push **made, const struct sending *s, enum push_kind kind)
{
    if (*made == NULL) {
        *made = push_new(s->pos, kind, s->value.len);
        if (s->value.len > 0) {
            memcpy((*made)->bytes, s->value.data, s->value.len);
        }
    }
    return *made;
}

static void sending_fini(struct sending *s)
{
    push_unref(&s->own);
    push_unref(&s->redirected);
}

static void tell_broken(struct tracker *t, const struct loop *from)
{
    struct bk_buf text = {0};
    bk_buf_printf(&text, ">2\r\n$21\r\ntracking-redir-broken\r\n:%llu\r\n",
                  (unsigned long long)t->redirect);
    struct push *p = push_new(0, PUSH_RESP3, text.len);
    memcpy(p->bytes, text.data, text.len);
    RELAXED_STORE(&t->peer->broken, true);
    peer_send(t->peer, p, from);
    push_unref(&p);
    bk_buf_fini(&text);
}

/* bcast: as one who listens to a prefix, not as one who remembers a key. */
static void send_to(struct sending *s, struct tracker *t, bool bcast)
{
    bk_mutex_lock(&t->mu);
    bool on = (t->flags & TRACKING_ON) != 0 && ((t->flags & TRACKING_BCAST) != 0) == bcast;
    bool spared = s->spares_self && t == s->self && (t->flags & TRACKING_NOLOOP) != 0;
    if (!on || spared) {
        /* Nothing. */
    } else if (t->redirect == 0) {
        peer_send(t->peer, push_of(&s->own, s, PUSH_INVALIDATE), s->from);
    } else if (t->to != NULL && !atomic_load(&t->to->full)) {
        peer_send(t->to, push_of(&s->redirected, s, PUSH_INVALIDATE_REDIRECTED), s->from);
    } else {
        tell_broken(t, s->from);
    }
    bk_mutex_unlock(&t->mu);
}

static struct sending sending_of(struct session *by, uint64_t pos)
{
    struct conn *c = by != NULL ? conn_of(by) : NULL;
    return (struct sending){
        .from = c != NULL ? c->loop : NULL, .self = c != NULL ? c->tracker : NULL, .pos = pos};
}

static void add_key(struct bk_buf *out, struct bk_span key)
{
    bk_buf_printf(out, "$%zu\r\n", key.len);
    bk_buf_append(out, key.data, key.len);
    bk_buf_append(out, "\r\n", 2);
}

/* ---- Those who remember a key ---- */

static void tell_list(struct sending *s, struct bk_span key, const struct tracks_list *list,
                      bool not_self)
{
    struct bk_buf value = {0};
    bk_buf_append(&value, "*1\r\n", 4);
    add_key(&value, key);
    s->value = bk_buf_span(&value);
    for (size_t i = 0; i < list->n; i++) {
        if (!not_self || list->v[i] != s->self) {
            send_to(s, list->v[i], false);
        }
    }
    sending_fini(s);
    bk_buf_fini(&value);
}

static void tell_key(struct net *net, const struct tracking_news *news,
                     const struct tracking_change *change)
{
    struct sending s = sending_of(news->by, news->pos);
    struct conn *c = news->by != NULL ? conn_of(news->by) : NULL;
    struct tracker *self = c != NULL ? c->tracker : NULL;
    struct tracks_list list = {0};
    s.spares_self = true;
    (void)tracks_take(net->tracks, change->key, change->kept ? self : NULL, &list);
    if (list.n > 0) {
        tell_list(&s, change->key, &list, change->unread);
        tracks_list_fini(net->tracks, &list);
    }
}

/* splitmix64: which key makes room is nothing that anybody should know. */
static uint64_t next_random(struct net *net)
{
    uint64_t step = 0x9e3779b97f4a7c15u;
    uint64_t z = atomic_fetch_add_explicit(&net->tracking_random, step, memory_order_relaxed);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* The table holds no more keys than it may; for each that goes its clients hear. Returns false when
 * it is small enough. */
static bool make_room(struct net *net, unsigned keys)
{
    uint64_t max = RELAXED_LOAD(&net->tracking_keys_max);
    bool over = true;
    while (keys-- > 0 && over) {
        struct sending s = sending_of(NULL, 0);
        struct tracks_list list = {0};
        struct bk_buf key = {0};
        over = max > 0 && tracks_keys(net->tracks) > max &&
               tracks_take_any(net->tracks, next_random(net), &key, &list);
        if (over) {
            tell_list(&s, bk_buf_span(&key), &list, false);
            tracks_list_fini(net->tracks, &list);
        }
        bk_buf_fini(&key);
    }
    return over;
}

static bool remember(void *arg, struct session *s, struct bk_span key)
{
    struct net *net = arg;
    bool added = tracks_add(net->tracks, key, tracker_of(conn_of(s)));
    if (added) {
        (void)make_room(net, EVICT_IN_PASSING);
    }
    return added;
}

void tracking_cron(struct net *net)
{
    int64_t begin_us = bk_clock_mono_us(&bk_clock_system);
    (void)tracks_give_back(net->tracks, GIVE_BACK_STEPS);
    while (make_room(net, EVICT_AT_A_TIME) &&
           bk_clock_mono_us(&bk_clock_system) < begin_us + EVICT_SLICE_US) {
        /* A slice at a time. */
    }
}

/* ---- Those who listen to a prefix ---- */

static int compare(struct bk_span a, struct bk_span b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len == 0 ? 0 : memcmp(a.data, b.data, len);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static int by_bytes(const void *a, const void *b)
{
    return compare(*(const struct bk_span *)a, *(const struct bk_span *)b);
}

static struct bk_span prefix_name(const struct prefix *p)
{
    return bk_span_of(p->name, p->len);
}

static bool begins_with(struct bk_span key, struct bk_span prefix)
{
    return key.len >= prefix.len &&
           (prefix.len == 0 || memcmp(key.data, prefix.data, prefix.len) == 0);
}

/* Where the name is among n prefixes in rising order, or would be. */
static size_t place_of(struct prefix *const *v, size_t n, struct bk_span name)
{
    size_t i = 0;
    while (i < n && compare(prefix_name(v[i]), name) < 0) {
        i++;
    }
    return i;
}

static void insert(struct prefix ***v, size_t n, size_t at, struct prefix *p)
{
    *v = bk_realloc(*v, (n + 1) * sizeof(**v));
    memmove(*v + at + 1, *v + at, (n - at) * sizeof(**v));
    (*v)[at] = p;
}

static struct prefix *prefix_locked(struct net *net, struct bk_span name)
{
    size_t n = (size_t)RELAXED_LOAD(&net->prefixes_n);
    size_t i = place_of(net->prefixes, n, name);
    bk_mutex_assert_held(&net->tracking_mu);
    if (i == n || compare(prefix_name(net->prefixes[i]), name) != 0) {
        struct prefix *p = bk_alloc_zero(1, sizeof(*p) + name.len);
        p->len = name.len;
        if (name.len > 0) {
            memcpy(p->name, name.data, name.len);
        }
        insert(&net->prefixes, n, i, p);
        RELAXED_STORE(&net->prefixes_n, n + 1);
    }
    return net->prefixes[i];
}

static void join_locked(struct net *net, struct tracker *t, struct bk_span name)
{
    size_t i = place_of(t->prefixes, t->prefixes_n, name);
    if (i < t->prefixes_n && compare(prefix_name(t->prefixes[i]), name) == 0) {
        return;
    }
    struct prefix *p = prefix_locked(net, name);
    if (p->n == p->cap) {
        p->cap = p->cap == 0 ? 4 : p->cap * 2;
        p->v = bk_realloc(p->v, p->cap * sizeof(struct tracker *));
    }
    p->v[p->n++] = t;
    insert(&t->prefixes, t->prefixes_n, i, p);
    t->prefixes_n++;
}

static void drop_prefix_locked(struct net *net, struct prefix *p)
{
    size_t n = (size_t)RELAXED_LOAD(&net->prefixes_n);
    size_t i = place_of(net->prefixes, n, prefix_name(p));
    bk_mutex_assert_held(&net->tracking_mu);
    BK_ASSERT(net->prefixes[i] == p);
    memmove(net->prefixes + i, net->prefixes + i + 1, (n - i - 1) * sizeof(struct prefix *));
    RELAXED_STORE(&net->prefixes_n, n - 1);
    free(p->v);
    free(p);
}

static void leave_all_locked(struct net *net, struct tracker *t)
{
    for (size_t i = 0; i < t->prefixes_n; i++) {
        struct prefix *p = t->prefixes[i];
        size_t at = 0;
        while (p->v[at] != t) {
            at++;
        }
        memmove(p->v + at, p->v + at + 1, (p->n - at - 1) * sizeof(struct tracker *));
        p->n--;
        if (p->n == 0) {
            drop_prefix_locked(net, p);
        }
    }
    free(t->prefixes);
    t->prefixes = NULL;
    t->prefixes_n = 0;
}

/* One message for each prefix, with all keys that it fits, as Redis has them: in order, each once.
 */
static void tell_prefix_locked(struct sending *s, const struct prefix *p,
                               const struct bk_span *keys, size_t n)
{
    struct bk_buf value = {0};
    struct bk_buf fit = {0};
    size_t fits = 0;
    for (size_t i = 0; i < n; i++) {
        if (begins_with(keys[i], prefix_name(p)) && (i == 0 || !bk_span_eq(keys[i - 1], keys[i]))) {
            add_key(&fit, keys[i]);
            fits++;
        }
    }
    if (fits > 0) {
        bk_buf_printf(&value, "*%zu\r\n", fits);
        bk_buf_append(&value, fit.data, fit.len);
        s->value = bk_buf_span(&value);
        for (size_t i = 0; i < p->n; i++) {
            send_to(s, p->v[i], true);
        }
        sending_fini(s);
    }
    bk_buf_fini(&fit);
    bk_buf_fini(&value);
}

static void broadcast(struct net *net, const struct tracking_news *news)
{
    struct sending s = sending_of(news->by, news->pos);
    struct bk_span *keys = bk_alloc(news->n * sizeof(*keys));
    for (size_t i = 0; i < news->n; i++) {
        keys[i] = news->changes[i].key;
    }
    qsort(keys, news->n, sizeof(*keys), by_bytes);
    s.spares_self = !news->vanished;
    bk_mutex_lock(&net->tracking_mu);
    for (size_t i = 0; i < RELAXED_LOAD(&net->prefixes_n); i++) {
        tell_prefix_locked(&s, net->prefixes[i], keys, news->n);
    }
    bk_mutex_unlock(&net->tracking_mu);
    free(keys);
}

/* ---- Changes ---- */

static void changed(void *arg, const struct tracking_news *news)
{
    struct net *net = arg;
    for (size_t i = 0; i < news->n && tracks_keys(net->tracks) > 0; i++) {
        tell_key(net, news, &news->changes[i]);
    }
    if (RELAXED_LOAD(&net->prefixes_n) > 0 && news->n > 0) {
        broadcast(net, news);
    }
}

/* Emptied first: who remembers a key from now on looks it up behind the change, and hears of it all
 * the same. */
static void flushed(void *arg, struct session *by, uint64_t pos)
{
    struct net *net = arg;
    struct sending s = sending_of(by, pos);
    tracks_clear(net->tracks);
    bk_mutex_lock(&net->tracking_mu);
    for (struct list *node = net->trackers.next; node != &net->trackers; node = node->next) {
        struct tracker *t = LIST_OWNER(node, struct tracker, on_list);
        send_to(&s, t, t->prefixes_n > 0);
    }
    bk_mutex_unlock(&net->tracking_mu);
    sending_fini(&s);
}

static bool any(void *arg)
{
    return atomic_fetch_add(&((struct net *)arg)->watch.tracking, 0) > 0;
}

/* ---- On and off ---- */

static bool client_exists(void *arg, uint64_t id)
{
    struct peer *p = net_find_peer(arg, id);
    bool exists = p != NULL;
    peer_unref(&p);
    return exists;
}

/* From here on t is told, or not, as flags say. Takes to. */
static void set_mode(struct tracker *t, uint32_t flags, uint64_t redirect, struct peer *to)
{
    bk_mutex_lock(&t->mu);
    struct peer *was = t->to;
    t->flags = flags;
    t->redirect = redirect;
    t->to = to;
    RELAXED_STORE(&t->peer->broken, false); /* before anybody finds the new one gone */
    bk_mutex_unlock(&t->mu);
    peer_unref(&was);
}

static void tracking_on(void *arg, struct session *s, const struct tracking_mode *mode)
{
    struct net *net = arg;
    struct conn *c = conn_of(s);
    struct tracker *t = tracker_of(c);
    struct peer *to = mode->redirect != 0 ? net_find_peer(net, mode->redirect) : NULL;
    bk_mutex_lock(&net->tracking_mu);
    if (list_empty(&t->on_list)) {
        list_push(&net->trackers, &t->on_list);
        atomic_fetch_add(&net->watch.tracking, 1);
    }
    for (size_t i = 0; i < mode->prefixes_n; i++) {
        join_locked(net, t, mode->prefixes[i]);
    }
    if ((mode->flags & TRACKING_BCAST) != 0 && mode->prefixes_n == 0) {
        join_locked(net, t, bk_span_str(""));
    }
    set_mode(t, mode->flags, mode->redirect, to);
    bk_mutex_unlock(&net->tracking_mu);
    RELAXED_STORE(&s->tracking, mode->flags | (RELAXED_LOAD(&s->tracking) & TRACKING_CACHING));
    RELAXED_STORE(&s->redirect, mode->redirect);
    c->loop->pushes_first = c->loop->pushes_first || conn_has_pushes(c);
}

/* What the last one remembered goes with it: nobody will ask for it. */
static void tracking_off(void *arg, struct session *s)
{
    struct net *net = arg;
    struct conn *c = conn_of(s);
    struct tracker *t = c->tracker;
    if ((RELAXED_LOAD(&s->tracking) & TRACKING_ON) == 0) {
        return;
    }
    bk_mutex_lock(&net->tracking_mu);
    leave_all_locked(net, t);
    list_remove(&t->on_list);
    set_mode(t, 0, 0, NULL);
    if (atomic_fetch_sub(&net->watch.tracking, 1) == 1) {
        tracks_clear(net->tracks);
    }
    bk_mutex_unlock(&net->tracking_mu);
    RELAXED_STORE(&s->tracking, 0);
    c->loop->pushes_first = c->loop->pushes_first || conn_has_pushes(c);
}

static bool is_broken(void *arg, const struct session *s)
{
    const struct tracker *t = tracker_seen(s);
    (void)arg;
    return t != NULL && RELAXED_LOAD(&t->peer->broken);
}

static size_t prefixes(void *arg, const struct session *s)
{
    const struct tracker *t = tracker_seen(s);
    (void)arg;
    return t == NULL ? 0 : t->prefixes_n;
}

static struct bk_span nth_prefix(void *arg, const struct session *s, size_t i)
{
    (void)arg;
    return prefix_name(tracker_seen(s)->prefixes[i]);
}

/* ---- Life ---- */

void conn_leave_tracking(struct conn *c)
{
    tracking_off(c->loop->net, &c->session);
    if (c->tracker != NULL) {
        tracker_unref(c->tracker);
        c->tracker = NULL;
    }
}

void tracking_setup(struct net *net)
{
    net->tracks = tracks_new(tracker_ref, tracker_unref);
    bk_mutex_init(&net->tracking_mu, "tracking", BK_RANK_TRACKING);
    list_init(&net->trackers);
    atomic_init(&net->tracking_random, (uint64_t)bk_clock_mono_us(&bk_clock_system));
    net->tracking = (struct tracking_ops){.arg = net,
                                          .client_exists = client_exists,
                                          .on = tracking_on,
                                          .off = tracking_off,
                                          .broken = is_broken,
                                          .prefixes = prefixes,
                                          .prefix = nth_prefix,
                                          .remember = remember,
                                          .changed = changed,
                                          .flushed = flushed,
                                          .any = any};
}

void tracking_teardown(struct net *net)
{
    BK_ASSERT(list_empty(&net->trackers));
    BK_ASSERT(RELAXED_LOAD(&net->prefixes_n) == 0);
    tracks_free(&net->tracks);
    bk_mutex_fini(&net->tracking_mu);
    free(net->prefixes);
}

const struct tracking_ops *net_tracking_ops(const struct net *net)
{
    return &net->tracking;
}
