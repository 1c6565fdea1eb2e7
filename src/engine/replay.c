/* SPDX-License-Identifier: MIT */
/*
 * replay.c - the records of data files, in order, to the keydirs.
 *
 * Two kinds of bad bytes: damage, which is stepped over, counted and listed; and the torn tail of a
 * power cut, behind the last sync mark, where everything from the first bad byte on is cut so that
 * a prefix of the history survives. Without a manifest nobody knows whether the last file was
 * written to at all when the power went: then only what no record follows is a tail.
 */
#include "base/assert.h"
#include "base/checksum.h"
#include "base/log.h"
#include "engine/hint.h"
#include "engine/recover.h"

#include <inttypes.h>
#include <stdlib.h>

/* A store that is only read, to save what is left of it, is opened without what cannot be read; one
 * that will be changed is not: what is unreadable now may be there again after a look at the disk.
 */
static void scan_of(const struct recover *r, const struct recover_file *rf, struct bki_scan *s,
                    struct bki_damage_unread *unread)
{
    const struct bki_file *f = rf->file;
    bki_scan_init(s, r->db->io, f->fd, f->path, f->seed, f->merged, f->header_bytes,
                  atomic_load_explicit(&f->size, memory_order_relaxed));
    if (r->db->read_only) {
        bki_damage_unread(s, &r->db->damage, unread);
    }
}

void bki_recover_damage(struct recover *r, const char *path, uint64_t offset, uint64_t bytes,
                        const char *what)
{
    struct bki_damage_at at = {.path = path, .offset = offset, .bytes = bytes, .what = what};
    bki_damage_note(&r->db->damage, &at);
}

/* ---- Marks ---- */

/* A rotated file is synced before anything behind it. */
static void note_synced(struct recover *r, uint32_t at, uint64_t offset)
{
    for (uint32_t i = 0; i < at; i++) {
        r->files[i].synced = UINT64_MAX;
    }
    r->files[at].synced = offset > r->files[at].synced ? offset : r->files[at].synced;
}

static void note_mark(struct recover *r, const struct bki_scan_item *it)
{
    uint64_t uid = bk_get64(it->value.data);
    for (uint32_t i = 0; i < r->n; i++) {
        if (r->files[i].file->uid == uid) {
            note_synced(r, i, bk_get64(it->value.data + 8));
        }
    }
}

/* A hint of a file that is still written to lists only what was synced before. */
static void skip_synced(struct recover *r, uint32_t at, struct bki_scan *s)
{
    const struct bki_file *f = r->files[at].file;
    struct bki_hint h;
    if (bki_hint_open(&h, r->db->io, r->db->files.dir, f, r->db->hash_seed, NULL) == BK_OK) {
        if (h.info.covers > s->offset) {
            s->offset = h.info.covers;
            s->last_seq = h.info.last_seq;
            note_synced(r, at, h.info.covers);
        }
        bki_hint_close(&h);
    }
}

/* A mark is true wherever it is found, behind holes too: it was written after the sync that it
 * tells of. */
int bki_replay_marks(struct recover *r, struct bk_error *err)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (r->files[i].sealed || r->files[i].file->gone != NULL) {
            continue;
        }
        struct bki_scan s;
        struct bki_damage_unread unread;
        struct bki_scan_item it;
        bool zeros;
        int rc;
        scan_of(r, &r->files[i], &s, &unread);
        skip_synced(r, i, &s);
        while ((rc = bki_scan_next(&s, &it, err)) != BK_NOTFOUND) {
            if (rc == BK_OK && it.rec.kind == BKI_SYNC_MARK && it.value_ok && !it.mended) {
                note_mark(r, &it);
            } else if (rc == BK_CORRUPT) {
                rc = bki_scan_resync(&s, &zeros, err);
            }
            if (rc < 0) {
                bki_scan_fini(&s);
                return rc;
            }
        }
        r->files[i].unread_to = s.unread_to;
        bki_scan_fini(&s);
    }
    return BK_OK;
}

/* ---- Applying ---- */

static void forget_keydir(struct recover *r, struct bki_keydir **kd)
{
    if (*kd == NULL) {
        return;
    }
    struct bk_buf packed = {0};
    struct bki_entry e;
    while (bki_keydir_drain(*kd, &packed)) {
        for (size_t at = 0; bki_entry_next(&packed, &at, &e, NULL);) {
            bki_db_dead(r->db, e.loc, e.size);
        }
        packed.len = 0;
    }
    bk_buf_fini(&packed);
    bki_keydir_free(kd);
}

/* Numbers get other spaces: contents move with their space, and those of a space that no number has
 * are dropped. */
int bki_recover_map(struct recover *r, const uint8_t *pairs, uint32_t n)
{
    struct bk_db *db = r->db;
    struct bki_spacemap before = {0};
    bki_spacemap_copy(&before, &db->log.map);
    int rc = bki_spacemap_apply(&db->log.map, pairs, n);
    if (rc != BK_OK) {
        bki_spacemap_fini(&before);
        return rc;
    }
    uint32_t numbers = before.n > db->log.map.n ? before.n : db->log.map.n;
    struct bki_keydir **old = bk_alloc_zero(numbers, sizeof(struct bki_keydir *));
    for (uint32_t i = 0; i < numbers; i++) {
        old[i] = atomic_load(&db->keydir[i]);
        atomic_store(&db->keydir[i], NULL);
    }
    for (uint32_t i = 0; i < numbers; i++) {
        int64_t from = bki_spacemap_number(&before, bki_spacemap_get(&db->log.map, i));
        if (from >= 0 && from < numbers) {
            atomic_store(&db->keydir[i], old[from]);
            old[from] = NULL;
        }
    }
    for (uint32_t i = 0; i < numbers; i++) {
        forget_keydir(r, &old[i]);
    }
    free(old);
    bki_spacemap_fini(&before);
    return BK_OK;
}

static void apply_key(struct recover *r, struct bki_file *f, const struct bki_scan_item *it)
{
    struct bk_db *db = r->db;
    int64_t num = bki_spacemap_number(&db->log.map, it->rec.space);
    bool expired = it->rec.expire_ms != 0 && it->rec.expire_ms <= r->now_ms;
    bool guard = it->rec.kind == BKI_DELETE || expired;
    if (num < 0) {
        atomic_fetch_add(&f->dead_bytes, it->size);
        return;
    }
    struct bk_key key;
    struct bki_entry old;
    struct bki_keydir *kd = bki_db_keydir(db, (uint32_t)num, true);
    bool had;
    bk_key_init(db, &key, it->key.data, it->key.len);
    if (guard) {
        /* An expired record is a delete too: the older copy that it hides must not come back. */
        had = bki_keydir_remove(kd, &key, 0, &old);
        atomic_fetch_add(&f->guard_bytes, it->size);
    } else {
        struct bki_entry e = {.loc = bki_file_locate(&db->files, f, it->offset),
                              .size = it->size,
                              .expire_ms = it->rec.expire_ms,
                              .type = it->rec.flags & BK_TYPE_MASK};
        BK_ASSERT(e.loc != 0);
        if (it->rec.kind == BKI_LOST) {
            bki_recover_mark(r, f, it->offset, it->size, it->rec.space, it->key);
        }
        had = bki_keydir_put(kd, &key, &e, &old);
    }
    if (had) {
        bki_db_dead(db, old.loc, old.size);
    }
    atomic_fetch_add(&db->recovered_records, 1);
}

static int apply(struct recover *r, struct bki_file *f, const struct bki_scan_item *it)
{
    r->max_seq = it->rec.seq > r->max_seq ? it->rec.seq : r->max_seq;
    switch (it->rec.kind) {
    case BKI_PUT:
    case BKI_DELETE:
    case BKI_LOST:
        apply_key(r, f, it);
        return BK_OK;
    case BKI_MAP:
        atomic_fetch_add(&f->dead_bytes, it->size);
        atomic_fetch_add(&f->map_bytes, f->merged ? it->size : 0);
        return it->value_ok && it->value.len == it->rec.value_len
                   ? bki_recover_map(r, it->value.data, it->rec.value_len / 8)
                   : BK_CORRUPT;
    case BKI_BATCH:
    case BKI_SYNC_MARK:
        atomic_fetch_add(&f->dead_bytes, it->size);
        return BK_OK;
    case BKI_NONE:
    case BKI_KIND_COUNT:
        break;
    }
    return BK_CORRUPT;
}

/* ---- One file ---- */

static void went_on(struct recover *r, uint64_t seq)
{
    r->last_seq = seq;
    r->seq_unknown = false;
}

/* What does not check at offset may never have been written whole. */
static bool unsynced_at(const struct recover_file *rf, uint64_t offset)
{
    return !rf->sealed && offset >= rf->synced && offset >= rf->unread_to;
}

/* Bad bytes at offset are the torn tail of a power cut. */
static bool torn_at(const struct recover *r, const struct recover_file *rf, uint64_t offset)
{
    return r->power_cut && unsynced_at(rf, offset);
}

static void cut_at(struct recover *r, struct recover_file *rf, uint64_t offset, uint64_t end)
{
    r->cut = r->cut || r->power_cut;
    rf->tail_left = true;
    atomic_store(&rf->file->size, offset);
    atomic_fetch_add(&r->db->tail_bytes_cut, end - offset);
    bk_log(BK_LOG_NOTICE,
           "Torn tail: %s ends at offset %" PRIu64
           ", what lies behind was never acknowledged as synced",
           rf->file->path, offset);
}

/* Nothing behind offset checks: what was cut off in the middle of a write, or damage at the end of
 * a sealed file. */
static void end_of_records(struct recover *r, struct recover_file *rf, uint64_t offset,
                           uint64_t end, bool zeros)
{
    bool unread = offset < rf->unread_to;
    if (zeros && !rf->end_known && !unread) {
        atomic_store(&rf->file->size, offset); /* room that was reserved and never used */
    } else if (unsynced_at(rf, offset)) {
        cut_at(r, rf, offset, end);
    } else {
        bki_recover_damage(r, rf->file->path, offset, end - offset, "no record follows");
        r->seq_unknown = rf->synced >= end || unread;
        atomic_fetch_add(&rf->file->dead_bytes, end - offset);
    }
}

enum step { STEP_ON, STEP_END };

/* Bytes at s->offset are no record. */
static int step_over(struct recover *r, struct recover_file *rf, struct bki_scan *s,
                     enum step *step, struct bk_error *err)
{
    uint64_t from = s->offset;
    bool zeros;
    int rc = bki_scan_resync(s, &zeros, err);
    if (rc < 0) {
        return rc;
    }
    if (rc == BK_NOTFOUND || torn_at(r, rf, from)) {
        end_of_records(r, rf, from, s->end, zeros && rc == BK_NOTFOUND);
        *step = STEP_END;
        return BK_OK;
    }
    bki_recover_damage(r, rf->file->path, from, s->offset - from, "stepped over");
    /* Nobody knows how many records lay there: no gap can be told, unless it reaches over the place
     * of the last mark, where the tail may be torn. */
    r->seq_unknown = from < rf->unread_to || s->offset <= rf->synced || !torn_at(r, rf, s->offset);
    atomic_fetch_add(&rf->file->dead_bytes, s->offset - from);
    return BK_OK;
}

/* Whether any record checks behind offset, as it lies there: not those with a bit put right. */
static int anything_behind(const struct bki_scan *s, uint64_t offset, bool *found,
                           struct bk_error *err)
{
    struct bki_scan probe;
    struct bki_scan_item it;
    bool zeros;
    bki_scan_part(&probe, s, offset, s->end);
    probe.last_seq = s->last_seq;
    int rc;
    do {
        rc = bki_scan_next(&probe, &it, err);
        if (rc == BK_CORRUPT) {
            rc = bki_scan_resync(&probe, &zeros, err);
        }
    } while (rc == BK_OK && it.mended);
    *found = rc == BK_OK;
    bki_scan_fini(&probe);
    return rc < 0 ? rc : BK_OK;
}

/* Where an item ends, a frame's members included. */
static uint64_t end_of(const struct bki_scan *s, const struct bki_scan_item *it)
{
    uint64_t after = it->offset + it->size;
    if (it->rec.kind == BKI_BATCH && it->value_ok) {
        uint64_t length = bki_frame_length(it);
        after = length > s->end - after ? s->end : after + length;
    }
    return after;
}

/* Whether what does not check behind the last mark is where a write was cut off. */
static int is_torn(struct recover *r, const struct recover_file *rf, const struct bki_scan *s,
                   const struct bki_scan_item *it, bool *torn, struct bk_error *err)
{
    bool whole = false;
    *torn = unsynced_at(rf, it->offset);
    if (!*torn || r->power_cut) {
        return BK_OK;
    }
    int rc = anything_behind(s, end_of(s, it), &whole, err);
    if (rc == BK_OK && !whole) {
        rc = bki_replay_written_whole(s, it, &whole, err);
    }
    *torn = !whole;
    return rc;
}

/*
 * A record that does not check but tells whose it is, or a frame that is not whole. With a power
 * cut behind the last mark it is where the tail is torn, and when only the process died and it was
 * not written whole it is the same. Otherwise it is damage, of this record alone: its key is
 * indexed, so that reads of it answer an error, and a frame's other members are what they are.
 */
static int bad_item(struct recover *r, struct recover_file *rf, struct bki_scan *s,
                    const struct bki_scan_item *it, enum step *step, struct bk_error *err)
{
    bool torn;
    int rc = is_torn(r, rf, s, it, &torn, err);
    if (rc != BK_OK) {
        return rc;
    }
    if (torn) {
        cut_at(r, rf, it->offset, s->end);
        *step = STEP_END;
        return BK_OK;
    }
    if (it->mended || !it->value_ok) {
        bki_damage_item(&r->db->damage, rf->file->path, it);
    }
    went_on(r, it->rec.seq);
    if (apply(r, rf->file, it) != BK_OK) {
        bki_damage_item(&r->db->damage, rf->file->path, it);
    }
    return BK_OK;
}

/* Numbers go on by one from record to record and from an unsealed file to the next: a gap behind
 * the last mark is a piece of history that the power cut took. */
static bool gap_at(const struct recover *r, const struct recover_file *rf,
                   const struct bki_scan_item *it, bool first)
{
    if (!torn_at(r, rf, it->offset) || rf->file->merged || r->seq_unknown) {
        return false;
    }
    /* Without a record before, nothing was sealed since the open that noted its first number in the
     * manifest. */
    uint64_t expected = r->last_seq != 0 ? r->last_seq + 1 : r->db->files.manifest.state.next_seq;
    bool follows = first ? r->last_unsealed : true;
    return follows && it->rec.seq != expected;
}

static int take_item(struct recover *r, struct recover_file *rf, struct bki_scan *s,
                     const struct bki_scan_item *it, bool first, enum step *step,
                     struct bk_error *err)
{
    bool good = it->value_ok && !it->mended;
    if (gap_at(r, rf, it, first)) {
        cut_at(r, rf, it->offset, s->end);
        *step = STEP_END;
        return BK_OK;
    }
    if (it->rec.kind == BKI_BATCH && good && unsynced_at(rf, it->offset)) {
        int rc = bki_scan_frame(s, it, &good, err);
        if (rc != BK_OK) {
            return rc;
        }
    }
    if (!good) {
        return bad_item(r, rf, s, it, step, err);
    }
    if (apply(r, rf->file, it) != BK_OK) {
        bki_damage_item(&r->db->damage, rf->file->path, it);
    }
    went_on(r, it->rec.seq);
    return BK_OK;
}

/* Now and then: says how far the file is, and asks whether to go on. */
#define PROGRESS_RECORDS 1024u
static int progress(struct recover *r, uint64_t offset, uint64_t *told, struct bk_error *err)
{
    atomic_fetch_add_explicit(&r->progress->bytes_done, offset - *told, memory_order_relaxed);
    atomic_store_explicit(&r->progress->keys, atomic_load(&r->db->recovered_records),
                          memory_order_relaxed);
    *told = offset;
    return bki_recover_wanted(r, err);
}

/* What a good hint lists is applied from it; the scan goes on behind. */
static int skip_hinted(struct recover *r, const struct recover_file *rf, struct bki_scan *s,
                       bool *first, struct bk_error *err)
{
    uint64_t covered;
    uint64_t last_seq;
    int rc = bki_replay_hint(r, rf, &covered, &last_seq, err);
    if (rc == BK_OK) {
        s->offset = covered;
        s->last_seq = last_seq;
        if (last_seq != 0) {
            went_on(r, last_seq);
        }
        *first = *first && last_seq == 0;
    }
    if (rc == BK_CORRUPT) {
        bki_hint_failed(r->db, rf->file);
    }
    return rc == BK_EIO || rc == BK_ENOSPC ? rc : BK_OK;
}

int bki_replay_file(struct recover *r, struct recover_file *rf, struct bk_error *err)
{
    struct bki_scan s;
    struct bki_damage_unread unread;
    struct bki_scan_item it;
    enum step step = STEP_ON;
    bool first = true;
    uint64_t told = 0;
    uint32_t records = 0;
    int rc = BK_OK;
    scan_of(r, rf, &s, &unread);
    if (r->cut && !rf->sealed) {
        cut_at(r, rf, s.offset, s.end);
        step = STEP_END;
    } else {
        rc = skip_hinted(r, rf, &s, &first, err);
        if (rc != BK_OK) {
            bki_scan_fini(&s);
            return rc;
        }
    }
    if (rf->file->gone != NULL) { /* what its hint told is all that is known */
        atomic_fetch_add(&rf->file->dead_bytes, s.end - s.offset);
        step = STEP_END;
    }
    while (step == STEP_ON && (rc = bki_scan_next(&s, &it, err)) != BK_NOTFOUND) {
        if (rc == BK_OK) {
            rc = take_item(r, rf, &s, &it, first, &step, err);
            first = false;
        } else if (rc == BK_CORRUPT) {
            rc = step_over(r, rf, &s, &step, err);
        }
        if (rc >= 0 && ++records % PROGRESS_RECORDS == 0) {
            rc = progress(r, s.offset, &told, err);
        }
        if (rc < 0) {
            break;
        }
    }
    if (rc >= 0) {
        rc = progress(r, s.end, &told, err);
    }
    r->last_unsealed = !rf->sealed;
    bki_scan_fini(&s);
    return rc < 0 ? rc : BK_OK;
}
