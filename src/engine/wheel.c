/* SPDX-License-Identifier: MIT */
/*
 * wheel.c - slots of chunks, and one chain of entries on their way.
 *
 * An entry lies on the level of the highest six bits in which its tick differs from now, in the
 * slot that these bits of its tick name. So whatever lies on a level comes up after all that lies
 * below it, and a slot's first tick is reached before any of its entries is due. Then the slot's
 * chunks become loose, and its entries are filed again one by one, each at least one level lower.
 * The sweep for stale entries and a clock set back make slots loose in the same way.
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
#define TWINS_BITS_MIN 6u

struct chunk {
    struct chunk *next; /* owned */
    uint32_t below;     /* entries in the chunks behind it */
    uint16_t n, cap;
    uint64_t entries[];
};

/*
 * Entries that lie in slots, as far as a sweep has added them: a key that got the same expiry again
 * and again has left equal ones, and nobody can tell which of them is stale, but one is enough. A
 * table without chains, in which a later entry takes an earlier one's place, finds enough of them
 * with a quarter of the places that a slot has entries, if other ones share a place in each lap.
 */
struct twins {
    uint64_t *words; /* owned; 0: none. NULL: no slot is being swept */
    unsigned bits;   /* of an index */
    uint64_t factor; /* of the index's hash; another one for each slot that is swept */
};

struct bki_wheel {
    uint64_t now; /* ticks before it are over */
    uint64_t n, bytes;
    struct chunk *loose;                /* owned; entries to be filed again */
    struct twins twins;                 /* what they name lies in slots */
    unsigned swept;                     /* the slot, of all, where the sweep goes on */
    uint64_t used[LEVELS];              /* slots that are not empty, a bit each */
    struct chunk *slot[LEVELS * SLOTS]; /* owned */
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
    w->twins.factor = 0x9e3779b97f4a7c15u;
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

/* ---- Twins ---- */

static size_t twins_bytes(const struct twins *t)
{
    return t->words == NULL ? 0 : sizeof *t->words << t->bits;
}

/* Before anything is taken out of a slot. */
static void forget_twins(struct bki_wheel *w)
{
    w->bytes -= twins_bytes(&w->twins);
    free(w->twins.words);
    w->twins.words = NULL;
}

static void begin_twins(struct bki_wheel *w, uint32_t entries)
{
    struct twins *t = &w->twins;
    t->bits = TWINS_BITS_MIN;
    while ((uint32_t)1 << t->bits < entries / 4) {
        t->bits++;
    }
    t->factor *= 0xd1342543de82ef95u; /* odd, as the factor itself */
    t->words = bk_alloc_zero((size_t)1 << t->bits, sizeof *t->words);
    w->bytes += twins_bytes(t);
}

/* Whether the word lies in a slot, as far as is known; if not, it is about to. */
static bool has_twin(struct twins *t, uint64_t word)
{
    if (t->words == NULL || word == 0) {
        return false;
    }
    uint64_t *known = &t->words[word * t->factor >> (64 - t->bits)];
    bool is = *known == word;
    *known = word;
    return is;
}

void bki_wheel_free(struct bki_wheel **w)
{
    if (*w == NULL) {
        return;
    }
    forget_twins(*w);
    free_chain((*w)->loose);
    for (unsigned i = 0; i < LEVELS * SLOTS; i++) {
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

static void file_entry(struct bki_wheel *w, uint64_t word)
{
    uint64_t tick = word >> HASH_BITS;
    tick = tick < w->now ? w->now : tick;
    uint64_t differ = tick ^ w->now;
    unsigned level = differ == 0 ? 0 : (63u - (unsigned)__builtin_clzll(differ)) / BITS;
    unsigned slot = (unsigned)(tick >> level * BITS) & (SLOTS - 1);
    push(w, &w->slot[level * SLOTS + slot], word);
    w->used[level] |= (uint64_t)1 << slot;
}

/* The slot's chunks go in front of what is loose already. */
static void loosen(struct bki_wheel *w, unsigned level, unsigned slot)
{
    struct chunk **chain = &w->slot[level * SLOTS + slot];
    struct chunk **end = chain;
    forget_twins(w);
    for (uint32_t behind = chain_count(w->loose); *end != NULL; end = &(*end)->next) {
        (*end)->below += behind;
    }
    *end = w->loose;
    w->loose = *chain;
    *chain = NULL;
    w->used[level] &= ~((uint64_t)1 << slot);
}

void bki_wheel_add(struct bki_wheel *w, struct bki_wheel_entry e)
{
    BK_ASSERT(e.tick <= BKI_WHEEL_TICK_MAX && e.hash <= BKI_WHEEL_HASH_MASK);
    uint64_t word = pack(e);
    if (!has_twin(&w->twins, word)) {
        file_entry(w, word);
        w->n++;
    }
}

/* ---- Time ---- */

/* Goes on to the first slot that holds something, if its time comes before upto. A higher level's
 * slot may be opened at upto itself: what is filed from then on has to go below it. */
static bool open_next(struct bki_wheel *w, uint64_t upto)
{
    for (unsigned level = 0; level < LEVELS; level++) {
        unsigned shift = level * BITS;
        unsigned at = (unsigned)(w->now >> shift) & (SLOTS - 1);
        uint64_t ahead = w->used[level] & ~(uint64_t)0 << at;
        if (ahead == 0) {
            continue;
        }
        unsigned slot = (unsigned)__builtin_ctzll(ahead);
        uint64_t start = (w->now >> shift >> BITS << BITS | slot) << shift;
        if (level == 0 ? start >= upto : start > upto) {
            return false;
        }
        w->now = start;
        loosen(w, level, slot);
        return true;
    }
    return false;
}

static void turn_back(struct bki_wheel *w, uint64_t now)
{
    for (unsigned level = 0; level < LEVELS; level++) {
        while (w->used[level] != 0) {
            loosen(w, level, (unsigned)__builtin_ctzll(w->used[level]));
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
    if (w->loose == NULL && !open_next(w, upto)) {
        forget_twins(w);
        w->now = upto > w->now ? upto : w->now;
        return BKI_WHEEL_REST;
    }
    uint64_t word = pop(w, &w->loose);
    if (word >> HASH_BITS < upto) {
        *e = unpack(word);
        w->n--;
        return BKI_WHEEL_DUE;
    }
    file_entry(w, word);
    return BKI_WHEEL_MOVED;
}

bool bki_wheel_sweep(struct bki_wheel *w, struct bki_wheel_entry *e)
{
    if (w->n == 0) {
        forget_twins(w);
        return false;
    }
    while (w->loose == NULL) {
        unsigned level = w->swept / SLOTS;
        uint64_t ahead = w->used[level] & ~(uint64_t)0 << w->swept % SLOTS;
        if (ahead == 0) {
            w->swept = (level + 1) % LEVELS * SLOTS;
            continue;
        }
        unsigned slot = (unsigned)__builtin_ctzll(ahead);
        loosen(w, level, slot);
        begin_twins(w, chain_count(w->loose));
        w->swept = (level * SLOTS + slot + 1) % (LEVELS * SLOTS);
    }
    *e = unpack(pop(w, &w->loose));
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

/* The first slot at or behind *i that holds something, and its number in *i; NULL: none. */
static const struct chunk *next_slot(const struct bki_wheel *w, unsigned *i)
{
    while (*i < LEVELS * SLOTS) {
        uint64_t ahead = w->used[*i / SLOTS] & ~(uint64_t)0 << *i % SLOTS;
        if (ahead != 0) {
            *i = *i / SLOTS * SLOTS + (unsigned)__builtin_ctzll(ahead);
            return w->slot[*i];
        }
        *i = (*i / SLOTS + 1) * SLOTS;
    }
    return NULL;
}

bool bki_wheel_pick(const struct bki_wheel *w, uint64_t random, struct bki_wheel_entry *out)
{
    if (w->n == 0) {
        return false;
    }
    uint64_t nth = random % w->n;
    const struct chunk *c = w->loose;
    for (unsigned i = 0; nth >= chain_count(c); i++) {
        nth -= chain_count(c);
        c = next_slot(w, &i);
    }
    *out = nth_of(c, nth);
    return true;
}

/* The number of the slot whose time comes next; LEVELS * SLOTS: none is in use. */
static unsigned first_slot(const struct bki_wheel *w)
{
    for (unsigned level = 0; level < LEVELS; level++) {
        unsigned at = (unsigned)(w->now >> level * BITS) & (SLOTS - 1);
        uint64_t ahead = w->used[level] & ~(uint64_t)0 << at;
        if (ahead != 0) {
            return level * SLOTS + (unsigned)__builtin_ctzll(ahead);
        }
    }
    return LEVELS * SLOTS;
}

bool bki_wheel_pick_first(const struct bki_wheel *w, uint64_t random, struct bki_wheel_entry *out)
{
    unsigned i = first_slot(w);
    const struct chunk *c = i < LEVELS * SLOTS ? w->slot[i] : w->loose;
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
        file_entry(w, pop(w, &w->loose));
    }
    unsigned i = first_slot(w);
    if (i == LEVELS * SLOTS) {
        return 0;
    }
    forget_twins(w);
    while (n < max && w->slot[i] != NULL) {
        out[n++] = unpack(pop(w, &w->slot[i]));
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
    for (unsigned i = 0; i < LEVELS * SLOTS; i++) {
        out += list_chain(w->slot[i], out);
    }
}
