/* SPDX-License-Identifier: MIT */
/*
 * model.h - what a store must hold, kept in plain arrays: databases of keys, and the history of
 * writes since a state that nothing can take back.
 *
 * An entry is what one commit wrote: all of it or nothing. After a crash a store must equal the
 * state after some prefix of the history; model_match finds which. Keys whose time has run out at
 * the moment of comparison count as absent on both sides. One thread at a time.
 */
#ifndef BK_TESTS_MODEL_H
#define BK_TESTS_MODEL_H

#include "base/buf.h"
#include "base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum model_kind { MODEL_PUT, MODEL_DELETE, MODEL_FLUSH, MODEL_SWAP };

struct model_op {
    enum model_kind kind;
    uint32_t num;
    uint32_t num2;          /* of a swap */
    struct bk_block *key;   /* counted; NULL for flush and swap */
    struct bk_block *value; /* counted; of a put */
    uint8_t flags;
    int64_t expire_ms; /* 0: never */
};

struct model_entry {
    struct model_op *ops; /* owned */
    size_t ops_n;
    uint64_t pos; /* log position of its end, in that life of the store */
    unsigned life;
};

struct model_node; /* a key with its value */
struct model_map {
    struct model_node **buckets; /* owned; 64 of them, made with the first key */
    size_t keys;
    uint64_t hash;
};

/* The contents of all databases at one moment. */
struct model_state {
    struct model_map *maps; /* owned */
    uint32_t databases;
    int64_t now_ms; /* writes that have expired by then are left out; 0: none */
};

struct model {
    struct model_state base;     /* before the first entry */
    struct model_state now;      /* after the last */
    struct model_entry *entries; /* owned, oldest first */
    size_t entries_n;
    size_t entries_cap;
    struct model_entry open; /* being gathered */
    struct model_entry
        *ghosts; /* owned: undone since the last commit; a crash may bring them back */
    size_t ghosts_n;
};

/* Borrowed until the state changes. */
struct model_value {
    struct bk_span value;
    uint8_t flags;
    int64_t expire_ms;
};

void model_state_init(struct model_state *s, uint32_t databases, int64_t now_ms);
void model_state_fini(struct model_state *s);
void model_state_put(struct model_state *s, uint32_t num, struct bk_span key,
                     const struct model_value *v);
bool model_state_get(const struct model_state *s, uint32_t num, struct bk_span key,
                     struct model_value *out);
size_t model_state_keys(const struct model_state *s, uint32_t num);
/* Calls each() for every key of one database; the state must not change meanwhile. */
void model_state_each(const struct model_state *s, uint32_t num,
                      void (*each)(void *arg, struct bk_span key, const struct model_value *v),
                      void *arg);

void model_init(struct model *m, uint32_t databases);
void model_fini(struct model *m);

/* Gather one entry, then end it with model_commit (now changes) or model_cancel. */
void model_put(struct model *m, uint32_t num, struct bk_span key, const struct model_value *v);
void model_delete(struct model *m, uint32_t num, struct bk_span key);
void model_flush(struct model *m, uint32_t num);
void model_swap(struct model *m, uint32_t num1, uint32_t num2);
void model_commit(struct model *m, uint64_t pos, unsigned life);
void model_cancel(struct model *m);
/* What now would be after the entry that is being gathered; the caller ends it with
 * model_state_fini. */
void model_preview(const struct model *m, struct model_state *out);

/* Takes entry i out of the history: its write was undone. When the process or the power dies before
 * another write is accepted, its bytes may still be found: an error was answered, so that either is
 * right. */
void model_undo(struct model *m, size_t i);
/* Puts what was undone since the last commit behind the history again. */
void model_revive(struct model *m);
/* Nothing that was undone can come back any more. */
void model_forget_undone(struct model *m);
/* Forgets all entries from the nth on. */
void model_truncate(struct model *m, size_t n);
/* Makes the first n entries part of the base. */
void model_settle(struct model *m, size_t n);

/* The longest prefix of at least `least` entries whose state at now_ms equals seen (which was
 * filled with the same now_ms). False: there is none. */
bool model_match(const struct model *m, const struct model_state *seen, int64_t now_ms,
                 size_t least, size_t *len);
/* Prints up to 20 lines of what differs between seen and the state after len entries. */
void model_diff(const struct model *m, const struct model_state *seen, int64_t now_ms, size_t len,
                FILE *out);

#endif
