/* SPDX-License-Identifier: MIT */
/*
 * linear.h - is a recorded history linearizable? Over all keys together: the store is one object.
 *
 * A history is what clients saw: operations with the time of their call and of their reply. It is
 * accepted if there is one order of all operations that keeps every client's own order, never puts
 * an operation behind one that was called only after its reply had come, and in which every reply
 * is what a single-threaded store would have answered.
 *
 * Values are numbers, so that INCR fits every key. The fewer operations write the same value, the
 * faster the search: histories should write every value once.
 */
#ifndef BK_TESTS_LINEAR_H
#define BK_TESTS_LINEAR_H

#include <stddef.h>
#include <stdint.h>

#define LIN_CLIENTS_MAX 16u
#define LIN_KEYS_MAX 32u
#define LIN_OPS_MAX 60000u
#define LIN_OP_KEYS_MAX 4u
#define LIN_ABSENT INT64_MIN /* the value of a key that is not there */

enum lin_kind {
    LIN_READ,  /* GET, MGET: val[i] is what was read of key[i] */
    LIN_WRITE, /* SET, MSET: val[i] was stored under key[i], a later pair wins */
    LIN_INCR,  /* key[0]; val[0] is the reply */
    LIN_DEL,   /* key[0..n-1]; val[0] is how many were there */
    LIN_RENAME /* key[0] to key[1]; val[0] is 1 for OK, 0 for "no such key" */
};

/* Plain values; times are any numbers that rise, with no two events at the same one. */
struct lin_op {
    uint8_t client;
    uint8_t kind; /* enum lin_kind */
    uint8_t n;    /* keys used */
    uint8_t key[LIN_OP_KEYS_MAX];
    int64_t val[LIN_OP_KEYS_MAX];
    uint64_t call, ret;
};

enum lin_verdict {
    LIN_GOOD,
    LIN_BAD,       /* no order explains the replies */
    LIN_UNDECIDED, /* the bound on steps was reached: an error of the test, never a pass */
    LIN_MALFORMED  /* not a history: a client with two calls out of order, a key out of range */
};

struct lin_report {
    enum lin_verdict verdict;
    uint64_t steps;   /* operations tried */
    size_t explained; /* the most operations that any order could explain */
    char text[2048];  /* for BAD and MALFORMED: where it got stuck; else "" */
};

/*
 * ops: borrowed; each client's operations in its own order, clients mixed in any way. All keys are
 * absent at the start. steps_max bounds time and memory (32 bytes a step at most).
 */
enum lin_verdict lin_check(const struct lin_op *ops, size_t n, uint64_t steps_max,
                           struct lin_report *report);

const char *lin_verdict_name(enum lin_verdict v);
/* One line without a line end; as snprintf. */
int lin_op_format(const struct lin_op *op, char *buf, size_t buf_len);

#endif
