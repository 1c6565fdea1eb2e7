/* SPDX-License-Identifier: MIT */
/*
 * docs.h - what COMMAND DOCS and COMMAND INFO say of a command beyond its table row: facts for
 * people and clients that the executor never looks at. The tables (docs_<group>.c) are written by
 * tcl-tests/gen_docs.tcl from what Redis 7 itself answers; docs.c finds a command in them.
 */
#ifndef BK_COMMAND_DOCS_H
#define BK_COMMAND_DOCS_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

enum doc_arg_flag { DOC_OPTIONAL = 1, DOC_MULTIPLE = 2, DOC_MULTIPLE_TOKEN = 4 };

/* Every list below ends with an element that is all zero; a text that is not there is NULL. All
 * static. */
struct doc_arg {
    const char *name, *type, *token, *summary, *since, *deprecated_since;
    const struct doc_arg *args; /* of types "oneof" and "block" */
    uint8_t flags;              /* enum doc_arg_flag */
    uint8_t key_spec;           /* 1 + index into keys; 0: none */
};

struct doc_change {
    const char *since, *text;
};

/* Keys stand at argument index, index + step ... up to last (0: this one alone; -1: the last
 * argument); or behind a keyword that is looked for from argument from on; or where only the
 * command itself can tell (unknown). */
struct doc_key {
    const char *flags; /* as COMMAND INFO names them, separated by spaces */
    const char *notes;
    const char *keyword;
    int16_t index, last, step, limit;
    int16_t from; /* negative: counted from the end */
    bool unknown;
};

struct command_doc {
    const char *name; /* "get", "client|list"; NULL ends a table */
    const char *summary, *since, *group, *complexity;
    const char *doc_flags; /* "deprecated", "syscmd" */
    const char *deprecated_since, *replaced_by;
    const char *tips; /* separated by spaces */
    const struct doc_change *history;
    const struct doc_key *keys;
    const struct doc_arg *args;
};

/* A list in static storage, with the element that ends it. */
#define DOC_LIST(type, ...) \
    (const struct type[])   \
    {                       \
        __VA_ARGS__,        \
        {                   \
            0               \
        }                   \
    }

/* Full name in lower case. NULL when there are none. */
const struct command_doc *command_doc_find(struct bk_span name);

extern const struct command_doc command_docs_connection[];
extern const struct command_doc command_docs_generic[];
extern const struct command_doc command_docs_scripting[];
extern const struct command_doc command_docs_transactions[];
extern const struct command_doc command_docs_pubsub[];
extern const struct command_doc command_docs_server[];
extern const struct command_doc command_docs_bitkv[];
extern const struct command_doc command_docs_string[];
extern const struct command_doc command_docs_bitmap[];
extern const struct command_doc command_docs_hyperloglog[];

#endif
