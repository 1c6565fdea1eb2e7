/* SPDX-License-Identifier: MIT */
/* introspect_docs.c - COMMAND DOCS: the documentation of commands as maps. */
#include "command/introspect.h"

#include "command/args.h"

static void write_history(struct resp_writer *w, const struct doc_change *history)
{
    size_t n = 0;
    while (history[n].since != NULL) {
        n++;
    }
    resp_write_bulk_str(w, "history");
    resp_write_set(w, n);
    for (size_t i = 0; i < n; i++) {
        resp_write_array(w, 2);
        resp_write_bulk_str(w, history[i].since);
        resp_write_bulk_str(w, history[i].text);
    }
}

static void write_arg_flags(struct resp_writer *w, unsigned flags)
{
    static const struct introspect_bit names[] = {{DOC_OPTIONAL, "optional"},
                                                  {DOC_MULTIPLE, "multiple"},
                                                  {DOC_MULTIPLE_TOKEN, "multiple_token"},
                                                  {0, NULL}};
    resp_write_bulk_str(w, "flags");
    introspect_bits(w, names, flags);
}

/* A field of a map that is left out when its text is NULL. */
struct doc_text {
    const char *name;
    const char *text;
};

static size_t count_texts(const struct doc_text *texts, size_t n)
{
    size_t there = 0;
    for (size_t i = 0; i < n; i++) {
        there += texts[i].text != NULL;
    }
    return there;
}

static void write_texts(struct resp_writer *w, const struct doc_text *texts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (texts[i].text != NULL) {
            introspect_pair(w, texts[i].name, texts[i].text);
        }
    }
}

/* Recursion ends with the tables, which nest at most four deep. */
static void write_args(struct resp_writer *w, const struct doc_arg *args)
{
    size_t n = 0;
    while (args[n].name != NULL) {
        n++;
    }
    resp_write_bulk_str(w, "arguments");
    resp_write_array(w, n);
    for (const struct doc_arg *a = args; a->name != NULL; a++) {
        const struct doc_text texts[] = {{"token", a->token},
                                         {"summary", a->summary},
                                         {"since", a->since},
                                         {"deprecated_since", a->deprecated_since}};
        resp_write_map(w, 2 + (a->key_spec != 0) + count_texts(texts, 4) + (a->flags != 0) +
                              (a->args != NULL));
        introspect_pair(w, "name", a->name);
        introspect_pair(w, "type", a->type);
        if (a->key_spec != 0) {
            introspect_pair_int(w, "key_spec_index", a->key_spec - 1);
        }
        write_texts(w, texts, 4);
        if (a->flags != 0) {
            write_arg_flags(w, a->flags);
        }
        if (a->args != NULL) {
            write_args(w, a->args);
        }
    }
}

static void write_doc(struct resp_writer *w, const struct command_row *row);

static void write_sub_docs(struct resp_writer *w, const struct command_row *row)
{
    size_t n = introspect_sub_count(row);
    resp_write_bulk_str(w, "subcommands");
    resp_write_map(w, n);
    for (size_t i = 0; i < n; i++) {
        write_doc(w, &row->subcommands[i]);
    }
}

/* Name and map of one command. */
static void write_doc(struct resp_writer *w, const struct command_row *row)
{
    static const struct command_doc nothing;
    const struct command_doc *found = introspect_doc_of(row);
    const struct command_doc *d = found == NULL ? &nothing : found;
    const struct doc_text first[] = {{"summary", d->summary},
                                     {"since", d->since},
                                     {"group", d->group},
                                     {"complexity", d->complexity}};
    const struct doc_text second[] = {{"deprecated_since", d->deprecated_since},
                                      {"replaced_by", d->replaced_by}};
    resp_write_bulk_str(w, command_name(row));
    resp_write_map(w, count_texts(first, 4) + (d->doc_flags != NULL) + count_texts(second, 2) +
                          (d->history != NULL) + (d->args != NULL) + (row->subcommands != NULL));
    write_texts(w, first, 4);
    if (d->doc_flags != NULL) {
        resp_write_bulk_str(w, "doc_flags");
        introspect_words(w, d->doc_flags, true);
    }
    write_texts(w, second, 2);
    if (d->history != NULL) {
        write_history(w, d->history);
    }
    if (d->args != NULL) {
        write_args(w, d->args);
    }
    if (row->subcommands != NULL) {
        write_sub_docs(w, row);
    }
}

void introspect_docs(struct command_ctx *c)
{
    uint64_t known = 0;
    for (int i = 2; i < c->cmd->argc; i++) {
        known += introspect_find(arg_at(c, i)) != NULL;
    }
    resp_write_map(c->reply, c->cmd->argc == 2 ? command_count() : known);
    for (int i = 2; i < c->cmd->argc; i++) {
        const struct command_row *row = introspect_find(arg_at(c, i));
        if (row != NULL) {
            write_doc(c->reply, row);
        }
    }
    for (size_t i = 0; c->cmd->argc == 2 && i < command_count(); i++) {
        write_doc(c->reply, command_at(i));
    }
}
