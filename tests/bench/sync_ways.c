/* SPDX-License-Identifier: MIT */
/*
 * sync_ways.c - what one append to a file and its way to the disk cost, by the calls that do it.
 *
 *   sync_ways [DIRECTORY [BYTES [ROUNDS [EACH]]]]    (default: . 5000 20 25)
 *   make bench-sync [DIR=DIRECTORY] [BYTES=N] [ROUNDS=N]
 *
 * A row is what stands in the file before the append (nothing, room, zeros) and a way to write and
 * sync it; the last rows only append 16 KiB, as `appendfsync everysec` does once a tick. In each
 * round every row has a turn of EACH appends, in every other one in reverse order, so that drift
 * hits all alike; the file is brought back to its first state ahead of a turn, untimed. Prints a
 * table for Markdown. CPU is the process's user and system time with that of all its threads: those
 * that io_uring starts for it, to do what would block or to poll (SQPOLL), are among them. Not so
 * the kernel's own, which do the syncs of what io_uring writes with O_DIRECT.
 */
#include "lib/rng.h"
#include "lib/spread.h"
#include "lib/tmpdir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <liburing.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096u
#define PIECE (1u << 20)          /* files are this long, or a multiple */
#define BYTES_MAX (PIECE / 2)     /* of an append */
#define APPEND_BYTES (16u * 1024) /* of one that is not synced */
#define TICK_US 200               /* between two of those */
#define POLL_MS 20                /* for which SQPOLL's thread looks for more before it sleeps */
#define ROWS_MAX 64u

/* One thread submits and waits; completions are worked off only when it waits. */
#define RING_PLAIN (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN)
#define RING_POLL IORING_SETUP_SQPOLL

static struct options {
    uint64_t bytes, rounds, each;
    const char *dir;
} opt = {.bytes = 5000, .rounds = 20, .each = 25, .dir = "."};

enum room { GROWS = 1, RESERVED = 2, ZEROS = 4 };
#define HAVE_ROOM (RESERVED | ZEROS)
#define ALL (GROWS | HAVE_ROOM)

struct row;

struct way {
    const char *name;
    void (*append)(struct row *r, uint64_t at);
    unsigned rooms;    /* enum room: what it is measured over */
    int open_flags;    /* beside those that all have */
    unsigned ring;     /* flags of a ring; 0: none */
    bool registered;   /* with the file and the buffer */
    bool appends_only; /* APPEND_BYTES at a time, TICK_US between */
};

struct row {
    const struct way *way;
    enum room room;
    int fd;
    int refused; /* errno of a ring that cannot be had */
    struct io_uring ring;
    unsigned under_way;  /* completions still to come */
    struct spread times; /* ns */
    struct spread cpu;   /* ns an append, of each turn */
};

static struct row rows[ROWS_MAX];
static size_t rows_n;
static struct tmpdir dir;
static volatile sig_atomic_t ended;
static _Alignas(BLOCK) char data[PIECE];
static _Alignas(BLOCK) char zeros[PIECE];

_Noreturn static void fail(const char *what)
{
    fprintf(stderr, "sync_ways: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* `expected` is what a call should return; anything else ends the program. */
static void check(const char *what, int64_t rc, uint64_t expected)
{
    if (rc < 0 || (uint64_t)rc != expected) {
        errno = rc < 0 ? errno : EIO;
        fail(what);
    }
}

static size_t bytes_of(const struct row *r)
{
    return r->way->appends_only ? APPEND_BYTES : (size_t)opt.bytes;
}

/* What an append writes: with O_DIRECT the whole blocks that it touches, the first one of which
 * holds the end of the append before. */
static size_t span(const struct row *r, uint64_t *at)
{
    uint64_t end = *at + bytes_of(r);
    if ((r->way->open_flags & O_DIRECT) != 0) {
        *at = *at / BLOCK * BLOCK;
        end = (end + BLOCK - 1) / BLOCK * BLOCK;
    }
    return (size_t)(end - *at);
}

/* ---- Ways by plain calls ---- */

static void nothing(struct row *r, uint64_t at)
{
    (void)r;
    (void)at;
}

/* With O_DSYNC among the open flags it is synced too. */
static void by_pwrite(struct row *r, uint64_t at)
{
    size_t n = span(r, &at);
    check("pwrite", pwrite(r->fd, data, n, (off_t)at), n);
}

static void by_fdatasync(struct row *r, uint64_t at)
{
    by_pwrite(r, at);
    check("fdatasync", fdatasync(r->fd), 0);
}

static void by_dsync(struct row *r, uint64_t at)
{
    struct iovec iov = {data, span(r, &at)};
    check("pwritev2", pwritev2(r->fd, &iov, 1, (off_t)at, RWF_DSYNC), iov.iov_len);
}

/* ---- Ways by io_uring ---- */

static struct io_uring_sqe *ask(struct row *r)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&r->ring);
    if (sqe == NULL) {
        errno = EBUSY;
        fail("io_uring_get_sqe");
    }
    r->under_way++;
    return sqe;
}

/* user_data: the result that it must have. */
static struct io_uring_sqe *ask_write(struct row *r, uint64_t at)
{
    struct io_uring_sqe *sqe = ask(r);
    unsigned n = (unsigned)span(r, &at);
    if (r->way->registered) {
        io_uring_prep_write_fixed(sqe, 0, data, n, at, 0);
        sqe->flags |= IOSQE_FIXED_FILE;
    } else {
        io_uring_prep_write(sqe, r->fd, data, n, at);
    }
    sqe->user_data = n;
    return sqe;
}

/* Submits and waits for n, in one system call but where a thread polls. */
static void submit(struct row *r, unsigned n)
{
    int rc = io_uring_submit_and_wait(&r->ring, n);
    if (rc < 0 && rc != -EINTR) {
        errno = -rc;
        fail("io_uring_submit_and_wait");
    }
}

static void reap(struct row *r)
{
    for (; r->under_way > 0; r->under_way--) {
        struct io_uring_cqe *cqe;
        int rc;
        while ((rc = io_uring_wait_cqe(&r->ring, &cqe)) == -EINTR) {
        }
        rc = rc < 0 ? rc : cqe->res;
        errno = -rc;
        check(r->way->name, rc, rc < 0 ? 0 : cqe->user_data);
        io_uring_cqe_seen(&r->ring, cqe);
    }
}

static void by_linked(struct row *r, uint64_t at)
{
    ask_write(r, at)->flags |= IOSQE_IO_LINK;
    struct io_uring_sqe *sqe = ask(r);
    io_uring_prep_fsync(sqe, r->way->registered ? 0 : r->fd, IORING_FSYNC_DATASYNC);
    sqe->flags |= r->way->registered ? IOSQE_FIXED_FILE : 0;
    sqe->user_data = 0;
    submit(r, r->under_way);
    reap(r);
}

static void by_ring(struct row *r, uint64_t at)
{
    ask_write(r, at)->rw_flags = r->way->appends_only ? 0 : RWF_DSYNC;
    submit(r, r->under_way);
    reap(r);
}

/* The one of a tick ago is reaped first: writes must not pass each other. */
static void by_ring_later(struct row *r, uint64_t at)
{
    reap(r);
    ask_write(r, at);
    submit(r, 0);
}

/* clang-format off */
static const struct way ways[] = {
    {"write, `fdatasync`", by_fdatasync, ALL, 0, 0, false, false},
    {"`O_DSYNC`", by_pwrite, ALL, O_DSYNC, 0, false, false},
    {"`pwritev2(RWF_DSYNC)`", by_dsync, ALL, 0, 0, false, false},
    {"`O_DIRECT`, `O_DSYNC`, whole blocks", by_pwrite, HAVE_ROOM, O_DIRECT | O_DSYNC, 0, false, false},
    {"io_uring: write linked to fsync", by_linked, ALL, 0, RING_PLAIN, false, false},
    {"io_uring: linked, file and buffer registered", by_linked, ALL, 0, RING_PLAIN, true, false},
    {"io_uring: linked, registered, `SQPOLL`", by_linked, ALL, 0, RING_POLL, true, false},
    {"io_uring: `RWF_DSYNC`", by_ring, ALL, 0, RING_PLAIN, false, false},
    {"io_uring: `RWF_DSYNC`, `O_DIRECT`, whole blocks", by_ring, HAVE_ROOM, O_DIRECT, RING_PLAIN, false, false},
    {"nothing (what a tick costs)", nothing, RESERVED, 0, 0, false, true},
    {"write", by_pwrite, RESERVED, 0, 0, false, true},
    {"io_uring: write, waited for", by_ring, RESERVED, 0, RING_PLAIN, false, true},
    {"io_uring: write, reaped in the next tick", by_ring_later, RESERVED, 0, RING_PLAIN, false, true},
};
/* clang-format on */
#define WAYS_N (sizeof ways / sizeof *ways)
_Static_assert(4 * WAYS_N <= ROWS_MAX, "each may stand over three kinds of room, and without sync");

/* ---- A turn ---- */

static uint64_t room_bytes(const struct row *r)
{
    return ((opt.each + 1) * bytes_of(r) + BLOCK + PIECE - 1) / PIECE * PIECE;
}

static void open_file(struct row *r, size_t number)
{
    char name[32];
    char path[256];
    snprintf(name, sizeof name, "%zu", number);
    tmpdir_join(&dir, name, path, sizeof path);
    r->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | r->way->open_flags, 0600);
    if (r->fd < 0) {
        fail(path);
    }
    for (uint64_t at = 0; r->room == ZEROS && at < room_bytes(r); at += PIECE) {
        check("write of zeros", pwrite(r->fd, zeros, PIECE, (off_t)at), PIECE);
    }
}

/* Zeros that were written over serve as well as fresh ones: the blocks are there and in use. */
static void make_room(struct row *r)
{
    if (r->room != ZEROS) {
        check("ftruncate", ftruncate(r->fd, 0), 0);
    }
    if (r->room == RESERVED) {
        check("fallocate", fallocate(r->fd, 0, 0, (off_t)room_bytes(r)), 0);
    }
    check("fsync", fsync(r->fd), 0);
}

/* Kept for the whole run, as a server would; r->refused says why there is none. */
static void make_ring(struct row *r)
{
    struct io_uring_params p = {.flags = r->way->ring, .sq_thread_idle = POLL_MS};
    struct iovec iov = {data, sizeof data};
    int rc = io_uring_queue_init_params(8, &r->ring, &p);
    if (rc >= 0 && r->way->registered) {
        rc = io_uring_register_files(&r->ring, &r->fd, 1);
        rc = rc < 0 ? rc : io_uring_register_buffers(&r->ring, &iov, 1);
    }
    r->refused = rc < 0 ? -rc : 0;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t cpu_us(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000u +
           (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* The first append, which may start a thread of io_uring's, is not counted. */
static void take_turn(struct row *r)
{
    uint64_t cpu = 0;
    make_room(r);
    for (uint64_t i = 0; i <= opt.each; i++) {
        if (r->way->appends_only) {
            usleep(TICK_US);
        }
        uint64_t start = now_ns();
        r->way->append(r, i * bytes_of(r));
        if (i > 0) {
            spread_add(&r->times, now_ns() - start);
        } else {
            cpu = cpu_us();
        }
    }
    reap(r);
    spread_add(&r->cpu, (cpu_us() - cpu) * 1000 / opt.each);
    if (r->way->ring == RING_POLL) {
        usleep(2 * POLL_MS * 1000); /* its thread goes to sleep, so that others are not measured */
    }
}

/* ---- The run ---- */

static void add_rows(enum room room, bool appends_only)
{
    for (size_t i = 0; i < WAYS_N; i++) {
        if ((ways[i].rooms & room) != 0 && ways[i].appends_only == appends_only) {
            struct row *r = &rows[rows_n++];
            r->way = &ways[i];
            r->room = room;
            open_file(r, rows_n);
            if (r->way->ring != 0) {
                make_ring(r);
            }
        }
    }
}

static double us_at(const struct spread *s, double part)
{
    return (double)spread_at(s, part) / 1000;
}

static void print_row(const struct row *r)
{
    const char *before = r->room == GROWS      ? "none, the file grows"
                         : r->room == RESERVED ? "reserved by `fallocate`"
                                               : "zeros written before";
    printf("| %s%s | %s |", r->way->appends_only ? "no sync: " : "", before, r->way->name);
    if (r->times.n == 0) {
        printf(" %s | | | | |\n", strerror(r->refused));
        return;
    }
    printf(" %.0f | %.0f | %.0f | %.0f | %.1f |\n", us_at(&r->times, 0.5),
           spread_mean(&r->times) / 1000, us_at(&r->times, 0.9), us_at(&r->times, 0.99),
           us_at(&r->cpu, 0.5));
}

static void print_all(uint64_t rounds)
{
    printf("Appends of %" PRIu64 " bytes made durable, and of %u bytes not synced, %u us apart; "
           "%" PRIu64 " rounds with %" PRIu64 " of each row in turn. In us an append; CPU: "
           "the median of the turns.\n\n",
           opt.bytes, APPEND_BYTES, TICK_US, rounds, opt.each);
    printf("| the file's bytes before | how | median | mean | p90 | p99 | CPU |\n"
           "|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < rows_n; i++) {
        print_row(&rows[i]);
    }
}

static void end_cb(int signal_number)
{
    (void)signal_number;
    ended = 1;
}

static void clean_up(void)
{
    tmpdir_remove(&dir);
}

static bool read_options(int argc, char **argv)
{
    uint64_t *const numbers[] = {&opt.bytes, &opt.rounds, &opt.each};
    opt.dir = argc > 1 ? argv[1] : opt.dir;
    for (int i = 2; i < argc && i < 5; i++) {
        *numbers[i - 2] = strtoull(argv[i], NULL, 10);
    }
    return argc <= 5 && opt.bytes > 0 && opt.bytes <= BYTES_MAX && opt.rounds > 0 && opt.each > 0;
}

int main(int argc, char **argv)
{
    if (!read_options(argc, argv)) {
        fprintf(stderr, "sync_ways [DIRECTORY [BYTES [ROUNDS [EACH]]]], BYTES 1 to %u\n",
                BYTES_MAX);
        return 1;
    }
    setenv("TMPDIR", opt.dir, 1);
    tmpdir_make(&dir, "sync-ways");
    atexit(clean_up);
    signal(SIGINT, end_cb);
    signal(SIGTERM, end_cb);
    rng_fill(&(struct rng){1}, data, sizeof data);
    add_rows(GROWS, false);
    add_rows(RESERVED, false);
    add_rows(ZEROS, false);
    add_rows(RESERVED, true);
    uint64_t round = 0;
    for (; round < opt.rounds && !ended; round++) {
        for (size_t i = 0; i < rows_n && !ended; i++) {
            struct row *r = &rows[round % 2 == 0 ? i : rows_n - 1 - i];
            if (r->refused == 0) {
                take_turn(r);
            }
        }
    }
    print_all(round);
    return 0;
}
