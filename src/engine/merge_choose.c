/* SPDX-License-Identifier: MIT */
/*
 * merge_choose.c - over which files a merge runs, by what they hold, the room there is and the
 * hour.
 */
#include "base/log.h"
#include "engine/db_private.h"
#include "engine/merge_pick.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define IDLE_ACTIVE_US 5000000 /* an active file that nobody has written to for so long */
#define IDLE_ACTIVE_MIN 65536u
#define MARGIN ((uint64_t)8 << 20) /* free space that a merge leaves when there is no reserve */
#define FULL_RATIO 10u /* percent: on a full disk less than merge-dead-ratio is worth a run */

/* ---- The hour ---- */

bool bk_merge_window_valid(const char *window)
{
    bool valid;
    bk_ignore(bki_pick_hours(window, 0, &valid), "only whether it is one");
    return valid;
}

static int minute_of_day(const struct bk_db *db)
{
    time_t t = (time_t)(bk_clock_wall_ms(db->clock) / 1000);
    struct tm tm;
    return localtime_r(&t, &tm) == NULL ? 0 : tm.tm_hour * 60 + tm.tm_min;
}

bool bki_merge_may_run(struct bk_db *db, const struct bk_merge_rules *rules, bool now)
{
    bool valid;
    if (now || rules->policy == BK_MERGE_ALWAYS) {
        return true;
    }
    return rules->policy == BK_MERGE_WINDOW &&
           bki_pick_hours(rules->window, minute_of_day(db), &valid);
}

/* ---- The files ---- */

struct listing {
    struct bki_file **file;     /* owned; in the order of rank */
    struct bki_pick_file *pick; /* owned; the same files */
    uint32_t n;
};

static void list_files(struct bk_db *db, struct listing *l)
{
    struct bki_files *fs = &db->files;
    uint32_t n = atomic_load(&fs->slots_n);
    int64_t now_us = bk_clock_mono_us(db->clock);
    *l = (struct listing){bk_alloc(n * sizeof(struct bki_file *)),
                          bk_alloc_zero(n, sizeof *l->pick), 0};
    for (uint32_t i = 0; i < n; i++) {
        struct bki_file *f = bki_files_slot(fs, i);
        if (f != NULL && atomic_load(&f->state) == BKI_FILE_SEALED) {
            l->file[l->n++] = f;
        }
    }
    bki_files_sort(l->file, l->n);
    for (uint32_t i = 0; i < l->n; i++) {
        const struct bki_file *f = l->file[i];
        struct bki_pick_file *p = &l->pick[i];
        /* What an output says of the map of databases is the price of its being there. */
        uint64_t own = atomic_load(&f->map_bytes);
        uint64_t dead = atomic_load(&f->dead_bytes);
        uint64_t size = atomic_load(&f->size) - f->header_bytes;
        *p = (struct bki_pick_file){.size = size,
                                    .dead = dead > own ? dead - own : 0,
                                    .guards = atomic_load(&f->guard_bytes),
                                    .guards_stuck = atomic_load(&f->guards_stuck),
                                    .excluded = f->gone != NULL || f->suspect ||
                                                !atomic_load(&f->hinted) ||
                                                atomic_load(&f->merge_after_us) > now_us};
        /* One of which more is dead than there is was counted wrongly: it is read, not believed. */
        p->live =
            size > p->dead + p->guards ? size - p->dead - p->guards : size < p->dead + p->guards;
        p->hint = bki_pick_hint_bytes(p, atomic_load(&f->records));
    }
}

static void listing_fini(struct listing *l)
{
    free(l->file);
    free(l->pick);
}

/* ---- The choice ---- */

static uint32_t dead_ratio(struct bk_db *db, const struct bk_merge_rules *rules)
{
    bool less = bki_log_is_full(&db->log) && rules->dead_ratio > FULL_RATIO;
    return less ? FULL_RATIO : rules->dead_ratio;
}

void bki_merge_close_idle(struct bk_db *db, const struct bk_merge_rules *rules)
{
    struct bki_log *log = &db->log;
    bk_mutex_lock(&log->mu);
    const struct bki_file *f = log->active;
    if (f != NULL) {
        uint64_t size = atomic_load(&f->size);
        uint64_t dead = atomic_load(&f->dead_bytes) + atomic_load(&f->guard_bytes);
        int64_t now = bk_clock_mono_us(db->clock);
        if (size != db->merge.active_size || f->id != db->merge.active_id) {
            db->merge.active_size = size;
            db->merge.active_id = f->id;
            db->merge.active_since_us = now;
        }
        bool idle = now - db->merge.active_since_us >= IDLE_ACTIVE_US;
        /* On a full disk it may be all that there is to gain from. */
        idle = idle || bki_log_is_full(log);
        if (idle && size > IDLE_ACTIVE_MIN && dead >= size / 100 * dead_ratio(db, rules)) {
            log->rotate_wanted = true;
            bki_log_signal_locked(log);
        }
    }
    bk_mutex_unlock(&log->mu);
}

static uint64_t bytes_in(const struct bki_merge *m)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < m->in_n; i++) {
        n += atomic_load(&m->in[i].file->size);
    }
    return n;
}

static void say_begin(const struct bki_merge *m, const char *why)
{
    bk_log(BK_LOG_NOTICE,
           "Merge of %" PRIu32 " data files begins (%s): files %" PRIu64 " to %" PRIu64 ", %" PRIu64
           " bytes, %" PRIu64 " to be reclaimed",
           m->in_n, why, m->in[0].file->id, m->in[m->in_n - 1].file->id, m->in_bytes, m->reclaim);
}

static void begin(struct bk_db *db, struct listing *l, const struct bki_pick *p)
{
    struct bki_merge *m = &db->merge;
    m->in_n = p->n;
    m->in = bk_alloc_zero(p->n, sizeof *m->in);
    m->lower = bk_alloc_zero(l->n, sizeof(struct bki_file *));
    uint64_t top = l->file[p->first + p->n - 1]->rank;
    for (uint32_t i = 0; i < l->n; i++) {
        bool input = i >= p->first && i < p->first + p->n;
        if (input) {
            m->in[i - p->first].file = l->file[i];
            m->in[i - p->first].read = l->pick[i].live > 0;
        } else if (l->file[i]->rank <= top) {
            m->lower[m->lower_n++] = l->file[i];
        }
    }
    m->in_bytes = bytes_in(m);
    m->reclaim = p->reclaim;
    m->now_ms = bk_clock_wall_ms(db->clock);
    m->generation = atomic_load(&db->undo_generation);
    m->status.files_in = p->n;
    m->status.files_out = 0;
    m->status.bytes_total = m->in_bytes;
    m->status.bytes_done = 0;
    m->status.lost_races = 0;
    m->status.started_ms = m->now_ms;
    snprintf(m->status.why, sizeof m->status.why, "%s", p->why);
    m->state = BK_MERGE_PLAN;
    say_begin(m, p->why);
}

/* What a run would be worth if there were room for it, and if every file had its hint and could be
 * read. */
static uint64_t withheld(struct listing *l, const struct bki_pick_rules *rules)
{
    struct bki_pick_rules r = *rules;
    struct bki_pick p = {0};
    r.free_bytes = UINT64_MAX;
    r.keep_bytes = 0;
    for (uint32_t i = 0; i < l->n; i++) {
        l->pick[i].excluded = l->file[i]->gone != NULL;
    }
    bki_merge_pick(l->pick, l->n, &r, &p);
    return p.reclaim;
}

bool bki_merge_choose(struct bk_db *db, const struct bk_merge_rules *rules, bool now)
{
    struct listing l;
    struct bki_pick p = {0};
    int64_t free_bytes = db->io->free_bytes(db->io->arg, db->files.dir);
    /* What is put together must become fewer files. */
    uint64_t quarter = atomic_load(&db->log.max_file_bytes) / 4;
    struct bki_pick_rules r = {.dead_ratio = now ? 1 : dead_ratio(db, rules),
                               .dead_bytes = now ? 1 : rules->dead_bytes,
                               .small_file =
                                   rules->small_file < quarter ? rules->small_file : quarter,
                               .max_files = rules->max_files,
                               .max_bytes = rules->max_bytes,
                               .free_bytes = free_bytes < 0 ? 0 : (uint64_t)free_bytes};
    r.keep_bytes = rules->disk_reserve == 0
                       ? MARGIN
                       : bki_log_reserve_kept(bki_log_reserve(&db->log, r.free_bytes));
    list_files(db, &l);
    bki_merge_pick(l.pick, l.n, &r, &p);
    if (p.n > 0) {
        begin(db, &l, &p);
    } else {
        db->merge.status.withheld = withheld(&l, &r);
    }
    listing_fini(&l);
    return p.n > 0;
}
