/* SPDX-License-Identifier: MIT */
/*
 * txn_fetch.c - looks a transaction's keys up and brings their values into memory, before any lock
 * is taken; the only part of a command that may read the disk, or have it read.
 */
#include "keyspace/txn_private.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

/* BK_CHANGED in a row before a fetch gives up. Each one means that another writer or a merge has
 * moved the record and left a newer one in memory, so a few are already rare. */
#define FETCH_TRIES 1000

void ks_txn_reads(struct ks_txn *t, struct bk_reader *reader, struct bk_reads **reads,
                  struct bk_reads *ahead, void *owner)
{
    t->reader = reader;
    t->reads = reads;
    t->ahead = ahead;
    t->owner = owner;
}

/* What the command's reads have brought, else what is in memory, else it will be read. */
static int load_without_wait(struct ks_txn *t, size_t i, struct bk_error *err)
{
    const struct bk_key *key = &t->keys[i];
    struct bk_item *item = &t->items[i];
    int rc = *t->reads == NULL ? BK_NOTFOUND : bk_reads_take(*t->reads, key, item, err);
    if (rc == BK_NOTFOUND && t->ahead != NULL) {
        rc = bk_reads_take(t->ahead, key, item, err);
    }
    if (rc == BK_NOTFOUND) {
        rc = bk_load_cached(t->ks->db, key, item, err);
        if (rc == BK_READING) {
            *t->reads = *t->reads == NULL ? bk_reads_new(t->reader, t->owner) : *t->reads;
            rc = bk_reads_add(*t->reads, t->dbs[i], key, item);
        }
    }
    return rc;
}

/* Which items have a value loaded, by record: commands of one EXEC may all name the same key. */
struct loaded {
    uint32_t few[64];
    uint32_t *slots; /* index of an item + 1, 0: free; owned unless it is few */
    size_t mask;
};

static void loaded_init(struct loaded *l, size_t n)
{
    size_t few = sizeof l->few / sizeof l->few[0];
    size_t size = n == 1 ? 1 : few; /* the usual case must not cost anything */
    while (n > 1 && size < n * 2) {
        size *= 2;
    }
    l->mask = size - 1;
    l->slots = size <= few ? l->few : bk_alloc(size * sizeof *l->slots);
    memset(l->slots, 0, size * sizeof *l->slots);
}

static void loaded_fini(struct loaded *l)
{
    if (l->slots != l->few) {
        free(l->slots);
    }
}

/* Where the record of item i is, or is to be noted. */
static uint32_t *loaded_slot(const struct loaded *l, const struct ks_txn *t, size_t i)
{
    uint64_t at = t->items[i].at;
    size_t slot = (size_t)(at * 0x9e3779b97f4a7c15u >> 32) & l->mask;
    while (l->slots[slot] != 0 && t->items[l->slots[slot] - 1].at != at) {
        slot = (slot + 1) & l->mask;
    }
    return &l->slots[slot];
}

/* The value stays where it is, in an item of the same transaction. */
static void share_value(struct bk_item *item, const struct bk_item *of)
{
    item->value = of->value;
    item->flags = of->flags;
    bk_block_unref(&item->block);
    item->block = of->block == NULL ? NULL : bk_block_ref(of->block);
}

static int load_value(struct ks_txn *t, struct loaded *l, size_t i, struct bk_error *err)
{
    uint32_t *slot = loaded_slot(l, t, i);
    if (*slot != 0) {
        share_value(&t->items[i], &t->items[*slot - 1]);
        return BK_OK;
    }
    int rc = t->reader == NULL ? bk_load(t->ks->db, &t->keys[i], &t->items[i], err)
                               : load_without_wait(t, i, err);
    if (rc == BK_OK) {
        *slot = (uint32_t)i + 1;
    }
    return rc;
}

/* Loads the values that are needed of what was located; stops at the first that cannot be had, but
 * not at those that must be read: they are read together. */
static int load_values(struct ks_txn *t, struct bk_error *err)
{
    int rc = BK_OK;
    bool waits = false;
    struct loaded loaded;
    loaded_init(&loaded, t->n);
    for (size_t i = 0; i < t->n && rc == BK_OK; i++) {
        if (t->info[i].need == KS_NEED_VALUE && !t->info[i].flushed &&
            ks_txn_present(t, &t->items[i])) {
            rc = load_value(t, &loaded, i, err);
            waits = waits || rc == BK_READING;
            rc = rc == BK_READING ? BK_OK : rc;
        }
    }
    loaded_fini(&loaded);
    return rc == BK_OK && waits ? BK_READING : rc;
}

int ks_txn_fetch(struct ks_txn *t, struct bk_error *err)
{
    int rc = BK_OK;
    if (t->n == 0) {
        goto out;
    }
    for (int tries = 0; tries < FETCH_TRIES; tries++) {
        bk_locate(t->ks->db, t->dbs, t->keys, t->n, t->items);
        rc = t->any_value ? load_values(t, err) : BK_OK;
        if (rc != BK_CHANGED) {
            break;
        }
    }
    if (rc == BK_READING && *t->reads != NULL) {
        bk_reads_ready(*t->reads);
    }
    if (rc == BK_CHANGED) {
        rc = bk_error_set(err, BK_EIO, 0, NULL, 0,
                          "a value was replaced faster than it could be read");
    }
    for (size_t i = 0; i < t->n; i++) {
        ks_txn_depend(t, t->items[i].pos);
    }
out:
    return rc;
}

void ks_txn_read_ahead(struct ks_txn *t, uint64_t bytes)
{
    uint64_t sum = 0;
    if (t->n > 0) {
        bk_locate(t->ks->db, t->dbs, t->keys, t->n, t->items);
    }
    for (size_t i = 0; i < t->n && sum < bytes; i++) {
        struct bk_error err;
        if (ks_txn_present(t, &t->items[i])) {
            sum += t->items[i].size;
            int rc = sum > bytes ? BK_OK : load_without_wait(t, i, &err);
            bk_ignore(rc, "the command itself finds out what is wrong, and what has changed");
        }
    }
    if (*t->reads != NULL) {
        bk_reads_ready(*t->reads);
    }
}
