/* SPDX-License-Identifier: MIT */
/*
 * snapshots.h - the server's snapshots: made one at a time on a thread of their own, in directories
 * named by number and time under snapshot-dir, the oldest removed, counted for INFO.
 */
#ifndef BK_APP_SNAPSHOTS_H
#define BK_APP_SNAPSHOTS_H

#include "base/buf.h"
#include "command/server_ops.h"
#include "engine/bitkv.h"

#include <stdbool.h>
#include <stdint.h>

struct snapshots;

struct snapshots_config {
    uint32_t keep;  /* so many stay */
    int64_t now_ms; /* what is in the store now counts as saved then */
    /* Called from the snapshot's thread when it has ended; must not block. */
    void (*ended)(void *arg);
    void *arg;
};

struct snapshots *snapshots_new(const struct snapshots_config *c);
/* The store is there: from now on snapshots can be begun. db is borrowed until snapshots_free;
 * data_dir is the store's, absolute, dir where snapshots go, made when one is. What lies there
 * already is looked at; what cannot be read is logged. */
void snapshots_open(struct snapshots *s, struct bk_db *db, const char *data_dir, const char *dir);
/* The one that is being made fails soon, and so does every later one: a SAVE that waits for it gets
 * its answer. */
void snapshots_stop(struct snapshots *s);
/* The same, and waits for its thread; the store is still open. */
void snapshots_free(struct snapshots **s);

void snapshots_keep(struct snapshots *s, uint32_t keep);

/* The number of the one that is begun; 0 with Redis's error text: one is being made. */
uint64_t snapshots_begin(struct snapshots *s, struct bk_buf *error);
/* Whether snapshots_begin would begin one; else the same error text. */
bool snapshots_possible(struct snapshots *s, struct bk_buf *error);
/* Begins one, when another runs as soon as that has ended. Why one cannot be begun is logged. */
void snapshots_schedule(struct snapshots *s);
enum save_state snapshots_state(struct snapshots *s, uint64_t number);

int64_t snapshots_last_save_ms(struct snapshots *s);

struct snapshots_info {
    bool running, last_ok;
    int64_t started_ms;             /* of the one that runs */
    int64_t last_save_ms;           /* end of the last good one */
    int64_t last_took_ms;           /* -1: none since the start */
    uint64_t saves;                 /* tries since the start */
    uint64_t changes;               /* the store's count at the last good one */
    struct bk_snapshot_result last; /* of the last good one */
    char last_name[64];             /* "": none since the start */
    char last_error[512];           /* "": the last one was good */
    uint64_t kept, kept_bytes;      /* snapshots that are there; bytes of their files, each once */
    uint64_t pinned_bytes; /* of them: files that the store no longer has, on its file system */
};
void snapshots_info(struct snapshots *s, struct snapshots_info *out);

#endif
