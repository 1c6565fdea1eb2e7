/* SPDX-License-Identifier: MIT */
/* net_clients.c - the clients of net_fake.h: plain sockets, and waits that end. */
#include "lib/net_fake.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define WAIT_MS 10000

static int connect_to(const struct sockaddr *sa, socklen_t len)
{
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, sa, len) != 0) {
        fake_fail("cannot connect");
    }
    return fd;
}

int fake_connect(struct fake *f)
{
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons(f->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return connect_to((struct sockaddr *)&sa, sizeof(sa));
}

int fake_connect_unix(struct fake *f)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    snprintf(sa.sun_path, sizeof(sa.sun_path), "%.100s", f->path);
    return connect_to((struct sockaddr *)&sa, sizeof(sa));
}

void fake_send(int fd, const char *text)
{
    size_t len = strlen(text);
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n <= 0) {
            fake_fail("cannot send");
        }
        text += n;
        len -= (size_t)n;
    }
}

static bool readable(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, ms) == 1;
}

void fake_expect(int fd, const char *text)
{
    size_t want = strlen(text);
    size_t have = 0;
    char *got = calloc(1, want + 1);
    while (have < want) {
        ssize_t n = readable(fd, WAIT_MS) ? recv(fd, got + have, want - have, 0) : -1;
        if (n <= 0) {
            fprintf(stderr, "wanted \"%s\", got \"%s\"\n", text, got);
            fake_fail(n == 0 ? "the connection was closed" : "no answer");
        }
        have += (size_t)n;
    }
    if (memcmp(got, text, want) != 0) {
        fprintf(stderr, "wanted \"%s\", got \"%s\"\n", text, got);
        fake_fail("another answer");
    }
    free(got);
}

void fake_expect_closed(int fd)
{
    char c;
    if (!readable(fd, WAIT_MS) || recv(fd, &c, 1, 0) > 0) {
        fake_fail("the connection is not closed");
    }
}

bool fake_is_silent(int fd, int ms)
{
    return !readable(fd, ms);
}

void fake_until(struct fake *f, uint64_t (*read_it)(struct fake *f), uint64_t want)
{
    for (int i = 0; i < WAIT_MS; i++) {
        if (read_it(f) == want) {
            return;
        }
        poll(NULL, 0, 1); /* a bounded wait for a figure that has no event; the condition decides */
    }
    fake_fail("a figure never came to its value");
}
