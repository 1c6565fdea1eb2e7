/* SPDX-License-Identifier: MIT */
/* db.c - opening and closing, the sync thread, the plain functions, settings and statistics. */
#include "base/assert.h"
#include "base/log.h"
#include "engine/db_private.h"

#include <errno.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPIRE_LOOKS 20u /* entries looked at per key that may be removed */

static uint64_t load(const _Atomic uint64_t *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}

/* ---- Opening ---- */

void bk_options_init(struct bk_options *o)
{
    *o = (struct bk_options){
        .size = sizeof *o,
        .databases = 16,
        .sync = BK_SYNC_EVERYSEC,
        .max_file_bytes = (uint64_t)256 << 20,
        .log_buffer_bytes = (uint64_t)8 << 20,
        .batch_bytes_max = (uint64_t)1 << 30,
        .on_corruption = BK_CORRUPT_SERVE,
    };
}

static int check_options(const struct bk_options *o, struct bk_error *err)
{
    if (o->size != sizeof *o || o->dir == NULL || strlen(o->dir) > BKI_PATH_MAX - 64) {
        return bk_error_set(err, BK_EINVAL, 0, NULL, 0, "options are not of this version, or the path is too long");
    }
    if (o->databases < 1 || o->databases > BK_DATABASES_MAX) {
        return bk_error_set(err, BK_EINVAL, 0, NULL, 0, "databases must be 1 to %u", BK_DATABASES_MAX);
    }
    return BK_OK;
}

static int take_lock(struct bk_db *db, const char *dir, struct bk_error *err)
{
    char path[BKI_PATH_MAX];
    long holder = 0;
    snprintf(path, sizeof path, "%s/LOCK", dir);
    int rc = db->io->lock(db->io->arg, path, &holder);
    if (rc == -EWOULDBLOCK) {
        return bk_error_set(err, BK_ELOCKED, 0, path, 0, "process %ld has this directory open", holder);
    }
    if (rc < 0) {
        return bki_io_fail(err, rc, path, 0, "lock");
    }
    db->lock_handle = rc;
    return BK_OK;
}

/* A new directory is only there for good once its parent knows it. */
static int make_dir(const struct bk_io *io, const char *dir, struct bk_error *err)
{
    int rc = io->mkdir(io->arg, dir);
    if (rc == -EEXIST) {
        return BK_OK;
    }
    if (rc < 0) {
        return bki_io_fail(err, rc, dir, 0, "make directory");
    }
    char parent[BKI_PATH_MAX];
    snprintf(parent, sizeof parent, "%s", dir);
    char *slash = strrchr(parent, '/');
    if (slash == NULL) {
        snprintf(parent, sizeof parent, ".");
    } else {
        slash[slash == parent] = '\0';
    }
    rc = io->sync_dir(io->arg, parent);
    return rc < 0 ? bki_io_fail(err, rc, parent, 0, "sync directory") : BK_OK;
}

static void *sync_main(void *arg)
{
    struct bk_db *db = arg;
    while (!atomic_load(&db->stop)) {
        bool more = bki_db_step(db);
        bk_mutex_lock(&db->log.mu);
        int64_t due = more || atomic_load(&db->stop)
                          ? 0 : bki_log_due_locked(&db->log, bk_clock_mono_us(db->clock));
        if (due != 0) {
            bk_cond_wait(&db->log.work, &db->log.mu, due);
        }
        bk_mutex_unlock(&db->log.mu);
    }
    return NULL;
}

static struct bk_db *db_new(const struct bk_options *o)
{
    struct bk_db *db = bk_alloc_zero(1, sizeof *db);
    db->io = o->io != NULL ? o->io : &bk_io_system;
    db->clock = o->clock != NULL ? o->clock : &bk_clock_system;
    db->databases = o->databases;
    db->batch_bytes_max = o->batch_bytes_max;
    db->on_corruption = o->on_corruption;
    db->lock_handle = -1;
    db->locks = aligned_alloc(alignof(struct bki_keylocks), sizeof *db->locks);
    BK_ASSERT(db->locks != NULL);
    bki_keylocks_init(db->locks);
    db->cache = bki_cache_new(o->cache_bytes);
    /* Numbers beyond the option's keep their data in memory and on disk: a later start may ask for them. */
    db->keydir = bk_alloc_zero(BK_DATABASES_MAX + 1, sizeof *db->keydir);
    bki_files_init(&db->files, db->io, db->clock, o->dir);
    bki_log_init(&db->log, &db->files, o);
    bki_undo_init(&db->undo);
    bk_mutex_init(&db->control, "control", BK_RANK_CONTROL);
    struct bk_tunables t = {o->sync, o->max_file_bytes, o->max_file_age_s, o->log_buffer_bytes, o->cache_bytes};
    bk_tune(db, &t);
    return db;
}

static void db_free(struct bk_db *db)
{
    for (uint32_t i = 0; i <= BK_DATABASES_MAX; i++) {
        struct bki_keydir *kd = atomic_load(&db->keydir[i]);
        bki_keydir_free(&kd);
    }
    bki_undo_fini(&db->undo);
    for (uint32_t i = 0; i < db->garbage_n; i++) {
        bki_keydir_free(&db->garbage[i]);
    }
    free(db->garbage);
    bki_log_fini(&db->log);
    bki_files_fini(&db->files);
    bki_cache_free(&db->cache);
    bki_keylocks_fini(db->locks);
    free(db->locks);
    free(db->keydir);
    bk_mutex_fini(&db->control);
    if (db->lock_handle >= 0) {
        db->io->unlock(db->io->arg, db->lock_handle);
    }
    free(db);
}

int bk_open(struct bk_db **out, const struct bk_options *o, struct bk_error *err)
{
    int rc = check_options(o, err);
    if (rc != BK_OK) {
        return rc;
    }
    struct bk_db *db = db_new(o);
    rc = make_dir(db->io, o->dir, err);
    if (rc == BK_OK) {
        rc = take_lock(db, o->dir, err);
    }
    if (rc == BK_OK) {
        rc = bki_recover(db, o->hash_seed, err);
    }
    if (rc == BK_OK) {
        rc = bki_log_start(&db->log, err);
    }
    if (rc == BK_OK && !o->stepped) {
        db->threaded = pthread_create(&db->sync_thread, NULL, sync_main, db) == 0;
        rc = db->threaded ? BK_OK : bk_error_set(err, BK_EIO, errno, NULL, 0, "cannot start the sync thread");
    }
    if (rc != BK_OK) {
        db_free(db);
        return rc;
    }
    *out = db;
    return BK_OK;
}

int bk_close(struct bk_db **handle, struct bk_error *err)
{
    struct bk_db *db = *handle;
    *handle = NULL;
    if (db->threaded) {
        bk_mutex_lock(&db->log.mu);
        atomic_store(&db->stop, true);
        bk_cond_broadcast(&db->log.work);
        bk_mutex_unlock(&db->log.mu);
        int joined = pthread_join(db->sync_thread, NULL);
        BK_ASSERT(joined == 0);
    }
    int rc = bki_log_finish(&db->log, err);
    db_free(db);
    return rc;
}

/* ---- Settings ---- */

static uint64_t clamp(uint64_t v, uint64_t low, uint64_t high)
{
    return v < low ? low : v > high ? high : v;
}

void bk_tune(struct bk_db *db, const struct bk_tunables *t)
{
    struct bki_log *log = &db->log;
    atomic_store(&log->sync, (int)t->sync);
    atomic_store(&log->max_file_bytes, clamp(t->max_file_bytes, 4096, (uint64_t)1 << 40) & ~(uint64_t)7);
    atomic_store(&log->max_file_age_s, t->max_file_age_s);
    atomic_store(&log->buffer_bytes, clamp(t->log_buffer_bytes, 65536, (uint64_t)1 << 30));
    bki_cache_resize(db->cache, t->cache_bytes);
    bk_mutex_lock(&log->mu);
    atomic_store(&log->cache_bytes, t->cache_bytes);
    bki_log_signal_locked(log);
    bk_mutex_unlock(&log->mu);
}

void bk_tunables_get(struct bk_db *db, struct bk_tunables *out)
{
    struct bki_log *log = &db->log;
    *out = (struct bk_tunables){
        .sync = (enum bk_sync)atomic_load(&log->sync),
        .max_file_bytes = atomic_load(&log->max_file_bytes),
        .max_file_age_s = atomic_load(&log->max_file_age_s),
        .log_buffer_bytes = atomic_load(&log->buffer_bytes),
        .cache_bytes = atomic_load(&log->cache_bytes),
    };
}

/* ---- Shared by the files of the engine ---- */

struct bki_keydir *bki_db_keydir(struct bk_db *db, uint32_t num, bool make)
{
    struct bki_keydir *kd = atomic_load_explicit(&db->keydir[num], memory_order_acquire);
    if (kd != NULL || !make) {
        return kd;
    }
    bk_mutex_lock(&db->control);
    kd = atomic_load_explicit(&db->keydir[num], memory_order_acquire);
    if (kd == NULL) {
        bk_mutex_lock(&db->log.mu);
        uint32_t space = bki_spacemap_get(&db->log.map, num);
        bk_mutex_unlock(&db->log.mu);
        kd = bki_keydir_new(space, db->hash_seed);
        atomic_store_explicit(&db->keydir[num], kd, memory_order_release);
    }
    bk_mutex_unlock(&db->control);
    return kd;
}

void bki_db_dead(struct bk_db *db, uint64_t loc, uint64_t size)
{
    uint64_t offset;
    struct bki_file *f = bki_files_at(&db->files, loc, &offset);
    atomic_fetch_add_explicit(&f->dead_bytes, size, memory_order_relaxed);
}

void bki_db_guard(struct bk_db *db, uint64_t loc, uint64_t size)
{
    uint64_t offset;
    struct bki_file *f = bki_files_at(&db->files, loc, &offset);
    atomic_fetch_add_explicit(&f->guard_bytes, size, memory_order_relaxed);
}

void bki_db_discard_keydir(struct bk_db *db, struct bki_keydir **kd)
{
    if (*kd == NULL) {
        return;
    }
    bk_mutex_lock(&db->control);
    db->garbage = bk_realloc(db->garbage, (db->garbage_n + 1) * sizeof(struct bki_keydir *));
    db->garbage[db->garbage_n++] = *kd;
    atomic_store_explicit(&db->garbage_due, db->garbage_n, memory_order_release);
    bk_mutex_unlock(&db->control);
    *kd = NULL;
    bk_mutex_lock(&db->log.mu);
    bki_log_signal_locked(&db->log);
    bk_mutex_unlock(&db->log.mu);
}

/* A slice of what flushed databases held: freed, and counted as dead in the files. */
static bool garbage_step(struct bk_db *db)
{
    if (atomic_load_explicit(&db->garbage_due, memory_order_acquire) == 0) {
        return false;
    }
    bk_mutex_lock(&db->control);
    struct bki_keydir *kd = db->garbage[db->garbage_n - 1];
    bk_mutex_unlock(&db->control);
    struct bk_buf packed = {0};
    struct bki_entry e;
    bool more = bki_keydir_drain(kd, &packed);
    for (size_t at = 0; bki_entry_next(&packed, &at, &e, NULL);) {
        bki_db_dead(db, e.loc, e.size);
    }
    bk_buf_fini(&packed);
    if (!more) {
        bk_mutex_lock(&db->control);
        uint32_t i = 0;
        while (db->garbage[i] != kd) {
            i++;
        }
        db->garbage[i] = db->garbage[--db->garbage_n];
        atomic_store_explicit(&db->garbage_due, db->garbage_n, memory_order_release);
        bk_mutex_unlock(&db->control);
        bki_keydir_free(&kd);
    }
    return true;
}

bool bki_db_step(struct bk_db *db)
{
    if (atomic_load_explicit(&db->log.state, memory_order_acquire) == BKI_LOG_FAILED) {
        bk_mutex_lock(&db->log.mu);
        struct bk_error err = db->log.error;
        bk_mutex_unlock(&db->log.mu);
        char text[512];
        bk_error_format(&err, text, sizeof text);
        bk_log(BK_LOG_WARNING, "Writing failed, what was not committed is undone: %s", text);
        bki_undo_all(db);
        return true;
    }
    bool did = bki_log_step(&db->log, false);
    bki_undo_trim(db);
    did |= garbage_step(db);
    return did;
}

bool bk_step(struct bk_db *db)
{
    BK_ASSERT(!db->threaded);
    return bki_db_step(db);
}

/* ---- Durability ---- */

void bk_flush(struct bk_db *db, uint64_t pos)
{
    bki_log_flush(&db->log, pos);
}

int bk_pos_state(struct bk_db *db, uint64_t pos)
{
    return bki_log_pos_state(&db->log, pos);
}

int bk_wait(struct bk_db *db, uint64_t pos)
{
    struct bki_log *log = &db->log;
    BK_ASSERT(db->threaded);
    bki_log_flush(log, pos);
    bk_mutex_lock(&log->mu);
    while (pos > atomic_load_explicit(&log->committed_pos, memory_order_acquire)) {
        bki_log_signal_locked(log);
        bk_cond_wait(&log->moved, &log->mu, 1000000);
    }
    bk_mutex_unlock(&log->mu);
    return bki_log_pos_state(log, pos);
}

uint64_t bk_tail(struct bk_db *db)
{
    return atomic_load_explicit(&db->log.tail_pos, memory_order_acquire);
}

int bk_write_state(struct bk_db *db, struct bk_error *err)
{
    struct bki_log *log = &db->log;
    if (atomic_load_explicit(&log->state, memory_order_relaxed) == BKI_LOG_OK) {
        return BK_OK;
    }
    bk_mutex_lock(&log->mu);
    int rc = atomic_load_explicit(&log->state, memory_order_relaxed) == BKI_LOG_OK ? BK_OK
             : log->error.code == BK_ENOSPC ? BK_ENOSPC : BK_EIO;
    if (rc != BK_OK && err != NULL) {
        *err = log->error;
    }
    bk_mutex_unlock(&log->mu);
    return rc;
}

/* ---- Plain use ---- */

void bk_key_init(struct bk_db *db, struct bk_key *key, const void *data, size_t len)
{
    key->bytes = bk_span_of(data, len);
    key->hash = bki_key_hash(db->hash_seed, data, len);
}

/* Commits and waits; a log without room is waited for too. */
static int commit_and_wait(struct bk_db *db, struct bk_batch *b)
{
    uint64_t pos;
    int rc;
    while ((rc = bk_batch_commit(b, &pos, NULL)) == BK_EAGAIN) {
        struct bki_log *log = &db->log;
        bki_log_flush(log, bk_tail(db));
        bk_mutex_lock(&log->mu);
        bki_log_signal_locked(log);
        bk_cond_wait(&log->moved, &log->mu, 1000);
        bk_mutex_unlock(&log->mu);
    }
    return rc == BK_OK ? bk_wait(db, pos) : rc;
}

int bk_put(struct bk_db *db, uint32_t num, struct bk_span key, struct bk_span value, int64_t expire_ms)
{
    struct bk_batch *b = bk_batch_new(db);
    struct bk_key k;
    struct bk_value v = {value, NULL};
    bk_key_init(db, &k, key.data, key.len);
    bk_batch_put(b, num, &k, &v, 0, expire_ms);
    int rc = commit_and_wait(db, b);
    bk_batch_free(&b);
    return rc;
}

int bk_delete(struct bk_db *db, uint32_t num, struct bk_span key)
{
    struct bk_batch *b = bk_batch_new(db);
    struct bk_item item = {0};
    struct bk_key k;
    bk_key_init(db, &k, key.data, key.len);
    bk_batch_lock_key(b, &k);
    bk_batch_lock(b);
    bk_batch_peek(b, num, &k, &item);
    int rc = BK_NOTFOUND;
    if (item.at == 0) {
        bk_batch_cancel(b);
    } else {
        bk_batch_delete(b, num, &k);
        rc = commit_and_wait(db, b);
    }
    bk_batch_free(&b);
    return rc;
}

int bk_get(struct bk_db *db, uint32_t num, struct bk_span key, struct bk_buf *value, int64_t *expire_ms)
{
    struct bk_item item = {0};
    struct bk_key k;
    int rc;
    bk_key_init(db, &k, key.data, key.len);
    do {
        bk_locate(db, num, &k, 1, &item);
        bool gone = item.at == 0 || (item.expire_ms != 0 && item.expire_ms <= bk_clock_wall_ms(db->clock));
        rc = gone ? BK_NOTFOUND : bk_load(db, &k, &item, NULL);
    } while (rc == BK_CHANGED);
    if (rc == BK_OK) {
        value->len = 0;
        bk_buf_append(value, item.value.data, item.value.len);
        if (expire_ms != NULL) {
            *expire_ms = item.expire_ms;
        }
    }
    bk_item_fini(&item);
    return rc;
}

/* ---- Expiry ---- */

/* Removes what has run out of one bucket. What is not committed yet stays: it may have to be undone. */
static size_t expire_bucket(struct bk_db *db, struct bki_keydir *kd, const struct bk_buf *packed, int64_t now_ms,
                            size_t *looked)
{
    struct bki_entry e;
    struct bk_key key;
    size_t removed = 0;
    for (size_t at = 0; bki_entry_next(packed, &at, &e, &key.bytes);) {
        (*looked)++;
        if (e.expire_ms == 0 || e.expire_ms > now_ms) {
            continue;
        }
        uint64_t offset;
        const struct bki_file *f = bki_files_at(&db->files, e.loc, &offset);
        key.hash = bki_key_hash(db->hash_seed, key.bytes.data, key.bytes.len);
        if (bki_log_record_pos(&db->log, f, offset, e.size) == 0 && bki_keydir_remove_if(kd, &key, e.loc, 0)) {
            bki_db_guard(db, e.loc, e.size);
            bki_cache_forget(db->cache, e.loc);
            removed++;
        }
    }
    atomic_fetch_add_explicit(&db->expired, removed, memory_order_relaxed);
    return removed;
}

size_t bk_expire_step(struct bk_db *db, size_t max)
{
    int64_t now_ms = bk_clock_wall_ms(db->clock);
    struct bk_buf packed = {0};
    size_t removed = 0;
    size_t looked = 0;
    bk_mutex_lock(&db->control);
    uint32_t num = db->expire_num;
    uint64_t cursor = db->expire_cursor;
    bk_mutex_unlock(&db->control);
    for (uint32_t visited = 0; visited <= db->databases && removed < max && looked < max * EXPIRE_LOOKS;) {
        struct bki_keydir *kd = bki_db_keydir(db, num, false);
        bool any = kd != NULL && bki_keydir_expiring(kd) > 0;
        if (any) {
            packed.len = 0;
            bki_keydir_scan(kd, &cursor, &packed);
            removed += expire_bucket(db, kd, &packed, now_ms, &looked);
        } else {
            cursor = 0;
        }
        if (cursor == 0) {
            num = num + 1 < db->databases ? num + 1 : 0;
            visited++;
        }
    }
    bk_mutex_lock(&db->control);
    db->expire_num = num;
    db->expire_cursor = cursor;
    bk_mutex_unlock(&db->control);
    bk_buf_fini(&packed);
    return removed;
}

/* ---- Sight ---- */

uint64_t bk_count(struct bk_db *db, uint32_t num)
{
    struct bki_keydir *kd = bki_db_keydir(db, num, false);
    return kd == NULL ? 0 : bki_keydir_count(kd);
}

uint64_t bk_count_expiring(struct bk_db *db, uint32_t num)
{
    struct bki_keydir *kd = bki_db_keydir(db, num, false);
    return kd == NULL ? 0 : bki_keydir_expiring(kd);
}

/* The three kinds of bytes of a file. What an append has counted in the size may not be in the others yet. */
static struct bk_file_info info_of(const struct bki_file *f)
{
    static const enum bk_file_state states[] = {BK_FILE_NEXT, BK_FILE_ACTIVE, BK_FILE_ROTATED, BK_FILE_SEALED};
    struct bk_file_info i = {
        .id = f->id, .uid = f->uid, .rank = f->rank,
        .size = load(&f->size),
        .dead_bytes = load(&f->dead_bytes),
        .guard_bytes = load(&f->guard_bytes),
        .state = states[atomic_load(&f->state)],
    };
    uint64_t other = f->header_bytes + i.dead_bytes + i.guard_bytes;
    i.live_bytes = i.size > other ? i.size - other : 0;
    return i;
}

static int by_rank(const void *a, const void *b)
{
    uint64_t x = ((const struct bk_file_info *)a)->rank;
    uint64_t y = ((const struct bk_file_info *)b)->rank;
    return x < y ? -1 : x > y;
}

void bk_files(struct bk_db *db, void (*each)(void *arg, const struct bk_file_info *info), void *arg)
{
    bk_mutex_lock(&db->files.mu);
    uint32_t n = atomic_load(&db->files.slots_n);
    struct bk_file_info *infos = bk_alloc(n * sizeof *infos);
    uint32_t found = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct bki_file *f = bki_files_slot(&db->files, i);
        if (f != NULL) {
            infos[found++] = info_of(f);
        }
    }
    bk_mutex_unlock(&db->files.mu);
    if (found > 1) {
        qsort(infos, found, sizeof *infos, by_rank);
    }
    for (uint32_t i = 0; i < found; i++) {
        each(arg, &infos[i]);
    }
    free(infos);
}

static void add_file(void *arg, const struct bk_file_info *info)
{
    struct bk_stats *s = arg;
    s->files++;
    s->file_bytes += info->size;
    s->live_bytes += info->live_bytes;
    s->dead_bytes += info->dead_bytes;
    s->guard_bytes += info->guard_bytes;
}

static void add_log(struct bk_db *db, struct bk_stats *s)
{
    const struct bki_log *log = &db->log;
    s->tail_pos = load(&log->tail_pos);
    s->written_pos = load(&log->written_pos);
    s->synced_pos = load(&log->synced_pos);
    s->committed_pos = load(&log->committed_pos);
    s->appends = load(&log->appends);
    s->batches = load(&log->batches);
    s->writes = load(&log->writes);
    s->write_bytes = load(&log->write_bytes);
    s->syncs = load(&log->syncs);
    s->sync_us_total = load(&log->sync_us_total);
    s->sync_us_max = load(&log->sync_us_max);
    s->sync_waits = load(&log->sync_waits);
    s->log_full = load(&log->log_full);
    s->log_buffer_used = s->tail_pos > s->committed_pos ? s->tail_pos - s->committed_pos : 0;
    s->rotations = load(&log->rotations);
    s->write_errors = load(&log->write_errors);
    s->undone = load(&log->undone_records);
}

void bk_stats_get(struct bk_db *db, struct bk_stats *out)
{
    *out = (struct bk_stats){.pages_total = BKI_PAGES - 1, .pages_used = atomic_load(&db->files.pages.used)};
    bk_files(db, add_file, out);
    for (uint32_t i = 0; i <= BK_DATABASES_MAX; i++) {
        struct bki_keydir *kd = bki_db_keydir(db, i, false);
        struct bki_keydir_stats ks;
        if (kd != NULL) {
            bki_keydir_stats(kd, &ks);
            out->keys += ks.keys;
            out->expiring += ks.expiring;
            out->keydir_bytes += ks.bytes;
            out->keydir_moved_max = ks.moved_max > out->keydir_moved_max ? ks.moved_max : out->keydir_moved_max;
        }
    }
    add_log(db, out);
    struct bki_cache_stats cs;
    bki_cache_stats(db->cache, &cs);
    out->cache_hits = cs.hits;
    out->cache_misses = cs.misses;
    out->cache_used = cs.used;
    out->disk_reads = load(&db->disk_reads);
    out->disk_read_bytes = load(&db->disk_read_bytes);
    out->buffer_reads = load(&db->buffer_reads);
    out->expired = load(&db->expired);
    out->damaged_records = load(&db->damaged_records);
    out->damaged_bytes = load(&db->damaged_bytes);
    out->tail_bytes_cut = load(&db->tail_bytes_cut);
    out->recover_us = load(&db->recover_us);
    out->recovered_records = load(&db->recovered_records);
}
