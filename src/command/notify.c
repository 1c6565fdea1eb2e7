/* SPDX-License-Identifier: MIT */
/* notify.c - see notify.h. */
#include "command/notify.h"

#include "command/exec_private.h"
#include "command/tracking.h"

#include <string.h>

#define LETTERS "g$lshzxetdnmKE" /* by the bits of enum notify_class */
#define KEPT 4096u               /* bytes of events that stay for the next request */

#define ALL_OF_A                                                                             \
    (NOTIFY_GENERIC | NOTIFY_STRING | NOTIFY_LIST | NOTIFY_SET | NOTIFY_HASH | NOTIFY_ZSET | \
     NOTIFY_EXPIRED | NOTIFY_EVICTED | NOTIFY_STREAM | NOTIFY_MODULE)

/* One event in a log; its key follows. Or a message: name is NULL, the channel and the message
 * follow. */
struct event {
    const char *name; /* static */
    size_t key_len, message_len;
    uint32_t db;
    unsigned classes;
    enum topic_kind kind;
};

unsigned notify_classes(struct bk_span letters)
{
    unsigned classes = 0;
    for (size_t i = 0; i < letters.len; i++) {
        char letter = (char)letters.data[i];
        const char *at = letter != '\0' ? strchr(LETTERS, letter) : NULL;
        if (letter == 'A') {
            classes |= ALL_OF_A;
        } else if (at != NULL) {
            classes |= 1u << (at - LETTERS);
        }
    }
    return classes;
}

/* ---- Collecting ---- */

/* Without a channel to send them to, no class is wanted. */
static unsigned wanted(const struct server_watch *watch)
{
    unsigned classes = atomic_load_explicit(&watch->notify, memory_order_relaxed);
    return (classes & (NOTIFY_KEYSPACE | NOTIFY_KEYEVENT)) != 0 ? classes : 0;
}

void notify_begin(struct notify_log *log, const struct server_watch *watch)
{
    log->classes = wanted(watch);
    log->expires = (log->classes & NOTIFY_EXPIRED) != 0 ||
                   atomic_load_explicit(&watch->tracking, memory_order_relaxed) > 0;
    log->events.len = 0;
}

void command_notify_db(struct command_ctx *c, unsigned classes, const char *event, uint32_t db,
                       struct bk_span key)
{
    struct notify_log *log = &c->exec->notify;
    if ((log->classes & classes) != 0) {
        struct event e = {.name = event, .key_len = key.len, .db = db, .classes = classes};
        bk_buf_append(&log->events, &e, sizeof e);
        bk_buf_append(&log->events, key.data, key.len);
    }
}

size_t command_publish(struct command_ctx *c, enum topic_kind kind, struct bk_span channel,
                       struct bk_span message)
{
    const struct pubsub_ops *ops = c->ops->pubsub;
    if (!c->exec->in_multi) {
        return ops->publish(ops->arg, c->session, kind, channel, message, 0);
    }
    struct bk_buf *log = &c->exec->notify.events;
    struct event e = {.key_len = channel.len, .message_len = message.len, .kind = kind};
    bk_buf_append(log, &e, sizeof e);
    bk_buf_append(log, channel.data, channel.len);
    bk_buf_append(log, message.data, message.len);
    return ops->receivers(ops->arg, kind, channel);
}

void command_notify(struct command_ctx *c, unsigned classes, const char *event, struct bk_span key)
{
    if ((c->exec->notify.classes & classes) != 0) {
        uint32_t db = atomic_load_explicit(&c->session->db, memory_order_relaxed);
        command_notify_db(c, classes, event, db, key);
    }
}

void command_notify_new(struct command_ctx *c, size_t index)
{
    if ((c->exec->notify.classes & NOTIFY_NEW) != 0) {
        struct ks_value old;
        ks_get(c->txn, index, &old);
        if (!old.exists) {
            command_notify(c, NOTIFY_NEW, "new", ks_key(c->txn, index));
        }
    }
}

void command_put(struct command_ctx *c, size_t index, const struct ks_write *w)
{
    command_notify_new(c, index);
    ks_put(c->txn, index, w);
}

/* ---- Publishing ---- */

static void publish(const struct pubsub_ops *ops, struct session *from, const char *prefix,
                    uint32_t db, struct bk_span about, struct bk_span message, uint64_t pos)
{
    struct bk_buf channel = {0};
    bk_buf_printf(&channel, "__%s@%u__:", prefix, db);
    bk_buf_append(&channel, about.data, about.len);
    (void)ops->publish(ops->arg, from, TOPIC_CHANNEL, bk_buf_span(&channel), message, pos);
    bk_buf_fini(&channel);
}

void notify_publish(const struct pubsub_ops *ops, struct session *from, unsigned classes,
                    const char *event, uint32_t db, struct bk_span key, uint64_t pos)
{
    unsigned want = wanted(ops->watch);
    struct bk_span name = bk_span_str(event);
    if ((want & classes) == 0 || !ops->any(ops->arg)) {
        return;
    }
    if ((want & NOTIFY_KEYSPACE) != 0) {
        publish(ops, from, "keyspace", db, key, name, pos);
    }
    if ((want & NOTIFY_KEYEVENT) != 0) {
        publish(ops, from, "keyevent", db, name, key, pos);
    }
}

void notify_vanished(const struct server_ops *ops, struct session *from, unsigned classes,
                     const char *event, uint32_t db, struct bk_span key, uint64_t pos)
{
    if (ops->tracking != NULL) {
        tracking_vanished(ops->tracking, ops->pubsub->watch, from, key, pos);
    }
    notify_publish(ops->pubsub, from, classes, event, db, key, pos);
}

void notify_expire(const struct command_ctx *c, size_t from)
{
    for (size_t i = from; i < ks_txn_named(c->txn); i++) {
        uint32_t db;
        struct bk_span key;
        if (ks_expire(c->txn, i, &db, &key)) {
            notify_vanished(c->ops, c->session, NOTIFY_EXPIRED, "expired", db, key, 0);
        }
    }
}

void notify_end(struct notify_log *log, const struct pubsub_ops *ops, struct session *from,
                uint64_t pos)
{
    struct event e;
    for (size_t at = 0; at < log->events.len; at += sizeof e + e.key_len + e.message_len) {
        memcpy(&e, log->events.data + at, sizeof e);
        const uint8_t *bytes = log->events.data + at + sizeof e;
        struct bk_span key = bk_span_of(bytes, e.key_len);
        if (e.name != NULL) {
            notify_publish(ops, from, e.classes, e.name, e.db, key, pos);
        } else {
            (void)ops->publish(ops->arg, from, e.kind, key,
                               bk_span_of(bytes + e.key_len, e.message_len), pos);
        }
    }
    log->events.len = 0;
    if (log->events.cap > KEPT) {
        bk_buf_fini(&log->events);
    }
}
