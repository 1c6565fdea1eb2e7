/* SPDX-License-Identifier: MIT */
/*
 * batch.c - writes gathered under the key locks, and the store as they leave it.
 *
 * Writes are kept as the last state of each key. Flushes and swaps of databases take effect on the
 * gathered writes at once and stand in front of them.
 */
#include "base/assert.h"
#include "engine/batch_private.h"

#include <stdlib.h>

#define ARENA_CHUNK (64u << 10)
#define INDEX_FROM 8u     /* writes from which on the hash index is worth it */
#define KEEP_WRITES 4096u /* larger arrays are given back by the next begin */

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
        struct batch_chunk *c = b->arena;
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
    struct batch_chunk *c = b->arena;
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

void bki_batch_each_stripe(struct bk_batch *b, void (*fn)(struct bki_keylocks *l, uint32_t stripe))
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
    bki_batch_each_stripe(b, bki_keylock_lock);
    b->locked = true;
}

void bk_batch_cancel(struct bk_batch *b)
{
    if (b->locked) {
        bki_batch_each_stripe(b, bki_keylock_unlock);
        b->locked = false;
    }
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

static bool same_key(const struct batch_write *w, uint32_t num, const struct bk_key *key)
{
    return w->num == num && w->key.hash == key->hash && bk_span_eq(w->key.bytes, key->bytes);
}

static struct batch_write *find_write(struct bk_batch *b, uint32_t num, const struct bk_key *key)
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

static struct batch_write *write_of(struct bk_batch *b, uint32_t num, const struct bk_key *key)
{
    struct batch_write *w = find_write(b, num, key);
    if (w != NULL) {
        return w;
    }
    if (b->n == b->cap) {
        b->cap = b->cap == 0 ? 16 : b->cap * 2;
        b->writes = bk_realloc(b->writes, b->cap * sizeof *b->writes);
    }
    w = &b->writes[b->n++];
    *w = (struct batch_write){.key = *key, .num = num};
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
    struct batch_write *w = write_of(b, num, key);
    struct bk_block *old = w->block; /* the new value may lie in it */
    w->deleted = false;
    w->aged = false;
    w->flags = flags;
    w->expire_ms = expire_ms;
    w->value = value->bytes;
    w->block = value->block != NULL ? bk_block_ref(value->block) : NULL;
    if (w->block == NULL && value->bytes.len > BKI_LOG_COPY_MAX) {
        /* The log refers to large values until they are written, so they need an owner that lasts.
         */
        w->block = bk_block_new(value->bytes.len);
        memcpy(w->block->data, value->bytes.data, value->bytes.len);
        w->value = bk_span_of(w->block->data, value->bytes.len);
    }
    bk_block_unref(&old);
}

void bk_batch_idle(struct bk_batch *b, uint32_t num, const struct bk_key *key, uint64_t idle_ms)
{
    struct batch_write *w = find_write(b, num, key);
    BK_ASSERT(w != NULL && !w->deleted);
    w->aged = true;
    w->age = bki_db_age_of(b->db, idle_ms);
}

void bk_batch_delete(struct bk_batch *b, uint32_t num, const struct bk_key *key)
{
    BK_ASSERT(num < b->db->databases);
    struct batch_write *w = write_of(b, num, key);
    w->deleted = true;
    bk_block_unref(&w->block);
    w->value = bk_span_of(NULL, 0);
}

static void add_map_op(struct bk_batch *b, struct batch_map_op op)
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
    add_map_op(b, (struct batch_map_op){.num1 = num,
                                        .space = UINT32_MAX}); /* the space is drawn at commit */
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
        add_map_op(b, (struct batch_map_op){.num1 = num1, .num2 = num2});
    }
}

bool bk_batch_empty(const struct bk_batch *b)
{
    return b->n == 0 && b->maps_n == 0;
}

int64_t bk_batch_number(const struct bk_batch *b, uint32_t num)
{
    for (size_t i = b->maps_n; i-- > 0;) {
        const struct batch_map_op *op = &b->maps[i];
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
    const struct batch_write *w = b->n == 0 ? NULL : find_write(b, num, key);
    if (w != NULL) {
        item->at = w->deleted ? 0 : UINT64_MAX;
        item->expire_ms = w->expire_ms;
        item->pos = 0;
        item->flags = w->flags;
        item->age = w->aged ? w->age : bki_db_age_of(b->db, 0);
        item->value = w->value;
        if (w->block != NULL) {
            bk_block_unref(&item->block);
            item->block = bk_block_ref(w->block);
        }
        return;
    }
    int64_t before = b->maps_n == 0 ? num : bk_batch_number(b, num);
    if (before < 0) {
        item->at = 0;
        item->expire_ms = 0;
        item->pos = 0;
        return;
    }
    bki_db_find(b->db, (uint32_t)before, key, item);
}

/* ---- Whole databases ---- */

bool bk_batch_writes(struct bk_batch *b, uint32_t num, const struct bk_key *key)
{
    return find_write(b, num, key) != NULL;
}

uint64_t bk_batch_count(struct bk_batch *b, uint32_t num)
{
    int64_t before = bk_batch_number(b, num);
    uint64_t n = before < 0 ? 0 : bk_count(b->db, (uint32_t)before);
    for (size_t i = 0; i < b->n; i++) {
        const struct batch_write *w = &b->writes[i];
        if (w->num == num) {
            struct bk_item had = {0};
            if (before >= 0) {
                bki_db_find(b->db, (uint32_t)before, &w->key, &had);
            }
            n = n + (w->deleted ? 0 : 1) - (had.at != 0 ? 1 : 0);
        }
    }
    return n;
}

void bk_batch_puts(const struct bk_batch *b, uint32_t num,
                   void (*each)(void *arg, const struct bk_scan_entry *entry), void *arg)
{
    for (size_t i = 0; i < b->n; i++) {
        const struct batch_write *w = &b->writes[i];
        if (w->num == num && !w->deleted) {
            struct bk_scan_entry e = {w->key.bytes, w->expire_ms, w->flags & BK_TYPE_MASK};
            each(arg, &e);
        }
    }
}
