/* SPDX-License-Identifier: MIT */
/*
 * merge.c - when a merge runs, in which state it is, what it says of itself.
 */
#include "base/assert.h"
#include "base/log.h"
#include "engine/db_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_US 5000000     /* after a run that failed */
#define RETRY_FULL_US 500000 /* for want of room, the first time: soon there may be some */
#define LATER_US 60000000    /* a file whose tombstones find no room, or a filter unreadable */
#define WAIT_US 2000         /* for the log, readers, counts */
#define STAY_MORE                                                                  \
    ((uint64_t)128 << 10) /* of a file of tombstones: its head, its hint's, blocks \
                           */

void bki_merge_init(struct bk_db *db)
{
    struct bki_merge *m = &db->merge;
    memset(m, 0, sizeof *m);
    bki_spacemap_init(&m->map);
    m->state = BK_MERGE_IDLE;
    m->no_room_us = RETRY_FULL_US;
}

void bk_merge_rules_init(struct bk_merge_rules *r)
{
    *r = (struct bk_merge_rules){.policy = BK_MERGE_ALWAYS,
                                 .dead_ratio = 50,
                                 .dead_bytes = (uint64_t)512 << 20,
                                 .small_file = (uint64_t)32 << 20,
                                 .max_files = 256,
                                 .max_bytes = (uint64_t)1 << 30,
                                 .window = "00:00-24:00",
                                 .rate = (uint64_t)600 << 20,
                                 .rate_min = (uint64_t)60 << 20,
                                 .interval_ms = 1000,
                                 .disk_reserve = (uint64_t)192 << 20};
}

/* ---- Beginning and ending a run ---- */

static void forget_run(struct bki_merge *m)
{
    for (uint32_t i = 0; i < m->in_n; i++) {
        free(m->in[i].keep);
        free(m->in[i].hole);
    }
    free(m->in);
    free(m->lower);
    free(m->out);
    m->in = NULL;
    m->lower = NULL;
    m->out = NULL;
    m->in_n = m->lower_n = m->out_n = m->out_cap = 0;
    if (m->scanning) {
        bki_scan_fini(&m->scan);
        m->scanning = false;
    }
    free(m->wanted);
    m->wanted = NULL;
    free(m->walk.space);
    m->walk = (struct bki_merge_walk){0};
    bk_buf_fini(&m->pending);
    bki_spacemap_fini(&m->map);
    bki_spacemap_init(&m->map);
    m->unit = m->units = 0;
    m->in_at = m->out_at = m->part = 0;
    m->part_done = 0;
    m->pass = 0;
    m->edited = m->unasked = false;
    m->patience_us = 0;
    m->guards_kept = m->stay = 0;
    m->retire_pos = 0;
}

void bki_merge_fini(struct bk_db *db)
{
    forget_run(&db->merge);
    bki_spacemap_fini(&db->merge.map);
    free(db->merge.retired);
}

static uint64_t bytes_out(const struct bki_merge *m)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < m->out_n; i++) {
        n += atomic_load(&m->out[i]->size);
    }
    return n;
}

static void say_end(struct bk_db *db)
{
    struct bki_merge *m = &db->merge;
    uint64_t out = bytes_out(m);
    int64_t took = bk_clock_wall_ms(db->clock) - m->status.started_ms;
    m->status.runs++;
    m->no_room_us = RETRY_FULL_US;
    m->status.files_out = m->out_n;
    m->status.bytes_reclaimed += m->in_bytes > out ? m->in_bytes - out : 0;
    m->status.ended_ms = bk_clock_wall_ms(db->clock);
    m->status.last_ms = took;
    bk_log(BK_LOG_NOTICE,
           "Merge ended: %" PRIu32 " data files, %" PRIu64 " bytes, became %" PRIu32 ", %" PRIu64
           " bytes, in %.3f seconds; %" PRIu64 " bytes of guards stay, %" PRIu64
           " copies were outrun by writes",
           m->in_n, m->in_bytes, m->out_n, out, (double)took / 1000, m->guards_kept,
           m->status.lost_races);
}

/* What has no room is written in vain each time: the longer it lasts, the more seldom. */
static int64_t retry_us(struct bki_merge *m, const struct bk_error *err)
{
    int64_t wait_us = err->code == BK_ENOSPC && m->no_room_us < RETRY_US ? m->no_room_us : RETRY_US;
    m->no_room_us = wait_us * 2;
    return wait_us;
}

/* Before the edit: as if it had never begun. */
static void take_back(struct bk_db *db, const struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    bki_merge_give_pages(db);
    for (uint32_t i = 0; i < m->out_n; i++) {
        bki_files_cancel_output(&db->files, &m->out[i]);
    }
    if (err != NULL) {
        bk_error_format(err, m->status.last_error, sizeof m->status.last_error);
        m->status.aborted++;
        bk_mutex_lock(&db->control);
        m->now = false; /* it would be tried again at once, for ever */
        bk_mutex_unlock(&db->control);
        m->next_pick_us = bk_clock_mono_us(db->clock) + retry_us(m, err);
        bk_log(BK_LOG_WARNING, "Merge taken back: %s", m->status.last_error);
    }
    forget_run(m);
    m->state = BK_MERGE_IDLE;
}

void bki_merge_set_aside(struct bk_db *db, struct bki_merge_in *in, int64_t us)
{
    atomic_store(&in->file->merge_after_us, bk_clock_mono_us(db->clock) + us);
}

static bool idle(struct bk_db *db, int64_t now_us)
{
    struct bki_merge *m = &db->merge;
    if (bki_merge_any_dropped(db)) {
        m->generation = atomic_load(&db->undo_generation);
        m->state = BK_MERGE_RETIRE;
        return true;
    }
    bk_mutex_lock(&db->control);
    struct bk_merge_rules rules = db->merge_rules;
    bool now = m->now;
    bool paused = m->paused;
    bk_mutex_unlock(&db->control);
    if (paused || (!now && now_us < m->next_pick_us)) {
        return false;
    }
    m->next_pick_us = now_us + (int64_t)rules.interval_ms * 1000;
    if (!bki_merge_may_run(db, &rules, now)) {
        return false;
    }
    if (bki_merge_choose(db, &rules, now)) {
        return true;
    }
    bk_mutex_lock(&db->control);
    m->now = false; /* nothing is left that is worth it */
    bk_mutex_unlock(&db->control);
    bki_merge_close_idle(db, &rules);
    return false;
}

/* ---- A run ---- */

/* What the plan has found may be too little to write anything for: guards that stay are no gain. */
static bool worth_it(struct bk_db *db)
{
    struct bki_merge *m = &db->merge;
    int64_t free_bytes = db->io->free_bytes(db->io->arg, db->files.dir);
    uint64_t guards = 0;
    uint64_t dead = 0;
    for (uint32_t i = 0; i < m->in_n; i++) {
        guards += atomic_load(&m->in[i].file->guard_bytes);
        dead += atomic_load(&m->in[i].file->dead_bytes);
    }
    /* The pick has looked for room for what lives, not for these and their hint. */
    bool fits = free_bytes < 0 || m->stay == 0 || 2 * m->stay + STAY_MORE < (uint64_t)free_bytes;
    uint64_t gain = dead + guards - (m->stay < guards ? m->stay : guards);
    if (fits && gain >= m->reclaim / 2) {
        return true;
    }
    for (uint32_t i = 0; i < m->in_n; i++) {
        if (m->in[i].keep != NULL && (!fits || m->unasked)) {
            bki_merge_set_aside(db, &m->in[i], LATER_US);
        } else if (m->in[i].keep != NULL) {
            atomic_store(&m->in[i].file->guards_stuck, atomic_load(&m->in[i].file->guard_bytes));
        }
    }
    bk_log(BK_LOG_VERBOSE, "Merge not worth it: guards whose keys older files may hold stay");
    return false;
}

/* After a state's work is done. */
static void advance(struct bk_db *db)
{
    struct bki_merge *m = &db->merge;
    switch (m->state) {
    case BK_MERGE_PLAN:
        if (worth_it(db)) {
            m->state = BK_MERGE_COPY;
        } else {
            take_back(db, NULL);
        }
        break;
    case BK_MERGE_COPY:
        m->judged_pos = atomic_load(&db->log.tail_pos);
        bki_grace_begin(&db->flushed, &m->grace);
        m->state = BK_MERGE_SYNC;
        break;
    case BK_MERGE_SYNC:
        m->state = BK_MERGE_LOG;
        break;
    case BK_MERGE_LOG:
        m->state = BK_MERGE_EDIT;
        break;
    case BK_MERGE_EDIT:
        m->state = BK_MERGE_SWING;
        break;
    case BK_MERGE_SWING:
        m->state = BK_MERGE_RETIRE;
        break;
    case BK_MERGE_RETIRE:
        if (m->in_n > 0) {
            say_end(db);
        }
        forget_run(m);
        m->state = BK_MERGE_IDLE;
        m->next_pick_us = 0; /* there may be more that is due */
        break;
    case BK_MERGE_IDLE:
    case BK_MERGE_PAUSED:
        break;
    }
}

static int work(struct bk_db *db, struct bk_error *err)
{
    switch (db->merge.state) {
    case BK_MERGE_PLAN:
        return bki_merge_plan(db, err);
    case BK_MERGE_COPY:
        return bki_merge_copy(db, err);
    case BK_MERGE_SYNC:
        return bki_merge_sync(db, err);
    case BK_MERGE_LOG:
        return bki_merge_log(db, err);
    case BK_MERGE_EDIT:
        return bki_merge_edit(db, err);
    case BK_MERGE_SWING:
        return bki_merge_swing(db, err);
    case BK_MERGE_RETIRE:
        return bki_merge_retire(db, err);
    case BK_MERGE_IDLE:
    case BK_MERGE_PAUSED:
        break;
    }
    return BK_OK;
}

/* The time that the bytes of a step were worth, at the rate that holds at the moment. */
static void charge(struct bk_db *db, uint64_t bytes, int64_t now_us)
{
    struct bki_merge *m = &db->merge;
    bk_mutex_lock(&db->control);
    uint64_t rate = db->merge_rules.rate;
    if (rate != 0 && m->slow) {
        rate = rate / 2 > db->merge_rules.rate_min ? rate / 2 : db->merge_rules.rate_min;
    }
    bk_mutex_unlock(&db->control);
    if (rate != 0) {
        int64_t from = m->allowed_us > now_us ? m->allowed_us : now_us;
        m->allowed_us = from + (int64_t)(bytes * 1000000 / rate);
    }
    m->status.rate = rate;
}

static bool run_step(struct bk_db *db, int64_t now_us)
{
    struct bki_merge *m = &db->merge;
    struct bk_error err = {0};
    enum bk_merge_state before = m->state;
    uint64_t bytes = m->status.bytes_read + m->status.bytes_written;
    int rc = work(db, &err);
    charge(db, m->status.bytes_read + m->status.bytes_written - bytes, now_us);
    if (rc == BK_OK) {
        advance(db);
        return true;
    }
    if (rc != BK_EAGAIN) {
        BK_ASSERT(!m->edited);
        take_back(db, &err);
        return true;
    }
    bool waits = before == BK_MERGE_LOG || before == BK_MERGE_RETIRE;
    if (waits && m->state == before && m->wait_us <= now_us) {
        m->wait_us = now_us + WAIT_US;
    }
    return true;
}

static void publish(struct bk_db *db)
{
    struct bki_merge *m = &db->merge;
    m->status.state = m->state;
    bk_mutex_lock(&db->control);
    db->merge_status = m->status;
    db->merge_status.paused = m->paused;
    if (m->paused && m->state < BK_MERGE_EDIT && m->state != BK_MERGE_IDLE) {
        db->merge_status.state = BK_MERGE_PAUSED;
    }
    if (m->scanning) {
        db->merge_status.bytes_done += m->scan.offset;
    }
    bk_mutex_unlock(&db->control);
}

bool bki_merge_step(struct bk_db *db, int64_t *due_us)
{
    struct bki_merge *m = &db->merge;
    int64_t now = bk_clock_mono_us(db->clock);
    bk_mutex_lock(&db->control);
    bool held = m->paused && m->state < BK_MERGE_EDIT && m->state != BK_MERGE_IDLE;
    bk_mutex_unlock(&db->control);
    bool did = false;
    *due_us = -1;
    int64_t until = m->wait_us > m->allowed_us ? m->wait_us : m->allowed_us;
    if (held) {
        did = false;
    } else if (m->state == BK_MERGE_IDLE) {
        did = idle(db, now);
        *due_us = m->next_pick_us;
    } else if (until > now) {
        *due_us = until;
    } else {
        did = run_step(db, now);
    }
    publish(db);
    return did;
}

void bki_merge_end(struct bk_db *db)
{
    struct bki_merge *m = &db->merge;
    struct bk_error err = {0};
    if (m->state < BK_MERGE_EDIT || m->state == BK_MERGE_PAUSED ||
        (m->state == BK_MERGE_EDIT && !m->edited)) {
        take_back(db, NULL);
    }
    /* Behind the log's end nothing is left to wait for but a disk that fails: then what is dropped
     * is an orphan for the next start. */
    if (m->state == BK_MERGE_IDLE && bki_merge_any_dropped(db)) {
        m->generation = atomic_load(&db->undo_generation);
        m->state = BK_MERGE_RETIRE;
    }
    for (unsigned stuck = 0; m->state != BK_MERGE_IDLE && stuck < 3; stuck++) {
        struct bki_merge before = *m;
        if (work(db, &err) == BK_OK) {
            advance(db);
        }
        if (m->state != before.state || m->out_at != before.out_at || m->part != before.part ||
            m->retire_stage != before.retire_stage || m->purge.at != before.purge.at ||
            m->purge.shard != before.purge.shard) {
            stuck = 0;
        }
    }
}

/* ---- bitkv.h ---- */

void bk_merge(struct bk_db *db, enum bk_merge_command what)
{
    bk_mutex_lock(&db->control);
    db->merge.now |= what == BK_MERGE_NOW;
    db->merge.paused = what == BK_MERGE_PAUSE || (db->merge.paused && what != BK_MERGE_RESUME);
    bk_mutex_unlock(&db->control);
    bki_background_wake(db);
}

void bk_merge_slow(struct bk_db *db, bool slow)
{
    bk_mutex_lock(&db->control);
    db->merge.slow = slow;
    bk_mutex_unlock(&db->control);
}

static void add_reclaimable(void *arg, const struct bk_file_info *info)
{
    struct bk_merge_status *s = arg;
    if (info->state == BK_FILE_SEALED) {
        s->reclaimable += info->dead_bytes + info->guard_bytes;
    }
}

void bk_merge_status(struct bk_db *db, struct bk_merge_status *out)
{
    bk_mutex_lock(&db->control);
    *out = db->merge_status;
    bk_mutex_unlock(&db->control);
    out->reclaimable = 0;
    bk_files(db, add_reclaimable, out);
}
