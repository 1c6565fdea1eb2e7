/* SPDX-License-Identifier: MIT */
/* main.c - the table of verbs, the command line, help. */
#include "tools/tool.h"

#include "base/clock.h"
#include "base/num.h"
#include "base/stdfds.h"
#include "base/version.h"
#include "engine/bitkv.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

/* Options by the letter that getopt_long returns; a verb names those that it takes. */
enum option_letter {
    OPT_DB = 'n',
    OPT_FORMAT = 'f',
    OPT_HELP = 'h',
    OPT_HEX = 'x',
    OPT_JSON = 'j',
    OPT_NULL = '0',
    OPT_PX = 'p',
    OPT_PXAT = 'P',
    OPT_STDIN_KEY = 'k',
    OPT_VERSION = 'v'
};

struct verb {
    const char *name;
    const char *operands;
    const char *options; /* letters */
    int least, most;     /* operands behind DIR; most -1: any number */
    int (*run)(const struct tool_args *a);
    const char *what;
};

static const struct verb verbs[] = {
    {"get", "DIR KEY", "nxk", 0, 1, tool_get,
     "Writes the value of KEY to standard output, with a newline only on a terminal. Exit status "
     "1: "
     "there\nis no such key, or its record is damaged."},
    {"put", "DIR KEY [VALUE]", "nxkpP", 0, 2, tool_put,
     "Sets KEY to VALUE, or to all of standard input. Makes the store where there is no directory, "
     "or an\nempty one. Done means synced."},
    {"del", "DIR [KEY...]", "nxk", 0, -1, tool_del,
     "Deletes keys and prints how many there were. Exit status 1: none."},
    {"keys", "DIR [PATTERN]", "nx0", 0, 1, tool_keys,
     "Lists the keys that fit a pattern as in Redis's KEYS, one a line, unprintable bytes as "
     "\\xHH."},
    {"stats", "DIR", "j", 0, 0, tool_stats,
     "Counts keys and bytes, by database and by data file,\nand lists what opening the store has "
     "found damaged."},
    {"check", "DIR", "", 0, 0, tool_check,
     "Reads every byte and lists what does not hold, one place a line. Exit status 1: there is "
     "any."},
    {"repair", "DIR [NEWDIR]", "", 0, 1, tool_repair,
     "Copies what can be read into a new store, DIR.repaired if no other name is given, and lists "
     "what is\nlost. DIR stays as it is. Exit status 1: something is lost."},
    {"dump", "DIR", "nf", 0, 0, tool_dump,
     "Writes every key with value and expiry to standard output: as lines of JSON, or as commands "
     "for\nredis-cli --pipe. Exit status 1: something is damaged or does not fit the format."},
    {"load", "DIR", "f", 0, 0, tool_load,
     "Reads what dump has written from standard input and prints how many records. What stands "
     "before\na mistake in the input is loaded. Done means synced."},
    {"merge", "DIR", "", 0, 0, tool_merge,
     "Rewrites data files until nothing is left that can be reclaimed, and prints how much was."},
    {"snapshot", "DIR DEST", "", 1, 1, tool_snapshot,
     "Makes DEST a store of its own that holds what DIR holds now, by hard links where it can."},
    {"restore", "SNAPSHOT NEWDIR", "", 1, 1, tool_restore,
     "Makes NEWDIR a store that holds what the snapshot holds. The snapshot stays as it is."},
};
#define VERBS (sizeof verbs / sizeof verbs[0])

static const struct option options[] = {{"db", required_argument, NULL, OPT_DB},
                                        {"format", required_argument, NULL, OPT_FORMAT},
                                        {"help", no_argument, NULL, OPT_HELP},
                                        {"hex", no_argument, NULL, OPT_HEX},
                                        {"json", no_argument, NULL, OPT_JSON},
                                        {"null", no_argument, NULL, OPT_NULL},
                                        {"px", required_argument, NULL, OPT_PX},
                                        {"pxat", required_argument, NULL, OPT_PXAT},
                                        {"stdin-key", no_argument, NULL, OPT_STDIN_KEY},
                                        {"version", no_argument, NULL, OPT_VERSION},
                                        {NULL, 0, NULL, 0}};

static const char *option_help(int letter)
{
    switch (letter) {
    case OPT_DB:
        return "  -n, --db N       the database, 0 to 8191 (default: 0; dump: all)";
    case OPT_FORMAT:
        return "  -f, --format F   json (default) or resp";
    case OPT_HEX:
        return "  -x, --hex        keys are given and shown in hex";
    case OPT_JSON:
        return "  -j, --json       JSON instead of name:value";
    case OPT_NULL:
        return "  -0, --null       keys as they are, a NUL behind each";
    case OPT_PX:
        return "      --px MS      the key expires so many milliseconds from now";
    case OPT_PXAT:
        return "      --pxat MS    the key expires at that time, milliseconds since 1970 UTC";
    case OPT_STDIN_KEY:
        return "  -k, --stdin-key  the key is all of standard input";
    default:
        return "";
    }
}

/* ---- Help ---- */

static int help_all(FILE *f)
{
    fputs("Usage: bitkv VERB [OPTION...] DIR [OPERAND...]\n"
          "Works on the data directory of a store that no server has open.\n\n",
          f);
    for (size_t i = 0; i < VERBS; i++) {
        fprintf(f, "  bitkv %s %s\n", verbs[i].name, verbs[i].operands);
    }
    fputs("\nbitkv help VERB tells more; man bitkv tells all. Exit status: 0 done, 1 the answer is "
          "no (no such\nkey, something damaged or lost), 2 it could not be done.\n",
          f);
    return TOOL_OK;
}

static int help_verb(const struct verb *v)
{
    printf("Usage: bitkv %s [OPTION...] %s\n%s\n", v->name, v->operands, v->what);
    for (const char *o = v->options; *o != '\0'; o++) {
        puts(option_help(*o));
    }
    return tool_output_end(TOOL_OK);
}

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < VERBS; i++) {
        if (strcmp(verbs[i].name, name) == 0) {
            return &verbs[i];
        }
    }
    return NULL;
}

static int unknown_verb(const char *name)
{
    return tool_fail("there is no verb %s (bitkv --help lists them)", name);
}

static int help(const char *name)
{
    const struct verb *v = name == NULL ? NULL : find_verb(name);
    if (name != NULL && v == NULL) {
        return unknown_verb(name);
    }
    return v != NULL ? help_verb(v) : tool_output_end(help_all(stdout));
}

/* ---- The command line ---- */

struct parsed {
    struct tool_args args;
    char given[32]; /* letters of the options in the order they came, each once */
    bool help, version;
};

static int bad_number(const char *what, const char *text)
{
    return tool_fail("%s: not a number in range: %s", what, text);
}

static int take_time(struct tool_args *a, const char *text, bool relative)
{
    int64_t now = relative ? bk_clock_wall_ms(&bk_clock_system) : 0;
    int64_t ms;
    if (!bk_parse_i64(bk_span_str(text), &ms) || ms <= 0 || ms > INT64_MAX - now) {
        return bad_number(relative ? "--px" : "--pxat", text);
    }
    a->expire_ms = now + ms;
    return TOOL_OK;
}

static int take_option(struct parsed *p, int letter, const char *text)
{
    struct tool_args *a = &p->args;
    uint64_t num;
    size_t n = strlen(p->given);
    if (strchr(p->given, letter) == NULL && n + 1 < sizeof p->given) {
        p->given[n] = (char)letter;
    }
    switch (letter) {
    case OPT_DB:
        if (!bk_parse_u64(bk_span_str(text), &num) || num >= BK_DATABASES_MAX) {
            return bad_number("--db", text);
        }
        a->db = (uint32_t)num;
        a->db_given = true;
        return TOOL_OK;
    case OPT_FORMAT:
        a->format = strcmp(text, "resp") == 0 ? TOOL_RESP : TOOL_JSON;
        return a->format == TOOL_RESP || strcmp(text, "json") == 0
                   ? TOOL_OK
                   : tool_fail("--format is json or resp, not %s", text);
    case OPT_PX:
    case OPT_PXAT:
        return take_time(a, text, letter == OPT_PX);
    default:
        p->help = p->help || letter == OPT_HELP;
        p->version = p->version || letter == OPT_VERSION;
        a->hex = a->hex || letter == OPT_HEX;
        a->json = a->json || letter == OPT_JSON;
        a->null = a->null || letter == OPT_NULL;
        a->stdin_key = a->stdin_key || letter == OPT_STDIN_KEY;
        return letter == '?' ? TOOL_ERROR : TOOL_OK; /* getopt has said why */
    }
}

static const char *long_name(int letter)
{
    const struct option *o = options;
    while (o->name != NULL && o->val != letter) {
        o++;
    }
    return o->name;
}

/* Every option that was given is one of the verb's, and there are as many operands as it takes. A
 * key that is not on standard input is one. */
static int fits(const struct verb *v, const struct parsed *p, int operands)
{
    bool keyed = strchr(v->options, OPT_STDIN_KEY) != NULL;
    int least = v->least + (keyed && !p->args.stdin_key ? 1 : 0);
    int most = v->most < 0 ? operands : v->most - (keyed && p->args.stdin_key ? 1 : 0);
    for (const char *o = p->given; *o != '\0'; o++) {
        if (strchr(v->options, *o) == NULL) {
            return tool_fail("%s does not take --%s (see bitkv help %s)", v->name, long_name(*o),
                             v->name);
        }
    }
    if (operands < 1 + least || operands > 1 + most) {
        return tool_fail("usage: bitkv %s [OPTION...] %s", v->name, v->operands);
    }
    return TOOL_OK;
}

static int run(struct parsed *p, char **operands, int n)
{
    const struct verb *v = n > 0 ? find_verb(operands[0]) : NULL;
    if (p->version) {
        puts("bitkv " BITKV_VERSION);
        return tool_output_end(TOOL_OK);
    }
    if (n > 0 && strcmp(operands[0], "help") == 0) {
        return help(n > 1 ? operands[1] : NULL);
    }
    if (p->help) {
        return help(n > 0 ? operands[0] : NULL);
    }
    if (n == 0) {
        help_all(stderr);
        return TOOL_ERROR;
    }
    if (v == NULL) {
        return unknown_verb(operands[0]);
    }
    int status = fits(v, p, n - 1);
    if (status != TOOL_OK) {
        return status;
    }
    p->args.dir = operands[1];
    p->args.argv = operands + 2;
    p->args.argc = n - 2;
    return v->run(&p->args);
}

int main(int argc, char **argv)
{
    struct parsed p = {0};
    int letter;
    if (bk_stdfds_hold() != 0) {
        return tool_fail("cannot open /dev/null: %s", strerror(errno));
    }
    while ((letter = getopt_long(argc, argv, "n:f:hxj0kv", options, NULL)) != -1) {
        if (take_option(&p, letter, optarg) != TOOL_OK) {
            return TOOL_ERROR;
        }
    }
    return run(&p, argv + optind, argc - optind);
}
