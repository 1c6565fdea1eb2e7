/* SPDX-License-Identifier: MIT */
/*
 * loop.c - a loop thread and its ticks.
 *
 * A tick: what was left over from the last one, one round of epoll, those that wait and shall look
 * again, then at the end one flush of the store and one send per connection. Each kind of these has
 * NET_TURN_US for its own, and a last command that has begun then: what is left of it goes first in
 * its part of the next tick, in the same order, so that none waits for the end of another. When
 * connections wait for the store, the loop arms wants_wake and looks once more before it sleeps, so
 * that a commit between the last look and the arming is not missed.
 */
#include "net/net_private.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RETRY_REFUSED 2            /* of the commands that wait for room, in one round */
#define OUT_KEEP ((size_t)2 << 20) /* a larger tick buffer is given back */

/* ---- Ticks ---- */

void loop_tick_begin(struct loop *l)
{
    if (!l->in_tick) {
        l->in_tick = true;
        int64_t now_us = bk_clock_system_wall_us();
        l->now_ms = now_us / 1000;
        ticks_begin(&l->timer);
        exec_tick(l->exec, now_us, l->timer.start_us);
        l->late_us = NET_TURN_US;
        net_tunables_read(l->net, &l->tun);
    }
}

bool loop_late(const struct loop *l)
{
    return exec_tick_us(l->exec) >= l->late_us;
}

void loop_next_part(struct loop *l)
{
    l->late_us = exec_tick_us(l->exec) + NET_TURN_US;
}

void loop_break_if_late(struct loop *l)
{
    if (loop_late(l)) {
        event_base_loopbreak(l->base); /* what is active stays so */
    }
}

void loop_flush(struct loop *l)
{
    const struct net_store_ops *store = &l->net->store;
    exec_ahead_over(l->exec); /* to write may be to wait */
    if (l->max_pos > l->flushed_pos) {
        l->flushed_pos = l->max_pos;
        store->flush(store->arg, l->max_pos);
    }
    struct list *node;
    while ((node = list_pop(&l->dirty)) != NULL) {
        conn_flush(LIST_OWNER(node, struct conn, dirty_link));
    }
    l->out.len = 0;
    l->parts.n = 0;
    if (l->out.cap > OUT_KEEP) {
        bk_buf_fini(&l->out);
    }
}

/*
 * Commands that found no room in the log run again, in the order in which they came. A few that
 * find none again end the round, since those behind them would hardly find any: to run them all
 * would cost a checksum of every value that waits, for each commit that has room for one. Who has
 * got on and waits again goes to the end. Commands with a moment of their own look at it always.
 * The first one runs however late it is; if it finds no room, the next commit tells those behind.
 */
static void loop_retry_parked(struct loop *l)
{
    struct list now;
    struct list served;
    struct list *node;
    unsigned refused = 0;
    bool late = false;
    list_take(&now, &l->parked);
    list_init(&served);
    while ((node = list_pop(&now)) != NULL) {
        struct conn *c = LIST_OWNER(node, struct conn, queued);
        uint64_t done = RELAXED_LOAD(&l->stats.commands);
        bool by_clock = conn_by_clock(c);
        if ((refused >= RETRY_REFUSED || late) && !by_clock) {
            list_push(&l->parked, node);
            l->recheck = l->recheck || refused == 0;
            continue;
        }
        conn_go_on(c);
        late = late || (!by_clock && loop_late(l)); /* they do not take the first one's turn */
        if (c->state == CONN_PARKED && !conn_by_clock(c)) {
            refused++;
            if (RELAXED_LOAD(&l->stats.commands) != done) {
                list_remove(node);
                list_push(&served, node);
            }
        }
    }
    while ((node = list_pop(&served)) != NULL) {
        list_push(&l->parked, node);
    }
}

/* Replies that wait for the store. */
static void loop_retry_waiting(struct loop *l)
{
    struct list now;
    struct list *node;
    list_take(&now, &l->waiting);
    for (bool late = false; !late && (node = list_pop(&now)) != NULL; late = loop_late(l)) {
        conn_send_queued(LIST_OWNER(node, struct conn, waiting));
        (void)exec_look(l->exec);
    }
    l->recheck = l->recheck || !list_empty(&now);
    list_put_back(&l->waiting, &now);
}

/* Commands whose values have been read run again. */
static void loop_take_reads(struct loop *l)
{
    struct session *s;
    bool late = false;
    while (!late && (s = exec_read_next(l->exec)) != NULL) {
        struct conn *c = LIST_OWNER(s, struct conn, session);
        if (c->state == CONN_READING) { /* or it was closed in this tick */
            conn_go_on(c);
        }
        late = loop_late(l);
    }
    l->recheck = l->recheck || late;
}

bool loop_work_off(struct loop *l, struct list *work)
{
    struct list now;
    struct list *node;
    bool late = false;
    list_take(&now, work);
    while (!late && (node = list_pop(&now)) != NULL) {
        conn_go_on(LIST_OWNER(node, struct conn, queued));
        late = loop_late(l);
    }
    list_put_back(work, &now);
    return late;
}

/* All that waits for others than its client, each kind in its own time. */
static void loop_look_again(struct loop *l)
{
    void (*const kinds[])(struct loop *) = {loop_take_reads, loop_retry_waiting, loop_retry_parked,
                                            loop_resume};
    l->recheck = false;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        loop_next_part(l);
        kinds[i](l);
    }
}

static void loop_arm(struct loop *l)
{
    bool waits = !list_empty(&l->waiting) || !list_empty(&l->parked);
    if (waits && !atomic_load(&l->wants_wake)) {
        atomic_store(&l->wants_wake, true);
        atomic_fetch_add(&l->net->wake_seq, 1); /* pairs with net_wake() */
        l->recheck = true;
    }
}

static void loop_tick_end(struct loop *l)
{
    if (l->in_tick) {
        BK_ASSERT(l->arrivals.n == 0);
        loop_take_pushes(l);
        exec_submit_reads(l->exec); /* so that the disk works while replies are sent */
        loop_flush(l);
        conn_free_dead(l);
        exec_submit_reads(l->exec); /* the dead have given room back */
        loop_arm(l);
        ticks_end(&l->timer, &l->stats);
        l->in_tick = false;
    }
}

/* ---- The mailbox ---- */

void loop_poke(struct loop *l)
{
    uint64_t one = 1;
    ssize_t n = write(l->wake_fd, &one, sizeof(one));
    bk_ignore((int)n, "a full counter means that the loop has been told already");
}

void loop_admit(struct loop *l, const struct newcomer *who)
{
    bk_mutex_lock(&l->inbox_mu);
    if (l->inbox_n == l->inbox_cap) {
        l->inbox_cap = l->inbox_cap == 0 ? 16 : l->inbox_cap * 2;
        l->inbox = bk_realloc(l->inbox, l->inbox_cap * sizeof(*l->inbox));
    }
    l->inbox[l->inbox_n++] = *who;
    bk_mutex_unlock(&l->inbox_mu);
    loop_poke(l);
}

static void newcomer_drop(struct loop *l, const struct newcomer *who)
{
    close(who->fd);
    free(who->addr);
    atomic_fetch_sub(&l->connections, 1);
    atomic_fetch_sub(&l->net->connected, 1);
}

/* Takes what others have put in; on a loop that is stopping, or stopped, it is dropped. */
static void loop_take_inbox(struct loop *l, bool drop)
{
    bk_mutex_lock(&l->inbox_mu);
    struct newcomer *all = l->inbox;
    size_t n = l->inbox_n;
    l->inbox = NULL;
    l->inbox_n = l->inbox_cap = 0;
    bk_mutex_unlock(&l->inbox_mu);
    for (size_t i = 0; i < n; i++) {
        if (drop) {
            newcomer_drop(l, &all[i]);
        } else {
            conn_new(l, &all[i]);
        }
    }
    free(all);
}

/* Calls each() for all connections; each() may close the one it gets and no other, so it runs no
 * command. Only this thread changes the registry, so it may walk it without the mutex. */
static void loop_each(struct loop *l, void (*each)(struct conn *c))
{
    struct list *node = l->registry.next;
    while (node != &l->registry) {
        struct list *next = node->next;
        each(LIST_OWNER(node, struct conn, registered));
        node = next;
    }
}

static void kill_if_marked(struct conn *c)
{
    if (RELAXED_LOAD(&c->session.close_soon)) {
        conn_close(c);
    }
}

static void drain_if_quiet(struct conn *c)
{
    if (c->state == CONN_OPEN || c->state == CONN_READY) {
        conn_drain(c);
    } else if (conn_waits_at_will(c)) {
        conn_close(c);
    }
}

static void deadline_cb(evutil_socket_t fd, short what, void *arg)
{
    struct loop *l = arg;
    (void)fd;
    (void)what;
    l->past_deadline = true;
}

static void loop_begin_stop(struct loop *l)
{
    int64_t left_us = atomic_load(&l->net->stop_deadline_us) - bk_clock_mono_us(&bk_clock_system);
    struct timeval tv = {0};
    if (left_us > 0) {
        tv.tv_sec = (time_t)(left_us / 1000000);
        tv.tv_usec = (suseconds_t)(left_us % 1000000);
    }
    l->stopping = true;
    evtimer_add(l->deadline_ev, &tv);
    if (l->index == 0) {
        accept_teardown(l->net);
        cron_teardown(l->net);
    }
    loop_each(l, drain_if_quiet);
}

static void wake_cb(evutil_socket_t fd, short what, void *arg)
{
    struct loop *l = arg;
    uint64_t count;
    (void)what;
    ssize_t n = read(fd, &count, sizeof(count));
    bk_ignore((int)n, "nothing to read: somebody else's wake-up was taken for two");
    loop_tick_begin(l);
    if (atomic_load(&l->net->stop) && !l->stopping) {
        loop_begin_stop(l);
    }
    loop_take_inbox(l, l->stopping);
    if (l->index == 0 && !l->stopping) {
        accept_sync(l->net);
    }
    if (atomic_exchange(&l->kill_requested, false)) {
        loop_each(l, kill_if_marked);
    }
    if (atomic_exchange(&l->unpaused, false)) {
        loop_pause_over(l);
    }
    l->recheck = true;
}

static void second_cb(evutil_socket_t fd, short what, void *arg)
{
    struct loop *l = arg;
    (void)fd;
    (void)what;
    loop_tick_begin(l);
    loop_each(l, conn_second);
}

/* ---- The thread ---- */

static bool loop_done(const struct loop *l)
{
    return l->stopping && (l->past_deadline || list_empty(&l->registry));
}

static void *loop_main(void *arg)
{
    struct loop *l = arg;
    ticks_open(&l->timer);
    if (l->index == 0) {
        loop_tick_begin(l);
        accept_setup(l->net);
        cron_setup(l->net);
        loop_tick_end(l);
    }
    while (!loop_done(l)) {
        bool busy = l->recheck || !list_empty(&l->work) || !list_empty(&l->left) ||
                    !list_empty(&l->receivers);
        if (busy) {
            loop_tick_begin(l);
            (void)loop_work_off(l, &l->work);
            loop_next_part(l);
        }
        event_base_loop(l->base, EVLOOP_ONCE | (busy ? EVLOOP_NONBLOCK : 0));
        arrivals_end(l);
        if (l->recheck) {
            loop_look_again(l);
        }
        loop_tick_end(l);
    }
    loop_each(l, conn_close);
    conn_free_dead(l);
    ticks_close(&l->timer);
    return NULL;
}

/* ---- Life ---- */

/* A new event of l's base; out of memory ends the process, as with every small allocation. */
static struct event *new_event(struct loop *l, int fd, short what, event_callback_fn cb)
{
    struct event *ev = event_new(l->base, fd, what, cb, l);
    BK_ASSERT(ev != NULL);
    return ev;
}

static void loop_setup_events(struct loop *l)
{
    struct timeval second = {.tv_sec = 1};
    l->wake_ev = new_event(l, l->wake_fd, EV_READ | EV_PERSIST, wake_cb);
    l->second_ev = new_event(l, -1, EV_PERSIST, second_cb);
    l->deadline_ev = new_event(l, -1, 0, deadline_cb);
    l->pause_ev = new_event(l, -1, 0, loop_pause_cb);
    event_add(l->wake_ev, NULL);
    event_add(l->second_ev, &second);
}

static void judge_undone(void *arg, uint32_t replies, struct bk_buf *out)
{
    struct loop *l = arg;
    const struct net_store_ops *store = &l->net->store;
    char why[160] = "";
    store->write_error(store->arg, why, sizeof(why));
    for (uint32_t i = 0; i < replies; i++) {
        bk_buf_printf(
            out, "-MISCONF Errors writing to the data files, this command was undone: %s\r\n", why);
    }
    stat_add(&l->stats.misconf, replies);
}

int loop_setup(struct loop *l, struct net *net, unsigned index, struct bk_error *err)
{
    l->net = net;
    l->index = index;
    list_init(&l->registry);
    list_init(&l->work);
    list_init(&l->left);
    list_init(&l->parked);
    list_init(&l->paused);
    list_init(&l->resumed);
    list_init(&l->reading);
    list_init(&l->receivers);
    list_init(&l->dirty);
    list_init(&l->waiting);
    bk_mutex_init(&l->inbox_mu, "loop inbox", BK_RANK_SERVER);
    bk_mutex_init(&l->registry_mu, "loop registry", BK_RANK_SERVER);
    bk_mutex_init(&l->push_mu, "loop pushes", BK_RANK_SERVER);
    l->writer = (struct resp_writer){.out = &l->out, .proto = 2};
    l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    l->base = event_base_new();
    if (l->wake_fd < 0 || l->base == NULL) {
        return bk_error_set(err, BK_EIO, errno, "", 0, "cannot make an event loop");
    }
    loop_setup_events(l);
    return BK_OK;
}

static void free_event(struct event **ev)
{
    if (*ev != NULL) {
        event_free(*ev);
        *ev = NULL;
    }
}

void loop_teardown(struct loop *l)
{
    if (l->net == NULL) {
        return; /* never set up */
    }
    loop_take_inbox(l, true);
    free_event(&l->wake_ev);
    free_event(&l->second_ev);
    free_event(&l->deadline_ev);
    free_event(&l->pause_ev);
    if (l->base != NULL) {
        event_base_free(l->base);
    }
    if (l->wake_fd >= 0) {
        close(l->wake_fd);
    }
    resp_spare_fini(&l->spare);
    ahead_fini(&l->ahead);
    arrivals_fini(&l->arrivals);
    bk_buf_fini(&l->out);
    out_parts_fini(&l->parts);
    bk_buf_fini(&l->monitored);
    push_queue_fini(&l->pushes);
    push_queue_fini(&l->pushes_spare);
    bk_mutex_fini(&l->push_mu);
    bk_mutex_fini(&l->inbox_mu);
    bk_mutex_fini(&l->registry_mu);
    l->net = NULL;
}

int loop_start(struct loop *l, struct bk_error *err)
{
    const struct net_store_ops *store = &l->net->store;
    l->judge = (struct outq_judge){
        .pos_state = store->pos_state, .arg = store->arg, .undone = judge_undone, .arg2 = l};
    /* Signals are for the main thread. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&l->thread, NULL, loop_main, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        return bk_error_set(err, BK_EIO, rc, "", 0, "cannot start a loop thread");
    }
    char name[16];
    snprintf(name, sizeof(name), "bk-loop-%u", l->index % 1000);
    pthread_setname_np(l->thread, name);
    return BK_OK;
}
