/* SPDX-License-Identifier: MIT */
/*
 * datafile.h - one data file: its name, its header on disk, its bytes counted.
 */
#ifndef BK_ENGINE_DATAFILE_H
#define BK_ENGINE_DATAFILE_H

#include "base/buf.h"
#include "base/error.h"
#include "engine/io.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define BKI_DATAFILE_MAGIC "bitkvdat"
#define BKI_FORMAT_MAJOR 1u
#define BKI_FORMAT_MINOR 0u
#define BKI_DATAFILE_FIXED 64u /* header bytes before the list */
#define BKI_DATAFILE_HEADER_MAX (1u << 20)
#define BKI_PATH_MAX 4200u

/* What a data file's header says. */
struct bki_datafile_header {
    uint64_t uid;       /* random; seeds the CRCs of the file's records */
    uint64_t id;        /* in the file's name; never used twice */
    uint64_t rank;      /* place in the order of files */
    uint64_t store;     /* random id of the store */
    int64_t created_ms; /* information only */
    uint64_t *replaces; /* owned: uids of the files that a merge put into this one */
    uint32_t replaces_n;
    bool merged;    /* written by a merge: sequence numbers need not rise */
    uint32_t bytes; /* length of the header: records start here */
};
void bki_datafile_header_fini(struct bki_datafile_header *h);

/* Owned bytes in *out; sets h->bytes. */
void bki_datafile_header_encode(struct bki_datafile_header *h, struct bk_buf *out);
/* BK_CORRUPT, BK_EVERSION. *out is the caller's to fini, on success only. */
BK_MUST_USE int bki_datafile_header_decode(const uint8_t *bytes, size_t len,
                                           struct bki_datafile_header *out);
/* Reads and decodes it from an open file. */
BK_MUST_USE int bki_datafile_header_read(const struct bk_io *io, int fd, const char *path,
                                         struct bki_datafile_header *out, struct bk_error *err);

/* The CRC seed of a file's records. */
uint32_t bki_datafile_seed(uint64_t uid);

/* "dir/0000000012.data"; path holds BKI_PATH_MAX bytes. */
void bki_datafile_path(char *path, const char *dir, uint64_t id);
/* The id in a name, or false when it is no data file's name. */
bool bki_datafile_name_id(const char *name, uint64_t *id);

#endif
