/* SPDX-License-Identifier: MIT */
/*
 * merge.h - rewriting sealed files without what is dead in them.
 *
 * One run at a time, a state machine; a thread or a test calls bki_merge_step. A run takes files
 * that follow each other in rank, and goes through the states of enum bk_merge_state:
 *
 *   PLAN    guards: which may go, by the key filters of all files of lower rank
 *   COPY    live records to outputs; what is damaged becomes a marker; guards that stay
 *   SYNC    outputs get their hints and are synced
 *   LOG     the log is synced up to its tail as it was when the last record was judged: it holds
 * the proof that what was not copied is dead EDIT    directory synced, first output's header
 * written, one edit of the manifest SWING   each key that still points into an input is pointed at
 * its copy RETIRE  once nobody can hold a location in them, the inputs' names, pages and memory are
 * given back
 *
 * Before EDIT everything can be taken back; after it nothing needs to be.
 */
#ifndef BK_ENGINE_MERGE_H
#define BK_ENGINE_MERGE_H

#include "base/buf.h"
#include "engine/bitkv.h"
#include "engine/cache.h"
#include "engine/files.h"
#include "engine/hint.h"
#include "engine/keydir.h"
#include "engine/pin.h"
#include "engine/scan.h"

#include <stdbool.h>
#include <stdint.h>

/* An input of the run. */
struct bki_merge_in {
    struct bki_file *file;
    uint8_t *keep;   /* owned; a bit per 8 bytes: guards that stay; NULL: none */
    uint8_t *hole;   /* owned; the same: where no record was found any more, without those whose key
                      * has its marker; NULL: nowhere */
    bool planned;    /* its guards were judged, with all that had expired by now_ms */
    uint64_t copied; /* bytes of live records copied from it */
    bool read;       /* false: there is nothing in it that stays */
};

/* Over the index, for the keys whose records lay in an input's holes. */
struct bki_merge_walk {
    uint32_t *space; /* owned: of all contents, as it began; NULL: none is under way */
    uint32_t n, at;
    uint64_t cursor;
};

struct bki_merge {
    /* Merge thread only. */
    enum bk_merge_state state;
    struct bki_merge_in *in; /* owned */
    uint32_t in_n;
    struct bki_file **lower; /* owned: every file that an older copy may lie in */
    uint32_t lower_n;
    struct bki_file **out; /* owned array */
    uint32_t out_n, out_cap;
    int64_t now_ms;       /* when the run began */
    uint64_t generation;  /* of undoing, when the first record was judged */
    uint64_t judged_pos;  /* the log's tail when the last one was */
    uint64_t stay;        /* bytes of the tombstones that have to, by the plan */
    bool unasked;         /* an older file's filter could not be read: guards may stay in vain */
    uint64_t guards_kept; /* bytes */
    int64_t patience_us;  /* the balance of a run does not come out: looked at again until then */
    int64_t wait_us;      /* no step before */
    int64_t next_pick_us;
    int64_t no_room_us; /* until the next pick, should a run find no room */
    uint64_t reclaim;   /* what the pick hoped for */
    uint64_t in_bytes;
    bool edited; /* the edit was tried: it may be on disk, so outputs must stay */

    struct bki_spacemap map; /* of databases, as it was behind the inputs */

    /* PLAN. */
    uint32_t unit, units;
    /* COPY. */
    uint32_t in_at;
    bool scanning;
    struct bki_scan scan;
    uint64_t *wanted; /* owned: offsets of the records that stay, when they are few; NULL: all are
                       * looked at */
    size_t wanted_n, wanted_at;
    struct bki_merge_walk walk;
    struct bk_buf pending; /* bytes for the last output, not written yet */
    int64_t allowed_us;    /* the rate: no work before */
    /* SYNC, SWING. */
    uint32_t out_at, part;
    uint64_t part_done; /* offset of the last record of the part that was swung; 0: none was */
    unsigned pass;      /* of swinging, from 1 */
    struct bki_hint hint;
    bool hint_open;
    struct bki_grace grace; /* LOG, RETIRE: of flushed contents, then of pins */
    /* RETIRE. */
    uint64_t retire_pos;
    struct bki_file **retired; /* owned array */
    uint32_t retired_n;
    int retire_stage;
    struct bki_cache_purge purge;

    struct bk_merge_status status;
    uint64_t active_id, active_size; /* how long nobody has written to the active file */
    int64_t active_since_us;

    /* Guarded by control. */
    bool paused, now, slow;
};

void bki_merge_init(struct bk_db *db);
void bki_merge_fini(struct bk_db *db);
/* One piece of work. False: nothing to be done before *due_us (monotonic; -1: not by itself). */
bool bki_merge_step(struct bk_db *db, int64_t *due_us);
/* At close, after the log's end: a run is taken back or ended, dropped files are removed. */
void bki_merge_end(struct bk_db *db);

/* ---- Over which files: merge_choose.c ---- */

/* Whether the policy lets a run begin at this hour; now: it was asked for. */
bool bki_merge_may_run(struct bk_db *db, const struct bk_merge_rules *rules, bool now);
/* Begins a run over the files that are most worth one. False: none is; status.withheld is set. */
bool bki_merge_choose(struct bk_db *db, const struct bk_merge_rules *rules, bool now);
/* An active file that nobody writes to and that is mostly not live is closed for a merge. */
void bki_merge_close_idle(struct bk_db *db, const struct bk_merge_rules *rules);

/* ---- The states' work: merge_plan.c, merge_copy.c, merge_swing.c ---- */

/* BK_OK: the state's work is done; BK_EAGAIN: there is more; else the run is taken back. */
BK_MUST_USE int bki_merge_plan(struct bk_db *db, struct bk_error *err);
BK_MUST_USE int bki_merge_copy(struct bk_db *db, struct bk_error *err);
BK_MUST_USE int bki_merge_sync(struct bk_db *db, struct bk_error *err);
BK_MUST_USE int bki_merge_log(struct bk_db *db, struct bk_error *err);
BK_MUST_USE int bki_merge_edit(struct bk_db *db, struct bk_error *err);
BK_MUST_USE int bki_merge_swing(struct bk_db *db, struct bk_error *err);
BK_MUST_USE int bki_merge_retire(struct bk_db *db, struct bk_error *err);
/* Before the edit, which publishes the first location in them: no reader has to be waited for. */
void bki_merge_give_pages(struct bk_db *db);
/* Of the next BKI_MERGE_GROUP records: brings what the look-up of each key will touch into the
 * processor's cache. */
#define BKI_MERGE_GROUP 16u
void bki_merge_fetch_ahead(struct bk_db *db, const struct bki_scan *s);
/* Which records of the input at hand may stay: merge_want.c. Sets m->wanted to their offsets, or to
 * NULL where it cannot tell: then all of it is to be read. */
void bki_merge_want(struct bk_db *db);
/* Whether a bit of keep or hole, one for each 8 bytes of a file, is set. */
static inline bool bki_merge_bit(const uint8_t *bits, uint64_t offset)
{
    return bits != NULL && (bits[offset / 64] >> (offset / 8 % 8) & 1) != 0;
}
/* Whether the key's entry names its place in f. */
bool bki_merge_is_live(struct bk_db *db, const struct bki_file *f, uint32_t space,
                       const struct bk_key *key, uint64_t at);
/* A put that is dead because its time ran out after the plan had looked at its key: unlike a delete
 * it has left nothing in the log, so it has to go on hiding older copies. */
bool bki_merge_expired_since(struct bk_db *db, const struct bki_merge_in *in, uint32_t space,
                             const struct bk_key *key, int64_t expire_ms);
/* What would fail again stays out of later runs for so long: else the same run would be begun again
 * and again, and no other. */
void bki_merge_set_aside(struct bk_db *db, struct bki_merge_in *in, int64_t us);
#define BKI_MERGE_UNREAD_US ((int64_t)600 * 1000000) /* it could not be read */
/* Whether there are dropped files, which RETIRE then gives back. */
bool bki_merge_any_dropped(struct bk_db *db);

/* The keydir that reads and writes space, or NULL. With the key lock of the key at hand held the
 * answer stays true. */
struct bki_keydir *bki_merge_keydir(struct bk_db *db, uint32_t space);
/* Whether a database number stands for the space. */
bool bki_merge_space_used(struct bk_db *db, uint32_t space);
/* What the keydir has for a key. */
bool bki_merge_find(struct bk_db *db, uint32_t space, const struct bk_key *key,
                    struct bki_entry *e);

#endif
