/* SPDX-License-Identifier: MIT */
/*
 * recover.c - from a directory to an open store: manifest, files, records; then the ends that were
 * found are sealed and a new file is begun. No existing data file is changed before its end is in
 * the manifest.
 */
#include "engine/recover.h"

#include "engine/image.h"

#include "base/assert.h"
#include "base/log.h"
#include "engine/hint.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Files ---- */

/* What can be said of a file without reading its records. */
static void tell_of_file(struct recover *r, const struct bki_file *f)
{
    uint64_t size = atomic_load(&f->size);
    uint64_t there = atomic_load(&f->allocated);
    if (f->gone != NULL) {
        bki_recover_damage(r, f->path, 0, size, f->gone);
        return;
    }
    if (f->header_bad) {
        bki_recover_damage(r, f->path, 0, f->header_bytes, "the file's header");
    }
    if (there < size) {
        bki_recover_damage(r, f->path, there, size - there, "the file is shorter than it was");
    }
}

/* A file that was still written to ends no sooner than its hint says: that was made of what had
 * been synced. Where the file is shorter, or missing, the hint tells which keys answer errors. */
static void end_by_hint(struct bk_db *db, struct bki_file *f)
{
    uint64_t covers = bki_hint_covers(db->io, db->files.dir, f, db->hash_seed);
    if (covers > atomic_load(&f->size)) {
        atomic_store(&f->size, covers);
    }
}

static int open_files(struct recover *r, struct bk_error *err)
{
    struct bk_db *db = r->db;
    const struct bki_manifest_state *ms = &db->files.manifest.state;
    r->files = bk_alloc_zero(ms->files_n, sizeof *r->files);
    for (uint32_t i = 0; i < ms->files_n; i++) {
        struct bki_file *f = NULL;
        int rc = bki_files_open(&db->files, &ms->files[i], &f, err);
        if (rc != BK_OK) {
            return rc;
        }
        if (!ms->files[i].sealed) {
            end_by_hint(db, f);
        }
        tell_of_file(r, f);
        /* What a merge wrote was synced before its header was, whoever adds it to the manifest. */
        bool sealed = ms->files[i].sealed;
        r->files[r->n++] =
            (struct recover_file){.file = f, .end_known = sealed, .sealed = sealed || f->merged};
    }
    /* A file may have been sealed by an edit that is lost. Only the last can be torn. */
    for (uint32_t i = 0; r->manifest.end == BKI_MANIFEST_DAMAGED && i + 1 < r->n; i++) {
        r->files[i].sealed = true;
    }
    return BK_OK;
}

/* Without a manifest a file may be sealed, and shared with a snapshot, for all that is known. */
static bool ends_known(const struct recover *r)
{
    return !r->manifest.none && r->manifest.end != BKI_MANIFEST_DAMAGED;
}

static void look_at_boot(struct recover *r, uint8_t now[16])
{
    static const uint8_t none[16];
    struct bk_db *db = r->db;
    const uint8_t *then = db->files.manifest.state.boot_id;
    r->power_cut = ends_known(r);
    if (db->io->boot_id(db->io->arg, now) < 0) {
        memset(now, 0, 16);
        return;
    }
    if (ends_known(r) && memcmp(then, none, 16) != 0) {
        r->other_boot = memcmp(then, now, 16) != 0;
        r->power_cut = r->other_boot;
    }
}

/* Now that the manifest tells the end, what lies behind it goes: were the manifest lost later,
 * nothing else would keep records that were cut off with a torn tail from being read. */
static void cut_behind(struct bk_db *db, struct bki_file *f)
{
    uint64_t size = atomic_load(&f->size);
    if (atomic_load(&f->allocated) > size && db->io->truncate(db->io->arg, f->fd, size) == 0) {
        atomic_store(&f->allocated, size);
    }
}

/*
 * What only the page cache holds is no end. If the machine may have lived on, the process that died
 * may have met a failed sync: then some pages are clean that never were written, so all behind the
 * last mark is made dirty first. Only of a file that the manifest itself calls unsealed: a snapshot
 * cannot share it. A file that it may share is never cut: where a tail is to go, the store goes on
 * with a copy.
 */
static int sync_found(struct recover *r, const struct recover_file *rf, struct bk_error *err)
{
    struct bk_db *db = r->db;
    struct bki_file *f = rf->file;
    int rc = BK_OK;
    if (!ends_known(r) && rf->tail_left && atomic_load(&f->size) > f->header_bytes) {
        rc = bki_files_renew(&db->files, f, NULL, NULL, err);
        rc = rc == BK_ENOSPC ? BK_OK : rc; /* the tail stays, behind the end that is told */
    } else if (ends_known(r) && !r->other_boot && !rf->sealed) {
        rc = bki_files_rewrite(&db->files, f,
                               rf->synced > f->header_bytes ? rf->synced : f->header_bytes, err);
    }
    bki_files_remove_copy(&db->files, f);
    int synced = rc == BK_OK ? db->io->sync(db->io->arg, f->fd) : 0;
    return synced < 0 ? bki_io_fail(err, synced, f->path, 0, "sync") : rc;
}

/* One edit tells all ends that were found. Before, the files are synced, and their names: one may
 * have been given to a copy shortly before the end. */
static int seal_found(struct recover *r, const uint8_t boot_id[16], struct bk_error *err)
{
    struct bk_db *db = r->db;
    struct bki_manifest *m = &db->files.manifest;
    struct bk_buf edit = {0};
    bool found = false;
    int rc = BK_OK;
    for (uint32_t i = 0; rc == BK_OK && i < r->n; i++) {
        struct bki_file *f = r->files[i].file;
        const struct bki_manifest_file *mf = bki_manifest_find(&m->state, f->id);
        if (f->gone != NULL) {
            atomic_store(&f->state, BKI_FILE_SEALED); /* here; on disk it may be there again */
        }
        if (mf->sealed || f->gone != NULL) {
            continue;
        }
        uint64_t size = atomic_load(&f->size);
        rc = sync_found(r, &r->files[i], err);
        found = true;
        if (size > f->header_bytes) {
            bki_edit_seal(&edit, f->id, size);
        } else {
            bki_edit_drop(&edit, f->id);
        }
        atomic_store(&f->state, BKI_FILE_SEALED);
    }
    int synced = found && rc == BK_OK ? db->io->sync_dir(db->io->arg, db->files.dir) : 0;
    rc = synced < 0 ? bki_io_fail(err, synced, db->files.dir, 0, "sync directory") : rc;
    bki_edit_boot(&edit, boot_id);
    bki_edit_map(&edit, &db->log.map);
    bki_edit_counters(&edit, m->state.next_id, m->state.next_rank, db->log.next_seq);
    if (rc == BK_OK) {
        rc = bki_manifest_commit(m, &edit, err);
    }
    for (uint32_t i = 0; rc == BK_OK && ends_known(r) && i < r->n; i++) {
        cut_behind(db, r->files[i].file);
    }
    bk_buf_fini(&edit);
    return rc;
}

/* A store that is only read: the ends count for this opening. */
static void seal_in_memory(struct recover *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        atomic_store(&r->files[i].file->state, BKI_FILE_SEALED);
    }
}

/* Files that turned out to hold nothing are gone from the manifest; now from the directory. Those
 * that a missing file left in the manifest stay there: it may be found again. */
static void drop_empty(struct recover *r)
{
    struct bk_db *db = r->db;
    for (uint32_t i = 0; i < r->n; i++) {
        struct bki_file *f = r->files[i].file;
        if (bki_manifest_find(&db->files.manifest.state, f->id) == NULL) {
            bk_ignore(bki_files_unlink(&db->files, f, NULL), "an orphan does no harm");
            bki_files_forget(&db->files, &f);
        }
    }
}

static int replay_all(struct recover *r, struct bk_error *err)
{
    int rc = bki_replay_marks(r, err);
    for (uint32_t i = 0; rc == BK_OK && i < r->n; i++) {
        rc = bki_replay_file(r, &r->files[i], err);
        atomic_fetch_add_explicit(&r->progress->files_done, 1, memory_order_relaxed);
    }
    return rc;
}

/* Numbers that the log goes on with; and whether it may, with damage. */
static int go_on_behind(struct recover *r, struct bk_error *err)
{
    struct bk_db *db = r->db;
    uint64_t next = db->files.manifest.state.next_seq;
    db->log.next_seq = r->max_seq + 1 > next ? r->max_seq + 1 : next;
    uint32_t next_space = db->files.manifest.state.map.next;
    db->log.map.next = next_space > db->log.map.next ? next_space : db->log.map.next;
    uint64_t damaged = atomic_load(&db->damage.records);
    if (damaged > 0 && db->on_corruption == BK_CORRUPT_REFUSE) {
        return bk_error_set(err, BK_CORRUPT, 0, db->files.dir, 0,
                            "%" PRIu64 " damaged places, listed in the log: put whole files back "
                            "from a snapshot, or use on-corruption serve for what is left",
                            damaged);
    }
    return BK_OK;
}

int bki_recover_wanted(const struct recover *r, struct bk_error *err)
{
    return atomic_load_explicit(&r->progress->cancel, memory_order_relaxed)
               ? bk_error_set(err, BK_ECANCELED, 0, r->db->files.dir, 0, "opening was called off")
               : BK_OK;
}

/* What there is to be read, for those who watch. */
static void announce(struct recover *r)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        bytes += atomic_load(&r->files[i].file->size);
    }
    atomic_store_explicit(&r->progress->files_total, r->n, memory_order_relaxed);
    atomic_store_explicit(&r->progress->bytes_done, 0, memory_order_relaxed);
    atomic_store_explicit(&r->progress->keys, 0, memory_order_relaxed);
    atomic_store_explicit(&r->progress->bytes_total, bytes, memory_order_relaxed);
}

/* The image is for one start, and gone before anything is changed. */
static int load_keys(struct recover *r, struct bk_error *err)
{
    announce(r);
    int rc = bki_image_load(r, err);
    r->by_image = rc == BK_OK;
    if (rc == BK_NOTFOUND) {
        announce(r);
        rc = replay_all(r, err);
    }
    bki_recover_tell_marks(r);
    if (rc == BK_OK) {
        rc = go_on_behind(r, err);
    }
    return rc == BK_OK ? bki_image_remove(r->db, err) : rc;
}

int bki_recover(struct bk_db *db, const struct bk_options *o, struct bk_error *err)
{
    struct bk_progress unwatched = {0};
    struct recover r = {.db = db,
                        .now_ms = bk_clock_wall_ms(db->clock),
                        .progress = o->progress != NULL ? o->progress : &unwatched,
                        .alone = o->stepped};
    int64_t started = bk_clock_mono_us(db->clock);
    uint8_t boot_id[16];
    bk_mutex_init(&r.marks_mu, "damage", BK_RANK_STATS);
    int rc = bki_recover_manifest(db, o->hash_seed, &r.manifest, err);
    if (rc != BK_OK) {
        bk_mutex_fini(&r.marks_mu);
        return rc;
    }
    db->hash_seed = db->files.manifest.state.hash_seed;
    look_at_boot(&r, boot_id);
    rc = open_files(&r, err);
    if (rc == BK_OK) {
        rc = load_keys(&r, err);
    }
    if (rc == BK_OK) {
        rc = bki_recover_wanted(&r, err);
    }
    if (rc == BK_OK && db->read_only) {
        seal_in_memory(&r);
    } else if (rc == BK_OK) {
        bool aside = r.manifest.end != BKI_MANIFEST_WHOLE && r.manifest.end != BKI_MANIFEST_TORN &&
                     !r.manifest.none;
        rc = aside ? bki_recover_put_aside(db, err) : BK_OK;
        rc = rc == BK_OK ? seal_found(&r, boot_id, err) : rc;
    }
    if (rc == BK_OK) {
        if (!db->read_only) {
            drop_empty(&r);
        }
        atomic_store(&db->recover_us, (uint64_t)(bk_clock_mono_us(db->clock) - started));
        bk_log(BK_LOG_NOTICE,
               "Store opened: %" PRIu32 " data files, %" PRIu64 " %s in %.3f seconds", r.n,
               atomic_load(&db->recovered_records),
               r.by_image ? "keys from the index image" : "records read",
               (double)atomic_load(&db->recover_us) / 1e6);
    }
    free(r.files);
    bk_mutex_fini(&r.marks_mu);
    return rc;
}
