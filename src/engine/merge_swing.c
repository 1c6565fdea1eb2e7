/* SPDX-License-Identifier: MIT */
/*
 * merge_swing.c - a run's commit, and what comes after it: keys are pointed at their copies, and
 * the inputs go when nobody can hold a place in them.
 *
 * Who can: a reader under a pin; a flushed database that is still being freed; a write that is not
 * committed and, undone, would put an old place back. So the last pass of swinging must be followed
 * by a commit of all that was written by then, without any undoing since it began.
 */
#include "base/assert.h"
#include "base/log.h"
#include "engine/db_private.h"

#include <inttypes.h>
#include <stdlib.h>

#define PATIENCE_US 1000000 /* for counts that another thread is just about to add */

/* ---- SYNC ---- */

/* The hint is made from what lies on disk. A copy that is not in it would never be swung to, and
 * its key would name a place that is given to another file. */
static int open_whole(struct bk_db *db, const struct bki_file *f, struct bki_hint *hint,
                      struct bk_error *err)
{
    int rc = bki_hint_open(hint, db->io, db->files.dir, f, db->hash_seed, err);
    if (rc != BK_OK) {
        return rc == BK_NOTFOUND ? BK_CORRUPT : rc;
    }
    if (hint->info.damaged > 0) {
        rc = bk_error_set(err, BK_CORRUPT, 0, f->path, 0,
                          "%" PRIu64 " bytes that were written do not check", hint->info.damaged);
        bki_hint_close(hint);
    }
    return rc;
}

static int sync_output(struct bk_db *db, struct bki_file *f, struct bk_error *err)
{
    uint64_t size = atomic_load(&f->size);
    if (atomic_load(&f->allocated) > size && db->io->truncate(db->io->arg, f->fd, size) == 0) {
        atomic_store(&f->allocated, size);
    }
    int rc = db->io->sync(db->io->arg, f->fd);
    if (rc < 0) {
        return bki_io_fail(err, rc, f->path, 0, "sync");
    }
    struct bki_hint hint;
    rc = bki_hint_write(db->io, db->files.dir, f, size, true, db->hash_seed, err);
    rc = rc == BK_OK ? open_whole(db, f, &hint, err) : rc;
    if (rc == BK_OK) {
        bki_hint_close(&hint);
    }
    return rc;
}

int bki_merge_sync(struct bk_db *db, struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    int rc = BK_OK;
    if (m->out_at < m->out_n) {
        rc = sync_output(db, m->out[m->out_at++], err);
        rc = rc == BK_OK ? BK_EAGAIN : rc;
    }
    return rc;
}

/* ---- LOG ---- */

/* Each input's live bytes are no more than what was copied from it: nothing that a key still points
 * at was overlooked. */
static bool balanced(struct bk_db *db, struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    for (uint32_t i = 0; i < m->in_n; i++) {
        struct bki_file *f = m->in[i].file;
        uint64_t gone =
            f->header_bytes + atomic_load(&f->dead_bytes) + atomic_load(&f->guard_bytes);
        uint64_t size = atomic_load(&f->size);
        uint64_t live = size > gone ? size - gone : 0;
        if (live > m->in[i].copied) {
            f->suspect = true;
            bk_ignore(bk_error_set(err, BK_CORRUPT, 0, f->path, 0,
                                   "%" PRIu64 " live bytes, but only %" PRIu64 " were found", live,
                                   m->in[i].copied),
                      "the caller gets false");
            return false;
        }
        f->suspect = false;
    }
    return true;
}

int bki_merge_log(struct bk_db *db, struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    bool synced = atomic_load(&db->log.synced_pos) >= m->judged_pos;
    if (synced) {
        bki_undo_trim(db);
    }
    /* Asked in either case: a run that is lost gives its room back, which the log may need. */
    if (atomic_load(&db->undo_generation) != m->generation) {
        return bk_error_set(err, BK_CHANGED, 0, NULL, 0, "a write was undone meanwhile");
    }
    if (!synced) {
        bki_log_want_sync(&db->log, m->judged_pos);
        return BK_EAGAIN;
    }
    if (!bki_grace_over(&db->flushed, &m->grace)) {
        return BK_EAGAIN; /* what was flushed before that judgement still counts as live */
    }
    if (!balanced(db, err)) {
        int64_t now = bk_clock_mono_us(db->clock);
        m->patience_us = m->patience_us == 0 ? now + PATIENCE_US : m->patience_us;
        return now < m->patience_us ? BK_EAGAIN : BK_CORRUPT;
    }
    return BK_OK;
}

/* ---- EDIT ---- */

static void give_pages_locked(struct bk_db *db)
{
    struct bki_merge *m = &db->merge;
    bk_mutex_assert_held(&db->log.mu);
    for (uint32_t i = 0; i < m->out_n; i++) {
        bki_file_pages_give(&db->files, m->out[i]);
    }
}

void bki_merge_give_pages(struct bk_db *db)
{
    BK_ASSERT(!db->merge.edited);
    bk_mutex_lock(&db->log.mu);
    give_pages_locked(db);
    bk_mutex_unlock(&db->log.mu);
}

/* Every page of the outputs, ahead of the swing; or none: the last ones are kept for writes. */
static int take_pages(struct bk_db *db, struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    bool ok = true;
    bk_mutex_lock(&db->log.mu);
    for (uint32_t i = 0; ok && i < m->out_n; i++) {
        uint64_t size = atomic_load(&m->out[i]->size);
        for (uint64_t at = 0; ok && at < size; at += (uint64_t)1 << BKI_PAGE_SHIFT) {
            ok = bki_file_locate(&db->files, m->out[i], at) != 0;
        }
    }
    if (!ok) {
        give_pages_locked(db);
    }
    bk_mutex_unlock(&db->log.mu);
    return ok ? BK_OK
              : bk_error_set(err, BK_ENOSPC, 0, NULL, 0, "the address space of 8 TiB is used up");
}

static int finish_first(struct bk_db *db, struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    if (m->out_n == 0) {
        return BK_OK;
    }
    uint64_t *uids = bk_alloc(m->in_n * sizeof *uids);
    for (uint32_t i = 0; i < m->in_n; i++) {
        uids[i] = m->in[i].file->uid;
    }
    int rc = bki_files_finish_output(&db->files, m->out[0], uids, m->in_n, err);
    free(uids);
    return rc;
}

static int commit(struct bk_db *db, struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    struct bk_buf edit = {0};
    for (uint32_t i = 0; i < m->out_n; i++) {
        bki_edit_add(&edit, m->out[i]->id, m->out[i]->uid, m->out[i]->rank);
        bki_edit_seal(&edit, m->out[i]->id, atomic_load(&m->out[i]->size));
    }
    for (uint32_t i = 0; i < m->in_n; i++) {
        bki_edit_drop(&edit, m->in[i].file->id);
    }
    int rc = bki_files_replace(&db->files, &edit, err);
    bk_buf_fini(&edit);
    return rc;
}

/* Guards of newer files may be able to go now. */
static void unstick(struct bk_db *db, uint64_t rank)
{
    for (uint32_t i = 0; i < atomic_load(&db->files.slots_n); i++) {
        struct bki_file *f = bki_files_slot(&db->files, i);
        if (f != NULL && f->rank > rank) {
            atomic_store(&f->guards_stuck, 0);
        }
    }
}

int bki_merge_edit(struct bk_db *db, struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    int rc = BK_OK;
    if (!m->edited) {
        rc = take_pages(db, err);
        if (rc == BK_OK) {
            int synced = db->io->sync_dir(db->io->arg, db->files.dir);
            rc = synced < 0 ? bki_io_fail(err, synced, db->files.dir, 0, "sync directory") : BK_OK;
        }
        if (rc == BK_OK) {
            rc = finish_first(db, err);
        }
        if (rc != BK_OK) {
            return rc;
        }
    }
    m->edited = true;
    rc = commit(db, err);
    if (rc == BK_EAGAIN) { /* a snapshot is being made */
        m->wait_us = bk_clock_mono_us(db->clock) + PATIENCE_US / 100;
        return rc;
    }
    if (rc != BK_OK) {
        /* It may be on disk or not, and both are right; but it must be known which before either
         * side's files go. All that it rests on stays true, so it is made again. */
        m->wait_us = bk_clock_mono_us(db->clock) + PATIENCE_US;
        return BK_EAGAIN;
    }
    for (uint32_t i = 0; i < m->in_n; i++) {
        atomic_store(&m->in[i].file->state, BKI_FILE_DROPPED);
    }
    for (uint32_t i = 0; i < m->out_n; i++) {
        atomic_store(&m->out[i]->hinted, true);
        uint64_t stuck = m->unasked ? 0 : atomic_load(&m->out[i]->guard_bytes);
        atomic_store(&m->out[i]->guards_stuck, stuck);
        atomic_store(&m->out[i]->state, BKI_FILE_SEALED);
    }
    unstick(db, m->in[m->in_n - 1].file->rank);
    m->out_at = m->part = 0;
    m->part_done = 0;
    m->pass = 1;
    m->generation = atomic_load(&db->undo_generation);
    return BK_OK;
}

/* ---- SWING ---- */

static uint64_t place_of(const struct bki_file *f, uint64_t offset)
{
    return bki_loc_make(f->pages[offset >> BKI_PAGE_SHIFT], offset);
}

/* Points the key at its copy if it still points into an input: only the record that was copied can
 * lie there, since all that came later lies in newer files. */
static bool swing_key(struct bk_db *db, struct bki_file *f, const struct bki_hint_entry *h)
{
    uint32_t stripe = bki_keylock_of(h->hash);
    struct bk_key key = {.bytes = h->key, .hash = h->hash};
    struct bki_entry old;
    uint64_t del_pos;
    uint64_t offset;
    bool swung = false;
    unsigned pin = bki_pin(&db->files.pins);
    bki_keylock_lock(db->locks, stripe);
    struct bki_keydir *kd = bki_merge_keydir(db, h->space);
    while (!swung && kd != NULL && bki_keydir_find(kd, &key, &old, &del_pos)) {
        const struct bki_file *at = bki_files_at(&db->files, old.loc, &offset);
        if (atomic_load(&at->state) != BKI_FILE_DROPPED) {
            break;
        }
        struct bki_entry now = {.loc = place_of(f, h->offset),
                                .size = h->size,
                                .expire_ms = h->expire_ms,
                                .type = h->flags & BK_TYPE_MASK};
        /* Writes, expiry and undoing hold the key's lock too: nobody comes in between. */
        swung = bki_keydir_replace_if(kd, &key, old.loc, &now);
    }
    bki_keylock_unlock(db->locks, stripe);
    bki_unpin(&db->files.pins, pin);
    if (swung) {
        bki_cache_forget(db->cache, old.loc);
    }
    return swung;
}

/* In the first pass a copy whose key has moved on is dead; in a later one, a key that undoing has
 * brought back into an input brings its copy back too. A key may be gone because its time ran out
 * since it was copied. Nothing in the log tells of that, so the copy has to hide older ones: it
 * counts as a guard, without which the next merge would drop it unread. */
static void swing_one(struct bk_db *db, struct bki_file *f, const struct bki_hint_entry *h)
{
    struct bki_merge *m = &db->merge;
    _Atomic uint64_t *lost = h->expire_ms != 0 ? &f->guard_bytes : &f->dead_bytes;
    bool swung = swing_key(db, f, h);
    if (m->pass == 1 && !swung) {
        atomic_fetch_add(lost, h->size);
        m->status.lost_races++;
    } else if (m->pass > 1 && swung) {
        atomic_fetch_sub(lost, h->size);
    }
}

/* Tried again after an error it goes on where it was: what was swung and has moved on since has
 * been counted. Entries of a part are in the order of their offsets. */
static int swing_entries(struct bk_db *db, struct bki_file *f, struct bki_hint_cursor *c,
                         struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    struct bki_hint_entry e;
    int rc;
    while ((rc = bki_hint_next(c, &e, err)) == BK_OK) {
        bool done = e.offset <= m->part_done;
        m->part_done = done ? m->part_done : e.offset;
        if (!done && e.kind != BKI_DELETE) {
            swing_one(db, f, &e);
        }
    }
    return rc;
}

/* One part of one output. */
static int swing_part(struct bk_db *db, struct bki_file *f, uint32_t *parts, struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    struct bki_hint hint;
    struct bki_hint_cursor c;
    int rc = open_whole(db, f, &hint, err);
    if (rc != BK_OK) {
        return rc;
    }
    *parts = bki_hint_parts(&hint);
    atomic_store(&f->records, hint.info.entries);
    rc = bki_hint_part_begin(&c, &hint, m->part, db->hash_seed);
    if (rc == BK_OK) {
        rc = swing_entries(db, f, &c, err);
        bki_hint_part_end(&c);
    }
    bki_hint_close(&hint);
    return rc == BK_NOTFOUND ? BK_OK : rc;
}

int bki_merge_swing(struct bk_db *db, struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    uint32_t parts = 0;
    if (m->out_at == m->out_n) {
        m->retire_pos = atomic_load(&db->log.tail_pos);
        return BK_OK;
    }
    int rc = swing_part(db, m->out[m->out_at], &parts, err);
    if (rc != BK_OK) {
        /* The hint was written a moment ago; if it cannot be read the keys stay where they are, and
         * so do the inputs, until it can, or another one. */
        const struct bki_file *f = m->out[m->out_at];
        bk_error_format(err, m->status.last_error, sizeof m->status.last_error);
        m->wait_us = bk_clock_mono_us(db->clock) + PATIENCE_US;
        bk_ignore(bki_hint_write(db->io, db->files.dir, f, atomic_load(&f->size), true,
                                 db->hash_seed, NULL),
                  "tried again");
        return BK_EAGAIN;
    }
    m->part_done = 0;
    if (++m->part == parts) {
        m->part = 0;
        m->out_at++;
    }
    return BK_EAGAIN;
}

/* ---- RETIRE ---- */

bool bki_merge_any_dropped(struct bk_db *db)
{
    bool any = false;
    for (uint32_t i = 0; !any && i < atomic_load(&db->files.slots_n); i++) {
        const struct bki_file *f = bki_files_slot(&db->files, i);
        any = f != NULL && atomic_load(&f->state) == BKI_FILE_DROPPED;
    }
    return any;
}

static void gather_dropped(struct bk_db *db)
{
    struct bki_merge *m = &db->merge;
    uint32_t n = atomic_load(&db->files.slots_n);
    free(m->retired);
    m->retired = bk_alloc(n * sizeof(struct bki_file *));
    m->retired_n = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct bki_file *f = bki_files_slot(&db->files, i);
        if (f != NULL && atomic_load(&f->state) == BKI_FILE_DROPPED) {
            m->retired[m->retired_n++] = f;
        }
    }
}

static int unlink_all(struct bk_db *db, struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    for (uint32_t i = 0; i < m->retired_n; i++) {
        int rc = bki_files_unlink(&db->files, m->retired[i], err);
        if (rc != BK_OK) {
            return rc;
        }
    }
    int rc = db->io->sync_dir(db->io->arg, db->files.dir);
    return rc < 0 ? bki_io_fail(err, rc, db->files.dir, 0, "sync directory") : BK_OK;
}

static bool lies_in_dropped(void *arg, uint64_t loc)
{
    struct bk_db *db = arg;
    uint64_t offset;
    const struct bki_file *f = bki_files_at(&db->files, loc, &offset);
    return f == NULL || atomic_load(&f->state) == BKI_FILE_DROPPED;
}

static void free_all(struct bk_db *db)
{
    struct bki_merge *m = &db->merge;
    bk_mutex_lock(&db->log.mu);
    for (uint32_t i = 0; i < m->retired_n; i++) {
        bki_file_pages_give(&db->files, m->retired[i]);
    }
    bk_mutex_unlock(&db->log.mu);
    for (uint32_t i = 0; i < m->retired_n; i++) {
        bki_files_forget(&db->files, &m->retired[i]);
    }
    free(m->retired);
    m->retired = NULL;
    m->retired_n = 0;
}

enum { COMMITTED, FREED, UNLINKED, UNPINNED, UNCACHED };

/* What was undone may have put keys back into the inputs. */
static void swing_again(struct bk_db *db)
{
    struct bki_merge *m = &db->merge;
    m->generation = atomic_load(&db->undo_generation);
    m->pass++;
    m->out_at = m->part = 0;
    m->part_done = 0;
    m->state = BK_MERGE_SWING;
}

/* True: the stage is over. */
static bool retire_stage(struct bk_db *db, struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    switch (m->retire_stage) {
    case COMMITTED:
        if (atomic_load(&db->log.committed_pos) < m->retire_pos) {
            bki_log_want_sync(&db->log, m->retire_pos);
            return false;
        }
        if (atomic_load(&db->undo_generation) != m->generation) {
            swing_again(db);
            return false;
        }
        gather_dropped(db);
        bki_grace_begin(&db->flushed, &m->grace);
        return true;
    case FREED:
        bki_undo_trim(db);
        return bki_grace_over(&db->flushed, &m->grace);
    case UNLINKED:
        if (atomic_load(&db->files.holds) > 0 || unlink_all(db, err) != BK_OK) {
            m->wait_us = bk_clock_mono_us(db->clock) + PATIENCE_US / 10;
            return false;
        }
        bki_grace_begin(&db->files.pins, &m->grace);
        return true;
    case UNPINNED:
        m->purge = (struct bki_cache_purge){0};
        return bki_grace_over(&db->files.pins, &m->grace);
    default:
        return bki_cache_purge(db->cache, &m->purge, lies_in_dropped, db);
    }
}

int bki_merge_retire(struct bk_db *db, struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    if (!retire_stage(db, err)) {
        return BK_EAGAIN;
    }
    if (m->retire_stage++ < UNCACHED) {
        return BK_EAGAIN;
    }
    free_all(db);
    m->retire_stage = COMMITTED;
    return BK_OK;
}
