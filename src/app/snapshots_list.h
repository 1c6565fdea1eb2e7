/* SPDX-License-Identifier: MIT */
/* snapshots_list.h - what lies in snapshot-dir: the snapshots by number, and their data files. */
#ifndef BK_APP_SNAPSHOTS_LIST_H
#define BK_APP_SNAPSHOTS_LIST_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct snapshots_item {
    uint64_t number;
    char name[64];
};

/* A data file of one or more snapshots. */
struct snapshots_file {
    uint64_t uid, bytes;
    bool linked; /* on the store's file system, so that it is the same file as the store's */
};

/* All zero is an empty list. */
struct snapshots_list {
    struct snapshots_item *items; /* owned; by number */
    size_t n;
    struct snapshots_file *files; /* owned; by uid, each once */
    size_t files_n;
    uint64_t last_number; /* 0: none */
};

/* Makes dir if it is missing, and removes what a crash has left of a snapshot that was being made
 * or removed. */
BK_MUST_USE int snapshots_list_prepare(const char *dir, struct bk_error *err);

/* Reads dir into an empty list. What is no snapshot is passed over; one whose manifest does not
 * check is logged and passed over. data_dir: of the store. */
void snapshots_list_read(struct snapshots_list *l, const char *dir, const char *data_dir);
void snapshots_list_fini(struct snapshots_list *l);

#endif
