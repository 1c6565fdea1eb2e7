/* SPDX-License-Identifier: MIT */
/* watch.c - lists of watched keys: the store's watches, and whether the keys were there. */
#include "engine/bitkv.h"
#include "keyspace/keyspace_private.h"

#include <stdlib.h>

struct watched {
    struct bk_watch *watch; /* owned */
    bool existed;
};

struct ks_watches {
    struct watched *v; /* owned */
    size_t n, cap;
    uint64_t memory;
};

static bool is_there(struct bk_db *db, uint32_t num, const struct bk_key *key, int64_t now_ms)
{
    struct bk_item item = {0};
    unsigned pin = bk_pin(db);
    bk_locate(db, &num, key, 1, &item);
    bk_unpin(db, pin);
    return item.at != 0 && !ks_expired(item.expire_ms, now_ms);
}

static bool listed(const struct ks_watches *w, uint32_t db, const struct bk_key *key)
{
    bool found = false;
    for (size_t i = 0; i < w->n && !found; i++) {
        const struct bk_key *other = bk_watch_key(w->v[i].watch);
        found = bk_watch_database(w->v[i].watch) == db && other->hash == key->hash &&
                bk_span_eq(other->bytes, key->bytes);
    }
    return found;
}

void ks_watch(struct keyspace *ks, struct ks_watches **list, uint32_t db, struct bk_span key,
              int64_t now_ms)
{
    struct bk_key k;
    if (*list == NULL) {
        *list = bk_alloc_zero(1, sizeof(**list));
    }
    struct ks_watches *w = *list;
    bk_key_init(ks->db, &k, key.data, key.len);
    if (listed(w, db, &k)) {
        return;
    }
    if (w->n == w->cap) {
        w->cap = w->cap == 0 ? 4 : w->cap * 2;
        w->v = bk_realloc(w->v, w->cap * sizeof(*w->v));
    }
    struct watched *it = &w->v[w->n++];
    /* Watched before it is looked at, so that no write falls in between. */
    it->watch = bk_watch_new(ks->db, db, &k);
    it->existed = is_there(ks->db, db, &k, now_ms);
    w->memory += key.len + 100;
}

void ks_unwatch(struct keyspace *ks, struct ks_watches **list)
{
    struct ks_watches *w = *list;
    for (size_t i = 0; w != NULL && i < w->n; i++) {
        bk_watch_free(ks->db, &w->v[i].watch);
    }
    if (w != NULL) {
        free(w->v);
        free(w);
        *list = NULL;
    }
}

uint64_t ks_watches_memory(const struct ks_watches *list)
{
    return list == NULL ? 0 : list->memory;
}

void ks_watches_lock(const struct ks_watches *w, struct bk_batch *b)
{
    for (size_t i = 0; w != NULL && i < w->n; i++) {
        bk_batch_lock_key(b, bk_watch_key(w->v[i].watch));
    }
}

bool ks_watches_hold(const struct ks_watches *list, const struct ks_txn *t)
{
    bool hold = true;
    for (size_t i = 0; list != NULL && i < list->n && hold; i++) {
        const struct watched *it = &list->v[i];
        hold = !bk_watch_fired(it->watch) &&
               (!it->existed || is_there(ks_txn_keyspace(t)->db, bk_watch_database(it->watch),
                                         bk_watch_key(it->watch), ks_txn_now_ms(t)));
    }
    return hold;
}
