/* SPDX-License-Identifier: MIT */
/*
 * verify.h - what bk_verify knows while it runs; shared by verify.c (index, records),
 * verify_names.c (manifest, files) and verify_hint.c.
 */
#ifndef BK_ENGINE_VERIFY_H
#define BK_ENGINE_VERIFY_H

#include "engine/db_private.h"
#include "engine/hint.h"
#include "engine/scan.h"

struct bki_verify {
    struct bk_db *db; /* borrowed */
    void (*each)(void *arg, const struct bk_finding *f);
    void *arg;
    struct bk_progress *progress; /* borrowed */
    bool manifest_whole;
    bool manifest_torn;         /* whole but for an edit at its end that a power cut left in part */
    uint64_t *live;             /* owned: bytes by file slot, as the index has them */
    struct bk_buf holes;        /* struct hole: places of which no record could be read */
    struct bk_buf gone;         /* struct gone: records of keys that the index does not have */
    struct bk_buf key;          /* of the record at hand: the scan's window may move on */
    struct bki_spacemap map;    /* as the records so far say */
    struct bki_spacemap *final; /* owned: as the store has it */
};

/* Says what was found in a file that can be made again, or in one that cannot. */
void bki_verify_found(struct bki_verify *v, const char *path, uint64_t offset, uint64_t bytes,
                      const char *what);
void bki_verify_lost(struct bki_verify *v, const char *path, uint64_t offset, uint64_t bytes,
                     const char *what);

/* Manifest, image, and which files there are; sets manifest_whole. */
BK_MUST_USE int bki_verify_names(struct bki_verify *v, struct bk_error *err);

/* One data file's hint, held against the records of the data file up to where it covers it. */
struct bki_verify_hint {
    struct bki_hint hint;
    bool open;
    uint64_t sum, entries; /* of the entries that the records make, in any order */
    uint64_t max_seq, last_seq;
    struct bk_buf maps, entry;
};
void bki_verify_hint_begin(struct bki_verify *v, struct bki_verify_hint *vh,
                           const struct bki_file *f);
void bki_verify_hint_record(struct bki_verify *v, struct bki_verify_hint *vh,
                            const struct bki_scan_item *it);
/* damaged: not every record of the data file could be read, so the hint may list more. */
void bki_verify_hint_end(struct bki_verify *v, struct bki_verify_hint *vh, bool damaged);

#endif
