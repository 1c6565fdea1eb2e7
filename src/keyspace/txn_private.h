/* SPDX-License-Identifier: MIT */
/* txn_private.h - a transaction, for the files that implement it. */
#ifndef BK_KEYSPACE_TXN_PRIVATE_H
#define BK_KEYSPACE_TXN_PRIVATE_H

#include "engine/bitkv.h"
#include "keyspace/keyspace_private.h"

struct txn_key {
    enum ks_need need;
    uint32_t db;     /* as the command names it; dbs says where the key lies before the txn */
    bool flushed;    /* it lies nowhere: the txn flushes its database first */
    bool changed;    /* by the txn */
    uint8_t mark;    /* the caller's */
    uint64_t peeked; /* the txn's generation when peeks[i] was filled; 0 = not filled */
};

struct ks_txn {
    /* Set once. */
    struct keyspace *ks;        /* borrowed */
    struct bk_batch *batch;     /* owned */
    ks_committed_fn *committed; /* NULL: nobody is told */
    void *committed_arg;        /* borrowed */
    /* This thread only. */
    uint32_t db;
    int64_t now_ms;
    uint64_t pos;        /* what the reply depends on so far */
    uint64_t generation; /* rises with each begin, lock and write: older peeks are void */
    bool any_value;      /* a key needs its value */
    bool no_touch;       /* to look at a key is not to use it */
    bool all_keys;
    bool begun; /* the batch is */
    bool pinned;
    unsigned pin; /* from begin to end: what was located stays where it is */
    bool locked;
    bool wrote_much;     /* a long value, or one in a block */
    bool wrote;          /* a put: a count of 0 no longer says that a database is empty */
    bool changes, whole; /* there are some; of whole databases too, the last behind whole_first */
    size_t whole_first;
    const struct ks_watches *watches; /* borrowed; NULL: none to lock */
    struct bk_reader *reader;         /* borrowed; NULL: a fetch waits for the disk */
    struct bk_reads **reads;          /* borrowed; the command's, NULL inside: it has none yet */
    struct bk_reads *ahead;           /* borrowed; or NULL */
    void *owner;                      /* of reads */
    uint32_t *lies; /* owned; database by number before the txn's swaps; NULL: none */
    size_t first;   /* key that the running command calls 0 */
    size_t n, cap;
    struct bk_key *keys;   /* owned, cap long, as the four below */
    uint32_t *dbs;         /* where each lies in the store, before the txn's own swaps */
    struct bk_item *items; /* what fetch located and loaded */
    struct bk_item *peeks; /* what ks_get found under the locks */
    struct txn_key *info;
};

/* The reply depends on what lies before pos. */
static inline void ks_txn_depend(struct ks_txn *t, uint64_t pos)
{
    if (pos > t->pos) {
        t->pos = pos;
    }
}

/* Is a key there at the transaction's moment? */
static inline bool ks_txn_present(const struct ks_txn *t, const struct bk_item *item)
{
    return item->at != 0 && !ks_expired(item->expire_ms, t->now_ms);
}

#endif
