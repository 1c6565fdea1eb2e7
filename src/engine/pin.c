/* SPDX-License-Identifier: MIT */
#include "engine/pin.h"

#include "base/assert.h"

#include <stddef.h>
#include <stdint.h>

#define OF_VISIT UINT32_MAX /* the token of a pin that the visit stands for */

static _Thread_local struct visit {
    struct bki_pins *pins[2]; /* NULL: there is none */
    unsigned token[2];
    unsigned inside; /* pins that it stands for just now */
} visit;

unsigned bki_pin_slot(void)
{
    static atomic_uint threads;
    static _Thread_local unsigned slot; /* + 1; 0: none yet */
    if (slot == 0) {
        slot = atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) % BKI_PIN_SLOTS + 1;
    }
    return slot - 1;
}

unsigned bki_pin_apart(struct bki_pins *p)
{
    unsigned slot = bki_pin_slot();
    unsigned which = atomic_load_explicit(&p->phase, memory_order_relaxed) & 1u;
    atomic_fetch_add(&p->slot[slot].held[which], 1);
    return slot << 1 | which;
}

unsigned bki_pin(struct bki_pins *p)
{
    if (p != visit.pins[0] && p != visit.pins[1]) {
        return bki_pin_apart(p);
    }
    visit.inside++;
    return OF_VISIT;
}

void bki_unpin(struct bki_pins *p, unsigned token)
{
    if (token == OF_VISIT) {
        BK_ASSERT(visit.inside > 0 && (p == visit.pins[0] || p == visit.pins[1]));
        visit.inside--;
        return;
    }
    atomic_fetch_sub_explicit(&p->slot[token >> 1].held[token & 1u], 1, memory_order_release);
}

void bki_visit_begin(struct bki_pins *a, struct bki_pins *b)
{
    BK_ASSERT(visit.pins[0] == NULL);
    visit = (struct visit){{a, b}, {bki_pin_apart(a), bki_pin_apart(b)}, 0};
}

void bki_visit_end(struct bki_pins *a, struct bki_pins *b)
{
    BK_ASSERT(visit.pins[0] == a && visit.pins[1] == b && visit.inside == 0);
    bki_unpin(a, visit.token[0]);
    bki_unpin(b, visit.token[1]);
    visit = (struct visit){{NULL, NULL}, {0, 0}, 0};
}

void bki_grace_begin(struct bki_pins *p, struct bki_grace *g)
{
    g->seen = 0;
    atomic_thread_fence(memory_order_seq_cst); /* what was taken away, before any look at a pin */
    atomic_fetch_add(&p->phase, 1);
}

/* A pin that was held at begin lies in one of the two counters, and that one is not zero before the
 * pin is given back: so it is enough to have seen each at zero once. New pins gather in the other
 * one meanwhile. */
bool bki_grace_over(struct bki_pins *p, struct bki_grace *g)
{
    while (g->seen < 2) {
        unsigned old = (atomic_load(&p->phase) + 1) & 1u;
        for (unsigned i = 0; i < BKI_PIN_SLOTS; i++) {
            if (atomic_load(&p->slot[i].held[old]) != 0) {
                return false;
            }
        }
        g->seen++;
        atomic_fetch_add(&p->phase, 1);
    }
    return true;
}
