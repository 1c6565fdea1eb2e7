/* SPDX-License-Identifier: MIT */
/*
 * reads.c - reads that wait on threads of their own: struct bk_reader and struct bk_reads of
 * bitkv.h, and the threads.
 *
 * A bk_reads is touched by its owner's thread alone, but for what a trip needs: the reads that are
 * handed over, and the counter of those that are still out. An I/O thread that brings the last one
 * back puts the whole object on its reader's done-list, and from then on knows it no more. So
 * nothing is ever freed under an I/O thread: an object that is given up while it is out is freed by
 * its owner's thread when it comes back.
 *
 * Places: the object's pin is taken before any of its places was looked up (bk_reads_add looks
 * again), so no file is closed and no page lent again while a read of it is out, and a place means
 * the same record as long as the object lives.
 *
 * Memory: an object is handed over when the reader's reads that are out, or done and not yet given
 * back, have room for it within HELD_MAX, or when none is out: those who hold the rest may be
 * waiting for it themselves. What comes later waits its turn.
 */
#include "engine/reads.h"

#include "base/assert.h"
#include "engine/db_private.h"

#include <stdlib.h>

#define HELD_MAX ((uint64_t)64 << 20)
#define GATHERED_MAX 16u /* reads that wait for the end of a tick: more go at once */
#define TABLE_MIN 8u

/* One record. */
struct bk_read {
    /* Set once. */
    struct bk_reads *of;
    const struct bki_file *file; /* under the pin of the object */
    uint64_t at, offset, size;
    struct bk_read *next; /* of the reads of a trip, then of the queue */
    uint64_t trip;        /* owner's thread: the one that it goes with */
    bool kept;            /* owner's thread: what it brought lies in the cache */
    /* The I/O thread's, until the trip is over. */
    uint8_t *bytes; /* owned */
    size_t got;     /* fewer than size: the file ends there */
    int error;      /* enum bk_err */
    int sys_errno;  /* of it */
};

struct bk_reads {
    /* Set once. */
    struct bk_reader *reader; /* borrowed */
    void *owner;
    unsigned pin;
    /* Atomic. */
    atomic_uint out;     /* reads of this trip that are not back */
    atomic_bool dropped; /* nobody wants them: those not begun are left out */
    /* Owner's thread; next: also the done-list's, under the reader's mutex. */
    struct bk_reads *next;
    struct bk_read **table; /* owned; hash by place, open */
    size_t table_n, n;
    struct bk_read *fresh, *fresh_last; /* for the next trip; first to last */
    size_t fresh_n;
    uint64_t fresh_bytes, held; /* held: of it, counted in the reader's */
    uint64_t trips, landed;     /* begun; over */
    bool gathered;              /* on the reader's list */
};

struct bk_reader {
    /* Set once. */
    struct bk_db *db; /* borrowed */
    void (*wake)(void *arg);
    void *arg;
    /* Owner's thread. */
    struct bk_reads *first, *last; /* to be handed over; last is valid while first is not NULL */
    size_t gathered_n;             /* their reads */
    uint64_t held;
    unsigned out_n;          /* objects handed over whose return has not been told */
    struct bk_reads *landed; /* taken from the done-list, not told yet */
    /* Guarded by mu (rank reads). */
    struct bk_mutex mu;
    struct bk_cond back; /* with mu: nothing is out */
    struct bk_reads *done BK_GUARDED(mu);
    struct bk_reads *done_last BK_GUARDED(mu); /* valid while done is not NULL */
    unsigned out BK_GUARDED(mu);               /* objects that I/O threads know */
};

/* ---- The threads ---- */

static void read_one(struct bk_db *db, struct bk_read *r)
{
    struct bk_error err = {0};
    if (atomic_load_explicit(&r->of->dropped, memory_order_relaxed)) {
        return;
    }
    r->bytes = bk_alloc((size_t)r->size);
    r->error = bki_io_read_all(db->io, r->file->fd, r->bytes, (size_t)r->size, r->offset, &r->got,
                               r->file->path, &err);
    r->sys_errno = err.sys_errno;
    bki_count(&db->reads, BKI_DISK_READS, 1);
    bki_count(&db->reads, BKI_DISK_READ_BYTES, r->got);
}

static void one_back_locked(struct bk_reader *reader) BK_REQUIRES(reader->mu);

static void one_back_locked(struct bk_reader *reader)
{
    if (--reader->out == 0) {
        bk_cond_signal(&reader->back);
    }
}

/* The last read of a trip is back. The reader outlives the call because its counter goes down last.
 */
static void bring_back(struct bk_reads *reads)
{
    struct bk_reader *reader = reads->reader;
    reads->next = NULL;
    bk_mutex_lock(&reader->mu);
    bool first = reader->done == NULL;
    if (first) {
        reader->done = reads;
    } else {
        reader->done_last->next = reads;
    }
    reader->done_last = reads;
    if (!first) {
        one_back_locked(
            reader); /* who put the first one there has told the owner, or is about to */
    }
    bk_mutex_unlock(&reader->mu);
    if (first) {
        reader->wake(reader->arg);
        bk_mutex_lock(&reader->mu);
        one_back_locked(reader);
        bk_mutex_unlock(&reader->mu);
    }
}

static struct bk_read *next_locked(struct bki_read_pool *p) BK_REQUIRES(p->mu);

static struct bk_read *next_locked(struct bki_read_pool *p)
{
    while (p->first == NULL && !p->stop) {
        p->idle++;
        bk_cond_wait(&p->work, &p->mu, -1);
        p->idle--;
    }
    struct bk_read *r = p->first;
    if (r != NULL) {
        p->first = r->next;
    }
    return r;
}

static void *reader_main(void *arg)
{
    struct bk_db *db = arg;
    struct bki_read_pool *p = &db->read_pool;
    struct bk_read *r;
    do {
        bk_mutex_lock(&p->mu);
        r = next_locked(p);
        bk_mutex_unlock(&p->mu);
        if (r != NULL) {
            struct bk_reads *of = r->of;
            read_one(db, r);
            atomic_fetch_sub_explicit(&p->pending, 1, memory_order_relaxed);
            if (atomic_fetch_sub(&of->out, 1) == 1) {
                bring_back(of);
            }
        }
    } while (r != NULL);
    return NULL;
}

void bki_read_pool_init(struct bki_read_pool *p)
{
    *p = (struct bki_read_pool){0};
    bk_mutex_init(&p->mu, "reads", BK_RANK_READS);
    bk_cond_init(&p->work);
}

void bki_read_pool_fini(struct bki_read_pool *p)
{
    BK_ASSERT(p->threads_n == 0);
    bk_cond_fini(&p->work);
    bk_mutex_fini(&p->mu);
}

int bki_read_pool_start(struct bk_db *db, unsigned threads, struct bk_error *err)
{
    struct bki_read_pool *p = &db->read_pool;
    int failed = 0;
    threads = threads < BKI_READERS_MAX ? threads : BKI_READERS_MAX;
    p->threads = bk_alloc_zero(threads + 1, sizeof *p->threads);
    while (p->threads_n < threads && failed == 0) {
        failed = pthread_create(&p->threads[p->threads_n], NULL, reader_main, db);
        if (failed == 0) {
            pthread_setname_np(p->threads[p->threads_n++], "bk-read");
        }
    }
    if (failed != 0) {
        bki_read_pool_stop(db);
        return bk_error_set(err, BK_EIO, failed, NULL, 0, "cannot start a thread for reads");
    }
    return BK_OK;
}

void bki_read_pool_stop(struct bk_db *db)
{
    struct bki_read_pool *p = &db->read_pool;
    BK_ASSERT(atomic_load(&p->readers) == 0);
    bk_mutex_lock(&p->mu);
    BK_ASSERT(p->first == NULL);
    p->stop = true;
    bk_cond_broadcast(&p->work);
    bk_mutex_unlock(&p->mu);
    while (p->threads_n > 0) {
        int joined = pthread_join(p->threads[--p->threads_n], NULL);
        BK_ASSERT(joined == 0);
    }
    free(p->threads);
    p->threads = NULL;
}

/* ---- Handing over ---- */

/* first to last, n of them, linked. One wake-up a read, and no more than there are sleepers. */
static void pool_put(struct bki_read_pool *p, struct bk_read *first, struct bk_read *last, size_t n)
{
    atomic_fetch_add_explicit(&p->handed, n, memory_order_relaxed);
    atomic_fetch_add_explicit(&p->pending, n, memory_order_relaxed);
    last->next = NULL;
    bk_mutex_lock(&p->mu);
    if (p->first == NULL) {
        p->first = first;
    } else {
        p->last->next = first;
    }
    p->last = last;
    size_t wakes = n < p->idle ? n : p->idle;
    bk_mutex_unlock(&p->mu);
    for (size_t i = 0; i < wakes; i++) {
        bk_cond_signal(&p->work);
    }
}

static void gather(struct bk_reads *reads)
{
    struct bk_reader *reader = reads->reader;
    reads->next = NULL;
    reads->gathered = true;
    reader->gathered_n += reads->fresh_n;
    if (reader->first == NULL) {
        reader->first = reads;
    } else {
        reader->last->next = reads;
    }
    reader->last = reads;
}

static void reads_destroy(struct bk_reads *reads)
{
    for (size_t i = 0; i < reads->table_n; i++) {
        if (reads->table[i] != NULL) {
            free(reads->table[i]->bytes);
            free(reads->table[i]);
        }
    }
    free(reads->table);
    bk_unpin(reads->reader->db, reads->pin);
    free(reads);
}

/* A trip begins: its reads join the list that is about to be handed over. */
static void embark(struct bk_reads *reads, struct bk_read **first, struct bk_read **last)
{
    struct bk_reader *reader = reads->reader;
    reads->trips++;
    reader->out_n++;
    reads->held += reads->fresh_bytes;
    reader->held += reads->fresh_bytes;
    atomic_store(&reads->out, (unsigned)reads->fresh_n);
    if (*first == NULL) {
        *first = reads->fresh;
    } else {
        (*last)->next = reads->fresh;
    }
    *last = reads->fresh_last;
    reads->fresh = NULL;
    reads->fresh_n = 0;
    reads->fresh_bytes = 0;
}

void bk_reader_submit(struct bk_reader *reader)
{
    struct bk_read *first = NULL;
    struct bk_read *last = NULL;
    size_t reads_n = 0;
    unsigned objects = 0;
    while (reader->first != NULL) {
        struct bk_reads *reads = reader->first;
        bool gone = atomic_load_explicit(&reads->dropped, memory_order_relaxed);
        if (!gone && reader->out_n > 0 && reader->held + reads->fresh_bytes > HELD_MAX) {
            break; /* one that comes back brings the owner here again */
        }
        reader->first = reads->next;
        reader->gathered_n -= reads->fresh_n;
        reads->gathered = false;
        if (gone) {
            reads_destroy(reads);
        } else {
            reads_n += reads->fresh_n;
            objects++;
            embark(reads, &first, &last);
        }
    }
    if (objects > 0) {
        bk_mutex_lock(&reader->mu);
        reader->out += objects;
        bk_mutex_unlock(&reader->mu);
        pool_put(&reader->db->read_pool, first, last, reads_n);
    }
}

/* Those that have come back, in their order, when the ones taken before have all been told. */
static struct bk_reads *next_landed(struct bk_reader *reader)
{
    if (reader->landed == NULL) {
        bk_mutex_lock(&reader->mu);
        reader->landed = reader->done;
        reader->done = NULL;
        bk_mutex_unlock(&reader->mu);
    }
    struct bk_reads *reads = reader->landed;
    if (reads != NULL) {
        reader->landed = reads->next;
        reads->landed = reads->trips;
        reader->out_n--;
    }
    return reads;
}

bool bk_reader_next(struct bk_reader *reader, void **owner)
{
    struct bk_reads *reads;
    bool wanted = false;
    while (!wanted && (reads = next_landed(reader)) != NULL) {
        if (atomic_load_explicit(&reads->dropped, memory_order_relaxed)) {
            reads_destroy(reads);
        } else if (reads->fresh_n > 0) {
            gather(reads); /* its owner has found that more is needed */
        } else {
            *owner = reads->owner;
            wanted = true;
        }
    }
    return wanted;
}

/* ---- Life ---- */

struct bk_reader *bk_reader_new(struct bk_db *db, void (*wake)(void *arg), void *arg)
{
    if (db->read_pool.threads_n == 0) {
        return NULL;
    }
    struct bk_reader *r = bk_alloc_zero(1, sizeof *r);
    r->db = db;
    r->wake = wake;
    r->arg = arg;
    bk_mutex_init(&r->mu, "reads done", BK_RANK_READS);
    bk_cond_init(&r->back);
    atomic_fetch_add(&db->read_pool.readers, 1);
    return r;
}

void bk_reader_free(struct bk_reader **reader)
{
    struct bk_reader *r = *reader;
    void *owner;
    if (r == NULL) {
        return;
    }
    r->held = 0; /* so that all that is left to hand over, which nobody wants, is freed */
    bk_reader_submit(r);
    bk_mutex_lock(&r->mu);
    while (r->out > 0) {
        bk_cond_wait(&r->back, &r->mu, -1);
    }
    bk_mutex_unlock(&r->mu);
    do { /* the first look may end what was begun before */
        bool wanted = bk_reader_next(r, &owner);
        BK_ASSERT(!wanted);
    } while (r->done != NULL);
    atomic_fetch_sub(&r->db->read_pool.readers, 1);
    bk_cond_fini(&r->back);
    bk_mutex_fini(&r->mu);
    free(r);
    *reader = NULL;
}

struct bk_reads *bk_reads_new(struct bk_reader *reader, void *owner)
{
    struct bk_reads *reads = bk_alloc_zero(1, sizeof *reads);
    reads->reader = reader;
    reads->owner = owner;
    reads->pin = bki_pin_apart(&reader->db->files.pins);
    return reads;
}

static bool is_out(const struct bk_reads *reads)
{
    return reads->landed < reads->trips;
}

void bk_reads_free(struct bk_reads **handle)
{
    struct bk_reads *reads = *handle;
    *handle = NULL;
    if (reads == NULL) {
        return;
    }
    reads->reader->held -= reads->held;
    reads->held = 0;
    if (reads->gathered || is_out(reads)) {
        atomic_store_explicit(&reads->dropped, true, memory_order_relaxed);
    } else {
        reads_destroy(reads);
    }
}

bool bk_reads_done(const struct bk_reads *reads)
{
    return !is_out(reads) && reads->fresh_n == 0;
}

/* ---- One object's reads ---- */

static struct bk_read **slot_of(const struct bk_reads *reads, uint64_t at)
{
    size_t i = (size_t)(at * 0x9e3779b97f4a7c15u >> 32) & (reads->table_n - 1);
    while (reads->table[i] != NULL && reads->table[i]->at != at) {
        i = (i + 1) & (reads->table_n - 1);
    }
    return &reads->table[i];
}

/* At most half full, so that a search ends soon. */
static void grow(struct bk_reads *reads)
{
    size_t old_n = reads->table_n;
    struct bk_read **old = reads->table;
    if (reads->n * 2 < old_n) {
        return;
    }
    reads->table_n = old_n == 0 ? TABLE_MIN : old_n * 2;
    reads->table = bk_alloc_zero(reads->table_n, sizeof(struct bk_read *));
    for (size_t i = 0; i < old_n; i++) {
        if (old[i] != NULL) {
            *slot_of(reads, old[i]->at) = old[i];
        }
    }
    free(old);
}

static void add_fresh(struct bk_reads *reads, struct bk_read *r)
{
    if (reads->fresh_n == 0) {
        reads->fresh = r;
    } else {
        reads->fresh_last->next = r;
    }
    reads->fresh_last = r;
    reads->fresh_n++;
    reads->fresh_bytes += r->size;
    if (reads->gathered) {
        reads->reader->gathered_n++;
    } else if (!is_out(reads)) {
        gather(reads);
    }
}

int bk_reads_add(struct bk_reads *reads, uint32_t num, const struct bk_key *key,
                 const struct bk_item *item)
{
    struct bk_db *db = reads->reader->db;
    struct bk_item now = {0};
    struct bk_key quiet = *key;
    quiet.quiet = true;
    bki_db_find(db, num, &quiet, &now);
    if (now.at != item->at) {
        return BK_CHANGED;
    }
    grow(reads);
    struct bk_read **slot = slot_of(reads, item->at);
    if (*slot == NULL) {
        struct bk_read *r = bk_alloc_zero(1, sizeof *r);
        r->of = reads;
        r->at = item->at;
        r->size = item->size;
        r->file = bki_files_at(&db->files, item->at, &r->offset);
        r->trip = reads->trips + 1;
        *slot = r;
        reads->n++;
        add_fresh(reads, r);
    }
    return BK_READING;
}

void bk_reads_ready(struct bk_reads *reads)
{
    if (reads->reader->gathered_n >= GATHERED_MAX) {
        bk_reader_submit(reads->reader);
    }
}

int bk_reads_take(struct bk_reads *reads, const struct bk_key *key, struct bk_item *item,
                  struct bk_error *err)
{
    struct bk_read *r = reads->table_n == 0 ? NULL : *slot_of(reads, item->at);
    if (r == NULL) {
        return BK_NOTFOUND;
    }
    if (r->trip > reads->landed) {
        return BK_READING;
    }
    if (r->error != BK_OK) {
        return bk_error_set(err, r->error, r->sys_errno, r->file->path, r->offset, "read failed");
    }
    struct bk_db *db = reads->reader->db;
    struct bki_stored stored = {
        .file = r->file, .offset = r->offset, .bytes = bk_span_of(r->bytes, r->got)};
    if (r->offset + r->size > atomic_load_explicit(&r->file->size, memory_order_acquire)) {
        return bki_record_gone(db, &stored, key, item, err); /* as in bk_load */
    }
    bk_block_unref(&item->block);
    item->buf.len = 0;
    int rc = bki_record_open(db, &stored, key, item, err);
    if (rc == BK_OK && !r->kept) {
        bki_cache_put(db->cache, item->at, item->value, item->flags);
        r->kept = true;
    }
    return rc;
}
