/* SPDX-License-Identifier: MIT */
/* docs.c - finds a command in the tables of docs_<group>.c, and in that of commands which Redis 7.0
 * does not have. */
#include "command/docs.h"

#include <stddef.h>

static const struct command_doc docs_later[] = {
    {.name = "client|setinfo",
     .summary = "Sets information specific to the client or connection.",
     .since = "7.2.0",
     .group = "connection",
     .complexity = "O(1)",
     .args = DOC_LIST(
         doc_arg,
         {.name = "attr",
          .type = "oneof",
          .args = DOC_LIST(doc_arg, {.name = "libname", .type = "string", .token = "LIB-NAME"},
                           {.name = "libver", .type = "string", .token = "LIB-VER"})})},
    {.name = "client|no-touch",
     .summary = "Controls whether commands sent by the client affect the LRU/LFU of accessed keys.",
     .since = "7.2.0",
     .group = "connection",
     .complexity = "O(1)",
     .args = DOC_LIST(
         doc_arg, {.name = "enabled",
                   .type = "oneof",
                   .args = DOC_LIST(doc_arg, {.name = "on", .type = "pure-token", .token = "ON"},
                                    {.name = "off", .type = "pure-token", .token = "OFF"})})},
    {0},
};

static const struct command_doc *const tables[] = {
    command_docs_string,       command_docs_generic, command_docs_connection,
    command_docs_server,       command_docs_bitkv,   command_docs_scripting,
    command_docs_transactions, command_docs_bitmap,  command_docs_hyperloglog,
    command_docs_pubsub,       docs_later,
};

/* A walk: only COMMAND asks, and its replies cost more than this. */
const struct command_doc *command_doc_find(struct bk_span name)
{
    const struct command_doc *found = NULL;
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]) && found == NULL; i++) {
        for (const struct command_doc *d = tables[i]; d->name != NULL && found == NULL; d++) {
            found = bk_span_eq_nocase(name, d->name) ? d : NULL;
        }
    }
    return found;
}
