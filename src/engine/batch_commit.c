/* SPDX-License-Identifier: MIT */
/*
 * batch_commit.c - what a batch has gathered becomes one frame in the log, and the keydir swings:
 * under the key locks, all of it or nothing.
 *
 * A frame is the new map of databases, if it changes, then one record per key.
 */
#include "base/assert.h"
#include "base/checksum.h"
#include "engine/batch_private.h"
#include "engine/watch.h"

#include <stdlib.h>

BK_STATIC_ASSERT(BK_DATABASES_MAX * 8 <= BKI_LOG_COPY_MAX,
                 "a map fits into one record that is copied");

static void scratch(struct bk_batch *b, size_t n)
{
    if (n > b->scratch_cap) {
        b->scratch_cap = n < 16 ? 16 : n * 2;
        b->appends = bk_realloc(b->appends, b->scratch_cap * sizeof *b->appends);
        b->undo = bk_realloc(b->undo, b->scratch_cap * sizeof *b->undo);
    }
}

static int fill_append(struct bk_batch *b, const struct batch_write *w, struct bki_append *a,
                       struct bk_error *err)
{
    if (w->key.bytes.len > BK_KEY_MAX || w->value.len > BK_VALUE_MAX) {
        return bk_error_set(err, BK_ETOOBIG, 0, NULL, 0, "key or value is over the limit");
    }
    if (!w->deleted && w->expire_ms < 0) { /* in the index the sign has another meaning */
        return bk_error_set(err, BK_EINVAL, 0, NULL, 0, "an expiry time is negative");
    }
    uint32_t len = (uint32_t)w->value.len;
    *a = (struct bki_append){
        .rec = {.kind = w->deleted ? BKI_DELETE : BKI_PUT,
                .flags = w->deleted ? 0 : w->flags,
                .key_len = (uint32_t)w->key.bytes.len,
                .value_len = len,
                .expire_ms = w->deleted ? 0 : w->expire_ms},
        .key = w->key.bytes,
        .value = w->value,
        .block = w->block,
    };
    uint8_t *table = NULL;
    if (bki_record_blocks(len) > 0) {
        table = bk_batch_alloc(b, (size_t)bki_record_blocks(len) * 4);
    }
    a->table = table;
    a->rec.value_crc = bki_value_crc(w->value.data, len, table);
    a->size = bki_record_size(&a->rec);
    return BK_OK;
}

/* Draws spaces for flushes and does the operations on a copy of the map; the caller's to fini.
 * Under all key locks, so the map stands still. */
static void map_after(struct bk_batch *b, struct bki_spacemap *after)
{
    bki_spacemap_copy(after, b->map_before);
    for (size_t i = 0; i < b->maps_n; i++) {
        struct batch_map_op *op = &b->maps[i];
        /* Made now: once the log has the new map, a keydir would be made with its later space. */
        bki_db_keydir(b->db, op->num1, true);
        bki_db_keydir(b->db, op->space != 0 ? op->num1 : op->num2, true);
        if (op->space != 0) {
            op->space = after->next;
            bki_spacemap_set(after, op->num1, op->space);
        } else {
            uint32_t space = bki_spacemap_get(after, op->num1);
            bki_spacemap_set(after, op->num1, bki_spacemap_get(after, op->num2));
            bki_spacemap_set(after, op->num2, space);
        }
    }
}

/* The record of the numbers that change, each once, so that it is no larger than the map. */
static void fill_map(struct bk_batch *b, const struct bki_spacemap *after, struct bki_append *a)
{
    uint8_t *pairs = bk_batch_alloc(b, (size_t)after->n * 8);
    uint32_t n = 0;
    for (uint32_t num = 0; num < after->n; num++) {
        uint32_t space = bki_spacemap_get(after, num);
        /* Swaps that cancel each other out still make a record: one pair says what is so anyway. */
        if (space != bki_spacemap_get(b->map_before, num) || (n == 0 && num + 1 == after->n)) {
            bk_put32(pairs + (size_t)n * 8, num);
            bk_put32(pairs + (size_t)n * 8 + 4, space);
            n++;
        }
    }
    uint32_t len = n * 8;
    BK_ASSERT(len > 0 && len <= BKI_LOG_COPY_MAX);
    *a = (struct bki_append){
        .rec = {.kind = BKI_MAP, .value_len = len, .value_crc = bk_crc32c(0, pairs, len)},
        .value = bk_span_of(pairs, len),
    };
    a->size = bki_record_size(&a->rec);
}

/* Does the flushes and swaps in memory. Each is noted for undoing with the map as it was before all
 * of them. */
static void swing_maps(struct bk_batch *b, const struct bki_append *a, uint64_t pos)
{
    struct bk_db *db = b->db;
    for (size_t i = 0; i < b->maps_n; i++) {
        const struct batch_map_op *op = &b->maps[i];
        struct bki_undo_op undo = {.pos = pos, .num = op->num1, .num2 = op->num2};
        struct bki_keydir *kd = bki_db_keydir(db, op->num1, true);
        bki_watch_fire_database(db, op->num1, op->space != 0 ? op->num1 : op->num2);
        if (op->space != 0) {
            undo.kind = BKI_UNDO_FLUSH;
            undo.taken = (struct bki_flushed){
                bki_keydir_new(op->space, db->hash_seed, 0, &db->reclaim), bki_pin(&db->flushed)};
            bki_keydir_swap(kd, undo.taken.contents, pos);
        } else {
            undo.kind = BKI_UNDO_SWAP;
            bki_keydir_swap(kd, bki_db_keydir(db, op->num2, true), pos);
        }
        undo.map = bk_alloc_zero(1, sizeof *undo.map);
        bki_spacemap_copy(undo.map, b->map_before);
        bki_undo_note(db, &undo, 1);
    }
    /* What was flushed is kept to be undone until it is committed. Who looks then is the sync
     * thread, which nothing else need wake for long. */
    bki_log_want_sync(&db->log, pos);
    bki_db_dead(db, a->loc, a->size);
}

static void swing_write(struct bk_db *db, const struct batch_write *w, const struct bki_append *a,
                        uint64_t pos, struct bki_undo_op *undo)
{
    struct bki_keydir *kd = bki_db_keydir(db, w->num, true);
    if (db->locks->stripe[bki_keylock_of(w->key.hash)].watches != 0) {
        bki_watch_fire(db->locks, w->num, &w->key);
    }
    *undo = (struct bki_undo_op){.kind = BKI_UNDO_WRITE,
                                 .num = w->num,
                                 .pos = pos,
                                 .loc = a->loc,
                                 .size = a->size,
                                 .deleted = w->deleted};
    if (w->deleted) {
        undo->had_old = bki_keydir_remove(kd, &w->key, pos, &undo->old);
        bki_db_guard(db, a->loc, a->size);
    } else {
        struct bki_entry e = {.loc = a->loc,
                              .size = a->size,
                              .expire_ms = w->expire_ms,
                              .type = w->flags & BK_TYPE_MASK};
        undo->had_old = bki_keydir_put(kd, &w->key, &e, &undo->old);
        if (w->aged) {
            bki_keydir_idle(kd, &w->key, w->age);
        }
    }
    if (undo->had_old) {
        bki_db_dead(db, undo->old.loc, undo->old.size);
        bki_cache_forget(db->cache, undo->old.loc);
    }
}

static void lock_writes(struct bk_batch *b)
{
    if (b->locked) {
        return;
    }
    if (b->maps_n > 0) {
        bk_batch_lock_all(b);
    }
    for (size_t i = 0; i < b->n; i++) {
        bk_batch_lock_key(b, &b->writes[i].key);
    }
    bk_batch_lock(b);
}

/* The buckets that swing will change come nearer while the records are composed and appended. */
static void fetch_buckets(const struct bk_batch *b)
{
    unsigned pin = bki_look_begin(&b->db->reclaim);
    for (size_t i = 0; i < b->n && i < BK_PREFETCH_MAX; i++) {
        struct bki_keydir *kd = bki_db_keydir(b->db, b->writes[i].num, false);
        if (kd != NULL) {
            bki_keydir_fetch(kd, &b->writes[i].key);
        }
    }
    bki_look_end(&b->db->reclaim, pin);
}

/* Everything that can fail comes before the first change. */
static int prepare(struct bk_batch *b, size_t *n, struct bk_error *err)
{
    struct bki_spacemap after = {0};
    bool map = b->maps_n > 0;
    uint64_t bytes = 0;
    int rc = BK_OK;
    scratch(b, b->n + 1);
    *n = 0;
    if (map) {
        map_after(b, &after);
        fill_map(b, &after, &b->appends[(*n)++]);
    }
    for (size_t i = 0; rc == BK_OK && i < b->n; i++) {
        struct bki_append *a = &b->appends[(*n)++];
        rc = fill_append(b, &b->writes[i], a, err);
        a->rec.space = map ? bki_spacemap_get(&after, b->writes[i].num)
                           : bki_keydir_space(bki_db_keydir(b->db, b->writes[i].num, true));
        bytes += a->size;
    }
    if (rc == BK_OK && *n > 1 && bytes > b->db->batch_bytes_max) {
        rc = bk_error_set(err, BK_ETOOBIG, 0, NULL, 0, "a batch is larger than batch-max-bytes");
    }
    if (map) {
        bki_spacemap_fini(&after);
    }
    return rc;
}

static void swing(struct bk_batch *b, uint64_t pos)
{
    size_t at = 0;
    bki_batch_each_stripe(b, bki_keylock_flip);
    if (b->maps_n > 0) {
        swing_maps(b, &b->appends[at++], pos);
    }
    for (size_t i = 0; i < b->n; i++) {
        /* A batch is committed whole, by the end of its frame. */
        swing_write(b->db, &b->writes[i], &b->appends[at + i], pos, &b->undo[i]);
    }
    bki_batch_each_stripe(b, bki_keylock_flip);
    if (b->n > 0) {
        bki_undo_note(b->db, b->undo, b->n);
    }
}

int bk_batch_commit(struct bk_batch *b, uint64_t *pos, struct bk_error *err)
{
    if (bk_batch_empty(b)) {
        bk_batch_cancel(b);
        *pos = 0;
        return BK_OK;
    }
    if (b->db->read_only) {
        bk_batch_cancel(b);
        return bki_db_refuse_write(b->db, err);
    }
    size_t n;
    unsigned pin = bki_pin(&b->db->files.pins);
    fetch_buckets(b);
    lock_writes(b);
    if (b->maps_n > 0) {
        b->map_before = bki_db_map_copy(b->db);
    }
    int rc = prepare(b, &n, err);
    if (rc == BK_OK) {
        rc = bki_log_append(&b->db->log, b->appends, n, pos, err);
    }
    if (rc == BK_OK) {
        swing(b, *pos);
    }
    bk_batch_cancel(b);
    bki_unpin(&b->db->files.pins, pin);
    if (b->map_before != NULL) {
        bki_spacemap_fini(b->map_before);
        free(b->map_before);
        b->map_before = NULL;
    }
    return rc;
}
