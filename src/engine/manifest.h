/* SPDX-License-Identifier: MIT */
/*
 * manifest.h - MANIFEST: the append-only, checksummed log of what the directory's files are.
 *
 * One edit is atomic. bki_manifest_decode is a pure function over bytes; the rest is I/O.
 */
#ifndef BK_ENGINE_MANIFEST_H
#define BK_ENGINE_MANIFEST_H

#include "base/buf.h"
#include "base/error.h"
#include "engine/io.h"
#include "engine/spacemap.h"

#include <stdbool.h>
#include <stdint.h>

#define BKI_MANIFEST_MAGIC "bitkvman"
#define BKI_MANIFEST_HEADER 40u
#define BKI_MANIFEST_REWRITE ((uint64_t)1 << 20) /* larger: written anew */
#define BKI_MANIFEST_EDIT_HEADER 16u /* of an edit; bytes 4 .. 7 are its length behind that */
#define BKI_MANIFEST_EDIT_MAX ((uint32_t)64 << 20)

struct bki_manifest_file {
    uint64_t id, uid, rank;
    bool sealed;
    uint64_t size; /* logical end, when sealed */
};

/* What all edits together say. */
struct bki_manifest_state {
    uint64_t store; /* random id */
    uint64_t hash_seed;
    struct bki_manifest_file *files; /* owned; in the order of rank */
    uint32_t files_n, files_cap;
    struct bki_spacemap map;               /* as it was at the last seal */
    uint8_t boot_id[16];                   /* of the last open */
    uint64_t next_id, next_rank, next_seq; /* next_seq: from the last seal */
    uint64_t edits;                        /* number of the last edit */
    uint64_t read;                         /* bytes of the file up to the end of that edit */
};
void bki_manifest_state_init(struct bki_manifest_state *s);
void bki_manifest_state_fini(struct bki_manifest_state *s);
void bki_manifest_state_copy(struct bki_manifest_state *to, const struct bki_manifest_state *from);
/* NULL when it is not named. Borrowed until the next change. */
struct bki_manifest_file *bki_manifest_find(struct bki_manifest_state *s, uint64_t id);

/* Items that an edit is made of; append any number to one buffer. */
void bki_edit_add(struct bk_buf *edit, uint64_t id, uint64_t uid, uint64_t rank);
void bki_edit_seal(struct bk_buf *edit, uint64_t id, uint64_t size);
void bki_edit_drop(struct bk_buf *edit, uint64_t id);
void bki_edit_boot(struct bk_buf *edit, const uint8_t boot_id[16]);
void bki_edit_map(struct bk_buf *edit, const struct bki_spacemap *map);
void bki_edit_counters(struct bk_buf *edit, uint64_t next_id, uint64_t next_rank,
                       uint64_t next_seq);

/* How the bytes of a manifest end. */
enum bki_manifest_end {
    BKI_MANIFEST_WHOLE,  /* every byte is part of an edit that checks */
    BKI_MANIFEST_MENDED, /* it does, but for one flipped bit, which its checksum tells */
    BKI_MANIFEST_TORN,   /* behind the last edit that checks none follows: an append was cut off */
    BKI_MANIFEST_DAMAGED /* edits are missing in the middle, or the header does not check */
};

/* Replays bytes into *s up to the first edit that does not check. BK_CORRUPT: not even the header
 * does. BK_EVERSION: newer major version. */
BK_MUST_USE int bki_manifest_decode(const uint8_t *bytes, size_t len, struct bki_manifest_state *s,
                                    enum bki_manifest_end *end);

/* The open manifest. Used by one thread at a time: open, then under bki_files.edits, then close. */
struct bki_manifest {
    const struct bk_io *io; /* borrowed */
    char *dir;              /* owned */
    int fd;                 /* -1: must be written anew before the next edit */
    uint64_t size;
    struct bki_manifest_state state;
};

/* Reads MANIFEST. BK_NOTFOUND: there is none. One that is not whole is loaded as far as it checks,
 * and the next commit writes it anew. */
BK_MUST_USE int bki_manifest_load(struct bki_manifest *m, const struct bk_io *io, const char *dir,
                                  enum bki_manifest_end *end, struct bk_error *err);
/* Makes the edit durable, then applies it to the state. After a failure the edit did not happen;
 * the next commit writes the manifest anew. */
BK_MUST_USE int bki_manifest_commit(struct bki_manifest *m, const struct bk_buf *edit,
                                    struct bk_error *err);
/* Applies items to the state alone, for rebuilding. BK_CORRUPT: they contradict it. */
BK_MUST_USE int bki_manifest_adopt(struct bki_manifest *m, const struct bk_buf *edit);
void bki_manifest_close(struct bki_manifest *m);

#endif
