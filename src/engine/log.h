/* SPDX-License-Identifier: MIT */
/*
 * log.h - the active file, the bytes on their way to it, and group commit.
 *
 * Positions count every byte ever appended, across files. appended (tail) >= written >= synced;
 * committed is synced with appendfsync always, written otherwise. Bytes stay in the buffer until
 * they are committed.
 *
 *   L1  a location is handed out only for bytes that are in the buffer whole;
 *   L2  bytes reach a file in the order of positions, and room on disk was reserved before they
 * were accepted; L3  a file is in the manifest before a record in it is accepted; L4  a rotated
 * file is synced before anything behind it counts as synced; L5  a sync mark names only what was
 * synced before the mark was appended.
 */
#ifndef BK_ENGINE_LOG_H
#define BK_ENGINE_LOG_H

#include "base/buf.h"
#include "base/mutex.h"
#include "engine/bitkv.h"
#include "engine/files.h"
#include "engine/record.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define BKI_LOG_COPY_MAX 65536u /* larger values are referred to, not copied */
#define BKI_LOG_CHUNK (256u << 10)
#define BKI_LOG_ALLOCATE ((uint64_t)16 << 20)     /* room on disk is reserved in steps of this */
#define BKI_LOG_ALLOCATE_MIN ((uint64_t)64 << 10) /* or less, on a disk that is nearly full */
#define BKI_LOG_FIRST_POS 4096u                   /* position 0 means: depends on nothing */
#define BKI_FRAME_VALUE 16u
#define BKI_UNDONE_MAX 64u

/* One record to append. */
struct bki_append {
    struct bki_record rec;  /* seq and header_crc are filled in */
    struct bk_span key;     /* borrowed until the append returns */
    struct bk_span value;   /* over BKI_LOG_COPY_MAX: lies in block; else borrowed */
    struct bk_block *block; /* borrowed: the log takes its own reference */
    const uint8_t *table;   /* block CRCs when the value has them; borrowed */
    uint64_t size;          /* padded */
    uint64_t loc;           /* out */
    struct bki_file *file;  /* out */
    uint64_t pos;           /* out: position after it */
};

/* A stretch of buffered bytes that lie together in one file. */
struct bki_chunk {
    struct bki_chunk *next;
    struct bki_file *file;
    uint64_t pos;    /* position of its first byte */
    uint64_t offset; /* of its first byte in the file */
    size_t len, cap;
    struct bk_block *block; /* counted; NULL: the bytes are in data */
    const uint8_t *bytes;
    uint8_t data[];
};

enum bki_log_state {
    BKI_LOG_OK,
    BKI_LOG_FAILED, /* a write or sync failed; uncommitted records wait for their undoing */
    BKI_LOG_NO_FILE /* undone; no active file until a new one can be made */
};

struct bki_log {
    /* Set once. */
    struct bki_files *files;
    struct bki_damage *damage; /* borrowed; what a failed sync has lost is noted there */
    void (*wake)(void *arg);
    void *wake_arg;
    void (*took)(void *arg, enum bk_took what, int64_t us);
    void *took_arg;
    bool in_place; /* zeros written ahead take no room of their own; set by bki_log_start */
    /* Atomic settings. */
    atomic_int sync; /* enum bk_sync */
    _Atomic uint64_t max_file_bytes, buffer_bytes, cache_bytes;
    _Atomic uint32_t max_file_age_s;
    _Atomic uint64_t disk_max_bytes; /* 0 = none */
    _Atomic uint64_t disk_reserve;
    /* Atomic. */
    _Atomic uint64_t
        write_wanted;         /* up to here loops have left a write to its writer of the time */
    atomic_uint write_crowds; /* threads that have written for many: others wait for the mutex */
    /* Atomic: written under mu, read by anyone. */
    _Atomic uint64_t tail_pos, written_pos, synced_pos, committed_pos;
    atomic_int state; /* enum bki_log_state */
    atomic_uint undone_n;
    atomic_bool full;    /* no room on disk but for what takes away: every other write is refused */
    atomic_bool waiters; /* somebody was answered BK_EAGAIN since the last wake */

    /* mu (rank 50): the tail and the buffer. */
    struct bk_mutex mu;
    struct bki_file *active BK_GUARDED(mu);
    struct bki_file *next BK_GUARDED(mu); /* ready to become active; NULL while one is being made */
    struct bki_file *rotated[64] BK_GUARDED(mu);
    uint32_t rotated_n BK_GUARDED(mu);
    uint64_t next_seq BK_GUARDED(mu);
    struct bki_chunk *first BK_GUARDED(mu), *last BK_GUARDED(mu);
    struct bki_chunk *spare BK_GUARDED(mu); /* one kept, so that a steady flow does not allocate */
    bool mark_due BK_GUARDED(mu); /* the next append notes how far the log has been synced */
    uint64_t mark_uid BK_GUARDED(mu), mark_offset BK_GUARDED(mu);
    uint64_t want_bytes BK_GUARDED(mu); /* a record waits for a next file with this much room */
    /* The sync thread is to write up to here: with always to commit it, else for somebody who waits
     * for room in the buffer. */
    uint64_t asked_pos BK_GUARDED(mu);
    uint64_t active_want BK_GUARDED(mu); /* one waits for the active file to have room up to here */
    int64_t drain_until_us
        BK_GUARDED(mu); /* a large record waits for an empty buffer: others hold back */
    bool map_changed BK_GUARDED(mu);        /* some database number differs from its first space */
    struct bki_spacemap map BK_GUARDED(mu); /* changed under all key locks too */
    struct bk_error error BK_GUARDED(mu);   /* why state is not OK, or why there is no room */
    bool no_space BK_GUARDED(mu);           /* the last try to reserve room failed */
    uint64_t full_need BK_GUARDED(mu);      /* full ends when a record of this size has room */
    struct bk_error full_error BK_GUARDED(mu);
    uint64_t away_want BK_GUARDED(mu);  /* what takes away waits for so much of the reserve */
    uint64_t away_bytes BK_GUARDED(mu); /* it has had so much since the log was full */
    bool away_spent BK_GUARDED(mu);     /* and got no more at the last try */
    uint64_t undone[BKI_UNDONE_MAX][2] BK_GUARDED(mu); /* (from, to] positions that were undone */
    bool rotate_wanted BK_GUARDED(mu);        /* the active file is to end, whatever its size */
    _Atomic uint64_t sync_wanted;             /* to be synced up to here, whatever the mode */
    int64_t unsynced_since_us BK_GUARDED(mu); /* monotonic; 0 = all written bytes are synced */
    bool syncing BK_GUARDED(mu);
    bool stepping BK_GUARDED(mu); /* the sync thread is at work: at a sync, a seal, the next file */
    struct bk_cond moved;         /* with mu: committed, synced or failed */
    struct bk_cond work;          /* with mu: the sync thread has something to do */
    bool work_due BK_GUARDED(mu);
    bool gathering BK_GUARDED(mu);        /* always: the sync thread waits for more writes */
    uint64_t gathered BK_GUARDED(mu);     /* appends that the last sync took, and all before it */
    uint64_t gather_want BK_GUARDED(mu);  /* so many came together for it */
    int64_t sync_us_usual BK_GUARDED(mu); /* how long a sync takes */
    uint64_t sync_bytes_usual BK_GUARDED(mu); /* and how much there is to sync */
    int64_t retry_us
        BK_GUARDED(mu); /* monotonic; making room failed: not again before; 0 = no failure */

    /* write_mu (rank 45): one writer at a time. */
    struct bk_mutex write_mu;

    /* Statistics; written under mu or by the one writer, read by anyone. */
    _Atomic uint64_t appends, batches, writes, write_bytes, syncs, sync_us_total, sync_us_max,
        sync_waits;
    _Atomic uint64_t own_appends; /* of them: the log's own records */
    _Atomic uint64_t log_full, rotations, write_errors, undone_records;
};

void bki_log_init(struct bki_log *log, struct bki_files *files, struct bki_damage *damage,
                  const struct bk_options *o);
void bki_log_fini(struct bki_log *log);

/* Makes the first active file, before threads start. */
BK_MUST_USE int bki_log_start(struct bki_log *log, struct bk_error *err);

/*
 * Appends n records as one frame (n > 1) or one plain record. The caller holds the key locks of all
 * of them. BK_OK: loc, file and pos are filled, *pos is the end of all. Deletes and changes of the
 * map of databases, with nothing that is put among them, may use a part of the reserve on a full
 * disk. Otherwise nothing was changed: BK_EAGAIN no room now, BK_ENOSPC, BK_EIO, BK_ETOOBIG.
 */
BK_MUST_USE int bki_log_append(struct bki_log *log, struct bki_append *items, size_t n,
                               uint64_t *pos, struct bk_error *err);

/* Makes sure that the active file tells the map of databases, if it is not the first map: then no
 * sealed file is needed for it. False: not possible at the moment. */
bool bki_log_tell_map(struct bki_log *log);

/* Copies size bytes at offset of f out of the buffer. With a large value *block is set (counted)
 * and only what lies before the value is copied. False: no longer there, it has been written. */
bool bki_log_read(struct bki_log *log, const struct bki_file *f, uint64_t offset, uint64_t size,
                  struct bk_buf *out, struct bk_block **block, struct bk_span *value);

/* Makes the next file the active one; there is one, and the list of rotated files has room. */
void bki_log_rotate_locked(struct bki_log *log);

/* ---- Room on disk: log_room.c ---- */

/* What is kept free on the file system at the moment: disk_reserve, on a small one less. */
uint64_t bki_log_reserve(struct bki_log *log, uint64_t free_bytes);
/* The part of it that merges leave: for what takes away, and for the store's own small files. */
uint64_t bki_log_reserve_kept(uint64_t reserve);
bool bki_log_is_full(const struct bki_log *log);

/* ---- The way to the disk: log_write.c, log_step.c ---- */

/* See bk_flush, bk_pos_state, bk_wait. Waits for who writes just then: what lies before pos
 * is written on return, unless that failed, or is the sync thread's (always). */
void bki_log_flush(struct bki_log *log, uint64_t pos);
/* The same, but leaves it to who writes just then. */
void bki_log_flush_soon(struct bki_log *log, uint64_t pos);
BK_MUST_USE int bki_log_pos_state(struct bki_log *log, uint64_t pos);

/* One step of the sync thread: write and sync what is due, seal, prepare the next file, reserve
 * room. Returns true when it did something, so that the next step may have more. all: sync
 * everything now, whatever the mode. */
bool bki_log_step(struct bki_log *log, bool all);
/* The sync thread's, before a step: with always, waits a moment for as many writes as the last sync
 * took. */
void bki_log_gather(struct bki_log *log);
/* How long that would be now. With mu held. */
int64_t bki_log_gather_us_locked(const struct bki_log *log) BK_REQUIRES(log->mu);
/* Microseconds until the next step is due; -1: not before it is signalled. With mu held. */
int64_t bki_log_due_locked(struct bki_log *log, int64_t now_us);
/* Wakes the sync thread. */
void bki_log_signal_locked(struct bki_log *log);

/* Asks for a sync up to pos, whatever the mode; synced_pos tells when it is done. */
void bki_log_want_sync(struct bki_log *log, uint64_t pos);
/* Ends the active file where it is, if it holds records. Returns the position that is then its end.
 */
uint64_t bki_log_end_file(struct bki_log *log);
/* Waits until every file with a record before pos is sealed. Not in a stepped store. BK_EAGAIN: the
 * time has run out, or *stop has been set. BK_ENOSPC, BK_EIO: the log cannot be written. */
BK_MUST_USE int bki_log_wait_sealed(struct bki_log *log, uint64_t pos, const atomic_bool *stop,
                                    struct bk_error *err);
/* The same without waiting; BK_EAGAIN: not yet. */
BK_MUST_USE int bki_log_sealed(struct bki_log *log, uint64_t pos, struct bk_error *err);

/* State FAILED: cuts what is not committed off the files, before anybody hears that it was undone:
 * a process killed later does not leave it to be found. What cannot be cut off may be found until
 * its file's end is in the manifest. The sync thread's. */
void bki_log_cut_uncommitted(struct bki_log *log) BK_EXCLUDES(log->write_mu);
/* Registers (committed, tail] as undone, drops the buffer, closes the active file at its last
 * committed byte. Under all key locks, state FAILED. The caller wakes once it has let go of them.
 */
void bki_log_discard(struct bki_log *log);
/* Calls the owner of the store. Without a lock held. */
void bki_log_wake(struct bki_log *log);

/* Writes and syncs everything and seals every file; at close. */
BK_MUST_USE int bki_log_finish(struct bki_log *log, struct bk_error *err);

/* The log position after the record of size bytes at offset of f; 0 when that was committed already
 * when the caller loaded committed_pos, which must be before it looked the record up: undoing moves
 * the one and takes away the other. */
uint64_t bki_log_record_pos(const struct bki_file *f, uint64_t offset, uint64_t size,
                            uint64_t committed);

#endif
