/* SPDX-License-Identifier: MIT */
/* respc.c - see respc.h. The socket never blocks; poll waits with the time left. */
#include "lib/respc.h"

#include "lib/rawreply.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define READ_SIZE 65536u

struct respc {
    int fd;
    struct bk_buf in; /* received; from at on not yet taken */
    size_t at;
    const char *problem;
};

/* ---- The connection ---- */

static struct respc *wrap(int fd)
{
    struct respc *c = bk_alloc_zero(1, sizeof *c);
    c->fd = fd;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return c;
}

static int connect_to(const struct sockaddr *address, socklen_t len)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, address, len) != 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        fd = -1;
    }
    return fd;
}

struct respc *respc_connect(const char *host, int port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
    struct addrinfo *found = NULL;
    char service[16];
    snprintf(service, sizeof service, "%d", port);
    if (getaddrinfo(host, service, &hints, &found) != 0) {
        errno = EINVAL;
        return NULL;
    }
    int fd = connect_to(found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    if (fd < 0) {
        return NULL;
    }
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return wrap(fd);
}

struct respc *respc_connect_unix(const char *path)
{
    union {
        struct sockaddr any;
        struct sockaddr_un un;
    } address = {.un = {.sun_family = AF_UNIX}};
    size_t n = strlen(path);
    if (n >= sizeof address.un.sun_path) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    memcpy(address.un.sun_path, path, n + 1);
    int fd = connect_to(&address.any, sizeof address.un);
    return fd < 0 ? NULL : wrap(fd);
}

void respc_close(struct respc **c)
{
    if (*c == NULL) {
        return;
    }
    close((*c)->fd);
    bk_buf_fini(&(*c)->in);
    free(*c);
    *c = NULL;
}

int respc_fd(const struct respc *c)
{
    return c->fd;
}

const char *respc_problem(const struct respc *c)
{
    return c->problem != NULL ? c->problem : "none";
}

void respc_finish(struct respc *c)
{
    shutdown(c->fd, SHUT_WR);
}

/* Waits for events; 0: patience is over. */
static short wait_for(struct respc *c, short events)
{
    struct pollfd p = {.fd = c->fd, .events = events};
    int rc;
    do {
        rc = poll(&p, 1, RESPC_PATIENCE_MS);
    } while (rc < 0 && errno == EINTR);
    if (rc == 0) {
        c->problem = "no progress in time";
    }
    return rc > 0 ? p.revents : 0;
}

/* Sends what the socket takes now: bytes sent, 0 when none, -1 when it is closed. */
static ssize_t send_some(struct respc *c, const uint8_t *bytes, size_t n)
{
    ssize_t sent = send(c->fd, bytes, n, MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
        return 0;
    }
    if (sent < 0) {
        c->problem = "closed while sending";
    }
    return sent;
}

bool respc_send(struct respc *c, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    while (n > 0) {
        ssize_t sent = send_some(c, p, n);
        if (sent < 0 || (sent == 0 && wait_for(c, POLLOUT) == 0)) {
            return false;
        }
        p += sent;
        n -= (size_t)sent;
    }
    return true;
}

/* Receives what is there: 1 something, 0 nothing now, -1 the end. */
static int receive_some(struct respc *c)
{
    if (c->at > 0 && c->at >= c->in.len / 2) {
        bk_buf_consume(&c->in, c->at);
        c->at = 0;
    }
    ssize_t n = recv(c->fd, bk_buf_reserve(&c->in, READ_SIZE), READ_SIZE, 0);
    if (n > 0) {
        c->in.len += (size_t)n;
        return 1;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return 0;
    }
    c->problem = n == 0 ? "closed by the server" : "reset by the server";
    return -1;
}

/* What has been received and not yet taken. */
static const char *held(const struct respc *c, size_t *n)
{
    *n = c->in.len - c->at;
    return *n > 0 ? (const char *)c->in.data + c->at : "";
}

bool respc_read_to_end(struct respc *c, struct bk_buf *out)
{
    int rc = 0;
    while (rc >= 0) {
        rc = receive_some(c);
        size_t n;
        const char *bytes = held(c, &n);
        bk_buf_append(out, bytes, n);
        c->in.len = c->at = 0;
        if (rc == 0 && wait_for(c, POLLIN) == 0) {
            return false;
        }
    }
    return true;
}

/* raw_length of what is held; a long string is not searched again with every packet that comes. */
static ssize_t held_reply(const struct respc *c)
{
    size_t n;
    const char *bytes = held(c, &n);
    if (n >= 32 && bytes[0] == '$' && strtoll(bytes + 1, NULL, 10) > (long long)n) {
        return 0;
    }
    return raw_length(bytes, n);
}

/* ---- Commands ---- */

void respc_format_argv(struct bk_buf *out, size_t argc, const struct bk_span *argv)
{
    bk_buf_printf(out, "*%zu\r\n", argc);
    for (size_t i = 0; i < argc; i++) {
        bk_buf_printf(out, "$%zu\r\n", argv[i].len);
        bk_buf_append(out, argv[i].data, argv[i].len);
        bk_buf_append(out, "\r\n", 2);
    }
}

static void format_list(struct bk_buf *out, const char *arg, va_list ap)
{
    struct bk_span argv[64];
    size_t argc = 0;
    for (; arg != NULL && argc < sizeof argv / sizeof *argv; arg = va_arg(ap, const char *)) {
        argv[argc++] = bk_span_str(arg);
    }
    respc_format_argv(out, argc, argv);
}

void respc_format(struct bk_buf *out, const char *arg, ...)
{
    va_list ap;
    va_start(ap, arg);
    format_list(out, arg, ap);
    va_end(ap);
}

static struct reply *send_and_read(struct respc *c, struct bk_buf *command)
{
    bool sent = respc_send(c, command->data, command->len);
    bk_buf_fini(command);
    return sent ? respc_read(c) : NULL;
}

struct reply *respc_command(struct respc *c, const char *arg, ...)
{
    struct bk_buf command = {0};
    va_list ap;
    va_start(ap, arg);
    format_list(&command, arg, ap);
    va_end(ap);
    return send_and_read(c, &command);
}

struct reply *respc_command_argv(struct respc *c, size_t argc, const struct bk_span *argv)
{
    struct bk_buf command = {0};
    respc_format_argv(&command, argc, argv);
    return send_and_read(c, &command);
}

/* ---- Replies ---- */

/* Takes one line (without its CRLF) at *p; NULL when there is no whole one. */
static const char *take_line(const char **p, const char *end, size_t *len)
{
    const char *line = *p;
    const char *cr = end - line < 2 ? NULL : memmem(line, (size_t)(end - line), "\r\n", 2);
    if (cr == NULL) {
        return NULL;
    }
    *len = (size_t)(cr - line);
    *p = cr + 2;
    return line;
}

static void set_text(struct reply *r, const char *text, size_t len)
{
    r->text = bk_alloc(len + 1);
    if (len > 0) {
        memcpy(r->text, text, len);
    }
    r->text[len] = '\0';
    r->len = len;
}

static bool is_string(char type)
{
    return type == '$' || type == '=' || type == '!';
}

static bool is_aggregate(char type)
{
    return type == '*' || type == '~' || type == '%' || type == '>';
}

static struct reply *decode(const char **p, const char *end);

static void decode_elements(struct reply *r, long long n, const char **p, const char *end)
{
    r->elems = (size_t)(r->type == '%' ? n * 2 : n);
    r->elem = bk_alloc_zero(r->elems, sizeof(struct reply *));
    for (size_t i = 0; i < r->elems; i++) {
        r->elem[i] = decode(p, end);
    }
}

/* Of one whole reply: raw_length has checked that all is there. */
static struct reply *decode(const char **p, const char *end)
{
    size_t len = 0;
    const char *line = take_line(p, end, &len);
    struct reply *r = bk_alloc_zero(1, sizeof *r);
    long long n = strtoll(line + 1, NULL, 10);
    r->type = line[0];
    r->null = r->type == '_' || ((is_string(r->type) || is_aggregate(r->type)) && n < 0);
    if (r->null) {
        set_text(r, "", 0);
    } else if (is_string(r->type)) {
        set_text(r, *p, (size_t)n);
        *p += n + 2;
    } else if (is_aggregate(r->type)) {
        decode_elements(r, n, p, end);
    } else {
        r->integer = r->type == '#' ? line[1] == 't' : r->type == ':' ? n : 0;
        set_text(r, line + 1, len - 1);
    }
    return r;
}

/* Bytes of the next whole reply, received if need be; 0: there will be none. */
static size_t next_length(struct respc *c)
{
    ssize_t n;
    bk_buf_reserve(&c->in, 1); /* so that there is an address to add to */
    while ((n = held_reply(c)) == 0) {
        int rc = receive_some(c);
        if (rc < 0 || (rc == 0 && wait_for(c, POLLIN) == 0)) {
            return 0;
        }
    }
    if (n < 0) {
        c->problem = "not a reply";
    }
    return n > 0 ? (size_t)n : 0;
}

struct reply *respc_read(struct respc *c)
{
    size_t n = next_length(c);
    if (n == 0) {
        return NULL;
    }
    const char *p = (const char *)c->in.data + c->at;
    struct reply *r = decode(&p, p + n);
    c->at += n;
    return r;
}

/* Counts off whole replies that have arrived. */
static bool count_replies(struct respc *c, size_t *replies)
{
    while (*replies > 0) {
        ssize_t n = held_reply(c);
        if (n <= 0) {
            return n == 0;
        }
        c->at += (size_t)n;
        --*replies;
    }
    return true;
}

bool respc_exchange(struct respc *c, const void *bytes, size_t n, size_t replies)
{
    const uint8_t *p = bytes;
    bool alive = true;
    while (alive && (n > 0 || replies > 0)) {
        short ready = wait_for(c, (short)(POLLIN | (n > 0 ? POLLOUT : 0)));
        if (n > 0 && (ready & POLLOUT) != 0) {
            ssize_t sent = send_some(c, p, n);
            alive = sent >= 0;
            p += alive ? sent : 0;
            n -= alive ? (size_t)sent : 0;
        }
        if ((ready & (POLLIN | POLLHUP | POLLERR)) != 0) {
            alive = alive && receive_some(c) >= 0;
        }
        alive = count_replies(c, &replies) && alive && ready != 0;
    }
    return n == 0 && replies == 0;
}
