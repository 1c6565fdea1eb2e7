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

struct id_list {
    uint64_t *ids; /* owned */
    size_t n, cap;
    bool hints; /* of hint files, not of data files */
};

static void each_name(void *arg, const char *name)
{
    struct id_list *l = arg;
    uint64_t id;
    if (!(l->hints ? bki_hint_name_id(name, &id) : bki_datafile_name_id(name, &id))) {
        return;
    }
    if (l->n == l->cap) {
        l->cap = l->cap == 0 ? 64 : l->cap * 2;
        l->ids = bk_realloc(l->ids, l->cap * sizeof *l->ids);
    }
    l->ids[l->n++] = id;
}

static int list_files(struct bk_db *db, struct id_list *l, struct bk_error *err)
{
    int rc = db->io->list(db->io->arg, db->files.dir, each_name, l);
    return rc < 0 ? bki_io_fail(err, rc, db->files.dir, 0, "list directory") : BK_OK;
}

/* ---- A store without a whole manifest ---- */

struct found {
    struct bki_datafile_header h;
    bool superseded;
};

static int read_headers(struct bk_db *db, const struct id_list *l, struct found *found, size_t *n,
                        struct bk_error *err)
{
    *n = 0;
    for (size_t i = 0; i < l->n; i++) {
        char path[BKI_PATH_MAX];
        bki_datafile_path(path, db->files.dir, l->ids[i]);
        int fd = db->io->open(db->io->arg, path, BK_IO_READ);
        if (fd < 0) {
            return bki_io_fail(err, fd, path, 0, "open");
        }
        struct bki_datafile_header h;
        int rc = bki_datafile_header_read(db->io, fd, path, &h, err);
        db->io->close(db->io->arg, fd);
        if (rc == BK_EVERSION || rc == BK_EIO) {
            return rc;
        }
        if (rc != BK_OK || h.id != l->ids[i]) {
            bk_log(BK_LOG_WARNING, "%s has no header of ours and is left alone", path);
            if (rc == BK_OK) {
                bki_datafile_header_fini(&h);
            }
            continue;
        }
        found[(*n)++] = (struct found){.h = h};
    }
    return BK_OK;
}

static void mark_superseded(struct found *found, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < found[i].h.replaces_n; k++) {
            for (size_t j = 0; j < n; j++) {
                found[j].superseded |= found[j].h.uid == found[i].h.replaces[k];
            }
        }
    }
}

/* Whether a file that the manifest names is not in the directory. */
static bool any_missing(struct bk_db *db, const struct id_list *all)
{
    const struct bki_manifest_state *ms = &db->files.manifest.state;
    bool missing = false;
    for (uint32_t i = 0; !missing && i < ms->files_n; i++) {
        size_t k = 0;
        while (k < all->n && all->ids[k] != ms->files[i].id) {
            k++;
        }
        missing = k == all->n;
    }
    return missing;
}

/*
 * Adds what the files' headers tell to what was left of the manifest. Nothing is removed from the
 * directory. first_id > 0: only the last edit is lost. If that was a merge's, what the merge was to
 * replace is all there, and its outputs hold nothing of their own.
 */
static int rebuild(struct bk_db *db, const struct id_list *l, uint64_t first_id,
                   struct bk_error *err)
{
    struct bki_manifest_state *ms = &db->files.manifest.state;
    struct found *found = bk_alloc_zero(l->n, sizeof *found);
    struct bk_buf edit = {0};
    size_t n = 0;
    bool merges_count = first_id == 0 || any_missing(db, l);
    int rc = read_headers(db, l, found, &n, err);
    mark_superseded(found, n);
    for (size_t i = 0; rc == BK_OK && i < n; i++) {
        ms->store = ms->store == 0 ? found[i].h.store : ms->store;
        if (found[i].superseded || found[i].h.id < first_id ||
            (found[i].h.merged && !merges_count) || bki_manifest_find(ms, found[i].h.id) != NULL) {
            continue;
        }
        if (found[i].h.store != ms->store) {
            bk_log(BK_LOG_WARNING,
                   "data file %" PRIu64 " belongs to another store and is left alone",
                   found[i].h.id);
            continue;
        }
        edit.len = 0;
        bki_edit_add(&edit, found[i].h.id, found[i].h.uid, found[i].h.rank);
        rc = bki_manifest_adopt(&db->files.manifest, &edit);
        rc = rc == BK_OK
                 ? rc
                 : bk_error_set(err, rc, 0, db->files.dir, 0, "two data files claim one place");
    }
    /* Numbers of files that are gone must not come back either. */
    for (size_t i = 0; i < l->n; i++) {
        ms->next_id = l->ids[i] >= ms->next_id ? l->ids[i] + 1 : ms->next_id;
    }
    for (size_t i = 0; i < n; i++) {
        bki_datafile_header_fini(&found[i].h);
    }
    free(found);
    bk_buf_fini(&edit);
    return rc;
}

/* The damaged manifest is kept beside the new one, for whoever wants to know what happened. */
static int put_aside(struct bk_db *db, struct bk_error *err)
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

/* Whether the data file of this id holds a record that checks. A file without a header of ours does
 * not. */
static int holds_records(struct bk_db *db, const struct id_list *all, uint64_t id, bool *holds,
                         struct bk_error *err)
{
    char path[BKI_PATH_MAX];
    struct bki_datafile_header h = {0};
    struct bki_scan s;
    struct bki_scan_item it;
    bool zeros;
    *holds = false;
    bki_datafile_path(path, db->files.dir, id);
    int fd = db->io->open(db->io->arg, path, BK_IO_READ);
    if (fd < 0) {
        return bki_io_fail(err, fd, path, 0, "open");
    }
    int64_t size = db->io->size(db->io->arg, fd);
    int rc = size < 0 ? bki_io_fail(err, size, path, 0, "stat")
                      : bki_datafile_header_read(db->io, fd, path, &h, err);
    if (rc == BK_OK) {
        bki_scan_init(&s, db->io, fd, path, bki_datafile_seed(h.uid), true, h.bytes,
                      (uint64_t)size);
        rc = bki_scan_next(&s, &it, err);
        rc = rc == BK_CORRUPT ? bki_scan_resync(&s, &zeros, err) : rc;
        /* What a merge wrote holds nothing of its own as long as all that it was to replace is
         * there. */
        *holds = rc == BK_OK && (!h.merged || any_missing(db, all));
        bki_scan_fini(&s);
        bki_datafile_header_fini(&h);
    }
    db->io->close(db->io->arg, fd);
    return rc == BK_EIO || rc == BK_EVERSION ? rc : BK_OK;
}

/* A file is named before a record in it is accepted. So one that was never named and yet holds
 * records tells that the manifest has lost edits at its end, cut so that what is left of it checks.
 */
static int find_lost_edits(struct bk_db *db, const struct id_list *l, enum bki_manifest_end *end,
                           struct bk_error *err)
{
    int rc = BK_OK;
    for (size_t i = 0; rc == BK_OK && i < l->n && *end == BKI_MANIFEST_WHOLE; i++) {
        if (l->ids[i] >= db->files.manifest.state.next_id) {
            bool holds;
            rc = holds_records(db, l, l->ids[i], &holds, err);
            *end = rc == BK_OK && holds ? BKI_MANIFEST_DAMAGED : *end;
        }
    }
    return rc;
}

/* Hints of files that are gone, and one whose writing was cut off. Their removal need not be
 * durable: they name the file that they are of. */
static int remove_orphan_hints(struct bk_db *db, struct bk_error *err)
{
    struct id_list l = {.hints = true};
    int rc = list_files(db, &l, err);
    for (size_t i = 0; rc == BK_OK && i < l.n; i++) {
        char path[BKI_PATH_MAX];
        char fresh[BKI_PATH_MAX + 8];
        bki_hint_path(path, db->files.dir, l.ids[i]);
        snprintf(fresh, sizeof fresh, "%s.new", path);
        int failed = db->io->unlink(db->io->arg, fresh);
        if (bki_manifest_find(&db->files.manifest.state, l.ids[i]) == NULL) {
            int gone = db->io->unlink(db->io->arg, path);
            failed = gone < 0 && gone != -ENOENT ? gone : failed;
        }
        rc = failed < 0 && failed != -ENOENT ? bki_io_fail(err, failed, path, 0, "unlink") : BK_OK;
    }
    free(l.ids);
    return rc;
}

static int remove_orphans(struct bk_db *db, const struct id_list *l, struct bk_error *err)
{
    bool removed = false;
    for (size_t i = 0; i < l->n; i++) {
        if (bki_manifest_find(&db->files.manifest.state, l->ids[i]) != NULL) {
            continue;
        }
        char path[BKI_PATH_MAX];
        bki_datafile_path(path, db->files.dir, l->ids[i]);
        bk_log(BK_LOG_NOTICE, "%s is not in the manifest: a leftover, removed", path);
        int rc = db->io->unlink(db->io->arg, path);
        if (rc < 0) {
            return bki_io_fail(err, rc, path, 0, "unlink");
        }
        removed = true;
    }
    int rc = removed ? db->io->sync_dir(db->io->arg, db->files.dir) : 0;
    return rc < 0 ? bki_io_fail(err, rc, db->files.dir, 0, "sync directory")
                  : remove_orphan_hints(db, err);
}

/* A manifest that is not whole: torn by a power cut at its end, which is no damage, or worse. */
static int mend_manifest(struct bk_db *db, const struct id_list *list, enum bki_manifest_end end,
                         bool none, struct bk_error *err)
{
    if (end == BKI_MANIFEST_DAMAGED) {
        bk_log(
            BK_LOG_WARNING,
            "MANIFEST is %s: rebuilding it from the headers of %zu data files, nothing is removed",
            none ? "missing" : "damaged", list->n);
        atomic_fetch_add(&db->damaged_records, 1);
    } else {
        bk_log(BK_LOG_NOTICE, "the last edit of MANIFEST was cut off: it did not happen");
    }
    /* With nothing but the last edit lost, a file of a number that was given out before was dropped
     * since. */
    uint64_t first_id = end == BKI_MANIFEST_DAMAGED ? 0 : db->files.manifest.state.next_id;
    int rc = rebuild(db, list, first_id, err);
    if (rc == BK_OK && end == BKI_MANIFEST_DAMAGED && !none) {
        rc = put_aside(db, err);
    }
    return rc;
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

static int load_manifest(struct bk_db *db, uint64_t hash_seed, enum bki_manifest_end *end,
                         struct bk_error *err)
{
    struct id_list list = {0};
    int rc = bki_manifest_load(&db->files.manifest, db->io, db->files.dir, end, err);
    bool none = rc == BK_NOTFOUND;
    if (rc < 0) {
        return rc;
    }
    rc = list_files(db, &list, err);
    if (rc == BK_OK && *end == BKI_MANIFEST_WHOLE) {
        rc = find_lost_edits(db, &list, end, err);
    }
    if (rc == BK_OK && none && list.n == 0 && db->read_only) {
        rc = bk_error_set(err, BK_EIO, ENOENT, db->files.dir, 0, "there is no store");
    } else if (rc == BK_OK && *end == BKI_MANIFEST_WHOLE) {
        rc = db->read_only ? BK_OK : remove_orphans(db, &list, err);
    } else if (rc == BK_OK && (list.n > 0 || !none)) {
        rc = mend_manifest(db, &list, *end, none, err);
    } else {
        *end = BKI_MANIFEST_WHOLE; /* a new store */
    }
    if (rc == BK_OK) {
        rc = draw_ids(db, hash_seed, err);
    }
    free(list.ids);
    return rc;
}

/* ---- Files ---- */

static int open_files(struct recover *r, struct bk_error *err)
{
    struct bk_db *db = r->db;
    const struct bki_manifest_state *ms = &db->files.manifest.state;
    r->files = bk_alloc_zero(ms->files_n, sizeof *r->files);
    for (uint32_t i = 0; i < ms->files_n; i++) {
        struct bki_file *f = NULL;
        int rc = bki_files_open(&db->files, &ms->files[i], &f, err);
        if (rc == BK_NOTFOUND && r->manifest != BKI_MANIFEST_WHOLE) {
            continue; /* it may have been dropped by an edit that is lost */
        }
        if (rc == BK_NOTFOUND) {
            char path[BKI_PATH_MAX];
            bki_datafile_path(path, db->files.dir, ms->files[i].id);
            bki_recover_damage(r, path, 0, ms->files[i].size, "the file is missing");
            continue;
        }
        if (rc != BK_OK) {
            return rc;
        }
        if (ms->files[i].sealed && ms->files[i].size > atomic_load(&f->size)) {
            bki_recover_damage(r, f->path, atomic_load(&f->size),
                               ms->files[i].size - atomic_load(&f->size),
                               "the file is shorter than it was");
        }
        /* What a merge wrote was synced before its header was, whoever adds it to the manifest. */
        bool sealed = ms->files[i].sealed;
        r->files[r->n++] =
            (struct recover_file){.file = f, .end_known = sealed, .sealed = sealed || f->merged};
    }
    /* A file may have been sealed by an edit that is lost. Only the last can be torn. */
    for (uint32_t i = 0; r->manifest == BKI_MANIFEST_DAMAGED && i + 1 < r->n; i++) {
        r->files[i].sealed = true;
    }
    return BK_OK;
}

static bool same_boot(struct bk_db *db, enum bki_manifest_end end, uint8_t now[16])
{
    static const uint8_t none[16];
    const uint8_t *then = db->files.manifest.state.boot_id;
    if (db->io->boot_id(db->io->arg, now) < 0) {
        memset(now, 0, 16);
        return false;
    }
    return end != BKI_MANIFEST_DAMAGED && memcmp(then, none, 16) != 0 && memcmp(then, now, 16) == 0;
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

/* One edit tells all ends that were found. Before, the files are synced: what only the page cache
 * holds is no end. */
static int seal_found(struct recover *r, const uint8_t boot_id[16], struct bk_error *err)
{
    struct bk_db *db = r->db;
    struct bki_manifest *m = &db->files.manifest;
    struct bk_buf edit = {0};
    int rc = BK_OK;
    for (uint32_t i = 0; rc == BK_OK && i < r->n; i++) {
        struct bki_file *f = r->files[i].file;
        const struct bki_manifest_file *mf = bki_manifest_find(&m->state, f->id);
        if (mf->sealed) {
            continue;
        }
        uint64_t size = atomic_load(&f->size);
        rc = db->io->sync(db->io->arg, f->fd);
        rc = rc < 0 ? bki_io_fail(err, rc, f->path, 0, "sync") : BK_OK;
        if (size > f->header_bytes) {
            bki_edit_seal(&edit, f->id, size);
        } else {
            bki_edit_drop(&edit, f->id);
        }
        atomic_store(&f->state, BKI_FILE_SEALED);
    }
    bki_edit_boot(&edit, boot_id);
    bki_edit_map(&edit, &db->log.map);
    bki_edit_counters(&edit, m->state.next_id, m->state.next_rank, db->log.next_seq);
    if (rc == BK_OK) {
        rc = bki_manifest_commit(m, &edit, err);
    }
    for (uint32_t i = 0; rc == BK_OK && i < r->n; i++) {
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
    uint64_t damaged = atomic_load(&db->damaged_records);
    if (damaged > 0 && db->on_corruption == BK_CORRUPT_REFUSE) {
        return bk_error_set(err, BK_CORRUPT, 0, db->files.dir, 0,
                            "%" PRIu64 " damaged places (on-corruption refuse)", damaged);
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
    int rc = load_manifest(db, o->hash_seed, &r.manifest, err);
    if (rc != BK_OK) {
        return rc;
    }
    db->hash_seed = db->files.manifest.state.hash_seed;
    r.same_boot = same_boot(db, r.manifest, boot_id);
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
        rc = seal_found(&r, boot_id, err);
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
    return rc;
}
