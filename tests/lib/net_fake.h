/* SPDX-License-Identifier: MIT */
/*
 * net_fake.h - an executor and a store that a test steers, in place of command/ and the engine: the
 * connections, the loops and the sockets between them are real.
 *
 * Commands (inline or RESP): ECHO text; WRITE: appends 10 to the log and answers its new tail as an
 * integer; NOROOM text: as ECHO once there is room; SLICES n: done after n slices; HOLD ms: parked
 * for so long (0: for ever), then as ECHO; READ text: as ECHO once fake_finish_reads was called;
 * BIG n: n bytes; QUIET: a write without a reply; COMMIT pos: commits without waking anybody; GATE:
 * blocks its loop until fake_open_gate; SINCE ms: whether the command's clock has come so far;
 * MUTE: CLIENT REPLY OFF; QUIT; LIST; KILL id ...; NAME text; PROTO 2|3; JOIN: from now on this
 * client gets what others TELL text [pos]: a push that depends on the log position; FIRST text
 * [pos]: the same, in front of the sender's own reply, which depends on that position too; LAG i:
 * bytes under way to the i-th client that joined; SUBSCRIBE channel, PUBLISH channel text: the
 * real ones of net/, both answer OK.
 */
#ifndef BK_TESTS_NET_FAKE_H
#define BK_TESTS_NET_FAKE_H

#include "lib/tmpdir.h"
#include "net/net.h"

#include <semaphore.h>
#include <stdatomic.h>

#define FAKE_JOINED_MAX 16

struct fake {
    struct tmpdir dir;
    char path[160]; /* of the unix socket */
    uint16_t port;
    struct net *net;
    struct net_config cfg;
    struct server_ops ops;
    struct net_store_ops store;
    /* The store: positions up to committed are committed, undone_from < pos <= undone_to were
     * undone. */
    _Atomic uint64_t tail, committed, undone_from, undone_to;
    atomic_bool commits_at_once; /* flush commits; else the test calls fake_commit */
    atomic_bool has_room;
    atomic_bool late; /* each tick has had its time when its first command is done */
    atomic_bool reads_done;
    atomic_bool password; /* there is one */
    atomic_int flushes, refused, running_slices, at_gate, looked_ahead, fetched;
    _Atomic(struct peer *) joined[FAKE_JOINED_MAX]; /* counted */
    atomic_uint joined_n;
    sem_t gate;
};

void fake_start(struct fake *f, unsigned loops);
void fake_stop(struct fake *f);
void fake_commit(struct fake *f, uint64_t pos); /* and wakes */
void fake_give_room(struct fake *f);            /* and wakes */
void fake_finish_reads(struct fake *f);         /* and wakes */
void fake_open_gate(struct fake *f);            /* for one GATE */

/* Says what, and ends the test: a thread of the server may be the one that noticed. */
_Noreturn void fake_fail(const char *what);

/* net_clients.c: a client over TCP or the unix socket; every wait has a limit of some seconds and
 * then fails the test. */
int fake_connect(struct fake *f);
int fake_connect_unix(struct fake *f);
void fake_send(int fd, const char *text);
void fake_expect(int fd, const char *text); /* exactly these bytes come next */
void fake_expect_closed(int fd);
bool fake_is_silent(int fd, int ms); /* nothing comes for so long */
/* Waits until the figure that read_it() gives is want. */
void fake_until(struct fake *f, uint64_t (*read_it)(struct fake *f), uint64_t want);

#endif
