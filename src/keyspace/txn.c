/* SPDX-License-Identifier: MIT */
/*
 * txn.c - one command's view of its keys: lock, look, write, commit ("values first", keyspace.h).
 * Not here: the fetch (txn_fetch.c).
 *
 * A reading command never begins a batch: it works on what one bk_locate found for all of its keys.
 * A writing one works on what bk_batch_peek finds under the key locks; the only thing it takes from
 * the fetch is a value's bytes, and only if the record is still the one that was read. A write
 * without a look takes no lock here at all: the commit locks what is written.
 *
 * A txn belongs to one thread. Its arrays and items are kept from command to command, so a command
 * does not allocate; what grew unusually large is given back at the end.
 */
#include "engine/bitkv.h"
#include "keyspace/txn_private.h"

#include "base/assert.h"

#include <stdlib.h>

/* Kept between commands: key slots, and bytes in one item's buffer. */
#define KEYS_KEPT 1024
#define BYTES_KEPT 65536

/* In the flags byte, above the type: bits 3 and 4. */
#define ENCODING_SHIFT 3
#define ENCODING_MASK 3u

struct ks_txn *ks_txn_new(struct keyspace *ks)
{
    struct ks_txn *t = bk_alloc_zero(1, sizeof(*t));
    t->ks = ks;
    t->batch = bk_batch_new(ks->db);
    return t;
}

static void items_fini(struct ks_txn *t)
{
    for (size_t i = 0; i < t->cap; i++) {
        bk_item_fini(&t->items[i]);
        bk_item_fini(&t->peeks[i]);
    }
}

static void free_arrays(struct ks_txn *t)
{
    items_fini(t);
    free(t->keys);
    free(t->dbs);
    free(t->items);
    free(t->peeks);
    free(t->info);
    t->keys = NULL;
    t->dbs = NULL;
    t->items = NULL;
    t->peeks = NULL;
    t->info = NULL;
    t->cap = 0;
}

void ks_txn_free(struct ks_txn **t)
{
    if (*t != NULL) {
        ks_txn_end(*t, NULL);
        free_arrays(*t);
        free((*t)->lies);
        bk_batch_free(&(*t)->batch);
        free(*t);
        *t = NULL;
    }
}

void ks_txn_begin(struct ks_txn *t, uint32_t db, int64_t now_ms)
{
    BK_ASSERT(!t->begun);
    if (!t->pinned) {
        t->pin = bk_pin(t->ks->db);
        t->pinned = true;
    }
    t->db = db;
    t->now_ms = now_ms;
    t->pos = 0;
    t->generation++;
    t->any_value = false;
    t->no_touch = false;
    t->all_keys = false;
    t->wrote = false;
    t->changes = false;
    t->whole = false;
    t->watches = NULL;
    t->reader = NULL;
    t->first = 0;
    t->n = 0;
}

/* ---- Several commands in one transaction ---- */

static void trim_item(struct bk_item *item)
{
    if (item->block != NULL || item->buf.cap > BYTES_KEPT) {
        bk_item_fini(item);
    }
}

/* What commands before have looked at nobody asks for again: without the last of them a version of
 * a value that several have changed goes. */
void ks_txn_focus(struct ks_txn *t, uint32_t db, size_t first)
{
    for (size_t i = t->first; i < first && i < t->n; i++) {
        trim_item(&t->peeks[i]);
        t->info[i].peeked = 0;
    }
    t->db = db;
    t->first = first;
}

size_t ks_txn_named(const struct ks_txn *t)
{
    return t->n;
}

#define FLUSHED UINT32_MAX /* in lies */

static void note_lies(struct ks_txn *t)
{
    if (t->lies == NULL) {
        t->lies = bk_alloc(t->ks->databases * sizeof(*t->lies));
        for (uint32_t i = 0; i < t->ks->databases; i++) {
            t->lies[i] = i;
        }
    }
}

void ks_txn_will_flush(struct ks_txn *t, uint32_t db)
{
    note_lies(t);
    t->lies[db] = FLUSHED;
}

void ks_txn_will_swap(struct ks_txn *t, uint32_t db1, uint32_t db2)
{
    note_lies(t);
    uint32_t one = t->lies[db1];
    t->lies[db1] = t->lies[db2];
    t->lies[db2] = one;
}

/* ---- Naming keys ---- */

uint32_t ks_txn_db(const struct ks_txn *t)
{
    return t->db;
}

void ks_txn_no_touch(struct ks_txn *t, bool no_touch)
{
    t->no_touch = no_touch;
}

int64_t ks_txn_now_ms(const struct ks_txn *t)
{
    return t->now_ms;
}

/* An item never points into itself before it is filled, so moving the arrays is safe: keys are all
 * named before the first look-up. */
static void grow(struct ks_txn *t)
{
    size_t cap = t->cap == 0 ? 4 : t->cap * 2;
    t->keys = bk_realloc(t->keys, cap * sizeof(*t->keys));
    t->dbs = bk_realloc(t->dbs, cap * sizeof(*t->dbs));
    t->items = bk_realloc(t->items, cap * sizeof(*t->items));
    t->peeks = bk_realloc(t->peeks, cap * sizeof(*t->peeks));
    t->info = bk_realloc(t->info, cap * sizeof(*t->info));
    memset(t->items + t->cap, 0, (cap - t->cap) * sizeof(*t->items));
    memset(t->peeks + t->cap, 0, (cap - t->cap) * sizeof(*t->peeks));
    t->cap = cap;
}

size_t ks_txn_key(struct ks_txn *t, struct bk_span key, enum ks_need need)
{
    return ks_txn_key_in(t, t->db, key, need);
}

size_t ks_txn_key_in(struct ks_txn *t, uint32_t db, struct bk_span key, enum ks_need need)
{
    size_t i = t->n;
    if (i == t->cap) {
        grow(t);
    }
    bk_key_init(t->ks->db, &t->keys[i], key.data, key.len);
    t->keys[i].quiet = t->no_touch;
    uint32_t lies = t->lies == NULL ? db : t->lies[db];
    t->dbs[i] = lies == FLUSHED ? db : lies;
    t->info[i] = (struct txn_key){.need = need, .db = db, .flushed = lies == FLUSHED};
    t->any_value = t->any_value || need == KS_NEED_VALUE;
    t->n++;
    return i;
}

struct bk_span ks_key(const struct ks_txn *t, size_t index)
{
    index += t->first;
    BK_ASSERT(index < t->n);
    return t->keys[index].bytes;
}

bool ks_expire(struct ks_txn *t, size_t i, uint32_t *db, struct bk_span *key)
{
    BK_ASSERT(i < t->n);
    *db = t->dbs[i];
    *key = t->keys[i].bytes;
    return !t->info[i].flushed && bk_expire_key(t->ks->db, *db, &t->keys[i], t->now_ms);
}

void ks_txn_all_keys(struct ks_txn *t)
{
    t->all_keys = true;
}

static void begin_batch(struct ks_txn *t)
{
    if (!t->begun) {
        bk_batch_begin(t->batch);
        t->begun = true;
    }
}

static const struct bk_item *peek(struct ks_txn *t, size_t i)
{
    struct bk_item *item = &t->peeks[i];
    if (t->info[i].peeked != t->generation) {
        bk_batch_peek(t->batch, t->info[i].db, &t->keys[i], item);
        ks_txn_depend(t, item->pos);
        t->info[i].peeked = t->generation;
    }
    return item;
}

/* Are the values that were read those that the keys hold now that nobody else can change them? */
static bool values_current(struct ks_txn *t)
{
    bool current = true;
    for (size_t i = 0; i < t->n && current; i++) {
        if (t->info[i].need == KS_NEED_VALUE && !t->info[i].flushed) {
            bk_batch_peek(t->batch, t->dbs[i], &t->keys[i], &t->peeks[i]);
            ks_txn_depend(t, t->peeks[i].pos);
            /* Of use to ks_get where no swap comes in between. */
            t->info[i].peeked = t->dbs[i] == t->info[i].db ? t->generation : 0;
            current = t->peeks[i].at == t->items[i].at;
        }
    }
    return current;
}

enum ks_lock ks_txn_lock(struct ks_txn *t)
{
    enum ks_lock result = KS_LOCKED;
    begin_batch(t);
    if (t->all_keys) {
        bk_batch_lock_all(t->batch);
    } else {
        for (size_t i = 0; i < t->n; i++) {
            bk_batch_lock_key(t->batch, &t->keys[i]);
        }
        ks_watches_lock(t->watches, t->batch);
    }
    bk_batch_lock(t->batch);
    t->locked = true;
    t->generation++;
    if (t->any_value && !values_current(t)) {
        bk_batch_cancel(t->batch);
        t->begun = false;
        t->locked = false;
        result = KS_AGAIN;
    }
    return result;
}

bool ks_txn_lock_writes(struct ks_txn *t)
{
    bool lock = t->begun && !t->locked && !bk_batch_empty(t->batch);
    if (lock) {
        enum ks_lock got = ks_txn_lock(t);
        BK_ASSERT(got == KS_LOCKED); /* no value was asked for */
    }
    return lock;
}

void ks_txn_watches(struct ks_txn *t, const struct ks_watches *w)
{
    t->watches = w;
}

void ks_get(struct ks_txn *t, size_t index, struct ks_value *out)
{
    index += t->first;
    const struct bk_item *fetched = &t->items[index];
    const struct bk_item *found = t->locked ? peek(t, index) : fetched;
    BK_ASSERT(index < t->n);
    *out = (struct ks_value){.exists = ks_txn_present(t, found)};
    if (out->exists) {
        /* The bytes come with an own write; otherwise from the fetch, whose record this is
         * (values_current). */
        const struct bk_item *holder = found->at == UINT64_MAX ? found : fetched;
        out->type = (enum ks_type)(found->flags & BK_TYPE_MASK);
        out->expire_ms = found->expire_ms;
        if (holder == found || t->info[index].need == KS_NEED_VALUE) {
            out->bytes = holder->value;
            out->block = holder->block;
            out->encoding = (enum ks_encoding)(holder->flags >> ENCODING_SHIFT & ENCODING_MASK);
        }
    }
}

uint64_t ks_key_memory(struct ks_txn *t, size_t index)
{
    index += t->first;
    BK_ASSERT(index < t->n);
    const struct bk_item *found = t->locked ? peek(t, index) : &t->items[index];
    return bk_item_memory(t->ks->db, &t->keys[index], found);
}

uint64_t ks_idle_ms(const struct ks_txn *t, size_t index)
{
    index += t->first;
    BK_ASSERT(index < t->n);
    const struct bk_item *item = t->locked ? &t->peeks[index] : &t->items[index];
    return bk_idle_ms(t->ks->db, item->age);
}

uint8_t *ks_alloc(struct ks_txn *t, size_t n)
{
    begin_batch(t);
    return bk_batch_alloc(t->batch, n);
}

static void note_change(struct ks_txn *t, size_t i)
{
    t->info[i].changed = true;
    t->changes = true;
}

static void note_whole(struct ks_txn *t)
{
    t->changes = true;
    t->whole = true;
    t->whole_first = t->first;
}

void ks_put(struct ks_txn *t, size_t index, const struct ks_write *w)
{
    struct bk_value value = {w->bytes, w->block};
    index += t->first;
    begin_batch(t);
    t->wrote_much = t->wrote_much || w->block != NULL || w->bytes.len > BYTES_KEPT;
    unsigned flags = (unsigned)w->type | (unsigned)w->encoding << ENCODING_SHIFT;
    bk_batch_put(t->batch, t->info[index].db, &t->keys[index], &value, (uint8_t)flags,
                 w->expire_ms);
    note_change(t, index);
    t->wrote = true;
    t->generation++;
}

void ks_put_idle(struct ks_txn *t, size_t index, uint64_t idle_ms)
{
    index += t->first;
    bk_batch_idle(t->batch, t->info[index].db, &t->keys[index], idle_ms);
    t->generation++;
}

void ks_delete(struct ks_txn *t, size_t index)
{
    index += t->first;
    begin_batch(t);
    bk_batch_delete(t->batch, t->info[index].db, &t->keys[index]);
    note_change(t, index);
    t->generation++;
}

void ks_flush(struct ks_txn *t, uint32_t db)
{
    begin_batch(t);
    /* An empty database needs no record. That it is empty may itself be uncommitted, hence the
     * tail. */
    if (t->wrote || bk_count(t->ks->db, db) != 0) {
        bk_batch_flush(t->batch, db);
    }
    ks_txn_depend(t, bk_tail(t->ks->db));
    note_whole(t);
    t->generation++;
}

void ks_swap(struct ks_txn *t, uint32_t db1, uint32_t db2)
{
    begin_batch(t);
    bk_batch_swap(t->batch, db1, db2);
    note_whole(t);
    t->wrote = true;
    t->generation++;
}

/* ---- What has changed ---- */

void ks_txn_on_commit(struct ks_txn *t, ks_committed_fn *fn, void *arg)
{
    t->committed = fn;
    t->committed_arg = arg;
}

bool ks_changed(const struct ks_txn *t, size_t i)
{
    BK_ASSERT(i < t->n);
    return t->info[i].changed;
}

bool ks_changed_whole(const struct ks_txn *t, size_t *first)
{
    *first = t->whole_first;
    return t->whole;
}

void ks_set_mark(struct ks_txn *t, size_t i, uint8_t mark)
{
    BK_ASSERT(i < t->n);
    t->info[i].mark = mark;
}

uint8_t ks_mark(const struct ks_txn *t, size_t i)
{
    BK_ASSERT(i < t->n);
    return t->info[i].mark;
}

struct bk_batch *ks_txn_overlay(const struct ks_txn *t)
{
    return t->locked && t->all_keys ? t->batch : NULL;
}

struct keyspace *ks_txn_keyspace(const struct ks_txn *t)
{
    return t->ks;
}

/* The batch is over: forget it, and give back what only this command needed. */
static void reset(struct ks_txn *t)
{
    t->begun = false;
    t->locked = false;
    if (t->wrote_much) {
        bk_batch_begin(t->batch); /* what was written is not kept until the next command */
        t->wrote_much = false;
    }
    free(t->lies);
    t->lies = NULL;
    if (t->pinned) {
        bk_unpin(t->ks->db, t->pin);
        t->pinned = false;
    }
    if (t->cap > KEYS_KEPT) {
        free_arrays(t);
    } else {
        for (size_t i = 0; i < t->n; i++) {
            trim_item(&t->items[i]);
            trim_item(&t->peeks[i]);
        }
    }
    t->n = 0;
}

int ks_txn_commit(struct ks_txn *t, uint64_t *pos, struct bk_error *err)
{
    int rc = BK_OK;
    if (t->begun) {
        uint64_t written = 0;
        if (bk_batch_empty(t->batch)) {
            bk_batch_cancel(t->batch);
        } else {
            rc = bk_batch_commit(t->batch, &written, err);
        }
        if (rc == BK_OK) {
            ks_txn_depend(t, written);
        }
    }
    if (rc == BK_OK && t->changes && t->committed != NULL) {
        t->first = 0;
        t->committed(t->committed_arg, t, t->pos);
    }
    *pos = t->pos;
    reset(t);
    return rc;
}

void ks_txn_end(struct ks_txn *t, uint64_t *pos)
{
    if (t->begun) {
        bk_batch_cancel(t->batch);
    }
    if (pos != NULL) {
        *pos = t->pos;
    }
    reset(t);
}
