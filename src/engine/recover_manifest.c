/* SPDX-License-Identifier: MIT */
/*
 * recover_manifest.c - which files a directory's store has: by the manifest, or, where that is not
 * whole or is another store's, by the files' headers.
 *
 * A file is removed only when the manifest is whole, does not name it, and the file is known to be
 * the store's own: it bears the store's id and its own number, or has no header yet. Everything
 * else under such a name is left alone.
 */
#include "engine/recover.h"

#include "base/assert.h"
#include "base/checksum.h"
#include "base/log.h"
#include "engine/hint.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* No store gives out so many numbers: a name beyond it is never in the way. */
#define OURS_BELOW ((uint64_t)1 << 48)

/* What a name of a data file stands for. */
enum owner {
    OWNER_NONE,  /* no header: begun and never finished */
    OWNER_STORE, /* a header, perhaps damaged, of this store under its own number */
    OWNER_OTHER  /* anything else */
};

struct found {
    uint64_t id; /* in the name */
    bool header; /* h is there, and checks */
    struct bki_datafile_header h;
    uint64_t said_store, said_id; /* as the bytes say, checked or not */
    bool zeros;                   /* no byte of a header is set */
    bool newer;                   /* a header of a newer version of the format */
    bool superseded;
};

/* The data files of the directory. */
struct listing {
    struct found *at; /* owned */
    size_t n, cap;
};

static void each_data(void *arg, const char *name)
{
    struct listing *l = arg;
    uint64_t id;
    if (!bki_datafile_name_id(name, &id)) {
        return;
    }
    if (l->n == l->cap) {
        l->cap = l->cap == 0 ? 64 : l->cap * 2;
        l->at = bk_realloc(l->at, l->cap * sizeof *l->at);
    }
    l->at[l->n++] = (struct found){.id = id};
}

static int list(struct bk_db *db, void (*each)(void *arg, const char *name), void *arg,
                struct bk_error *err)
{
    int rc = db->io->list(db->io->arg, db->files.dir, each, arg);
    return rc < 0 ? bki_io_fail(err, rc, db->files.dir, 0, "list directory") : BK_OK;
}

static int read_fixed(struct bk_db *db, int fd, const char *path, struct found *f,
                      struct bk_error *err)
{
    uint8_t head[BKI_DATAFILE_FIXED] = {0};
    size_t got = 0;
    int rc = bki_io_read_all(db->io, fd, head, sizeof head, 0, &got, path, err);
    f->zeros = rc == BK_OK;
    for (size_t i = 0; i < got; i++) {
        f->zeros = f->zeros && head[i] == 0;
    }
    f->said_id = bk_get64(head + 24);
    f->said_store = bk_get64(head + 40);
    return rc;
}

static int look_at(struct bk_db *db, struct found *f, struct bk_error *err)
{
    char path[BKI_PATH_MAX];
    bki_datafile_path(path, db->files.dir, f->id);
    int fd = db->io->open(db->io->arg, path, BK_IO_READ);
    if (fd < 0) {
        return bki_io_fail(err, fd, path, 0, "open");
    }
    int rc = read_fixed(db, fd, path, f, err);
    if (rc == BK_OK) {
        rc = bki_datafile_header_read(db->io, fd, path, &f->h, err);
        f->header = rc == BK_OK;
        f->newer = rc == BK_EVERSION;
    }
    db->io->close(db->io->arg, fd);
    /* A store that is only read is opened without what cannot be read: see scan_of in replay.c. */
    bool passed = rc == BK_CORRUPT || rc == BK_EVERSION || (rc == BK_EIO && db->read_only);
    return passed ? BK_OK : rc;
}

static int look_at_all(struct bk_db *db, struct listing *l, struct bk_error *err)
{
    int rc = list(db, each_data, l, err);
    for (size_t i = 0; rc == BK_OK && i < l->n; i++) {
        rc = look_at(db, &l->at[i], err);
    }
    return rc;
}

static void listing_fini(struct listing *l)
{
    for (size_t i = 0; i < l->n; i++) {
        if (l->at[i].header) {
            bki_datafile_header_fini(&l->at[i].h);
        }
    }
    free(l->at);
}

static enum owner owner_of(const struct found *f, uint64_t store)
{
    if (f->zeros) {
        return OWNER_NONE;
    }
    return f->said_store == store && f->said_id == f->id ? OWNER_STORE : OWNER_OTHER;
}

/* A file that this store wrote, by a header that checks. */
static bool is_ours(const struct found *f, uint64_t store)
{
    return f->header && f->h.store == store && f->h.id == f->id;
}

/* ---- A store without a whole manifest ---- */

/* The store that most files are of. */
static uint64_t store_of_most(const struct listing *l)
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
static void supersede(struct bk_db *db, struct listing *l, uint64_t uid)
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

static void mark_superseded(struct bk_db *db, struct listing *l)
{
    for (size_t i = 0; i < l->n; i++) {
        const struct found *f = &l->at[i];
        bool ours = is_ours(f, db->files.manifest.state.store);
        for (uint32_t k = 0; ours && k < f->h.replaces_n; k++) {
            supersede(db, l, f->h.replaces[k]);
        }
    }
}

static bool listed(const struct listing *l, uint64_t id)
{
    size_t i = 0;
    while (i < l->n && l->at[i].id != id) {
        i++;
    }
    return i < l->n;
}

/* Named and not there, while edits are missing: one of them may have dropped it. */
static void drop_missing(struct bk_db *db, const struct listing *l)
{
    struct bki_manifest_state *ms = &db->files.manifest.state;
    for (uint32_t i = ms->files_n; i > 0; i--) {
        uint64_t id = ms->files[i - 1].id;
        if (!listed(l, id)) {
            bk_log(BK_LOG_WARNING,
                   "data file %" PRIu64 " is not there: an edit of MANIFEST that is lost may have "
                   "dropped it",
                   id);
            drop_named(db, id);
        }
    }
}

/* Whether a file that the manifest names is not in the directory. */
static bool any_missing(struct bk_db *db, const struct listing *l)
{
    const struct bki_manifest_state *ms = &db->files.manifest.state;
    bool missing = false;
    for (uint32_t i = 0; !missing && i < ms->files_n; i++) {
        missing = !listed(l, ms->files[i].id);
    }
    return missing;
}

static bool uid_is_there(struct bk_db *db, const struct listing *l, uint64_t uid)
{
    const struct bki_manifest_state *ms = &db->files.manifest.state;
    bool there = false;
    for (size_t i = 0; !there && i < l->n; i++) {
        there = is_ours(&l->at[i], ms->store) && l->at[i].h.uid == uid;
    }
    for (uint32_t i = 0; !there && i < ms->files_n; i++) {
        there = ms->files[i].uid == uid && listed(l, ms->files[i].id);
    }
    return there;
}

/*
 * Whether a merge whose edit is lost had been done: only then does it remove what it replaced. That
 * need not be a file that is still named: one that was added by a lost edit may have been replaced
 * by another.
 */
static bool merge_was_done(struct bk_db *db, const struct listing *l)
{
    const struct bki_manifest_state *ms = &db->files.manifest.state;
    bool done = any_missing(db, l);
    for (size_t i = 0; !done && i < l->n; i++) {
        const struct found *f = &l->at[i];
        bool unnamed = f->id >= ms->next_id && is_ours(f, ms->store);
        for (uint32_t k = 0; !done && unnamed && k < f->h.replaces_n; k++) {
            done = !uid_is_there(db, l, f->h.replaces[k]);
        }
    }
    return done;
}

/*
 * Adds what the files' headers tell to what was left of the manifest. Nothing is removed from the
 * directory. first_id > 0: only the last edit is lost. If that was a merge's, what the merge was to
 * replace is all there, and its outputs hold nothing of their own.
 */
static int rebuild(struct bk_db *db, struct listing *l, uint64_t first_id, struct bk_error *err)
{
    struct bki_manifest_state *ms = &db->files.manifest.state;
    struct bk_buf edit = {0};
    ms->store = ms->store == 0 ? store_of_most(l) : ms->store;
    bool merges_count = first_id == 0 || merge_was_done(db, l);
    if (merges_count) {
        mark_superseded(db, l);
    }
    int rc = BK_OK;
    for (size_t i = 0; rc == BK_OK && i < l->n; i++) {
        const struct found *f = &l->at[i];
        if (f->newer) {
            rc = bk_error_set(err, BK_EVERSION, 0, db->files.dir, 0,
                              "data file %" PRIu64 " was written by a newer version of the format",
                              f->id);
            continue;
        }
        if (!is_ours(f, ms->store)) {
            bk_log(BK_LOG_WARNING,
                   "data file %" PRIu64 " has no header of this store and is left alone", f->id);
            continue;
        }
        bool counts = f->id >= first_id && (merges_count || !f->h.merged);
        if (f->superseded || !counts || bki_manifest_find(ms, f->id) != NULL) {
            continue;
        }
        edit.len = 0;
        bki_edit_add(&edit, f->h.id, f->h.uid, f->h.rank);
        rc = bki_manifest_adopt(&db->files.manifest, &edit);
        rc = rc == BK_OK
                 ? rc
                 : bk_error_set(err, rc, 0, db->files.dir, 0, "two data files claim one place");
    }
    drop_missing(db, l);
    bk_buf_fini(&edit);
    return rc;
}

/* A manifest that is not whole: torn by a power cut at its end, which is no damage, or worse. */
static int mend_manifest(struct bk_db *db, struct listing *l, const struct bki_manifest_found *m,
                         struct bk_error *err)
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
    /* With nothing but the last edit lost, a file of a number that was given out before was dropped
     * since. */
    uint64_t first_id = m->end == BKI_MANIFEST_DAMAGED ? 0 : db->files.manifest.state.next_id;
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

static int holds_records(struct bk_db *db, const struct listing *l, const struct found *f,
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
static int find_lost_edits(struct bk_db *db, const struct listing *l, enum bki_manifest_end *end,
                           struct bk_error *err)
{
    const struct bki_manifest_state *ms = &db->files.manifest.state;
    int rc = BK_OK;
    for (size_t i = 0; rc == BK_OK && i < l->n && *end == BKI_MANIFEST_WHOLE; i++) {
        if (l->at[i].id >= ms->next_id && is_ours(&l->at[i], ms->store)) {
            bool holds;
            rc = holds_records(db, l, &l->at[i], &holds, err);
            *end = rc == BK_OK && holds ? BKI_MANIFEST_DAMAGED : *end;
        }
    }
    return rc;
}

/* Files of one store beside the manifest of another, which has none of its own here: the files are
 * what counts. */
static bool of_another_store(const struct bki_manifest_state *ms, const struct listing *l)
{
    bool own = false;
    bool other = false;
    for (size_t i = 0; i < l->n; i++) {
        own |= owner_of(&l->at[i], ms->store) == OWNER_STORE;
        other |= l->at[i].header && l->at[i].h.id == l->at[i].id && l->at[i].h.store != ms->store;
    }
    return ms->files_n > 0 && other && !own;
}

/* ---- Leftovers ---- */

struct hints {
    uint64_t *ids; /* owned */
    size_t n, cap;
};

static void each_hint(void *arg, const char *name)
{
    struct hints *l = arg;
    uint64_t id;
    if (!bki_hint_name_id(name, &id)) {
        return;
    }
    if (l->n == l->cap) {
        l->cap = l->cap == 0 ? 64 : l->cap * 2;
        l->ids = bk_realloc(l->ids, l->cap * sizeof *l->ids);
    }
    l->ids[l->n++] = id;
}

/* Hints of files that are gone, and one whose writing was cut off. Their removal need not be
 * durable: they name the file that they are of. */
static int remove_orphan_hints(struct bk_db *db, struct bk_error *err)
{
    struct bki_manifest_state *ms = &db->files.manifest.state;
    struct hints l = {0};
    int rc = list(db, each_hint, &l, err);
    for (size_t i = 0; rc == BK_OK && i < l.n; i++) {
        char path[BKI_PATH_MAX];
        char fresh[BKI_PATH_MAX + 8];
        bki_hint_path(path, db->files.dir, l.ids[i]);
        snprintf(fresh, sizeof fresh, "%s.new", path);
        int failed = db->io->unlink(db->io->arg, fresh);
        if (bki_manifest_find(ms, l.ids[i]) == NULL &&
            bki_hint_is_of(db->io, path, ms->hash_seed)) {
            int gone = db->io->unlink(db->io->arg, path);
            failed = gone < 0 && gone != -ENOENT ? gone : failed;
        }
        rc = failed < 0 && failed != -ENOENT ? bki_io_fail(err, failed, path, 0, "unlink") : BK_OK;
    }
    free(l.ids);
    return rc;
}

static int remove_orphan(struct bk_db *db, const struct found *f, bool *removed,
                         struct bk_error *err)
{
    char path[BKI_PATH_MAX];
    bki_datafile_path(path, db->files.dir, f->id);
    if (owner_of(f, db->files.manifest.state.store) == OWNER_OTHER) {
        bk_log(BK_LOG_WARNING, "%s is no file of this store's making and is left alone", path);
        return BK_OK;
    }
    bk_log(BK_LOG_NOTICE, "%s is not in the manifest: a leftover, removed", path);
    int rc = db->io->unlink(db->io->arg, path);
    *removed = rc == 0;
    return rc < 0 ? bki_io_fail(err, rc, path, 0, "unlink") : BK_OK;
}

static int remove_orphans(struct bk_db *db, const struct listing *l, struct bk_error *err)
{
    struct bki_manifest_state *ms = &db->files.manifest.state;
    bool any = false;
    int rc = BK_OK;
    for (size_t i = 0; rc == BK_OK && i < l->n; i++) {
        bool removed = false;
        if (bki_manifest_find(ms, l->at[i].id) == NULL) {
            rc = remove_orphan(db, &l->at[i], &removed, err);
            any |= removed;
        }
    }
    int synced = any && rc == BK_OK ? db->io->sync_dir(db->io->arg, db->files.dir) : 0;
    if (synced < 0) {
        rc = bki_io_fail(err, synced, db->files.dir, 0, "sync directory");
    }
    return rc == BK_OK ? remove_orphan_hints(db, err) : rc;
}

/* ---- All of it ---- */

/* Names that are there and stay are not given to new files, nor are numbers of files that are gone.
 */
static void skip_numbers(struct bki_manifest_state *ms, const struct listing *l)
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
    struct listing l = {0};
    int rc = bki_manifest_load(&db->files.manifest, db->io, db->files.dir, &m->end, err);
    m->none = rc == BK_NOTFOUND;
    if (rc < 0) {
        return rc;
    }
    rc = look_at_all(db, &l, err);
    if (rc == BK_OK && !m->none && of_another_store(&db->files.manifest.state, &l)) {
        distrust(db, m);
    }
    if (rc == BK_OK && m->end == BKI_MANIFEST_WHOLE) {
        rc = find_lost_edits(db, &l, &m->end, err);
    }
    if (m->end != BKI_MANIFEST_WHOLE) {
        write_no_more(&db->files.manifest);
    }
    if (rc == BK_OK && m->none && l.n == 0 && db->read_only) {
        rc = bk_error_set(err, BK_EIO, ENOENT, db->files.dir, 0, "there is no store");
    } else if (rc == BK_OK && m->end == BKI_MANIFEST_WHOLE) {
        rc = !db->read_only && boot_may_be_same(db) ? write_again(db, err) : BK_OK;
        rc = rc != BK_OK || db->read_only ? rc : remove_orphans(db, &l, err);
    } else if (rc == BK_OK && (l.n > 0 || !m->none)) {
        rc = mend_manifest(db, &l, m, err);
    } else {
        m->end = BKI_MANIFEST_WHOLE; /* a new store */
    }
    if (rc == BK_OK) {
        skip_numbers(&db->files.manifest.state, &l);
        rc = draw_ids(db, hash_seed, err);
    }
    listing_fini(&l);
    return rc;
}
