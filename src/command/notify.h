/* SPDX-License-Identifier: MIT */
/*
 * notify.h - keyspace notifications: commands say what they do to keys, and clients that subscribe
 * to __keyspace@<db>__:<key> or __keyevent@<db>__:<event> hear of it.
 *
 * What a command tells is collected while it runs and forgotten when it has to run again; once it
 * is done it is published in the order in which it was told, with the log position of its reply. A
 * key that runs out of time is told of at once, by whoever takes it out of the index: a command
 * that names it, or the expiry step. Since only one of them does, it is told of once.
 */
#ifndef BK_COMMAND_NOTIFY_H
#define BK_COMMAND_NOTIFY_H

#include "command/command.h"

/* As bits of notify-keyspace-events, with Redis's letters. */
enum notify_class {
    NOTIFY_GENERIC = 1 << 0,   /* g: del, expire, rename ... */
    NOTIFY_STRING = 1 << 1,    /* $ */
    NOTIFY_LIST = 1 << 2,      /* l */
    NOTIFY_SET = 1 << 3,       /* s */
    NOTIFY_HASH = 1 << 4,      /* h */
    NOTIFY_ZSET = 1 << 5,      /* z */
    NOTIFY_EXPIRED = 1 << 6,   /* x */
    NOTIFY_EVICTED = 1 << 7,   /* e */
    NOTIFY_STREAM = 1 << 8,    /* t */
    NOTIFY_MODULE = 1 << 9,    /* d: never told of here */
    NOTIFY_NEW = 1 << 10,      /* n: a key that was not there */
    NOTIFY_MISS = 1 << 11,     /* m: looked for and not there */
    NOTIFY_KEYSPACE = 1 << 12, /* K */
    NOTIFY_KEYEVENT = 1 << 13  /* E */
};

/* The bits of a valid value of the option; 'A' stands for g$lshzxetd. */
unsigned notify_classes(struct bk_span letters);

/* classes: what kind of event it is. event is static. key is borrowed for the call. A load and a
 * compare when nobody wants it. */
void command_notify(struct command_ctx *c, unsigned classes, const char *event,
                    struct bk_span key); /* in the session's database */
void command_notify_db(struct command_ctx *c, unsigned classes, const char *event, uint32_t db,
                       struct bk_span key);

/* PUBLISH: how many times the message was sent. Inside an EXEC it waits for the commit, as events
 * do, and is counted by who listens now. */
size_t command_publish(struct command_ctx *c, enum topic_kind kind, struct bk_span channel,
                       struct bk_span message);

/* ks_put of a key under its lock, which tells of one that was not there ("new"). Use it instead of
 * ks_put wherever Redis adds a key. */
void command_put(struct command_ctx *c, size_t index, const struct ks_write *w);
/* The same before a write that is none: what was put has run out of time at once. */
void command_notify_new(struct command_ctx *c, size_t index);

/* Outside of a command, on a loop thread: published at once. from: whose doing it is, or NULL. */
void notify_publish(const struct pubsub_ops *ops, struct session *from, unsigned classes,
                    const char *event, uint32_t db, struct bk_span key, uint64_t pos);

/* A key has run out of time, or was evicted: published at once, as above, and told to clients that
 * remember it. */
void notify_vanished(const struct server_ops *ops, struct session *from, unsigned classes,
                     const char *event, uint32_t db, struct bk_span key, uint64_t pos);

/* ---- For the executor ---- */

/* What one request has told so far; kept in struct exec. All zero is empty. */
struct notify_log {
    unsigned classes; /* wanted, as of the request's begin; 0: nothing is collected */
    bool expires;     /* somebody wants to hear of keys that have run out of time */
    struct bk_buf events;
};

/* A request begins, or begins again: what was collected is forgotten. */
void notify_begin(struct notify_log *log, const struct server_watch *watch);
/* Redis's commands take keys out that have run out of time before they do anything with them, and
 * tell of it at once. from: how many keys had been named before c's. */
void notify_expire(const struct command_ctx *c, size_t from);
/* It is done: publishes all of it. */
void notify_end(struct notify_log *log, const struct pubsub_ops *ops, struct session *from,
                uint64_t pos);

#endif
