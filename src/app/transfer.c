/* SPDX-License-Identifier: MIT */
/*
 * transfer.c - see transfer.h.
 *
 * A transfer belongs to its thread until that has ended, then to who has begun it; whoever is last
 * to let go frees it. A drop while it runs wakes the thread through an eventfd that it polls beside
 * its socket.
 */
#include "app/transfer.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/mutex.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINE_MAX_LEN 1024u /* as in Redis: no line that is waited for is longer */

struct transfer {
    /* Set once. */
    struct transfers *all; /* borrowed */
    size_t slot;
    struct transfer_order order; /* owned */
    int cancel_fd;               /* eventfd */
    /* Guarded by all->mu. */
    bool ended, dropped;
    /* The thread only until it has ended, then who has begun it. */
    struct transfer_result result; /* lines are owned */
};

enum slot_state { SLOT_FREE, SLOT_RUNS, SLOT_ENDED };

struct transfers {
    /* Set once. */
    void (*ended)(void *arg);
    void *arg;
    /* Guarded by mu (rank server). */
    struct bk_mutex mu;
    struct {
        enum slot_state state;
        pthread_t thread; /* to be joined unless free */
    } slots[TRANSFERS_MAX] BK_GUARDED(mu);
};

static void transfer_free(struct transfer *t)
{
    close(t->cancel_fd);
    free(t->order.host);
    bk_buf_fini(&t->order.bytes);
    bk_buf_fini(&t->result.lines);
    free(t);
}

/* ---- The thread: sockets ---- */

/* false: nothing happened in time, or nobody wants it any more. */
static bool wait_for(const struct transfer *t, int fd, short events)
{
    int64_t limit_ms = t->order.timeout_ms < INT_MAX - 1 ? t->order.timeout_ms : INT_MAX - 1;
    int64_t end_us = bk_clock_mono_us(&bk_clock_system) + limit_ms * 1000;
    struct pollfd p[2] = {{.fd = fd, .events = events}, {.fd = t->cancel_fd, .events = POLLIN}};
    int n;
    do {
        int64_t left_us = end_us - bk_clock_mono_us(&bk_clock_system);
        n = poll(p, 2, left_us > 0 ? (int)(left_us / 1000 + 1) : 0);
    } while (n < 0 && errno == EINTR);
    return n > 0 && p[1].revents == 0 && p[0].revents != 0;
}

/* A connected socket, or -1. *refused: the other side was there to say no. */
static int connect_to(const struct transfer *t, const struct addrinfo *a, bool *refused)
{
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
    int failed = 1;
    int on = 1;
    socklen_t len = sizeof failed;
    if (fd < 0) {
        return -1;
    }
    if (connect(fd, a->ai_addr, a->ai_addrlen) == 0) {
        failed = 0;
    } else if (errno == EINPROGRESS && wait_for(t, fd, POLLOUT)) {
        failed = getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &len) != 0 ? 1 : failed;
        *refused = *refused || failed != 0;
    }
    if (failed != 0) {
        close(fd);
        return -1;
    }
    /* Without it the transfer would only be slower. */
    int rc = setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)rc;
    return fd;
}

static int open_socket(const struct transfer *t, bool *refused)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char port[16];
    int fd = -1;
    snprintf(port, sizeof port, "%d", t->order.port);
    if (getaddrinfo(t->order.host, port, &hints, &found) == 0) {
        for (struct addrinfo *a = found; a != NULL && fd < 0; a = a->ai_next) {
            fd = connect_to(t, a, refused);
        }
        freeaddrinfo(found);
    }
    return fd;
}

static bool send_all(const struct transfer *t, int fd)
{
    const struct bk_buf *b = &t->order.bytes;
    size_t at = 0;
    bool ok = true;
    while (ok && at < b->len) {
        ssize_t n = send(fd, b->data + at, b->len - at, MSG_NOSIGNAL);
        if (n >= 0) {
            at += (size_t)n;
        } else if (errno == EAGAIN) {
            ok = wait_for(t, fd, POLLOUT);
        } else {
            ok = errno == EINTR;
        }
    }
    return ok;
}

/* Takes whole lines off the front of in; false: one is too long. */
static bool take_lines(struct transfer *t, struct bk_buf *in)
{
    struct transfer_result *r = &t->result;
    size_t at = 0;
    const uint8_t *end;
    while (r->lines_n < t->order.lines && at < in->len &&
           (end = memchr(in->data + at, '\n', in->len - at)) != NULL) {
        size_t len = (size_t)(end - in->data) - at;
        len -= len > 0 && in->data[at + len - 1] == '\r' ? 1 : 0;
        bk_buf_append(&r->lines, in->data + at, len);
        bk_buf_append(&r->lines, "", 1);
        r->lines_n++;
        at = (size_t)(end - in->data) + 1;
    }
    bk_buf_consume(in, at);
    return in->len < LINE_MAX_LEN;
}

static bool read_lines(struct transfer *t, int fd)
{
    struct bk_buf in = {0};
    bool ok = true;
    while (ok && t->result.lines_n < t->order.lines) {
        ssize_t n = recv(fd, bk_buf_reserve(&in, LINE_MAX_LEN), LINE_MAX_LEN, 0);
        if (n > 0) {
            in.len += (size_t)n;
            ok = take_lines(t, &in);
        } else if (n < 0 && errno == EAGAIN) {
            ok = wait_for(t, fd, POLLIN);
        } else {
            ok = n < 0 && errno == EINTR;
        }
    }
    bk_buf_fini(&in);
    return ok;
}

static enum transfer_outcome carry_out(struct transfer *t)
{
    enum transfer_outcome outcome = TRANSFER_DONE;
    bool refused = false;
    int fd = open_socket(t, &refused);
    if (fd < 0) {
        return refused ? TRANSFER_NOT_SENT : TRANSFER_NOT_CONNECTED;
    }
    if (!send_all(t, fd)) {
        outcome = TRANSFER_NOT_SENT;
    } else if (!read_lines(t, fd)) {
        outcome = TRANSFER_NOT_ANSWERED;
    }
    close(fd);
    return outcome;
}

static void *transfer_main(void *arg)
{
    struct transfer *t = arg;
    struct transfers *all = t->all;
    t->result.outcome = carry_out(t);
    bk_mutex_lock(&all->mu);
    bool mine = t->dropped;
    t->ended = true;
    all->slots[t->slot].state = SLOT_ENDED;
    bk_mutex_unlock(&all->mu);
    if (mine) {
        transfer_free(t);
    }
    all->ended(all->arg); /* also to those who wait for a slot */
    return NULL;
}

/* ---- Asked from loops ---- */

struct transfers *transfers_new(void (*ended)(void *arg), void *arg)
{
    struct transfers *all = bk_alloc_zero(1, sizeof *all);
    all->ended = ended;
    all->arg = arg;
    bk_mutex_init(&all->mu, "transfers", BK_RANK_SERVER);
    return all;
}

void transfers_free(struct transfers **handle)
{
    struct transfers *all = *handle;
    *handle = NULL;
    if (all == NULL) {
        return;
    }
    for (size_t i = 0; i < TRANSFERS_MAX; i++) {
        if (all->slots[i].state != SLOT_FREE) {
            pthread_join(all->slots[i].thread, NULL);
        }
    }
    bk_mutex_fini(&all->mu);
    free(all);
}

/* Signals are for the main thread. */
static bool start_thread(struct transfer *t, pthread_t *thread)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool ok = pthread_create(thread, NULL, transfer_main, t) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (ok) {
        pthread_setname_np(*thread, "bk-transfer");
    }
    return ok;
}

/* A slot with nothing to be joined in it; TRANSFERS_MAX: none. */
static size_t find_slot_locked(struct transfers *all) BK_REQUIRES(all->mu);

static size_t find_slot_locked(struct transfers *all)
{
    size_t i = 0;
    while (i < TRANSFERS_MAX && all->slots[i].state == SLOT_RUNS) {
        i++;
    }
    if (i < TRANSFERS_MAX && all->slots[i].state == SLOT_ENDED) {
        pthread_join(all->slots[i].thread, NULL); /* it has nothing left to do but to return */
        all->slots[i].state = SLOT_FREE;
    }
    return i;
}

struct transfer *transfer_begin(struct transfers *all, struct transfer_order *order)
{
    struct transfer *t = NULL;
    bk_mutex_lock(&all->mu);
    size_t i = find_slot_locked(all);
    int cancel_fd = i < TRANSFERS_MAX ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
    if (cancel_fd >= 0) {
        t = bk_alloc_zero(1, sizeof *t);
        t->all = all;
        t->slot = i;
        t->cancel_fd = cancel_fd;
        t->order = *order;
        all->slots[i].state = SLOT_RUNS;
        if (start_thread(t, &all->slots[i].thread)) {
            *order = (struct transfer_order){0};
        } else {
            all->slots[i].state = SLOT_FREE;
            t->order = (struct transfer_order){0};
            transfer_free(t);
            t = NULL;
        }
    }
    bk_mutex_unlock(&all->mu);
    return t;
}

bool transfer_ended(struct transfer *t, struct transfer_result *out)
{
    bk_mutex_lock(&t->all->mu);
    bool ended = t->ended;
    bk_mutex_unlock(&t->all->mu);
    if (ended) {
        *out = t->result;
        out->sent = bk_buf_span(&t->order.bytes);
    }
    return ended;
}

void transfer_drop(struct transfer **handle)
{
    struct transfer *t = *handle;
    uint64_t one = 1;
    *handle = NULL;
    if (t == NULL) {
        return;
    }
    bk_mutex_lock(&t->all->mu);
    bool mine = t->ended;
    t->dropped = true;
    if (!mine) {
        ssize_t n = write(t->cancel_fd, &one, sizeof one);
        (void)n; /* it has not been written to before, so it takes this */
    }
    bk_mutex_unlock(&t->all->mu);
    if (mine) {
        transfer_free(t);
    }
}
