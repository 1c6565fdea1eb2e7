/* SPDX-License-Identifier: MIT */
/*
 * recover_listing.h - the data files that lie in a directory, and whose they are; shared by
 * recover_listing.c, recover_manifest.c (which of them count) and recover_leftovers.c (which of
 * them go).
 */
#ifndef BK_ENGINE_RECOVER_LISTING_H
#define BK_ENGINE_RECOVER_LISTING_H

#include "engine/db_private.h"

/* What a name of a data file stands for. */
enum bki_owner {
    BKI_OWNER_NONE,  /* no header: begun and never finished */
    BKI_OWNER_STORE, /* a header, perhaps damaged, of this store under its own number */
    BKI_OWNER_OTHER  /* anything else */
};

struct bki_found {
    uint64_t id; /* in the name */
    bool header; /* h is there, and checks */
    struct bki_datafile_header h;
    uint64_t said_store, said_id; /* as the bytes say, checked or not */
    bool zeros;                   /* no byte of a header is set */
    bool newer;                   /* a header of a newer version of the format */
    bool superseded;
    bool edit_lost; /* by a merge that was done, of which the manifest does not tell */
};

/* The data files of the directory. */
struct bki_listing {
    struct bki_found *at; /* owned */
    size_t n, cap;
};

BK_MUST_USE int bki_listing_read(struct bk_db *db, struct bki_listing *l, struct bk_error *err);
void bki_listing_fini(struct bki_listing *l);
bool bki_listing_has(const struct bki_listing *l, uint64_t id);

enum bki_owner bki_found_owner(const struct bki_found *f, uint64_t store);
/* A file that this store wrote, by a header that checks. */
bool bki_found_is_ours(const struct bki_found *f, uint64_t store);

/* recover_leftovers.c: removes what is the store's own and has no part in it any more. */
BK_MUST_USE int bki_recover_remove_leftovers(struct bk_db *db, const struct bki_listing *l,
                                             struct bk_error *err);

#endif
