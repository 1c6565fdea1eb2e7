/* SPDX-License-Identifier: MIT */
/* rawconn.c - bytes over a socket. */
#include "lib/rawconn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE 65536
#define SEND_MS 30000

bool rawconn_open(struct rawconn *c, int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;

    memset(c, 0, sizeof(*c));
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&a, sizeof(a)) != 0) {
        rawconn_close(c);
        return false;
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return true;
}

void rawconn_close(struct rawconn *c)
{
    if (c->fd >= 0) {
        close(c->fd);
    }
    free(c->data);
    memset(c, 0, sizeof(*c));
    c->fd = -1;
}

static void make_room(struct rawconn *c)
{
    if (c->at > 0) {
        memmove(c->data, c->data + c->at, c->len - c->at);
        c->len -= c->at;
        c->at = 0;
    }
    if (c->cap - c->len < READ_SIZE) {
        c->cap = (c->len + READ_SIZE) * 2;
        c->data = realloc(c->data, c->cap);
        if (c->data == NULL) {
            abort();
        }
    }
}

bool rawconn_poll(struct rawconn *c)
{
    ssize_t n;

    make_room(c);
    n = recv(c->fd, c->data + c->len, c->cap - c->len, MSG_DONTWAIT);
    if (n > 0) {
        c->len += (size_t)n;
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        c->ended = true;
    }
    return !c->ended;
}

/* False after timeout_ms without an event. */
static bool wait_for(struct rawconn *c, short events, int timeout_ms, short *got)
{
    struct pollfd p = {.fd = c->fd, .events = events};
    int rc;

    do {
        rc = poll(&p, 1, timeout_ms);
    } while (rc < 0 && errno == EINTR);
    *got = p.revents;
    return rc > 0;
}

bool rawconn_send(struct rawconn *c, const void *data, size_t len)
{
    const char *p = data;
    short got;

    while (len > 0 && !c->ended) {
        ssize_t n = send(c->fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return false;
        } else if (!wait_for(c, POLLIN | POLLOUT, SEND_MS, &got) ||
                   ((got & POLLIN) != 0 && !rawconn_poll(c))) {
            return false;
        }
    }
    return len == 0;
}

void rawconn_end_sending(struct rawconn *c)
{
    shutdown(c->fd, SHUT_WR);
}

bool rawconn_next(struct rawconn *c, struct raw *reply)
{
    ssize_t n = c->len == c->at ? 0 : raw_length(c->data + c->at, c->len - c->at);

    if (n <= 0) {
        return false;
    }
    *reply = (struct raw){c->data + c->at, (size_t)n};
    c->at += (size_t)n;
    return true;
}

bool rawconn_reply(struct rawconn *c, int timeout_ms, struct raw *reply)
{
    short got;

    while (!rawconn_next(c, reply)) {
        if (c->ended || !wait_for(c, POLLIN, timeout_ms, &got)) {
            return false;
        }
        (void)rawconn_poll(c);
    }
    return true;
}

struct raw rawconn_rest(struct rawconn *c, int timeout_ms, bool *closed)
{
    struct raw all;
    short got;

    while (!c->ended && wait_for(c, POLLIN, timeout_ms, &got)) {
        (void)rawconn_poll(c);
    }
    *closed = c->ended;
    all = (struct raw){c->data + c->at, c->len - c->at};
    c->at = c->len;
    return all;
}
