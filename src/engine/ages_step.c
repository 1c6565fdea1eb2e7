/* SPDX-License-Identifier: MIT */
/*
 * ages_step.c - keeps the spans behind ages going, in small steps.
 *
 * A key that a swap of databases takes behind the lap's back keeps a number that may be given out
 * again: it then passes for used more lately than it was. Ages choose what to evict, so that costs
 * no more than a worse choice.
 */
#include "engine/db_private.h"

static int64_t now_of(const struct bk_db *db)
{
    return bk_clock_mono_us(db->clock) / 1000;
}

/* Goes on with the lap; true: it is around. */
static bool lap_step(struct bk_db *db, size_t max)
{
    struct bki_ages *a = &db->ages;
    while (max > 0 && a->num < db->databases) {
        struct bki_keydir *kd = bki_db_keydir(db, a->num, false);
        if (kd != NULL) {
            bki_keydir_rewrite_ages(kd, &a->cursor, a->to, &max);
        }
        a->num += a->cursor == 0;
    }
    return a->num >= db->databases;
}

static bool any_used(struct bk_db *db)
{
    bool used = false;
    for (uint32_t num = 0; num < db->databases && !used; num++) {
        struct bki_keydir *kd = bki_db_keydir(db, num, false);
        used = kd != NULL && bki_keydir_used(kd);
    }
    return used;
}

static void next_span(struct bk_db *db, int64_t now_ms)
{
    if (!any_used(db)) {
        bki_ages_keep(&db->ages, now_ms);
        return;
    }
    uint8_t age = bki_ages_next(&db->ages, now_ms);
    for (uint32_t num = 0; num < db->databases; num++) {
        struct bki_keydir *kd = bki_db_keydir(db, num, false);
        if (kd != NULL) {
            bki_keydir_set_age(kd, age);
        }
    }
}

bool bk_age_step(struct bk_db *db, size_t max)
{
    struct bki_ages *a = &db->ages;
    if (atomic_exchange(&a->busy, true)) {
        return false; /* another thread is at it */
    }
    int64_t now_ms = now_of(db);
    if (a->lap && lap_step(db, max)) {
        bki_ages_lap_end(a, now_ms);
    }
    if (bki_ages_due(a, now_ms)) {
        next_span(db, now_ms);
    }
    if (bki_ages_lap_begin(a, now_ms)) {
        a->num = 0;
        a->cursor = 0;
    }
    bool more = a->lap;
    atomic_store(&a->busy, false);
    return more;
}

uint64_t bk_idle_ms(struct bk_db *db, uint8_t age)
{
    return bki_ages_idle_ms(&db->ages, age, now_of(db));
}

uint8_t bki_db_age_of(struct bk_db *db, uint64_t idle_ms)
{
    struct bki_ages *a = &db->ages;
    uint64_t ms = idle_ms < BKI_AGE_IDLE_MAX_MS ? idle_ms : BKI_AGE_IDLE_MAX_MS;
    if (ms == 0) {
        return atomic_load_explicit(&a->now, memory_order_relaxed);
    }
    int64_t now_ms = now_of(db);
    /* While a step is being done nobody waits for it: the span there is will do. */
    if (!atomic_exchange(&a->busy, true)) {
        bki_ages_begin_at(a, ms, now_ms);
        atomic_store(&a->busy, false);
    }
    return bki_ages_of(a, ms, now_ms);
}

void bki_ages_codes(struct bk_db *db, uint8_t *code)
{
    for (uint8_t age = 0; age < BKI_AGES; age++) {
        code[age] = bki_ages_code(&db->ages, age, now_of(db));
    }
}
