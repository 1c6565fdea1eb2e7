/* SPDX-License-Identifier: MIT */
/* test_merge_pick.c - which files a merge takes, by tables; and what becomes of a store that is
 * overwritten for long. */
#include "engine/merge_pick.h"
#include "lib/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MB ((uint64_t)1 << 20)

static const struct bki_pick_rules defaults = {.dead_ratio = 50,
                                               .dead_bytes = 512 * MB,
                                               .small_file = 32 * MB,
                                               .max_files = 256,
                                               .max_bytes = 1024 * MB,
                                               .free_bytes = 1024 * 1024 * MB};

/* Sizes in MB. */
static struct bki_pick_file file(uint64_t size, uint64_t dead, uint64_t guards, uint64_t stuck)
{
    return (struct bki_pick_file){.size = size * MB,
                                  .live = (size - dead - guards) * MB,
                                  .dead = dead * MB,
                                  .guards = guards * MB,
                                  .guards_stuck = stuck * MB};
}

struct row {
    const char *what;
    struct bki_pick_file files[6];
    uint32_t n;
    uint32_t first, picked;
    uint64_t reclaim; /* MB */
};

static void test_pick__table(void **state)
{
    (void)state;
    const struct row rows[] = {
        {"no files", {{0}}, 0, 0, 0, 0},
        {"all live", {file(256, 0, 0, 0), file(256, 10, 0, 0)}, 2, 0, 0, 0},
        {"half dead", {file(256, 10, 0, 0), file(256, 128, 0, 0)}, 2, 1, 1, 128},
        {"neighbours join",
         {file(256, 130, 0, 0), file(256, 200, 0, 0), file(256, 0, 0, 0)},
         3,
         0,
         2,
         330},
        {"not across a live one",
         {file(256, 130, 0, 0), file(256, 0, 0, 0), file(256, 200, 0, 0)},
         3,
         2,
         1,
         200},
        {"dead bytes", {file(4096, 600, 0, 0)}, 1, 0, 1, 600},
        {"dead bytes of a huge file", {file(65536, 600, 0, 0)}, 1, 0, 0, 0},
        {"guards count", {file(256, 0, 200, 0)}, 1, 0, 1, 200},
        {"guards that are needed do not", {file(256, 0, 200, 200)}, 1, 0, 0, 0},
        {"dropped files cost no reading",
         {file(1000, 1000, 0, 0), file(1000, 1000, 0, 0), file(256, 200, 0, 0)},
         3,
         0,
         3,
         2200},
        {"at most so many bytes", {file(600, 400, 0, 0), file(600, 500, 0, 0)}, 2, 1, 1, 500},
        {"small ones together",
         {file(10, 0, 0, 0), file(10, 1, 0, 0), file(10, 0, 0, 0), file(10, 0, 0, 0)},
         4,
         0,
         4,
         1},
        {"too few small ones",
         {file(10, 0, 0, 0), file(10, 0, 0, 0), file(10, 0, 0, 0)},
         3,
         0,
         0,
         0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct bki_pick p;
        bki_merge_pick(rows[i].files, rows[i].n, &defaults, &p);
        if (p.n != rows[i].picked || (p.n > 0 && p.first != rows[i].first) ||
            p.reclaim != rows[i].reclaim * MB) {
            fail_msg("%s: %u from %u, %llu bytes", rows[i].what, p.n, p.first,
                     (unsigned long long)p.reclaim);
        }
    }
}

static void test_pick__no_space__only_what_is_dead(void **state)
{
    (void)state;
    struct bki_pick_rules full = defaults;
    struct bki_pick p;
    const struct bki_pick_file files[] = {file(256, 200, 0, 0), file(256, 256, 0, 0)};
    full.free_bytes = 0;
    bki_merge_pick(files, 2, &full, &p);
    assert_int_equal(p.first, 1);
    assert_int_equal(p.n, 1);
    bki_merge_pick(files, 1, &full, &p);
    assert_int_equal(p.n, 0);
}

/* Copies and their hints must fit beside what is kept. */
static void test_pick__little_space__takes_what_fits(void **state)
{
    (void)state;
    struct bki_pick_rules tight = defaults;
    struct bki_pick p;
    struct bki_pick_file files[] = {file(256, 200, 0, 0), file(256, 230, 0, 0)};
    files[0].hint = 4 * MB;
    files[1].hint = 4 * MB;
    tight.keep_bytes = 8 * MB;
    tight.free_bytes = 26 * MB + 4 * MB + 8 * MB;
    bki_merge_pick(files, 2, &tight, &p);
    assert_int_equal(p.n, 0);
    tight.free_bytes++;
    bki_merge_pick(files, 2, &tight, &p);
    assert_int_equal(p.n, 1);
    assert_int_equal(p.first, 1);
    tight.free_bytes += 60 * MB;
    bki_merge_pick(files, 2, &tight, &p);
    assert_int_equal(p.n, 2);
    files[0].live = 56 * MB;
    assert_int_equal(bki_pick_hint_bytes(&files[0], 256 * 1024), 56 * 1024 * 64);
    assert_int_equal(bki_pick_hint_bytes(&files[0], UINT32_MAX), files[0].live);
}

static void test_pick__excluded__is_left_alone(void **state)
{
    (void)state;
    struct bki_pick_file f = file(256, 256, 0, 0);
    struct bki_pick p;
    f.excluded = true;
    bki_merge_pick(&f, 1, &defaults, &p);
    assert_int_equal(p.n, 0);
}

/* ---- A store overwritten for long: records are counted, not bytes ---- */

enum { KEYS = 20000, PER_FILE = 2000, FILES_MAX = 400 };

struct model {
    unsigned of[KEYS]; /* file of each key's newest record */
    struct bki_pick_file file[FILES_MAX];
    uint32_t n;
    uint64_t user, merged, size, live;
};

static struct bki_pick_file *open_file(struct model *m)
{
    if (m->n == 0 || m->file[m->n - 1].size == PER_FILE) {
        assert_true(m->n < FILES_MAX);
        m->file[m->n++] = (struct bki_pick_file){0};
    }
    return &m->file[m->n - 1];
}

static void put(struct model *m, unsigned key)
{
    struct bki_pick_file *f = open_file(m);
    if (m->of[key] > 0) {
        struct bki_pick_file *old = &m->file[m->of[key] - 1];
        old->live--;
        old->dead++;
    }
    m->of[key] = m->n;
    f->live++;
    f->size++;
    m->user++;
}

/* One output takes the run's place; its live records are what was live. */
static void merge(struct model *m, const struct bki_pick *p)
{
    uint64_t live = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        live += m->file[p->first + i].live;
    }
    assert_true(p->reclaim > 0);
    bool gone = live == 0;
    uint32_t less = p->n - (gone ? 0 : 1);
    for (unsigned k = 0; k < KEYS; k++) {
        unsigned at = m->of[k];
        if (at > p->first + p->n) {
            m->of[k] = at - less;
        } else if (at > p->first) {
            m->of[k] = p->first + 1;
        }
    }
    m->file[p->first] = (struct bki_pick_file){.size = live, .live = live};
    memmove(&m->file[p->first + (gone ? 0 : 1)], &m->file[p->first + p->n],
            (m->n - p->first - p->n) * sizeof(m->file[0]));
    m->n -= less;
    m->merged += live;
}

static uint64_t total(const struct model *m)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < m->n; i++) {
        n += m->file[i].size;
    }
    return n;
}

static void overwrite(bool skewed)
{
    struct model *m = calloc(1, sizeof(*m));
    struct rng rng = {.state = 5};
    struct bki_pick_rules r = defaults;
    uint64_t most = 0;
    r.small_file = 0;
    r.max_bytes = UINT64_MAX;
    for (unsigned k = 0; k < KEYS; k++) {
        put(m, k);
    }
    m->user = 0;
    for (unsigned i = 0; i < 40 * KEYS; i++) {
        uint64_t a = rng_below(&rng, KEYS);
        uint64_t b = rng_below(&rng, KEYS);
        put(m, (unsigned)(skewed ? a * b / KEYS : a)); /* skewed: small numbers are drawn more */
        struct bki_pick p;
        /* The last file is still written to. */
        bki_merge_pick(m->file, m->n - 1, &r, &p);
        if (p.n > 0) {
            merge(m, &p);
        }
        if (i > 10 * KEYS) {
            most = total(m) > most ? total(m) : most;
        }
    }
    assert_true(most * 10 < (uint64_t)KEYS * 16 + PER_FILE * 10);
    assert_true(m->merged < 2 * m->user);
    free(m);
}

static void test_pick__overwritten_for_long__space_and_writing_stay_bounded(void **state)
{
    (void)state;
    overwrite(false);
    overwrite(true);
}

static void test_pick__hours(void **state)
{
    (void)state;
    static const struct {
        const char *window;
        int minute;
        bool valid, in;
    } rows[] = {
        {"00:00-24:00", 0, true, true},       {"00:00-24:00", 1439, true, true},
        {"22:00-06:00", 23 * 60, true, true}, {"22:00-06:00", 360, true, false},
        {"22:00-06:00", 359, true, true},     {"22:00-06:00", 720, true, false},
        {"09:30-17:15", 570, true, true},     {"09:30-17:15", 1035, true, false},
        {"9:30-17:15", 600, true, true},      {"24:00-06:00", 0, false, false},
        {"10:60-11:00", 0, false, false},     {"10:00", 0, false, false},
        {"10:00-11:00x", 0, false, false},    {"", 0, false, false},
        {"10:00-24:01", 0, false, false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        bool valid;
        bool in = bki_pick_hours(rows[i].window, rows[i].minute, &valid);
        assert_int_equal(valid, rows[i].valid);
        assert_int_equal(in, rows[i].in);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pick__table),
        cmocka_unit_test(test_pick__no_space__only_what_is_dead),
        cmocka_unit_test(test_pick__little_space__takes_what_fits),
        cmocka_unit_test(test_pick__excluded__is_left_alone),
        cmocka_unit_test(test_pick__overwritten_for_long__space_and_writing_stay_bounded),
        cmocka_unit_test(test_pick__hours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
