/* SPDX-License-Identifier: MIT */
/*
 * damage.h - what was found damaged since the store was opened: counted, told to the log once,
 * and kept for whoever asks. Any thread; nothing is done but memory work and a line of the log.
 */
#ifndef BK_ENGINE_DAMAGE_H
#define BK_ENGINE_DAMAGE_H

#include "base/error.h"
#include "base/mutex.h"
#include "base/span.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define BKI_DAMAGE_KEY 256u /* bytes of a key that are kept */

/* A place. */
struct bki_damage_at {
    const char *path; /* of the file; its last part is kept */
    uint64_t offset, bytes;
    const char *what;   /* static */
    struct bk_span key; /* with has_key */
    bool has_key;
    uint32_t space; /* of the key; 0: not known */
};

struct bki_damage_place;

struct bki_damage {
    struct bk_mutex mu;                         /* statistics (rank 90) */
    struct bki_damage_place *at BK_GUARDED(mu); /* owned */
    uint32_t n BK_GUARDED(mu);
    uint32_t cap BK_GUARDED(mu);
    bool full_told BK_GUARDED(mu);
    /* Atomic. */
    _Atomic uint64_t records, bytes; /* of data that does not check, or is gone */
    _Atomic uint64_t indexes;        /* files that are made again from the data */
};

void bki_damage_init(struct bki_damage *d);
void bki_damage_fini(struct bki_damage *d);

/* A place in the data. One that is known already counts no more, as long as there is room to know
 * it. */
void bki_damage_note(struct bki_damage *d, const struct bki_damage_at *at);

/* A record that a scan found: with its key, if it has one. */
struct bki_scan_item;
void bki_damage_item(struct bki_damage *d, const char *path, const struct bki_scan_item *it);

/* From here on what s cannot read is stepped over, and noted in d. *u is filled; it, d and s's path
 * last as long as s. */
struct bki_scan;
struct bki_damage_unread {
    struct bki_damage *d; /* borrowed */
    const char *path;     /* borrowed */
};
void bki_damage_unread(struct bki_scan *s, struct bki_damage *d, struct bki_damage_unread *u);

/* Notes everything of f's records, read through fd, that does not check or cannot be read; *bytes:
 * how many of it. BK_EIO: the rest could not be looked at. */
struct bk_io;
struct bki_file;
BK_MUST_USE int bki_damage_survey(struct bki_damage *d, const struct bk_io *io,
                                  const struct bki_file *f, int fd, uint64_t *bytes,
                                  struct bk_error *err);

/* A file that does not check and that nothing depends on: it is made again from the data. */
void bki_damage_index(struct bki_damage *d, const struct bki_damage_at *at);

#endif
