/* SPDX-License-Identifier: MIT */
/*
 * wheel.h - when which keys run out: a hierarchical timing wheel (Varghese and Lauck, "Hashed and
 * hierarchical timing wheels", SOSP 1987) of 6 levels of 64 slots.
 *
 * It holds 8 bytes a key: a hash to find the key by, and a tick. Nothing is ever looked for in it
 * or taken out of it before its time: whoever holds the keys tells a stale entry by its tick.
 * Its memory is that of its entries: chunks in each slot, 1 KiB at most; for the slot that is being
 * swept, or was last, up to 4 bytes more for each entry, and 512 at least. No locks.
 */
#ifndef BK_ENGINE_WHEEL_H
#define BK_ENGINE_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BKI_WHEEL_TICK_MS 128
#define BKI_WHEEL_TICK_MAX (((uint64_t)1 << 36) - 1) /* in the year 2248, counted from 1970 */
#define BKI_WHEEL_HASH_MASK (((uint32_t)1 << 28) - 1)

struct bki_wheel;

struct bki_wheel_entry {
    uint64_t tick; /* at most BKI_WHEEL_TICK_MAX */
    uint32_t hash; /* 28 bits */
};

/* The tick that a time lies in; times before 1970 lie in the first. May be over BKI_WHEEL_TICK_MAX.
 */
uint64_t bki_wheel_tick(int64_t ms);

/* now: the tick that it stands at. */
struct bki_wheel *bki_wheel_new(uint64_t now);
void bki_wheel_free(struct bki_wheel **w);

/* A tick that has passed comes up with the next one. An entry that is there already may be left
 * out.
 */
void bki_wheel_add(struct bki_wheel *w, struct bki_wheel_entry e);

enum bki_wheel_work {
    BKI_WHEEL_REST,  /* nothing is left to do before upto */
    BKI_WHEEL_MOVED, /* an entry is nearer to its time */
    BKI_WHEEL_DUE,   /* *e has come up, and is the caller's */
};
/* One small piece of work. Due is what lies in ticks before upto. A clock that was set back by more
 * than a second, to upto, turns the wheel back. */
enum bki_wheel_work bki_wheel_step(struct bki_wheel *w, uint64_t upto, struct bki_wheel_entry *e);

/* Takes any entry, each in its turn: the caller adds those that are not stale again, and of equal
 * ones most are left out then. False: empty. */
bool bki_wheel_sweep(struct bki_wheel *w, struct bki_wheel_entry *e);

/* For who looks for samples. False, 0: empty.
 * pick: an entry that stays, drawn with random from all. pick_first: the same, of the slot whose
 * time comes next. first: takes up to max (no more than 64) entries of that slot out; the caller
 * adds those that are not stale again. Entries on their way to another slot are in none for the
 * two: pick_first takes one of them where no slot is in use, first files some of them first. */
bool bki_wheel_pick(const struct bki_wheel *w, uint64_t random, struct bki_wheel_entry *out);
bool bki_wheel_pick_first(const struct bki_wheel *w, uint64_t random, struct bki_wheel_entry *out);
size_t bki_wheel_first(struct bki_wheel *w, struct bki_wheel_entry *out, size_t max);

uint64_t bki_wheel_count(const struct bki_wheel *w);
uint64_t bki_wheel_bytes(const struct bki_wheel *w);
/* Writes up to bki_wheel_count entries to out, in no order: for checks. */
void bki_wheel_list(const struct bki_wheel *w, struct bki_wheel_entry *out);

#endif
