/* SPDX-License-Identifier: MIT */
/* rig.c - lives of the store under test, and what must hold after each; random operations are in
 * rig_random.c. */
#include "lib/rig.h"

#include "base/assert.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS_MAX 20000u

static bool broke(struct rig *r, const char *what, const struct bk_error *err)
{
    char detail[400] = "";
    if (err != NULL && err->code != BK_OK) {
        bk_error_format(err, detail, sizeof(detail));
    }
    snprintf(r->why, sizeof(r->why), "seed %llu, life %u: %s %s", (unsigned long long)r->seed,
             r->life, what, detail);
    return false;
}

void rig_merging(struct rig *r)
{
    r->opt.merge.policy = BK_MERGE_ALWAYS;
    r->opt.merge.dead_ratio = 1 + (uint32_t)(r->seed % 4) * 20;
    r->opt.merge.small_file = 4096;
    r->opt.merge.max_files = 1 + (uint32_t)(r->seed % 5);
    r->opt.merge.rate = 0;
    r->opt.merge.interval_ms = 1;
    r->opt.hint_bytes = r->seed % 3 == 0 ? 2048 : 1 << 20;
}

void rig_init(struct rig *r, uint64_t seed, enum bk_sync sync)
{
    *r = (struct rig){.seed = seed};
    bk_log_set_level(getenv("BITKV_TRACE") != NULL ? BK_LOG_DEBUG : BK_LOG_NOTHING);
    r->rng.state = seed * 2654435761u + 17;
    r->disk = simdisk_new(seed);
    simclock_init(&r->clock);
    bk_options_init(&r->opt);
    r->opt.dir = RIG_DIR;
    r->opt.databases = RIG_DATABASES;
    r->opt.sync = sync;
    r->opt.max_file_bytes = 16384;
    r->opt.on_corruption = BK_CORRUPT_REFUSE;
    r->opt.stepped = true;
    r->opt.hash_seed = seed + 1;
    r->opt.merge.policy = BK_MERGE_NEVER;
    r->opt.io = simdisk_io(r->disk);
    r->opt.clock = &r->clock.clock;
    model_init(&r->model, RIG_DATABASES);
}

void rig_fini(struct rig *r)
{
    if (r->db != NULL) {
        rig_crash(r, SIMDISK_KILL);
    }
    model_fini(&r->model);
    simdisk_free(&r->disk);
}

/* ---- Lives ---- */

int rig_open(struct rig *r)
{
    struct bk_error err = {0};
    BK_ASSERT(r->db == NULL);
    int rc = bk_open(&r->db, &r->opt, &err);
    if (rc == BK_OK) {
        r->life++;
        r->write_errors = 0;
        r->batch = bk_batch_new(r->db);
    } else {
        broke(r, "open:", &err);
    }
    return rc;
}

/* Undone entries leave the model; acknowledged ones are counted. */
static void poll_acks(struct rig *r)
{
    bool waiting = false;
    bool dead = simdisk_dead(
        r->disk); /* then nobody hears what the store says: it died in that very call */
    for (size_t i = r->acked_n; i < r->model.entries_n;) {
        /* Of an earlier life and not counted yet: nobody has looked what came back (rig_recovered).
         */
        int rc = r->model.entries[i].life == r->life ? bk_pos_state(r->db, r->model.entries[i].pos)
                                                     : BK_EAGAIN;
        if (rc == BK_EIO && !dead) {
            model_undo(&r->model, i);
            r->undone++;
            continue;
        }
        waiting = waiting || rc != BK_OK;
        r->acked_n += waiting ? 0 : 1;
        i++;
    }
    struct bk_stats st;
    bk_stats_get(r->db, &st);
    bool always = r->opt.sync == BK_SYNC_ALWAYS;
    /* While a store that gave up has no new file yet, positions of what it undid count as passed.
     */
    bool believed =
        dead ? st.write_errors == r->write_errors : bk_write_state(r->db, NULL) == BK_OK;
    r->write_errors = believed ? st.write_errors : r->write_errors;
    for (size_t i = r->durable_n; i < r->acked_n && (always || believed); i++) {
        const struct model_entry *e = &r->model.entries[i];
        if (!always && e->life == r->life && e->pos > st.synced_pos) {
            break;
        }
        /* What an earlier life wrote is behind us when something of this one is; position 0 wrote
         * nothing. */
        if (always || (e->life == r->life && e->pos > 0)) {
            r->durable_n = i + 1;
        }
    }
}

int rig_close(struct rig *r)
{
    struct bk_error err = {0};
    poll_acks(r);
    bk_batch_free(&r->batch);
    int rc = bk_close(&r->db, &err);
    BK_ASSERT(r->db == NULL);
    if (rc == BK_OK) {
        model_settle(&r->model, r->model.entries_n);
        model_forget_undone(&r->model);
        r->acked_n = 0;
        r->durable_n = 0;
    } else {
        broke(r, "close:", &err);
    }
    return rc;
}

void rig_forget_image(struct rig *r)
{
    char path[300];
    rig_path("KEYDIR", path, sizeof(path));
    if (simdisk_exists(r->disk, path)) {
        simdisk_remove(r->disk, path);
    }
}

void rig_crash(struct rig *r, enum simdisk_kind kind)
{
    if (r->db != NULL) {
        poll_acks(r); /* what the store says now it could have said to a client */
        simdisk_crash(r->disk);
        bk_batch_free(&r->batch);
        bk_ignore(bk_close(&r->db, NULL), "the disk is dead");
    }
    model_cancel(&r->model);
    r->power_lost = r->power_lost || kind == SIMDISK_POWER;
    simdisk_restart(r->disk, kind);
}

bool rig_step(struct rig *r)
{
    uint64_t how = rng_below(&r->rng, 4);
    bool more = true;
    if (how != 0) {
        bk_flush(r->db, bk_tail(r->db));
    }
    if (how != 1) {
        more = bk_step(r->db);
    }
    poll_acks(r);
    return more;
}

bool rig_settle(struct rig *r)
{
    bool more = true;
    for (unsigned i = 0; i < STEPS_MAX && !simdisk_dead(r->disk); i++) {
        bk_flush(r->db, bk_tail(r->db));
        more = bk_step(r->db);
        poll_acks(r);
        if (!more && r->acked_n == r->model.entries_n) {
            return true;
        }
    }
    return simdisk_dead(r->disk) ||
           broke(r, more ? "steps never end" : "a write is never answered", NULL);
}

bool rig_sync(struct rig *r)
{
    simclock_advance_ms(&r->clock, 1001);
    return rig_settle(r);
}

/* ---- Writes ---- */

void rig_begin(struct rig *r)
{
    model_cancel(&r->model);
}

void rig_batch_put(struct rig *r, uint32_t num, struct bk_span key, struct bk_span value,
                   uint8_t flags, int64_t expire_ms)
{
    model_put(&r->model, num, key, &(struct model_value){value, flags, expire_ms});
}

void rig_batch_delete(struct rig *r, uint32_t num, struct bk_span key)
{
    model_delete(&r->model, num, key);
}

void rig_batch_flush(struct rig *r, uint32_t num)
{
    model_flush(&r->model, num);
}

void rig_batch_swap(struct rig *r, uint32_t num1, uint32_t num2)
{
    model_swap(&r->model, num1, num2);
}

static bool needs_all(const struct model_entry *e)
{
    bool all = false;
    for (size_t i = 0; i < e->ops_n; i++) {
        all = all || e->ops[i].kind == MODEL_FLUSH || e->ops[i].kind == MODEL_SWAP;
    }
    return all;
}

static void lock_batch(struct rig *r, const struct model_entry *e, const struct bk_key *keys)
{
    if (needs_all(e)) {
        bk_batch_lock_all(r->batch);
    } else {
        for (size_t i = 0; i < e->ops_n; i++) {
            bk_batch_lock_key(r->batch, &keys[i]);
        }
    }
    bk_batch_lock(r->batch);
}

static void add_to_batch(struct rig *r, const struct model_op *op, const struct bk_key *key)
{
    if (op->kind == MODEL_PUT) {
        /* Large values go by reference now and then, as the server hands them on. */
        bool shared = op->value->len > 1024 && rng_percent(&r->rng, 50);
        struct bk_value v = {bk_span_of(op->value->data, op->value->len),
                             shared ? op->value : NULL};
        bk_batch_put(r->batch, op->num, key, &v, op->flags, op->expire_ms);
    } else if (op->kind == MODEL_DELETE) {
        bk_batch_delete(r->batch, op->num, key);
    } else if (op->kind == MODEL_FLUSH) {
        bk_batch_flush(r->batch, op->num);
    } else {
        bk_batch_swap(r->batch, op->num, op->num2);
    }
}

static int commit_once(struct rig *r, uint64_t *pos)
{
    const struct model_entry *e = &r->model.open;
    struct bk_key *keys = bk_alloc_zero(e->ops_n + 1, sizeof(*keys));
    bk_batch_begin(r->batch);
    for (size_t i = 0; i < e->ops_n; i++) {
        if (e->ops[i].key != NULL) {
            bk_key_init(r->db, &keys[i], e->ops[i].key->data, e->ops[i].key->len);
        }
    }
    if (needs_all(e) || rng_percent(&r->rng, 50)) {
        lock_batch(r, e, keys);
    }
    for (size_t i = 0; i < e->ops_n; i++) {
        add_to_batch(r, &e->ops[i], &keys[i]);
    }
    struct bk_error err = {0};
    int rc = bk_batch_commit(r->batch, pos, &err);
    free(keys);
    return rc;
}

int rig_commit(struct rig *r)
{
    uint64_t pos = 0;
    int rc = commit_once(r, &pos);
    for (unsigned i = 0; rc == BK_EAGAIN && i < STEPS_MAX && !simdisk_dead(r->disk); i++) {
        r->retries++;
        simclock_advance_ms(&r->clock, 1); /* some waits end with time */
        rig_step(r);
        rc = commit_once(r, &pos);
    }
    if (rc == BK_OK) {
        model_commit(&r->model, pos, r->life);
        poll_acks(r);
    } else {
        r->refused += rc == BK_ENOSPC || rc == BK_EIO ? 1 : 0;
        model_cancel(&r->model);
    }
    return rc;
}

int rig_put(struct rig *r, const char *key, const char *value)
{
    rig_begin(r);
    rig_batch_put(r, 0, bk_span_str(key), bk_span_str(value), 0, 0);
    return rig_commit(r);
}

int rig_delete(struct rig *r, const char *key)
{
    rig_begin(r);
    rig_batch_delete(r, 0, bk_span_str(key));
    return rig_commit(r);
}

/* ---- Promises ---- */

struct gather {
    struct bk_block **keys; /* owned */
    size_t n;
    size_t cap;
};

static void gather_key(void *arg, const struct bk_scan_entry *e)
{
    struct gather *g = arg;
    if (g->n == g->cap) {
        g->cap = g->cap * 2 + 64;
        g->keys = bk_realloc(g->keys, g->cap * sizeof(struct bk_block *));
    }
    struct bk_block *b = bk_block_new(e->key.len);
    if (e->key.len > 0) {
        memcpy(b->data, e->key.data, e->key.len);
    }
    g->keys[g->n++] = b;
}

/* Loads one listed key into out. */
static bool read_key(struct rig *r, uint32_t num, struct bk_span bytes, struct bk_item *item,
                     struct model_state *out)
{
    struct bk_error err = {0};
    struct bk_key key;
    int rc = BK_CHANGED;
    bk_key_init(r->db, &key, bytes.data, bytes.len);
    for (unsigned tries = 0; rc == BK_CHANGED && tries < 10; tries++) {
        bk_locate(r->db, &num, &key, 1, item);
        if (item->at == 0) {
            return broke(r, "a key that scan lists is not found", NULL);
        }
        rc = bk_load(r->db, &key, item, &err);
    }
    if (rc != BK_OK) {
        return broke(r, "a key that scan lists does not load:", &err);
    }
    model_state_put(out, num, bytes,
                    &(struct model_value){item->value, item->flags, item->expire_ms});
    return true;
}

static bool read_database(struct rig *r, uint32_t num, struct model_state *out)
{
    struct gather g = {0};
    struct bk_item item = {0};
    uint64_t cursor = 0;
    do {
        bk_scan(r->db, num, &cursor, 50, gather_key, &g);
    } while (cursor != 0);
    bool ok = true;
    for (size_t i = 0; i < g.n; i++) {
        ok = ok && read_key(r, num, bk_span_of(g.keys[i]->data, g.keys[i]->len), &item, out);
        bk_block_unref(&g.keys[i]);
    }
    if (ok && g.n != bk_count(r->db, num)) {
        ok = broke(r, "bk_count is not the number of keys that scan lists", NULL);
    }
    free(g.keys);
    bk_item_fini(&item);
    return ok;
}

bool rig_read_all(struct rig *r, struct model_state *out)
{
    bool ok = true;
    model_state_init(out, RIG_DATABASES, bk_clock_wall_ms(&r->clock.clock));
    for (uint32_t num = 0; num < RIG_DATABASES && ok; num++) {
        ok = read_database(r, num, out);
    }
    return ok;
}

/* Compares with prefixes of at least `least` entries. */
static bool compare(struct rig *r, size_t least, size_t *len)
{
    struct model_state seen;
    int64_t now = bk_clock_wall_ms(&r->clock.clock);
    bool ok = rig_read_all(r, &seen);
    if (ok && !model_match(&r->model, &seen, now, least, len)) {
        size_t any = 0;
        bool older = model_match(&r->model, &seen, now, 0, &any);
        fprintf(
            stderr,
            "seed %llu: no prefix of %zu or more of %zu entries matches (a shorter one: %s %zu); "
            "against entry %zu:\n",
            (unsigned long long)r->seed, least, r->model.entries_n, older ? "yes," : "no", any,
            least);
        model_diff(&r->model, &seen, now, least, stderr);
        fprintf(stderr, "against the last:\n");
        model_diff(&r->model, &seen, now, r->model.entries_n, stderr);
        ok = broke(
            r, older ? "an acknowledged write is lost" : "the store is no prefix of the history",
            NULL);
    }
    model_state_fini(&seen);
    return ok;
}

bool rig_same(struct rig *r)
{
    size_t len = 0;
    return compare(r, r->model.entries_n, &len);
}

bool rig_recovered(struct rig *r)
{
    size_t len = 0;
    size_t least = r->power_lost ? r->durable_n : r->acked_n;
    if (r->undone_gone && !r->power_lost) {
        model_forget_undone(&r->model);
    } else {
        model_revive(&r->model);
    }
    if (!compare(r, least, &len)) {
        return false;
    }
    model_truncate(&r->model, len);
    r->acked_n = len;
    r->durable_n = r->durable_n < len ? r->durable_n : len;
    if (r->power_lost) { /* what came back was read from the platter */
        model_settle(&r->model, len);
        r->acked_n = 0;
        r->durable_n = 0;
    }
    r->power_lost = false;
    return true;
}

bool rig_check(struct rig *r)
{
    struct bk_error err = {0};
    int rc = bk_check(r->db, &err);
    return rc == BK_OK || broke(r, "bk_check:", &err);
}

bool rig_reopen(struct rig *r)
{
    return rig_open(r) == BK_OK && rig_recovered(r) && rig_check(r);
}

bool rig_get_same(struct rig *r, uint32_t num, struct bk_span bytes)
{
    struct bk_item item = {0};
    struct bk_error err = {0};
    struct bk_key key;
    struct model_value v;
    int64_t now = bk_clock_wall_ms(&r->clock.clock);
    bk_key_init(r->db, &key, bytes.data, bytes.len);
    bk_locate(r->db, &num, &key, 1, &item);
    bool want =
        model_state_get(&r->model.now, num, bytes, &v) && (v.expire_ms == 0 || v.expire_ms > now);
    bool there = item.at != 0 && (item.expire_ms == 0 || item.expire_ms > now);
    bool ok = true;
    if (want != there) {
        ok = broke(r, want ? "a key is not found" : "a deleted key is found", NULL);
    } else if (there && bk_load(r->db, &key, &item, &err) != BK_OK) {
        ok = broke(r, "a key does not load:", &err);
    } else if (there && !(bk_span_eq(item.value, v.value) && item.flags == v.flags &&
                          item.expire_ms == v.expire_ms)) {
        ok = broke(r, "a key has another value, flags or expiry than was written", NULL);
    }
    bk_item_fini(&item);
    return ok;
}

/* ---- The disk ---- */

void rig_path(const char *name, char *out, size_t out_len)
{
    int n = snprintf(out, out_len, "%s/%s", RIG_DIR, name);
    BK_ASSERT(n > 0 && (size_t)n < out_len);
}

struct data_files {
    void (*each)(void *arg, const char *name);
    void *arg;
    size_t n;
};

static void pick_data(void *arg, const char *name)
{
    struct data_files *f = arg;
    size_t len = strlen(name);
    if (len > 5 && strcmp(name + len - 5, ".data") == 0) {
        f->n++;
        if (f->each != NULL) {
            f->each(f->arg, name);
        }
    }
}

size_t rig_data_files(struct rig *r, void (*each)(void *arg, const char *name), void *arg)
{
    struct data_files f = {each, arg, 0};
    const struct bk_io *io = simdisk_io(r->disk);
    int rc = io->list(io->arg, RIG_DIR, pick_data, &f);
    BK_ASSERT(rc == 0);
    return f.n;
}
