/* SPDX-License-Identifier: MIT */
/*
 * whole.c - whole databases as a transaction sees them: counts, cursors, a random key.
 *
 * A transaction that holds every lock has its own writes over the store: keys that it has written
 * are left out of what the store tells, and those that it has put come in front.
 */
#include "engine/bitkv.h"
#include "keyspace/keyspace_private.h"

struct overlay_scan {
    struct bk_batch *batch; /* borrowed */
    struct bk_db *db;
    uint32_t num;
    int64_t now_ms;
    void (*each)(void *arg, const struct ks_scan_key *key); /* borrowed for the scan */
    void *arg;
};

static void tell(void *arg, const struct bk_scan_entry *entry)
{
    struct overlay_scan *s = arg;
    if (!ks_expired(entry->expire_ms, s->now_ms)) {
        struct ks_scan_key key = {entry->key, (enum ks_type)(entry->flags & BK_TYPE_MASK)};
        s->each(s->arg, &key);
    }
}

static void tell_unless_written(void *arg, const struct bk_scan_entry *entry)
{
    struct overlay_scan *s = arg;
    struct bk_key key;
    bk_key_init(s->db, &key, entry->key.data, entry->key.len);
    if (!bk_batch_writes(s->batch, s->num, &key)) {
        tell(s, entry);
    }
}

uint64_t ks_txn_count(struct ks_txn *t)
{
    struct bk_batch *batch = ks_txn_overlay(t);
    uint32_t num = ks_txn_db(t);
    return batch == NULL ? bk_count(ks_txn_keyspace(t)->db, num) : bk_batch_count(batch, num);
}

void ks_txn_scan(struct ks_txn *t, uint64_t *cursor, size_t count,
                 void (*each)(void *arg, const struct ks_scan_key *key), void *arg)
{
    struct overlay_scan s = {.batch = ks_txn_overlay(t),
                             .db = ks_txn_keyspace(t)->db,
                             .num = ks_txn_db(t),
                             .now_ms = ks_txn_now_ms(t),
                             .each = each,
                             .arg = arg};
    if (s.batch == NULL) {
        bk_scan(s.db, s.num, cursor, count, tell, &s);
        return;
    }
    int64_t lies = bk_batch_number(s.batch, s.num);
    if (*cursor == 0) {
        bk_batch_puts(s.batch, s.num, tell, &s);
    }
    if (lies < 0) {
        *cursor = 0;
        return;
    }
    bk_scan(s.db, (uint32_t)lies, cursor, count, tell_unless_written, &s);
}

/* ---- A random key ---- */

/* The one of the keys told that is drawn: each in turn takes the place of those before with the
 * chance that makes all of them equally likely. */
struct draw {
    struct bk_buf *key; /* borrowed */
    uint64_t seen, random;
};

static void draw_one(void *arg, const struct ks_scan_key *key)
{
    struct draw *d = arg;
    d->random = d->random * 6364136223846793005u + 1442695040888963407u;
    if ((d->random >> 33) % ++d->seen == 0) {
        d->key->len = 0;
        bk_buf_append(d->key, key->key.data, key->key.len);
    }
}

/* A transaction that has written draws among all keys: rare, and it holds every lock anyway. */
int ks_txn_random_key(struct ks_txn *t, struct bk_buf *key)
{
    struct bk_batch *batch = ks_txn_overlay(t);
    if (batch == NULL || bk_batch_empty(batch)) {
        return ks_random_key(ks_txn_keyspace(t), ks_txn_db(t), ks_txn_now_ms(t), key);
    }
    struct draw d = {.key = key, .random = ks_random(ks_txn_keyspace(t))};
    uint64_t cursor = 0;
    do {
        ks_txn_scan(t, &cursor, 1000, draw_one, &d);
    } while (cursor != 0);
    return d.seen == 0 ? BK_NOTFOUND : BK_OK;
}
