/* SPDX-License-Identifier: MIT */
/*
 * recover_leftovers.c - what a start removes. A data file goes only when the manifest is whole,
 * does not name it, and the file is known to be the store's own: it bears the store's id and its
 * own number, or has no header yet. Everything else under such a name is left alone.
 */
#include "base/log.h"
#include "engine/dir.h"
#include "engine/hint.h"
#include "engine/recover_listing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

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
    int rc = bki_dir_list(db->io, db->files.dir, each_hint, &l, err);
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

static int remove_orphan(struct bk_db *db, const struct bki_found *f, bool *removed,
                         struct bk_error *err)
{
    char path[BKI_PATH_MAX];
    bki_datafile_path(path, db->files.dir, f->id);
    if (bki_found_owner(f, db->files.manifest.state.store) == BKI_OWNER_OTHER) {
        bk_log(BK_LOG_WARNING, "%s is no file of this store's making and is left alone", path);
        return BK_OK;
    }
    bk_log(BK_LOG_NOTICE, "%s is not in the manifest: a leftover, removed", path);
    int rc = db->io->unlink(db->io->arg, path);
    *removed = rc == 0;
    return rc < 0 ? bki_io_fail(err, rc, path, 0, "unlink") : BK_OK;
}

/* Hints first: a file that is away and has one was taken by somebody else. */
int bki_recover_remove_leftovers(struct bk_db *db, const struct bki_listing *l,
                                 struct bk_error *err)
{
    struct bki_manifest_state *ms = &db->files.manifest.state;
    bool any = false;
    int rc = remove_orphan_hints(db, err);
    for (size_t i = 0; rc == BK_OK && i < l->n; i++) {
        bool removed = false;
        if (bki_manifest_find(ms, l->at[i].id) == NULL) {
            rc = remove_orphan(db, &l->at[i], &removed, err);
            any |= removed;
        }
    }
    int synced = any && rc == BK_OK ? db->io->sync_dir(db->io->arg, db->files.dir) : 0;
    return synced < 0 ? bki_io_fail(err, synced, db->files.dir, 0, "sync directory") : rc;
}
