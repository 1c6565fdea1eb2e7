/* SPDX-License-Identifier: MIT */
/*
 * sight.h - how a store is: its counts, its files, its damage, and checks of all of it. A part of
 * bitkv.h, whose conventions hold here.
 */
#ifndef BK_ENGINE_SIGHT_H
#define BK_ENGINE_SIGHT_H

#include "base/error.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct bk_db;
struct bk_progress;

struct bk_stats {
    uint64_t files, file_bytes, live_bytes, dead_bytes, guard_bytes; /* guards are tombstones */
    uint64_t pages_used, pages_total;                                /* of 16 MiB address space */
    uint64_t keys, expiring, keydir_bytes; /* keydir_bytes: memory held by the key index */
    uint64_t keydir_moved_max; /* most entries that one insert moved because the keydir grew */
    uint64_t tail_pos, written_pos, synced_pos, committed_pos;
    uint64_t appends, batches, writes,
        write_bytes;  /* records, batches of several, write calls and their bytes */
    uint64_t changes; /* records of keys and databases among appends */
    uint64_t syncs, sync_us_total, sync_us_max,
        sync_waits;                     /* sync_waits: writers held back by an overdue sync */
    uint64_t log_buffer_used, log_full; /* bytes not committed; commits answered with BK_EAGAIN */
    uint64_t disk_reads_handed, disk_reads_pending; /* by bk_reader: so far; at the moment */
    uint64_t disk_reads, disk_read_bytes, buffer_reads, cache_hits, cache_misses, cache_used;
    uint64_t expired, rotations, write_errors, undone;
    uint64_t damaged_records, damaged_bytes; /* places and their bytes: see bk_damages */
    uint64_t damaged_indexes; /* hint files and images that are of no use; nothing is lost */
    uint64_t tail_bytes_cut;  /* torn by a power cut: no damage */
    uint64_t recover_us, recovered_records;
};
void bk_stats_get(struct bk_db *db, struct bk_stats *out);

#define BK_DAMAGE_MAX 1000u /* places that are listed; those beyond are counted, each time anew */

/* A place that does not check, or is gone, found since the store was opened: by opening it, by a
 * read, by background work, or by bk_check. */
struct bk_damage {
    const char *file; /* its name in the directory */
    uint64_t offset, bytes;
    const char *what; /* static */
    bool in_data;     /* false: a hint or an image, which is made again from the data */
    bool key_known;
    struct bk_span key; /* its first 256 bytes */
    uint64_t key_len;   /* of all of it */
    int64_t database;   /* that the key is in; -1: not known, or none any more */
};
/* Calls each() for every place, no lock held; pointers are borrowed for the call. */
void bk_damages(struct bk_db *db, void (*each)(void *arg, const struct bk_damage *found),
                void *arg);

enum bk_file_state { BK_FILE_ACTIVE, BK_FILE_ROTATED, BK_FILE_SEALED, BK_FILE_NEXT };
struct bk_file_info {
    uint64_t id, uid, rank, size, live_bytes, dead_bytes, guard_bytes;
    uint64_t records;   /* with a key, as its hint lists them; 0 = not known */
    int64_t created_ms; /* information only */
    bool hinted;
    enum bk_file_state state;
    const char *reason; /* static: why a merge takes it or does not */
};
/* Calls each() for every data file in rank order, no lock held. */
void bk_files(struct bk_db *db, void (*each)(void *arg, const struct bk_file_info *info),
              void *arg);

/* Walks everything: structures in memory, and the files on disk record by record against the keydir
 * and the byte counts. The store must be quiet; merges wait meanwhile. BK_CORRUPT with the first
 * fact that does not hold. Damage is no such fact: what does not check is told by bk_damages. */
BK_MUST_USE int bk_check(struct bk_db *db, struct bk_error *err);

/* A place on disk that is not as it should be. */
struct bk_finding {
    const char *file;       /* its name in the directory; "" = the index in memory */
    uint64_t offset, bytes; /* bytes 0: how many is not known */
    const char *what;       /* one sentence without a full stop */
    bool loss;              /* what somebody has stored may be gone, or not as it was */
    bool has_key;
    uint32_t num; /* has_key: the database that the key is in; UINT32_MAX = in none any more */
    struct bk_span key; /* has_key: borrowed for the call */
};

/*
 * Reads every byte of every file of an open store: each record, live or not, with its checksums and
 * padding; each batch; each hint against the records that it lists; the manifest; whether the index
 * image was fit for use; and that the index names the newest record of each key and no other. Calls
 * each() for all that does not hold; sectors of a data file that cannot be read are such a place.
 * The store must be quiet, best opened read_only. progress (may be NULL) counts bytes. BK_OK:
 * everything was looked at, whatever was found. Memory: about 32 bytes for each record of keys that
 * are gone, and for a hint 8 bytes for each of a few thousand keys.
 */
BK_MUST_USE int bk_verify(struct bk_db *db, void (*each)(void *arg, const struct bk_finding *f),
                          void *arg, struct bk_progress *progress, struct bk_error *err);

#endif
