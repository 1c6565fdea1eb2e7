/* SPDX-License-Identifier: MIT */
/*
 * snapshots.c - one snapshot at a time, on its own thread.
 *
 * A snapshot's name is its number and the time, "0000000012-20260131T235959Z": the order is that of
 * the numbers, since a clock may step back. The engine makes it under a name that ends in ".tmp";
 * what a crash leaves of that kind is removed before the next one is made.
 */
#include "app/snapshots.h"

#include "app/snapshots_list.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mutex.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define OUTCOMES 64u /* of the last tries, for those who wait for one */

struct snapshots {
    /* Set once. */
    void (*ended)(void *arg);
    void *arg;
    /* Set once by snapshots_open, before the first one is begun. */
    char *data_dir; /* owned */
    char *dir;      /* owned */
    /* Guarded by mu (rank statistics); never held over I/O. */
    struct bk_mutex mu;
    struct bk_db *db BK_GUARDED(mu); /* borrowed; NULL before snapshots_open */
    bool running BK_GUARDED(mu), joinable BK_GUARDED(mu);
    bool again BK_GUARDED(mu); /* one was scheduled while another ran */
    pthread_t thread BK_GUARDED(mu);
    uint32_t keep BK_GUARDED(mu);
    uint64_t number BK_GUARDED(mu);            /* of the last try */
    bool failed[OUTCOMES] BK_GUARDED(mu);      /* by number */
    struct snapshots_info info BK_GUARDED(mu); /* but for what is worked out when asked for */
    struct snapshots_list list BK_GUARDED(mu); /* what is in dir */
};

/* ---- The thread ---- */

static void log_error(const char *what, const struct bk_error *err)
{
    char text[512];
    bk_error_format(err, text, sizeof text);
    bk_log(BK_LOG_WARNING, "%s: %s", what, text);
}

static void make_name(char name[64], uint64_t number)
{
    struct tm tm = {0};
    time_t now = (time_t)(bk_clock_wall_ms(&bk_clock_system) / 1000);
    char stamp[32];
    gmtime_r(&now, &tm);
    strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &tm);
    snprintf(name, 64, "%010" PRIu64 "-%s", number, stamp);
}

static int make_one(struct snapshots *s, char name[64], struct bk_snapshot_result *result,
                    struct bk_error *err)
{
    char path[PATH_MAX];
    struct snapshots_list list = {0};
    int rc = snapshots_list_prepare(s->dir, err);
    if (rc == BK_OK) {
        snapshots_list_read(&list, s->dir, s->data_dir);
        make_name(name, list.last_number + 1);
        snapshots_list_fini(&list);
        int n = snprintf(path, sizeof path, "%s/%s", s->dir, name);
        rc = n < (int)sizeof path ? bk_snapshot(s->db, path, result, NULL, err)
                                  : bk_error_set(err, BK_EINVAL, ENAMETOOLONG, s->dir, 0,
                                                 "snapshot-dir is too long");
    }
    return rc;
}

/* Older ones go only after a newer one is whole. Where the store is damaged as many of the oldest
 * stay too: they may hold what later ones lack. */
static void remove_old(struct snapshots *s)
{
    struct snapshots_list list = {0};
    struct bk_stats stats;
    bk_mutex_lock(&s->mu);
    uint32_t keep = s->keep;
    bk_mutex_unlock(&s->mu);
    snapshots_list_read(&list, s->dir, s->data_dir);
    bk_stats_get(s->db, &stats);
    uint32_t spared = stats.damaged_records > 0 ? keep : 0;
    if (spared > 0 && list.n > keep) {
        bk_log(BK_LOG_WARNING,
               "Old snapshots stay: the store is damaged, BITKV DAMAGE lists where");
    }
    for (size_t i = spared; i + keep < list.n; i++) {
        char path[PATH_MAX];
        struct bk_error err = {0};
        snprintf(path, sizeof path, "%s/%s", s->dir, list.items[i].name);
        if (bk_snapshot_remove(NULL, path, &err) == BK_OK) {
            bk_log(BK_LOG_NOTICE, "Snapshot %s removed: snapshot-keep is %" PRIu32,
                   list.items[i].name, keep);
        } else {
            log_error("An old snapshot stays", &err);
        }
    }
    snapshots_list_fini(&list);
}

static void log_made(const char *name, const struct bk_snapshot_result *r)
{
    bk_log(BK_LOG_NOTICE,
           "Snapshot %s made in %.3f seconds: %" PRIu64 " files, %" PRIu64 " bytes, %s", name,
           (double)r->took_us / 1e6, r->files, r->bytes,
           r->copied_bytes == 0 ? "by links"
                                : "copied, since links do not reach there: another file system");
}

static void started_locked(struct snapshots *s) BK_REQUIRES(s->mu);

static void started_locked(struct snapshots *s)
{
    s->info.started_ms = bk_clock_wall_ms(&bk_clock_system);
    s->running = true;
    s->number++;
}

/* What waits for this try sees its outcome, and the next one may begin. True: this thread makes it.
 */
static bool end_one(struct snapshots *s, int rc, const char *name,
                    const struct bk_snapshot_result *result, const struct bk_error *err,
                    uint64_t changes)
{
    struct snapshots_list list = {0};
    int64_t now = bk_clock_wall_ms(&bk_clock_system);
    snapshots_list_read(&list, s->dir, s->data_dir);
    bk_mutex_lock(&s->mu);
    struct snapshots_list old = s->list;
    s->list = list;
    s->failed[s->number % OUTCOMES] = rc != BK_OK;
    s->info.last_ok = rc == BK_OK;
    s->info.last_took_ms = now - s->info.started_ms;
    s->info.last_error[0] = '\0';
    if (rc == BK_OK) {
        s->info.last_save_ms = now;
        s->info.changes = changes;
        s->info.last = *result;
        snprintf(s->info.last_name, sizeof s->info.last_name, "%s", name);
    } else {
        bk_error_format(err, s->info.last_error, sizeof s->info.last_error);
    }
    bool again = s->again;
    s->again = false;
    s->running = false;
    if (again) {
        s->info.saves++;
        started_locked(s);
    }
    bk_mutex_unlock(&s->mu);
    snapshots_list_fini(&old);
    s->ended(s->arg);
    return again;
}

/* True: there is another to be made. */
static bool snapshot_one(struct snapshots *s)
{
    struct bk_snapshot_result result = {0};
    struct bk_error err = {0};
    struct bk_stats before;
    char name[64] = "";
    bk_stats_get(s->db, &before);
    int rc = make_one(s, name, &result, &err);
    if (rc == BK_OK) {
        log_made(name, &result);
        remove_old(s);
    } else {
        log_error("The snapshot failed", &err);
    }
    return end_one(s, rc, name, &result, &err, before.changes);
}

static void *snapshot_main(void *arg)
{
    while (snapshot_one(arg)) {
        /* One was scheduled meanwhile. */
    }
    return NULL;
}

/* ---- Asked from loops ---- */

struct snapshots *snapshots_new(const struct snapshots_config *c)
{
    struct snapshots *s = bk_alloc_zero(1, sizeof *s);
    s->ended = c->ended;
    s->arg = c->arg;
    s->keep = c->keep;
    s->info.last_ok = true;
    s->info.last_save_ms = c->now_ms;
    s->info.last_took_ms = -1;
    bk_mutex_init(&s->mu, "snapshots", BK_RANK_STATS);
    return s;
}

void snapshots_open(struct snapshots *s, struct bk_db *db, const char *data_dir, const char *dir)
{
    struct snapshots_list list = {0};
    s->data_dir = strdup(data_dir);
    s->dir = strdup(dir);
    BK_ASSERT(s->data_dir != NULL && s->dir != NULL);
    snapshots_list_read(&list, s->dir, s->data_dir);
    bk_mutex_lock(&s->mu);
    s->list = list;
    s->db = db;
    bk_mutex_unlock(&s->mu);
}

/* NULL before snapshots_open. What it is asked takes locks of lower ranks: not under ours. */
static struct bk_db *db_of(struct snapshots *s)
{
    bk_mutex_lock(&s->mu);
    struct bk_db *db = s->db;
    bk_mutex_unlock(&s->mu);
    return db;
}

void snapshots_stop(struct snapshots *s)
{
    struct bk_db *db = db_of(s);
    if (db != NULL) {
        bk_snapshot_stop(db);
    }
}

void snapshots_free(struct snapshots **handle)
{
    struct snapshots *s = *handle;
    *handle = NULL;
    if (s == NULL) {
        return;
    }
    snapshots_stop(s);
    if (s->joinable) {
        pthread_join(s->thread, NULL);
    }
    snapshots_list_fini(&s->list);
    bk_mutex_fini(&s->mu);
    free(s->data_dir);
    free(s->dir);
    free(s);
}

void snapshots_keep(struct snapshots *s, uint32_t keep)
{
    bk_mutex_lock(&s->mu);
    s->keep = keep;
    bk_mutex_unlock(&s->mu);
}

static uint64_t begin_locked(struct snapshots *s, struct bk_buf *error) BK_REQUIRES(s->mu);

static uint64_t begin_locked(struct snapshots *s, struct bk_buf *error)
{
    if (s->joinable) {
        pthread_join(s->thread, NULL); /* it has nothing left to do but to return */
        s->joinable = false;
    }
    s->info.saves++;
    int rc = pthread_create(&s->thread, NULL, snapshot_main, s);
    if (rc != 0) {
        s->info.last_ok = false;
        snprintf(s->info.last_error, sizeof s->info.last_error, "no thread: %s", strerror(rc));
        bk_buf_printf(error, "ERR the snapshot cannot be begun: %s", strerror(rc));
        return 0;
    }
    s->joinable = true;
    started_locked(s);
    return s->number;
}

static bool may_save(struct snapshots *s, struct bk_buf *error)
{
    struct bk_db *db = db_of(s);
    BK_ASSERT(db != NULL); /* no command that gets here runs before */
    bool may = bk_write_state(db, NULL) != BK_EREADONLY;
    if (!may) {
        bk_buf_printf(error, "READONLY The store was opened to be read.");
    }
    return may;
}

static bool is_running_locked(const struct snapshots *s, struct bk_buf *error) BK_REQUIRES(s->mu);

static bool is_running_locked(const struct snapshots *s, struct bk_buf *error)
{
    if (s->running) {
        bk_buf_printf(error, "ERR Background save already in progress");
    }
    return s->running;
}

uint64_t snapshots_begin(struct snapshots *s, struct bk_buf *error)
{
    if (!may_save(s, error)) {
        return 0;
    }
    bk_mutex_lock(&s->mu);
    uint64_t number = is_running_locked(s, error) ? 0 : begin_locked(s, error);
    bk_mutex_unlock(&s->mu);
    return number;
}

bool snapshots_possible(struct snapshots *s, struct bk_buf *error)
{
    bk_mutex_lock(&s->mu);
    bool running = is_running_locked(s, error);
    bk_mutex_unlock(&s->mu);
    return !running && may_save(s, error);
}

void snapshots_schedule(struct snapshots *s)
{
    struct bk_buf error = {0};
    bool begun = true;
    bk_mutex_lock(&s->mu);
    if (s->running) {
        s->again = true;
    } else {
        begun = begin_locked(s, &error) != 0;
    }
    bk_mutex_unlock(&s->mu);
    if (!begun) {
        bk_log(BK_LOG_WARNING, "%.*s", (int)error.len, (const char *)error.data);
    }
    bk_buf_fini(&error);
}

enum save_state snapshots_state(struct snapshots *s, uint64_t number)
{
    bk_mutex_lock(&s->mu);
    enum save_state state = s->running && s->number == number ? SAVE_RUNNING
                            : s->failed[number % OUTCOMES]    ? SAVE_FAILED
                                                              : SAVE_DONE;
    bk_mutex_unlock(&s->mu);
    return state;
}

int64_t snapshots_last_save_ms(struct snapshots *s)
{
    bk_mutex_lock(&s->mu);
    int64_t ms = s->info.last_save_ms;
    bk_mutex_unlock(&s->mu);
    return ms;
}

/* ---- What they pin ---- */

struct uids {
    uint64_t *uids; /* owned */
    size_t n, cap;
};

static void add_uid(void *arg, const struct bk_file_info *info)
{
    struct uids *u = arg;
    if (u->n == u->cap) {
        u->cap = u->cap == 0 ? 64 : u->cap * 2;
        u->uids = bk_realloc(u->uids, u->cap * sizeof *u->uids);
    }
    u->uids[u->n++] = info->uid;
}

static int by_uid(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

void snapshots_info(struct snapshots *s, struct snapshots_info *out)
{
    struct uids u = {0};
    struct bk_db *db = db_of(s);
    if (db != NULL) {
        bk_files(db, add_uid, &u);
    }
    if (u.n > 1) {
        qsort(u.uids, u.n, sizeof *u.uids, by_uid);
    }
    bk_mutex_lock(&s->mu);
    *out = s->info;
    out->running = s->running;
    out->kept = s->list.n;
    for (size_t i = 0; i < s->list.files_n; i++) {
        const struct snapshots_file *f = &s->list.files[i];
        bool has = u.n > 0 && bsearch(&f->uid, u.uids, u.n, sizeof *u.uids, by_uid) != NULL;
        out->kept_bytes += f->bytes;
        out->pinned_bytes += f->linked && !has ? f->bytes : 0;
    }
    bk_mutex_unlock(&s->mu);
    free(u.uids);
}
