/* SPDX-License-Identifier: MIT */
/*
 * undo.h - what uncommitted writes replaced in memory, so that a failed write can be taken back.
 *
 * Each operation is noted after it was done, under its key locks, and forgotten once its position
 * is committed.
 */
#ifndef BK_ENGINE_UNDO_H
#define BK_ENGINE_UNDO_H

#include "base/mutex.h"
#include "engine/keydir.h"
#include "engine/spacemap.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bk_db;

enum bki_undo_kind {
    BKI_UNDO_WRITE, /* a put or a delete of one key */
    BKI_UNDO_FLUSH, /* a database's contents were taken away */
    BKI_UNDO_SWAP
};

/* What a flush took out of a database. The pin, in db->flushed, is held from before they are taken
 * until all of it is counted as dead, or is back: who gives places away waits for it. */
struct bki_flushed {
    struct bki_keydir *contents; /* owned */
    unsigned pin;
};

struct bki_undo_op {
    enum bki_undo_kind kind;
    uint32_t num, num2;
    uint64_t pos;       /* the operation's end in the log */
    uint64_t loc, size; /* its record, which holds the key */
    bool deleted;       /* it was a delete */
    bool had_old;
    struct bki_entry old;
    struct bki_flushed taken; /* FLUSH */
    struct bki_spacemap *map; /* FLUSH, SWAP: owned; the map before */
};

struct bki_undo {
    struct bk_mutex mu;
    struct bki_undo_op *ops BK_GUARDED(mu); /* owned ring */
    size_t first BK_GUARDED(mu), n BK_GUARDED(mu), cap BK_GUARDED(mu);
};

void bki_undo_init(struct bki_undo *u);
void bki_undo_fini(struct bki_undo *u);

/* Notes n operations (takes what they own) and forgets what is committed. */
void bki_undo_note(struct bk_db *db, const struct bki_undo_op *ops, size_t n);
/* Forgets what is committed. */
void bki_undo_trim(struct bk_db *db);
/* Takes everything uncommitted back, newest first, and discards it from the log. The sync thread's.
 */
void bki_undo_all(struct bk_db *db);

#endif
