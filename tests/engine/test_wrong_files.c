/* SPDX-License-Identifier: MIT */
/*
 * test_wrong_files.c - whole files missing, empty, cut short, doubled under another name, exchanged
 * with one another, or taken from another store.
 *
 * The store opens; no key has a wrong value, and where a hint names the keys of what is gone none
 * has an older one; nothing is removed that is not the store's own leftover; and once the right
 * file is back where it belongs, all is as it was. BITKV_LONG=1 tries more stores.
 */
#include "worlds.h"

enum wrong { MISSING, EMPTY, CUT, DOUBLED, EXCHANGED, FOREIGN, WRONGS };

struct mishap {
    enum wrong how;
    const char *name;  /* borrowed from the world */
    char other[64];    /* a second name that takes part; "" = none */
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
        simdisk_resize(v->disk, path, rng_below(rng, m->was.len));
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
    simdisk_read(v->disk, path, &all);
    bool same = simdisk_exists(v->disk, path) && all.len >= bytes->len &&
                memcmp(all.data, bytes->data, bytes->len) == 0;
    bk_buf_fini(&all);
    if (!same) {
        snprintf(v->why, sizeof(v->why), "%s was removed or changed", name);
    }
    return same;
}

/* What was put where it does not belong is somebody's file. */
static bool strangers_stay(struct visit *v, const struct mishap *m)
{
    if (!is_data(m->name)) {
        return true;
    }
    switch (m->how) {
    case DOUBLED:
        return holds(v, m->other, &m->put);
    case EXCHANGED:
        return holds(v, m->name, &m->put) && holds(v, m->other, &m->was);
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
    world_path(w, name, path);
    uint64_t size = simdisk_size(w->r.disk, path);
    snprintf(hint, sizeof(hint), "%.*s.hint", (int)strcspn(name, "."), name);
    world_path(w, hint, path);
    if (simdisk_exists(w->r.disk, path)) {
        simdisk_read(w->r.disk, path, &all);
    }
    bool whole = all.len >= 96 && bk_get64(all.data + 20) == size;
    bk_buf_fini(&all);
    return whole;
}

static bool told_of(struct visit *v, const struct mishap *m)
{
    struct bk_stats s;
    bk_stats_get(v->db, &s);
    bool away = m->how == MISSING || m->how == EXCHANGED || m->how == FOREIGN;
    /* The name may be a leftover's, that no manifest knows. */
    bool must = is_data(m->name) && away && world_in_use(v->db, m->name);
    if (must && s.damaged_records == 0) {
        snprintf(v->why, sizeof(v->why), "nothing is told of it");
    }
    return !must || s.damaged_records > 0;
}

static bool lives_on(struct visit *v, const struct mishap *m)
{
    if (visit_open(v) != BK_OK || !visit_look(v) || !told_of(v, m)) {
        return false;
    }
    v->fresh = true;
    bool ok = visit_write(v, bk_span_str("fresh"), "written after the damage") && visit_look(v) &&
              visit_close(v) && strangers_stay(v, m) && visit_open(v) == BK_OK && visit_look(v);
    if (ok) {
        visit_work(v);
        ok = visit_look(v) && visit_close(v) && strangers_stay(v, m);
    }
    return ok;
}

/* The same file that was away for some lives. */
static bool right_again(struct visit *v, const struct mishap *m)
{
    bool away = m->how == MISSING || m->how == EXCHANGED || m->how == FOREIGN;
    if (!is_data(m->name) || !away || v->loses) {
        return true;
    }
    put_back(v, m);
    v->errors_most = 0;
    return visit_open(v) == BK_OK && visit_look(v) && visit_close(v);
}

static bool one_mishap(struct world *w, struct world *stranger, struct mishap *m, struct rng *rng)
{
    struct visit v;
    bool ok = true;
    visit_begin(&v, w);
    if (happen(&v, stranger, m, rng)) {
        bool data = is_data(m->name) && m->how != DOUBLED;
        v.errors_most = data ? UINT32_MAX : 0;
        v.loses = data && !hinted(w, m->name);
        visit_merging(&v);
        ok = lives_on(&v, m) && right_again(&v, m);
        if (!ok) {
            print_error("world %llu (ending %d), %s, how %d, with %s: %s\n",
                        (unsigned long long)w->r.seed, (int)w->ending, m->name, (int)m->how,
                        m->other, v.why);
        }
    }
    bk_buf_fini(&m->was);
    bk_buf_fini(&m->put);
    visit_end(&v);
    return ok;
}

static unsigned one_world(struct world *w, struct world *stranger, uint64_t seed)
{
    struct rng rng = {seed};
    unsigned bad = 0;
    world_init(w, seed, (enum ending)(seed % ENDINGS));
    world_init(stranger, seed + 1000, (enum ending)(seed % ENDINGS));
    for (size_t i = 0; i < w->names_n; i++) {
        for (int how = 0; how < WRONGS; how++) {
            struct mishap m = {.how = (enum wrong)how, .name = w->names[i]};
            bool few = i % 7 == seed % 7 || strchr(m.name, '.') == NULL;
            bad += few && !one_mishap(w, stranger, &m, &rng) ? 1 : 0;
        }
    }
    world_fini(w);
    world_fini(stranger);
    return bad;
}

static void test_trap46__whole_files_wrong__no_wrong_value_and_nothing_of_others_is_removed(
    void **state)
{
    (void)state;
    struct world *w = malloc(sizeof(*w));
    struct world *stranger = malloc(sizeof(*stranger));
    unsigned bad = 0;
    for (uint64_t seed = 1; seed <= 20 * (uint64_t)long_factor(); seed++) {
        bad += one_world(w, stranger, seed);
    }
    free(w);
    free(stranger);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            test_trap46__whole_files_wrong__no_wrong_value_and_nothing_of_others_is_removed),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
