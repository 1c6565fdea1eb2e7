/* SPDX-License-Identifier: MIT */
/* app_options.c - options in the form in which each module wants them. */
#include "app/app.h"
#include "base/assert.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

static enum bk_sync sync_of(const struct options *o)
{
    static const enum bk_sync modes[] = {BK_SYNC_EVERYSEC, BK_SYNC_ALWAYS, BK_SYNC_NO};
    return modes[option_num(o, OPTION_APPENDFSYNC)];
}

static void merge_rules(const struct options *o, struct bk_merge_rules *out)
{
    static const enum bk_merge_policy policies[] = {BK_MERGE_ALWAYS, BK_MERGE_WINDOW,
                                                    BK_MERGE_NEVER};
    out->policy = policies[option_num(o, OPTION_MERGE_POLICY)];
    out->dead_ratio = (uint32_t)option_num(o, OPTION_MERGE_DEAD_RATIO);
    out->dead_bytes = (uint64_t)option_num(o, OPTION_MERGE_DEAD_BYTES);
    out->small_file = (uint64_t)option_num(o, OPTION_MERGE_SMALL_FILE);
    out->max_files = (uint32_t)option_num(o, OPTION_MERGE_MAX_FILES);
    out->max_bytes = (uint64_t)option_num(o, OPTION_MERGE_MAX_BYTES);
    snprintf(out->window, sizeof out->window, "%s", option_text(o, OPTION_MERGE_WINDOW));
    out->rate = (uint64_t)option_num(o, OPTION_MERGE_RATE);
    out->rate_min = (uint64_t)option_num(o, OPTION_MERGE_RATE_MIN);
    out->interval_ms = (uint32_t)option_num(o, OPTION_MERGE_INTERVAL);
    out->disk_max_bytes = (uint64_t)option_num(o, OPTION_DISK_MAX_BYTES);
    out->disk_reserve = (uint64_t)option_num(o, OPTION_DISK_RESERVE);
}

void app_store_options(const struct app *a, struct bk_options *out)
{
    const struct options *o = &a->options;
    bk_options_init(out);
    out->dir = option_text(o, OPTION_DIR);
    out->databases = (uint32_t)option_num(o, OPTION_DATABASES);
    out->sync = sync_of(o);
    out->max_file_bytes = (uint64_t)option_num(o, OPTION_MAX_FILE_SIZE);
    out->max_file_age_s = (uint32_t)option_num(o, OPTION_MAX_FILE_AGE);
    out->log_buffer_bytes = (uint64_t)option_num(o, OPTION_LOG_BUFFER_SIZE);
    out->cache_bytes = (uint64_t)option_num(o, OPTION_CACHE_SIZE);
    out->batch_bytes_max = (uint64_t)option_num(o, OPTION_BATCH_MAX_BYTES);
    merge_rules(o, &out->merge);
    out->on_corruption =
        option_num(o, OPTION_ON_CORRUPTION) == 0 ? BK_CORRUPT_SERVE : BK_CORRUPT_REFUSE;
    out->disk_threads = (uint32_t)option_num(o, OPTION_DISK_THREADS);
    out->read_only = option_bool(o, OPTION_READ_ONLY);
}

static uint32_t clip32(uint64_t v)
{
    return v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
}

void app_net_tunables(const struct options *o, struct net_tunables *out)
{
    struct option_output_limit limits[OPTION_CLASSES];
    option_output_limits(&o->values[OPTION_CLIENT_OUTPUT_BUFFER_LIMIT], limits);
    memset(out, 0, sizeof *out);
    out->maxclients = (uint32_t)option_num(o, OPTION_MAXCLIENTS);
    out->timeout_s = (uint32_t)option_num(o, OPTION_TIMEOUT);
    out->tcp_keepalive_s = (uint32_t)option_num(o, OPTION_TCP_KEEPALIVE);
    out->protected_mode = option_bool(o, OPTION_PROTECTED_MODE);
    out->obuf_hard_bytes = limits[OPTION_CLASS_NORMAL].hard_bytes;
    out->obuf_soft_bytes = limits[OPTION_CLASS_NORMAL].soft_bytes;
    out->obuf_soft_s = clip32(limits[OPTION_CLASS_NORMAL].soft_seconds);
    out->obuf_pubsub_hard_bytes = limits[OPTION_CLASS_PUBSUB].hard_bytes;
    out->obuf_pubsub_soft_bytes = limits[OPTION_CLASS_PUBSUB].soft_bytes;
    out->obuf_pubsub_soft_s = clip32(limits[OPTION_CLASS_PUBSUB].soft_seconds);
    out->query_buffer_bytes = (uint64_t)option_num(o, OPTION_CLIENT_QUERY_BUFFER_LIMIT);
    out->tracking_keys = (uint64_t)option_num(o, OPTION_TRACKING_TABLE_MAX_KEYS);
}

void app_listen(const struct options *o, struct net_listen *out, const char **bind,
                struct bk_buf *store)
{
    struct bk_span words[OPTION_BIND_MAX];
    const struct option_value *v = &o->values[OPTION_BIND];
    size_t n = option_split_spaces(bk_span_of(v->text, v->len), words, OPTION_BIND_MAX);
    n = n < OPTION_BIND_MAX ? n : OPTION_BIND_MAX;
    bk_buf_reserve(store, v->len + OPTION_BIND_MAX); /* at once: bind[] points into it */
    for (size_t i = 0; i < n; i++) {
        bind[i] = (const char *)store->data + store->len;
        bk_buf_append(store, words[i].data, words[i].len);
        bk_buf_append(store, "", 1);
    }
    memset(out, 0, sizeof *out);
    out->bind = bind;
    out->bind_n = n;
    out->port = (uint16_t)option_num(o, OPTION_PORT);
    out->backlog = (int)option_num(o, OPTION_TCP_BACKLOG);
    out->unixsocket = option_text(o, OPTION_UNIXSOCKET);
    out->unixsocketperm = (unsigned)option_num(o, OPTION_UNIXSOCKETPERM);
}

enum bk_log_level app_log_level(const struct options *o)
{
    static const enum bk_log_level levels[] = {BK_LOG_DEBUG, BK_LOG_VERBOSE, BK_LOG_NOTICE,
                                               BK_LOG_WARNING};
    return levels[option_num(o, OPTION_LOGLEVEL)];
}

int app_log_setup(const struct options *o)
{
    static const int facilities[] = {LOG_USER,   LOG_LOCAL0, LOG_LOCAL1, LOG_LOCAL2, LOG_LOCAL3,
                                     LOG_LOCAL4, LOG_LOCAL5, LOG_LOCAL6, LOG_LOCAL7};
    const char *ident =
        option_bool(o, OPTION_SYSLOG_ENABLED) ? option_text(o, OPTION_SYSLOG_IDENT) : NULL;
    bk_log_set_level(app_log_level(o));
    return bk_log_setup(option_text(o, OPTION_LOGFILE), ident,
                        facilities[option_num(o, OPTION_SYSLOG_FACILITY)]);
}
