/* SPDX-License-Identifier: MIT */
/* store.c - see store.h. */
#include "tools/store.h"

#include "tools/progress.h"
#include "tools/tool.h"

#include "base/log.h"
#include "base/nofile.h"

#include <inttypes.h>

#define WALK_KEYS 256u
#define LOOK_AGAIN_US 1000
#define CHANGED_MAX 1000u /* BK_CHANGED in a row: a few are already rare */

/* ---- Opening ---- */

/* A mistyped path is not to become a store. */
static int fit_for(const char *dir, enum tool_mode mode)
{
    enum bk_contents c;
    struct bk_error err = {0};
    bool may_make = mode == TOOL_CREATE || mode == TOOL_BULK;
    if (bk_look(NULL, dir, &c, &err) != BK_OK) {
        return tool_fail_err(&err);
    }
    if (c == BK_DIR_STORE || (may_make && c != BK_DIR_OTHER)) {
        return TOOL_OK;
    }
    return may_make ? tool_fail("%s holds other files and no store", dir)
                    : tool_fail("%s holds no store", dir);
}

static void wake(void *arg)
{
    struct tool_store *s = arg;
    bk_mutex_lock(&s->mu);
    s->wakes++;
    bk_cond_signal(&s->news);
    bk_mutex_unlock(&s->mu);
}

static void choose(struct bk_options *o, enum tool_mode mode)
{
    o->databases = BK_DATABASES_MAX; /* whatever number a server may have used */
    o->batch_bytes_max = BK_VALUE_MAX + BK_KEY_MAX + (1u << 20);
    o->merge.policy = BK_MERGE_NEVER;
    o->merge.rate = 0;
    o->read_only = mode == TOOL_READ;
    o->stepped = mode == TOOL_STEPPED;
    o->sync = mode == TOOL_BULK || mode == TOOL_STEPPED ? BK_SYNC_NO : BK_SYNC_ALWAYS;
}

/* What the engine has to say is no part of the output. */
static void log_to_stderr(void)
{
    if (bk_log_setup_stderr() != 0) {
        bk_log_set_level(BK_LOG_NOTHING);
    }
}

int tool_store_open(struct tool_store *s, const char *dir, enum tool_mode mode)
{
    struct bk_options o;
    struct bk_error err = {0};
    struct tool_progress progress;
    *s = (struct tool_store){.dir = dir, .mode = mode};
    int status = fit_for(dir, mode);
    if (status != TOOL_OK) {
        return status;
    }
    log_to_stderr();
    bk_nofile_raise(UINT64_MAX); /* a data file takes one; what is not raised, the open tells */
    bk_options_init(&o);
    choose(&o, mode);
    o.dir = dir;
    o.wake = wake;
    o.wake_arg = s;
    o.progress = &progress.counts;
    bk_mutex_init(&s->mu, "tool", BK_RANK_SERVER);
    bk_cond_init(&s->news);
    tool_progress_begin(&progress, "Opening", TOOL_BYTES);
    int rc = bk_open(&s->db, &o, &err);
    tool_progress_end(&progress);
    if (rc != BK_OK) {
        bk_cond_fini(&s->news);
        bk_mutex_fini(&s->mu);
        return tool_fail_err(&err);
    }
    s->batch = bk_batch_new(s->db);
    if (mode == TOOL_BULK) {
        struct bk_stats stats;
        bk_stats_get(s->db, &stats);
        s->damaged_records = stats.damaged_records;
        s->damaged_bytes = stats.damaged_bytes;
    }
    return TOOL_OK;
}

/* ---- Closing ---- */

/* What became of writes that nobody has waited for. */
struct losses {
    bool taken_back;        /* some were, when the disk was full or failed */
    uint64_t undone;        /* how many */
    uint64_t places, bytes; /* found damaged since the store was opened */
    bool unsynced;          /* a write or sync has failed and is not made good, as err says */
    struct bk_error err;
};

/*
 * Syncs everything. A data file whose sync has failed is written again from what the kernel still
 * has of it, and what it has dropped is only counted as damage: so the counts are final when all is
 * synced, or cannot be. On a full disk the close tells whether it can.
 */
static void sync_all(struct tool_store *s, struct losses *l)
{
    struct bk_tunables t;
    struct bk_stats stats;
    bool synced;
    int rc;
    l->taken_back = bk_wait(s->db, bk_tail(s->db)) != BK_OK;
    bk_tunables_get(s->db, &t);
    t.sync = BK_SYNC_ALWAYS; /* else the log is not synced before the close */
    bk_tune(s->db, &t);
    do {
        bk_stats_get(s->db, &stats);
        synced = stats.synced_pos >= stats.tail_pos;
        rc = bk_write_state(s->db, &l->err);
        if (!synced && rc == BK_OK) {
            tool_store_breathe(s);
        }
    } while (!synced && rc == BK_OK);
    l->unsynced = !synced && rc == BK_EIO;
    l->undone = stats.undone;
    l->taken_back = l->taken_back || stats.undone > 0;
    l->places = stats.damaged_records - s->damaged_records;
    l->bytes = stats.damaged_bytes - s->damaged_bytes;
}

static int tell_losses(const struct losses *l, int status)
{
    if (l->taken_back) {
        status = tool_fail("%" PRIu64 " writes failed and were undone", l->undone);
    }
    if (l->places > 0) {
        status = tool_fail("%" PRIu64 " places, %" PRIu64
                           " bytes were found damaged while it was written to: see bitkv check",
                           l->places, l->bytes);
    }
    return l->unsynced ? tool_fail_err(&l->err) : status;
}

int tool_store_close(struct tool_store *s, int status)
{
    struct bk_error err = {0};
    struct tool_progress progress;
    struct losses lost = {0};
    if (s->db == NULL) {
        return status;
    }
    tool_progress_begin(&progress, "Closing", TOOL_TIME);
    if (s->mode == TOOL_BULK) {
        sync_all(s, &lost);
    }
    bk_batch_free(&s->batch);
    int rc = bk_close(&s->db, &err);
    tool_progress_end(&progress);
    status = tell_losses(&lost, status);
    bk_cond_fini(&s->news);
    bk_mutex_fini(&s->mu);
    return rc == BK_OK ? status : tool_fail_err(&err);
}

/* ---- Records ---- */

static uint64_t news_so_far(struct tool_store *s)
{
    bk_mutex_lock(&s->mu);
    uint64_t n = s->wakes;
    bk_mutex_unlock(&s->mu);
    return n;
}

/* The log has no room: what fills it is written, and whoever did it calls wake. The limit is for
 * what came back before anyone looked. */
static void wait_for_room(struct tool_store *s, uint64_t seen)
{
    bk_flush(s->db, bk_tail(s->db));
    bk_mutex_lock(&s->mu);
    if (s->wakes == seen) {
        bk_cond_wait(&s->news, &s->mu, LOOK_AGAIN_US);
    }
    bk_mutex_unlock(&s->mu);
}

void tool_store_breathe(struct tool_store *s)
{
    wait_for_room(s, news_so_far(s));
}

int tool_store_put(struct tool_store *s, const struct tool_record *r, struct bk_error *err)
{
    struct bk_key key;
    struct bk_value value = {r->value, NULL};
    uint64_t pos = 0;
    uint64_t seen;
    int rc;
    bk_key_init(s->db, &key, r->key.data, r->key.len);
    bk_batch_begin(s->batch);
    bk_batch_put(s->batch, r->num, &key, &value, r->flags, r->expire_ms);
    do {
        seen = news_so_far(s);
        rc = bk_batch_commit(s->batch, &pos, err);
        if (rc == BK_EAGAIN) {
            wait_for_room(s, seen);
        }
    } while (rc == BK_EAGAIN);
    if (rc == BK_OK && s->mode != TOOL_BULK) {
        rc = bk_wait(s->db, pos);
        if (rc != BK_OK && bk_write_state(s->db, err) == BK_OK) {
            rc = bk_error_set(err, rc, 0, s->dir, 0, "the write failed and was undone");
        }
    }
    return rc;
}

static bool expired(int64_t expire_ms)
{
    return expire_ms != 0 && expire_ms <= bk_clock_wall_ms(&bk_clock_system);
}

int tool_store_get(struct tool_store *s, struct tool_record *r, struct bk_item *item,
                   struct bk_error *err)
{
    struct bk_key key;
    int rc;
    unsigned changed = 0;
    bk_key_init(s->db, &key, r->key.data, r->key.len);
    unsigned pin = bk_pin(s->db);
    do {
        bk_locate(s->db, &r->num, &key, 1, item);
        rc = item->at == 0 || expired(item->expire_ms) ? BK_NOTFOUND
                                                       : bk_load(s->db, &key, item, err);
    } while (rc == BK_CHANGED && ++changed < CHANGED_MAX);
    bk_unpin(s->db, pin);
    if (rc == BK_CHANGED) {
        rc = bk_error_set(err, BK_EIO, 0, s->dir, 0, "writes of a key are undone again and again");
    }
    if (rc == BK_OK) {
        r->value = item->value;
        r->flags = item->flags;
        r->expire_ms = item->expire_ms;
    }
    return rc;
}

/* ---- Walking ---- */

/* Keys of one step of the scan, one behind the other, since what the scan shows is gone when it
 * returns. */
struct gathered {
    struct bk_buf bytes;
    struct bk_buf rows; /* struct row */
};
struct row {
    size_t len;
    int64_t expire_ms;
    uint8_t flags;
};

static void gather(void *arg, const struct bk_scan_entry *e)
{
    struct gathered *g = arg;
    struct row row = {e->key.len, e->expire_ms, e->flags};
    bk_buf_append(&g->bytes, e->key.data, e->key.len);
    bk_buf_append(&g->rows, &row, sizeof row);
}

static int walk_gathered(const struct tool_walk *w, const struct gathered *g, struct bk_item *item)
{
    const struct row *rows = (const struct row *)(const void *)g->rows.data;
    size_t n = g->rows.len / sizeof *rows;
    size_t at = 0;
    int status = TOOL_OK;
    for (size_t i = 0; status == TOOL_OK && i < n; i++) {
        struct bk_error err = {0};
        struct tool_record r = {.num = w->num,
                                .key = bk_span_of(g->bytes.data + at, rows[i].len),
                                .flags = rows[i].flags,
                                .expire_ms = rows[i].expire_ms};
        int rc = expired(r.expire_ms) ? BK_NOTFOUND : BK_OK;
        if (rc == BK_OK && w->values) {
            rc = tool_store_get(w->store, &r, item, &err);
        }
        if (rc != BK_NOTFOUND) {
            status = w->each(w->arg, &r, rc, &err);
        }
        at += rows[i].len;
        if (w->done != NULL) {
            atomic_fetch_add_explicit(w->done, 1, memory_order_relaxed);
        }
    }
    return status;
}

int tool_store_walk(const struct tool_walk *w)
{
    struct gathered g = {0};
    struct bk_item item = {0};
    uint64_t cursor = 0;
    int status;
    bk_buf_reserve(&g.bytes, 1); /* an empty key has an address too */
    do {
        g.bytes.len = 0;
        g.rows.len = 0;
        bk_scan(w->store->db, w->num, &cursor, WALK_KEYS, gather, &g);
        status = walk_gathered(w, &g, &item);
    } while (status == TOOL_OK && cursor != 0);
    bk_item_fini(&item);
    bk_buf_fini(&g.bytes);
    bk_buf_fini(&g.rows);
    return status;
}

int tool_store_walk_all(struct tool_walk *w)
{
    int status = TOOL_OK;
    for (w->num = 0; status == TOOL_OK && w->num < BK_DATABASES_MAX; w->num++) {
        status = tool_store_walk(w);
    }
    return status;
}
