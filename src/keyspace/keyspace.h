/* SPDX-License-Identifier: MIT */
/*
 * keyspace.h - Redis's view of the store: typed keys with an expiry in numbered databases.
 *
 * The engine is behind this: nothing above keyspace/ includes bitkv.h. A struct ks_txn carries one
 * command through "values first": fetch (no lock, may read the disk), lock, recheck, work in
 * memory, commit.
 *
 *   ks_txn_begin(t, db, now_ms);
 *
 *   ks_txn_key(t, key, need): for each key the command names; index 0, 1, 2 ...
 *
 *   ks_txn_fetch(t): reads what is needed; the only step that may do I/O
 *
 *   ks_txn_lock(t): writing commands only; KS_AGAIN = a fetched value is out of date: fetch again
 *
 *   ks_get / ks_put / ks_delete ...: the command function: memory only, never waits
 *
 *   ks_txn_commit(t, &pos): all of its writes at once, or nothing
 */
#ifndef BK_KEYSPACE_KEYSPACE_H
#define BK_KEYSPACE_KEYSPACE_H

#include "base/buf.h"
#include "base/error.h"
#include "base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bk_db;
struct bk_reader;
struct bk_reads;
struct keyspace;
struct ks_txn;
struct ks_watches;

enum ks_type { KS_STRING = 0, KS_LIST, KS_SET, KS_ZSET, KS_HASH, KS_STREAM };
const char *ks_type_name(enum ks_type type); /* "string", as TYPE answers */

/* db is borrowed until ks_free. NULL: the store is still being opened, ks_attach brings it. */
struct keyspace *ks_new(struct bk_db *db, uint32_t databases);
/* Once, from any thread. ks_begin is last, when all that commands need beside the keyspace knows
 * the store too: from then on ks_ready is true for all threads. */
void ks_attach(struct keyspace *ks, struct bk_db *db);
void ks_begin(struct keyspace *ks);
/* False: commands find no store yet. They may ask nothing but ks_databases and ks_write_state. */
bool ks_ready(const struct keyspace *ks);
/* From here on what is drawn (RANDOMKEY, keys to evict) follows from the seed; without it, from the
 * clock at ks_new. */
void ks_seed(struct keyspace *ks, uint64_t seed);
void ks_free(struct keyspace **ks);
uint32_t ks_databases(const struct keyspace *ks);

enum ks_need {
    KS_NEED_NOTHING, /* written without being looked at, or looked up by ks_get after the lock
                        (memory only) */
    KS_NEED_META,    /* whether it is there, type, expiry */
    KS_NEED_VALUE    /* the value too */
};

/* How Redis would keep a string's bytes, which OBJECT ENCODING shows and nothing else depends on:
 * as SET would, as text even if it is a number (INCRBYFLOAT), or ready to be edited (APPEND). */
enum ks_encoding { KS_AS_SET = 0, KS_TEXT, KS_RAW };

/* What a key holds at the transaction's moment: a key whose time has run out is absent. */
struct ks_value {
    bool exists;
    enum ks_type type;
    int64_t expire_ms; /* 0 = never */
    /* With KS_NEED_VALUE, or written by this transaction; borrowed until the txn ends. */
    struct bk_span bytes;
    /* Borrowed; where the bytes lie when they are large and shared, else NULL. */
    struct bk_block *block;
    enum ks_encoding encoding; /* known where bytes are */
};

struct ks_txn *ks_txn_new(struct keyspace *ks);
void ks_txn_free(struct ks_txn **t);

void ks_txn_begin(struct ks_txn *t, uint32_t db, int64_t now_ms);
/* To look at the keys that are named from now on is not to use them (TTL, OBJECT): their idle time
 * stays. Off again when a transaction begins. */
void ks_txn_no_touch(struct ks_txn *t, bool no_touch);
int64_t ks_txn_now_ms(const struct ks_txn *t);
uint32_t ks_txn_db(const struct ks_txn *t); /* the one that the running command is in */
/* key is borrowed until the transaction ends. Returns its index. */
size_t ks_txn_key(struct ks_txn *t, struct bk_span key, enum ks_need need);
/* A key of another database, from which on it is as any other. */
size_t ks_txn_key_in(struct ks_txn *t, uint32_t db, struct bk_span key, enum ks_need need);
struct bk_span ks_key(const struct ks_txn *t, size_t index); /* as named */
/* The key that was named as the i-th of all: takes it out now if it has run out of time at the
 * transaction's moment, and tells which it was; true for one caller only. Before the look at it. */
bool ks_expire(struct ks_txn *t, size_t i, uint32_t *db, struct bk_span *key);
void ks_txn_all_keys(struct ks_txn *t); /* lock will take every key lock (FLUSHALL, SWAPDB) */

/* BK_OK, or BK_CORRUPT / BK_EIO with the reason: the command answers an error. BK_READING: only
 * with ks_txn_reads. */
BK_MUST_USE int ks_txn_fetch(struct ks_txn *t, struct bk_error *err);

/*
 * Transactions of a thread that must not wait for the disk. The reader is the thread's (NULL: the
 * store reads while the caller waits); reads belong to one command and outlive its transaction.
 * With ks_txn_reads, after begin, a fetch that would wait has everything read that the command
 * needs and answers BK_READING: the transaction is ended, and the whole command begins again, with
 * the same reads, once ks_reader_next tells its owner. *reads is made when needed; what it brought
 * is borrowed by the transaction: it is freed after that has ended. So is ahead, which may be
 * NULL: reads of the same owner that may have what is needed. wake is called on another
 * thread and must not block.
 */
struct bk_reader *ks_reader_new(struct keyspace *ks, void (*wake)(void *arg), void *arg);
void ks_reader_free(struct bk_reader **reader);  /* all its reads are freed; waits for the disk */
void ks_reader_submit(struct bk_reader *reader); /* before the thread goes to sleep */
bool ks_reader_next(struct bk_reader *reader, void **owner); /* false: none for the moment */
void ks_reads_free(
    struct bk_reads **reads); /* at any time; takes and nulls; NULL inside: nothing */
void ks_txn_reads(struct ks_txn *t, struct bk_reader *reader, struct bk_reads **reads,
                  struct bk_reads *ahead, void *owner);
/* In place of a fetch: begins to read the values of the keys in their order, up to bytes of them,
 * and waits for none. After ks_txn_reads. */
void ks_txn_read_ahead(struct ks_txn *t, uint64_t bytes);

/*
 * Several commands in one transaction (MULTI). All keys are named before the first command runs, in
 * the order of the commands: ks_txn_focus sets the database that a command is in, ks_txn_will_flush
 * and _will_swap tell what it will do to databases, so that keys named later are fetched from where
 * they lie now. ks_txn_named is how many keys there are. Before a command runs, ks_txn_focus again,
 * with how many keys there were before its own: its first key is then index 0.
 */
void ks_txn_focus(struct ks_txn *t, uint32_t db, size_t first);
size_t ks_txn_named(const struct ks_txn *t);
void ks_txn_will_flush(struct ks_txn *t, uint32_t db);
void ks_txn_will_swap(struct ks_txn *t, uint32_t db1, uint32_t db2);

enum ks_lock { KS_LOCKED, KS_AGAIN };
BK_MUST_USE enum ks_lock ks_txn_lock(struct ks_txn *t);
/* Behind the writes of a command that looked at no key, so held no lock: takes now those that the
 * commit would take. False: it holds its locks already, or has written nothing. */
bool ks_txn_lock_writes(struct ks_txn *t);

/* After fetch (reading commands) or lock (writing commands). Sees this transaction's own writes.
 * Index as returned by ks_txn_key. */
void ks_get(struct ks_txn *t, size_t index, struct ks_value *out);

/* Bytes of memory that a key takes which is there: in the index, and its value's in the cache where
 * it is held. When to ask: as ks_get. */
uint64_t ks_key_memory(struct ks_txn *t, size_t index);
/* Milliseconds since the key was used, about (bk_idle_ms of bitkv.h tells how exact); after ks_get.
 */
uint64_t ks_idle_ms(const struct ks_txn *t, size_t index);

uint8_t *ks_alloc(struct ks_txn *t,
                  size_t n); /* memory until the transaction ends, for composed values */

/* Bytes of a value: a longer one is refused at the commit (BK_ETOOBIG), so do not even compose it.
 */
#define KS_VALUE_MAX ((uint64_t)4095 << 20)

struct ks_write {
    enum ks_type type;
    struct bk_span bytes;   /* borrowed until the transaction ends */
    struct bk_block *block; /* where bytes lie, if in a block: the transaction keeps a reference
                             * until it ends, and large ones are shared, not copied */
    int64_t expire_ms;      /* 0 = never; in the past: the caller deletes instead */
    enum ks_encoding encoding;
};
void ks_put(struct ks_txn *t, size_t index, const struct ks_write *w);
/* What was put is to pass for unused for so long already, as near as ks_idle_ms can tell. */
void ks_put_idle(struct ks_txn *t, size_t index, uint64_t idle_ms);
void ks_delete(struct ks_txn *t, size_t index);
void ks_flush(struct ks_txn *t, uint32_t db);
void ks_swap(struct ks_txn *t, uint32_t db1, uint32_t db2);

/* Ends the transaction. BK_EAGAIN: no room in the log, nothing changed, run the command again after
 * a wake call. BK_ETOOBIG, BK_ENOSPC, BK_EIO: nothing changed. *pos: log position that the reply
 * depends on, reads included. */
BK_MUST_USE int ks_txn_commit(struct ks_txn *t, uint64_t *pos, struct bk_error *err);
/* Ends it without a change; *pos (may be NULL) as above, for what was read. */
void ks_txn_end(struct ks_txn *t, uint64_t *pos);

/* Called by each commit that went well and had changes, when other threads see them and the locks
 * are let go; pos is where the log ends with them. The keys are still named, all of them from 0. */
typedef void ks_committed_fn(void *arg, struct ks_txn *t, uint64_t pos);
void ks_txn_on_commit(struct ks_txn *t, ks_committed_fn *fn, void *arg);
/* In that call: has the i-th key of all changed? */
bool ks_changed(const struct ks_txn *t, size_t i);
/* In that call: true if whole databases have changed, by a command whose own keys, and those of
 * the commands behind it, are the ones from *first on. */
bool ks_changed_whole(const struct ks_txn *t, size_t *first);
/* A number that the caller keeps with the i-th key of all; 0 at first. */
void ks_set_mark(struct ks_txn *t, size_t i, uint8_t mark);
uint8_t ks_mark(const struct ks_txn *t, size_t i);

/* Watched keys: WATCH. A list is the caller's and is used by one thread at a time; NULL is an empty
 * one. Keys are copied; memory: about 100 bytes and the key, each. */
void ks_watch(struct keyspace *ks, struct ks_watches **list, uint32_t db, struct bk_span key,
              int64_t now_ms);
void ks_unwatch(struct keyspace *ks, struct ks_watches **list); /* takes and nulls */
uint64_t ks_watches_memory(const struct ks_watches *list);
/* The transaction's lock takes those of the watched keys too. list is borrowed until its end. */
void ks_txn_watches(struct ks_txn *t, const struct ks_watches *list);
/* After the lock: is each watched key as it was when it was watched, not written and not run out
 * since? */
bool ks_watches_hold(const struct ks_watches *list, const struct ks_txn *t);

/* Whole-database reads, in the transaction's database; what they promise is what SCAN promises, and
 * their replies depend on ks_tail(). One that has named all keys and holds the locks sees its own
 * writes, and everything at one moment. */
uint64_t ks_txn_count(struct ks_txn *t);
struct ks_scan_key {
    struct bk_span key; /* borrowed for the call */
    enum ks_type type;
};
/* Looks at at least count keys unless the end comes first, and calls each() for those whose time
 * has not run out. */
void ks_txn_scan(struct ks_txn *t, uint64_t *cursor, size_t count,
                 void (*each)(void *arg, const struct ks_scan_key *key), void *arg);
/* BK_NOTFOUND when no key is there. */
BK_MUST_USE int ks_txn_random_key(struct ks_txn *t, struct bk_buf *key);

/* Keys that will be looked up soon. */
void ks_prefetch(struct keyspace *ks, uint32_t db, const struct bk_span *keys, size_t n);
/* Around transactions of this thread, one after the other, that do not wait: as bk_visit_begin. */
void ks_visit_begin(struct keyspace *ks);
void ks_visit_end(struct keyspace *ks);

/* Counts of the store as it is. */
uint64_t ks_count(struct keyspace *ks, uint32_t db);
uint64_t ks_count_expiring(struct keyspace *ks, uint32_t db);
/* What was seen of the store as it is depends on ks_tail(), read behind it, if ks_undoings() is
 * then as it was before; bk_undoings says why. */
uint64_t ks_tail(struct keyspace *ks);
uint64_t ks_undoings(struct keyspace *ks);
/* Returns when those who hold key locks now have let go of them. The caller holds none. */
void ks_pass_locks(struct keyspace *ks);
/* What was written there is gone again: its disk took it not. */
bool ks_undone(struct keyspace *ks, uint64_t pos);
/* Bytes of memory of a database's index; *expiry: so much more for expiry times. */
uint64_t ks_index_bytes(struct keyspace *ks, uint32_t db, uint64_t *expiry);
/* As ks_txn_random_key, of the store as it is. */
BK_MUST_USE int ks_random_key(struct keyspace *ks, uint32_t db, int64_t now_ms, struct bk_buf *key);

/* Eviction: deletes keys, of all databases, that a rule chooses. In one batch, so that the deletes
 * are as durable as any once the log is flushed up to ks_tail. */
enum ks_evict_rule {
    KS_EVICT_NONE,
    KS_EVICT_ALL_LRU, /* allkeys-lru: idle for long */
    KS_EVICT_ALL_RANDOM,
    KS_EVICT_VOLATILE_LRU, /* of those with an expiry */
    KS_EVICT_VOLATILE_RANDOM,
    KS_EVICT_VOLATILE_TTL /* that run out soon */
};
struct ks_evict {
    enum ks_evict_rule rule;
    uint32_t samples; /* keys looked at for each that goes; more than 128 are as 128 */
    uint32_t max;     /* keys that go at most */
    /* After the commit, as durable as pos is; may be NULL. */
    void (*evicted)(void *arg, uint32_t db, struct bk_span key, uint64_t pos);
    void *arg;
};
struct ks_evicted {
    uint64_t keys, memory; /* memory: about what comes free */
};
/* BK_OK: some have gone. BK_NOTFOUND: the rule chooses none. BK_EAGAIN: no room in the log for the
 * moment. BK_ENOSPC, BK_EIO: the disk takes no deletes. */
BK_MUST_USE int ks_evict(struct keyspace *ks, const struct ks_evict *e, struct ks_evicted *out,
                         struct bk_error *err);

/* BK_OK, or why writes are refused at the moment (for -MISCONF), with the reason in *err. */
BK_MUST_USE int ks_write_state(struct keyspace *ks, struct bk_error *err);

#endif
