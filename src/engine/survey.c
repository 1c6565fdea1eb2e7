/* SPDX-License-Identifier: MIT */
/* survey.c - what of a file's records does not check, told to the list of damage. */
#include "engine/recover.h"

#include <stdlib.h>
#include <string.h>

void bki_damage_item(struct bki_damage *d, const char *path, const struct bki_scan_item *it)
{
    static const char *const what[BKI_KIND_COUNT] = {
        [BKI_PUT] = "a key's value, its reads answer an error",
        [BKI_DELETE] = "a deletion, whose key is known all the same",
        [BKI_MAP] = "a map of databases",
        [BKI_BATCH] = "a batch's head, whose members are kept",
        [BKI_SYNC_MARK] = "a sync mark",
        [BKI_LOST] = "the mark of a value that was damaged before",
    };
    struct bki_damage_at at = {.path = path,
                               .offset = it->offset,
                               .bytes = it->size,
                               .what = what[it->rec.kind],
                               .key = it->key,
                               .has_key = it->rec.space != 0,
                               .space = it->rec.space};
    bki_damage_note(d, &at);
}

static void note_unread(void *arg, uint64_t offset, uint64_t bytes)
{
    const struct bki_damage_unread *u = arg;
    struct bki_damage_at at = {
        .path = u->path, .offset = offset, .bytes = bytes, .what = "cannot be read"};
    bki_damage_note(u->d, &at);
}

void bki_damage_unread(struct bki_scan *s, struct bki_damage *d, struct bki_damage_unread *u)
{
    *u = (struct bki_damage_unread){d, s->path};
    s->unread = note_unread;
    s->unread_arg = u;
}

/* BK_OK: there may be more. */
static int survey_next(struct bki_scan *s, struct bki_damage *d, const char *path, uint64_t *bytes,
                       struct bk_error *err)
{
    struct bki_scan_item it;
    bool zeros;
    uint64_t from = s->offset;
    int rc = bki_scan_next(s, &it, err);
    if (rc == BK_OK && (it.mended || !it.value_ok)) {
        bki_damage_item(d, path, &it);
        *bytes += it.size;
    } else if (rc == BK_CORRUPT) {
        rc = bki_scan_resync(s, &zeros, err);
        struct bki_damage_at at = {.path = path,
                                   .offset = from,
                                   .bytes = s->offset - from,
                                   .what = "no record, stepped over"};
        if (rc >= 0) {
            bki_damage_note(d, &at);
            *bytes += at.bytes;
        }
    }
    return rc;
}

int bki_damage_survey(struct bki_damage *d, const struct bk_io *io, const struct bki_file *f,
                      int fd, uint64_t *bytes, struct bk_error *err)
{
    struct bki_scan s;
    int rc;
    *bytes = 0;
    bki_scan_init(&s, io, fd, f->path, f->seed, f->merged, f->header_bytes, atomic_load(&f->size));
    struct bki_damage_unread unread;
    bki_damage_unread(&s, d, &unread);
    do {
        rc = survey_next(&s, d, f->path, bytes, err);
    } while (rc == BK_OK);
    bki_scan_fini(&s);
    return rc < 0 ? rc : BK_OK;
}

int bki_survey(struct bk_db *db, const struct bki_file *f, struct bk_error *err)
{
    uint64_t bytes;
    return f->gone != NULL ? BK_OK /* told of as a whole */
                           : bki_damage_survey(&db->damage, db->io, f, f->fd, &bytes, err);
}

/* ---- Values that were lost before ---- */

void bki_recover_mark(struct recover *r, struct bki_file *f, uint64_t offset, uint64_t size,
                      uint32_t space, struct bk_span key)
{
    bk_mutex_lock(&r->marks_mu);
    if (r->marks_n < BK_DAMAGE_MAX) {
        r->marks = bk_realloc(r->marks, (r->marks_n + 1) * sizeof *r->marks);
        struct recover_mark *m = &r->marks[r->marks_n++];
        *m = (struct recover_mark){f, offset, size, space, bk_block_new(key.len)};
        if (key.len > 0) {
            memcpy(m->key->data, key.data, key.len);
        }
    }
    bk_mutex_unlock(&r->marks_mu);
}

static bool still_lost(struct recover *r, const struct recover_mark *m)
{
    struct bk_db *db = r->db;
    struct bk_key key;
    struct bki_entry e;
    uint64_t del_pos;
    uint64_t offset;
    int64_t num = bki_spacemap_number(&db->log.map, m->space);
    struct bki_keydir *kd = num < 0 ? NULL : bki_db_keydir(db, (uint32_t)num, false);
    bk_key_init(db, &key, m->key->data, m->key->len);
    return kd != NULL && bki_keydir_find(kd, &key, &e, &del_pos) &&
           bki_files_at(&db->files, e.loc, &offset) == m->file && offset == m->offset;
}

void bki_recover_tell_marks(struct recover *r)
{
    for (uint32_t i = 0; i < r->marks_n; i++) {
        struct recover_mark *m = &r->marks[i];
        struct bki_damage_at at = {.path = m->file->path,
                                   .offset = m->offset,
                                   .bytes = m->size,
                                   .what = "a key's value, found damaged before",
                                   .key = bk_span_of(m->key->data, m->key->len),
                                   .has_key = true,
                                   .space = m->space};
        if (still_lost(r, m)) {
            bki_damage_note(&r->db->damage, &at);
        }
        bk_block_unref(&m->key);
    }
    free(r->marks);
    r->marks = NULL;
    r->marks_n = 0;
}
