/* SPDX-License-Identifier: MIT */
/* undo.c - the ring of uncommitted operations, and their way back. */
#include "engine/undo.h"

#include "base/assert.h"
#include "engine/db_private.h"

#include <stdlib.h>

void bki_undo_init(struct bki_undo *u)
{
    *u = (struct bki_undo){.n = 0};
    bk_mutex_init(&u->mu, "undo", BK_RANK_CACHE + 1);
}

static void op_free(struct bki_undo_op *op)
{
    bki_keydir_free(&op->taken.contents);
    if (op->map != NULL) {
        bki_spacemap_fini(op->map);
        free(op->map);
        op->map = NULL;
    }
}

void bki_undo_fini(struct bki_undo *u)
{
    for (size_t i = 0; i < u->n; i++) {
        op_free(&u->ops[(u->first + i) & (u->cap - 1)]);
    }
    free(u->ops);
    bk_mutex_fini(&u->mu);
}

/* Takes the oldest operation out when it is committed. */
static bool pop_committed_locked(struct bki_undo *u, uint64_t committed, struct bki_undo_op *out)
{
    if (u->n == 0 || u->ops[u->first].pos > committed) {
        return false;
    }
    *out = u->ops[u->first];
    u->first = (u->first + 1) & (u->cap - 1);
    u->n--;
    return true;
}

static void push_locked(struct bki_undo *u, const struct bki_undo_op *op)
{
    if (u->n == u->cap) {
        size_t cap = u->cap == 0 ? 64 : u->cap * 2;
        struct bki_undo_op *ops = bk_alloc(cap * sizeof *ops);
        for (size_t i = 0; i < u->n; i++) {
            ops[i] = u->ops[(u->first + i) & (u->cap - 1)];
        }
        free(u->ops);
        u->ops = ops;
        u->first = 0;
        u->cap = cap;
    }
    u->ops[(u->first + u->n++) & (u->cap - 1)] = *op;
}

/* Takes plain operations that are committed off the front, as nearly all are: they own nothing.
 * True: one that owns something is next. */
static bool trim_locked(struct bki_undo *u, uint64_t committed)
{
    while (u->n > 0 && u->ops[u->first].pos <= committed) {
        if (u->ops[u->first].map != NULL) {
            return true;
        }
        u->first = (u->first + 1) & (u->cap - 1);
        u->n--;
    }
    return false;
}

/* Two loops may note their operations in another order than that of the log; a committed one behind
 * an uncommitted one then waits a little longer, and undoing looks at each position by itself. */
void bki_undo_note(struct bk_db *db, const struct bki_undo_op *ops, size_t n)
{
    struct bki_undo *u = &db->undo;
    uint64_t committed = atomic_load_explicit(&db->log.committed_pos, memory_order_acquire);
    bk_mutex_lock(&u->mu);
    bool owned = trim_locked(u, committed);
    for (size_t i = 0; i < n; i++) {
        push_locked(u, &ops[i]);
    }
    bk_mutex_unlock(&u->mu);
    if (owned) {
        bki_undo_trim(db);
    }
}

void bki_undo_trim(struct bk_db *db)
{
    struct bki_undo *u = &db->undo;
    uint64_t committed = atomic_load_explicit(&db->log.committed_pos, memory_order_acquire);
    struct bki_undo_op op;
    for (bool more = true; more;) {
        bk_mutex_lock(&u->mu);
        do {
            more = pop_committed_locked(u, committed, &op);
        } while (more && op.taken.contents == NULL && op.map == NULL);
        bk_mutex_unlock(&u->mu);
        if (more) {
            bki_db_discard(db, &op.taken);
            op_free(&op);
        }
    }
}

/* The key of an operation's record, which is still in the log's buffer: it is not committed. */
static void read_key(struct bk_db *db, const struct bki_undo_op *op, struct bk_buf *bytes,
                     struct bk_key *key)
{
    struct bk_block *block = NULL;
    struct bk_span value;
    struct bki_record r;
    uint64_t offset;
    struct bki_file *f = bki_files_at(&db->files, op->loc, &offset);
    bytes->len = 0;
    bool found = bki_log_read(&db->log, f, offset, op->size, bytes, &block, &value);
    BK_ASSERT(found);
    bk_block_unref(&block);
    int rc = bki_record_peek(bytes->data, bytes->len, op->size, &r);
    BK_ASSERT(rc == BK_OK);
    bk_key_init(db, key, bytes->data + bki_record_key_offset(&r), r.key_len);
}

/* Bytes that died of the operation live again; its own record is behind the end of its file and
 * counts nowhere. */
static void revive(struct bk_db *db, const struct bki_undo_op *op)
{
    uint64_t offset;
    if (op->had_old) {
        struct bki_file *f = bki_files_at(&db->files, op->old.loc, &offset);
        atomic_fetch_sub_explicit(&f->dead_bytes, op->old.size, memory_order_relaxed);
    }
    if (op->deleted) {
        struct bki_file *f = bki_files_at(&db->files, op->loc, &offset);
        atomic_fetch_sub_explicit(&f->guard_bytes, op->size, memory_order_relaxed);
    }
}

static void undo_write(struct bk_db *db, const struct bki_undo_op *op)
{
    struct bk_buf bytes = {0};
    struct bk_key key;
    struct bki_entry now;
    struct bki_entry old = op->old;
    struct bki_keydir *kd = bki_db_keydir(db, op->num, true);
    read_key(db, op, &bytes, &key);
    if (op->deleted) {
        bool there = op->had_old && bki_keydir_put(kd, &key, &old, &now);
        BK_ASSERT(!there);
    } else if (op->had_old) {
        bool swung = bki_keydir_replace_if(kd, &key, op->loc, &old);
        BK_ASSERT(swung);
    } else {
        bool removed = bki_keydir_remove_if(kd, &key, op->loc, 0);
        BK_ASSERT(removed);
    }
    revive(db, op);
    bk_buf_fini(&bytes);
}

static void undo_map(struct bk_db *db, struct bki_undo_op *op)
{
    struct bki_keydir *a = bki_db_keydir(db, op->num, true);
    bool flush = op->kind == BKI_UNDO_FLUSH;
    bki_keydir_swap(a, flush ? op->taken.contents : bki_db_keydir(db, op->num2, true), 0);
    if (flush) {
        bki_unpin(&db->flushed, op->taken.pin);
    }
    bk_mutex_lock(&db->log.mu);
    bki_spacemap_copy(&db->log.map, op->map);
    bk_mutex_unlock(&db->log.mu);
    op_free(op);
}

void bki_undo_all(struct bk_db *db)
{
    struct bki_undo *u = &db->undo;
    /* With every key lock held nobody is between an append and its swing, so the ring is complete.
     */
    for (uint32_t i = 0; i < BKI_KEYLOCKS; i++) {
        bki_keylock_lock(db->locks, i);
        bki_keylock_flip(db->locks, i);
    }
    bki_undo_trim(db);
    bk_mutex_lock(&u->mu);
    size_t n = u->n;
    struct bki_undo_op *ops = bk_alloc(n * sizeof *ops);
    for (size_t i = 0; i < n; i++) {
        ops[i] = u->ops[(u->first + i) & (u->cap - 1)];
    }
    u->n = 0;
    bk_mutex_unlock(&u->mu);

    uint64_t committed = atomic_load_explicit(&db->log.committed_pos, memory_order_acquire);
    for (size_t i = n; i-- > 0;) {
        if (ops[i].pos <= committed) {
            bki_db_discard(db, &ops[i].taken);
            op_free(&ops[i]);
        } else if (ops[i].kind == BKI_UNDO_WRITE) {
            undo_write(db, &ops[i]);
        } else {
            undo_map(db, &ops[i]);
        }
    }
    atomic_fetch_add_explicit(&db->log.undone_records, n, memory_order_relaxed);
    /* Before the committed position moves past what was undone: who waits for that looks here. */
    atomic_fetch_add(&db->undo_generation, 1);
    bki_log_discard(&db->log);
    free(ops);
    for (uint32_t i = BKI_KEYLOCKS; i-- > 0;) {
        bki_keylock_flip(db->locks, i);
        bki_keylock_unlock(db->locks, i);
    }
    bki_log_wake(&db->log);
}
