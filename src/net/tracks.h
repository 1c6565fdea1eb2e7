/* SPDX-License-Identifier: MIT */
/*
 * tracks.h - which keys clients remember: key -> those who are to hear when it changes. Keys have
 * no database, as in Redis. No connections, no threads of its own: who is a pointer that the caller
 * knows the meaning of, and every one in the table is a reference that the table takes and gives
 * back by functions of the caller's.
 *
 * In shards with a mutex each. A key that changes is taken out with all who remember it, so that
 * the table holds no more than what clients have read and nobody has written since.
 */
#ifndef BK_NET_TRACKS_H
#define BK_NET_TRACKS_H

#include "base/buf.h"
#include "base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tracks;

typedef void tracks_who_fn(void *who);

/* ref: called under a mutex of the table, before another thread can take who out and drop it. */
struct tracks *tracks_new(tracks_who_fn *ref, tracks_who_fn *drop);
void tracks_free(struct tracks **t); /* takes and nulls; drops all that is in it */

/* False: who remembers the key already. True: from now on the table has a reference to who. */
bool tracks_add(struct tracks *t, struct bk_span key, void *who);

/* Those who remembered a key; all zero is empty. References are the list's. */
struct tracks_list {
    void **v; /* owned */
    size_t n;
};
void tracks_list_fini(struct tracks *t, struct tracks_list *list); /* drops what is in it */

/* Takes the key out; what is found is put into an empty list. keep (may be NULL), if it remembers
 * the key, is listed and goes on remembering it: true then, and there is a reference more. */
bool tracks_take(struct tracks *t, struct bk_span key, void *keep, struct tracks_list *out);
/* Takes out a key that random chooses, and adds it to *key. False: there is none. */
bool tracks_take_any(struct tracks *t, uint64_t random, struct bk_buf *key,
                     struct tracks_list *out);
/* Empties the table, in a time that does not depend on what is in it: that is given back by
 * tracks_add in passing, and by the second, which takes so many steps, a little each. True: there
 * is more. */
void tracks_clear(struct tracks *t);
bool tracks_give_back(struct tracks *t, size_t steps);

/* May be out of date at once. */
uint64_t tracks_keys(const struct tracks *t);
uint64_t tracks_items(const struct tracks *t); /* pairs of a key and one who remembers it */

#endif
