/* SPDX-License-Identifier: MIT */
/* app_ops.c - what commands and loops ask of the server: passwords, shutdown, limits, the store. */
#include "app/app.h"
#include "base/sha256.h"

#include "command/notify.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- For commands ---- */

static bool auth_required(void *arg)
{
    struct app *a = arg;
    return atomic_load(&a->has_password);
}

/* Takes as long for a wrong password as for the right one of the same length. */
static bool same_secret(struct bk_span given, const struct option_value *v)
{
    unsigned char differ = given.len == v->len ? 0 : 1;
    for (size_t i = 0; i < v->len; i++) {
        unsigned char c = given.len > 0 ? given.data[i % given.len] : 0;
        differ |= (unsigned char)(c ^ (unsigned char)v->text[i]);
    }
    return differ == 0;
}

static bool auth_check(void *arg, struct bk_span user, struct bk_span password)
{
    struct app *a = arg;
    if (user.len > 0 && !bk_span_eq(user, bk_span_str("default"))) {
        return false;
    }
    bk_mutex_lock(&a->mu);
    const struct option_value *v = &a->options.values[OPTION_REQUIREPASS];
    bool ok = v->len == 0 || same_secret(password, v);
    bk_mutex_unlock(&a->mu);
    return ok;
}

static void auth_hash(void *arg, struct bk_buf *out)
{
    struct app *a = arg;
    uint8_t digest[BK_SHA256_BYTES];
    bk_mutex_lock(&a->mu);
    const struct option_value *v = &a->options.values[OPTION_REQUIREPASS];
    bool there = v->len > 0;
    if (there) {
        bk_sha256(bk_span_of((const uint8_t *)v->text, v->len), digest);
    }
    bk_mutex_unlock(&a->mu);
    for (size_t i = 0; there && i < sizeof digest; i++) {
        bk_buf_printf(out, "%02x", digest[i]);
    }
}

static void order_merge(void *arg, enum merge_order order)
{
    static const enum bk_merge_command commands[] = {BK_MERGE_NOW, BK_MERGE_PAUSE, BK_MERGE_RESUME};
    struct app *a = arg;
    if (app_db(a) != NULL) {
        bk_merge(app_db(a), commands[order]);
    }
}

static bool merge_running(void *arg)
{
    struct app *a = arg;
    struct bk_merge_status s = {0};
    if (app_db(a) != NULL) {
        bk_merge_status(app_db(a), &s);
    }
    return s.state != BK_MERGE_IDLE;
}

static void merge_status(void *arg, struct bk_buf *out)
{
    app_merge_lines(arg, out);
}

static void list_files(void *arg, struct bk_buf *out)
{
    app_file_lines(arg, out);
}

static void list_damage(void *arg, struct bk_buf *out)
{
    app_damage_lines(arg, out);
}

static bool ask_shutdown(void *arg, unsigned flags, struct bk_buf *error)
{
    struct app *a = arg;
    (void)error; /* nothing here refuses: every write is in the log already */
    atomic_store(&a->shutdown_flags, flags);
    atomic_store(&a->shutdown_asked, true);
    uint64_t one = 1;
    ssize_t n = write(a->wake_fd, &one, sizeof one);
    (void)n; /* full only when main() has been woken 2^64 times and not looked */
    return true;
}

/* A shutdown begins as soon as it is asked for, and does not turn back. */
static bool shutdown_abort(void *arg)
{
    (void)arg;
    return false;
}

static bool is_local(struct app *a, const struct session *s)
{
    struct bk_buf line = {0};
    net_client_info(a->net, s, &line);
    bk_buf_append(&line, "", 1);
    const char *addr = strstr((const char *)line.data, " addr=");
    const char *flags = strstr((const char *)line.data, " flags=");
    bool local = addr != NULL &&
                 (strncmp(addr + 6, "127.0.0.1:", 10) == 0 || strncmp(addr + 6, "[::1]:", 6) == 0);
    if (flags != NULL) {
        size_t len = strcspn(flags + 7, " ");
        local = local || memchr(flags + 7, 'U', len) != NULL;
    }
    bk_buf_fini(&line);
    return local;
}

/* ---- Snapshots ---- */

static uint64_t save_begin(void *arg, struct bk_buf *error)
{
    struct app *a = arg;
    return snapshots_begin(a->snapshots, error);
}

static bool save_possible(void *arg, struct bk_buf *error)
{
    struct app *a = arg;
    return snapshots_possible(a->snapshots, error);
}

static void save_schedule(void *arg)
{
    struct app *a = arg;
    snapshots_schedule(a->snapshots);
}

static enum save_state save_state(void *arg, uint64_t number)
{
    struct app *a = arg;
    return snapshots_state(a->snapshots, number);
}

static int64_t last_save_s(void *arg)
{
    struct app *a = arg;
    return snapshots_last_save_ms(a->snapshots) / 1000;
}

static void snapshot_ended(void *arg)
{
    struct app *a = arg;
    net_wake(a->net);
}

void app_snapshots_new(struct app *a)
{
    a->snapshots = snapshots_new(
        &(struct snapshots_config){.keep = (uint32_t)option_num(&a->options, OPTION_SNAPSHOT_KEEP),
                                   .now_ms = a->started_ms,
                                   .ended = snapshot_ended,
                                   .arg = a});
}

void app_snapshots_open(struct app *a, struct bk_db *db)
{
    struct bk_buf dir = {0};
    const char *wanted = option_text(&a->options, OPTION_SNAPSHOT_DIR);
    if (wanted[0] == '\0') {
        bk_buf_printf(&dir, "%s/snapshots", a->dir);
    } else {
        bk_buf_printf(&dir, "%s", wanted);
    }
    while (dir.len > 1 && dir.data[dir.len - 1] == '/') {
        dir.len--;
    }
    bk_buf_append(&dir, "", 1);
    snapshots_open(a->snapshots, db, a->dir, (const char *)dir.data);
    bk_buf_fini(&dir);
}

/* ---- Transfers ---- */

static void transfer_over(void *arg)
{
    struct app *a = arg;
    net_wake(a->net);
}

void app_transfers_new(struct app *a)
{
    a->transfers = transfers_new(transfer_over, a);
}

static struct transfer *begin_transfer(void *arg, struct transfer_order *order)
{
    struct app *a = arg;
    return transfer_begin(a->transfers, order);
}

/* ---- Limits ---- */

static bool debug_allowed(void *arg, const struct session *s)
{
    struct app *a = arg;
    enum { NO, YES, LOCAL };
    bk_mutex_lock(&a->mu);
    int64_t who = option_num(&a->options, OPTION_ENABLE_DEBUG_COMMAND);
    bk_mutex_unlock(&a->mu);
    return who == YES || (who == LOCAL && is_local(a, s));
}

static bool memory_over(void *arg)
{
    return app_memory_over(arg);
}

static uint64_t proto_max_bulk_len(void *arg)
{
    struct app *a = arg;
    return atomic_load_explicit(&a->proto_max_bulk, memory_order_relaxed);
}

static uint64_t hll_sparse_max_bytes(void *arg)
{
    struct app *a = arg;
    return atomic_load_explicit(&a->hll_sparse_max, memory_order_relaxed);
}

/* Clients belong to net/; it gets its own handle in place of ours. */
static void client_list(void *arg, const struct client_filter *filter, struct bk_buf *out)
{
    struct app *a = arg;
    net_client_list(a->net, filter, out);
}

static void client_info(void *arg, const struct session *s, struct bk_buf *out)
{
    struct app *a = arg;
    net_client_info(a->net, s, out);
}

static unsigned client_kill(void *arg, const struct client_filter *filter)
{
    struct app *a = arg;
    return net_client_kill(a->net, filter);
}

static bool client_unblock(void *arg, uint64_t id, bool error)
{
    struct app *a = arg;
    return net_client_unblock(a->net, id, error);
}

static void client_set_text(void *arg, struct session *s, enum client_text which,
                            struct bk_span text)
{
    struct app *a = arg;
    net_client_set_text(a->net, s, which, text);
}

static bool client_paused(void *arg)
{
    struct app *a = arg;
    return net_client_paused(a->net);
}

static void client_pause(void *arg, int64_t ms, enum client_pause mode)
{
    struct app *a = arg;
    net_client_pause(a->net, ms, mode);
}

static void client_unpause(void *arg)
{
    struct app *a = arg;
    net_client_unpause(a->net);
}

static struct exec *const *executors(void *arg, size_t *n)
{
    struct app *a = arg;
    return net_execs(a->net, n);
}

void app_server_ops(struct app *a)
{
    a->ops.arg = a;
    a->ops.timing = a->timing;
    a->ops.executors = executors;
    a->ops.client_list = client_list;
    a->ops.client_info = client_info;
    a->ops.client_kill = client_kill;
    a->ops.client_unblock = client_unblock;
    a->ops.client_set_text = client_set_text;
    a->ops.pause = net_pause_mode(a->net);
    a->ops.client_paused = client_paused;
    a->ops.client_pause = client_pause;
    a->ops.client_unpause = client_unpause;
    app_config_ops(&a->ops);
    app_memory_ops(&a->ops);
    a->ops.auth_required = auth_required;
    a->ops.auth_check = auth_check;
    a->ops.auth_hash = auth_hash;
    a->ops.info = app_info;
    a->ops.merge = order_merge;
    a->ops.merge_running = merge_running;
    a->ops.merge_status = merge_status;
    a->ops.files = list_files;
    a->ops.damage = list_damage;
    a->ops.save_begin = save_begin;
    a->ops.save_possible = save_possible;
    a->ops.save_schedule = save_schedule;
    a->ops.save_state = save_state;
    a->ops.last_save_s = last_save_s;
    a->ops.transfer_begin = begin_transfer;
    a->ops.transfer_ended = transfer_ended;
    a->ops.transfer_drop = transfer_drop;
    a->ops.shutdown = ask_shutdown;
    a->ops.shutdown_abort = shutdown_abort;
    a->ops.debug_allowed = debug_allowed;
    a->ops.memory_over = memory_over;
    a->ops.proto_max_bulk_len = proto_max_bulk_len;
    a->ops.hll_sparse_max_bytes = hll_sparse_max_bytes;
    a->ops.pubsub = net_pubsub_ops(a->net);
    a->ops.tracking = net_tracking_ops(a->net);
}

/* ---- For loops. While the store is being opened no command has come to it: nothing was written,
 * and no reply waits. ---- */

void app_stats(const struct app *a, struct bk_stats *out)
{
    struct bk_db *db = app_db(a);
    *out = (struct bk_stats){0};
    if (db != NULL) {
        bk_stats_get(db, out);
    }
}

int app_write_state(const struct app *a, struct bk_error *err)
{
    struct bk_db *db = app_db(a);
    return db != NULL ? bk_write_state(db, err) : BK_OK;
}

static void store_flush(void *arg, uint64_t pos)
{
    struct app *a = arg;
    struct bk_db *db = app_db(a);
    if (db != NULL) {
        bk_flush(db, pos);
    }
}

static int store_pos_state(void *arg, uint64_t pos)
{
    struct app *a = arg;
    struct bk_db *db = app_db(a);
    return db != NULL ? bk_pos_state(db, pos) : BK_OK;
}

static void tell_expired(void *arg, uint32_t num, struct bk_span key)
{
    struct app *a = arg;
    notify_vanished(&a->ops, NULL, NOTIFY_EXPIRED, "expired", num, key, 0);
}

static size_t store_expire_step(void *arg, size_t max, bool *more)
{
    struct app *a = arg;
    struct bk_db *db = app_db(a);
    *more = false;
    return db != NULL ? bk_expire_each(db, max, more, tell_expired, a) : 0;
}

static void store_expire_took(void *arg, int64_t us)
{
    struct app *a = arg;
    timing_note(a->timing, TIMING_EXPIRE_CYCLE, us);
}

static void store_write_error(void *arg, char *text, size_t size)
{
    struct app *a = arg;
    struct bk_error err = {0};
    if (app_write_state(a, &err) == BK_OK) {
        snprintf(text, size, "the write was undone");
    } else {
        bk_error_format(&err, text, size);
    }
}

static void store_cron(void *arg, int64_t now_ms)
{
    (void)now_ms;
    app_merge_pace(arg);
}

static unsigned store_memory_step(void *arg)
{
    return app_memory_step(arg);
}

void app_store_ops(struct app *a)
{
    a->store_ops = (struct net_store_ops){.arg = a,
                                          .flush = store_flush,
                                          .pos_state = store_pos_state,
                                          .expire_step = store_expire_step,
                                          .expire_took = store_expire_took,
                                          .write_error = store_write_error,
                                          .cron = store_cron,
                                          .memory_step = store_memory_step};
}
