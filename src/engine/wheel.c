/* SPDX-License-Identifier: MIT */
/*
 * wheel.c - slots of chunks, and one chain of entries on their way.
 *
 * An entry lies on the level of the highest six bits in which its tick differs from now, in the
 * slot that these bits of its tick name. So whatever lies on a level comes up after all that lies
 * below it, and a slot's first tick is reached before any of its entries is due. Then the slot's
 * chunks become loose, and its entries are filed again one by one, each at least one level lower. A
 * clock set back makes all slots loose in the same way.
 *
 * The sweep for stale entries goes from slot to slot. It takes a slot's chain away and hands out
 * its entries one by one, for as long as that takes; those that count come back into the slot. What
 * is left when the slot's time comes goes back.
 */
#include "engine/wheel.h"

#include "base/assert.h"
#include "base/buf.h"

#include <stdlib.h>

#define BITS 6u
#define SLOTS (1u << BITS)
#define LEVELS 6u
#define HASH_BITS 28u
#define BACK_TICKS 8u /* a clock set back by less than that is waited for */
#define CHUNK_MIN 6u  /* entries: 64 bytes */
#define CHUNK_MAX 126u
#define FILED_FIRST 64u /* loose entries, before the first are looked for */
#define KNOWN_BITS_MIN 6u
#define SLOTS_ALL (LEVELS * SLOTS)

struct chunk {
    struct chunk *next; /* owned */
    uint32_t below;     /* entries in the chunks behind it */
    uint16_t n, cap;
    uint64_t entries[];
};

/*
 * The slot that is being swept, and which entries are known to lie in it: a key that got the same
 * expiry again and again has left equal ones, and nobody can tell which of them is stale, but one
 * is enough. A table without chains, in which a later entry takes an earlier one's place, finds
 * enough of them with a quarter of the places that the slot had entries, if others share a place in
 * each lap.
 */
struct sweep {
    unsigned slot;       /* of all; SLOTS_ALL: none yet */
    struct chunk *chain; /* owned; of its entries, those to be handed out */
    uint64_t *known;     /* owned; 0: none. NULL: nothing is known */
    unsigned bits;       /* of an index */
    uint64_t factor;     /* of the index's hash; another one for each slot */
};

struct bki_wheel {
    uint64_t now; /* ticks before it are over */
    uint64_t n, bytes;
    struct chunk *loose; /* owned; entries to be filed again */
    struct sweep sweep;
    uint64_t used[LEVELS];         /* slots that are not empty, a bit each */
    struct chunk *slot[SLOTS_ALL]; /* owned */
};

uint64_t bki_wheel_tick(int64_t ms)
{
    return ms < 0 ? 0 : (uint64_t)ms / BKI_WHEEL_TICK_MS;
}

static uint64_t pack(struct bki_wheel_entry e)
{
    return e.tick << HASH_BITS | e.hash;
}

static struct bki_wheel_entry unpack(uint64_t word)
{
    return (struct bki_wheel_entry){.tick = word >> HASH_BITS,
                                    .hash = (uint32_t)word & BKI_WHEEL_HASH_MASK};
}

static size_t chunk_bytes(uint32_t cap)
{
    return sizeof(struct chunk) + cap * sizeof(uint64_t);
}

struct bki_wheel *bki_wheel_new(uint64_t now)
{
    struct bki_wheel *w = bk_alloc_zero(1, sizeof *w);
    w->now = now;
    w->bytes = sizeof *w;
    w->sweep = (struct sweep){.slot = SLOTS_ALL, .factor = 0x9e3779b97f4a7c15u};
    return w;
}

static void free_chain(struct chunk *c)
{
    while (c != NULL) {
        struct chunk *next = c->next;
        free(c);
        c = next;
    }
}

void bki_wheel_free(struct bki_wheel **w)
{
    if (*w == NULL) {
        return;
    }
    free((*w)->sweep.known);
    free_chain((*w)->sweep.chain);
    free_chain((*w)->loose);
    for (unsigned i = 0; i < SLOTS_ALL; i++) {
        free_chain((*w)->slot[i]);
    }
    free(*w);
    *w = NULL;
}

/* ---- Chains ---- */

static uint32_t chain_count(const struct chunk *head)
{
    return head == NULL ? 0 : head->below + head->n;
}

/* A chain's chunks grow with it, so that a slot of few entries is small. */
static void push(struct bki_wheel *w, struct chunk **head, uint64_t word)
{
    struct chunk *c = *head;
    if (c == NULL || c->n == c->cap) {
        uint32_t cap = c == NULL ? CHUNK_MIN : c->cap * 2u + 2;
        cap = cap > CHUNK_MAX ? CHUNK_MAX : cap;
        c = bk_alloc(chunk_bytes(cap));
        *c = (struct chunk){.next = *head, .below = chain_count(*head), .cap = (uint16_t)cap};
        *head = c;
        w->bytes += chunk_bytes(cap);
    }
    c->entries[c->n++] = word;
}

static uint64_t pop(struct bki_wheel *w, struct chunk **head)
{
    struct chunk *c = *head;
    uint64_t word = c->entries[--c->n];
    if (c->n == 0) {
        *head = c->next;
        w->bytes -= chunk_bytes(c->cap);
        free(c);
    }
    return word;
}

/* The chunks of one chain go in front of another's. */
static void put_in_front(struct chunk **chain, struct chunk **of)
{
    struct chunk **end = chain;
    for (uint32_t behind = chain_count(*of); *end != NULL; end = &(*end)->next) {
        (*end)->below += behind;
    }
    *end = *of;
    *of = *chain;
    *chain = NULL;
}

/* ---- What is known of the slot that is being swept ---- */

static size_t known_bytes(const struct sweep *s)
{
    return s->known == NULL ? 0 : sizeof *s->known << s->bits;
}

/* Before anything is taken out of the slot. */
static void forget(struct bki_wheel *w)
{
    w->bytes -= known_bytes(&w->sweep);
    free(w->sweep.known);
    w->sweep.known = NULL;
}

static void begin_to_know(struct bki_wheel *w, uint32_t entries)
{
    struct sweep *s = &w->sweep;
    s->bits = KNOWN_BITS_MIN;
    while ((uint32_t)1 << s->bits < entries / 4) {
        s->bits++;
    }
    s->factor *= 0xd1342543de82ef95u; /* odd, as the factor itself */
    s->known = bk_alloc_zero((size_t)1 << s->bits, sizeof *s->known);
    w->bytes += known_bytes(s);
}

/* Whether the slot is known to have the word; if not, it is about to have it. */
static bool is_known(struct sweep *s, uint64_t word)
{
    if (s->known == NULL || word == 0) {
        return false;
    }
    uint64_t *known = &s->known[word * s->factor >> (64 - s->bits)];
    bool is = *known == word;
    *known = word;
    return is;
}

/* ---- Slots ---- */

static unsigned slot_for(const struct bki_wheel *w, uint64_t word)
{
    uint64_t tick = word >> HASH_BITS;
    tick = tick < w->now ? w->now : tick;
    uint64_t differ = tick ^ w->now;
    unsigned level = differ == 0 ? 0 : (63u - (unsigned)__builtin_clzll(differ)) / BITS;
    return level * SLOTS + ((unsigned)(tick >> level * BITS) & (SLOTS - 1));
}

static void use(struct bki_wheel *w, unsigned slot)
{
    w->used[slot / SLOTS] |= (uint64_t)1 << slot % SLOTS;
}

static void file_in(struct bki_wheel *w, unsigned slot, uint64_t word)
{
    push(w, &w->slot[slot], word);
    use(w, slot);
}

/* The slot's chunks go in front of what a chain has already. */
static void take_slot(struct bki_wheel *w, unsigned slot, struct chunk **to)
{
    if (slot == w->sweep.slot) {
        forget(w);
    }
    put_in_front(&w->slot[slot], to);
    w->used[slot / SLOTS] &= ~((uint64_t)1 << slot % SLOTS);
}

void bki_wheel_add(struct bki_wheel *w, struct bki_wheel_entry e)
{
    BK_ASSERT(e.tick <= BKI_WHEEL_TICK_MAX && e.hash <= BKI_WHEEL_HASH_MASK);
    uint64_t word = pack(e);
    unsigned slot = slot_for(w, word);
    if (slot != w->sweep.slot || !is_known(&w->sweep, word)) {
        file_in(w, slot, word);
        w->n++;
    }
}

/* The first slot at or behind *i that holds something, and its number in *i; NULL: none. */
static const struct chunk *next_slot(const struct bki_wheel *w, unsigned *i)
{
    while (*i < SLOTS_ALL) {
        uint64_t ahead = w->used[*i / SLOTS] & ~(uint64_t)0 << *i % SLOTS;
        if (ahead != 0) {
            *i = *i / SLOTS * SLOTS + (unsigned)__builtin_ctzll(ahead);
            return w->slot[*i];
        }
        *i = (*i / SLOTS + 1) * SLOTS;
    }
    return NULL;
}

/* ---- Time ---- */

/* The first tick of a slot that lies ahead. */
static uint64_t start_of(const struct bki_wheel *w, unsigned slot)
{
    unsigned shift = slot / SLOTS * BITS;
    return (w->now >> shift >> BITS << BITS | slot % SLOTS) << shift;
}

/* Goes on to the first slot that holds something, if its time comes before upto. A higher level's
 * slot may be opened at upto itself: what is filed from then on has to go below it. */
static bool open_next(struct bki_wheel *w, uint64_t upto)
{
    for (unsigned level = 0; level < LEVELS; level++) {
        unsigned at = (unsigned)(w->now >> level * BITS) & (SLOTS - 1);
        uint64_t ahead = w->used[level] & ~(uint64_t)0 << at;
        if (ahead == 0) {
            continue;
        }
        unsigned slot = level * SLOTS + (unsigned)__builtin_ctzll(ahead);
        uint64_t start = start_of(w, slot);
        if (level == 0 ? start >= upto : start > upto) {
            return false;
        }
        w->now = start;
        take_slot(w, slot, &w->loose);
        return true;
    }
    return false;
}

/* What is left of the slot that is being swept goes back into it. */
static void stop_sweep(struct bki_wheel *w)
{
    if (w->sweep.chain != NULL) {
        use(w, w->sweep.slot);
        put_in_front(&w->sweep.chain, &w->slot[w->sweep.slot]);
    }
}

static void turn_back(struct bki_wheel *w, uint64_t now)
{
    stop_sweep(w);
    for (unsigned level = 0; level < LEVELS; level++) {
        while (w->used[level] != 0) {
            take_slot(w, level * SLOTS + (unsigned)__builtin_ctzll(w->used[level]), &w->loose);
        }
    }
    w->now = now;
}

enum bki_wheel_work bki_wheel_step(struct bki_wheel *w, uint64_t upto, struct bki_wheel_entry *e)
{
    if (upto > BKI_WHEEL_TICK_MAX) {
        upto = BKI_WHEEL_TICK_MAX;
    }
    if (upto + BACK_TICKS < w->now) {
        turn_back(w, upto);
    }
    if (w->sweep.chain != NULL && upto >= start_of(w, w->sweep.slot)) {
        stop_sweep(w);
    }
    if (w->loose == NULL && !open_next(w, upto)) {
        w->now = upto > w->now ? upto : w->now;
        return BKI_WHEEL_REST;
    }
    uint64_t word = pop(w, &w->loose);
    if (word >> HASH_BITS < upto) {
        *e = unpack(word);
        w->n--;
        return BKI_WHEEL_DUE;
    }
    file_in(w, slot_for(w, word), word);
    return BKI_WHEEL_MOVED;
}

/* The next slot behind the last one that has entries. False: none has. */
static bool begin_sweep(struct bki_wheel *w)
{
    unsigned slot = w->sweep.slot + 1;
    if (next_slot(w, &slot) == NULL) {
        slot = 0;
        if (next_slot(w, &slot) == NULL) {
            return false;
        }
    }
    forget(w);
    w->sweep.slot = slot;
    take_slot(w, slot, &w->sweep.chain);
    begin_to_know(w, chain_count(w->sweep.chain));
    return true;
}

bool bki_wheel_sweep(struct bki_wheel *w, struct bki_wheel_entry *e)
{
    if (w->n == 0) {
        forget(w);
        return false;
    }
    struct chunk **from = &w->sweep.chain;
    if (*from == NULL && !begin_sweep(w)) {
        from = &w->loose; /* no slot has any: all are on their way */
    }
    BK_ASSERT(*from != NULL);
    *e = unpack(pop(w, from));
    w->n--;
    return true;
}

/* ---- Samples ---- */

static struct bki_wheel_entry nth_of(const struct chunk *c, uint64_t nth)
{
    while (nth < c->below) {
        c = c->next;
    }
    return unpack(c->entries[nth - c->below]);
}

bool bki_wheel_pick(const struct bki_wheel *w, uint64_t random, struct bki_wheel_entry *out)
{
    if (w->n == 0) {
        return false;
    }
    uint64_t nth = random % w->n;
    const struct chunk *c = w->loose;
    if (nth >= chain_count(c)) {
        nth -= chain_count(c);
        c = w->sweep.chain;
    }
    for (unsigned i = 0; nth >= chain_count(c); i++) {
        nth -= chain_count(c);
        c = next_slot(w, &i);
    }
    *out = nth_of(c, nth);
    return true;
}

/* Of the slot's entries some are to be handed out: these are taken before others. */
static bool is_swept(const struct bki_wheel *w, unsigned slot)
{
    return slot == w->sweep.slot && w->sweep.chain != NULL;
}

/* The number of the slot whose time comes next; SLOTS_ALL: none is in use. */
static unsigned first_slot(const struct bki_wheel *w)
{
    unsigned first = w->sweep.chain != NULL ? w->sweep.slot : SLOTS_ALL;
    for (unsigned level = 0; level * SLOTS < first; level++) {
        unsigned at = (unsigned)(w->now >> level * BITS) & (SLOTS - 1);
        uint64_t ahead = w->used[level] & ~(uint64_t)0 << at;
        if (ahead != 0) {
            unsigned slot = level * SLOTS + (unsigned)__builtin_ctzll(ahead);
            return slot < first ? slot : first;
        }
    }
    return first;
}

bool bki_wheel_pick_first(const struct bki_wheel *w, uint64_t random, struct bki_wheel_entry *out)
{
    unsigned i = first_slot(w);
    const struct chunk *c = i == SLOTS_ALL   ? w->loose
                            : is_swept(w, i) ? w->sweep.chain
                                             : w->slot[i];
    if (c == NULL) {
        return false;
    }
    *out = nth_of(c, random % chain_count(c));
    return true;
}

size_t bki_wheel_first(struct bki_wheel *w, struct bki_wheel_entry *out, size_t max)
{
    size_t n = 0;
    for (unsigned i = 0; i < FILED_FIRST && w->loose != NULL; i++) {
        uint64_t word = pop(w, &w->loose);
        file_in(w, slot_for(w, word), word);
    }
    unsigned i = first_slot(w);
    if (i == SLOTS_ALL) {
        return 0;
    }
    struct chunk **chain = is_swept(w, i) ? &w->sweep.chain : &w->slot[i];
    if (i == w->sweep.slot && !is_swept(w, i)) {
        forget(w);
    }
    while (n < max && *chain != NULL) {
        out[n++] = unpack(pop(w, chain));
    }
    if (w->slot[i] == NULL) {
        w->used[i / SLOTS] &= ~((uint64_t)1 << i % SLOTS);
    }
    w->n -= n;
    return n;
}

/* ---- Sight ---- */

uint64_t bki_wheel_count(const struct bki_wheel *w)
{
    return w->n;
}

uint64_t bki_wheel_bytes(const struct bki_wheel *w)
{
    return w->bytes;
}

static size_t list_chain(const struct chunk *c, struct bki_wheel_entry *out)
{
    size_t n = 0;
    for (; c != NULL; c = c->next) {
        for (uint32_t i = 0; i < c->n; i++) {
            out[n++] = unpack(c->entries[i]);
        }
    }
    return n;
}

void bki_wheel_list(const struct bki_wheel *w, struct bki_wheel_entry *out)
{
    out += list_chain(w->loose, out);
    out += list_chain(w->sweep.chain, out);
    for (unsigned i = 0; i < SLOTS_ALL; i++) {
        out += list_chain(w->slot[i], out);
    }
}
