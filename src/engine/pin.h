/* SPDX-License-Identifier: MIT */
/*
 * pin.h - when may what a reader could still hold be taken away?
 *
 * A reader pins before it looks a location up and unpins when it has done with it: two counters for
 * each of a few slots, one of them in use at a time (the scheme of SRCU: McKenney, "Sleepable RCU",
 * 2006). Who takes something away first makes it impossible to find, then waits until both counters
 * have been seen at zero: whoever could have found it has gone by then. Nobody waits inside: a step
 * asks.
 */
#ifndef BK_ENGINE_PIN_H
#define BK_ENGINE_PIN_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>

#define BKI_PIN_SLOTS 64u

struct bki_pin_slot {
    alignas(64) atomic_uint held[2];
};

struct bki_pins {
    struct bki_pin_slot slot[BKI_PIN_SLOTS];
    atomic_uint phase; /* its lowest bit: which counter new pins take */
};

/* The calling thread's slot: the same at each call, and its alone as long as there are no more
 * threads than slots. */
unsigned bki_pin_slot(void);

/* The token is for bki_unpin: by any thread, unless it was taken in a visit to p. Pins nest. */
unsigned bki_pin(struct bki_pins *p);
void bki_unpin(struct bki_pins *p, unsigned token);
/* One that a visit does not stand for: it may outlive that, and any thread may give it back. */
unsigned bki_pin_apart(struct bki_pins *p);

/* A visit holds one pin of each of two for as long as it lasts. It stands for those that its thread
 * takes inside, and gives back inside: they cost nothing then. One at a time for a thread. */
void bki_visit_begin(struct bki_pins *a, struct bki_pins *b);
void bki_visit_end(struct bki_pins *a, struct bki_pins *b);

/* A wait for all pins that are held now. One thread waits at a time. */
struct bki_grace {
    int seen; /* counters that were seen at zero */
};
void bki_grace_begin(struct bki_pins *p, struct bki_grace *g);
/* True: every pin that was held at begin has been given back. */
bool bki_grace_over(struct bki_pins *p, struct bki_grace *g);

#endif
