/* SPDX-License-Identifier: MIT */
/* eqpeer.h - one of the two servers of a comparison, its connection, and the ways in which commands
 * go to it. */
#ifndef BK_TESTS_EQPEER_H
#define BK_TESTS_EQPEER_H

#include "lib/eqgen.h"
#include "lib/rawconn.h"
#include "lib/server.h"

#include <stddef.h>

/* Storage is the caller's; server is started and conn opened by the caller, both are made anew when
 * they end. */
struct eq_peer {
    struct server server;
    struct rawconn conn;
    unsigned restarts; /* after too many the program ends */
};

/* A reply, or what stands for one; empty: none came. All zero is empty. */
struct eq_answer {
    char *data; /* owned */
    size_t len;
};

struct raw eq_raw(const struct eq_answer *r); /* borrowed */
void eq_set_answer(struct eq_answer *r, const void *data, size_t len);
void eq_free_answers(struct eq_answer *r, size_t n);

/* Sends all in one piece; replies that do not come are left empty, and the connection is made anew.
 */
void eq_peer_batch(struct eq_peer *s, const struct eq_cmd *const *cmds, size_t n,
                   struct eq_answer *out);
void eq_peer_one(struct eq_peer *s, const struct eq_cmd *cmd, struct eq_answer *out);
/* For a command that ends the connection: the reply, if the end comes. */
void eq_peer_closing(struct eq_peer *s, const struct eq_cmd *cmd, struct eq_answer *out);
/* argv[0] as it is on a new connection, then the end of our half: all that comes back. */
void eq_peer_raw(struct eq_peer *s, const struct eq_cmd *cmd, struct eq_answer *out);
/* A SCAN to the end: all keys, each once, sorted; or the first reply that is no step of a scan. */
void eq_peer_scan(struct eq_peer *s, const struct eq_cmd *cmd, struct eq_answer *out);

#endif
