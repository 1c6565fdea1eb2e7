/* SPDX-License-Identifier: MIT */
/* store.h - a store as the tool opens it: to read without a trace, or to write; record by record.
 */
#ifndef BK_TOOLS_STORE_H
#define BK_TOOLS_STORE_H

#include "base/mutex.h"
#include "engine/bitkv.h"

#include <stdbool.h>
#include <stdint.h>

enum tool_mode {
    TOOL_READ,   /* nothing in the directory is made or changed */
    TOOL_WRITE,  /* each write is synced before it counts as done; the store is there already */
    TOOL_CREATE, /* as TOOL_WRITE; made where there is no directory, an empty one, or what a first
                  * opening that was cut off has left of one */
    TOOL_BULK,   /* as TOOL_CREATE; writes are synced when the store is closed */
    TOOL_STEPPED /* as TOOL_WRITE; background work is done by bk_step alone */
};

struct tool_store {
    struct bk_db *db; /* owned; NULL when opening failed */
    const char *dir;  /* borrowed */
    enum tool_mode mode;
    struct bk_batch *batch;
    uint64_t damaged_records, damaged_bytes; /* TOOL_BULK: that opening it has found */
    /* Guarded by mu: how often the log had news. */
    struct bk_mutex mu;
    struct bk_cond news;
    uint64_t wakes BK_GUARDED(mu);
};

/* One key with all that is kept about it. */
struct tool_record {
    uint32_t num;
    struct bk_span key, value; /* borrowed */
    uint8_t flags;
    int64_t expire_ms; /* 0 = never */
};

/* TOOL_OK, or TOOL_ERROR with the reason on standard error. s must not move until the close. */
int tool_store_open(struct tool_store *s, const char *dir, enum tool_mode mode);
/* Syncs what was written. Returns status, or TOOL_ERROR when that failed, or when a failed write or
 * sync has lost any of it. */
int tool_store_close(struct tool_store *s, int status);

/* TOOL_STEPPED: nothing can be done at the moment; writes out what waits, and gives the disk a
 * moment. */
void tool_store_breathe(struct tool_store *s);

BK_MUST_USE int tool_store_put(struct tool_store *s, const struct tool_record *r,
                               struct bk_error *err);

/* Finds a key and loads its value; r->value lies in item. BK_NOTFOUND: no such key, or its time has
 * run out. BK_CORRUPT: its record is damaged. BK_EIO: it cannot be read. */
BK_MUST_USE int tool_store_get(struct tool_store *s, struct tool_record *r, struct bk_item *item,
                               struct bk_error *err);

/*
 * Calls each() for every key that has not expired of database num, with its value where values is
 * set; rc and err as of tool_store_get. Ends with the first status that is not TOOL_OK. Memory: the
 * keys of a few buckets, and one value. done (may be NULL) counts keys.
 */
struct tool_walk {
    struct tool_store *store; /* borrowed */
    uint32_t num;
    bool values;
    _Atomic uint64_t *done;
    int (*each)(void *arg, const struct tool_record *r, int rc, const struct bk_error *err);
    void *arg;
};
int tool_store_walk(const struct tool_walk *w);
/* The same over every database. */
int tool_store_walk_all(struct tool_walk *w);

#endif
