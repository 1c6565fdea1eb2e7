/* SPDX-License-Identifier: MIT */
/*
 * args.h - arguments to values with Redis's error replies, and the look-up that counts hits and
 * misses.
 *
 * The functions that return bool write the error reply themselves when they return false.
 */
#ifndef BK_COMMAND_ARGS_H
#define BK_COMMAND_ARGS_H

#include "command/command.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARG_ERROR_SYNTAX "ERR syntax error"
#define ARG_ERROR_INTEGER "ERR value is not an integer or out of range"

struct bk_span arg_at(const struct command_ctx *c, int i); /* argv[i]; i < argc */

/* Is the argument this word, whatever its case? As Redis, which compares C strings, looks no
 * further than a NUL. */
bool arg_is(struct bk_span arg, const char *word);

/* The argument's length as the precision of "%.*s" in an error: an int, and bounded. */
#define ARG_TEXT_MAX (1 << 20)
int arg_text_len(struct bk_span arg);

bool arg_i64(struct command_ctx *c, struct bk_span arg, int64_t *out);
/* Finite or infinite, not NaN; text as strtold takes it, with no space in front. No reply on
 * failure. */
bool arg_parse_long_double(struct bk_span arg, long double *out);

void arg_reply_arity(struct command_ctx *c); /* wrong number of arguments for 'mset' command */
void arg_reply_expire_time(struct command_ctx *c); /* invalid expire time in 'set' command */
void arg_reply_wrong_type(struct command_ctx *c);

/* Now + ttl and the like: the expiry that unit, base and number give, in ms. */
enum arg_unit { UNIT_SECONDS, UNIT_MS };
/* For SET, GETEX and SETEX, where the result must lie after 1970. base_ms: 0 for a point in time.
 */
bool arg_expiry(struct command_ctx *c, struct bk_span arg, enum arg_unit unit, int64_t base_ms,
                int64_t *out);

/* ks_get of a command that Redis counts in keyspace_hits and keyspace_misses. */
void arg_lookup(struct command_ctx *c, size_t index, struct ks_value *out);
/* The same for a key that must hold a string if it is there; false: the error is written. */
bool arg_lookup_string(struct command_ctx *c, size_t index, struct ks_value *out);
bool arg_get_string(struct command_ctx *c, size_t index, struct ks_value *out); /* not counted */

#endif
