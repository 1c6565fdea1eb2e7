/* SPDX-License-Identifier: MIT */
/*
 * pause.c - CLIENT PAUSE, on all loops.
 *
 * Every command looks at the mode (struct server_ops: pause), which is one load; only while there
 * is a pause its end is looked at. A connection whose command must wait keeps it and reads no more
 * (CONN_PAUSED); its loop has a timer for the end of the pause, and UNPAUSE tells all loops. Either
 * way the command runs again, and waits again if there is a pause then.
 */
#include "net/net_private.h"

#include "base/clock.h"

#include <event2/event.h>

#define TIMER_MAX_US ((int64_t)3600 * 1000000) /* looks again after this; no end is too far */
#define LATER_US 1000 /* past the end for sure, in spite of a timer's coarseness */

static int64_t left_us_locked(const struct net *net) BK_REQUIRES(net->pause_mu);

static int64_t left_us_locked(const struct net *net)
{
    bool on = atomic_load(&net->pause_mode) != CLIENT_PAUSE_OFF;
    int64_t left_us = on ? net->pause_end_us - bk_clock_mono_us(&bk_clock_system) : 0;
    return left_us > 0 ? left_us : 0;
}

void net_client_pause(struct net *net, int64_t ms, enum client_pause mode)
{
    int64_t us = ms < INT64_MAX / 4000 ? ms * 1000 : INT64_MAX / 4;
    bk_mutex_lock(&net->pause_mu);
    int64_t end_us = bk_clock_mono_us(&bk_clock_system) + us;
    /* As in Redis the longer and the stricter of two pauses holds. */
    if (left_us_locked(net) > 0) {
        enum client_pause now = (enum client_pause)atomic_load(&net->pause_mode);
        end_us = net->pause_end_us > end_us ? net->pause_end_us : end_us;
        mode = now > mode ? now : mode;
    }
    net->pause_end_us = end_us;
    atomic_store(&net->pause_mode, mode);
    bk_mutex_unlock(&net->pause_mu);
}

void net_client_unpause(struct net *net)
{
    bk_mutex_lock(&net->pause_mu);
    atomic_store(&net->pause_mode, CLIENT_PAUSE_OFF);
    bk_mutex_unlock(&net->pause_mu);
    for (unsigned i = 0; i < net->loops_n; i++) {
        atomic_store(&net->loops[i].unpaused, true);
        loop_poke(&net->loops[i]);
    }
}

static int64_t pause_left_us(struct net *net)
{
    bk_mutex_lock(&net->pause_mu);
    int64_t left_us = left_us_locked(net);
    if (left_us == 0) {
        atomic_store(&net->pause_mode, CLIENT_PAUSE_OFF);
    }
    bk_mutex_unlock(&net->pause_mu);
    return left_us;
}

bool net_client_paused(struct net *net)
{
    return atomic_load(&net->pause_mode) != CLIENT_PAUSE_OFF && pause_left_us(net) > 0;
}

const atomic_int *net_pause_mode(const struct net *net)
{
    return &net->pause_mode;
}

void loop_pause_wait(struct loop *l)
{
    int64_t us = pause_left_us(l->net);
    us = us < TIMER_MAX_US ? us + LATER_US : TIMER_MAX_US;
    struct timeval tv = {.tv_sec = (time_t)(us / 1000000), .tv_usec = (suseconds_t)(us % 1000000)};
    evtimer_add(l->pause_ev, &tv);
}

/* Behind those that have not had their turn since the last time: each runs once for each time. */
void loop_pause_over(struct loop *l)
{
    list_put_back(&l->paused, &l->resumed);
    list_take(&l->resumed, &l->paused);
    l->recheck = true;
}

void loop_resume(struct loop *l)
{
    struct list *node;
    for (bool late = false; !late && (node = list_pop(&l->resumed)) != NULL; late = loop_late(l)) {
        conn_go_on(LIST_OWNER(node, struct conn, queued));
    }
    l->recheck = l->recheck || !list_empty(&l->resumed);
}

void loop_pause_cb(evutil_socket_t fd, short what, void *arg)
{
    struct loop *l = arg;
    (void)fd;
    (void)what;
    loop_tick_begin(l);
    loop_pause_over(l);
}
