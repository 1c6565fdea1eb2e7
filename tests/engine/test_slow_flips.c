/* SPDX-License-Identifier: MIT */
/*
 * test_slow_flips.c - one bit flipped anywhere in any file of a store at rest.
 *
 * The store opens, every key whose record was not hit is what it was, the key that was hit is right
 * or answers an error, and the place is listed; so it stays through writes, restarts and merges.
 * FLIPS=n flips n bits (1,000), BITKV_SEED=n repeats the run that printed it; a failure prints what
 * repeats it alone.
 */
#include "worlds.h"

#include <inttypes.h>

#define ROUNDS_A_WORLD 25u
#define DRAWS_MAX 1000u

/* LOCK has no byte to flip. */
enum file_kind { FILE_DATA, FILE_HINT, FILE_MANIFEST, FILE_IMAGE, FILE_KINDS };

struct flip {
    enum file_kind kind;
    const char *name; /* borrowed from the world */
    uint64_t at;
    unsigned bit;
    struct bk_buf file; /* owned: as it was */
    struct spot spot;   /* FILE_DATA */
    bool must;          /* be listed */
};

static bool is_kind(const char *name, enum file_kind kind)
{
    switch (kind) {
    case FILE_DATA:
        return has_suffix(name, ".data");
    case FILE_HINT:
        return has_suffix(name, ".hint");
    case FILE_MANIFEST:
        return strcmp(name, "MANIFEST") == 0;
    case FILE_IMAGE:
        return strcmp(name, "KEYDIR") == 0;
    case FILE_KINDS:
        break;
    }
    return false;
}

static const char *draw_name(const struct world *w, struct rng *rng, enum file_kind kind)
{
    const char *of_kind[NAMES_MAX];
    size_t n = 0;
    for (size_t i = 0; i < w->names_n; i++) {
        if (is_kind(w->names[i], kind)) {
            of_kind[n++] = w->names[i];
        }
    }
    return n == 0 ? NULL : of_kind[rng_below(rng, n)];
}

/* Every second time somewhere in the first bytes of a record, where most bytes matter. */
static uint64_t draw_data_offset(struct rng *rng, const struct bk_buf *file)
{
    struct spot s;
    uint64_t at = rng_below(rng, file->len);
    uint64_t pick = rng_below(rng, 20);
    spot_find(file, at, &s);
    if (pick == 0) {
        return rng_below(rng, bk_get32(file->data + 12));
    }
    return pick < 10 && s.region != IN_NOTHING ? s.offset + rng_below(rng, s.value_at + 8) : at;
}

/* A file that is not empty; each world has a data file and a manifest. */
static void draw_file(struct flip *f, const struct world *w, struct rng *rng)
{
    char path[300];
    for (unsigned tries = 0; f->file.len == 0; tries++) {
        assert_true(tries < DRAWS_MAX);
        f->kind = (enum file_kind)rng_below(rng, FILE_KINDS);
        f->name = draw_name(w, rng, f->kind);
        if (f->name != NULL) {
            world_path(w, f->name, path);
            simdisk_read(w->r.disk, path, &f->file);
        }
    }
}

static void draw_flip(struct flip *f, const struct world *w, struct rng *rng)
{
    draw_file(f, w, rng);
    f->at = rng_below(rng, f->file.len);
    if (f->kind == FILE_DATA) {
        f->at = draw_data_offset(rng, &f->file);
        f->at = f->at < f->file.len ? f->at : f->file.len - 1;
        spot_find(&f->file, f->at, &f->spot);
    }
    f->bit = (unsigned)rng_below(rng, 8);
}

/* Whether the flip takes the last bit that is set in the record. */
static bool nothing_left(const struct flip *f)
{
    uint64_t end = f->spot.offset + f->spot.size;
    bool zeros = f->file.data[f->at] == 1u << f->bit;
    for (uint64_t at = f->at + 1; at < end && at < f->file.len; at++) {
        zeros = zeros && f->file.data[at] == 0;
    }
    return zeros;
}

static void apply_flip(struct visit *v, const struct flip *f)
{
    char path[300];
    uint8_t bad = f->file.data[f->at] ^ (uint8_t)(1u << f->bit);
    world_path(v->w, f->name, path);
    simdisk_patch(v->disk, path, f->at, &bad, 1);
    if (f->kind != FILE_DATA || f->spot.region == IN_NOTHING || f->spot.region == IN_PADDING) {
        return;
    }
    if (f->spot.kind == 1 || f->spot.kind == 2) {
        v->hit = f->spot.key;
    }
    /* What the last write ended in cannot tell that it was whole (replay_tail.c). */
    v->may_be_older = v->w->ending == END_KILL && f->spot.last && nothing_left(f);
}

/* ---- Listed? ---- */

struct wanted {
    const struct flip *f;
    bool listed, key;
};

static void look_for(void *arg, const struct bk_damage *d)
{
    struct wanted *w = arg;
    const struct flip *f = w->f;
    bool here = strcmp(d->file, f->name) == 0;
    if (f->kind == FILE_DATA) {
        here = here && d->offset <= f->at && f->at < d->offset + d->bytes && d->in_data;
    }
    w->listed |= here;
    bool whole = d->key_len == f->spot.key.len && d->key_len <= 256;
    w->key |= here && d->key_known && (!whole || bk_span_eq(d->key, f->spot.key));
}

/* A start reads a hint's head, its table and its blocks, but no filter. */
static bool in_filter(const struct flip *f)
{
    uint64_t table = bk_get64(f->file.data + 68);
    uint32_t blocks = bk_get32(f->file.data + 64);
    bool in_block = f->at < 96 || f->at >= table;
    for (uint32_t i = 0; i < blocks; i++) {
        const uint8_t *row = f->file.data + table + (size_t)i * 24;
        in_block |= f->at >= bk_get64(row) && f->at - bk_get64(row) < bk_get32(row + 16);
    }
    return !in_block;
}

static bool must_be_listed(const struct visit *v, const struct flip *f)
{
    switch (f->kind) {
    case FILE_HINT:
        /* With an image no hint is read at the start. */
        return v->w->ending != END_IMAGE && world_in_use(v->db, f->name) &&
               world_hint_counts(v->w, f->name, &f->file) && !in_filter(f);
    case FILE_DATA:
        return world_in_use(v->db, f->name) && f->spot.region != IN_NOTHING &&
               f->spot.region != IN_PADDING;
    case FILE_IMAGE:
    case FILE_MANIFEST:
        return true;
    case FILE_KINDS:
        break;
    }
    return false;
}

static bool listed(struct visit *v, struct flip *f)
{
    struct wanted w = {.f = f};
    struct bk_stats s;
    f->must = must_be_listed(v, f);
    bk_damages(v->db, look_for, &w);
    bk_stats_get(v->db, &s);
    if (!f->must || (v->may_be_older && s.tail_bytes_cut > 0)) {
        return true;
    }
    bool index = f->kind == FILE_HINT || f->kind == FILE_IMAGE;
    bool counted = (index ? s.damaged_indexes : s.damaged_records) > 0;
    bool keyed = f->kind != FILE_DATA || v->hit.data == NULL || w.key;
    if (!w.listed || !counted || !keyed) {
        snprintf(v->why, sizeof(v->why), "the damage is not %s",
                 !counted    ? "counted"
                 : !w.listed ? "listed"
                             : "listed with its key");
    }
    return w.listed && counted && keyed;
}

/* ---- One flip ---- */

static bool go_on(struct visit *v, struct rng *rng)
{
    v->fresh = true;
    if (!visit_write(v, bk_span_str("fresh"), "written after the damage")) {
        return false;
    }
    if (v->hit.data != NULL && rng_percent(rng, 30)) {
        v->healed = true;
        v->may_be_older = false;
        return visit_write(v, v->hit, "healed");
    }
    return true;
}

static bool reopened(struct visit *v)
{
    return visit_close(v) && visit_open(v) == BK_OK && visit_look(v);
}

static bool judge(struct visit *v, struct flip *f, struct rng *rng)
{
    bool ok = visit_open(v) == BK_OK && visit_look(v) && listed(v, f) && go_on(v, rng) &&
              visit_look(v) && reopened(v);
    if (!ok) {
        return false;
    }
    visit_merging(v);
    ok = reopened(v);
    if (ok) {
        visit_work(v);
        ok = visit_look(v) && reopened(v);
    }
    return ok;
}

static void say_flip(const struct world *w, const struct flip *f, const char *why)
{
    print_error("world %" PRIu64 " (ending %d), %s, byte %" PRIu64 " of %zu, bit %u: region %d, "
                "record at %" PRIu64 ", size %" PRIu64 ", kind %u, key of %zu%s: %s\n",
                w->r.seed, (int)w->ending, f->name, f->at, f->file.len, f->bit, (int)f->spot.region,
                f->spot.offset, f->spot.size, f->spot.kind, f->spot.key.len,
                f->spot.last ? ", the last" : "", why);
}

/* What a run has done: a flip counts once its bit differs on the disk that is opened. */
struct tally {
    uint64_t flips[FILE_KINDS];
    uint64_t listed; /* of them: what must be told of */
    uint64_t bad;
};

static bool differs(const struct visit *v, const struct flip *f)
{
    char path[300];
    struct bk_buf now = {0};
    world_path(v->w, f->name, path);
    simdisk_read(v->disk, path, &now);
    bool one = now.len == f->file.len &&
               (now.data[f->at] ^ f->file.data[f->at]) == (uint8_t)(1u << f->bit);
    bk_buf_fini(&now);
    return one;
}

static void one_flip(struct world *w, struct rng *rng, struct tally *t)
{
    struct visit v;
    struct flip f = {0};
    draw_flip(&f, w, rng);
    visit_begin(&v, w);
    apply_flip(&v, &f);
    t->flips[f.kind] += differs(&v, &f) ? 1 : 0;
    if (!judge(&v, &f, rng)) {
        t->bad++;
        say_flip(w, &f, v.why);
    }
    t->listed += f.must ? 1 : 0;
    visit_end(&v);
    bk_buf_fini(&f.file);
}

static void tell(const struct tally *t)
{
    print_message("flipped: %" PRIu64 " bits of data files, %" PRIu64 " of hints, %" PRIu64
                  " of manifests, %" PRIu64 " of index images; %" PRIu64 " of them had to be "
                  "listed\n",
                  t->flips[FILE_DATA], t->flips[FILE_HINT], t->flips[FILE_MANIFEST],
                  t->flips[FILE_IMAGE], t->listed);
}

static uint64_t flips_wanted(void)
{
    const char *text = getenv("FLIPS");
    return text == NULL ? 1000 : strtoull(text, NULL, 10);
}

static void test_flips__any_bit_of_any_file__loses_no_more_than_the_record_that_it_is_in(
    void **state)
{
    (void)state;
    uint64_t first = rng_seed_from_env("BITKV_SEED");
    uint64_t flips = flips_wanted();
    struct tally t = {0};
    struct world *w = malloc(sizeof(*w));
    print_message("BITKV_SEED=%" PRIu64 "\n", first);
    for (uint64_t done = 0; done < flips; done += ROUNDS_A_WORLD) {
        uint64_t seed = first + done / ROUNDS_A_WORLD;
        struct rng rng = {seed * 7919 + 5};
        world_init(w, seed, (enum ending)(seed % ENDINGS));
        for (uint64_t i = 0; i < ROUNDS_A_WORLD && done + i < flips; i++) {
            one_flip(w, &rng, &t);
        }
        world_fini(w);
    }
    free(w);
    tell(&t);
    uint64_t done = 0;
    for (unsigned kind = 0; kind < FILE_KINDS; kind++) {
        done += t.flips[kind];
        /* A run of many worlds has each kind of file in some of them. */
        assert_true(t.flips[kind] > 0 || flips < 250);
    }
    assert_int_equal(done, flips);
    assert_int_equal(t.bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            test_flips__any_bit_of_any_file__loses_no_more_than_the_record_that_it_is_in),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
