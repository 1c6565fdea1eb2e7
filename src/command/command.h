/* SPDX-License-Identifier: MIT */
/*
 * command.h - the command table, and the executor that runs one command by the "values first"
 * protocol.
 *
 * A command function sees its arguments, a ks_txn whose values are in memory, and a reply writer.
 * It does no I/O and never waits. It may run more than once for one request (values changed before
 * the locks were taken, no room in the log): it changes nothing but the transaction, the reply and,
 * as its last act, the session.
 */
#ifndef BK_COMMAND_COMMAND_H
#define BK_COMMAND_COMMAND_H

#include "command/server_ops.h"
#include "command/session.h"
#include "keyspace/keyspace.h"
#include "resp/reader.h"
#include "resp/writer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct exec;

/* Handed to a command function; valid for the call. */
struct command_ctx {
    struct session *session;
    const struct resp_command *cmd;
    const struct command_row *row;
    struct resp_writer *reply;
    struct keyspace *ks;
    struct ks_txn *txn; /* begun, fetched and locked as the row says; not for CMD_NO_STORE */
    const struct server_ops *ops;
    struct exec *exec;
    int64_t now_ms; /* the command's moment, by the wall clock */
};

enum exec_result {
    /* The reply is written. */
    EXEC_DONE,
    /* No reply yet: run the same command again after the next wake call, by exec_resume if it has
     * left a slice (it waits for something that goes on elsewhere), else as if for the first time
     * (nothing was changed). */
    EXEC_NO_ROOM,
    /* CLIENT PAUSE: run the same command again when the pause is over, by exec_resume if it has
     * left a slice, else as if for the first time. */
    EXEC_PAUSED,
    /* No reply yet: values are being read. Call exec_resume with the same command when
     * exec_read_next names its session, or at any time: then it may not be enough. */
    EXEC_READING,
    /* A long command (KEYS) has done a slice: call exec_resume with the same command; other
     * connections may run meanwhile, this one's next command may not. */
    EXEC_MORE
};

/* One per loop thread. ks and ops are borrowed until exec_free. As long as ks has no store,
 * commands without the loading flag are answered with -LOADING. */
struct exec *exec_new(struct keyspace *ks, const struct server_ops *ops);
void exec_free(struct exec **e);

/* From here on commands do not wait for the disk: they answer EXEC_READING, and wake is called, on
 * another thread, when reads are done; it must not block. Before the first command. */
void exec_wake_by(struct exec *e, void (*wake)(void *arg), void *arg);
/* To be called before the thread goes to sleep: what commands wait for is read. */
void exec_submit_reads(struct exec *e);
/* After wake: the session of a command whose values have been read (it may have been ended since,
 * as long as its slice was not freed); NULL: no more for the moment. */
struct session *exec_read_next(struct exec *e);

/* s's command waits for its reads; cmds are behind it, in order: begins to read what the first of
 * them will need, as far as they are plain reads, within bounds. */
void exec_read_ahead(struct exec *e, struct session *s, const struct resp_command *cmds, size_t n);

/* A command that is run in slices, or whose values are being read, keeps its state here; owned by
 * the connection, NULL when none. */
struct exec_slice;
void exec_slice_free(struct exec_slice **s);
/* With EXEC_NO_ROOM: when its command is to be run again at the latest, also without a wake call,
 * by the wall clock; EXEC_FOREVER: it waits for something that may never come; 0: wake calls alone
 * count. s may be NULL. A client that waits by the clock and hangs up, or a server that stops, need
 * not wait for it: the command has done nothing that it would have to end. */
#define EXEC_FOREVER INT64_MAX
int64_t exec_slice_until_ms(const struct exec_slice *s);

/*
 * Runs one command (argc >= 1). Writes exactly what Redis would reply, errors included; with CLIENT
 * REPLY OFF or SKIP nothing. *pos is raised to the log position that the reply depends on. now_ms:
 * the wall clock, read anew for each command: no loop may serve a key that another one has already
 * called expired.
 */
enum exec_result exec_command(struct exec *e, struct session *s, const struct resp_command *cmd,
                              int64_t now_ms, struct resp_writer *reply, uint64_t *pos,
                              struct exec_slice **slice);
enum exec_result exec_resume(struct exec *e, struct session *s, const struct resp_command *cmd,
                             int64_t now_ms, struct resp_writer *reply, uint64_t *pos,
                             struct exec_slice **slice);

/* The commands that come next on a connection, in their order: what they will look up is brought
 * near, and the first of them that read one key each visit the store together (bk_visit_begin).
 * Changes nothing, and promises nothing. */
void exec_ahead(struct exec *e, const struct session *s, const struct resp_command *cmds, size_t n);
/* The visit ends, if there is one: before the thread waits for anything, and when it goes on with
 * something else. */
void exec_ahead_over(struct exec *e);

/* The next command of each of several connections: what they will look up is brought near, and no
 * more. */
struct exec_next {
    const struct session *session;
    const struct resp_command *cmd;
};
void exec_prefetch(struct exec *e, const struct exec_next *next, size_t n);

/*
 * The executor's clock: one look at the wall clock for each command tells its moment, its begin and
 * the end of the one before it. exec_look looks, which the caller does before the first command
 * after anything else than a command; each command looks when it ends. exec_tick is a look by both
 * clocks at the begin of a tick: what a step of the wall clock adds or takes is found by it.
 */
int64_t exec_look(struct exec *e);           /* microseconds since 1970 */
int64_t exec_clock_ms(const struct exec *e); /* as of the latest look; milliseconds */
void exec_tick(struct exec *e, int64_t wall_us, int64_t mono_us);
int64_t exec_tick_us(const struct exec *e); /* from the tick's begin to the latest look */

/* Statistics of this executor; any thread may read the sums (relaxed atomics). */
struct exec_totals {
    uint64_t commands, errors, keyspace_hits, keyspace_misses;
};
void exec_totals(const struct exec *e, struct exec_totals *out);
/* "cmdstat_get:calls=..,usec=..,usec_per_call=..,rejected_calls=..,failed_calls=..\r\n" summed over
 * n executors. */
void exec_commandstats(struct exec *const *all, size_t n, struct bk_buf *out);
/* "errorstat_ERR:count=..\r\n" for each first word of error replies, in order. */
void exec_errorstats(struct exec *const *all, size_t n, struct bk_buf *out);
/* "latency_percentiles_usec_get:p50=..,p99=..\r\n"; percentiles are words like "99.9". */
void exec_latencystats(struct exec *const *all, size_t n, struct bk_span percentiles,
                       struct bk_buf *out);
void exec_resetstat(struct exec *e);

/* Lower case, "client|kill" for a subcommand. */
const char *command_name(const struct command_row *row);

#endif
