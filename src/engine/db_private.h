/* SPDX-License-Identifier: MIT */
/*
 * db_private.h - what an open store is made of; shared by the files that implement bitkv.h.
 */
#ifndef BK_ENGINE_DB_PRIVATE_H
#define BK_ENGINE_DB_PRIVATE_H

#include "engine/bitkv.h"
#include "engine/ages.h"
#include "engine/background.h"
#include "engine/cache.h"
#include "engine/damage.h"
#include "engine/files.h"
#include "engine/keydir.h"
#include "engine/keylock.h"
#include "engine/log.h"
#include "engine/merge.h"
#include "engine/reads.h"
#include "engine/reclaim.h"
#include "engine/tally.h"
#include "engine/undo.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct bk_db {
    /* Set once by bk_open. */
    const struct bk_io *io; /* borrowed; or io_readonly, in front of it */
    struct bk_io io_readonly;
    bool read_only;
    const struct bk_clock *clock; /* borrowed */
    uint32_t databases;
    uint64_t hash_seed;
    uint64_t batch_bytes_max;
    uint64_t hint_bytes; /* of the active file, between one hint of its front and the next */
    enum bk_on_corruption on_corruption;
    bool image_refused; /* there was an index image, and it could not be used */
    int lock_handle;    /* of LOCK; negative: not held */
    bool threaded;
    pthread_t sync_thread;
    struct bki_keylocks *locks;           /* owned */
    struct bki_cache *cache;              /* owned */
    _Atomic(struct bki_keydir *) *keydir; /* owned, by number; made when first used, then stays */

    /* Each with locks of its own. */
    struct bki_files files;
    struct bki_log log;
    struct bki_undo undo;
    struct bki_background background;
    struct bki_damage damage;
    struct bki_ages ages;
    struct bki_read_pool read_pool;
    struct bki_tally reads;     /* of the disk and of the log's buffer */
    struct bki_reclaim reclaim; /* of what look-ups read: keydirs and the value cache */
    struct bki_pins flushed;    /* held by what flushes took away */

    /* Background thread. */
    int64_t tidied_us;
    int64_t hints_retry_us; /* a hint could not be written: not again before */
    struct bki_merge merge;

    /* control (rank 20). */
    struct bk_mutex control;
    struct bki_flushed *garbage BK_GUARDED(control); /* owned; freed in the background */
    uint32_t garbage_n BK_GUARDED(control);
    uint32_t expire_num BK_GUARDED(control); /* where expiry goes on: database, stripe */
    uint32_t expire_stripe BK_GUARDED(control);
    struct bk_merge_rules merge_rules BK_GUARDED(control);
    struct bk_merge_status merge_status BK_GUARDED(control); /* as of the last step */

    /* Atomic. */
    atomic_bool stop;
    atomic_bool snapshotting, snapshot_stop;
    _Atomic uint32_t garbage_due;
    _Atomic uint64_t undo_generation; /* rises with each undoing */
    _Atomic int64_t
        expired_ms; /* the latest time by which keys were looked for that have expired */
    _Atomic uint64_t expired;
    _Atomic uint64_t tail_bytes_cut, recover_us, recovered_records;
};

/* Why a store that was opened with read_only takes no write: BK_EREADONLY. */
int bki_db_refuse_write(const struct bk_db *db, struct bk_error *err);

/* The keydir of a number; make: creates it when there is none yet. */
struct bki_keydir *bki_db_keydir(struct bk_db *db, uint32_t num, bool make);

/* A look-up in memory; fills at, expire_ms, pos, flags and size. */
void bki_db_find(struct bk_db *db, uint32_t num, const struct bk_key *key, struct bk_item *item);

/* A record's bytes, wherever they were brought from. */
struct bki_stored {
    const struct bki_file *file; /* borrowed */
    uint64_t offset;
    struct bk_span bytes; /* borrowed; all there are, or up to the value that lies in item->block */
};
/* Checks the record, points item->value at its bytes (unless it lies in a block) and sets flags.
 * BK_CORRUPT: noted as damage. BK_CHANGED: as below. */
BK_MUST_USE int bki_record_open(struct bk_db *db, const struct bki_stored *s,
                                const struct bk_key *key, struct bk_item *item,
                                struct bk_error *err);

/* The record is not in its place, though the item was located under a pin that is still held: what
 * was not committed then may have been undone, BK_CHANGED; what was stays where it is, so its place
 * or the index is damaged, BK_CORRUPT. */
BK_MUST_USE int bki_record_gone(struct bk_db *db, const struct bki_stored *s,
                                const struct bk_key *key, const struct bk_item *item,
                                struct bk_error *err);

/* The map of databases at the moment; the caller finis and frees it. */
struct bki_spacemap *bki_db_map_copy(struct bk_db *db);

/* The record at loc is no longer live, or was a guard from the start. */
void bki_db_dead(struct bk_db *db, uint64_t loc, uint64_t size);
void bki_db_guard(struct bk_db *db, uint64_t loc, uint64_t size);

/* Hands flushed contents, if there are any, to the background. */
void bki_db_discard(struct bk_db *db, struct bki_flushed *taken);

/* One step of everything but expiry. True: there may be more to do at once. */
bool bki_db_step(struct bk_db *db);

/* ages_step.c: the age of a key that has been idle for so long, or is used now (0). Any thread. */
uint8_t bki_db_age_of(struct bk_db *db, uint64_t idle_ms);
/* What an index image says for each age. */
void bki_ages_codes(struct bk_db *db, uint8_t *code);

/* survey.c: tells of every place in a file that does not check, without using anything. */
BK_MUST_USE int bki_survey(struct bk_db *db, const struct bki_file *f, struct bk_error *err);

/* hints.c: the hint of this file did not check, or could not be read: it is made again. */
void bki_hint_failed(struct bk_db *db, struct bki_file *f);
/* hints.c: writes one hint file that is missing. False: none is, or none can be written now. */
bool bki_hints_step(struct bk_db *db, bool *failed);

/* recover.c: fills files, keydirs and the log's counters from the directory. */
BK_MUST_USE int bki_recover(struct bk_db *db, const struct bk_options *o, struct bk_error *err);

#endif
