/* SPDX-License-Identifier: MIT */
/*
 * hints.c - which data file gets its hint next: sealed ones that have none, oldest first; then the
 * active one's front, each hint_bytes, so that a start reads no more than that of it.
 */
#include "base/log.h"
#include "engine/db_private.h"

#include <inttypes.h>
#include <stdlib.h>

#define RETRY_US 5000000
#define UNREAD_US 60000000 /* what cannot be read may take seconds to say so */

static struct bki_file *oldest_without(struct bk_db *db, int64_t now_us)
{
    struct bki_file *found = NULL;
    for (uint32_t i = 0; i < atomic_load(&db->files.slots_n); i++) {
        struct bki_file *f = bki_files_slot(&db->files, i);
        if (f != NULL && f->gone == NULL && atomic_load(&f->state) == BKI_FILE_SEALED &&
            !atomic_load(&f->hinted) && f->hint_after_us <= now_us &&
            (found == NULL || f->rank < found->rank ||
             (f->rank == found->rank && f->id < found->id))) {
            found = f;
        }
    }
    return found;
}

/* The active file, if it has grown enough behind its hint; *covers: up to where it was synced. */
static struct bki_file *front_due(struct bk_db *db, uint64_t *covers)
{
    struct bki_log *log = &db->log;
    bk_mutex_lock(&log->mu);
    struct bki_file *f = log->active;
    if (f != NULL) {
        uint64_t base = atomic_load(&f->pos_base);
        uint64_t synced = atomic_load(&log->synced_pos);
        *covers = synced > base ? synced - base : 0;
        f = *covers >= atomic_load(&f->hint_covers) + db->hint_bytes ? f : NULL;
    }
    bk_mutex_unlock(&log->mu);
    return f;
}

/* tell: of damage that it knows of. */
static bool has_good(struct bk_db *db, struct bki_file *f, bool tell)
{
    struct bki_hint h;
    int rc = bki_hint_open(&h, db->io, db->files.dir, f, db->hash_seed, NULL);
    if (rc == BK_OK) {
        atomic_store(&f->records, h.info.entries);
        if (tell && h.info.damaged > 0) {
            bk_ignore(bki_survey(db, f, NULL), "only the list of damage is poorer");
        }
        bki_hint_close(&h);
    }
    return rc == BK_OK;
}

void bki_hint_failed(struct bk_db *db, struct bki_file *f)
{
    char path[BKI_PATH_MAX];
    bki_hint_path(path, db->files.dir, f->id);
    struct bki_damage_at at = {
        .path = path, .what = "the hint file does not check, or cannot be read, and is made again"};
    atomic_store(&f->hint_bad, true);
    atomic_store(&f->hinted, false);
    bki_damage_index(&db->damage, &at);
}

bool bki_hints_step(struct bk_db *db, bool *failed)
{
    struct bk_error err = {0};
    uint64_t covers = 0;
    int64_t now = bk_clock_mono_us(db->clock);
    if (now < db->hints_retry_us) {
        return false;
    }
    struct bki_file *f = oldest_without(db, now);
    if (f != NULL) {
        covers = atomic_load(&f->size);
    } else {
        f = front_due(db, &covers);
    }
    if (f == NULL) {
        return false;
    }
    bool sealed = atomic_load(&f->state) == BKI_FILE_SEALED;
    int rc = sealed && !atomic_load(&f->hint_bad) && has_good(db, f, false)
                 ? BK_OK
                 : bki_hint_write(db->io, db->files.dir, f, covers, sealed, db->hash_seed, &err);
    if (rc == BK_OK) {
        atomic_store(&f->hint_covers, covers);
        atomic_store(&f->hint_bad, false);
        atomic_store(&f->hinted, sealed && has_good(db, f, true));
        if (!sealed || atomic_load(&f->hinted)) {
            return true;
        }
        bk_ignore(bk_error_set(&err, BK_EIO, 0, f->path, 0, "it does not read back"),
                  "logged below");
    }
    char text[512];
    bk_error_format(&err, text, sizeof text);
    bk_log(BK_LOG_WARNING, "No hint file for data file %" PRIu64 " yet: %s", f->id, text);
    /* What cannot be read of one file keeps no other from its hint. */
    bool others = sealed && err.code != BK_ENOSPC;
    *(others ? &f->hint_after_us : &db->hints_retry_us) =
        bk_clock_mono_us(db->clock) + (others ? UNREAD_US : RETRY_US);
    *failed = true;
    return others;
}
