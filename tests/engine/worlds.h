/* SPDX-License-Identifier: MIT */
/*
 * worlds.h - stores of a varied history at rest, damaged copies of them, and what a copy must
 * answer; shared by test_slow_flips.c and test_wrong_files.c.
 *
 * A world is a rig's store (its model knows what is in it) that has ended in one of several ways. A
 * visit opens a copy of its disk.
 */
#ifndef BK_TESTS_WORLDS_H
#define BK_TESTS_WORLDS_H

#include "engine_test.h"
#include "world_records.h"

#define NAMES_MAX 512u
#define NAME_BYTES 64u

enum ending { END_IMAGE, END_HINTS, END_DATA, END_KILL, END_SNAPSHOT, ENDINGS };

struct world {
    struct rig r;
    enum ending ending;
    const char *dir;
    char names[NAMES_MAX][NAME_BYTES]; /* of its files */
    size_t names_n;
};

static inline void world_path(const struct world *w, const char *name, char out[300])
{
    snprintf(out, 300, "%s/%s", w->dir, name);
}

/* ---- Building ---- */

static inline void world_name(void *arg, const char *name)
{
    struct world *w = arg;
    assert_true(w->names_n < NAMES_MAX && strlen(name) < NAME_BYTES);
    snprintf(w->names[w->names_n++], NAME_BYTES, "%s", name);
}

static inline int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* The names in a directory, in one order for every run. */
static inline void world_list(struct world *w, struct simdisk *disk)
{
    const struct bk_io *io = simdisk_io(disk);
    w->names_n = 0;
    assert_int_equal(io->list(io->arg, w->dir, world_name, w), 0);
    qsort(w->names, w->names_n, NAME_BYTES, by_name);
}

static inline bool has_suffix(const char *name, const char *suffix)
{
    size_t n = strlen(name);
    size_t m = strlen(suffix);
    return n >= m && strcmp(name + n - m, suffix) == 0;
}

static inline void world_drop(struct world *w, const char *suffix)
{
    char path[300];
    world_list(w, w->r.disk);
    for (size_t i = 0; i < w->names_n; i++) {
        if (has_suffix(w->names[i], suffix)) {
            world_path(w, w->names[i], path);
            simdisk_remove(w->r.disk, path);
        }
    }
}

static inline void world_end(struct world *w)
{
    struct rig *r = &w->r;
    if (w->ending == END_KILL) {
        rig_crash(r, SIMDISK_KILL);
        return;
    }
    if (w->ending == END_SNAPSHOT) {
        struct bk_error err = {0};
        w->dir = "snap";
        BK_SUCCEEDS(bk_snapshot(r->db, w->dir, NULL, NULL, &err), err);
    }
    RIG_TRUE(r, rig_close(r) == BK_OK);
    if (w->ending != END_IMAGE) {
        world_drop(w, "KEYDIR");
    }
    if (w->ending == END_DATA) {
        world_drop(w, ".hint");
    }
}

/* A few lives, the last one ended as asked. */
static inline void world_init(struct world *w, uint64_t seed, enum ending ending)
{
    struct rig *r = &w->r;
    w->ending = ending;
    w->dir = RIG_DIR;
    rig_init(r, seed, (enum bk_sync)(seed % 3));
    if (seed % 4 != 0) {
        rig_merging(r);
    }
    r->opt.max_file_bytes = (uint64_t)4096 << (seed / 3 % 5);
    r->opt.on_corruption = BK_CORRUPT_REFUSE;
    unsigned lives = 1 + (unsigned)rng_below(&r->rng, 3);
    for (unsigned life = 0; life < lives; life++) {
        unsigned ops = 60 + (unsigned)rng_below(&r->rng, 200);
        RIG_TRUE(r, life == 0 ? rig_open(r) == BK_OK : rig_reopen(r));
        for (unsigned i = 0; i < ops; i++) {
            RIG_TRUE(r, rig_random_op(r));
        }
        RIG_TRUE(r, rig_settle(r));
        if (life + 1 < lives) {
            rig_crash(r, SIMDISK_KILL);
        }
    }
    world_end(w);
    r->opt.on_corruption = BK_CORRUPT_SERVE;
    r->opt.dir = w->dir;
    world_list(w, r->disk);
}

static inline void world_fini(struct world *w)
{
    rig_fini(&w->r);
}

/* Whether the hint of these bytes lists all of its data file. One that was made while the file was
 * still written to has no filters, and nobody uses it once the file is sealed. */
static inline bool world_hint_counts(const struct world *w, const char *name,
                                     const struct bk_buf *hint)
{
    char data[64];
    char path[300];
    snprintf(data, sizeof(data), "%.10s.data", name);
    world_path(w, data, path);
    if (hint->len < 96 || bk_get64(hint->data + 20) != simdisk_size(w->r.disk, path)) {
        return false;
    }
    uint64_t rows = bk_get64(hint->data + 68) + (uint64_t)24 * bk_get32(hint->data + 64);
    return bk_get32(hint->data + rows + 12) != UINT32_MAX;
}

/* ---- A copy that is open ---- */

struct visit {
    struct world *w;
    struct simdisk *disk; /* owned */
    struct bk_options opt;
    struct bk_db *db;        /* owned */
    int64_t wall_ms;         /* of the world's clock when the visit began */
    struct bk_span hit;      /* the key whose record was damaged; data NULL: none */
    bool healed;             /* hit was written again */
    bool fresh;              /* "fresh" was written */
    bool may_be_older;       /* hit's record may have been taken for one that was cut off */
    const struct harm *harm; /* borrowed: what befell whole files; NULL: nothing */
    char why[400];
};

static inline bool visit_wrong(struct visit *v, const char *what, uint32_t num, struct bk_span key)
{
    if (v->why[0] == '\0') {
        snprintf(v->why, sizeof(v->why), "%s: database %u, key of %zu bytes \"%.*s\"", what, num,
                 key.len, key.len > 40 ? 40 : (int)key.len, (const char *)key.data);
    }
    return false;
}

static inline void visit_begin(struct visit *v, struct world *w)
{
    *v = (struct visit){.w = w, .disk = simdisk_clone(w->r.disk, 3), .opt = w->r.opt};
    v->opt.io = simdisk_io(v->disk);
    v->wall_ms = bk_clock_wall_ms(&w->r.clock.clock);
}

static inline int visit_open(struct visit *v)
{
    struct bk_error err = {0};
    int rc = bk_open(&v->db, &v->opt, &err);
    if (rc != BK_OK) {
        char text[300];
        bk_error_format(&err, text, sizeof(text));
        snprintf(v->why, sizeof(v->why), "open answers %d: %s", rc, text);
    }
    return rc;
}

static inline bool visit_close(struct visit *v)
{
    struct bk_error err = {0};
    int rc = bk_close(&v->db, &err);
    if (rc != BK_OK) {
        snprintf(v->why, sizeof(v->why), "close answers %d: %s", rc, err.text);
    }
    return rc == BK_OK;
}

static inline void visit_end(struct visit *v)
{
    if (v->db != NULL) {
        bk_ignore(bk_close(&v->db, NULL), "thrown away");
    }
    simdisk_free(&v->disk);
    simclock_step_wall_ms(&v->w->r.clock, v->wall_ms - bk_clock_wall_ms(&v->w->r.clock.clock));
}

static inline int64_t visit_now(const struct visit *v)
{
    return bk_clock_wall_ms(&v->w->r.clock.clock);
}

static inline bool is_hit(const struct visit *v, struct bk_span key)
{
    return v->hit.data != NULL && bk_span_eq(v->hit, key);
}

/* The newest record of the key may lie where nothing names it any more. */
static inline bool may_be_lost(const struct visit *v, struct bk_span key)
{
    return v->harm != NULL && v->harm->loses && (v->harm->maps || harm_touches(v->harm, key));
}

static inline bool once_had(const struct visit *v, struct bk_span key, const struct bk_item *item)
{
    struct record_value had = {item->value, item->expire_ms, item->flags};
    return records_have(v->harm->all, key, &had);
}

/* Of a key that the model does not have. */
static inline bool absent_or_once_had(struct visit *v, uint32_t num, struct bk_span key)
{
    struct bk_item item = {0};
    struct bk_key k;
    bk_key_init(v->db, &k, key.data, key.len);
    bk_locate(v->db, &num, &k, 1, &item);
    int rc = item.at == 0 ? BK_NOTFOUND : bk_load(v->db, &k, &item, NULL);
    bool ok = rc == BK_NOTFOUND || (rc == BK_OK && once_had(v, key, &item)) ||
              (rc == BK_CORRUPT && harm_touches(v->harm, key));
    bk_item_fini(&item);
    return ok || visit_wrong(v, "a value that the key never had", num, key);
}

/* One key of the model. */
static inline bool same_key(struct visit *v, uint32_t num, struct bk_span key,
                            const struct model_value *want)
{
    struct bk_item item = {0};
    struct bk_error err = {0};
    struct bk_key k;
    bool ok = true;
    bk_key_init(v->db, &k, key.data, key.len);
    bk_locate(v->db, &num, &k, 1, &item);
    int rc = item.at == 0 ? BK_NOTFOUND : bk_load(v->db, &k, &item, &err);
    if (rc == BK_CORRUPT && (is_hit(v, key) || (v->harm != NULL && harm_touches(v->harm, key)))) {
        ok = true;
    } else if (rc != BK_OK) {
        ok = may_be_lost(v, key) || (is_hit(v, key) && v->may_be_older) ||
             visit_wrong(v, rc == BK_NOTFOUND ? "a key is gone" : "a key does not load", num, key);
    } else if (!(bk_span_eq(item.value, want->value) && item.expire_ms == want->expire_ms &&
                 item.flags == want->flags)) {
        ok = (may_be_lost(v, key) && once_had(v, key, &item)) ||
             (is_hit(v, key) && v->may_be_older) || visit_wrong(v, "another value", num, key);
    }
    bk_item_fini(&item);
    return ok;
}

struct look {
    struct visit *v;
    uint32_t num;
    bool ok;
};

static inline void look_model(void *arg, struct bk_span key, const struct model_value *want)
{
    struct look *l = arg;
    bool expired = want->expire_ms != 0 && want->expire_ms <= visit_now(l->v);
    bool healed = l->v->healed && l->num == 0 && is_hit(l->v, key);
    if (l->ok && !expired && !healed) {
        l->ok = same_key(l->v, l->num, key, want);
    }
}

static inline void look_store(void *arg, const struct bk_scan_entry *e)
{
    struct look *l = arg;
    struct model_value want;
    bool expired = e->expire_ms != 0 && e->expire_ms <= visit_now(l->v);
    bool ours = (may_be_lost(l->v, e->key) && records_have(l->v->harm->all, e->key, NULL)) ||
                (l->v->fresh && bk_span_eq(e->key, bk_span_str("fresh"))) ||
                (l->v->healed && l->num == 0 && is_hit(l->v, e->key)) ||
                (l->v->may_be_older && is_hit(l->v, e->key));
    bool known = model_state_get(&l->v->w->r.model.now, l->num, e->key, &want) &&
                 (want.expire_ms == 0 || want.expire_ms > visit_now(l->v));
    if (l->ok && !expired && !ours && !known) {
        l->ok = visit_wrong(l->v, "a key that is not in the store is listed", l->num, e->key);
    }
}

static inline bool has_text(struct visit *v, struct bk_span key, const char *value)
{
    struct bk_buf got = {0};
    bool same = bk_get(v->db, 0, key, &got, NULL) == BK_OK &&
                bk_span_eq(bk_buf_span(&got), bk_span_str(value));
    bk_buf_fini(&got);
    return same || visit_wrong(v, "what was written after the damage is not there", 0, key);
}

/* What is back, because a newer record of it or a flush is lost, has a value that it once had. */
static inline bool look_at_lost(struct visit *v)
{
    bool ok = true;
    for (size_t i = 0; ok && v->harm != NULL && v->harm->loses && i < v->harm->all->n; i++) {
        const struct record *rec = &v->harm->all->at[i];
        struct model_value want;
        bool back = rec->kind == RECORD_PUT && may_be_lost(v, rec->key) &&
                    !bk_span_eq(rec->key, bk_span_str("fresh"));
        for (uint32_t num = 0; ok && back && num < RIG_DATABASES; num++) {
            ok = model_state_get(&v->w->r.model.now, num, rec->key, &want) ||
                 absent_or_once_had(v, num, rec->key);
        }
    }
    return ok;
}

/* Every key of every database, both ways. */
static inline bool visit_look(struct visit *v)
{
    struct look l = {v, 0, true};
    for (l.num = 0; l.num < RIG_DATABASES && l.ok; l.num++) {
        uint64_t cursor = 0;
        model_state_each(&v->w->r.model.now, l.num, look_model, &l);
        do {
            bk_scan(v->db, l.num, &cursor, 50, look_store, &l);
        } while (cursor != 0);
    }
    l.ok = l.ok && look_at_lost(v);
    l.ok = l.ok && (!v->fresh || has_text(v, bk_span_str("fresh"), "written after the damage"));
    l.ok = l.ok && (!v->healed || has_text(v, v->hit, "healed"));
    struct bk_error err = {0};
    if (l.ok && bk_check(v->db, &err) != BK_OK) {
        bk_error_format(&err, v->why, sizeof(v->why));
        l.ok = false;
    }
    return l.ok;
}

/* ---- Going on ---- */

struct file_id {
    uint64_t id;
    bool found;
};

static inline void look_for_id(void *arg, const struct bk_file_info *info)
{
    struct file_id *f = arg;
    f->found |= info->id == f->id;
}

/* Whether a data file or the hint of one is part of the store: what a merge had dropped, or nobody
 * had written to yet, when the process died is not. */
static inline bool world_in_use(struct bk_db *db, const char *name)
{
    struct file_id id = {strtoull(name, NULL, 10), false};
    bk_files(db, look_for_id, &id);
    return id.found;
}

/* From the next open on, whatever there is to merge. */
static inline void visit_merging(struct visit *v)
{
    v->opt.merge.policy = BK_MERGE_ALWAYS;
    v->opt.merge.dead_ratio = 1;
    v->opt.merge.small_file = 1 << 20;
    v->opt.merge.max_files = 8;
    v->opt.merge.rate = 0;
    v->opt.merge.interval_ms = 1;
}

/* Background work until a merge has nothing left to do, or for some steps. */
static inline void visit_work(struct visit *v)
{
    unsigned quiet = 0;
    for (unsigned i = 0; i < 20000 && quiet < 10; i++) {
        struct bk_merge_status s;
        bk_flush(v->db, bk_tail(v->db));
        if (!bk_step(v->db)) {
            simclock_advance_ms(&v->w->r.clock, 2);
            bk_merge_status(v->db, &s);
            quiet = s.state == BK_MERGE_IDLE ? quiet + 1 : 0;
        }
    }
}

static inline bool visit_write(struct visit *v, struct bk_span key, const char *value)
{
    struct bk_batch *b = bk_batch_new(v->db);
    struct bk_key k;
    struct bk_value val = {bk_span_str(value), NULL};
    struct bk_error err = {0};
    uint64_t pos = 0;
    bk_key_init(v->db, &k, key.data, key.len);
    int rc = BK_EAGAIN;
    for (unsigned i = 0; rc == BK_EAGAIN && i < 1000; i++) {
        bk_batch_begin(b);
        bk_batch_put(b, 0, &k, &val, 0, 0);
        rc = bk_batch_commit(b, &pos, &err);
        if (rc == BK_EAGAIN) {
            bk_flush(v->db, bk_tail(v->db));
            bk_step(v->db);
        }
    }
    bk_batch_free(&b);
    return rc == BK_OK || visit_wrong(v, "the store takes no write", 0, key);
}

#endif
