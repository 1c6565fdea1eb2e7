/* SPDX-License-Identifier: MIT */
#include "engine/merge_pick.h"

#define SMALL_RUN 4u /* so many small files together are worth a rewrite */
/* Bytes of a hint for one record, about: its key and its part of the filter. */
#define HINT_ENTRY 64.0
#define LEAST_PERCENT 10u /* dead-bytes alone does not make a large file worth it */

static uint64_t reclaimable(const struct bki_pick_file *f)
{
    uint64_t guards = f->guards > f->guards_stuck ? f->guards - f->guards_stuck : 0;
    return f->dead + guards;
}

static bool percent(uint64_t part, uint64_t whole, uint32_t percent_of)
{
    return (unsigned __int128)part * 100 >= (unsigned __int128)whole * percent_of;
}

static bool worth(const struct bki_pick_file *f, const struct bki_pick_rules *r)
{
    uint64_t gain = reclaimable(f);
    if (f->excluded || gain == 0) {
        return false;
    }
    return percent(gain, f->size, r->dead_ratio) ||
           (gain >= r->dead_bytes && percent(gain, f->size, LEAST_PERCENT));
}

const char *bki_pick_reason(const struct bki_pick_file *f, const struct bki_pick_rules *r)
{
    if (f->excluded) {
        return "set aside: a merge found less in it than there should be";
    }
    if (f->live == 0 && reclaimable(f) == f->size && f->size > 0) {
        return "candidate: nothing in it is live";
    }
    if (worth(f, r)) {
        return percent(reclaimable(f), f->size, r->dead_ratio) ? "candidate: merge-dead-ratio"
                                                               : "candidate: merge-dead-bytes";
    }
    if (f->guards_stuck > 0 && percent(f->dead + f->guards, f->size, r->dead_ratio)) {
        return "guards hide records in older files";
    }
    return f->size < r->small_file ? "small: waits for others beside it" : "mostly live";
}

/* Bytes that a run over a file reads; one without live bytes is dropped unread. */
static uint64_t cost(const struct bki_pick_file *f)
{
    return f->live == 0 ? 0 : f->size;
}

/* A hint lists a record's key, so it is never longer than the records. */
uint64_t bki_pick_hint_bytes(const struct bki_pick_file *f, uint64_t records)
{
    double live = f->size == 0 ? 0 : (double)f->live / (double)f->size * (double)records;
    uint64_t bytes = (uint64_t)(live * HINT_ENTRY);
    return bytes < f->live ? bytes : f->live;
}

struct run {
    uint32_t first, n;
    uint64_t bytes, live, hints, gain;
};

static bool fits(const struct run *r, const struct bki_pick_file *f,
                 const struct bki_pick_rules *rules)
{
    uint64_t copies = r->live + f->live + r->hints + f->hint;
    bool space = r->live + f->live == 0 || copies + rules->keep_bytes < rules->free_bytes;
    bool bytes = r->n == 0 || r->bytes + cost(f) <= rules->max_bytes;
    return space && bytes && r->n < rules->max_files;
}

static void add(struct run *r, const struct bki_pick_file *f, uint32_t at)
{
    r->first = r->n == 0 || at < r->first ? at : r->first;
    r->n++;
    r->bytes += cost(f);
    r->live += f->live;
    r->hints += f->hint;
    r->gain += reclaimable(f);
}

/* From the file that is worth most, to both sides as long as the next one is worth it too. */
static struct run dead_run(const struct bki_pick_file *files, uint32_t n,
                           const struct bki_pick_rules *rules)
{
    struct run r = {0};
    uint32_t best = n;
    for (uint32_t i = 0; i < n; i++) {
        struct run alone = {0};
        if (!worth(&files[i], rules) || !fits(&alone, &files[i], rules)) {
            continue;
        }
        bool better = best == n || (unsigned __int128)reclaimable(&files[i]) * files[best].size >
                                       (unsigned __int128)reclaimable(&files[best]) * files[i].size;
        best = better ? i : best;
    }
    if (best == n) {
        return r;
    }
    add(&r, &files[best], best);
    for (uint32_t i = best; i-- > 0 && worth(&files[i], rules) && fits(&r, &files[i], rules);) {
        add(&r, &files[i], i);
    }
    for (uint32_t i = best + 1; i < n && worth(&files[i], rules) && fits(&r, &files[i], rules);
         i++) {
        add(&r, &files[i], i);
    }
    return r;
}

/* The longest row of small files, if it is long enough: rewriting two again and again would write
 * each byte as often as there are files. */
static struct run small_run(const struct bki_pick_file *files, uint32_t n,
                            const struct bki_pick_rules *rules)
{
    struct run best = {0};
    struct run r = {0};
    for (uint32_t i = 0; i < n; i++) {
        const struct bki_pick_file *f = &files[i];
        bool small = f->size < rules->small_file && !f->excluded;
        if (!small || !fits(&r, f, rules)) {
            r = (struct run){0};
        }
        if (small && fits(&r, f, rules)) {
            add(&r, f, i);
        }
        best = r.n > best.n ? r : best;
    }
    return best.n >= SMALL_RUN ? best : (struct run){0};
}

void bki_merge_pick(const struct bki_pick_file *files, uint32_t n,
                    const struct bki_pick_rules *rules, struct bki_pick *out)
{
    struct run r = dead_run(files, n, rules);
    const char *why = r.live == 0 ? "nothing in them is live" : "dead bytes";
    if (r.n == 0) {
        r = small_run(files, n, rules);
        why = "small files";
    }
    *out = (struct bki_pick){r.first, r.n, r.gain, r.n == 0 ? "nothing is worth it" : why};
}

/* "7:05" or "07:05" at *at, which moves behind it. */
static bool take_time(const char **at, int *minute)
{
    const char *p = *at;
    int n[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        int digits = 0;
        for (; *p >= '0' && *p <= '9' && digits < 2; p++, digits++) {
            n[i] = n[i] * 10 + (*p - '0');
        }
        if (digits == 0 || (i == 0 && *p++ != ':')) {
            return false;
        }
    }
    *at = p;
    *minute = n[0] * 60 + n[1];
    return n[0] <= 24 && n[1] < 60 && *minute <= 1440;
}

bool bki_pick_hours(const char *window, int minute, bool *valid)
{
    const char *p = window;
    int from = 0;
    int to = 0;
    *valid = take_time(&p, &from) && *p++ == '-' && take_time(&p, &to) && *p == '\0' && from < 1440;
    if (!*valid) {
        return false;
    }
    return from < to ? minute >= from && minute < to : minute >= from || minute < to;
}
