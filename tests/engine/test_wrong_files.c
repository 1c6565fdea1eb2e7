/* SPDX-License-Identifier: MIT */
/*
 * test_wrong_files.c - whole files missing, empty, cut short, doubled under another name, exchanged
 * with one another, or taken from another store.
 *
 * The store opens and tells what is wrong, and only that. Keys whose newest record is not in those
 * files have their values; the others answer an error, or, where no hint names them, may be gone or
 * have a value that they once had. Nothing is removed that is not the store's own leftover; and
 * once the right file is back where it belongs, all is as it was. BITKV_LONG=1 tries more stores.
 */
#include "merge_rig.h"
#include "worlds.h"

enum wrong { MISSING, EMPTY, CUT, DOUBLED, EXCHANGED, FOREIGN, WRONGS };

/* A world that is damaged in one way after the other, and another store. */
struct place {
    struct world w, stranger;
    struct bk_buf bytes[NAMES_MAX]; /* owned: of the data files */
    struct records records;         /* borrow them */
    bool in_use[NAMES_MAX];
    struct harm harm;
};

struct mishap {
    enum wrong how;
    const char *name;  /* borrowed from the world */
    char other[64];    /* a second name that takes part; "" = none */
    uint64_t left;     /* of a file that is cut: bytes; drawn if 0 */
    struct bk_buf was; /* owned: the file's bytes before */
    struct bk_buf put; /* owned: what lies there now, or under the second name */
};

static bool is_data(const char *name)
{
    return has_suffix(name, ".data");
}

static const char *suffix_of(const char *name)
{
    const char *dot = strchr(name, '.');
    return dot == NULL ? name : dot;
}

static size_t index_of(const struct world *w, const char *name)
{
    size_t i = 0;
    while (i < w->names_n && strcmp(w->names[i], name) != 0) {
        i++;
    }
    assert_true(i < w->names_n);
    return i;
}

/* Another file of the kind; NULL: there is none. */
static const char *partner(const struct world *w, const char *name)
{
    for (size_t i = 0; i < w->names_n; i++) {
        if (strcmp(w->names[i], name) != 0 &&
            strcmp(suffix_of(w->names[i]), suffix_of(name)) == 0) {
            return w->names[i];
        }
    }
    return NULL;
}

static void double_of(const char *name, char out[64])
{
    snprintf(out, 64, strchr(name, '.') != NULL ? "0000077777%s" : "%s.new", suffix_of(name));
}

/* False: there is nothing to exchange it with. */
static bool happen(struct visit *v, struct world *stranger, struct mishap *m, struct rng *rng)
{
    char path[300];
    char other[300] = "";
    const char *with = partner(v->w, m->name);
    if (m->how == EXCHANGED && with == NULL) {
        return false;
    }
    if (m->how == DOUBLED) {
        double_of(m->name, m->other);
    } else if (m->how == EXCHANGED) {
        snprintf(m->other, sizeof(m->other), "%s", with);
    }
    world_path(v->w, m->name, path);
    world_path(v->w, m->other, other);
    simdisk_read(v->disk, path, &m->was);
    switch (m->how) {
    case MISSING:
        simdisk_remove(v->disk, path);
        break;
    case EMPTY:
        simdisk_resize(v->disk, path, 0);
        break;
    case CUT:
        m->left = m->left != 0 ? m->left : rng_below(rng, m->was.len);
        simdisk_resize(v->disk, path, m->left);
        break;
    case DOUBLED:
        bk_buf_append(&m->put, m->was.data, m->was.len);
        simdisk_put(v->disk, other, m->put.data, m->put.len);
        break;
    case EXCHANGED:
        simdisk_read(v->disk, other, &m->put);
        simdisk_put(v->disk, path, m->put.data, m->put.len);
        simdisk_put(v->disk, other, m->was.data, m->was.len);
        break;
    case FOREIGN:
        world_path(stranger, m->name, other);
        if (!simdisk_exists(stranger->r.disk, other)) {
            return false;
        }
        simdisk_read(stranger->r.disk, other, &m->put);
        simdisk_put(v->disk, path, m->put.data, m->put.len);
        break;
    case WRONGS:
        break;
    }
    return true;
}

static bool holds(struct visit *v, const char *name, const struct bk_buf *bytes)
{
    char path[300];
    struct bk_buf all = {0};
    world_path(v->w, name, path);
    bool same = simdisk_exists(v->disk, path);
    if (same) {
        simdisk_read(v->disk, path, &all);
        same = all.len >= bytes->len && memcmp(all.data, bytes->data, bytes->len) == 0;
    }
    bk_buf_fini(&all);
    if (!same) {
        snprintf(v->why, sizeof(v->why), "%s was removed or changed", name);
    }
    return same;
}

/* What was put where it does not belong is somebody's file, unless its bytes are those of a
 * leftover of the store's. */
static bool strangers_stay(struct visit *v, const struct place *p, const struct mishap *m)
{
    if (!is_data(m->name)) {
        return true;
    }
    bool was_used = p->in_use[index_of(&p->w, m->name)];
    switch (m->how) {
    case DOUBLED:
        return !was_used || holds(v, m->other, &m->put);
    case EXCHANGED:
        return (!p->in_use[index_of(&p->w, m->other)] || holds(v, m->name, &m->put)) &&
               (!was_used || holds(v, m->other, &m->was));
    case FOREIGN:
        return holds(v, m->name, &m->put);
    default:
        return true;
    }
}

static void put_back(struct visit *v, const struct mishap *m)
{
    char path[300];
    world_path(v->w, m->name, path);
    simdisk_put(v->disk, path, m->was.data, m->was.len);
    if (m->how == EXCHANGED) {
        world_path(v->w, m->other, path);
        simdisk_put(v->disk, path, m->put.data, m->put.len);
    }
}

/* Whether a hint tells whose records lie in a data file, in all of it. */
static bool hinted(const struct world *w, const char *name)
{
    char hint[64];
    char path[300];
    struct bk_buf all = {0};
    snprintf(hint, sizeof(hint), "%.*s.hint", (int)strcspn(name, "."), name);
    world_path(w, hint, path);
    if (simdisk_exists(w->r.disk, path)) {
        simdisk_read(w->r.disk, path, &all);
    }
    bool whole = world_hint_counts(w, hint, &all);
    bk_buf_fini(&all);
    return whole;
}

/* ---- What is told ---- */

struct told {
    const struct mishap *m;
    bool name, other; /* listed as a place in the data */
    bool index;       /* name, as one that is made again */
    bool stranger;    /* a file that nothing befell */
};

static void look_for(void *arg, const struct bk_damage *d)
{
    struct told *t = arg;
    bool name = strcmp(d->file, t->m->name) == 0;
    bool other = t->m->how == EXCHANGED && strcmp(d->file, t->m->other) == 0;
    t->name |= name && d->in_data;
    t->other |= other && d->in_data;
    t->index |= name && !d->in_data;
    t->stranger |= !name && !other;
}

/* A cut of a file that was never sealed looks like what a kill cuts off; and behind the last record
 * there is nothing to lose. */
static bool cut_shows(const struct place *p, const struct mishap *m)
{
    size_t file = index_of(&p->w, m->name);
    uint64_t end = 0;
    for (size_t i = 0; i < p->records.n; i++) {
        const struct record *rec = &p->records.at[i];
        end = rec->file == file && rec->end > end ? rec->end : end;
    }
    return m->left < end && (p->w.ending != END_KILL || hinted(&p->w, m->name));
}

enum telling { TELLS_NOTHING, TELLS_DATA, TELLS_INDEX, TELLS_ANYTHING };

static enum telling telling_of_data(const struct place *p, const struct mishap *m)
{
    if (m->how == DOUBLED) {
        return TELLS_NOTHING;
    }
    if (!p->in_use[index_of(&p->w, m->name)]) {
        return TELLS_ANYTHING; /* a leftover; it may be exchanged with one that is none */
    }
    return m->how != CUT || cut_shows(p, m) ? TELLS_DATA : TELLS_ANYTHING;
}

static enum telling telling_of(const struct place *p, const struct mishap *m)
{
    bool broken = m->how == EMPTY || m->how == CUT;
    if (is_data(m->name)) {
        return telling_of_data(p, m);
    }
    if (strcmp(m->name, "MANIFEST") == 0) {
        return m->how == DOUBLED ? TELLS_NOTHING
               : m->how == CUT   ? TELLS_ANYTHING /* edits at its end may be torn */
                                 : TELLS_DATA;
    }
    if (strcmp(m->name, "KEYDIR") == 0) {
        return broken ? TELLS_INDEX : TELLS_NOTHING;
    }
    /* A hint is read where there is no image; one of another file is none. */
    bool hint = has_suffix(m->name, ".hint") && p->in_use[index_of(&p->w, m->name)];
    return hint && broken && p->w.ending != END_IMAGE ? TELLS_INDEX : TELLS_NOTHING;
}

static bool told_of(struct visit *v, const struct place *p, const struct mishap *m)
{
    struct told t = {.m = m};
    struct bk_stats s;
    bool ok = true;
    bk_stats_get(v->db, &s);
    bk_damages(v->db, look_for, &t);
    bool data = s.damaged_records > 0;
    bool index = s.damaged_indexes > 0;
    switch (telling_of(p, m)) {
    case TELLS_NOTHING:
        ok = !data && !index && !t.name && !t.index && !t.stranger;
        break;
    case TELLS_DATA:
        ok = data && !index && t.name && !t.stranger &&
             (m->how != EXCHANGED || t.other || !p->in_use[index_of(&p->w, m->other)]);
        break;
    case TELLS_INDEX:
        ok = index && !data && t.index && !t.name && !t.stranger;
        break;
    case TELLS_ANYTHING:
        /* A file that a lost edit of the manifest has dropped is missing. */
        ok = !t.stranger || strcmp(m->name, "MANIFEST") == 0;
        break;
    }
    if (!ok) {
        snprintf(v->why, sizeof(v->why),
                 "what is told is wrong: %u places in data, %u indexes;%s%s%s%s",
                 (unsigned)s.damaged_records, (unsigned)s.damaged_indexes, t.name ? " it" : "",
                 t.other ? " the other" : "", t.index ? " it, as an index" : "",
                 t.stranger ? " one that nothing befell" : "");
    }
    return ok;
}

/* ---- One mishap ---- */

/* What may not be as it was from here on. */
static void reckon(struct place *p, const struct mishap *m)
{
    const char *names[] = {m->name, m->how == EXCHANGED ? m->other : m->name};
    p->harm = (struct harm){.all = &p->records};
    for (size_t i = 0; i < 2 && is_data(m->name) && m->how != DOUBLED; i++) {
        size_t file = index_of(&p->w, names[i]);
        if (p->in_use[file]) {
            harm_add(&p->harm, file, m->how == CUT ? m->left : 0, p->in_use);
            p->harm.loses |= !hinted(&p->w, names[i]);
        }
    }
}

static bool lives_on(struct visit *v, const struct place *p, const struct mishap *m)
{
    if (visit_open(v) != BK_OK || !visit_look(v) || !told_of(v, p, m)) {
        return false;
    }
    v->fresh = true;
    bool ok = visit_write(v, bk_span_str("fresh"), "written after the damage") && visit_look(v) &&
              visit_close(v) && strangers_stay(v, p, m) && visit_open(v) == BK_OK && visit_look(v);
    if (ok) {
        visit_work(v);
        ok = visit_look(v) && visit_close(v) && strangers_stay(v, p, m);
    }
    return ok;
}

/* The same file that was away for some lives. */
static bool right_again(struct visit *v, const struct mishap *m)
{
    bool away = m->how == MISSING || m->how == EXCHANGED || m->how == FOREIGN;
    if (!is_data(m->name) || !away || v->harm->loses) {
        return true;
    }
    put_back(v, m);
    v->harm = NULL;
    return visit_open(v) == BK_OK && visit_look(v) && visit_close(v);
}

static bool one_mishap(struct place *p, struct mishap *m, struct rng *rng)
{
    struct visit v;
    bool ok = true;
    visit_begin(&v, &p->w);
    if (happen(&v, &p->stranger, m, rng)) {
        reckon(p, m);
        v.harm = &p->harm;
        visit_merging(&v);
        ok = lives_on(&v, p, m) && right_again(&v, m);
        if (!ok) {
            print_error("world %llu (ending %d), %s, how %d, %llu bytes left, with %s: %s\n",
                        (unsigned long long)p->w.r.seed, (int)p->w.ending, m->name, (int)m->how,
                        (unsigned long long)m->left, m->other, v.why);
        }
    }
    bk_buf_fini(&m->was);
    bk_buf_fini(&m->put);
    visit_end(&v);
    return ok;
}

/* ---- Many ---- */

/* Undamaged: what is in use, and that nothing is told of. */
static unsigned survey(struct place *p)
{
    struct visit v;
    struct mishap none = {.how = DOUBLED, .name = "LOCK"};
    unsigned bad = 0;
    visit_begin(&v, &p->w);
    if (visit_open(&v) != BK_OK || !visit_look(&v) || !told_of(&v, p, &none)) {
        print_error("world %llu (ending %d), undamaged: %s\n", (unsigned long long)p->w.r.seed,
                    (int)p->w.ending, v.why);
        bad = 1;
    }
    for (size_t i = 0; i < p->w.names_n && v.db != NULL; i++) {
        char path[300];
        const char *name = p->w.names[i];
        p->in_use[i] = strchr(name, '.') != NULL && world_in_use(v.db, name);
        if (is_data(name)) {
            world_path(&p->w, name, path);
            simdisk_read(p->w.r.disk, path, &p->bytes[i]);
            records_add(&p->records, i, &p->bytes[i]);
        }
    }
    visit_end(&v);
    return bad;
}

/* A store that dies while a merge has several outputs, none of them named: what they hold, the
 * inputs hold too. False: no merge came so far. */
static bool die_while_merging(struct world *w, uint64_t seed)
{
    struct rig *r = &w->r;
    struct bk_stats s;
    char value[201] = {0};
    bool found = false;
    memset(value, 'v', 200);
    w->ending = END_KILL;
    w->dir = RIG_DIR;
    setup_rig(r, seed, BK_SYNC_ALWAYS);
    put_n(r, "a", 220, value);
    for (unsigned i = 0; i < 220; i += 2 + (unsigned)seed % 2) {
        char key[16];
        int rc;
        snprintf(key, sizeof(key), "a%u", i);
        while ((rc = rig_put(r, key, value + 20)) == BK_EAGAIN) {
            one_step(r);
        }
        assert_int_equal(rc, BK_OK);
    }
    RIG_TRUE(r, rig_settle(r));
    bk_stats_get(r->db, &s);
    for (unsigned i = 0; !found && i < 4000; i++) {
        one_step(r);
        found = state_of(r) == BK_MERGE_COPY && rig_data_files(r, NULL, NULL) >= s.files + 3;
    }
    rig_crash(r, SIMDISK_KILL);
    r->opt.on_corruption = BK_CORRUPT_SERVE;
    world_list(w, r->disk);
    return found;
}

static unsigned place_init(struct place *p, uint64_t seed)
{
    memset(p, 0, sizeof(*p));
    world_init(&p->w, seed, (enum ending)(seed % ENDINGS));
    world_init(&p->stranger, seed + 1000, (enum ending)(seed % ENDINGS));
    return survey(p);
}

static void place_fini(struct place *p)
{
    records_fini(&p->records);
    for (size_t i = 0; i < p->w.names_n; i++) {
        bk_buf_fini(&p->bytes[i]);
    }
    world_fini(&p->w);
    world_fini(&p->stranger);
}

static unsigned one_world(struct place *p, uint64_t seed)
{
    struct rng rng = {seed};
    unsigned bad = place_init(p, seed);
    for (size_t i = 0; i < p->w.names_n; i++) {
        for (int how = 0; how < WRONGS; how++) {
            struct mishap m = {.how = (enum wrong)how, .name = p->w.names[i]};
            bool few = i % 7 == seed % 7 || strchr(m.name, '.') == NULL;
            bad += few && !one_mishap(p, &m, &rng) ? 1 : 0;
        }
    }
    place_fini(p);
    return bad;
}

static void test_trap46__whole_files_wrong__no_wrong_value_and_nothing_of_others_is_removed(
    void **state)
{
    (void)state;
    struct place *p = malloc(sizeof(*p));
    unsigned bad = 0;
    for (uint64_t seed = 1; seed <= 20 * (uint64_t)long_factor(); seed++) {
        bad += one_world(p, seed);
    }
    free(p);
    assert_int_equal(bad, 0);
}

/* In these worlds merges have replaced files that what is left names, does not name yet, or knows
 * by a number that was given out before a file that is left. Edits are multiples of 8 long. */
static void test_trap46__manifest_cut_anywhere__no_output_of_a_merge_is_left_out(void **state)
{
    static const uint64_t seeds[] = {65, 110, 141};
    (void)state;
    struct place *p = malloc(sizeof(*p));
    unsigned bad = 0;
    for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++) {
        struct rng rng = {seeds[i]};
        bad += place_init(p, seeds[i]);
        uint64_t size = simdisk_size(p->w.r.disk, RIG_DIR "/MANIFEST");
        assert_true(size > 500);
        for (uint64_t left = 40; left < size; left += 8) {
            struct mishap m = {.how = CUT, .name = "MANIFEST", .left = left};
            bad += one_mishap(p, &m, &rng) ? 0 : 1;
        }
        place_fini(p);
    }
    free(p);
    assert_int_equal(bad, 0);
}

/* A file that somebody has taken away is not taken for one that a merge has dropped, since its hint
 * is there: its keys answer errors. */
static void test_trap46__file_missing_beside_an_unfinished_merge__its_keys_answer_errors(
    void **state)
{
    enum { WORLDS = 8 };
    (void)state;
    struct place *p = malloc(sizeof(*p));
    unsigned bad = 0;
    unsigned mishaps = 0;
    for (uint64_t seed = 0; seed < WORLDS; seed++) {
        struct rng rng = {seed};
        memset(p, 0, sizeof(*p));
        assert_true(die_while_merging(&p->w, seed));
        world_init(&p->stranger, seed, END_KILL);
        bad += survey(p);
        for (size_t i = 0; i < p->w.names_n; i++) {
            struct mishap m = {.how = MISSING, .name = p->w.names[i]};
            if (is_data(m.name) && p->in_use[i] && hinted(&p->w, m.name)) {
                mishaps++;
                bad += one_mishap(p, &m, &rng) ? 0 : 1;
            }
        }
        place_fini(p);
    }
    free(p);
    assert_true(mishaps >= WORLDS);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trap46__manifest_cut_anywhere__no_output_of_a_merge_is_left_out),
        cmocka_unit_test(
            test_trap46__file_missing_beside_an_unfinished_merge__its_keys_answer_errors),
        cmocka_unit_test(
            test_trap46__whole_files_wrong__no_wrong_value_and_nothing_of_others_is_removed),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
