/* SPDX-License-Identifier: MIT */
/* movable_keys.c - COMMAND GETKEYS of commands whose options name keys: SORT, MIGRATE. */
#include "command/introspect.h"

#include "command/args.h"

#define STORE_FLAGS "OW update"
#define SOURCE_FLAGS "RO access"
#define MIGRATE_FLAGS "RW access delete"

/* An option and how many arguments belong to it. */
struct option {
    const char *word;
    int arguments;
};

static int arguments_of(const struct option *options, struct bk_span word)
{
    int n = 0;
    for (const struct option *o = options; o->word != NULL; o++) {
        n = arg_is(word, o->word) ? o->arguments : n;
    }
    return n;
}

/* The key to sort, and the last STORE's. */
static void sort_keys(const struct resp_arg *argv, int argc, struct key_places *out)
{
    static const struct option options[] = {{"limit", 2}, {"get", 1}, {"by", 1}, {NULL, 0}};
    out->v[out->n++] = (struct key_place){1, 1, 1, SOURCE_FLAGS};
    for (int i = 2; i < argc; i++) {
        int skip = arguments_of(options, argv[i].bytes);
        if (skip == 0 && i + 1 < argc && arg_is(argv[i].bytes, "store")) {
            out->v[1] = (struct key_place){i + 1, i + 1, 1, STORE_FLAGS};
            out->n = 2;
        }
        i += skip;
    }
}

/* The one key, or those behind KEYS; with both there is a syntax error, and no key. */
static void migrate_keys(const struct resp_arg *argv, int argc, struct key_places *out)
{
    static const struct option options[] = {{"auth", 1}, {"auth2", 2}, {NULL, 0}};
    struct key_place place = {3, 3, 1, MIGRATE_FLAGS};
    bool any = true;
    for (int i = 6; i < argc; i++) {
        if (arg_is(argv[i].bytes, "keys")) {
            any = argv[3].bytes.len == 0;
            place = (struct key_place){i + 1, argc - 1, 1, MIGRATE_FLAGS};
            break;
        }
        i += arguments_of(options, argv[i].bytes);
    }
    if (any) {
        out->v[out->n++] = place;
    }
}

bool movable_keys(const struct command_row *row, const struct resp_arg *argv, int argc,
                  struct key_places *out)
{
    bool known = true;
    out->n = 0;
    if (strcmp(row->name, "sort") == 0) {
        sort_keys(argv, argc, out);
    } else if (strcmp(row->name, "migrate") == 0) {
        migrate_keys(argv, argc, out);
    } else {
        known = false;
    }
    return known;
}
