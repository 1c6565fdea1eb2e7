/* SPDX-License-Identifier: MIT */
/*
 * rawreply.h - replies as the bytes they are: where one ends, what it is made of. RESP2 and RESP3.
 *
 * For comparing two servers byte by byte. Bytes are borrowed; nothing is copied.
 */
#ifndef BK_TESTS_RAWREPLY_H
#define BK_TESTS_RAWREPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct raw {
    const char *data;
    size_t len;
};

/* Bytes of the first whole reply in data; 0: not whole yet; -1: no reply starts like this. */
ssize_t raw_length(const char *data, size_t len);

/* All below: `reply` is one whole reply. */
bool raw_is_error(struct raw reply);
bool raw_is_null(struct raw reply);
bool raw_is_aggregate(struct raw reply); /* array, set, map, push */
/* The text of a string, a number or an error, without marks and line ends; empty for an aggregate.
 */
struct raw raw_text(struct raw reply);
/* The elements of an aggregate (a map's keys and values in turn); at most max are stored, all
 * counted. */
size_t raw_elements(struct raw reply, struct raw *out, size_t max);

bool raw_equal(struct raw a, struct raw b);
int raw_compare(struct raw a, struct raw b); /* as memcmp, shorter first */
bool raw_is(struct raw a, const char *text);
/* The same types in the same nesting; the number of elements and the bytes may differ. */
bool raw_same_shape(struct raw a, struct raw b);
/* Prints with \xNN for what does not print, at most max bytes, then how many more. */
void raw_print(struct raw a, size_t max);

#endif
