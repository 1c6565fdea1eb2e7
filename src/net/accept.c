/* SPDX-License-Identifier: MIT */
/*
 * accept.c - loop 0 accepts for all loops: limits, protected mode, and the choice of the loop.
 *
 * When there are no descriptors left, accepting pauses for a moment: clients wait in the kernel's
 * queue meanwhile, and loop 0 does not spin on an event that it cannot serve.
 */
#include "net/net_private.h"

#include "base/assert.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ACCEPTS_A_CALL 128
#define PAUSE_MS 50

static const char denied[] =
    "-DENIED Redis is running in protected mode because protected mode is enabled and no password "
    "is set "
    "for the default user. In this mode connections are only accepted from the loopback interface. "
    "If you "
    "want to connect from external computers to Redis you may adopt one of the following "
    "solutions: "
    "1) Just disable protected mode sending the command 'CONFIG SET protected-mode no' from the "
    "loopback "
    "interface by connecting to Redis from the same host the server is running, however MAKE SURE "
    "Redis is "
    "not publicly accessible from internet if you do so. Use CONFIG REWRITE to make this change "
    "permanent. "
    "2) Alternatively you can just disable the protected mode by editing the Redis configuration "
    "file, and "
    "setting the protected mode option to 'no', and then restarting the server. "
    "3) If you started the server manually just for testing, restart it with the '--protected-mode "
    "no' "
    "option. 4) Setup a an authentication password for the default user. NOTE: You only need to do "
    "one of "
    "the above things in order for the server to start accepting connections from the outside.\r\n";

static const char too_many[] = "-ERR max number of clients reached\r\n";

union address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

/* ---- One new connection ---- */

/* "127.0.0.1:80", "[::1]:80", "/path:0", as CLIENT LIST shows them. */
static void address_text(const union address *a, char *text, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (a->any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &a->in.sin_addr, host, sizeof(host));
        snprintf(text, size, "%s:%u", host, ntohs(a->in.sin_port));
    } else if (a->any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &a->in6.sin6_addr, host, sizeof(host));
        snprintf(text, size, "[%s]:%u", host, ntohs(a->in6.sin6_port));
    } else {
        snprintf(text, size, "%.*s:0", (int)sizeof(a->un.sun_path), a->un.sun_path);
    }
}

/* Both ends' names in one allocation; a unix client has no name of its own and gets the socket's.
 */
static void name_ends(struct newcomer *who)
{
    union address here = {0};
    union address there = {0};
    char addr[128];
    char laddr[128];
    socklen_t len = sizeof(here);
    getsockname(who->fd, &here.any, &len);
    len = sizeof(there);
    getpeername(who->fd, &there.any, &len);
    address_text(&here, laddr, sizeof(laddr));
    address_text(who->is_unix ? &here : &there, addr, sizeof(addr));
    size_t addr_size = strlen(addr) + 1;
    size_t laddr_size = strlen(laddr) + 1;
    who->addr = bk_alloc(addr_size + laddr_size);
    who->laddr = who->addr + addr_size;
    memcpy(who->addr, addr, addr_size);
    memcpy(who->laddr, laddr, laddr_size);
}

static bool is_local(const struct newcomer *who)
{
    return who->is_unix || strncmp(who->addr, "127.0.0.1:", 10) == 0 ||
           strncmp(who->addr, "[::1]:", 6) == 0;
}

static void set_options(int fd, uint32_t keepalive_s)
{
    int on = 1;
    int rc = setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (keepalive_s > 0) {
        int idle = (int)keepalive_s;
        int between = idle / 3 > 0 ? idle / 3 : 1;
        int probes = 3;
        rc |= setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
        rc |= setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
        rc |= setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &between, sizeof(between));
        rc |= setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    }
    bk_ignore(rc, "the connection works without; a dead one shows at its first use");
}

static void reject(struct net *net, struct newcomer *who, const char *why, size_t len)
{
    ssize_t n = send(who->fd, why, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    bk_ignore((int)n, "a client that is gone misses nothing");
    close(who->fd);
    free(who->addr);
    stat_add(&net->rejected, 1);
}

static struct loop *least_loaded(struct net *net)
{
    struct loop *best = &net->loops[0];
    for (unsigned i = 1; i < net->loops_n; i++) {
        if (atomic_load(&net->loops[i].connections) < atomic_load(&best->connections)) {
            best = &net->loops[i];
        }
    }
    return best;
}

static void welcome(struct net *net, int fd, bool is_unix)
{
    const struct server_ops *ops = net->ops;
    struct newcomer who = {.fd = fd, .is_unix = is_unix};
    name_ends(&who);
    stat_add(&net->received, 1);
    if (atomic_load(&net->connected) >= RELAXED_LOAD(&net->maxclients)) {
        reject(net, &who, too_many, sizeof(too_many) - 1);
        return;
    }
    if (RELAXED_LOAD(&net->protected_mode) && !is_local(&who) && !ops->auth_required(ops->arg)) {
        reject(net, &who, denied, sizeof(denied) - 1);
        return;
    }
    if (!is_unix) {
        set_options(fd, RELAXED_LOAD(&net->tcp_keepalive_s));
    }
    who.id = atomic_fetch_add(&net->next_id, 1) + 1;
    struct loop *l = least_loaded(net);
    atomic_fetch_add(&net->connected, 1);
    atomic_fetch_add(&l->connections, 1);
    if (l->index == 0) {
        conn_new(l, &who);
    } else {
        loop_admit(l, &who);
    }
}

/* ---- Accepting ---- */

static void pause_accepting(struct net *net, int why)
{
    struct timeval tv = {.tv_usec = PAUSE_MS * 1000};
    int64_t now_ms = net->loops[0].now_ms;
    stat_add(&net->accept_errors, 1);
    if (now_ms - net->accept_logged_ms >= 1000) {
        net->accept_logged_ms = now_ms;
        bk_log(BK_LOG_WARNING, "Accepting client connection: %s", strerror(why));
    }
    net->accept_paused = true;
    for (size_t i = 0; i < net->accepts_n; i++) {
        event_del(net->accepts[i]->ev);
    }
    evtimer_add(net->resume_ev, &tv);
}

static void resume_cb(evutil_socket_t fd, short what, void *arg)
{
    struct net *net = arg;
    (void)fd;
    (void)what;
    net->accept_paused = false;
    for (size_t i = 0; i < net->accepts_n; i++) {
        event_add(net->accepts[i]->ev, NULL);
    }
}

static void accept_cb(evutil_socket_t fd, short what, void *arg)
{
    struct accept_event *a = arg;
    struct net *net = a->net;
    (void)what;
    loop_tick_begin(&net->loops[0]);
    for (int i = 0; i < ACCEPTS_A_CALL; i++) {
        int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client >= 0) {
            welcome(net, client, a->is_unix);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            pause_accepting(net, errno);
            break;
        } else if (errno == EAGAIN || errno == EINVAL) {
            break; /* nobody left; EINVAL: a listener that is about to be replaced */
        }
        /* Anything else concerns one client that has gone away again. */
    }
}

/* ---- The set of listeners ---- */

static void accept_add(struct net *net, const struct listener *l)
{
    struct accept_event *a = bk_alloc_zero(1, sizeof(*a));
    a->net = net;
    a->fd = l->fd;
    a->is_unix = l->port == 0;
    a->ev = event_new(net->loops[0].base, l->fd, EV_READ | EV_PERSIST, accept_cb, a);
    BK_ASSERT(a->ev != NULL);
    if (!net->accept_paused) {
        event_add(a->ev, NULL);
    }
    net->accepts = bk_realloc(net->accepts, (net->accepts_n + 1) * sizeof(struct accept_event *));
    net->accepts[net->accepts_n++] = a;
}

static void accept_remove(struct net *net, size_t i)
{
    event_free(net->accepts[i]->ev);
    free(net->accepts[i]);
    net->accepts[i] = net->accepts[--net->accepts_n];
}

/* Marks the listener with this descriptor as seen. */
static bool mark_kept(struct listen_set *set, int fd)
{
    for (size_t i = 0; i < set->n; i++) {
        if (set->v[i].fd == fd && set->v[i].adopted) {
            set->v[i].kept = true;
            return true;
        }
    }
    return false;
}

void accept_sync(struct net *net)
{
    bk_mutex_lock(&net->listen_mu);
    struct listen_set *set = &net->listeners;
    for (size_t i = net->listeners_changed ? net->accepts_n : 0; i > 0; i--) {
        int fd = net->accepts[i - 1]->fd;
        if (!mark_kept(set, fd)) {
            accept_remove(net, i - 1);
            close(fd);
        }
    }
    for (size_t i = 0; net->listeners_changed && i < set->n; i++) {
        if (!set->v[i].kept) {
            accept_add(net, &set->v[i]);
        }
        set->v[i].adopted = true;
        set->v[i].kept = false;
    }
    net->listeners_changed = false;
    bk_mutex_unlock(&net->listen_mu);
}

void accept_setup(struct net *net)
{
    net->resume_ev = evtimer_new(net->loops[0].base, resume_cb, net);
    BK_ASSERT(net->resume_ev != NULL);
    accept_sync(net);
}

void accept_teardown(struct net *net)
{
    while (net->accepts_n > 0) {
        accept_remove(net, net->accepts_n - 1);
    }
    free(net->accepts);
    net->accepts = NULL;
    if (net->resume_ev != NULL) {
        event_free(net->resume_ev);
        net->resume_ev = NULL;
    }
}
