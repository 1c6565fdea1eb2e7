/* SPDX-License-Identifier: MIT */
/*
 * merge_plan.c - which guards of a run's inputs have to stay.
 *
 * A guard is a tombstone, or a put with an expiry whose key is gone or is about to be. It may go
 * when a newer record of its key exists (the keydir has the key, or a newer guard lies in the
 * inputs), or when no file of lower rank can hold the key, by that file's filter. Keys are taken in
 * slices of their hash, so that memory is bounded by a slice, and the filters are asked in their
 * own order.
 */
#include "base/assert.h"
#include "engine/db_private.h"

#include <stdlib.h>
#include <string.h>

struct guard {
    uint64_t value; /* as filters know the key */
    uint64_t other; /* a second hash: two keys with both alike are one key */
    uint64_t offset;
    uint32_t in;
    uint32_t key_len;
    bool maybe; /* an older file may hold the key */
};

struct guards {
    struct guard *at; /* owned */
    size_t n, cap;
};

struct bki_keydir *bki_merge_keydir(struct bk_db *db, uint32_t space)
{
    /* Most databases were never flushed or swapped: space n + 1 is database n. */
    if (space - 1 < BK_DATABASES_MAX) {
        struct bki_keydir *kd = bki_db_keydir(db, space - 1, false);
        if (kd != NULL && bki_keydir_space(kd) == space) {
            return kd;
        }
    }
    bk_mutex_lock(&db->log.mu);
    int64_t num = bki_spacemap_number(&db->log.map, space);
    bk_mutex_unlock(&db->log.mu);
    return num < 0 ? NULL : bki_db_keydir(db, (uint32_t)num, false);
}

bool bki_merge_find(struct bk_db *db, uint32_t space, const struct bk_key *key, struct bki_entry *e)
{
    uint32_t stripe = bki_keylock_of(key->hash);
    uint64_t pos;
    bki_keylock_lock(db->locks, stripe);
    struct bki_keydir *kd = bki_merge_keydir(db, space);
    bool found = kd != NULL && bki_keydir_find(kd, key, e, &pos);
    bki_keylock_unlock(db->locks, stripe);
    return found;
}

bool bki_merge_space_used(struct bk_db *db, uint32_t space)
{
    bk_mutex_lock(&db->log.mu);
    bool used = bki_spacemap_number(&db->log.map, space) >= 0;
    bk_mutex_unlock(&db->log.mu);
    return used;
}

/* Whether an entry may be a guard that matters: its key is gone, or goes at any moment because the
 * entry itself has expired. */
static bool guards(struct bk_db *db, const struct bki_hint_entry *h)
{
    if (h->kind != BKI_DELETE && h->expire_ms == 0) {
        return false;
    }
    struct bk_key key = {.bytes = h->key, .hash = h->hash};
    struct bki_entry e;
    bool expired = h->kind != BKI_DELETE && h->expire_ms <= db->merge.now_ms;
    return (!bki_merge_find(db, h->space, &key, &e) || (expired && e.expire_ms == h->expire_ms)) &&
           bki_merge_space_used(db, h->space);
}

static void add(struct guards *g, const struct guard *one)
{
    if (g->n == g->cap) {
        g->cap = g->cap == 0 ? 256 : g->cap * 2;
        g->at = bk_realloc(g->at, g->cap * sizeof *g->at);
    }
    g->at[g->n++] = *one;
}

static int gather_part(struct bk_db *db, uint32_t in, struct guards *g, struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    struct bki_hint hint;
    struct bki_hint_cursor c;
    struct bki_hint_entry e;
    int rc = bki_hint_open(&hint, db->io, db->files.dir, m->in[in].file, db->hash_seed, err);
    if (rc != BK_OK) {
        return rc == BK_NOTFOUND ? BK_CORRUPT : rc;
    }
    rc = bki_hint_part_begin(&c, &hint, m->unit & (bki_hint_parts(&hint) - 1), db->hash_seed);
    if (rc == BK_OK) {
        while ((rc = bki_hint_next(&c, &e, err)) == BK_OK) {
            if ((e.hash >> 48 & (m->units - 1)) == m->unit && guards(db, &e)) {
                struct guard one = {bki_filter_value(e.hash, e.space),
                                    bki_key_hash(~db->hash_seed, e.key.data, e.key.len),
                                    e.offset,
                                    in,
                                    (uint32_t)e.key.len,
                                    false};
                add(g, &one);
            }
        }
        rc = rc == BK_NOTFOUND ? BK_OK : rc;
        bki_hint_part_end(&c);
    }
    bki_hint_close(&hint);
    return rc;
}

static int gather(struct bk_db *db, uint32_t in, struct guards *g, struct bk_error *err)
{
    int rc = gather_part(db, in, g, err);
    if (rc == BK_CORRUPT || rc == BK_EIO) {
        bki_hint_failed(db, db->merge.in[in].file); /* it is made again from the data */
    }
    return rc;
}

/* By key, the newest of each key last. */
static int by_key(const void *a, const void *b)
{
    const struct guard *x = a;
    const struct guard *y = b;
    if (x->value != y->value) {
        return x->value < y->value ? -1 : 1;
    }
    if (x->other != y->other) {
        return x->other < y->other ? -1 : 1;
    }
    if (x->in != y->in) {
        return x->in < y->in ? -1 : 1;
    }
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static void newest_only(struct guards *g)
{
    size_t n = 0;
    if (g->n > 1) {
        qsort(g->at, g->n, sizeof *g->at, by_key);
    }
    for (size_t i = 0; i < g->n; i++) {
        bool last = i + 1 == g->n || g->at[i + 1].value != g->at[i].value ||
                    g->at[i + 1].other != g->at[i].other;
        if (last) {
            g->at[n++] = g->at[i];
        }
    }
    g->n = n;
}

/* Asks one older file about all guards. A file whose filter cannot be read may hold anything. */
static void ask(struct bk_db *db, struct bki_file *f, struct guards *g)
{
    struct bki_merge *m = &db->merge;
    struct bki_hint hint;
    uint64_t *values = bk_alloc(g->n * sizeof *values);
    bool *maybe = bk_alloc_zero(g->n, sizeof *maybe);
    for (size_t i = 0; i < g->n; i++) {
        values[i] = g->at[i].value;
    }
    int rc = bki_hint_open(&hint, db->io, db->files.dir, f, db->hash_seed, NULL);
    if (rc == BK_OK) {
        uint32_t parts = bki_hint_parts(&hint);
        /* A file with more parts than the unit spans: each is asked about all, and those that hold
         * nothing of it say no. */
        for (uint32_t p = m->unit & (parts - 1); rc == BK_OK && p < parts; p += m->units) {
            bool *here = bk_alloc_zero(g->n, sizeof *here);
            rc = bki_hint_filter(&hint, p, values, g->n, here, NULL);
            for (size_t i = 0; i < g->n; i++) {
                maybe[i] |= here[i];
            }
            free(here);
        }
        bki_hint_close(&hint);
    }
    if (rc == BK_CORRUPT || rc == BK_EIO) {
        bki_hint_failed(db, f);
    }
    m->unasked = m->unasked || rc != BK_OK;
    for (size_t i = 0; i < g->n; i++) {
        g->at[i].maybe |= rc != BK_OK || maybe[i];
    }
    free(maybe);
    free(values);
}

static void keep(struct bk_db *db, const struct guard *g)
{
    struct bki_merge_in *in = &db->merge.in[g->in];
    if (in->keep == NULL) {
        in->keep = bk_alloc_zero((size_t)(atomic_load(&in->file->size) / 64 + 1), 1);
    }
    in->keep[g->offset / 64] |= (uint8_t)(1u << (g->offset / 8 % 8));
    in->read = true;
    struct bki_record tombstone = {.kind = BKI_DELETE, .key_len = g->key_len};
    db->merge.stay += bki_record_size(&tombstone);
}

/* The most parts that an input's hint has, and the map of databases as it was behind the inputs:
 * their copies need it before them, wherever they come to stand. */
static int begin(struct bk_db *db, struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    int rc = BK_OK;
    m->units = 1;
    for (uint32_t i = 0; rc == BK_OK && i < m->in_n; i++) {
        struct bki_hint hint;
        struct bk_span pairs;
        rc = bki_hint_open(&hint, db->io, db->files.dir, m->in[i].file, db->hash_seed, err);
        if (rc == BK_NOTFOUND || rc == BK_CORRUPT || rc == BK_EIO) {
            bki_hint_failed(db, m->in[i].file);
            return BK_CORRUPT;
        }
        if (rc != BK_OK) {
            return rc;
        }
        m->units = bki_hint_parts(&hint) > m->units ? bki_hint_parts(&hint) : m->units;
        for (size_t at = 0; rc == BK_OK && bki_hint_map(&hint, &at, &pairs);) {
            rc = bki_spacemap_apply(&m->map, pairs.data, (uint32_t)(pairs.len / 8));
        }
        bki_hint_close(&hint);
    }
    return rc;
}

/* Which inputs have guards: once, for all slices, since one that gets its first guard between two
 * of them has not been looked at in those before. Without older files every guard may go, and
 * nothing needs to be asked. */
static bool must_ask(struct bki_merge *m)
{
    bool any = false;
    for (uint32_t i = 0; i < m->in_n; i++) {
        m->in[i].planned = atomic_load(&m->in[i].file->guard_bytes) > 0;
        any |= m->in[i].planned;
    }
    return any && m->lower_n > 0;
}

int bki_merge_plan(struct bk_db *db, struct bk_error *err)
{
    struct bki_merge *m = &db->merge;
    struct guards g = {0};
    int rc = BK_OK;
    if (m->units == 0) {
        rc = begin(db, err);
        if (rc != BK_OK || !must_ask(m)) {
            return rc;
        }
    }
    for (uint32_t i = 0; rc == BK_OK && i < m->in_n; i++) {
        rc = m->in[i].planned ? gather(db, i, &g, err) : BK_OK;
    }
    if (rc == BK_OK && g.n > 0) {
        newest_only(&g);
        for (uint32_t i = 0; i < m->lower_n; i++) {
            ask(db, m->lower[i], &g);
        }
        for (size_t i = 0; i < g.n; i++) {
            if (g.at[i].maybe) {
                keep(db, &g.at[i]);
            }
        }
    }
    free(g.at);
    if (rc == BK_OK && ++m->unit < m->units) {
        rc = BK_EAGAIN;
    }
    return rc;
}
