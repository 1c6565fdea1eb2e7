/* SPDX-License-Identifier: MIT */
/*
 * recover.h - what recovery knows while it runs; shared by recover.c (which files) and replay.c
 * (their records).
 */
#ifndef BK_ENGINE_RECOVER_H
#define BK_ENGINE_RECOVER_H

#include "engine/db_private.h"
#include "engine/scan.h"

/* How the manifest was found. */
struct bki_manifest_found {
    enum bki_manifest_end end;
    bool none; /* there was no file */
    bool cut;  /* whole as far as it goes: only edits at its end are missing; then it is damaged */
};

/* One file of the directory, in the order of rank. */
struct recover_file {
    struct bki_file *file; /* borrowed from bk_db.files */
    bool end_known;        /* by the manifest */
    bool sealed; /* nothing in it can be torn: its end is known, or another file of a store without
                  * a whole manifest comes behind it */
    uint64_t synced;    /* unsealed: bytes before this offset were synced */
    uint64_t unread_to; /* unsealed: the end of the last sector that could not be read, or 0: what
                         * lay before may have been synced, and a mark in it may have said so */
    bool tail_left;     /* behind its end lie bytes that are not zero and do not count */
};

/* A value that a merge found damaged: told of at the end, if nothing newer was found for its key.
 */
struct recover_mark {
    struct bki_file *file; /* borrowed */
    uint64_t offset, size;
    uint32_t space;
    struct bk_block *key; /* counted */
};

struct recover {
    struct bk_db *db;
    struct recover_file *files; /* owned */
    uint32_t n;
    struct bki_manifest_found manifest;
    bool power_cut;    /* maybe: else every byte is there that was written to an unsealed file */
    bool other_boot;   /* the machine is known to have been started since */
    bool cut;          /* the torn tail has begun: nothing behind counts */
    uint64_t last_seq; /* of the last record applied; 0 = none */
    bool seq_unknown;  /* damage behind it, of nobody knows how many records: no gap can be told */
    bool
        last_unsealed; /* it lay in an unsealed file: the next file's numbers go on where it ends */
    uint64_t max_seq;
    int64_t now_ms;
    struct bk_progress *progress; /* borrowed */
    bool by_image;                /* no record had to be read */
    struct bk_mutex marks_mu; /* statistics (rank 90): parts of a hint are applied side by side */
    struct recover_mark *marks BK_GUARDED(marks_mu); /* owned; BK_DAMAGE_MAX at most */
    uint32_t marks_n BK_GUARDED(marks_mu);
    bool alone; /* no thread but the caller's (stepped stores) */
};

/* recover_manifest.c: reads the manifest, or makes its state anew from the data files, and removes
 * what is left over. What is made anew is on disk with the next edit, not before. */
BK_MUST_USE int bki_recover_manifest(struct bk_db *db, uint64_t hash_seed,
                                     struct bki_manifest_found *m, struct bk_error *err);
/* Gives a damaged manifest another name. */
BK_MUST_USE int bki_recover_put_aside(struct bk_db *db, struct bk_error *err);

/* BK_ECANCELED when nobody wants the store any more: asked now and then by all that takes long. */
BK_MUST_USE int bki_recover_wanted(const struct recover *r, struct bk_error *err);
/* Finds the last sync mark in the unsealed files and sets synced. */
BK_MUST_USE int bki_replay_marks(struct recover *r, struct bk_error *err);
/* Applies the records of one file to the keydirs; sets its size to its logical end. */
BK_MUST_USE int bki_replay_file(struct recover *r, struct recover_file *rf, struct bk_error *err);
/* The same from the file's hint, up to *covered. BK_NOTFOUND, BK_CORRUPT: there is none, or it is
 * not to be used; nothing was applied. */
BK_MUST_USE int bki_replay_hint(struct recover *r, const struct recover_file *rf, uint64_t *covered,
                                uint64_t *last_seq, struct bk_error *err);
/* A record of the map of databases. BK_CORRUPT: a number over the limit; nothing has changed. */
BK_MUST_USE int bki_recover_map(struct recover *r, const uint8_t *pairs, uint32_t n);
/* replay_tail.c: bytes at the end of an unsealed file that do not check, and behind which nothing
 * does, after the process died and the machine lived on. Written whole: then they are damage. Else
 * a write was cut off half way. */
BK_MUST_USE int bki_replay_written_whole(const struct bki_scan *s, const struct bki_scan_item *it,
                                         bool *whole, struct bk_error *err);
/* survey.c: a record of kind BKI_LOST that is being applied, and telling of them all. */
void bki_recover_mark(struct recover *r, struct bki_file *f, uint64_t offset, uint64_t size,
                      uint32_t space, struct bk_span key);
void bki_recover_tell_marks(struct recover *r);
/* A place that does not check. */
void bki_recover_damage(struct recover *r, const char *path, uint64_t offset, uint64_t bytes,
                        const char *what);

#endif
