/* SPDX-License-Identifier: MIT */
/*
 * files.h - the open data files of a store: made, found by location, sealed, dropped; each step in
 * the manifest.
 */
#ifndef BK_ENGINE_FILES_H
#define BK_ENGINE_FILES_H

#include "base/clock.h"
#include "base/mutex.h"
#include "engine/datafile.h"
#include "engine/io.h"
#include "engine/manifest.h"
#include "engine/pages.h"
#include "engine/pin.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define BKI_FILES_MAX BKI_PAGES

enum bki_file_state {
    BKI_FILE_NEXT,
    BKI_FILE_ACTIVE,
    BKI_FILE_ROTATED,
    BKI_FILE_SEALED,
    BKI_FILE_DROPPED, /* gone from the manifest; readers may still hold it */
    BKI_FILE_OUTPUT   /* a merge writes it; not in the manifest yet */
};

struct bki_file {
    /* Set once, before the file is published. */
    uint64_t id, uid, rank;
    uint32_t seed; /* of its records' CRCs */
    uint32_t header_bytes;
    uint32_t slot;      /* place in the file table */
    bool merged;        /* its sequence numbers need not rise */
    bool header_bad;    /* on disk it does not check: what it said is known from the manifest */
    const char *gone;   /* static: why there is no file (fd is -1), while the manifest names it; or
                         * NULL */
    int64_t created_us; /* monotonic clock, for max-file-age */
    char *path;         /* owned */
    /* Atomic. */
    _Atomic uint64_t pos_base; /* log position of offset 0, set before a record in it can be found;
                                * 0: nothing in the file is uncommitted */
    _Atomic uint64_t size;     /* logical end of the records */
    _Atomic uint64_t dead_bytes, guard_bytes;
    _Atomic uint64_t allocated; /* room reserved on disk; grown by the sync thread */
    atomic_int fd;              /* owned; another one after bki_files_renew */
    atomic_int state;           /* enum bki_file_state */
    /* Guarded by the log's mutex. */
    uint32_t *pages; /* owned: address page of each 16 MiB of the file, BKI_NO_PAGE where no record
                        starts */
    uint32_t pages_n;
    _Atomic uint64_t map_bytes;   /* of the map records in a file that a merge wrote */
    atomic_bool hinted;           /* sealed, and its hint is good */
    atomic_bool hint_bad;         /* it did not check when it was read */
    _Atomic uint64_t hint_covers; /* bytes that the hint lists */
    _Atomic uint64_t records;     /* that the hint of the sealed file lists */
    int64_t created_ms;           /* wall clock; information only */
    /* Set by the background thread; monotonic clock. */
    int64_t hint_after_us;          /* no hint is made of it before: the last try has failed */
    _Atomic int64_t merge_after_us; /* no merge takes it before: it could not be read, there was no
                                     * room for its tombstones, or an older file could not be asked
                                     * about them */
    /* Merge only. */
    _Atomic uint64_t guards_stuck; /* guard bytes that the last merge could not drop */
    atomic_bool suspect;           /* a merge found less in it than there should be */
    /* Sync thread only. */
    int old_fd;       /* owned; -1 unless the file was renewed */
    uint64_t plain;   /* the log's records and zeros were written up to here */
    bool sync_failed; /* never synced again: the kernel may have dropped what it could not write */
    bool rescue_failed; /* once or more, and the log says so */
};

/* It is one of the store's, made by itself or by a merge that is done. f may be NULL. */
static inline bool bki_file_in_use(const struct bki_file *f)
{
    return f != NULL && atomic_load(&f->state) < BKI_FILE_DROPPED;
}
/* In the order of the history. */
void bki_files_sort(struct bki_file **files, uint32_t n);

struct bki_damage;

struct bki_files {
    /* Set once. */
    const struct bk_io *io;       /* borrowed */
    const struct bk_clock *clock; /* borrowed */
    char *dir;                    /* owned */
    /* edits (rank 25), held across I/O. */
    struct bk_mutex edits;
    struct bki_manifest manifest BK_GUARDED(edits);
    atomic_uint holds; /* while not zero no file is unlinked or replaced */
    /* Who may hold a location. */
    struct bki_pins pins;
    /* Guarded by the log's mutex, but for its atomic table. */
    struct bki_pages pages;
    /* Guarded by mu; the pointers may be read under a pin: a file is freed when none is left that
     * could have found it. */
    struct bk_mutex mu;
    _Atomic(struct bki_file *) *slot; /* owned */
    atomic_uint slots_n;
};

void bki_files_init(struct bki_files *fs, const struct bk_io *io, const struct bk_clock *clock,
                    const char *dir);
void bki_files_fini(struct bki_files *fs); /* closes every file; the manifest too */

static inline struct bki_file *bki_files_slot(const struct bki_files *fs, uint32_t slot)
{
    return atomic_load_explicit(&fs->slot[slot], memory_order_acquire);
}

/* The file of a location, and the byte offset in it. */
static inline struct bki_file *bki_files_at(const struct bki_files *fs, uint64_t loc,
                                            uint64_t *offset)
{
    return bki_files_slot(fs, bki_loc_file(&fs->pages, loc, offset));
}

/* Opens a file that the manifest names and publishes it. One that is not there, or has another file
 * in its place, is published too: its keys are known by its hint, reads of them answer BK_CORRUPT,
 * and it keeps its rank until it is there again. */
BK_MUST_USE int bki_files_open(struct bki_files *fs, const struct bki_manifest_file *mf,
                               struct bki_file **out, struct bk_error *err);

/* Makes an edit of the manifest durable. */
BK_MUST_USE int bki_files_commit(struct bki_files *fs, const struct bk_buf *edit,
                                 struct bk_error *err);

/* The same for an edit that puts files in the place of others. BK_EAGAIN: not while files are held.
 */
BK_MUST_USE int bki_files_replace(struct bki_files *fs, const struct bk_buf *edit,
                                  struct bk_error *err);

/*
 * Makes a new data file of the next rank with room for bytes on disk: header written and synced,
 * directory synced, named in the manifest. A file that was made but could not be named stays as an
 * orphan for the next start.
 */
BK_MUST_USE int bki_files_create(struct bki_files *fs, uint64_t bytes, struct bki_file **out,
                                 struct bk_error *err);

/* Room that all data files take on disk. */
uint64_t bki_files_allocated(struct bki_files *fs);
/* Of it, the outputs of a merge that has not been committed. */
uint64_t bki_files_outputs(struct bki_files *fs);

/* While held, nothing is unlinked, and no merge takes the place of its inputs. Any thread. */
void bki_files_hold(struct bki_files *fs);
void bki_files_release(struct bki_files *fs);

/*
 * Makes a file that a merge writes into: a name, a slot, no place in the manifest yet. first: its
 * header, which is to list n replaced files, has its room but is written by bki_files_finish_output
 * only; until then it is no data file to anyone. The others have theirs from the start, with an
 * empty list.
 */
BK_MUST_USE int bki_files_create_output(struct bki_files *fs, uint64_t rank, bool first,
                                        uint32_t replaces_n, struct bki_file **out,
                                        struct bk_error *err);
/* Writes and syncs the header of the first output: from here on the outputs stand for the replaced
 * files. */
BK_MUST_USE int bki_files_finish_output(struct bki_files *fs, struct bki_file *f,
                                        const uint64_t *replaces, uint32_t n, struct bk_error *err);
/* Takes an output back that never came to be, its name and hint too. Takes and nulls *f. */
void bki_files_cancel_output(struct bki_files *fs, struct bki_file **f);

/* Removes a dropped file's names from the directory. BK_EIO: not all; try again. */
BK_MUST_USE int bki_files_unlink(struct bki_files *fs, const struct bki_file *f,
                                 struct bk_error *err);
/* Gives a file's address pages back. With the log's mutex held. */
void bki_file_pages_give(struct bki_files *fs, struct bki_file *f);

/* What the manifest says at the moment; *out is the caller's to fini. */
void bki_files_copy_state(struct bki_files *fs, struct bki_manifest_state *out);

/* Reserves room on disk up to offset bytes. */
BK_MUST_USE int bki_files_allocate(struct bki_files *fs, struct bki_file *f, uint64_t bytes,
                                   struct bk_error *err);

/* Ends a file at its logical size, in the manifest and then on disk (the reserved room behind it is
 * given back). A file without records is dropped and removed instead. The caller has synced what it
 * promises. */
BK_MUST_USE int bki_files_seal(struct bki_files *fs, struct bki_file *f,
                               const struct bki_spacemap *map, uint64_t next_seq,
                               struct bk_error *err);

/* A file is copied up to its end to a new one of the same name, synced, and goes on as that one;
 * other names of it stay what they are. What does not check of the copy is noted in damage; *lost:
 * its bytes. NULL: nobody looks. After a failure the file is what it was, or its name stands for
 * the copy. */
BK_MUST_USE int bki_files_renew(struct bki_files *fs, struct bki_file *f, struct bki_damage *damage,
                                uint64_t *lost, struct bk_error *err);
/* The same for one whose sync has failed; where it is not possible, its bytes from offset from on,
 * before which all is on the disk, are written again in their place, and synced. What could not be
 * read back is noted in damage. Of a file that no snapshot shares. */
BK_MUST_USE int bki_files_rescue(struct bki_files *fs, struct bki_file *f, uint64_t from,
                                 struct bki_damage *damage, struct bk_error *err);
/* Writes a file's bytes from offset from on to its end once more, as they are, so that the sync
 * that follows covers them even if one before has failed. Of a file that no snapshot can share. */
BK_MUST_USE int bki_files_rewrite(struct bki_files *fs, const struct bki_file *f, uint64_t from,
                                  struct bk_error *err);
/* What a rescue that was cut off has left beside the file. */
void bki_files_remove_copy(struct bki_files *fs, const struct bki_file *f);

/* Takes a file that nobody can find out of the table and closes it; takes and nulls *f. */
void bki_files_forget(struct bki_files *fs, struct bki_file **f);

/* The list of its pages gets its length for records that start before end (> 0): who looks up
 * others meanwhile sees it stay. None is taken. */
void bki_file_pages_expect(struct bki_file *f, uint64_t end);
/* The location of a record that starts at offset; takes an address page where needed. 0 when none
 * is left. With the log's mutex held, or before threads start. */
uint64_t bki_file_locate(struct bki_files *fs, struct bki_file *f, uint64_t offset);

/* The parts of making a file, for files.c and files_merge.c: in memory only; a slot and visible to
 * readers; closed and freed. */
struct bki_file *bki_file_new(struct bki_files *fs, uint64_t id, uint64_t uid, uint64_t rank);
BK_MUST_USE int bki_file_publish(struct bki_files *fs, struct bki_file *f, struct bk_error *err);
void bki_file_free(struct bki_files *fs, struct bki_file **f);

/* 64 random bits that no other call has returned. */
BK_MUST_USE int bki_random64(uint64_t *out, struct bk_error *err);

#endif
