/* SPDX-License-Identifier: MIT */
/*
 * recover.h - what recovery knows while it runs; shared by recover.c (which files) and replay.c
 * (their records).
 */
#ifndef BK_ENGINE_RECOVER_H
#define BK_ENGINE_RECOVER_H

#include "engine/db_private.h"
#include "engine/scan.h"

#define BKI_DAMAGE_LINES 100u /* damaged places that are logged one by one */

/* One file of the directory, in the order of rank. */
struct recover_file {
    struct bki_file *file; /* borrowed from bk_db.files */
    bool end_known;        /* by the manifest */
    bool sealed; /* nothing in it can be torn: its end is known, or another file of a store without
                  * a whole manifest comes behind it */
    uint64_t synced; /* unsealed: bytes before this offset were synced */
};

struct recover {
    struct bk_db *db;
    struct recover_file *files; /* owned */
    uint32_t n;
    enum bki_manifest_end manifest; /* how the manifest ended */
    bool same_boot;                 /* only the process died: every written byte is there */
    bool cut;                       /* the torn tail has begun: nothing behind counts */
    uint64_t last_seq;              /* of the last record applied; 0 = none */
    bool
        last_unsealed; /* it lay in an unsealed file: the next file's numbers go on where it ends */
    uint64_t max_seq;
    int64_t now_ms;
    uint64_t damaged_places;
    struct bk_progress *progress; /* borrowed */
    bool by_image;                /* no record had to be read */
    bool alone;                   /* no thread but the caller's (stepped stores) */
};

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
/* A place that does not check: counted, and logged while there are not too many. */
void bki_recover_damage(struct recover *r, const char *path, uint64_t offset, uint64_t bytes,
                        const char *what);

#endif
