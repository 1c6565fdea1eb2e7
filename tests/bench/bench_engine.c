/* SPDX-License-Identifier: MIT */
/*
 * bench_engine.c - what the engine alone costs, through bitkv.h: keys of 16 bytes, values of 64.
 *
 *   bench_engine [KEYS [PART...]]     (default 1000000, all parts); `make bench-engine N=10000000`
 *
 * Parts: inserts (CPU time of each insert while the key index grows: no insert may wait for it),
 * calls (what one thread pays for each kind of call), stages (what a put and a get consist of),
 * threads (1 to 8 at once). Writes go the server's way: a batch, and a flush every 16 writes, as
 * after a pipeline's tick. Means are taken over whole loops without a clock in them, percentiles
 * with a clock around each call, its own cost taken off.
 */
#include "base/buf.h"
#include "base/checksum.h"
#include "engine/bitkv.h"
#include "lib/rng.h"
#include "lib/spread.h"
#include "lib/tmpdir.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define KEY_BYTES 16
#define VALUE_BYTES 64
#define HOT_KEYS 10000
#define FLUSH_EVERY 16
#define CACHE_BYTES ((uint64_t)64 << 20)
#define THREADS_MAX 8

/* What one thread works with. */
struct user {
    struct bk_db *db;       /* borrowed */
    struct bk_batch *batch; /* owned */
    struct bk_buf value;
    struct bk_item item;
    struct rng rng;
    uint64_t keys;
    uint64_t writes;
    uint8_t key_bytes[FLUSH_EVERY][KEY_BYTES];
    uint8_t value_bytes[VALUE_BYTES];
};

/* Set by main before anything runs. */
static uint64_t wall_cost, cpu_cost; /* ns of one reading of a clock */
static struct tmpdir dir;

_Noreturn static void die(const char *what, int rc, const struct bk_error *err)
{
    fprintf(stderr, "bench_engine: %s: %d %s\n", what, rc, err != NULL ? err->text : "");
    exit(1);
}

static uint64_t clock_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The least of many tries: one that the processor was taken away from says nothing. */
static uint64_t cost_of(clockid_t id)
{
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < 100; i++) {
        uint64_t begin = clock_ns(CLOCK_MONOTONIC);
        for (int n = 0; n < 1000; n++) {
            (void)clock_ns(id);
        }
        uint64_t took = (clock_ns(CLOCK_MONOTONIC) - begin) / 1000;
        least = took < least ? took : least;
    }
    return least;
}

static uint64_t less(uint64_t took, uint64_t cost)
{
    return took > cost ? took - cost : 0;
}

static void user_init(struct user *u, struct bk_db *db, uint64_t keys, uint64_t seed)
{
    *u = (struct user){.db = db, .keys = keys, .rng = {seed}};
    u->batch = bk_batch_new(db);
}

static void user_fini(struct user *u)
{
    bk_batch_free(&u->batch);
    bk_buf_fini(&u->value);
    bk_item_fini(&u->item);
}

/* Key number i, in slot `at`; numbers from u->keys on are never written. */
static struct bk_key key_at(struct user *u, unsigned at, uint64_t i)
{
    struct bk_key key;
    bk_put64(u->key_bytes[at], i * 0x9e3779b97f4a7c15u);
    bk_put64(u->key_bytes[at] + 8, i);
    bk_key_init(u->db, &key, u->key_bytes[at], KEY_BYTES);
    return key;
}

static struct bk_key key_of(struct user *u, uint64_t i)
{
    return key_at(u, 0, i);
}

static struct bk_value value_of(struct user *u, uint64_t i)
{
    bk_put64(u->value_bytes, i);
    return (struct bk_value){bk_span_of(u->value_bytes, VALUE_BYTES), NULL};
}

/* Commits what `fill` puts into the batch, as often as the log has no room for it. */
static uint64_t commit(struct user *u, void (*fill)(struct user *u, uint64_t i), uint64_t i)
{
    struct bk_error err = {0};
    uint64_t pos = 0;
    int rc = BK_EAGAIN;
    while (rc == BK_EAGAIN) {
        bk_batch_begin(u->batch);
        fill(u, i);
        rc = bk_batch_commit(u->batch, &pos, &err);
        if (rc == BK_EAGAIN) {
            bk_flush(u->db, bk_tail(u->db));
            bk_ignore(bk_wait(u->db, bk_tail(u->db)), "the next commit tells");
        }
    }
    if (rc != BK_OK) {
        die("write", rc, &err);
    }
    return pos;
}

static void flush_sometimes(struct user *u, uint64_t pos)
{
    if (++u->writes % FLUSH_EVERY == 0) {
        bk_flush(u->db, pos);
    }
}

/* ---- The calls ---- */

static void fill_put(struct user *u, uint64_t i)
{
    struct bk_key key = key_of(u, i);
    struct bk_value value = value_of(u, i);
    bk_batch_put(u->batch, 0, &key, &value, 0, 0);
}

static void fill_delete(struct user *u, uint64_t i)
{
    struct bk_key key = key_of(u, i);
    bk_batch_delete(u->batch, 0, &key);
}

static void fill_many(struct user *u, uint64_t i)
{
    struct bk_value value = value_of(u, i);
    for (unsigned n = 0; n < FLUSH_EVERY; n++) {
        struct bk_key key = key_at(u, n, (i * FLUSH_EVERY + n) % u->keys);
        bk_batch_put(u->batch, 0, &key, &value, 0, 0);
    }
}

static void op_put(struct user *u, uint64_t i)
{
    flush_sometimes(u, commit(u, fill_put, i % u->keys));
}

static void op_batch(struct user *u, uint64_t i)
{
    bk_flush(u->db, commit(u, fill_many, i));
}

static void op_put_durable(struct user *u, uint64_t i)
{
    struct bk_key key = key_of(u, i % u->keys);
    int rc = bk_put(u->db, 0, key.bytes, bk_span_of(u->value_bytes, VALUE_BYTES), 0);
    if (rc != BK_OK) {
        die("put", rc, NULL);
    }
}

static void get(struct user *u, uint64_t i, int expected)
{
    struct bk_key key = key_of(u, i);
    int rc = bk_get(u->db, 0, key.bytes, &u->value, NULL);
    if (rc != expected) {
        die("get", rc, NULL);
    }
}

static uint64_t hot_key(struct user *u)
{
    return rng_below(&u->rng, u->keys < HOT_KEYS ? u->keys : HOT_KEYS);
}

static void op_get_hot(struct user *u, uint64_t i)
{
    (void)i;
    get(u, hot_key(u), BK_OK);
}

static void op_get_any(struct user *u, uint64_t i)
{
    (void)i;
    get(u, rng_below(&u->rng, u->keys), BK_OK);
}

static void op_get_absent(struct user *u, uint64_t i)
{
    get(u, u->keys + i, BK_NOTFOUND);
}

static void op_delete(struct user *u, uint64_t i)
{
    flush_sometimes(u, commit(u, fill_delete, i));
}

/* Half of the calls without a clock between them, half with one around each. A call does `per`
 * operations, and the figures are those of one. */
static void measure(struct user *u, const char *name, void (*op)(struct user *u, uint64_t i),
                    uint64_t calls, uint64_t per)
{
    static struct spread h;
    uint64_t half = calls > 1 ? calls / 2 : 1;
    uint64_t wall = clock_ns(CLOCK_MONOTONIC);
    uint64_t cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);

    for (uint64_t i = 0; i < half; i++) {
        op(u, i);
    }
    cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
    wall = clock_ns(CLOCK_MONOTONIC) - wall;
    h = (struct spread){0};
    for (uint64_t i = half; i < calls; i++) {
        uint64_t before = clock_ns(CLOCK_MONOTONIC);
        op(u, i);
        spread_add(&h, less(clock_ns(CLOCK_MONOTONIC) - before, wall_cost) / per);
    }
    printf("| %s | %.0f | %.0f | %" PRIu64 " | %" PRIu64 " | %" PRIu64 " | %" PRIu64 " |\n", name,
           (double)cpu / (double)(half * per), (double)wall / (double)(half * per),
           spread_at(&h, 0.5), spread_at(&h, 0.99), spread_at(&h, 0.999), h.longest);
}

/* ---- Parts ---- */

static void insert_all(struct user *u)
{
    static struct spread h;
    static const double parts[] = {0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999};
    struct bk_stats stats;

    for (uint64_t i = 0; i < u->keys; i++) {
        uint64_t before = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        op_put(u, i);
        spread_add(&h, less(clock_ns(CLOCK_THREAD_CPUTIME_ID) - before, cpu_cost));
    }
    bk_stats_get(u->db, &stats);
    printf("CPU time of each of %" PRIu64 " inserts, ns:", h.n);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        printf(" p%g %" PRIu64 ",", parts[i] * 100, spread_at(&h, parts[i]));
    }
    printf(" max %" PRIu64 "\n", h.longest);
    printf("most entries that one insert moved: %" PRIu64 "; key index: %.1f bytes a key\n",
           stats.keydir_moved_max,
           (double)stats.keydir_bytes / (double)(stats.keys > 0 ? stats.keys : 1));
}

static void count_cb(void *arg, const struct bk_scan_entry *entry)
{
    (void)entry;
    ++*(uint64_t *)arg;
}

static void iterate(struct user *u)
{
    uint64_t cursor = 0;
    uint64_t seen = 0;
    uint64_t wall = clock_ns(CLOCK_MONOTONIC);
    uint64_t cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    do {
        bk_scan(u->db, 0, &cursor, 1000, count_cb, &seen);
    } while (cursor != 0);
    cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
    wall = clock_ns(CLOCK_MONOTONIC) - wall;
    if (seen < u->keys) {
        die("scan saw too few keys", (int)seen, NULL);
    }
    printf("| iterate, a key | %.1f | %.1f | | | | |\n", (double)cpu / (double)seen,
           (double)wall / (double)seen);
}

/* The kernel forgets what it holds of the files, where its file system can. */
static void drop_pages(struct user *u)
{
    struct dirent *e;
    DIR *d = opendir(dir.path);
    bk_flush(u->db, bk_tail(u->db));
    sync();
    while (d != NULL && (e = readdir(d)) != NULL) {
        char path[512];
        tmpdir_join(&dir, e->d_name, path, sizeof(path));
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
            close(fd);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
}

static void calls(struct user *u)
{
    uint64_t cold = u->keys / 50 < 20000 ? u->keys / 50 : 20000;
    printf("\n| one thread, %" PRIu64 " keys of 16 bytes, values of 64 | CPU ns | mean ns | p50 |"
           " p99 | p99.9 | max |\n|---|---|---|---|---|---|---|\n",
           u->keys);
    measure(u, "put", op_put, u->keys, 1);
    measure(u, "put, in batches of 16", op_batch, u->keys / FLUSH_EVERY, FLUSH_EVERY);
    measure(u, "put, waiting for each", op_put_durable, u->keys / 4, 1);
    measure(u, "get hot", op_get_hot, u->keys, 1);
    measure(u, "get any", op_get_any, u->keys, 1);
    measure(u, "get absent", op_get_absent, u->keys, 1);
    bk_cache_limit(u->db, 0);
    measure(u, "get, value from the page cache", op_get_any, u->keys, 1);
    drop_pages(u);
    measure(u, "get cold", op_get_any, cold, 1);
    bk_cache_limit(u->db, CACHE_BYTES);
    iterate(u);
}

/* ---- Stages ---- */

enum stage { GET_KEY, GET_LOOK_UP, GET_VALUE, PUT_KEY, PUT_COMPOSE, PUT_COMMIT, PUT_FLUSH, STAGES };
static const char *const stage_names[STAGES] = {"get hot: hash of the key",
                                                "get hot: pin and look-up",
                                                "get hot: value from the cache, checked",
                                                "put: hash of the key",
                                                "put: begin, compose",
                                                "put: commit (locks, append, swing)",
                                                "put: flush, its 16th part"};
static struct spread stage_times[STAGES];

/* Adds what passed since *since, and sets it to now. */
static void stage_ends(enum stage stage, uint64_t *since, uint64_t parts)
{
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    spread_add(&stage_times[stage], less(now - *since, wall_cost) / parts);
    *since = clock_ns(CLOCK_MONOTONIC);
}

static void get_in_stages(struct user *u)
{
    uint32_t num = 0;
    uint64_t i = hot_key(u);
    uint64_t since = clock_ns(CLOCK_MONOTONIC);
    struct bk_key key = key_of(u, i);
    stage_ends(GET_KEY, &since, 1);
    unsigned token = bk_pin(u->db);
    bk_locate(u->db, &num, &key, 1, &u->item);
    stage_ends(GET_LOOK_UP, &since, 1);
    int rc = bk_load(u->db, &key, &u->item, NULL);
    bk_unpin(u->db, token);
    stage_ends(GET_VALUE, &since, 1);
    if (rc != BK_OK && rc != BK_CHANGED) {
        die("load", rc, NULL);
    }
}

static void put_in_stages(struct user *u)
{
    uint64_t i = rng_below(&u->rng, u->keys);
    uint64_t since = clock_ns(CLOCK_MONOTONIC);
    uint64_t pos = 0;
    struct bk_key key = key_of(u, i);
    struct bk_value value = value_of(u, i);
    stage_ends(PUT_KEY, &since, 1);
    bk_batch_begin(u->batch);
    bk_batch_put(u->batch, 0, &key, &value, 0, 0);
    stage_ends(PUT_COMPOSE, &since, 1);
    int rc = bk_batch_commit(u->batch, &pos, NULL);
    stage_ends(PUT_COMMIT, &since, 1);
    if (rc == BK_EAGAIN) {
        bk_flush(u->db, bk_tail(u->db));
        bk_ignore(bk_wait(u->db, bk_tail(u->db)), "the next commit tells");
    } else if (rc != BK_OK) {
        die("commit", rc, NULL);
    } else if (++u->writes % FLUSH_EVERY == 0) {
        since = clock_ns(CLOCK_MONOTONIC);
        bk_flush(u->db, pos);
        stage_ends(PUT_FLUSH, &since, FLUSH_EVERY);
    }
}

static void stages(struct user *u)
{
    for (uint64_t i = 0; i < u->keys / 2; i++) {
        get_in_stages(u);
    }
    for (uint64_t i = 0; i < u->keys / 2; i++) {
        put_in_stages(u);
    }
    printf("\n| stage, one thread | p50 ns | mean ns |\n|---|---|---|\n");
    for (int i = 0; i < STAGES; i++) {
        printf("| %s | %" PRIu64 " | %.0f |\n", stage_names[i], spread_at(&stage_times[i], 0.5),
               spread_mean(&stage_times[i]));
    }
}

/* ---- Threads ---- */

struct worker {
    struct user user;
    void (*op)(struct user *u, uint64_t i);
    uint64_t calls;
    uint64_t cpu_ns; /* set by the thread */
    pthread_barrier_t *start;
};

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    pthread_barrier_wait(w->start);
    uint64_t cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    for (uint64_t i = 0; i < w->calls; i++) {
        w->op(&w->user, rng_next(&w->user.rng) % w->user.keys);
    }
    w->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
    return NULL;
}

static void run_threads(struct user *u, const char *name, void (*op)(struct user *u, uint64_t i),
                        unsigned n)
{
    static struct worker workers[THREADS_MAX];
    pthread_t threads[THREADS_MAX];
    pthread_barrier_t start;
    uint64_t total = 0;
    uint64_t cpu = 0;

    pthread_barrier_init(&start, NULL, n + 1);
    for (unsigned i = 0; i < n; i++) {
        workers[i] = (struct worker){.op = op, .calls = u->keys / n, .start = &start};
        user_init(&workers[i].user, u->db, u->keys, i + 1);
        if (pthread_create(&threads[i], NULL, worker_main, &workers[i]) != 0) {
            die("pthread_create", 0, NULL);
        }
        total += workers[i].calls;
    }
    pthread_barrier_wait(&start);
    uint64_t wall = clock_ns(CLOCK_MONOTONIC);
    for (unsigned i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
        cpu += workers[i].cpu_ns;
        user_fini(&workers[i].user);
    }
    wall = clock_ns(CLOCK_MONOTONIC) - wall;
    pthread_barrier_destroy(&start);
    printf("| %s | %u | %.0f | %.0f |\n", name, n, (double)total * 1e9 / (double)wall,
           (double)cpu / (double)total);
}

static void threads(struct user *u)
{
    printf("\n| call | threads, on %ld cores | calls a second | CPU ns a call |\n"
           "|---|---|---|---|\n",
           sysconf(_SC_NPROCESSORS_ONLN));
    for (unsigned n = 1; n <= THREADS_MAX; n *= 2) {
        run_threads(u, "put", op_put, n);
    }
    for (unsigned n = 1; n <= THREADS_MAX; n *= 2) {
        run_threads(u, "get hot", op_get_hot, n);
    }
    for (unsigned n = 1; n <= THREADS_MAX; n *= 2) {
        run_threads(u, "get any", op_get_any, n);
    }
}

static bool wanted(int argc, char **argv, const char *part)
{
    bool found = argc <= 2;
    for (int i = 2; i < argc; i++) {
        found = found || strcmp(argv[i], part) == 0;
    }
    return found;
}

static void run(struct user *u, int argc, char **argv)
{
    insert_all(u);
    if (wanted(argc, argv, "calls")) {
        calls(u);
    }
    if (wanted(argc, argv, "stages")) {
        stages(u);
    }
    if (wanted(argc, argv, "threads")) {
        threads(u);
    }
    if (wanted(argc, argv, "calls")) {
        printf("\n| deletes, at the end | CPU ns | mean ns | p50 | p99 | p99.9 | max |\n"
               "|---|---|---|---|---|---|---|\n");
        measure(u, "delete", op_delete, u->keys, 1);
    }
}

int main(int argc, char **argv)
{
    struct user u;
    struct bk_db *db = NULL;
    struct bk_error err = {0};
    struct bk_options o;
    uint64_t keys = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    int rc = BK_OK;

    if (keys < 1000) {
        fprintf(stderr, "usage: bench_engine [KEYS [inserts|calls|stages|threads ...]], 1000 keys"
                        " or more\n");
        return 2;
    }
    wall_cost = cost_of(CLOCK_MONOTONIC);
    cpu_cost = cost_of(CLOCK_THREAD_CPUTIME_ID);
    tmpdir_make(&dir, "bench_engine");
    bk_options_init(&o);
    o.dir = dir.path;
    o.cache_bytes = CACHE_BYTES;
    rc = bk_open(&db, &o, &err);
    if (rc != BK_OK) {
        die("open", rc, &err);
    }
    user_init(&u, db, keys, 1);
    run(&u, argc, argv);
    user_fini(&u);
    rc = bk_close(&db, &err);
    tmpdir_remove(&dir);
    return rc == BK_OK ? 0 : 1;
}
