/* SPDX-License-Identifier: MIT */
/*
 * simdisk.h - a disk in memory behind struct bk_io, for tests that cut the power.
 *
 * It keeps what processes see (the page cache) apart from what the platters hold: file bytes in
 * sectors of 512, file sizes, and directory entries each become durable on their own, by sync and
 * sync_dir. Everything random is drawn from the seed, so one thread's run repeats exactly. Memory
 * is proportional to the bytes written.
 *
 * A life ends when the power or the process goes (simdisk_cut, simdisk_crash): from then on every
 * call answers -EIO, so the store can be closed and freed; simdisk_restart begins the next life
 * with what survived.
 *  - SIMDISK_KILL: the process died. The page cache survives, the boot id stays.
 *  - SIMDISK_POWER: any subset of the unsynced sectors survives, some size the file has had since
 * its last sync, and for each directory a prefix of its unsynced creates, renames, unlinks and
 * mkdirs. The boot id changes. A failed sync loses some of the dirty pages for good, as Linux does:
 * a later sync answers 0 without them. All functions may be called from any thread.
 */
#ifndef BK_TESTS_SIMDISK_H
#define BK_TESTS_SIMDISK_H

#include "base/buf.h"
#include "engine/io.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define SIMDISK_SECTOR 512u
#define SIMDISK_ENDS 1
#define SIMDISK_SHORT 2
#define SIMDISK_HOLDER 4711L /* the pid that a refused lock names */

struct simdisk;

enum simdisk_kind { SIMDISK_KILL, SIMDISK_POWER };

/* Calls of the table, as bits. */
enum simdisk_call {
    SIMDISK_OPEN = 1 << 0,
    SIMDISK_CLOSE = 1 << 1,
    SIMDISK_READ = 1 << 2,
    SIMDISK_WRITE = 1 << 3,
    SIMDISK_SYNC = 1 << 4,
    SIMDISK_ALLOCATE = 1 << 5,
    SIMDISK_TRUNCATE = 1 << 6,
    SIMDISK_SIZE = 1 << 7,
    SIMDISK_MKDIR = 1 << 8,
    SIMDISK_RENAME = 1 << 9,
    SIMDISK_UNLINK = 1 << 10,
    SIMDISK_SYNC_DIR = 1 << 11,
    SIMDISK_LIST = 1 << 12,
    SIMDISK_LOCK = 1 << 13,
    SIMDISK_UNLOCK = 1 << 14,
    SIMDISK_BOOT_ID = 1 << 15,
    SIMDISK_LINK = 1 << 16,
    SIMDISK_RMDIR = 1 << 17,
    SIMDISK_ANY = (1 << 18) - 1
};

struct simdisk *simdisk_new(uint64_t seed);
void simdisk_free(struct simdisk **d);
/* The page cache's content of d as a disk of its own with everything synced and no lock held, d's
 * boot id. */
struct simdisk *simdisk_clone(struct simdisk *d, uint64_t seed);

/* Borrowed until simdisk_free. */
const struct bk_io *simdisk_io(struct simdisk *d);

/* ---- Faults; each setting replaces the one before it ---- */

/* The life ends in the nth call from now (1 = the next), which may take effect, in part or not at
 * all. 0: never. */
void simdisk_cut(struct simdisk *d, uint64_t nth);
/* From now on each() is asked at every call of a living disk what becomes of it: 0 it runs,
 * SIMDISK_ENDS the life ends in it, SIMDISK_SHORT a read or write does a part only, -errno it fails
 * so. It must not use the disk, but may fork: parent and child go on with a disk each. NULL: nobody
 * is asked. */
void simdisk_ask(struct simdisk *d, int (*each)(void *arg, enum simdisk_call call), void *arg);
/* Other survivors, other noise from here on. */
void simdisk_reseed(struct simdisk *d, uint64_t seed);
/* The life ends now. */
void simdisk_crash(struct simdisk *d);
bool simdisk_dead(struct simdisk *d);
void simdisk_restart(struct simdisk *d, enum simdisk_kind kind);

/* From the nth of the calls named in mask on, `times` of them fail with -error: without effect, but
 * for writes with EIO, of which a part may have been done. mask 0: none. */
void simdisk_fail(struct simdisk *d, unsigned mask, uint64_t nth, uint64_t times, int error);
/* How many calls simdisk_fail has failed since it was set. */
uint64_t simdisk_failed(struct simdisk *d);
/* So many in a hundred reads and writes are short, and as many are -EINTR. */
void simdisk_noise(struct simdisk *d, unsigned percent);
/* The sum of the files' sizes (in blocks of 4096) may not grow past bytes: -ENOSPC. UINT64_MAX: no
 * limit. */
void simdisk_capacity(struct simdisk *d, uint64_t bytes);
uint64_t simdisk_used(struct simdisk *d);
/* A page that a failed sync has lost is read back as it was before (true), or as it was written
 * (false, default). */
void simdisk_evict_lost(struct simdisk *d, bool evict);

/* ---- Sight ---- */

/* Calls so far of the kinds in mask, over all lives. */
uint64_t simdisk_calls(struct simdisk *d, unsigned mask);
unsigned simdisk_handles(struct simdisk *d); /* open ones */
/* True when a cut of the power now would lose nothing of the file's bytes, size and name. */
bool simdisk_is_durable(struct simdisk *d, const char *path);
/* One line for each call goes to out; NULL: no more. */
void simdisk_trace(struct simdisk *d, FILE *out);

/* ---- Damage: past the page cache, durable at once ---- */

bool simdisk_exists(struct simdisk *d, const char *path);
uint64_t simdisk_size(struct simdisk *d, const char *path); /* 0 when it is not there */
void simdisk_read(struct simdisk *d, const char *path,
                  struct bk_buf *out); /* replaces out's contents */
void simdisk_patch(struct simdisk *d, const char *path, uint64_t offset, const void *data,
                   size_t len);
void simdisk_resize(struct simdisk *d, const char *path, uint64_t size);
void simdisk_put(struct simdisk *d, const char *path, const void *data,
                 size_t len); /* made or replaced */
void simdisk_remove(struct simdisk *d, const char *path);
/* Turns one bit of the file over, as a platter does that nobody looks at. */
void simdisk_flip(struct simdisk *d, const char *path, uint64_t bit);

#endif
