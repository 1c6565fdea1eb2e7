/* SPDX-License-Identifier: MIT */
/*
 * bitkv.h - a Bitcask store: append-only data files, every key in memory, values on disk.
 *
 * Sizes are bytes, times milliseconds since 1970 UTC, unless a name says otherwise. Keys and values
 * are any bytes, empty ones too. Limits: BK_KEY_MAX and BK_VALUE_MAX a record, BK_DATABASES_MAX
 * numbered databases, 8 TiB of data files, 2^48 writes in the life of a store.
 *
 * Functions that can fail return BK_OK, a negative enum bk_err, or a positive other answer
 * (base/error.h). Except for open, close and bk_step, every function may be called from any thread.
 *
 * Two ways to use it:
 *  - plain: bk_put, bk_get, bk_delete, which return when a write is as durable as options ask;
 *  - as a server does: bk_locate and bk_load bring values into memory, a batch locks its keys,
 * writes and commits without ever waiting, and replies are held back until bk_pos_state says that
 * their position is committed.
 *
 * A log position is a count of bytes ever appended; a write or an answer depends on what lies
 * before its position. What tells how a store is: engine/sight.h.
 */
#ifndef BK_ENGINE_BITKV_H
#define BK_ENGINE_BITKV_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/span.h"
#include "engine/sight.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BK_KEY_MAX ((uint64_t)512 << 20)    /* 512 MiB, as Redis */
#define BK_VALUE_MAX ((uint64_t)4095 << 20) /* below 2^32 with its header, key and checksums */
#define BK_DATABASES_MAX 8192u
#define BK_TYPE_MASK 0x07u /* the part of the flags byte that the keydir keeps in memory */

struct bk_db;
struct bk_batch;
struct bk_io;

/* ---- Opening ---- */

enum bk_sync {
    BK_SYNC_ALWAYS,   /* a write is committed when it is synced */
    BK_SYNC_EVERYSEC, /* committed when written; a sync begins within a second of the first unsynced
                         write */
    BK_SYNC_NO        /* committed when written; synced when a file is rotated and at close */
};

enum bk_on_corruption {
    BK_CORRUPT_SERVE, /* step over damage, list it, serve the rest */
    BK_CORRUPT_REFUSE /* bk_open fails with BK_CORRUPT */
};

/* How far bk_open, bk_verify, bk_snapshot or bk_restore is, for who watches it from another thread,
 * and a wish of his. Begins as zero. */
struct bk_progress {
    _Atomic uint64_t bytes_total, bytes_done; /* read or copied; the total may still change */
    _Atomic uint64_t files_total, files_done;
    _Atomic uint64_t keys; /* records of keys that were read so far */
    atomic_bool cancel;    /* set by the watcher: the call soon fails with BK_ECANCELED */
};

enum bk_merge_policy {
    BK_MERGE_ALWAYS, /* whenever a file is worth it */
    BK_MERGE_WINDOW, /* within the hours of window only */
    BK_MERGE_NEVER   /* only when bk_merge asks for it */
};

/* When a merge rewrites which files. A file is worth it when so much of it can be reclaimed. */
struct bk_merge_rules {
    enum bk_merge_policy policy;
    uint32_t dead_ratio;     /* percent of a file; 1 .. 100 */
    uint64_t dead_bytes;     /* or so many bytes, in a file */
    uint64_t small_file;     /* files below this are put together */
    uint32_t max_files;      /* in one run */
    uint64_t max_bytes;      /* read in one run; one larger file is a run of its own */
    char window[64];         /* "22:00-06:00", local time */
    uint64_t rate;           /* bytes a second, read and written; 0 = no limit */
    uint64_t rate_min;       /* bk_merge_slow goes no lower */
    uint32_t interval_ms;    /* between looks at the files */
    uint64_t disk_max_bytes; /* of data files; beyond it writes get BK_ENOSPC; 0 = no cap */
    /* Writes get BK_ENOSPC when less is free on the file system, but no more than an eighth of what
     * is free and in data files together: merges go on with it, and a quarter serves batches that
     * only delete, flush or swap. 0 = none; default 192 MiB. */
    uint64_t disk_reserve;
};
void bk_merge_rules_init(struct bk_merge_rules *r); /* the defaults */
bool bk_merge_window_valid(const char *window);     /* "HH:MM-HH:MM" */

/* What somebody waited for. */
enum bk_took {
    BK_TOOK_WRITE,         /* the log's buffer going to its file */
    BK_TOOK_WRITE_SYNCING, /* the same, beside a sync, which may have held it up */
    BK_TOOK_SYNC           /* with BK_SYNC_ALWAYS: a sync */
};

struct bk_options {
    size_t size;               /* sizeof(struct bk_options): set by bk_options_init */
    const char *dir;           /* borrowed for bk_open; made (0750) when it is not there */
    uint32_t databases;        /* numbered databases, 1 .. BK_DATABASES_MAX; default 16 */
    enum bk_sync sync;         /* default BK_SYNC_EVERYSEC */
    uint64_t max_file_bytes;   /* 4 KiB .. 1 TiB; default 256 MiB; a larger record or batch gets a
                                  file of its own */
    uint32_t max_file_age_s;   /* a data file older than this is rotated; 0 = never (default) */
    uint64_t log_buffer_bytes; /* bound of bytes accepted but not yet committed; 64 KiB .. 1 GiB;
                                  default 8 MiB */
    uint64_t cache_bytes;      /* value cache; 0 = none; default 0 */
    uint64_t batch_bytes_max;  /* a larger batch is refused with BK_ETOOBIG; default 1 GiB */
    uint64_t hint_bytes; /* the active file's front gets a hint each so many; default 64 MiB */
    struct bk_merge_rules merge;
    enum bk_on_corruption on_corruption; /* default BK_CORRUPT_SERVE */
    bool read_only; /* nothing in dir is made, changed or removed; others may read it too; writes
                     * answer BK_EREADONLY. What has expired leaves memory. What cannot be read of
                     * data files is damage, and no reason not to open. */
    uint32_t disk_threads;  /* that read for struct bk_reader; 0 = none (default), most 256 */
    bool stepped;           /* no thread is started: bk_step does all background work (tests) */
    uint64_t hash_seed;     /* seed of a new store's key hash; 0 = random (default) */
    const struct bk_io *io; /* borrowed until bk_close; NULL = the operating system (engine/io.h) */
    const struct bk_clock *clock; /* borrowed until bk_close; NULL = the system's */
    struct bk_progress *progress; /* borrowed for bk_open; NULL = nobody watches */
    /* Called without any lock held, from any thread, after the committed position moved, room came
     * back to the log, or a write failed. May be NULL. Must not block or call into the store. */
    void (*wake)(void *arg);
    void *wake_arg;
    /* Called after each such wait, under the same conditions. NULL = not called. */
    void (*took)(void *arg, enum bk_took what, int64_t us);
    void *took_arg;
};

void bk_options_init(struct bk_options *o);

/* BK_ELOCKED: another process holds the directory (its pid is in err->text). BK_EVERSION: newer
 * format. BK_EINVAL: its MANIFEST is no store's, and no data file lies beside it. BK_ECANCELED:
 * progress->cancel was set. On success *out is owned by the caller. */
BK_MUST_USE int bk_open(struct bk_db **out, const struct bk_options *o, struct bk_error *err);

/* Commits everything, seals the active file, releases the lock; takes and nulls *db also when it
 * fails (then what was not committed is lost, as err says). No other thread may use it any more. */
BK_MUST_USE int bk_close(struct bk_db **db, struct bk_error *err);

/* Settings that may change while the store runs; fields as in bk_options. */
struct bk_tunables {
    enum bk_sync sync;
    uint64_t max_file_bytes;
    uint32_t max_file_age_s;
    uint64_t log_buffer_bytes;
    uint64_t cache_bytes;
    struct bk_merge_rules merge;
};
void bk_tunables_get(struct bk_db *db, struct bk_tunables *out);
void bk_tune(struct bk_db *db, const struct bk_tunables *t); /* values out of range are clamped */

/* The value cache alone: cheap, at any time. */
uint64_t bk_cache_used(struct bk_db *db);
void bk_cache_limit(struct bk_db *db, uint64_t bytes);

/* ---- Plain use ---- */

/* A key with its hash, so that it is hashed once. data is borrowed as long as the key is used. */
struct bk_key {
    struct bk_span bytes;
    uint64_t hash;
    bool quiet; /* to look it up is not to use it: its age stays */
};
void bk_key_init(struct bk_db *db, struct bk_key *key, const void *data, size_t len);

/* num: below databases, here and in what follows; these three answer BK_EINVAL otherwise. expire_ms
 * 0: never; BK_EINVAL below it. Return when committed. BK_ENOSPC, BK_EIO: nothing has changed. */
BK_MUST_USE int bk_put(struct bk_db *db, uint32_t num, struct bk_span key, struct bk_span value,
                       int64_t expire_ms);
/* BK_NOTFOUND when there was no such key. */
BK_MUST_USE int bk_delete(struct bk_db *db, uint32_t num, struct bk_span key);
/* Replaces *value's contents. BK_NOTFOUND: *value is untouched. expire_ms may be NULL. */
BK_MUST_USE int bk_get(struct bk_db *db, uint32_t num, struct bk_span key, struct bk_buf *value,
                       int64_t *expire_ms);

/* ---- Reading ---- */

/*
 * A place on disk that a look-up found (bk_item.at) may be used, to load or to compare, only under
 * a pin that was taken before the look-up: a merge that has moved the record waits for the pin
 * before it gives the place to another. Pins nest; one held for long keeps disk space from coming
 * back. bk_batch_commit and the plain functions hold their own.
 */
unsigned bk_pin(struct bk_db *db);
void bk_unpin(struct bk_db *db, unsigned token); /* what bk_pin returned */

/* A visit makes many calls in a row cheaper: one pin stands for all that the thread takes in them.
 * Pins that are taken in a visit are given back in it. Nothing that waits belongs inside, since
 * memory that others replace is not given back meanwhile. One at a time for a thread. */
void bk_visit_begin(struct bk_db *db);
void bk_visit_end(struct bk_db *db);

/* What a look-up found. All zero is a valid empty item; release with bk_item_fini. One item serves
 * many look-ups and keeps its buffer, so that reads do not allocate. */
struct bk_item {
    /* Filled by bk_locate and bk_batch_peek. */
    uint64_t at; /* names one record: two look-ups with the same at saw the same write; 0 = no such
                    key */
    int64_t expire_ms; /* 0 = never; a time that has passed is reported, not hidden: the caller has
                          the clock */
    uint64_t pos; /* log position the answer depends on, also for a miss; 0 = nothing uncommitted */
    uint8_t flags; /* the BK_TYPE_MASK part; all 8 bits after bk_load */
    uint8_t age;   /* for bk_idle_ms; as it was before this look-up */
    uint64_t size; /* of the record on disk, padding included */
    /* Filled by bk_load. */
    struct bk_span value; /* borrowed from the item until its next use */
    /* The item's own memory. */
    struct bk_buf buf;
    struct bk_block *block; /* counted; where a large value still waits in the log buffer */
};
void bk_item_fini(struct bk_item *item);

/* Looks n keys up in memory, keys[i] in database nums[i], without a lock and at one moment: no
 * batch is seen in part. n >= 1. */
void bk_locate(struct bk_db *db, const uint32_t *nums, const struct bk_key *keys, size_t n,
               struct bk_item *items);

/* Brings a located item's value into memory; may read the disk once. key is the one that was
 * located, under a pin. BK_CHANGED: its write was undone, locate again. BK_CORRUPT: damaged. */
BK_MUST_USE int bk_load(struct bk_db *db, const struct bk_key *key, struct bk_item *item,
                        struct bk_error *err);

/*
 * ---- Reading without waiting for the disk ----
 *
 * For a thread that serves many and must not stand still: what is not in memory is read by the
 * threads of bk_options.disk_threads, and the caller does something else meanwhile.
 *
 * bk_locate, then bk_load_cached for each key; BK_READING: bk_reads_add it to the command's reads;
 * bk_reads_ready when all are added; bk_reader_submit before the thread goes to sleep. wake(arg) is
 * called: bk_reader_next tells whose reads are done; bk_locate again, bk_reads_take for each key
 * (BK_NOTFOUND: bk_load_cached); what has changed its place meanwhile is added anew.
 *
 * One bk_reader belongs to one thread, and so do its bk_reads. Bound: of one reader reads are under
 * way, or done and still held, for 64 MiB and one bk_reads more; others wait for that.
 */
struct bk_reader;
struct bk_reads;

/* NULL: the store has no threads for it: use bk_load. wake is called on such a thread, without a
 * lock, when something is done after there was nothing; it must not block or call into the store.
 */
struct bk_reader *bk_reader_new(struct bk_db *db, void (*wake)(void *arg), void *arg);
/* All its bk_reads have been freed; waits for those that are still under way. Takes and nulls. */
void bk_reader_free(struct bk_reader **reader);
/* Hands over what was added since the last call. */
void bk_reader_submit(struct bk_reader *reader);
/* Tells one after the other whose reads are done; false: there is no more now, and the next one to
 * come has its own wake call. Who stops before must go on by itself. */
bool bk_reader_next(struct bk_reader *reader, void **owner);

/* Holds a pin of its own from here to bk_reads_free. */
struct bk_reads *bk_reads_new(struct bk_reader *reader, void *owner);
/* At any time: what is under way is dropped on its return. Takes and nulls; NULL is accepted. */
void bk_reads_free(struct bk_reads **reads);
bool bk_reads_done(const struct bk_reads *reads); /* nothing is under way */

/* As bk_load, but BK_READING where it would wait for the disk. */
BK_MUST_USE int bk_load_cached(struct bk_db *db, const struct bk_key *key, struct bk_item *item,
                               struct bk_error *err);
/* BK_READING: it will be read. BK_CHANGED: locate it again. */
BK_MUST_USE int bk_reads_add(struct bk_reads *reads, uint32_t num, const struct bk_key *key,
                             const struct bk_item *item);
/* Nothing more is added for the moment: many that are waiting are handed over at once. */
void bk_reads_ready(struct bk_reads *reads);
/* As bk_load, of a place that was added: BK_READING as long as it is under way, BK_NOTFOUND when it
 * was not. item->value is borrowed until bk_reads_free. */
BK_MUST_USE int bk_reads_take(struct bk_reads *reads, const struct bk_key *key,
                              struct bk_item *item, struct bk_error *err);

/* Fetches what look-ups of up to BK_PREFETCH_MAX keys, and loads of values held in memory, touch
 * into the processor's cache: the waits for memory of all of them at once. */
#define BK_PREFETCH_MAX 32u
void bk_prefetch(struct bk_db *db, uint32_t num, const struct bk_key *keys, size_t n);

struct bk_scan_entry {
    struct bk_span key; /* borrowed for the call */
    int64_t expire_ms;
    uint8_t flags; /* the BK_TYPE_MASK part */
};
/* Calls each() for the keys of one or more buckets, at least count keys unless the end is reached,
 * no lock held. *cursor: 0 to begin, set to go on, 0 again at the end. A key that is there from
 * begin to end is seen at least once, whatever happens meanwhile; the cursor is valid for any later
 * call, also after a restart. */
void bk_scan(struct bk_db *db, uint32_t num, uint64_t *cursor, size_t count,
             void (*each)(void *arg, const struct bk_scan_entry *entry), void *arg);

/* A key drawn with the caller's random number, near enough to uniform; replaces *key's contents.
 * BK_NOTFOUND when the database is empty. expire_ms as found. */
BK_MUST_USE int bk_random_key(struct bk_db *db, uint32_t num, uint64_t random, struct bk_buf *key,
                              int64_t *expire_ms);

/* About how long ago a key of this age was used: looked up, or written. Four bits a key tell, so it
 * is good to a second near the present and to a factor of three further off; in a store of so many
 * keys that a walk around them takes longer than some seconds, no better than a third of that.
 * After a restart from an index image to a factor of four, after another one the start counts as a
 * use. */
uint64_t bk_idle_ms(struct bk_db *db, uint8_t age);

/* Some keys with what somebody needs who chooses among them; each() is called for a few, or for
 * none when there are none. ALL, EXPIRING: drawn near enough to uniform. SOONEST: of those with an
 * expiry, some of those that run out next. Under a pin, for at. */
enum bk_sample_of { BK_SAMPLE_ALL, BK_SAMPLE_EXPIRING, BK_SAMPLE_SOONEST };
struct bk_sample {
    struct bk_span key; /* borrowed for the call */
    uint64_t at;        /* as in bk_item */
    int64_t expire_ms;
    uint64_t idle_ms;
    uint64_t memory; /* about what the key takes */
};
void bk_sample(struct bk_db *db, uint32_t num, enum bk_sample_of of, uint64_t random,
               void (*each)(void *arg, const struct bk_sample *sample), void *arg);

uint64_t bk_count(struct bk_db *db, uint32_t num); /* keys, expired ones not yet removed included */
uint64_t bk_count_expiring(struct bk_db *db, uint32_t num); /* keys with an expiry */
/* Bytes of memory that the index of a database takes; *expiry: more for its expiry times. */
uint64_t bk_index_bytes(struct bk_db *db, uint32_t num, uint64_t *expiry);
/* Bytes of memory that the key of a located item takes, with its expiry time and, where it is held,
 * its value in the cache; not its share of what the index keeps free. */
uint64_t bk_item_memory(struct bk_db *db, const struct bk_key *key, const struct bk_item *item);

/* ---- Batches: all of it or nothing, in memory for every observer and on disk ---- */

/* A batch object is used by one thread at a time and again and again; begin empties it. Its life:
 *   begin; lock_key for each key it will read or write, or lock_all; lock; peek; put, delete, ...;
 * commit or cancel. Without lock, commit locks the keys that are written. */
struct bk_batch *bk_batch_new(struct bk_db *db);
void bk_batch_free(struct bk_batch **b);
void bk_batch_begin(struct bk_batch *b);
void bk_batch_lock_key(struct bk_batch *b, const struct bk_key *key);
void bk_batch_lock_all(struct bk_batch *b);
void bk_batch_lock(struct bk_batch *b);

/* Memory that lives until the next begin, for composed values. */
uint8_t *bk_batch_alloc(struct bk_batch *b, size_t n);

/* The key as this batch leaves it: its own writes first, then the store (memory only). For an own
 * write value is set and at is UINT64_MAX (block too, when the value lies in one); otherwise value
 * is empty and bk_load would bring it. */
void bk_batch_peek(struct bk_batch *b, uint32_t num, const struct bk_key *key,
                   struct bk_item *item);

/* The bytes of a write. With block (counted; the batch takes its own reference) bytes lie inside it
 * and are shared, not copied, when large; without, they are borrowed until the batch ends. */
struct bk_value {
    struct bk_span bytes;
    struct bk_block *block;
};
/* The last write of a key wins. The key's bytes are borrowed until the batch ends. With a negative
 * expire_ms bk_batch_commit answers BK_EINVAL. */
void bk_batch_put(struct bk_batch *b, uint32_t num, const struct bk_key *key,
                  const struct bk_value *value, uint8_t flags, int64_t expire_ms);
/* The key, which this batch has put, is to pass for unused for so long (up to 97 days): about, as
 * bk_idle_ms says. */
void bk_batch_idle(struct bk_batch *b, uint32_t num, const struct bk_key *key, uint64_t idle_ms);
void bk_batch_delete(struct bk_batch *b, uint32_t num, const struct bk_key *key);
void bk_batch_flush(struct bk_batch *b, uint32_t num); /* empties one database; needs lock_all */
void bk_batch_swap(struct bk_batch *b, uint32_t num1,
                   uint32_t num2); /* swaps two; needs lock_all */
bool bk_batch_empty(const struct bk_batch *b);

/* What a batch that holds every lock makes of whole databases. */
uint64_t bk_batch_count(struct bk_batch *b, uint32_t num); /* as bk_count, own writes included */
/* The number under which the contents of num stand in the store: own writes apart; -1: nowhere,
 * the batch has flushed them. */
int64_t bk_batch_number(const struct bk_batch *b, uint32_t num);
/* Has it an own write of the key? Then the store's record does not count. */
bool bk_batch_writes(struct bk_batch *b, uint32_t num, const struct bk_key *key);
/* Calls each() for the own puts in num. */
void bk_batch_puts(const struct bk_batch *b, uint32_t num,
                   void (*each)(void *arg, const struct bk_scan_entry *entry), void *arg);

/* Ends the batch. BK_OK: every reader sees it; *pos is the position to wait for. BK_EAGAIN: the log
 * has no room, nothing was changed; run it again after a wake call. BK_ETOOBIG, BK_ENOSPC, BK_EIO,
 * BK_EINVAL: nothing was changed. The locks are released in every case. */
BK_MUST_USE int bk_batch_commit(struct bk_batch *b, uint64_t *pos, struct bk_error *err);
void bk_batch_cancel(struct bk_batch *b); /* ends it without a change; releases the locks */

/* ---- Watches ---- */

/* Tells whether a key was written since the watch was made: by a batch or a plain write that puts
 * or deletes it, or that flushes or swaps its database while the key is there before or after. Not
 * by a merge, nor by a removal of what has expired. */
struct bk_watch;
/* Copies the key. Free it before the store is closed. */
struct bk_watch *bk_watch_new(struct bk_db *db, uint32_t num, const struct bk_key *key);
void bk_watch_free(struct bk_db *db,
                   struct bk_watch **watch); /* takes and nulls; NULL inside: nothing */
const struct bk_key *bk_watch_key(const struct bk_watch *w); /* borrowed from the watch */
uint32_t bk_watch_database(const struct bk_watch *w);
/* With the key's lock held by the caller's batch. */
bool bk_watch_fired(const struct bk_watch *w);

/* ---- Durability ---- */

/* Sees to it that what lies before pos is written: by this call, or by who writes just then
 * (everysec, no), or by the sync thread (always). May wait for an overdue sync (everysec). */
void bk_flush(struct bk_db *db, uint64_t pos);

/* BK_OK: committed. BK_EAGAIN: not yet. BK_EIO: the write failed and was undone. */
BK_MUST_USE int bk_pos_state(struct bk_db *db, uint64_t pos);

/* Waits until pos is committed or undone; the result of bk_pos_state. Not in a stepped store. */
BK_MUST_USE int bk_wait(struct bk_db *db, uint64_t pos);

uint64_t bk_tail(struct bk_db *db); /* the position after the newest write */
/* How often writes that were not committed have been undone: moves once the index shows them no
 * more, before bk_tail moves past them. So what is seen without locks depends on the tail if that
 * is read behind it, and this count is then as it was before. */
uint64_t bk_undoings(struct bk_db *db);

/* BK_OK, or why writes are refused at the moment (BK_ENOSPC, BK_EIO), with the reason in *err. With
 * BK_ENOSPC a batch that only deletes, flushes or swaps may still be let in, and says so itself. */
BK_MUST_USE int bk_write_state(struct bk_db *db, struct bk_error *err);

/* ---- Background work ---- */

/* Removes keys whose time ran out 128 ms ago or more, by up to max pieces of work, each about what
 * a removal costs; returns how many keys. A write that is not committed yet stays until it is.
 * *more (may be NULL): there may be more to do now. */
size_t bk_expire_step(struct bk_db *db, size_t max, bool *more);
/* The same, and calls each() for every key that it has removed, with no lock held; key is borrowed
 * for the call. */
typedef void bk_expired_fn(void *arg, uint32_t num, struct bk_span key);
size_t bk_expire_each(struct bk_db *db, size_t max, bool *more, bk_expired_fn *each, void *arg);
/* Removes this one key if its time ran out before now_ms, the wall clock; takes its key lock.
 * False: it did not, is not there, or its write is not committed yet. Of all who may remove a key
 * that has run out, one does. */
bool bk_expire_key(struct bk_db *db, uint32_t num, const struct bk_key *key, int64_t now_ms);

/* Keeps ages going: to be called ten times a second or so. Looks at up to max buckets of the key
 * index, a few keys each. True: there is more to do now. */
bool bk_age_step(struct bk_db *db, size_t max);

enum bk_merge_command { BK_MERGE_NOW, BK_MERGE_PAUSE, BK_MERGE_RESUME };
/* NOW: run after run until nothing is left that can be reclaimed, or one fails, whatever the
 * policy. PAUSE: no run begins, and one that has not been committed stands still. Returns at once.
 */
void bk_merge(struct bk_db *db, enum bk_merge_command what);
/* While slow, a merge runs at half its rate, but no slower than rate_min. */
void bk_merge_slow(struct bk_db *db, bool slow);

/* In the order of a run; src/engine/merge.h tells what is done in each. */
enum bk_merge_state {
    BK_MERGE_IDLE,
    BK_MERGE_PLAN,
    BK_MERGE_COPY,
    BK_MERGE_SYNC,
    BK_MERGE_LOG,
    BK_MERGE_EDIT,
    BK_MERGE_SWING,
    BK_MERGE_RETIRE,
    BK_MERGE_PAUSED /* a run stands still; with none, paused tells alone */
};
struct bk_merge_status {
    enum bk_merge_state state;
    bool paused;
    /* Of this run, or the last one. */
    uint64_t files_in, files_out, bytes_total, bytes_done, lost_races;
    int64_t started_ms, ended_ms, last_ms; /* last_ms: how long the last whole run took */
    char why[128];
    /* Since the store was opened. */
    uint64_t runs, aborted, bytes_read, bytes_written, bytes_reclaimed, markers;
    uint64_t reclaimable; /* dead bytes and guards in sealed files at the moment */
    /* What the next run would reclaim, found when the last look began none: for want of room, or of
     * a hint, or because a file could not be read or has less in it than there should be. */
    uint64_t withheld;
    uint64_t rate; /* bytes a second; 0 = no limit */
    char last_error[128];
};
void bk_merge_status(struct bk_db *db, struct bk_merge_status *out);

/* One step of all background work, for stepped stores. True: there is more to do at once. */
bool bk_step(struct bk_db *db);

/* ---- Snapshots ---- */

struct bk_snapshot_result {
    uint64_t files, bytes; /* data files in it, and their bytes */
    uint64_t copied_bytes; /* of them: those that links do not reach, since it lies elsewhere */
    uint64_t pos;          /* log position: at least what lies before it is in the snapshot */
    uint64_t sealed_us, took_us; /* until the log's files were sealed, and in all */
};

/*
 * Makes a snapshot: a new directory dir (not there yet, or empty; its parent is) that is a store of
 * its own and holds a prefix of the history, with everything that was written before the call. It
 * shares its files with this store by hard links where it can and copies them where it cannot. It
 * is built as dir.tmp and renamed when it is whole and synced. After a crash there may be a
 * dir.tmp: as long as anything has that name the call fails with BK_EINVAL and leaves it alone,
 * since it may be the caller's; bk_snapshot_remove removes it. While a snapshot is being made
 * nothing is removed from the store. One at a time: BK_EAGAIN while another is being made, and
 * after bk_snapshot_stop. BK_CORRUPT: a file is not whole. Holds up no command. out may be NULL,
 * and progress, which counts data files and their bytes, links at once.
 */
BK_MUST_USE int bk_snapshot(struct bk_db *db, const char *dir, struct bk_snapshot_result *out,
                            struct bk_progress *progress, struct bk_error *err);
/* From here on snapshots end early with BK_EAGAIN, one that is being made too: before bk_close. */
void bk_snapshot_stop(struct bk_db *db);

/* The next four need no open store. io: NULL = the operating system. */

/* Makes dir (not there yet, or empty) a store that holds what the snapshot holds, by links or
 * copies as bk_snapshot does, by way of dir.tmp too. The snapshot stays as it is; meanwhile others
 * may read it too. BK_ELOCKED: a store is open in it to write. BK_CORRUPT: it is none, or not
 * whole: every file of its manifest must be there with its header and its length. progress: as in
 * bk_snapshot. */
BK_MUST_USE int bk_restore(const struct bk_io *io, const char *snapshot, const char *dir,
                           struct bk_progress *progress, struct bk_error *err);

struct bk_file_info;
/* Calls each() for every data file of a snapshot in rank order; id, uid, rank, size and state are
 * set. BK_NOTFOUND: there is no manifest. BK_CORRUPT: it does not check. */
BK_MUST_USE int bk_snapshot_files(const struct bk_io *io, const char *snapshot,
                                  void (*each)(void *arg, const struct bk_file_info *info),
                                  void *arg, struct bk_error *err);

/* Removes a snapshot. BK_ELOCKED: a store is open in it. It is renamed to snapshot.tmp first, so
 * that a removal that was cut off leaves no snapshot. BK_EINVAL: that name is taken, or something
 * lies in it that is no store's; nothing was changed. */
BK_MUST_USE int bk_snapshot_remove(const struct bk_io *io, const char *snapshot,
                                   struct bk_error *err);

/* What lies in dir: a store, also what damage has left of one, by its data files' names or by its
 * manifest's first bytes; or none. What a first opening that was cut off has left counts as empty.
 * Changes nothing. */
enum bk_contents { BK_DIR_MISSING, BK_DIR_EMPTY, BK_DIR_OTHER, BK_DIR_STORE };
BK_MUST_USE int bk_look(const struct bk_io *io, const char *dir, enum bk_contents *out,
                        struct bk_error *err);

#endif
