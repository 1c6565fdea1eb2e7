/* SPDX-License-Identifier: MIT */
/* eqgen_tame.c - takes out of a random command what would make the comparison depend on time, or
 * the servers on their memory. */
#include "lib/eqgen_words.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

void eq_replace_arg(struct eq_cmd *cmd, size_t at, struct eq_cmd *from)
{
    free(cmd->argv[at].data);
    cmd->argv[at] = from->argv[0];
    from->argc = 0;
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
    eq_replace_arg(cmd, at, &other);
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
 * bitmaps make no string of half a gigabyte. SLOWLOG GET asks for nothing: how long commands took
 * is each server's own.
 */
void eq_tame(struct rng *r, struct eq_cmd *cmd)
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
    } else if (strcasecmp(cmd->argv[0].data, "slowlog") == 0 && cmd->argc == 2 &&
               strcasecmp(cmd->argv[1].data, "get") == 0) {
        eq_add_text(cmd, "0");
    } else if (strcasecmp(cmd->argv[0].data, "bitfield") == 0) {
        for (size_t i = 2; i < cmd->argc; i++) {
            tame_place(cmd, i, 40000, 4294967296);
        }
    }
}
