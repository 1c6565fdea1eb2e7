/* SPDX-License-Identifier: MIT */
/*
 * load.c - a load generator that does not wait: GETs and SETs at a fixed rate, whatever the server
 * does, each timed from when it was due. So a server that stands still for 50 ms shows 50 ms in all
 * that came due meanwhile, and not in one request per connection.
 *
 *   load port=N [rate=PER_SECOND] [seconds=S] [keys=N] [size=BYTES] [sets=PERCENT] [zipf=EXPONENT]
 *        [connections=N] [depth=N] [seed=N]
 *
 * rate=0: as fast as it goes, with depth requests on their way in each connection. zipf=0: uniform;
 * 0.99 as YCSB has it (drawn as in Hoermann and Derflinger, "Rejection-inversion to generate
 * variates from monotone discrete distributions", 1996), the frequent keys spread over all.
 * Prints for each of GET and SET: how many, per second, and p50, p99, p99.9 and the longest in
 * microseconds.
 */
#include "lib/rng.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER (1u << 20)
#define CONNECTIONS_MAX 512u
#define WAITING_MAX 65536u /* requests on their way in a connection; a power of two */
#define HISTOGRAM_SUB 32u  /* buckets to each doubling: 3 % wide */
#define NS 1000000000u
#define FRONT 128u /* bytes of a request before its value, at most */

static struct options {
    uint64_t port, rate, seconds, keys, size, sets, connections, depth, seed;
    double zipf;
} opt = {.rate = 1000,
         .seconds = 10,
         .keys = 1000000,
         .size = 100,
         .sets = 50,
         .connections = 16,
         .depth = 16,
         .seed = 1};

struct histogram {
    uint64_t n, longest;
    uint64_t buckets[64 * HISTOGRAM_SUB];
};

struct request {
    uint64_t due_ns;
    bool set;
};

struct conn {
    int fd;
    bool blocked; /* the socket takes no more */
    size_t out_n, out_at, in_n;
    uint64_t first, last; /* of waiting */
    uint64_t skip;        /* bytes of a value still to come */
    struct request waiting[WAITING_MAX];
    char out[BUFFER];
    char in[BUFFER];
};

static struct conn *conns[CONNECTIONS_MAX];
static struct histogram times[2]; /* GET, SET */
static uint64_t errors;
static char *value;

_Noreturn static void fail(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS + (uint64_t)t.tv_nsec;
}

/* ---- Times ---- */

static unsigned bucket_of(uint64_t v)
{
    if (v < HISTOGRAM_SUB) {
        return (unsigned)v;
    }
    unsigned shift = 63u - (unsigned)__builtin_clzll(v) - 5u;
    return (shift + 1) * HISTOGRAM_SUB + (unsigned)(v >> shift) - HISTOGRAM_SUB;
}

static uint64_t bucket_start(unsigned b)
{
    unsigned shift = b / HISTOGRAM_SUB;
    return shift == 0 ? b : (uint64_t)(HISTOGRAM_SUB + b % HISTOGRAM_SUB) << (shift - 1);
}

static void note(struct histogram *h, uint64_t ns)
{
    h->n++;
    h->longest = ns > h->longest ? ns : h->longest;
    h->buckets[bucket_of(ns)]++;
}

static uint64_t percentile(const struct histogram *h, double p)
{
    uint64_t left = (uint64_t)((double)h->n * p);
    for (unsigned b = 0; b < 64 * HISTOGRAM_SUB; b++) {
        if (left < h->buckets[b]) {
            return bucket_start(b);
        }
        left -= h->buckets[b];
    }
    return h->longest;
}

static void print_times(const char *name, const struct histogram *h, double seconds)
{
    printf("%s n=%" PRIu64 " per_second=%.0f p50=%.0f p99=%.0f p999=%.0f max=%.0f\n", name, h->n,
           (double)h->n / seconds, (double)percentile(h, 0.5) / 1000,
           (double)percentile(h, 0.99) / 1000, (double)percentile(h, 0.999) / 1000,
           (double)h->longest / 1000);
}

/* ---- Keys ---- */

static double zipf_h(double x)
{
    return exp((1 - opt.zipf) * log(x)) / (1 - opt.zipf);
}

static double zipf_h_inverse(double x)
{
    return exp(log((1 - opt.zipf) * x) / (1 - opt.zipf));
}

static uint64_t draw_zipf(struct rng *rng)
{
    double low = zipf_h(1.5) - 1;
    double high = zipf_h((double)opt.keys + 0.5);
    for (;;) {
        double u = high + (double)(rng_next(rng) >> 11) * 0x1p-53 * (low - high);
        double x = zipf_h_inverse(u);
        double k = floor(x + 0.5);
        if (u >= zipf_h(k + 0.5) - exp(-opt.zipf * log(k))) {
            return (uint64_t)k - 1;
        }
    }
}

static uint64_t draw_key(struct rng *rng)
{
    if (opt.zipf == 0) {
        return rng_below(rng, opt.keys);
    }
    struct rng spread = {draw_zipf(rng)};
    return rng_below(&spread, opt.keys);
}

/* ---- Connections ---- */

static struct conn *connect_to(uint16_t port)
{
    struct conn *c = calloc(1, sizeof *c);
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&at, sizeof at) != 0) {
        fail("connect");
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    return c;
}

static void send_out(struct conn *c)
{
    while (c->out_at < c->out_n && !c->blocked) {
        ssize_t n = write(c->fd, c->out + c->out_at, c->out_n - c->out_at);
        if (n > 0) {
            c->out_at += (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            c->blocked = true;
        } else if (n == 0 || errno != EINTR) {
            fail("write");
        }
    }
    if (c->out_at == c->out_n) {
        c->out_at = c->out_n = 0;
    }
}

/* False: there is no room for it now. */
static bool request(struct conn *c, struct rng *rng, uint64_t due_ns)
{
    bool set = rng_below(rng, 100) < opt.sets;
    if (c->last - c->first == WAITING_MAX || BUFFER - c->out_n < opt.size + FRONT) {
        return false;
    }
    uint64_t key = draw_key(rng);
    char *to = c->out + c->out_n;
    int n;
    if (set) {
        n = snprintf(to, FRONT, "*3\r\n$3\r\nSET\r\n$16\r\nkey:%012" PRIu64 "\r\n$%" PRIu64 "\r\n",
                     key, opt.size);
        memcpy(to + n, value, opt.size);
        memcpy(to + n + opt.size, "\r\n", 2);
        n += (int)opt.size + 2;
    } else {
        n = snprintf(to, FRONT, "*2\r\n$3\r\nGET\r\n$16\r\nkey:%012" PRIu64 "\r\n", key);
    }
    c->out_n += (size_t)n;
    c->waiting[c->last++ % WAITING_MAX] = (struct request){due_ns, set};
    return true;
}

static void replied(struct conn *c, uint64_t now)
{
    if (c->first == c->last) {
        errno = EPROTO;
        fail("a reply that nobody asked for");
    }
    struct request *r = &c->waiting[c->first++ % WAITING_MAX];
    note(&times[r->set], now - r->due_ns);
}

/* Takes the replies that are whole out of c->in; values are stepped over as they come. */
static void read_replies(struct conn *c, uint64_t now)
{
    size_t at = 0;
    while (at < c->in_n) {
        if (c->skip > 0) {
            size_t n = c->skip < c->in_n - at ? (size_t)c->skip : c->in_n - at;
            at += n;
            c->skip -= n;
            if (c->skip == 0) {
                replied(c, now);
            }
            continue;
        }
        char *line = c->in + at;
        char *end = memchr(line, '\n', c->in_n - at);
        if (end == NULL) {
            break;
        }
        at += (size_t)(end - line) + 1;
        errors += *line == '-';
        if (*line == '$' && line[1] != '-') {
            c->skip = strtoull(line + 1, NULL, 10) + 2;
        } else {
            replied(c, now);
        }
    }
    memmove(c->in, c->in + at, c->in_n - at);
    c->in_n -= at;
}

static void receive(struct conn *c)
{
    ssize_t n;
    while ((n = read(c->fd, c->in + c->in_n, BUFFER - c->in_n)) > 0) {
        c->in_n += (size_t)n;
        read_replies(c, now_ns());
    }
    if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        fail("the server has closed the connection");
    }
}

/* ---- The run ---- */

/* Queues what is due by now at a fixed rate; returns when the next one is. */
static uint64_t queue_due(struct rng *rng, uint64_t start, uint64_t now, uint64_t *sent)
{
    uint64_t due;
    while ((due = start + (uint64_t)((double)*sent * NS / (double)opt.rate)) <= now) {
        if (!request(conns[*sent % opt.connections], rng, due)) {
            return now + 1000000; /* it stays due, and late */
        }
        ++*sent;
    }
    return due;
}

static void queue_deep(struct rng *rng, uint64_t now)
{
    for (uint64_t i = 0; i < opt.connections; i++) {
        struct conn *c = conns[i];
        while (c->last - c->first < opt.depth && request(c, rng, now)) {
        }
    }
}

static bool anything_waits(void)
{
    for (uint64_t i = 0; i < opt.connections; i++) {
        if (conns[i]->first != conns[i]->last) {
            return true;
        }
    }
    return false;
}

static void wait_and_receive(int ep, uint64_t until)
{
    struct epoll_event ev[64];
    uint64_t now = now_ns();
    uint64_t ns = until > now ? until - now : 0;
    struct timespec t = {.tv_sec = (time_t)(ns / NS), .tv_nsec = (long)(ns % NS)};
    int n = epoll_pwait2(ep, ev, 64, &t, NULL);
    for (int i = 0; i < n; i++) {
        struct conn *c = ev[i].data.ptr;
        if ((ev[i].events & EPOLLOUT) != 0) {
            c->blocked = false;
        }
        if ((ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
            receive(c);
        }
    }
}

static void run(void)
{
    struct rng rng = {opt.seed};
    int ep = epoll_create1(EPOLL_CLOEXEC);
    for (uint64_t i = 0; i < opt.connections; i++) {
        conns[i] = connect_to((uint16_t)opt.port);
        struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = conns[i]};
        epoll_ctl(ep, EPOLL_CTL_ADD, conns[i]->fd, &ev);
    }
    uint64_t start = now_ns();
    uint64_t end = start + opt.seconds * NS;
    uint64_t sent = 0;
    for (uint64_t now = start; now < end || anything_waits(); now = now_ns()) {
        uint64_t next = now + NS / 10;
        if (now < end && opt.rate > 0) {
            next = queue_due(&rng, start, now, &sent);
        } else if (now < end) {
            queue_deep(&rng, now);
        }
        for (uint64_t i = 0; i < opt.connections; i++) {
            send_out(conns[i]);
        }
        wait_and_receive(ep, next);
    }
    double seconds = (double)(now_ns() - start) / NS;
    print_times("GET", &times[0], seconds);
    print_times("SET", &times[1], seconds);
    printf("errors=%" PRIu64 "\n", errors);
}

static bool set_option(const char *word)
{
    const struct {
        const char *name;
        uint64_t *to;
    } names[] = {{"port", &opt.port},   {"rate", &opt.rate}, {"seconds", &opt.seconds},
                 {"keys", &opt.keys},   {"size", &opt.size}, {"sets", &opt.sets},
                 {"depth", &opt.depth}, {"seed", &opt.seed}, {"connections", &opt.connections}};
    const char *is = strchr(word, '=');
    if (is == NULL) {
        return false;
    }
    if (strncmp(word, "zipf=", 5) == 0) {
        opt.zipf = strtod(is + 1, NULL);
        return opt.zipf >= 0 && opt.zipf != 1;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strlen(names[i].name) == (size_t)(is - word) &&
            memcmp(names[i].name, word, (size_t)(is - word)) == 0) {
            *names[i].to = strtoull(is + 1, NULL, 10);
            return true;
        }
    }
    return false;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (!set_option(argv[i])) {
            fprintf(stderr, "load: what is '%s'? See the head of tests/bench/load.c.\n", argv[i]);
            return 1;
        }
    }
    if (opt.port == 0 || opt.keys == 0 || opt.connections == 0 ||
        opt.connections > CONNECTIONS_MAX || opt.size > BUFFER / 2) {
        fprintf(stderr, "load: port, keys and connections are needed, size is at most %u\n",
                BUFFER / 2);
        return 1;
    }
    value = malloc(opt.size + 1);
    memset(value, 'x', opt.size);
    run();
    return errors > 0;
}
