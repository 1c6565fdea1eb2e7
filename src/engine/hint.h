/* SPDX-License-Identifier: MIT */
/*
 * hint.h - a hint file: every key record of a data file without its value, and a filter of its
 * keys.
 *
 * Entries are cut into parts by key hash, in the order of the data file within a part: so a start
 * can take parts in parallel, and a merge can ask and remember a part at a time. Nothing in a hint
 * is believed that its checksums do not vouch for, and a hint that is not of the data file as it is
 * now (uid, length) is as good as none: it is made again from the data.
 */
#ifndef BK_ENGINE_HINT_H
#define BK_ENGINE_HINT_H

#include "base/buf.h"
#include "base/error.h"
#include "engine/files.h"
#include "engine/io.h"
#include "engine/record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BKI_HINT_MAGIC "bitkvhnt"
#define BKI_HINT_HEADER 96u
#define BKI_HINT_BLOCK 65536u /* a block ends behind the entry that reaches this */
#define BKI_HINT_PARTS_MAX 4096u
#define BKI_HINT_PART_DATA ((uint64_t)4 << 20) /* data bytes a part, about */

/* What the header says. */
struct bki_hint_info {
    uint64_t uid;     /* of the data file */
    uint64_t covers;  /* every record before this offset is listed */
    uint64_t seed;    /* tells whether the key hash is the store's */
    uint64_t max_seq; /* highest sequence number, and that of the last record */
    uint64_t last_seq;
    uint64_t entries;
    uint64_t damaged; /* bytes that did not check when it was made */
    uint32_t parts, blocks;
};

struct bki_hint_block {
    uint64_t offset;
    uint32_t part, n, len, crc;
};
struct bki_hint_code {
    uint64_t offset;
    uint32_t len, n, crc;
};

struct bki_hint {
    const struct bk_io *io; /* borrowed */
    int fd;
    char *path; /* owned */
    struct bki_hint_info info;
    struct bki_hint_block *blocks; /* owned; by part, then in the order of the data */
    struct bki_hint_code *codes;   /* owned; the filter of each part */
    struct bk_buf maps;            /* see bki_hint_map */
};

/*
 * Writes the data file's hint up to covers, the end of a record, under its name, synced, the
 * directory too. What the hint that is there covers is taken from it, the rest is scanned. whole:
 * the file ends there and does not change any more; only then are there filters. Memory:
 * BKI_HINT_BLOCK a part, and twice one part's hashes.
 */
BK_MUST_USE int bki_hint_write(const struct bk_io *io, const char *dir, const struct bki_file *f,
                               uint64_t covers, bool whole, uint64_t hash_seed,
                               struct bk_error *err);

/* BK_NOTFOUND: there is none of this file as it is now. BK_CORRUPT: it does not check. A sealed
 * file's covers all of it. */
BK_MUST_USE int bki_hint_open(struct bki_hint *h, const struct bk_io *io, const char *dir,
                              const struct bki_file *f, uint64_t hash_seed, struct bk_error *err);
void bki_hint_close(struct bki_hint *h);

/* A power of two; an entry of key hash h is in part (h >> 48) & (parts - 1). */
static inline uint32_t bki_hint_parts(const struct bki_hint *h)
{
    return h->info.parts;
}

struct bki_hint_entry {
    uint64_t offset, size; /* of the record */
    uint64_t hash;
    enum bki_kind kind; /* BKI_PUT, BKI_DELETE, BKI_LOST */
    uint8_t flags;
    uint32_t space;
    int64_t expire_ms;
    struct bk_span key; /* borrowed until the next call */
};

/* The entries of one part. A block is checked before its first entry is handed out. May be used by
 * several threads on one hint, each with a cursor of its own. */
struct bki_hint_cursor {
    const struct bki_hint *h; /* borrowed */
    uint64_t seed;
    uint32_t part, block, left;
    struct bk_buf bytes;
    size_t at;
};
BK_MUST_USE int bki_hint_part_begin(struct bki_hint_cursor *c, const struct bki_hint *h,
                                    uint32_t part, uint64_t hash_seed);
BK_MUST_USE int bki_hint_next(struct bki_hint_cursor *c, struct bki_hint_entry *e,
                              struct bk_error *err); /* BK_NOTFOUND: the end */
/* Reads all of the part into c->bytes at once: then entries come from there, and stay until
 * bki_hint_part_end. c->at is where the next one lies, to come back to with next_at in any order.
 */
BK_MUST_USE int bki_hint_read_part(struct bki_hint_cursor *c, struct bk_error *err);
BK_MUST_USE int bki_hint_next_at(struct bki_hint_cursor *c, size_t at, struct bki_hint_entry *e,
                                 struct bk_error *err);
/* Reads what is left of the part and holds it against its checksums. */
BK_MUST_USE int bki_hint_check(struct bki_hint_cursor *c, struct bk_error *err);
void bki_hint_part_end(struct bki_hint_cursor *c);

/* The records of the map of databases, in order; *at begins at 0. False: the end. */
bool bki_hint_map(const struct bki_hint *h, size_t *at, struct bk_span *pairs);

/* Whether the file may hold a record of a key, dead ones too: values (bki_filter_value of keys in
 * this part), sorted. Wrongly yes once in 65,536 times. The hint of a file that is not sealed says
 * yes to all. */
uint64_t bki_filter_value(uint64_t hash, uint32_t space);
BK_MUST_USE int bki_hint_filter(const struct bki_hint *h, uint32_t part, const uint64_t *values,
                                size_t n, bool *maybe, struct bk_error *err);

/* Up to where the file's hint says that the file was synced; 0: there is none that says so. */
uint64_t bki_hint_covers(const struct bk_io *io, const char *dir, const struct bki_file *f,
                         uint64_t hash_seed);
/* Whether a file is a hint of a store whose keys are hashed with this seed; false also where that
 * cannot be told. */
bool bki_hint_is_of(const struct bk_io *io, const char *path, uint64_t hash_seed);

/* "dir/0000000012.hint"; path holds BKI_PATH_MAX bytes. */
void bki_hint_path(char *path, const char *dir, uint64_t id);
/* The id in the name of a hint, finished or not; or false. */
bool bki_hint_name_id(const char *name, uint64_t *id);

#endif
