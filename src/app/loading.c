/* SPDX-License-Identifier: MIT */
/*
 * loading.c - the store is opened by a thread of its own; the loops run already and answer
 * -LOADING, main() waits for signals and writes how far it is into the log.
 *
 * app_load_end, on the main thread, is where the store comes to be there for all: under the
 * options' lock, so that a CONFIG SET happens before, and is handed on, or finds the store.
 */
#include "app/app.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void wake_loops(void *arg)
{
    struct app *a = arg;
    net_wake(a->net);
}

/* By Redis's names, whose main thread waits for what its append only file does. */
static void note_took(void *arg, enum bk_took what, int64_t us)
{
    struct app *a = arg;
    if (what == BK_TOOK_SYNC) {
        timing_note(a->timing, TIMING_AOF_FSYNC_ALWAYS, us);
    } else {
        bool alone = what == BK_TOOK_WRITE;
        timing_note(a->timing, TIMING_AOF_WRITE, us);
        timing_note(a->timing, alone ? TIMING_AOF_WRITE_ALONE : TIMING_AOF_WRITE_PENDING_FSYNC, us);
    }
}

static void *load_main(void *arg)
{
    struct app *a = arg;
    struct app_loading *l = &a->loading;
    uint64_t one = 1;
    l->rc = bk_open(&l->db, &l->options, &l->err);
    atomic_store(&l->done, true);
    ssize_t n = write(a->wake_fd, &one, sizeof one);
    bk_ignore((int)n, "full only when main() has been woken 2^64 times and not looked");
    return NULL;
}

/* The option becomes an absolute path, as soon as there is something that it names. */
static int find_dir(struct app *a, struct bk_error *err) BK_REQUIRES(a->mu);
static int find_dir(struct app *a, struct bk_error *err)
{
    struct option_value *v = &a->options.values[OPTION_DIR];
    struct bk_buf why = {0};
    if (a->dir != NULL) {
        return BK_OK;
    }
    a->dir = realpath(option_text(&a->options, OPTION_DIR), NULL);
    if (a->dir == NULL) {
        return bk_error_set(err, BK_EIO, errno, option_text(&a->options, OPTION_DIR), 0,
                            "cannot find the data directory");
    }
    struct bk_span word = bk_span_str(a->dir);
    bool ok = option_parse(OPTION_DIR, v, &(struct option_words){&word, 1, false}, v, &why);
    bk_buf_fini(&why);
    return ok ? BK_OK : bk_error_set(err, BK_EINVAL, 0, a->dir, 0, "this path is no option's");
}

int app_load_begin(struct app *a, struct bk_error *err)
{
    struct app_loading *l = &a->loading;
    bk_mutex_lock(&a->mu);
    bk_ignore(find_dir(a, NULL), "it may be that bk_open makes it first");
    app_store_options(a, &l->options);
    a->cache_bytes = l->options.cache_bytes;
    bk_mutex_unlock(&a->mu);
    l->options.wake = wake_loops;
    l->options.wake_arg = a;
    l->options.took = note_took;
    l->options.took_arg = a;
    l->options.progress = &l->progress;
    int rc = pthread_create(&l->thread, NULL, load_main, a);
    return rc == 0 ? BK_OK : bk_error_set(err, BK_EIO, rc, "", 0, "cannot start a thread");
}

int app_load_end(struct app *a, bool cancel, struct bk_error *err)
{
    struct app_loading *l = &a->loading;
    if (cancel) {
        atomic_store(&l->progress.cancel, true);
    }
    int joined = pthread_join(l->thread, NULL);
    BK_ASSERT(joined == 0);
    if (l->rc != BK_OK) {
        *err = l->err;
        return l->rc;
    }
    bk_mutex_lock(&a->mu);
    int rc = find_dir(a, err);
    if (rc == BK_OK) {
        app_snapshots_open(a, l->db);
    }
    ks_attach(a->ks, l->db);
    atomic_store_explicit(&a->db, l->db, memory_order_release);
    app_apply_store(a);
    if (rc == BK_OK) {
        ks_begin(a->ks); /* a command's loop finds out how far its write is by a->db */
    }
    bk_mutex_unlock(&a->mu);
    return rc;
}

void app_load_log(const struct app *a)
{
    const struct bk_progress *p = &a->loading.progress;
    uint64_t total = atomic_load(&p->bytes_total);
    uint64_t done = atomic_load(&p->bytes_done);
    bk_log(BK_LOG_NOTICE,
           "Loading: %.1f%%, %" PRIu64 " of %" PRIu64 " bytes, %" PRIu64 " of %" PRIu64
           " files, %" PRIu64 " keys read",
           total > 0 ? (double)done * 100.0 / (double)total : 0.0, done, total,
           atomic_load(&p->files_done), atomic_load(&p->files_total), atomic_load(&p->keys));
}
