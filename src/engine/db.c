/* SPDX-License-Identifier: MIT */
/* db.c - opening and closing, the sync thread, settings, durability. */
#include "base/assert.h"
#include "base/log.h"
#include "engine/db_private.h"
#include "engine/dir.h"
#include "engine/image.h"
#include "engine/io_readonly.h"

#include <errno.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
        .hint_bytes = (uint64_t)64 << 20,
        .on_corruption = BK_CORRUPT_SERVE,
    };
    bk_merge_rules_init(&o->merge);
}

static int check_options(const struct bk_options *o, struct bk_error *err)
{
    if (o->size != sizeof *o || o->dir == NULL || strlen(o->dir) > BKI_PATH_MAX - 64) {
        return bk_error_set(err, BK_EINVAL, 0, NULL, 0,
                            "options are not of this version, or the path is too long");
    }
    if (o->databases < 1 || o->databases > BK_DATABASES_MAX) {
        return bk_error_set(err, BK_EINVAL, 0, NULL, 0, "databases must be 1 to %u",
                            BK_DATABASES_MAX);
    }
    return BK_OK;
}

static int take_lock(struct bk_db *db, const char *dir, struct bk_error *err)
{
    int rc = bki_dir_lock(db->io, dir, false, &db->lock_handle, err);
    /* A snapshot, which nobody has opened to write yet. */
    return db->lock_handle == -ENOENT && db->read_only ? BK_OK : rc;
}

static void *sync_main(void *arg)
{
    struct bk_db *db = arg;
    pthread_setname_np(pthread_self(), "bk-sync");
    while (!atomic_load(&db->stop)) {
        bki_log_gather(&db->log);
        bk_mutex_lock(&db->log.mu);
        db->log.stepping = true;
        bk_mutex_unlock(&db->log.mu);
        bool more = bki_db_step(db);
        bk_mutex_lock(&db->log.mu);
        db->log.stepping = false;
        bk_cond_broadcast(&db->log.moved);
        int64_t due = more || atomic_load(&db->stop)
                          ? 0
                          : bki_log_due_locked(&db->log, bk_clock_mono_us(db->clock));
        if (due != 0) {
            bk_cond_wait(&db->log.work, &db->log.mu, due);
        }
        bk_mutex_unlock(&db->log.mu);
    }
    return NULL;
}

static struct bk_db *db_new(const struct bk_options *o)
{
    struct bk_db *db = aligned_alloc(alignof(struct bk_db), sizeof *db);
    BK_ASSERT(db != NULL);
    memset(db, 0, sizeof *db);
    db->io = o->io != NULL ? o->io : &bk_io_system;
    if (o->read_only) {
        db->read_only = true;
        bki_io_readonly(&db->io_readonly, db->io);
        db->io = &db->io_readonly;
    }
    db->clock = o->clock != NULL ? o->clock : &bk_clock_system;
    db->databases = o->databases;
    db->batch_bytes_max = o->batch_bytes_max;
    db->hint_bytes = o->hint_bytes;
    db->on_corruption = o->on_corruption;
    db->lock_handle = -1;
    db->locks = aligned_alloc(alignof(struct bki_keylocks), sizeof *db->locks);
    BK_ASSERT(db->locks != NULL);
    bki_keylocks_init(db->locks);
    bki_reclaim_init(&db->reclaim);
    db->cache = bki_cache_new(o->cache_bytes, &db->reclaim);
    /* Numbers beyond the option's keep their data in memory and on disk: a later start may ask for
     * them. */
    db->keydir = bk_alloc_zero(BK_DATABASES_MAX + 1, sizeof *db->keydir);
    bki_files_init(&db->files, db->io, db->clock, o->dir);
    bki_log_init(&db->log, &db->files, &db->damage, o);
    bki_undo_init(&db->undo);
    bki_damage_init(&db->damage);
    bki_ages_init(&db->ages, bk_clock_mono_us(db->clock) / 1000);
    bk_mutex_init(&db->control, "control", BK_RANK_CONTROL);
    bki_background_init(db);
    bki_read_pool_init(&db->read_pool);
    bki_merge_init(db);
    struct bk_tunables t = {o->sync,           o->max_file_bytes,
                            o->max_file_age_s, o->log_buffer_bytes,
                            o->cache_bytes,    o->merge};
    bk_tune(db, &t);
    return db;
}

static void db_free(struct bk_db *db)
{
    for (uint32_t i = 0; i <= BK_DATABASES_MAX; i++) {
        struct bki_keydir *kd = atomic_load(&db->keydir[i]);
        bki_keydir_free(&kd);
    }
    bki_merge_fini(db);
    bki_background_fini(db);
    bki_read_pool_fini(&db->read_pool);
    bki_undo_fini(&db->undo);
    bki_damage_fini(&db->damage);
    for (uint32_t i = 0; i < db->garbage_n; i++) {
        bki_keydir_free(&db->garbage[i].contents);
    }
    free(db->garbage);
    bki_log_fini(&db->log);
    bki_files_fini(&db->files);
    bki_cache_free(&db->cache);
    bki_reclaim_fini(&db->reclaim);
    bki_keylocks_fini(db->locks);
    free(db->locks);
    free(db->keydir);
    bk_mutex_fini(&db->control);
    if (db->lock_handle >= 0) {
        db->io->unlock(db->io->arg, db->lock_handle);
    }
    free(db);
}

static void sync_stop(struct bk_db *db)
{
    if (db->threaded) {
        bk_mutex_lock(&db->log.mu);
        atomic_store(&db->stop, true);
        bk_cond_broadcast(&db->log.work);
        bk_mutex_unlock(&db->log.mu);
        int joined = pthread_join(db->sync_thread, NULL);
        BK_ASSERT(joined == 0);
    }
}

/* Log and threads: what a store needs to be written. */
static int begin_writing(struct bk_db *db, bool stepped, struct bk_error *err)
{
    int rc = bki_log_start(&db->log, err);
    if (rc == BK_OK && !stepped) {
        db->threaded = pthread_create(&db->sync_thread, NULL, sync_main, db) == 0;
        rc = db->threaded
                 ? BK_OK
                 : bk_error_set(err, BK_EIO, errno, NULL, 0, "cannot start the sync thread");
    }
    if (rc == BK_OK && db->threaded) {
        rc = bki_background_start(db, err);
        if (rc != BK_OK) {
            sync_stop(db);
        }
    }
    return rc;
}

int bk_open(struct bk_db **out, const struct bk_options *o, struct bk_error *err)
{
    int rc = check_options(o, err);
    if (rc != BK_OK) {
        return rc;
    }
    struct bk_db *db = db_new(o);
    if (!o->read_only) {
        rc = bki_dir_make(db->io, o->dir, err);
    }
    if (rc == BK_OK) {
        rc = bki_dir_refuse_other(db->io, o->dir, err);
    }
    if (rc == BK_OK) {
        rc = take_lock(db, o->dir, err);
    }
    if (rc == BK_OK) {
        rc = bki_recover(db, o, err);
    }
    if (rc == BK_OK && !o->stepped) {
        rc = bki_read_pool_start(db, o->disk_threads, err);
    }
    if (rc == BK_OK && !o->read_only) {
        rc = begin_writing(db, o->stepped, err);
    }
    if (rc != BK_OK) {
        bki_read_pool_stop(db);
        db_free(db);
        return rc;
    }
    *out = db;
    return BK_OK;
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
    atomic_store(&log->max_file_bytes,
                 clamp(t->max_file_bytes, 4096, (uint64_t)1 << 40) & ~(uint64_t)7);
    atomic_store(&log->max_file_age_s, t->max_file_age_s);
    atomic_store(&log->buffer_bytes, clamp(t->log_buffer_bytes, 65536, (uint64_t)1 << 30));
    bki_cache_resize(db->cache, t->cache_bytes);
    atomic_store(&log->disk_max_bytes, t->merge.disk_max_bytes);
    atomic_store(&log->disk_reserve, t->merge.disk_reserve);
    bk_mutex_lock(&db->control);
    db->merge_rules = t->merge;
    bk_mutex_unlock(&db->control);
    bki_background_wake(db);
    bk_mutex_lock(&log->mu);
    atomic_store(&log->cache_bytes, t->cache_bytes);
    bki_log_signal_locked(log);
    bk_mutex_unlock(&log->mu);
    if (log->wake != NULL && atomic_load(&log->waiters)) {
        log->wake(log->wake_arg); /* what had no room may have it by the new settings */
    }
}

uint64_t bk_cache_used(struct bk_db *db)
{
    struct bki_cache_stats s;
    bki_cache_stats(db->cache, &s);
    return s.used;
}

void bk_cache_limit(struct bk_db *db, uint64_t bytes)
{
    bki_cache_resize(db->cache, bytes);
    atomic_store(&db->log.cache_bytes, bytes);
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
    bk_mutex_lock(&db->control);
    out->merge = db->merge_rules;
    bk_mutex_unlock(&db->control);
}

/* ---- Shared by the files of the engine ---- */

int bki_db_refuse_write(const struct bk_db *db, struct bk_error *err)
{
    return bk_error_set(err, BK_EREADONLY, 0, db->files.dir, 0, "the store was opened to be read");
}

unsigned bk_pin(struct bk_db *db)
{
    return bki_pin(&db->files.pins);
}

void bk_unpin(struct bk_db *db, unsigned token)
{
    bki_unpin(&db->files.pins, token);
}

void bk_visit_begin(struct bk_db *db)
{
    bki_visit_begin(&db->files.pins, &db->reclaim.pins);
}

void bk_visit_end(struct bk_db *db)
{
    bki_visit_end(&db->files.pins, &db->reclaim.pins);
}

struct bki_keydir *bki_db_keydir(struct bk_db *db, uint32_t num, bool make)
{
    BK_ASSERT(num <= BK_DATABASES_MAX);
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
        kd = bki_keydir_new(space, db->hash_seed, bk_clock_wall_ms(db->clock), &db->reclaim);
        bki_keydir_set_age(kd, atomic_load_explicit(&db->ages.now, memory_order_relaxed));
        atomic_store_explicit(&db->keydir[num], kd, memory_order_release);
    }
    bk_mutex_unlock(&db->control);
    return kd;
}

struct bki_spacemap *bki_db_map_copy(struct bk_db *db)
{
    struct bki_spacemap *map = bk_alloc_zero(1, sizeof *map);
    bk_mutex_lock(&db->log.mu);
    bki_spacemap_copy(map, &db->log.map);
    bk_mutex_unlock(&db->log.mu);
    return map;
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

void bki_db_discard(struct bk_db *db, struct bki_flushed *taken)
{
    if (taken->contents == NULL) {
        return;
    }
    bk_mutex_lock(&db->control);
    db->garbage = bk_realloc(db->garbage, (db->garbage_n + 1) * sizeof *db->garbage);
    db->garbage[db->garbage_n++] = *taken;
    atomic_store_explicit(&db->garbage_due, db->garbage_n, memory_order_release);
    bk_mutex_unlock(&db->control);
    taken->contents = NULL;
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
    struct bki_flushed taken = db->garbage[db->garbage_n - 1];
    bk_mutex_unlock(&db->control);
    struct bk_buf packed = {0};
    struct bki_entry e;
    bool more = bki_keydir_drain(taken.contents, &packed);
    for (size_t at = 0; bki_entry_next(&packed, &at, &e, NULL);) {
        bki_db_dead(db, e.loc, e.size);
    }
    bk_buf_fini(&packed);
    if (!more) {
        bk_mutex_lock(&db->control);
        uint32_t i = 0;
        while (db->garbage[i].contents != taken.contents) {
            i++;
        }
        db->garbage[i] = db->garbage[--db->garbage_n];
        atomic_store_explicit(&db->garbage_due, db->garbage_n, memory_order_release);
        bk_mutex_unlock(&db->control);
        bki_keydir_free(&taken.contents);
        bki_unpin(&db->flushed, taken.pin);
    }
    return true;
}

/* What the next start reads instead of the data. It can do without. */
static void leave_image(struct bk_db *db)
{
    struct bk_error err = {0};
    /* What flushes took away is to be counted as dead. */
    bki_undo_trim(db);
    while (garbage_step(db)) {
    }
    bki_merge_end(db);
    int rc = bki_image_write(db, &err);
    if (rc < 0) {
        char text[512];
        bk_error_format(&err, text, sizeof text);
        bk_log(BK_LOG_WARNING, "The index image could not be written, the next start is slower: %s",
               text);
    }
}

int bk_close(struct bk_db **handle, struct bk_error *err)
{
    struct bk_db *db = *handle;
    *handle = NULL;
    bki_read_pool_stop(db);
    if (db->read_only) {
        db_free(db);
        return BK_OK;
    }
    bki_background_stop(db);
    sync_stop(db);
    int rc = bki_log_finish(&db->log, err);
    if (rc == BK_OK) {
        leave_image(db);
    } else {
        bki_merge_end(db);
    }
    db_free(db);
    return rc;
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
        bki_log_cut_uncommitted(&db->log);
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
    int64_t due;
    BK_ASSERT(!db->threaded);
    if (db->read_only) {
        return false;
    }
    bool did = bki_db_step(db);
    return bki_background_step(db, &due) || did;
}

/* ---- Durability ---- */

void bk_flush(struct bk_db *db, uint64_t pos)
{
    bki_log_flush_soon(&db->log, pos);
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

uint64_t bk_undoings(struct bk_db *db)
{
    return atomic_load(&db->undo_generation);
}

int bk_write_state(struct bk_db *db, struct bk_error *err)
{
    struct bki_log *log = &db->log;
    if (db->read_only) {
        return bki_db_refuse_write(db, err);
    }
    if (atomic_load_explicit(&log->state, memory_order_relaxed) == BKI_LOG_OK &&
        !bki_log_is_full(log)) {
        return BK_OK;
    }
    bk_mutex_lock(&log->mu);
    bool ok = atomic_load_explicit(&log->state, memory_order_relaxed) == BKI_LOG_OK;
    const struct bk_error *why = ok ? &log->full_error : &log->error;
    int rc = ok && !bki_log_is_full(log) ? BK_OK : why->code == BK_ENOSPC ? BK_ENOSPC : BK_EIO;
    if (rc != BK_OK && err != NULL) {
        *err = *why;
    }
    bk_mutex_unlock(&log->mu);
    return rc;
}
