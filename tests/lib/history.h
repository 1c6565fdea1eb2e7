/* SPDX-License-Identifier: MIT */
/*
 * history.h - what several clients saw of one server: recorded over sockets, kept as text, for
 * linear.h.
 */
#ifndef BK_TESTS_HISTORY_H
#define BK_TESTS_HISTORY_H

#include "lib/linear.h"
#include "lib/rng.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HISTORY_CLIENTS 8u
#define HISTORY_KEYS 16u

/* All zero is empty. */
struct history {
    struct lin_op *ops; /* owned */
    size_t n, cap;
};

void history_add(struct history *h, const struct lin_op *op);
void history_clear(struct history *h);
void history_fini(struct history *h);
/* One operation a line. False with errno. */
bool history_save(const struct history *h, const char *path);
/* False: not readable, or not what history_save writes. */
bool history_load(struct history *h, const char *path);

/* Connections that record histories, one after the other, on an emptied server. */
struct recorder;

/* NULL when a connection cannot be made. */
struct recorder *recorder_new(int port);
void recorder_free(struct recorder **r);
/* Records ops_n operations, drawn from rng, into h (cleared first). False: a reply that no such
 * command may have, a lost connection, or no reply in time; why is printed. */
bool recorder_run(struct recorder *r, struct rng *rng, size_t ops_n, struct history *h);

/* Records and checks histories until `seconds` have passed and at least histories_min were good. */
struct history_goal {
    int port;
    uint64_t seed;
    unsigned seconds;
    unsigned histories_min;
    unsigned histories_max; /* 0: no limit */
    const char *save_dir;   /* where a history that is not good is kept */
};

struct history_result {
    unsigned good, bad, undecided;
    uint64_t ops;
    uint64_t steps_max; /* of one check */
    double check_ms_max;
    bool broken; /* the server gave a wrong reply or none */
};

/* Ends at the first history that is not good. */
void history_campaign(const struct history_goal *goal, struct history_result *result);

#endif
