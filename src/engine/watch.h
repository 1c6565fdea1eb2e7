/* SPDX-License-Identifier: MIT */
/*
 * watch.h - keys that somebody waits to see written: see bk_watch in bitkv.h.
 *
 * Watches hang on the key lock of their key, and whoever writes the key fires them while he holds
 * it: so under that lock it is certain whether one has fired. A write of a key that nobody watches
 * looks at one count beside the lock.
 */
#ifndef BK_ENGINE_WATCH_H
#define BK_ENGINE_WATCH_H

#include "engine/bitkv.h"
#include "engine/keylock.h"

/* Fires the watches of a key that is about to be written. With its key lock held. */
void bki_watch_fire(struct bki_keylocks *l, uint32_t num, const struct bk_key *key);

/* Fires the watches of the keys that a flush of num takes away, or that a swap with num2 changes:
 * those that are there before or after. With every key lock held, before it is done. num2 == num: a
 * flush. */
void bki_watch_fire_database(struct bk_db *db, uint32_t num, uint32_t num2);

#endif
