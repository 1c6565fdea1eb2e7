/* SPDX-License-Identifier: MIT */
/* stats.c - what bitkv.h shows of a store's inside. */
#include "engine/bucket.h"
#include "engine/db_private.h"
#include "engine/merge_pick.h"

#include <stdlib.h>

static uint64_t load(const _Atomic uint64_t *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}

#define WHEEL_ENTRY_BYTES 8u

uint64_t bk_index_bytes(struct bk_db *db, uint32_t num, uint64_t *expiry)
{
    struct bki_keydir *kd = bki_db_keydir(db, num, false);
    struct bki_keydir_stats s = {0};
    if (kd != NULL) {
        bki_keydir_stats(kd, &s);
    }
    *expiry = s.wheel_bytes;
    return s.bytes - s.wheel_bytes;
}

uint64_t bk_item_memory(struct bk_db *db, const struct bk_key *key, const struct bk_item *item)
{
    const struct bki_entry e = {.size = item->size, .expire_ms = item->expire_ms};
    uint64_t bytes = bki_entry_units(&e, key->bytes.len) * sizeof(uint64_t);
    bytes += item->expire_ms != 0 ? WHEEL_ENTRY_BYTES : 0;
    return bytes + bki_cache_bytes(db->cache, item->at);
}

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

/* The three kinds of bytes of a file. What an append has counted in the size may not be in the
 * others yet. state is the file's a moment ago, one of a file in use: a merge may drop it at any
 * time. */
static struct bk_file_info info_of(const struct bki_file *f, int state,
                                   const struct bk_merge_rules *rules, int64_t now_us)
{
    static const enum bk_file_state states[] = {BK_FILE_NEXT, BK_FILE_ACTIVE, BK_FILE_ROTATED,
                                                BK_FILE_SEALED};
    struct bk_file_info i = {
        .id = f->id,
        .uid = f->uid,
        .rank = f->rank,
        .size = load(&f->size),
        .dead_bytes = load(&f->dead_bytes),
        .guard_bytes = load(&f->guard_bytes),
        .state = states[state],
    };
    uint64_t other = f->header_bytes + i.dead_bytes + i.guard_bytes;
    i.live_bytes = i.size > other ? i.size - other : 0;
    i.records = load(&f->records);
    i.created_ms = f->created_ms;
    i.hinted = atomic_load(&f->hinted);
    struct bki_pick_file p = {.size = i.size - f->header_bytes,
                              .live = i.live_bytes,
                              .dead = i.dead_bytes,
                              .guards = i.guard_bytes,
                              .guards_stuck = load(&f->guards_stuck),
                              .excluded = f->suspect};
    struct bki_pick_rules r = {.dead_ratio = rules->dead_ratio,
                               .dead_bytes = rules->dead_bytes,
                               .small_file = rules->small_file};
    bool aside = atomic_load(&f->merge_after_us) > now_us;
    p.excluded |= f->gone != NULL;
    i.reason = f->gone != NULL             ? f->gone
               : aside                     ? "set aside for a while: a merge of it has failed"
               : i.state == BK_FILE_SEALED ? bki_pick_reason(&p, &r)
                                           : "still written to";
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
    bk_mutex_lock(&db->control);
    struct bk_merge_rules rules = db->merge_rules;
    bk_mutex_unlock(&db->control);
    int64_t now_us = bk_clock_mono_us(db->clock);
    bk_mutex_lock(&db->files.mu);
    uint32_t n = atomic_load(&db->files.slots_n);
    struct bk_file_info *infos = bk_alloc(n * sizeof *infos);
    uint32_t found = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct bki_file *f = bki_files_slot(&db->files, i);
        int state = f == NULL ? BKI_FILE_DROPPED : atomic_load(&f->state);
        if (state < BKI_FILE_DROPPED) {
            infos[found++] = info_of(f, state, &rules, now_us);
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
    uint64_t own = load(&log->own_appends);
    s->changes = s->appends > own ? s->appends - own : 0;
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
    *out = (struct bk_stats){.pages_total = BKI_PAGES - 1,
                             .pages_used = atomic_load(&db->files.pages.used)};
    bk_files(db, add_file, out);
    for (uint32_t i = 0; i <= BK_DATABASES_MAX; i++) {
        struct bki_keydir *kd = bki_db_keydir(db, i, false);
        struct bki_keydir_stats ks;
        if (kd != NULL) {
            bki_keydir_stats(kd, &ks);
            out->keys += ks.keys;
            out->expiring += ks.expiring;
            out->keydir_bytes += ks.bytes;
            out->keydir_moved_max =
                ks.moved_max > out->keydir_moved_max ? ks.moved_max : out->keydir_moved_max;
        }
    }
    add_log(db, out);
    struct bki_cache_stats cs;
    bki_cache_stats(db->cache, &cs);
    out->cache_hits = cs.hits;
    out->cache_misses = cs.misses;
    out->cache_used = cs.used;
    out->disk_reads = bki_counted(&db->reads, BKI_DISK_READS);
    out->disk_reads_handed = load(&db->read_pool.handed);
    out->disk_reads_pending = load(&db->read_pool.pending);
    out->disk_read_bytes = bki_counted(&db->reads, BKI_DISK_READ_BYTES);
    out->buffer_reads = bki_counted(&db->reads, BKI_BUFFER_READS);
    out->expired = load(&db->expired);
    out->damaged_records = load(&db->damage.records);
    out->damaged_bytes = load(&db->damage.bytes);
    out->damaged_indexes = load(&db->damage.indexes);
    out->tail_bytes_cut = load(&db->tail_bytes_cut);
    out->recover_us = load(&db->recover_us);
    out->recovered_records = load(&db->recovered_records);
}
