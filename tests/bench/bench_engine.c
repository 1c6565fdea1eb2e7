/* SPDX-License-Identifier: MIT */
/*
 * bench_engine.c - what the engine alone costs, through bitkv.h: one thread, keys of 16 bytes,
 * values of 64.
 *
 *   bench_engine [KEYS]     (default 1000000); `make bench-engine N=10000000`
 *
 * Writes go the server's way: a batch, and a flush every 16 writes, as after a pipeline's tick. The
 * first table has the mean over a whole loop without a clock in it, then the distribution with a
 * clock around each call, its own cost taken off. The last lines are the CPU time of each insert
 * while the key index grows: no insert may wait for it.
 */
#include "base/buf.h"
#include "base/checksum.h"
#include "engine/bitkv.h"
#include "lib/rng.h"
#include "lib/tmpdir.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define KEY_BYTES 16
#define VALUE_BYTES 64
#define HOT_KEYS 10000
#define FLUSH_EVERY 16
#define SUB_BITS 4
#define BUCKETS (64u << SUB_BITS)

/* Logarithmic in powers of two, each cut into 16: values are known to 6 %. */
struct histogram {
    uint64_t count[BUCKETS];
    uint64_t total;
    uint64_t max;
};

struct bench {
    struct bk_db *db;       /* owned */
    struct bk_batch *batch; /* owned */
    struct bk_buf value;
    struct rng rng;
    uint64_t keys;
    uint64_t writes;
    uint64_t clock_cost[2]; /* ns of one reading of wall and of CPU time */
    uint8_t key_bytes[KEY_BYTES];
    uint8_t value_bytes[VALUE_BYTES];
};

static void die(const char *what, int rc, const struct bk_error *err)
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

static unsigned bucket_of(uint64_t v)
{
    unsigned high = 0;
    if (v < 1u << SUB_BITS) {
        return (unsigned)v;
    }
    high = 63u - (unsigned)__builtin_clzll(v);
    return ((high - SUB_BITS + 1) << SUB_BITS) +
           (unsigned)((v >> (high - SUB_BITS)) & ((1u << SUB_BITS) - 1));
}

static uint64_t bucket_floor(unsigned b)
{
    unsigned high = b >> SUB_BITS;
    uint64_t low = b & ((1u << SUB_BITS) - 1);
    return high == 0 ? low : ((1u << SUB_BITS) + low) << (high - 1);
}

static void histogram_add(struct histogram *h, uint64_t v)
{
    h->count[bucket_of(v)]++;
    h->total++;
    h->max = v > h->max ? v : h->max;
}

static uint64_t histogram_at(const struct histogram *h, double part)
{
    uint64_t want = (uint64_t)((double)h->total * part);
    uint64_t seen = 0;
    unsigned b = 0;
    while (b < BUCKETS - 1 && (seen += h->count[b]) <= want) {
        b++;
    }
    return bucket_floor(b);
}

/* Key number i; numbers from b->keys on are never written. */
static struct bk_key key_of(struct bench *b, uint64_t i)
{
    struct bk_key key;
    bk_put64(b->key_bytes, i * 0x9e3779b97f4a7c15u);
    bk_put64(b->key_bytes + 8, i);
    bk_key_init(b->db, &key, b->key_bytes, KEY_BYTES);
    return key;
}

static void write_one(struct bench *b, uint64_t i, bool remove)
{
    struct bk_error err = {0};
    struct bk_key key = key_of(b, i);
    struct bk_value value = {bk_span_of(b->value_bytes, VALUE_BYTES), NULL};
    uint64_t pos = 0;
    int rc = BK_EAGAIN;

    bk_put64(b->value_bytes, i);
    while (rc == BK_EAGAIN) {
        bk_batch_begin(b->batch);
        if (remove) {
            bk_batch_delete(b->batch, 0, &key);
        } else {
            bk_batch_put(b->batch, 0, &key, &value, 0, 0);
        }
        rc = bk_batch_commit(b->batch, &pos, &err);
        if (rc == BK_EAGAIN) {
            bk_flush(b->db, bk_tail(b->db));
            bk_ignore(bk_wait(b->db, bk_tail(b->db)), "the next commit tells");
        }
    }
    if (rc != BK_OK) {
        die("write", rc, &err);
    }
    if (++b->writes % FLUSH_EVERY == 0) {
        bk_flush(b->db, pos);
    }
}

static void op_put(struct bench *b, uint64_t i)
{
    write_one(b, i % b->keys, false);
}

static void op_put_durable(struct bench *b, uint64_t i)
{
    struct bk_key key = key_of(b, i % b->keys);
    int rc = bk_put(b->db, 0, key.bytes, bk_span_of(b->value_bytes, VALUE_BYTES), 0);
    if (rc != BK_OK) {
        die("put", rc, NULL);
    }
}

static void get(struct bench *b, uint64_t i, int expected)
{
    struct bk_key key = key_of(b, i);
    int rc = bk_get(b->db, 0, key.bytes, &b->value, NULL);
    if (rc != expected) {
        die("get", rc, NULL);
    }
}

static void op_get_hot(struct bench *b, uint64_t i)
{
    (void)i;
    get(b, rng_below(&b->rng, b->keys < HOT_KEYS ? b->keys : HOT_KEYS), BK_OK);
}

static void op_get_any(struct bench *b, uint64_t i)
{
    (void)i;
    get(b, rng_below(&b->rng, b->keys), BK_OK);
}

static void op_get_absent(struct bench *b, uint64_t i)
{
    get(b, b->keys + i, BK_NOTFOUND);
}

static void op_delete(struct bench *b, uint64_t i)
{
    write_one(b, i, true);
}

/* Half of the calls without a clock between them, half with one around each. */
static void measure(struct bench *b, const char *name, void (*op)(struct bench *b, uint64_t i),
                    uint64_t calls)
{
    static struct histogram h;
    uint64_t half = calls / 2;
    uint64_t begin = clock_ns(CLOCK_MONOTONIC);
    double mean = 0;

    for (uint64_t i = 0; i < half; i++) {
        op(b, i);
    }
    mean = (double)(clock_ns(CLOCK_MONOTONIC) - begin) / (double)(half > 0 ? half : 1);
    h = (struct histogram){{0}, 0, 0};
    for (uint64_t i = half; i < calls; i++) {
        uint64_t before = clock_ns(CLOCK_MONOTONIC);
        op(b, i);
        uint64_t took = clock_ns(CLOCK_MONOTONIC) - before;
        histogram_add(&h, took > b->clock_cost[0] ? took - b->clock_cost[0] : 0);
    }
    printf("| %s | %.0f | %" PRIu64 " | %" PRIu64 " | %" PRIu64 " | %" PRIu64 " |\n", name, mean,
           histogram_at(&h, 0.5), histogram_at(&h, 0.99), histogram_at(&h, 0.999), h.max);
}

static void insert_all(struct bench *b)
{
    static struct histogram h;
    static const double parts[] = {0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999};
    struct bk_stats stats;

    for (uint64_t i = 0; i < b->keys; i++) {
        uint64_t before = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        write_one(b, i, false);
        uint64_t took = clock_ns(CLOCK_THREAD_CPUTIME_ID) - before;
        histogram_add(&h, took > b->clock_cost[1] ? took - b->clock_cost[1] : 0);
    }
    bk_stats_get(b->db, &stats);
    printf("CPU time of each of %" PRIu64 " inserts, ns:", h.total);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        printf(" p%g %" PRIu64 ",", parts[i] * 100, histogram_at(&h, parts[i]));
    }
    printf(" max %" PRIu64 "\n", h.max);
    printf("most entries that one insert moved: %" PRIu64 "; key index: %.1f bytes a key\n\n",
           stats.keydir_moved_max,
           (double)stats.keydir_bytes / (double)(stats.keys > 0 ? stats.keys : 1));
}

static void count_cb(void *arg, const struct bk_scan_entry *entry)
{
    (void)entry;
    ++*(uint64_t *)arg;
}

static void iterate(struct bench *b)
{
    uint64_t cursor = 0;
    uint64_t seen = 0;
    uint64_t begin = clock_ns(CLOCK_MONOTONIC);
    do {
        bk_scan(b->db, 0, &cursor, 1000, count_cb, &seen);
    } while (cursor != 0);
    if (seen < b->keys) {
        die("scan saw too few keys", (int)seen, NULL);
    }
    printf("| iterate, a key | %.0f | | | | |\n",
           (double)(clock_ns(CLOCK_MONOTONIC) - begin) / (double)seen);
}

static void measure_clocks(struct bench *b)
{
    static const clockid_t ids[2] = {CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID};
    for (int c = 0; c < 2; c++) {
        uint64_t begin = clock_ns(CLOCK_MONOTONIC);
        for (int i = 0; i < 100000; i++) {
            (void)clock_ns(ids[c]);
        }
        b->clock_cost[c] = (clock_ns(CLOCK_MONOTONIC) - begin) / 100000;
    }
}

static void run(struct bench *b)
{
    measure_clocks(b);
    insert_all(b);
    printf("| %" PRIu64 " keys | mean ns | p50 | p99 | p99.9 | max |\n|---|---|---|---|---|---|\n",
           b->keys);
    measure(b, "put", op_put, b->keys);
    measure(b, "put, waiting for each", op_put_durable, b->keys / 4);
    measure(b, "get hot", op_get_hot, b->keys);
    measure(b, "get any", op_get_any, b->keys);
    measure(b, "get absent", op_get_absent, b->keys);
    iterate(b);
    measure(b, "delete", op_delete, b->keys);
}

int main(int argc, char **argv)
{
    struct bench b = {.keys = 1000000, .rng = {1}};
    struct bk_error err = {0};
    struct bk_options o;
    struct tmpdir dir;
    int rc = BK_OK;

    if (argc > 1) {
        b.keys = strtoull(argv[1], NULL, 10);
    }
    if (b.keys == 0) {
        fprintf(stderr, "usage: bench_engine [KEYS]\n");
        return 2;
    }
    tmpdir_make(&dir, "bench_engine");
    bk_options_init(&o);
    o.dir = dir.path;
    o.cache_bytes = (uint64_t)64 << 20;
    rc = bk_open(&b.db, &o, &err);
    if (rc != BK_OK) {
        die("open", rc, &err);
    }
    b.batch = bk_batch_new(b.db);
    run(&b);
    bk_batch_free(&b.batch);
    bk_buf_fini(&b.value);
    rc = bk_close(&b.db, &err);
    tmpdir_remove(&dir);
    return rc == BK_OK ? 0 : 1;
}
