/* SPDX-License-Identifier: MIT */
/*
 * rig.h - one stepped store on a simulated disk with a simulated clock, and the model that it is
 * held against.
 *
 * Everything happens in the calling thread; background work only in rig_step. What was
 * acknowledged, and what a completed sync covers, is noted after every step, so that after a crash
 * the rig knows what must be there. Functions that answer bool return false when the store has
 * broken its promise; the reason is in why.
 */
#ifndef BK_TESTS_RIG_H
#define BK_TESTS_RIG_H

#include "engine/bitkv.h"
#include "lib/model.h"
#include "lib/rng.h"
#include "lib/simclock.h"
#include "lib/simdisk.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RIG_DIR "store"
#define RIG_DATABASES 4u

struct rig {
    struct simdisk *disk; /* owned */
    struct simclock clock;
    struct bk_options opt;  /* changed by the test before rig_open */
    struct bk_db *db;       /* owned; NULL while closed */
    struct bk_batch *batch; /* owned, as db */
    struct model model;
    struct rng rng;
    uint64_t seed;
    unsigned life;         /* counts opens */
    size_t acked_n;        /* entries of the model's history that were acknowledged */
    size_t durable_n;      /* ... that a completed sync covers, or always acknowledged */
    bool power_lost;       /* since the last successful open */
    bool undone_gone;      /* set by the test: what was told to be undone does not outlive a kill */
    uint64_t write_errors; /* that the store had counted when its positions were last believed */
    uint64_t retries;      /* commits that met BK_EAGAIN */
    uint64_t refused;      /* commits answered with BK_ENOSPC or BK_EIO */
    uint64_t undone;       /* entries whose position turned BK_EIO */
    char why[512];
};

/* A fresh disk; small files (16 KiB), RIG_DATABASES databases, stepped, on_corruption refuse. r
 * must not move. */
void rig_init(struct rig *r, uint64_t seed, enum bk_sync sync);
/* From the next open on merges run whenever they can, over tiny files; what is worth one depends on
 * the seed. */
void rig_merging(struct rig *r);
void rig_fini(struct rig *r);

/* bk_open's code; the model is not looked at. */
int rig_open(struct rig *r);
/* The code of a clean close; then everything that was acknowledged is durable. */
int rig_close(struct rig *r);
/* After a close: the next open reads the records, not the index image. */
void rig_forget_image(struct rig *r);
/* Ends the life (if it has not ended yet), frees the store and begins the next life of the disk;
 * not opened. */
void rig_crash(struct rig *r, enum simdisk_kind kind);

/* One call of bk_flush or bk_step, or both; returns whether there is more to do at once. */
bool rig_step(struct rig *r);
/* Steps until nothing is to be done and, in always mode, everything is answered. False: that never
 * came. */
bool rig_settle(struct rig *r);
/* Advances the clock past the everysec limit and settles. */
bool rig_sync(struct rig *r);

/* Begin gathers into r->batch and the model alike; commit steps and tries again while the log has
 * no room. */
void rig_begin(struct rig *r);
void rig_batch_put(struct rig *r, uint32_t num, struct bk_span key, struct bk_span value,
                   uint8_t flags, int64_t expire_ms);
void rig_batch_delete(struct rig *r, uint32_t num, struct bk_span key);
void rig_batch_flush(struct rig *r, uint32_t num);
void rig_batch_swap(struct rig *r, uint32_t num1, uint32_t num2);
/* bk_batch_commit's last code (BK_EAGAIN: still no room after many steps). The model follows BK_OK
 * only. */
int rig_commit(struct rig *r);

/* Single writes in database 0 of NUL-terminated text. */
int rig_put(struct rig *r, const char *key, const char *value);
int rig_delete(struct rig *r, const char *key);

/* Reads every key of the store. False: a key that is listed does not load, or comes twice in one
 * database. */
bool rig_read_all(struct rig *r, struct model_state *out);
/* The store equals the model's present state. */
bool rig_same(struct rig *r);
/* The store, just opened after a crash, holds a prefix of the history with all it must; the model
 * follows. */
bool rig_recovered(struct rig *r);
/* bk_check. */
bool rig_check(struct rig *r);
/* Opens after a crash, recovers, checks. */
bool rig_reopen(struct rig *r);

/* One random operation: a write, a batch, a read, a scan, a step, time. False: the store broke a
 * promise. */
bool rig_random_op(struct rig *r);
/* Reads one key of database num and compares it with the model. */
bool rig_get_same(struct rig *r, uint32_t num, struct bk_span key);

/* Writes "store/name". */
void rig_path(const char *name, char *out, size_t out_len);
/* Calls each() for the name of every data file on the disk, in no order. Returns how many. */
size_t rig_data_files(struct rig *r, void (*each)(void *arg, const char *name), void *arg);

#endif
