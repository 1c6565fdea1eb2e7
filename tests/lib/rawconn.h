/* SPDX-License-Identifier: MIT */
/* rawconn.h - a connection that sends bytes and reads replies as bytes; nothing blocks without a
 * limit. */
#ifndef BK_TESTS_RAWCONN_H
#define BK_TESTS_RAWCONN_H

#include "lib/rawreply.h"

#include <stdbool.h>
#include <stddef.h>

/* Storage is the caller's. */
struct rawconn {
    int fd;     /* -1: closed */
    char *data; /* owned; bytes read */
    size_t len, cap;
    size_t at;  /* where the next reply begins */
    bool ended; /* the other side has closed */
};

bool rawconn_open(struct rawconn *c, int port);
void rawconn_close(struct rawconn *c);
/* Reads meanwhile, so that a peer that waits for us to read cannot block us. */
bool rawconn_send(struct rawconn *c, const void *data, size_t len);
void rawconn_end_sending(struct rawconn *c);
/* The next reply, borrowed until the next call; false: closed, wrong bytes, or timeout_ms of
 * silence. */
bool rawconn_reply(struct rawconn *c, int timeout_ms, struct raw *reply);
/* Everything up to the end of the connection; *closed says whether it came. */
struct raw rawconn_rest(struct rawconn *c, int timeout_ms, bool *closed);
/* Reads what has come without waiting; false: the connection has ended. */
bool rawconn_poll(struct rawconn *c);
/* The next reply that is already here. */
bool rawconn_next(struct rawconn *c, struct raw *reply);

#endif
