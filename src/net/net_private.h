/* SPDX-License-Identifier: MIT */
/*
 * net_private.h - the structures that net's files share.
 *
 * Threads: a loop and its connections belong to the loop's thread. Other threads reach a loop
 * through its mailbox (struct loop: inbox, pushes, requests, wants_wake) and its eventfd, and look
 * at connections through the registry.
 */
#ifndef BK_NET_NET_PRIVATE_H
#define BK_NET_NET_PRIVATE_H

#include "base/mutex.h"
#include "net/ahead.h"
#include "net/list.h"
#include "net/net.h"
#include "net/outq.h"
#include "net/push.h"
#include "net/topics.h"
#include "net/tracks.h"

#include <event2/event_struct.h>
#include <pthread.h>
#include <stdatomic.h>

#define NET_TURN_US 5000 /* for each part of a tick: then what is left waits for the next one */
#define NET_TICK_COMMANDS 256u             /* of one connection */
#define NET_ONCE_PUSHES 1024u              /* to all connections of one loop, past their queues */
#define NET_TURN_PUSHES 128u               /* to one, before others have their turn */
#define NET_TICK_INPUT ((size_t)128 << 10) /* received for one connection */
#define NET_TICK_OUTPUT ((size_t)1 << 20)  /* gathered on one loop before it is sent early */

struct loop;
struct prefix;
struct tracker;

/* ---- Connections (conn.c, conn_io.c) ---- */

enum conn_state {
    CONN_OPEN,   /* reads; runs what it has read by the end of the round */
    CONN_READY,  /* has input left over from a full tick; on loop->work, or loop->left */
    CONN_SLICE,  /* in the middle of a long command; on loop->work */
    CONN_PARKED, /* its command waits for room in the log; on loop->parked; does not read */
    CONN_PAUSED, /* its command waits for the end of CLIENT PAUSE; on loop->paused; does not read */
    CONN_READING, /* its command's values are being read from the disk; on loop->reading */
    CONN_CLOSING, /* reads no more; closed once all replies have left */
    CONN_CLOSED,  /* descriptor gone; on loop->dead until the tick ends */
    CONN_STATES
};

struct conn {
    /* Set once, at accept. */
    struct loop *loop;  /* borrowed */
    char *addr, *laddr; /* owned, one allocation */
    int fd;             /* -1 once closed; also read by CLIENT LIST, under the registry's mutex */
    bool is_unix;
    /* Relaxed atomics: written by this loop, read by others. */
    _Atomic int64_t last_ms; /* last byte received or sent */
    _Atomic uint64_t input_pending, output_pending, memory;
    atomic_bool closing, blocked; /* blocked: as CLIENT LIST and INFO tell */
    /* The session says for each field who may touch it; its texts are guarded by the registry's
     * mutex. */
    struct session session;
    /* Guarded by loop->registry_mu: this connection's place in it. */
    struct list registered;
    /* Counted; NULL: nobody has asked for it. Set once, under loop->registry_mu, by any thread;
     * taken off by this loop when the connection has left the registry. */
    _Atomic(struct peer *) peer;
    /* This loop only. */
    enum conn_state state;
    bool reading, writing;  /* which events are added */
    bool waits;             /* on loop->waiting */
    bool trimmed;           /* idle memory has been given back */
    bool dirty;             /* on loop->dirty: [seg_at, seg_at + seg_len) of loop->out is ours */
    struct list queued;     /* loop->work or parked */
    struct conn *next_dead; /* borrowed; chain of loop->dead */
    struct list dirty_link; /* loop->dirty */
    struct list waiting;    /* loop->waiting: replies wait for a commit */
    struct event read_ev, write_ev;
    struct resp_reader *reader;   /* owned */
    struct resp_command *pending; /* owned; the command that is unfinished, else NULL */
    struct exec_slice *slice;     /* owned */
    struct event *clock_ev;       /* owned; parked until a moment, else NULL */
    struct outq outq;
    size_t seg_at, seg_len, part_at, part_n;
    int64_t soft_since_ms;    /* over the soft output limit since; 0: is not */
    struct topic_set *topics; /* owned; NULL: it has never subscribed, or left all for good */
    struct tracker *tracker;  /* counted; NULL: it has never tracked */
    uint64_t last_pos;        /* the highest position that a command of its depends on */
    struct push_queue held;   /* wait for the reply of the command that runs, or for their turn */
    struct list receives;     /* loop->receivers */
};

/* ---- Loops (loop.c) ---- */

/* Counters of a loop: written by its thread (RESETSTAT apart), read by any; relaxed. */
struct loop_stats {
    _Atomic uint64_t commands, input_bytes, output_bytes, killed_obuf, killed_query, timed_out;
    _Atomic uint64_t ticks, tick_us_total, tick_us_max, tick_ran_us_max, misconf, parked, waiting,
        blocked, reading;
    _Atomic uint64_t tick_us[NET_TICK_BUCKETS];
};

/* Times a thread's ticks (ticks.c). */
struct tick_timer {
    int schedstat_fd; /* -1: the kernel does not tell how long this thread waited */
    int64_t start_us, looked_us;
    uint64_t waited_ns; /* for a processor, as of looked_us */
};

/* A connection just accepted, on its way to its loop. */
struct newcomer {
    int fd;
    bool is_unix;
    uint64_t id;
    char *addr, *laddr; /* owned, one allocation */
};

/* A connection that has received in this round of epoll, and has not run yet. */
struct arrival {
    struct conn *conn; /* borrowed until the round's end: nothing is freed before the tick's */
    struct resp_command cmd; /* owned; if parsed, its next one */
    bool parsed;
};

#define ARRIVALS_MAX RESP_ASIDE_MAX

/* All but the last have stepped aside: that one may have the spare buffer. All zero is empty. */
struct arrivals {
    struct arrival v[ARRIVALS_MAX];
    size_t n;
    bool late; /* the time of the round's commands is over */
};

struct loop {
    /* Set once, before the thread starts. */
    struct net *net; /* borrowed */
    unsigned index;
    int wake_fd;             /* eventfd */
    struct event_base *base; /* owned; used by this thread only once it runs */
    struct exec *exec;       /* owned; its statistics are read by any thread */
    pthread_t thread;
    /* Atomics. */
    atomic_bool wants_wake;     /* connections wait for the store */
    atomic_bool unpaused;       /* CLIENT UNPAUSE: paused connections go on */
    atomic_bool kill_requested; /* a connection has close_soon set */
    atomic_uint connections;    /* alive or in the inbox */
    struct loop_stats stats;
    /* Guarded by inbox_mu. */
    struct bk_mutex inbox_mu;
    struct newcomer *inbox; /* owned */
    size_t inbox_n, inbox_cap;
    /* Guarded by push_mu: what others have for connections of this loop. */
    struct bk_mutex push_mu;
    struct push_queue pushes;
    /* Guarded by registry_mu: all connections, oldest first. Only this thread adds and removes. */
    struct bk_mutex registry_mu;
    struct list registry;
    /* This thread only. */
    struct event *wake_ev, *second_ev, *deadline_ev, *pause_ev; /* owned */
    struct list work, parked, paused, resumed, reading, dirty, waiting;
    struct list left;          /* CONN_READY: have received in a tick that had no time for them */
    struct list receivers;     /* connections whose held pushes have their turns */
    struct conn *dead;         /* owned chain; freed at the end of the tick */
    struct resp_spare spare;   /* receive buffer of whoever is being read */
    struct arrivals arrivals;  /* who was */
    struct ahead ahead;        /* the command being run, and those behind it */
    struct bk_buf out;         /* replies of this tick, of all connections */
    struct out_parts parts;    /* of out */
    struct bk_buf monitored;   /* what MONITOR shows of the command that runs */
    struct resp_writer writer; /* into out */
    struct outq_judge judge;
    struct push_queue pushes_spare; /* empty: takes the place of pushes */
    struct conn *answering;         /* borrowed; its command is done, its reply not yet closed */
    int proto_before;               /* its client's before it ran */
    bool pushes_first;              /* asked for by that command: pushes go in front of its reply */
    struct net_tunables tun;        /* as of this tick */
    uint64_t max_pos, flushed_pos;  /* highest position seen; flushed up to */
    int64_t now_ms;                 /* wall clock at the tick's begin or its latest command */
    int64_t
        late_us; /* microseconds of the tick: then its part that is under way has had its time */
    struct tick_timer timer;
    bool in_tick, recheck, stopping, past_deadline;
};

/* ---- Listeners (listen.c, accept.c) ---- */

struct listener {
    int fd;
    char *name;    /* owned; as configured, without "-"; the path of a unix socket */
    uint16_t port; /* 0: unix socket */
    bool kept;     /* used while two sets are compared */
    bool adopted;  /* loop 0 knows it and will close it */
};

struct listen_set {
    struct listener *v; /* owned */
    size_t n;
};

/* A listener's event; loop 0 only. */
struct accept_event {
    struct net *net; /* borrowed */
    int fd;
    bool is_unix;
    struct event *ev; /* owned */
};

/* One of the figures that are sampled 10 times a second. */
struct rate {
    uint64_t last;
    uint64_t per_sec[16];
};

struct net {
    /* Set once. */
    struct loop *loops; /* owned */
    unsigned loops_n;
    struct exec **execs;          /* owned array of borrowed pointers */
    struct keyspace *ks;          /* borrowed */
    const struct server_ops *ops; /* borrowed */
    struct net_store_ops store;
    struct topics *topics; /* owned; has mutexes of its own */
    struct tracks *tracks; /* the same */
    struct pubsub_ops pubsub;
    struct tracking_ops tracking;
    bool started;
    /* Atomics. */
    atomic_bool stop;
    _Atomic int64_t stop_deadline_us;
    atomic_uint wake_seq; /* orders a store's commit against a loop's look at it: net_wake() */
    atomic_uint connected;
    _Atomic uint64_t next_id, received, rejected, accept_errors, expire_capped;
    _Atomic uint64_t ops_per_sec, in_per_sec, out_per_sec;
    /* Relaxed atomics: struct net_tunables, one field each. */
    _Atomic uint32_t maxclients, timeout_s, tcp_keepalive_s, obuf_soft_s;
    atomic_bool protected_mode;
    _Atomic uint64_t obuf_hard_bytes, obuf_soft_bytes, query_buffer_bytes;
    _Atomic uint64_t obuf_pubsub_hard_bytes, obuf_pubsub_soft_bytes;
    _Atomic uint32_t obuf_pubsub_soft_s;
    struct server_watch watch;
    _Atomic uint64_t tracking_keys_max, tracking_random;
    /* Guarded by tracking_mu; how many prefixes, written under it. */
    struct bk_mutex tracking_mu;
    struct list trackers BK_GUARDED(tracking_mu);     /* clients that track */
    struct prefix **prefixes BK_GUARDED(tracking_mu); /* owned, in rising order */
    _Atomic uint64_t prefixes_n;
    /* Guarded by monitors_mu. */
    struct bk_mutex monitors_mu;
    struct peer **monitors; /* owned array of borrowed pointers: who closes takes itself out */
    size_t monitors_n;
    /* enum client_pause: written under pause_mu, read by every command. */
    atomic_int pause_mode;
    /* Guarded by pause_mu. */
    struct bk_mutex pause_mu;
    int64_t pause_end_us BK_GUARDED(pause_mu); /* monotonic */
    /* Guarded by listen_mu. */
    struct bk_mutex listen_mu;
    struct listen_set listeners;
    bool listeners_changed;
    /* Loop 0 only. */
    struct accept_event **accepts; /* owned */
    size_t accepts_n;
    struct event *resume_ev, *cron_ev, *expire_ev, *memory_ev; /* owned */
    bool accept_paused;
    int64_t accept_logged_ms;
    struct rate ops_rate, in_rate, out_rate;
    unsigned rate_slot;
    int64_t rate_sampled_us;
};

/* Only one thread adds, so a load and a store will do: no locked instruction on the hot path. */
static inline void stat_add(_Atomic uint64_t *counter, uint64_t n)
{
    uint64_t was = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, was + n, memory_order_relaxed);
}

#define RELAXED_LOAD(p) atomic_load_explicit((p), memory_order_relaxed)
#define RELAXED_STORE(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)

/* NULL: c has none yet. On c's loop. */
static inline struct peer *conn_peer_made(const struct conn *c)
{
    return atomic_load_explicit(&c->peer, memory_order_acquire);
}

/* conn.c: life and commands. */
void conn_new(struct loop *l, const struct newcomer *who); /* takes who's descriptor and texts */
void conn_set_state(struct conn *c, enum conn_state to);
bool conn_state_legal(enum conn_state from, enum conn_state to);
struct resp_limits conn_limits(const struct conn *c);
void conn_run(struct conn *c);   /* commands that have been received, within the tick's bounds */
void conn_go_on(struct conn *c); /* a slice, a parked command or left-over input */
void conn_close(struct conn *c); /* at once; memory is freed at the tick's end */
void conn_drain(struct conn *c); /* closes once everything has been sent */
void conn_free_dead(struct loop *l);

/* arrivals.c: connections that receive in one round of epoll look ahead together. */
void arrivals_make_way(struct loop *l); /* before another one receives */
/* c has received. It runs, or is left for the next tick, by the end of the round. */
void arrivals_add(struct loop *l, struct conn *c);
void arrivals_end(struct loop *l); /* the end of the round */
void arrivals_fini(struct arrivals *a);

/* conn_io.c: bytes in and out. */
void conn_read_cb(evutil_socket_t fd, short what, void *arg);
void conn_write_cb(evutil_socket_t fd, short what, void *arg);
void conn_watch_input(struct conn *c, bool on);
void conn_out_begin(struct conn *c); /* before loop->out is written for c */
/* What becomes of it when the write at its position is undone: a reply makes way for an error, a
 * message vanishes. */
enum out_what { OUT_MESSAGE, OUT_REPLY, OUT_STAYS };
void conn_out_end(struct conn *c, size_t before, uint64_t pos,
                  enum out_what what);           /* after it; before: its old length */
void loop_saw_pos(struct loop *l, uint64_t pos); /* to be flushed by the end of the tick */
void conn_flush(struct conn *c);                 /* this tick's segment, then what was queued */
void conn_send_queued(struct conn *c);
bool conn_by_clock(const struct conn *c); /* parked, and nothing is lost if it never goes on */
/* So, or for a pause, which may outlast the server: it has changed nothing. */
bool conn_waits_at_will(const struct conn *c);
void conn_overflowed(struct conn *c); /* more waits than the limit allows: closed at once */
void conn_second(struct conn *c);     /* once a second: timeout, limits, idle memory */
void conn_measure(struct conn *c);    /* figures for CLIENT LIST */

/* push.c: the receiver's side; on the loop's own thread. */
struct peer *conn_peer(struct conn *c); /* borrowed until c is closed; made when first used */
/* Any thread: the client's with this id; counted, the caller's. NULL: there is none. */
struct peer *net_find_peer(struct net *net, uint64_t id);
void conn_leave_peer(struct conn *c);       /* nothing reaches c any more */
bool conn_has_pushes(const struct conn *c); /* some are under way */
void conn_take_held(struct conn *c);        /* the reply is there that its pushes waited for */
/* A turn's worth of c's into its output, or the whole; may close it. False: some are left. */
bool conn_take_pushes(struct conn *c, bool whole);
void loop_take_pushes(struct loop *l); /* what there is time for into the connections' output; may
                                          close some */

/* pubsub.c */
void pubsub_setup(struct net *net);
void pubsub_teardown(struct net *net);
void conn_leave_topics(struct conn *c);
void conn_leave_monitors(struct conn *c);
void conn_tell_monitors(struct conn *c, uint64_t pos); /* of loop->monitored, which it empties */

/* tracking.c */
void tracking_setup(struct net *net);
void tracking_teardown(struct net *net);
void tracking_cron(struct net *net); /* on loop 0, 10 times a second */
void conn_leave_tracking(struct conn *c);

/* loop.c */
BK_MUST_USE int loop_setup(struct loop *l, struct net *net, unsigned index, struct bk_error *err);
void loop_teardown(struct loop *l);
BK_MUST_USE int loop_start(struct loop *l, struct bk_error *err);
void ticks_open(struct tick_timer *t); /* by the thread that is timed */
void ticks_close(struct tick_timer *t);
void ticks_begin(struct tick_timer *t);
void ticks_end(struct tick_timer *t, struct loop_stats *s);

void loop_tick_begin(struct loop *l); /* idempotent within a tick */
void loop_flush(struct loop *l);      /* commits and sends what the tick has gathered so far */
/* Connections of the list go on, in their order, as long as there is time. True: it is over. */
bool loop_work_off(struct loop *l, struct list *work);
void loop_next_part(struct loop *l);     /* of the tick, with time of its own */
bool loop_late(const struct loop *l);    /* as of the executor's latest look this part is over */
void loop_break_if_late(struct loop *l); /* at the end of an event: the others keep their turns */
void loop_poke(struct loop *l);          /* any thread: the loop looks at its mailbox */
void loop_admit(struct loop *l,
                const struct newcomer *who); /* any thread; takes who's descriptor and texts */

/* listen.c: descriptors that listen. */
BK_MUST_USE int listen_open(struct listen_set *set, const struct net_listen *l,
                            struct bk_error *err);
BK_MUST_USE int listen_replace(struct net *net, const struct net_listen *l, struct bk_error *err);
void listen_close(struct listen_set *set); /* closes all, removes the unix socket's file */

/* accept.c: loop 0's regular work: new connections. */
void accept_setup(struct net *net);    /* on loop 0 */
void accept_sync(struct net *net);     /* takes a changed set of listeners over */
void accept_teardown(struct net *net); /* stops accepting; descriptors stay open */

/* cron.c: loop 0's regular work: expiry, rates, app's cron. */
void cron_setup(struct net *net);
void cron_teardown(struct net *net);

/* pause.c: CLIENT PAUSE. */
void loop_pause_wait(struct loop *l); /* a connection waits: sets the timer for the end */
void loop_pause_over(struct loop *l); /* those that wait try again, */
void loop_resume(struct loop *l);     /* here */
void loop_pause_cb(evutil_socket_t fd, short what, void *arg);

/* net.c */
void net_tunables_read(struct net *net, struct net_tunables *out);
/* clients.c: the line of CLIENT LIST without a line end. Registry's mutex held, or on c's own loop.
 */
void client_line(const struct conn *c, int64_t now_ms, struct bk_buf *out);

#endif
