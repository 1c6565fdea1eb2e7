/* SPDX-License-Identifier: MIT */
/*
 * recover_manifest.c - which files a directory's store has: by the manifest, or, where that is not
 * whole or is another store's, by the files' headers.
 */
#include "engine/recover.h"

#include "base/assert.h"
#include "base/log.h"
#include "engine/hint.h"
#include "engine/recover_listing.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* No store gives out so many numbers: a name beyond it is never in the way. */
#define OURS_BELOW ((uint64_t)1 << 48)

/* ---- A store without a whole manifest ---- */

/* The store that most files are of. */
static uint64_t store_of_most(const struct bki_listing *l)
{
    uint64_t store = 0;
    size_t lead = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (!l->at[i].header || l->at[i].h.id != l->at[i].id) {
            continue;
        }
        store = lead == 0 ? l->at[i].h.store : store;
        lead = l->at[i].h.store == store ? lead + 1 : lead - 1;
    }
    return store;
}

static void drop_named(struct bk_db *db, uint64_t id)
{
    struct bk_buf edit = {0};
    bki_edit_drop(&edit, id);
    int rc = bki_manifest_adopt(&db->files.manifest, &edit);
    BK_ASSERT(rc == BK_OK);
    bk_buf_fini(&edit);
}

/* What a merge has replaced, whether the files are there still or the manifest alone names them. */
static void supersede(struct bk_db *db, struct bki_listing *l, uint64_t uid)
{
    const struct bki_manifest_state *ms = &db->files.manifest.state;
    for (size_t i = 0; i < l->n; i++) {
        l->at[i].superseded |= l->at[i].header && l->at[i].h.uid == uid;
    }
    for (uint32_t i = ms->files_n; i > 0; i--) {
        if (ms->files[i - 1].uid == uid) {
            drop_named(db, ms->files[i - 1].id);
        }
    }
}

/* Files of the store: those that are named, and of the others those that a lost edit has added. */
struct rule {
    uint64_t first_id; /* a lower number was dropped since it was given out */
    bool merges_count; /* outputs too: their merge was done, or nobody knows */
};

static bool counts(struct bk_db *db, const struct bki_found *f, const struct rule *r)
{
    struct bki_manifest_state *ms = &db->files.manifest.state;
    bool added = f->edit_lost || (f->id >= r->first_id && (r->merges_count || !f->h.merged));
    return bki_found_is_ours(f, ms->store) && (added || bki_manifest_find(ms, f->id) != NULL);
}

static void mark_superseded(struct bk_db *db, struct bki_listing *l, const struct rule *r)
{
    for (size_t i = 0; i < l->n; i++) {
        const struct bki_found *f = &l->at[i];
        bool believed = counts(db, f, r);
        for (uint32_t k = 0; believed && k < f->h.replaces_n; k++) {
            supersede(db, l, f->h.replaces[k]);
        }
    }
}

/*
 * Named and away, as far as can be told by an edit that is lost. What an edit drops is removed
 * behind its hint (bki_files_unlink); who leaves the hint is somebody else, and the keys in it are
 * to answer errors.
 */
static bool was_dropped(struct bk_db *db, const struct bki_listing *l, uint64_t id)
{
    char path[BKI_PATH_MAX];
    bki_hint_path(path, db->files.dir, id);
    return !bki_listing_has(l, id) &&
           !bki_hint_is_of(db->io, path, db->files.manifest.state.hash_seed);
}

static void drop_dropped(struct bk_db *db, const struct bki_listing *l)
{
    struct bki_manifest_state *ms = &db->files.manifest.state;
    for (uint32_t i = ms->files_n; i > 0; i--) {
        uint64_t id = ms->files[i - 1].id;
        if (was_dropped(db, l, id)) {
            bk_log(BK_LOG_WARNING,
                   "data file %" PRIu64 " is not there: an edit of MANIFEST that is lost may have "
                   "dropped it",
                   id);
            drop_named(db, id);
        }
    }
}

static bool uid_is_there(struct bk_db *db, const struct bki_listing *l, uint64_t uid)
{
    const struct bki_manifest_state *ms = &db->files.manifest.state;
    bool there = false;
    for (size_t i = 0; !there && i < l->n; i++) {
        there = bki_found_is_ours(&l->at[i], ms->store) && l->at[i].h.uid == uid;
    }
    for (uint32_t i = 0; !there && i < ms->files_n; i++) {
        there = ms->files[i].uid == uid && bki_listing_has(l, ms->files[i].id);
    }
    return there;
}

/* By a header that checks a merge's, and not in the manifest. */
static bool is_unnamed_output(struct bk_db *db, const struct bki_found *f)
{
    struct bki_manifest_state *ms = &db->files.manifest.state;
    return bki_found_is_ours(f, ms->store) && f->h.merged && bki_manifest_find(ms, f->id) == NULL;
}

static bool replaced_one_away(struct bk_db *db, const struct bki_listing *l,
                              const struct bki_found *f)
{
    const struct bki_manifest_state *ms = &db->files.manifest.state;
    bool has = false;
    for (uint32_t k = 0; !has && k < f->h.replaces_n; k++) {
        for (uint32_t i = 0; !has && i < ms->files_n; i++) {
            has = ms->files[i].uid == f->h.replaces[k] && !bki_listing_has(l, ms->files[i].id);
        }
    }
    return has;
}

/*
 * A merge removes what it has replaced once its edit is made. So where a file is away that is still
 * named, and one that is not named has replaced it, the edit is lost; whatever the outputs'
 * numbers, which are given out when the merge begins: edits of files that came later may be there.
 * (If somebody else took the file away, the outputs hold what it held: the list is written when all
 * of them are whole.) The outputs of a merge share a rank, and the first one has the lowest number.
 */
static bool find_lost_merges(struct bk_db *db, struct bki_listing *l)
{
    bool any = false;
    for (size_t i = 0; i < l->n; i++) {
        const struct bki_found *first = &l->at[i];
        if (!is_unnamed_output(db, first) || !replaced_one_away(db, l, first)) {
            continue;
        }
        any = true;
        for (size_t k = 0; k < l->n; k++) {
            struct bki_found *f = &l->at[k];
            f->edit_lost |=
                is_unnamed_output(db, f) && f->h.rank == first->h.rank && f->id >= first->id;
        }
    }
    return any;
}

/*
 * Whether a merge whose edit is lost had been done. What it replaced need not be a file that is
 * still named: one that was added by a lost edit may have been replaced by another.
 */
static bool merge_was_done(struct bk_db *db, const struct bki_listing *l)
{
    const struct bki_manifest_state *ms = &db->files.manifest.state;
    bool done = false;
    for (size_t i = 0; !done && i < l->n; i++) {
        const struct bki_found *f = &l->at[i];
        bool later = f->id >= ms->next_id && is_unnamed_output(db, f);
        done = f->edit_lost;
        for (uint32_t k = 0; !done && later && k < f->h.replaces_n; k++) {
            done = !uid_is_there(db, l, f->h.replaces[k]);
        }
    }
    return done;
}

/*
 * Adds what the files' headers tell to what was left of the manifest. Nothing is removed from the
 * directory. first_id > 0: only edits at the end are lost. As long as all that a merge was to
 * replace is there, its outputs hold nothing of their own.
 */
static int rebuild(struct bk_db *db, struct bki_listing *l, uint64_t first_id, struct bk_error *err)
{
    struct bki_manifest_state *ms = &db->files.manifest.state;
    struct bk_buf edit = {0};
    ms->store = ms->store == 0 ? store_of_most(l) : ms->store;
    const struct rule rule = {first_id, first_id == 0 || merge_was_done(db, l)};
    if (rule.merges_count) {
        mark_superseded(db, l, &rule);
    }
    int rc = BK_OK;
    for (size_t i = 0; rc == BK_OK && i < l->n; i++) {
        const struct bki_found *f = &l->at[i];
        if (f->newer) {
            rc = bk_error_set(err, BK_EVERSION, 0, db->files.dir, 0,
                              "data file %" PRIu64 " was written by a newer version of the format",
                              f->id);
            continue;
        }
        if (!bki_found_is_ours(f, ms->store)) {
            bk_log(BK_LOG_WARNING,
                   "data file %" PRIu64 " has no header of this store and is left alone", f->id);
            continue;
        }
        if (f->superseded || !counts(db, f, &rule) || bki_manifest_find(ms, f->id) != NULL) {
            continue;
        }
        edit.len = 0;
        bki_edit_add(&edit, f->h.id, f->h.uid, f->h.rank);
        rc = bki_manifest_adopt(&db->files.manifest, &edit);
        rc = rc == BK_OK
                 ? rc
                 : bk_error_set(err, rc, 0, db->files.dir, 0, "two data files claim one place");
    }
    drop_dropped(db, l);
    bk_buf_fini(&edit);
    return rc;
}

/* A manifest that is not whole: torn by a power cut at its end, which is no damage, or worse. */
static int mend_manifest(struct bk_db *db, struct bki_listing *l,
                         const struct bki_manifest_found *m, struct bk_error *err)
{
    if (m->end != BKI_MANIFEST_TORN) {
        char path[BKI_PATH_MAX];
        snprintf(path, sizeof path, "%s/MANIFEST", db->files.dir);
        struct bki_damage_at at = {.path = path,
                                   .what = m->none ? "missing, made again from the data files"
                                                   : "does not check, made again"};
        bki_damage_note(&db->damage, &at);
    } else {
        bk_log(BK_LOG_NOTICE, "the last edit of MANIFEST was cut off: it did not happen");
    }
    if (m->end == BKI_MANIFEST_MENDED) {
        return BK_OK;
    }
    /* With nothing but edits at the end lost, a file of a number that was given out before was
     * dropped since. */
    bool holes = m->end == BKI_MANIFEST_DAMAGED && !m->cut;
    uint64_t first_id = holes ? 0 : db->files.manifest.state.next_id;
    return rebuild(db, l, first_id, err);
}

/* The damaged manifest is kept beside the new one, for whoever wants to know what happened. */
int bki_recover_put_aside(struct bk_db *db, struct bk_error *err)
{
    char from[BKI_PATH_MAX];
    char to[BKI_PATH_MAX];
    snprintf(from, sizeof from, "%s/MANIFEST", db->files.dir);
    snprintf(to, sizeof to, "%s/MANIFEST.damaged", db->files.dir);
    int rc = db->io->rename(db->io->arg, from, to);
    if (rc < 0 && rc != -ENOENT) {
        return bki_io_fail(err, rc, from, 0, "rename");
    }
    return BK_OK;
}

/* ---- Is a whole one the right one? ---- */

static int holds_records(struct bk_db *db, const struct bki_listing *l, const struct bki_found *f,
                         bool *holds, struct bk_error *err)
{
    char path[BKI_PATH_MAX];
    struct bki_scan s;
    struct bki_scan_item it;
    bool zeros;
    *holds = false;
    bki_datafile_path(path, db->files.dir, f->id);
    int fd = db->io->open(db->io->arg, path, BK_IO_READ);
    if (fd < 0) {
        return bki_io_fail(err, fd, path, 0, "open");
    }
    int64_t size = db->io->size(db->io->arg, fd);
    int rc = size < 0 ? bki_io_fail(err, size, path, 0, "stat") : BK_OK;
    if (rc == BK_OK) {
        bki_scan_init(&s, db->io, fd, path, bki_datafile_seed(f->h.uid), true, f->h.bytes,
                      (uint64_t)size);
        struct bki_damage_unread unread;
        if (db->read_only) {
            bki_damage_unread(&s, &db->damage, &unread);
        }
        rc = bki_scan_next(&s, &it, err);
        rc = rc == BK_CORRUPT ? bki_scan_resync(&s, &zeros, err) : rc;
        /* What a merge wrote holds nothing of its own as long as all that it was to replace is
         * there. */
        *holds = rc == BK_OK && (!f->h.merged || merge_was_done(db, l));
        bki_scan_fini(&s);
    }
    db->io->close(db->io->arg, fd);
    return rc == BK_EIO ? rc : BK_OK;
}

/* A file is named before a record in it is accepted. So one of ours that was never named and yet
 * holds records tells that the manifest has lost edits at its end, cut so that what is left of it
 * checks. */
static int find_lost_edits(struct bk_db *db, const struct bki_listing *l, bool *lost,
                           struct bk_error *err)
{
    const struct bki_manifest_state *ms = &db->files.manifest.state;
    int rc = BK_OK;
    for (size_t i = 0; rc == BK_OK && i < l->n && !*lost; i++) {
        if (l->at[i].id >= ms->next_id && bki_found_is_ours(&l->at[i], ms->store)) {
            rc = holds_records(db, l, &l->at[i], lost, err);
        }
    }
    return rc;
}

/* Of one whose bytes check as far as they go, whether they go far enough. (An append that was cut
 * off is no damage, and loses nothing that has had consequences.) */
static int find_cut(struct bk_db *db, struct bki_listing *l, struct bki_manifest_found *m,
                    struct bk_error *err)
{
    int rc = BK_OK;
    if (m->end != BKI_MANIFEST_DAMAGED) {
        m->cut = find_lost_merges(db, l);
    }
    if (m->end == BKI_MANIFEST_WHOLE && !m->cut) {
        rc = find_lost_edits(db, l, &m->cut, err);
    }
    m->end = rc == BK_OK && m->cut ? BKI_MANIFEST_DAMAGED : m->end;
    return rc;
}

/* Files of one store beside the manifest of another, which has none of its own here: the files are
 * what counts. */
static bool of_another_store(const struct bki_manifest_state *ms, const struct bki_listing *l)
{
    bool own = false;
    bool other = false;
    for (size_t i = 0; i < l->n; i++) {
        own |= bki_found_owner(&l->at[i], ms->store) == BKI_OWNER_STORE;
        other |= l->at[i].header && l->at[i].h.id == l->at[i].id && l->at[i].h.store != ms->store;
    }
    return ms->files_n > 0 && other && !own;
}

/* ---- All of it ---- */

/* Names that are there and stay are not given to new files, nor are numbers of files that are gone.
 */
static void skip_numbers(struct bki_manifest_state *ms, const struct bki_listing *l)
{
    for (size_t i = 0; i < l->n; i++) {
        uint64_t id = l->at[i].id;
        ms->next_id = id >= ms->next_id && id < OURS_BELOW ? id + 1 : ms->next_id;
    }
}

static int draw_ids(struct bk_db *db, uint64_t hash_seed, struct bk_error *err)
{
    struct bki_manifest_state *ms = &db->files.manifest.state;
    int rc = BK_OK;
    if (ms->store == 0) {
        rc = bki_random64(&ms->store, err);
    }
    if (rc == BK_OK && ms->hash_seed == 0) {
        ms->hash_seed = hash_seed;
        rc = hash_seed == 0 ? bki_random64(&ms->hash_seed, err) : BK_OK;
    }
    return rc;
}

/* The next edit writes the manifest anew. */
static void write_no_more(struct bki_manifest *man)
{
    if (man->fd >= 0) {
        man->io->close(man->io->arg, man->fd);
        man->fd = -1;
    }
}

static void distrust(struct bk_db *db, struct bki_manifest_found *m)
{
    struct bki_manifest *man = &db->files.manifest;
    bk_log(BK_LOG_WARNING, "MANIFEST is of another store than the data files beside it");
    bki_manifest_state_fini(&man->state);
    bki_manifest_state_init(&man->state);
    m->end = BKI_MANIFEST_DAMAGED;
}

/* Not known to be another one than when the manifest's last edit was made. */
static bool boot_may_be_same(struct bk_db *db)
{
    static const uint8_t none[16];
    const uint8_t *then = db->files.manifest.state.boot_id;
    uint8_t now[16];
    return db->io->boot_id(db->io->arg, now) < 0 || memcmp(then, none, 16) == 0 ||
           memcmp(then, now, 16) == 0;
}

/* Before anything is removed because of an edit, it must be there for good. If the process that
 * died met a failed sync of it, it is in the page cache, which calls it clean, and nowhere else:
 * written once more, as it is, the sync covers it. */
static int write_again(struct bk_db *db, struct bk_error *err)
{
    struct bki_manifest *man = &db->files.manifest;
    struct bk_buf bytes = {0};
    size_t size = (size_t)man->size;
    int rc = bki_io_read_all(man->io, man->fd, bk_buf_reserve(&bytes, size), size, 0, &bytes.len,
                             "MANIFEST", err);
    if (rc == BK_OK) {
        struct iovec iov = {bytes.data, bytes.len};
        rc = bki_io_write_all(man->io, man->fd, &iov, 1, 0, "MANIFEST", err);
    }
    int synced = rc == BK_OK ? man->io->sync(man->io->arg, man->fd) : 0;
    bk_buf_fini(&bytes);
    return synced < 0 ? bki_io_fail(err, synced, "MANIFEST", 0, "sync") : rc;
}

int bki_recover_manifest(struct bk_db *db, uint64_t hash_seed, struct bki_manifest_found *m,
                         struct bk_error *err)
{
    struct bki_listing l = {0};
    int rc = bki_manifest_load(&db->files.manifest, db->io, db->files.dir, &m->end, err);
    m->none = rc == BK_NOTFOUND;
    if (rc < 0) {
        return rc;
    }
    rc = bki_listing_read(db, &l, err);
    if (rc == BK_OK && !m->none && of_another_store(&db->files.manifest.state, &l)) {
        distrust(db, m);
    }
    if (rc == BK_OK && !m->none) {
        rc = find_cut(db, &l, m, err);
    }
    if (m->end != BKI_MANIFEST_WHOLE) {
        write_no_more(&db->files.manifest);
    }
    if (rc == BK_OK && m->none && l.n == 0 && db->read_only) {
        rc = bk_error_set(err, BK_EIO, ENOENT, db->files.dir, 0, "there is no store");
    } else if (rc == BK_OK && m->end == BKI_MANIFEST_WHOLE) {
        rc = !db->read_only && boot_may_be_same(db) ? write_again(db, err) : BK_OK;
        rc = rc != BK_OK || db->read_only ? rc : bki_recover_remove_leftovers(db, &l, err);
    } else if (rc == BK_OK && (l.n > 0 || !m->none)) {
        rc = mend_manifest(db, &l, m, err);
    } else {
        m->end = BKI_MANIFEST_WHOLE; /* a new store */
    }
    if (rc == BK_OK) {
        skip_numbers(&db->files.manifest.state, &l);
        rc = draw_ids(db, hash_seed, err);
    }
    bki_listing_fini(&l);
    return rc;
}
