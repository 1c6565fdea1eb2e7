/* SPDX-License-Identifier: MIT */
/*
 * test_snapshot_load.c - snapshots of a store that several threads write to, on a real disk: what
 * was written before the call is in it, batches whole, and with a write everything that had ended
 * before that write began.
 */
#include "engine/io.h"
#include "engine_test.h"
#include "lib/moment.h"
#include "lib/tmpdir.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#define THREADS 4u
#define WRITES_MAX 200000u
#define KEYS_FEW \
    60u /* each written again and again: nearly all of a file is dead when it is full */
#define SNAPSHOTS 5u
#define SHM "/dev/shm"

/* When a write began and ended, on one clock that all threads share. */
struct moments {
    uint64_t began, ended;
};

struct place {
    struct tmpdir dir;
    char store[160];
    struct bk_options opt;
    struct bk_db *db;
    atomic_bool stop;
    uint64_t keys; /* of a thread: write i goes to key i % keys */
    _Atomic uint64_t clock;
    atomic_uint failures;
    struct moments *log[THREADS];      /* owned */
    _Atomic uint64_t written[THREADS]; /* entries of log that are filled */
};

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    struct bk_error err = {0};
    tmpdir_make(&p->dir, "snapshot");
    tmpdir_join(&p->dir, "store", p->store, sizeof(p->store));
    bk_options_init(&p->opt);
    p->opt.dir = p->store;
    p->opt.max_file_bytes = (uint64_t)256 << 10; /* rotations of its own all the time */
    p->opt.merge.dead_ratio = 1;                 /* and merges */
    p->opt.merge.max_files = 3;
    p->opt.merge.interval_ms = 1;
    p->opt.merge.rate = 0;
    p->keys = WRITES_MAX;
    for (unsigned i = 0; i < THREADS; i++) {
        p->log[i] = calloc(WRITES_MAX, sizeof(*p->log[i]));
        assert_non_null(p->log[i]);
    }
    BK_SUCCEEDS(bk_open(&p->db, &p->opt, &err), err);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    struct bk_error err = {0};
    if (p->db != NULL) {
        BK_SUCCEEDS(bk_close(&p->db, &err), err);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        free(p->log[i]);
    }
    tmpdir_remove(&p->dir);
    free(p);
    return 0;
}

struct writer {
    struct place *p;
    unsigned id;
    pthread_t thread;
};

static size_t key_of(char key[32], char which, unsigned id, uint64_t i)
{
    return (size_t)snprintf(key, 32, "%c%u:%llu", which, id, (unsigned long long)i);
}

/* Two keys as one batch; their values say where they belong and are long enough to fill files. */
static int write_pair(struct place *p, struct bk_batch *b, unsigned id, uint64_t i)
{
    char keys[2][32];
    char value[200];
    struct bk_key k[2];
    uint64_t pos = 0;
    int rc = BK_EAGAIN;
    memset(value, 'a' + (int)(i % 26), sizeof(value));
    snprintf(value, 24, "%llu", (unsigned long long)i);
    while (rc == BK_EAGAIN) {
        bk_batch_begin(b);
        for (unsigned n = 0; n < 2; n++) {
            bk_key_init(p->db, &k[n], keys[n],
                        key_of(keys[n], n == 0 ? 'x' : 'y', id, i % p->keys));
            bk_batch_put(b, 0, &k[n], &(struct bk_value){bk_span_of(value, sizeof(value)), NULL}, 0,
                         0);
        }
        rc = bk_batch_commit(b, &pos, NULL);
        if (rc == BK_EAGAIN) {
            bk_ignore(bk_wait(p->db, bk_tail(p->db)), "then there is room");
        }
    }
    return rc;
}

static void *write_main(void *arg)
{
    struct writer *w = arg;
    struct place *p = w->p;
    struct bk_batch *b = bk_batch_new(p->db);
    for (uint64_t i = 0; i < WRITES_MAX && !atomic_load(&p->stop); i++) {
        p->log[w->id][i].began = atomic_fetch_add(&p->clock, 1);
        if (write_pair(p, b, w->id, i) != BK_OK) {
            atomic_fetch_add(&p->failures, 1);
        }
        p->log[w->id][i].ended = atomic_fetch_add(&p->clock, 1);
        atomic_store(&p->written[w->id], i + 1);
        bk_flush(p->db, bk_tail(p->db));
    }
    bk_batch_free(&b);
    return NULL;
}

/* The number of the write whose value the key has; UINT64_MAX: there is no such key. */
static uint64_t write_of(struct bk_db *db, char which, unsigned id, uint64_t key_no,
                         struct bk_buf *value)
{
    char key[32];
    size_t len = key_of(key, which, id, key_no);
    int rc = bk_get(db, 0, bk_span_of(key, len), value, NULL);
    assert_true(rc == BK_OK || rc == BK_NOTFOUND);
    if (rc == BK_NOTFOUND) {
        return UINT64_MAX;
    }
    assert_int_equal(value->len, 200);
    uint64_t i = strtoull((const char *)value->data, NULL, 10);
    assert_int_equal(value->data[199], 'a' + (int)(i % 26));
    return i;
}

/* How many of a thread's writes the store has seen: each key must have the last one of them that
 * went to it, and both keys of a batch the same. */
static uint64_t first_ones(struct place *p, struct bk_db *db, unsigned id, uint64_t written)
{
    struct bk_buf value = {0};
    uint64_t keys = written < p->keys ? written : p->keys;
    uint64_t n = 0;
    for (uint64_t k = 0; k < keys; k++) {
        uint64_t i = write_of(db, 'x', id, k, &value);
        n = i != UINT64_MAX && i + 1 > n ? i + 1 : n;
    }
    assert_true(n <= written);
    for (uint64_t k = 0; k < keys; k++) {
        uint64_t last = k < n ? n - 1 - (n - 1 - k) % p->keys : UINT64_MAX;
        assert_int_equal(write_of(db, 'x', id, k, &value), last);
        assert_int_equal(write_of(db, 'y', id, k, &value), last);
    }
    bk_buf_fini(&value);
    return n;
}

static void expect_prefix(struct place *p, const char *dir, uint64_t called)
{
    struct bk_options o = p->opt;
    struct bk_db *db = NULL;
    struct bk_error err = {0};
    uint64_t in[THREADS];
    uint64_t last_began = 0;
    uint64_t sum = 0;
    o.dir = dir;
    o.on_corruption = BK_CORRUPT_REFUSE;
    o.merge.policy = BK_MERGE_NEVER;
    BK_SUCCEEDS(bk_open(&db, &o, &err), err);
    for (unsigned id = 0; id < THREADS; id++) {
        in[id] = first_ones(p, db, id, atomic_load(&p->written[id]));
        sum += in[id] < p->keys ? in[id] : p->keys;
        if (in[id] > 0 && p->log[id][in[id] - 1].began > last_began) {
            last_began = p->log[id][in[id] - 1].began;
        }
    }
    for (unsigned id = 0; id < THREADS; id++) {
        /* The first write that is not in it had not ended when the last that is in it began, nor
         * when the snapshot was asked for. */
        if (in[id] < atomic_load(&p->written[id])) {
            assert_true(p->log[id][in[id]].ended > last_began);
            assert_true(p->log[id][in[id]].ended > called);
        }
    }
    assert_int_equal(bk_count(db, 0), 2 * sum);
    BK_SUCCEEDS(bk_check(db, &err), err);
    BK_SUCCEEDS(bk_close(&db, &err), err);
}

static void wait_for_writes(struct place *p, uint64_t more)
{
    uint64_t from = atomic_load(&p->clock);
    while (atomic_load(&p->clock) < from + more) {
        bk_ignore(bk_wait(p->db, bk_tail(p->db)), "only time is to pass");
    }
}

static void snapshots_under_load(struct place *p, const char *where, bool copies)
{
    struct writer w[THREADS];
    char dirs[SNAPSHOTS][200];
    uint64_t called[SNAPSHOTS];
    struct bk_error err = {0};
    for (unsigned i = 0; i < THREADS; i++) {
        w[i] = (struct writer){.p = p, .id = i};
        assert_int_equal(pthread_create(&w[i].thread, NULL, write_main, &w[i]), 0);
    }
    for (unsigned i = 0; i < SNAPSHOTS; i++) {
        struct bk_snapshot_result res = {0};
        wait_for_writes(p, 2000);
        snprintf(dirs[i], sizeof(dirs[i]), "%s/snap%u", where, i);
        called[i] = atomic_fetch_add(&p->clock, 1);
        BK_SUCCEEDS(bk_snapshot(p->db, dirs[i], &res, NULL, &err), err);
        assert_true(res.files > 0);
        assert_int_equal(res.copied_bytes, copies ? res.bytes : 0);
    }
    atomic_store(&p->stop, true);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(w[i].thread, NULL), 0);
    }
    assert_int_equal(atomic_load(&p->failures), 0);
    for (unsigned i = 0; i < SNAPSHOTS; i++) {
        expect_prefix(p, dirs[i], called[i]);
    }
    expect_prefix(p, dirs[0], called[0]); /* opened once already, and nothing has changed */
}

static void test_trap36__snapshot_under_load__is_a_prefix_of_the_history(void **state)
{
    struct place *p = *state;
    snapshots_under_load(p, p->dir.path, false);
}

/* While merges take the places of files all the time: what one leaves out because of a newer record
 * must not be missing from a snapshot that ends before that record. */
static void test_trap36__snapshot_while_merging__is_a_prefix_of_the_history(void **state)
{
    struct place *p = *state;
    struct bk_merge_status m;
    p->keys = KEYS_FEW;
    snapshots_under_load(p, p->dir.path, false);
    /* A slow machine may have got no further than the first run's middle: it must come to its end.
     */
    do {
        moment_pass(1000);
        bk_merge_status(p->db, &m);
    } while (m.runs == 0);
}

static void test_trap36__snapshot_elsewhere__is_copied_and_a_prefix_too(void **state)
{
    struct place *p = *state;
    struct stat here;
    struct stat there;
    char where[64];
    if (stat(p->dir.path, &here) != 0 || stat(SHM, &there) != 0 || here.st_dev == there.st_dev ||
        access(SHM, W_OK) != 0) {
        skip(); /* no second file system */
    }
    snprintf(where, sizeof(where), SHM "/bitkv-snapshot-%ld", (long)getpid());
    assert_int_equal(mkdir(where, 0700), 0);
    snapshots_under_load(p, where, true);
    tmpdir_remove_tree(where);
}

struct other {
    struct place *p;
    pthread_t thread;
    atomic_uint made, refused;
};

static void *snapshot_main(void *arg)
{
    struct other *o = arg;
    for (unsigned i = 0; i < 20; i++) {
        char dir[200];
        snprintf(dir, sizeof(dir), "%s/%p-%u", o->p->dir.path, (void *)o, i);
        int rc = bk_snapshot(o->p->db, dir, NULL, NULL, NULL);
        atomic_fetch_add(rc == BK_OK ? &o->made : &o->refused, 1);
        if (rc != BK_OK && rc != BK_EAGAIN) {
            atomic_fetch_add(&o->p->failures, 1);
        }
    }
    return NULL;
}

/* One at a time; and a store that is to be closed lets go of them. */
static void test_snapshot__two_at_once__one_is_refused(void **state)
{
    struct place *p = *state;
    struct other o[2] = {{.p = p}, {.p = p}};
    assert_int_equal(bk_put(p->db, 0, bk_span_str("k"), bk_span_str("v"), 0), BK_OK);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&o[i].thread, NULL, snapshot_main, &o[i]), 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(o[i].thread, NULL), 0);
    }
    assert_int_equal(atomic_load(&p->failures), 0);
    assert_true(atomic_load(&o[0].made) + atomic_load(&o[1].made) >= 2);
    bk_snapshot_stop(p->db);
    char dir[200];
    tmpdir_join(&p->dir, "late", dir, sizeof(dir));
    assert_int_equal(bk_snapshot(p->db, dir, NULL, NULL, NULL), BK_EAGAIN);
    assert_int_not_equal(access(dir, F_OK), 0);
}

/* ---- Who watches ---- */

static struct bk_progress watched;
static uint64_t seen[8];
static unsigned seen_n;

static int refuse_link(void *arg, const char *from, const char *to)
{
    (void)arg;
    (void)from;
    (void)to;
    return -EXDEV;
}

/* What is known when a piece is written: what lies before it. */
static int64_t look_and_write(void *arg, int fd, const struct iovec *iov, int iov_n,
                              uint64_t offset)
{
    if (seen_n < sizeof(seen) / sizeof(seen[0])) {
        seen[seen_n++] = atomic_load(&watched.bytes_done);
    }
    return bk_io_system.pwritev(arg, fd, iov, iov_n, offset);
}

static void test_snapshot__large_file_is_copied__counts_pieces_of_it(void **state)
{
    struct place *p = *state;
    struct bk_error err = {0};
    struct bk_snapshot_result res = {0};
    struct bk_io io = bk_io_system;
    char snap[200];
    char back[200];
    char *value = calloc(1, 3 << 20);
    assert_non_null(value);
    assert_int_equal(bk_put(p->db, 0, bk_span_str("k"), bk_span_of(value, 3 << 20), 0), BK_OK);
    tmpdir_join(&p->dir, "snap", snap, sizeof(snap));
    tmpdir_join(&p->dir, "back", back, sizeof(back));
    BK_SUCCEEDS(bk_snapshot(p->db, snap, &res, NULL, &err), err);
    io.link = refuse_link;
    io.pwritev = look_and_write;
    BK_SUCCEEDS(bk_restore(&io, snap, back, &watched, &err), err);
    assert_true(seen_n > 3);
    assert_int_equal(seen[0], 0);
    for (unsigned i = 1; i < seen_n; i++) {
        assert_true(seen[i] >= seen[i - 1] && seen[i] <= res.bytes);
    }
    assert_true(seen[1] > 0 && seen[1] < seen[2] && seen[2] < seen[3]);
    assert_int_equal(watched.bytes_total, res.bytes);
    assert_int_equal(watched.bytes_done, res.bytes);
    free(value);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_trap36__snapshot_under_load__is_a_prefix_of_the_history),
        T(test_trap36__snapshot_while_merging__is_a_prefix_of_the_history),
        T(test_trap36__snapshot_elsewhere__is_copied_and_a_prefix_too),
        T(test_snapshot__two_at_once__one_is_refused),
        T(test_snapshot__large_file_is_copied__counts_pieces_of_it),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
