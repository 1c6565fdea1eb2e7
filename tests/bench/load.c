/* SPDX-License-Identifier: MIT */
/*
 * load.c - a load generator that does not wait: GETs and SETs at a fixed rate, whatever the server
 * does, each timed from when it was due. So a server that stands still for 50 ms shows 50 ms in all
 * that came due meanwhile, and not in one request per connection.
 *
 *   load port=N [rate=PER_SECOND] [seconds=S] [keys=N] [size=BYTES] [sets=PERCENT] [zipf=EXPONENT]
 *        [connections=N] [depth=N] [seed=N] [ordered=1 [first=N]] [expire_at=UNIX_SECONDS]
 * [every=1]
 *
 * rate=0: as fast as it goes, with depth requests on their way in each connection. zipf=0: uniform;
 * 0.99 as YCSB has it (drawn as in Hoermann and Derflinger, "Rejection-inversion to generate
 * variates from monotone discrete distributions", 1996), the frequent keys spread over all.
 * ordered=1: each key from first to keys once, in order, then the end; so stores are filled and
 * caches warmed. expire_at: SETs carry EXAT. SIGTERM ends a run early, as its time would.
 * Prints for each of GET and SET: how many, per second, and p50 to p99.9 and the longest in
 * microseconds; with every=1 also a line each second.
 */
#include "lib/rng.h"
#include "lib/spread.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER (1u << 20)
#define CONNECTIONS_MAX 512u
#define WAITING_MAX 65536u /* requests on their way in a connection; a power of two */
#define NS 1000000000u
#define FRONT 128u /* bytes of a request before its value, at most */

static struct options {
    uint64_t port, rate, seconds, keys, size, sets, connections, depth, seed;
    uint64_t ordered, first, expire_at, every;
    double zipf;
} opt = {.rate = 1000,
         .seconds = 10,
         .keys = 1000000,
         .size = 100,
         .sets = 50,
         .connections = 16,
         .depth = 16,
         .seed = 1};

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
static struct spread times[2];  /* GET, SET */
static struct spread second[2]; /* of the second that runs, with every=1 */
static uint64_t next_key;       /* with ordered=1 */
static volatile sig_atomic_t ended;
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

static void print_times(const char *name, const struct spread *h, double seconds)
{
    static const struct {
        const char *name;
        double part;
    } at[] = {{"p50", 0.5},  {"p90", 0.9},    {"p95", 0.95},
              {"p99", 0.99}, {"p995", 0.995}, {"p999", 0.999}};
    printf("%s n=%" PRIu64 " per_second=%.0f", name, h->n, (double)h->n / seconds);
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        printf(" %s=%.0f", at[i].name, (double)spread_at(h, at[i].part) / 1000);
    }
    printf(" max=%.0f\n", (double)h->longest / 1000);
}

/* Prints and forgets the second that ends at `now`. */
static void print_second(uint64_t start, uint64_t now)
{
    printf("second=%.1f", (double)(now - start) / NS);
    for (int i = 0; i < 2; i++) {
        printf(" %s=%" PRIu64 " %s_p99=%.0f", i == 0 ? "gets" : "sets", second[i].n,
               i == 0 ? "get" : "set", (double)spread_at(&second[i], 0.99) / 1000);
        second[i] = (struct spread){0};
    }
    printf("\n");
    fflush(stdout);
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
    if (opt.ordered) {
        return next_key++;
    }
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
    if (c->last - c->first == WAITING_MAX || BUFFER - c->out_n < opt.size + FRONT ||
        (opt.ordered && next_key == opt.keys)) {
        return false;
    }
    uint64_t key = draw_key(rng);
    char *to = c->out + c->out_n;
    int n;
    if (set) {
        n = snprintf(to, FRONT, "*%d\r\n$3\r\nSET\r\n$16\r\nkey:%012" PRIu64 "\r\n$%" PRIu64 "\r\n",
                     opt.expire_at > 0 ? 5 : 3, key, opt.size);
        memcpy(to + n, value, opt.size);
        memcpy(to + n + opt.size, "\r\n", 2);
        n += (int)opt.size + 2;
        if (opt.expire_at > 0) {
            n += snprintf(to + n, FRONT / 2, "$4\r\nEXAT\r\n$10\r\n%010" PRIu64 "\r\n",
                          opt.expire_at);
        }
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
    spread_add(&times[r->set], now - r->due_ns);
    if (opt.every) {
        spread_add(&second[r->set], now - r->due_ns);
    }
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

static bool goes_on(uint64_t start, uint64_t now)
{
    return !ended && (opt.ordered ? next_key < opt.keys : now < start + opt.seconds * NS);
}

static void end_cb(int signal_number)
{
    (void)signal_number;
    ended = 1;
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
    uint64_t sent = 0;
    uint64_t printed = start;
    for (uint64_t now = start; goes_on(start, now) || anything_waits(); now = now_ns()) {
        uint64_t next = now + NS / 10;
        if (goes_on(start, now) && opt.rate > 0) {
            next = queue_due(&rng, start, now, &sent);
        } else if (goes_on(start, now)) {
            queue_deep(&rng, now);
        }
        if (opt.every && now - printed >= NS) {
            print_second(start, now);
            printed = now;
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
    } names[] = {
        {"port", &opt.port},       {"rate", &opt.rate},   {"seconds", &opt.seconds},
        {"keys", &opt.keys},       {"size", &opt.size},   {"sets", &opt.sets},
        {"depth", &opt.depth},     {"seed", &opt.seed},   {"connections", &opt.connections},
        {"ordered", &opt.ordered}, {"first", &opt.first}, {"expire_at", &opt.expire_at},
        {"every", &opt.every}};
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
    struct rng rng = {opt.seed}; /* bytes that no file of Redis's makes smaller */
    rng_fill(&rng, value, opt.size);
    next_key = opt.first;
    signal(SIGTERM, end_cb);
    run();
    return errors > 0;
}
