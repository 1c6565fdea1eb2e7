/* SPDX-License-Identifier: MIT */
/*
 * tracking_ops.h - what commands ask of net/ about clients that keep values in caches of their own
 * (CLIENT TRACKING). All may be called from any loop thread; those with a session, on its own loop.
 */
#ifndef BK_COMMAND_TRACKING_OPS_H
#define BK_COMMAND_TRACKING_OPS_H

#include "base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct session;

/* Bits of session.tracking. */
enum tracking_flag {
    TRACKING_ON = 1 << 0,
    TRACKING_BCAST = 1 << 1,
    TRACKING_OPTIN = 1 << 2,
    TRACKING_OPTOUT = 1 << 3,
    TRACKING_NOLOOP = 1 << 4,
    TRACKING_CACHING = 1 << 5 /* CLIENT CACHING was said, and holds for the next command */
};

struct tracking_mode {
    uint32_t flags;                 /* ON and what goes with it */
    uint64_t redirect;              /* id of the client that is to hear instead; 0: none */
    const struct bk_span *prefixes; /* borrowed; for BCAST, none of which the client has */
    size_t prefixes_n;
};

/* A key that has changed. The last two are about the client whose command it was. */
struct tracking_change {
    struct bk_span key; /* borrowed */
    bool kept;          /* it has read the key since, and goes on remembering it */
    bool unread;        /* it had not read the key before: it need not hear */
};

struct tracking_news {
    struct session *by; /* whose command it was; NULL: nobody's */
    const struct tracking_change *changes;
    size_t n;
    uint64_t pos;  /* they leave when that is decided */
    bool vanished; /* run out of time or evicted, not written */
};

struct tracking_ops {
    void *arg; /* borrowed; handed to every function */

    bool (*client_exists)(void *arg, uint64_t id);
    /* On, or on in another way; what had been sent before leaves in front of the reply. */
    void (*on)(void *arg, struct session *s, const struct tracking_mode *mode);
    void (*off)(void *arg, struct session *s);
    /* Is the client gone to which it redirects? Found out by the first message to it. */
    bool (*broken)(void *arg, const struct session *s);
    /* Its prefixes in rising order. Borrowed until the next call of on or off. */
    size_t (*prefixes)(void *arg, const struct session *s);
    struct bk_span (*prefix)(void *arg, const struct session *s, size_t i);

    /* The client is about to look at the key. False: it remembers it already. */
    bool (*remember)(void *arg, struct session *s, struct bk_span key);
    /* Called when other threads see the changes. */
    void (*changed)(void *arg, const struct tracking_news *news);
    /* Whole databases have. */
    void (*flushed)(void *arg, struct session *by, uint64_t pos);
    /* Does anybody track? Never a "no" to a change that a client that tracks has not seen. */
    bool (*any)(void *arg);
};

#endif
