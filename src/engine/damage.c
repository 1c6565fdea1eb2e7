/* SPDX-License-Identifier: MIT */
/* damage.c - the list of damaged places, bounded. */
#include "engine/damage.h"

#include "base/buf.h"
#include "base/log.h"
#include "engine/bitkv.h"
#include "engine/db_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 32u /* of the store's files */
#define SHOWN_BYTES 64u    /* of a key, in the log */

struct bki_damage_place {
    char file[NAME_MAX_BYTES];
    uint64_t offset, bytes;
    const char *what;
    uint8_t *key; /* owned; NULL: not known */
    uint32_t key_len, key_kept;
    uint32_t space;
    bool index;
};

void bki_damage_init(struct bki_damage *d)
{
    *d = (struct bki_damage){0};
    bk_mutex_init(&d->mu, "damage", BK_RANK_STATS);
}

void bki_damage_fini(struct bki_damage *d)
{
    for (uint32_t i = 0; i < d->n; i++) {
        free(d->at[i].key);
    }
    free(d->at);
    bk_mutex_fini(&d->mu);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static struct bki_damage_place *find_locked(struct bki_damage *d, const char *file, uint64_t offset)
{
    for (uint32_t i = 0; i < d->n; i++) {
        if (d->at[i].offset == offset && strcmp(d->at[i].file, file) == 0) {
            return &d->at[i];
        }
    }
    return NULL;
}

static void keep_key(struct bki_damage_place *p, const struct bki_damage_at *at)
{
    if (!at->has_key || p->key != NULL) {
        return;
    }
    p->key_len = (uint32_t)at->key.len;
    p->key_kept = at->key.len < BKI_DAMAGE_KEY ? (uint32_t)at->key.len : BKI_DAMAGE_KEY;
    p->space = at->space;
    p->key = bk_alloc((size_t)p->key_kept + 1);
    if (p->key_kept > 0) {
        memcpy(p->key, at->key.data, p->key_kept);
    }
}

/* True: the place was not known. */
static bool add_locked(struct bki_damage *d, const struct bki_damage_at *at, bool index)
{
    char file[NAME_MAX_BYTES] = "";
    snprintf(file, sizeof file, "%.*s", (int)sizeof file - 1, base_name(at->path));
    struct bki_damage_place *known = find_locked(d, file, at->offset);
    if (known != NULL) {
        keep_key(known, at); /* a scan did not know it, a read does */
        return false;
    }
    if (d->n == BK_DAMAGE_MAX) {
        return true;
    }
    if (d->n == d->cap) {
        d->cap = d->cap == 0 ? 16 : d->cap * 2;
        d->at = bk_realloc(d->at, d->cap * sizeof *d->at);
    }
    struct bki_damage_place *p = &d->at[d->n++];
    *p = (struct bki_damage_place){
        .offset = at->offset, .bytes = at->bytes, .what = at->what, .index = index};
    memcpy(p->file, file, sizeof file);
    keep_key(p, at);
    return true;
}

/* A key may be any bytes: what does not print is a dot in the log. */
static const char *printable(struct bk_span key, char out[SHOWN_BYTES + 1])
{
    size_t n = key.len < SHOWN_BYTES ? key.len : SHOWN_BYTES;
    for (size_t i = 0; i < n; i++) {
        out[i] = key.data[i] >= ' ' && key.data[i] < 0x7f ? (char)key.data[i] : '.';
    }
    out[n] = '\0';
    return out;
}

static void say(const struct bki_damage_at *at)
{
    char key[SHOWN_BYTES + 1];
    bool known = at->has_key;
    bk_log(BK_LOG_WARNING, "Damage: %s at offset %" PRIu64 ", %" PRIu64 " bytes: %s%s%s%s",
           at->path, at->offset, at->bytes, at->what, known ? "; key \"" : "",
           known ? printable(at->key, key) : "", known ? "\"" : "");
}

static void note(struct bki_damage *d, const struct bki_damage_at *at, bool index)
{
    bk_mutex_lock(&d->mu);
    bool room = d->n < BK_DAMAGE_MAX;
    bool fresh = add_locked(d, at, index);
    bool last = fresh && !room && !d->full_told;
    d->full_told |= last;
    bk_mutex_unlock(&d->mu);
    if (!fresh) {
        return;
    }
    atomic_fetch_add_explicit(index ? &d->indexes : &d->records, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&d->bytes, index ? 0 : at->bytes, memory_order_relaxed);
    if (room) {
        say(at);
    } else if (last) {
        bk_log(BK_LOG_WARNING, "Damage: more than %u places, further ones are only counted",
               BK_DAMAGE_MAX);
    }
}

void bki_damage_note(struct bki_damage *d, const struct bki_damage_at *at)
{
    note(d, at, false);
}

void bki_damage_index(struct bki_damage *d, const struct bki_damage_at *at)
{
    note(d, at, true);
}

/* ---- bitkv.h ---- */

static int64_t database_of(struct bk_db *db, uint32_t space)
{
    if (space == 0) {
        return -1;
    }
    bk_mutex_lock(&db->log.mu);
    int64_t num = bki_spacemap_number(&db->log.map, space);
    bk_mutex_unlock(&db->log.mu);
    return num;
}

void bk_damages(struct bk_db *db, void (*each)(void *arg, const struct bk_damage *found), void *arg)
{
    struct bki_damage *d = &db->damage;
    for (uint32_t i = 0;; i++) {
        struct bki_damage_place p = {0};
        uint8_t key[BKI_DAMAGE_KEY];
        bk_mutex_lock(&d->mu);
        bool more = i < d->n; /* places only ever come to the end */
        if (more) {
            p = d->at[i];
            if (p.key_kept > 0) {
                memcpy(key, p.key, p.key_kept);
            }
        }
        bk_mutex_unlock(&d->mu);
        if (!more) {
            return;
        }
        struct bk_damage out = {.file = p.file,
                                .offset = p.offset,
                                .bytes = p.bytes,
                                .what = p.what,
                                .in_data = !p.index,
                                .key_known = p.key != NULL,
                                .key = bk_span_of(key, p.key_kept),
                                .key_len = p.key_len,
                                .database = database_of(db, p.space)};
        each(arg, &out);
    }
}
