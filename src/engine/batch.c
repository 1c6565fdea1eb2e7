/* SPDX-License-Identifier: MIT */
/*
 * batch.c - writes gathered, then made in one step: one frame in the log, under the key locks.
 *
 * Writes are kept as the last state of each key. Flushes and swaps of databases take effect on the
 * gathered writes at once and stand in front of them in the frame, so a frame is: the new map of
 * databases if it changes, then one record per key.
 */
#include "base/assert.h"
#include "base/checksum.h"
#include "engine/db_private.h"

#include <stdlib.h>

#define ARENA_CHUNK (64u << 10)
#define INDEX_FROM 8u /* writes from which on the hash index is worth it */
BK_STATIC_ASSERT(BK_DATABASES_MAX * 8 <= BKI_LOG_COPY_MAX,
                 "a map fits into one record that is copied");
#define KEEP_WRITES 4096u /* larger arrays are given back by the next begin */

struct write {
    struct bk_key key;
    uint32_t num;
    bool deleted;
    uint8_t flags;
    int64_t expire_ms;
    struct bk_span value;
    struct bk_block *block; /* counted */
};

struct map_op {
    uint32_t num1, num2;
    uint32_t space; /* FLUSH: the new space; 0 = a swap */
};

struct arena_chunk {
    struct arena_chunk *next;
    size_t used, cap;
    uint8_t data[];
};

struct bk_batch {
    struct bk_db *db;     /* borrowed */
    struct write *writes; /* owned arrays */
    size_t n, cap;
    uint32_t *index; /* write number + 1 by hash; NULL while there are few */
    size_t index_n;
    struct map_op *maps;
    size_t maps_n, maps_cap;
    struct bki_append *appends;
    struct bki_undo_op *undo;
    size_t scratch_cap;
    struct arena_chunk *arena;
    struct bki_spacemap *map_before;     /* owned; during a commit that changes it */
    uint64_t stripes[BKI_KEYLOCKS / 64]; /* bit per key lock */
    bool locked;
};

/* ---- Life ---- */

struct bk_batch *bk_batch_new(struct bk_db *db)
{
    struct bk_batch *b = bk_alloc_zero(1, sizeof *b);
    b->db = db;
    return b;
}

static void arena_reset(struct bk_batch *b)
{
    while (b->arena != NULL && (b->arena->next != NULL || b->arena->cap > ARENA_CHUNK)) {
        struct arena_chunk *c = b->arena;
        b->arena = c->next;
        free(c);
    }
    if (b->arena != NULL) {
        b->arena->used = 0;
    }
}

void bk_batch_begin(struct bk_batch *b)
{
    BK_ASSERT(!b->locked);
    for (size_t i = 0; i < b->n; i++) {
        bk_block_unref(&b->writes[i].block);
    }
    if (b->n > KEEP_WRITES) {
        free(b->writes);
        free(b->appends);
        free(b->undo);
        b->writes = NULL;
        b->appends = NULL;
        b->undo = NULL;
        b->cap = b->scratch_cap = 0;
    }
    b->n = 0;
    b->maps_n = 0;
    free(b->index);
    b->index = NULL;
    b->index_n = 0;
    arena_reset(b);
    memset(b->stripes, 0, sizeof b->stripes);
}

void bk_batch_free(struct bk_batch **b)
{
    if (*b == NULL) {
        return;
    }
    bk_batch_begin(*b);
    free((*b)->writes);
    free((*b)->appends);
    free((*b)->undo);
    free((*b)->maps);
    free((*b)->arena);
    free(*b);
    *b = NULL;
}

uint8_t *bk_batch_alloc(struct bk_batch *b, size_t n)
{
    n = (n + 15) & ~(size_t)15;
    struct arena_chunk *c = b->arena;
    if (c == NULL || c->cap - c->used < n) {
        size_t cap = n > ARENA_CHUNK ? n : ARENA_CHUNK;
        c = bk_alloc(sizeof *c + cap);
        c->next = b->arena;
        c->cap = cap;
        c->used = 0;
        b->arena = c;
    }
    uint8_t *p = c->data + c->used;
    c->used += n;
    return p;
}

/* ---- Locks ---- */

void bk_batch_lock_key(struct bk_batch *b, const struct bk_key *key)
{
    uint32_t stripe = bki_keylock_of(key->hash);
    b->stripes[stripe / 64] |= (uint64_t)1 << (stripe % 64);
}

void bk_batch_lock_all(struct bk_batch *b)
{
    memset(b->stripes, 0xff, sizeof b->stripes);
}

static void each_stripe(struct bk_batch *b, void (*fn)(struct bki_keylocks *l, uint32_t stripe))
{
    for (uint32_t i = 0; i < BKI_KEYLOCKS / 64; i++) {
        for (uint64_t bits = b->stripes[i]; bits != 0; bits &= bits - 1) {
            fn(b->db->locks, i * 64 + (uint32_t)__builtin_ctzll(bits));
        }
    }
}

void bk_batch_lock(struct bk_batch *b)
{
    BK_ASSERT(!b->locked);
    each_stripe(b, bki_keylock_lock);
    b->locked = true;
}

static void unlock(struct bk_batch *b)
{
    if (b->locked) {
        each_stripe(b, bki_keylock_unlock);
        b->locked = false;
    }
}

void bk_batch_cancel(struct bk_batch *b)
{
    unlock(b);
}

/* ---- Gathering writes ---- */

static size_t index_slot(const struct bk_batch *b, uint32_t num, uint64_t hash)
{
    return (size_t)(hash ^ (uint64_t)num * 0x9e3779b97f4a7c15u) & (b->index_n - 1);
}

static void index_add(struct bk_batch *b, size_t i)
{
    size_t at = index_slot(b, b->writes[i].num, b->writes[i].key.hash);
    while (b->index[at] != 0) {
        at = (at + 1) & (b->index_n - 1);
    }
    b->index[at] = (uint32_t)i + 1;
}

static void index_build(struct bk_batch *b)
{
    free(b->index);
    b->index = NULL;
    b->index_n = 0;
    if (b->n < INDEX_FROM) {
        return;
    }
    b->index_n = 64;
    while (b->index_n < b->n * 4) {
        b->index_n *= 2;
    }
    b->index = bk_alloc_zero(b->index_n, sizeof *b->index);
    for (size_t i = 0; i < b->n; i++) {
        index_add(b, i);
    }
}

static bool same_key(const struct write *w, uint32_t num, const struct bk_key *key)
{
    return w->num == num && w->key.hash == key->hash && bk_span_eq(w->key.bytes, key->bytes);
}

static struct write *find_write(struct bk_batch *b, uint32_t num, const struct bk_key *key)
{
    if (b->index == NULL) {
        for (size_t i = 0; i < b->n; i++) {
            if (same_key(&b->writes[i], num, key)) {
                return &b->writes[i];
            }
        }
        return NULL;
    }
    size_t at = index_slot(b, num, key->hash);
    for (; b->index[at] != 0; at = (at + 1) & (b->index_n - 1)) {
        if (same_key(&b->writes[b->index[at] - 1], num, key)) {
            return &b->writes[b->index[at] - 1];
        }
    }
    return NULL;
}

static struct write *write_of(struct bk_batch *b, uint32_t num, const struct bk_key *key)
{
    struct write *w = find_write(b, num, key);
    if (w != NULL) {
        return w;
    }
    if (b->n == b->cap) {
        b->cap = b->cap == 0 ? 16 : b->cap * 2;
        b->writes = bk_realloc(b->writes, b->cap * sizeof *b->writes);
    }
    w = &b->writes[b->n++];
    *w = (struct write){.key = *key, .num = num};
    if (b->n * 2 > b->index_n) {
        index_build(b);
    } else if (b->index != NULL) {
        index_add(b, b->n - 1);
    }
    return w;
}

void bk_batch_put(struct bk_batch *b, uint32_t num, const struct bk_key *key,
                  const struct bk_value *value, uint8_t flags, int64_t expire_ms)
{
    BK_ASSERT(num < b->db->databases);
    struct write *w = write_of(b, num, key);
    struct bk_block *old = w->block; /* the new value may lie in it */
    w->deleted = false;
    w->flags = flags;
    w->expire_ms = expire_ms;
    w->value = value->bytes;
    w->block = NULL;
    if (value->bytes.len > BKI_LOG_COPY_MAX) {
        /* The log refers to large values until they are written, so they need an owner that lasts.
         */
        if (value->block != NULL) {
            w->block = bk_block_ref(value->block);
        } else {
            w->block = bk_block_new(value->bytes.len);
            memcpy(w->block->data, value->bytes.data, value->bytes.len);
            w->value = bk_span_of(w->block->data, value->bytes.len);
        }
    }
    bk_block_unref(&old);
}

void bk_batch_delete(struct bk_batch *b, uint32_t num, const struct bk_key *key)
{
    BK_ASSERT(num < b->db->databases);
    struct write *w = write_of(b, num, key);
    w->deleted = true;
    bk_block_unref(&w->block);
    w->value = bk_span_of(NULL, 0);
}

static void add_map_op(struct bk_batch *b, struct map_op op)
{
    if (b->maps_n == b->maps_cap) {
        b->maps_cap = b->maps_cap == 0 ? 16 : b->maps_cap * 2;
        b->maps = bk_realloc(b->maps, b->maps_cap * sizeof *b->maps);
    }
    b->maps[b->maps_n++] = op;
}

void bk_batch_flush(struct bk_batch *b, uint32_t num)
{
    BK_ASSERT(num < b->db->databases);
    size_t kept = 0;
    for (size_t i = 0; i < b->n; i++) {
        if (b->writes[i].num == num) {
            bk_block_unref(&b->writes[i].block);
        } else {
            b->writes[kept++] = b->writes[i];
        }
    }
    b->n = kept;
    index_build(b);
    add_map_op(
        b, (struct map_op){.num1 = num, .space = UINT32_MAX}); /* the space is drawn at commit */
}

void bk_batch_swap(struct bk_batch *b, uint32_t num1, uint32_t num2)
{
    BK_ASSERT(num1 < b->db->databases && num2 < b->db->databases);
    for (size_t i = 0; i < b->n; i++) {
        uint32_t num = b->writes[i].num;
        b->writes[i].num = num == num1 ? num2 : num == num2 ? num1 : num;
    }
    index_build(b);
    if (num1 != num2) {
        add_map_op(b, (struct map_op){.num1 = num1, .num2 = num2});
    }
}

bool bk_batch_empty(const struct bk_batch *b)
{
    return b->n == 0 && b->maps_n == 0;
}

/* The number under which the contents of num stood before this batch, or -1 when it was flushed. */
static int64_t number_before(const struct bk_batch *b, uint32_t num)
{
    for (size_t i = b->maps_n; i-- > 0;) {
        const struct map_op *op = &b->maps[i];
        if (op->space != 0) {
            if (op->num1 == num) {
                return -1;
            }
        } else if (op->num1 == num || op->num2 == num) {
            num = op->num1 == num ? op->num2 : op->num1;
        }
    }
    return num;
}

void bk_batch_peek(struct bk_batch *b, uint32_t num, const struct bk_key *key, struct bk_item *item)
{
    item->value = bk_span_of(NULL, 0);
    const struct write *w = b->n == 0 ? NULL : find_write(b, num, key);
    if (w != NULL) {
        item->at = w->deleted ? 0 : UINT64_MAX;
        item->expire_ms = w->expire_ms;
        item->pos = 0;
        item->flags = w->flags;
        item->value = w->value;
        if (w->block != NULL) {
            bk_block_unref(&item->block);
            item->block = bk_block_ref(w->block);
        }
        return;
    }
    int64_t before = b->maps_n == 0 ? num : number_before(b, num);
    if (before < 0) {
        item->at = 0;
        item->expire_ms = 0;
        item->pos = 0;
        return;
    }
    bki_db_find(b->db, (uint32_t)before, key, item);
}

/* ---- Commit ---- */

static void scratch(struct bk_batch *b, size_t n)
{
    if (n > b->scratch_cap) {
        b->scratch_cap = n < 16 ? 16 : n * 2;
        b->appends = bk_realloc(b->appends, b->scratch_cap * sizeof *b->appends);
        b->undo = bk_realloc(b->undo, b->scratch_cap * sizeof *b->undo);
    }
}

static int fill_append(struct bk_batch *b, const struct write *w, struct bki_append *a,
                       struct bk_error *err)
{
    if (w->key.bytes.len > BK_KEY_MAX || w->value.len > BK_VALUE_MAX) {
        return bk_error_set(err, BK_ETOOBIG, 0, NULL, 0, "key or value is over the limit");
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
        struct map_op *op = &b->maps[i];
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
        const struct map_op *op = &b->maps[i];
        struct bki_undo_op undo = {.pos = pos, .num = op->num1, .num2 = op->num2};
        struct bki_keydir *kd = bki_db_keydir(db, op->num1, true);
        if (op->space != 0) {
            undo.kind = BKI_UNDO_FLUSH;
            undo.taken = bki_keydir_new(op->space, db->hash_seed, 0);
            bki_keydir_swap(kd, undo.taken, pos);
        } else {
            undo.kind = BKI_UNDO_SWAP;
            bki_keydir_swap(kd, bki_db_keydir(db, op->num2, true), pos);
        }
        undo.map = bk_alloc_zero(1, sizeof *undo.map);
        bki_spacemap_copy(undo.map, b->map_before);
        bki_undo_note(db, &undo, 1);
    }
    bki_db_dead(db, a->loc, a->size);
}

static void swing_write(struct bk_db *db, const struct write *w, const struct bki_append *a,
                        uint64_t pos, struct bki_undo_op *undo)
{
    struct bki_keydir *kd = bki_db_keydir(db, w->num, true);
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
    each_stripe(b, bki_keylock_flip);
    if (b->maps_n > 0) {
        swing_maps(b, &b->appends[at++], pos);
    }
    for (size_t i = 0; i < b->n; i++) {
        /* A batch is committed whole, by the end of its frame. */
        swing_write(b->db, &b->writes[i], &b->appends[at + i], pos, &b->undo[i]);
    }
    each_stripe(b, bki_keylock_flip);
    if (b->n > 0) {
        bki_undo_note(b->db, b->undo, b->n);
    }
}

int bk_batch_commit(struct bk_batch *b, uint64_t *pos, struct bk_error *err)
{
    if (bk_batch_empty(b)) {
        unlock(b);
        *pos = 0;
        return BK_OK;
    }
    if (b->db->read_only) {
        unlock(b);
        return bki_db_refuse_write(b->db, err);
    }
    size_t n;
    unsigned pin = bki_pin(&b->db->files.pins);
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
    unlock(b);
    bki_unpin(&b->db->files.pins, pin);
    if (b->map_before != NULL) {
        bki_spacemap_fini(b->map_before);
        free(b->map_before);
        b->map_before = NULL;
    }
    return rc;
}
