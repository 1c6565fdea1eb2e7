/* SPDX-License-Identifier: MIT */
/*
 * eqgen.c - commands from templates, a part of them spoilt on purpose.
 *
 * A template is words with blanks between; a word with $ stands for a random argument (the table of
 * eqgen_words.c), any other is sent as it is in random case. Times are never near: a relative one
 * is far in the future or not valid, an absolute one far in the future or the past (tame()).
 */
#include "lib/eqgen_words.h"

#include <ctype.h>
#include <errno.h>
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

static void replace_arg(struct eq_cmd *cmd, size_t at, struct eq_cmd *from)
{
    free(cmd->argv[at].data);
    cmd->argv[at] = from->argv[0];
    from->argc = 0;
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
            replace_arg(cmd, at, &other);
        }
        break;
    default:
        eq_add_anything(r, cmd);
        break;
    }
}

static bool is_any_of(const char *name, const char *const *list, size_t n)
{
    bool found = false;

    for (size_t i = 0; i < n && !found; i++) {
        found = strcasecmp(list[i], name) == 0;
    }
    return found;
}

static bool has_word(const struct eq_cmd *cmd, const char *word)
{
    bool found = false;

    for (size_t i = 1; i < cmd->argc && !found; i++) {
        found = strcasecmp(cmd->argv[i].data, word) == 0;
    }
    return found;
}

/* Is this argument a time counted from now? */
static bool is_relative_time(const struct eq_cmd *cmd, size_t at)
{
    static const char *const by_option[] = {"set", "getex"};
    static const char *const by_place[] = {"setex", "psetex", "expire", "pexpire"};
    static const char *const option[] = {"ex", "px"};

    if (strcasecmp(cmd->argv[0].data, "restore") == 0) {
        return at == 2 && !has_word(cmd, "absttl");
    }
    return (is_any_of(cmd->argv[0].data, by_option, COUNT(by_option)) &&
            is_any_of(cmd->argv[at - 1].data, option, COUNT(option))) ||
           (at == 2 && is_any_of(cmd->argv[0].data, by_place, COUNT(by_place)));
}

static bool whole_number(const struct eq_arg *a, long long *value)
{
    char *end;

    errno = 0;
    *value = strtoll(a->data, &end, 10);
    return a->len > 0 && !isspace((unsigned char)a->data[0]) && a->data[0] != '+' &&
           end == a->data + a->len && errno == 0;
}

static void replace_number(struct eq_cmd *cmd, size_t at, long long value)
{
    struct eq_cmd other = {.argc = 0};
    char text[32];

    snprintf(text, sizeof(text), "%lld", value);
    eq_add_text(&other, text);
    replace_arg(cmd, at, &other);
}

/* SET with an absolute time: 0 no, else the unit in ms. */
static long long set_until(const struct eq_cmd *cmd, size_t at)
{
    if (strcasecmp(cmd->argv[0].data, "set") != 0) {
        return 0;
    }
    return strcasecmp(cmd->argv[at - 1].data, "exat") == 0   ? 1000
           : strcasecmp(cmd->argv[at - 1].data, "pxat") == 0 ? 1
                                                             : 0;
}

/* A number from limit on that is still valid, so that it would make a huge string; "#n" too. */
static void tame_place(struct eq_cmd *cmd, size_t at, long long limit, long long valid)
{
    struct eq_arg *a = &cmd->argv[at];
    struct eq_arg number = {a->data + 1, a->len - 1};
    bool fields = a->len > 1 && a->data[0] == '#';
    long long v;

    if (fields && whole_number(&number, &v) && v > limit / 64 && v < valid) {
        replace_number(cmd, at, v % limit);
    } else if (!fields && whole_number(a, &v) && v > limit && v < valid) {
        replace_number(cmd, at, v % limit);
    }
}

/*
 * Valid times from now become 10^11 to 10^12 (115 days as milliseconds): none runs out during the
 * test, and no two are so close that GT and LT would depend on the millisecond of arrival. SET
 * makes no key whose time has passed: DBSIZE counts it until somebody has looked. SETRANGE and the
 * bitmaps make no string of half a gigabyte.
 */
static void tame(struct rng *r, struct eq_cmd *cmd)
{
    long long v;

    for (size_t i = 1; i < cmd->argc; i++) {
        if (is_relative_time(cmd, i) && whole_number(&cmd->argv[i], &v) && v > 0) {
            if (v < 10000000000000) {
                replace_number(cmd, i, 100000000000 + (long long)rng_below(r, 900000) * 1000000);
            } else if (v > 9000000000000000000 && v < 9223370000000000001) {
                replace_number(cmd, i, v - (long long)rng_below(r, 900000) * 1000000000);
            }
        } else if (set_until(cmd, i) > 0 && whole_number(&cmd->argv[i], &v) && v > 0 &&
                   v < 4000000000000 / set_until(cmd, i)) {
            replace_number(cmd, i, v + 4000000000000 / set_until(cmd, i));
        }
    }
    if (strcasecmp(cmd->argv[0].data, "setrange") == 0 && cmd->argc > 2) {
        tame_place(cmd, 2, 5000, 536870912);
    } else if (strcasecmp(cmd->argv[0].data, "setbit") == 0 && cmd->argc > 2) {
        tame_place(cmd, 2, 40000, 4294967296);
    } else if (strcasecmp(cmd->argv[0].data, "bitfield") == 0) {
        for (size_t i = 2; i < cmd->argc; i++) {
            tame_place(cmd, i, 40000, 4294967296);
        }
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
    tame(r, cmd);
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
