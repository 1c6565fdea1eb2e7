/* SPDX-License-Identifier: MIT */
/*
 * simdisk_private.h - files, names and state of the simulated disk, shared by its four .c files.
 *
 * Nothing here locks: the caller holds the disk's mutex.
 */
#ifndef BK_TESTS_SIMDISK_PRIVATE_H
#define BK_TESTS_SIMDISK_PRIVATE_H

#include "lib/rng.h"
#include "lib/simdisk.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_PAGE 4096u
#define SIM_PATH_LEN 512
#define SIM_HANDLES_MAX 4096
#define SIM_CALLS 18 /* kinds of calls: enum simdisk_call */

/* One page of a file. NULL is all zero; both pointers equal: clean. */
struct sim_page {
    uint8_t *cache;  /* owned; what processes read */
    uint8_t *synced; /* owned unless equal to cache; what a power cut leaves */
    bool lost;       /* a failed sync dropped it: clean for the kernel, not on the platter */
};

/* A file. Counted: by names (cached and durable), pending operations and handles. */
struct sim_file {
    unsigned refs;
    uint64_t size;
    uint64_t synced_size;
    uint64_t sizes[16]; /* that it has had since the last sync; the oldest fall out */
    unsigned sizes_n;
    struct sim_page *pages; /* owned */
    size_t pages_n;
};

struct sim_file *sim_file_new(void);
struct sim_file *sim_file_ref(struct sim_file *f);
void sim_file_unref(struct sim_file **f);
void sim_file_write(struct sim_file *f, uint64_t offset, const uint8_t *data, size_t len);
void sim_file_read(const struct sim_file *f, uint64_t offset, uint8_t *out,
                   size_t len); /* within its size */
void sim_file_resize(struct sim_file *f, uint64_t size);
void sim_file_sync(struct sim_file *f);
void sim_file_sync_failed(struct sim_file *f, struct rng *rng, bool evict);
/* The kernel writes some dirty pages of its own accord. */
void sim_file_writeback(struct sim_file *f, struct rng *rng);
void sim_file_power_cut(struct sim_file *f, struct rng *rng);
bool sim_file_is_durable(const struct sim_file *f);
uint64_t sim_file_charge(const struct sim_file *f); /* bytes of room that it takes */
struct sim_file *sim_file_copy(
    const struct sim_file *f); /* of what the page cache holds, all clean */

/* A set of names; a directory has no file. */
struct sim_name {
    char *path;            /* owned */
    struct sim_file *file; /* counted; NULL for a directory */
};
struct sim_names {
    struct sim_name *items; /* owned */
    size_t n;
};

struct sim_name *sim_names_find(const struct sim_names *s, const char *path);
void sim_names_set(struct sim_names *s, const char *path,
                   struct sim_file *file);                    /* takes its own reference */
void sim_names_remove(struct sim_names *s, const char *path); /* nothing when it is not there */
void sim_names_fini(struct sim_names *s);

enum sim_op_kind { SIM_OP_SET, SIM_OP_REMOVE, SIM_OP_RENAME };

/* A directory operation that the directory's sync has not made durable yet. */
struct sim_op {
    enum sim_op_kind kind;
    char *path;            /* owned */
    char *to;              /* owned; of a rename */
    struct sim_file *file; /* counted */
};

/* Names as processes see them, as the platter has them, and what lies between. */
struct sim_tree {
    struct sim_names cached;
    struct sim_names durable;
    struct sim_op *pending; /* owned, oldest first */
    size_t pending_n;
};

/* Writes the directory of path to out ("." when it has none). */
void sim_parent(const char *path, char *out, size_t out_len);
void sim_tree_set(struct sim_tree *t, const char *path, struct sim_file *file);
void sim_tree_remove(struct sim_tree *t, const char *path);
/* Of a directory too: what lies below moves along. */
void sim_tree_rename(struct sim_tree *t, const char *from, const char *to);
bool sim_tree_empty(const struct sim_tree *t, const char *dir);
void sim_tree_sync_dir(struct sim_tree *t, const char *dir);
bool sim_tree_is_durable(const struct sim_tree *t, const char *path);
void sim_tree_power_cut(struct sim_tree *t, struct rng *rng);
void sim_tree_fini(struct sim_tree *t);

/* An open file or a held lock. */
struct sim_handle {
    struct sim_file *file; /* counted; NULL: closed */
    char *path;            /* owned */
    bool writable;
    bool is_lock;
};

struct simdisk {
    /* Set once. */
    struct bk_io io;
    /* Guarded by mu. */
    pthread_mutex_t mu;
    struct rng rng;
    struct sim_tree tree;
    struct sim_handle handles[SIM_HANDLES_MAX];
    uint8_t boot_id[16];
    bool dead;
    bool cutting;   /* the call that runs now is the life's last */
    bool cut_short; /* the call that runs now does a part only */
    int (*ask)(void *arg, enum simdisk_call call);
    void *ask_arg;
    uint64_t cut_in;
    unsigned fail_mask;
    uint64_t fail_in;
    uint64_t fail_times;
    int fail_error;
    uint64_t failed;
    unsigned noise_percent;
    uint64_t capacity;
    bool evict;
    uint64_t calls[SIM_CALLS];
    uint64_t calls_all;
    FILE *trace; /* borrowed */
};

/* Each call runs between these two, under d->mu. begin counts it and decides whether it takes
 * effect: 0, or else the negative errno it answers. end returns rc, or ends the life when the power
 * goes in this very call. */
int sim_call_begin(struct simdisk *d, enum simdisk_call call);
int64_t sim_call_end(struct simdisk *d, const char *what, const char *path, uint64_t a, uint64_t b,
                     int64_t rc);

/* Does the noise that was asked for hit this call, if it is one of calls? */
bool sim_noise_due(struct simdisk *d, unsigned calls, enum simdisk_call call);

void simdisk_fill_table(struct simdisk *d);
void simdisk_handle_drop(struct sim_handle *h); /* nothing when it is closed */
uint64_t simdisk_used_locked(const struct simdisk *d);

#endif
