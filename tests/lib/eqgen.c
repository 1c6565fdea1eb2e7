/* SPDX-License-Identifier: MIT */
/*
 * eqgen.c - commands from templates, a part of them spoilt on purpose.
 *
 * A template is words with blanks between; a word with $ stands for a random argument (the table of
 * eqgen_words.c), any other is sent as it is in random case. Times are never near: a relative one
 * is far in the future or not valid, an absolute one far in the future or the past (eqgen_tame.c).
 */
#include "lib/eqgen_words.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define SPOIL 1u /* arguments may be dropped, doubled, replaced */
#define FIXED 0u

struct template
{
    const char *text;
    unsigned weight;
    enum eq_rule rule;
    unsigned flags;
};

static const struct template templates[] = {
#include "lib/eqgen_templates.inc"
};

/* ---- whole commands ---- */

static const struct template *pick_template(struct rng *r)
{
    static unsigned total; /* of all weights; the same in every call */
    unsigned at;

    if (total == 0) {
        for (size_t i = 0; i < COUNT(templates); i++) {
            total += templates[i].weight;
        }
    }
    at = (unsigned)rng_below(r, total);
    for (size_t i = 0;; i++) {
        if (at < templates[i].weight) {
            return &templates[i];
        }
        at -= templates[i].weight;
    }
}

static void spoil(struct rng *r, struct eq_cmd *cmd)
{
    struct eq_cmd other = {.argc = 0};
    size_t at = cmd->argc > 1 ? 1 + (size_t)rng_below(r, cmd->argc - 1) : 0;

    switch (rng_below(r, 4)) {
    case 0:
        if (at > 0) {
            free(cmd->argv[at].data);
            memmove(&cmd->argv[at], &cmd->argv[at + 1],
                    (cmd->argc - at - 1) * sizeof(cmd->argv[0]));
            cmd->argc--;
        }
        break;
    case 1:
        eq_cmd_add(cmd, cmd->argv[at].data, cmd->argv[at].len);
        break;
    case 2:
        if (at > 0) {
            eq_add_anything(r, &other);
            eq_replace_arg(cmd, at, &other);
        }
        break;
    default:
        eq_add_anything(r, cmd);
        break;
    }
}

static void name_command(struct eq_cmd *cmd)
{
    static const char *const parents[] = {"client",   "config", "command", "debug",
                                          "function", "object", "memory",  "slowlog",
                                          "latency",  "acl",    "module"};
    size_t at = (size_t)snprintf(cmd->name, sizeof(cmd->name), "%.30s", cmd->argv[0].data);

    for (size_t i = 0; i < COUNT(parents) && cmd->argc > 1; i++) {
        if (strcasecmp(parents[i], cmd->argv[0].data) == 0) {
            snprintf(cmd->name + at, sizeof(cmd->name) - at, " %.30s", cmd->argv[1].data);
        }
    }
    for (char *p = cmd->name; *p != '\0'; p++) {
        *p = (char)(isprint((unsigned char)*p) ? tolower((unsigned char)*p) : '?');
    }
}

/* Templates that may become any command leave the rule to its name. */
static void choose_rule(struct eq_cmd *cmd)
{
    static const struct {
        const char *name;
        enum eq_rule rule;
    } rows[] = {{"keys", EQ_SET},
                {"scan", EQ_SHAPE},
                {"ttl", EQ_NEAR_S},
                {"pttl", EQ_NEAR_MS},
                {"expiretime", EQ_NEAR_S},
                {"pexpiretime", EQ_NEAR_MS},
                {"randomkey", EQ_RANDOMKEY},
                {"dump", EQ_DUMP},
                {"memory usage", EQ_SHAPE},
                {"object encoding", EQ_ENCODING},
                {"object refcount", EQ_SHAPE},
                {"object idletime", EQ_SHAPE},
                {"command count", EQ_SHAPE},
                {"client id", EQ_SHAPE},
                {"time", EQ_SHAPE}};

    for (size_t i = 0; i < COUNT(rows); i++) {
        if (strcmp(rows[i].name, cmd->name) == 0) {
            cmd->rule = rows[i].rule;
        }
    }
    /* What "*" finds includes paths and ports, which are not the same on both sides. */
    for (size_t i = 2; i < cmd->argc && cmd->rule == EQ_PAIRS; i++) {
        if (strcmp(cmd->argv[i].data, "*") == 0) {
            cmd->rule = EQ_NAMES;
        }
    }
}

static void generate_one(struct rng *r, struct eq_cmd *cmd)
{
    const struct template *t = pick_template(r);
    const char *at = t->text;
    char word[64];
    int used = 0;

    memset(cmd, 0, sizeof(*cmd));
    cmd->rule = t->rule;
    while (sscanf(at, "%63s%n", word, &used) == 1) {
        eq_add_word(r, cmd, word);
        at += used;
    }
    while ((t->flags & SPOIL) != 0 && rng_percent(r, 8)) {
        spoil(r, cmd);
    }
    if (cmd->rule == EQ_RAW) {
        snprintf(cmd->name, sizeof(cmd->name), "(raw bytes)");
        return;
    }
    eq_tame(r, cmd);
    name_command(cmd);
    if (cmd->rule == EQ_BYTES || cmd->rule == EQ_PAIRS) {
        choose_rule(cmd);
    }
}

/* A MULTI is followed by commands whose replies can be compared inside EXEC's, and by its end. */
void eq_generate(struct rng *r, unsigned *multi, struct eq_cmd *cmd)
{
    if (*multi == 0 && rng_percent(r, 1)) {
        *multi = 2 + (unsigned)rng_below(r, 9);
        eq_cmd_words(cmd, "MULTI", NULL);
        return;
    }
    if (*multi > 0 && --*multi == 0) {
        eq_cmd_words(cmd, rng_percent(r, 85) ? "EXEC" : "DISCARD", NULL);
        return;
    }
    generate_one(r, cmd);
    while (*multi > 0 && cmd->rule != EQ_BYTES) {
        eq_cmd_fini(cmd);
        generate_one(r, cmd);
    }
}

void eq_cmd_words(struct eq_cmd *cmd, const char *word, ...)
{
    va_list args;

    memset(cmd, 0, sizeof(*cmd));
    va_start(args, word);
    for (const char *w = word; w != NULL; w = va_arg(args, const char *)) {
        eq_add_text(cmd, w);
    }
    va_end(args);
    name_command(cmd);
}

void eq_cmd_fini(struct eq_cmd *cmd)
{
    for (size_t i = 0; i < cmd->argc; i++) {
        free(cmd->argv[i].data);
    }
    cmd->argc = 0;
}
