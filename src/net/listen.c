/* SPDX-License-Identifier: MIT */
/*
 * listen.c - sockets that listen: bind addresses in Redis's syntax, the unix socket, and changing
 * them at run time.
 *
 * Not here: accepting (accept.c).
 */
#include "net/net_private.h"

#include "base/assert.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static void set_add(struct listen_set *set, int fd, const char *name, uint16_t port)
{
    set->v = bk_realloc(set->v, (set->n + 1) * sizeof(*set->v));
    char *copy = strdup(name);
    BK_ASSERT(copy != NULL);
    set->v[set->n++] = (struct listener){.fd = fd, .name = copy, .port = port};
}

/* Frees the list; the descriptors stay open. */
static void set_free(struct listen_set *set)
{
    for (size_t i = 0; i < set->n; i++) {
        free(set->v[i].name);
    }
    free(set->v);
    *set = (struct listen_set){0};
}

static void close_one(const struct listener *l)
{
    close(l->fd);
    if (l->port == 0) {
        unlink(l->name);
    }
}

void listen_close(struct listen_set *set)
{
    for (size_t i = 0; i < set->n; i++) {
        close_one(&set->v[i]);
    }
    set_free(set);
}

/* ---- TCP ---- */

/* What Redis lets pass for an address marked optional, or for a family that this machine does not
 * have. */
static bool errno_is_tolerable(int e, bool optional)
{
    return e == ENOPROTOOPT || e == EPROTONOSUPPORT || e == ESOCKTNOSUPPORT || e == EPFNOSUPPORT ||
           e == EAFNOSUPPORT || (e == EADDRNOTAVAIL && optional);
}

/* The descriptor, or -1 with errno. */
static int open_tcp(const struct addrinfo *ai, int backlog)
{
    int on = 1;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    bool ok = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0;
    if (ai->ai_family == AF_INET6) {
        ok = ok && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0;
    }
    ok = ok && bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, backlog) == 0;
    if (!ok) {
        int e = errno;
        close(fd);
        errno = e;
        return -1;
    }
    return fd;
}

/* name without "-". */
static int listen_tcp(struct listen_set *set, const char *name, bool optional,
                      const struct net_listen *l, struct bk_error *err)
{
    bool any = strcmp(name, "*") == 0 || strcmp(name, "::*") == 0;
    struct addrinfo hints = {.ai_family = strchr(name, ':') != NULL ? AF_INET6 : AF_INET,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    char port[8];
    snprintf(port, sizeof(port), "%u", l->port);
    int rc = getaddrinfo(any ? NULL : name, port, &hints, &found);
    if (rc != 0) {
        return bk_error_set(err, BK_EIO, 0, "", 0, "cannot listen on %s:%u: %s", name, l->port,
                            gai_strerror(rc));
    }
    int fd = open_tcp(found, l->backlog);
    int e = errno;
    freeaddrinfo(found);
    if (fd >= 0) {
        set_add(set, fd, name, l->port);
    } else if (!errno_is_tolerable(e, optional)) {
        return bk_error_set(err, BK_EIO, e, "", 0, "cannot listen on %s:%u", name, l->port);
    }
    return BK_OK;
}

/* The listener of the set that is already there for this address, or NULL. */
static struct listener *set_find(struct listen_set *set, const char *name, uint16_t port)
{
    for (size_t i = 0; set != NULL && i < set->n; i++) {
        if (set->v[i].port == port && strcmp(set->v[i].name, name) == 0) {
            return &set->v[i];
        }
    }
    return NULL;
}

static int listen_all_tcp(struct listen_set *set, const struct net_listen *l,
                          struct listen_set *old, struct bk_error *err)
{
    int rc = BK_OK;
    for (size_t i = 0; l->port != 0 && i < l->bind_n && rc == BK_OK; i++) {
        bool optional = l->bind[i][0] == '-';
        const char *name = l->bind[i] + (optional ? 1 : 0);
        struct listener *same = set_find(old, name, l->port);
        if (set_find(set, name, l->port) != NULL) {
            continue;
        }
        if (same != NULL) {
            set_add(set, same->fd, name, l->port);
            set->v[set->n - 1].adopted = same->adopted;
        } else {
            rc = listen_tcp(set, name, optional, l, err);
        }
    }
    bool wanted = l->port != 0 && l->bind_n > 0;
    if (rc == BK_OK && wanted && set->n == 0) {
        rc = bk_error_set(err, BK_EIO, EADDRNOTAVAIL, "", 0,
                          "cannot listen on any address, port %u", l->port);
    }
    return rc;
}

/* ---- The unix socket ---- */

static int listen_unix(struct listen_set *set, const struct net_listen *l, struct bk_error *err)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    size_t len = strlen(l->unixsocket);
    if (len >= sizeof(sa.sun_path)) {
        return bk_error_set(err, BK_EINVAL, 0, l->unixsocket, 0,
                            "unixsocket: the path is too long");
    }
    memcpy(sa.sun_path, l->unixsocket, len);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    unlink(l->unixsocket); /* left behind by a server that was killed */
    bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0;
    ok = ok && (l->unixsocketperm == 0 || chmod(l->unixsocket, (mode_t)l->unixsocketperm) == 0);
    ok = ok && listen(fd, l->backlog) == 0;
    if (!ok) {
        int e = errno;
        if (fd >= 0) {
            close(fd);
        }
        return bk_error_set(err, BK_EIO, e, l->unixsocket, 0, "cannot listen on the unix socket");
    }
    set_add(set, fd, l->unixsocket, 0);
    return BK_OK;
}

int listen_open(struct listen_set *set, const struct net_listen *l, struct bk_error *err)
{
    struct listen_set fresh = {0};
    int rc = listen_all_tcp(&fresh, l, NULL, err);
    if (rc == BK_OK && l->unixsocket != NULL && l->unixsocket[0] != '\0') {
        rc = listen_unix(&fresh, l, err);
    }
    if (rc == BK_OK) {
        *set = fresh;
    } else {
        listen_close(&fresh);
    }
    return rc;
}

/* ---- Changes at run time ---- */

static bool set_has_fd(const struct listen_set *set, int fd)
{
    for (size_t i = 0; i < set->n; i++) {
        if (set->v[i].fd == fd) {
            return true;
        }
    }
    return false;
}

/* Wanted again under the same name and port? */
static bool stays(const struct listener *l, const struct net_listen *want)
{
    for (size_t i = 0; i < want->bind_n && want->port == l->port; i++) {
        if (strcmp(want->bind[i] + (want->bind[i][0] == '-' ? 1 : 0), l->name) == 0) {
            return true;
        }
    }
    return l->port == 0; /* the unix socket */
}

/* Those that go stop listening first, since "*" cannot be bound beside "127.0.0.1"; listening again
 * undoes it. */
static void pause_leaving(struct listen_set *old, const struct net_listen *want, bool pause)
{
    for (size_t i = 0; i < old->n; i++) {
        if (stays(&old->v[i], want)) {
            continue;
        }
        int rc = pause ? shutdown(old->v[i].fd, SHUT_RDWR) : listen(old->v[i].fd, want->backlog);
        bk_ignore(rc,
                  "shutdown cannot fail on a listening socket; a lost address is the lesser evil");
    }
}

int listen_replace(struct net *net, const struct net_listen *l, struct bk_error *err)
{
    struct listen_set fresh = {0};
    bk_mutex_lock(&net->listen_mu);
    struct listen_set *old = &net->listeners;
    pause_leaving(old, l, true);
    int rc = listen_all_tcp(&fresh, l, old, err);
    if (rc == BK_OK) {
        for (size_t i = 0; i < old->n; i++) {
            if (old->v[i].port == 0) {
                set_add(&fresh, old->v[i].fd, old->v[i].name, 0);
                fresh.v[fresh.n - 1].adopted = old->v[i].adopted;
            } else if (!old->v[i].adopted && !set_has_fd(&fresh, old->v[i].fd)) {
                close(old->v[i].fd); /* loop 0 never heard of it, so nobody else will */
            }
        }
        set_free(old);
        *old = fresh;
        net->listeners_changed = true;
    } else {
        for (size_t i = 0; i < fresh.n; i++) {
            if (!set_has_fd(old, fresh.v[i].fd)) {
                close(fresh.v[i].fd);
            }
        }
        set_free(&fresh);
        pause_leaving(old, l, false);
    }
    bk_mutex_unlock(&net->listen_mu);
    return rc;
}
