/* SPDX-License-Identifier: MIT */
/*
 * tracking.h - clients that keep values in caches of their own: CLIENT TRACKING and its kin, and
 * what the executor does so that such clients hear of each change (tracking_ops.h says how).
 *
 * Keys that a reading command names are remembered before they are looked up; keys that have
 * changed are told of behind the commit. Where nobody tracks, a commit costs one relaxed load.
 */
#ifndef BK_COMMAND_TRACKING_H
#define BK_COMMAND_TRACKING_H

#include "command/command.h"
#include "command/table.h"

struct command_slot;
struct exec;

/* ---- For the executor ---- */

/* c, which reads, is about to look up its keys: those named from the from-th on, up to to. */
void tracking_remember(const struct command_ctx *c, size_t from, size_t to);
/* A command of this slot (NULL: of none) is done: CLIENT CACHING holds for the next one that is
 * not CLIENT's, or for a transaction. */
void tracking_next(struct session *s, const struct command_slot *slot);
/* ks_committed_fn; arg: the executor. */
void tracking_committed(void *arg, struct ks_txn *t, uint64_t pos);
/* A key has run out of time, or was evicted: outside of what commands write. by: whose command has
 * found it, or NULL. */
void tracking_vanished(const struct tracking_ops *ops, const struct server_watch *watch,
                       struct session *by, struct bk_span key, uint64_t pos);

/* ---- Rows of CLIENT ---- */

void client_tracking(struct command_ctx *c);
void client_caching(struct command_ctx *c);
void client_trackinginfo(struct command_ctx *c);
void client_getredir(struct command_ctx *c);

#endif
