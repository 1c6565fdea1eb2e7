/* SPDX-License-Identifier: MIT */
/*
 * introspect.c - COMMAND: what commands there are, where their keys stand, and how they are
 * documented.
 *
 * The table row gives arity, flags, categories and key places; docs.h gives what only COMMAND
 * shows. COMMAND DOCS: introspect_docs.c.
 */
#include "command/introspect.h"

#include "base/glob.h"
#include "command/args.h"
#include "command/connection.h"

#define NAME_MAX_LEN 64 /* no command's name is longer */

/* In the order in which Redis names them; "protected" and "may_replicate" are not shown there. */
static const struct introspect_bit flag_names[] = {
    {CMD_WRITE, "write"},
    {CMD_READONLY, "readonly"},
    {CMD_DENYOOM, "denyoom"},
    {CMD_ADMIN, "admin"},
    {CMD_PUBSUB, "pubsub"},
    {CMD_NOSCRIPT, "noscript"},
    {CMD_BLOCKING, "blocking"},
    {CMD_LOADING, "loading"},
    {CMD_STALE, "stale"},
    {CMD_SKIP_MONITOR, "skip_monitor"},
    {CMD_SKIP_SLOWLOG, "skip_slowlog"},
    {CMD_ASKING, "asking"},
    {CMD_FAST, "fast"},
    {CMD_NO_AUTH, "no_auth"},
    {CMD_NO_MANDATORY_KEYS, "no_mandatory_keys"},
    {CMD_NO_MULTI, "no_multi"},
    {CMD_NO_ASYNC_LOADING, "no_async_loading"},
    {CMD_MOVABLEKEYS, "movablekeys"},
    {CMD_ALLOW_BUSY, "allow_busy"},
    {0, NULL},
};

const struct introspect_bit introspect_categories[] = {
    {CAT_KEYSPACE, "@keyspace"},
    {CAT_READ, "@read"},
    {CAT_WRITE, "@write"},
    {CAT_SET, "@set"},
    {CAT_SORTEDSET, "@sortedset"},
    {CAT_LIST, "@list"},
    {CAT_HASH, "@hash"},
    {CAT_STRING, "@string"},
    {CAT_BITMAP, "@bitmap"},
    {CAT_HYPERLOGLOG, "@hyperloglog"},
    {CAT_GEO, "@geo"},
    {CAT_STREAM, "@stream"},
    {CAT_PUBSUB, "@pubsub"},
    {CAT_ADMIN, "@admin"},
    {CAT_FAST, "@fast"},
    {CAT_SLOW, "@slow"},
    {CAT_BLOCKING, "@blocking"},
    {CAT_DANGEROUS, "@dangerous"},
    {CAT_CONNECTION, "@connection"},
    {CAT_TRANSACTION, "@transaction"},
    {CAT_SCRIPTING, "@scripting"},
    {0, NULL},
};

const struct command_doc *introspect_doc_of(const struct command_row *row)
{
    return command_doc_find(bk_span_str(command_name(row)));
}

size_t introspect_sub_count(const struct command_row *row)
{
    size_t n = 0;
    while (row->subcommands != NULL && row->subcommands[n].name != NULL) {
        n++;
    }
    return n;
}

const struct command_row *introspect_find(struct bk_span name)
{
    const uint8_t *bar = name.len == 0 ? NULL : memchr(name.data, '|', name.len);
    size_t head = bar == NULL ? name.len : (size_t)(bar - name.data);
    const struct command_row *row = command_find(bk_span_of(name.data, head));
    if (row != NULL && bar != NULL) {
        struct bk_span sub = bk_span_of(bar + 1, name.len - head - 1);
        row = row->subcommands == NULL ? NULL : command_find_sub(row, sub);
    }
    return row;
}

/* ---- Words in one text, separated by spaces ---- */

static struct bk_span next_word(struct bk_span *rest)
{
    const uint8_t *space = rest->len == 0 ? NULL : memchr(rest->data, ' ', rest->len);
    size_t len = space == NULL ? rest->len : (size_t)(space - rest->data);
    size_t step = space == NULL ? len : len + 1;
    struct bk_span word = bk_span_of(rest->data, len);
    *rest = bk_span_of(rest->data + step, rest->len - step);
    return word;
}

static size_t word_count(const char *text)
{
    struct bk_span rest = bk_span_str(text == NULL ? "" : text);
    size_t n = 0;
    while (rest.len > 0) {
        (void)next_word(&rest);
        n++;
    }
    return n;
}

void introspect_words(struct resp_writer *w, const char *text, bool as_status)
{
    struct bk_span rest = bk_span_str(text == NULL ? "" : text);
    resp_write_set(w, word_count(text));
    while (rest.len > 0) {
        struct bk_span word = next_word(&rest);
        if (as_status) {
            char buf[NAME_MAX_LEN];
            size_t len = word.len < sizeof(buf) ? word.len : sizeof(buf) - 1;
            memcpy(buf, word.data, len);
            buf[len] = '\0';
            resp_write_simple(w, buf);
        } else {
            resp_write_bulk(w, word);
        }
    }
}

/* ---- COMMAND, COMMAND INFO ---- */

void introspect_bits(struct resp_writer *w, const struct introspect_bit *names, uint32_t bits)
{
    size_t n = 0;
    for (const struct introspect_bit *b = names; b->name != NULL; b++) {
        n += (bits & b->bit) != 0;
    }
    resp_write_set(w, n);
    for (const struct introspect_bit *b = names; b->name != NULL; b++) {
        if ((bits & b->bit) != 0) {
            resp_write_simple(w, b->name);
        }
    }
}

void introspect_pair_int(struct resp_writer *w, const char *name, int v)
{
    resp_write_bulk_str(w, name);
    resp_write_int(w, v);
}

void introspect_pair(struct resp_writer *w, const char *name, const char *text)
{
    resp_write_bulk_str(w, name);
    resp_write_bulk_str(w, text);
}

/* The head of "begin_search" or "find_keys": the caller writes the fields of its specification. */
static void begin_spec(struct resp_writer *w, const char *name, const char *type, uint64_t fields)
{
    resp_write_bulk_str(w, name);
    resp_write_map(w, 2);
    introspect_pair(w, "type", type);
    resp_write_bulk_str(w, "spec");
    resp_write_map(w, fields);
}

static void write_places(struct resp_writer *w, const struct doc_key *key)
{
    if (key->unknown) {
        begin_spec(w, "begin_search", "unknown", 0);
        begin_spec(w, "find_keys", "unknown", 0);
        return;
    }
    if (key->keyword != NULL) {
        begin_spec(w, "begin_search", "keyword", 2);
        introspect_pair(w, "keyword", key->keyword);
        introspect_pair_int(w, "startfrom", key->from);
    } else {
        begin_spec(w, "begin_search", "index", 1);
        introspect_pair_int(w, "index", key->index);
    }
    begin_spec(w, "find_keys", "range", 3);
    introspect_pair_int(w, "lastkey", key->last);
    introspect_pair_int(w, "keystep", key->step);
    introspect_pair_int(w, "limit", key->limit);
}

static void write_key_spec(struct resp_writer *w, const struct doc_key *key)
{
    resp_write_map(w, key->notes != NULL ? 4 : 3);
    if (key->notes != NULL) {
        introspect_pair(w, "notes", key->notes);
    }
    resp_write_bulk_str(w, "flags");
    introspect_words(w, key->flags, true);
    write_places(w, key);
}

static void write_key_specs(struct resp_writer *w, const struct command_doc *doc)
{
    const struct doc_key *keys = doc == NULL ? NULL : doc->keys;
    size_t n = 0;
    while (keys != NULL && keys[n].flags != NULL) {
        n++;
    }
    resp_write_set(w, n);
    for (size_t i = 0; i < n; i++) {
        write_key_spec(w, &keys[i]);
    }
}

/* Nine of a command's ten elements: the caller writes the tenth, its subcommands. */
static void write_row(struct resp_writer *w, const struct command_row *row)
{
    const struct command_doc *doc = introspect_doc_of(row);
    resp_write_array(w, 10);
    resp_write_bulk_str(w, command_name(row));
    resp_write_int(w, row->arity);
    introspect_bits(w, flag_names, row->flags);
    resp_write_int(w, row->first_key);
    resp_write_int(w, row->last_key);
    resp_write_int(w, row->key_step);
    introspect_bits(w, introspect_categories, row->categories);
    introspect_words(w, doc == NULL ? NULL : doc->tips, false);
    write_key_specs(w, doc);
}

static void write_command(struct resp_writer *w, const struct command_row *row)
{
    write_row(w, row);
    if (row->subcommands == NULL) {
        resp_write_set(w, 0);
    } else {
        resp_write_array(w, introspect_sub_count(row));
    }
    for (const struct command_row *s = row->subcommands; s != NULL && s->name != NULL; s++) {
        write_row(w, s);
        resp_write_set(w, 0); /* no subcommand has its own */
    }
}

static void command_all(struct command_ctx *c)
{
    size_t n = command_count();
    resp_write_array(c->reply, n);
    for (size_t i = 0; i < n; i++) {
        write_command(c->reply, command_at(i));
    }
}

static void command_info(struct command_ctx *c)
{
    if (c->cmd->argc == 2) {
        command_all(c);
        return;
    }
    resp_write_array(c->reply, (uint64_t)c->cmd->argc - 2);
    for (int i = 2; i < c->cmd->argc; i++) {
        const struct command_row *row = introspect_find(arg_at(c, i));
        if (row == NULL) {
            resp_write_null(c->reply);
        } else {
            write_command(c->reply, row);
        }
    }
}

static void command_count_run(struct command_ctx *c)
{
    resp_write_int(c->reply, (int64_t)command_count());
}

/* ---- COMMAND LIST ---- */

enum list_filter { LIST_ALL, LIST_NONE, LIST_CATEGORY, LIST_PATTERN };

struct list_query {
    enum list_filter filter;
    uint32_t category;
    struct bk_span pattern;
    struct resp_writer names; /* into a buffer of its own: the count comes first */
    uint64_t found;
};

static bool list_query_of(struct command_ctx *c, struct list_query *q)
{
    bool ok = c->cmd->argc == 2 || (c->cmd->argc == 5 && arg_is(arg_at(c, 2), "filterby"));
    q->filter = LIST_ALL;
    if (!ok || c->cmd->argc == 2) {
        return ok;
    }
    q->pattern = arg_at(c, 4);
    if (arg_is(arg_at(c, 3), "module")) {
        q->filter = LIST_NONE;
    } else if (arg_is(arg_at(c, 3), "aclcat")) {
        q->filter = LIST_CATEGORY;
        for (const struct introspect_bit *b = introspect_categories; b->name != NULL; b++) {
            q->category |= arg_is(q->pattern, b->name + 1) ? b->bit : 0;
        }
    } else if (arg_is(arg_at(c, 3), "pattern")) {
        q->filter = LIST_PATTERN;
    } else {
        ok = false;
    }
    return ok;
}

static void list_row(struct list_query *q, const struct command_row *row)
{
    const char *name = command_name(row);
    bool wanted = q->filter == LIST_ALL ||
                  (q->filter == LIST_CATEGORY && (row->categories & q->category) != 0) ||
                  (q->filter == LIST_PATTERN && bk_glob(q->pattern, bk_span_str(name), true));
    if (wanted) {
        resp_write_bulk_str(&q->names, name);
        q->found++;
    }
}

static void command_list(struct command_ctx *c)
{
    struct bk_buf names = {0};
    struct list_query q = {.names = {.out = &names, .proto = c->reply->proto}};
    if (list_query_of(c, &q)) {
        for (size_t i = 0; i < command_count(); i++) {
            const struct command_row *row = command_at(i);
            list_row(&q, row);
            for (size_t s = 0; s < introspect_sub_count(row); s++) {
                list_row(&q, &row->subcommands[s]);
            }
        }
        resp_write_array(c->reply, q.found);
        bk_buf_append(c->reply->out, names.data, names.len);
    } else {
        resp_write_error(c->reply, ARG_ERROR_SYNTAX);
    }
    bk_buf_fini(&names);
}

/* ---- COMMAND GETKEYS, GETKEYSANDFLAGS ---- */

/* Shard channels are found as keys are, by clients that route by them, and are none. */
static bool has_keys(const struct command_doc *doc)
{
    return doc->keys != NULL && strcmp(doc->keys[0].flags, "not_key") != 0;
}

/* The row of the command in argv[2] and what follows it; NULL: the error is written. */
static const struct command_row *keys_row(struct command_ctx *c, const struct command_doc **doc)
{
    const struct command_row *row = command_find(arg_at(c, 2));
    int argc = c->cmd->argc - 2;
    bool found = true;
    if (row != NULL && row->subcommands != NULL && argc > 1) {
        row = command_find_sub(row, arg_at(c, 3));
    }
    *doc = row == NULL ? NULL : introspect_doc_of(row);
    if (row == NULL) {
        resp_write_error(c->reply, "ERR Invalid command specified");
        found = false;
    } else if (*doc == NULL || !has_keys(*doc)) {
        resp_write_error(c->reply, "ERR The command has no key arguments");
        found = false;
    } else if (row->arity > 0 ? argc != row->arity : argc < -row->arity) {
        resp_write_error(c->reply, "ERR Invalid number of arguments specified for command");
        found = false;
    }
    return found ? row : NULL;
}

static const char *set_flags(const struct command_ctx *c)
{
    bool get = false;
    for (int i = 5; i < c->cmd->argc; i++) {
        get = get || arg_is(arg_at(c, i), "get");
    }
    return get ? "RW access update" : "OW update";
}

/* What is neither GET nor OVERFLOW writes, or is a syntax error, which Redis takes for a write too.
 */
static const char *bitfield_flags(const struct command_ctx *c)
{
    bool reads = true;
    for (int i = 4; i < c->cmd->argc && reads; i++) {
        struct bk_span word = arg_at(c, i);
        int more = c->cmd->argc - 1 - i;
        if (arg_is(word, "get") && more >= 2) {
            i += 2;
        } else if (arg_is(word, "overflow") && more >= 1) {
            i++;
        } else {
            reads = false;
        }
    }
    return reads ? "RO access" : "RW access update";
}

/* What the key is used for in this very command: the flags of a key specification marked
 * "variable_flags" are what may be. */
static const char *actual_flags(const struct command_ctx *c, const struct command_doc *doc,
                                const struct doc_key *key)
{
    const char *flags = key->flags;
    if (strstr(flags, "variable_flags") != NULL) {
        flags = strcmp(doc->name, "bitfield") == 0 ? bitfield_flags(c) : set_flags(c);
    }
    return flags;
}

/* When one of several places has no argument (PFMERGE without a source), none counts, as in Redis.
 */
static void documented_keys(struct command_ctx *c, const struct command_doc *doc,
                            struct key_places *out)
{
    int argc = c->cmd->argc - 2;
    bool whole = true;
    out->n = 0;
    for (const struct doc_key *key = doc->keys; key->flags != NULL; key++) {
        int last = key->last < 0 ? argc + key->last : key->index + key->last;
        if (!key->unknown && out->n < sizeof(out->v) / sizeof(out->v[0])) {
            out->v[out->n++] =
                (struct key_place){key->index, last, key->step, actual_flags(c, doc, key)};
            whole = whole && key->index <= last && last < argc;
        }
    }
    out->n = whole ? out->n : 0;
}

static void write_keys(struct command_ctx *c, bool with_flags)
{
    const struct command_doc *doc;
    struct bk_buf found = {0};
    struct resp_writer w = {.out = &found, .proto = c->reply->proto};
    const struct command_row *row = keys_row(c, &doc);
    struct key_places places;
    uint64_t n = 0;
    int argc = c->cmd->argc - 2;
    if (row == NULL) {
        return;
    }
    if (!movable_keys(row, c->cmd->argv + 2, argc, &places)) {
        documented_keys(c, doc, &places);
    }
    for (const struct key_place *p = places.v; p < places.v + places.n; p++) {
        for (int i = p->first; i <= p->last && i < argc; i += p->step) {
            if (with_flags) {
                resp_write_array(&w, 2);
            }
            resp_write_bulk(&w, arg_at(c, i + 2));
            if (with_flags) {
                introspect_words(&w, p->flags, true);
            }
            n++;
        }
    }
    if (n > 0 || (row->flags & CMD_NO_MANDATORY_KEYS) != 0) {
        resp_write_array(c->reply, n);
        bk_buf_append(c->reply->out, found.data, found.len);
    } else {
        resp_write_error(c->reply, "ERR Invalid arguments specified for command");
    }
    bk_buf_fini(&found);
}

static void command_getkeys(struct command_ctx *c)
{
    write_keys(c, false);
}

static void command_getkeysandflags(struct command_ctx *c)
{
    write_keys(c, true);
}

static void command_help(struct command_ctx *c)
{
    static const char *const lines[] = {
        "(no subcommand)",
        "    Return details about all Redis commands.",
        "COUNT",
        "    Return the total number of commands in this Redis server.",
        "LIST",
        "    Return a list of all commands in this Redis server.",
        "INFO [<command-name> ...]",
        "    Return details about multiple Redis commands.",
        "    If no command names are given, documentation details for all",
        "    commands are returned.",
        "DOCS [<command-name> ...]",
        "    Return documentation details about multiple Redis commands.",
        "    If no command names are given, documentation details for all",
        "    commands are returned.",
        "GETKEYS <full-command>",
        "    Return the keys from a full Redis command.",
        "GETKEYSANDFLAGS <full-command>",
        "    Return the keys and the access flags from a full Redis command.",
        NULL,
    };
    reply_help(c, "COMMAND", lines);
}

#define FLAGS (CMD_LOADING | CMD_STALE | CMD_NO_STORE)
#define CATS (CAT_SLOW | CAT_CONNECTION)

static const struct command_row subcommands[] = {
    {.name = "count", .arity = 2, .flags = FLAGS, .categories = CATS, .run = command_count_run},
    {.name = "info", .arity = -2, .flags = FLAGS, .categories = CATS, .run = command_info},
    {.name = "list", .arity = -2, .flags = FLAGS, .categories = CATS, .run = command_list},
    {.name = "docs", .arity = -2, .flags = FLAGS, .categories = CATS, .run = introspect_docs},
    {.name = "getkeys", .arity = -4, .flags = FLAGS, .categories = CATS, .run = command_getkeys},
    {.name = "getkeysandflags",
     .arity = -4,
     .flags = FLAGS,
     .categories = CATS,
     .run = command_getkeysandflags},
    {.name = "help", .arity = 2, .flags = FLAGS, .categories = CATS, .run = command_help},
    {.name = NULL},
};

const struct command_row command_rows_command[] = {
    {.name = "command",
     .arity = -1,
     .flags = FLAGS,
     .categories = CATS,
     .run = command_all,
     .subcommands = subcommands},
    {.name = NULL},
};
