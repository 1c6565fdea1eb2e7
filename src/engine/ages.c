/* SPDX-License-Identifier: MIT */
/* ages.c - the table of spans behind 16 ages, and which of them are put together. */
#include "engine/ages.h"

#include "base/assert.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define FREE_LOW 3u /* numbers: a lap begins, and they last until it ends */
#define LAP_FREES 3u
#define EXACT 128u /* an age that is off by less than such a part needs no span of its own */

static uint32_t count_free(const struct bki_ages *a)
{
    return (uint32_t)__builtin_popcount(a->free);
}

static void set_span(struct bki_ages *a, uint8_t age, int64_t from_ms, int64_t to_ms)
{
    atomic_store_explicit(&a->from_ms[age], from_ms, memory_order_relaxed);
    atomic_store_explicit(&a->to_ms[age], to_ms, memory_order_relaxed);
}

/* After each change of order: bki_ages_of() looks at the numbers from any thread. */
static void tell_borne(struct bki_ages *a)
{
    unsigned borne = 0;
    for (uint32_t i = 0; i < a->order_n; i++) {
        borne |= 1u << a->order[i];
    }
    atomic_store_explicit(&a->borne, (uint16_t)borne, memory_order_relaxed);
}

static void run(struct bki_ages *a, uint8_t age, int64_t now_ms)
{
    set_span(a, age, now_ms, INT64_MAX);
    atomic_store_explicit(&a->now, age, memory_order_relaxed);
}

void bki_ages_init(struct bki_ages *a, int64_t now_ms)
{
    memset(a, 0, sizeof *a);
    a->span_ms = BKI_AGE_SPAN_MS;
    a->free = (1u << BKI_AGES) - 1;
    for (uint8_t code = 0; code < BKI_AGE_CODES; code++) {
        int64_t near = code == 0 ? 0 : (int64_t)1000 << 2 * (code - 1);
        set_span(a, code, now_ms - near * 4, now_ms - near);
        a->order[a->order_n++] = code;
        a->free &= ~(1u << code);
    }
    for (uint8_t age = BKI_AGE_CODES; age < BKI_AGES; age++) {
        set_span(a, age, now_ms, now_ms);
    }
    run(a, 0, now_ms);
    tell_borne(a);
}

bool bki_ages_due(const struct bki_ages *a, int64_t now_ms)
{
    return a->free != 0 && now_ms - a->from_ms[a->order[0]] >= a->span_ms;
}

void bki_ages_keep(struct bki_ages *a, int64_t now_ms)
{
    atomic_store_explicit(&a->from_ms[a->order[0]], now_ms, memory_order_relaxed);
}

uint8_t bki_ages_next(struct bki_ages *a, int64_t now_ms)
{
    BK_ASSERT(a->free != 0 && a->order_n < BKI_AGES);
    uint8_t ended = a->order[0];
    uint8_t age = (uint8_t)__builtin_ctz(a->free);
    a->free &= a->free - 1;
    run(a, age, now_ms);
    set_span(a, ended, a->from_ms[ended], now_ms);
    memmove(a->order + 1, a->order, a->order_n);
    a->order[0] = age;
    a->order_n++;
    tell_borne(a);
    return age;
}

/* A span that was begun for one moment may lie in a longer one, which comes first in the order. */
static int64_t joint_from(const struct bki_ages *a, uint8_t one, uint8_t other)
{
    return a->from_ms[one] < a->from_ms[other] ? a->from_ms[one] : a->from_ms[other];
}

/* Of the spans that are over, the pair whose joint length is the least beside its distance. */
static uint32_t cheapest_pair(const struct bki_ages *a, int64_t now_ms)
{
    uint32_t best = 1;
    double best_cost = 0;
    for (uint32_t i = 1; i + 1 < a->order_n; i++) {
        int64_t from = joint_from(a, a->order[i], a->order[i + 1]);
        int64_t to = a->to_ms[a->order[i]];
        double cost = (double)(to - from + 1) / (double)(now_ms - from + 1);
        if (i == 1 || cost < best_cost) {
            best = i;
            best_cost = cost;
        }
    }
    return best;
}

static void join(struct bki_ages *a, uint32_t i)
{
    uint8_t stays = a->order[i];
    uint8_t goes = a->order[i + 1];
    set_span(a, stays, joint_from(a, stays, goes), a->to_ms[stays]);
    for (uint32_t age = 0; age < BKI_AGES; age++) {
        if (a->to[age] == goes) {
            a->to[age] = stays;
        }
        if (a->to[age] == stays) {
            set_span(a, (uint8_t)age, a->from_ms[stays], a->to_ms[stays]);
        }
    }
    a->retiring |= 1u << goes;
    memmove(a->order + i + 1, a->order + i + 2, a->order_n - i - 2);
    a->order_n--;
}

bool bki_ages_lap_begin(struct bki_ages *a, int64_t now_ms)
{
    if (a->lap || count_free(a) > FREE_LOW) {
        return false;
    }
    for (uint8_t age = 0; age < BKI_AGES; age++) {
        a->to[age] = age;
    }
    for (unsigned i = 0; i < LAP_FREES; i++) {
        join(a, cheapest_pair(a, now_ms));
    }
    tell_borne(a);
    a->lap = true;
    a->lap_began_ms = now_ms;
    return true;
}

void bki_ages_lap_end(struct bki_ages *a, int64_t now_ms)
{
    int64_t share = (now_ms - a->lap_began_ms) / LAP_FREES;
    BK_ASSERT(a->lap);
    a->span_ms = share > BKI_AGE_SPAN_MS ? share : BKI_AGE_SPAN_MS;
    a->free |= a->retiring;
    a->retiring = 0;
    a->lap = false;
}

/* The geometric mean of the span's ends: wrong by the same factor at both. */
uint64_t bki_ages_idle_ms(const struct bki_ages *a, uint8_t age, int64_t now_ms)
{
    int64_t from = atomic_load_explicit(&a->from_ms[age], memory_order_relaxed);
    int64_t to = atomic_load_explicit(&a->to_ms[age], memory_order_relaxed);
    if (to >= now_ms || from > to) {
        return 0; /* in this very moment; or two spans are being put together */
    }
    return (uint64_t)sqrt((double)(now_ms - from) * (double)(now_ms - to));
}

/* How far a moment is from a span. */
static int64_t distance(int64_t from_ms, int64_t to_ms, int64_t at_ms)
{
    return at_ms < from_ms ? from_ms - at_ms : at_ms > to_ms ? at_ms - to_ms : 0;
}

uint8_t bki_ages_of(const struct bki_ages *a, uint64_t idle_ms, int64_t now_ms)
{
    unsigned borne = atomic_load_explicit(&a->borne, memory_order_relaxed);
    int64_t at_ms = now_ms - (int64_t)idle_ms;
    uint8_t best = atomic_load_explicit(&a->now, memory_order_relaxed);
    int64_t best_off = INT64_MAX;
    int64_t best_len = INT64_MAX;
    for (; borne != 0; borne &= borne - 1) {
        uint8_t age = (uint8_t)__builtin_ctz(borne);
        int64_t from = atomic_load_explicit(&a->from_ms[age], memory_order_relaxed);
        int64_t to = atomic_load_explicit(&a->to_ms[age], memory_order_relaxed);
        int64_t off = distance(from, to, at_ms);
        int64_t len = (to < now_ms ? to : now_ms) - from;
        if (off < best_off || (off == best_off && len < best_len)) {
            best = age;
            best_off = off;
            best_len = len;
        }
    }
    return best;
}

void bki_ages_begin_at(struct bki_ages *a, uint64_t idle_ms, int64_t now_ms)
{
    uint64_t said_ms = bki_ages_idle_ms(a, bki_ages_of(a, idle_ms, now_ms), now_ms);
    uint64_t off = said_ms > idle_ms ? said_ms - idle_ms : idle_ms - said_ms;
    /* The last number is for the next span of what is used. */
    if (off > BKI_AGE_SPAN_MS && off > idle_ms / EXACT && count_free(a) > 1) {
        int64_t at_ms = now_ms - (int64_t)idle_ms;
        uint8_t age = (uint8_t)__builtin_ctz(a->free);
        uint32_t i = 1;
        a->free &= a->free - 1;
        set_span(a, age, at_ms, at_ms);
        while (i < a->order_n && a->to_ms[a->order[i]] >= at_ms) {
            i++;
        }
        memmove(a->order + i + 1, a->order + i, a->order_n - i);
        a->order[i] = age;
        a->order_n++;
        tell_borne(a);
    }
}

uint8_t bki_ages_code(const struct bki_ages *a, uint8_t age, int64_t now_ms)
{
    uint64_t idle_s = bki_ages_idle_ms(a, age, now_ms) / 1000;
    uint8_t code = 0;
    for (; idle_s > 0 && code < BKI_AGE_CODES - 1; idle_s /= 4) {
        code++;
    }
    return code;
}
