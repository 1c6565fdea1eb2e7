/* SPDX-License-Identifier: MIT */
/* exec_private.h - the executor's own parts, and what command functions of this folder may ask of
 * it. */
#ifndef BK_COMMAND_EXEC_PRIVATE_H
#define BK_COMMAND_EXEC_PRIVATE_H

#include "command/command.h"
#include "command/notify.h"
#include "command/table_private.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Written by the executor's loop only, read by any thread: relaxed loads and stores, no locked
 * instruction. */
typedef _Atomic uint64_t exec_counter;

struct histogram;

struct exec_command_stat {
    exec_counter calls, usec, rejected, failed;
    _Atomic(struct histogram *) latency; /* owned; NULL before the first call that is tracked */
};

/* Error replies by their first word. */
#define EXEC_ERRORS_MAX 128u /* different words; any more are counted in the total alone */
#define EXEC_ERROR_BYTES 32u
struct exec_error {
    char word[EXEC_ERROR_BYTES]; /* set once, before errors_n counts it */
    exec_counter count;
};

struct exec {
    /* Set once. */
    struct keyspace *ks;              /* borrowed */
    const struct server_ops *ops;     /* borrowed */
    const struct server_watch *watch; /* borrowed; of ops, or one that nobody sets */
    /* Atomic. */
    exec_counter commands, errors, hits, misses;
    struct exec_command_stat *stats; /* owned; by slot id */
    struct exec_error *error_words;  /* owned */
    _Atomic size_t error_words_n;
    /* This loop only. */
    int64_t now_us; /* wall clock at the latest look; 0: none yet */
    int64_t tick_wall_us, tick_mono_us;
    uint32_t redacted;       /* bit i: argument i of the command that runs; 31: all from there */
    struct ks_txn *txn;      /* owned; NULL until the first command that needs the store */
    void (*wake)(void *arg); /* NULL: commands wait for the disk */
    void *wake_arg;
    struct bk_reader *reader;  /* owned; NULL: the same */
    struct bk_reads *reads;    /* owned; of the command that runs, or NULL */
    struct notify_log notify;  /* what the request that runs does to keys */
    struct exec_slice **slice; /* borrowed for one exec_command or exec_resume */
    bool in_multi;             /* the function that runs is one of an EXEC: it must not park */
    bool visiting;             /* the store, until exec_ahead_over */
    struct session *session;   /* borrowed; whose transaction is under way */
};

/* One run of one command. */
struct exec_run {
    struct command_ctx ctx;
    const struct command_slot *slot;
    struct exec_command_stat *stat;
    size_t reply_start;    /* where the reply begins in the output */
    unsigned errors_start; /* reply->errors before it */
    bool begun;            /* it goes on: its function has run before */
};

/* exec.c, for exec_multi.c too. */

/* Will the command be committed? One that only keeps what it has worked out goes without where the
 * store takes no writes. */
bool exec_will_write(const struct command_ctx *c);
/* Names the command's keys to its transaction; returns the most that any of them needs. */
enum ks_need exec_name_keys(const struct command_ctx *c);
/* Begins the transaction, and clears *err. */
void exec_begin(struct exec_run *r, struct bk_error *err);
/* Beside enum bk_err: CLIENT PAUSE holds up what was about to write. */
#define EXEC_HELD_UP 16
/* Brings the transaction to where functions can run: values in memory; with lock, which is for what
 * writes, locks held. */
BK_MUST_USE int exec_prepare(const struct exec_run *r, bool fetch, bool lock, struct bk_error *err);
/* Ends it, and replaces the reply by an error unless rc, and then the commit of what writes, is
 * BK_OK. tail: of the log when the run had seen more than named keys; else 0. */
enum exec_result exec_end(struct exec_run *r, int rc, bool writes, uint64_t tail, uint64_t *pos,
                          struct bk_error *err);
/* As if nothing had been replied. */
void exec_cut_reply(const struct exec_run *r);

/* Shows a command that has run to those who MONITOR. */
void exec_show(const struct command_ctx *c, uint32_t db);

/* exec_pause.c: must r wait for the end of a CLIENT PAUSE? Of what had begun before the pause only
 * what would still write waits (MIGRATE). */
bool exec_paused(const struct exec_run *r);
/* Is there one, of whatever mode? No key leaves then. */
bool exec_pause_holds(const struct server_ops *ops);

/* exec_unknown.c: there is no command argv[0], or it has no subcommand argv[1]. */
void exec_reply_unknown(struct resp_writer *reply, const struct resp_command *cmd);
void exec_reply_unknown_sub(struct resp_writer *reply, const struct resp_command *cmd);

/* exec_multi.c: runs what a session that is inside MULTI has queued. */
enum exec_result exec_queue(struct exec_run *r, uint64_t *pos);

static inline void exec_count(exec_counter *counter, uint64_t n)
{
    uint64_t old = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, old + n, memory_order_relaxed);
}

/* pubsub.c: a RESP2 client that listens to something may run few commands. */
bool pubsub_in_context(const struct session *s);
void pubsub_reset(struct command_ctx *c); /* RESET: leaves all topics, and MONITOR */
/* monitor.c: shows a command that has run to those who MONITOR. */
void monitor_feed(const struct command_ctx *c, uint32_t db);

/* exec_stats.c: microseconds from begin_us until now, and a look at the clock. */
int64_t exec_took(struct exec *e, int64_t begin_us);
/* c's command has ended: counts it, and tells those who watch slow ones. */
void exec_ended(const struct command_ctx *c, struct exec_command_stat *stat, int64_t took_us,
                bool failed);
/* Counts the first word of the reply that begins at start, if it is an error. errors: how many
 * errors had been written before it. */
void exec_stat_error(struct exec *e, const struct resp_writer *reply, size_t start,
                     unsigned errors);
void exec_stats_free(struct exec *e);
/* How long calls of the command with this slot id took, over all executors; sum is overwritten. */
struct histogram_sum;
void exec_latency(struct exec *const *all, size_t n, size_t id, struct histogram_sum *sum);
/* Argument i (0: the name) of the command that runs is secret: SLOWLOG and MONITOR show
 * "(redacted)". For each run of a slice anew. */
void exec_redact(const struct command_ctx *c, int i);
bool exec_is_secret(const struct command_ctx *c, int i);

/* A long command's state between its slices. replies is written by the command as it goes; counts
 * and headers are written at the end. */
struct exec_slice {
    uint64_t cursor;
    uint64_t found;        /* elements in replies */
    uint64_t wanted;       /* SCAN: keys still to look at; SAVE: its snapshot */
    int64_t took_us;       /* the executor's: by the slices so far */
    uint64_t pos;          /* the executor's: the highest that they depend on */
    bool undone;           /* the executor's: what stands there was undone */
    struct bk_buf replies; /* owned */
    void *work;            /* owned; what else the command keeps (MIGRATE), or NULL */
    void (*work_free)(void *work);
    struct bk_reads *reads; /* owned; the executor's: what it waits for, or NULL */
    bool begun;       /* the executor's: its function has run; else there are only reads here */
    bool more;        /* set by the command: call me again */
    bool parked;      /* with more: but not before the next wake call */
    int64_t until_ms; /* with parked: or before this moment; see exec_slice_until_ms */
};
/* exec_read_ahead.c: a command of a session with reads ahead is done. */
void exec_ahead_ran(struct session *s);

/* ahead.c: may a command of this row run within a visit? It has one key, which its place names, so
 * it waits for nobody and is done when it has gone through a value; and it does not write: what
 * writes replace in memory could not be freed before the visit's end. */
bool exec_stays(const struct command_row *row);
/* exec_slice.c. What was read for the command that is about to run again, now the caller's;
 * took_us: how long it has run so far. A slice with nothing else in it goes. */
struct bk_reads *exec_take_reads(struct exec_slice **slice, int64_t *took_us);
/* The command has run and gives its reads back, or waits for them. */
void exec_keep_reads(struct exec *e, struct exec_slice **slice, bool waits, int64_t took_us);
/* Has the function asked to be called again? Then what it has lies in the slice, and no reply is
 * written yet. *pos is what this run depends on, and becomes what all of them do; where one of them
 * has seen what was undone since, that. */
bool exec_goes_on(struct exec *e, struct exec_slice **slice, uint64_t *pos);
/* The slice of the command that runs; made, all zero, on its first call. */
struct exec_slice *exec_slice_of(struct command_ctx *c);
/* Runs a function that looks at more than named keys, without locks; returns the position that its
 * reply depends on. If something is undone meanwhile it begins again, from its first slice. */
uint64_t exec_run_unlocked(struct exec_run *r);

#endif
