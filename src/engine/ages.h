/* SPDX-License-Identifier: MIT */
/*
 * ages.h - when keys were last used, in four bits each.
 *
 * An age is the number of a span of time in which keys were used: one of 16, and the one that runs
 * now is given to every key that is used. A key is written to once in a span, at most. When numbers
 * run short, neighbouring spans are put together, where that loses least beside how long ago they
 * were: so spans are a second long near the present and grow with the distance. Numbers that are
 * no longer wanted come free when a lap around all keydirs has rewritten them. Nothing is done
 * while no key is used. This file is arithmetic: ages_step.c walks and keeps time.
 */
#ifndef BK_ENGINE_AGES_H
#define BK_ENGINE_AGES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define BKI_AGES 16u
#define BKI_AGE_SPAN_MS 1000                    /* of the shortest span */
#define BKI_AGE_IDLE_MAX_MS INT64_C(8388607000) /* 97 days: as far back as a key is put */
#define BKI_AGE_CODES 8u /* of an index image: 0, then idle for 4^(code - 1) seconds or more */

struct bki_ages {
    /* Any thread, atomic: the spans, by the monotonic clock. to is INT64_MAX for the one that runs.
     */
    _Atomic int64_t from_ms[BKI_AGES], to_ms[BKI_AGES];
    atomic_bool busy;       /* a step is being done */
    _Atomic uint8_t now;    /* the age that runs */
    _Atomic uint16_t borne; /* a bit for each number in order */
    /* Only who has made busy true. */
    uint8_t order[BKI_AGES]; /* numbers that keys bear, newest first */
    uint32_t order_n;
    uint32_t free;        /* a bit for each number that no key bears */
    bool lap;             /* one is under way, and */
    uint8_t to[BKI_AGES]; /* rewrites each number as this; */
    uint32_t retiring;    /* then these come free */
    int64_t lap_began_ms;
    int64_t
        span_ms; /* how long the span that runs shall be: numbers last until the next lap's end */
    /* Where the lap is. */
    uint32_t num;
    uint64_t cursor;
};

/* What was loaded from an index image bears codes as ages; all else begins with age 0, which runs.
 */
void bki_ages_init(struct bki_ages *a, int64_t now_ms);

/* Is the span that runs long enough, and a number free? Then either one keeps it, empty, to begin
 * now, or ends it and begins another, whose number is returned. */
bool bki_ages_due(const struct bki_ages *a, int64_t now_ms);
void bki_ages_keep(struct bki_ages *a, int64_t now_ms);
uint8_t bki_ages_next(struct bki_ages *a, int64_t now_ms);

/* Begins a lap if numbers run short. */
bool bki_ages_lap_begin(struct bki_ages *a, int64_t now_ms);
void bki_ages_lap_end(struct bki_ages *a, int64_t now_ms);

/* Milliseconds since keys of this age were used, about. Any thread. */
uint64_t bki_ages_idle_ms(const struct bki_ages *a, uint8_t age, int64_t now_ms);
/* The age of a key that was last used so long ago (BKI_AGE_IDLE_MAX_MS at most). Any thread. */
uint8_t bki_ages_of(const struct bki_ages *a, uint64_t idle_ms, int64_t now_ms);
/* Makes a span for that moment alone if none is near enough and numbers are plenty. */
void bki_ages_begin_at(struct bki_ages *a, uint64_t idle_ms, int64_t now_ms);
uint8_t bki_ages_code(const struct bki_ages *a, uint8_t age, int64_t now_ms);

#endif
