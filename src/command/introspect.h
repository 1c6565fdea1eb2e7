/* SPDX-License-Identifier: MIT */
/* introspect.h - what the two files of the COMMAND command share. */
#ifndef BK_COMMAND_INTROSPECT_H
#define BK_COMMAND_INTROSPECT_H

#include "command/docs.h"
#include "command/table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A table of names of bits ends with a NULL name. */
struct introspect_bit {
    uint32_t bit;
    const char *name;
};

/* The row of "get", or of "client|list" in one word. NULL: no such command. */
const struct command_row *introspect_find(struct bk_span name);
const struct command_doc *introspect_doc_of(const struct command_row *row); /* NULL: none */
size_t introspect_sub_count(const struct command_row *row);

/* A set of the names of the bits that are set, as status replies. */
void introspect_bits(struct resp_writer *w, const struct introspect_bit *names, uint32_t bits);
/* A set of the words of a text (separated by spaces; NULL: none), as status replies or bulk
 * strings. */
void introspect_words(struct resp_writer *w, const char *text, bool as_status);
/* One key of a map with its value. */
void introspect_pair(struct resp_writer *w, const char *name, const char *text);
void introspect_pair_int(struct resp_writer *w, const char *name, int v);

void introspect_docs(struct command_ctx *c); /* COMMAND DOCS */

/* Where keys stand in a command, and what for. */
struct key_place {
    int first, last, step;
    const char *flags; /* static */
};
struct key_places {
    struct key_place v[4];
    size_t n;
};
/* movable_keys.c. false: what the command's documentation says of its keys tells all. */
bool movable_keys(const struct command_row *row, const struct resp_arg *argv, int argc,
                  struct key_places *out);

/* "@keyspace" and so on; ends with a name of NULL. */
extern const struct introspect_bit introspect_categories[];

#endif
