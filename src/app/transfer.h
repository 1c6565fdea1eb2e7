/* SPDX-License-Identifier: MIT */
/*
 * transfer.h - bytes to another server and the lines that it answers, for MIGRATE: each transfer on
 * a thread of its own, so that no loop connects, resolves, sends or waits.
 */
#ifndef BK_APP_TRANSFER_H
#define BK_APP_TRANSFER_H

#include "command/server_ops.h"

#define TRANSFERS_MAX 16u /* under way at once */

struct transfers;

/* ended: called from a transfer's thread when it has ended. */
struct transfers *transfers_new(void (*ended)(void *arg), void *arg);
/* Takes and nulls. Every transfer has been dropped; waits for their threads, which end at once,
 * unless one resolves a name at the moment. */
void transfers_free(struct transfers **t);

/* See struct server_ops. */
struct transfer *transfer_begin(struct transfers *all, struct transfer_order *order);
bool transfer_ended(struct transfer *t, struct transfer_result *out);
void transfer_drop(struct transfer **t);

#endif
