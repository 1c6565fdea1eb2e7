/* SPDX-License-Identifier: MIT */
/*
 * eqgen.h - random commands for comparing bitkv with redis-server: right ones, nearly right ones
 * and nonsense, none of which depends on the time that passes while they run.
 */
#ifndef BK_TESTS_EQGEN_H
#define BK_TESTS_EQGEN_H

#include "lib/rng.h"

#include <stdbool.h>
#include <stddef.h>

#define EQ_ARGS_MAX 40

/* How two replies are compared. Whatever the rule: if one of them is an error, byte by byte. */
enum eq_rule {
    EQ_BYTES,
    EQ_SHAPE,     /* the same types */
    EQ_SET,       /* elements without their order */
    EQ_PAIRS,     /* name-value pairs without their order */
    EQ_NAMES,     /* name-value pairs: all names of Redis must be there, values may differ */
    EQ_NEAR_S,    /* a time in seconds */
    EQ_NEAR_MS,   /* a time in milliseconds */
    EQ_RANDOMKEY, /* none on both, or a key that the other one has too */
    EQ_DUMP,      /* DUMP: each side's answer, RESTOREd on the other, is the same value */
    EQ_ENCODING,  /* OBJECT ENCODING: for raw also what SET of the same bytes makes */
    EQ_SCAN_ALL,  /* iterate to the end with these arguments, compare the sets of keys */
    EQ_INFO,      /* the same sections, the same numbers of keys */
    EQ_FIELDS,    /* CLIENT INFO and LIST: the same field names */
    EQ_HELLO,     /* pairs, apart from the id */
    EQ_COMMAND,   /* COMMAND INFO and DOCS: subcommands in any order, only those of both */
    EQ_CLOSES,    /* the connection ends after the reply */
    EQ_RAW /* arg[0] goes out as it is on a new connection; all that comes back is compared */
};

struct eq_arg {
    char *data; /* owned by the command */
    size_t len;
};

struct eq_cmd {
    size_t argc;
    struct eq_arg argv[EQ_ARGS_MAX];
    enum eq_rule rule;
    char name[64]; /* lower case, "client kill" for a subcommand: what differences are grouped by */
};

/* Fills *cmd, which holds owned memory until eq_cmd_fini. *multi: 0 before the first; how many
 * commands the MULTI that has begun still gets, its end included. */
void eq_generate(struct rng *r, unsigned *multi, struct eq_cmd *cmd);
void eq_cmd_fini(struct eq_cmd *cmd);
/* A command from words, for the comparison's own use; NULL ends them. */
void eq_cmd_words(struct eq_cmd *cmd, const char *word, ...);
void eq_cmd_add(struct eq_cmd *cmd, const void *data, size_t len);

#endif
